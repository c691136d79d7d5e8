"""Line charts as SVG for HTML: in the colours of the page around them, self-contained, and made by no library."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.untrusted import one_line

Values = npt.NDArray[Any]
"""Numbers, or times (datetime64) along the x axis."""

_WIDTH, _HEIGHT = 720, 240  # of a chart, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 8, 24, 40  # margins: labels of the y axis, title, labels of the x axis
_MAX_TICKS = 7
_MAX_TIMES = 5  # their labels are long
_TIME_STEPS = (
    ("s", (1, 5, 15, 30)), ("m", (1, 5, 15, 30)), ("h", (1, 3, 6, 12)), ("D", (1, 2, 7, 14)), ("M", (1, 3, 6)),
    ("Y", (1, 2, 5, 10, 20, 50, 100, 500)),
)  # fmt: skip


@dataclass(frozen=True)
class SvgLine:
    """A line through points, interrupted where they are not finite. A single point is a dot."""

    x: Values
    y: Values
    colour: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class SvgBand:
    """The area between two lines."""

    x: Values
    low: Values
    high: Values
    colour: str
    opacity: float
    label: str = ""


def chart(
    title: str,
    lines: Sequence[SvgLine],
    bands: Sequence[SvgBand] = (),
    x_label: str = "",
    limits: tuple[float, float] | None = None,
) -> str:
    """A chart of lines over bands as an `<svg>` element; empty if there is nothing finite to draw.

    Args:
        limits: range of the y axis; by default that of all values.
    """
    drawn = [line.x for line in lines] + [band.x for band in bands]
    xs = np.concatenate(drawn) if drawn else np.empty(0)
    values = [*(line.y for line in lines), *(edge for band in bands for edge in (band.low, band.high))]
    ys = np.concatenate(values).astype(np.float64) if values else np.empty(0)
    ys = ys[np.isfinite(ys)]
    if not len(ys):
        return ""
    left, right = _numbers(xs).min(), _numbers(xs).max()
    low, high = limits or _widened(float(ys.min()), float(ys.max()))

    def points(x: Values, y: Values) -> list[tuple[float, float] | None]:
        """Pixels of points; None for one that isn't finite."""
        across = (_numbers(x) - left) / ((right - left) or 1.0)
        y = np.asarray(y, dtype=np.float64)
        upward = np.where(np.isfinite(y), np.clip((y - low) / (high - low), -1, 2), np.nan)
        return [
            (_LEFT + a * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - u * (_HEIGHT - _TOP - _BOTTOM))
            if math.isfinite(u) else None
            for a, u in zip(across.tolist(), upward.tolist(), strict=True)
        ]  # fmt: skip

    parts = [_text(_LEFT, 15, one_line(title), "start", bold=True)]
    for value, label in _number_ticks(low, high):
        ((_, y),) = [point for point in points(xs[:1], np.array([value])) if point]
        parts.append(_rule(_LEFT, y, _WIDTH - _RIGHT, y) + _text(_LEFT - 6, y + 4, label, "end"))
    for at, label in _ticks(xs):
        ((x, bottom),) = [point for point in points(np.array([at]), np.array([low])) if point]
        at_edge = x + 4 * len(label) > _WIDTH
        parts.append(_rule(x, bottom, x, bottom + 4))
        parts.append(_text(_WIDTH if at_edge else x, bottom + 16, label, "end" if at_edge else "middle"))
    if x_label:
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, "middle"))
    # What lies beyond the limits of the y axis is hidden by the element itself.
    frame = f'<svg x="0" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT - _TOP - _BOTTOM}" '
    frame += f'viewBox="0 {_TOP} {_WIDTH} {_HEIGHT - _TOP - _BOTTOM}" preserveAspectRatio="none">'
    shapes = [_area(points(band.x, band.low), points(band.x, band.high), band) for band in bands]
    shapes += [_path(points(line.x, line.y), line) for line in lines]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="{html.escape(one_line(title))}" style="display:block;max-width:100%;height:auto" '
        f'font-family="system-ui,sans-serif" font-size="11" fill="currentColor">'
        f"{''.join(parts)}{frame}{''.join(shapes)}</svg></svg>" + _legend([*lines, *bands])
    )


