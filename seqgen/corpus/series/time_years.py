"""Which years two digits stand for, and years of the Buddhist era: decided by all years of a column."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass

_CENTURY = 69  # as in POSIX
_LATE = 2040  # from here on, two digits are more often meant for another century
BUDDHIST_ERA = 543  # years before ours, as in Thailand
_BUDDHIST_YEARS = range(1900 + BUDDHIST_ERA, 2100 + BUDDHIST_ERA)


@dataclass(frozen=True)
class Years:
    """How the years of a column are read.

    Attributes:
        century: two-digit years from here on belong to the 20th century.
        era: years by which those of four digits are ahead.
        example: one of the latter.
        has_short: whether some have two digits.
    """

    century: int = _CENTURY
    era: int = 0
    example: int = 0
    has_short: bool = False

    @classmethod
    def of(cls, short: Collection[int], full: Collection[int]) -> Years:
        """Args: short: years of two digits; full: of four."""
        if full and not short and all(year in _BUDDHIST_YEARS for year in full):
            return cls(era=BUDDHIST_ERA, example=max(full))
        return cls(_century(sorted(set(short))), has_short=bool(short))

    def notes(self, first: int = 0, last: int = 0) -> list[str]:
        """Return what a report says of the years from the first to the last, if they could be others."""
        if self.era:
            return [f"years are read as those of the Buddhist era: {self.example} is {self.example - self.era}"]
        if self.has_short and (self.century != _CENTURY or last >= _LATE):
            return [f"two-digit years are read as {first} to {last}; if they are others, write them with four digits"]
        return []


AS_WRITTEN = Years()


def _century(years: list[int]) -> int:
    """Return where the years begin that are of the 20th century: behind the widest gap, if that is far wider.

    By 69, rows from 1960 to 1979 would be a century apart.
    """
    before, after = [year for year in years if year < _CENTURY], [year for year in years if year >= _CENTURY]
    if not before or not after:
        return _CENTURY
    gaps = [(later - earlier, later) for earlier, later in itertools.pairwise([*years, 100 + years[0]])]
    widest, start = max(gaps)
    return start % 100 if widest > 2 * (after[0] - before[-1]) else _CENTURY
