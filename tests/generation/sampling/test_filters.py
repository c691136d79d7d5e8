"""The filters: arithmetic on four tokens that can be checked by hand, ties, and what holds for any logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.config import SampleOptions
from seqgen.generation.sampling import filters
from seqgen.generation.sampling.draw import NumpySampler
from seqgen.generation.sampling.filters import (
    EventTemperature,
    Filter,
    FilterChain,
    FilterContext,
    SequenceBreakers,
    log_softmax,
    softmax,
)
from tests.helpers.filters import HALVES, Array, kept_ids


def probabilities(some: Filter, logits: Array = HALVES, history: Sequence[Sequence[int]] = ((),)) -> list[float]:
    return softmax(some(logits, FilterContext(history)))[0].tolist()


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_softmax_and_log_softmax_by_hand() -> None:
    logits = np.array([[0.0, np.log(3.0), -np.inf, -np.inf], [1000.0, 1000.0, -1000.0, 0.0]])
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75, 0, 0], [0.5, 0.5, 0, 0]], rtol=1e-15)
    assert softmax(logits)[0, 2] == 0
    logs = log_softmax(logits)
    np.testing.assert_allclose(logs[0, :2], [np.log(0.25), np.log(0.75)], rtol=1e-15)
    assert np.isneginf(logs[0, 2])
    assert logs[1, 2] == -2000 - np.log(2)  # exact where the probability itself is 0


def test_repetition_penalty_divides_the_positive_and_multiplies_the_negative() -> None:
    logits = np.array([[2.0, 1.0, -1.0, 0.0]])
    result = filters.repetition_penalty(2, 64)(logits, FilterContext([[0, 2, 2, 3]]))
    assert result.tolist() == [[1.0, 1.0, -2.0, 0.0]]  # once each, however often it came
    assert filters.repetition_penalty(0.5, 64)(logits, FilterContext([[0, 2]])).tolist() == [[4.0, 1.0, -0.5, 0.0]]


@pytest.mark.parametrize(("window", "seen"), [(1, {3}), (2, {3}), (3, {2, 3}), (5, {0, 1, 2, 3}), (99, {0, 1, 2, 3})])
def test_repetition_penalty_respects_its_window(window: int, seen: set[int]) -> None:
    result = filters.repetition_penalty(2, window)(np.full((1, 5), 8.0), FilterContext([[0, 1, 2, 3, 3]]))
    assert result[0].tolist() == [4.0 if token in seen else 8.0 for token in range(5)]


def test_count_penalty_subtracts_for_each_time_and_once() -> None:
    result = filters.count_penalty(0.5, 2, 4)(np.full((2, 4), 3.0), FilterContext([[3, 3, 0, 2, 2, 2], []]))
    assert result.tolist() == [[0.5, 3.0, -0.5, 3.0], [3.0] * 4]


def test_repetition_penalty_uses_each_rows_history() -> None:
    result = filters.repetition_penalty(4, 8)(np.ones((3, 2)), FilterContext([[0], [], [1, 1]]))
    assert result.tolist() == [[0.25, 1], [1, 1], [1, 0.25]]


def test_temperature_raises_probabilities_to_a_power() -> None:
    np.testing.assert_allclose(
        probabilities(filters.temperature(0.5)), [16 / 22, 4 / 22, 1 / 22, 1 / 22], rtol=1e-14
    )  # fmt: skip
    roots = np.sqrt([0.5, 0.25, 0.125, 0.125])
    np.testing.assert_allclose(probabilities(filters.temperature(2)), roots / roots.sum(), rtol=1e-14)


def test_temperature_zero_is_greedy() -> None:
    logits = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [-np.inf, -5.0, -np.inf, -5.0]])
    result = softmax(filters.temperature(0)(logits, FilterContext()))
    assert result.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_temperature_tiny_does_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        result = softmax(filters.temperature(1e-310)(np.array([[1.0, 3.0, -np.inf, 2.0]]), FilterContext()))
    assert result.tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize(("k", "wanted"), [(1, [1, 0, 0, 0]), (2, [2 / 3, 1 / 3, 0, 0]), (3, [4 / 7, 2 / 7, 1 / 7, 0])])
def test_top_k_by_hand(k: int, wanted: list[float]) -> None:
    np.testing.assert_allclose(probabilities(filters.top_k(k)), wanted, rtol=1e-14)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_top_k_breaks_ties_by_id(k: int) -> None:
    assert kept_ids(filters.top_k(k), np.zeros((1, 4))) == set(range(k))
    assert kept_ids(filters.top_k(k), np.array([[1.0, 2.0, 2.0, 2.0]])) == set([1, 2, 3, 0][:k])


def test_truncation_breaks_ties_by_id_in_a_large_vocabulary() -> None:
    """Wide enough for a sort that is not stable to show: short rows are sorted by insertion, which is."""
    logits = np.tile([1.0, 2.0], 512)[None]
    likelier = list(range(1, 1024, 2))
    assert kept_ids(filters.top_k(100), logits) == set(likelier[:100])
    assert kept_ids(filters.top_k(600), logits) == {*likelier, *range(0, 2 * 88, 2)}
    flat = np.zeros((1, 1024))
    assert kept_ids(filters.top_p(0.125), flat) == kept_ids(filters.typical_p(0.125), flat) == set(range(128))


@pytest.mark.parametrize(
    ("p", "wanted"),
    [
        (0.01, [1, 0, 0, 0]),
        (0.5, [1, 0, 0, 0]),  # reached exactly: no more is taken
        (0.51, [2 / 3, 1 / 3, 0, 0]),
        (0.76, [4 / 7, 2 / 7, 1 / 7, 0]),  # of the two equals the lower
        (0.88, [0.5, 0.25, 0.125, 0.125]),
    ],
)
def test_top_p_by_hand(p: float, wanted: list[float]) -> None:
    np.testing.assert_allclose(probabilities(filters.top_p(p)), wanted, rtol=1e-14)


def test_top_p_flat_distribution() -> None:
    for p, count in ((0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.76, 4)):
        assert kept_ids(filters.top_p(p), np.full((1, 4), 7.0)) == set(range(count))


@pytest.mark.parametrize("tenths", range(1, 10))
def test_top_p_decimal_fraction_needs_no_extra_token(tenths: int) -> None:
    """0.1 seven times is 0.7, in floats too; what is taken must not depend on how the sum is taken apart."""
    wanted = int(np.flatnonzero(np.cumsum(np.full(10, 0.1)) >= tenths / 10)[0]) + 1
    assert kept_ids(filters.top_p(tenths / 10), np.zeros((1, 10))) == set(range(wanted))


@pytest.mark.parametrize(
    ("share", "wanted"),
    [(1.0, {0}), (0.6, {0}), (0.5, {0, 1}), (0.3, {0, 1}), (0.25, {0, 1, 2, 3}), (0.01, {0, 1, 2, 3})],
)
def test_min_p_by_hand(share: float, wanted: set[int]) -> None:
    assert kept_ids(filters.min_p(share)) == wanted
    masses = [mass if token in wanted else 0 for token, mass in enumerate([0.5, 0.25, 0.125, 0.125])]
    np.testing.assert_allclose(probabilities(filters.min_p(share)), np.array(masses) / sum(masses), rtol=1e-14)


def test_min_p_one_keeps_all_of_the_likeliest() -> None:
    assert kept_ids(filters.min_p(1.0), np.array([[2.0, 2.0, 1.0, 2.0]])) == {0, 1, 3}


@pytest.mark.parametrize(
    ("p", "wanted"),
    # Distances from 1.75 bits are 0.75, 0.25, 1.25, 1.25: token 1 comes first, then 0, then 2 before its equal 3.
    [
        (0.2, [0, 1, 0, 0]),
        (0.3, [2 / 3, 1 / 3, 0, 0]),
        (0.8, [4 / 7, 2 / 7, 1 / 7, 0]),
        (0.9, [0.5, 0.25, 0.125, 0.125]),
    ],
)
def test_typical_p_by_hand(p: float, wanted: list[float]) -> None:
    np.testing.assert_allclose(probabilities(filters.typical_p(p)), wanted, rtol=1e-14)


def test_typical_p_ignores_removed_tokens() -> None:
    logits = np.array([[-np.inf, *HALVES[0], -np.inf]])
    np.testing.assert_allclose(probabilities(filters.typical_p(0.3), logits), [0, 2 / 3, 1 / 3, 0, 0, 0], rtol=1e-14)


def test_suppress_tokens_removes_only_these() -> None:
    result = filters.suppress_tokens([1, 3])(np.ones((2, 4)), FilterContext())
    assert result.tolist() == [[1, -np.inf, 1, -np.inf]] * 2


WIDE: list[Filter] = [
    filters.top_k(4), filters.top_k(1 << 40), filters.top_p(1.0), filters.typical_p(1.0), filters.min_p(1e-9),
    filters.min_p(0.0), filters.temperature(1.0), filters.repetition_penalty(1.0, 8), filters.suppress_tokens([]),
]  # fmt: skip


@pytest.mark.parametrize("some", WIDE)
def test_truncation_wider_than_the_vocabulary_is_the_identity(some: Filter) -> None:
    np.testing.assert_allclose(softmax(some(HALVES, FilterContext([[0, 1]]))), softmax(HALVES), rtol=1e-15)


def test_filter_chain_default_is_empty() -> None:
    assert FilterChain(SampleOptions()).rows == []
    assert FilterChain(SampleOptions())(HALVES, [[]]) is HALVES
    assert FilterChain(SampleOptions(), [0])(HALVES, [[]])[0, 0] == -np.inf


def test_logit_bias_adds_to_logits() -> None:
    """Twice as likely is log 2 more: 1/2, 1/4 · 2, 1/8, 1/8 · 1/2 of a sum of 19/16."""
    some = filters.logit_bias([(1, np.log(2)), (3, -np.log(2))])
    np.testing.assert_allclose(probabilities(some), [8 / 19, 8 / 19, 2 / 19, 1 / 19], rtol=1e-14)
    assert (
        some(np.array([[0.0, -np.inf, 0.0, 0.0]]), FilterContext())[0, 1] == -np.inf
    )  # what may not come still may not


# --- DRY ---


def dry_taken(history: list[int], breakers: Sequence[int] = (), **how: Any) -> list[float]:
    """What DRY takes from each of four tokens: 0.5 · 2^(n − allowed)."""
    table = np.where(np.isin(np.arange(4), breakers), -1, 0).astype(np.int32)[None]
    settings = {"multiplier": 0.5, "base": 2.0, "allowed": 2, "window": 99, **how}
    some = filters.dry(**settings, sequence_breakers=SequenceBreakers(table, 1))
    taken: list[float] = (0 - some(np.zeros((1, 4)), FilterContext([history])))[0].tolist()
    return taken


@pytest.mark.parametrize(
    ("history", "taken"),
    [
        ([], [0, 0, 0, 0]),
        ([0], [0, 0, 0, 0]),
        ([0, 1, 0], [0, 0, 0, 0]),  # one token alike: fewer than two
        ([0, 1, 2, 0, 1], [0, 0, 0.5, 0]),  # two alike, and 2 came next
        ([0, 1, 2, 3, 0, 1, 2], [0, 0, 0, 1.0]),  # three alike
        ([0, 1, 2, 3, 3, 1, 2, 0, 0, 1, 2], [0.5, 0, 0, 1.0]),  # 3 came after three, 0 after two of them
        ([1, 2, 3, 0, 1, 2, 3, 3, 0, 1, 2], [0, 0, 0, 2.0]),  # the longer of two places counts: 3 0 1 2
        ([0, 0, 0, 0], [1.0, 0, 0, 0]),  # a run is a repetition of itself: 0 0 0 came before 0
    ],
)
def test_dry_by_hand(history: list[int], taken: list[float]) -> None:
    assert dry_taken(history) == taken


def test_dry_options_change_the_penalty() -> None:
    said = [0, 1, 2, 3, 0, 1, 2]
    assert dry_taken(said, allowed=3) == [0, 0, 0, 0.5]
    assert dry_taken(said, allowed=4) == [0, 0, 0, 0]
    assert dry_taken(said, allowed=1, base=3.0, multiplier=1.0) == [0, 0, 0, 9.0]
    assert dry_taken(said, window=6) == [0, 0, 0, 0.5]  # 1 2 of 1 2 3 0 1 2
    assert dry_taken(said, window=5) == [0, 0, 0, 0]
    assert dry_taken(said, breakers=[3]) == [0, 0, 0, 0]  # what breaks is free
    assert dry_taken(said, breakers=[0]) == [0, 0, 0, 0.5]  # only 1 2 are after the last breaker
    assert dry_taken(said, breakers=[1]) == [0, 0, 0, 0]
    assert dry_taken(said, breakers=[2], allowed=1) == [0, 0, 0, 0]
    assert dry_taken([0] * 5000, window=5000) == [filters.MAX_PENALTY, 0, 0, 0]  # and no infinity


@given(st.lists(st.integers(0, 2), max_size=30), st.lists(st.integers(0, 9), max_size=30))
def test_repetitions_equal_exhaustive_search(tokens: list[int], chance: list[int]) -> None:
    broken = [place < len(chance) and chance[place] == 0 for place in range(len(tokens))]
    wanted: dict[int, int] = {}
    for end in range(len(tokens) - 1):
        length = 0
        while (
            length <= end
            and tokens[end - length] == tokens[len(tokens) - 1 - length]
            and not broken[len(tokens) - 1 - length]
        ):
            length += 1
        if length and not broken[end + 1]:
            wanted[tokens[end + 1]] = max(wanted.get(tokens[end + 1], 0), length)
    assert filters.repetitions(tokens, broken) == wanted


def test_sequence_breakers_may_span_tokens() -> None:
    """Of the breaker `0 1`, in states "nothing" and "0": it ends in the 1 after a 0, and in no other 1."""
    sequence_breakers = SequenceBreakers(np.array([[1, 0, 0, 0], [1, -1, 0, 0]], dtype=np.int32), 2)
    assert sequence_breakers.read([0, 1, 1, 0, 0, 1, 2]) == ([False, True, False, False, False, True, False], 0)
    some = filters.dry(1.0, 1.0, 1, 4, sequence_breakers)
    said = [2, 0, 1, 3, 2, 1, 3]  # in the window 3 2 1 3; the 1 outside of it is known to have broken
    assert (some(np.zeros((1, 4)), FilterContext([said]))).tolist() == [[0, 0, -1.0, 0]]
    assert (some(np.zeros((1, 4)), FilterContext([[1, 3, 2, 0, 1]]))).tolist() == [[0, 0, 0, 0]]
    assert (some(np.zeros((1, 4)), FilterContext([[1, 3, 2, 1]]))).tolist() == [[0, 0, 0, -1.0]]


# --- temperatures ---


@pytest.mark.parametrize(
    ("exponent", "power"),
    # The entropy is 1.75 bits of 2: 7/8 of the way from 0.5 to 1.5 is 1.375; its square is 49/64 of the way.
    [(1.0, 1 / 1.375), (2.0, 1 / (0.5 + 49 / 64))],
)
def test_dynamic_temperature_by_hand(exponent: float, power: float) -> None:
    wanted = np.array([0.5, 0.25, 0.125, 0.125]) ** power
    some = filters.dynamic_temperature(1.0, 0.5, exponent)
    np.testing.assert_allclose(probabilities(some), wanted / wanted.sum(), rtol=1e-14)


def test_dynamic_temperature_limits() -> None:
    flat, sure = np.zeros((1, 4)), np.array([[0.0, -1000.0, -1000.0, -1000.0]])
    assert probabilities(filters.dynamic_temperature(1.0, 0.5, 1.0), flat) == [0.25] * 4
    assert probabilities(filters.dynamic_temperature(0.5, 2.0, 1.0), sure) == [1, 0, 0, 0]  # 0 at least, not −1.5
    alone = np.array([[-np.inf, 3.0, -np.inf, -np.inf]])
    assert probabilities(filters.dynamic_temperature(1.0, 0.5, 1.0), alone) == [0, 1, 0, 0]
    # Of two that may come, not four: the entropy of halves is all there is.
    halves = np.array([[0.0, 0.0, -np.inf, -np.inf]])
    np.testing.assert_array_equal(
        filters.dynamic_temperature(1.0, 0.5, 1.0)(halves, FilterContext()), [[0, 0, -np.inf, -np.inf]]
    )


def test_temperatures_of_by_hand() -> None:
    """Tokens 0 and 1 are a kind that holds 3/4: at 0.5 they share it as 4 to 1."""
    some = filters.temperatures_of([EventTemperature(0, 2, 0.5)], None)
    np.testing.assert_allclose(probabilities(some), [0.6, 0.15, 0.125, 0.125], rtol=1e-14)
    greedy = filters.temperatures_of([EventTemperature(0, 2, 0.0)], None)
    np.testing.assert_allclose(probabilities(greedy), [0.75, 0, 0.125, 0.125], rtol=1e-14)
    # At temperature 0.5 for all the kind holds 20/22; its own 1 then shares that as 2 to 1.
    both = filters.temperatures_of([EventTemperature(0, 2, 1.0)], filters.temperature(0.5))
    np.testing.assert_allclose(probabilities(both), [40 / 66, 20 / 66, 1 / 22, 1 / 22], rtol=1e-14)


def test_temperatures_of_greedy_common_or_impossible_range() -> None:
    some = filters.temperatures_of([EventTemperature(0, 2, 1.0), EventTemperature(2, 4, 0.1)], filters.temperature(0))
    np.testing.assert_allclose(probabilities(some), [2 / 3, 1 / 3, 0, 0], rtol=1e-14)
    logits = np.array([[-np.inf, -np.inf, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    result = softmax(filters.temperatures_of([EventTemperature(0, 2, 0.5)], None)(logits, FilterContext()))
    np.testing.assert_allclose(result, [[0, 0, 0.5, 0.5], [0.25] * 4], rtol=1e-14)


# --- XTC and mirostat ---


@pytest.mark.parametrize(
    ("threshold", "wanted"),
    [
        (0.6, [0.5, 0.25, 0.125, 0.125]),  # none, or one alone, is no choice
        (0.5, [0.5, 0.25, 0.125, 0.125]),
        (0.25, [0, 0.5, 0.25, 0.25]),  # of two the likelier goes
        (0.125, [0, 0, 0, 1]),  # of four three; of equals the higher id is the last
    ],
)
def test_xtc_by_hand(threshold: float, wanted: list[float]) -> None:
    some = filters.xtc(0.5, threshold)
    shares = softmax(some(np.repeat(HALVES, 3, axis=0), FilterContext(uniforms=[0.49, 0.5, 0.0])))
    np.testing.assert_allclose(shares[0], wanted, rtol=1e-14)
    np.testing.assert_allclose(shares[1], softmax(HALVES)[0], rtol=1e-14)  # tails
    np.testing.assert_array_equal(shares[2], shares[0])
    np.testing.assert_array_equal(some(HALVES, FilterContext()), HALVES)


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [(4.0, {0, 1, 2, 3}), (3.0, {0, 1, 2, 3}), (2.9, {0, 1}), (2.0, {0, 1}), (1.5, {0}), (0.5, {0}), (-7.0, {0})],
)
def test_mirostat_by_hand(limit: float, wanted: set[int]) -> None:
    assert set(np.flatnonzero(filters.Mirostat(9.0, 0.1)(HALVES, FilterContext(limits=[limit]))[0] > -np.inf)) == wanted


def test_mirostat_limit_begins_at_twice_tau_and_adapts() -> None:
    assert kept_ids(filters.Mirostat(1.0, 0.1)) == {0, 1}
    assert kept_ids(filters.Mirostat(1.5, 0.1)) == {0, 1, 2, 3}
    assert filters.Mirostat(1.5, 0.5).next_limit(3.0, 2.0) == 2.75
    assert filters.Mirostat(1.5, 0.5).next_limit(3.0, 1.0) == 3.25


def test_mirostat_keeps_the_surprise_near_tau() -> None:
    """Of a distribution of 5 bits, cut to 3."""
    chain = FilterChain(SampleOptions(mirostat_tau=3.0))
    drawing = NumpySampler(chain, [], 8)
    chance = np.random.default_rng(1)
    shares = 0.8 ** np.arange(200)
    logits = np.log(np.tile(shares / shares.sum(), (8, 1))).astype(np.float32)
    surprises = []
    for _ in range(400):
        drawing.uniforms[:] = chance.random((8, 2))
        surprises.append(-np.array(drawing.draw(logits)[1]) / np.log(2))
    assert np.mean(surprises[100:]) == pytest.approx(3.0, abs=0.1)


def test_mirostat_measures_the_surprise_before_its_own_cut() -> None:
    """Only the likeliest is left, at 1 bit and not at none: the limit rises by η (τ − 1)."""
    drawing = NumpySampler(FilterChain(SampleOptions(mirostat_tau=0.25, mirostat_eta=0.5)), [], 1)
    assert drawing.draw(HALVES.astype(np.float32))[0] == [0]
    assert drawing.limits == pytest.approx([0.5 - 0.5 * (1 - 0.25)])
