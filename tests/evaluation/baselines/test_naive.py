"""Baselines of forecasting: persistence, the last season and NLinear."""

from __future__ import annotations

import numpy as np

from seqgen.corpus.series.windows import (
    ScaledSeries,
    Windows,
)
from seqgen.evaluation.baselines.naive import BaselineWithIntervals, NLinear, Persistence, SeasonalNaive


def test_persistence_and_seasonal_naive_repeat_the_past() -> None:
    history = np.arange(12.0, dtype=np.float32).reshape(2, 6)
    assert Persistence().forecast(history, 3).tolist() == [[5, 5, 5], [11, 11, 11]]
    assert SeasonalNaive(4).forecast(history, 6)[0].tolist() == [2, 3, 4, 5, 2, 3]
    assert SeasonalNaive(7).forecast(history, 2)[0].tolist() == [5, 5]  # the look-back holds no season


def noisy_wave(rows: int) -> ScaledSeries:
    random = np.random.default_rng(5)
    values = np.sin(np.arange(rows) * 2 * np.pi / 6)[:, None] + 0.05 * random.normal(size=(rows, 1))
    blank = np.zeros((rows, 0), np.float32)
    return ScaledSeries("", values.astype(np.float32), np.ones((rows, 1), bool), blank, blank)


def test_nlinear_is_ridge_regression_on_shifted_windows() -> None:
    """Against the equations solved one by one."""
    train = Windows([noisy_wave(300)], [(0, 300)], 8, 3)
    model = NLinear(train, None)
    sample = train.take(np.arange(len(train)))
    last = sample.history[:, -1:]
    x = np.concatenate([sample.history - last, np.ones_like(last)], axis=1).astype(np.float64)
    products = x.T @ x
    ridge = 1e-3 * np.trace(products) / 9 * np.eye(9)
    weight = np.linalg.solve(products + ridge, x.T @ (sample.future - last))
    np.testing.assert_allclose(model.forecast(sample.history, 3), x @ weight + last, atol=1e-4)


def test_nlinear_beats_persistence_on_a_trend() -> None:
    series = noisy_wave(400)
    train, test = (Windows([series], [rows], 8, 3) for rows in ((0, 300), (300, 400)))
    sample = test.take(np.arange(len(test)))
    errors = [
        float(((baseline.forecast(sample.history, 3) - sample.future) ** 2).mean())
        for baseline in (Persistence(), SeasonalNaive(6), NLinear(train, test))
    ]
    assert errors[2] < errors[1] < errors[0]


def test_baseline_with_intervals_uses_quantiles_of_its_errors() -> None:
    series = noisy_wave(600)
    windows = Windows([series], [(0, 500)], 8, 3)
    banded = BaselineWithIntervals(SeasonalNaive(6), windows, (10.0, 50.0, 90.0))
    test = Windows([series], [(500, 600)], 8, 3).take(np.arange(90))
    _, quantiles = banded.forecast(test.history, test.channel, 3)
    inside = (quantiles[:, :, 0] <= test.future) & (test.future <= quantiles[:, :, 2])
    assert 0.65 < inside.mean() < 0.95
