"""What a forecaster must beat: the last value, the last season, and a linear map (NLinear).

Rivals see what the model sees, a window's look-back in the network's scale, and learn on the rows it learnt from. Their
bands are their own errors there: the quantiles of each step's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.windows import Integers, Windows, evenly_spaced
from seqgen.model import linear_map

Floats = npt.NDArray[np.float32]

_MOST_ERRORS = 1500  # windows a column whose errors make bands


class BaselineForecaster(Protocol):
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
    """One linear map from look-back to horizon for all columns, on windows moved by their last value (Zeng et al.,
    2023), fitted in closed form (see `linear_map`)."""

    name: ClassVar[str] = "nlinear"

    def __init__(self, train: Windows, held_out: Windows | None) -> None:
        self._map = linear_map.fit(train, held_out, linear_map.by_last_value, constant=True)

    def forecast(self, history: Floats, horizon: int) -> Floats:
        last = history[:, -1:]
        moved = np.concatenate([history - last, np.ones_like(last)], axis=1)
        return np.asarray(moved @ self._map[:horizon].T + last, dtype=np.float32)


class BaselineWithIntervals:
    """A rival with quantiles: its forecast and, for each column and step, the quantiles of its errors on `windows`."""

    def __init__(self, rival: BaselineForecaster, windows: Windows, levels: Sequence[float]) -> None:
        self.rival = rival
        self.name = rival.name
        columns = windows.columns
        origins = evenly_spaced(len(windows.origins), _MOST_ERRORS)
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
