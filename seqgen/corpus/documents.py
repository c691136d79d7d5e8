"""Documents: files that can be read repeatedly, as they were when their checksums were taken.

A document is a stream of bytes of any length, never held in memory here. Text is UTF-8, whatever the file has.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NamedTuple

from seqgen.corpus.cache import store as cache
from seqgen.corpus.opening import archives
from seqgen.corpus.opening.form import FileForm, as_utf8, quoted, text_codec
from seqgen.corpus.opening.identify import identify
from seqgen.corpus.opening.validation import EncodingCheck, line_at
from seqgen.decompression import CHUNK_SIZE
from seqgen.errors import DataError, UserError
from seqgen.music.notation import files
from seqgen.streams import (
    COMPRESSED_SUFFIXES,
    DecompressedSize,
    Progress,
    limited,
    open_decompressed,
    read_chunks,
    reason,
    suffix_of,
)

Warn = Callable[[str], None]
_COMPRESSED_DATA = {
    "gz": "gzip data", "xz": "xz data", "bz2": "bzip2 data", "zst": "zstd data", "zip": "a zip archive of one file",
}  # fmt: skip
_CHECKED_BYTES = 1 << 26  # that are stored before the space on the disk is looked at again
_RESERVE = 1 << 28  # bytes of a disk, or a twentieth of a smaller one, that stored data leaves free
_TAGS = "its tags are learnt as text; pandoc makes plain text of it"
_MARKUP = {
    "HTML": _TAGS, "XML": _TAGS, "MusicXML": "its tags are learnt as text; --task music learns the music",
    "e-mail": "its headers and encoded parts are learnt as text; export the messages as plain text",
}  # fmt: skip


def is_tune_book(form: FileForm) -> bool:
    """Whether a file that is read as music may hold several tunes."""
    return form.markup == "ABC"


@dataclass(frozen=True)
class Document:
    """A file, or the data from a pipe.

    Once its checksum is known, data appended later is not read, and reading a changed file is an error.

    Attributes:
        size: bytes that `chunks` yields; −1 before `checksum_documents`.
        stamp: the file's stamp at that time; a different one makes reading compare checksums.
        form: what the file is, by its bytes. By default UTF-8, which is read as it is.
        sheet: that of the model's training data, which is read of a workbook with several; None for none.
        check: called for each chunk that is read; what it raises ends the reading.
    """

    name: str
    path: Path
    size: int = -1
    sha256: str = ""
    stamp: cache.FileStamp | None = field(default=None, compare=False, repr=False)
    form: FileForm = field(default=FileForm(), repr=False)
    check: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)
    sheet: str | None = field(default=None, compare=False, repr=False)

    @property
    def shown(self) -> str:
        """What messages call it where no quotes are wanted (else `form.quoted`)."""
        return "standard input" if self.name == "-" else self.name

    @property
    def suffix(self) -> str:
        """The suffix of its name, without that of a compression, or of its file: the name of a corpus has none."""
        return suffix_of(Path(self.name)) or suffix_of(self.path)

    def chunks(self, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
        """Yield bytes `start` to `stop`: decompressed, and text as UTF-8 without a byte order mark.

        Raises `DataError` if the file has changed or can't be read.
        """
        offset = 0
        end = self.size if stop is None and self.stamp else stop
        stream, compressions = open_decompressed(self.path)
        with contextlib.closing(stream):
            pieces = read_chunks(stream, self.name)
            if start and self.form.is_seekable and not compressions:
                stream.seek(start + self.form.mark_size)
                offset = start
            elif not self.form.is_utf8 or self.form.mark:
                pieces = as_utf8(pieces, self.form, self.name)
            if len(compressions) > 1:
                pieces = limited(
                    pieces, self.path, self.name
                )  # compressed twice: ten kilobytes may become ten terabytes
            for chunk in pieces:
                self.check()
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

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a source in config.json: name, size, checksum, and its form unless it is plain UTF-8."""
        form: dict[str, Any] = {}
        if self.form.encoding != "utf-8":
            form["encoding"] = self.form.encoding
        if self.form.compressions:
            form["compressions"] = list(self.form.compressions)
        if self.form.mark:
            form["mark"] = True
        return {"name": self.name, "bytes": self.size, "sha256": self.sha256, **form}

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
        for chunk in replace(self, size=-1, stamp=None).chunks(0, self.size):
            digest.update(chunk)
        if digest.hexdigest() != self.sha256:
            raise DataError(f"{self.name!r} changed while it was being read; use a copy that does not change")


