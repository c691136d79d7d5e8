"""Numeric series, read from the tables that people have, to a regular grid without gaps. What is done is told.

| found | done |
|---|---|
| delimiter, header, byte order mark, quotes, line ends | recognised; without a header columns are `column_1`, … |
| not UTF-8 | read as UTF-16, GB 18030 or Windows-1252 |
| a row with too many cells | refused |
| a row with too few cells | the rest is missing |
| lines of words below the table | left out; a line of sums is refused, as its first cell is no time |
| 1,234.5 and 1.234,5, $, %, K, M, B | read, by the column as a whole |
| a cell of a column of numbers that is none | refused |
| an infinite number | refused |
| a column of text, or one that only numbers the rows | no target unless named; a named target of text is refused |
| a target that never changes | kept |
| a column missing in more than half of the rows | no target unless named; refused if named |
| dates | day/month told from month/day by the column as a whole; refused where no row tells |
| times with a zone | UTC inside, the zone of the last row in what is written; dates stay dates |
| rows without a time | left out |
| rows out of order | sorted |
| several rows of one time | the last counts; refused if a column of names tells them apart and is not named |
| times missing from the grid | put in; refused if more than half |
| times off the grid | rows averaged on the grid of the median step |
| a wider frequency is asked for | rows averaged; a narrower one is refused |
| a missing number | a straight line between its neighbours; on a holiday of business days the last number |
| a gap longer than a season and a tenth of the rows | rows before it left out; refused if these are the most |
| targets missing at the beginning | rows left out, until all have begun |
| all targets missing at the end | rows left out; their future covariates are what is known ahead |
| too few rows | refused; of several series those are left out |

Several documents are several series, named after their files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.build import MAX_MISSING_FRACTION, SeriesRows, UnusableSeriesError, build_series, sort_rows
from seqgen.corpus.series.columns import (
    NumericColumn,
    column_index,
    decimal_marks,
    find_series_column,
    find_time_columns,
    is_row_counter,
    parse_numeric_column,
    read_times,
)
from seqgen.corpus.series.dates import ISO, MICROS_PER_SECOND, Integers
from seqgen.corpus.series.frequency import Frequency, Times
from seqgen.corpus.series.grid import infer_frequency
from seqgen.corpus.series.guess import looks_like_series
from seqgen.corpus.series.report import TableReport, quoted_list
from seqgen.corpus.series.tables import Table, open_table
from seqgen.corpus.sources import Document, Warn
from seqgen.errors import DataError

__all__ = ["Frequency", "Series", "SeriesOptions", "looks_like_series", "read_series", "season"]

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SeriesOptions:
    """How to read tables of numbers. What is left out is recognised.

    time_column: its name; several joined by commas where the time is spread over columns; '' for rows without times.
    targets: columns to forecast; () for every column of numbers that is nothing else.
    covariates: columns known up to the last row; future_covariates: those known ahead.
    series: the column that names the series, where a table holds several below each other.
    frequency: as `Frequency.parse` takes it, and `Frequency.name` gives it.
    minimum: rows that a series must have.
    """

    time_column: str | None = None
    targets: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    future_covariates: tuple[str, ...] = ()
    series: str | None = None
    frequency: str | None = None
    min_rows: int = 2


@dataclass(frozen=True)
class Series:
    """One series on a regular grid of times.

    name: what the series column calls it; the file's stem where several files were read; '' otherwise.
    times: shape (rows,), datetime64[s], UTC where the source has a zone; None for rows without times.
    columns: targets first, then covariates, then future covariates.
    values: float64, shape (rows, columns), finite.
    observed: same shape: whether the number was in the source, and not filled in.
    future: future covariates of the rows after the last, shape (rows ahead, future covariates).
    time_column: as `SeriesOptions.time_column` takes it, '' for none.
    spell: times as text, as the source writes them.
    target_count: how many of the columns are.
    """

    name: str
    times: Times | None
    frequency: Frequency
    columns: tuple[str, ...]
    values: Values
    observed: npt.NDArray[np.bool_]
    future: Values
    time_column: str = ""
    format_times: Callable[[Times], list[str]] = field(default=ISO.format_times, repr=False, compare=False)
    target_count: int = 1

    def __len__(self) -> int:
        return len(self.values)


def read_series(documents: Sequence[Document], options: SeriesOptions, warn: Warn) -> list[Series]:
    """Every series of the documents, all with the same columns in the same order, and with the same frequency.

    warn: told in a sentence of everything that was not taken as it stands.

    Raises:
        DataError: what can't be used, in one line that says where.
    """
    found: list[Series] = []
    for document, name in zip(documents, _names(documents), strict=True):
        report = TableReport("standard input" if document.name == "-" else document.name)
        found += _read_one(document, name, options, report)
        report.flush(warn)
        first = found[0]  # what was recognised in the first document holds for the others
        options = replace(options, targets=first.columns[: first.target_count], frequency=first.frequency.name)
    return found


def _names(documents: Sequence[Document]) -> list[str]:
    """What the documents' series are called: the file's name as far as it is needed to tell them apart."""
    if not documents:
        raise DataError("there is no table to read")
    if len(documents) == 1:
        return [""]
    stems = [document.name.rsplit("/", 1)[-1].split(".")[0] for document in documents]
    if len(set(stems)) < len(stems):
        stems = [document.name for document in documents]
    twice = next((name for name, count in Counter(stems).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{twice!r} is given twice")
    return stems


def _read_one(document: Document, name: str, options: SeriesOptions, report: TableReport) -> list[Series]:
    table = open_table(document, report.record_verbatim)
    if not len(table):
        raise DataError(f"{table.name} holds no rows below the names of its columns")
    wanted = Frequency.parse(options.frequency) if options.frequency is not None else None
    time = find_time_columns(table, options.time_column)
    key = None if options.series is None else column_index(table, options.series, "series column")
    taken = {*time} | ({key} if key is not None else set())
    columns, values = _values(table, options, taken, report)
    rows = np.arange(len(table), dtype=np.int64)
    instants, style = None, ISO
    if time:
        reading, rows = read_times(table, time, None if wanted is None else partial(_fits, wanted))
        instants, style = reading.times, reading.style
        if len(rows) < len(table):
            report.record("{count} {row|rows} without a time {is|are} left out", len(table) - len(rows))
        if reading.order:
            report.record(f"dates are read as {reading.order}/year")
    ahead = len(options.future_covariates)
    targets = len(columns) - len(options.covariates) - ahead
    whole = SeriesRows(table, name, rows, instants, values[rows], columns, targets, ahead)
    if key is None and instants is not None:
        _check_apart(table, instants, rows, taken)
    groups = [whole] if key is None else _groups(whole, table.texts(key), report)
    ready = [sort_rows(group, report) for group in groups]
    if wanted is None and len(ready) > 1:
        wanted = _commonest(ready)
    series: list[Series] = []
    failures: list[UnusableSeriesError] = []
    for one in ready:
        draft = TableReport(report.name)  # of a series that is left out only this is told
        try:
            built = build_series(one, wanted, options.min_rows, draft)
        except UnusableSeriesError as error:
            failures.append(error)
            continue
        report.merge(draft)
        called = ",".join(table.header[place] for place in time) if built.times is not None else ""
        series.append(
            Series(
                one.name, built.times, built.frequency, columns, built.values, built.observed, built.future, called,
                style.format_times, targets,
            )
        )  # fmt: skip
    if not series:
        raise failures[0]
    if failures:
        report.record(f"{len(failures):,} series {'is' if len(failures) == 1 else 'are'} left out ({failures[0]})")
    return series


def _values(
    table: Table, options: SeriesOptions, taken: set[int], report: TableReport
) -> tuple[tuple[str, ...], Values]:
    """The columns asked for, or every one of numbers; and their numbers, shape (rows, columns)."""
    given = [column_index(table, name, "target") for name in options.targets]
    helpers = [column_index(table, name, "covariate") for name in (*options.covariates, *options.future_covariates)]
    found: dict[int, NumericColumn] = {}
    marks = decimal_marks(table)
    for place in (*given, *helpers):
        name = table.header[place]
        if place in taken:
            raise DataError(f"{table.name}: the column {name!r} holds times or names, not numbers to learn")
        if place in found:
            raise DataError(f"{table.name}: the column {name!r} is asked for twice")
        kind = "target" if place in given else "covariate"
        found[place] = _checked(table, place, parse_numeric_column(table, place, marks), kind, report)
    if not given:
        given = _all_numeric(table, {*taken, *helpers}, report, found)
    places = [*given, *helpers]
    values = np.stack([found[place].values for place in places], axis=1)
    return tuple(table.header[place] for place in places), values


def _checked(table: Table, place: int, read: NumericColumn, kind: str, report: TableReport) -> NumericColumn:
    """A column's numbers again. Raises `DataError` where it holds others than these."""
    name = table.header[place]
    if read.bad >= 0:
        cell = table.texts(place)[read.bad][:40]
        if read.is_text:
            raise DataError(
                f"{table.location(read.bad)}: the {kind} {name!r} holds text ({cell!r}), and must hold numbers"
            )
        raise DataError(f"{table.location(read.bad)}, column {name!r}: {cell!r} is no number; mend it, or leave it empty")
    infinite = np.flatnonzero(np.isinf(read.values))
    if len(infinite):
        where = table.location(int(infinite[0]))
        raise DataError(f"{where}, column {name!r}: the number is infinite; mend it, or leave it empty")
    for note in read.notes:
        report.record(note, column=name)
    return read


