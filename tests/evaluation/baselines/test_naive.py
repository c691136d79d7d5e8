"""Baselines of forecasting: persistence, the last season and NLinear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seqgen.corpus.series.windows import (
    ScaledSeries,
    Windows,
)
from seqgen.evaluation.baselines.naive import (
    BaselineForecaster,
    BaselineWithIntervals,
    NLinear,
    Persistence,
    SeasonalNaive,
)
from seqgen.model import linear_map


def test_persistence_and_seasonal_naive_repeat_the_past() -> None:
    history = np.arange(12.0, dtype=np.float32).reshape(2, 6)

    def forecast(baseline: BaselineForecaster, horizon: int) -> list[list[float]]:
        return baseline.forecast(history[:, 6 - baseline.rows(horizon)], horizon).tolist()

    assert forecast(Persistence(), 3) == [[5, 5, 5], [11, 11, 11]]
    assert forecast(SeasonalNaive(4), 6)[0] == [2, 3, 4, 5, 2, 3]
    assert [forecast(SeasonalNaive(season), 2)[0] for season in (1, 2, 3, 5)] == [[5, 5], [4, 5], [3, 4], [1, 2]]
    assert len(SeasonalNaive(10**12).rows(24)) == 25  # of the season only what is forecast
    history[0, :4] = np.nan  # the series begins after them
    assert forecast(SeasonalNaive(4), 6)[0] == [5, 5, 4, 5, 5, 5]
    assert forecast(SeasonalNaive(4), 1)[0] == [5]


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
    every = np.arange(len(test))
    sample = test.take(every)
    errors = [
        float(((baseline.forecast(test.before(every, baseline.rows(3)), 3) - sample.future) ** 2).mean())
        for baseline in (Persistence(), SeasonalNaive(6), NLinear(train, test))
    ]
    assert errors[2] < errors[1] < errors[0]


def test_nlinear_has_not_learnt_the_targets_that_were_interpolated() -> None:
    """Of each step the ridge regression on the windows that have it: a line was learnt as if it had been observed."""
    whole = noisy_wave(400)
    observed = whole.observed.copy()
    observed[100:130] = observed[5::9] = False
    rows, known = np.arange(400), np.flatnonzero(observed[:, 0])
    filled = np.interp(rows, known, whole.targets[known, 0]).astype(np.float32)[:, None]
    series = replace(whole, targets=filled, observed=observed)
    train = Windows([series], [(0, 400)], 8, 3)
    sample = train.take(np.arange(len(train)))
    last = sample.history[:, -1:]
    x = np.concatenate([sample.history - last, np.ones_like(last)], axis=1).astype(np.float64)
    ridge = 1e-3 * np.trace(x.T @ x) / 9 * np.eye(9)
    found = NLinear(train, None).forecast(sample.history, 3)
    for step in range(3):
        seen = sample.observed[:, step]
        weight = np.linalg.solve(x[seen].T @ x[seen] + ridge, x[seen].T @ (sample.future - last)[seen, step])
        np.testing.assert_allclose(found[:, step], x @ weight + last[:, 0], atol=1e-3)


def test_unknown_targets_do_not_choose_the_penalty() -> None:
    whole = noisy_wave(400)
    train = Windows([whole], [(0, 200)], 8, 3)
    observed, wild = whole.observed.copy(), whole.targets.copy()
    observed[390:], wild[390:] = False, 1e3
    ridges = [
        linear_map.fit(train, Windows([one], [(200, 400)], 8, 3), linear_map.by_last_value, True).ridge
        for one in (replace(whole, observed=observed), replace(whole, observed=observed, targets=wild))
    ]
    assert ridges[0] == ridges[1]
    none = Windows([replace(whole, observed=np.zeros_like(observed))], [(200, 400)], 8, 3)
    without = linear_map.fit(train, None, linear_map.by_last_value, True).ridge
    assert linear_map.fit(train, none, linear_map.by_last_value, True).ridge == without != 0


def test_linear_map_of_many_windows_with_gaps_keeps_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = noisy_wave(4000)
    observed = whole.observed.copy()
    observed[::2] = False
    train = Windows([replace(whole, observed=observed)], [(0, 4000)], 8, 3)
    every = linear_map.fit(train, None, linear_map.by_last_value, True).weight
    monkeypatch.setattr(linear_map, "_MOST_INCOMPLETE", 9 * 400)
    some = linear_map.fit(train, None, linear_map.by_last_value, True).weight
    assert not np.array_equal(some, every) and np.abs(some - every).max() < 0.25


def test_baseline_with_intervals_uses_quantiles_of_its_errors() -> None:
    series = noisy_wave(600)
    windows = Windows([series], [(0, 500)], 8, 3)
    banded = BaselineWithIntervals(SeasonalNaive(6), windows, (10.0, 50.0, 90.0))
    windows = Windows([series], [(500, 600)], 8, 3)
    test = windows.take(np.arange(90))
    _, quantiles = banded.forecast(windows.before(np.arange(90), banded.rows(3)), test.channel, 3)
    inside = (quantiles[:, :, 0] <= test.future) & (test.future <= quantiles[:, :, 2])
    assert 0.65 < inside.mean() < 0.95
