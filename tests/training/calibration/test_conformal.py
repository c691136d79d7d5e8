"""Conformal calibration of prediction intervals."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen.training.calibration.conformal import widening_factors
from tests.helpers.forecasters import LEVELS


@pytest.mark.parametrize("true_spread", [0.3, 1.0, 4.0])
def test_widening_factors_reach_the_coverage(true_spread: float) -> None:
    random = np.random.default_rng(0)
    windows, horizon = 800, 6
    z = np.array([-1.959964, -1.281552, 0.0, 1.281552, 1.959964])  # of a normal with spread 1
    quantiles = np.broadcast_to(z, (windows, horizon, 5)).astype(np.float32)
    everything = np.ones((windows, horizon), bool)
    factors = widening_factors(quantiles, random.normal(0, true_spread, (windows, horizon)), everything, LEVELS)
    assert factors.shape == (horizon, 5)
    assert (factors[:, 2] == 1).all()
    assert np.array_equal(factors, factors[:, ::-1])
    np.testing.assert_allclose(factors[:, :2], true_spread, rtol=0.15)
    fresh = random.normal(0, true_spread, (4000, horizon))
    inside = (np.abs(fresh) <= z[3] * factors[:, 3]).mean()
    assert 0.76 < inside < 0.84


def test_widening_factors_few_windows_share_one_factor() -> None:
    random = np.random.default_rng(1)
    quantiles = np.broadcast_to(np.array([-1.0, 0.0, 1.0]), (10, 4, 3)).astype(np.float32)
    factors = widening_factors(quantiles, random.normal(size=(10, 4)), np.ones((10, 4), bool), (10.0, 50.0, 90.0))
    assert len(np.unique(factors[:, 0])) == 1


def test_widening_factors_nothing_observed_are_one() -> None:
    quantiles = np.zeros((10, 4, 3), np.float32)
    assert (widening_factors(quantiles, np.zeros((10, 4)), np.zeros((10, 4), bool), (10.0, 50.0, 90.0)) == 1).all()
