"""A scaled series whose numbers encode their position."""

from __future__ import annotations

import numpy as np

from seqgen.corpus.series.windows import (
    ScaledSeries,
)


def numbered_series(rows: int, columns: int = 2, past: int = 0, known: int = 0, ahead: int = 0) -> ScaledSeries:
    """A series of the numbers 100 · row + column."""
    row = np.arange(rows + ahead, dtype=np.float32)[:, None]
    return ScaledSeries(
        "",
        (100 * row[:rows] + np.arange(columns)).astype(np.float32),
        np.ones((rows, columns), bool),
        (-row[:rows] - np.arange(past)).astype(np.float32),
        (0.5 * row + np.arange(known)).astype(np.float32),
    )
