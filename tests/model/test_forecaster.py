"""The forecasting network: shapes, what it is equivariant to, what it must not see; its objective and its plan."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import ForecasterConfig, TrainOptions, from_json
from seqgen.corpus.series.windows import ScaledSeries, Windows
from seqgen.errors import DataError, UserError
from seqgen.model.forecaster import Forecaster, model_inputs
from seqgen.model.weight_shapes import parameter_count, weight_shapes
from seqgen.specs.cells import CELLS
from seqgen.training.calibration.conformal import widening_factors
from seqgen.training.device import Compute
from seqgen.training.objectives.forecasting import (
    ForecastingObjective,
    ShuffledBatches,
    pinball_loss,
    significantly_better,
)
from seqgen.training.plans import forecasting as series_plan

CPU = Compute(torch.device("cpu"), torch.float32)
LEVELS = (2.5, 10.0, 50.0, 90.0, 97.5)


def config_of(**changes: Any) -> ForecasterConfig:
    plain: dict[str, Any] = {
        "targets": 2, "look_back": 12, "horizon": 5, "segment_length": 4, "levels": LEVELS, "rnn_size": 6,
        "embedding_size": 5,
    }  # fmt: skip
    return ForecasterConfig(**{**plain, **changes})


VARIANTS = [
    {"cell": cell, "num_layers": layers, "linear": linear, "normalisation": how, "past": past, "known": known}
    for cell in CELLS
    for layers, linear, how, past, known in (
        (1, False, "last", 0, 0),
        (2, True, "window", 1, 0),
        (1, True, "changes", 2, 3),
    )
]
variants = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(str(each) for each in v.values()))


def network_of(config: ForecasterConfig, seed: int = 0) -> Forecaster:
    """With weights all of which are at work: what starts at zero is filled too."""
    generator = torch.Generator().manual_seed(seed)
    network = Forecaster(config, generator)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        if network.linear is not None:
            network.linear.normal_(0, 0.1, generator=generator)
    return network.eval()


def batch_of(config: ForecasterConfig, size: int = 3, seed: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    history = torch.randn(size, config.look_back, generator=generator)
    channel = torch.randint(config.targets, (size,), generator=generator)
    past = torch.randn(size, config.look_back, config.past, generator=generator) if config.past else None
    both = config.look_back + config.horizon
    known = torch.randn(size, both, config.known, generator=generator) if config.known else None
    return history, channel, past, known  # type: ignore[return-value]


@variants
def test_the_weights_are_those_of_the_table(variant: dict[str, Any]) -> None:
    config = config_of(**variant)
    shapes = {name: tuple(weight.shape) for name, weight in Forecaster(config).state_dict().items()}
    assert shapes == weight_shapes(config)
    assert parameter_count(config) == sum(int(np.prod(shape)) for shape in shapes.values())


@variants
def test_a_forecast_for_every_step_and_level(variant: dict[str, Any]) -> None:
    config = config_of(**variant)
    with torch.no_grad():
        assert network_of(config)(*batch_of(config)).shape == (3, 5, 1 + len(LEVELS))


@pytest.mark.parametrize(("look_back", "horizon", "segment"), [(1, 1, 1), (7, 3, 7), (7, 9, 3), (5, 2, 4), (8, 8, 1)])
def test_segments_need_not_divide_anything(look_back: int, horizon: int, segment: int) -> None:
    config = config_of(look_back=look_back, horizon=horizon, segment_length=segment, linear=True, known=1)
    with torch.no_grad():
        outputs = network_of(config)(*batch_of(config))
    assert outputs.shape == (3, horizon, 6)
    assert outputs.isfinite().all()


@variants
def test_a_window_in_a_batch_is_a_window_alone(variant: dict[str, Any]) -> None:
    config = config_of(**variant)
    network, batch = network_of(config), batch_of(config, 4)
    with torch.no_grad():
        together = network(*batch)
        for row in range(4):
            alone = network(*(None if part is None else part[row : row + 1] for part in batch))
            torch.testing.assert_close(alone[0], together[row])


@variants
def test_every_weight_gets_a_gradient(variant: dict[str, Any]) -> None:
    config = config_of(**variant, targets=1)
    network = network_of(config)
    history, channel, past, known = batch_of(config)
    network(history, channel * 0, past, known).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


@variants
@settings(max_examples=10, deadline=None)
@given(shift=st.floats(-50, 50))
def test_a_series_moved_is_a_forecast_moved(variant: dict[str, Any], shift: float) -> None:
    config = config_of(**variant)
    network = network_of(config)
    history, *rest = batch_of(config)
    with torch.no_grad():
        torch.testing.assert_close(
            network(history + shift, *rest), network(history, *rest) + shift, rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("how", ["window", "changes"])
@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.5, 50))
def test_a_series_stretched_is_a_forecast_stretched(how: str, factor: float) -> None:
    config = config_of(normalisation=how, linear=True)
    network = network_of(config)
    history, *rest = batch_of(config)
    with torch.no_grad():
        stretched, plain = network(history * factor, *rest), network(history, *rest)
    torch.testing.assert_close(stretched, plain * factor, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("how", ["window", "changes"])
@pytest.mark.parametrize("look_back", [1, 12])
def test_a_flat_window_is_not_divided_by_nothing(how: str, look_back: int) -> None:
    config = config_of(normalisation=how, look_back=look_back)
    with torch.no_grad():
        outputs = network_of(config)(torch.full((1, look_back), 3.0), torch.zeros(1, dtype=torch.long))
    assert outputs.isfinite().all()
    assert (outputs - 3).abs().max() < 1


def test_the_level_and_spread_of_a_window_by_hand() -> None:
    history = torch.tensor([[1.0, 3.0, 1.0, 3.0]])
    level, spread = Forecaster(config_of(look_back=4, normalisation="window")).location_and_scale(history)
    assert (level.item(), spread.item()) == (2.0, 1.0)
    level, spread = Forecaster(config_of(look_back=4, normalisation="last")).location_and_scale(history)
    assert (level.item(), spread.item()) == (3.0, 1.0)
    level, spread = Forecaster(config_of(look_back=4, normalisation="changes")).location_and_scale(history)
    assert level.item() == 3.0
    assert spread.item() == pytest.approx((4 * 5) ** 0.5)  # changes of 2, five steps ahead


def test_recent_changes_count_the_most() -> None:
    calm = torch.cat([torch.randn(1, 30) * 5, torch.zeros(1, 30)], dim=1).cumsum(dim=1)
    network = Forecaster(config_of(look_back=60, normalisation="changes"))
    assert network.location_and_scale(calm)[1] < network.location_and_scale(calm.flip(1))[1] / 2


def test_a_new_network_begins_near_the_last_value() -> None:
    config = config_of(linear=True, normalisation="last")
    history, *rest = batch_of(config, 50)
    with torch.no_grad():
        outputs = Forecaster(config, torch.Generator().manual_seed(0)).eval()(history, *rest)
    assert (outputs - history[:, -1:, None]).abs().mean() < 0.5


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_vanilla_rnn_begins_as_the_identity_and_gates_as_rotations(cell: str, activation: str) -> None:
    config, same = config_of(cell=cell, activation=activation, num_layers=2), torch.eye(6)
    weights = Forecaster(config, torch.Generator().manual_seed(0)).state_dict()
    for number in range(2):
        for block in weights[f"layers.{number}.recurrent_weight"].chunk(CELLS[cell].gates):
            torch.testing.assert_close(block @ block.T, same)
            assert torch.equal(block, same) == (cell == "rnn")


def test_dropout_needs_training_and_a_generator() -> None:
    config = config_of(dropout=0.5)
    network, batch = network_of(config), batch_of(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        plain = network(*batch)
        assert torch.equal(plain, network(*batch, rng=generator))
        network.train()
        assert torch.equal(plain, network(*batch))
        assert not torch.equal(plain, network(*batch, rng=generator))


def test_predicted_quantiles_are_in_order_and_widened_about_the_median() -> None:
    config = config_of()
    network, batch = network_of(config), batch_of(config)
    with torch.no_grad():
        raw = network(*batch)
        before = network.predict(*batch)
        network.widening.fill_(2.0)
        after = network.predict(*batch)
    torch.testing.assert_close(before[:, :, 0], raw[:, :, 0])
    assert (before[:, :, 1:].diff(dim=2) >= 0).all()
    middle = before[:, :, 3:4]
    torch.testing.assert_close(after[:, :, 1:] - middle, 2 * (before[:, :, 1:] - middle))


@pytest.mark.parametrize("cell", CELLS)
def test_products_in_bfloat16_are_nearly_the_same(cell: str) -> None:
    config = config_of(cell=cell, num_layers=2)
    network, batch = network_of(config), batch_of(config)
    with torch.no_grad():
        exact, low = network(*batch), network(*batch, dtype=torch.bfloat16)
    assert low.dtype == torch.float32
    assert not torch.equal(exact, low)
    torch.testing.assert_close(low, exact, rtol=0.05, atol=0.05)


def test_without_levels_there_is_the_point_alone() -> None:
    config = config_of(levels=())
    with torch.no_grad():
        assert network_of(config).predict(*batch_of(config)).shape == (3, 5, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"horizon": 0}, "horizon must be a whole number from 1"),
        ({"look_back": True}, "look_back"),
        ({"past": -1}, "past must be a whole number from 0"),
        ({"dropout": 1.0}, "dropout"),
        ({"cell": "tcn"}, "cell must be one of"),
        ({"normalisation": "rank"}, "normalisation must be one of"),
        ({"activation": "gelu"}, "activation"),
        ({"levels": (10.0, 90.0)}, "levels"),
        ({"levels": (10.0, 50.0, 80.0)}, "levels"),
        ({"levels": (50.0, 50.0, 50.0)}, "levels"),
        ({"levels": (0.0, 50.0, 100.0)}, "levels"),
    ],
)
def test_what_no_forecaster_can_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config_of(**changes)


def test_a_configuration_survives_json() -> None:
    config = config_of(past=1, known=2)
    data = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(config).items()}
    assert from_json(ForecasterConfig, data) == config


# Batches


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**40))
def test_a_pass_takes_windows_once_each(count: int, batch: int, seed: int) -> None:
    batches = ShuffledBatches(count, batch, seed)
    taken = np.concatenate([batches[number] for number in range(batches.batches_per_epoch)])
    assert len(np.unique(taken)) == len(taken)
    assert count - batches.batch_size < len(taken) <= count


def test_batches_are_functions_of_their_number() -> None:
    one, other = ShuffledBatches(20, 6, 7), ShuffledBatches(20, 6, 7)
    forward = [one[number] for number in range(9)]
    backward = [other[number] for number in reversed(range(9))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not np.array_equal(forward[0], ShuffledBatches(20, 6, 8)[0])
    assert not np.array_equal(np.concatenate(forward[:3]), np.concatenate(forward[3:6]))


# The objective


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


def test_the_pinball_loss_by_hand() -> None:
    # truth 3: forecast 1 of the 90 % quantile lies 2 below, and costs 0.9 · 2; forecast 4 lies 1 above: 0.1 · 1
    quantiles = torch.tensor([[[1.0, 4.0]]])
    torch.testing.assert_close(
        pinball_loss(quantiles, torch.tensor([[3.0]]), (90.0, 90.0)), torch.tensor([[[1.8, 0.1]]])
    )


@given(st.lists(st.floats(-5, 5), min_size=30, max_size=60), st.sampled_from([10.0, 50.0, 90.0]))
@settings(max_examples=30, deadline=None)
def test_the_quantile_makes_the_pinball_loss_least(sample: list[float], level: float) -> None:
    truth = torch.tensor(sample, dtype=torch.float64)
    best = torch.tensor(np.quantile(sample, level / 100, method="inverted_cdf"))

    def cost(value: torch.Tensor) -> float:
        return float(pinball_loss(value.expand(len(truth), 1), truth, (level,)).sum())

    assert all(cost(best) <= cost(best + step) + 1e-9 for step in (-1.0, -0.1, 0.1, 1.0))


def test_the_loss_does_not_count_what_was_filled_in() -> None:
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
    assert float(loss.detach()) == 0  # all that is forecast in rows 62 to 90 was filled in
    assert hidden.validate() is None


def test_training_lowers_the_loss_and_validation_measures_it() -> None:
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


def test_validation_repeats_itself() -> None:
    objective = objective_of()
    first = objective.validate(), dict(objective.metrics), objective.network.widening.clone()
    again = objective.validate(), dict(objective.metrics), objective.network.widening
    assert first[:2] == again[:2]
    assert torch.equal(first[2], again[2])


def test_nothing_is_carried() -> None:
    objective = objective_of(levels=())
    assert objective.carried_state() == {}
    objective.load_carried_state({})
    with pytest.raises(ValueError, match="carries nothing"):
        objective.load_carried_state({"state": torch.zeros(1)})


def test_covariates_reach_the_network() -> None:
    series = dataclasses.replace(wave(60), past=np.ones((60, 1), np.float32), known=np.ones((60, 2), np.float32))
    sample = Windows([series], [(0, 60)], 12, 5).take(np.arange(3))
    _, _, past, known = model_inputs(sample, torch.device("cpu"))
    assert past is not None and past.shape == (3, 12, 1)
    assert known is not None and known.shape == (3, 17, 2)


def test_only_what_is_clearly_better_than_the_last_value_is_believed() -> None:
    random = np.random.default_rng(0)
    truth, noise = random.normal(size=(2, 200, 4)).astype(np.float32)
    seen = np.ones((200, 4), bool)
    assert significantly_better(truth, truth, seen)
    assert significantly_better(truth + noise * 0.5, truth, seen)
    assert not significantly_better(noise, truth, seen)
    assert not significantly_better(noise * 0, truth, seen)
    assert significantly_better(noise[:15], truth[:15], seen[:15])  # too few to tell
    nothing_known = ~seen
    assert not significantly_better(truth, truth, nothing_known)


def test_a_random_walk_is_rarely_believed_in() -> None:
    """Forecasts of a few steps that know nothing, on windows that overlap as those of a walk do."""
    believed = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        walk = np.cumsum(random.normal(size=205))
        truth = np.stack([walk[start + 1 : start + 6] - walk[start] for start in range(200)])
        drift = random.normal() * 0.3 * np.arange(1, 6)
        believed += significantly_better(np.broadcast_to(drift, truth.shape), truth, np.ones(truth.shape, bool))
    assert believed < 0.1 * 200


@pytest.mark.parametrize("doubt", [False, True])
def test_a_walk_is_doubted_where_doubt_is_asked_for(doubt: bool) -> None:
    steps = np.random.default_rng(1).normal(size=(300, 2)).cumsum(axis=0).astype(np.float32)
    series = dataclasses.replace(wave(300), targets=steps)
    network = Forecaster(config_of(), torch.Generator().manual_seed(0))
    held_out = Windows([series], [(200, 300)], 12, 5)
    objective = ForecastingObjective(network, Windows([series], [(0, 200)], 12, 5), held_out, CPU, 16, 0, doubt)
    objective.validate()
    assert network.believed.tolist() == ([0.0, 0.0] if doubt else [1.0, 1.0])
    if doubt:
        assert objective.metrics["skill"] == 0


def test_where_it_is_not_believed_the_last_value_stands() -> None:
    config = config_of()
    network = network_of(config)
    batch = batch_of(config, 6)
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


# Conformal correction


@pytest.mark.parametrize("true_spread", [0.3, 1.0, 4.0])
def test_bands_are_made_to_hold_their_share(true_spread: float) -> None:
    random = np.random.default_rng(0)
    windows, horizon = 800, 6
    z = np.array([-1.959964, -1.281552, 0.0, 1.281552, 1.959964])  # of a normal with spread 1
    quantiles = np.broadcast_to(z, (windows, horizon, 5)).astype(np.float32)
    everything = np.ones((windows, horizon), bool)
    factors = widening_factors(quantiles, random.normal(0, true_spread, (windows, horizon)), everything, LEVELS)
    assert factors.shape == (horizon, 5)
    assert (factors[:, 2] == 1).all()
    assert np.array_equal(factors, factors[:, ::-1])
    np.testing.assert_allclose(factors[:, :2], true_spread, rtol=0.15)
    fresh = random.normal(0, true_spread, (4000, horizon))
    inside = (np.abs(fresh) <= z[3] * factors[:, 3]).mean()
    assert 0.76 < inside < 0.84


def test_few_windows_are_taken_together() -> None:
    random = np.random.default_rng(1)
    quantiles = np.broadcast_to(np.array([-1.0, 0.0, 1.0]), (10, 4, 3)).astype(np.float32)
    factors = widening_factors(quantiles, random.normal(size=(10, 4)), np.ones((10, 4), bool), (10.0, 50.0, 90.0))
    assert len(np.unique(factors[:, 0])) == 1


def test_where_nothing_was_observed_bands_stay() -> None:
    quantiles = np.zeros((10, 4, 3), np.float32)
    assert (widening_factors(quantiles, np.zeros((10, 4)), np.zeros((10, 4), bool), (10.0, 50.0, 90.0)) == 1).all()


# The plan


@given(st.integers(20, 30_000), st.sampled_from([1, 4, 5, 7, 12, 24, 52, 365]))
def test_a_shape_leaves_windows_to_learn_from(rows: int, season: int) -> None:
    of = series_plan.window_shape(TrainOptions(), rows, season)
    assert of.look_back >= 1 and of.horizon >= 1
    assert 1 <= of.segment_length <= of.look_back
    assert rows - of.look_back - of.horizon + 1 >= 2


def test_what_was_given_is_kept() -> None:
    options = TrainOptions(
        horizon=96, look_back=336, segment_length=48, rnn_size=50, num_layers=2, epochs=100, batch_size=32
    )
    of = series_plan.window_shape(options, 8640, 24)
    assert (of.look_back, of.horizon, of.segment_length) == (336, 96, 48)
    settled = series_plan.make_plan(options, of, 1, 0, 0, 1000, 0.0)
    assert (settled.network.rnn_size, settled.network.num_layers, settled.batch_size) == (50, 2, 32)
    assert settled.schedule.steps == 100 * (1000 // 32)
    assert settled.network.levels == (2.5, 10.0, 25.0, 50.0, 75.0, 90.0, 97.5)


@pytest.mark.parametrize(
    ("options", "rows", "words"),
    [
        ({}, 2, "too few"),
        ({"horizon": 50}, 40, "too few"),
        ({"look_back": 50}, 40, "--look-back 50"),
        ({"look_back": 10, "segment_length": 11}, 400, "--segment-length 11 is longer"),
    ],
)
def test_too_few_rows_for_a_window(options: dict[str, Any], rows: int, words: str) -> None:
    with pytest.raises((DataError, UserError), match=words):
        series_plan.window_shape(TrainOptions(**options), rows, 7)


def test_seconds_and_steps() -> None:
    of = series_plan.WindowShape(12, 4, 4)
    timed = series_plan.make_plan(TrainOptions(budget="10s"), of, 1, 0, 0, 500, 1.0).schedule
    assert timed.steps is None and timed.seconds is not None and 9 < timed.seconds < 10
    counted = series_plan.make_plan(TrainOptions(steps=7), of, 1, 0, 0, 500, 1.0).schedule
    assert counted.steps == 7 and counted.seconds is None
    free = series_plan.make_plan(TrainOptions(), of, 1, 0, 0, 500, 1.0).schedule
    assert free.steps is not None and free.steps >= 100


def test_levels_make_even_quantiles() -> None:
    assert series_plan.quantile_levels("80,95") == (2.5, 10.0, 50.0, 90.0, 97.5)
    assert series_plan.quantile_levels("none") == ()
    for first, second in itertools.pairwise(series_plan.quantile_levels("50,80,90,95,99.9")):
        assert first < second
