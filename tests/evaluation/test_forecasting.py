"""Metrics of forecasts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.evaluation.forecasting import ForecastTally, interval_name


def test_forecast_tally_metrics_equal_values_by_hand() -> None:
    tally = ForecastTally(["x"], np.array([2.0]), np.array([0.5]), (10.0, 50.0, 90.0))
    truth = np.array([[[1.0, 2.0]]])
    point = np.array([[[2.0, 2.0]]])
    quantiles = np.array([[[[0.0, 2.0, 4.0], [2.5, 3.0, 4.0]]]])
    tally.add(truth, np.ones_like(truth, bool), point, quantiles)
    found = tally.metrics()
    assert found["mse"] == 0.5 and found["mae"] == 0.5 and found["rmse"] == pytest.approx(math.sqrt(0.5))
    assert found["scaled_mse"] == 0.125 and found["scaled_mae"] == 0.25
    assert found["mase"] == 1.0
    assert found["coverage"] == {"80": 0.5}
    # 10 %: 0.1·1 and 0.9·0.5; 50 %: 0.5·1 and 0.5·1; 90 %: 0.1·3 and 0.1·2; twice their mean over |1| + |2|
    assert found["wql"] == pytest.approx(2 * (0.55 + 1.0 + 0.5) / 3 / 3)


def test_forecast_tally_zeros_have_no_weighted_quantile_loss() -> None:
    """Rounded in the network's scale they are no exact zeros, and the loss was divided by their size."""
    exact = np.zeros((2, 2, 3))
    tally = ForecastTally(["x", "y"], np.ones(2), np.zeros(2), (10.0, 50.0, 90.0))

    def add() -> None:
        truth = exact + 0.1  # by float32, of a column whose mean is a million
        quantiles = np.ones((2, 2, 3, 3))
        tally.add(truth, np.ones_like(truth, bool), truth, quantiles, exact=exact)

    add()
    assert "wql" not in tally.metrics() and "coverage" in tally.metrics()
    exact[:, 1] = 1e-9  # however small beside the deviation, it is no zero
    add()
    found = tally.metrics()
    assert found["wql"] > 0 and found["per_column"]["y"]["wql"] > 0 and "wql" not in found["per_column"]["x"]
    exact[:] = 1e-320
    tally = ForecastTally(["x", "y"], np.ones(2), np.zeros(2), (10.0, 50.0, 90.0))
    add()
    assert "wql" not in tally.metrics(), "no number"


def test_forecast_tally_ignores_filled_in_values() -> None:
    tally = ForecastTally(["x"], np.ones(1), np.ones(1), ())
    tally.add(np.array([[[1.0, 9e9]]]), np.array([[[True, False]]]), np.array([[[3.0, 0.0]]]))
    assert tally.values == 1
    assert tally.metrics()["mse"] == 4


def test_forecast_tally_column_without_a_true_value_has_no_metrics() -> None:
    tally = ForecastTally(["x", "y"], np.ones(2), np.ones(2), ())
    tally.add(np.zeros((1, 2, 1)), np.array([[[True], [False]]]), np.full((1, 2, 1), 3.0))
    found = tally.metrics(tally)
    assert list(found["per_column"]) == ["x"] and found["mse"] == found["per_column"]["x"]["mse"] == 9


def test_forecast_tally_weighs_columns_equally_and_reports_each() -> None:
    tally, naive = (ForecastTally(["x", "y"], np.array([1.0, 10.0]), np.array([1.0, 0.0]), ()) for _ in range(2))
    truth, seen = np.zeros((1, 2, 1)), np.ones((1, 2, 1), bool)
    tally.add(truth, seen, np.array([[[1.0], [10.0]]]))
    naive.add(truth, seen, np.array([[[2.0], [10.0]]]))
    found = tally.metrics(naive)
    assert found["scaled_mse"] == 1.0
    assert found["skill"] == pytest.approx(1 - 1 / 2.5)
    assert found["per_column"]["x"]["skill"] == pytest.approx(0.75)
    assert found["per_column"]["y"]["skill"] == 0.0
    assert found["mase"] == 1.0  # a column that a naive forecast has no error on has none
    assert "mase" not in found["per_column"]["y"]


def test_forecast_tally_skill_with_perfect_persistence_is_zero() -> None:
    tally, naive = (ForecastTally(["x"], np.ones(1), np.ones(1), ()) for _ in range(2))
    for each in (tally, naive):
        each.add(np.zeros((1, 1, 1)), np.ones((1, 1, 1), bool), np.zeros((1, 1, 1)))
    assert tally.metrics(naive)["skill"] == 0.0


@given(st.integers(1, 5), st.integers(1, 5))
def test_forecast_tally_batches_add_up(first: int, second: int) -> None:
    random = np.random.default_rng(first * 7 + second)
    truth, point = random.normal(size=(2, first + second, 2, 3))
    quantiles = np.sort(random.normal(size=(first + second, 2, 3, 3)), axis=3)
    seen = random.random((first + second, 2, 3)) < 0.8
    seen[0, 0, 0] = True
    whole, parts = (ForecastTally(["x", "y"], np.ones(2), np.ones(2), (10.0, 50.0, 90.0)) for _ in range(2))
    whole.add(truth, seen, point, quantiles)
    for rows in (slice(first), slice(first, None)):
        parts.add(truth[rows], seen[rows], point[rows], quantiles[rows])
    assert whole.metrics()["wql"] == pytest.approx(parts.metrics()["wql"])
    assert whole.metrics()["scaled_mse"] == pytest.approx(parts.metrics()["scaled_mse"])


def test_forecast_tally_of_other_units_has_the_same_relative_metrics() -> None:
    """A thousandth of a unit; as deviations of the tally, and of the series that is added."""
    random = np.random.default_rng(5)
    truth, point = random.normal(size=(2, 6, 2, 3))
    quantiles = np.sort(random.normal(size=(6, 2, 3, 3)), axis=3)
    seen, deviations, naive_errors = np.ones((6, 2, 3), bool), np.array([1.0, 3.0]), np.array([0.5, 2.0])
    found = []
    for unit, own in ((1.0, False), (0.001, False), (0.001, True)):
        scales = (np.full(2, 9.0), np.full(2, 9.0)) if own else (deviations * unit, naive_errors * unit)
        tally = ForecastTally(["x", "y"], *scales, (10.0, 50.0, 90.0))
        given = (deviations * unit, naive_errors * unit) if own else (None, None)
        tally.add(truth * unit, seen, point * unit, quantiles * unit, *given)
        metrics = tally.metrics()
        assert metrics["mse"] == pytest.approx(((truth - point) ** 2).mean() * unit**2)
        found.append([metrics[name] for name in ("scaled_mse", "scaled_mae", "mase", "wql")])
    assert found[1] == pytest.approx(found[0]) and found[2] == pytest.approx(found[0])


def test_interval_name_is_coverage_in_percent() -> None:
    levels = (2.5, 10.0, 50.0, 90.0, 97.5)
    assert [interval_name(levels, place) for place in range(2)] == ["95", "80"]
