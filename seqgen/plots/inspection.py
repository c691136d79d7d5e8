"""Plots of what units do along a text, a piece of music or a series, and of gradients over their lag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqgen.music.piece import Piece
from seqgen.plots.figure import GRID_COLOUR, TEXT_COLOUR, legend_name, new_figure, palette_colour, plot_style, to_png
from seqgen.untrusted import as_bytes, letter_widths, one_line, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating]

_COLUMNS, _MAX_ROWS = 90, 44  # columns of a line, of which wide East Asian characters take two; lines of a picture
_CHARACTER, _ROW = 0.088, 0.21  # inches
_WIDTH = 9.5  # inches of a roll or a curve
_SIGNED, _UNSIGNED = "RdBu_r", "Blues"  # red and blue differ for colour-blind readers too
_MOST_SATURATED = 0.7  # of a colour map, so that black text stays readable on it
_MAX_MODELS = 20


def text_values(
    tokens: Sequence[str], values: Floats, low: float, high: float, scores: Mapping[str, Sequence[float]], *, title: str
) -> bytes:
    """Draw a text as PNG, each character on the colour of its token's value, line by line.

    Args:
        scores: probabilities by label, one a token, to draw below it.
        title: on one line, cut if it is too long. It also says if the text was too long to draw.
    """
    rows: list[list[tuple[int, int, str, float]]] = [[]]  # column, width, character and value
    column = 0
    for token, value in zip(tokens, values.tolist(), strict=True):
        shown = _shown(token)
        for character, wide in zip(shown, letter_widths(shown), strict=True):
            if column + wide > _COLUMNS:
                rows.append([])
                column = 0
            rows[-1].append((column, wide, character, value))
            column += wide
            if character == "↵":
                rows.append([])
                column = 0
    if len(rows) > _MAX_ROWS:
        rows, title = rows[:_MAX_ROWS], f"{title} (the first {_MAX_ROWS} lines)"
    below = 1.4 if scores else 0.0
    with plot_style():
        height = max(_ROW * len(rows), 0.9)  # of the scale too
        figure = new_figure(0.6 + _CHARACTER * _COLUMNS, 1.0 + height + below, title)
        heights = [height, below][: 1 + bool(scores)]
        axes, *others = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        axes.set_xlim(0, _COLUMNS)
        axes.set_ylim(height / _ROW, 0)
        axes.set_axis_off()
        from matplotlib.patches import Rectangle

        colours = _colours(low, high)
        for y, row in enumerate(rows):
            for x, wide, character, value in row:
                axes.add_patch(Rectangle((x, y), wide, 1, color=colours(value), linewidth=0))
                if character != " ":
                    axes.text(x + wide / 2, y + 0.55, character, ha="center", va="center", fontsize=8,
                              family=["DejaVu Sans Mono", *_families()])  # fmt: skip
        _scale(figure, axes, low, high)
        for index, (name, own) in enumerate(scores.items()):
            others[0].plot(range(1, len(own) + 1), own, color=palette_colour(index), label=legend_name(name))
        for other in others:
            other.set_ylim(0, 1)
            other.set_xlabel("token")
            other.set_ylabel("probability")
            other.legend(loc="upper left", ncols=4)
        return to_png(figure)


def roll_values(piece: Piece, times: npt.NDArray[Any], values: Floats, low: float, high: float, *, title: str) -> bytes:
    """Draw a piano roll as PNG over the values of its events, which stand below it as a line too.

    Args:
        times: steps on the grid, one an event.
        values: likewise.
    """
    from seqgen.music.names import note_name

    with plot_style():
        from matplotlib.collections import PolyCollection

        figure = new_figure(_WIDTH, 4.6, title)
        roll, line = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        length = max(piece.length, 1)
        # Of the events at one time, the last has read them all.
        moments = np.flatnonzero(np.append(times[1:] != times[:-1], True)) if len(times) else np.empty(0, dtype=int)
        _strip(roll, times[moments], values[moments], length, low, high)
        boxes = [
            [(n.start, n.pitch - 0.4), (n.start, n.pitch + 0.4), (n.end, n.pitch + 0.4), (n.end, n.pitch - 0.4)]
            for n in piece.notes
        ]
        shades = [palette_colour(note.track + 2) for note in piece.notes]
        if boxes:
            roll.add_collection(
                PolyCollection(boxes, facecolors=shades, edgecolors=TEXT_COLOUR, linewidths=0.5), autolim=False
            )
        pitches = [note.pitch for note in piece.notes] or [60]
        roll.set_ylim(min(pitches) - 2, max(pitches) + 2)
        named = [pitch for pitch in range(min(pitches) - 2, max(pitches) + 3) if pitch % 12 == 0]
        roll.set_yticks(named, [note_name(pitch) for pitch in named])
        line.plot(times, values, color=TEXT_COLOUR, linewidth=0.9, drawstyle="steps-post")
        line.set_ylim(low, high)
        line.set_xlabel("bar")
        stride = max(1, len(piece.bars) // 24)
        line.set_xticks(
            [b.start for b in piece.bars[::stride]], [str(n + 1) for n in range(0, len(piece.bars), stride)]
        )
        for axes in (roll, line):
            axes.set_xlim(0, length)
            axes.vlines([bar.start for bar in piece.bars], 0, 1, transform=axes.get_xaxis_transform(),
                        colors=GRID_COLOUR, linewidths=0.6)  # fmt: skip
        _scale(figure, roll, low, high)
        return to_png(figure)


def curve_values(labels: Sequence[str], curve: Floats, values: Floats, low: float, high: float, *, title: str) -> bytes:
    """Draw a series as PNG over the values of its rows, which stand below it as a line too.

    Args:
        labels: times of the rows, or their numbers.
        curve: the series, shape (rows,); NaN where unknown.
        values: likewise.
    """
    with plot_style():
        figure = new_figure(_WIDTH, 4.2, title)
        top, line = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        rows = np.arange(len(curve))
        _strip(top, rows, values, len(curve), low, high)
        top.plot(rows, curve, color=TEXT_COLOUR, linewidth=1.1)
        line.plot(rows, values, color=TEXT_COLOUR, linewidth=0.9)
        line.set_ylim(low, high)
        ticks = np.unique(np.linspace(0, max(len(curve) - 1, 0), 7).round().astype(int))
        line.set_xticks(ticks, [one_line(labels[tick]) for tick in ticks])
        line.set_xlim(0, max(len(curve) - 1, 1))
        _scale(figure, top, low, high)
        return to_png(figure)


@dataclass(frozen=True)
class GradientCurve:
    """The size of a gradient over the lag: its name, mean, and tenth and ninetieth percentile; shape (lags + 1,)."""

    name: str
    mean: Floats
    p10: Floats
    p90: Floats


def gradient_plot(curves: Sequence[GradientCurve], title: str) -> bytes:
    """Draw gradients over their lag as PNG, each relative to its mean at lag 0, on a logarithmic axis.

    Only the first 20 are drawn; the title then says so.
    """
    shown = curves[:_MAX_MODELS]
    if len(shown) < len(curves):
        title = f"{title}: the first {len(shown)} of {len(curves):,}"
    with plot_style():
        figure = new_figure(8.0, 4.4, title)
        axes = figure.subplots()
        least = 1.0
        for index, curve in enumerate(shown):
            shade, first = palette_colour(index), max(float(curve.mean[0]), 1e-300)
            lags = np.arange(len(curve.mean))
            mean = np.maximum(curve.mean / first, 1e-12)
            least = min(least, float(mean.min()))
            axes.plot(lags, mean, color=shade, linewidth=1.6, label=legend_name(curve.name))
            axes.fill_between(lags, np.maximum(curve.p10 / first, 1e-12), np.maximum(curve.p90 / first, 1e-12),
                              color=shade, alpha=0.15, linewidth=0)  # fmt: skip
        axes.axhline(0.01, color=TEXT_COLOUR, linewidth=0.7, linestyle=":")
        axes.set_yscale("log")
        axes.set_ylim(max(least / 3, 1e-6), 4)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.set_xlim(0, max((len(curve.mean) - 1 for curve in shown), default=1))
        axes.set_xlabel("lag k, in steps")
        axes.set_ylabel("‖∂L(t) / ∂h(t−k)‖, of that at k = 0")
        axes.grid(color=GRID_COLOUR, linewidth=0.4)
        axes.legend(loc="upper right")
        return to_png(figure)


def _shown(token: str) -> str:
    """The characters of a token as they are drawn, each in its columns."""
    text = printable(as_bytes(token)).decode()
    return text.replace("\n", "↵").replace("\t", " ")


def _families() -> list[str]:
    import matplotlib

    return list(matplotlib.rcParams["font.family"])


def _colours(low: float, high: float) -> Any:
    """A function from values to colours: of two colours if there are negative values."""
    import matplotlib

    if low >= 0:
        ramp = matplotlib.colormaps[_UNSIGNED]
        return lambda value: ramp(_MOST_SATURATED * min(1.0, max(0.0, (value - low) / (high - low or 1.0))))
    ramp = matplotlib.colormaps[_SIGNED]
    size = max(high, -low)
    return lambda value: ramp(0.5 + _MOST_SATURATED / 2 * min(1.0, max(-1.0, value / size)))


def _strip(axes: Axes, times: npt.NDArray[Any], values: Floats, end: float, low: float, high: float) -> None:
    """Colour the background of `axes` from each time to the next by its value."""
    colours = _colours(low, high)
    for start, stop, value in zip(times, [*times[1:], end], values.tolist(), strict=True):
        if stop > start:
            axes.axvspan(float(start), float(stop), color=colours(value), linewidth=0, zorder=0.2)


def _scale(figure: Figure, axes: Axes, low: float, high: float) -> None:
    """Add the scale of the colours."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colours = _colours(low, high)
    ramp = ListedColormap([colours(low + (high - low) * share / 63) for share in range(64)])
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), ramp), ax=axes, pad=0.01, fraction=0.02, aspect=25)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_linewidth(0.4)
