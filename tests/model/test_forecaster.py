"""The forecasting network: shapes, equivariance, normalisation, calibration, and its configuration."""

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
from tests.helpers.forecasters import LEVELS, VARIANTS, config_of, make_forecaster, random_batch

variants = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(str(each) for each in v.values()))


@variants
def test_forecaster_state_dict_has_the_weight_shapes(variant: dict[str, Any]) -> None:
    config = config_of(**variant)
    shapes = {name: tuple(weight.shape) for name, weight in Forecaster(config).state_dict().items()}
    assert shapes == weight_shapes(config)
    assert parameter_count(config) == sum(int(np.prod(shape)) for shape in shapes.values())


@variants
def test_forecaster_output_has_every_step_and_level(variant: dict[str, Any]) -> None:
    config = config_of(**variant)
    with torch.no_grad():
        assert make_forecaster(config)(*random_batch(config)).shape == (3, 5, 1 + len(LEVELS))


@pytest.mark.parametrize(("look_back", "horizon", "segment"), [(1, 1, 1), (7, 3, 7), (7, 9, 3), (5, 2, 4), (8, 8, 1)])
def test_forecaster_segments_of_any_length_cover_the_windows(look_back: int, horizon: int, segment: int) -> None:
    config = config_of(look_back=look_back, horizon=horizon, segment_length=segment, linear=True, known=1)
    with torch.no_grad():
        outputs = make_forecaster(config)(*random_batch(config))
    assert outputs.shape == (3, horizon, 6)
    assert outputs.isfinite().all()


@variants
def test_forecaster_windows_do_not_depend_on_the_batch(variant: dict[str, Any]) -> None:
    config = config_of(**variant)
    network, batch = make_forecaster(config), random_batch(config, 4)
    with torch.no_grad():
        together = network(*batch)
        for row in range(4):
            alone = network(*(None if part is None else part[row : row + 1] for part in batch))
            torch.testing.assert_close(alone[0], together[row])


@variants
def test_forecaster_every_weight_gets_a_gradient(variant: dict[str, Any]) -> None:
    config = config_of(**variant, targets=1)
    network = make_forecaster(config)
    history, channel, *rest = random_batch(config)
    network(history, channel * 0, *rest).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


