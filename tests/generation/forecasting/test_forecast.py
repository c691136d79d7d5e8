"""Forecasts from any row, longer than the horizon of the network."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import ForecasterConfig, TrainOptions
from seqgen.generation.forecasting.forecast import predict_horizon
from seqgen.generation.forecasting.numpy import CpuForecaster
from seqgen.model.forecaster import Forecaster
from tests.helpers.forecasters import without_torch
from tests.helpers.scaled_series import numbered_series


def roller(past: int = 0, known: int = 0) -> CpuForecaster:
    config = ForecasterConfig(
        2, 6, 4, 2, (10.0, 50.0, 90.0), past, known, rnn_size=5, embedding_size=5, linear=True
    )  # fmt: skip
    return without_torch(Forecaster(config, torch.Generator().manual_seed(0)))


def test_predict_horizon_uses_no_future_rows() -> None:
    whole = numbered_series(30, 2, 1, 1, ahead=8)
    network = roller(1, 1)
    spoilt = dataclasses.replace(whole, targets=whole.targets.copy(), past=whole.past.copy())
    spoilt.targets[20:] = 1e6
    spoilt.past[20:] = 1e6
    assert np.array_equal(predict_horizon(network, whole, 20, 7), predict_horizon(network, spoilt, 20, 7))


def test_predict_horizon_from_within_a_gap_is_that_of_the_rows_before_it() -> None:
    """Interpolated rows of a gap that lasts to the origin come from the values behind it."""
    whole = numbered_series(30, 2, 1, 1, ahead=8)
    observed = np.ones((30, 2), bool)
    observed[17:21] = False
    whole = dataclasses.replace(whole, observed=observed, past_observed=observed[:, :1])
    targets, past = whole.targets.copy(), whole.past.copy()
    targets[17:20], past[17:20] = targets[16], past[16]
    cut = dataclasses.replace(whole, targets=targets[:20], past=past[:20], observed=np.ones((20, 2), bool))
    network = roller(1, 1)
    assert np.array_equal(predict_horizon(network, whole, 20, 7), predict_horizon(network, cut, 20, 7))


@given(st.integers(1, 15))
@settings(max_examples=15, deadline=None)
def test_predict_horizon_longer_begins_like_shorter(horizon: int) -> None:
    network = roller()
    longest = predict_horizon(network, numbered_series(30), 30, 15)
    assert longest.shape == (2, 15, 4)
    assert np.array_equal(longest[:, :horizon], predict_horizon(network, numbered_series(30), 30, horizon))


def test_predict_horizon_fed_back_intervals_do_not_narrow() -> None:
    made = predict_horizon(roller(), numbered_series(30), 30, 12)
    widths = made[:, :, 3] - made[:, :, 1]
    assert (widths[:, 4:] >= widths[:, 3:4] - 1e-4).all()
    assert (np.diff(made[:, :, 1:], axis=2) >= -1e-4).all()


def test_predict_horizon_short_history_repeats_its_first_row() -> None:
    series = numbered_series(3)
    longer = dataclasses.replace(
        series,
        targets=np.concatenate([np.repeat(series.targets[:1], 3, axis=0), series.targets]),
        observed=np.ones((6, 2), bool),
        past=np.zeros((6, 0), np.float32),
        known=np.zeros((6, 0), np.float32),
    )
    assert np.array_equal(predict_horizon(roller(), series, 3, 4), predict_horizon(roller(), longer, 6, 4))


def test_predict_horizon_without_levels_feeds_back() -> None:
    config = ForecasterConfig(1, 6, 4, 2, rnn_size=5, embedding_size=5)
    network = without_torch(Forecaster(config, torch.Generator().manual_seed(0)))
    assert predict_horizon(network, numbered_series(30, 1), 30, 9).shape == (1, 9, 1)


def test_forecast_options_name_their_flags() -> None:
    assert TrainOptions(split_rows="0.7,0.1,0.2", levels="none", horizon=1)
