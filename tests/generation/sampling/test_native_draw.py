"""The compiled draw against the numpy filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seqgen.config import SampleOptions
from seqgen.generation.sampling.draw import NativeSampler, NumpySampler, Sampler
from seqgen.generation.sampling.filters import (
    MAX_LIMIT,
    EventTemperature,
    FilterChain,
    SequenceBreakers,
)
from seqgen.native import library
from tests.helpers.filters import fractions


@pytest.mark.skipif(library() is None, reason="no kernels")
@given(
    st.integers(0, 1 << 30),
    st.sampled_from([2, 5, 65, 300]),
    st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.sampled_from([0.0, 0.3, 1.0, 2.5]),
            "dynatemp_range": st.sampled_from([0.0, 0.4, 3.0]),
            "dynatemp_exponent": st.floats(0.2, 3),
            "top_k": st.integers(0, 70),
            "top_p": fractions,
            "min_p": fractions,
            "typical_p": fractions,
            "repetition_penalty": st.sampled_from([0.5, 1.0, 1.7]),
            "repetition_window": st.integers(1, 9),
            "dry_multiplier": st.sampled_from([0.0, 0.8, 100.0]),
            "dry_base": st.floats(1, 3),
            "dry_allowed_length": st.integers(1, 4),
            "dry_window": st.sampled_from([1, 2, 7, 30, 1000]),
            "xtc_probability": st.sampled_from([0.0, 0.5, 1.0]),
            "xtc_threshold": fractions,
            "mirostat_tau": st.sampled_from([0.0, 0.53, 3.1]),
            "mirostat_eta": st.sampled_from([0.1, 1.7]),
        },
    ),
    st.sampled_from(["", "possible", "allowed", "both"]),
    st.booleans(),
)
@example(0, 2, {"mirostat_tau": 0.53}, "both", False)  # one id is possible, and another one allowed
def test_native_sampler_equals_numpy_sampler(
    seed: int, size: int, how: dict[str, float], masked: str, named: bool
) -> None:
    chance = np.random.default_rng(seed)
    options = SampleOptions(**how)  # type: ignore[arg-type]
    forbidden = [1] if size > 2 else []
    history = chance.integers(min(size, 3), size=12).tolist()
    rows = 3
    names: dict[str, Any] = {}
    if named:
        table = chance.integers(-1, 2, (2, size)).astype(np.int32)  # two states; −1 and −2 are breakers
        ids = chance.integers(size, size=4).tolist()
        bias = tuple((token, float(chance.normal())) for token in ids)
        temperatures = chance.choice([0, 0.5, 0.7, 2], 2).tolist()  # at 1 what was equal is nearly so
        event_temperatures = (
            EventTemperature(0, size // 2, temperatures[0]),
            EventTemperature(size // 2 + (size > 5), size, temperatures[1]),
        )
        breakers = SequenceBreakers(table, 20)
        names = {"logit_bias": bias, "dry_multiplier": breakers, "temperature": event_temperatures}
    both: list[Any] = [
        NativeSampler(FilterChain(options, forbidden, names), size, history, rows),
        NumpySampler(FilterChain(options, forbidden, names), history, rows),
    ]
    for _ in range(12):
        logits = chance.normal(0, chance.choice([0.1, 1, 6]), (rows, size)).astype(np.float32).round(1)  # with equals
        possible, allowed = chance.random((2, rows, size)) < 0.6
        possible[:, 0] = allowed[:, 0] = True
        possible[chance.random(rows) < 0.3, 1:] = False  # an id that alone is possible is no surprise
        allowed[chance.random(rows) < 0.3, 1:] = False  # nor is one that alone is allowed
        if masked == "both" and chance.random() < 0.3:  # where they contradict each other, what is allowed decides
            allowed = ~possible
            allowed[:, -1] = True
        uniforms = chance.random((rows, 2))
        results = []
        for each in both:
            each.uniforms[:] = uniforms
            masks = (
                (possible if masked in ("possible", "both") else None),
                (allowed if masked in ("allowed", "both") else None),
            )
            results.append(each.draw(logits, *masks))
        (ours, our_logs), (wanted, wanted_logs) = results
        np.testing.assert_allclose(our_logs, wanted_logs, rtol=1e-12, atol=1e-12)
        assert ours == wanted
        np.testing.assert_allclose(both[0].limits, both[1].limits, rtol=1e-9)
        if chance.random() < 0.3:
            for each in both:
                each.forget_last(1)


def samplers(options: SampleOptions, size: int) -> list[Sampler]:
    """One stream, drawn by numpy and, where there are any, by the kernels."""
    chain = FilterChain(options)
    made: list[Sampler] = [NumpySampler(chain, [], 1)]
    return made if library() is None else [*made, NativeSampler(chain, size, [], 1)]


def test_mirostat_learns_nothing_from_an_id_that_alone_is_allowed() -> None:
    """After a passage that a grammar prescribes it truncates as before."""
    for each in samplers(SampleOptions(mirostat_tau=3.0), 4):
        each.draw(np.zeros((1, 4), np.float32), allowed=np.eye(4, dtype=bool)[:1])
        assert each.limits.tolist() == [6.0]
        each.draw(np.zeros((1, 4), np.float32), allowed=np.array([[True, True, False, False]]))
        assert each.limits == pytest.approx([6.0 - 0.1 * (1 - 3.0)])


def test_mirostat_limit_ends_where_it_has_no_effect() -> None:
    """No token is as surprising as τ: the limit would rise without end."""
    for each in samplers(SampleOptions(mirostat_tau=100.0, mirostat_eta=10.0), 2):
        for _ in range(5):
            each.draw(np.zeros((1, 2), np.float32))
        assert each.limits.tolist() == [MAX_LIMIT]
