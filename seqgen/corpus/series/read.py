"""Reader of time series: tables of numbers to a regular grid without gaps. Every change is reported.

| input | result |
|---|---|
| delimiter, header, quotes, line ends | recognised by `corpus.tables`; without a header columns are `column_1`, … |
| a row with too many cells | error |
| a row with too few cells | the rest is missing |
| text lines and sums below the table | dropped |
| 1,234.5 and 1.234,5, $, %, K, M, B, (3), 3-, <1 | parsed, in one notation per column |
| 微量, a trace of rain | 0; reported |
| a unit, or flags of statistical offices, behind numbers | left out |
| 1.234 and 987 | thousands, in the whole table, if no number has other decimals; reported, also if nothing decides it |
| 1.234 only | decimal if commas separate the cells; thousands between semicolons beside 31.12.2021; else reported |
| −999 and the like, far from all other numbers | missing |
| 9999.9 and the like in several rows, if no number is written with more decimals | the same |
| those that a model has learnt as missing | missing, wherever they are |
| text in a numeric column | error |
| an infinite number | error |
| a column of text, or one that only numbers the rows | not a target unless named; a named target of text is an error |
| a column of codes: 000001 that recurs, 000001.SZ, one for each of several series | not a target unless named |
| a column that repeats the time (its year, weekday, …) or is called a time | not a target unless named |
| a constant target | kept |
| a column missing in more than half of the rows | not a target unless named; an error if named |
| the time column | found by its name, or by half of its cells being times; an error if it can't be read |
| years without a name, as of row numbers | the time if there is no other and they may be; reported |
| months as numbers, 2019.01 or 2019.1 to 2019.12 | a time by its name; 2019.1 is October beside 2019.01; reported |
| 2019.1 to 2019.9 | months if the frequency, given or of a model, says so; else an error below `month` and `year` |
| dates | in words of many languages, quarters, weeks, fiscal years, digits, days of spreadsheets, epochs |
| a date and a time of day, year, month, …, in several columns | joined; hours 0 to 23, 1 to 24, and 1830 |
| an interval | its start |
| several quarters from the first on, 2023年第1-4季度 | the last of them; reported |
| years among quarters and the like | error |
| dates | day/month or month/day by the whole column; an error if no row decides it |
| times with a zone | converted to UTC, written in the zone of the last row; dates stay dates |
| rows without a time | dropped |
| rows out of order | sorted |
| several rows of one time | the last is used; an error if a column of names distinguishes them, or most rows are such |
| an hour that occurs twice as clocks are set back | its last rows are used |
| times missing from the grid | inserted; an error if more than half |
| times off the grid | rows averaged on the grid of the median step |
| a coarser frequency is given | rows averaged, a first and last period with too few left out; a finer one is an error |
| a missing number | interpolated linearly; on a holiday of business days and at the end, the last value |
| a gap that is open at the origin of a forecast | its last value, also in training (`windows`) |
| a gap longer than a season and a tenth of the rows | rows before it dropped; an error if these are the majority |
| targets missing at the start | rows dropped until all have values |
| one target missing at the end for as long | error |
| all targets missing at the end | rows dropped; their future covariates are known ahead |
| too few rows | error; of several series, those are dropped |

Several documents are several series, named after their files.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from seqgen.config import TrainOptions
from seqgen.corpus.series.build import MAX_MISSING_FRACTION, SeriesRows, UnusableSeriesError, build_series, sort_rows
from seqgen.corpus.series.columns import (
    NO_SENTINELS,
    NumericColumn,
    find_series_column,
    has_codes,
    is_row_counter,
    may_number_rows,
    number_notations,
    parse_numeric_columns,
    two_numbers,
)
from seqgen.corpus.series.dates import MICROS_PER_SECOND, Integers, distinct_times
from seqgen.corpus.series.frequency import Frequency, Times
from seqgen.corpus.series.grid import infer_frequency
from seqgen.corpus.series.guess import looks_like_series
from seqgen.corpus.series.numbers import parse_number
from seqgen.corpus.series.report import SeriesReport, quoted_list
from seqgen.corpus.series.tables import ColumnTable, open_columns
from seqgen.corpus.series.time_columns import (
    are_years_without_a_name,
    counts_rows,
    find_time_columns,
    join_names,
    may_be_years,
    read_times,
    repeats_time,
)  # fmt: skip
from seqgen.corpus.series.time_formats import ISO
from seqgen.corpus.series.time_names import is_surely_time
from seqgen.corpus.sources import Document, Warn
from seqgen.corpus.tables.columns import listed, parse_columns, spellings
from seqgen.errors import DataError

__all__ = ["Frequency", "Series", "SeriesOptions", "TableLayout", "looks_like_series", "read_series", "season"]

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SeriesOptions:
    """Options for reading tables of series. Missing options are inferred from the table.

    Attributes:
        time_column: name of the time column; several joined by commas; '' for rows without times.
        targets: columns to forecast, each a name or several joined by commas; () for all numeric columns without
            another role.
        covariates: columns known up to the last row.
        future_covariates: columns known ahead.
        series: column that names the series, in a table of several series.
        frequency: see `Frequency.parse`.
        min_rows: least number of rows of a series.
        sheet: of a workbook; by default its only sheet with cells.
        is_learnt: whether a model has learnt the columns, so that no target can be left out.
        sentinels: column → numbers that mean a missing one, in further tables.
    """

    time_column: str | None = None
    targets: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    future_covariates: tuple[str, ...] = ()
    series: str | None = None
    frequency: str | None = None
    min_rows: int = 2
    sheet: str | None = None
    is_learnt: bool = False
    sentinels: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, options: TrainOptions) -> SeriesOptions:
        """Return the options for a training run."""
        return cls(
            time_column=options.time_column,
            targets=tuple(dict.fromkeys(options.target)),
            covariates=tuple(dict.fromkeys(options.covariates)),
            future_covariates=tuple(dict.fromkeys(options.future_covariates)),
            series=options.series,
            frequency=options.frequency,
            sheet=options.sheet,
        )


@dataclass(frozen=True)
class TableLayout:
    """How a table is understood.

    Attributes:
        format: `CSV`, `TSV`, `Excel` or `Parquet`.
        delimiter: of the cells, '' for none.
        roles: column → `time`, `series`, `target`, `covariate` or `unused`, in the order of the table.
        notations: column → how its numbers are written, for those that are not plain.
        sentinels: column → numbers in it that mean a missing one.
    """

    format: str
    delimiter: str
    roles: Mapping[str, str]
    notations: Mapping[str, str]
    sentinels: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Series:
    """One series on a regular grid of times.

    Attributes:
        name: value of the series column; the file's stem if several files were read; otherwise ''.
        times: datetime64[s], shape (rows,), UTC if the source has a zone; None for rows without times.
        columns: targets, then covariates, then future covariates.
        values: float64, shape (rows, columns), finite.
        observed: shape (rows, columns): whether the value was in the source, not interpolated.
        future: future covariates of the rows after the last, shape (rows ahead, future covariates).
        time_column: as in `SeriesOptions`, '' for none.
        format_times: formats times as the source does.
        target_count: number of leading columns that are targets.
        future_count: number of trailing columns that are future covariates.
        series_column: name of the column that names the series, None for none.
        layout: of its table.
        utc_offset: seconds east of UTC of the zone in which times are written.
        dropped: number of its rows that were dropped before the first.
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
    future_count: int = 0
    series_column: str | None = None
    layout: TableLayout | None = field(default=None, repr=False, compare=False)
    utc_offset: int = 0
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.values)