@variants
@settings(max_examples=10, deadline=None)
@given(shift=st.floats(-50, 50))
def test_forecaster_shifted_history_shifts_the_forecast(variant: dict[str, Any], shift: float) -> None:
    config = config_of(**variant)
    network = make_forecaster(config)
    history, *rest, lagged = random_batch(config)
    moved = lagged
    if lagged is not None:
        moved = lagged.clone()
        moved[..., 0] += shift
    with torch.no_grad():
        torch.testing.assert_close(
            network(history + shift, *rest, moved), network(history, *rest, lagged) + shift, rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("how", ["window", "changes"])
@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.5, 50))
def test_forecaster_scaled_history_scales_the_forecast(how: str, factor: float) -> None:
    config = config_of(normalisation=how, linear=True)
    network = make_forecaster(config)
    history, *rest = random_batch(config)
    with torch.no_grad():
        stretched, plain = network(history * factor, *rest), network(history, *rest)
    torch.testing.assert_close(stretched, plain * factor, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("how", ["window", "changes"])
@pytest.mark.parametrize("look_back", [1, 12])
def test_forecaster_flat_window_gives_a_finite_forecast(how: str, look_back: int) -> None:
    config = config_of(normalisation=how, look_back=look_back)
    with torch.no_grad():
        outputs = make_forecaster(config)(torch.full((1, look_back), 3.0), torch.zeros(1, dtype=torch.long))
    assert outputs.isfinite().all()
    assert (outputs - 3).abs().max() < 1


@variants
def test_forecaster_gradient_of_the_history_is_finite(variant: dict[str, Any]) -> None:
    """It was NaN, and with it saliency, for a flat window, and where the series had not begun a season before."""
    network = make_forecaster(config_of(**variant))
    history, *rest = random_batch(network.config)
    history[1] = 3.0
    network(history.requires_grad_(), *rest).sum().backward()
    assert history.grad is not None and history.grad.isfinite().all()


def test_location_and_scale_matches_hand_computed_values() -> None:
    history = torch.tensor([[1.0, 3.0, 1.0, 3.0]])
    level, spread = Forecaster(config_of(look_back=4, normalisation="window")).location_and_scale(history)
    assert (level.item(), spread.item()) == (2.0, 1.0)
    level, spread = Forecaster(config_of(look_back=4, normalisation="last")).location_and_scale(history)
    assert (level.item(), spread.item()) == (3.0, 1.0)
    level, spread = Forecaster(config_of(look_back=4, normalisation="changes")).location_and_scale(history)
    assert level.item() == 3.0
    assert spread.item() == pytest.approx((4 * 5) ** 0.5)  # changes of 2, five steps ahead


def test_location_and_scale_weights_recent_changes_most() -> None:
    calm = torch.cat([torch.randn(1, 30) * 5, torch.zeros(1, 30)], dim=1).cumsum(dim=1)
    network = Forecaster(config_of(look_back=60, normalisation="changes"))
    assert network.location_and_scale(calm)[1] < network.location_and_scale(calm.flip(1))[1] / 2


def test_forecaster_untrained_forecasts_near_the_last_value() -> None:
    config = config_of(linear=True, normalisation="last")
    history, *rest = random_batch(config, 50)
    with torch.no_grad():
        outputs = Forecaster(config, torch.Generator().manual_seed(0)).eval()(history, *rest)
    assert (outputs - history[:, -1:, None]).abs().mean() < 0.5


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_forecaster_rnn_starts_as_identity_and_gated_cells_orthogonal(cell: str, activation: str) -> None:
    config, same = config_of(cell=cell, activation=activation, num_layers=2), torch.eye(6)
    weights = Forecaster(config, torch.Generator().manual_seed(0)).state_dict()
    for number in range(2):
        for block in weights[f"layers.{number}.recurrent_weight"].chunk(CELLS[cell].gates):
            torch.testing.assert_close(block @ block.T, same)
            assert torch.equal(block, same) == (cell == "rnn")


def test_forecaster_dropout_needs_training_mode_and_rng() -> None:
    config = config_of(dropout=0.5)
    network, batch = make_forecaster(config), random_batch(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        plain = network(*batch)
        assert torch.equal(plain, network(*batch, rng=generator))
        network.train()
        assert torch.equal(plain, network(*batch))
        assert not torch.equal(plain, network(*batch, rng=generator))


def test_predict_sorts_quantiles_and_widens_them_about_the_median() -> None:
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
def test_forecaster_bfloat16_stays_near_float32(cell: str) -> None:
    config = config_of(cell=cell, num_layers=2)
    network, batch = make_forecaster(config), random_batch(config)
    with torch.no_grad():
        exact, low = network(*batch), network(*batch, dtype=torch.bfloat16)
    assert low.dtype == torch.float32
    assert not torch.equal(exact, low)
    torch.testing.assert_close(low, exact, rtol=0.05, atol=0.05)


def test_predict_without_levels_gives_the_point_forecast_only() -> None:
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
def test_forecaster_config_invalid_value_raises_user_error(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config_of(**changes)


def test_forecaster_config_survives_json() -> None:
    config = config_of(past=1, known=2)
    data = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(config).items()}
    assert from_json(ForecasterConfig, data) == config


def test_forecaster_effects_of_known_covariates_pass_through() -> None:
    """What a covariate adds to the history doesn't change the forecast, but for what it adds to the horizon."""
    config = config_of(known=2, effects=1, lags=(5,), mixture=True, season=4)
    network = make_forecaster(config)
    history, channel, _, known, lagged = random_batch(config)
    assert network.effect is not None and known is not None and lagged is not None
    with torch.no_grad():
        before = network.predict(history, channel, None, known, lagged)
        network.effect.add_(2.0)  # of the first covariate, on every column
        extra = 2 * known[:, :, 0]
        lagged[..., 0] += 2 * lagged[..., 1]
        after = network.predict(history + extra[:, :12], channel, None, known, lagged)
    torch.testing.assert_close(after, before + extra[:, 12:, None], rtol=1e-4, atol=1e-4)


def test_forecaster_lags_change_the_forecast_only_where_they_are_known() -> None:
    config = config_of(lags=(5,))
    network = make_forecaster(config)
    history, channel, _, _, lagged = random_batch(config)
    assert lagged is not None
    with torch.no_grad():
        before = network(history, channel, None, None, lagged)
        changed = lagged.clone()
        changed[..., 0] += 1.0  # NaN stays NaN: the first seven rows of the first window
        after = network(history, channel, None, None, changed)
        missing = network(history, channel, None, None, torch.full_like(lagged, torch.nan))
    assert (after != before).any(dim=2).any(dim=1).all()
    assert torch.isfinite(before).all() and torch.isfinite(missing).all()


def test_predict_mixture_is_the_weighted_sum_of_its_forecasts() -> None:
    config = config_of(mixture=True, season=4)
    network, batch = make_forecaster(config), random_batch(config)
    history, channel = batch[:2]
    assert network.mixture is not None
    with torch.no_grad():
        own, others, mixed = network(*batch), network.others(history, channel), network.predict(*batch)
    weights = network.mixture[channel][:, None]
    expected = own[:, :, 0] * weights[..., 0] + (others * weights[..., 1:]).sum(dim=2)
    torch.testing.assert_close(mixed[:, :, 0], expected)
    naive = history[:, [8, 9, 10, 11, 8]]
    torch.testing.assert_close(others[:, :, 1], naive)
    quantiles = own[:, :, 1:].sort(dim=2).values
    median = quantiles[:, :, 2] * weights[..., 0] + (others * weights[..., 1:]).sum(dim=2)
    torch.testing.assert_close(mixed[:, :, 3], median)
    torch.testing.assert_close(mixed[:, :, 4] - mixed[:, :, 3], quantiles[:, :, 3] - quantiles[:, :, 2])
