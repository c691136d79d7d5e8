"""Numeric columns of a table in the notation that fits them, and the column that names the series."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.dates import Integers, looks_like_time
from seqgen.corpus.series.numbers import decimal_mark_of, is_missing, notation_notes, parse_number
from seqgen.corpus.series.tables import Block, ColumnTable, Floats
from seqgen.corpus.series.time_names import is_calendar, is_counter, is_index_name, normalise_name

_PLAIN_NUMBER = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")
_MARK_SAMPLE_CELLS = 400  # with a mark, from which the decimal mark is detected
_FLAG = re.compile(r"(.*\d)(?:\s[bcdefnprsuz]{1,2}|\s?(?:\*{1,3}|[†‡]|\([a-zA-Z]\)|\[\w\]))")
_DOTTED_DATE = re.compile(r"\d{1,2}\.\s?\d{1,2}\.\s?\d{4}(?!\d)")
_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}\.\d{3}")
# Missing values in files of measurements, if all other numbers are far from them.
_SENTINELS = (-99.0, -99.9, -99.99, -999.0, -999.9, -999.99, -9999.0, -9999.9, -99999.0, -32768.0, -999999.0)
_POSITIVE_SENTINELS = (999.9, 9999.9, 99999.9)  # in several rows; 999 may be a count, and 99.99 a price
_MAX_TENTHS = 1e15  # beyond, a number has no tenths
_MIN_RISING = 10  # steps of row numbers for each that goes the other way
_MAX_PER_ONE = 5  # steps of row numbers for each that is one: of those of rows left out, one is the commonest
_ONE = r"[-+−]?\d{1,12}(?:[.,]\d{1,12})?\s?[^\W\d_]{0,4}[°℃℉%]?[CF]?"
_TWO_NUMBERS = re.compile(rf"{_ONE}\s?[/~～|]\s?{_ONE}")
_CODE = re.compile(r"[0-9]{4,6}\.(?:S[HSZ]|BJ|HK|XSH[EG])", re.IGNORECASE)  # of shares: 000001.SZ
_CODE_NAME = re.compile(
    r"(?!.*\b(?:of|error|status|return|exit) code$)(?:.*\b)?(?:code|symbol|ticker)"  # lines of code are none
)
_HAN_CODE_NAME = re.compile(r"(?!.*(?:错误|錯誤|状态|狀態|返回|退出)).*代[码碼号號]")
_CODE_DIGITS = 5  # from which numbers of one width with leading zeros are codes though they vary
_MAX_CODES = 0.75  # for each row; readings of one width, as those of meters, differ in more
_SENTINEL_DISTANCE = 5.0  # times as far from zero as the farthest other number: on that side, of those above on any
NO_SENTINELS: Mapping[str, tuple[float, ...]] = MappingProxyType({})


@dataclass(frozen=True)
class NumericColumn:
    """Values of a numeric column.

    Attributes:
        values: NaN if missing or invalid.
        bad: first row that is neither a number nor missing, −1 for none.
        bad_count: number of such rows.
        notes: sentences on how numbers that are not plain were interpreted.
        decimal_mark: point or comma.
        sentinels: numbers that mean a missing one.
    """

    values: Floats
    bad: int
    bad_count: int
    notes: tuple[str, ...] = ()
    decimal_mark: str = "."
    sentinels: tuple[float, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether most cells that are not missing are text."""
        return self.bad_count > 0 and self.bad_count >= int((~np.isnan(self.values)).sum())

    @property
    def missing(self) -> float:
        """Fraction of rows without a number."""
        return float(np.isnan(self.values).mean()) if len(self.values) else 1.0


@dataclass(frozen=True)
class Notation:
    """How the numbers of a column are written.

    Attributes:
        decimal_mark: point or comma.
        note: how numbers that could be understood otherwise are read, '' for none.
    """

    decimal_mark: str = "."
    note: str = ""


