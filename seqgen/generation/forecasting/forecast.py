"""Forecasts from any row of a series, as far ahead as one likes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from seqgen.corpus.series.windows import Floats, ScaledSeries
from seqgen.generation.forecasting.intervals import scaled_intervals
from seqgen.model.forecaster import Forecaster


def predict_horizon(
    network: Forecaster, series: ScaledSeries, origin: int, horizon: int, factors: Floats | None = None
) -> Floats:
    """What comes after the first `origin` rows, of which alone it is made (and of `known` beside and after them).

    Where `origin` is less than the look-back, the first row is taken to have stood before it all the time. Beyond the
    network's own horizon, forecasts are made of forecasts: covariates known in the past keep their last values, and
    bands widen as if the errors of one stretch were independent of those before it.

    `series` must hold what is known of all rows up to a whole number of the network's horizons. `factors`, shape
    (columns, levels), stretch the bands (see `bands.recent_factors`).

    Returns:
        shape (columns, horizon, 1 + levels), in the network's scale.
    """
    config = network.config
    history = _behind(series.targets, origin, config.look_back).T  # (columns, look-back)
    past = _behind(series.past, origin, config.look_back)
    whole = -(-horizon // config.horizon) * config.horizon
    known = _behind(series.known, origin + whole, config.look_back + whole)
    parts: list[Floats] = []
    spread: Floats | None = None
    for start in range(0, whole, config.horizon):
        part = _one(network, history, past, known[start : start + config.look_back + config.horizon])
        if factors is not None:
            part = scaled_intervals(part, factors)
        if spread is not None:
            part = _wider(part, spread)
        parts.append(part)
        spread = np.abs(part[:, -1:, 1:] - part[:, -1:, 1 + config.median_index, None]) if config.levels else None
        history = np.concatenate([history, part[:, :, 0]], axis=1)[:, -config.look_back :]
        past = np.concatenate([past, np.repeat(past[-1:], config.horizon, axis=0)])[-config.look_back :]
    return np.concatenate(parts, axis=1)[:, :horizon]


def _one(network: Forecaster, history: Floats, past: Floats, known: Floats) -> Floats:
    """One pass of the network, for all columns of a window."""
    columns, place = len(history), network.segment_weight.device

    def each(values: Floats) -> torch.Tensor | None:
        if not values.shape[1]:
            return None
        return torch.from_numpy(np.ascontiguousarray(values)).to(place)[None].expand(columns, -1, -1)

    with torch.inference_mode():
        outputs = network.predict(
            torch.from_numpy(np.ascontiguousarray(history)).to(place),
            torch.arange(columns, device=place),
            each(past),
            each(known),
        )
    result: Floats = outputs.float().cpu().numpy()
    return result


def _behind(values: Floats, origin: int, rows: int) -> Floats:
    """The `rows` rows before `origin`, the first one repeated where there are not so many."""
    kept = values[max(0, origin - rows) : origin]
    if len(kept) == rows:
        return kept
    return np.concatenate([np.repeat(kept[:1], rows - len(kept), axis=0), kept])


def _wider(part: Floats, spread: Floats) -> Floats:
    """Quantiles whose distance from the median is that of `part` and `spread` together, as of independent errors."""
    count = part.shape[2] - 1
    if not count:
        return part
    middle = part[:, :, 1 + count // 2, None]
    away = part[:, :, 1:] - middle
    return np.concatenate([part[:, :, :1], middle + np.sign(away) * np.hypot(away, spread)], axis=2)


def quantile(outputs: npt.NDArray[np.floating], levels: tuple[float, ...], level: float) -> npt.NDArray[np.floating]:
    """The quantile of that level, in percent, out of outputs of shape (…, 1 + levels)."""
    return outputs[..., 1 + levels.index(level)]
