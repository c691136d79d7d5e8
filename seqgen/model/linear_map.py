"""A linear map from look-back to horizon, by least squares: what the network begins with, and a rival of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from seqgen.corpus.series.windows import Floats, Windows, evenly_spaced

RIDGES = (1e-3, 1e-1, 1.0, 10.0, 100.0, 1000.0)  # penalties tried, in thousandths of the mean square of the look-backs
_AT_ONCE = 2048  # windows
_MOST_WINDOWS = 60_000  # to fit to; evenly spread where there are more
_MOST_CHOOSING = 8_000  # to choose the penalty by

Normaliser = Callable[
    [Floats], tuple[Floats, Floats]
]  # histories → what to move each by, and to divide by, (windows, 1)


def fit(train: Windows, held_out: Windows | None, move: Normaliser, constant: bool = False) -> Floats:
    """The map that, from moved look-backs to moved horizons, leaves the least squared error, with the ridge penalty
    that does best on held-out windows (without those, a small one), in closed form. Shape (horizon, look-back), or with
    a `constant`, which a trend asks for, (horizon, look-back + 1)."""
    back, ahead = train.look_back + constant, train.horizon
    products, targets, count = np.zeros((back, back)), np.zeros((back, ahead)), 0
    for moved, change, _ in _pieces(train, _MOST_WINDOWS, move, constant):
        products += moved.T @ moved
        targets += moved.T @ change
        count += len(moved)
    values, vectors = np.linalg.eigh(products)
    turned = vectors.T @ targets
    scale = max(float(values.mean()), 1e-12) * 1e-3
    maps = [
        (vectors @ (turned / (np.maximum(values, 0) + ridge * scale)[:, None])).astype(np.float32) for ridge in RIDGES
    ]
    if held_out is None or not len(held_out):
        return np.ascontiguousarray(maps[2].T)
    errors = np.zeros(len(maps))
    for moved, change, spread in _pieces(held_out, _MOST_CHOOSING, move, constant):
        errors += [float((((moved @ each - change) * spread) ** 2).sum()) for each in maps]
    return np.ascontiguousarray(maps[int(np.argmin(errors))].T)


def by_last_value(history: Floats) -> tuple[Floats, Floats]:
    """Moves windows by their last value, and divides by nothing."""
    last = history[:, -1:]
    return last, np.ones_like(last)


def _pieces(windows: Windows, most: int, move: Normaliser, constant: bool) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Moved look-backs, moved horizons and spreads of some windows, a piece at a time."""
    chosen = evenly_spaced(len(windows), most)
    for numbers in np.array_split(chosen, max(1, len(chosen) // _AT_ONCE)):
        sample = windows.take(numbers)
        level, spread = move(sample.history)
        moved = (sample.history - level) / spread
        if constant:
            moved = np.concatenate([moved, np.ones_like(level)], axis=1)
        yield moved, (sample.future - level) / spread, spread
