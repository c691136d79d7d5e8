"""The starter reviews in Chinese: format, balance and distinctness."""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from seqgen.corpus.labelled.read import looks_like_labelled_texts

FILE = Path(__file__).resolve().parents[3] / "corpora" / "pinglun.csv"


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def pairs(text: str) -> set[str]:
    return {a + b for a, b in pairwise(text)}


def test_pinglun_is_utf_8_with_one_review_per_line(rows: list[list[str]]) -> None:
    data = FILE.read_bytes()
    assert not data.startswith(b"\xef\xbb\xbf")
    assert all(line.isprintable() for line in data.decode("utf-8").split("\n"))
    assert data.count(b"\n") == len(rows) == 1005
    again = io.StringIO()
    csv.writer(again, lineterminator="\n").writerows(rows)
    assert again.getvalue() == data.decode("utf-8")


def test_pinglun_has_two_equal_classes(rows: list[list[str]]) -> None:
    assert rows[0] == ["文本", "标签"]
    assert Counter(label for _, label in rows[1:]) == {"好评": 502, "差评": 502}
    runs = [len(list(run)) for _, run in groupby(label for _, label in rows[1:])]
    assert 430 < len(runs) < 575  # 503 are expected in shuffled order
    assert max(runs) < 16


def test_pinglun_reviews_are_complete_sentences(rows: list[list[str]]) -> None:
    for text, _ in rows[1:]:
        assert text == text.strip()
        assert 5 <= len(text) <= 120, text
        assert sum("\u4e00" <= letter <= "\u9fff" for letter in text) >= 0.6 * len(text), text
        assert not {"好评", "差评"} & {text}


def test_pinglun_reviews_are_distinct(rows: list[list[str]]) -> None:
    texts = [text for text, _ in rows[1:]]
    assert len(set(texts)) == len(texts)
    sets = [pairs(text) for text in texts]
    for number, own in enumerate(sets):
        for other in sets[:number]:
            assert len(own & other) <= 0.6 * min(len(own), len(other)) or min(len(own), len(other)) < 12


def test_pinglun_columns_are_in_the_catalogue(rows: list[list[str]]) -> None:
    assert looks_like_labelled_texts(FILE)
