"""The split of a corpus into training and validation set: the end of each document is held out.

A document too short to cut goes to one side whole, so that a corpus of many small documents (poems, messages) still
teaches how a document ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from seqgen.corpus.documents import Document

T = TypeVar("T")

MIN_SPLIT_BYTES = 4096  # shorter documents are not cut, unless alone: a tenth would be too short for validation
BLOCK = 1 << 20  # bytes of each contiguous part of a sample
MIN_HELD_OUT_BYTES = 64  # minimum for the held-out end of a document
_MAX_EXCESS = 4  # times the fraction asked for, that a document held out alone may be


@dataclass(frozen=True)
class DocumentSpan:
    """Bytes `start` to `stop` of a document."""

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
    """Return each document as one span."""
    return [DocumentSpan(document, 0, document.size) for document in documents]


def hold_out(documents: list[Document], fraction: float) -> tuple[list[DocumentSpan], list[DocumentSpan]]:
    """Cut `fraction` off the end of every document, at a character boundary; of short documents, hold out whole ones.

    If that gives none, the document whose size is nearest to the fraction is held out, unless it is much too large.

    Returns:
        Training spans and validation spans, each in the order of the documents.
    """
    if not fraction:
        return full_spans(documents), []
    train, held_out = [], []
    owed = 0.0  # bytes of short documents that the validation set still lacks
    single = len(documents) == 1
    for document in documents:
        size = document.size
        if size < MIN_SPLIT_BYTES and not single:
            owed += fraction * size
            if owed >= size:  # never at the first document, because `owed` starts at zero
                owed -= size
                held_out.append(DocumentSpan(document, 0, size))
            else:
                train.append(DocumentSpan(document, 0, size))
            continue
        cut = _character_boundary(document, size - int(fraction * size))
        if size - cut < MIN_HELD_OUT_BYTES:
            cut = size
        train.append(DocumentSpan(document, 0, cut))
        held_out.append(DocumentSpan(document, cut, size))
    train, held_out = [part for part in train if part.size], [part for part in held_out if part.size]
    if train and not held_out and not single:
        wanted = fraction * sum(part.size for part in train)
        nearest = min(reversed(train), key=lambda part: abs(part.size - wanted))
        if MIN_HELD_OUT_BYTES <= nearest.size <= _MAX_EXCESS * wanted:
            train.remove(nearest)
            held_out.append(nearest)
    return train, held_out


def sample_spans(parts: list[DocumentSpan], size: int) -> list[DocumentSpan]:
    """Sample about `size` bytes in evenly spaced blocks; return all spans if they are less than twice as long.

    Blocks may begin and end within a character. Spans of compressed or decoded documents are returned whole, because
    these can't be read from the middle.
    """
    stride = sum(part.size for part in parts) // size
    if stride < 2:
        return parts
    found: list[DocumentSpan] = []
    offset = 0  # of the span in all spans joined
    for part in parts:
        if not part.document.form.is_seekable:
            found.append(part)
            continue
        first = (
            -(-(offset - BLOCK + 1) // (stride * BLOCK)) * stride * BLOCK
        )  # start of the first block that overlaps it
        for block in range(max(first, 0), offset + part.size, stride * BLOCK):
            start, stop = max(block - offset, 0), min(block + BLOCK - offset, part.size)
            found.append(DocumentSpan(part.document, part.start + start, part.start + stop))
        offset += part.size
    return found


def hold_out_items(items: Sequence[T], fraction: float) -> tuple[list[T], list[T]]:
    """Hold out whole items, evenly spaced: for a tenth, the tenth, the twentieth…

    For items that can't be cut: pieces of music, conversations. At least one item is left for training. At least one
    is held out if there are two or more and `fraction` is not 0.

    Returns:
        Training items and validation items, each in order.
    """
    train: list[T] = []
    held_out: list[T] = []
    owed = 0.0
    for item in items:
        owed += fraction
        if owed >= 1 - 1e-9:
            owed -= 1
            held_out.append(item)
        else:
            train.append(item)
    if fraction and not held_out and len(train) > 1:
        held_out.append(train.pop())
    return train, held_out


def _character_boundary(document: Document, offset: int) -> int:
    """The first offset from `offset` on where a UTF-8 character begins; `offset` itself if the text isn't UTF-8."""
    near = b"".join(document.chunks(offset, min(offset + 4, document.size)))
    for ahead, byte in enumerate(near):
        if not 0x80 <= byte < 0xC0:
            return offset + ahead
    return document.size if len(near) < 4 else offset
