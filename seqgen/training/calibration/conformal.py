"""Conformal correction: how much wider bands must be to hold the share that they say, found on held-out windows.

Split conformal prediction of quantile regression (Romano et al., 2019), with scores relative to a band's own width
(CQR-m; Sesia & Candès, 2020): a forecast that is unsure gets more room than one that is sure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seqgen.generation.forecasting.intervals import conformity_scores

Floats = npt.NDArray[np.float32]

_FEWEST = 50  # scores behind one factor; with fewer, steps are taken together
_FEWEST_APART = 20.0  # windows side by side that the correction for few of them reckons with, at the least
_NARROW, _WIDE = 0.1, 10.0  # limits of a factor


def widening_factors(
    quantiles: Floats, truth: Floats, observed: npt.NDArray[np.bool_], levels: Sequence[float], apart: float = 1.0
) -> Floats:
    """The factor by which each quantile's distance from the median is multiplied.

    Args:
        quantiles: in order, shape (windows, horizon, levels), of one column.
        truth: what came, shape (windows, horizon).
        observed: where it is known, same shape.
        levels: in percent, even about 50, the median in the middle.
        apart: rows from one window to the next.

    Returns:
        shape (horizon, levels); 1 for the median, and for all where nothing was observed. Both sides of a band get
        the same factor: it is the smallest that makes the band hold its share, per step of the horizon, smoothed over
        neighbouring steps; where fewer than 50 windows are there, all steps are taken together.
    """
    windows, horizon = truth.shape
    result = np.ones((horizon, len(levels)), dtype=np.float32)
    middle = len(levels) // 2
    # Of n scores a band must hold (n + 1) / n of its share to hold it of the next; windows that overlap are no n.
    side_by_side = max(_FEWEST_APART, windows * apart / horizon)
    for place in range(middle):
        other = len(levels) - 1 - place
        share = min(1.0, (levels[other] - levels[place]) / 100 * (side_by_side + 1) / side_by_side)
        scores = np.where(observed, conformity_scores(quantiles, truth, place), np.nan)
        result[:, place] = result[:, other] = _factors(scores, share, horizon)
    return result


def _factors(scores: Floats, share: float, horizon: int) -> npt.NDArray[np.float64]:
    """For each step, the quantile of its scores that makes a band hold `share`."""
    if len(scores) < _FEWEST:
        return np.full(horizon, _quantile(scores.ravel(), share))
    steps = np.array([_quantile(scores[:, step], share) for step in range(horizon)])
    reach = max(1, horizon // 24)
    padded = np.pad(steps, reach, mode="edge")
    return np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), mode="valid")


def _quantile(scores: npt.NDArray[np.floating], share: float) -> float:
    """The score that `share` of the scores do not exceed."""
    ordered = np.sort(scores[np.isfinite(scores)])
    if not len(ordered):
        return 1.0
    place = min(len(ordered), max(1, math.ceil(len(ordered) * share)))
    return float(np.clip(ordered[place - 1], _NARROW, _WIDE))
