"""Bands that follow a series: wider where errors have grown, as they were where they have not, blind to the future."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.windows import Floats, ScaledSeries, Windows
from seqgen.generation.forecasting import intervals
from seqgen.generation.forecasting.forecast import predict_horizon
from seqgen.generation.forecasting.intervals import recent_factors, scaled_intervals
from seqgen.generation.forecasting.numpy import CpuForecaster
from seqgen.model.forecaster import Forecaster
from tests.helpers.forecasters import without_torch

LEVELS = (2.5, 10.0, 50.0, 90.0, 97.5)
Z = np.array([-1.959964, -1.281552, 0.0, 1.281552, 1.959964])  # of a normal with spread 1
SHARES = {"80": (1, 3, 0.80), "95": (0, 4, 0.95)}
HORIZON, LOOK_BACK = 4, 6


def knows_noise(columns: int = 1, levels: tuple[float, ...] = LEVELS, horizon: int = HORIZON) -> CpuForecaster:
    """It forecasts the last value, with bands that are right for white noise of spread 1."""
    config = ForecasterConfig(
        columns, LOOK_BACK, horizon, 2, levels, rnn_size=3, embedding_size=3, normalisation="last"
    )  # fmt: skip
    network = Forecaster(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.output_weight.zero_()
        # Two noises add up: the last value's, and that of the one to come.
        each = np.concatenate([[0.0], 2**0.5 * Z if levels else []])
        network.output_bias.copy_(torch.from_numpy(np.tile(each, 2)))
    return without_torch(network)


def noise(spread: np.ndarray, seed: int = 0) -> ScaledSeries:
    """White noise, `spread` of shape (rows, columns)."""
    values = np.random.default_rng(seed).normal(size=spread.shape) * spread
    blank = np.zeros((len(spread), 0), np.float32)
    return ScaledSeries("", values.astype(np.float32), np.ones(spread.shape, bool), blank, blank)


def held(network: CpuForecaster, series: ScaledSeries, first: int, stop: int, follow: bool = True) -> dict[str, float]:
    """The share of what came in rows `first` to `stop` that lies in each band, of the windows of the first column."""
    windows = Windows([series], [(first, stop)], LOOK_BACK, HORIZON)
    sample = windows.take(np.arange(len(windows.origins)) * windows.columns)
    outputs = network.predict(sample.history, sample.channel, sample.past, sample.known)
    if follow:
        outputs = scaled_intervals(outputs, recent_factors(network, series, windows.origins)[:, 0])
    quantiles = outputs[:, :, 1:]
    return {
        name: float(((quantiles[:, :, low] <= sample.future) & (sample.future <= quantiles[:, :, high])).mean())
        for name, (low, high, _) in SHARES.items()
    }


def test_recent_factors_restore_coverage_after_noise_triples() -> None:
    series = noise(np.repeat([1.0, 3.0], 2000)[:, None])
    network = knows_noise()
    for rows in ((1000, 2000), (2400, 4000)):
        for name, share in held(network, series, *rows).items():
            assert share == pytest.approx(SHARES[name][2], abs=0.04 if name == "80" else 0.02), rows
    assert held(network, series, 2400, 4000, follow=False)["80"] < 0.4
    # they are as much wider as need be, and no more
    factors = recent_factors(network, series, np.arange(2400, 4000))
    assert 2.6 < factors[:, 0, 3].mean() < 3.4
    # and begin to widen at once
    soon, before = (recent_factors(network, series, np.array([row]))[0, 0, 3] for row in (2000 + 6 * HORIZON, 2000))
    assert soon > 1.4 * before


def test_recent_factors_narrow_intervals_after_smaller_errors() -> None:
    series = noise(np.repeat([1.0, 0.5], 1000)[:, None])
    factors = recent_factors(knows_noise(), series, np.array([1000, 1900]))[:, 0]
    assert factors[0] == pytest.approx(1.0, abs=0.25)
    assert (factors[1, [0, 1, 3, 4]] < 0.75).all()


def test_recent_factors_are_separate_for_each_column() -> None:
    series = noise(np.stack([np.ones(600), np.repeat([1.0, 4.0], 300)], axis=1))
    factors = recent_factors(knows_noise(2), series, np.array([600]))[0]
    assert factors[0, 3] < 1.3
    assert factors[1, 3] > 2
    assert (factors[:, 2] == 1).all()
    assert np.array_equal(factors, factors[:, ::-1])


@settings(max_examples=20, deadline=None)
@given(origin=st.integers(LOOK_BACK, 120), scale=st.floats(-1e4, 1e4))
def test_recent_factors_ignore_rows_after_the_origin(origin: int, scale: float) -> None:
    network, whole = knows_noise(), noise(np.ones((120, 1)))
    other = dataclasses.replace(whole, targets=whole.targets.copy(), observed=whole.observed.copy())
    other.targets[origin:] = scale
    other.observed[origin + 1 :: 2] = False
    cut = dataclasses.replace(
        whole, **{name: getattr(whole, name)[:origin] for name in ("targets", "observed", "past", "known")}
    )
    found = recent_factors(network, whole, np.array([origin]))
    assert np.array_equal(found, recent_factors(network, other, np.array([origin])))
    assert np.array_equal(found, recent_factors(network, cut, np.array([origin])))


def test_recent_factors_use_rows_just_before_the_origin() -> None:
    network, whole = knows_noise(), noise(np.ones((120, 1)))
    other = dataclasses.replace(whole, targets=whole.targets.copy())
    other.targets[-HORIZON:] = 1e3
    before, after = (recent_factors(network, one, np.array([120]))[0, 0] for one in (whole, other))
    assert (after[[0, 1, 3, 4]] > before[[0, 1, 3, 4]]).all()


@pytest.mark.parametrize("at_once", [7, 1 << 15])
def test_recent_factors_many_origins_equal_single_ones(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_MAX_ORIGINS", at_once)
    network, series = knows_noise(2), noise(np.ones((300, 2)), seed=3)
    origins = np.arange(2, 300, 5)
    together = recent_factors(network, series, origins)
    monkeypatch.setattr(intervals, "_BATCH", 1)  # fewer than there are columns
    alone = np.concatenate(
        [recent_factors(network, series, origins[place : place + 1]) for place in range(len(origins))]
    )
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_recent_factors_without_earlier_windows_are_one() -> None:
    network, series = knows_noise(), noise(np.full((40, 1), 9.0))
    short = np.arange(1, LOOK_BACK + HORIZON)
    assert (recent_factors(network, series, short) == 1).all()
    assert (recent_factors(network, series, np.array([LOOK_BACK + HORIZON])) != 1).any()
    hidden = dataclasses.replace(series, observed=np.zeros((40, 1), bool))
    np.testing.assert_allclose(recent_factors(network, hidden, np.array([40])), 1, rtol=1e-6)  # no truth is known


def test_recent_factors_extreme_values_count_as_not_covered() -> None:
    network, series = knows_noise(), noise(np.ones((60, 1)))
    other = dataclasses.replace(series, targets=series.targets.copy())
    other.targets[40:44] = [[np.inf], [-np.inf], [np.nan], [3e38]]
    before, after = (recent_factors(network, one, np.array([60]))[0, 0, 3] for one in (series, other))
    assert np.isfinite(after) and after > before


def test_recent_factors_ignore_training_rows() -> None:
    network, series = knows_noise(), noise(np.full((60, 1), 3.0))
    origins = np.array([50, 60])
    assert (
        recent_factors(network, series, origins, trained_rows=47)[0] == 1
    ).all()  # its last windows forecast a row learnt from
    fewer, more = (recent_factors(network, series, origins, trained_rows=rows)[1, 0, 3] for rows in (50, 0))
    assert 1 < fewer < more


def test_recent_factors_forget_old_windows() -> None:
    network, series = knows_noise(), noise(np.ones((600, 1)))
    other = dataclasses.replace(series, targets=series.targets.copy())
    first = 600 - HORIZON * (1 + intervals._LOOK_BACK_HORIZONS) - LOOK_BACK
    other.targets[:first] *= 100
    assert np.array_equal(*(recent_factors(network, one, np.array([600])) for one in (series, other)))


def test_predict_horizon_factors_scale_every_step() -> None:
    network, series = knows_noise(), noise(np.ones((40, 1)))
    plain = predict_horizon(network, series, 40, 10)
    wide = predict_horizon(network, series, 40, 10, np.full((1, 5), 2.0, np.float32))
    np.testing.assert_allclose(wide[:, :, :1], plain[:, :, :1])
    np.testing.assert_allclose(wide - wide[:, :, 3:4], 2 * (plain - plain[:, :, 3:4]), atol=1e-4)


def test_scaled_intervals_keep_quantiles_sorted() -> None:
    outputs = np.array([[[5.0, -2, -1, 0, 1, 2]]], np.float32)
    factors = np.array([[0.5, 3.0, 1.0, 3.0, 0.5]], np.float32)
    assert scaled_intervals(outputs, factors).tolist() == [[[5, -3, -1, 0, 1, 3]]]
    point = outputs[:, :, :1]
    assert scaled_intervals(point, np.ones((1, 0), np.float32)) is point


def test_recent_factors_without_levels_are_empty() -> None:
    assert recent_factors(knows_noise(levels=()), noise(np.ones((90, 1))), np.array([50, 90])).shape == (2, 1, 0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=8), st.data())
def test_covered_fractions_equal_counts_within_half_a_step(rows: list[list[float]], data: st.DataObject) -> None:
    scores: Floats = np.array(rows, np.float32)
    observed = np.array(data.draw(st.lists(st.booleans(), min_size=scores.size, max_size=scores.size)))
    observed = observed.reshape(scores.shape)
    shares = intervals._covered_fractions(scores, observed)
    step = intervals._GRID[1] / intervals._GRID[0]
    for place, factor in enumerate(intervals._GRID):
        low, high = (((scores <= factor * by) & observed).mean(axis=1) for by in (step**-0.51, step**0.51))
        assert (low <= shares[:, place] + 1e-9).all() and (shares[:, place] <= high + 1e-9).all()
    assert (np.diff(shares, axis=1) >= -1e-9).all()
