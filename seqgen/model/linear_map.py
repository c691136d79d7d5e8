"""A linear map from look-back to horizon by least squares: part of a forecaster, and a baseline for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.windows import Flags, Floats, ScaledSeries, Windows, evenly_spaced

# Candidate penalties, in thousandths of the mean square of the look-backs.
RIDGES = (1e-3, 1e-1, 1.0, 10.0, 100.0, 1000.0)
_EFFECT_RIDGE = 1.0  # a single event says little
_MODERATE = 2  # index of a penalty that does for most series
_AT_ONCE = 2048  # windows
_MOST_WINDOWS = 60_000  # for the fit; of more, evenly spaced ones
_MOST_INCOMPLETE = 1 << 26  # numbers in the look-backs of windows that lack targets; of more, evenly spaced windows
_MOST_VALIDATION = 8_000  # windows that choose the penalty
_ROUNDS, _SOLVED = 20, 1e-8  # of conjugate gradients, where targets are unknown; until so much of the error is left

Values = npt.NDArray[np.float64]
Normaliser = Callable[[Floats], tuple[Floats, Floats]]  # histories → shift and divisor of each, (windows, 1)


class FittedMap(NamedTuple):
    """A map of shape (horizon, look-back), with an intercept (horizon, look-back + 1), and the index of its penalty."""

    weight: Floats
    ridge: int


def fit(
    train: Windows, held_out: Windows | None, normalise: Normaliser, constant: bool = False, ridge: int = _MODERATE
) -> FittedMap:
    """The ridge regression of normalised horizons on normalised look-backs, in closed form.

    Interpolated targets don't count. In their place stand the forecasts of the regression on known targets by the
    moderate penalty, which is exact; with many gaps, stronger penalties then act weaker than on known targets, and
    weaker ones stronger. To complete the targets for each would take several times as long. The penalty is the one with
    the smallest error on held-out windows; without those, or without known targets in them, that of RIDGES[`ridge`].

    Args:
        constant: whether to add an intercept, which trends need.
    """
    back, ahead = train.look_back + constant, train.horizon
    products, targets = np.zeros((back, back)), np.zeros((back, ahead))
    incomplete = []
    most = _MOST_INCOMPLETE * _AT_ONCE // (back * min(len(train), _MOST_WINDOWS) or 1)
    for inputs, outputs, observed, _ in _batches(train, _MOST_WINDOWS, normalise, constant):
        some = np.flatnonzero(~observed.all(axis=1))
        if len(some) > most:
            left_out = np.setdiff1d(some, some[evenly_spaced(len(some), most)])
            inputs, outputs = np.delete(inputs, left_out, axis=0), np.delete(outputs, left_out, axis=0)
            observed = np.delete(observed, left_out, axis=0)
        lacking = np.asarray(~observed.all(axis=1))
        products += inputs.T @ inputs
        targets += inputs.T @ np.where(observed, outputs, np.float32(0))
        if lacking.any():
            incomplete.append((inputs[lacking], observed[lacking]))
    values, vectors = np.linalg.eigh(products)
    scale = max(float(values.mean()), 1e-12) * 1e-3

    def solved(targets: Values, penalty: float) -> Values:
        rotated = vectors.T @ targets
        return vectors @ (rotated / (np.maximum(values, 0) + penalty * scale)[:, None])

    if incomplete:
        targets = _completed(targets, incomplete, lambda known: solved(known, RIDGES[_MODERATE]))
    maps = [solved(targets, penalty).astype(np.float32) for penalty in RIDGES]
    if held_out is None or not len(held_out):
        return FittedMap(np.ascontiguousarray(maps[ridge].T), ridge)
    errors, is_known = np.zeros(len(maps)), False
    for inputs, outputs, observed, spread in _batches(held_out, _MOST_VALIDATION, normalise, constant):
        is_known = is_known or bool(observed.any())
        errors += [float((np.where(observed, (inputs @ each - outputs) * spread, 0) ** 2).sum()) for each in maps]
    best = int(np.argmin(errors)) if is_known else ridge
    return FittedMap(np.ascontiguousarray(maps[best].T), best)


def fit_effects(series: Sequence[ScaledSeries], rows: Sequence[int], season: int, count: int) -> Floats:
    """What known covariates add to the targets at once, by a ridge regression of their changes over a season.

    A covariate that is 1 on a few days has the effect that those days stand out from the same days of other weeks.

    Args:
        rows: of each series, from its beginning.
        count: of the first known covariates.

    Returns:
        shape (targets, count), in scaled units.
    """
    columns = series[0].targets.shape[1]
    products, answers = np.zeros((columns, count, count)), np.zeros((columns, count))
    for one, stop in zip(series, rows, strict=True):
        known = one.known[:stop, :count].astype(np.float64)
        changes = known[season:] - known[:-season]
        differences = (one.targets[season:stop] - one.targets[: stop - season]).astype(np.float64)
        both = one.observed[season:stop] & one.observed[: stop - season]
        for column in range(columns):
            kept = changes[both[:, column]]
            products[column] += kept.T @ kept
            answers[column] += kept.T @ differences[both[:, column], column]
    ridged = products + _EFFECT_RIDGE * np.eye(count)
    return np.linalg.solve(ridged, answers[:, :, None])[:, :, 0].astype(np.float32)


def by_last_value(history: Floats) -> tuple[Floats, Floats]:
    """The `Normaliser` that shifts windows by their last value, with divisor 1."""
    last = history[:, -1:]
    return last, np.ones_like(last)


def _completed(known: Values, incomplete: Sequence[tuple[Floats, Flags]], solve: Callable[[Values], Values]) -> Values:
    """The products of inputs and targets, with forecasts in the place of the unknown targets.

    The regression on known targets has a matrix of its own for each step of the horizon. They would all have to be
    factorised, so it is solved by conjugate gradients, preconditioned by the matrix of all windows. With its forecasts
    for the others, that matrix has the same solution.

    Args:
        known: the products of the known targets.
        incomplete: inputs of the windows that lack targets, and which they have.
        solve: the regression by the matrix of all windows.
    """

    def of_unknown(weights: Values) -> Values:
        rounded, result = weights.astype(np.float32), np.zeros_like(known)
        for inputs, observed in incomplete:
            result += inputs.T @ np.where(observed, np.float32(0), inputs @ rounded)
        return result

    weights, left = np.zeros_like(known), known
    step = direction = solve(left)
    size, whole = (left * step).sum(axis=0), left
    enough = _SOLVED * size
    for _ in range(_ROUNDS):
        product = whole - of_unknown(direction)  # by the matrix of the known targets
        along = (direction * product).sum(axis=0)
        rate = np.divide(size, along, out=np.zeros_like(size), where=along > 0)
        weights = weights + rate * direction
        left = left - rate * product
        step, before = solve(left), size
        size = (left * step).sum(axis=0)
        if (size <= enough).all():
            break
        turn = np.divide(size, before, out=np.zeros_like(size), where=before > 0)
        direction, whole = step + turn * direction, left + turn * whole  # the latter by the matrix of all windows
    return known + of_unknown(weights)


def _batches(
    windows: Windows, most: int, normalise: Normaliser, constant: bool
) -> Iterator[tuple[Floats, Floats, Flags, Floats]]:
    """Normalised look-backs and horizons, known targets, and divisors of at most `most` windows, in batches."""
    chosen = evenly_spaced(len(windows), most)
    for numbers in np.array_split(chosen, max(1, len(chosen) // _AT_ONCE)):
        sample = windows.take(numbers)
        level, spread = normalise(sample.history)
        inputs = (sample.history - level) / spread
        if constant:
            inputs = np.concatenate([inputs, np.ones_like(level)], axis=1)
        yield inputs, (sample.future - level) / spread, sample.observed, spread
