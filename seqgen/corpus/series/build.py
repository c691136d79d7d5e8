"""Rows of one series to a regular, gapless one: sorting, duplicates, the grid of times, missing numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series import grid as series_grid
from seqgen.corpus.series.dates import MICROS_PER_SECOND, Integers
from seqgen.corpus.series.frequency import Frequency, Times
from seqgen.corpus.series.report import TableReport
from seqgen.corpus.series.tables import Table
from seqgen.errors import DataError

Values = npt.NDArray[np.float64]

MAX_MISSING_FRACTION = 0.5  # share of a column; beyond it what was filled in outweighs what was measured
MAX_GAP_FRACTION = 0.1  # share of the rows that may be missing in a row, or a season where that is longer
_SMALL_GAP = 3  # rows that may always be
MAX_INSERTED_FRACTION = 0.5  # share of the grid's times


class UnusableSeriesError(DataError):
    """One series that can't be used; others of the same table may be."""


@dataclass(frozen=True)
class SeriesRows:
    """Some rows of a table. times: microseconds, None for rows without. lines: which rows of the table these are.

    values: shape (rows, columns), NaN where missing; the first `target_count` are the targets, `future` columns last.
    """

    table: Table
    name: str
    lines: Integers
    times: Integers | None
    values: Values
    columns: tuple[str, ...]
    target_count: int
    future: int

    def select(self, chosen: npt.NDArray[np.generic]) -> SeriesRows:
        """Some of these rows."""
        kept = None if self.times is None else self.times[chosen]
        return SeriesRows(
            self.table,
            self.name,
            self.lines[chosen],
            kept,
            self.values[chosen],
            self.columns,
            self.target_count,
            self.future,
        )

    @property
    def display_name(self) -> str:
        """The table's name, and the series' where it has one."""
        return f"{self.table.name}, series {self.name!r}" if self.name else self.table.name


@dataclass(frozen=True)
class RegularSeries:
    """See `Series`."""

    times: Times | None
    frequency: Frequency
    values: Values
    observed: npt.NDArray[np.bool_]
    future: Values


