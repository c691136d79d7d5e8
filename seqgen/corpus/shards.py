"""Shards: contiguous parts of a job for several machines (`--shard 3/16`).

The outputs of all shards, joined in order, are the output of the whole job.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqgen.errors import DataError, UserError
from seqgen.streams import reason

if TYPE_CHECKING:
    from seqgen.corpus.documents import Document  # a heavy import for commands that only count samples


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `num_shards`, counted from 1."""

    number: int
    num_shards: int

    @staticmethod
    def parse(text: str | None) -> Shard:
        """Parse `3/16`; None is the whole job. Raises `UserError` for anything else."""
        if text is None:
            return SINGLE_SHARD
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--shard {text!r} is not a shard; of sixteen, they are 1/16 to 16/16")
        return Shard(int(found[1]), int(found[2]))

    @property
    def is_whole(self) -> bool:
        """Whether there is no other shard."""
        return self.num_shards == 1

    def index_range(self, count: int) -> range:
        """Return this shard's part of `range(count)`."""
        return range(count * (self.number - 1) // self.num_shards, count * self.number // self.num_shards)

    def select_documents(self, documents: Sequence[Document]) -> list[Document]:
        """Return the documents that begin in this shard, if all are joined as they are on the disk."""
        sizes = [_size_on_disk(document) for document in documents]
        if not sum(sizes):
            own = self.index_range(len(documents))
            return list(documents[own.start : own.stop])
        own, chosen, start = self.index_range(sum(sizes)), [], 0
        for document, size in zip(documents, sizes, strict=True):
            # Empty documents at the very end belong to the last shard.
            if start in own or (start == sum(sizes) and self.number == self.num_shards):
                chosen.append(document)
            start += size
        return chosen

    def select_lines(self, documents: Sequence[Document]) -> Iterator[Generator[bytes, None, None]]:
        """Yield the lines that begin in this shard, if all documents are joined: a stream for each document."""
        sizes = [_size(document) for document in documents]
        own, start = self.index_range(sum(sizes)), 0
        for document, size in zip(documents, sizes, strict=True):
            first, stop = max(own.start - start, 0), min(own.stop - start, size)
            if first < stop:
                yield lines_between(document, first, stop)
            start += size


SINGLE_SHARD = Shard(1, 1)


def lines_between(document: Document, first: int, stop: int) -> Generator[bytes, None, None]:
    """Yield the lines of a document that begin at an offset in [first, stop), in chunks that may end within a line."""
    offset = max(first - 1, 0)  # of the line feed that may end the previous line
    started = first == 0
    with contextlib.closing(document.chunks(offset)) as chunks:
        for chunk in chunks:
            after = offset + len(chunk)
            if not started:
                end = chunk.find(b"\n") + 1
                if not end:
                    offset = after
                    continue
                chunk, offset, started = chunk[end:], offset + end, True
                if offset >= stop:
                    return
            # The last line to begin before `stop` ends with the first line feed at `stop` − 1 or later.
            end = chunk.find(b"\n", max(stop - 1 - offset, 0)) + 1
            if end:
                yield chunk[:end]
                return
            yield chunk
            offset = after


def _size(document: Document) -> int:
    """Bytes of a document, as it is read; a compressed or decoded one has to be read."""
    if not document.form.is_seekable:
        return sum(map(len, document.chunks()))
    return _size_on_disk(document) - document.form.mark_size


def _size_on_disk(document: Document) -> int:
    try:
        return os.stat(document.path).st_size
    except OSError as error:
        raise DataError(f"cannot read {document.name!r}: {reason(error)}") from error
