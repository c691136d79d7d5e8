"""Forecasts from any row of a series, over any horizon."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.windows import Floats, ScaledSeries, lag_offsets
from seqgen.generation.forecasting.base import WindowForecaster
from seqgen.generation.forecasting.intervals import scaled_intervals
from seqgen.time_limit import NO_LIMIT, TimeLimit


def predict_horizon(
    network: WindowForecaster,
    series: ScaledSeries,
    origin: int,
    horizon: int,
    factors: Floats | None = None,
    limit: TimeLimit = NO_LIMIT,
) -> Floats:
    """Forecast the `horizon` rows after the first `origin` rows, from these and the covariates known in advance.

    If `origin` is less than the look-back, the first row is repeated before it. Beyond the network's own horizon,
    forecasts are fed back: past covariates keep their last values, and intervals widen as if the errors of one horizon
    were independent of earlier ones.

    Args:
        series: must have the known covariates of all rows up to a multiple of the network's horizon.
        factors: scale the intervals, shape (columns, levels) (see `intervals.recent_factors`).

    Returns:
        shape (columns, horizon, 1 + levels), in the network's scale.

    Raises:
        StoppedError: the limit says so.
    """
    config = network.config
    targets, covariates = series.known_at(origin)
    history = _look_back(targets, origin, config.look_back).T  # (columns, look-back)
    past = _look_back(covariates, origin, config.look_back)
    whole = -(-horizon // config.horizon) * config.horizon
    known = _look_back(series.known, origin + whole, config.look_back + whole)
    values = np.empty((origin + whole, len(history)), dtype=np.float32)  # forecasts are written behind the true ones
    values[:origin] = targets
    parts: list[Floats] = []
    spread: Floats | None = None
    for start in range(0, whole, config.horizon):
        limit.check()
        lagged = _lagged(values[: origin + start], series.known, config) if config.lags else None
        part = _predict(network, history, past, known[start : start + config.look_back + config.horizon], lagged)
        if factors is not None:
            part = scaled_intervals(part, factors)
        if spread is not None:
            part = _widened(part, spread)
        parts.append(part)
        spread = np.abs(part[:, -1:, 1:] - part[:, -1:, 1 + config.median_index, None]) if config.levels else None
        history = np.concatenate([history, part[:, :, 0]], axis=1)[:, -config.look_back :]
        values[origin + start : origin + start + config.horizon] = part[:, :, 0].T
        past = np.concatenate([past, np.repeat(past[-1:], config.horizon, axis=0)])[-config.look_back :]
    return np.concatenate(parts, axis=1)[:, :horizon]


def _predict(network: WindowForecaster, history: Floats, past: Floats, known: Floats, lagged: Floats | None) -> Floats:
    """Run the network once, on all columns of a window."""
    columns = len(history)
    return network.predict(
        np.ascontiguousarray(history),
        np.arange(columns),
        np.repeat(past[None], columns, 0),
        np.repeat(known[None], columns, 0),
        lagged,
    )


def _lagged(values: Floats, known: Floats, config: ForecasterConfig) -> Floats:
    """The values of earlier seasons (see `WindowBatch.lagged`) of a forecast after the last of these rows."""
    found = []
    for lag in config.lags:
        rows = len(values) + lag_offsets(config.look_back, config.horizon, lag)
        targets = np.where(rows >= 0, values[np.maximum(rows, 0)].T, np.float32(np.nan))
        covariates = np.repeat(known[None, np.maximum(rows, 0)], len(targets), axis=0)
        found.append(np.concatenate([targets[:, :, None], covariates], axis=2))
    return np.stack(found, axis=2)


def _look_back(values: Floats, origin: int, rows: int) -> Floats:
    """The `rows` rows before `origin`; the first one is repeated if there are fewer."""
    present = values[max(0, origin - rows) : origin]
    if len(present) == rows:
        return present
    return np.concatenate([np.repeat(present[:1], rows - len(present), axis=0), present])


def _widened(part: Floats, spread: Floats) -> Floats:
    """Quantiles whose distances from the median combine those of `part` and `spread`, as of independent errors."""
    count = part.shape[2] - 1
    if not count:
        return part
    middle = part[:, :, 1 + count // 2, None]
    distance = part[:, :, 1:] - middle
    return np.concatenate([part[:, :, :1], middle + np.sign(distance) * np.hypot(distance, spread)], axis=2)


def quantile(outputs: npt.NDArray[np.floating], levels: tuple[float, ...], level: float) -> npt.NDArray[np.floating]:
    """The quantile of a level in percent, from outputs of shape (…, 1 + levels)."""
    return outputs[..., 1 + levels.index(level)]