def read_series(documents: Sequence[Document], options: SeriesOptions, warn: Warn) -> list[Series]:
    """Read every series of the documents. All have the same columns, in the same order, and the same frequency.

    A number that means a missing one in some document does in all of them.

    Args:
        warn: called with a sentence for every change to the data.

    Raises:
        DataError: the data can't be used; the message gives the location.
    """
    names = _series_names(documents)
    while True:
        reports: list[SeriesReport] = []
        try:
            series = _read_documents(documents, names, options, reports)
            known = sentinels_of(series, options.sentinels)
            if known == options.sentinels or not any(_holds_some(one, known) for one in series):
                return series
            reports.clear()
            options = replace(options, sentinels=known)
        finally:
            for report in reports:
                report.flush(warn)


def _read_documents(
    documents: Sequence[Document], names: Sequence[str], options: SeriesOptions, reports: list[SeriesReport]
) -> list[Series]:
    series: list[Series] = []
    for document, name in zip(documents, names, strict=True):
        report = SeriesReport(document.shown)
        series += _read_document(document, name, options, report)
        reports.append(report)
        first = series[0]  # the roles inferred from the first document apply to the others
        options = replace(options, targets=first.columns[: first.target_count], frequency=first.frequency.name)
    return series


def sentinels_of(
    series: Sequence[Series], known: Mapping[str, tuple[float, ...]] = NO_SENTINELS
) -> dict[str, tuple[float, ...]]:
    """Return the numbers that mean a missing one: column → those known before, and those in the tables.

    A column has the name that is known, or else the first: tables may write it in other capitals.
    """
    found = {name: set(numbers) for name, numbers in known.items()}
    for one in series:
        first_names = {own: name for name, own in spellings(found, one.columns).items()}
        for own, numbers in (one.layout.sentinels if one.layout else NO_SENTINELS).items():
            found.setdefault(first_names.get(own, own), set()).update(numbers)
    return {name: tuple(sorted(numbers)) for name, numbers in found.items()}


