"""The starter reviews in English: format, balance and distinctness."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[3] / "corpora" / "reviews.csv"


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def test_reviews_is_utf_8_with_one_review_per_line() -> None:
    data = FILE.read_bytes()
    assert data.decode("utf-8").isprintable() is False  # because of line feeds only
    assert all(line.isprintable() for line in data.decode("utf-8").split("\n"))
    assert data.endswith(b"\n") and not data.endswith(b"\n\n")
    assert data.count(b"\n") == 601
    assert len(data) < 150_000


def test_reviews_has_600_texts_in_two_equal_classes(rows: list[list[str]]) -> None:
    assert rows[0] == ["text", "label"]
    assert all(len(row) == 2 for row in rows)
    assert Counter(label for _, label in rows[1:]) == {"positive": 300, "negative": 300}


def test_reviews_labels_are_shuffled(rows: list[list[str]]) -> None:
    runs = [len(list(run)) for _, run in groupby(label for _, label in rows[1:])]
    assert 250 < len(runs) < 350  # 301 are expected in shuffled order
    assert max(runs) < 15
    for start in range(1, 601, 100):
        assert 30 < sum(label == "positive" for _, label in rows[start : start + 100]) < 70


def test_reviews_texts_are_a_few_sentences(rows: list[list[str]]) -> None:
    for text, _ in rows[1:]:
        assert text == text.strip()
        assert 3 <= len(words(text)) <= 90, text
        assert "  " not in text


def test_reviews_texts_are_distinct(rows: list[list[str]]) -> None:
    texts = [" ".join(words(text)) for text, _ in rows[1:]]
    assert len(set(texts)) == 600
    shared: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        tokens = text.split()
        shared.update({tuple(tokens[at : at + 7]) for at in range(len(tokens) - 6)})
    assert max(shared.values()) == 1  # no run of seven words occurs twice: there are no templates
    assert len({" ".join(text.split()[:4]) for text in texts}) > 540


def test_reviews_texts_do_not_contain_their_label(rows: list[list[str]]) -> None:
    for text, _ in rows[1:]:
        assert not {"positive", "negative"} & set(words(text))


def test_reviews_use_csv_quoting(rows: list[list[str]]) -> None:
    texts = [text for text, _ in rows[1:]]
    assert sum('"' in text for text in texts) > 40  # doubled in the file
    assert sum("," in text for text in texts) > 200
    assert sum(not set(text) & set(',"') for text in texts) > 100  # without quotes
    again = io.StringIO()
    csv.writer(again, lineterminator="\n").writerows(rows)
    assert again.getvalue() == FILE.read_text(encoding="utf-8")
