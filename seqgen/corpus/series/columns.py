"""Which column of a table is what: times, names of series, targets, covariates; and their numbers."""

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

# Names that a column of times goes by. A column of numbers is taken for times under one of these only.
_TIME_NAMES = frozenset(
    ("date", "time", "datetime", "date time", "timestamp", "time stamp", "ds", "dt", "ts", "day", "month", "year",
     "quarter", "week", "period", "hour", "unix", "epoch", "unix time", "unix timestamp", "open time", "yyyymm",
     "yyyymmdd", "yr", "日期", "时间", "年月", "年份", "年", "月份", "交易日期", "datum", "fecha", "zeit")
)  # fmt: skip
_COUNTER_NAMES = frozenset(
    ("id", "index", "idx", "no", "nr", "num", "number", "row", "step", "t", "unnamed 0", "序号", "编号")
)
# Fields of a time that may have columns of their own, the widest first.
_FIELDS = (("Y", ("year", "yr", "yyyy", "年", "年份")), ("m", ("month", "mon", "mo", "mm", "月", "月份")),
           ("d", ("day", "dy", "dd", "dom", "日")), ("H", ("hour", "hr", "hh", "时", "小时")),
           ("M", ("minute", "min", "mi", "分")), ("S", ("second", "sec", "ss", "秒")))  # fmt: skip
_LOOKED_AT = 60  # cells from which it is told whether a column holds times
_MOST = 0.8  # share of a column's cells that must be times; the others are then refused by line
_BARE = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")
_MARKED = 400  # cells with a point or a comma from which it is told which one stands before decimals


@dataclass(frozen=True)
class NumericColumn:
    """A column's numbers, NaN where missing or bad.

    bad: the first row that is neither a number nor missing, −1 for none; bad_count: how many there are.
    notes: how numbers that are not plain were read.
    """

    values: Floats
    bad: int
    bad_count: int
    notes: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether most of what it holds is no number."""
        return self.bad_count > 0 and self.bad_count >= int((~np.isnan(self.values)).sum())

    @property
    def missing(self) -> float:
        """The share of rows without a number."""
        return float(np.isnan(self.values).mean()) if len(self.values) else 1.0


def column_index(table: Table, name: str, what: str = "column") -> int:
    """The place of a column. Raises `DataError` with the names that there are."""
    if name in table.header:
        return table.header.index(name)
    folded = [one for one in table.header if one.lower() == name.lower()]
    if len(folded) == 1:
        return table.header.index(folded[0])
    near = folded or difflib.get_close_matches(name, table.header, 1)
    there = ", ".join(table.header[:12]) + (f" and {len(table.header) - 12} more" if len(table.header) > 12 else "")
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    raise DataError(f"{table.name}: there is no {what} {name!r}{hint} there are {there}")


def parse_numeric_column(table: Table, place: int, marks: DecimalMarks) -> NumericColumn:
    """A column's numbers. marks: `decimal_marks` of the table."""
    comma = _comma(table, place, marks)
    blocks = table.blocks[place]
    if comma == "," and any(not isinstance(block, list) and (block != np.floor(block)).any() for block in blocks):
        blocks = [table.texts(place)]
    values: list[Floats] = []
    bad, bad_count, row = -1, 0, 0
    ornate: list[str] = []
    for block in blocks:
        if not isinstance(block, list):
            values.append(block)
        else:
            read = [parse_number(cell, comma) for cell in block]
            if None in read:
                wrong = [place for place, number in enumerate(read) if number is None]
                bad = row + wrong[0] if bad < 0 else bad
                bad_count += len(wrong)
            if len(ornate) < _MARKED:
                both = zip(block, read, strict=True)
                dressed = (cell for cell, number in both if number == number and not _BARE.fullmatch(cell))
                ornate += itertools.islice(dressed, _MARKED)
            values.append(np.array([np.nan if number is None else number for number in read], dtype=np.float64))
        row += len(block)
    notes = notation_notes(ornate)
    if any("," in cell for cell in ornate):
        notes.append(
            "a comma stands before decimals (1,5 is 1.5)" if comma == "," else "commas group thousands (1,234 is 1234)"
        )
    return NumericColumn(np.concatenate(values) if values else np.zeros(0), bad, bad_count, tuple(notes))