def sort_rows(rows: SeriesRows, report: TableReport) -> SeriesRows:
    """Rising times, each once: of rows with the same time the last counts. Fractions of seconds are rounded."""
    if rows.times is None:
        return rows
    if (np.diff(rows.times) < 0).any():
        falling = bool((np.diff(rows.times) <= 0).all())
        report.record(
            "the latest row comes first, and the order is turned round"
            if falling
            else "rows are not in the order of their times, and are sorted",
            series=rows.name,
        )
        rows = rows.select(np.argsort(rows.times, kind="stable"))
    assert rows.times is not None
    if (rows.times % MICROS_PER_SECOND).any():
        steps = np.diff(np.unique(rows.times))
        if len(steps) and np.median(steps) < MICROS_PER_SECOND:
            raise DataError(
                f"{rows.display_name} has rows less than a second apart; times are read to the second: "
                "take the rows as they come (--frequency row), or average them"
            )
        report.record("fractions of seconds are rounded", series=rows.name)
        rounded = (rows.times + MICROS_PER_SECOND // 2) // MICROS_PER_SECOND * MICROS_PER_SECOND
        rows = SeriesRows(
            rows.table, rows.name, rows.lines, rounded, rows.values, rows.columns, rows.target_count, rows.future
        )
    assert rows.times is not None
    again = np.flatnonzero(np.diff(rows.times) == 0)
    if not len(again):
        return rows
    same = _same(rows.values[again], rows.values[again + 1])
    for chosen, sentence in (
        (again[same], "{count} {row repeats|rows repeat} another, and {is|are} left out (first in {where})"),
        (again[~same], "{count} {row has|rows have} the time of a later one, which counts instead (first in {where})"),
    ):
        if len(chosen):
            where = f"{rows.table.unit} {rows.table.lines[rows.lines[chosen].min()]:,}"
            report.record(sentence, len(chosen), where, rows.name)
    keep = np.ones(len(rows.times), dtype=bool)
    keep[again] = False
    return rows.select(keep)


def _same(one: Values, other: Values) -> npt.NDArray[np.bool_]:
    return ((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=1)


def build_series(rows: SeriesRows, wanted: Frequency | None, min_rows: int, report: TableReport) -> RegularSeries:
    """A regular series from ordered rows. `wanted`: the frequency to have, None for the one there is.

    Raises:
        Unusable: too few rows, a target that is missing too often or for too long.
        DataError: the frequency can't be had.
    """
    times, frequency, values, source, held = _laid(rows, wanted, report)
    count = rows.target_count
    known = ~np.isnan(values[:, :count])
    last = int(np.flatnonzero(known.any(axis=1))[-1]) + 1 if known.any() else 0
    dropped = len(values) - last
    if not last:
        raise UnusableSeriesError(f"{rows.display_name}: {_names(rows.columns[:count])} holds no number at all")
    future = _future(values[last:], rows.future)
    if dropped > len(future):
        report.record(
            "{count} {row|rows} at the end {holds|hold} no target, and {is|are} left out",
            dropped - len(future),
            series=rows.name,
        )
    first = int(known[:last].argmax(axis=0)[known[:last].any(axis=0)].max())
    _check_missing(rows, values[:last])
    if first:
        report.record(
            "{count} {row|rows} at the beginning {is|are} left out, where a target has no number yet",
            first,
            series=rows.name,
        )
    first = max(first, _after_gap(rows, values[:last], source, first, frequency, report))
    values, held = values[first:last], held[first:last]
    if len(values) < min_rows:
        every = "" if times is None else f", one every {frequency.name}"
        raise UnusableSeriesError(
            f"{rows.display_name} is too short: {len(values):,} row{'s' * (len(values) != 1)}{every}; {min_rows:,} are needed"
        )
    observed = ~np.isnan(values)
    holes = (~observed) & ~held[:, None]
    for place, name in enumerate(rows.columns):
        missing = int(holes[:, place].sum())
        if missing:
            report.record(
                "{count} missing {number is|numbers are} filled in along straight lines (first in {where})",
                missing,
                _where(rows, source[first:last], int(holes[:, place].argmax())),
                rows.name,
                name,
            )
        seen = values[observed[:, place], place]
        if len(seen) > 1 and (seen == seen[0]).all() and place < count:
            report.record("the same number in every row", series=rows.name, column=name)
    return RegularSeries(
        None if times is None else times[first:last],
        frequency,
        series_grid.interpolate_missing(values, held & (frequency.unit == "business day")),
        observed,
        future,
    )


def _laid(
    rows: SeriesRows, wanted: Frequency | None, report: TableReport
) -> tuple[Times | None, Frequency, Values, Integers, npt.NDArray[np.bool_]]:
    """(times, frequency, values, row of the table behind each row or −1, rows that were put in), on a regular grid."""
    if rows.times is None or (wanted is not None and wanted.unit == "row"):
        nothing = np.zeros(len(rows.values), dtype=bool)
        return None, Frequency("row"), rows.values, rows.lines, nothing
    times = (rows.times // MICROS_PER_SECOND).astype("datetime64[s]")
    found = series_grid.infer_frequency(times)
    if wanted is not None:
        frequency = (
            series_grid.resolve_frequency(found, wanted, rows.display_name)
            if len(times) > 2 or found is None
            else wanted
        )
    elif found is None:
        raise UnusableSeriesError(
            f"{rows.display_name} is too short: there is one row, and how often rows come can't be told"
        )
    else:
        frequency = found
    grid = series_grid.build_grid(times, frequency, found if len(times) > 2 else None)
    if grid.averaged:
        report.record(f"rows are averaged to one every {frequency.name}", series=rows.name)
    elif not grid.exact:
        report.record(
            f"times are not regular, and rows are brought to one every {frequency.name}, averaged where several meet",
            series=rows.name,
        )
    size = len(grid.times)
    source = np.full(size, -1, dtype=np.int64)
    source[grid.row_of] = rows.lines
    empty = source < 0
    inserted = int(empty.sum())
    if inserted > MAX_INSERTED_FRACTION * size:
        raise UnusableSeriesError(
            f"{rows.display_name}: {inserted:,} of {size:,} times are missing from rows every {frequency.name}; "
            "name a wider --frequency, or take the rows as they come (--frequency row)"
        )
    if inserted:
        first = int(empty.argmax())
        how = (
            "{keeps|keep} the last number"
            if frequency.unit == "business day"
            else "{is|are} filled in along straight lines"
        )
        report.record(
            f"{{count}} {{time is|times are}} missing from rows every {frequency.name}, and {how} "
            "(first after {where})",
            inserted,
            _where(rows, source, first),
            rows.name,
        )
    return grid.times, grid.frequency, series_grid.average_rows(rows.values, grid.row_of, size), source, empty


def _where(rows: SeriesRows, source: Integers, row: int) -> str:
    """The line behind a row, or behind the last one before it that has any."""
    behind = source[: row + 1][source[: row + 1] >= 0]
    line = int(behind[-1]) if len(behind) else int(rows.lines[0])
    return f"{rows.table.unit} {rows.table.lines[line]:,}"


def _check_missing(rows: SeriesRows, values: Values) -> None:
    share = np.isnan(values).mean(axis=0)
    for place, name in enumerate(rows.columns):
        if share[place] > MAX_MISSING_FRACTION:
            kind = "target" if place < rows.target_count else "covariate"
            raise UnusableSeriesError(
                f"{rows.display_name}: the {kind} {name!r} has no number in {share[place]:.0%} of the rows; "
                f"at most {MAX_MISSING_FRACTION:.0%} may be filled in"
            )


def _after_gap(
    rows: SeriesRows, values: Values, source: Integers, first: int, frequency: Frequency, report: TableReport
) -> int:
    """The row to begin with, behind the last gap in a target that is too long to fill in."""
    most = max(frequency.season, int(MAX_GAP_FRACTION * len(values)), _SMALL_GAP)
    begin, gap = first, first
    for place in range(rows.target_count):
        for start, end in series_grid.true_runs(np.isnan(values[:, place])):
            if start < first or end - start <= most or end == len(values) or end <= begin:
                continue
            if len(values) - end < (len(values) - first) / 2:
                raise UnusableSeriesError(
                    f"{rows.display_name}: {rows.columns[place]!r} has a gap of {end - start:,} rows after "
                    f"{_where(rows, source, start - 1)}; at most {most:,} are filled in: mend it, or cut it there"
                )
            begin, gap = end, start
    if begin > first:
        report.record(
            f"{{count}} rows are left out, up to the end of a gap of more than {most:,} (it begins after {{where}})",
            begin - first,
            _where(rows, source, gap - 1),
            rows.name,
        )
    return begin


def _future(values: Values, future: int) -> Values:
    """What is known of the rows after the last: as far as every future covariate is."""
    if not future:
        return np.zeros((0, 0))
    ahead = values[:, values.shape[1] - future :]
    known = ~np.isnan(ahead)
    ends = [int(np.flatnonzero(known[:, place])[-1]) + 1 if known[:, place].any() else 0 for place in range(future)]
    ahead = ahead[: min(ends)]
    return series_grid.interpolate_missing(ahead, np.zeros(len(ahead), dtype=bool))


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(repr, columns[:4]))
