"""Who was taken for whom: the confusion matrix of a classifier as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqgen.plots.figure import HEATMAP_CMAP, TEXT_COLOUR, new_figure, plot_style, to_png
from seqgen.streams import write_bytes

_MOST = 40  # labels that can be told apart; the most common are shown
_WRITTEN = 15  # labels up to which every cell has its count written into it


def save_confusion_matrix(path: Path, labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
    """Writes a PNG: a row a true label, a column a label given, coloured by the share of the row."""
    write_bytes(path, confusion_matrix(labels, matrix))


def confusion_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> bytes:
    """The picture as PNG. `matrix`: counts by true label (rows) and label given (columns)."""
    counts = np.asarray(matrix, dtype=np.int64)
    total = int(counts.sum())
    title = f"{total:,} texts, {np.trace(counts) / max(total, 1):.1%} on the diagonal"
    if len(labels) > _MOST:
        kept = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:_MOST])
        title += f"; the {_MOST} most common of {len(labels):,} labels"
        counts, labels = counts[np.ix_(kept, kept)], [labels[number] for number in kept]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(labels)
    inches = 2.2 + max(1.6, 0.45 * size if size <= _WRITTEN else 0.24 * size)
    with plot_style():
        figure = new_figure(inches + 0.6, inches, title)
        axes = figure.add_subplot()
        axes.imshow(shares, cmap=HEATMAP_CMAP, vmin=0, vmax=1)
        names = [label if len(label) <= 18 else label[:17] + "…" for label in labels]
        axes.set_xticks(range(size), names, rotation=90 if max(map(len, names), default=0) > 4 else 0)
        axes.set_yticks(range(size), names)
        axes.set_xlabel("label given")
        axes.set_ylabel("true label")
        axes.tick_params(length=0)
        if size <= _WRITTEN:
            for row, column in np.ndindex(size, size):
                colour = "white" if shares[row, column] > 0.55 else TEXT_COLOUR
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
        for side in axes.spines.values():
            side.set_visible(False)
        return to_png(figure)
