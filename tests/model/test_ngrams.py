"""Hashed n-grams: word boundaries, buckets that depend on the text only, and golden values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.model import ngrams
from seqgen.model.ngrams import bags

BUCKETS = 1 << 20


def sets(texts: list[bytes], order: int = 1, buckets: int = BUCKETS, affixes: int = 0) -> list[set[int]]:
    found = bags(texts, order, buckets, affixes=affixes)
    return [set(found.buckets[a:b].tolist()) for a, b in zip(found.starts, found.starts[1:], strict=False)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat sat", 3),
        ("don't stop", 2),
        ("'quoted'", 2),  # an apostrophe outside of a word is a mark of its own
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
def test_bags_word_boundaries(text: str, words: int) -> None:
    """Each word once."""
    (found,) = sets([text.encode()])
    assert len(found) == words


def test_bags_ignore_the_case_of_ascii_letters() -> None:
    assert sets([b"Good FILM"]) == sets([b"good film"])
    assert sets([b"Film"]) == sets([b"film"]) != sets([b"films"])


def test_bags_word_order_counts_in_longer_n_grams_only() -> None:
    one, other = b"dog bites man", b"man bites dog"
    assert sets([one]) == sets([other])
    first, second = sets([one], order=3) + sets([other], order=3)
    assert (
        len(first) == len(second) == 3 + 4 + 3
    )  # words, pairs, threes; the beginning and the end count as words there
    assert len(first & second) == 3


def test_bags_n_gram_differs_from_a_word() -> None:
    assert len(sets([b"a a a a"], order=3)[0]) == 1 + 3 + 3


def test_bags_have_fixed_values() -> None:
    assert [sets([word.encode()], buckets=1 << 24)[0] for word in ("seqgen", "猫")] == [{14158211}, {3358408}]
    assert sorted(sets([b"a cat sat"], 3, 1 << 24)[0]) == [
        891742, 1817827, 4770618, 5070663, 6245240, 7705379, 10315530, 12004550, 13743729, 16353270,
    ]  # fmt: skip


@given(st.lists(st.binary(max_size=60), max_size=12), st.integers(1, 4), st.sampled_from([0, 5]))
def test_bags_do_not_depend_on_other_texts(texts: list[bytes], order: int, affixes: int) -> None:
    together = sets(texts, order, 1 << 12, affixes)
    assert together == [sets([text], order, 1 << 12, affixes)[0] for text in texts]


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_bags_buckets_ascend_within_bounds(texts: list[str]) -> None:
    found = bags([text.encode("utf-8", "surrogatepass") for text in texts], 3, 1 << 12)
    assert found.starts[0] == 0
    assert found.starts[-1] == len(found.buckets)
    for a, b in zip(found.starts, found.starts[1:], strict=False):
        assert (np.diff(found.buckets[a:b]) > 0).all()
    assert ((found.buckets >= 0) & (found.buckets < 1 << 12)).all()


def test_bags_text_longer_than_a_block_is_read_completely(monkeypatch: pytest.MonkeyPatch) -> None:
    ngrams._powers.cache_clear()
    monkeypatch.setattr(ngrams, "_BLOCK", 64)
    words = [f"w{number}" for number in range(60)]
    long = " ".join(words).encode()
    found = sets([b"first", long, b"last"])
    whole = set().union(*sets([word.encode() for word in words]))
    assert len(found[1] & whole) >= 50  # a word at a border is cut
    assert found[0] == sets([b"first"])[0]
    assert found[2] == sets([b"last"])[0]
    ngrams._powers.cache_clear()


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("abc", 0),  # a word is no affix of itself
        ("abcd", 2),
        ("abcdef", 6),
        ("abcdefgh ijklmn", 12),
        ("abcdef abcdez", 3 + 6),  # their prefixes are the same
        ("привет", 6),
        ("naïf", 2),
        ("很好看的电影", 0),  # a word each
        ("!!!! ....", 0),
    ],
)  # fmt: skip
def test_bags_affixes_have_three_to_five_characters(text: str, added: int) -> None:
    without, found = (sets([text.encode()], affixes=longest)[0] for longest in (0, 5))
    assert without < found if added else without == found
    assert len(found) == len(without) + added


def test_bags_affixes_are_shared_by_inflections_but_not_by_words() -> None:
    thrilling, thrills, thr = sets([b"thrilling", b"Thrills", b"thr"], affixes=5)
    assert len(thrilling & thrills) == 3  # thr, thri, thril
    assert not thr & thrills
    abcabcd, dabc = sets([b"abcabcd", b"dabc"], affixes=3)
    assert not abcabcd & dabc  # a prefix is no suffix


def test_bags_affixes_have_fixed_values() -> None:
    assert sorted(sets([b"abcd"], affixes=5)[0]) == [178025, 814564, 902108]
