"""Roles of a table's columns (times, series names, numbers), and their values."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.dates import (
    ISO,
    ISO_DATE,
    MICROS_PER_SECOND,
    Integers,
    ParsedTimes,
    epoch_microseconds,
    is_time_of_day,
    looks_like_time,
    parse_times,
    regularity,
    times_from_numbers,
)  # fmt: skip
from seqgen.corpus.series.numbers import decimal_mark_of, is_missing, notation_notes, parse_number
from seqgen.corpus.series.tables import Floats, Table, format_number
from seqgen.errors import DataError

# Names of time columns. Numbers are read as times in a column of such a name only.
_TIME_NAMES = frozenset(
    ("date", "time", "datetime", "date time", "timestamp", "time stamp", "ds", "dt", "ts", "day", "month", "year",
     "quarter", "week", "period", "hour", "unix", "epoch", "unix time", "unix timestamp", "open time", "yyyymm",
     "yyyymmdd", "yr", "日期", "时间", "年月", "年份", "年", "月份", "交易日期", "datum", "fecha", "zeit")
)  # fmt: skip
_COUNTER_NAMES = frozenset(
    ("id", "index", "idx", "no", "nr", "num", "number", "row", "step", "t", "unnamed 0", "序号", "编号")
)
# Fields of a time that may be separate columns, from the largest.
_FIELDS = (("Y", ("year", "yr", "yyyy", "年", "年份")), ("m", ("month", "mon", "mo", "mm", "月", "月份")),
           ("d", ("day", "dy", "dd", "dom", "日")), ("H", ("hour", "hr", "hh", "时", "小时")),
           ("M", ("minute", "min", "mi", "分")), ("S", ("second", "sec", "ss", "秒")))  # fmt: skip
_SAMPLE_CELLS = 60  # from which a time column is detected
_MIN_TIMES = 0.8  # fraction of its cells that must be times; the others are then errors
_PLAIN_NUMBER = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")
_MARK_SAMPLE_CELLS = 400  # from which the decimal mark is detected


@dataclass(frozen=True)
class NumericColumn:
    """Values of a numeric column.

    Attributes:
        values: NaN if missing or invalid.
        bad: first row that is neither a number nor missing, −1 for none.
        bad_count: number of such rows.
        notes: sentences on how numbers that are not plain were interpreted.
    """

    values: Floats
    bad: int
    bad_count: int
    notes: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether most cells that are not missing are text."""
        return self.bad_count > 0 and self.bad_count >= int((~np.isnan(self.values)).sum())

    @property
    def missing(self) -> float:
        """Fraction of rows without a number."""
        return float(np.isnan(self.values).mean()) if len(self.values) else 1.0


def column_index(table: Table, name: str, role: str = "column") -> int:
    """Return the index of a column.

    Raises:
        DataError: there is no such column; the message lists those there are.
    """
    if name in table.header:
        return table.header.index(name)
    folded = [each for each in table.header if each.lower() == name.lower()]
    if len(folded) == 1:
        return table.header.index(folded[0])
    near = folded or difflib.get_close_matches(name, table.header, 1)
    available = ", ".join(table.header[:12])
    available += f" and {len(table.header) - 12} more" if len(table.header) > 12 else ""
    hint = f"did you mean {near[0]!r}? The" if near else "the"
    raise DataError(f"{table.name}: there is no {role} {name!r}; {hint} columns are {available}")


def parse_numeric_column(table: Table, index: int, marks: DecimalMarks) -> NumericColumn:
    """Parse a column of numbers. `marks`: `decimal_marks` of the table."""
    decimal_mark = _decimal_mark(table, index, marks)
    blocks = table.blocks[index]
    if decimal_mark == "," and any(
        not isinstance(block, list) and (block != np.floor(block)).any() for block in blocks
    ):
        blocks = [table.texts(index)]
    values: list[Floats] = []
    bad, bad_count, row = -1, 0, 0
    notations: list[str] = []
    for block in blocks:
        if not isinstance(block, list):
            values.append(block)
        else:
            numbers = [parse_number(cell, decimal_mark) for cell in block]
            if None in numbers:
                invalid = [position for position, number in enumerate(numbers) if number is None]
                bad = row + invalid[0] if bad < 0 else bad
                bad_count += len(invalid)
            if len(notations) < _MARK_SAMPLE_CELLS:
                both = zip(block, numbers, strict=True)
                notated = (cell for cell, number in both if number == number and not _PLAIN_NUMBER.fullmatch(cell))
                notations += itertools.islice(notated, _MARK_SAMPLE_CELLS)
            values.append(np.array([np.nan if number is None else number for number in numbers], dtype=np.float64))
        row += len(block)
    notes = notation_notes(notations)
    if any("," in cell for cell in notations):
        notes.append(
            "the comma is the decimal mark (1,5 is 1.5)"
            if decimal_mark == ","
            else "commas group thousands (1,234 is 1234)"
        )
    return NumericColumn(np.concatenate(values) if values else np.zeros(0), bad, bad_count, tuple(notes))


