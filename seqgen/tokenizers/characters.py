"""`char` and `byte`: one id a character, or one a byte.

A `char` vocabulary holds `end`, the characters that the training text has at least twice, and all 256 bytes. Anything
else is spelt in its UTF-8 bytes; so is what is not UTF-8 at all. A character met only once is treated as a stranger
on purpose: a text's hapaxes are the best estimate of how often an unknown character will come (Good, 1953), and
spelling them is how the network learns to spell. Ids are in order of falling frequency, bytes never met come last.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from seqgen.errors import ModelError
from seqgen.tokenizers.codec import END_OF_DOCUMENT, Ids, Utf8Decoder, utf8_prefix_length

_CODES = 0x110000
_ESCAPED = 0xDC00  # "surrogateescape" shows a byte b that is no UTF-8 as the code 0xDC00 + b
_MAX_VOCABULARY = 1 << 20


def code_points(text: str) -> np.ndarray:
    """Code points of `text`, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


class CharCodec:
    """One id for each known character, one for each byte (`kind = "char"`)."""

    name: ClassVar[str] = "char"
    end = 0

    def __init__(self, pieces: list[str | int], seen: int) -> None:
        """`pieces[i]` is what id i+1 stands for: a character, or a byte's value; `seen` as in `Codec.seen`."""
        values = {piece for piece in pieces if isinstance(piece, int)}
        if values != set(range(256)) or len(set(pieces)) != len(pieces):
            raise ModelError("tokenizer.json: pieces must hold each of the 256 bytes and each character once")
        self._pieces = pieces
        self._seen = seen
        self.vocab_size = len(pieces) + 1
        self._table = [b""] + [bytes([p]) if isinstance(p, int) else p.encode("utf-8") for p in pieces]
        # One look-up a character: the id of each code point, or -1 where it must be spelt.
        self._ids = np.full(_CODES, -1, dtype=np.int32)
        self._bytes = np.zeros(256, dtype=np.int32)
        for token, piece in enumerate(pieces, start=1):
            if isinstance(piece, int):
                self._bytes[piece] = token
            else:
                self._ids[ord(piece)] = token
        self._ids[_ESCAPED + 0x80 : _ESCAPED + 0x100] = self._bytes[0x80:]
        spelt = self._ids[:0x80] < 0
        self._ids[:0x80][spelt] = self._bytes[:0x80][spelt]

    @classmethod
    def fit(cls, chunks: Iterable[bytes]) -> CharCodec:
        """Counts the characters of a stream in one pass and flat memory."""
        counts = _count_characters(chunks)
        byte_counts = np.zeros(256, dtype=np.int64)
        byte_counts[0x80:] = counts[_ESCAPED + 0x80 : _ESCAPED + 0x100]
        counts[0xD800:0xE000] = 0
        for code in np.flatnonzero(counts == 1):
            np.add.at(byte_counts, list(chr(code).encode("utf-8")), 1)
        known = np.flatnonzero(counts > 1)
        known = known[np.argsort(-counts[known], kind="stable")][: _MAX_VOCABULARY - 257]
        weighed: list[tuple[int, str | int]] = [(int(counts[code]), chr(code)) for code in known]
        weighed += [(int(count), byte) for byte, count in enumerate(byte_counts) if count]
        weighed.sort(key=lambda item: -item[0])  # stable: ties stay in code order, characters first
        strangers = [byte for byte, count in enumerate(byte_counts) if not count]
        return cls([*(piece for _, piece in weighed), *strangers], seen=len(weighed) + 1)

    def extend(self, chunks: Iterable[bytes]) -> CharCodec:
        """This vocabulary, every id unchanged, with the further characters of another text behind it.

        All its ids count as seen: the other text may spell with bytes that the first never used.
        """
        counts = _count_characters(chunks)
        counts[0xD800:0xE000] = 0
        counts[[ord(piece) for piece in self._pieces if isinstance(piece, str)]] = 0
        new = np.flatnonzero(counts > 1)
        new = new[np.argsort(-counts[new], kind="stable")][: _MAX_VOCABULARY - self.vocab_size]
        pieces = [*self._pieces, *map(chr, new)]
        return CharCodec(pieces, seen=len(pieces) + 1)

    def encode(self, data: bytes) -> Ids:
        codes = code_points(data.decode("utf-8", "surrogateescape"))
        ids = self._ids[codes]
        missing = np.flatnonzero(ids < 0)
        if not missing.size:
            return ids
        return self._spell(codes, ids, missing)

    def _spell(self, codes: np.ndarray, ids: Ids, missing: np.ndarray) -> Ids:
        """`ids` with every missing one replaced by the ids of its character's bytes."""
        strange = codes[missing].astype(np.int64)
        lengths = np.ones(len(ids), dtype=np.int64)
        lengths[missing] = 2 + (strange >= 0x800) + (strange >= 0x10000)
        starts = np.cumsum(lengths) - lengths
        spelt = np.repeat(ids, lengths)
        for place in range(4):  # the place-th byte of every missing character that has one
            width = lengths[missing]
            has = width > place
            code, wide = strange[has], width[has]
            value = (code >> (6 * (wide - 1 - place))) & 0x3F | 0x80
            if place == 0:
                value = code >> (6 * (wide - 1)) | (0xF00 >> wide) & 0xFF
            spelt[starts[missing][has] + place] = self._bytes[value]
        return spelt

    def safe_prefix_length(self, data: bytes) -> int:
        return utf8_prefix_length(data)

    def decoder(self) -> Utf8Decoder:
        return Utf8Decoder(self._table)

    def pieces(self) -> list[str | int | None]:
        return [None, *self._pieces]

    def num_seen(self) -> int:
        return self._seen

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name, "seen": self._seen, "pieces": self._pieces}

    def files(self) -> dict[str, bytes]:
        return {}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes]) -> CharCodec:
        pieces, seen = data.get("pieces"), data.get("seen")
        if not isinstance(pieces, list) or not all(_is_piece(piece) for piece in pieces):
            raise ModelError("tokenizer.json: pieces must be a list of single characters and byte values")
        if type(seen) is not int or not 1 <= seen <= len(pieces) + 1:
            raise ModelError("tokenizer.json: seen must count some of the pieces")
        return cls(pieces, seen)


