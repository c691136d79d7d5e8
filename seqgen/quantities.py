"""Sizes and durations as text."""

from __future__ import annotations


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
