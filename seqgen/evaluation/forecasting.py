"""Metrics of forecasting: squared and absolute errors, raw and scaled, and coverage of prediction intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class ForecastTally:
    """Sums of errors of one forecaster: `add` batches in any order, then read `metrics`.

    Scaled errors are in units of each column's standard deviation over the training rows, whatever the network's own
    scaling, as in the literature. So columns of different units have equal weight.

    - mse, mae, rmse: over all windows, steps and columns, in the units of the data.
    - mase: mean absolute error, divided by that of the seasonal naive forecast one step ahead on the training rows;
      mean over columns (Hyndman & Koehler, 2006).
    - wql: twice the sum of the pinball loss, divided by the sum of |truth|; mean over levels (weighted quantile loss;
      Salinas et al., 2020). It is left out where all that is true is 0.
    - coverage: for each prediction interval, the fraction of true values inside it.
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
        self._intervals_seen = np.zeros(count)

    def add(
        self,
        truth: Values,
        observed: Flags,
        point: Values,
        quantiles: Values | None = None,
        deviations: Values | None = None,
        naive_errors: Values | None = None,
        exact: Values | None = None,
    ) -> None:
        """Add the forecasts of some windows.

        Args:
            truth: true values, shape (windows, columns, horizon).
            observed: whether each true value is known and not filled in; same shape.
            point: point forecasts; same shape.
            quantiles: shape (windows, columns, horizon, levels), in ascending order; None for a forecaster without.
            deviations, naive_errors: per column, of the series of these windows, if it has its own.
            exact: the truth before it was rounded in the network's scale, whose zeros aren't 0; same shape.
        """
        deviations = self._deviations if deviations is None else deviations
        naive_errors = self._naive_errors if naive_errors is None else naive_errors
        error = np.where(observed, point - truth, 0.0)
        squared, absolute = (error**2).sum((0, 2)), np.abs(error).sum((0, 2))
        seen = observed.sum((0, 2))
        self._squared += squared
        self._absolute += absolute
        self._seen += seen
        self._size += np.where(observed, np.abs(truth if exact is None else exact), 0.0).sum((0, 2))
        self._scaled_squared += squared / deviations**2
        self._scaled_absolute += absolute / deviations
        known = naive_errors > 0
        self._relative[known] += absolute[known] / naive_errors[known]
        self._relative_seen[known] += seen[known]
        if quantiles is not None and self.levels:
            probability = np.array(self.levels) / 100
            under = truth[..., None] - quantiles
            loss = np.maximum(probability * under, (probability - 1) * under)
            self._pinball += np.where(observed[..., None], loss, 0.0).sum((0, 2))
            for index in range(len(self.levels) // 2):
                low, high = quantiles[..., index], quantiles[..., len(self.levels) - 1 - index]
                self._inside[:, index] += ((low <= truth) & (truth <= high) & observed).sum((0, 2))
            self._intervals_seen += seen

    @property
    def values(self) -> int:
        """Number of forecast values whose truth is known."""
        return int(self._seen.sum())

    def metrics(self, persistence: ForecastTally | None = None) -> dict[str, Any]:
        """The metrics of `evaluate --json`, over all columns and for each that has a true value; `skill` is
        1 − scaled_mse / scaled_mse of `persistence`."""
        result = self._over(slice(None), persistence)
        if len(self.columns) > 1:
            result["per_column"] = {
                name: self._over(slice(index, index + 1), persistence)
                for index, name in enumerate(self.columns)
                if self._seen[index]
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
        if self._intervals_seen[columns].any():
            size = float(self._size[columns].sum())
            loss = float(2 * self._pinball[columns].sum(0).mean())
            if size and math.isfinite(loss / size):
                result["wql"] = loss / size
            fractions = self._inside[columns].sum(0) / self._intervals_seen[columns].sum()
            result["coverage"] = {
                interval_name(self.levels, index): float(fraction) for index, fraction in enumerate(fractions)
            }
        if persistence is not None:
            naive = persistence._scaled_squared[columns].sum() / seen
            result["skill"] = float(1 - scaled / naive) if naive > 0 else 0.0
        return result


def interval_name(levels: Sequence[float], index: int) -> str:
    """Name of the prediction interval that starts at `levels[index]`: `80` for levels 10 and 90."""
    return f"{levels[len(levels) - 1 - index] - levels[index]:g}"
