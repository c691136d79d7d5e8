"""The interface of every tokenizer: a codec between the bytes of a record and ids.

For text and dialogue, decoding restores any bytes exactly. Text, dialogue and MIDI differ only here.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.config import AnyNetworkConfig
from seqgen.untrusted import as_bytes

END_OF_DOCUMENT = b""  # a chunk for `fit` and `extend`: no character continues from one document into the next
Ids = npt.NDArray[np.int32]


class Decoder(Protocol):
    """A stream of ids to bytes, one id at a time."""

    def push(self, token: int) -> bytes:
        """Add an id and return the bytes that are certain now: whole characters only."""
        ...

    def finish(self) -> bytes:
        """Return the remaining bytes, even of an incomplete character."""
        ...

    def copy(self) -> Decoder:
        """Return an independent decoder in the same state."""
        ...


class Tokenizer(Protocol):
    """What a model folder stores in tokenizer.json: a codec, or the scaler of a forecaster."""

    name: ClassVar[str]  # its row in `specs.tokenizers`, and "kind" in tokenizer.json

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of tokenizer.json."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return further files of the model folder, by name."""
        ...

    def mismatch(self, network: AnyNetworkConfig) -> str | None:
        """Return why a network can't be used with this tokenizer, or None."""
        ...


class Codec(Tokenizer, Protocol):
    """Bytes of a record ↔ ids. `end` separates records: it stands before the first and after every one.

    A class that inherits from it gets the methods that have a default.
    """

    vocab_size: int
    end: int

    def encode(self, data: bytes) -> Ids:
        """Return the ids of `data`, int32, shape (tokens,). Never contains `end`; a text codec accepts any bytes."""
        ...

    def safe_prefix_length(self, data: bytes) -> int:
        """Return the length of the longest prefix of `data` that can be encoded apart from what follows it."""
        ...

    def decoder(self) -> Decoder:
        """Return a decoder at the beginning of a record."""
        ...

    def pieces(self) -> list[str | int | None]:
        """Return what each id stands for: text, the value of one byte, or `None` for a control token."""
        ...

    def num_seen(self) -> int:
        """Return how many ids, counted from 0, occur in the text that the codec was fitted on."""
        ...

    def extend(self, chunks: Iterable[bytes]) -> Codec:
        """Return a codec with the same ids, and more if another text needs them. Reads the stream to its end."""
        ...

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], files: Mapping[str, bytes]) -> Codec:
        """Make the codec that `to_dict` and `files` describe. Raises `ModelError` if they are damaged."""
        ...

    @property
    def label_tokens(self) -> int:
        """How many ids, counted from 0, stand for labels."""
        return 0

    def token_name(self, token: int) -> str:
        """Return a printable name of an id: its text, unless the codec has another."""
        return decode(self, [token]).decode("utf-8", "backslashreplace")

    def tokens_named(self, name: str) -> list[int]:
        """Return the ids with this text or name."""
        data = as_bytes(name)
        return [token for token, piece in enumerate(self.pieces()) if piece is not None and piece_bytes(piece) == data]

    def mismatch(self, network: AnyNetworkConfig) -> str | None:
        size, labels = getattr(network, "vocab_size", None), getattr(network, "label_tokens", 0)
        if self.vocab_size != size:
            return f"it has {self.vocab_size:,} ids, the network {'none' if size is None else f'{size:,}'}"
        if self.label_tokens != labels:
            return f"it has {self.label_tokens:,} labels, the network {labels:,}"
        return None


class Utf8Decoder:
    """A decoder for codecs in which each id always stands for the same bytes. Delays an incomplete character."""

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


def piece_bytes(piece: str | int | None) -> bytes:
    """Return the bytes of a piece (see `Codec.pieces`); none for a control token."""
    return b"" if piece is None else bytes([piece]) if isinstance(piece, int) else piece.encode("utf-8")


def decode(codec: Codec, ids: Iterable[int]) -> bytes:
    """Return all the bytes of `ids`."""
    decoder = codec.decoder()
    return b"".join([decoder.push(int(token)) for token in ids]) + decoder.finish()


def encode_stream(codec: Codec, chunks: Iterable[bytes]) -> Iterator[Ids]:
    """Encode a stream of any length in constant memory. Yields arrays of ids, shape (tokens,).

    Joined, they are the ids of the whole, if the codec's `safe_prefix_length` is exact.
    """
    return map(codec.encode, split_stream(codec, chunks))


def split_stream(codec: Codec, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Split a stream into parts that can be encoded separately."""
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
    """Return the length of `data` without an incomplete UTF-8 character at its end."""
    size = len(data)
    for back in range(1, min(4, size) + 1):
        byte = data[size - back]
        if byte < 0x80:
            return size
        if byte >= 0xC0:
            need = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return size - back if need > back else size
    return size
