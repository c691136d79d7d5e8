"""A SOURCE, as people write it on a command line, to documents that can be read as often as needed.

A source is a file, a folder (walked, sorted), a glob, `-`, a name from the catalogue, or an `hf:` set. What exists on
the disk wins over a catalogue name. Every document is a stream of bytes of any length; nothing here holds one whole.
Parquet and Arrow are sets without being called so, and so is any other table of which a text column is named.
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
from seqgen.corpus.catalogue.materialise import materialise
from seqgen.corpus.rows import AS_TEXT, RowFormat, is_table
from seqgen.errors import DataError
from seqgen.specs.tasks import RowLayout
from seqgen.streams import COMPRESSED_SUFFIXES, Progress, limited, open_input, read_chunks, reason, suffix_of

Warn = Callable[[str], None]
_SNIFF = 8192  # bytes looked at to tell text from binary, as grep and git do


@dataclass(frozen=True)
class Document:
    """One file, or what came through a pipe. `size` is its length in bytes, decompressed; −1 until it is measured.

    What was measured stays as it was: what is written behind it later is not read, and where the file is another one
    now, reading it is an error. `stamp` tells when to look.
    """

    name: str
    path: Path
    size: int = -1
    sha256: str = ""
    stamp: cache.FileStamp | None = field(default=None, compare=False, repr=False)

    def chunks(self, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
        """The bytes from `start` to `stop`, in chunks. Raises `DataError` for a file that can't be read or changed."""
        place = 0
        end = self.size if stop is None and self.stamp else stop
        with contextlib.closing(open_input(self.path)) as stream:
            if start and self.path.suffix.lower() not in COMPRESSED_SUFFIXES:
                stream.seek(start)
                place = start
            for chunk in read_chunks(stream, self.name):
                first, place = place, place + len(chunk)
                part = chunk[max(start - first, 0) : None if end is None else max(end - first, 0)]
                if part:
                    yield part
                if end is not None and place >= end:
                    break
            if self._was_touched(stream.fileno()):
                self._compare()

    def limited(self) -> Generator[bytes, None, None]:
        """All the chunks, for who keeps them in memory. Raises `DataError` also for a file that unfolds to too much."""
        return limited(self.chunks(), self.path, self.name)

    def verify_unchanged(self) -> None:
        """Raises `DataError` where the file changed since it was measured: for who reads it by other ways."""
        try:
            touched = self._was_touched(self.path)
        except OSError as error:
            raise DataError(f"cannot read {self.name!r}: {reason(error)}") from error
        if touched:
            self._compare()

    def _was_touched(self, file: Path | int) -> bool:
        return self.stamp is not None and cache.content_stamp(cache.stamp(file)) != cache.content_stamp(self.stamp)

    def _compare(self) -> None:
        """The content itself decides: a log that grows, or was only touched, is what it was."""
        digest = hashlib.sha256()
        for chunk in Document(self.name, self.path).chunks(0, self.size):
            digest.update(chunk)
        if digest.hexdigest() != self.sha256:
            raise DataError(f"{self.name!r} changed while it was being read; use a copy that stays as it is")


@dataclass
class Spool:
    """Where what can be read only once is kept until the command ends. A context manager."""

    _folder: cache.ScratchFolder | None = field(default=None)
    _count: int = 0

    def keep(self, chunks: Iterable[bytes], name: str) -> Path:
        """Writes a stream to a temporary file, next to the caches rather than in a small /tmp."""
        try:
            self._folder = self._folder or cache.ScratchFolder.make()
            self._count += 1
            path = self._folder.path / str(self._count)
            with open(path, "wb") as target:
                for chunk in chunks:
                    target.write(chunk)
        except OSError as error:
            raise DataError(f"cannot keep what {name} gave: {reason(error)}") from error
        return path

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.close()


def looks_like_text(path: Path) -> bool:
    """Whether the first bytes hold something, and no NUL. A damaged compressed file counts, so that it is reported."""
    try:
        with contextlib.closing(open_input(path)) as stream:
            start = stream.read(_SNIFF)
    except Exception:  # whatever a decompressor says: reading it in earnest tells the person
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
    """The documents that `sources` name, in the order given.

    Args:
        spool: keeps what can be read once only (standard input, streamed sets).
        progress: told of downloads, as (bytes so far, bytes in all or None).
        warn: told in a sentence of what was passed over (binary or empty files in a folder).
        accepts: which files of a folder count. A file that is named itself always does.
        rows: what becomes of the rows of sets and tables.

    Raises:
        DataError: a source that does not exist, can't be read, or gives no document.
    """
    found: list[Document] = []
    if sum(source == "-" for source in sources) > 1:
        raise DataError("standard input can be read once only: '-' is given twice")
    for source in sources:
        passed_over: list[str] = []
        documents = _Finder(spool, progress, passed_over.append, accepts, rows).find(source)
        if not documents:
            why = f" ({passed_over[0].removeprefix(source + ': ')})" if passed_over else ""
            raise DataError(f"{source!r} holds no {accepts.noun}{why}")
        for sentence in passed_over:
            warn(sentence)
        found += documents
    return found