def parse_numeric_columns(
    table: ColumnTable,
    indices: Sequence[int],
    notations: Sequence[Notation],
    sentinels: Mapping[str, Sequence[float]] = NO_SENTINELS,
) -> Iterator[NumericColumn]:
    """Parse columns of numbers, in this order.

    Args:
        notations: of all columns, see `number_notations`.
        sentinels: column → numbers that are known to mean a missing one, be it in a single row.
    """
    lost = {index for index in indices if _has_lost_marks(table.blocks[index], notations[index])}
    texts = table.each_texts([index for index in indices if index in lost])
    for index in indices:
        blocks = [next(texts)] if index in lost else table.blocks[index]
        yield _parse_column(table, index, blocks, notations[index], sentinels.get(table.header[index], ()))


def _has_lost_marks(blocks: Sequence[Block], notation: Notation) -> bool:
    """Whether the numbers of some blocks must be read again: 1.000 was stored as a float, and looks like 1."""
    numbers_only = [block for block in blocks if not isinstance(block, list)]
    fraction = any((block != np.floor(block)).any() for block in numbers_only)
    mixed = len(numbers_only) < len(blocks)  # 1.000.000 elsewhere says that points group thousands
    return notation.decimal_mark == "," and bool(numbers_only) and (bool(notation.note) or fraction or mixed)


def _parse_column(
    table: ColumnTable, index: int, blocks: Sequence[Block], notation: Notation, known: Sequence[float]
) -> NumericColumn:
    decimal_mark = notation.decimal_mark
    values: list[Floats] = []
    bad, bad_count, row = -1, 0, 0
    flagged = _flagged(table.sample(index), decimal_mark)
    notations: list[str] = []
    for block in blocks:
        if not isinstance(block, list):
            values.append(block)
        else:
            numbers = [parse_number(cell, decimal_mark) for cell in block]
            if None in numbers and flagged:
                numbers = [
                    _without_flag(cell, decimal_mark) if number is None else number
                    for cell, number in zip(block, numbers, strict=True)
                ]
            if others := table.other_units.get(index):
                numbers = [None if row + position in others else number for position, number in enumerate(numbers)]
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
    notes = notation_notes(notations, table.sample(index) if notations else [])
    if index in table.units:
        notes.append(f"the unit {table.units[index]!r} behind the numbers is left out")
    if flagged:
        notes.append(f"marks behind numbers are left out (the first: {flagged!r})")
    if notation.note:
        notes.append(notation.note)
    elif any("," in cell for cell in notations):
        notes.append(
            "the comma is the decimal mark (1,5 is 1.5)"
            if decimal_mark == ","
            else "commas group thousands (1,234 is 1234)"
        )
    whole = np.concatenate(values) if values else np.zeros(0)
    sentinels = [number for number in known if (whole == number).any()]
    whole = _without(whole, sentinels)
    found = _find_sentinels(whole)
    if any(number > 0 for number in found) and not _are_tenths(table.texts(index), decimal_mark):
        found = [number for number in found if number < 0]
    sentinels += found
    if sentinels:
        notes.append(f"{' and '.join(f'{number:g}' for number in sentinels)} stands for a missing number")
    return NumericColumn(_without(whole, found), bad, bad_count, tuple(notes), decimal_mark, tuple(sentinels))


def _flagged(cells: Sequence[str], decimal_mark: str) -> str:
    """Return the first number with a flag behind it, `12.3 p`, in a column of numbers most of which have none."""
    flagged = [cell for cell in cells if parse_number(cell, decimal_mark) is None]
    marked = [cell for cell in flagged if _without_flag(cell, decimal_mark) is not None]
    return marked[0] if marked and 2 * len(flagged) < len(cells) else ""


def _without_flag(cell: str, decimal_mark: str) -> float | None:
    """Parse a number with a flag of statistical offices behind it, None if it is none."""
    found = _FLAG.fullmatch(cell)
    return None if found is None else parse_number(found[1], decimal_mark)


def _without(values: Floats, sentinels: Sequence[float]) -> Floats:
    """Return the values with NaN for some numbers."""
    return np.where(np.isin(values, sentinels), np.nan, values) if sentinels else values


