"""Conformal calibration: how much wider prediction intervals must be to reach their coverage on held-out windows.

Split conformal prediction of quantile regression (Romano et al., 2019), with scores relative to an interval's width
(CQR-m; Sesia & Candès, 2020), so that uncertain forecasts are widened more than certain ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seqgen.generation.forecasting.intervals import conformity_scores

Floats = npt.NDArray[np.float32]

_FEWEST = 50  # scores for one factor; with fewer, all steps share one
_FEWEST_DISJOINT = 20.0  # disjoint windows that the correction for small samples assumes, at least
_NARROW, _WIDE = 0.1, 10.0  # limits of a factor


def widening_factors(
    quantiles: Floats, truth: Floats, observed: npt.NDArray[np.bool_], levels: Sequence[float], spacing: float = 1.0
) -> Floats:
    """The factor by which each quantile's distance from the median is multiplied.

    Args:
        quantiles: in order, shape (windows, horizon, levels), of one column.
        truth: shape (windows, horizon).
        observed: whether the truth is known, same shape.
        levels: in percent, symmetric about 50, the median in the middle.
        spacing: rows from one window to the next.

    Returns:
        shape (horizon, levels); 1 for the median, and everywhere if nothing was observed. Both bounds of an interval
        get the same factor, the smallest that reaches its coverage, per step of the horizon, smoothed over neighbouring
        steps. With fewer than 50 windows all steps share one factor.
    """
    windows, horizon = truth.shape
    result = np.ones((horizon, len(levels)), dtype=np.float32)
    middle = len(levels) // 2
    # For coverage of the next score, an interval must cover (n + 1) / n times its coverage of n independent scores;
    # overlapping windows are not independent.
    disjoint = max(_FEWEST_DISJOINT, windows * spacing / horizon)
    for lower in range(middle):
        upper = len(levels) - 1 - lower
        coverage = min(1.0, (levels[upper] - levels[lower]) / 100 * (disjoint + 1) / disjoint)
        scores = np.where(observed, conformity_scores(quantiles, truth, lower), np.nan)
        result[:, lower] = result[:, upper] = _factors(scores, coverage, horizon)
    return result


def _factors(scores: Floats, coverage: float, horizon: int) -> npt.NDArray[np.float64]:
    """The quantile of the scores that reaches `coverage`, for each step."""
    if len(scores) < _FEWEST:
        return np.full(horizon, _quantile(scores.ravel(), coverage))
    steps = np.array([_quantile(scores[:, step], coverage) for step in range(horizon)])
    reach = max(1, horizon // 24)
    padded = np.pad(steps, reach, mode="edge")
    return np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), mode="valid")


def _quantile(scores: npt.NDArray[np.floating], fraction: float) -> float:
    """The score that a fraction of the scores do not exceed."""
    ordered = np.sort(scores[np.isfinite(scores)])
    if not len(ordered):
        return 1.0
    rank = min(len(ordered), max(1, math.ceil(len(ordered) * fraction)))
    return float(np.clip(ordered[rank - 1], _NARROW, _WIDE))