@dataclass(frozen=True)
class DecimalMarks:
    """What is certain to stand before decimals in each column: a point, a comma, both, or neither; and in how many it
    is a comma."""

    columns: tuple[set[str], ...]
    commas: int


def decimal_marks(table: Table) -> DecimalMarks:
    """The marks of a table."""
    columns = tuple(_marks(table.sample(place, _MARKED)) for place in range(len(table.header)))
    return DecimalMarks(columns, sum(found == {","} for found in columns))


def _marks(cells: Sequence[str]) -> set[str]:
    read = (decimal_mark_of(cell) for cell in cells if "," in cell or "." in cell)
    return {mark for mark, certain in read if certain}


def _comma(table: Table, place: int, marks: DecimalMarks) -> str:
    """What stands before the decimals in a column; where the column does not tell, what the whole table says."""
    own = marks.columns[place]
    elsewhere = marks.commas > (own == {","})
    if elsewhere and own == {"."}:  # 2.500 was kept as a number, and looked like 2.5
        own = _marks(table.texts(place)[:_MARKED])
    if own:
        return "," if own == {","} else "."
    if elsewhere:
        return ","
    ambiguous = any("," in cell for cell in table.sample(place, _MARKED))
    return "," if ambiguous and table.delimiter == ";" else "."


def is_row_counter(values: Floats, name: str) -> bool:
    """Whether a column only numbers the rows: from 0 or 1 by ones, or evenly under a name that says so."""
    if len(values) < 3 or values[1] <= values[0]:
        return False
    steps = np.diff(values)
    from_start = values[0] in (0, 1) and bool((steps == 1).all())
    return from_start or (_plain(name) in _COUNTER_NAMES | _TIME_NAMES and bool((steps == steps[0]).all()))


# ---- Times ----


def find_time_columns(table: Table, wanted: str | None) -> tuple[int, ...]:
    """The columns that hold the time: one, or a date and a time of day, or year, month, …; () for none.

    Raises `DataError` where `wanted` (see `SeriesOptions`) is not there.
    """
    if wanted == "":
        return ()
    if wanted is not None:
        if wanted in table.header or "," not in wanted:
            return (column_index(table, wanted, "time column"),)
        return tuple(column_index(table, name.strip(), "time column") for name in wanted.split(","))
    written = [place for place in range(len(table.header)) if _holds(table, place, looks_like_time, _MOST)]
    if written:
        named = [place for place in written if _plain(table.header[place]) in _TIME_NAMES]
        date = (named or written)[0]
        clocks = [place for place in range(len(table.header)) if place != date and _holds(table, place, is_time_of_day)]
        return (date, clocks[0]) if clocks and ":" not in "".join(table.sample(date, 4)) else (date,)
    spread = _spread(table, range(len(table.header)))
    if len(spread) > 1:
        return tuple(spread.values())
    for place, name in enumerate(table.header):
        sample = table.sample(place, _LOOKED_AT)
        known = [parse_number(cell) for cell in sample]
        if sample and all(number is not None for number in known):
            values = np.array(known, dtype=np.float64)
            reading = times_from_numbers(values, name)
            if reading is not None and (_plain(name) in _TIME_NAMES or (place == 0 and _is_clockwork(values, reading))):
                return (place,)
    return ()


def _is_clockwork(values: Floats, reading: ParsedTimes) -> bool:
    """Whether numbers without a telling name are times: dates of eight digits, or even steps since 1970."""
    rises = len(values) > 2 and bool((np.diff(values) > 0).all())
    return rises and values[0] > 1e7 and (not reading.style.number or regularity(reading.times) >= _MOST)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.lower()).strip()


def _holds(table: Table, place: int, what: Callable[[str], bool], share: float = 1.0) -> bool:
    sample = table.sample(place, _LOOKED_AT)
    return bool(sample) and sum(map(what, sample)) >= share * len(sample)


