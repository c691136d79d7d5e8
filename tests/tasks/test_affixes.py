"""Prefixes and suffixes of words in the linear model beside a classifier: where texts are short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen.training.plans.classification import longest_affix
from tests.helpers.training import saved_weights

OPTIONS: dict[str, Any] = {
    "task": "classify", "tokenizer": "byte", "rnn_size": 8, "embedding_size": 8, "precision": "fp32", "threads": 1,
    "steps": 2, "ngrams": 1,
}  # fmt: skip


def test_longest_affix_counts_in_short_texts_only() -> None:
    assert longest_affix(100) == 5
    assert longest_affix(1300) == 0


def network(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config["network"]  # type: ignore[no-any-return]


def write(path: Path, endings: list[str], repeated: int = 1) -> str:
    """Texts whose verbs take these endings, in turn, and whose label is the verb."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(60):
        verb, filler = ("enjoy", "loath")[number % 2], " ".join(f"w{n}" for n in random.integers(30, size=4))
        text = f"{filler} {verb}{endings[number // 2 % len(endings)]} " * repeated
        rows.append({"text": text, "label": verb})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_train_inflections_that_were_not_learnt_are_classified_by_their_stem(tmp_path: Path) -> None:
    source = write(tmp_path / "short.jsonl", ["ing", "able"])
    model = seqgen.train(source, tmp_path / "m", **OPTIONS)
    assert network(tmp_path / "m")["affixes"] == 5
    assert [one.label for one in model.classify([b"we enjoyed it", b"they loathsomely"])] == ["enjoy", "loath"]
    (explained,) = model.classify([b"w2 w3. w1 enjoyed."], explain=True)
    assert max(explained.sentences, key=lambda one: one[1])[0].strip() == b"w1 enjoyed."
    long = write(tmp_path / "long.jsonl", ["ing", "able"], repeated=40)
    seqgen.train(long, tmp_path / "long", **OPTIONS)
    assert network(tmp_path / "long")["affixes"] == 0


def test_resume_model_from_before_affixes_keeps_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its further networks hold out other texts, whose logits by the linear model need the first one's features."""
    source = write(tmp_path / "short.jsonl", ["ing", "able"])
    with monkeypatch.context() as patched:
        patched.setattr("seqgen.training.plans.classification.longest_affix", lambda size: 0)
        seqgen.train(source, tmp_path / "old", **OPTIONS)
        seqgen.train(source, tmp_path / "wanted", **OPTIONS, members=2)
    path = tmp_path / "old" / "config.json"
    config = json.loads(path.read_text())
    del config["network"]["affixes"]
    path.write_text(json.dumps(config))
    seqgen.train(source, tmp_path / "old", resume=True, members=2)
    assert saved_weights(tmp_path / "old") == saved_weights(tmp_path / "wanted")
