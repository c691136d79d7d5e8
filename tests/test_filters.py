"""The filters: arithmetic on four tokens that can be checked by hand, ties, and what holds for any logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.config import SampleOptions
from seqgen.generation import filters
from seqgen.generation.draw import CompiledDrawing, PlainDrawing
from seqgen.generation.filters import ORDER, Chain, Filter, log_softmax, softmax
from seqgen.native import library

Array = npt.NDArray[np.float64]

HALVES = np.log(np.array([[0.5, 0.25, 0.125, 0.125]]))  # surprises of 1, 2, 3 and 3 bits: an entropy of 1.75


def probabilities(some: Filter, logits: Array = HALVES, history: Sequence[Sequence[int]] = ((),)) -> list[float]:
    return softmax(some(logits, history))[0].tolist()


def kept(some: Filter, logits: Array = HALVES) -> set[int]:
    return set(np.flatnonzero(some(logits, [[]] * len(logits))[0] > -np.inf).tolist())


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_softmax_and_its_logarithm() -> None:
    logits = np.array([[0.0, np.log(3.0), -np.inf, -np.inf], [1000.0, 1000.0, -1000.0, 0.0]])
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75, 0, 0], [0.5, 0.5, 0, 0]], rtol=1e-15)
    assert softmax(logits)[0, 2] == 0
    logs = log_softmax(logits)
    np.testing.assert_allclose(logs[0, :2], [np.log(0.25), np.log(0.75)], rtol=1e-15)
    assert np.isneginf(logs[0, 2])
    assert logs[1, 2] == -2000 - np.log(2)  # exact where the probability itself is 0


def test_repetition_penalty_divides_the_positive_and_multiplies_the_negative() -> None:
    logits = np.array([[2.0, 1.0, -1.0, 0.0]])
    result = filters.repetition_penalty(2, 64)(logits, [[0, 2, 2, 3]])
    assert result.tolist() == [[1.0, 1.0, -2.0, 0.0]]  # once each, however often it came
    assert filters.repetition_penalty(0.5, 64)(logits, [[0, 2]]).tolist() == [[4.0, 1.0, -0.5, 0.0]]


@pytest.mark.parametrize(("window", "seen"), [(1, {3}), (2, {3}), (3, {2, 3}), (5, {0, 1, 2, 3}), (99, {0, 1, 2, 3})])
def test_repetition_penalty_looks_no_further_back_than_its_window(window: int, seen: set[int]) -> None:
    result = filters.repetition_penalty(2, window)(np.full((1, 5), 8.0), [[0, 1, 2, 3, 3]])
    assert result[0].tolist() == [4.0 if token in seen else 8.0 for token in range(5)]


def test_repetition_penalty_gives_each_row_its_own_history() -> None:
    result = filters.repetition_penalty(4, 8)(np.ones((3, 2)), [[0], [], [1, 1]])
    assert result.tolist() == [[0.25, 1], [1, 1], [1, 0.25]]


def test_temperature_raises_probabilities_to_a_power() -> None:
    np.testing.assert_allclose(
        probabilities(filters.temperature(0.5)), [16 / 22, 4 / 22, 1 / 22, 1 / 22], rtol=1e-14
    )  # fmt: skip
    roots = np.sqrt([0.5, 0.25, 0.125, 0.125])
    np.testing.assert_allclose(probabilities(filters.temperature(2)), roots / roots.sum(), rtol=1e-14)


def test_temperature_zero_is_greedy_and_takes_the_lowest_id_of_equals() -> None:
    logits = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [-np.inf, -5.0, -np.inf, -5.0]])
    result = softmax(filters.temperature(0)(logits, [[]] * 3))
    assert result.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_a_tiny_temperature_is_greedy_and_does_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        result = softmax(filters.temperature(1e-310)(np.array([[1.0, 3.0, -np.inf, 2.0]]), [[]]))
    assert result.tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize(("k", "wanted"), [(1, [1, 0, 0, 0]), (2, [2 / 3, 1 / 3, 0, 0]), (3, [4 / 7, 2 / 7, 1 / 7, 0])])
def test_top_k_by_hand(k: int, wanted: list[float]) -> None:
    np.testing.assert_allclose(probabilities(filters.top_k(k)), wanted, rtol=1e-14)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_top_k_keeps_exactly_k_of_equals_the_lowest_first(k: int) -> None:
    assert kept(filters.top_k(k), np.zeros((1, 4))) == set(range(k))
    assert kept(filters.top_k(k), np.array([[1.0, 2.0, 2.0, 2.0]])) == set([1, 2, 3, 0][:k])


def test_ties_go_to_the_lower_id_in_a_wide_vocabulary_too() -> None:
    """Wide enough for a sort that is not stable to show: short rows are sorted by insertion, which is."""
    logits = np.tile([1.0, 2.0], 512)[None]
    likelier = list(range(1, 1024, 2))
    assert kept(filters.top_k(100), logits) == set(likelier[:100])
    assert kept(filters.top_k(600), logits) == {*likelier, *range(0, 2 * 88, 2)}
    flat = np.zeros((1, 1024))
    assert kept(filters.top_p(0.125), flat) == kept(filters.typical_p(0.125), flat) == set(range(128))


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


def test_top_p_of_a_flat_distribution() -> None:
    for p, count in ((0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.76, 4)):
        assert kept(filters.top_p(p), np.full((1, 4), 7.0)) == set(range(count))


@pytest.mark.parametrize("tenths", range(1, 10))
def test_top_p_reaches_a_decimal_share_with_as_few_as_a_running_sum_does(tenths: int) -> None:
    """0.1 seven times is 0.7, in floats too; what is taken must not depend on how the sum is taken apart."""
    wanted = int(np.flatnonzero(np.cumsum(np.full(10, 0.1)) >= tenths / 10)[0]) + 1
    assert kept(filters.top_p(tenths / 10), np.zeros((1, 10))) == set(range(wanted))


@pytest.mark.parametrize(
    ("share", "wanted"),
    [(1.0, {0}), (0.6, {0}), (0.5, {0, 1}), (0.3, {0, 1}), (0.25, {0, 1, 2, 3}), (0.01, {0, 1, 2, 3})],
)
def test_min_p_by_hand(share: float, wanted: set[int]) -> None:
    assert kept(filters.min_p(share)) == wanted
    masses = [mass if token in wanted else 0 for token, mass in enumerate([0.5, 0.25, 0.125, 0.125])]
    np.testing.assert_allclose(probabilities(filters.min_p(share)), np.array(masses) / sum(masses), rtol=1e-14)


def test_min_p_keeps_all_that_are_as_likely_as_the_likeliest() -> None:
    assert kept(filters.min_p(1.0), np.array([[2.0, 2.0, 1.0, 2.0]])) == {0, 1, 3}


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


def test_typical_p_passes_over_what_is_forbidden() -> None:
    logits = np.array([[-np.inf, *HALVES[0], -np.inf]])
    np.testing.assert_allclose(probabilities(filters.typical_p(0.3), logits), [0, 2 / 3, 1 / 3, 0, 0, 0], rtol=1e-14)


def test_forbid_takes_out_these_tokens_and_no_others() -> None:
    result = filters.forbid([1, 3])(np.ones((2, 4)), [[], []])
    assert result.tolist() == [[1, -np.inf, 1, -np.inf]] * 2


WIDE: list[Filter] = [
    filters.top_k(4), filters.top_k(1 << 40), filters.top_p(1.0), filters.typical_p(1.0), filters.min_p(1e-9),
    filters.min_p(0.0), filters.temperature(1.0), filters.repetition_penalty(1.0, 8), filters.forbid([]),
]  # fmt: skip


@pytest.mark.parametrize("some", WIDE)
def test_what_is_wider_than_the_vocabulary_is_the_identity(some: Filter) -> None:
    np.testing.assert_allclose(softmax(some(HALVES, [[0, 1]])), softmax(HALVES), rtol=1e-15)


def test_no_filter_is_on_by_default() -> None:
    assert all(make(SampleOptions()) is None for _, make in ORDER)
    assert Chain(SampleOptions())(HALVES, [[]]) is HALVES
    assert Chain(SampleOptions(), [0])(HALVES, [[]])[0, 0] == -np.inf


# --- the order -------------------------------------------------------------------------------------------------------

DOCUMENTED = ["repetition_penalty", "temperature", "top_k", "top_p", "min_p", "typical_p"]


def test_the_table_is_in_the_documented_order_and_every_filter_has_its_field() -> None:
    assert [name for name, _ in ORDER] == DOCUMENTED
    fields = [item.name for item in dataclasses.fields(SampleOptions)]
    assert [name for name in fields if name in DOCUMENTED] == DOCUMENTED
    assert filters.__doc__ is not None
    places = [filters.__doc__.index(name.replace("_", " ").replace("top ", "top-").replace(" p", "-p"))
              for name in DOCUMENTED[1:]]  # fmt: skip
    assert places == sorted(places)


ON = {"repetition_penalty": 1.3, "temperature": 0.7, "top_k": 3, "top_p": 0.8, "min_p": 0.2, "typical_p": 0.9}


def test_a_field_switches_on_its_own_filter_only() -> None:
    assert set(ON) == {name for name, _ in ORDER}
    for name, value in ON.items():
        options = SampleOptions(**{name: value})  # type: ignore[arg-type]
        assert [other for other, make in ORDER if make(options) is not None] == [name]


def test_top_k_then_top_p_not_the_other_way() -> None:
    """Of all, the likeliest holds 1/2; of what top-k 2 leaves, 2/3."""
    assert kept(Chain(SampleOptions(top_k=2, top_p=0.6))) == {0}
    assert kept(filters.top_p(0.6)) == {0, 1}


def test_temperature_comes_before_the_cuts() -> None:
    """At 0.5 the likeliest holds 16/22 = 0.727."""
    assert kept(Chain(SampleOptions(temperature=0.5, top_p=0.7))) == {0}
    assert kept(filters.top_p(0.7)) == {0, 1}


def test_the_penalty_sees_the_logits_before_temperature_shifts_them() -> None:
    logits = np.array([[2.0, 1.5, 0.0, 0.0]])
    result = Chain(SampleOptions(repetition_penalty=2.0, temperature=0.0))(logits, [[0]])
    assert result.argmax() == 1
    shares = softmax(Chain(SampleOptions(repetition_penalty=2.0, temperature=0.5))(logits, [[0]]))
    np.testing.assert_allclose(shares, softmax(np.array([[2.0, 3.0, 0.0, 0.0]])), rtol=1e-14)


# --- on any logits ---------------------------------------------------------------------------------------------------

numbers = st.one_of(st.just(-np.inf), st.floats(-40, 40), st.integers(-2, 2).map(float))  # small whole ones tie


@st.composite
def logits_and_histories(draw: st.DrawFn) -> tuple[Array, list[list[int]]]:
    width = draw(st.integers(1, 9))
    rows = draw(st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1, max_size=3))
    for row in rows:
        if all(value == -np.inf for value in row):
            row[draw(st.integers(0, width - 1))] = 0.0
    history = st.lists(st.integers(0, width - 1), max_size=6)
    return np.array(rows), [draw(history) for _ in rows]


options = st.builds(
    SampleOptions,
    repetition_penalty=st.one_of(st.just(1.0), st.floats(0.1, 10)),
    repetition_window=st.integers(1, 8),
    temperature=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.01, 100)),
    top_k=st.integers(0, 12),
    top_p=st.one_of(st.just(1.0), st.floats(0.001, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1)),
    typical_p=st.one_of(st.just(1.0), st.floats(0.001, 1)),
)


@given(logits_and_histories(), options)
def test_what_holds_for_every_filter(given: tuple[Array, list[list[int]]], options: SampleOptions) -> None:
    logits, history = given
    for name, make in ORDER:
        some = make(options)
        if some is None:
            continue
        before, told = logits.copy(), [list(row) for row in history]
        logits.flags.writeable = False  # a filter that writes to its argument raises
        result = some(logits, history)
        assert history == told
        np.testing.assert_array_equal(logits, before)
        assert result.shape == logits.shape and result.dtype == np.float64
        forbidden = np.isneginf(result)
        assert not forbidden.all(axis=-1).any(), f"{name} forbids all"
        assert (forbidden | ~np.isneginf(logits)).all(), f"{name} brings back what was forbidden"
        assert not np.isnan(result).any()
        np.testing.assert_allclose(softmax(result).sum(axis=-1), 1, rtol=1e-12)
        if name not in ("repetition_penalty", "temperature"):  # what only cuts alters nothing that it keeps
            np.testing.assert_array_equal(result[~forbidden], logits[~forbidden])
            best = logits.argmax(axis=-1)
            assert name == "typical_p" or not forbidden[np.arange(len(best)), best].any()
        logits = result


@given(logits_and_histories(), options, st.sets(st.integers(0, 8), max_size=3))
def test_the_chain_is_its_filters_one_after_another(
    given: tuple[Array, list[list[int]]], options: SampleOptions, forbidden: set[int]
) -> None:
    logits, history = given
    ids = sorted(token for token in forbidden if token < logits.shape[1])
    if np.isneginf(np.delete(logits, ids, axis=1)).all(axis=1).any():
        ids = []
    wanted = filters.forbid(ids)(logits, history)
    for made in (
        filters.repetition_penalty(options.repetition_penalty, options.repetition_window),
        # Temperature 1 is left out of the Chain; here it would shift by the largest, and rounding can make ties.
        filters.temperature(options.temperature) if options.temperature != 1 else filters.forbid([]),
        filters.top_k(options.top_k or 99),
        filters.top_p(options.top_p),
        filters.min_p(options.min_p),
        filters.typical_p(options.typical_p),
    ):
        wanted = made(wanted, history)
    result = Chain(options, ids)(logits, history)
    np.testing.assert_allclose(softmax(result), softmax(wanted), rtol=1e-9, atol=1e-15)


@given(logits_and_histories(), st.integers(1, 12))
def test_top_k_keeps_k_or_all_that_there_are(given: tuple[Array, list[list[int]]], k: int) -> None:
    logits, history = given
    result = filters.top_k(k)(logits, history)
    possible = (~np.isneginf(logits)).sum(axis=-1)
    assert ((~np.isneginf(result)).sum(axis=-1) == np.minimum(k, possible)).all()


@given(logits_and_histories(), st.floats(0.001, 0.999))
def test_top_p_keeps_enough_and_no_token_too_many(given: tuple[Array, list[list[int]]], p: float) -> None:
    logits, history = given
    result = filters.top_p(p)(logits, history)
    for shares, row in zip(softmax(logits), result, strict=True):
        chosen = shares[~np.isneginf(row)]
        assert chosen.sum() >= p - 1e-9
        assert chosen.sum() - chosen.min() < p + 1e-9
        assert chosen.min() >= shares[np.isneginf(row)].max(initial=0)


@given(logits_and_histories(), options)
def test_rows_are_filtered_apart(given: tuple[Array, list[list[int]]], options: SampleOptions) -> None:
    """A row's result is bitwise the same alone: the batch must not change what is sampled."""
    logits, history = given
    together = Chain(options)(logits, history)
    for row in range(len(logits)):
        alone = Chain(options)(logits[row : row + 1], history[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[row])


# --- compiled --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(library() is None, reason="no kernels")
@given(
    st.integers(0, 1 << 30),
    st.sampled_from([2, 5, 65, 300]),
    st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.sampled_from([0.0, 0.3, 1.0, 2.5]),
            "top_k": st.integers(0, 70),
            "top_p": st.floats(0.01, 1),
            "min_p": st.floats(0, 1),
            "typical_p": st.floats(0.01, 1),
            "repetition_penalty": st.sampled_from([0.5, 1.0, 1.7]),
            "repetition_window": st.integers(1, 9),
        },
    ),
    st.booleans(),
)
def test_the_compiled_draw_is_the_one_defined_here(seed: int, size: int, how: dict[str, float], masked: bool) -> None:
    chance = np.random.default_rng(seed)
    options = SampleOptions(**how)  # type: ignore[arg-type]
    forbidden = [1] if size > 2 else []
    history = chance.integers(size, size=12).tolist()
    rows = 3
    both = [
        CompiledDrawing(Chain(options, forbidden), size, history, rows),
        PlainDrawing(Chain(options, forbidden), history, rows),
    ]
    for _ in range(6):
        logits = chance.normal(0, chance.choice([0.1, 1, 6]), (rows, size)).astype(np.float32).round(1)  # with equals
        possible = chance.random((rows, size)) < 0.6
        possible[:, 0] = True
        uniforms = chance.random(rows).tolist()
        (ours, our_logs), (wanted, wanted_logs) = (
            each.draw(logits, possible if masked else None, uniforms) for each in both
        )
        np.testing.assert_allclose(our_logs, wanted_logs, rtol=1e-12, atol=1e-12)
        assert ours == wanted
        for each in both:
            for row, token in enumerate(ours):
                each.push(row, token)
