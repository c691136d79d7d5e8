"""Which sentences made a label."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import numpy as np
import pytest

from seqgen.generation.classification.sentences import contributions, split_sentences


class WordCounter:
    """A classifier whose log-odds are the number of good words less that of bad ones, each in nats."""

    labels = ("bad", "good")

    def __call__(self, texts: Sequence[bytes]) -> np.ndarray:
        odds = np.array([text.count(b"good") - text.count(b"bad") for text in texts], dtype=np.float64)
        good = 1 / (1 + np.exp(-odds))
        return np.stack([1 - good, good], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One. Two!  Three? four", ["One. ", "Two!  ", "Three? ", "four"]),
        ("", [""]),
        ("  \n One. Two", ["  \n One. ", "Two"]),
        ("v1.5 costs $3.20.", ["v1.5 costs $3.20."]),
        ('He said "No!" Then he left...', ['He said "No!" ', "Then he left..."]),
        ("很好。不贵！“真的？”是的", ["很好。", "不贵！", "“真的？”", "是的"]),
        ("a<br /><br />b\nc", ["a<br />", "<br />", "b\n", "c"]),
        ("...? \n (!) \n\n.\n..", ["...? \n ", "(!) \n\n", ".\n", ".."]),
        ("\udcff bad. \udc80", ["\udcff bad. ", "\udc80"]),
    ],
)
def test_split_sentences_at_their_ends(text: str, wanted: list[str]) -> None:
    data = text.encode("utf-8", "surrogateescape")
    parts = split_sentences(data)
    assert b"".join(parts) == data
    assert parts == [part.encode("utf-8", "surrogateescape") for part in wanted]


def test_split_sentences_of_a_long_text_are_grouped() -> None:
    text = b"".join(b"sentence %d. " % number for number in range(1000))
    parts = split_sentences(text)
    assert b"".join(parts) == text
    assert len(parts) == 64
    assert max(map(len, parts)) < 1.3 * min(map(len, parts))


def test_contributions_are_the_log_odds_that_are_lost() -> None:
    texts = [b"good good. bad. nothing. good", b"bad. bad bad.", b""]
    classifier = WordCounter()
    found = list(contributions(classifier, texts, classifier(texts), multi=False))
    assert [[sentence.text for sentence in one] for one in found] == [
        [b"good good. ", b"bad. ", b"nothing. ", b"good"], [b"bad. ", b"bad bad."], [b""],
    ]  # fmt: skip
    values = [sentence.log_odds for sentence in itertools.chain(*found)]
    np.testing.assert_allclose(values, [2, -1, 0, 1, 1, 2, 0], atol=1e-4)
    several = list(contributions(classifier, texts, classifier(texts), multi=True))
    np.testing.assert_allclose(
        [s.log_odds for one in several for s in one], [s.log_odds for one in found for s in one], atol=1e-4
    )


@pytest.mark.parametrize("character", [" ", "."], ids=["space", "mark"])
def test_split_sentences_of_a_long_run_takes_linear_time(character: str) -> None:
    """A search began at each of its characters: 8,000 took 4 seconds."""
    text = f"a{character * 8000}b".encode()
    began = time.process_time()
    assert split_sentences(text) == [text]
    assert time.process_time() - began < 0.5
