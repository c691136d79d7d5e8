"""Sources of data, read as a task reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seqgen import tasks
from seqgen.corpus import sources
from seqgen.corpus.sources import Document, Spool
from seqgen.streams import Progress


def as_list(names: Sequence[str] | str) -> list[str]:
    """A list of names from one name or several."""
    return [names] if isinstance(names, str) else list(names)


def open_sources(
    task: str,
    names: Sequence[str],
    spool: Spool,
    text_column: str | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Document]:
    """Find the documents that `names` stand for, with their sizes and checksums.

    Args:
        task: decides which files of a folder count, and how rows of tables become documents.
        spool: keeps sources that can be read only once; the documents are valid while it is open.

    Raises:
        DataError: a source is missing, unreadable or empty.
    """
    accepts, rows = tasks.accepts(task), tasks.rows(task, text_column)
    return sources.checksum_documents(sources.find(names, spool, progress, warn, accepts, rows), warn, progress)
