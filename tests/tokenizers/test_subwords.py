"""Subword vocabularies: their size, and texts that are too small."""

from __future__ import annotations

import random

import numpy as np
import pytest

from seqgen import tokenizers
from seqgen.errors import DataError
from seqgen.tokenizers import subwords
from tests.helpers.running import prose
from tests.helpers.texts import FAMILY, FITTED_ON, check_ids, is_one_line

# ---- Subwords ----


def rich_text() -> bytes:
    """Random words that follow Zipf's law, enough distinct ones to fill a vocabulary."""
    rng = random.Random(3)
    syllables = [first + second for first in "bcdfghjklmnprstvz" for second in "aeiou"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(2500)]
    frequencies = [1 / (rank + 1) for rank in range(len(words))]
    lines = [" ".join(rng.choices(words, weights=frequencies, k=12)) for _ in range(1200)]
    return "\n".join(lines).encode()


def test_subword_fit_of_enough_text_has_the_given_vocabulary_size() -> None:
    text = rich_text()
    lengths = []
    for size in (300, 500, 1000):
        codec = tokenizers.fit("subword", [text], vocab_size=size)
        assert abs(codec.vocab_size - size) <= 0.02 * size
        lengths.append(len(codec.encode(text)))
    assert lengths[0] > lengths[1] > lengths[2]  # the more pieces, the fewer ids
    assert lengths[2] < len(text) / 2


@pytest.mark.parametrize("size", [None, 300, 8000, 1 << 20])
@pytest.mark.parametrize(
    "data",
    [
        b"ab", b"a b", b"ab\n", b"  ", b" " * 500, b"\t \r\n" * 30, b" \n \n", b"a" * 5000, b"a\r\nb\r\n" * 20,
        "中文".encode(), b"a\nb\nc\nd\n" * 10, prose(2).encode(), bytes(range(256)), b"x\xff" * 4, FAMILY.encode(),
    ],
    ids=lambda data: repr(data[:6]) if isinstance(data, bytes) else str(data),
)  # fmt: skip
def test_subword_fit_of_little_text_has_a_smaller_vocabulary(data: bytes, size: int | None) -> None:
    codec = tokenizers.fit("subword", [data], **({"vocab_size": size} if size else {}))
    assert 258 <= codec.vocab_size <= 1200
    for text in (data, FITTED_ON):
        check_ids(codec, text, codec.encode(text))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"a", b"\n" * 50, b"\r\n" * 50, b"\0" * 50, b"\xff" * 50, "\u2581".encode() * 50, b"\xed\xa0\x80" * 9,
        b"-" * 40,  # the trainer prunes everything if one piece repeats
    ],
    ids=lambda data: repr(data[:6]),
)  # fmt: skip
def test_subword_fit_of_text_without_words_raises(data: bytes) -> None:
    """The message names a remedy, and no source file of SentencePiece."""
    with pytest.raises(DataError, match="--tokenizer byte") as error:
        tokenizers.fit("subword", [data])
    assert is_one_line(error)
    assert ".cc" not in str(error.value)


def test_subword_fit_of_one_long_line_succeeds() -> None:
    text = rich_text().replace(b"\n", b" ")
    codec = tokenizers.fit("subword", [text], vocab_size=500)
    check_ids(codec, text, codec.encode(text))
    assert len(codec.encode(text)) < 0.6 * len(text)


def test_subword_fit_of_a_large_alphabet_keeps_a_small_vocabulary() -> None:
    """3,000 distinct characters, 300 pieces: the most frequent characters have pieces, the others are bytes."""
    rng = random.Random(5)
    alphabet = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
    text = "".join(rng.choices(alphabet, weights=[1 / (rank + 1) for rank in range(3000)], k=8000)).encode()
    codec = tokenizers.fit("subword", [text], vocab_size=300)
    assert codec.vocab_size <= 306
    assert len(codec.encode(alphabet[0].encode())) == 1
    check_ids(codec, text, codec.encode(text))


def test_subword_encode_never_joins_two_lines() -> None:
    codec = tokenizers.fit("subword", [prose(200).encode()])
    assert all("\n" not in piece or piece == "\n" for piece in codec.pieces() if isinstance(piece, str))
    first, second = b"the old lamp", b"on the quay"
    ids = codec.encode(first + b"\n" + second)
    apart = [codec.encode(first + b"\n"), codec.encode(second)]
    assert np.array_equal(ids, np.concatenate(apart))


def test_subword_default_vocabulary_is_for_the_whole_text_not_for_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def train(text: str, vocab_size: int) -> None:
        sizes.append(vocab_size)

    monkeypatch.setattr(subwords, "_train", train)
    monkeypatch.setattr(subwords, "_MIN_SAMPLE", 1 << 40)  # in this process
    lines = [prose(400).replace("\n", " ").encode() + b"\n"] * 400
    characters = 400 * (len(lines[0]) - 1)  # without the line feeds
    for most, fraction in ((10 * characters, 1.0), (characters // 5, 1.0), (characters // 5, 0.25)):
        monkeypatch.setattr(subwords, "_MAX_SAMPLE", most)
        with pytest.raises(DataError, match="recurs"):
            tokenizers.fit("subword", lines, fraction=fraction)
    alphabet = len(set(lines[0].decode()) - {"\n"})
    wanted = [subwords.default_vocab_size(round(characters / part), alphabet) for part in (1.0, 1.0, 0.25)]
    assert wanted[2] > wanted[0] + 300
    assert [size - subwords._RESERVED for size in sizes] == wanted


def test_lines_are_thinned_until_they_have_few_distinct_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subwords, "_MAX_DISTINCT", 10)
    lines = [f"w{number:03} w000" for number in range(64)]
    assert subwords._thin(lines) == ["w000 w000", "w032 w000"]
    assert subwords._thin(["ab abc ab"] * 64) == ["ab abc ab"] * 64
    assert subwords._thin(["one long line of many words"]) == ["one long line of many words"]
