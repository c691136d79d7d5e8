"""A SOURCE on the command line to documents, which can be read repeatedly.

A source is a file, a folder (walked, sorted), a glob, `-`, a name from the catalogue, or an `hf:` dataset. An existing
path has priority over a catalogue name. A document is a stream of bytes of any length, never held in memory here.
Parquet and Arrow files are read as datasets, and so is any other table if a text column is named.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqgen.corpus import hub
from seqgen.corpus.cache import store as cache
from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.catalogue.fetch import materialise
from seqgen.corpus.dataset_rows import AS_TEXT, RowFormat, is_table
from seqgen.errors import DataError
from seqgen.specs.tasks import RowLayout
from seqgen.streams import COMPRESSED_SUFFIXES, Progress, limited, open_input, read_chunks, reason, suffix_of

Warn = Callable[[str], None]
_SNIFF_BYTES = 8192  # read to distinguish text from binary, as grep and git do


@dataclass(frozen=True)
class Document:
    """A file, or the data from a pipe.

    Once its checksum is known, data appended later is not read, and reading a changed file is an error.

    Attributes:
        size: bytes, decompressed; −1 before `checksum_documents`.
        stamp: the file's stamp at that time; a different one makes reading compare checksums.
    """

    name: str
    path: Path
    size: int = -1
    sha256: str = ""
    stamp: cache.FileStamp | None = field(default=None, compare=False, repr=False)

    def chunks(self, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
        """Yield bytes `start` to `stop`. Raises `DataError` if the file has changed or can't be read."""
        offset = 0
        end = self.size if stop is None and self.stamp else stop
        with contextlib.closing(open_input(self.path)) as stream:
            if start and self.path.suffix.lower() not in COMPRESSED_SUFFIXES:
                stream.seek(start)
                offset = start
            for chunk in read_chunks(stream, self.name):
                first, offset = offset, offset + len(chunk)
                part = chunk[max(start - first, 0) : None if end is None else max(end - first, 0)]
                if part:
                    yield part
                if end is not None and offset >= end:
                    break
            if self._was_touched(stream.fileno()):
                self._compare()

    def limited(self) -> Generator[bytes, None, None]:
        """Yield all bytes, to be held in memory. Raises `DataError` also for a decompression bomb."""
        return limited(self.chunks(), self.path, self.name)

    def verify_unchanged(self) -> None:
        """Raise `DataError` if the file has changed since its checksum was taken; for readers that bypass `chunks`."""
        try:
            touched = self._was_touched(self.path)
        except OSError as error:
            raise DataError(f"cannot read {self.name!r}: {reason(error)}") from error
        if touched:
            self._compare()

    def _was_touched(self, file: Path | int) -> bool:
        return self.stamp is not None and cache.content_stamp(cache.stamp(file)) != cache.content_stamp(self.stamp)

    def _compare(self) -> None:
        """Compare checksums: a log that grew, or a file that was only touched, is unchanged."""
        digest = hashlib.sha256()
        for chunk in Document(self.name, self.path).chunks(0, self.size):
            digest.update(chunk)
        if digest.hexdigest() != self.sha256:
            raise DataError(f"{self.name!r} changed while it was being read; use a copy that does not change")


@dataclass
class Spool:
    """A context manager that stores data which can be read only once, until the command ends."""

    _folder: cache.ScratchFolder | None = field(default=None)
    _count: int = 0

    def store(self, chunks: Iterable[bytes], name: str) -> Path:
        """Write a stream to a temporary file in the cache, because /tmp may be small."""
        try:
            self._folder = self._folder or cache.ScratchFolder.make()
            self._count += 1
            path = self._folder.path / str(self._count)
            with open(path, "wb") as target:
                for chunk in chunks:
                    target.write(chunk)
        except OSError as error:
            raise DataError(f"cannot store the data from {name}: {reason(error)}") from error
        return path

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.close()


def looks_like_text(path: Path) -> bool:
    """Return whether a file begins without NUL bytes. A damaged compressed file counts, and is reported later."""
    try:
        with contextlib.closing(open_input(path)) as stream:
            start = stream.read(_SNIFF_BYTES)
    except Exception:  # of any decompressor; reading the whole file reports it
        return True
    return bool(start) and b"\0" not in start


