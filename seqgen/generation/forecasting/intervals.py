"""How wide bands must be now, from how those of earlier forecasts of the same series held.

What validation found (see `training.conformal`) holds while errors are as they were then. At any later row the truth of
earlier forecasts has come, and tells whether they still are. So every band is stretched by the factor that would have
made it hold its share of late, where a window counts half as much with every `_HALF_LIFE` horizons that have passed
since (weighted split conformal prediction for what drifts: Barber, Candès, Ramdas & Tibshirani, 2023); what validation
found counts as much as `_PRIOR` horizons of windows whose errors are normal. Windows that overlap are alike: those of a
horizon together count as one.

Nothing that comes after an origin tells on its factor: only windows whose last row is there, and of those none that the
network learnt from. They begin at whole numbers of strides from the first row, so that forecasts from many origins are
measured on the same ones.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch

from seqgen.corpus.series.windows import Floats, Integers, ScaledSeries, Windows
from seqgen.model.forecaster import Forecaster, model_inputs

Values = npt.NDArray[np.float64]

# Chosen on other series than those that are measured: see tests/benchmarks/recipe.md.
_HALF_LIFE = 10.0  # horizons
_PRIOR = 1.0  # horizons
_CAUTION = 4.0  # horizons: where so few are known, bands are made to hold more: few have not shown the worst
_REACH = 32  # horizons that are looked back on
_OVERLAP = 4  # windows that begin within a horizon
_LEAST, _MOST = 0.25, 8.0  # limits of a factor
_GRID = np.geomspace(_LEAST, _MOST, 101)  # each 3.5 % above the one before; between two it is interpolated
_THIN = 1e-6  # of half a band, in the scale of the network: none is taken to be narrower
_AT_ONCE = 1024  # windows through the network
_ORIGINS, _NUMBERS = 1 << 11, 1 << 15  # origins, and these times columns, that are reckoned with together


def recent_factors(network: Forecaster, series: ScaledSeries, origins: Integers, trained_rows: int = 0) -> Floats:
    """By how much each quantile's distance from the median must be multiplied.

    Args:
        origins: the first rows that are forecast, rising.
        learnt: rows at the beginning that the network learnt from; what it forecasts of them is better than it is.

    Returns:
        shape (origins, columns, levels); 1 for the median, and for all where no earlier forecast can be measured. Both
        sides of a band get the same factor, and all steps of the horizon.
    """
    columns, levels = series.targets.shape[1], len(network.config.levels)
    result = np.ones((len(origins), columns, levels), dtype=np.float32)
    if levels < 2:
        return result
    at_once = max(1, min(_ORIGINS, _NUMBERS // columns))
    for first in range(0, len(origins), at_once):
        part = slice(first, first + at_once)
        result[part] = _factors(network, series, origins[part], trained_rows)
    return result


def scaled_intervals(outputs: Floats, factors: Floats) -> Floats:
    """Forecasts, shape (…, horizon, 1 + levels), with quantiles that are `factors`, shape (…, levels), times as far
    from the median; in order, as a band may be stretched more than the one around it."""
    quantiles = outputs[..., 1:]
    if not quantiles.shape[-1]:
        return outputs
    middle = quantiles[..., quantiles.shape[-1] // 2, None]
    wider = np.sort(middle + (quantiles - middle) * factors[..., None, :], axis=-1)
    return np.concatenate([outputs[..., :1], wider], axis=-1)


def conformity_scores(quantiles: Floats, truth: Floats, band: int) -> Floats:
    """The factor with which a band would just have held the truth, shape (windows, steps): its score.

    Args:
        quantiles: in order, shape (windows, steps, levels), the median in the middle.
        band: the place of its lower quantile.
    """
    centre = quantiles[:, :, quantiles.shape[2] // 2]
    below = (centre - truth) / np.maximum(centre - quantiles[:, :, band], _THIN)
    above = (truth - centre) / np.maximum(quantiles[:, :, -1 - band] - centre, _THIN)
    return np.asarray(np.maximum(below, above))


def _factors(network: Forecaster, series: ScaledSeries, origins: Integers, trained_rows: int) -> Floats:
    """See `recent_factors`."""
    config = network.config
    horizon, middle = config.horizon, config.median_index
    stride = max(1, horizon // _OVERLAP)
    first = max(config.look_back, trained_rows, int(origins[0]) - horizon * (1 + _REACH))
    rows = (-(-first // stride) * stride, int(origins[-1]))
    windows = Windows([series], [rows], config.look_back, horizon, stride)
    columns, count = windows.columns, len(windows.origins)
    result = np.ones((len(origins), columns, len(config.levels)), dtype=np.float32)
    if not count:
        return result
    age = (origins[:, None] - horizon - windows.origins) / horizon
    weight = np.where((age >= 0) & (age <= _REACH), np.exp2(-age / _HALF_LIFE), 0.0) * (stride / horizon)
    evidence = np.zeros((len(origins), columns))
    held = np.zeros((len(origins), columns, middle, len(_GRID)))
    for some in np.array_split(np.arange(count), min(count, -(-count * columns // _AT_ONCE))):
        held_then, seen = _held(network, windows, some)
        held += np.tensordot(weight[:, some], held_then, axes=(1, 0))
        evidence += weight[:, some] @ seen
    whole = _PRIOR + evidence
    caution = evidence / whole * _CAUTION / (whole + _CAUTION)
    limit = 1 + evidence  # a window or two are no reason for bands of thrice the width
    for band in range(middle):
        share = (config.levels[-1 - band] - config.levels[band]) / 100
        of_all = (_PRIOR * _normal(share) + held[:, :, band]) / whole[:, :, None]
        factors = _reached(of_all, share + share * (1 - share) * caution)
        result[:, :, band] = result[:, :, -1 - band] = np.clip(factors, 1 / limit, limit)
    return result


def _normal(share: float) -> Values:
    """What a band that holds `share` of normal errors holds with each factor of the grid."""
    normal = NormalDist()
    edge = normal.inv_cdf(0.5 + share / 2)
    return np.array([2 * normal.cdf(edge * factor) - 1 for factor in _GRID])


def _held(network: Forecaster, windows: Windows, some: Integers) -> tuple[Values, Values]:
    """Of the windows from `some` of the origins the share of steps that each band would have held with each factor of
    the grid, shape (origins, columns, bands, factors), and the share whose truth is known, shape (origins, columns)."""
    columns, middle = windows.columns, network.config.median_index
    sample = windows.take((some[:, None] * columns + np.arange(columns)).ravel())
    with torch.inference_mode():
        outputs = network.predict(*model_inputs(sample, network.segment_weight.device))
    quantiles = outputs[:, :, 1:].float().cpu().numpy()
    held = np.zeros((len(quantiles), middle, len(_GRID)))
    for band in range(middle):
        with np.errstate(over="ignore", invalid="ignore"):
            scores = conformity_scores(quantiles, sample.future, band)
        held[:, band] = _shares(np.where(np.isnan(scores), np.inf, scores), sample.observed)
    seen = sample.observed.mean(axis=1)
    return held.reshape(len(some), columns, middle, -1), seen.reshape(len(some), columns)


def _shares(scores: Floats, observed: npt.NDArray[np.bool_]) -> Values:
    """For each factor of the grid, the share of scores, shape (windows, steps), that do not exceed it.

    A score counts for the factor nearest to it by as much as it lies below the half-way to the next: so the share is no
    step but a slope, and what differs in its last digit from batch to batch does not show.
    """
    windows, steps = scores.shape
    last = len(_GRID)
    apart = math.log(_MOST / _LEAST) / (last - 1)
    place = np.log(np.clip(scores, _LEAST / 2, _MOST * 2) / _LEAST) / apart + 0.5
    place = np.clip(place, 0.0, last)
    whole = np.minimum(place.astype(np.int64), last)
    at_once = np.where(observed, 1 - (place - whole), 0.0)
    row = np.arange(windows)[:, None] * (last + 2)
    counts = np.bincount((row + whole).ravel(), at_once.ravel(), windows * (last + 2))
    counts += np.bincount((row + whole + 1).ravel(), np.where(observed, place - whole, 0.0).ravel(), len(counts))
    return counts.reshape(windows, -1)[:, :last].cumsum(axis=1) / steps


def _reached(held: Values, share: Values) -> Values:
    """The factor with which `share`, shape (…), is held, out of what is held with each of the grid, (…, factors)."""
    enough = held >= share[..., None]
    after = np.where(enough.any(axis=-1), enough.argmax(axis=-1), len(_GRID) - 1)
    before = np.maximum(after - 1, 0)
    high, low = (np.take_along_axis(held, place[..., None], -1)[..., 0] for place in (after, before))
    way = np.clip((share - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    return np.asarray(_GRID[before] * (_GRID[after] / _GRID[before]) ** way)
