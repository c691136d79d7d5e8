"""The mean of several forecasters, which look back on different numbers of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqgen.corpus.series.windows import Windows
from seqgen.generation.forecasting.average import AverageForecaster
from seqgen.generation.forecasting.forecast import predict_horizon
from seqgen.generation.forecasting.torch import TorchForecaster
from tests.helpers.forecasters import config_of, make_forecaster, without_torch
from tests.helpers.scaled_series import numbered_series

CASE = {"known": 2, "effects": 1, "past": 1, "lags": (5, 20), "mixture": True, "season": 3}


def test_average_forecaster_gives_each_network_the_rows_it_reads() -> None:
    networks = [make_forecaster(config_of(look_back=rows, **CASE), seed) for seed, rows in enumerate((8, 12, 8))]
    average = AverageForecaster([without_torch(network) for network in networks])
    assert average.config.look_back == 12
    series = numbered_series(60, 2, past=1, known=2)
    windows = Windows([series], [(15, 60)], 12, 5, lags=(5, 20))
    sample = windows.take(np.arange(len(windows)))
    assert np.isnan(sample.lagged).any() and not np.isnan(sample.lagged).all()
    parts = []
    for network in networks:
        own = Windows([series], [(15, 60)], network.config.look_back, 5, lags=(5, 20))
        assert np.array_equal(own.origins, windows.origins)
        parts.append(without_torch(network).predict(*own.take(np.arange(len(own))).inputs))
    np.testing.assert_allclose(average.predict(*sample.inputs), np.mean(parts, axis=0), rtol=1e-5)


@pytest.mark.parametrize("forecaster", [without_torch, TorchForecaster])
def test_predict_horizon_with_lags_equals_the_window_there(forecaster: type[TorchForecaster]) -> None:
    network = forecaster(make_forecaster(config_of(**CASE)))
    series = numbered_series(60, 2, past=1, known=2, ahead=10)
    for origin in (12, 17, 40):
        windows = Windows([series], [(origin, origin + 5)], 12, 5, lags=(5, 20))
        expected = network.predict(*windows.take(np.arange(2)).inputs)
        np.testing.assert_array_equal(predict_horizon(network, series, origin, 5), expected)


def test_predict_horizon_fed_back_lags_see_the_forecasts() -> None:
    """A lag of one horizon: the second part's earlier values are forecasts, not rows of the series."""
    network = without_torch(make_forecaster(config_of(look_back=6, lags=(5,))))
    series = numbered_series(30)
    short, long = (predict_horizon(network, series, 20, rows) for rows in (5, 10))
    np.testing.assert_array_equal(long[:, :5], short)
    changed = numbered_series(30)
    changed.targets[20:] = 7.0  # later rows
    np.testing.assert_array_equal(predict_horizon(network, changed, 20, 10), long)
    assert np.isfinite(long).all()


def test_average_forecaster_is_the_same_in_every_batch() -> None:
    networks = [make_forecaster(config_of(look_back=rows), seed) for seed, rows in enumerate((12, 6))]
    average = AverageForecaster([without_torch(network) for network in networks])
    history = torch.randn(9, 12, generator=torch.Generator().manual_seed(1)).numpy()
    channel, none = np.arange(9) % 2, np.zeros((9, 12, 0), np.float32)
    known = np.zeros((9, 17, 0), np.float32)
    whole = average.predict(history, channel, none, known)
    for row in range(9):
        part = slice(row, row + 1)
        np.testing.assert_array_equal(
            average.predict(history[part], channel[part], none[part], known[part])[0], whole[row]
        )
