"""Construction of a regular series from rows: sorting, duplicates, the grid of times, missing values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.dates import MICROS_PER_SECOND, Integers, distinct_times
from seqgen.corpus.series.frequency import Frequency, Times
from seqgen.corpus.series.grid import (
    Grid,
    average_rows,
    build_grid,
    infer_frequency,
    interpolate_missing,
    resolve_frequency,
    true_runs,
)
from seqgen.corpus.series.report import SeriesReport
from seqgen.corpus.series.tables import ColumnTable
from seqgen.errors import DataError
from seqgen.quantities import plural

Values = npt.NDArray[np.float64]

MAX_MISSING_FRACTION = 0.5  # of a column; beyond it, interpolated values outnumber measured ones
MAX_GAP_FRACTION = 0.1  # of the rows; a longer season is allowed too
_HOUR = 3600 * MICROS_PER_SECOND
_DAY = 24 * _HOUR
_SMALL_GAP = 3  # rows that are always allowed
MAX_INSERTED_FRACTION = 0.5  # of the grid's times
_WHOLE = 0.8  # of the rows of other periods, or of its time: with less of both, a period that is averaged isn't whole


class UnusableSeriesError(DataError):
    """One series can't be used; others of the same table may be fine."""


@dataclass(frozen=True)
class SeriesRows:
    """Rows of one series in a table.

    Attributes:
        lines: indices of the rows in the table.
        times: microseconds since 1970; None without times.
        values: shape (rows, columns), NaN if missing.
        target_count: number of leading columns that are targets.
        future: number of trailing columns that are future covariates.
    """

    table: ColumnTable
    name: str
    lines: Integers
    times: Integers | None
    values: Values
    columns: tuple[str, ...]
    target_count: int
    future: int

    def select(self, chosen: npt.NDArray[np.generic]) -> SeriesRows:
        """Return some of the rows."""
        times = None if self.times is None else self.times[chosen]
        return SeriesRows(
            self.table,
            self.name,
            self.lines[chosen],
            times,
            self.values[chosen],
            self.columns,
            self.target_count,
            self.future,
        )

    @property
    def display_name(self) -> str:
        """Name of the table, and of the series if it has one."""
        return f"{self.table.name}, series {self.name!r}" if self.name else self.table.name


@dataclass(frozen=True)
class RegularSeries:
    """A series on a regular grid. See `Series`."""

    times: Times | None
    frequency: Frequency
    values: Values
    observed: npt.NDArray[np.bool_]
    future: Values
    dropped: int