@dataclass(frozen=True)
class DecimalMarks:
    """Certain decimal marks of each column (point, comma, both or neither), and the number of columns with a comma."""

    columns: tuple[set[str], ...]
    commas: int


def decimal_marks(table: Table) -> DecimalMarks:
    """Detect the decimal marks of a table."""
    columns = tuple(_marks(table.sample(index, _MARK_SAMPLE_CELLS)) for index in range(len(table.header)))
    return DecimalMarks(columns, sum(found == {","} for found in columns))


def _marks(cells: Sequence[str]) -> set[str]:
    marks = (decimal_mark_of(cell) for cell in cells if "," in cell or "." in cell)
    return {mark for mark, certain in marks if certain}


def _decimal_mark(table: Table, index: int, marks: DecimalMarks) -> str:
    """Return the decimal mark of a column, or that of the whole table if the column leaves it open."""
    own = marks.columns[index]
    elsewhere = marks.commas > (own == {","})
    if elsewhere and own == {"."}:  # 2.500 was stored as a float, and looked like 2.5
        own = _marks(table.texts(index)[:_MARK_SAMPLE_CELLS])
    if own:
        return "," if own == {","} else "."
    if elsewhere:
        return ","
    ambiguous = any("," in cell for cell in table.sample(index, _MARK_SAMPLE_CELLS))
    return "," if ambiguous and table.delimiter == ";" else "."


def is_row_counter(values: Floats, name: str) -> bool:
    """Whether a column only numbers the rows: from 0 or 1 in steps of one, or evenly under a name such as `id`."""
    if len(values) < 3 or values[1] <= values[0]:
        return False
    steps = np.diff(values)
    from_start = values[0] in (0, 1) and bool((steps == 1).all())
    return from_start or (_normalise_name(name) in _COUNTER_NAMES | _TIME_NAMES and bool((steps == steps[0]).all()))


# ---- Times ----


def find_time_columns(table: Table, wanted: str | None) -> tuple[int, ...]:
    """Return the time columns: one, or a date and a time of day, or year, month, …; () for none.

    Raises:
        DataError: a column of `wanted` (see `SeriesOptions.time_column`) is missing.
    """
    if wanted == "":
        return ()
    if wanted is not None:
        if wanted in table.header or "," not in wanted:
            return (column_index(table, wanted, "time column"),)
        return tuple(column_index(table, name.strip(), "time column") for name in wanted.split(","))
    candidates = [index for index in range(len(table.header)) if _matches(table, index, looks_like_time, _MIN_TIMES)]
    if candidates:
        named = [index for index in candidates if _normalise_name(table.header[index]) in _TIME_NAMES]
        date = (named or candidates)[0]
        clocks = [
            index for index in range(len(table.header)) if index != date and _matches(table, index, is_time_of_day)
        ]
        return (date, clocks[0]) if clocks and ":" not in "".join(table.sample(date, 4)) else (date,)
    fields = _field_columns(table, range(len(table.header)))
    if len(fields) > 1:
        return tuple(fields.values())
    for index, name in enumerate(table.header):
        sample = table.sample(index, _SAMPLE_CELLS)
        numbers = [parse_number(cell) for cell in sample]
        if sample and all(number is not None for number in numbers):
            values = np.array(numbers, dtype=np.float64)
            parsed = times_from_numbers(values, name)
            if parsed is not None and (
                _normalise_name(name) in _TIME_NAMES or (index == 0 and _is_regular(values, parsed))
            ):
                return (index,)
    return ()


def _is_regular(values: Floats, parsed: ParsedTimes) -> bool:
    """Whether numbers are times regardless of the column's name: eight-digit dates, or regular steps since 1970."""
    ascending = len(values) > 2 and bool((np.diff(values) > 0).all())
    return ascending and values[0] > 1e7 and (not parsed.style.number or regularity(parsed.times) >= _MIN_TIMES)


def _normalise_name(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.lower()).strip()


