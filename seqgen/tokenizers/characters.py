"""`char` and `byte`: one id per character, or one per byte.

A `char` vocabulary has `end`, the characters that occur at least twice in the training text, and all 256 bytes. Any
other character is encoded as its UTF-8 bytes; so is invalid UTF-8. A character that occurs once counts as unknown on
purpose: the number of hapaxes is the best estimate of how often an unknown character will occur (Good, 1953), and the
network learns from them how to write one in bytes. Ids are in order of falling frequency; unseen bytes come last.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from seqgen.errors import ModelError
from seqgen.tokenizers.codec import END_OF_DOCUMENT, Codec, Ids, Utf8Decoder, piece_bytes, utf8_prefix_length

_CODES = 0x110000
_ESCAPED = 0xDC00  # "surrogateescape" decodes an invalid byte b to the code point 0xDC00 + b
_MAX_VOCABULARY = 1 << 20


def code_points(text: str) -> np.ndarray:
    """Return the code points of `text`, uint32, shape (characters,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


class CharCodec(Codec):
    """One id for each known character and one for each byte."""

    name: ClassVar[str] = "char"
    end = 0

    def __init__(self, pieces: list[str | int], seen: int) -> None:
        """`pieces[i]` is what id i + 1 stands for, a character or a byte's value; `seen` as in `Codec.num_seen`."""
        values = {piece for piece in pieces if isinstance(piece, int)}
        if values != set(range(256)) or len(set(pieces)) != len(pieces):
            raise ModelError("tokenizer.json: pieces must hold each of the 256 bytes and each character once")
        self._pieces = pieces
        self._seen = seen
        self.vocab_size = len(pieces) + 1
        self._table = [b"", *map(piece_bytes, pieces)]
        # The id of each code point, or -1 if it must be encoded as bytes.
        self._ids = np.full(_CODES, -1, dtype=np.int32)
        self._bytes = np.zeros(256, dtype=np.int32)
        for token, piece in enumerate(pieces, start=1):
            if isinstance(piece, int):
                self._bytes[piece] = token
            else:
                self._ids[ord(piece)] = token
        self._ids[_ESCAPED + 0x80 : _ESCAPED + 0x100] = self._bytes[0x80:]
        unknown = self._ids[:0x80] < 0
        self._ids[:0x80][unknown] = self._bytes[:0x80][unknown]

    @classmethod
    def fit(cls, chunks: Iterable[bytes]) -> CharCodec:
        """Fit a vocabulary on a stream, in one pass and constant memory."""
        counts = _count_characters(chunks)
        byte_counts = np.zeros(256, dtype=np.int64)
        byte_counts[0x80:] = counts[_ESCAPED + 0x80 : _ESCAPED + 0x100]
        counts[0xD800:0xE000] = 0
        for code in np.flatnonzero(counts == 1):
            np.add.at(byte_counts, list(chr(code).encode("utf-8")), 1)
        known = np.flatnonzero(counts > 1)
        known = known[np.argsort(-counts[known], kind="stable")][: _MAX_VOCABULARY - 257]
        counted: list[tuple[int, str | int]] = [(int(counts[code]), chr(code)) for code in known]
        counted += [(int(count), byte) for byte, count in enumerate(byte_counts) if count]
        counted.sort(key=lambda item: -item[0])  # stable: ties stay in code order, characters first
        unseen = [byte for byte, count in enumerate(byte_counts) if not count]
        return cls([*(piece for _, piece in counted), *unseen], seen=len(counted) + 1)

    def extend(self, chunks: Iterable[bytes]) -> CharCodec:
        """Return this vocabulary with the new characters of another text appended; reads the stream to its end.

        All ids count as seen, because the other text may need bytes that the first never used.
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
        return self._encode_as_bytes(codes, ids, missing)

    def _encode_as_bytes(self, codes: np.ndarray, ids: Ids, missing: np.ndarray) -> Ids:
        """`ids` with each missing one replaced by the ids of its character's UTF-8 bytes."""
        unknown = codes[missing].astype(np.int64)
        lengths = np.ones(len(ids), dtype=np.int64)
        lengths[missing] = 2 + (unknown >= 0x800) + (unknown >= 0x10000)
        starts = np.cumsum(lengths) - lengths
        result = np.repeat(ids, lengths)
        for index in range(4):  # the byte of this index, of every missing character that has one
            width = lengths[missing]
            has = width > index
            code, wide = unknown[has], width[has]
            value = (code >> (6 * (wide - 1 - index))) & 0x3F | 0x80
            if index == 0:
                value = code >> (6 * (wide - 1)) | (0xF00 >> wide) & 0xFF
            result[starts[missing][has] + index] = self._bytes[value]
        return result

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
            raise ModelError("tokenizer.json: seen must be a number of its ids")
        return cls(pieces, seen)


def _count_characters(chunks: Iterable[bytes]) -> np.ndarray:
    """The count of each code point in a stream; an invalid byte counts as its surrogate escape."""
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


class ByteCodec(Codec):
    """One id per byte: byte b is id b, `end` is 256."""

    name: ClassVar[str] = "byte"
    vocab_size = 257
    end = 256

    @classmethod
    def fit(cls, chunks: Iterable[bytes]) -> ByteCodec:
        """Make the codec; reads the stream to its end, which a caller may rely on."""
        for _ in chunks:
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
