"""Metres that a grid can hold: n/d time whose bars are whole numbers of steps, three bars of 4/4 at the longest."""

from __future__ import annotations

from functools import cache

MAX_BAR_QUARTERS = 12  # quarter notes
_DENOMINATORS = (4, 8, 16, 2, 1, 32)  # the order in which a bar's length is spelt where nothing else decides


@cache
def metres(grid: int) -> tuple[tuple[int, int], ...]:
    """Every metre (numerator, denominator) of `grid` steps a quarter note, in a fixed order."""
    return tuple(
        (numerator, denominator)
        for denominator in sorted(_DENOMINATORS)
        for numerator in range(1, MAX_BAR_QUARTERS * denominator // 4 + 1)
        if denominator <= 16 or numerator % 2  # 6/32 is 3/16
        if numerator * 4 * grid % denominator == 0
    )


def bar_length(numerator: int, denominator: int, grid: int) -> int:
    """Steps in a bar."""
    return numerator * 4 * grid // denominator


def metre_of_length(length: int, grid: int, denominator: int = 4) -> tuple[int, int] | None:
    """A metre whose bars are `length` steps long, of that denominator where it can be; None where there is none."""
    for below in (denominator, *_DENOMINATORS):
        numerator = length * below // (4 * grid)
        if (numerator, below) in metres(grid) and bar_length(numerator, below, grid) == length:
            return numerator, below
    return None


def nearest_metre(numerator: int, denominator: int, grid: int) -> tuple[int, int]:
    """The metre itself, or the one whose bars are nearest to it in length, the shorter of two."""
    if (numerator, denominator) in metres(grid):
        return numerator, denominator
    wanted = numerator * 4 * grid / denominator
    return min(
        metres(grid),
        key=lambda metre: (abs(bar_length(metre[0], metre[1], grid) - wanted), metre[1] != denominator, metre),
    )
