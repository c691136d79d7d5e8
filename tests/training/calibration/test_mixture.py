"""Convex mixtures of forecasts, fitted on held-out windows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.training.calibration.mixture import minimise_on_simplex, mixture_weights


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_minimise_on_simplex_no_point_of_a_grid_is_lower(seed: int) -> None:
    random = np.random.default_rng(seed)
    root = random.normal(size=(4, 3)) * random.choice([0.01, 1.0, 30.0], size=3)
    matrix, vector = root.T @ root, random.normal(size=3)
    found = minimise_on_simplex(matrix, vector)
    assert found.min() >= 0 and found.sum() == pytest.approx(1)

    def value(weights: np.ndarray) -> float:
        return float(weights @ matrix @ weights - 2 * vector @ weights)

    grid = [np.array(each) / 20 for each in itertools.product(range(21), repeat=3) if sum(each) == 20]
    assert value(found) <= min(map(value, grid)) + 1e-9 * (1 + abs(value(found)))


def forecasts_with_noise(windows: int, noise: tuple[float, ...], horizon: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts whose errors are independent and of these sizes, and the truth."""
    random = np.random.default_rng(3)
    truth = random.normal(size=(windows, horizon)).astype(np.float32)
    errors = random.normal(size=(windows, horizon, len(noise))) * np.array(noise)
    return (truth[:, :, None] + errors).astype(np.float32), truth


def test_mixture_weights_many_windows_are_inverse_to_the_variances() -> None:
    forecasts, truth = forecasts_with_noise(3000, (1.0, 2.0, 3.0))
    weights = mixture_weights(forecasts, truth, np.ones_like(truth, dtype=bool))
    inverse = np.array([1, 1 / 4, 1 / 9])
    np.testing.assert_allclose(weights, inverse / inverse.sum(), atol=0.03)
    assert weights.dtype == np.float32


def test_mixture_weights_few_windows_stay_near_the_prior() -> None:
    forecasts, truth = forecasts_with_noise(3, (0.1, 1.0, 1.0))
    few = mixture_weights(forecasts, truth, np.ones_like(truth, dtype=bool))
    forecasts, truth = forecasts_with_noise(3000, (0.1, 1.0, 1.0))
    many = mixture_weights(forecasts, truth, np.ones_like(truth, dtype=bool))
    assert 0.4 < few[0] < 0.9 < 0.95 < many[0]
    assert few.sum() == pytest.approx(1) and few.min() >= 0


def test_mixture_weights_overlapping_windows_count_less_than_distant_ones() -> None:
    forecasts, truth = forecasts_with_noise(40, (1.0, 0.2, 1.0))
    seen = np.ones_like(truth, dtype=bool)
    near, far = mixture_weights(forecasts, truth, seen, 0.1), mixture_weights(forecasts, truth, seen, 50.0)
    assert near[1] < far[1]


def test_mixture_weights_ignore_what_was_not_observed() -> None:
    forecasts, truth = forecasts_with_noise(50, (1.0, 1.0, 1.0))
    seen = np.random.default_rng(1).random(truth.shape) < 0.5
    changed = np.where(seen, truth, 1e6).astype(np.float32)
    np.testing.assert_array_equal(mixture_weights(forecasts, truth, seen), mixture_weights(forecasts, changed, seen))


@pytest.mark.parametrize("forecast", [0.0, np.inf, np.nan])
def test_mixture_weights_without_evidence_are_the_prior(forecast: float) -> None:
    truth, seen = np.zeros((4, 2), np.float32), np.full((4, 2), forecast != 0)
    forecasts = np.full((4, 2, 3), forecast, np.float32)
    np.testing.assert_allclose(mixture_weights(forecasts, truth, seen), [0.45, 0.45, 0.1])