@dataclass(frozen=True)
class FileTest:
    """Which files of a folder a task reads: those with one of the suffixes, compressed or not, or else all text."""

    suffixes: tuple[str, ...] = ()
    noun: str = "text"  # for messages

    def matches(self, path: Path) -> bool:
        return suffix_of(path) in self.suffixes if self.suffixes else looks_like_text(path)


TEXT_FILES = FileTest()


def find(
    sources: Sequence[str],
    spool: Spool,
    progress: Progress | None = None,
    warn: Warn = lambda _: None,
    accepts: FileTest = TEXT_FILES,
    rows: RowFormat = AS_TEXT,
) -> list[Document]:
    """Return the documents of `sources`, in the order given.

    Args:
        spool: stores data that can be read only once (standard input, named pipes).
        progress: called during downloads.
        warn: called with a sentence about files of a folder that are skipped.
        accepts: selects the files of a folder. A file named directly is always read.
        rows: how to read the rows of datasets and tables.

    Raises:
        DataError: a source does not exist, can't be read, or has no documents.
    """
    found: list[Document] = []
    if sum(source == "-" for source in sources) > 1:
        raise DataError("standard input can be read only once: '-' is given twice")
    for source in sources:
        skipped: list[str] = []
        documents = _Finder(spool, progress, skipped.append, accepts, rows).find(source)
        if not documents:
            detail = f" ({skipped[0].removeprefix(source + ': ')})" if skipped else ""
            raise DataError(f"{source!r} has no {accepts.noun}{detail}")
        for sentence in skipped:
            warn(sentence)
        found += documents
    return found


def needs_network(source: str) -> bool:
    """Return whether reading a source would use the network."""
    if source.startswith("hf:"):
        return True
    if os.path.exists(os.path.expanduser(source)):
        return False
    entry = catalogue.load().get(source)
    return entry is not None and entry.address is not None


@dataclass(frozen=True)
class _Finder:
    """See `find`."""

    spool: Spool
    progress: Progress | None
    warn: Warn
    accepts: FileTest
    rows: RowFormat

    def find(self, source: str) -> list[Document]:
        if source == "-":
            path = self.spool.store(read_chunks(open_input("-"), "standard input"), "standard input")
            return [self._file("-", path)]
        if source.startswith("hf:"):
            return [Document(source, hub.fetch(hub.parse(source), self.rows, self.progress))]
        if not source:
            raise DataError("'' is not a source; is a variable empty?")
        expanded = os.path.expanduser(source)
        if os.path.exists(expanded):  # unlike Path.exists, no error for a name that is too long
            return self._on_disk(source, Path(expanded))
        if any(mark in source for mark in "*?["):
            matches = sorted(glob.glob(expanded, recursive=True))
            if not matches:
                raise DataError(f"no file matches {source!r}")
            return [document for match in matches for document in self._on_disk(match, Path(match))]
        if os.sep in source or Path(expanded).suffix:
            raise DataError(f"there is no file or folder {source!r}")
        entry = catalogue.find(source)
        paths = materialise(entry, cache_folder(), self.progress)
        return [Document(path.name if len(paths) > 1 else source, path) for path in paths]

    def _on_disk(self, name: str, path: Path) -> list[Document]:
        if path.is_dir():
            return [self._dataset(name, path)] if self._reads_rows(path) else self._walk(path)
        if not path.is_file():  # a named pipe, as in `<(zcat x.gz)`: it can be read only once
            with contextlib.closing(open_input(path)) as stream:
                path = self.spool.store(read_chunks(stream, name), name)
        return [self._file(name, path)]

    def _file(self, name: str, path: Path) -> Document:
        return self._dataset(name, path) if self._reads_rows(path) else Document(name, path)

    def _reads_rows(self, path: Path) -> bool:
        """Whether a path is read as rows: because it can only be, or because a text column is named."""
        layout, column = self.rows
        if path.is_dir():
            return layout != RowLayout.NONE and hub.is_saved_dataset(path)
        if path.suffix.lower() == ".parquet" and layout == RowLayout.TABLE:
            return False  # it is a table already
        return layout != RowLayout.NONE and (
            is_table(path) or (column is not None and layout in (RowLayout.TEXT, RowLayout.LINES))
        )

    def _dataset(self, name: str, path: Path) -> Document:
        return Document(name, hub.fetch(hub.local_dataset(name, path), self.rows, self.progress))

    def _walk(self, folder: Path) -> list[Document]:
        """Every file below `folder` that `accepts` selects, in sorted order.

        Skips hidden files, and links to files outside the folder: in an untrusted folder they could lead to private
        files.
        """
        documents, rejected, outside = [], 0, 0
        root = folder.resolve()
        for parent, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                path = Path(parent) / name
                if name.startswith(".") or not path.is_file():
                    continue
                if path.is_symlink() and not path.resolve().is_relative_to(root):
                    outside += 1
                elif self._reads_rows(path) or self.accepts.matches(path):
                    documents.append(self._file(str(path), path))
                else:
                    rejected += 1
        if outside:
            links = "links skipped: they lead" if outside > 1 else "link skipped: it leads"
            self.warn(f"{folder}: {outside:,} {links} out of the folder (to read the file, name it)")
        if rejected:
            plural = "s" * (rejected > 1)
            self.warn(f"{folder}: {rejected:,} file{plural} skipped: empty, or not {self.accepts.noun}")
        return documents