@dataclass
class Spool:
    """A context manager that stores data which can be read only once, until the command ends.

    `standard_input`, `named_pipes`: where those that have been read are stored.
    """

    standard_input: Path | None = None
    named_pipes: dict[Path, Path] = field(default_factory=dict)
    _folder: cache.ScratchFolder | None = field(default=None)
    _count: int = 0
    _archives: dict[tuple[str, cache.FileStamp], list[tuple[str, Path]]] = field(default_factory=dict)

    def store(self, chunks: Iterable[bytes], name: str, suffix: str = "") -> Path:
        """Write a stream to a temporary file in the cache, because /tmp may be small.

        Raises `DataError` for a stream that ends with an error, or would fill the disk.
        """
        done = checked = 0
        try:
            self._folder = self._folder or cache.ScratchFolder.make()
            self._count += 1
            path = self._folder.path / f"{self._count}{suffix}"
            with open(path, "wb") as target:
                for chunk in chunks:
                    target.write(chunk)
                    done += len(chunk)
                    if done - checked > _CHECKED_BYTES:
                        checked = done
                        _check_space(path.parent, done, name)
        except OSError as error:
            raise DataError(f"cannot store the data from {name}: {reason(error)}") from error
        return path

    def unpack(self, path: Path, form: FileForm, name: str) -> list[tuple[str, Path]]:
        """Store the members of an archive, or the tunes of a book in ABC.

        Return the name and path of each, members sorted by name, tunes as they stand.
        """
        key = os.path.realpath(path), cache.stamp(path)
        if key not in self._archives and is_tune_book(form):
            book, found = b"".join(Document(name, path, form=form).limited()), []
            size = DecompressedSize(path.stat().st_size, repr(name))
            for number, tune in files.tunes(book):  # each repeats the fields that hold for the whole book
                size.count(archives.MEMBER_BYTES + len(tune))
                found.append((number, self.store([tune], f"{name}/{number}", ".abc")))
            self._archives[key] = found
        elif key not in self._archives:
            if form.kind == "zip" and form.compressions:  # it is read from its end
                whole = Document(name, path, form=form).limited()
                path, form = self.store(whole, name), FileForm(kind="zip")
            found = [
                (member, self.store(chunks, f"{name}/{member}", PurePosixPath(member).suffix[:16]))
                for member, chunks in archives.members(path, form, name)
            ]
            self._archives[key] = sorted(found)
        return self._archives[key]

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.close()


