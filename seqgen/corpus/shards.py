"""Parts of a work that many machines share, each doing its own: `--shard 3/16`.

The parts are contiguous, so that what all of them write, joined in order, is what one would have written.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqgen.errors import DataError, UserError
from seqgen.streams import COMPRESSED_SUFFIXES, reason

if TYPE_CHECKING:
    from seqgen.corpus.sources import Document  # much to import for who only counts samples


@dataclass(frozen=True)
class Shard:
    """Part `number` of `num_shards`, counted from 1."""

    number: int
    num_shards: int

    @staticmethod
    def parse(text: str | None) -> Shard:
        """`3/16`; of None the whole. Raises `UserError` for anything else."""
        if text is None:
            return SINGLE_SHARD
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--shard {text!r} is no part of a whole: 1/16 to 16/16 are the parts of sixteen")
        return Shard(int(found[1]), int(found[2]))

    @property
    def is_whole(self) -> bool:
        """Whether there is no other part."""
        return self.num_shards == 1

    def index_range(self, count: int) -> range:
        """Those of the numbers below `count` that are this part's."""
        return range(count * (self.number - 1) // self.num_shards, count * self.number // self.num_shards)

    def select_documents(self, documents: Sequence[Document]) -> list[Document]:
        """The documents that begin in this part, where all are laid end to end as they are on the disk."""
        sizes = [_size_on_disk(document) for document in documents]
        if not sum(sizes):
            own = self.index_range(len(documents))
            return list(documents[own.start : own.stop])
        own, chosen, place = self.index_range(sum(sizes)), [], 0
        for document, size in zip(documents, sizes, strict=True):
            # What is empty and stands behind all others begins nowhere, and belongs to the last part.
            if place in own or (place == sum(sizes) and self.number == self.num_shards):
                chosen.append(document)
            place += size
        return chosen

    def select_lines(self, documents: Sequence[Document]) -> Iterator[Generator[bytes, None, None]]:
        """The lines that begin in this part, where all documents are laid end to end: a stream for each document."""
        sizes = [_size(document) for document in documents]
        own, place = self.index_range(sum(sizes)), 0
        for document, size in zip(documents, sizes, strict=True):
            first, stop = max(own.start - place, 0), min(own.stop - place, size)
            if first < stop:
                yield lines_between(document, first, stop)
            place += size


SINGLE_SHARD = Shard(1, 1)


def lines_between(document: Document, first: int, stop: int) -> Generator[bytes, None, None]:
    """The lines of a document that begin at a byte from `first` on and before `stop`, in chunks that end anywhere."""
    place = max(first - 1, 0)  # a line begins behind the end of another
    begun = first == 0
    with contextlib.closing(document.chunks(place)) as chunks:
        for chunk in chunks:
            after = place + len(chunk)
            if not begun:
                end = chunk.find(b"\n") + 1
                if not end:
                    place = after
                    continue
                chunk, place, begun = chunk[end:], place + end, True
                if place >= stop:
                    return
            # The last line to begin before `stop` ends with the first line feed at `stop` − 1 or later.
            end = chunk.find(b"\n", max(stop - 1 - place, 0)) + 1
            if end:
                yield chunk[:end]
                return
            yield chunk
            place = after


def _size(document: Document) -> int:
    """Bytes of a document, which has to be read where it is compressed."""
    if document.path.suffix.lower() in COMPRESSED_SUFFIXES:
        return sum(map(len, document.chunks()))
    return _size_on_disk(document)


def _size_on_disk(document: Document) -> int:
    try:
        return os.stat(document.path).st_size
    except OSError as error:
        raise DataError(f"cannot read {document.name!r}: {reason(error)}") from error
