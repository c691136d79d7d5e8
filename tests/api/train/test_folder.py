"""The model folder: when `train` may replace what it finds there."""

from __future__ import annotations

from pathlib import Path

import pytest

import seqgen
from seqgen import checkpoint
from seqgen.errors import UserError
from tests.helpers.training import TINY, file_contents


def test_a_model_is_not_replaced_without_a_word(model_copy: Path, text_file: Path) -> None:
    before = file_contents(model_copy)
    with pytest.raises(UserError, match="--overwrite"):
        seqgen.train(str(text_file), model_copy, steps=2, **TINY)
    with pytest.raises(UserError, match="--resume or --overwrite"):
        seqgen.train(str(text_file), model_copy, steps=2, resume=True, overwrite=True, **TINY)
    assert file_contents(model_copy) == before


def test_a_folder_of_other_things_is_left_alone(text_file: Path, tmp_path: Path) -> None:
    place = tmp_path / "letters"
    place.mkdir()
    (place / "dear.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="has files that are not a model"):
            seqgen.train(str(text_file), place, steps=2, overwrite=overwrite, **TINY)
    with pytest.raises(UserError, match="is a file"):
        seqgen.train(str(text_file), place / "dear.txt", steps=2, overwrite=True, **TINY)
    assert [path.name for path in place.iterdir()] == ["dear.txt"]


def test_overwrite_leaves_nothing_of_the_old_model(model_copy: Path, text_file: Path) -> None:
    (model_copy / "tokenizer.model").write_bytes(b"left by a subword model")
    seqgen.train(str(text_file), model_copy, steps=2, tokenizer="byte", overwrite=True, **TINY)
    assert not (model_copy / "tokenizer.model").exists()
    assert [record["step"] for record in checkpoint.read_metrics(model_copy)] == [1, 2]
    assert seqgen.load(model_copy).codec.name == "byte"
    assert [path.name for path in model_copy.parent.iterdir() if path.name.endswith(".part")] == []