def sort_rows(rows: SeriesRows, report: SeriesReport, time_column: str) -> SeriesRows:
    """Sort rows by time, rounded to seconds, and keep the last of those with the same time.

    Args:
        time_column: see `Series`.

    Raises:
        DataError: others than these are the majority: the times lack a part, or there are several series.
    """
    if rows.times is None:
        return rows
    steps = np.diff(rows.times)
    if (steps < 0).any():
        back = steps < 0
        if not (_at_clock_change(rows.times[1:][back]) & (steps[back] >= -_HOUR)).all():
            report.record(
                "rows are in reverse chronological order and are reversed"
                if (steps <= 0).all()
                else "rows are not in chronological order and are sorted",
                series=rows.name,
            )
        rows = rows.select(np.argsort(rows.times, kind="stable"))
    assert rows.times is not None
    if (rows.times % MICROS_PER_SECOND).any():
        steps = np.diff(distinct_times(rows.times))
        if len(steps) and np.median(steps) < MICROS_PER_SECOND:
            raise DataError(
                f"{rows.display_name} has rows less than a second apart, but times have a resolution of one second; "
                "ignore times (--frequency row), or average the rows first"
            )
        report.record("fractions of seconds are rounded", series=rows.name)
        rounded = (rows.times + MICROS_PER_SECOND // 2) // MICROS_PER_SECOND * MICROS_PER_SECOND
        rows = SeriesRows(
            rows.table, rows.name, rows.lines, rounded, rows.values, rows.columns, rows.target_count, rows.future
        )
    assert rows.times is not None
    repeated = np.flatnonzero(np.diff(rows.times) == 0)
    if not len(repeated):
        return rows
    same = _equal_rows(rows.values[repeated], rows.values[repeated + 1])
    clocks = rows.times % _DAY
    hours = (clocks != clocks[0]).any()
    clock = ~same & _at_clock_change(rows.times[repeated]) & hours
    lost = int((~same & ~clock).sum())
    if 2 * lost > len(rows.times):
        raise DataError(
            f"{rows.display_name}: {lost:,} of {len(rows.times):,} rows have the same time as a later one in the "
            f"column {time_column!r}; give --time-column and all columns that make up the time, --series and the "
            "column that names several series, or --time-column '' if the rows have no times"
        )
    for chosen, sentence in (
        (
            repeated[clock],
            "{count} {row|rows} of the hour that occurs twice when clocks are set back {is|are} dropped, the later "
            "{is|are} used (first in {where})",
        ),
        (repeated[same], "{count} duplicate {row is|rows are} dropped (first in {where})"),
        (
            repeated[~same & ~clock],
            "{count} {row has|rows have} the same time as a later one and {is|are} dropped (first in {where})",
        ),
    ):
        if len(chosen):
            where = f"{rows.table.unit} {rows.table.lines[rows.lines[chosen].min()]:,}"
            report.record(sentence, len(chosen), where, rows.name)
    keep = np.ones(len(rows.times), dtype=bool)
    keep[repeated] = False
    return rows.select(keep)


def _at_clock_change(times: Integers) -> npt.NDArray[np.bool_]:
    """Whether clocks may be changed at a time: in the first hours of a Sunday of spring or autumn."""
    days = times // _DAY
    month = times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    return ((days + 3) % 7 == 6) & (times % _DAY <= 3 * _HOUR) & np.isin(month, (3, 4, 9, 10, 11))


def _equal_rows(one: Values, other: Values) -> npt.NDArray[np.bool_]:
    return ((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=1)


def build_series(
    rows: SeriesRows, wanted: Frequency | None, min_rows: int, report: SeriesReport, is_learnt: bool = False
) -> RegularSeries:
    """Build a regular series from sorted rows.

    Args:
        wanted: frequency of the series; inferred if None.
        min_rows: least number of rows.
        is_learnt: see `SeriesOptions`.

    Raises:
        UnusableSeriesError: there are too few rows, or a column has too many or too long gaps.
        DataError: the rows are too far apart for the frequency.
    """
    times, frequency, values, source, inserted, partial = _align(rows, wanted, report)
    count = rows.target_count
    known = ~np.isnan(values[:, :count])
    last = int(np.flatnonzero(known.any(axis=1))[-1]) + 1 if known.any() else 0
    if not last:
        raise UnusableSeriesError(f"{rows.display_name}: {_quoted(rows.columns[:count])} has no numbers")
    future = _future(values[last:], rows.future)
    # What is left out of a partial period was reported as it was.
    if count_dropped := int((~partial[last + len(future) :]).sum()):
        report.record(
            "{count} {row|rows} at the end {has|have} no target and {is|are} dropped",
            count_dropped,
            series=rows.name,
        )
    first = int(known[:last].argmax(axis=0)[known[:last].any(axis=0)].max())
    _check_missing(rows, values[:last])
    if count_dropped := int((~partial[:first]).sum()):
        report.record(
            "{count} {row|rows} at the start {is|are} dropped, because a target has no value yet",
            count_dropped,
            series=rows.name,
        )
    first = max(first, _after_gap(rows, values[:last], source, first, frequency, report, is_learnt))
    values, inserted = values[first:last], inserted[first:last]
    if len(values) < min_rows:
        every = "" if times is None else f", one every {frequency.name}"
        raise UnusableSeriesError(
            f"{rows.display_name} is too short: {plural(len(values), 'row')}{every}; {min_rows:,} are needed"
        )
    observed = ~np.isnan(values)
    gaps = ~observed & ~inserted[:, None]
    for index, name in enumerate(rows.columns):
        known_values = values[observed[:, index], index]
        end = int(np.flatnonzero(observed[:, index])[-1]) + 1 if len(known_values) else 0
        for begin, stop, how in (
            (0, end, "{number is|numbers are} interpolated linearly"),
            (end, len(values), "{number|numbers} at the end {keeps|keep} the last value"),
        ):
            missing = np.flatnonzero(gaps[begin:stop, index])
            if len(missing):
                report.record(
                    f"{{count}} missing {how} (first in {{where}})",
                    len(missing),
                    _where(rows, source[first:last], begin + int(missing[0])),
                    rows.name,
                    name,
                )
        if len(known_values) > 1 and (known_values == known_values[0]).all() and index < count:
            report.record("the same number in every row", series=rows.name, column=name)
    return RegularSeries(
        None if times is None else times[first:last],
        frequency,
        interpolate_missing(values, inserted & (frequency.unit == "business day")),
        observed,
        future,
        first,
    )


def _align(
    rows: SeriesRows, wanted: Frequency | None, report: SeriesReport
) -> tuple[Times | None, Frequency, Values, Integers, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Align rows to a regular grid.

    Returns:
        Times, frequency, values, the table row of each row (−1 for none), whether each row was inserted, and whether it
        is a period that isn't whole, without its targets.
    """
    if rows.times is None or (wanted is not None and wanted.unit == "row"):
        none = np.zeros(len(rows.values), dtype=bool)
        return None, Frequency("row"), rows.values, rows.lines, none, none
    times = (rows.times // MICROS_PER_SECOND).astype("datetime64[s]")
    found = infer_frequency(times)
    if wanted is not None:
        frequency = resolve_frequency(found, wanted, rows.display_name) if len(times) > 2 or found is None else wanted
    elif found is None:
        raise UnusableSeriesError(f"{rows.display_name} is too short: one row is not enough to infer the frequency")
    else:
        frequency = found
    grid = build_grid(times, frequency, found if len(times) > 2 else None)
    size, count = grid.size, grid.empty
    if count > MAX_INSERTED_FRACTION * size:
        raise UnusableSeriesError(
            f"{rows.display_name}: {count:,} of {size:,} times are missing at one row every {frequency.name}; "
            "give a coarser --frequency, or ignore times (--frequency row)"
        )
    partial = np.zeros(size, dtype=bool)
    if grid.averaged:
        report.record(f"rows are averaged to one every {frequency.name}", series=rows.name)
        rows, partial = _whole_periods(rows, grid, report)
    elif not grid.exact:
        report.record(
            f"times are irregular; rows are aligned to one every {frequency.name}, and averaged within each",
            series=rows.name,
        )
    source = np.full(size, -1, dtype=np.int64)
    source[grid.row_of] = rows.lines
    empty = source < 0
    if count:
        first = int(empty.argmax())
        skipped = grid.times[empty].astype("datetime64[us]").astype(np.int64)
        if frequency.exact and frequency.seconds <= 3600 and _at_clock_change(skipped).all():
            report.record(
                "{count} {time|times} of the hour that clocks skip when they are set forward {is|are} interpolated "
                "linearly (first after {where})",
                count,
                _where(rows, source, first),
                rows.name,
            )
            return grid.times, grid.frequency, average_rows(rows.values, grid.row_of, size), source, empty, partial
        how = "{keeps|keep} the last value" if frequency.unit == "business day" else "{is|are} interpolated linearly"
        report.record(
            f"{{count}} {{time is|times are}} missing at one row every {frequency.name} and {how} "
            "(first after {where})",
            count,
            _where(rows, source, first),
            rows.name,
        )
    return grid.times, grid.frequency, average_rows(rows.values, grid.row_of, size), source, empty, partial


def _whole_periods(rows: SeriesRows, grid: Grid, report: SeriesReport) -> tuple[SeriesRows, npt.NDArray[np.bool_]]:
    """Return the rows without the targets of a first and last period that isn't whole, and which of the grid those are.

    The mean of a few rows at the beginning of the last month isn't that of the month, and the month isn't over.
    """
    has_target = ~np.isnan(rows.values[:, : rows.target_count]).all(axis=1)
    counts = np.bincount(grid.row_of[has_target], minlength=grid.size)
    filled = np.flatnonzero(counts)
    partial = np.zeros(grid.size, dtype=bool)
    if len(filled) < 3:
        return rows, partial
    usual = float(np.median(counts[filled[1:-1]]))
    starts = np.append(grid.times, grid.frequency.next_times(grid.times[-1], 1)).astype(np.int64)
    result = rows
    for row, index, place in ((filled[0], 0, "start"), (filled[-1], -1, "end")):
        own = has_target & (grid.row_of == row)
        passed = (int(grid.given[own][index].astype(np.int64)) - starts[row]) / (starts[row + 1] - starts[row])
        if counts[row] < _WHOLE * usual and (passed < _WHOLE if place == "end" else passed > 1 - _WHOLE):
            report.record(
                f"{{count}} {{row|rows}} at the {place} {{is|are}} left out: too few for a whole {grid.frequency.name}",
                int(counts[row]),
                series=rows.name,
            )
            values = result.values.copy()
            values[own, : rows.target_count] = np.nan
            result = replace(result, values=values)
            partial[row] = True
    return result, partial


def _where(rows: SeriesRows, source: Integers, row: int) -> str:
    """Return the location of a row, or of the last one before it that is in the table."""
    present = source[: row + 1][source[: row + 1] >= 0]
    line = int(present[-1]) if len(present) else int(rows.lines[0])
    return f"{rows.table.unit} {rows.table.lines[line]:,}"


def _check_missing(rows: SeriesRows, values: Values) -> None:
    missing = np.isnan(values).mean(axis=0)
    for index, name in enumerate(rows.columns):
        if missing[index] > MAX_MISSING_FRACTION:
            role = "target" if index < rows.target_count else "covariate"
            raise UnusableSeriesError(
                f"{rows.display_name}: the {role} {name!r} is missing in {missing[index]:.0%} of the rows; "
                f"at most {MAX_MISSING_FRACTION:.0%} may be missing"
            )


def _after_gap(
    rows: SeriesRows,
    values: Values,
    source: Integers,
    first: int,
    frequency: Frequency,
    report: SeriesReport,
    is_learnt: bool,
) -> int:
    """Return the first row to use: the one after the last gap in a target that is too long to interpolate.

    Raises `UnusableSeriesError` if most rows are before it, or if it lasts to the end.
    """
    max_gap = max(frequency.season, int(MAX_GAP_FRACTION * len(values)), _SMALL_GAP)
    begin, gap = first, first
    for index in range(rows.target_count):
        for start, end in true_runs(np.isnan(values[:, index])):
            if start < first or end - start <= max_gap or end <= begin:
                continue
            if end == len(values):
                leave_out = "" if is_learnt else ", or leave the column out of the targets"
                raise UnusableSeriesError(
                    f"{rows.display_name}: {rows.columns[index]!r} ends after {_where(rows, source, start - 1)}, "
                    f"{end - start:,} rows before the last; at most {max_gap:,} can be filled; "
                    f"cut the table there{leave_out}"
                )
            if len(values) - end < (len(values) - first) / 2:
                raise UnusableSeriesError(
                    f"{rows.display_name}: {rows.columns[index]!r} has a gap of {end - start:,} rows after "
                    f"{_where(rows, source, start - 1)}; at most {max_gap:,} can be interpolated; "
                    "fill it, or cut the table there"
                )
            begin, gap = end, start
    if begin > first:
        report.record(
            f"{{count}} rows are dropped, up to the end of a gap of more than {max_gap:,} rows (after {{where}})",
            begin - first,
            _where(rows, source, gap - 1),
            rows.name,
        )
    return begin


def _future(values: Values, future: int) -> Values:
    """Return the future covariates of the rows after the last, as far as all are known."""
    if not future:
        return np.zeros((0, 0))
    ahead = values[:, values.shape[1] - future :]
    known = ~np.isnan(ahead)
    ends = [int(np.flatnonzero(known[:, index])[-1]) + 1 if known[:, index].any() else 0 for index in range(future)]
    ahead = ahead[: min(ends)]
    return interpolate_missing(ahead, np.zeros(len(ahead), dtype=bool))


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(map(repr, columns[:4]))
