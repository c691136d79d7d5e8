"""The chain of filters: its order, its options, and properties of any chain."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.config import SampleOptions, flag_name
from seqgen.generation.sampling import filters
from seqgen.generation.sampling.filters import (
    EventTemperature,
    Filter,
    FilterChain,
    FilterContext,
    SequenceBreakers,
    softmax,
)
from seqgen.specs.filters import FilterSpec, filter_options, filter_rows
from seqgen.specs.registry import resolve
from tests.helpers.filters import Array, kept_ids, logit_values, sample_options

# --- the order -------------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[3] / "seqgen" / "docs" / "sampling.md"


def make_filter(row: FilterSpec, options: SampleOptions, resolved: Any = None) -> Filter | None:
    made: Filter | None = resolve(row.implementation)(options, resolved)
    return made


def test_filter_table_order_equals_options_and_docs() -> None:
    names = [row.name for row in filter_rows()]
    fields = [item.name for item in dataclasses.fields(SampleOptions)]
    assert [name for name in fields if name in names] == names
    text = PAGE.read_text(encoding="utf-8")
    order = text[text.index("They run in this order") :]
    places = [order.index(flag_name(name)) for name in names]
    assert places == sorted(places)


def test_sample_options_have_every_option_of_every_filter() -> None:
    fields = {item.name: item for item in dataclasses.fields(SampleOptions)}
    hints = typing.get_type_hints(SampleOptions)
    for option in filter_options():
        assert (fields[option.name].default, hints[option.name]) == (option.default, option.type)
        assert fields[option.name].metadata["help"] == option.help


ON = {
    "repetition_penalty": 1.3, "dry_multiplier": 0.8, "temperature": 0.7, "dynatemp_range": 0.3, "top_k": 3,
    "top_p": 0.8, "min_p": 0.2, "typical_p": 0.9, "xtc_probability": 0.5, "mirostat_tau": 3.0, "frequency_penalty": 1.0,
    "presence_penalty": 1.0,
}  # fmt: skip

ROW_OF = {"dynatemp_range": "temperature"}  # options of another's filter


def test_filter_chain_option_turns_on_its_own_filter_only() -> None:
    assert {*ON} - {*ROW_OF} == {row.name for row in filter_rows()} - {"logit_bias"}
    for name, value in ON.items():
        assert [row.name for row in FilterChain(SampleOptions(**{name: value})).rows] == [ROW_OF.get(name, name)]
    for name, resolved in (("logit_bias", ((1, 2.0),)), ("temperature", (EventTemperature(0, 2, 0.5),))):
        assert [row.name for row in FilterChain(SampleOptions(), (), {name: resolved}).rows] == [name]


def test_filter_chain_unresolved_names_raise() -> None:
    for options in (SampleOptions(logit_bias=("x=1",)), SampleOptions(temperature_of=("note=1",))):
        with pytest.raises(ValueError, match="vocabulary"):
            FilterChain(options)


def test_filter_chain_applies_top_k_before_top_p() -> None:
    """Of all, the likeliest holds 1/2; of what top-k 2 leaves, 2/3."""
    assert kept_ids(FilterChain(SampleOptions(top_k=2, top_p=0.6)).apply_stateless) == {0}
    assert kept_ids(filters.top_p(0.6)) == {0, 1}


def test_filter_chain_applies_temperature_before_truncation() -> None:
    """At 0.5 the likeliest holds 16/22 = 0.727."""
    assert kept_ids(FilterChain(SampleOptions(temperature=0.5, top_p=0.7)).apply_stateless) == {0}
    assert kept_ids(filters.top_p(0.7)) == {0, 1}


def test_filter_chain_applies_penalty_before_temperature() -> None:
    logits = np.array([[2.0, 1.5, 0.0, 0.0]])
    result = FilterChain(SampleOptions(repetition_penalty=2.0, temperature=0.0))(logits, [[0]])
    assert result.argmax() == 1
    shares = softmax(FilterChain(SampleOptions(repetition_penalty=2.0, temperature=0.5))(logits, [[0]]))
    np.testing.assert_allclose(shares, softmax(np.array([[2.0, 3.0, 0.0, 0.0]])), rtol=1e-14)


@st.composite
def logits_and_histories(draw: st.DrawFn) -> tuple[Array, list[list[int]]]:
    width = draw(st.integers(1, 9))
    rows = draw(st.lists(st.lists(logit_values, min_size=width, max_size=width), min_size=1, max_size=3))
    for row in rows:
        if all(value == -np.inf for value in row):
            row[draw(st.integers(0, width - 1))] = 0.0
    history = st.lists(st.integers(0, width - 1), max_size=6)
    return np.array(rows), [draw(history) for _ in rows]


def known(history: list[list[int]], uniform: float = 0.4) -> FilterContext:
    return FilterContext(history, [uniform, 0.6, 0.9][: len(history)], [1.0, 4.0, -2.0][: len(history)])


def names_for(logits: Array) -> dict[str, Any]:
    width = logits.shape[1]
    return {
        "logit_bias": ((0, 1.5), (width - 1, -3.0)),
        "dry_multiplier": SequenceBreakers(alternating(width), 1),
        "temperature": (EventTemperature(0, (width + 1) // 2, 0.5),),
    }


def alternating(width: int) -> npt.NDArray[np.int32]:
    """Every third token is a breaker; one state."""
    return np.where(np.arange(width) % 3 == 2, -1, 0).astype(np.int32)[None]


@given(logits_and_histories(), sample_options)
def test_filters_keep_their_invariants(given: tuple[Array, list[list[int]]], options: SampleOptions) -> None:
    logits, history = given
    names = names_for(logits)
    order = [row.name for row in filter_rows()]
    for row in filter_rows():
        name, some = row.name, make_filter(row, options, names.get(row.name))
        if some is None:
            continue
        before, told = logits.copy(), [list(row) for row in history]
        logits.flags.writeable = False  # a filter that writes to its argument raises
        result = some(logits, known(history))
        assert history == told
        np.testing.assert_array_equal(logits, before)
        assert result.shape == logits.shape and result.dtype == np.float64
        forbidden = np.isneginf(result)
        assert not forbidden.all(axis=-1).any(), f"{name} forbids all"
        assert (forbidden | ~np.isneginf(logits)).all(), f"{name} brings back what was forbidden"
        assert not np.isnan(result).any()
        np.testing.assert_allclose(softmax(result).sum(axis=-1), 1, rtol=1e-12)
        if name in order[order.index("top_k") :]:  # truncation leaves the logits that it keeps unchanged
            np.testing.assert_array_equal(result[~forbidden], logits[~forbidden])
            best = logits.argmax(axis=-1)
            can = name in ("typical_p", "xtc_probability")
            assert can or not forbidden[np.arange(len(best)), best].any()
        logits = result


@given(logits_and_histories(), sample_options, st.sets(st.integers(0, 8), max_size=3))
def test_filter_chain_equals_its_filters_in_order(
    given: tuple[Array, list[list[int]]], options: SampleOptions, forbidden: set[int]
) -> None:
    logits, history = given
    ids = sorted(token for token in forbidden if token < logits.shape[1])
    if np.isneginf(np.delete(logits, ids, axis=1)).all(axis=1).any():
        ids = []
    rows, names, o = known(history), names_for(logits), options
    wanted = filters.suppress_tokens(ids)(logits, rows)
    common = filters.temperature(o.temperature) if o.temperature != 1 else None
    if o.dynatemp_range:
        common = filters.dynamic_temperature(o.temperature, o.dynatemp_range, o.dynatemp_exponent)
    for made in (
        filters.logit_bias(names["logit_bias"]),
        filters.repetition_penalty(o.repetition_penalty, o.repetition_window),
        filters.count_penalty(o.frequency_penalty, 0, o.repetition_window),
        filters.count_penalty(0, o.presence_penalty, o.repetition_window),
        filters.dry(o.dry_multiplier, o.dry_base, o.dry_allowed_length, o.dry_window, names["dry_multiplier"]),
        filters.temperatures_of(names["temperature"], common),
        filters.top_k(o.top_k or 99),
        filters.top_p(o.top_p),
        filters.min_p(o.min_p),
        filters.typical_p(o.typical_p),
        filters.xtc(o.xtc_probability, o.xtc_threshold),
        filters.Mirostat(o.mirostat_tau, o.mirostat_eta) if o.mirostat_tau else filters.suppress_tokens([]),
    ):
        wanted = made(wanted, rows)
    result = FilterChain(options, ids, names)(logits, history, np.reshape(rows.uniforms, (-1, 1)), rows.limits)
    np.testing.assert_allclose(softmax(result), softmax(wanted), rtol=1e-9, atol=1e-15)


@given(logits_and_histories(), st.integers(1, 12))
def test_top_k_keeps_k_or_all(given: tuple[Array, list[list[int]]], k: int) -> None:
    logits, history = given
    result = filters.top_k(k)(logits, FilterContext(history))
    possible = (~np.isneginf(logits)).sum(axis=-1)
    assert ((~np.isneginf(result)).sum(axis=-1) == np.minimum(k, possible)).all()


@given(logits_and_histories(), st.floats(0.001, 0.999))
def test_top_p_keeps_the_smallest_sufficient_set(given: tuple[Array, list[list[int]]], p: float) -> None:
    logits, history = given
    result = filters.top_p(p)(logits, FilterContext(history))
    for shares, row in zip(softmax(logits), result, strict=True):
        chosen = shares[~np.isneginf(row)]
        assert chosen.sum() >= p - 1e-9
        assert chosen.sum() - chosen.min() < p + 1e-9
        assert chosen.min() >= shares[np.isneginf(row)].max(initial=0)


@given(logits_and_histories(), sample_options)
def test_filter_chain_row_is_the_same_in_any_batch(
    given: tuple[Array, list[list[int]]], options: SampleOptions
) -> None:
    """A row's result is bitwise the same alone: the batch must not change what is sampled."""
    logits, history = given
    together = FilterChain(options)(logits, history)
    for row in range(len(logits)):
        alone = FilterChain(options)(logits[row : row + 1], history[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[row])
