"""What a forecaster must beat: the last value, the last season, and a linear map (NLinear).

Rivals see what the model sees, a window's look-back in the network's scale, and learn on the rows it learnt from. Their
bands are their own errors there: the quantiles of each step's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.corpus.windows import Integers, Windows, spread_out

Floats = npt.NDArray[np.float32]

RIDGES = (1e-4, 1e-2, 1.0, 10.0, 100.0, 1000.0)  # penalties tried for NLinear, per thousand windows
_AT_ONCE = 2048  # windows
_MOST_ERRORS = 1500  # windows a column whose errors make bands
_MOST_WINDOWS = 60_000  # that NLinear is fitted on; evenly spread where there are more


class Rival(Protocol):
    """Forecasts in the network's scale."""

    name: ClassVar[str]

    def forecast(self, history: Floats, horizon: int) -> Floats:
        """(windows, look-back) → (windows, horizon)."""
        ...


class Persistence:
    """The last value, again and again."""

    name: ClassVar[str] = "persistence"

    def forecast(self, history: Floats, horizon: int) -> Floats:
        return np.repeat(history[:, -1:], horizon, axis=1)


class SeasonalNaive:
    """The last season, again and again; where the look-back is shorter than a season, its last value."""

    name: ClassVar[str] = "seasonal_naive"

    def __init__(self, season: int) -> None:
        self.season = season

    def forecast(self, history: Floats, horizon: int) -> Floats:
        season = self.season if self.season <= history.shape[1] else 1
        last = history[:, history.shape[1] - season :]
        return np.tile(last, (1, -(-horizon // season)))[:, :horizon]


class NLinear:
    """One linear map from look-back to horizon for all columns, on windows moved to their last value (Zeng et al.,
    2023); least squares with the ridge that does best on the held-out rows, in closed form."""

    name: ClassVar[str] = "nlinear"

    def __init__(self, train: Windows, held_out: Windows | None) -> None:
        back, ahead = train.look_back, train.horizon
        products, targets, count = np.zeros((back + 1, back + 1)), np.zeros((back + 1, ahead)), 0
        chosen = spread_out(len(train), _MOST_WINDOWS)
        for numbers in np.array_split(chosen, max(1, len(chosen) // _AT_ONCE)):
            moved, change = _moved(train, numbers)
            products += moved.T @ moved
            targets += moved.T @ change
            count += len(numbers)
        values, vectors = np.linalg.eigh(products)
        turned = vectors.T @ targets
        candidates = [
            (vectors @ (turned / (np.maximum(values, 0) + ridge * count / 1000)[:, None])).astype(np.float32)
            for ridge in RIDGES
        ]
        self._weight = candidates[1]
        if held_out is not None and len(held_out):
            errors = np.zeros(len(candidates))
            some = spread_out(len(held_out), 4 * _AT_ONCE)
            for numbers in np.array_split(some, max(1, len(some) // _AT_ONCE)):
                moved, change = _moved(held_out, numbers)
                errors += [float(((moved @ weight - change) ** 2).sum()) for weight in candidates]
            self._weight = candidates[int(np.argmin(errors))]

    def forecast(self, history: Floats, horizon: int) -> Floats:
        last = history[:, -1:]
        moved = np.concatenate([history - last, np.ones_like(last)], axis=1)
        return np.asarray(moved @ self._weight[:, :horizon] + last, dtype=np.float32)


class Banded:
    """A rival with quantiles: its forecast and, for each column and step, the quantiles of its errors on `windows`."""

    def __init__(self, rival: Rival, windows: Windows, levels: Sequence[float]) -> None:
        self.rival = rival
        self.name = rival.name
        columns = windows.columns
        origins = spread_out(len(windows.origins), _MOST_ERRORS)
        errors = []
        for column in range(columns):
            sample = windows.take(origins * columns + column)
            error = sample.future - rival.forecast(sample.history, windows.horizon)
            kept = np.where(sample.observed, error, np.nan)
            kept[:, np.isnan(kept).all(axis=0)] = 0.0
            errors.append(np.nanquantile(kept, np.array(levels) / 100, axis=0).T if len(levels) else error[:1, :, None])
        self._errors = np.stack(errors).astype(np.float32)  # (columns, horizon, levels)

    def forecast(self, history: Floats, channel: Integers, horizon: int) -> tuple[Floats, Floats]:
        """The point forecast, (windows, horizon), and the quantiles, (windows, horizon, levels)."""
        point = self.rival.forecast(history, horizon)
        return point, point[:, :, None] + self._errors[channel][:, :horizon]


def _moved(windows: Windows, numbers: Integers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Look-backs moved to their last value, with a column of ones; and what came, moved alike."""
    sample = windows.take(numbers)
    last = sample.history[:, -1:]
    moved = np.concatenate([sample.history - last, np.ones_like(last)], axis=1).astype(np.float64)
    return moved, (sample.future - last).astype(np.float64)
