"""A linear map from look-back to horizon by least squares: part of a forecaster, and a baseline for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from seqgen.corpus.series.windows import Floats, ScaledSeries, Windows, evenly_spaced

# Candidate penalties, in thousandths of the mean square of the look-backs.
RIDGES = (1e-3, 1e-1, 1.0, 10.0, 100.0, 1000.0)
_EFFECT_RIDGE = 1.0  # a single event says little
_MODERATE = 2  # index of a penalty that does for most series
_AT_ONCE = 2048  # windows
_MOST_WINDOWS = 60_000  # for the fit; of more, evenly spaced ones
_MOST_VALIDATION = 8_000  # windows that choose the penalty

Normaliser = Callable[[Floats], tuple[Floats, Floats]]  # histories → shift and divisor of each, (windows, 1)


class FittedMap(NamedTuple):
    """A map of shape (horizon, look-back), with an intercept (horizon, look-back + 1), and the index of its penalty."""

    weight: Floats
    ridge: int


def fit(
    train: Windows, held_out: Windows | None, normalise: Normaliser, constant: bool = False, ridge: int = _MODERATE
) -> FittedMap:
    """The ridge regression of normalised horizons on normalised look-backs, in closed form.

    The penalty is the one with the smallest error on held-out windows; without those, that of RIDGES[`ridge`].

    Args:
        constant: whether to add an intercept, which trends need.
    """
    back, ahead = train.look_back + constant, train.horizon
    products, targets, count = np.zeros((back, back)), np.zeros((back, ahead)), 0
    for inputs, outputs, _ in _batches(train, _MOST_WINDOWS, normalise, constant):
        products += inputs.T @ inputs
        targets += inputs.T @ outputs
        count += len(inputs)
    values, vectors = np.linalg.eigh(products)
    rotated = vectors.T @ targets
    scale = max(float(values.mean()), 1e-12) * 1e-3
    maps = [
        (vectors @ (rotated / (np.maximum(values, 0) + ridge * scale)[:, None])).astype(np.float32) for ridge in RIDGES
    ]
    if held_out is None or not len(held_out):
        return FittedMap(np.ascontiguousarray(maps[ridge].T), ridge)
    errors = np.zeros(len(maps))
    for inputs, outputs, spread in _batches(held_out, _MOST_VALIDATION, normalise, constant):
        errors += [float((((inputs @ each - outputs) * spread) ** 2).sum()) for each in maps]
    best = int(np.argmin(errors))
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


def _batches(
    windows: Windows, most: int, normalise: Normaliser, constant: bool
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Normalised look-backs, normalised horizons and divisors of at most `most` windows, in batches."""
    chosen = evenly_spaced(len(windows), most)
    for numbers in np.array_split(chosen, max(1, len(chosen) // _AT_ONCE)):
        sample = windows.take(numbers)
        level, spread = normalise(sample.history)
        inputs = (sample.history - level) / spread
        if constant:
            inputs = np.concatenate([inputs, np.ones_like(level)], axis=1)
        yield inputs, (sample.future - level) / spread, spread
