"""Evaluation of text: what the baselines have read before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seqgen
from seqgen.api.sources import open_sources
from seqgen.checkpoint import Checkpoint
from seqgen.corpus.sources import Spool
from seqgen.evaluation.baselines import compressors
from tests.helpers.model_zoo import CORPORA, TINY
from tests.helpers.running import prose

OPTIONS: dict[str, Any] = {**TINY, "embedding_size": 4, "task": "text", "steps": 1}


@pytest.fixture
def read_before(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The training text that the baselines of each evaluation were given."""
    found: list[bytes] = []

    def note(records: list[bytes], training_text: bytes, tally: object) -> dict[str, dict[str, float]]:
        found.append(training_text)
        return {"xz": {"read_the_training_text": float(bool(training_text))}}

    monkeypatch.setattr(compressors, "baselines", note)
    return found


@pytest.fixture
def other(tmp_path: Path) -> str:
    (tmp_path / "other.txt").write_text(prose(3, seed=5))
    return str(tmp_path / "other.txt")


def test_evaluate_baselines_read_what_the_model_has_learnt(
    model_copy: Path, text_file: Path, other: str, read_before: list[bytes]
) -> None:
    """Of a model that has learnt its held-out part too, all of the text."""
    config = json.loads((model_copy / "config.json").read_text())
    for finished in ({"steps": 3, "epochs": 1.0}, None):
        (model_copy / "config.json").write_text(json.dumps({**config, "finished": finished}))
        seqgen.load(model_copy).evaluate(other)
    whole = text_file.read_bytes()
    assert read_before[0] == whole
    assert read_before[1] == whole[: len(read_before[1])] and 0.89 < len(read_before[1]) / len(whole) < 0.91


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_evaluate_baselines_read_the_rows_of_a_column(suffix: str, tmp_path: Path, read_before: list[bytes]) -> None:
    """The model has a document of them, which no file is; other rows, or other files, are not read for it."""
    pytest.importorskip("datasets")
    import pyarrow
    from pyarrow import csv, parquet

    path, other = tmp_path / f"table.{suffix}", tmp_path / f"other.{suffix}"

    def write(texts: list[str], path: Path) -> None:
        table = pyarrow.table({"id": list(range(len(texts))), "body": texts})
        if suffix == "csv":
            csv.write_csv(table, path)
        elif suffix == "parquet":
            parquet.write_table(table, path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))

    texts = [prose(1, seed=number).strip() for number in range(8)]
    write(texts, path)
    write(["It rained."], other)
    seqgen.train(str(path), tmp_path / "m", text_column="body", finish=False, val_fraction=0, **OPTIONS)
    model = seqgen.load(tmp_path / "m")
    model.evaluate(str(other))
    write([*texts, "one more"], path)
    model.evaluate(str(other))
    path.unlink()
    model.evaluate(str(other))
    assert [len(text) > 0 for text in read_before] == [True, False, False]
    assert read_before[0].decode().split() == " ".join(texts).split()


def test_evaluate_baselines_read_a_packaged_corpus_by_its_name(
    model_copy: Path, other: str, read_before: list[bytes]
) -> None:
    config = json.loads((model_copy / "config.json").read_text())
    with Spool() as spool:
        (document,) = open_sources("text", ["tidewater"], spool)
    config["data"]["sources"] = [document.to_json()]
    (model_copy / "config.json").write_text(json.dumps(config))
    seqgen.load(model_copy).evaluate(other)
    assert read_before[0] and (CORPORA / "tidewater.txt").read_bytes().startswith(read_before[0])


def test_evaluate_again_reads_no_weights_again(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose samples are drawn with rounded weights made its exact engine at each call."""
    read: list[Checkpoint] = []

    def count(self: Checkpoint, weights: Callable[[Checkpoint], Any] = Checkpoint.all_weights) -> Any:
        read.append(self)
        return weights(self)

    monkeypatch.setattr(Checkpoint, "all_weights", count)
    model, source = seqgen.load(zoo["text"]), zoo["text"].parent / "words.txt"
    model.checkpoint.config["rounding_bits_per_token"] = 0.0
    first, again = (model.evaluate(source, baselines=False) for _ in range(2))
    assert len(read) == 1 and first["metrics"] == again["metrics"]
