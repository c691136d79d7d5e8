"""Plot of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqgen.plots.figure import HEATMAP_CMAP, TEXT_COLOUR, new_figure, plot_style, to_png
from seqgen.streams import write_output

_MAX_LABELS = 40  # legible in one plot; the most common are shown
_MAX_ANNOTATED = 15  # labels up to which cells show their counts


def save_confusion_matrix(path: Path, labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    """Write the plot of `confusion_matrix` to a file."""
    write_output(path, confusion_matrix(labels, matrix))


def confusion_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> bytes:
    """Draw a confusion matrix as PNG, coloured by fraction of the row.

    Args:
        labels: Names of the classes, at most 40 of which, the most common, are shown.
        matrix: Counts by true label (rows) and predicted label (columns).
    """
    counts = np.asarray(matrix, dtype=np.int64)
    total = int(counts.sum())
    title = f"{total:,} texts, {np.trace(counts) / max(total, 1):.1%} on the diagonal"
    if len(labels) > _MAX_LABELS:
        shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:_MAX_LABELS])
        title += f"; the {_MAX_LABELS} most common of {len(labels):,} labels"
        counts, labels = counts[np.ix_(shown, shown)], [labels[number] for number in shown]
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(labels)
    inches = 2.2 + max(1.6, 0.45 * size if size <= _MAX_ANNOTATED else 0.24 * size)
    with plot_style():
        figure = new_figure(inches + 0.6, inches, title)
        axes = figure.add_subplot()
        axes.imshow(fractions, cmap=HEATMAP_CMAP, vmin=0, vmax=1)
        names = [label if len(label) <= 18 else label[:17] + "…" for label in labels]
        axes.set_xticks(range(size), names, rotation=90 if max(map(len, names), default=0) > 4 else 0)
        axes.set_yticks(range(size), names)
        axes.set_xlabel("predicted label")
        axes.set_ylabel("true label")
        axes.tick_params(length=0)
        if size <= _MAX_ANNOTATED:
            for row, column in np.ndindex(size, size):
                colour = "white" if fractions[row, column] > 0.55 else TEXT_COLOUR
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
        for side in axes.spines.values():
            side.set_visible(False)
        return to_png(figure)