def checksum_documents(
    documents: Iterable[Document], warn: Warn = lambda _: None, progress: Progress | None = None
) -> list[Document]:
    """Read every document once and return it with its size and sha256. Empty documents are skipped with a warning.

    A large file that was read before and has not changed since is not read again.

    Raises:
        DataError: a document can't be read, or all are empty.
    """
    documents = list(documents)
    total = _total(documents) if progress else None
    checked = []
    empty: list[str] = []
    done = 0
    for document in documents:
        began = time.time_ns()
        before = _stamp(document)
        size, sha256 = cache.load_checksum(document.path, before) or (-1, "")
        if size < 0:
            digest, size = hashlib.sha256(), 0
            for chunk in document.chunks():
                digest.update(chunk)
                size += len(chunk)
                if progress:
                    progress(done + size, total)
            sha256 = digest.hexdigest()
            cache.store_checksum(document.path, before, began, size, sha256)
        done += size
        if size:
            checked.append(Document(document.name, document.path, size, sha256, before))
        else:
            empty.append("standard input" if document.name == "-" else repr(document.name))
    if not checked:
        raise DataError(f"{', '.join(empty[:3]) or 'the source'} is empty: there is nothing to read")
    for name in empty:
        warn(f"{name} is empty, and is skipped")
    return checked


def _total(documents: Iterable[Document]) -> int | None:
    """The total size in bytes; None if any document is compressed, because its size is unknown."""
    if any(document.path.suffix.lower() in COMPRESSED_SUFFIXES for document in documents):
        return None
    return sum(_stamp(document)[0] for document in documents)


def _stamp(document: Document) -> cache.FileStamp:
    try:
        return cache.stamp(document.path)
    except OSError as error:
        raise DataError(f"cannot read {document.name!r}: {reason(error)}") from error


def check_unchanged(documents: Iterable[Document]) -> None:
    """Raise `DataError` if a document has changed since its checksum was taken."""
    for document in documents:
        document.verify_unchanged()


def find_unchanged(
    sources: Iterable[Mapping[str, Any]], locate: Callable[[str], Path | None] = Path
) -> list[Document] | None:
    """Return the sources listed in a model (name, bytes, sha256), if all of them still exist unchanged; else None.

    The list is untrusted input: a file of another size is not read.

    Args:
        locate: the path that a source of that name would have.

    Raises:
        DataError: a file can't be read.
    """
    documents = []
    for source in sources:
        path = locate(source["name"])
        if path is None or not path.is_file():
            return None
        if path.suffix not in COMPRESSED_SUFFIXES and path.stat().st_size != source["bytes"]:
            return None
        (document,) = checksum_documents([Document(source["name"], path)])
        if document.sha256 != source["sha256"]:
            return None
        documents.append(document)
    return documents


def fingerprint(documents: Iterable[Document]) -> str:
    """Return a sha256 of the contents and order of documents whose checksums are known."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.sha256} {document.size}\n".encode())
    return digest.hexdigest()
