"""Metres on a grid: time signatures whose bars are a whole number of steps and at most 12 quarter notes long."""

from __future__ import annotations

from functools import cache

MAX_BAR_QUARTERS = 12
_DENOMINATORS = (4, 8, 16, 2, 1, 32)  # in order of preference for a bar of a given length


@cache
def metres(grid: int) -> tuple[tuple[int, int], ...]:
    """Return every metre (numerator, denominator) for `grid` steps per quarter note, in a fixed order."""
    return tuple(
        (numerator, denominator)
        for denominator in sorted(_DENOMINATORS)
        for numerator in range(1, MAX_BAR_QUARTERS * denominator // 4 + 1)
        if denominator <= 16 or numerator % 2  # 6/32 is 3/16
        if numerator * 4 * grid % denominator == 0
    )


def bar_length(numerator: int, denominator: int, grid: int) -> int:
    """Return the length of a bar in steps."""
    return numerator * 4 * grid // denominator


def metre_of_length(length: int, grid: int, denominator: int = 4) -> tuple[int, int] | None:
    """Return a metre whose bars are `length` steps long, with that denominator if possible; None if there is none."""
    for candidate in (denominator, *_DENOMINATORS):
        numerator = length * candidate // (4 * grid)
        if (numerator, candidate) in metres(grid) and bar_length(numerator, candidate, grid) == length:
            return numerator, candidate
    return None


def nearest_metre(numerator: int, denominator: int, grid: int) -> tuple[int, int]:
    """Return the metre itself if the grid has it, or else the one nearest in bar length, the shorter of two."""
    if (numerator, denominator) in metres(grid):
        return numerator, denominator
    wanted = numerator * 4 * grid / denominator
    return min(
        metres(grid),
        key=lambda metre: (abs(bar_length(metre[0], metre[1], grid) - wanted), metre[1] != denominator, metre),
    )
