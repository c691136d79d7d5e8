"""Input of the commands: sources named or piped in, their records and their lines."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from seqgen.errors import DataError, UserError
from seqgen.streams import open_input, stdin_is_piped

if TYPE_CHECKING:
    from seqgen.corpus.sources import Document

MAX_LINE_BYTES = 1 << 28  # an endless line would fill the memory


def sources_or_stdin(sources: list[str] | None, problem: str) -> list[str]:
    """The sources, or `-` if none is given and something is piped in. Raises `UserError`, naming the `problem`,
    otherwise."""
    if sources:
        return sources
    if stdin_is_piped():
        return ["-"]
    raise UserError(f"{problem}: name a file, a folder or a corpus, or pipe something in")


def open_records(
    names: list[str],
    find: Callable[[list[str]], list[Document]],
    read_pipe: Callable[[BinaryIO, str], Generator[bytes, None, None]],
) -> Iterator[tuple[str, Generator[bytes, None, None]]]:
    """Name and bytes of each record. Standard input is read as it arrives, however long it gets.

    Args:
        names: Sources.
        find: Returns the documents of sources other than standard input.
        read_pipe: Yields what arrives through a pipe, given with its name (see `opening.pipes`).
    """
    for name in names:
        if name == "-":
            yield "-", read_pipe(open_input("-"), "standard input")
        else:
            for document in find([name]):
                yield document.name, document.chunks()


def line_batches(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lines with their line feeds, as many at a time as have arrived: a writer into a pipe is answered at once.

    The last line may lack its line feed. Raises `DataError` for a line of more than `MAX_LINE_BYTES` bytes.
    """
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if others:
            *whole, rest = others
            yield [b"".join([*parts, b"\n"]), *(line + b"\n" for line in whole)]
            parts, size = [rest], len(rest)
        if size > MAX_LINE_BYTES:
            raise DataError(f"a line has more than {MAX_LINE_BYTES:,} bytes; put line feeds between records")
    if any(parts):
        yield [b"".join(parts)]


def iter_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their line feeds, one by one; see `line_batches`."""
    return itertools.chain.from_iterable(line_batches(chunks))