def _count_characters(chunks: Iterable[bytes]) -> np.ndarray:
    """How often each code point occurs in a stream; a byte that is no UTF-8 counts as its surrogate escape."""
    counts = np.zeros(_CODES, dtype=np.int64)
    utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in chunks:
        _count(counts, utf8.decode(chunk, final=chunk == END_OF_DOCUMENT))
    _count(counts, utf8.decode(b"", True))
    return counts


def _count(counts: np.ndarray, text: str) -> None:
    if text:
        found = np.bincount(code_points(text))
        counts[: len(found)] += found


def _is_piece(piece: object) -> bool:
    if isinstance(piece, str):
        return len(piece) == 1 and not 0xD800 <= ord(piece) < 0xE000
    return isinstance(piece, int) and not isinstance(piece, bool) and 0 <= piece < 256


class ByteCodec:
    """One id a byte (`kind = "byte"`): byte b is id b, `end` is 256."""

    name: ClassVar[str] = "byte"
    vocab_size = 257
    end = 256

    @classmethod
    def fit(cls, chunks: Iterable[bytes]) -> ByteCodec:
        for _ in chunks:  # nothing to learn, but a caller may count on its stream being read
            pass
        return cls()

    def extend(self, chunks: Iterable[bytes]) -> ByteCodec:
        return self.fit(chunks)

    def encode(self, data: bytes) -> Ids:
        return np.frombuffer(data, dtype=np.uint8).astype(np.int32)

    def safe_prefix_length(self, data: bytes) -> int:
        return len(data)

    def decoder(self) -> Utf8Decoder:
        return Utf8Decoder([bytes([value]) for value in range(256)] + [b""])

    def pieces(self) -> list[str | int | None]:
        return [*range(256), None]

    def num_seen(self) -> int:
        return self.vocab_size

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name}

    def files(self) -> dict[str, bytes]:
        return {}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes]) -> ByteCodec:
        return cls()
