"""Untrusted files of SentencePiece: what seqgen never writes doesn't reach the C++ library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seqgen.errors import ModelError
from seqgen.tokenizers import piece_file
from seqgen.tokenizers.subwords import SubwordCodec

NORMALIZER = b"\n\x08identity"
NAN = b"\x15\x00\x00\xc0\x7f"
Change = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def model(zoo: dict[str, Path]) -> bytes:
    return (zoo["subword"] / "tokenizer.model").read_bytes()


def field(number: int, value: bytes) -> bytes:
    """A field of bytes, of any length."""
    length, size = b"", len(value)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def without_normalizer(data: bytes) -> bytes:
    return data[: data.index(NORMALIZER) - 2]


CHANGES: list[tuple[str, Change, str]] = [
    ("rules", lambda m: without_normalizer(m) + field(3, NORMALIZER + field(2, b"\xff\xff\xff\x7fab")), "normalises"),
    ("rules of denormalisation", lambda m: m + field(5, field(2, b"\0\0\0\0")), "field 5"),
    ("tests of its own", lambda m: m + field(4, b""), "field 4"),
    ("two of them", lambda m: m + field(3, NORMALIZER), "field 3 twice"),
    ("pairs of bytes", lambda m: m.replace(b"\x18\x01 ", b"\x18\x02 ", 1), "no unigram model"),
    ("a long piece", lambda m: m + field(1, field(1, b"a" * 1000)), "a piece of 1,003 bytes"),
    ("an odd score", lambda m: m + field(1, field(1, b"qqq") + NAN + b"\x18\x01"), "not finite|NaN or Inf"),
    ("an odd type", lambda m: b"\x08\x01" + m, "field 1"),
    ("a piece twice", lambda m: m + field(1, field(1, b"\n") + b"\x18\x01"), "damaged"),
    ("an odd byte", lambda m: m.replace(b"<0x41>", b"<0xZZ>"), "damaged"),
    ("half of it", lambda m: m[:-3], "truncated"),
    ("an endless integer", lambda m: b"\xff" * 100, "truncated"),
    ("a length beyond its end", lambda m: b"\n" + b"\xff" * 8 + b"\x7f", "truncated"),
    ("a group", lambda m: m + b"\x0b", "unknown type"),
    ("nothing", lambda m: b"", "damaged|no pieces"),
]


@pytest.mark.parametrize(("change", "said"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_piece_file_that_seqgen_never_writes_is_refused(change: Change, said: str, model: bytes) -> None:
    changed = change(model)
    assert changed != model
    with pytest.raises(ModelError, match=said):
        SubwordCodec(changed)


def test_piece_file_of_seqgen_is_read(model: bytes) -> None:
    piece_file.check(model)
    assert SubwordCodec(without_normalizer(model) + field(3, NORMALIZER)).vocab_size == SubwordCodec(model).vocab_size
