"""The mean of the forecasts of several networks, which may look back on different numbers of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.windows import Floats, Integers
from seqgen.generation.forecasting.base import WindowForecaster


class AverageForecaster:
    """A `WindowForecaster` whose look-back is the longest of its networks; each of them gets the rows that it reads.

    Points and quantiles are averaged, each level for itself, so intervals are as wide as those of the networks are on
    average.
    """

    def __init__(self, networks: Sequence[WindowForecaster]) -> None:
        """`networks` have the same columns, horizon, levels and lags."""
        self._networks = tuple(networks)
        longest = max(network.config.look_back for network in networks)
        self._config = dataclasses.replace(networks[0].config, look_back=longest)

    @property
    def config(self) -> ForecasterConfig:
        return self._config

    def predict(
        self, history: Floats, channel: Integers, past: Floats, known: Floats, lagged: Floats | None = None
    ) -> Floats:
        """See `WindowForecaster.predict`."""
        total = np.zeros((len(history), self._config.horizon, self._config.num_outputs), dtype=np.float64)
        for network in self._networks:
            rows = slice(self._config.look_back - network.config.look_back, None)
            earlier = None if lagged is None else lagged[:, rows]
            total += network.predict(history[:, rows], channel, past[:, rows], known[:, rows], earlier)
        return (total / len(self._networks)).astype(np.float32)
