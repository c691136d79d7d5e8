"""Small forecasters, their configs and batches."""

from __future__ import annotations

from typing import Any

import torch

from seqgen.config import ForecasterConfig
from seqgen.generation.forecasting.numpy import CpuForecaster
from seqgen.model.forecaster import Forecaster
from seqgen.specs.cells import CELLS

LEVELS = (2.5, 10.0, 50.0, 90.0, 97.5)

VARIANTS: list[dict[str, Any]] = [
    {"cell": cell, "num_layers": layers, "linear": linear, "normalisation": how, "past": past, "known": known}
    for cell in CELLS
    for layers, linear, how, past, known in (
        (1, False, "last", 0, 0),
        (2, True, "window", 1, 0),
        (1, True, "changes", 2, 3),
    )
] + [
    {"mixture": True, "season": 4, "known": 3, "effects": 2, "lags": (3, 20), "normalisation": "changes"},
    {"mixture": True, "season": 50, "linear": True, "cell": "lstm", "lags": (7,)},
    {"mixture": True, "season": 12, "known": 1, "effects": 1, "past": 1, "normalisation": "window"},
]


def config_of(**changes: Any) -> ForecasterConfig:
    plain: dict[str, Any] = {
        "targets": 2, "look_back": 12, "horizon": 5, "segment_length": 4, "levels": LEVELS, "rnn_size": 6,
        "embedding_size": 5,
    }  # fmt: skip
    return ForecasterConfig(**{**plain, **changes})


def make_forecaster(config: ForecasterConfig, seed: int = 0) -> Forecaster:
    """A forecaster with nonzero weights everywhere, those included that start at zero."""
    generator = torch.Generator().manual_seed(seed)
    network = Forecaster(config, generator)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        if network.linear is not None:
            network.linear.normal_(0, 0.1, generator=generator)
        for name, weight in network.named_buffers():
            if name in ("mixture_weight", "mixture_bias", "effect"):
                weight.normal_(0, 0.1, generator=generator)
        if network.mixture is not None:
            network.mixture.copy_(torch.rand(network.mixture.shape, generator=generator).softmax(dim=1))
    return network.eval()


def random_batch(config: ForecasterConfig, size: int = 3, seed: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    history = torch.randn(size, config.look_back, generator=generator)
    channel = torch.randint(config.targets, (size,), generator=generator)
    past = torch.randn(size, config.look_back, config.past, generator=generator) if config.past else None
    both = config.look_back + config.horizon
    known = torch.randn(size, both, config.known, generator=generator) if config.known else None
    lagged = None
    if config.lags:
        lagged = torch.randn(size, both, len(config.lags), 1 + config.known, generator=generator)
        lagged[0, :7, :, 0] = torch.nan
    return history, channel, past, known, lagged  # type: ignore[return-value]


def without_torch(network: Forecaster) -> CpuForecaster:
    """A forecaster in numpy or kernels with the weights of a network."""
    return CpuForecaster(network.config, {name: weight.numpy() for name, weight in network.state_dict().items()})
