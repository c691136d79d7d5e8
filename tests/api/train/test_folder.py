"""The model folder: when `train` may replace what it finds there."""

from __future__ import annotations

from pathlib import Path

import pytest

import seqgen
from seqgen import checkpoint
from seqgen.errors import UserError
from tests.helpers.training import TINY, file_contents


def test_model_folder_existing_model_needs_overwrite(model_copy: Path, text_file: Path) -> None:
    before = file_contents(model_copy)
    with pytest.raises(UserError, match="--overwrite"):
        seqgen.train(str(text_file), model_copy, steps=2, **TINY)
    with pytest.raises(UserError, match="--resume or --overwrite"):
        seqgen.train(str(text_file), model_copy, steps=2, resume=True, overwrite=True, **TINY)
    assert file_contents(model_copy) == before


def test_model_folder_with_other_files_is_refused(text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "dear.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="has files that are not a model"):
            seqgen.train(str(text_file), folder, steps=2, overwrite=overwrite, **TINY)
    with pytest.raises(UserError, match="is a file"):
        seqgen.train(str(text_file), folder / "dear.txt", steps=2, overwrite=True, **TINY)
    assert [path.name for path in folder.iterdir()] == ["dear.txt"]


def test_model_folder_overwrite_replaces_every_file(model_copy: Path, text_file: Path) -> None:
    (model_copy / "tokenizer.model").write_bytes(b"left by a subword model")
    seqgen.train(str(text_file), model_copy, steps=2, tokenizer="byte", overwrite=True, **TINY)
    assert not (model_copy / "tokenizer.model").exists()
    assert [record["step"] for record in checkpoint.read_metrics(model_copy)] == [1, 2]
    assert seqgen.load(model_copy).codec.name == "byte"
    assert [path.name for path in model_copy.parent.iterdir() if path.name.endswith(".part")] == []