def _matches(table: Table, index: int, test: Callable[[str], bool], fraction: float = 1.0) -> bool:
    sample = table.sample(index, _SAMPLE_CELLS)
    return bool(sample) and sum(map(test, sample)) >= fraction * len(sample)


def _field_columns(table: Table, indices: Sequence[int]) -> dict[str, int]:
    """Return field → column if year, month and so on are separate columns, up to the first missing field."""
    names = [_normalise_name(name) if index in indices else "" for index, name in enumerate(table.header)]
    found: dict[str, int] = {}
    for letter, words in _FIELDS:
        index = next((names.index(word) for word in words if word in names), None)
        if index is None or not all(parse_number(cell) is not None for cell in table.sample(index, _SAMPLE_CELLS)):
            break
        found[letter] = index
    return found


def read_times(
    table: Table, indices: Sequence[int], fits: Callable[[Integers], bool] | None
) -> tuple[ParsedTimes, Integers]:
    """Read the times.

    Args:
        fits: see `parse_times`.

    Returns:
        The times, and the rows that have one.

    Raises:
        DataError: a cell is not a time.
    """
    fields = _field_columns(table, indices) if len(indices) > 1 else {}
    if len(fields) == len(indices):
        return _assemble_times(table, fields)
    cells = table.texts(indices[0])
    for index in indices[1:]:
        cells = [f"{date} {clock}".strip() for date, clock in zip(cells, table.texts(index), strict=True)]
    rows = np.array([row for row, cell in enumerate(cells) if not is_missing(cell)], dtype=np.int64)
    present = [cells[row] for row in rows]
    name = ", ".join(map(table.header.__getitem__, indices))
    if not present:
        raise DataError(f"{table.name}: the column {name!r} has no times")
    parsed = parse_times(present, fits=fits)
    if parsed.bad >= 0 and not looks_like_time(present[0]):
        numbers = [parse_number(cell) for cell in present]
        if all(number is not None for number in numbers):
            from_numbers = times_from_numbers(np.array(numbers, dtype=np.float64), name)
            if from_numbers is not None:
                return from_numbers, rows
    if parsed.bad >= 0:
        digits = parse_times(present, digits=True, fits=fits)
        if digits.bad >= 0:
            cell = present[digits.bad]
            raise DataError(
                f"{table.location(int(rows[digits.bad]))}, column {name!r}: {cell[:40]!r} is not a time; "
                "write it as 2020-01-31 or 2020-01-31 18:00:00"
            )
        parsed = digits
    if parsed.unsure:
        example = next(cell for cell in present if len(set(re.split(r"[-/]", cell)[:2])) == 2)
        raise DataError(
            f"{table.location(int(rows[present.index(example)]))}, column {name!r}: {example!r} could be day/month or "
            "month/day, and no row decides it; write dates as 2020-01-31"
        )
    return parsed, rows


def _assemble_times(table: Table, field_columns: Mapping[str, int]) -> tuple[ParsedTimes, Integers]:
    fields: dict[str, tuple[str | None, ...]] = {}
    for letter, index in field_columns.items():
        cells = []
        for row, cell in enumerate(table.texts(index)):
            number = parse_number(cell)
            if number is None or number != number or number != int(number):
                raise DataError(
                    f"{table.location(row)}, column {table.header[index]!r}: {cell[:40]!r} is not an integer"
                )
            cells.append(format_number(number))
        fields[letter] = tuple(cells)
    times = epoch_microseconds(fields, len(table), "")
    unknown = np.flatnonzero(times == np.iinfo(np.int64).min)
    if len(unknown):
        row = int(unknown[0])
        raise DataError(f"{table.location(row)}: invalid time {' '.join(str(cells[row]) for cells in fields.values())}")
    dates = not (times % (86400 * MICROS_PER_SECOND)).any()
    return ParsedTimes(times, ISO_DATE if dates else ISO), np.arange(len(table), dtype=np.int64)


def find_series_column(
    table: Table, keys: npt.NDArray[np.int64], rows: Integers, taken: Sequence[int]
) -> tuple[str, int] | None:
    """Find the text column that distinguishes rows of the same time.

    Returns:
        Its name and the number of distinct values; None if there is none.
    """
    for index, name in enumerate(table.header):
        if index in taken:
            continue
        cells = table.texts(index)
        names = [cells[row] for row in rows]
        distinct = len(set(names))
        if 1 < distinct <= len(rows) // 2 and len(set(zip(keys.tolist(), names, strict=True))) == len(rows):
            return name, distinct
    return None