def _find_sentinels(values: Floats) -> list[float]:
    """Return the numbers such as −999 that stand for a missing one; of those above zero see `_are_tenths` too."""
    low, high = (float(end(values, initial=0.0)) if len(values) else 0.0 for end in (np.nanmin, np.nanmax))
    if low > max(_SENTINELS) and high < min(_POSITIVE_SENTINELS):
        return []
    candidates = [number for number in _SENTINELS if (values == number).any()]
    candidates += [number for number in _POSITIVE_SENTINELS if (values == number).sum() > 1]
    others = values[~np.isin(values, candidates) & ~np.isnan(values)]
    if not candidates or not len(others):
        return []
    tenths = others[np.abs(others) < _MAX_TENTHS] * 10
    are_tenths = not (np.abs(tenths - np.round(tenths)) > 1e-6).any()
    are_prices = 2 * (np.round(tenths) % 10 == 9).sum() >= len(tenths)  # 19.90 and 29.90
    ends = {-1.0: max(-float(others.min()), 0.0), 1.0: float(np.abs(others).max())}
    found = set()
    for number in sorted(candidates, key=abs):
        side = float(np.sign(number))
        if abs(number) <= _SENTINEL_DISTANCE * ends[side] or (side > 0 and (are_prices or not are_tenths)):
            ends[side] = max(ends[side], abs(number))  # it is a number, from which larger ones have to be far, too
        else:
            found.add(number)
    return [number for number in candidates if number in found]


def _are_tenths(cells: Sequence[str], decimal_mark: str) -> bool:
    """Whether no number is written with more than one decimal: 999.90 is a price."""
    return not any(re.search(rf"{re.escape(decimal_mark)}\d\d", cell) for cell in cells)


# ---- Decimal marks ----


def number_notations(table: ColumnTable) -> tuple[Notation, ...]:
    """Decide how the numbers of each column are written: by the column itself, or else by the rest of the table.

    A comma or point is certainly the decimal mark if it stands before other than three digits; certainly one of
    thousands if it occurs twice in a number; and very likely one of thousands if all numbers without it are below 1000.
    Otherwise a comma between cells says that the point is decimal, and a semicolon beside dates such as 31.12.2021 that
    it groups thousands.
    """
    found = [_MarkedColumn.of(table, index) for index in range(len(table.header))]
    texts = table.each_texts([index for index, column in enumerate(found) if column is None])
    columns = [_MarkedColumn.of_cells(next(texts)) if column is None else column for column in found]
    commas = sum(column.certain == {","} for column in columns)
    points = not commas and any(column.certain == {"."} for column in columns)
    grouped = not points and any(column.mixes_groups(".") for column in columns)
    dotted = next((head[0] for index in range(len(columns)) if _are_dotted_dates(head := table.head(index))), "")
    return tuple(
        column.notation(commas > (column.certain == {","}), points, grouped, table.delimiter, dotted)
        for column in columns
    )


def _are_dotted_dates(cells: Sequence[str]) -> bool:
    return bool(cells) and all(_DOTTED_DATE.match(cell) for cell in (cells[0], cells[-1]))