def _holds_some(series: Series, sentinels: Mapping[str, tuple[float, ...]]) -> bool:
    """Whether some numbers that mean a missing one were read as numbers."""
    here = _in_spelling_of(series.columns, sentinels)
    columns = zip(series.columns, series.values.T, strict=True)
    return any(np.isin(values, here[name]).any() for name, values in columns if name in here)


def _in_spelling_of(
    header: Sequence[str], sentinels: Mapping[str, tuple[float, ...]]
) -> Mapping[str, tuple[float, ...]]:
    """Return the numbers that mean a missing one by the names that a header has for their columns."""
    return {own: sentinels[name] for name, own in spellings(sentinels, header).items()} if sentinels else sentinels


def _series_names(documents: Sequence[Document]) -> list[str]:
    """Return a series name for each document: its stem, or its full name if stems repeat; '' for a single one."""
    if not documents:
        raise DataError("there is no table to read")
    if len(documents) == 1:
        return [""]
    stems, names = zip(*map(names_of, documents), strict=True)
    chosen = stems if len(set(stems)) == len(stems) else names
    repeated = next((name for name, count in Counter(chosen).items() if count > 1), None)
    if repeated is not None:
        raise DataError(f"{repeated!r} is given twice")
    return list(chosen)


def names_of(document: Document) -> tuple[str, str]:
    """The names that the series of a document may have beside those of others: its stem, and its full name."""
    return document.name.rsplit("/", 1)[-1].split(".")[0], document.name


