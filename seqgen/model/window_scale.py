"""How a forecaster scales its windows, and the rows of its seasonal naive forecast, without PyTorch (`forecaster`)."""

from __future__ import annotations

import numpy as np

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.windows import Floats, Integers

LEAST_SPREAD = 0.01  # of a window, in the column's standard deviations: noise in a flat one is not amplified
RECENT = 1 / 6  # of the look-back: half-life of the changes that measure the present volatility


def location_and_scale(history: Floats, config: ForecasterConfig) -> tuple[Floats, Floats]:
    """The shift and the divisor of each window, shape (windows, 1); `history` has shape (windows, look-back)."""
    last = history[:, -1:]
    if config.normalisation == "last":
        return last, np.ones_like(last)
    if config.normalisation == "window":
        return history.mean(axis=1, keepdims=True), _spread(history.std(axis=1, keepdims=True))
    changes = np.diff(history, axis=1) if history.shape[1] > 1 else np.zeros_like(last)
    age = np.arange(changes.shape[1] - 1, -1, -1, dtype=np.float32)
    weight = np.exp2(-age / max(1.0, config.look_back * RECENT))
    variance = (np.square(changes) * weight).sum(axis=1, keepdims=True) / weight.sum()
    # The standard deviation that a random walk of such changes reaches at the horizon.
    return last, _spread(np.sqrt(variance * config.horizon))


def naive_rows(config: ForecasterConfig) -> Integers:
    """The rows of the look-back that the seasonal naive forecast repeats, shape (horizon,).

    They are those of the last season, or the last one if the look-back is shorter than a season.
    """
    season = config.season if config.season <= config.look_back else 1
    return config.look_back - season + np.arange(config.horizon, dtype=np.int64) % season


def _spread(values: Floats) -> Floats:
    return np.maximum(values, np.float32(LEAST_SPREAD))
