"""The forecasting network: shapes, what it is equivariant to, what it must not see; its objective and its plan."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import ForecasterConfig, from_json
from seqgen.errors import UserError
from seqgen.model.forecaster import Forecaster
from seqgen.model.weight_shapes import parameter_count, weight_shapes
from seqgen.specs.cells import CELLS
from tests.helpers.forecasters import LEVELS, config_of, make_forecaster, random_batch

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
        assert make_forecaster(config)(*random_batch(config)).shape == (3, 5, 1 + len(LEVELS))


@pytest.mark.parametrize(("look_back", "horizon", "segment"), [(1, 1, 1), (7, 3, 7), (7, 9, 3), (5, 2, 4), (8, 8, 1)])
def test_segments_need_not_divide_anything(look_back: int, horizon: int, segment: int) -> None:
    config = config_of(look_back=look_back, horizon=horizon, segment_length=segment, linear=True, known=1)
    with torch.no_grad():
        outputs = make_forecaster(config)(*random_batch(config))
    assert outputs.shape == (3, horizon, 6)
    assert outputs.isfinite().all()


@variants
def test_a_window_in_a_batch_is_a_window_alone(variant: dict[str, Any]) -> None:
    config = config_of(**variant)
    network, batch = make_forecaster(config), random_batch(config, 4)
    with torch.no_grad():
        together = network(*batch)
        for row in range(4):
            alone = network(*(None if part is None else part[row : row + 1] for part in batch))
            torch.testing.assert_close(alone[0], together[row])


@variants
def test_every_weight_gets_a_gradient(variant: dict[str, Any]) -> None:
    config = config_of(**variant, targets=1)
    network = make_forecaster(config)
    history, channel, past, known = random_batch(config)
    network(history, channel * 0, past, known).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


@variants
@settings(max_examples=10, deadline=None)
@given(shift=st.floats(-50, 50))
def test_a_series_moved_is_a_forecast_moved(variant: dict[str, Any], shift: float) -> None:
    config = config_of(**variant)
    network = make_forecaster(config)
    history, *rest = random_batch(config)
    with torch.no_grad():
        torch.testing.assert_close(
            network(history + shift, *rest), network(history, *rest) + shift, rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("how", ["window", "changes"])
@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.5, 50))
def test_a_series_stretched_is_a_forecast_stretched(how: str, factor: float) -> None:
    config = config_of(normalisation=how, linear=True)
    network = make_forecaster(config)
    history, *rest = random_batch(config)
    with torch.no_grad():
        stretched, plain = network(history * factor, *rest), network(history, *rest)
    torch.testing.assert_close(stretched, plain * factor, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("how", ["window", "changes"])
@pytest.mark.parametrize("look_back", [1, 12])
def test_a_flat_window_is_not_divided_by_nothing(how: str, look_back: int) -> None:
    config = config_of(normalisation=how, look_back=look_back)
    with torch.no_grad():
        outputs = make_forecaster(config)(torch.full((1, look_back), 3.0), torch.zeros(1, dtype=torch.long))
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
    history, *rest = random_batch(config, 50)
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
    network, batch = make_forecaster(config), random_batch(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        plain = network(*batch)
        assert torch.equal(plain, network(*batch, rng=generator))
        network.train()
        assert torch.equal(plain, network(*batch))
        assert not torch.equal(plain, network(*batch, rng=generator))


def test_predicted_quantiles_are_in_order_and_widened_about_the_median() -> None:
    config = config_of()
    network, batch = make_forecaster(config), random_batch(config)
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
    network, batch = make_forecaster(config), random_batch(config)
    with torch.no_grad():
        exact, low = network(*batch), network(*batch, dtype=torch.bfloat16)
    assert low.dtype == torch.float32
    assert not torch.equal(exact, low)
    torch.testing.assert_close(low, exact, rtol=0.05, atol=0.05)


def test_without_levels_there_is_the_point_alone() -> None:
    config = config_of(levels=())
    with torch.no_grad():
        assert make_forecaster(config).predict(*random_batch(config)).shape == (3, 5, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"horizon": 0}, "horizon must be an integer from 1"),
        ({"look_back": True}, "look_back"),
        ({"past": -1}, "past must be an integer from 0"),
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
