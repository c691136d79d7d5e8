"""Plots of music: piano rolls, and histograms of features of generated and reference pieces."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seqgen.music.names import DRUMS, PROGRAMS, note_name
from seqgen.music.piece import Note, Piece
from seqgen.plots.figure import (
    BACKGROUND_COLOUR,
    GENERATED_COLOUR,
    GRID_COLOUR,
    HEATMAP_CMAP,
    REFERENCE_COLOUR,
    TEXT_COLOUR,
    Colour,
    legend,
    new_figure,
    palette_colour,
    plot_style,
    to_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

Values = npt.NDArray[np.float64]

_MIN_WIDTH, _MAX_WIDTH = 8.0, 26.0  # inches
_MARGINS = 2.8  # inches for labels and legend beside the roll
_MAX_LISTED = 32  # tracks in the legend
_MAX_BARS_WITH_BEATS = 16
_MIN_ALPHA = 0.35  # opacity of the softest note, which must stay visible


def piano_roll(piece: Piece, *, title: str = "", primer_bars: int = 0) -> bytes:
    """Draw a piece as PNG: time to the right, pitch upwards, a colour a track, louder notes darker, drums below.

    Args:
        piece: May have no notes, or no bars.
        title: On one line, cut if it is too long.
        primer_bars: Bars of the primer, at the beginning, to shade.
    """
    pitched = [note for note in piece.notes if not piece.tracks[note.track].drums]
    struck = [note for note in piece.notes if piece.tracks[note.track].drums]
    shown = sorted({note.track for note in piece.notes})
    colours = {track: palette_colour(index) for index, track in enumerate(shown)}
    labels = _labels(piece, shown)
    low, high = _range(pitched)
    keys = sorted({note.pitch for note in struck})
    inner = min(max(0.13 * piece.length / piece.grid, _MIN_WIDTH - _MARGINS), _MAX_WIDTH - _MARGINS)
    heights = []
    if pitched or not struck:
        heights.append(min(max(0.075 * (high - low), 2.2), 7.0))
    if struck:
        heights.append(max(0.17 * len(keys), 0.5))
    height = max(sum(heights) + 1.1, 0.18 * min(len(labels), _MAX_LISTED) + 0.3)
    with plot_style():
        figure = new_figure(inner + _MARGINS, height, title, right_margin=2.2)
        strips = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes in strips:
            _draw_time(axes, piece, inner, primer_bars)
        if pitched or not struck:
            _draw_pitches(strips[0], low, high)
            _draw_notes(strips[0], ((note, note.pitch) for note in pitched), colours, 0.45)
        if struck:
            rows = {key: row for row, key in enumerate(keys)}
            _draw_keys(strips[-1], keys)
            _draw_notes(strips[-1], ((note, rows[note.pitch]) for note in struck), colours, 0.38)
        if piece.bars and primer_bars > 0:
            strips[0].text(0, 1.01, " primer", transform=strips[0].get_xaxis_transform(), fontsize=8, va="bottom")
        for axes in strips[:-1]:
            axes.tick_params(axis="x", length=0, labelbottom=False)
        strips[-1].set_xlabel("bar")
        entries: list[tuple[str, Colour]] = [(labels[track], colours[track]) for track in shown]
        if len(entries) > _MAX_LISTED:
            entries = [*entries[: _MAX_LISTED - 1], (f"and {len(entries) - _MAX_LISTED + 1} more", "none")]
        legend(figure, entries)
        return to_png(figure)


def _labels(piece: Piece, shown: Iterable[int]) -> dict[int, str]:
    """Each track's instrument, numbered from its second appearance."""
    labels: dict[int, str] = {}
    seen: dict[str, int] = {}
    for track in shown:
        program = piece.tracks[track].program
        name = "drums" if program is None else PROGRAMS[program]
        seen[name] = seen.get(name, 0) + 1
        labels[track] = name if seen[name] == 1 else f"{name}, {seen[name]}"
    return labels


def _range(notes: Sequence[Note]) -> tuple[int, int]:
    """The lowest and highest pitch of the roll: all notes with a margin, two octaves at least."""
    pitches = [note.pitch for note in notes] or [60]
    low, high = min(pitches) - 2, max(pitches) + 2
    room = max(24 - (high - low), 0)
    low, high = low - room // 2, high + (room + 1) // 2
    if low < 0:
        low, high = 0, max(high, 24)
    return (min(low, 103), 127) if high > 127 else (low, high)


