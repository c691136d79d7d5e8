"""Hashed n-grams: what a word is, that nothing but the text decides a bucket, and golden values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.model import ngrams
from seqgen.model.ngrams import bags, word_hash

BUCKETS = 1 << 20


def sets(texts: list[bytes], order: int = 1, buckets: int = BUCKETS) -> list[set[int]]:
    found = bags(texts, order, buckets)
    return [set(found.buckets[a:b].tolist()) for a, b in zip(found.starts, found.starts[1:], strict=False)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat sat", 3),
        ("don't stop", 2),
        ("'quoted'", 2),  # an apostrophe that no letters enclose is a mark of its own
        ("well, well...", 3),
        ("naïve café", 2),
        ("我喜欢猫", 4),
        ("好！very good", 4),
        ("한국어 문장", 2),
        ("a_b2 c", 2),
        ("👍👍", 1),
        ("   \t\n", 0),
        ("", 0),
        ("tab\tand\nline", 3),
    ],
)  # fmt: skip
def test_what_a_word_is(text: str, words: int) -> None:
    """Each word once."""
    (found,) = sets([text.encode()])
    assert len(found) == words


def test_letters_count_whatever_their_case() -> None:
    assert sets([b"Good FILM"]) == sets([b"good film"])
    assert word_hash("Film") == word_hash("film") != word_hash("films")


def test_the_order_of_words_counts_in_longer_n_grams_only() -> None:
    one, other = b"dog bites man", b"man bites dog"
    assert sets([one]) == sets([other])
    first, second = sets([one], order=3) + sets([other], order=3)
    assert (
        len(first) == len(second) == 3 + 4 + 3
    )  # words, pairs, threes; the beginning and the end count as words there
    assert len(first & second) == 3


def test_an_n_gram_is_no_word() -> None:
    assert len(sets([b"a a a a"], order=3)[0]) == 1 + 3 + 3


def test_hashes_are_the_same_on_every_machine() -> None:
    assert word_hash("seqgen") == 5371406852872785366
    assert word_hash("猫") == 17286296126636320903


@given(st.lists(st.binary(max_size=60), max_size=12), st.integers(1, 4))
def test_a_text_has_its_buckets_whoever_is_beside_it(texts: list[bytes], order: int) -> None:
    together = sets(texts, order, 1 << 12)
    assert together == [sets([text], order, 1 << 12)[0] for text in texts]


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_buckets_ascend_and_stay_in_bounds(texts: list[str]) -> None:
    found = bags([text.encode("utf-8", "surrogatepass") for text in texts], 3, 1 << 12)
    assert found.starts[0] == 0
    assert found.starts[-1] == len(found.buckets)
    for a, b in zip(found.starts, found.starts[1:], strict=False):
        assert (np.diff(found.buckets[a:b]) > 0).all()
    assert ((found.buckets >= 0) & (found.buckets < 1 << 12)).all()


def test_a_text_longer_than_a_block_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ngrams._powers.cache_clear()
    monkeypatch.setattr(ngrams, "_BLOCK", 64)
    words = [f"w{number}" for number in range(60)]
    long = " ".join(words).encode()
    found = sets([b"first", long, b"last"])
    whole = set().union(*sets([word.encode() for word in words]))
    assert len(found[1] & whole) >= 50  # a word on a border is cut
    assert found[0] == sets([b"first"])[0]
    assert found[2] == sets([b"last"])[0]
    ngrams._powers.cache_clear()


def test_words_may_be_left_out() -> None:
    kept = bags([b"the cat the mat"], 2, BUCKETS, leave_out={word_hash("the")})
    assert set(kept.buckets.tolist()) == sets([b"cat mat"], 2)[0]
