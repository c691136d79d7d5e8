"""The plan of a forecaster."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.config import TrainOptions
from seqgen.errors import DataError, UserError
from seqgen.training.plans import forecasting as series_plan


@given(st.integers(20, 30_000), st.sampled_from([1, 4, 5, 7, 12, 24, 52, 365]))
def test_window_shape_leaves_training_windows(rows: int, season: int) -> None:
    of = series_plan.window_shape(TrainOptions(), rows, season)
    assert of.look_back >= 1 and of.horizon >= 1
    assert 1 <= of.segment_length <= of.look_back
    assert rows - of.look_back - of.horizon + 1 >= 2


def test_forecasting_plan_keeps_given_options() -> None:
    options = TrainOptions(
        horizon=96, look_back=336, segment_length=48, rnn_size=50, num_layers=2, epochs=100, batch_size=32
    )
    of = series_plan.window_shape(options, 8640, 24)
    assert (of.look_back, of.horizon, of.segment_length) == (336, 96, 48)
    settled = series_plan.make_plan(options, of, 1, 0, 0, 0, 1000, 0.0)
    assert (settled.network.rnn_size, settled.network.num_layers, settled.batch_size) == (50, 2, 32)
    assert settled.schedule.steps == 100 * (1000 // 32)
    assert settled.network.levels == (2.5, 10.0, 25.0, 50.0, 75.0, 90.0, 97.5)


@pytest.mark.parametrize(
    ("options", "rows", "words"),
    [
        ({}, 2, "only 2 training rows"),
        ({"horizon": 50}, 40, "only 40 training rows"),
        ({"look_back": 50}, 40, "--look-back 50"),
        ({"look_back": 10, "segment_length": 11}, 400, "--segment-length 11 is more than the look-back"),
    ],
)
def test_window_shape_too_few_rows_raises_error(options: dict[str, Any], rows: int, words: str) -> None:
    with pytest.raises((DataError, UserError), match=words):
        series_plan.window_shape(TrainOptions(**options), rows, 7)


def test_forecasting_plan_seconds_and_steps() -> None:
    of = series_plan.WindowShape(12, 4, 4)
    timed = series_plan.make_plan(TrainOptions(budget="10s"), of, 1, 0, 0, 0, 500, 1.0).schedule
    assert timed.steps is None and timed.seconds is not None and 9 < timed.seconds < 10
    counted = series_plan.make_plan(TrainOptions(steps=7), of, 1, 0, 0, 0, 500, 1.0).schedule
    assert counted.steps == 7 and counted.seconds is None
    free = series_plan.make_plan(TrainOptions(), of, 1, 0, 0, 0, 500, 1.0).schedule
    assert free.steps is not None and free.steps >= 100


def test_quantile_levels_are_symmetric() -> None:
    assert series_plan.quantile_levels("80,95") == (2.5, 10.0, 50.0, 90.0, 97.5)
    assert series_plan.quantile_levels("none") == ()
    for first, second in itertools.pairwise(series_plan.quantile_levels("50,80,90,95,99.9")):
        assert first < second


@pytest.mark.parametrize(
    ("rows", "season", "look_back"), [(98, 12, 24), (60, 12, 24), (50, 12, 12), (1000, 7, 210), (8640, 24, 720)]
)
def test_window_shape_covers_two_seasons_where_there_are_rows(rows: int, season: int, look_back: int) -> None:
    assert series_plan.window_shape(TrainOptions(horizon=season), rows, season).look_back == look_back


def test_window_shape_lags_need_two_cycles_and_a_shorter_look_back() -> None:
    def lags(rows: int, **options: Any) -> tuple[int, ...]:
        return series_plan.window_shape(TrainOptions(horizon=7, **options), rows, 7, (7, 364)).lags

    assert (lags(727), lags(728), lags(728, look_back=364)) == ((), (364,), ())
    assert (lags(728, lags="none"), lags(100, lags="7,50")) == ((), (7, 50))


def test_member_look_back_alternates_where_half_is_many_seasons() -> None:
    long, short = series_plan.WindowShape(210, 7, 7, 7), series_plan.WindowShape(24, 12, 2, 12)
    assert [series_plan.member_look_back(long, number) for number in (1, 2, 3)] == [105, 210, 105]
    assert [series_plan.member_look_back(short, number) for number in (1, 2, 3)] == [24, 24, 24]