def needs_network(source: str) -> bool:
    """Whether reading it would go through the network."""
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
            path = self.spool.keep(read_chunks(open_input("-"), "standard input"), "standard input")
            return [self._file("-", path)]
        if source.startswith("hf:"):
            return [Document(source, hub.fetch(hub.parse(source), self.rows, self.progress))]
        if not source:
            raise DataError("'' names no source; is a variable empty?")
        place = os.path.expanduser(source)
        if os.path.exists(place):  # unlike Path.exists, no error for a name that is too long
            return self._on_disk(source, Path(place))
        if any(mark in source for mark in "*?["):
            matches = sorted(glob.glob(place, recursive=True))
            if not matches:
                raise DataError(f"no file matches {source!r}")
            return [document for match in matches for document in self._on_disk(match, Path(match))]
        if os.sep in source or Path(place).suffix:
            raise DataError(f"there is no file or folder {source!r}")
        entry = catalogue.find(source)
        paths = materialise(entry, cache_folder(), self.progress)
        return [Document(path.name if len(paths) > 1 else source, path) for path in paths]

    def _on_disk(self, name: str, path: Path) -> list[Document]:
        if path.is_dir():
            return [self._set(name, path)] if self._reads_rows(path) else self._walk(path)
        if not path.is_file():  # a named pipe, as in `<(zcat x.gz)`: it can be read once only
            with contextlib.closing(open_input(path)) as stream:
                path = self.spool.keep(read_chunks(stream, name), name)
        return [self._file(name, path)]

    def _file(self, name: str, path: Path) -> Document:
        return self._set(name, path) if self._reads_rows(path) else Document(name, path)

    def _reads_rows(self, path: Path) -> bool:
        """Whether what is there is read as rows: because it can't be read otherwise, or because a column is named."""
        layout, column = self.rows
        if path.is_dir():
            return layout != RowLayout.NONE and hub.is_saved_dataset(path)
        if path.suffix.lower() == ".parquet" and layout == RowLayout.TABLE:
            return False  # it is one
        return layout != RowLayout.NONE and (
            is_table(path) or (column is not None and layout in (RowLayout.TEXT, RowLayout.LINES))
        )

    def _set(self, name: str, path: Path) -> Document:
        return Document(name, hub.fetch(hub.local_dataset(name, path), self.rows, self.progress))

    def _walk(self, folder: Path) -> list[Document]:
        """Every file below `folder` that `accepts` takes, in sorted order; hidden ones are left out, and links that
        lead out of the folder: in one from a stranger they could lead to what is nobody's business."""
        documents, skipped, outside = [], 0, 0
        whole = folder.resolve()
        for place, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                path = Path(place) / name
                if name.startswith(".") or not path.is_file():
                    continue
                if path.is_symlink() and not path.resolve().is_relative_to(whole):
                    outside += 1
                elif self._reads_rows(path) or self.accepts.matches(path):
                    documents.append(self._file(str(path), path))
                else:
                    skipped += 1
        if outside:
            leads = "links passed over: they lead" if outside > 1 else "link passed over: it leads"
            self.warn(f"{folder}: {outside:,} {leads} out of the folder (name the file itself to have it read)")
        if skipped:
            what = self.accepts.noun
            self.warn(f"{folder}: {skipped:,} file{'s' * (skipped > 1)} passed over: empty, or not {what}")
        return documents


def checksum_documents(
    documents: Iterable[Document], warn: Warn = lambda _: None, progress: Progress | None = None
) -> list[Document]:
    """The same documents with size and sha256, each read once from end to end; large files that have been read before
    and not been touched since are known. Empty ones are left out, and told of.

    Args:
        progress: told of the bytes read so far, and in all as far as that can be known.

    Raises:
        DataError: a document that can't be read, or nothing in any of them.
    """
    documents = list(documents)
    total = _total(documents) if progress else None
    measured = []
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
            measured.append(Document(document.name, document.path, size, sha256, before))
        else:
            empty.append("standard input" if document.name == "-" else repr(document.name))
    if not measured:
        raise DataError(f"{', '.join(empty[:3]) or 'the source'} is empty: there is nothing to read")
    for name in empty:
        warn(f"{name} is empty, and left out")
    return measured


def _total(documents: Iterable[Document]) -> int | None:
    """Bytes in all; None where some are compressed, so that nobody knows."""
    if any(document.path.suffix.lower() in COMPRESSED_SUFFIXES for document in documents):
        return None
    return sum(_stamp(document)[0] for document in documents)


def _stamp(document: Document) -> cache.FileStamp:
    try:
        return cache.stamp(document.path)
    except OSError as error:
        raise DataError(f"cannot read {document.name!r}: {reason(error)}") from error


def check_unchanged(documents: Iterable[Document]) -> None:
    """Raises `DataError` where a document's file is not the one any more that was measured."""
    for document in documents:
        document.verify_unchanged()


def find_unchanged(
    sources: Iterable[Mapping[str, Any]], place: Callable[[str], Path | None] = Path
) -> list[Document] | None:
    """The sources that a model tells of (name, bytes, sha256), measured, if all still lie where they lay, unchanged;
    otherwise None. What can't be one is not read: the names come from whoever made the model.

    Args:
        place: where a source of that name would be.

    Raises:
        DataError: one can't be read.
    """
    documents = []
    for source in sources:
        path = place(source["name"])
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
    """One sha256 over the contents and order of measured documents."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.sha256} {document.size}\n".encode())
    return digest.hexdigest()
