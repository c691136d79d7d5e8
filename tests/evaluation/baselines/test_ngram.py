"""N-gram counts as a baseline of music."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.evaluation.baselines import ngram
from seqgen.evaluation.baselines.ngram import NgramModel


def test_ngram_nats_equal_witten_bell_by_hand() -> None:
    baseline = NgramModel.fit(np.array([0, 1, 0, 1, 0, 2]), 4, 2)
    unigram = {id_: (count + 3 / 4) / (6 + 3) for id_, count in enumerate((3, 2, 1, 0))}
    after_zero = {id_: (count + 2 * unigram[id_]) / (3 + 2) for id_, count in enumerate((0, 2, 1, 0))}
    for id_ in range(4):
        assert math.exp(-baseline.nats(np.array([id_]))[0]) == pytest.approx(unigram[id_])
        assert math.exp(-baseline.nats(np.array([0, id_]))[1]) == pytest.approx(after_zero[id_])
        assert math.exp(-baseline.nats(np.array([3, id_]))[1]) == pytest.approx(unigram[id_])  # 3 never came


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 5), st.lists(st.integers(0, 4), max_size=6))
def test_ngram_probabilities_sum_to_one(ids: list[int], order: int, context: list[int]) -> None:
    baseline = NgramModel.fit(np.array(ids, dtype=np.int64), 5, order)
    chances = [math.exp(-baseline.nats(np.array([*context, id_]))[-1]) for id_ in range(5)]
    assert sum(chances) == pytest.approx(1)
    assert all(chance > 0 for chance in chances)


def test_ngram_higher_order_learns_longer_patterns() -> None:
    pattern = np.tile([0, 0, 1, 0, 0, 2], 100)  # what comes next takes three ids to know
    costs = [NgramModel.fit(pattern, 3, order).nats(pattern)[5:].mean() for order in (1, 2, 3, 4)]
    assert costs[0] > costs[1] > costs[2] > costs[3]
    assert costs[3] < 0.02


def test_ngram_nats_depend_only_on_earlier_ids() -> None:
    chance = np.random.default_rng(1)
    baseline = NgramModel.fit(chance.integers(0, 6, 500), 6, 3)
    ids = chance.integers(0, 6, 50)
    assert baseline.nats(ids)[:20] == pytest.approx(baseline.nats(ids[:20]))
    assert baseline.nats(ids)[20:] == pytest.approx(baseline.nats(ids[18:])[2:])  # nor on more than two before it


def test_ngram_nats_are_equal_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(2)
    baseline = NgramModel.fit(chance.integers(0, 6, 500), 6, 4)
    ids = chance.integers(0, 6, 50)
    whole = baseline.nats(ids)
    monkeypatch.setattr(ngram, "_CHUNK", 3)
    assert np.array_equal(baseline.nats(ids), whole)
    assert np.array_equal(baseline.nats(ids, 7), whole[7:])


def test_ngram_nats_under_masks_are_shared_by_what_is_possible() -> None:
    chance = np.random.default_rng(3)
    baseline = NgramModel.fit(chance.integers(0, 6, 500), 6, 3)
    ids = chance.integers(0, 6, 40)
    possible = chance.random((40, 6)) < 0.5
    possible[np.arange(40), ids] = True
    given = iter(possible)
    nats = baseline.nats(ids, masks=lambda chunk: np.array([next(given) for _ in chunk]))
    for position, allowed in enumerate(possible):
        chances = np.exp([-baseline.nats(np.array([*ids[:position], each]))[-1] for each in np.flatnonzero(allowed)])
        own = chances[np.flatnonzero(allowed) == ids[position]]
        assert math.exp(-nats[position]) == pytest.approx(float(own[0] / chances.sum()))


def test_ngram_fit_key_overflow_raises_value_error() -> None:
    with pytest.raises(ValueError, match="63-bit key"):
        NgramModel.fit(np.array([0, 1]), 10_000, 5)
