"""Forecasting in numpy and by compiled kernels, without PyTorch.

It computes in float32 as `model.forecaster` does, with which it agrees to 1e-5 of a window's spread.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.windows import Floats, Integers
from seqgen.generation.recurrent.layers import RecurrentLayers
from seqgen.generation.recurrent.row_products import RowProduct
from seqgen.model.window_scale import location_and_scale, naive_rows
from seqgen.processors import Threads, process_core_count

_GATES_AT_ONCE = 1 << 20  # numbers: 4 MiB, to stay in a cache of the core


class CpuForecaster:
    """A `WindowForecaster` on the CPU, on all its cores. Thread-safe."""

    def __init__(self, config: ForecasterConfig, weights: Mapping[str, Floats]) -> None:
        self._config, self._weights = config, weights
        self._segments = RowProduct(weights["segment_weight"], weights["segment_bias"])
        self._known = RowProduct(weights["known_weight"]) if config.horizon_inputs else None
        self._layers = RecurrentLayers(config, weights)
        self._output = RowProduct(weights["output_weight"], weights["output_bias"])
        self._linear = RowProduct(weights["linear"]) if config.linear else None
        self._mapped = RowProduct(weights["mixture_weight"], weights["mixture_bias"]) if config.mixture else None
        steps = max(-(-config.look_back // config.segment_length), config.horizon_segments)
        self._at_once = max(1, _GATES_AT_ONCE // (steps * self._layers.width))  # windows
        self._threads = Threads(process_core_count())

    @property
    def config(self) -> ForecasterConfig:
        return self._config

    def predict(
        self, history: Floats, channel: Integers, past: Floats, known: Floats, lagged: Floats | None = None
    ) -> Floats:
        """See `WindowForecaster.predict`."""
        parts = [slice(first, first + self._at_once) for first in range(0, len(history), self._at_once)]
        earlier = np.zeros((*known.shape[:2], 0, 1 + known.shape[2]), dtype=np.float32) if lagged is None else lagged

        def predict(part: slice) -> Floats:
            return self._predict(history[part], channel[part], past[part], known[part], earlier[part])

        if len(parts) > 1:
            return np.concatenate(list(self._threads.pool().map(predict, parts)))
        return np.concatenate([predict(part) for part in parts or [slice(0)]])

    def _predict(self, history: Floats, channel: Integers, past: Floats, known: Floats, lagged: Floats) -> Floats:
        """See `model.forecaster.Forecaster.predict`."""
        config = self._config
        history = np.ascontiguousarray(history, dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # extreme values give infinite forecasts, or NaN
            last = history[:, -1:, None]
            effects = self._effects(channel, known)
            history, ahead = history - effects[:, : config.look_back], effects[:, config.look_back :, None]
            lagged = lagged[..., 0] - self._effects(channel, lagged[..., 1:])
            outputs = self._forward(history, channel, past, known, lagged) + ahead
            believed = self._weights["believed"][channel, None, None] > 0
            point, quantiles = outputs[:, :, :1], np.sort(outputs[:, :, 1:], axis=2)
            if self._mapped is not None:
                weights = self._weights["mixture"][channel, None]
                newest = history[:, -1:]
                others = self._mapped(history - newest) + newest, history[:, naive_rows(config)]
                others = others[0] + ahead[:, :, 0], others[1] + ahead[:, :, 0]
                mixed = (others[0] * weights[:, :, 1] + others[1] * weights[:, :, 2])[:, :, None]
                point = point * weights[:, :, :1] + mixed
                if config.levels:
                    middle = quantiles[:, :, config.median_index, None]
                    quantiles = quantiles + (middle * weights[:, :, :1] + mixed - middle)
            point = np.where(believed, point, last)
            if not config.levels:
                return point
            middle = quantiles[:, :, config.median_index, None]
            quantiles = np.where(believed, quantiles, quantiles - middle + last)
            middle = np.where(believed, middle, last)
            # Sorted again: an interval may have been widened more than the one around it.
            widened = np.sort(middle + (quantiles - middle) * self._weights["widening"][channel], axis=2)
        return np.concatenate([point, widened], axis=2)

    def _effects(self, channel: Integers, known: Floats) -> Floats:
        """See `model.forecaster.Forecaster._effects`; zeros without any."""
        total = np.zeros(known.shape[:-1], dtype=np.float32)
        for number in range(self._config.effects):
            effect = self._weights["effect"][channel, number]
            total += known[..., number] * effect.reshape(-1, *[1] * (known.ndim - 2))
        return total

    def _forward(self, history: Floats, channel: Integers, past: Floats, known: Floats, lagged: Floats) -> Floats:
        """See `model.forecaster.Forecaster.forward`."""
        config, windows = self._config, len(history)
        level, spread = location_and_scale(history, config)
        normalised = (history - level) / spread
        if config.lags:
            present = ~np.isnan(lagged)
            earlier = np.where(present, (lagged - level[:, :, None]) / spread[:, :, None], np.float32(0))
            known = np.concatenate([known, earlier, present.astype(np.float32)], axis=2)
        # The look-back, a segment a step: of all layers only the last states count.
        rows = np.concatenate([normalised[:, :, None], past, known[:, : config.look_back]], axis=2)
        inputs = np.maximum(self._segments(_cut(rows, config.segment_length, at_end=False)), np.float32(0))
        _, states = self._layers.run(self._layers.first_gates(inputs))
        # The horizon: one step of every segment from those states.
        gates, indices = self._horizon_gates(channel, known)
        repeated = tuple(tuple(np.tile(part, (config.horizon_segments, 1)) for part in state) for state in states)
        hidden, _ = self._layers.run(gates, repeated, indices=indices)
        shape = config.horizon_segments, windows, config.segment_length, config.num_outputs
        outputs = self._output(hidden[0]).reshape(shape).transpose(1, 0, 2, 3)
        outputs = outputs.reshape(windows, shape[0] * shape[2], shape[3])[:, : config.horizon]
        if self._linear is not None:
            outputs = outputs + self._linear(normalised)[:, :, None]
        return outputs * spread[:, :, None] + level[:, :, None]

    def _horizon_gates(self, channel: Integers, known: Floats) -> tuple[Floats, Integers | None]:
        """The input's terms of the gates at the horizon: see `RecurrentLayers.run`, for one step of all segments."""
        place, column = self._weights["place"][:, None], self._weights["channel"]
        if self._known is None:  # the same for all windows of a column
            used, which = np.unique(channel, return_inverse=True)
            gates = self._layers.first_gates(place + column[used]).reshape(-1, self._layers.width)
            indices = np.arange(len(place))[:, None] * len(used) + which.reshape(-1)
            return gates, indices.reshape(1, -1)
        segments = _cut(known[:, self._config.look_back :], self._config.segment_length, at_end=True)
        inputs = place + column[channel] + self._known(segments)
        return self._layers.first_gates(inputs.reshape(1, -1, inputs.shape[-1])), None


def _cut(values: Floats, length: int, at_end: bool) -> Floats:
    """(windows, rows, columns) → (segments, windows, length · columns), padded with zeros at the start or `at_end`."""
    missing = -values.shape[1] % length
    if missing:
        values = np.pad(values, ((0, 0), (0, missing) if at_end else (missing, 0), (0, 0)))
    windows, rows, columns = values.shape
    return values.reshape(windows, rows // length, length * columns).transpose(1, 0, 2)