@dataclass(frozen=True)
class _MarkedColumn:
    """What the numbers of a column say about their marks.

    Attributes:
        certain: decimal marks of which some number is certain.
        ambiguous: the mark of numbers such as 1.234, '' for none.
        example: the first of them.
        unmarked: the largest whole number without a mark, NaN for none, or if it decides nothing.
    """

    certain: frozenset[str] = frozenset()
    ambiguous: str = ""
    example: str = ""
    unmarked: float = np.nan

    @classmethod
    def of(cls, table: ColumnTable, index: int) -> _MarkedColumn | None:
        """Return what a column says, None if all of its cells are needed."""
        blocks = table.blocks[index]
        numbers = [block for block in blocks if not isinstance(block, list)]
        if len(numbers) == len(blocks):
            fraction = any((block != np.floor(block)).any() for block in numbers)
            head = cls.of_cells(table.head(index))  # 2.500 was stored as a float, and looks like 2.5
            if not fraction and not head.ambiguous:
                return cls()
            if head.certain or not all(map(_may_be_grouped, numbers)):
                return cls(head.certain or frozenset({"."}))
            return None
        if numbers:
            return None
        return cls.of_cells([cell for block in blocks if isinstance(block, list) for cell in block])

    @classmethod
    def of_cells(cls, cells: Sequence[str]) -> _MarkedColumn:
        marked = list(itertools.islice((cell for cell in cells if "," in cell or "." in cell), _MARK_SAMPLE_CELLS))
        marks = [(cell, *decimal_mark_of(cell)) for cell in marked]
        certain = frozenset(mark for _, mark, sure in marks if mark and sure)
        open_cells = [(cell, mark) for cell, mark, sure in marks if mark and not sure]
        example, ambiguous = open_cells[0] if open_cells else ("", "")
        if len({mark for _, mark in open_cells}) > 1:
            ambiguous = ""
        unmarked: list[float] = []
        if ambiguous and not certain:  # slow, and otherwise of no use
            plain = (parse_number(cell) for cell in cells if "," not in cell and "." not in cell)
            unmarked = [abs(number) for number in plain if number is not None and number == number]
        return cls(certain, ambiguous, example, max(unmarked, default=np.nan))

    def mixes_groups(self, mark: str) -> bool:
        """Whether numbers have the mark before three digits from a thousand on, and none below."""
        return not self.certain and self.ambiguous == mark and self.unmarked < 1000

    def notation(
        self, commas_elsewhere: bool, points_elsewhere: bool, grouped: bool, delimiter: str, dotted: str
    ) -> Notation:
        """Return the notation.

        Args:
            commas_elsewhere, points_elsewhere: whether other columns have decimal commas, or points.
            grouped: whether points group thousands in some column.
            delimiter: of the table.
            dotted: a date with points in another column, '' for none.
        """
        if self.certain:
            return Notation("," if self.certain == {","} else ".")
        if self.ambiguous == ".":
            plain = self.example.replace(".", "")
            if points_elsewhere:
                doubt = (
                    f"the point is the decimal mark, as in other columns; if {self.example} means {plain}, remove it"
                )
                return Notation(".", doubt if self.mixes_groups(".") else "")
            if grouped:
                why = "numbers without a point are below 1000" if self.mixes_groups(".") else "as in other columns"
                return Notation(",", f"points group thousands ({self.example} is {plain}): {why}")
            if commas_elsewhere:
                return Notation(",", f"points group thousands ({self.example} is {plain}), because commas are decimal")
            if dotted and delimiter == ";" and _GROUPED.fullmatch(self.example):
                return Notation(
                    ",",
                    f"points group thousands ({self.example} is {plain}), as usual beside dates such as {dotted}; "
                    "if they are decimal marks, write dates as 2020-01-31",
                )
            if _GROUPED.fullmatch(self.example) and (dotted or delimiter != ","):
                return Notation(
                    ".", f"the point is taken for the decimal mark; if {self.example} means {plain}, remove the points"
                )
            return Notation(".")
        if self.ambiguous == ",":
            plain = self.example.replace(",", "")
            if points_elsewhere or (self.mixes_groups(",") and not commas_elsewhere):
                return Notation(".")
            if commas_elsewhere or delimiter == ";":
                sure = "" if commas_elsewhere else f"; if {self.example} means {plain}, remove the commas"
                return Notation(",", f"the comma is the decimal mark{sure}" if sure else "")
        return Notation("," if commas_elsewhere else ".")


def _may_be_grouped(block: Floats) -> bool:
    """Whether all numbers can be those with points before three digits: 1.234 or 987."""
    if not (np.abs(block) < 1000).all():
        return False
    thousands = block * 1000
    return bool((np.abs(thousands - np.round(thousands)) < 1e-6).all())


