"""What every tokenizer is: a codec between a record's bytes and ids.

`encode` and `decoder` are each other's inverse on any bytes at all. Text, dialogue and MIDI differ only here.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

END_OF_DOCUMENT = b""  # an empty chunk, to `fit` and `extend`: no character goes on from one document into the next
Ids = npt.NDArray[np.int32]


class Decoder(Protocol):
    """Turns ids back into bytes one at a time, for a stream that is being generated."""

    def push(self, token: int) -> bytes:
        """The bytes that are certain now: whole characters only. The rest waits for the next id."""
        ...

    def finish(self) -> bytes:
        """The bytes still waiting, whole or not."""
        ...

    def copy(self) -> Decoder:
        """Another one in the same place."""
        ...


class Codec(Protocol):
    """Bytes of a record ↔ ids. `end` separates records: it comes before the first and after every one."""

    name: ClassVar[str]
    vocab_size: int
    end: int

    def encode(self, data: bytes) -> Ids:
        """Ids of `data`, int32, shape (tokens,). Never fails, never drops anything, never yields `end`."""
        ...

    def safe_prefix_length(self, data: bytes) -> int:
        """Length of the longest prefix of `data` that may be encoded apart from what follows it."""
        ...

    def decoder(self) -> Decoder: ...

    def pieces(self) -> list[str | int | None]:
        """What each id stands for: text, the value of one byte, or `None` for a control token."""
        ...

    def num_seen(self) -> int:
        """How many ids, counted from 0, occur in what the codec was fitted on. The others are for strangers."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What goes into tokenizer.json."""
        ...

    def files(self) -> dict[str, bytes]:
        """Further files of the model folder, by name."""
        ...

    def extend(self, chunks: Iterable[bytes]) -> Codec:
        """A codec with the same ids, and more where another text asks for them. Reads the stream to its end."""
        ...

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes]) -> Codec: ...


class Utf8Decoder:
    """A decoder for codecs whose every id stands for fixed bytes. Holds back an unfinished character."""

    def __init__(self, table: list[bytes]) -> None:
        self._table = table
        self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def push(self, token: int) -> bytes:
        return self._utf8.decode(self._table[token]).encode("utf-8", "surrogateescape")

    def finish(self) -> bytes:
        return self._utf8.decode(b"", True).encode("utf-8", "surrogateescape")

    def copy(self) -> Utf8Decoder:
        same = Utf8Decoder(self._table)
        same._utf8.setstate(self._utf8.getstate())
        return same


def decode(codec: Codec, ids: Iterable[int]) -> bytes:
    """All the bytes that `ids` stand for."""
    decoder = codec.decoder()
    return b"".join([decoder.push(int(token)) for token in ids]) + decoder.finish()


def encode_stream(codec: Codec, chunks: Iterable[bytes]) -> Iterator[Ids]:
    """Ids of a stream of any length, in pieces, in flat memory; equal to `encode` of the whole where `split` is."""
    return map(codec.encode, split_stream(codec, chunks))


def split_stream(codec: Codec, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A stream in pieces that may be encoded each for itself."""
    rest = b""
    for chunk in chunks:
        data = rest + chunk if rest else chunk
        cut = codec.safe_prefix_length(data)
        if cut:
            yield data[:cut]
        rest = data[cut:]
    if rest:
        yield rest


def utf8_prefix_length(data: bytes) -> int:
    """Length of `data` without a UTF-8 character begun at its end."""
    size = len(data)
    for back in range(1, min(4, size) + 1):
        byte = data[size - back]
        if byte < 0x80:
            return size
        if byte >= 0xC0:
            need = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return size - back if need > back else size
    return size
