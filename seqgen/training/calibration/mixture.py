"""Convex mixtures of forecasts, fitted on held-out windows.

If the weights sum to one, the error of the mixture is the same combination of the single errors. So its mean square is
a quadratic form in the weights (Bates & Granger, 1969). Its minimum among non-negative weights overfits few windows. A
prior, worth some independent windows, keeps the weights near fixed ones unless the data speak against them.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.windows import Floats

Values = npt.NDArray[np.float64]

# Chosen on other series than those of the evaluation: see tests/benchmarks/recipe.md.
_PRIOR = (0.45, 0.45, 0.1)  # network, linear map, seasonal naive
_PRIOR_HORIZONS = 2.0  # independent windows that the prior counts as


def mixture_weights(forecasts: Floats, truth: Floats, observed: npt.NDArray[np.bool_], spacing: float = 1.0) -> Floats:
    """The weights of the forecasts of one column.

    Args:
        forecasts: shape (windows, horizon, 3): of network, linear map and seasonal naive.
        truth: shape (windows, horizon).
        observed: whether the truth is known, same shape.
        spacing: rows from one window to the next. The overlapping windows of one horizon count as one.

    Returns:
        shape (3,), not negative, with a sum of 1.
    """
    count = forecasts.shape[2]
    prior = np.array(_PRIOR)
    errors = (forecasts.astype(np.float64) - truth[:, :, None])[observed]
    if not len(errors) or not np.isfinite(errors).all():
        return prior.astype(np.float32)
    product = errors.T @ errors / len(errors)
    independent = max(1.0, len(errors) * spacing / truth.shape[1] ** 2)
    # The mean squared difference of two forecasts: what a weight that is wrong by one costs.
    squares = product.diagonal()
    scale = float((squares[:, None] + squares - 2 * product).sum()) / (count * (count - 1))
    penalty = _PRIOR_HORIZONS / independent * scale
    return minimise_on_simplex(product + penalty * np.eye(count), penalty * prior).astype(np.float32)


def minimise_on_simplex(matrix: Values, vector: Values) -> Values:
    """The minimum of w′Mw − 2v′w among weights that are not negative and add up to 1.

    Every set of positive weights is tried, so there should be few of them; the best feasible one is the minimum.

    Args:
        matrix: M, symmetric and positive semidefinite, shape (n, n).
        vector: v, shape (n,).
    """
    size = len(vector)
    best, least = np.zeros(size), np.inf
    for count in range(1, size + 1):
        for chosen in itertools.combinations(range(size), count):
            index = list(chosen)
            system = np.ones((count + 1, count + 1))  # of the first-order conditions, with the sum's multiplier
            system[:count, :count] = matrix[np.ix_(index, index)]
            system[count, count] = 0.0
            solution = np.linalg.lstsq(system, np.append(vector[index], 1.0), rcond=None)[0][:count]
            if (solution < 0).any():
                continue
            weights = np.zeros(size)
            weights[index] = solution / solution.sum()
            value = float(weights @ matrix @ weights - 2 * vector @ weights)
            if value < least:
                best, least = weights, value
    return best