def is_row_counter(values: Floats, name: str, is_index: bool = False, beside_times: bool = False) -> bool:
    """Whether a column only numbers the rows: from 0 or 1 in steps of one, or evenly under a name such as `id`.

    Args:
        is_index: whether it stands where programs write row numbers: rows may have been left out of them, or more been
            added that are numbered from their own beginning.
        beside_times: whether another column is the time. If none is, numbers without a name may be a count that grows;
            of row numbers most are one apart, or most as far.
    """
    if len(values) < 3 or not np.isfinite(values).all():
        return False
    steps = np.diff(values)
    if is_index:
        if not may_number_rows(values):
            return False
        kinds, counts = np.unique(steps, return_counts=True)
        ones = int(counts[kinds == 1].sum())
        is_even = 2 * counts.max() > len(steps) or (ones == counts.max() and _MAX_PER_ONE * ones >= len(steps))
        return is_even or beside_times or is_index_name(name)
    if not steps[0] > 0:
        return False
    from_start = values[0] in (0, 1) and bool((steps == 1).all())
    return from_start or (is_counter(name) and bool((steps == steps[0]).all()))


def may_number_rows(values: Floats) -> bool:
    """Whether numbers are whole, not below zero, and rise or fall but for few steps."""
    steps = np.diff(values)
    back = int(min((steps <= 0).sum(), (steps >= 0).sum()))
    return bool((values == np.floor(values)).all() and values.min() >= 0) and _MIN_RISING * back <= len(steps)


def two_numbers(table: ColumnTable, index: int) -> str:
    """Return the first cell of a column whose cells have two numbers each, `9℃ / -1℃`; '' for another column.

    Those of months, 01/2024, are another.
    """
    cells = [cell for cell in table.head(index) if not is_missing(cell)]
    have_two = bool(cells) and all(_TWO_NUMBERS.fullmatch(unicodedata.normalize("NFKC", cell)) for cell in cells)
    return cells[0] if have_two and not all(map(looks_like_time, cells)) else ""


def has_codes(table: ColumnTable, index: int, values: Floats, key: int | None = None) -> bool:
    """Whether the numbers of a column are codes of what the rows are of: shares, places, products.

    Such are 000001.SZ, and numbers of one width with leading zeros that recur. Those of few digits, and others under a
    name such as `code`, must be the same in all rows of each of several series; those under 股票代码, of one too.

    Args:
        key: column that names the series; None for one series, whose measures may be the same in all rows.
    """
    cells = [cell for cell in table.head(index) if not is_missing(cell)]
    if cells and all(map(_CODE.fullmatch, cells)):
        return True
    width = len(cells[0]) if cells else 0
    are_padded = (
        width > 1
        and all(len(cell) == width and cell.isascii() and cell.isdigit() for cell in cells)
        and any(cell[0] == "0" for cell in cells)
    )
    known = values[~np.isnan(values)]
    if are_padded and width >= _CODE_DIGITS and len(np.unique(known)) <= _MAX_CODES * len(known):
        return True
    name = normalise_name(table.header[index])
    is_named = _HAN_CODE_NAME.fullmatch(name) is not None
    if not is_named and (key is None or not (are_padded or _CODE_NAME.fullmatch(name))):
        return False
    codes: dict[str, float] = {}
    pairs = zip([""] * len(values) if key is None else table.texts(key), values.tolist(), strict=True)
    return all(codes.setdefault(name, code) == code for name, code in pairs if code == code)


def find_series_column(
    table: ColumnTable, keys: npt.NDArray[np.int64], rows: Integers, taken: Sequence[int]
) -> tuple[str, int] | None:
    """Find the column that distinguishes rows of the same time.

    Returns:
        Its name and the number of distinct values; None if there is none.
    """
    # An hour names no series.
    indices = [index for index, name in enumerate(table.header) if index not in taken and not is_calendar(name)]
    for index, cells in zip(indices, table.each_texts(indices), strict=True):
        name = table.header[index]
        names = [cells[row] for row in rows]
        distinct = len(set(names))
        if any(number % 1 > 0 for cell in set(names) if (number := parse_number(cell)) is not None):
            continue  # a measure, which may differ within each time by chance
        if 1 < distinct <= len(rows) // 2 and len(set(zip(keys.tolist(), names, strict=True))) == len(rows):
            return name, distinct
    return None
