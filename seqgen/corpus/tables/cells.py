"""What a cell has, by its shape: a number, a time, text or nothing. No language is assumed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from seqgen.corpus.series.numbers import is_missing, parse_number
from seqgen.errors import DataError

_SURE = 0.9  # fraction of a column's cells that decides what it has
# Groups of digits and short words: 3 Mar 2021, 2021-W03, Q1 2021, 2021年3月1日, 31.12.2021 18:00 Uhr.
# A run of letters or digits is cut in one way only: tried in all ways, forty characters would take seconds.
_WORD = r"(?:[^\W\d_]{12}|[^\W\d_]{1,11}(?![^\W\d_]))[.,]?+[-/ ]{0,2}+"
_DIGITS = r"(?:\d{9}|\d{1,8}(?!\d))"
_TIME = re.compile(
    rf"(?:{_WORD}){{0,2}}(?:\d{{4}}|\d{{1,3}}(?!\d))(?:[-+/.:,年月日T ]{{0,3}}(?:{_WORD}|{_DIGITS})){{0,12}}Z?"
)
_MAX_TIME_LENGTH = 40
NUMBER, TIME, TEXT, MISSING = "number", "time", "text", ""


def filled(cells: Sequence[str], width: int) -> list[str]:
    """A row with empty cells at its end, up to the width of its table."""
    return [*cells, *[""] * (width - len(cells))]


class CellLimit:
    """Counts the cells of a table. Raises `DataError` with the `problem` once they are more than are allowed."""

    def __init__(self, problem: str, allowed: int) -> None:
        self._problem, self._left = problem, allowed

    def add(self, cells: int, allowed: int = 0) -> None:
        """Count further cells; so many more are `allowed` from now on."""
        self._left += allowed - cells
        if self._left < 0:
            raise DataError(self._problem)


def cell_kind(cell: str) -> str:
    """Return what a cell has."""
    if is_missing(cell):
        return MISSING
    if parse_number(cell) is not None or parse_number(cell, ",") is not None:
        return NUMBER
    return TIME if _looks_like_time(cell.strip()) else TEXT


def is_value(cell: str) -> bool:
    """Whether a cell is a number or a time."""
    return cell_kind(cell) in (NUMBER, TIME)


def column_kind(cells: Sequence[str]) -> str:
    """Return what nearly all cells of a column have that aren't missing."""
    kinds = Counter(kind for cell in cells if (kind := cell_kind(cell)))
    if not kinds:
        return MISSING
    if kinds[NUMBER] + kinds[TIME] < _SURE * kinds.total():
        return TEXT
    return NUMBER if kinds[NUMBER] >= kinds[TIME] else TIME


def _looks_like_time(text: str) -> bool:
    if len(text) > _MAX_TIME_LENGTH or not _TIME.fullmatch(text):
        return False
    digits = sum(map(str.isdigit, text))
    return digits >= 3 or bool(re.search(r"\d:\d", text))
