"""The interface of the networks that forecast."""

from __future__ import annotations

from typing import Protocol

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.windows import Floats, Integers


class WindowForecaster(Protocol):
    """From windows to calibrated forecasts. That of a window is the same to the last bit in every batch."""

    @property
    def config(self) -> ForecasterConfig: ...

    def predict(
        self, history: Floats, channel: Integers, past: Floats, known: Floats, lagged: Floats | None = None
    ) -> Floats:
        """Forecast some windows.

        Args:
            history: the target's last values, shape (windows, look-back), the newest last.
            channel: the column of each window, shape (windows,).
            past: covariates of the history, shape (windows, look-back, past).
            known: covariates of history and horizon, shape (windows, look-back + horizon, known).
            lagged: the target a season before each row of both, and the known covariates then, shape (windows,
                look-back + horizon, lags, 1 + known); NaN where the series had not begun. None for a network without
                lags.

        Returns:
            shape (windows, horizon, 1 + levels): the point forecast, then the quantiles in ascending order, in the
            scale of `history`.
        """
        ...
