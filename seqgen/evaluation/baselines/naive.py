"""Baselines of a forecaster: the last value, the last season, and a linear map (NLinear).

They see values in the network's scale, as far back as the model does; the last season is a whole one also where that is
less. They are fitted to the rows that the model has learnt. Their prediction intervals are quantiles of their errors
there, for each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.windows import Integers, Windows, evenly_spaced
from seqgen.model import linear_map

Floats = npt.NDArray[np.float32]

_MAX_WINDOWS = 1500  # per column, whose errors make the prediction intervals


class BaselineForecaster(Protocol):
    """Forecasts in the network's scale."""

    name: ClassVar[str]

    def rows(self, horizon: int) -> Integers:
        """The rows that it reads: how many before the origin each is; the last one is the row before it."""
        ...

    def forecast(self, history: Floats, horizon: int) -> Floats:
        """Map the values of those rows, shape (windows, rows), to forecasts, shape (windows, horizon).

        The values before a series begins are NaN, the last one excepted.
        """
        ...


class Persistence:
    """Repeats the last value."""

    name: ClassVar[str] = "persistence"

    def rows(self, horizon: int) -> Integers:
        return np.array([1])

    def forecast(self, history: Floats, horizon: int) -> Floats:
        return np.repeat(history[:, -1:], horizon, axis=1)


class SeasonalNaive:
    """Repeats the last season, whose values before the series begins are the last value."""

    name: ClassVar[str] = "seasonal_naive"

    def __init__(self, season: int) -> None:
        self.season = season

    def rows(self, horizon: int) -> Integers:
        return np.array([*range(self.season, max(self.season - horizon, 1), -1), 1])

    def forecast(self, history: Floats, horizon: int) -> Floats:
        season = history[:, : min(horizon, self.season)]
        season = np.where(np.isnan(season), history[:, -1:], season)
        return np.tile(season, (1, -(-horizon // self.season)))[:, :horizon]


class NLinear:
    """One linear map from look-back to horizon for all columns, on windows less their last value (Zeng et al., 2023).

    It is fitted in closed form (see `linear_map`) to the `learnt` windows, by default those of the training rows, with
    the penalty that does best on the held-out windows when it is fitted to the training rows.
    """

    name: ClassVar[str] = "nlinear"

    def __init__(self, train: Windows, held_out: Windows | None, learnt: Windows | None = None) -> None:
        fitted = linear_map.fit(train, held_out, linear_map.by_last_value, constant=True)
        if learnt is not None and len(learnt) > len(train):
            fitted = linear_map.fit(learnt, None, linear_map.by_last_value, constant=True, ridge=fitted.ridge)
        self._map = fitted.weight
        self._look_back = train.look_back

    def rows(self, horizon: int) -> Integers:
        return np.arange(self._look_back, 0, -1)

    def forecast(self, history: Floats, horizon: int) -> Floats:
        last = history[:, -1:]
        shifted = np.concatenate([history - last, np.ones_like(last)], axis=1)
        return np.asarray(shifted @ self._map[:horizon].T + last, dtype=np.float32)


class BaselineWithIntervals:
    """A baseline with quantiles: its forecast plus those of its errors on `windows`, by column and step."""

    def __init__(self, baseline: BaselineForecaster, windows: Windows, levels: Sequence[float]) -> None:
        self.baseline = baseline
        self.name, self.rows = baseline.name, baseline.rows
        columns = windows.columns
        origins = evenly_spaced(len(windows.origins), _MAX_WINDOWS)
        errors = []
        for column in range(columns):
            chosen = origins * columns + column
            sample = windows.take(chosen)
            error = sample.future - baseline.forecast(
                windows.before(chosen, self.rows(windows.horizon)), windows.horizon
            )
            known = np.where(sample.observed, error, np.nan)
            known[:, np.isnan(known).all(axis=0)] = 0.0
            errors.append(
                np.nanquantile(known, np.array(levels) / 100, axis=0).T if len(levels) else error[:1, :, None]
            )
        self._errors = np.stack(errors).astype(np.float32)  # (columns, horizon, levels)

    def forecast(self, history: Floats, channel: Integers, horizon: int) -> tuple[Floats, Floats]:
        """Point forecasts, shape (windows, horizon), and quantiles, shape (windows, horizon, levels)."""
        point = self.baseline.forecast(history, horizon)
        return point, point[:, :, None] + self._errors[channel][:, :horizon]