def _read_document(document: Document, name: str, options: SeriesOptions, report: SeriesReport) -> list[Series]:
    table = open_columns(document, report.record_verbatim, options.sheet)
    if not len(table):
        raise DataError(f"{table.name} has a header but no rows")
    wanted = Frequency.parse(options.frequency) if options.frequency is not None else None
    fits = None if wanted is None else partial(_has_frequency, wanted)
    time_columns = find_time_columns(table, options.time_column, fits)
    key = None if options.series is None else _only_column(table, options.series)
    taken = {*time_columns} | ({key} if key is not None else set())
    rows = np.arange(len(table), dtype=np.int64)
    times, style = None, ISO
    if time_columns:
        parsed, rows = read_times(table, time_columns, fits)
        times, style = parsed.times, parsed.style
        if len(rows) < len(table):
            report.record("{count} {row|rows} without a time {is|are} dropped", len(table) - len(rows))
        if parsed.order:
            report.record(f"dates are read as {parsed.order}")
        for note in parsed.notes:
            report.record(note, column=", ".join(table.header[index] for index in time_columns))
        if options.time_column is None and are_years_without_a_name(table, time_columns[0]):
            report.record(
                "numbers without a name are taken for years; give --time-column '' if they number the rows",
                column=table.header[time_columns[0]],
            )
    chosen = _choose_columns(table, options, taken, key, times, rows, report)
    columns, values = chosen.names, chosen.values
    ahead, targets = chosen.future, chosen.targets
    layout = _layout(table, time_columns, key, chosen)
    whole = SeriesRows(table, name, rows, times, values[rows], columns, targets, ahead)
    if key is None and times is not None:
        _check_single_series(table, times, rows, taken)
    elif key is None and options.time_column is None:
        _check_single_count(table)
    groups = [whole] if key is None else _split_series(whole, table.texts(key), report)
    called = join_names([table.header[index] for index in time_columns])
    groups = [sort_rows(group, report, called) for group in groups]
    if wanted is None and len(groups) > 1:
        wanted = _most_common_frequency(groups)
    series: list[Series] = []
    failures: list[UnusableSeriesError] = []
    for group in groups:
        draft = SeriesReport(report.name)  # discarded with a series that is dropped
        try:
            built = build_series(group, wanted, options.min_rows, draft, options.is_learnt)
        except UnusableSeriesError as error:
            failures.append(error)
            continue
        report.merge(draft)
        time_column = called if built.times is not None else ""
        series.append(
            Series(
                group.name, built.times, built.frequency, columns, built.values, built.observed, built.future,
                time_column, style.format_times, targets, ahead, None if key is None else table.header[key], layout,
                style.offset or 0, built.dropped,
            )
        )  # fmt: skip
    if not series:
        raise failures[0]
    if failures:
        report.record(f"{len(failures):,} series {'is' if len(failures) == 1 else 'are'} dropped ({failures[0]})")
    return series


@dataclass(frozen=True)
class _ChosenColumns:
    """The columns to learn: targets, then covariates, then future covariates.

    Attributes:
        values: shape (rows of the table, columns).
        notations: column → how its numbers are written.
        sentinels: as in `TableLayout`.
    """

    names: tuple[str, ...]
    values: Values
    targets: int
    future: int
    notations: Mapping[str, str]
    sentinels: Mapping[str, tuple[float, ...]]


def _only_column(table: ColumnTable, name: str) -> int:
    index, *others = parse_columns(name, table.header, table.name)
    if others:
        raise DataError(f"{table.name}: the series are named by one column, not by {name!r}")
    return index


def _layout(table: ColumnTable, time: Sequence[int], key: int | None, chosen: _ChosenColumns) -> TableLayout:
    roles = dict.fromkeys(table.header, "unused")
    roles.update((table.header[index], "time") for index in time)
    roles.update((name, "target" if index < chosen.targets else "covariate") for index, name in enumerate(chosen.names))
    if key is not None:
        roles[table.header[key]] = "series"
    return TableLayout(table.format, table.delimiter, roles, chosen.notations, chosen.sentinels)