def _draw_time(axes: Axes, piece: Piece, inches: float, primer_bars: int) -> None:
    """Draw bar lines and numbers, beats, and the shade of the primer; `inches` is the width of the axes."""
    length = piece.length or 4 * piece.grid
    axes.set_xlim(0, length)
    starts = [bar.start for bar in piece.bars] or [0]
    an_inch = length / inches
    # Powers of two keep the numbers on the first bars of phrases: 1, 5, 9, …
    stride = 1
    while length / len(starts) * stride < 0.45 * an_inch:
        stride *= 2
    ticks: list[int] = []
    numbers: list[str] = []
    for index in range(0, len(starts), stride):
        if not ticks or starts[index] - ticks[-1] >= 0.25 * an_inch:
            ticks.append(starts[index])
            numbers.append(str(index + 1))
    axes.set_xticks(ticks, numbers)
    along = axes.get_xaxis_transform()
    if len(starts) <= _MAX_BARS_WITH_BEATS:
        beats = [
            bar.start + beat * 4 * piece.grid / bar.denominator
            for bar in piece.bars
            for beat in range(1, bar.numerator)
            if beat * 4 * piece.grid / bar.denominator < bar.length
        ]
        axes.vlines(beats, 0, 1, transform=along, colors="#B8B8B8", linewidths=0.7, linestyles=":", zorder=0.6)
    lines = starts if length / len(starts) >= 0.1 * an_inch else ticks
    axes.vlines(lines, 0, 1, transform=along, colors="#A0A0A0", linewidths=0.6, zorder=0.7)
    if piece.bars and primer_bars > 0:
        last = piece.bars[min(primer_bars, len(piece.bars)) - 1]
        end = last.start + last.length
        axes.axvspan(0, end, color="#F0E442", alpha=0.22, linewidth=0, zorder=0.5)
        axes.axvline(end, color=TEXT_COLOUR, linewidth=0.9, linestyle="--", zorder=0.8)


def _draw_pitches(axes: Axes, low: int, high: int) -> None:
    axes.set_ylim(low - 0.5, high + 0.5)
    axes.set_yticks(*_octaves(low, high))
    axes.set_ylabel("pitch")
    for pitch in range(low, high + 1):
        if "#" in note_name(pitch):
            axes.axhspan(pitch - 0.5, pitch + 0.5, color=BACKGROUND_COLOUR, linewidth=0, zorder=0.3)
        elif pitch % 12 == 0:
            axes.axhline(pitch - 0.5, color=GRID_COLOUR, linewidth=0.5, zorder=0.4)


def _octaves(low: int, high: int) -> tuple[list[int], list[str]]:
    pitches = [pitch for pitch in range(low, high + 1) if pitch % 12 == 0]
    return pitches, [f"{note_name(pitch)}  {pitch}" for pitch in pitches]


def _draw_keys(axes: Axes, keys: Sequence[int]) -> None:
    axes.set_ylim(-0.6, len(keys) - 0.4)
    axes.set_yticks(range(len(keys)), [DRUMS.get(key, f"key {key}") for key in keys], fontsize=7)
    axes.tick_params(axis="y", length=0)
    for row in range(0, len(keys), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=BACKGROUND_COLOUR, linewidth=0, zorder=0.3)


def _draw_notes(
    axes: Axes, notes: Iterable[tuple[Note, int]], colours: dict[int, tuple[float, float, float]], half: float
) -> None:
    """Draw each note as a box, `half` rows up and down from the middle of its row."""
    from matplotlib.collections import PolyCollection

    boxes, faces, edges = [], [], []
    for note, row in notes:
        low, high = row - half, row + half
        boxes.append([(note.start, low), (note.start, high), (note.end, high), (note.end, low)])
        faces.append((*colours[note.track], _MIN_ALPHA + (1 - _MIN_ALPHA) * note.velocity / 127))
        edges.append(colours[note.track])
    if boxes:
        axes.add_collection(
            PolyCollection(boxes, facecolors=faces, edgecolors=edges, linewidths=0.4, zorder=2), autolim=False
        )


_PANELS_PER_ROW = 4
_MIN_MATRIX_SIZE = 100  # a shorter vector is drawn as bars even if it could be a square
_BINS = 20


def feature_histograms(
    reference: dict[str, npt.NDArray],
    generated: dict[str, npt.NDArray],
    overlap: dict[str, float],
    *,
    title: str = "",
) -> bytes:
    """Draw the distributions of features of generated and reference pieces as PNG, a panel a feature.

    Args:
        reference: By feature, shape (pieces,) or (pieces, width); values that are not finite are left out.
        generated: Likewise; a feature that only one of the two has is drawn alone.
        overlap: By feature, the overlapping area of both distributions, 0–1, for the panel's title.
        title: On one line, cut if it is too long.
    """
    names = list(dict.fromkeys([*reference, *generated]))
    rows = math.ceil(max(len(names), 1) / _PANELS_PER_ROW)
    columns = math.ceil(max(len(names), 1) / rows)
    with plot_style():
        figure = new_figure(max(2.9 * columns, 5.0), 2.1 * rows + 0.7, title)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            first, second = _table(reference.get(name)), _table(generated.get(name))
            width = max(first.shape[1], second.shape[1])
            if width == 1:
                _draw_spread(axes, first[:, 0], second[:, 0])
            elif width >= _MIN_MATRIX_SIZE and math.isqrt(width) ** 2 == width:
                _draw_matrices(axes, _means(first, width), _means(second, width))
            else:
                _draw_means(axes, _means(first, width), _means(second, width), "pitch_class" in name)
            axes.set_title(_panel_title(name, overlap.get(name)), loc="left")
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        if not names:
            panels[0].text(0.5, 0.5, "no features", ha="center", transform=panels[0].transAxes)
        if names:
            legend(figure, [("reference", REFERENCE_COLOUR), ("generated", GENERATED_COLOUR)], below=True)
        return to_png(figure)


