"""Bars as they are written: pickups, bars that a repeat divides, bars of a wrong length. Times are in whole notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

Metre = tuple[int, int]  # numerator and denominator; numerator 0 is free time
_MAX_DIVISION = 20160  # ticks per quarter note: divisible by all numbers to 9, and by 64
_MAX_DENOMINATOR = 1 << 32  # of a time: far beyond those of any notes


@dataclass
class WrittenBar:
    """A bar from `start`, `length` long, in the metre that is written."""

    start: Fraction
    length: Fraction
    metre: Metre

    @property
    def missing(self) -> Fraction:
        """Length that it lacks to a full bar; negative if it is longer, 0 in free time."""
        return Fraction(*self.metre) - self.length if self.metre[0] else Fraction(0)


def bounded(time: Fraction) -> Fraction:
    """The time, moved to a tick if its denominator is that of no music.

    Sums of lengths that all have other denominators would take quadratic time.
    """
    if time.denominator <= _MAX_DENOMINATOR:
        return time
    return Fraction(round(time * 4 * _MAX_DIVISION), 4 * _MAX_DIVISION)


def add_bar(bars: list[WrittenBar], start: Fraction, end: Fraction, metre: Metre) -> None:
    """Add a bar, or complete the last one, because a repeat may begin within a bar. An empty bar is none."""
    length = end - start
    before = bars[-1] if len(bars) > 1 else None
    if before is not None and before.metre == metre and 0 < length <= before.missing:
        before.length = bounded(before.length + length)
    elif length > 0:
        bars.append(WrittenBar(start, length, metre))


def pickup(bars: Sequence[WrittenBar]) -> Fraction:
    """The silence to begin with, so that a first bar that is too short ends with a bar line."""
    return max(bars[0].missing, Fraction(0)) if len(bars) > 1 else Fraction(0)


def metres_of(bars: Sequence[WrittenBar]) -> list[tuple[Fraction, Metre]]:
    """The time signatures, each with the time from which it holds. A bar of another length has its own."""
    found: list[tuple[Fraction, Metre]] = []
    for number, bar in enumerate(bars):
        nominal = bar.metre if bar.metre[0] else (4, 4)
        is_filled = number in (0, len(bars) - 1) and bar.missing > 0  # with silence
        is_full = bar.metre[0] > 0 and not bar.missing
        metre = nominal if is_filled or is_full else _metre_of(bar.length, nominal)
        if not found or found[-1][1] != metre:
            found.append((bar.start, metre))
    return found


def _metre_of(length: Fraction, nominal: Metre) -> Metre:
    for denominator in (nominal[1], 4, 8, 16, 32):
        above = length * denominator
        if above.denominator == 1 and 0 < above < 100:
            return int(above), denominator
    return nominal


def ticks_per_quarter(times: Iterable[Fraction]) -> int:
    """The number of ticks of a quarter note in which all times are whole numbers, if it is no more than 20,160."""
    division = 1
    for denominator in {time.denominator for time in times}:
        division = lcm(division, denominator)
        if division > _MAX_DIVISION:
            return _MAX_DIVISION
    return division
