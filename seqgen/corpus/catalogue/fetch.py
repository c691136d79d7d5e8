"""The files of a corpus of the catalogue, fetched and unpacked where necessary."""

from __future__ import annotations

from pathlib import Path

from seqgen.corpus.catalogue.builtin import BUILTIN
from seqgen.corpus.catalogue.download import TIMEOUT, fetch
from seqgen.corpus.catalogue.entries import CatalogueEntry, corpora_folder
from seqgen.errors import SeqgenError, UserError
from seqgen.streams import Progress, reason


def materialise(
    entry: CatalogueEntry, cache: Path, progress: Progress | None = None, timeout: float = TIMEOUT
) -> list[Path]:
    """Return the local files of a corpus, sorted; download and unpack them first if necessary.

    Args:
        cache: the folder for downloads, see `cache_folder`.
        progress: called during a download. An exception that it raises ends the download; the next call resumes it.
        timeout: seconds that a server may stay silent.

    Raises:
        UserError: the server can't be reached or sends something else than the catalogue says, an archive is unsafe,
            or the cache can't be written.
    """
    if entry.file is not None:
        return _packaged(corpora_folder() / entry.file)
    try:
        if entry.builtin is not None:
            return BUILTIN[entry.builtin](cache / entry.name)
        return fetch(entry, cache, progress, timeout)
    except OSError as error:  # of the disk; network errors have become user errors already
        raise UserError(f"cannot store {entry.name!r} in {str(cache)!r}: {reason(error)}") from error


def _packaged(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(inner for inner in path.rglob("*") if inner.is_file())
    if not found:
        raise SeqgenError(f"the packaged corpus {str(path)!r} is missing; install seqgen again")
    return found
