"""Forecasts without PyTorch: equal to PyTorch's, and independent of the batch and of the threads."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import NORMALISATIONS
from seqgen.corpus.series.windows import Floats, Integers
from seqgen.generation.forecasting.torch import TorchForecaster
from seqgen.model.forecaster import Forecaster
from seqgen.model.window_scale import location_and_scale
from seqgen.native import library
from tests.helpers.forecasters import LEVELS, VARIANTS, config_of, make_forecaster, without_torch
from tests.helpers.kernels import disable_kernels

CASES = [
    *VARIANTS, {"cell": "rnn", "activation": "relu"}, {"levels": ()}, {"look_back": 5, "horizon": 2},
    {"look_back": 1, "horizon": 1, "segment_length": 1},
    {"look_back": 7, "horizon": 9, "segment_length": 3, "known": 1},
    {"look_back": 8, "horizon": 8, "segment_length": 8, "num_layers": 3, "cell": "lstm", "past": 1},
]  # fmt: skip
cases = pytest.mark.parametrize("case", CASES, ids=str)

Batch = tuple[Floats, Integers, Floats, Floats, Floats]


@pytest.fixture(params=["numpy", "kernels", "kernels, padded"])
def units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many a network has: the kernels take multiples of sixteen, so others are padded."""
    if request.param == "numpy":
        disable_kernels(monkeypatch)
    elif library() is None:
        pytest.skip("no kernels")
    return 16 if request.param == "kernels" else 6


def some_forecaster(units: int, **case: Any) -> Forecaster:
    """A network with weights everywhere, of whose columns one is not believed."""
    network = make_forecaster(config_of(targets=3, rnn_size=units, **case))
    chance = torch.Generator().manual_seed(5)
    network.believed.copy_(torch.tensor([1.0, 0.0, 1.0]))
    network.widening.copy_(0.5 + torch.rand(network.widening.shape, generator=chance))
    return network


def some_windows(network: Forecaster, count: int, seed: int = 1) -> Batch:
    """Random walks of several sizes, as the arguments of `WindowForecaster.predict`."""
    config, chance = network.config, np.random.default_rng(seed)

    def normal(*shape: int) -> Floats:
        return chance.normal(size=shape).astype(np.float32)

    history = np.cumsum(normal(count, config.look_back), axis=1) * np.exp(normal(count, 1))
    both = config.look_back + config.horizon
    past, known = normal(count, config.look_back, config.past), normal(count, both, config.known)
    lagged = normal(count, both, len(config.lags), 1 + config.known)
    lagged[::3, :5, :, 0] = np.nan
    return history, chance.integers(config.targets, size=count), past, known, lagged


def some_of(batch: Batch, rows: slice | list[int]) -> Batch:
    history, channel, past, known, lagged = (part[rows] for part in batch)
    return history, channel, past, known, lagged


@cases
def test_cpu_forecaster_predict_equals_torch(case: dict[str, Any], units: int) -> None:
    network = some_forecaster(units, **case)
    batch = some_windows(network, 17)
    found, wanted = without_torch(network).predict(*batch), TorchForecaster(network).predict(*batch)
    assert found.dtype == np.float32
    assert found.shape == (17, network.config.horizon, 1 + len(network.config.levels))
    assert np.ptp(wanted, axis=0).min() > 1e-2, "windows must differ, or nothing is compared"
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * float(np.abs(wanted).max()))


@cases
def test_cpu_forecaster_batch_never_changes_a_bit(case: dict[str, Any], units: int) -> None:
    network = some_forecaster(units, **case)
    ours, batch = without_torch(network), some_windows(network, 60)
    together = ours.predict(*batch)
    for row in (0, 1, 30, 59):
        np.testing.assert_array_equal(ours.predict(*some_of(batch, slice(row, row + 1)))[0], together[row])
    order = [int(row) for row in np.random.default_rng(2).permutation(60)[:37]]
    np.testing.assert_array_equal(ours.predict(*some_of(batch, order)), together[order])


@settings(max_examples=20, deadline=None)
@given(at_once=st.integers(1, 70), processors=st.integers(1, 4), count=st.integers(0, 64))
def test_cpu_forecaster_threads_never_change_a_bit(at_once: int, processors: int, count: int) -> None:
    network = some_forecaster(16, known=1, linear=True)
    batch = some_windows(network, count)
    whole = without_torch(network).predict(*batch)
    ours = without_torch(network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqgen.generation.forecasting.numpy.process_core_count", lambda: processors)
        patch.setattr(ours, "_at_once", at_once)
        found = ours.predict(*batch)
    assert found.shape == (count, network.config.horizon, 1 + len(LEVELS))
    np.testing.assert_array_equal(found, whole)


def test_cpu_forecaster_threads_end_with_the_forecaster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqgen.generation.forecasting.numpy.process_core_count", lambda: 2)
    network = some_forecaster(16)
    ours = without_torch(network)
    monkeypatch.setattr(ours, "_at_once", 2)
    ours.predict(*some_windows(network, 5))
    pool = ours._threads.pool()
    del ours
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)


def test_cpu_forecaster_extreme_values_stay_in_their_window(units: int) -> None:
    network = some_forecaster(units, linear=True)
    ours, batch = without_torch(network), some_windows(network, 6)
    plain = ours.predict(*batch)
    batch[0][1, -1], batch[0][3, -2:], batch[0][4, 2] = np.nan, 3e38, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ours.predict(*batch)
    np.testing.assert_array_equal(found[[0, 2, 5]], plain[[0, 2, 5]])
    assert not np.isfinite(found[[1, 3, 4]]).all(axis=(1, 2)).any()


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@settings(max_examples=30, deadline=None)
@given(look_back=st.integers(1, 200), count=st.integers(1, 9), exponent=st.integers(-4, 4))
def test_location_and_scale_equals_that_of_the_network(
    normalisation: str, look_back: int, count: int, exponent: int
) -> None:
    config = config_of(look_back=look_back, normalisation=normalisation)
    walks = np.cumsum(np.random.default_rng(count).normal(size=(count, look_back)), axis=1) * 10.0**exponent
    history = walks.astype(np.float32)
    wanted = Forecaster(config).location_and_scale(torch.from_numpy(history))
    for found, expected in zip(location_and_scale(history, config), wanted, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6 * 10.0**exponent)
