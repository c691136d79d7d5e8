"""`train --resume` with sources that were moved, renamed, changed or cut since the run began."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen import checkpoint
from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.labelled import read
from seqgen.corpus.labelled.read import Example
from seqgen.errors import UserError
from seqgen.time_limit import TimeLimit
from tests.helpers.training import saved_weights

CLASSIFY: dict[str, Any] = {
    "task": "classify", "tokenizer": "byte", "rnn_size": 8, "embedding_size": 4, "precision": "fp32", "threads": 1,
    "seed": 3,
}  # fmt: skip
both = pytest.mark.parametrize("options", [{**CLASSIFY, "ngrams": 0}, {**CLASSIFY, "generative": True}])
MOODS = {"neg": "a bad and awful day number", "pos": "a fine and good day number"}


def classes(folder: Path, names: dict[str, str]) -> list[str]:
    """Folders of texts for each class, called as `names` say; the names of the folders in the order of the classes."""
    for mood, text in MOODS.items():
        for number in range(20):
            path = folder / names.get(mood, mood) / f"{number:02}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text} {number}\n")
    return [str(folder / names.get(mood, mood)) for mood in MOODS]


@both
def test_resume_keeps_the_labels_of_folders_that_were_renamed(options: dict[str, Any], tmp_path: Path) -> None:
    sources = classes(tmp_path / "one", {})
    for name in ("whole", "renamed"):
        seqgen.train(sources, tmp_path / name, steps=3, **options)
    seqgen.train([], tmp_path / "whole", resume=True, steps=6)
    seqgen.train(classes(tmp_path / "two", {"neg": "x", "pos": "a"}), tmp_path / "renamed", resume=True, steps=6)
    assert checkpoint.load(tmp_path / "renamed").network.labels == ("neg", "pos")  # type: ignore[union-attr]
    assert saved_weights(tmp_path / "renamed") == saved_weights(tmp_path / "whole")


def test_resume_with_a_class_in_two_folders_goes_on(tmp_path: Path) -> None:
    sources = classes(tmp_path / "one", {})
    seqgen.train(sources, tmp_path / "m", steps=3, **CLASSIFY)
    first, second = classes(tmp_path / "two", {})
    (tmp_path / "two" / "ante").mkdir()
    for number in range(5):
        Path(first, f"{number:02}.txt").rename(tmp_path / "two" / "ante" / f"{number:02}.txt")
    seqgen.train([str(tmp_path / "two" / "ante"), first, second], tmp_path / "m", resume=True, steps=4)
    assert checkpoint.read_metrics(tmp_path / "m")[-1]["step"] == 4


@both
def test_resume_refuses_sources_that_are_read_with_other_labels(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another version of seqgen might read them."""
    seqgen.train(classes(tmp_path / "texts", {}), tmp_path / "m", steps=2, **options)
    monkeypatch.setattr(
        read, "_from_folder", lambda document, report: iter([Example(document.name, (document.name[-5],), "")])
    )
    with pytest.raises(UserError, match="labels that the run began with: now 0, 1, 2, 3, 4, then neg, pos"):
        seqgen.train([], tmp_path / "m", resume=True, steps=3)


def test_resume_keeps_the_scaling_of_tables_that_were_renamed(tmp_path: Path) -> None:
    random = np.random.Generator(np.random.Philox(key=1))
    tables: dict[str, list[str]] = {"first": [], "second": []}
    for old, new in (("a", "x"), ("b", "y")):
        values = random.normal(size=80).cumsum()
        lines = "".join(f"2020-{1 + row // 28:02}-{1 + row % 28:02},{value:.3f}\n" for row, value in enumerate(values))
        for folder, name in (("first", old), ("second", new)):
            path = tmp_path / folder / f"{name}.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("date,value\n" + lines)
            tables[folder].append(str(path))
    options: dict[str, Any] = {"task": "forecast", "rnn_size": 8, "threads": 1, "horizon": 4, "finish": False}
    for name in ("whole", "renamed"):
        seqgen.train(tables["first"], tmp_path / name, steps=2, **options)
    seqgen.train([], tmp_path / "whole", resume=True, steps=4)
    seqgen.train(tables["second"], tmp_path / "renamed", resume=True, steps=4)
    assert saved_weights(tmp_path / "renamed") == saved_weights(tmp_path / "whole")


def test_resume_tells_a_source_from_a_validation_set(tmp_path: Path, text_file: Path) -> None:
    """The same files in the same order, otherwise divided."""
    text = text_file.read_text()
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(text[number * 3000 :][:3000])
    names = [str(tmp_path / f"{number}.txt") for number in range(3)]
    options: dict[str, Any] = {"rnn_size": 8, "embedding_size": 4, "tokenizer": "byte", "threads": 1}
    seqgen.train(names[:2], tmp_path / "m", valid=names[2:], steps=2, **options)
    with pytest.raises(UserError, match="not those that the run began with"):
        seqgen.train(names[:1], tmp_path / "m", valid=names[1:], resume=True, steps=3)


@both
def test_resume_keeps_the_stop_words_that_the_run_began_with(options: dict[str, Any], tmp_path: Path) -> None:
    sources, words = classes(tmp_path / "texts", {}), tmp_path / "words.txt"
    for name in ("whole", "changed", "gone"):
        words.write_text("day\nand\n")
        seqgen.train(sources, tmp_path / name, steps=2, stop_words=str(words), **options)
        if name == "changed":
            words.write_text("awful\n")
        elif name == "gone":
            words.unlink()
        seqgen.train([], tmp_path / name, resume=True, steps=4)
        assert saved_weights(tmp_path / name) == saved_weights(tmp_path / "whole")


def test_resume_of_sources_that_a_budget_cut_needs_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all of the sources would be read, with letters that the network doesn't have."""
    lines = [
        json.dumps({"turns": [f"{number} abc", f"{'abc' if number < 30 else 'xyz'} {number}"]}) for number in range(60)
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(lines) + "\n")
    with monkeypatch.context() as patch:
        patch.setattr(TimeLimit, "until_over", lambda limit, items: itertools.islice(items, 20))
        seqgen.train(
            str(tmp_path / "talks.jsonl"), tmp_path / "m", task="dialogue", tokenizer="char", steps=2, rnn_size=8,
            threads=1,
        )  # fmt: skip
    seqgen.train([], tmp_path / "m", resume=True, steps=3)
    shutil.rmtree(cache_folder() / "ids")
    with pytest.raises(UserError, match="the run began with other tokens of these sources"):
        seqgen.train([], tmp_path / "m", resume=True, steps=4)
