"""Recalibration of prediction intervals on recent forecasts of the same series.

The calibration on the validation set (`training.calibration.conformal`) is valid as long as the errors keep their
distribution. At any later row the outcomes of earlier forecasts are known and show whether they do. So each interval is
scaled by the factor that would have given it its nominal coverage recently. The weight of a window halves with every
`_HALF_LIFE` horizons since then: weighted split conformal prediction under drift (Barber, Candès, Ramdas & Tibshirani,
2023). The validation set counts as `_PRIOR` horizons of windows with normal errors. Overlapping windows are correlated:
those of one horizon together count as one.

A factor depends only on windows that end before its origin and that the network wasn't trained on. They begin at
multiples of the stride from the first row, so that forecasts from many origins share the same windows.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.windows import Floats, Integers, ScaledSeries, Windows
from seqgen.generation.forecasting.base import WindowForecaster

Values = npt.NDArray[np.float64]

# Chosen on other series than those of the evaluation: see tests/benchmarks/recipe.md.
_HALF_LIFE = 10.0  # horizons
_PRIOR = 1.0  # horizons
_SMALL_SAMPLE_HORIZONS = 4.0  # with fewer, the target coverage is raised: few windows rarely show the worst errors
_LOOK_BACK_HORIZONS = 32  # before the origin
_WINDOWS_PER_HORIZON = 4
_MIN_FACTOR, _MAX_FACTOR = 0.25, 8.0
_GRID = np.geomspace(_MIN_FACTOR, _MAX_FACTOR, 101)  # factors 3.5 % apart; between them coverage is interpolated
_MIN_HALF_WIDTH = 1e-6  # of an interval, in the scale of the network
_BATCH = 1024  # windows through the network
_MAX_ORIGINS, _MAX_CELLS = 1 << 11, 1 << 15  # origins in a batch, and origins times columns


def recent_factors(network: WindowForecaster, series: ScaledSeries, origins: Integers, trained_rows: int = 0) -> Floats:
    """Factors for the distances of quantiles from the median.

    Args:
        origins: the first rows of the forecasts, ascending.
        trained_rows: rows at the beginning that the network was trained on; its errors there are too small.

    Returns:
        shape (origins, columns, levels); 1 for the median, and for all levels if no earlier forecast can be measured.
        Both sides of an interval get the same factor, and so do all steps of the horizon.
    """
    columns, levels = series.targets.shape[1], len(network.config.levels)
    result = np.ones((len(origins), columns, levels), dtype=np.float32)
    if levels < 2:
        return result
    at_once = max(1, min(_MAX_ORIGINS, _MAX_CELLS // columns))
    for first in range(0, len(origins), at_once):
        part = slice(first, first + at_once)
        result[part] = _factors(network, series, origins[part], trained_rows)
    return result


def scaled_intervals(outputs: Floats, factors: Floats) -> Floats:
    """Scale the intervals of forecasts about their median, and sort the quantiles, which may cross by it.

    Args:
        outputs: shape (…, horizon, 1 + levels).
        factors: shape (…, levels).
    """
    quantiles = outputs[..., 1:]
    if not quantiles.shape[-1]:
        return outputs
    middle = quantiles[..., quantiles.shape[-1] // 2, None]
    wider = np.sort(middle + (quantiles - middle) * factors[..., None, :], axis=-1)
    return np.concatenate([outputs[..., :1], wider], axis=-1)


def conformity_scores(quantiles: Floats, truth: Floats, band: int) -> Floats:
    """The factors with which an interval would just have covered the truth, shape (windows, steps).

    Args:
        quantiles: ascending, shape (windows, steps, levels), the median in the middle.
        band: index of the interval's lower quantile.
    """
    centre = quantiles[:, :, quantiles.shape[2] // 2]
    below = (centre - truth) / np.maximum(centre - quantiles[:, :, band], _MIN_HALF_WIDTH)
    above = (truth - centre) / np.maximum(quantiles[:, :, -1 - band] - centre, _MIN_HALF_WIDTH)
    return np.asarray(np.maximum(below, above))


def _factors(network: WindowForecaster, series: ScaledSeries, origins: Integers, trained_rows: int) -> Floats:
    """See `recent_factors`."""
    config = network.config
    horizon, middle = config.horizon, config.median_index
    stride = max(1, horizon // _WINDOWS_PER_HORIZON)
    first = max(config.look_back, trained_rows, int(origins[0]) - horizon * (1 + _LOOK_BACK_HORIZONS))
    rows = (-(-first // stride) * stride, int(origins[-1]))
    windows = Windows([series], [rows], config.look_back, horizon, stride, config.lags)
    columns, count = windows.columns, len(windows.origins)
    result = np.ones((len(origins), columns, len(config.levels)), dtype=np.float32)
    if not count:
        return result
    age = (origins[:, None] - horizon - windows.origins) / horizon
    weight = np.where((age >= 0) & (age <= _LOOK_BACK_HORIZONS), np.exp2(-age / _HALF_LIFE), 0.0) * (stride / horizon)
    evidence = np.zeros((len(origins), columns))
    covered = np.zeros((len(origins), columns, middle, len(_GRID)))
    for some in np.array_split(np.arange(count), min(count, -(-count * columns // _BATCH))):
        coverage, observed = _coverage(network, windows, some)
        covered += np.tensordot(weight[:, some], coverage, axes=(1, 0))
        evidence += weight[:, some] @ observed
    total = _PRIOR + evidence
    caution = evidence / total * _SMALL_SAMPLE_HORIZONS / (total + _SMALL_SAMPLE_HORIZONS)
    limit = 1 + evidence  # one or two windows don't justify intervals of three times the width
    for band in range(middle):
        level = (config.levels[-1 - band] - config.levels[band]) / 100
        of_all = (_PRIOR * _normal_coverage(level) + covered[:, :, band]) / total[:, :, None]
        factors = _factor_for(of_all, level + level * (1 - level) * caution)
        result[:, :, band] = result[:, :, -1 - band] = np.clip(factors, 1 / limit, limit)
    return result


def _normal_coverage(level: float) -> Values:
    """Coverage of normal errors, at each factor of the grid, by an interval that covers `level` of them at factor 1."""
    normal = NormalDist()
    edge = normal.inv_cdf(0.5 + level / 2)
    return np.array([2 * normal.cdf(edge * factor) - 1 for factor in _GRID])


def _coverage(network: WindowForecaster, windows: Windows, some: Integers) -> tuple[Values, Values]:
    """Coverage of the windows that begin at `some` of the origins.

    Returns:
        the fraction of steps that each interval covers at each factor of the grid, shape (origins, columns, intervals,
        factors), and the fraction of steps with an observed value, shape (origins, columns).
    """
    columns, middle = windows.columns, network.config.median_index
    sample = windows.take((some[:, None] * columns + np.arange(columns)).ravel())
    quantiles = network.predict(*sample.inputs)[:, :, 1:]
    covered = np.zeros((len(quantiles), middle, len(_GRID)))
    for band in range(middle):
        with np.errstate(over="ignore", invalid="ignore"):
            scores = conformity_scores(quantiles, sample.future, band)
        covered[:, band] = _covered_fractions(np.where(np.isnan(scores), np.inf, scores), sample.observed)
    observed = sample.observed.mean(axis=1)
    return covered.reshape(len(some), columns, middle, -1), observed.reshape(len(some), columns)


def _covered_fractions(scores: Floats, observed: npt.NDArray[np.bool_]) -> Values:
    """For each factor of the grid, the fraction of scores, shape (windows, steps), that don't exceed it.

    A score counts partly at the factor nearest to it, depending on its distance. So the fraction is a slope instead of
    a step, and differences in the last digits of a score don't matter.
    """
    windows, steps = scores.shape
    last = len(_GRID)
    apart = math.log(_MAX_FACTOR / _MIN_FACTOR) / (last - 1)
    position = np.log(np.clip(scores, _MIN_FACTOR / 2, _MAX_FACTOR * 2) / _MIN_FACTOR) / apart + 0.5
    position = np.clip(position, 0.0, last)
    whole = np.minimum(position.astype(np.int64), last)
    nearest = np.where(observed, 1 - (position - whole), 0.0)
    row = np.arange(windows)[:, None] * (last + 2)
    counts = np.bincount((row + whole).ravel(), nearest.ravel(), windows * (last + 2))
    counts += np.bincount((row + whole + 1).ravel(), np.where(observed, position - whole, 0.0).ravel(), len(counts))
    return counts.reshape(windows, -1)[:, :last].cumsum(axis=1) / steps


def _factor_for(coverage: Values, target: Values) -> Values:
    """The factors that reach `target`, shape (…), given the coverage at each factor of the grid, (…, factors)."""
    enough = coverage >= target[..., None]
    after = np.where(enough.any(axis=-1), enough.argmax(axis=-1), len(_GRID) - 1)
    before = np.maximum(after - 1, 0)
    high, low = (np.take_along_axis(coverage, index[..., None], -1)[..., 0] for index in (after, before))
    fraction = np.clip((target - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    return np.asarray(_GRID[before] * (_GRID[after] / _GRID[before]) ** fraction)