def _numbers(x: Values) -> npt.NDArray[np.float64]:
    x = np.asarray(x)
    return (x.astype("datetime64[us]") if x.dtype.kind == "M" else x).astype(np.float64)


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range with some room around it, never empty."""
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _number_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round values within a range, with labels."""
    rough = (high - low) / (_MAX_TICKS - 1)
    if not math.isfinite(rough) or rough <= 0:
        return []
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    values = [number * step for number in range(first, last + 1)] if last - first <= 2 * _MAX_TICKS else []
    plain = max(abs(low), abs(high)) < 1e7 and decimals <= 5
    return [(value, f"{value:,.{decimals}f}" if plain else f"{value:.3g}") for value in values]


def _ticks(x: Values) -> list[tuple[Any, str]]:
    """Round values or times along the x axis, with labels."""
    if x.dtype.kind != "M":
        low, high = float(x.min()), float(x.max())
        whole = [tick for tick in _number_ticks(low, high) if tick[0] == round(tick[0])]
        return whole or [(low, f"{low:g}")]
    first, last = x.min(), x.max()
    for unit, counts in _TIME_STEPS:
        begin, end = (int(time.astype(f"datetime64[{unit}]").astype(np.int64)) for time in (first, last))
        zero = 1970 if unit == "Y" else 0  # where numpy counts from
        for count in counts:
            if (end - begin) // count > _MAX_TIMES:
                continue
            rounded = -(-(begin + zero) // count) * count - zero
            times = np.arange(rounded, end + 1, count).astype(f"datetime64[{unit}]")
            inside = times[times >= first]
            if len(inside) > 1:
                return [(time, _time_label(time, unit)) for time in inside]
    return [(first, _time_label(first, "s"))]


def _time_label(time: np.datetime64, unit: str) -> str:
    text = str(time.astype(f"datetime64[{'s' if unit == 's' else 'm'}]") if unit in "smh" else time)
    return text.replace("T", " ")


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" '
            'stroke-opacity="0.2"/>')  # fmt: skip


def _text(x: float, y: float, text: str, anchor: str, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{html.escape(text)}</text>'


def _path(points: Iterable[tuple[float, float] | None], line: SvgLine) -> str:
    """A line, in pieces where points are missing."""
    steps, begun = [], False
    for point in points:
        if point is not None:
            steps.append(f"{'L' if begun else 'M'}{point[0]:.1f} {point[1]:.1f}")
        begun = point is not None
    if not steps:
        return ""
    dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
    ending = "h0" if len(steps) == 1 else ""  # with round ends, a dot
    width = 6 if len(steps) == 1 else 1.6
    return (f'<path d="{"".join(steps)}{ending}" fill="none" stroke="{line.colour}" stroke-width="{width}" '
            f'stroke-linejoin="round" stroke-linecap="round"{dashes}/>')  # fmt: skip


def _area(
    low: Sequence[tuple[float, float] | None], high: Sequence[tuple[float, float] | None], band: SvgBand
) -> str:  # fmt: skip
    pairs = [(below, above) for below, above in zip(low, high, strict=True) if below and above]
    if not pairs:
        return ""
    if len(pairs) == 1:  # an area of one point would be invisible
        ((x, y1), (_, y2)) = pairs[0]
        return (f'<line x1="{x:.1f}" y1="{y1:.1f}" x2="{x:.1f}" y2="{y2:.1f}" stroke="{band.colour}" '
                f'stroke-width="8" stroke-opacity="{band.opacity:.2f}"/>')  # fmt: skip
    outline = [below for below, _ in pairs] + [above for _, above in reversed(pairs)]
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in outline)
    return f'<path d="M{steps}Z" fill="{band.colour}" fill-opacity="{band.opacity:.2f}"/>'


def _legend(drawn: Sequence[SvgLine | SvgBand]) -> str:
    """The labels beside a piece of each line and band."""
    entries = []
    for each in drawn:
        if not each.label:
            continue
        if isinstance(each, SvgBand):
            mark = f"height:10px;background:{each.colour};opacity:{min(1.0, each.opacity * 1.5):.2f}"
        else:
            mark = f"border-top:2px {'dashed' if each.dashed else 'solid'} {each.colour}"
        entries.append(
            f'<span style="margin-right:16px;white-space:nowrap"><span style="display:inline-block;width:20px;{mark};'
            f'vertical-align:middle;margin-right:6px"></span>{html.escape(one_line(each.label))}</span>'
        )
    return f'<div style="font:12px system-ui,sans-serif;margin:2px 0 8px {_LEFT}px">{"".join(entries)}</div>'
