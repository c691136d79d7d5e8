"""`seqgen tokenize`: ids and pieces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import seqgen
from tests.helpers.running import MIXED_BYTES, Run, prose


@pytest.mark.parametrize("kind", ["MODEL", "char", "byte", "subword"])
def test_tokenize_ids_and_pieces_are_the_text(run: Run, model_folder: Path, tmp_path: Path, kind: str) -> None:
    text = prose(60).encode() + MIXED_BYTES + b"\r\n\0"
    source = tmp_path / "text"
    source.write_bytes(text)
    which = model_folder if kind == "MODEL" else kind
    lines = run("tokenize", which, source).out.decode().splitlines()
    assert len(lines) == 1, "a line a document"
    ids = [int(word) for word in lines[0].split(" ")]
    pieces = [json.loads(line) for line in run("tokenize", which, source, "--pieces").out.splitlines()]
    assert len(pieces) == len(ids)
    assert b"".join(piece.encode("utf-8", "surrogateescape") for piece in pieces) == text
    assert "every byte came back" in run("tokenize", which, source, "--check").out.decode()
    if kind == "MODEL":
        from seqgen.tokenizers import decode

        assert decode(seqgen.load(model_folder).codec, ids) == text
    if kind == "byte":
        assert bytes(ids) == text


def test_tokenize_documents_separately(run: Run, model_folder: Path, two_files: Path) -> None:
    result = run("tokenize", model_folder, two_files / "a.txt", two_files / "more" / "b.txt", "-", stdin=b"the end")
    first, second, third = result.out.splitlines()
    assert run("tokenize", model_folder, stdin=b"the end").out == third + b"\n"
    assert run("tokenize", model_folder, two_files / "more" / "b.txt").out == second + b"\n"
    assert len(first.split()) == (two_files / "a.txt").stat().st_size


def test_tokenize_vocab_size(run: Run, text_file: Path) -> None:
    said = run("tokenize", "subword", text_file, "--vocab-size", 320, "--check").out.decode()
    assert "vocabulary size 3" in said
    many, few = (
        len(run("tokenize", "subword", text_file, "--vocab-size", size).out.split()) for size in (300, 400)
    )  # fmt: skip
    assert few < many