def _choose_columns(
    table: ColumnTable,
    options: SeriesOptions,
    taken: set[int],
    key: int | None,
    times: Integers | None,
    rows: Integers,
    report: SeriesReport,
) -> _ChosenColumns:
    """Return the given columns, or all numeric ones, with their values.

    Args:
        key: column that names the series; None for one series.
        times: of the `rows`; None without times.
    """
    given, past, ahead = (
        parse_columns(names, table.header, table.name)
        for names in (options.targets, options.covariates, options.future_covariates)
    )
    targets = set(given)
    found: dict[int, NumericColumn] = {}
    notations, sentinels = number_notations(table), _in_spelling_of(table.header, options.sentinels)
    indices = [*given, *past, *ahead]
    columns = parse_numeric_columns(table, indices, notations, sentinels)
    for index, column in zip(indices, columns, strict=True):
        name = table.header[index]
        if index in taken:
            raise DataError(f"{table.name}: the column {name!r} has times or series names, not numbers")
        if index in found:
            raise DataError(f"{table.name}: the column {name!r} is given twice")
        role = "target" if index in targets else "covariate"
        found[index] = _check_column(table, index, column, role, report)
    if not given:
        others = [index for index in range(len(table.header)) if index not in taken and index not in found]
        columns = parse_numeric_columns(table, others, notations, sentinels)
        parsed = dict(zip(others, columns, strict=True))
        given = _all_numeric(table, parsed, key, times, rows, report, options.time_column is None)
        found.update((index, parsed[index]) for index in given)
    indices = [*given, *past, *ahead]
    return _ChosenColumns(
        tuple(table.header[index] for index in indices),
        np.stack([found[index].values for index in indices], axis=1),
        len(given),
        len(ahead),
        {table.header[index]: "; ".join(found[index].notes) for index in indices if found[index].notes},
        {table.header[index]: found[index].sentinels for index in indices if found[index].sentinels},
    )


def _check_column(
    table: ColumnTable, index: int, column: NumericColumn, role: str, report: SeriesReport
) -> NumericColumn:
    """Return the column, and report its notation.

    Raises:
        DataError: a cell is not a finite number.
    """
    name = table.header[index]
    if column.bad >= 0:
        cell = table.texts(index)[column.bad][:40]
        if column.is_text and (pair := two_numbers(table, index)):
            raise DataError(f"{table.name}: {_of_two_numbers(name, pair)}")
        if column.is_text:
            raise DataError(
                f"{table.location(column.bad)}: the {role} {name!r} contains text ({cell!r}) instead of numbers"
            )
        raise DataError(
            f"{table.location(column.bad)}, column {name!r}: {cell!r} is not a number; "
            "correct it, or leave the cell empty"
        )
    infinite = np.flatnonzero(np.isinf(column.values))
    if len(infinite):
        where = table.location(int(infinite[0]))
        raise DataError(f"{where}, column {name!r}: infinite number; correct it, or leave the cell empty")
    for note in column.notes:
        report.record(note, column=name)
    return column


def _of_two_numbers(name: str, cell: str) -> str:
    return f"each cell of {name!r} has two numbers ({cell[:40]!r}); write them into two columns"


def _all_numeric(
    table: ColumnTable,
    parsed: dict[int, NumericColumn],
    key: int | None,
    times: Integers | None,
    rows: Integers,
    report: SeriesReport,
    may_have_times: bool,
) -> list[int]:
    """Return the indices of all columns that can be targets. The others are reported.

    Args:
        key: column that names the series; None for one series.
        may_have_times: whether no option says that there are none.
    """
    given: list[int] = []
    counters: list[int] = []
    codes: list[int] = []
    ignored: dict[tuple[str, str], list[int]] = {}
    for index, column in parsed.items():
        name = table.header[index]
        if column.is_text and two_numbers(table, index):
            ignored.setdefault(("has two numbers in each cell", "have two numbers in each cell"), []).append(index)
        elif column.is_text:
            ignored.setdefault(("contains text", "contain text"), []).append(index)
        elif column.missing > MAX_MISSING_FRACTION:
            ignored.setdefault(("is mostly empty", "are mostly empty"), []).append(index)
        elif is_row_counter(column.values, name, table.is_index(index), times is not None):
            counters.append(index)
        elif times is not None and repeats_time(column.values[rows], name, times):
            ignored.setdefault(("only repeats the time", "only repeat the time"), []).append(index)
        elif is_surely_time(name):
            ignored.setdefault(("has the name of a time", "have the names of times"), []).append(index)
        elif has_codes(table, index, column.values, key):
            codes.append(index)
        else:
            given.append(index)
    for index in given if len(given) > 1 else ():
        if table.is_index(index) and may_number_rows(parsed[index].values):
            report.record(
                "a column without a name is a target; if it numbers the rows, give the others by --target",
                column=table.header[index],
            )
    if not given:
        given, counters = counters, []  # there is no other column to forecast
    if not given:
        given, codes = codes, []
    if counters:
        ignored[("only numbers the rows", "only number the rows")] = counters
    if codes:
        ignored[("has codes", "have codes")] = codes
    for index in counters:
        if times is None and may_have_times and table.is_index(index) and may_be_years(parsed[index].values):
            report.record(
                "numbers without a name may be years; --time-column names the column then", column=table.header[index]
            )
    for index in given:
        _check_column(table, index, parsed[index], "target", report)
    for (singular, plural), indices in ignored.items():
        names = quoted_list([table.header[index] for index in indices], 8)
        report.record(
            f"{names} {singular} and is ignored" if len(indices) == 1 else f"{names} {plural} and are ignored"
        )
    if not given:
        pairs = ((table.header[index], pair) for index in parsed if (pair := two_numbers(table, index)))
        why = next(itertools.starmap(_of_two_numbers, pairs), f"the columns are {listed(table.header)}")
        raise DataError(f"{table.name} has no numeric column to forecast; {why}")
    return given