def _all_numeric(table: Table, taken: set[int], report: TableReport, found: dict[int, NumericColumn]) -> list[int]:
    """Every column that can be a target; put into `found`."""
    marks = decimal_marks(table)
    given: list[int] = []
    counters: list[int] = []
    left_out: dict[tuple[str, str], list[int]] = {}
    for place in range(len(table.header)):
        if place in taken:
            continue
        read = parse_numeric_column(table, place, marks)
        if read.is_text:
            left_out.setdefault(("holds text", "hold text"), []).append(place)
        elif read.missing > MAX_MISSING_FRACTION:
            left_out.setdefault(("is mostly empty", "are mostly empty"), []).append(place)
        elif is_row_counter(read.values, table.header[place]):
            counters.append(place)
            found[place] = read
        else:
            given.append(place)
            found[place] = read
    if not given:
        given, counters = counters, []  # there is nothing else to forecast
    if counters:
        left_out[("only numbers the rows", "only number the rows")] = counters
    for place in given:
        found[place] = _checked(table, place, found[place], "target", report)
    for (one, several), places in left_out.items():
        names = quoted_list([table.header[place] for place in places], 8)
        report.record(f"{names} {one}, and is left out" if len(places) == 1 else f"{names} {several}, and are left out")
    if not given:
        raise DataError(f"{table.name} has no column of numbers to forecast; there are {', '.join(table.header[:12])}")
    return given