def _spread(table: Table, places: Sequence[int]) -> dict[str, int]:
    """Field → column, where year, month and so on have columns of their own; fields without a gap between them."""
    names = [_plain(name) if place in places else "" for place, name in enumerate(table.header)]
    found: dict[str, int] = {}
    for letter, words in _FIELDS:
        place = next((names.index(word) for word in words if word in names), None)
        if place is None or not all(parse_number(cell) is not None for cell in table.sample(place, _LOOKED_AT)):
            break
        found[letter] = place
    return found


def read_times(table: Table, places: Sequence[int], fits: Callable[[Integers], bool] | None) -> tuple[ParsedTimes, Integers]:
    """The times of the rows that have one, and which rows these are. Raises `DataError` for what is no time."""
    spread = _spread(table, places) if len(places) > 1 else {}
    if len(spread) == len(places):
        return _assembled(table, spread)
    cells = table.texts(places[0])
    for place in places[1:]:
        cells = [f"{date} {clock}".strip() for date, clock in zip(cells, table.texts(place), strict=True)]
    rows = np.array([row for row, cell in enumerate(cells) if not is_missing(cell)], dtype=np.int64)
    kept = [cells[row] for row in rows]
    called = ", ".join(map(table.header.__getitem__, places))
    if not kept:
        raise DataError(f"{table.name}: the column {called!r} holds no times")
    reading = parse_times(kept, fits=fits)
    if reading.bad >= 0 and not looks_like_time(kept[0]):
        known = [parse_number(cell) for cell in kept]
        if all(number is not None for number in known):
            counted = times_from_numbers(np.array(known, dtype=np.float64), called)
            if counted is not None:
                return counted, rows
    if reading.bad >= 0:
        digits = parse_times(kept, digits=True, fits=fits)
        if digits.bad >= 0:
            cell = kept[digits.bad]
            raise DataError(
                f"{table.location(int(rows[digits.bad]))}, column {called!r}: {cell[:40]!r} is no time; "
                "write it as 2020-01-31 or 2020-01-31 18:00:00"
            )
        reading = digits
    if reading.unsure:
        example = next(cell for cell in kept if len(set(re.split(r"[-/]", cell)[:2])) == 2)
        raise DataError(
            f"{table.location(int(rows[kept.index(example)]))}, column {called!r}: {example!r} may be day/month or "
            "month/day, and no row tells; write dates as 2020-01-31"
        )
    return reading, rows


def _assembled(table: Table, spread: Mapping[str, int]) -> tuple[ParsedTimes, Integers]:
    fields: dict[str, tuple[str | None, ...]] = {}
    for letter, place in spread.items():
        cells = []
        for row, cell in enumerate(table.texts(place)):
            number = parse_number(cell)
            if number is None or number != number or number != int(number):
                raise DataError(f"{table.location(row)}, column {table.header[place]!r}: {cell[:40]!r} is no whole number")
            cells.append(format_number(number))
        fields[letter] = tuple(cells)
    found = epoch_microseconds(fields, len(table), "")
    unknown = np.flatnonzero(found == np.iinfo(np.int64).min)
    if len(unknown):
        row = int(unknown[0])
        raise DataError(
            f"{table.location(row)}: there is no time {' '.join(str(cells[row]) for cells in fields.values())}"
        )
    dates = not (found % (86400 * MICROS_PER_SECOND)).any()
    return ParsedTimes(found, ISO_DATE if dates else ISO), np.arange(len(table), dtype=np.int64)


def find_series_column(
    table: Table, keys: npt.NDArray[np.int64], rows: Integers, taken: Sequence[int]
) -> tuple[str, int] | None:
    """The column of text that tells rows of the same time apart, and how many names it has; None if none does."""
    for place, name in enumerate(table.header):
        if place in taken:
            continue
        cells = table.texts(place)
        names = [cells[row] for row in rows]
        distinct = len(set(names))
        if 1 < distinct <= len(rows) // 2 and len(set(zip(keys.tolist(), names, strict=True))) == len(rows):
            return name, distinct
    return None
