"""The objective of forecasting: batches, the pinball loss, validation, and the persistence gate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.series.windows import ScaledSeries, Windows
from seqgen.model.forecaster import Forecaster, model_inputs
from seqgen.training.device import Compute
from seqgen.training.objectives import forecasting
from seqgen.training.objectives.forecasting import (
    ForecastingObjective,
    ShuffledBatches,
    pinball_loss,
    significantly_better,
)
from tests.helpers.forecasters import LEVELS, config_of, make_forecaster, random_batch

CPU = Compute(torch.device("cpu"), torch.float32)


# ---- Batches ----


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**40))
def test_shuffled_batches_epoch_has_each_window_once(count: int, batch: int, seed: int) -> None:
    batches = ShuffledBatches(count, batch, seed)
    taken = np.concatenate([batches[number] for number in range(batches.batches_per_epoch)])
    assert len(np.unique(taken)) == len(taken)
    assert count - batches.batch_size < len(taken) <= count


def test_shuffled_batches_batch_is_a_function_of_its_number() -> None:
    one, other = ShuffledBatches(20, 6, 7), ShuffledBatches(20, 6, 7)
    forward = [one[number] for number in range(9)]
    backward = [other[number] for number in reversed(range(9))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not np.array_equal(forward[0], ShuffledBatches(20, 6, 8)[0])
    assert not np.array_equal(np.concatenate(forward[:3]), np.concatenate(forward[3:6]))


# ---- The objective ----


def wave(rows: int, seed: int = 0, columns: int = 2) -> ScaledSeries:
    random = np.random.default_rng(seed)
    values = np.sin(np.arange(rows)[:, None] * 2 * np.pi / 8 + np.arange(columns)) + 0.1 * random.normal(
        size=(rows, columns)
    )
    return ScaledSeries(
        "", values.astype(np.float32), np.ones((rows, columns), bool), np.zeros((rows, 0), np.float32),
        np.zeros((rows, 0), np.float32),
    )  # fmt: skip


def objective_of(seed: int = 0, levels: tuple[float, ...] = LEVELS) -> ForecastingObjective:
    series = wave(200)
    config = config_of(levels=levels, cell="gru", rnn_size=8, embedding_size=8)
    network = Forecaster(config, torch.Generator().manual_seed(seed))
    return ForecastingObjective(
        network, Windows([series], [(0, 140)], 12, 5), Windows([series], [(140, 200)], 12, 5), CPU, 16, seed
    )


def test_pinball_loss_matches_hand_computed_values() -> None:
    # Truth 3: a forecast of 1 for the 90 % quantile is 2 too low and costs 0.9 · 2; one of 4 is 1 too high: 0.1 · 1
    quantiles = torch.tensor([[[1.0, 4.0]]])
    torch.testing.assert_close(
        pinball_loss(quantiles, torch.tensor([[3.0]]), (90.0, 90.0)), torch.tensor([[[1.8, 0.1]]])
    )


@given(st.lists(st.floats(-5, 5), min_size=30, max_size=60), st.sampled_from([10.0, 50.0, 90.0]))
@settings(max_examples=30, deadline=None)
def test_pinball_loss_is_minimal_at_the_quantile(sample: list[float], level: float) -> None:
    truth = torch.tensor(sample, dtype=torch.float64)
    best = torch.tensor(np.quantile(sample, level / 100, method="inverted_cdf"))

    def cost(value: torch.Tensor) -> float:
        return float(pinball_loss(value.expand(len(truth), 1), truth, (level,)).sum())

    assert all(cost(best) <= cost(best + step) + 1e-9 for step in (-1.0, -0.1, 0.1, 1.0))


def test_forecasting_loss_ignores_unobserved_values() -> None:
    objective = objective_of()
    series = wave(200)
    holes = series.observed.copy()
    holes[50:90] = False
    spoilt = series.targets.copy()
    spoilt[50:90] = 1e6
    hidden = ForecastingObjective(
        objective.network,
        Windows([dataclasses.replace(series, targets=spoilt, observed=holes)], [(62, 90)], 12, 5),
        None,
        CPU,
        8,
        0,
    )
    objective.network.eval()
    loss, _ = hidden.loss(0, torch.Generator())
    assert float(loss.detach()) == 0  # all targets in rows 62 to 90 were filled in
    assert hidden.validate() is None


def test_forecasting_objective_training_lowers_the_validation_loss() -> None:
    objective = objective_of()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(objective.network.parameters(), lr=0.01)
    before = objective.validate()
    for step in range(60):
        optimiser.zero_grad()
        loss, tokens = objective.loss(step, generator)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        assert tokens == 16 * (12 + 5)
    after = objective.validate()
    assert before is not None and after is not None and after < before / 2
    assert objective.metrics["skill"] > 0.5
    assert objective.metrics["scaled_mse"] > 0
    assert not torch.equal(objective.network.widening, torch.ones_like(objective.network.widening))


def test_forecasting_validate_is_reproducible() -> None:
    objective = objective_of()
    first = objective.validate(), dict(objective.metrics), objective.network.widening.clone()
    again = objective.validate(), dict(objective.metrics), objective.network.widening
    assert first[:2] == again[:2]
    assert torch.equal(first[2], again[2])


def test_forecasting_validate_more_columns_than_a_batch_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = objective_of()
    expected = objective.validate()
    monkeypatch.setattr(forecasting, "_VALIDATION_BATCH", 1)  # with two columns: 560 take more than 512
    assert objective.validate() == pytest.approx(expected)


def test_forecasting_objective_has_no_carried_state() -> None:
    objective = objective_of(levels=())
    assert objective.carried_state() == {}
    objective.load_carried_state({})
    with pytest.raises(ValueError, match="no carried state"):
        objective.load_carried_state({"state": torch.zeros(1)})


def test_forecasting_objective_uses_covariates() -> None:
    series = dataclasses.replace(wave(60), past=np.ones((60, 1), np.float32), known=np.ones((60, 2), np.float32))
    sample = Windows([series], [(0, 60)], 12, 5).take(np.arange(3))
    _, _, past, known, _ = model_inputs(sample, torch.device("cpu"))
    assert past is not None and past.shape == (3, 12, 1)
    assert known is not None and known.shape == (3, 17, 2)


def test_significantly_better_needs_a_clear_gain_over_the_last_value() -> None:
    random = np.random.default_rng(0)
    truth, noise = random.normal(size=(2, 200, 4)).astype(np.float32)
    seen = np.ones((200, 4), bool)
    assert significantly_better(truth, truth, seen)
    assert significantly_better(truth + noise * 0.5, truth, seen)
    assert not significantly_better(noise, truth, seen)
    assert not significantly_better(noise * 0, truth, seen)
    assert significantly_better(noise[:15], truth[:15], seen[:15])  # too few for a test
    assert significantly_better(noise[:1], truth[:1], seen[:1], spacing=100)  # one window has no deviation
    nothing_known = ~seen
    assert not significantly_better(truth, truth, nothing_known)


def test_significantly_better_random_walk_is_rarely_true() -> None:
    """Random forecasts of a few steps, on overlapping windows of a random walk."""
    believed = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        walk = np.cumsum(random.normal(size=205))
        truth = np.stack([walk[start + 1 : start + 6] - walk[start] for start in range(200)])
        drift = random.normal() * 0.3 * np.arange(1, 6)
        believed += significantly_better(np.broadcast_to(drift, truth.shape), truth, np.ones(truth.shape, bool))
    assert believed < 0.1 * 200


@pytest.mark.parametrize("doubt", [False, True])
def test_forecasting_require_significance_rejects_a_random_walk(doubt: bool) -> None:
    steps = np.random.default_rng(1).normal(size=(300, 2)).cumsum(axis=0).astype(np.float32)
    series = dataclasses.replace(wave(300), targets=steps)
    network = Forecaster(config_of(), torch.Generator().manual_seed(0))
    held_out = Windows([series], [(200, 300)], 12, 5)
    objective = ForecastingObjective(network, Windows([series], [(0, 200)], 12, 5), held_out, CPU, 16, 0, doubt)
    objective.validate()
    assert network.believed.tolist() == ([0.0, 0.0] if doubt else [1.0, 1.0])
    if doubt:
        assert objective.metrics["skill"] == 0


def test_predict_column_not_believed_is_the_last_value() -> None:
    config = config_of()
    network = make_forecaster(config)
    batch = random_batch(config, 6)
    with torch.no_grad():
        before = network.predict(*batch)
        network.believed[1] = 0
        after = network.predict(*batch)
    last = batch[0][:, -1:]
    doubted = batch[1] == 1
    assert doubted.any() and not doubted.all()
    torch.testing.assert_close(after[~doubted], before[~doubted])
    assert torch.equal(after[doubted][:, :, 0], last[doubted].expand(-1, 5))
    assert torch.equal(after[doubted][:, :, 3], last[doubted].expand(-1, 5))
    widths = [made[:, :, 1:] - made[:, :, 3:4] for made in (before, after)]
    torch.testing.assert_close(widths[0][doubted], widths[1][doubted], rtol=1e-4, atol=1e-4)
