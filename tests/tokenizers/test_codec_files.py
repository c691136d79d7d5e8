"""Damaged tokenizer files raise `ModelError`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen import tokenizers
from seqgen.errors import ModelError
from seqgen.tokenizers import Codec
from tests.helpers.texts import DIFFICULT_PIECES, FAMILY, FITTED_ON, QUICK, check_ids, is_one_line

# ---- Damaged files ----

PIECES: list[Any] = ["a", *range(256)]


def char_file(**changes: Any) -> bytes:
    data = {"kind": "char", "seen": 2, "pieces": PIECES, **changes}
    return json.dumps({key: value for key, value in data.items() if value is not ...}).encode()


DAMAGED = {
    "empty": b"",
    "no JSON": b"kind: char",
    "half": char_file()[:100],
    "two": char_file() * 2,
    "no UTF-8": b'{"kind":"char\xff"}',
    "deep": b"[" * 100_000,
    "a number too long": b'{"kind":"char","seen":' + b"9" * 5000 + b',"pieces":[]}',
    "a list": b"[]",
    "null": b"null",
    "a string": b'"char"',
    "a number": b"1",
    "no kind": b'{"pieces":[]}',
    "kind a number": b'{"kind":3}',
    "kind null": b'{"kind":null}',
    "kind a list": b'{"kind":["char"]}',
    "kind unknown": b'{"kind":"bpe"}',
    "kind empty": b'{"kind":""}',
    "kind a module": b'{"kind":"os:system"}',
    "no pieces": char_file(pieces=...),
    "pieces null": char_file(pieces=None),
    "pieces a string": char_file(pieces="abc"),
    "pieces an object": char_file(pieces={"a": 1}),
    "pieces a number": char_file(pieces=256),
    "pieces empty": char_file(pieces=[], seen=1),
    "piece null": char_file(pieces=[*PIECES, None]),
    "piece a bool": char_file(pieces=["a", 0, True, *range(2, 256)]),
    "piece a float": char_file(pieces=["a", 0, 1.0, *range(2, 256)]),
    "piece a fraction": char_file(pieces=[*PIECES, 0.5]),
    "piece a list": char_file(pieces=[*PIECES, ["b"]]),
    "piece an object": char_file(pieces=[*PIECES, {}]),
    "piece below a byte": char_file(pieces=[*PIECES, -1]),
    "piece above a byte": char_file(pieces=[*PIECES, 256]),
    "piece of two characters": char_file(pieces=[*PIECES, "bc"]),
    "piece of none": char_file(pieces=[*PIECES, ""]),
    "piece of a family": char_file(pieces=[*PIECES, FAMILY]),
    "piece of a lone surrogate": char_file(pieces=[*PIECES, "\ud800"]),
    "a byte missing": char_file(pieces=PIECES[:-1]),
    "a byte twice": char_file(pieces=[*PIECES, 65]),
    "a character twice": char_file(pieces=[*PIECES, "a"]),
    "no seen": char_file(seen=...),
    "seen null": char_file(seen=None),
    "seen a string": char_file(seen="2"),
    "seen a float": char_file(seen=2.0),
    "seen NaN": char_file(seen=float("nan")),
    "seen a bool": char_file(seen=True),
    "seen zero": char_file(seen=0),
    "seen below zero": char_file(seen=-1),
    "seen above all": char_file(seen=len(PIECES) + 2),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=list(DAMAGED))
def test_parse_of_a_damaged_file_raises_model_error(data: bytes) -> None:
    with pytest.raises(ModelError) as error:
        tokenizers.parse({"tokenizer.json": data})
    assert is_one_line(error)


def test_parse_of_the_undamaged_file_succeeds() -> None:
    assert tokenizers.parse({"tokenizer.json": char_file()}).encode(b"ab").tolist() == [1, 2 + ord("b")]


def test_parse_without_a_file_raises_model_error() -> None:
    with pytest.raises(ModelError) as error:
        tokenizers.parse({})
    assert is_one_line(error)


@QUICK
@given(data=st.binary(max_size=300))
def test_parse_of_random_bytes_raises_model_error(data: bytes) -> None:
    with pytest.raises(ModelError):
        tokenizers.parse({"tokenizer.json": data})


def subword_files(codecs: dict[str, Codec], **changes: Any) -> dict[str, bytes]:
    """The files of the subword codec; `model` changes tokenizer.model, the rest tokenizer.json."""
    files = tokenizers.dump(codecs["subword"])
    model = changes.pop("model", files["tokenizer.model"])
    data = {**json.loads(files["tokenizer.json"]), **changes}
    saved = {key: value for key, value in data.items() if value is not ...}
    return {"tokenizer.json": json.dumps(saved).encode(), **({} if model is ... else {"tokenizer.model": model})}


@pytest.mark.parametrize("size", [..., None, "259", 0, -1, 258, 1 << 40, 0.5, [], {}])
def test_parse_of_a_subword_model_of_another_size_raises_model_error(codecs: dict[str, Codec], size: Any) -> None:
    with pytest.raises(ModelError) as error:
        tokenizers.parse(subword_files(codecs, vocab_size=size))
    assert is_one_line(error)


def test_parse_of_a_damaged_sentencepiece_model_raises_model_error(codecs: dict[str, Codec]) -> None:
    model = subword_files(codecs)["tokenizer.model"]
    cuts = [*range(0, len(model), 97), len(model) - 1, len(model) - 2]
    damaged = [..., *(model[:cut] for cut in cuts), model[1:], model * 2, b"\0" * 64, b"\xff" * 64, b"{}"]
    for data in damaged:
        with pytest.raises(ModelError) as error:
            tokenizers.parse(subword_files(codecs, model=data))
        assert is_one_line(error)


@QUICK
@given(data=st.binary(max_size=300))
def test_parse_of_random_bytes_as_sentencepiece_model_raises_model_error(codecs: dict[str, Codec], data: bytes) -> None:
    with pytest.raises(ModelError):
        tokenizers.parse(subword_files(codecs, model=data))


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=3))
def test_parse_of_a_changed_sentencepiece_model_raises_or_is_lossless(
    codecs: dict[str, Codec], changes: list[tuple[int, int]]
) -> None:
    """A flipped bit may give another valid model, which must be lossless too."""
    model = bytearray(subword_files(codecs)["tokenizer.model"])
    for index, value in changes:
        model[-1 - index % len(model)] = value
    try:
        codec = tokenizers.parse(subword_files(codecs, model=bytes(model)))
    except ModelError:
        return
    for data in (FITTED_ON, b"".join(DIFFICULT_PIECES)):
        check_ids(codec, data, codec.encode(data))


def test_parse_of_an_unknown_tokenizer_raises_model_error() -> None:
    for name in ("bpe", "", "Char", "char "):
        with pytest.raises(ModelError, match="char, byte, subword") as error:
            tokenizers.fit(name, [b"text"])
        assert is_one_line(error)