def _table(values: npt.NDArray | None) -> Values:
    """Values of shape (pieces, width); width 1 if there are none."""
    if values is None or values.size == 0:
        return np.empty((0, 1))
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def _means(table: Values, width: int) -> Values:
    """Mean of each column's finite values, shape (width,); 0 for a column without any."""
    if table.shape[1] != width:
        return np.zeros(width)
    finite = np.isfinite(table)
    totals: Values = np.where(finite, table, 0.0).sum(axis=0)
    return totals / np.maximum(finite.sum(axis=0), 1)


def _panel_title(name: str, overlap: float | None) -> str:
    readable = name.replace("_", " ")
    return readable if overlap is None or not math.isfinite(overlap) else f"{readable}\noverlap {overlap:.2f}"


def _draw_spread(axes: Axes, reference: Values, generated: Values) -> None:
    """Draw histograms of both sets over the same bins."""
    sets = [values[np.isfinite(values)] for values in (reference, generated)]
    pooled = np.concatenate(sets)
    if not len(pooled):
        axes.set_axis_off()
        axes.text(0, 0.5, "no values", transform=axes.transAxes)
        return
    edges = _edges(pooled)
    for values, shade in zip(sets, (REFERENCE_COLOUR, GENERATED_COLOUR), strict=True):
        if len(values):
            fractions = np.histogram(values, edges)[0] / len(values)
            axes.stairs(fractions, edges, fill=True, color=shade, alpha=0.3, linewidth=0)
            axes.stairs(fractions, edges, color=shade, linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.locator_params(nbins=5)
    axes.set_ylabel("fraction of pieces")


def _edges(values: Values) -> Values:
    """Bin edges, rising; one bin per integer if the values are a few integers."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 2 * _BINS and bool((values == np.round(values)).all()):
        return np.arange(low - 0.5, high + 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return np.linspace(low - 0.5, low + 0.5, _BINS + 2)
    return np.linspace(low, high, _BINS + 1)


def _draw_means(axes: Axes, reference: Values, generated: Values, pitch_classes: bool) -> None:
    positions = np.arange(len(reference))
    axes.bar(positions - 0.2, reference, 0.4, color=REFERENCE_COLOUR)
    axes.bar(positions + 0.2, generated, 0.4, color=GENERATED_COLOUR)
    axes.locator_params(axis="y", nbins=5)
    if pitch_classes and len(reference) == 12:
        # Names with sharps don't fit into a panel.
        axes.set_xticks(
            positions, [name if len(name) == 1 else "" for name in (note_name(p)[:-1] for p in range(60, 72))]
        )
        axes.tick_params(axis="x", length=0)
    else:
        axes.locator_params(axis="x", nbins=6, integer=True)
    axes.set_ylabel("mean")


def _draw_matrices(axes: Axes, reference: Values, generated: Values) -> None:
    """Draw two square heat maps side by side on one scale, darker for more."""
    side = math.isqrt(len(reference))
    gap = np.full((side, max(side // 6, 1)), np.nan)
    both = np.hstack([reference.reshape(side, side), gap, generated.reshape(side, side)])
    # Without square roots, a few frequent transitions would leave all others white.
    axes.imshow(np.sqrt(np.maximum(both, 0)), cmap=HEATMAP_CMAP, vmin=0, interpolation="nearest")
    axes.set_xticks([(side - 1) / 2, both.shape[1] - (side + 1) / 2], ["reference", "generated"])
    axes.set_yticks([])
    axes.set_anchor("N")
    axes.tick_params(axis="x", length=0)
    for left, shade in ((0, REFERENCE_COLOUR), (both.shape[1] - side, GENERATED_COLOUR)):
        axes.add_patch(_frame(left - 0.5, side, shade))
    for spine in axes.spines.values():
        spine.set_visible(False)


def _frame(left: float, side: int, shade: str) -> Patch:
    from matplotlib.patches import Rectangle

    return Rectangle((left, -0.5), side, side, fill=False, edgecolor=shade, linewidth=1.0, clip_on=False)
