"""The codec of labelled texts: no text forges a label."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen import tokenizers
from seqgen.errors import ModelError
from seqgen.tokenizers.characters import ByteCodec
from seqgen.tokenizers.labelled import LabelledCodec


@given(st.binary(max_size=60), st.integers(0, 2))
def test_no_text_forges_a_label_and_labels_write_nothing(data: bytes, label: int) -> None:
    codec = LabelledCodec(ByteCodec(), 3)
    ids = codec.encode(data)
    assert (ids >= 3).all()
    assert (ids != codec.end).all()
    assert tokenizers.decode(codec, [label, *ids.tolist()]) == data


def test_its_file_to_the_byte() -> None:
    codec = LabelledCodec(ByteCodec(), 3)
    files = tokenizers.dump(codec)
    assert files == {"tokenizer.json": b'{"kind":"labelled","labels":3,"text":{"kind":"byte"}}\n'}
    again = tokenizers.parse(files)
    assert (again.vocab_size, again.end, again.num_seen()) == (codec.vocab_size, codec.end, codec.num_seen())
    assert again.pieces()[:3] == [None] * 3
    assert len(again.pieces()) == again.vocab_size


@pytest.mark.parametrize(
    "damaged",
    [
        {"labels": 3},
        {"labels": 3, "text": "byte"},
        {"labels": 3, "text": {"kind": "labelled", "labels": 2, "text": {"kind": "byte"}}},
        {"labels": True, "text": {"kind": "byte"}},
        {"labels": "3", "text": {"kind": "byte"}},
        {"labels": 1, "text": {"kind": "byte"}},
        {"labels": 1 << 40, "text": {"kind": "byte"}},
        {"text": {"kind": "byte"}},
    ],
)
def test_a_damaged_table_is_refused(damaged: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        tokenizers.parse({"tokenizer.json": json.dumps({"kind": "labelled", **damaged}).encode()})
