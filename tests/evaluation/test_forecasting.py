"""Windows of series, what scales them, the measures of forecasts, and the rivals."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import ForecasterConfig, TrainOptions, parse_levels, parse_split_rows
from seqgen.corpus.series.frequency import Frequency
from seqgen.corpus.series.read import Series
from seqgen.corpus.series.scaling import ColumnStats, Scaler, check_positive, column_stats
from seqgen.corpus.series.windows import (
    ScaledSeries,
    SplitPoints,
    Windows,
    evenly_spaced,
    require_windows,
    split_points,
)
from seqgen.errors import DataError, ModelError, UserError
from seqgen.evaluation.baselines.naive import BaselineWithIntervals, NLinear, Persistence, SeasonalNaive
from seqgen.evaluation.forecasting import ForecastTally, interval_name
from seqgen.generation.forecasting.forecast import predict_horizon
from seqgen.model.forecaster import Forecaster


def prepared(rows: int, columns: int = 2, past: int = 0, known: int = 0, ahead: int = 0) -> ScaledSeries:
    """Numbers that tell their row and column: 100 · row + column."""
    row = np.arange(rows + ahead, dtype=np.float32)[:, None]
    return ScaledSeries(
        "",
        (100 * row[:rows] + np.arange(columns)).astype(np.float32),
        np.ones((rows, columns), bool),
        (-row[:rows] - np.arange(past)).astype(np.float32),
        (0.5 * row + np.arange(known)).astype(np.float32),
    )


def series_of(values: Any, unit: str = "hour", name: str = "", start: str = "2020-01-01") -> Series:
    """A series of columns a, b, … with a row an hour."""
    table = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    frequency = Frequency(unit)
    first = np.datetime64(start, "s")
    times = None if unit == "row" else np.concatenate([[first], frequency.next_times(first, len(table) - 1)])
    return Series(
        name=name,
        times=times,
        frequency=frequency,
        columns=tuple("abcdef"[: table.shape[1]]),
        values=table,
        observed=np.isfinite(table),
        future=np.zeros((0, 0)),
        target_count=table.shape[1],
    )


def scaler_of(series: Series, **changes: Any) -> Scaler:
    plain: dict[str, Any] = {
        "targets": series.columns, "covariates": (), "future_covariates": (), "time_column": "time",
        "series_column": None, "frequency": "hour", "season": 24, "scaling": "standard", "logarithm": False,
        "calendar": (),
    }  # fmt: skip
    plain |= changes
    targets = len(plain["targets"])
    measures = column_stats(series, len(series.values), plain["scaling"], plain["logarithm"], plain["season"], targets)
    return Scaler(**plain, measures={series.name: measures})


# Parts


def test_the_end_is_held_out() -> None:
    assert split_points(1000, None, 0.1, 5) == SplitPoints(900, 1000, 1000)
    assert split_points(144, None, 0.1, 12) == SplitPoints(120, 144, 144)  # two horizons rather than a tenth
    assert split_points(40, None, 0.1, 12) == SplitPoints(30, 40, 40)  # but never more than a quarter
    assert split_points(100, None, 0.0, 12) == SplitPoints(100, 100, 100)


def test_rows_and_shares_that_are_asked_for() -> None:
    assert split_points(17_420, "8640,2880,2880", 0.1, 96) == SplitPoints(8640, 11_520, 14_400)
    assert split_points(1000, "0.7,0.1,0.2", 0.1, 96) == SplitPoints(700, 800, 1000)
    assert split_points(1000, "600,200", 0.1, 96) == SplitPoints(600, 800, 800)
    with pytest.raises(UserError, match="takes 14,400 rows; there are 100"):
        split_points(100, "8640,2880,2880", 0.1, 96)


@given(st.integers(1, 5000), st.floats(0, 0.9), st.integers(1, 100))
def test_parts_are_in_order(rows: int, fraction: float, horizon: int) -> None:
    parts = split_points(rows, None, fraction, horizon)
    assert 0 <= parts.train <= parts.valid <= parts.test == rows
    assert parts.range("valid") == (parts.train, parts.valid)


@pytest.mark.parametrize("text", ["", "5", "5,", "a,b", "0.5,3", "0.9,0.9", "1,2,3,4", "-1,5", "nan,1", "1.5,2", "0,5"])
def test_a_split_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="--split-rows must be"):
        parse_split_rows(text)


@pytest.mark.parametrize("text", ["", "0", "100", "eighty", "80;90", "nan", ",".join(map(str, range(1, 40)))])
def test_bands_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--levels must be"):
        parse_levels(text)


# Windows


def test_a_window_by_hand() -> None:
    windows = Windows([prepared(10, 2, 1, 1)], [(4, 8)], 3, 2)
    assert windows.origins.tolist() == [4, 5, 6]  # the last forecasts rows 6 and 7
    sample = windows.take(np.array([3]))  # origin 5, column 1
    assert sample.history.tolist() == [[201, 301, 401]]
    assert sample.future.tolist() == [[501, 601]]
    assert sample.channel.tolist() == [1]
    assert sample.past[0, :, 0].tolist() == [-2, -3, -4]
    assert sample.known[0, :, 0].tolist() == [1, 1.5, 2, 2.5, 3]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 40), st.integers(0, 40))
def test_every_window_of_a_range_and_no_other(rows: int, back: int, ahead: int, first: int, length: int) -> None:
    stop = min(rows, first + length)
    first = min(first, stop)
    windows = Windows([prepared(rows)], [(first, stop)], back, ahead)
    expected = [origin for origin in range(rows) if origin >= max(first, back) and origin + ahead <= stop]
    assert windows.origins.tolist() == expected
    assert len(windows) == 2 * len(expected)


def test_windows_never_cross_from_series_to_series() -> None:
    one, other = prepared(8), dataclasses.replace(prepared(8), targets=prepared(8).targets + 10_000)
    windows = Windows([one, other], [(0, 8), (0, 8)], 3, 2)
    sample = windows.take(np.arange(len(windows)))
    both = np.concatenate([sample.history, sample.future], axis=1)
    assert (np.diff(both, axis=1) == 100).all()


def test_a_range_without_a_window_is_told() -> None:
    windows = Windows([prepared(8)], [(0, 8)], 6, 3)
    with pytest.raises(DataError, match="the file is too short: 8 rows, and a window takes 9"):
        require_windows(windows, "the file", 8)


@given(st.integers(0, 300), st.integers(1, 50))
def test_some_of_many_evenly(count: int, most: int) -> None:
    chosen = evenly_spaced(count, most)
    assert len(chosen) <= max(most, 0) and len(np.unique(chosen)) == len(chosen)
    assert not count or (chosen[0] == 0 and (most == 1 or chosen[-1] == count - 1))


# Scaling


@pytest.mark.parametrize("scaling", ["standard", "minmax", "none"])
@pytest.mark.parametrize("logarithm", [False, True])
def test_what_is_scaled_comes_back(scaling: str, logarithm: bool) -> None:
    series = series_of(np.random.default_rng(0).uniform(5, 90, (50, 2)))
    scaler = scaler_of(series, scaling=scaling, logarithm=logarithm)
    ready = scaler.transform(series)
    back = scaler.inverse_transform(ready.targets.T, scaler.stats_of(series))
    np.testing.assert_allclose(back.T, series.values, rtol=1e-4)


def test_scales_by_hand() -> None:
    series = series_of([[2.0], [4.0], [6.0], [8.0], [100.0]])
    (found,) = column_stats(series, 4, "standard", False, 1, 1)
    assert found == ColumnStats(5.0, pytest.approx(math.sqrt(5)), pytest.approx(math.sqrt(5)), 2.0)
    (found,) = column_stats(series, 4, "minmax", False, 2, 1)
    assert found == ColumnStats(2.0, 6.0, pytest.approx(math.sqrt(5)), 4.0)
    (found,) = column_stats(series, 4, "none", True, 1, 1)
    assert (found.centre, found.scale) == (0.0, 1.0)


def test_what_was_filled_in_does_not_scale() -> None:
    series = series_of([[1.0], [3.0], [1e9], [5.0]])
    holes = dataclasses.replace(series, observed=np.array([[True], [True], [False], [True]]))
    assert column_stats(holes, 4, "standard", False, 1, 1)[0].centre == 3.0


def test_a_column_that_never_changes_is_not_divided_by_nothing() -> None:
    series = series_of(np.full((20, 1), 7.0))
    ready = scaler_of(series).transform(series)
    assert np.isfinite(ready.targets).all()


def test_the_calendar_knows_the_hour_and_goes_on() -> None:
    series = series_of(np.zeros((48, 1)), start="2024-01-01")  # a Monday
    scaler = scaler_of(series, calendar=("day", "week"))
    known = scaler.transform(series, ahead=24).known
    assert known.shape == (72, 4)
    np.testing.assert_allclose(known[[0, 6, 12], 0], [0, 1, 0], atol=1e-6)  # sine of the day at 0, 6 and 12 o'clock
    np.testing.assert_allclose(known[:24, :2], known[48:, :2], atol=1e-6)
    np.testing.assert_allclose(known[0, 2:], [0, 1], atol=1e-6)  # the week begins


def test_without_times_there_is_no_calendar() -> None:
    series = series_of(np.zeros((48, 1)), unit="row")
    with pytest.raises(DataError, match="no time column"):
        scaler_of(series, calendar=("day",)).transform(series)


def test_future_covariates_must_reach_far_enough() -> None:
    series = series_of(np.arange(40.0).reshape(20, 2))
    ahead = dataclasses.replace(series, future=np.array([[50.0], [60.0]]))
    scaler = scaler_of(series, targets=("a",), future_covariates=("b",))
    known = scaler.transform(ahead, ahead=4, needed=2).known[:, 0]
    m = scaler.measures[""][1]
    np.testing.assert_allclose(known[20:] * m.scale + m.centre, [50, 60, 60, 60], rtol=1e-5)
    with pytest.raises(DataError, match="b must be given 3 rows ahead; there are 2"):
        scaler.transform(ahead, ahead=4, needed=3)


def test_logarithms_need_positive_numbers() -> None:
    series = series_of([[1.0], [0.0], [2.0]])
    with pytest.raises(DataError, match="needs positive numbers: 'a' is 0 in row 2"):
        check_positive(series, 1)


def test_a_stranger_is_scaled_by_its_own_rows() -> None:
    known = series_of(np.arange(30.0), name="known")
    stranger = series_of(1000 + np.arange(30.0) * 7, name="stranger")
    scaler = scaler_of(known)
    assert abs(scaler.transform(stranger).targets.mean()) < 1e-3
    assert scaler.stats_of(known) == scaler.measures["known"]


def test_a_scaler_survives_json() -> None:
    series = series_of(np.random.default_rng(0).normal(size=(40, 2)))
    scaler = scaler_of(series, calendar=("day",))
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert again == scaler
    assert scaler.files() == {}


@pytest.mark.parametrize(
    "change",
    [
        {"targets": []}, {"measures": {}}, {"measures": {"": [[0, 1, 1, 0]]}}, {"measures": {"": [[0, 0, 1, 0]] * 2}},
        {"measures": {"": [[float("nan"), 1, 1, 0]] * 2}}, {"measures": []}, {"season": 0}, {"season": "day"},
        {"scaling": "robust"}, {"calendar": ["moon"]}, {"targets": None},
    ],
)  # fmt: skip
def test_a_scaler_that_is_none(change: dict[str, Any]) -> None:
    data = scaler_of(series_of(np.random.default_rng(0).normal(size=(40, 2)))).to_dict()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Scaler.from_dict({**data, **change})


# Measures


def test_measures_by_hand() -> None:
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


def test_what_was_filled_in_is_not_measured() -> None:
    tally = ForecastTally(["x"], np.ones(1), np.ones(1), ())
    tally.add(np.array([[[1.0, 9e9]]]), np.array([[[True, False]]]), np.array([[[3.0, 0.0]]]))
    assert tally.values == 1
    assert tally.metrics()["mse"] == 4


def test_columns_count_alike_and_alone() -> None:
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


def test_a_perfect_rival_leaves_no_skill_to_speak_of() -> None:
    tally, naive = (ForecastTally(["x"], np.ones(1), np.ones(1), ()) for _ in range(2))
    for each in (tally, naive):
        each.add(np.zeros((1, 1, 1)), np.ones((1, 1, 1), bool), np.zeros((1, 1, 1)))
    assert tally.metrics(naive)["skill"] == 0.0


@given(st.integers(1, 5), st.integers(1, 5))
def test_batches_add_up(first: int, second: int) -> None:
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


def test_bands_have_names() -> None:
    levels = (2.5, 10.0, 50.0, 90.0, 97.5)
    assert [interval_name(levels, place) for place in range(2)] == ["95", "80"]


# Rivals


def test_persistence_and_the_last_season() -> None:
    history = np.arange(12.0, dtype=np.float32).reshape(2, 6)
    assert Persistence().forecast(history, 3).tolist() == [[5, 5, 5], [11, 11, 11]]
    assert SeasonalNaive(4).forecast(history, 6)[0].tolist() == [2, 3, 4, 5, 2, 3]
    assert SeasonalNaive(7).forecast(history, 2)[0].tolist() == [5, 5]  # the look-back holds no season


def noisy_wave(rows: int) -> ScaledSeries:
    random = np.random.default_rng(5)
    values = np.sin(np.arange(rows) * 2 * np.pi / 6)[:, None] + 0.05 * random.normal(size=(rows, 1))
    blank = np.zeros((rows, 0), np.float32)
    return ScaledSeries("", values.astype(np.float32), np.ones((rows, 1), bool), blank, blank)


def test_nlinear_is_ridge_regression_on_moved_windows() -> None:
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


def test_nlinear_learns_what_persistence_can_not() -> None:
    series = noisy_wave(400)
    train, test = (Windows([series], [rows], 8, 3) for rows in ((0, 300), (300, 400)))
    sample = test.take(np.arange(len(test)))
    errors = [
        float(((rival.forecast(sample.history, 3) - sample.future) ** 2).mean())
        for rival in (Persistence(), SeasonalNaive(6), NLinear(train, test))
    ]
    assert errors[2] < errors[1] < errors[0]


def test_a_rivals_bands_are_its_own_errors() -> None:
    series = noisy_wave(600)
    windows = Windows([series], [(0, 500)], 8, 3)
    banded = BaselineWithIntervals(SeasonalNaive(6), windows, (10.0, 50.0, 90.0))
    test = Windows([series], [(500, 600)], 8, 3).take(np.arange(90))
    _, quantiles = banded.forecast(test.history, test.channel, 3)
    inside = (quantiles[:, :, 0] <= test.future) & (test.future <= quantiles[:, :, 2])
    assert 0.65 < inside.mean() < 0.95


# Rolling on


def roller(past: int = 0, known: int = 0) -> Forecaster:
    config = ForecasterConfig(
        2, 6, 4, 2, (10.0, 50.0, 90.0), past, known, rnn_size=5, embedding_size=5, linear=True
    )  # fmt: skip
    return Forecaster(config, torch.Generator().manual_seed(0)).eval()


def test_only_what_was_there_is_seen() -> None:
    whole = prepared(30, 2, 1, 1, ahead=8)
    network = roller(1, 1)
    spoilt = dataclasses.replace(whole, targets=whole.targets.copy(), past=whole.past.copy())
    spoilt.targets[20:] = 1e6
    spoilt.past[20:] = 1e6
    assert np.array_equal(predict_horizon(network, whole, 20, 7), predict_horizon(network, spoilt, 20, 7))


@given(st.integers(1, 15))
@settings(max_examples=15, deadline=None)
def test_a_longer_horizon_begins_like_a_shorter_one(horizon: int) -> None:
    network = roller()
    longest = predict_horizon(network, prepared(30), 30, 15)
    assert longest.shape == (2, 15, 4)
    assert np.array_equal(longest[:, :horizon], predict_horizon(network, prepared(30), 30, horizon))


def test_bands_do_not_narrow_where_forecasts_feed_on_forecasts() -> None:
    made = predict_horizon(roller(), prepared(30), 30, 12)
    widths = made[:, :, 3] - made[:, :, 1]
    assert (widths[:, 4:] >= widths[:, 3:4] - 1e-4).all()
    assert (np.diff(made[:, :, 1:], axis=2) >= -1e-4).all()


def test_a_short_history_is_as_if_its_first_row_had_stood_before() -> None:
    series = prepared(3)
    longer = dataclasses.replace(
        series,
        targets=np.concatenate([np.repeat(series.targets[:1], 3, axis=0), series.targets]),
        past=np.zeros((6, 0), np.float32),
        known=np.zeros((6, 0), np.float32),
    )
    assert np.array_equal(predict_horizon(roller(), series, 3, 4), predict_horizon(roller(), longer, 6, 4))


def test_a_network_without_bands_rolls_too() -> None:
    config = ForecasterConfig(1, 6, 4, 2, rnn_size=5, embedding_size=5)
    network = Forecaster(config, torch.Generator().manual_seed(0)).eval()
    assert predict_horizon(network, prepared(30, 1), 30, 9).shape == (1, 9, 1)


def test_options_name_what_they_are() -> None:
    assert TrainOptions(split_rows="0.7,0.1,0.2", levels="none", horizon=1)