def _check_space(folder: Path, done: int, name: str) -> None:
    """Raise `DataError` if hardly any space is left on the disk of a folder, in which `done` bytes were stored."""
    disk = shutil.disk_usage(folder)
    if disk.free < min(_RESERVE, disk.total // 20):
        raise DataError(
            f"cannot store the data from {name}: {done:,} bytes of it have all but filled the disk of "
            f"{str(folder.parent)!r}; SEQGEN_CACHE names another folder"
        )


def checksum_documents(
    documents: Iterable[Document],
    warn: Warn = lambda _: None,
    progress: Progress | None = None,
    is_learnt: bool = False,
) -> list[Document]:
    """Read every document once and return it with its size and sha256. Empty documents are skipped with a warning.

    A large file that was read before and has not changed since is not read again.

    Args:
        is_learnt: whether text is learnt as it stands, so that bytes that are not in its encoding are reported.

    Raises:
        DataError: a document can't be read, its encoding is unclear, or all are empty.
    """
    documents = list(documents)
    total = _total(documents) if progress else None
    checked, corrected = [], []
    empty: list[str] = []
    damaged: list[tuple[Document, int, int]] = []
    strays: dict[str, list[tuple[Document, int, int]]] = {"NUL byte": [], "byte order mark within the text": []}
    done = 0
    for document in documents:
        began = time.time_ns()
        before = _stamp(document)
        measured = _measured(document, before)
        if measured is None:
            watch = functools.partial(_advance, progress, done, total)
            measured, form = _measure(document, watch)
            if form != document.form:
                document = replace(document, form=form)
                corrected.append(document)
            if measured.encoding == document.form.encoding:
                cache.store_checksum(document.path, before, began, measured._asdict())
        done += measured.size
        document = replace(document, size=measured.size, sha256=measured.sha256, stamp=before)
        if measured.size:
            checked.append(document)
        else:
            empty.append(quoted(document.name))
        if measured.damaged and is_learnt:
            damaged.append((document, measured.damaged, measured.first))
        if measured.nuls and is_learnt:
            strays["NUL byte"].append((document, measured.nuls, measured.first_nul))
        if measured.marks and is_learnt:
            strays["byte order mark within the text"].append((document, measured.marks, measured.first_mark))
    if not checked:
        raise DataError(f"{', '.join(empty[:3]) or 'the source'} is empty: there is nothing to read")
    for name in empty:
        warn(f"{name} is empty, and is skipped")
    for sentence in remarks(corrected, is_learnt):
        warn(sentence)
    for sentence in [*_damage(damaged), *_strays(strays)]:
        warn(sentence)
    return checked


def _advance(progress: Progress | None, done: int, total: int | None, read: int) -> None:
    if progress:
        progress(done + read, total)


class _Measured(NamedTuple):
    """The result of reading a document once; see `EncodingCheck`. `encoding`: in which it was read."""

    size: int
    sha256: str
    encoding: str
    damaged: int
    first: int
    nuls: int
    first_nul: int
    marks: int
    first_mark: int


def _measured(document: Document, before: cache.FileStamp) -> _Measured | None:
    """The result of an earlier reading of a large file in the same way."""
    note = cache.load_checksum(document.path, before)
    try:
        found = _Measured(**{name: note[name] for name in _Measured._fields})
    except KeyError:
        return None
    fits = [isinstance(value, type_) for value, type_ in zip(found, (int, str, str, *6 * [int]), strict=True)]
    return found if all(fits) and found.encoding == document.form.encoding and not document.form.strict else None


def _measure(document: Document, progress: Callable[[int], None]) -> tuple[_Measured, FileForm]:
    """Read a document, and again if it turns out to have another encoding. Return its form too."""
    check, digest = EncodingCheck(document.form), _Digest()
    size = 0
    with contextlib.closing(digest):
        for chunk in document.chunks():
            digest.update(chunk)
            check.feed(chunk)
            size += len(chunk)
            progress(size)
        check.finish()
        form = check.corrected(document.shown)
        if form is not None:
            return _measure(replace(document, form=form), progress)
        measured = _Measured(
            size, digest.hexdigest(), document.form.encoding, check.damaged, check.first,
            check.nuls, check.first_nul, check.marks, check.first_mark,
        )  # fmt: skip
    return measured, document.form


class _Digest:
    """A sha256 that is computed beside the reading of the next chunk."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._worker: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def update(self, chunk: bytes) -> None:
        self._wait()
        if len(chunk) < CHUNK_SIZE:
            self._sha256.update(chunk)
            return
        self._worker = self._worker or ThreadPoolExecutor(1)
        self._pending = self._worker.submit(self._sha256.update, chunk)

    def hexdigest(self) -> str:
        self._wait()
        return self._sha256.hexdigest()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def close(self) -> None:
        if self._worker is not None:
            self._worker.shutdown()


def _damage(found: list[tuple[Document, int, int]]) -> Iterator[str]:
    """Sentences about bytes that are not in the encoding of their text, one for each encoding."""
    groups: dict[str, list[tuple[Document, int, int]]] = {}
    for entry in found:
        groups.setdefault(entry[0].form.encoding, []).append(entry)
    for encoding, entries in groups.items():
        document, _, first = entries[0]
        count = sum(damaged for _, damaged, _ in entries)
        line = line_at(document.chunks(), first)
        name = document.shown
        others = f" and {len(entries) - 1:,} more" if len(entries) > 1 else ""
        if encoding == "utf-8":
            what = "byte is not UTF-8, and is learnt as it stands"
            if count > 1:
                what = "bytes are not UTF-8, and are learnt as they stand"
            yield f"{count:,} {what} ({name}:{line}{others}); --encoding names another encoding"
        else:
            what = "character is" if count == 1 else "characters are"
            yield f"{count:,} {what} not {document.form.encoding_name}, and became U+FFFD ({name}:{line}{others})"


def _strays(found: dict[str, list[tuple[Document, int, int]]]) -> Iterator[str]:
    """Sentences about characters that no writer meant."""
    for what, entries in found.items():
        if entries:
            document, _, first = entries[0]
            count = sum(number for _, number, _ in entries)
            noun, *rest = what.partition(" within")
            nouns, are = (f"{noun}s{''.join(rest)}", "are") if count > 1 else (what, "is")
            name = document.shown
            yield f"{count:,} {nouns} {are} learnt ({name}:{line_at(document.chunks(), first)})"


def _total(documents: Iterable[Document]) -> int | None:
    """The total size in bytes; None if any document is read otherwise than it stands in its file."""
    documents = list(documents)
    if not all(document.form.is_seekable for document in documents):
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
    sources: Iterable[Mapping[str, Any]],
    locate: Callable[[str], Path] = Path,
    spool: Spool | None = None,
) -> list[Document] | None:
    """Return the sources listed in a model (`Document.to_json`), if all of them still exist unchanged; else None.

    The list is untrusted input: a file of another size is not read, and of one that is decoded or decompressed no more
    than the size.

    Args:
        locate: the path that a source of that name would have.
        spool: stores the members of archives; without it, these count as changed.

    Raises:
        DataError: a file can't be read.
    """
    documents = []
    for source in sources:
        found = _recorded(source, locate, spool)
        if found is None:
            return None
        try:
            (document,) = checksum_documents([found], progress=functools.partial(_check_size, source["bytes"]))
        except _OtherSizeError:
            return None
        if document.sha256 != source["sha256"]:
            return None
        documents.append(document)
    return documents


class _OtherSizeError(Exception):
    """A file has more bytes than a source that is listed in a model."""


def _check_size(size: int, read: int, total: int | None) -> None:
    if read > size:
        raise _OtherSizeError


def _recorded(source: Mapping[str, Any], locate: Callable[[str], Path], spool: Spool | None) -> Document | None:
    """The document of a source listed in a model, if it exists and may be unchanged."""
    name, encoding = source["name"], source.get("encoding", "utf-8")
    found = locate(name)
    path = found if found.is_file() else _member_path(found, spool)
    if path is None:
        return None
    if encoding in ("", "utf-8") and not source.get("compressions"):  # no other file is opened
        mark_size = FileForm(mark=source.get("mark") is True).mark_size if encoding else 0
        if path.stat().st_size != source["bytes"] + mark_size:
            return None
    try:
        form = identify(path, name, decode=encoding != "")
        if form.is_text and form.encoding != encoding:
            form = replace(form, encoding=text_codec(encoding), mark=False)
    except (DataError, UserError):  # it was something else
        return None
    return Document(name, path, form=form)


def _member_path(path: Path, spool: Spool | None) -> Path | None:
    """The stored member of an archive that a path leads to."""
    within = split_member(str(path))
    if within is None or spool is None:
        return None
    archive, member = within
    try:
        form = identify(archive, str(archive), decode=False)
        if form.kind not in archives.KINDS and not is_tune_book(form):
            return None
        members = dict(spool.unpack(archive, form, str(archive)))
        for book, file in members.items():  # of which the member is a tune
            if member.startswith(f"{book}/") and is_tune_book(form := identify(file, book, decode=False)):
                return dict(spool.unpack(file, form, book)).get(member.removeprefix(f"{book}/"))
        return members.get(member)
    except DataError:
        return None


def split_member(path: str) -> tuple[Path, str] | None:
    """Split a path into that of an archive and the name of a member; None if no file is among its parents."""
    for parent in Path(path).parents:
        if os.path.isfile(parent):
            return parent, PurePath(path).relative_to(parent).as_posix()
    return None


def fingerprint(documents: Iterable[Document]) -> str:
    """Return a sha256 of the contents and order of documents whose checksums are known."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.sha256} {document.size}\n".encode())
    return digest.hexdigest()


