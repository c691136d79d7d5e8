"""Sizes, durations, counts and lists as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 file`, `2,000 files`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def shortened_list(items: Sequence[T], most: int, show: Callable[[T], str] = str) -> str:
    """The first items, as `show` gives them, and how many more there are: `a, b and 3 more`."""
    more = len(items) - most
    return ", ".join(map(show, items[:most])) + (f" and {more:,} more" if more > 0 else "")


def human_size(count: float) -> str:
    """A number of bytes as text: `1.1 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return ""


def human_time(seconds: float) -> str:
    """A duration as text: `1:05` or `2:00:00`."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
