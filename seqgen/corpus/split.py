"""What is learnt from and what is held out: a cut near the end of each document, never mixed.

A document of some length gives its last part. One too short to cut usefully goes to one side whole, so that a corpus
of many small documents (poems, messages) still teaches how a document ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from seqgen.corpus.sources import Document
from seqgen.streams import COMPRESSED_SUFFIXES

T = TypeVar("T")

MIN_SPLIT_BYTES = 4096  # bytes; below this a tenth is not long enough to measure anything on
BLOCK = 1 << 20  # bytes of a sample that lie together
MIN_HELD_OUT_BYTES = 64  # bytes that the held-out part of a lone small document must have


@dataclass(frozen=True)
class DocumentSpan:
    """Bytes `start` to `stop` of a document. `ends_document`: whether it ends where the document does."""

    document: Document
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def ends_document(self) -> bool:
        return self.stop == self.document.size

    def chunks(self) -> Iterator[bytes]:
        return self.document.chunks(self.start, self.stop)


def full_spans(documents: Iterable[Document]) -> list[DocumentSpan]:
    """Each document, uncut."""
    return [DocumentSpan(document, 0, document.size) for document in documents]


def hold_out(documents: list[Document], fraction: float) -> tuple[list[DocumentSpan], list[DocumentSpan]]:
    """Cuts `fraction` off the end of every document, at a character's border.

    Returns:
        the parts to train on and the parts held out, each in the order of the documents.
    """
    if not fraction:
        return full_spans(documents), []
    train, held = [], []
    owed = 0.0  # bytes of short documents that validation has still to get
    alone = len(documents) == 1
    for document in documents:
        size = document.size
        if size < MIN_SPLIT_BYTES and not alone:
            owed += fraction * size
            if owed >= size:  # never the first: what is owed grows from zero
                owed -= size
                held.append(DocumentSpan(document, 0, size))
            else:
                train.append(DocumentSpan(document, 0, size))
            continue
        cut = _character_border(document, size - int(fraction * size))
        if size - cut < MIN_HELD_OUT_BYTES:
            cut = size
        train.append(DocumentSpan(document, 0, cut))
        held.append(DocumentSpan(document, cut, size))
    return [part for part in train if part.size], [part for part in held if part.size]


def sample_spans(parts: list[DocumentSpan], size: int) -> list[DocumentSpan]:
    """About `size` bytes of parts that are at least twice as long, in evenly spaced blocks; all of shorter ones.

    Blocks may begin and end within a character. What is compressed, and so can't be read from the middle, is kept.
    """
    every = sum(part.size for part in parts) // size
    if every < 2:
        return parts
    found: list[DocumentSpan] = []
    place = 0  # in all parts, one behind the other
    for part in parts:
        if part.document.path.suffix.lower() in COMPRESSED_SUFFIXES:
            found.append(part)
            continue
        first = -(-(place - BLOCK + 1) // (every * BLOCK)) * every * BLOCK  # of the first block that reaches into it
        for block in range(max(first, 0), place + part.size, every * BLOCK):
            start, stop = max(block - place, 0), min(block + BLOCK - place, part.size)
            found.append(DocumentSpan(part.document, part.start + start, part.start + stop))
        place += part.size
    return found


def hold_out_items(items: Sequence[T], fraction: float) -> tuple[list[T], list[T]]:
    """Holds out whole items, spread evenly over their order: with a tenth, the tenth, the twentieth…

    For what can't be cut: pieces of music, conversations. At least one is left to train on, and where there are two or
    more and `fraction` is not 0, at least one is held out.
    """
    train: list[T] = []
    held: list[T] = []
    owed = 0.0
    for item in items:
        owed += fraction
        if owed >= 1 - 1e-9:
            owed -= 1
            held.append(item)
        else:
            train.append(item)
    if fraction and not held and len(train) > 1:
        held.append(train.pop())
    return train, held


def _character_border(document: Document, place: int) -> int:
    """The first place at or after `place` where a UTF-8 character begins; `place` itself where there is no UTF-8."""
    near = b"".join(document.chunks(place, min(place + 4, document.size)))
    for ahead, byte in enumerate(near):
        if not 0x80 <= byte < 0xC0:
            return place + ahead
    return document.size if len(near) < 4 else place