def _check_single_series(table: ColumnTable, times: Integers, rows: Integers, taken: set[int]) -> None:
    """Raise `DataError` if many rows share a time and a column of names distinguishes them."""
    if 5 * (len(times) - len(distinct_times(times))) < len(times):
        return
    found = find_series_column(table, times, rows, sorted(taken))
    if found:
        raise DataError(
            f"{table.name} has {found[1]:,} series, distinguished by the column {found[0]!r}; give --series {found[0]}"
        )


def _check_single_count(table: ColumnTable) -> None:
    """Raise `DataError` if the numbers in a column that is called a time start again: there are several series."""
    for index, name in enumerate(table.header):
        if not is_surely_time(name):
            continue
        numbers = [number for cell in table.texts(index) if (number := parse_number(cell)) is not None]
        again = [row for row, number in enumerate(numbers) if row and number == numbers[0]]
        if again and counts_rows(np.array(numbers)):
            raise DataError(
                f"{table.location(again[0])}: {name!r} starts again, so there are several series; give --series and "
                "the column of their names"
            )


def _split_series(whole: SeriesRows, names: Sequence[str], report: SeriesReport) -> list[SeriesRows]:
    """Split the rows by series, in the order in which the series start."""
    members: dict[str, list[int]] = {}
    for row, line in enumerate(whole.lines.tolist()):
        members.setdefault(names[line], []).append(row)
    nameless = members.pop("", [])
    if nameless:
        report.record("{count} {row has|rows have} no series name and {is|are} dropped", len(nameless))
    if not members:
        raise DataError(f"{whole.table.name}: no row has a series name")
    return [
        replace(whole.select(np.array(chosen)), name=f"{whole.name}/{name}" if whole.name else name)
        for name, chosen in members.items()
    ]


def _most_common_frequency(groups: Sequence[SeriesRows]) -> Frequency | None:
    """Return the most common frequency of several series; None if none has a frequency."""
    count: Counter[Frequency] = Counter()
    for group in groups:
        if group.times is not None and (
            found := infer_frequency((group.times // MICROS_PER_SECOND).astype("datetime64[s]"))
        ):
            count[Frequency(found.unit, found.count)] += 1
    return count.most_common(1)[0][0] if count else None


def _has_frequency(wanted: Frequency, times: Integers) -> bool:
    """Whether times have the wanted frequency."""
    found = infer_frequency(distinct_times(times // MICROS_PER_SECOND).astype("datetime64[s]"))
    return found is not None and found.name == wanted.name


def season(series: Series) -> int:
    """Return the rows in the likeliest seasonal period that fits into the series at least twice; 1 for none."""
    return next((rows for rows in series.frequency.seasons if 2 * rows <= len(series)), 1)
