"""Difficult texts and bytes for tokenizers, and checks of ids."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import settings

from seqgen.config import TOKENIZER_NAMES
from seqgen.tokenizers import Codec, Ids
from tests.helpers.running import prose

TOKENIZERS = list(TOKENIZER_NAMES)  # of text

QUICK = settings(max_examples=60, deadline=None)

FAMILY = "👩\u200d👩\u200d👧\u200d👦"

CHINESE = "月落烏啼霜滿天，江楓漁火對愁眠。"

# Text and invalid UTF-8 that careless tokenizers get wrong.
DIFFICULT_PIECES = [
    *(
        text.encode()
        for text in (
            FAMILY, CHINESE, "\r\n", "\n", "\r", "\0", "\t", " ", "  ", "\u2581", "\u2581a", "e\u0301", "\u00e9",
            "\ufb01", "\u00a0", "\u3000", "\u2028", "\u0085", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\x1b[31m",
            "\x7f", "<0x41>", "<0xFF>", "<unk>", "<s>", "</s>", "<pad>", "1234567890", "the quay ",
        )
    ),
    b"\xed\xa0\x80",  # a lone surrogate, encoded like a character
    b"\xed\xa0\xbd\xed\xb8\x80",  # a surrogate pair (CESU-8)
    b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x82\x82\xac",  # overlong encodings
    b"\xe4\xb8", b"\xf0\x9f\x98", b"\xc3",  # truncated
    b"\x80", b"\xbf\xbf\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\xfe\xff",
]  # fmt: skip

FITTED_ON = f"{prose(200)}{CHINESE * 3}\n{FAMILY * 2} 1984 1985\r\n".encode() + b"\xff\xff Latin-1: caf\xe9\n"


def join_pieces(codec: Codec, ids: Iterable[int]) -> bytes:
    """Decode `ids` by `pieces()`, independently of the decoder."""
    bytes_of = [
        b"" if piece is None else bytes([piece]) if isinstance(piece, int) else piece.encode()
        for piece in codec.pieces()
    ]
    return b"".join([bytes_of[token] for token in ids])


def check_ids(codec: Codec, data: bytes, ids: Ids) -> None:
    """Assert that `ids` are a valid encoding of `data`."""
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert not len(ids) or (ids.min() >= 0 and ids.max() < codec.vocab_size)
    assert codec.end not in ids
    control = [token for token, piece in enumerate(codec.pieces()) if piece is None]
    assert not np.isin(ids, control).any()
    assert join_pieces(codec, ids.tolist()) == data


def is_one_line(error: pytest.ExceptionInfo[BaseException]) -> bool:
    message = str(error.value)
    return bool(message) and "\n" not in message and len(message) < 300


# 奇 and ü occur once, so that a char tokenizer spells them in bytes.
PASSAGE = "Call me Ishmael. 世界世界\r\nSome  years\tago — never mind\r\nhow long\n奇ü 😀😀 precisely\n".encode()
