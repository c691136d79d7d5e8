"""Draws on the device of the logits are those of the numpy sampler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import NetworkConfig, SampleOptions
from seqgen.generation.engines import torch as torch_engine
from seqgen.generation.engines.torch import TorchEngine
from seqgen.generation.sampling.device_draw import DeviceSampler, device_filters
from seqgen.generation.sampling.draw import NumpySampler, PrimedState, sample_ids
from seqgen.generation.sampling.filters import FilterChain
from seqgen.model.weight_shapes import weight_shapes
from tests.helpers.filters import logit_values

OPTIONS = st.builds(
    SampleOptions,
    temperature=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.05, 20)),
    top_k=st.integers(0, 9),
    top_p=st.one_of(st.just(1.0), st.floats(0.001, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(0.001, 1)),
    typical_p=st.one_of(st.just(1.0), st.floats(0.001, 1)),
)


@settings(max_examples=150)
@given(
    st.lists(st.lists(logit_values, min_size=8, max_size=8), min_size=1, max_size=4),
    OPTIONS, st.lists(st.integers(0, 6), max_size=3), st.integers(0, 1000),
)  # fmt: skip
def test_device_sampler_draws_what_the_numpy_sampler_draws(
    logits: list[list[float]], options: SampleOptions, forbidden: list[int], seed: int
) -> None:
    values = np.array(logits, dtype=np.float32)
    values[:, 7] = np.where(np.isneginf(values).all(axis=1), 0, values[:, 7])
    values[:, 7] = np.maximum(values[:, 7], -5)  # never forbidden: something remains
    chain = FilterChain(options, forbidden)
    filters = device_filters(chain)
    assert filters is not None
    samplers = DeviceSampler(chain, filters, 8, len(values)), NumpySampler(chain, [], len(values))
    drawn = []
    for sampler, given_logits in zip(samplers, (torch.from_numpy(values), values), strict=True):
        sampler.uniforms[:, 0] = np.random.default_rng(seed).random(len(values))
        drawn.append(sampler.draw(given_logits))
    (ids, log_probs), (wanted, wanted_log_probs) = drawn
    assert ids == wanted
    assert log_probs == pytest.approx(wanted_log_probs, abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [{"repetition_penalty": 1.2}, {"mirostat_tau": 3.0}, {"xtc_probability": 0.5}, {"dry_multiplier": 1.0},
     {"temperature": 0.8, "dynatemp_range": 0.3}],
)  # fmt: skip
def test_device_filters_of_others_are_none(options: dict[str, Any]) -> None:
    """They are never left out: the numpy or compiled sampler draws then."""
    resolved = {"dry_multiplier": None}
    assert device_filters(FilterChain(SampleOptions(**options), (), resolved)) is None


def test_sample_ids_of_a_device_that_draws_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    config = NetworkConfig(vocab_size=23, rnn_size=32, embedding_size=8)
    rng = np.random.default_rng(3)
    weights = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in weight_shapes(config).items()}
    engine = TorchEngine(config, weights)
    chain = FilterChain(SampleOptions(temperature=0.9, top_p=0.8), (2, 5))
    found = []
    for devices in ((), ("cpu",)):
        monkeypatch.setattr(torch_engine, "_SAMPLES_ON", devices)
        assert (engine.device_sampling(chain, 40) is not None) == bool(devices)
        steps = sample_ids(engine, PrimedState([], 1, engine.initial(1)), chain, 7, range(40))
        found.append([next(steps) for _ in range(12)])
        steps.close()
    host, device = np.array(found[0]), np.array(found[1])
    assert (host[..., 0] == device[..., 0]).all()
    np.testing.assert_allclose(host[..., 1], device[..., 1], atol=1e-6)
