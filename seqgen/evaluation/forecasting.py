"""How good forecasts are: squared and absolute errors, in the numbers' own units and scaled, and bands that hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class ForecastTally:
    """Sums over forecasts of one forecaster; `add` batches in any order, then `metrics`.

    Scaled errors are in units of each column's standard deviation over the rows learnt from, whatever the network's
    own scaling is: so are those of the literature, and columns of different units count alike.

    - mse, mae, rmse: over all windows, steps and columns, in the numbers' own units.
    - mase: mean absolute error, divided by that of the seasonal naive forecast one step ahead on the rows learnt from;
      mean over columns (Hyndman & Koehler, 2006).
    - wql: twice the pinball loss summed over all that is forecast, divided by the sum of |truth|; mean over levels
      (weighted quantile loss; Salinas et al., 2020).
    - coverage: for each band, in percent, the share of what came that lies in it.
    """

    def __init__(
        self, columns: Sequence[str], deviations: Values, naive_errors: Values, levels: Sequence[float]
    ) -> None:
        self.columns, self.levels = tuple(columns), tuple(levels)
        self._deviations, self._naive_errors = deviations, naive_errors
        count = len(self.columns)
        self._squared, self._absolute, self._seen = np.zeros(count), np.zeros(count), np.zeros(count)
        self._size, self._scaled_squared, self._scaled_absolute = np.zeros(count), np.zeros(count), np.zeros(count)
        self._relative = np.zeros(count)  # absolute error in units of the naive error
        self._relative_seen = np.zeros(count)
        self._pinball = np.zeros((count, len(self.levels)))
        self._inside = np.zeros((count, len(self.levels) // 2))
        self._banded = np.zeros(count)

    def add(
        self,
        truth: Values,
        observed: Flags,
        point: Values,
        quantiles: Values | None = None,
        deviations: Values | None = None,
        naive_errors: Values | None = None,
    ) -> None:
        """Counts some windows.

        Args:
            truth: what came, shape (windows, columns, horizon); `point` is what was forecast, `observed` where the
                truth is known and not filled in.
            quantiles: shape (windows, columns, horizon, levels), in order; None for a forecaster without.
            deviations, naive_errors: of the columns of the series that the windows are of, if not those of all.
        """
        deviations = self._deviations if deviations is None else deviations
        naive_errors = self._naive_errors if naive_errors is None else naive_errors
        error = np.where(observed, point - truth, 0.0)
        squared, absolute = (error**2).sum((0, 2)), np.abs(error).sum((0, 2))
        seen = observed.sum((0, 2))
        self._squared += squared
        self._absolute += absolute
        self._seen += seen
        self._size += np.where(observed, np.abs(truth), 0.0).sum((0, 2))
        self._scaled_squared += squared / deviations**2
        self._scaled_absolute += absolute / deviations
        known = naive_errors > 0
        self._relative[known] += absolute[known] / naive_errors[known]
        self._relative_seen[known] += seen[known]
        if quantiles is not None and self.levels:
            share = np.array(self.levels) / 100
            under = truth[..., None] - quantiles
            loss = np.maximum(share * under, (share - 1) * under)
            self._pinball += np.where(observed[..., None], loss, 0.0).sum((0, 2))
            for place in range(len(self.levels) // 2):
                low, high = quantiles[..., place], quantiles[..., len(self.levels) - 1 - place]
                self._inside[:, place] += ((low <= truth) & (truth <= high) & observed).sum((0, 2))
            self._banded += seen

    @property
    def values(self) -> int:
        """How many numbers were forecast and are known."""
        return int(self._seen.sum())

    def metrics(self, persistence: ForecastTally | None = None) -> dict[str, Any]:
        """The measures of `evaluate --json`, and those of each column; `skill` is 1 − scaled_mse / that of
        `persistence`."""
        result = self._over(slice(None), persistence)
        if len(self.columns) > 1:
            result["per_column"] = {
                name: self._over(slice(place, place + 1), persistence) for place, name in enumerate(self.columns)
            }
        return result

    def _over(self, columns: slice, persistence: ForecastTally | None) -> dict[str, Any]:
        seen = max(self._seen[columns].sum(), 1.0)
        mse = float(self._squared[columns].sum() / seen)
        scaled = float(self._scaled_squared[columns].sum() / seen)
        result: dict[str, Any] = {
            "scaled_mse": scaled,
            "scaled_mae": float(self._scaled_absolute[columns].sum() / seen),
            "mse": mse,
            "mae": float(self._absolute[columns].sum() / seen),
            "rmse": math.sqrt(mse),
        }
        with np.errstate(invalid="ignore"):
            relative = self._relative[columns] / self._relative_seen[columns]
        if np.isfinite(relative).any():
            result["mase"] = float(np.nanmean(relative))
        if self._banded[columns].any():
            size = max(float(self._size[columns].sum()), 1e-300)
            result["wql"] = float(2 * self._pinball[columns].sum(0).mean() / size)
            shares = self._inside[columns].sum(0) / self._banded[columns].sum()
            result["coverage"] = {interval_name(self.levels, place): float(share) for place, share in enumerate(shares)}
        if persistence is not None:
            naive = persistence._scaled_squared[columns].sum() / seen
            result["skill"] = float(1 - scaled / naive) if naive > 0 else 0.0
        return result


def interval_name(levels: Sequence[float], place: int) -> str:
    """What the band is called whose lower end is `levels[place]`: `80` for 10 and 90."""
    return f"{levels[len(levels) - 1 - place] - levels[place]:g}"