def remarks(documents: Iterable[Document], is_learnt: bool) -> Iterator[str]:
    """Yield a sentence for each way in which documents are read otherwise than their names tell.

    Args:
        is_learnt: whether their text is learnt as it stands, markup included.
    """
    found: dict[tuple[str, str], list[str]] = {}

    def note(what: str, then: str, document: Document) -> None:
        found.setdefault((what, then), []).append(document.name)

    for document in documents:
        form = document.form
        if form.is_text and form.encoding not in ("", "utf-8") and not form.strict:
            wrong = "" if form.mark else "; if that is wrong, name its encoding with --encoding"
            note(form.encoding_name, f"read as text{wrong}", document)
        suffix = PurePosixPath(document.name).suffix.lower()
        packed = suffix in COMPRESSED_SUFFIXES and document.path.suffix.lower() == suffix
        if form.compressions and form.compressions[0] != suffix.removeprefix(".") and suffix != ".tgz":
            note(_COMPRESSED_DATA[form.compressions[0]], "read decompressed", document)
        elif packed and not form.compressions and form.is_text and document.path.is_file():
            note("not compressed, in spite of the name", "read as it is", document)
        if form.markup and is_learnt:
            note(form.markup, _MARKUP[form.markup], document)
        if form.kind == "binary" and is_learnt:
            note("binary data", "its bytes are learnt as they are", document)
    for (what, then), names in found.items():
        shown = quoted(names[0])
        if len(names) == 1:
            yield f"{shown} is {what}; {then}"
        else:
            yield f"{len(names):,} files are {what}; {then.replace('its ', 'their ')} (the first is {shown})"