def _check_apart(table: Table, instants: Integers, rows: Integers, taken: set[int]) -> None:
    """Raises `DataError` where many rows share a time and a column of names tells them apart."""
    if 5 * (len(instants) - len(np.unique(instants))) < len(instants):
        return
    split = find_series_column(table, instants, rows, sorted(taken))
    if split:
        raise DataError(
            f"{table.name} holds {split[1]:,} series below each other, told apart by {split[0]!r}: "
            f"name it with --series {split[0]}"
        )


def _groups(whole: SeriesRows, names: Sequence[str], report: TableReport) -> list[SeriesRows]:
    """The rows of each series, in the order in which the series begin."""
    members: dict[str, list[int]] = {}
    for row, line in enumerate(whole.lines.tolist()):
        members.setdefault(names[line], []).append(row)
    nameless = members.pop("", [])
    if nameless:
        report.record("{count} {row names|rows name} no series, and {is|are} left out", len(nameless))
    if not members:
        raise DataError(f"{whole.table.name}: no row names a series")
    return [
        replace(whole.select(np.array(chosen)), name=f"{whole.name}/{name}" if whole.name else name)
        for name, chosen in members.items()
    ]


def _commonest(groups: Sequence[SeriesRows]) -> Frequency | None:
    """The frequency that most of several series have; None where none has any."""
    count: Counter[Frequency] = Counter()
    for one in groups:
        if one.times is not None and (
            found := infer_frequency((one.times // MICROS_PER_SECOND).astype("datetime64[s]"))
        ):
            count[Frequency(found.unit, found.count)] += 1
    return count.most_common(1)[0][0] if count else None


def _fits(wanted: Frequency, instants: Integers) -> bool:
    """Whether times have a frequency."""
    found = infer_frequency(np.unique(instants // MICROS_PER_SECOND).astype("datetime64[s]"))
    return found is not None and found.name == wanted.name


def season(series: Series) -> int:
    """Rows in the likeliest cycle that the series holds twice or more; 1 for none."""
    return next((rows for rows in series.frequency.seasons if 2 * rows <= len(series)), 1)
