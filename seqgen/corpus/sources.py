"""A SOURCE on the command line to documents, which can be read repeatedly.

A source is a file, a folder (walked, sorted), a glob, `-`, a name from the catalogue, or an `hf:` dataset. An existing
path has priority over a catalogue name. A document is a stream of bytes of any length, never held in memory here.
The bytes of a file decide its form (`opening`). Parquet and Arrow files are read as datasets, and so is any other table
if a text column is named. The members of an archive are documents, like the files of a folder, and so are the tunes of
a book in ABC where music is read.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import BinaryIO

from seqgen.corpus import hub
from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.catalogue.fetch import materialise
from seqgen.corpus.dataset_rows import AS_TEXT, RowFormat
from seqgen.corpus.documents import (
    Document,
    Spool,
    Warn,
    check_unchanged,
    checksum_documents,
    find_unchanged,
    fingerprint,
    is_tune_book,
    remarks,
    split_member,
)
from seqgen.corpus.opening import archives
from seqgen.corpus.opening.form import FileForm, quoted
from seqgen.corpus.opening.identify import UnclearEncodingError, UnreadableKindError, identify, read_head
from seqgen.corpus.opening.signatures import Kind
from seqgen.corpus.tables.texts import column_text
from seqgen.decompression import is_hidden_name
from seqgen.errors import DataError, UserError, did_you_mean
from seqgen.quantities import plural, shortened_list
from seqgen.specs.tasks import RowLayout
from seqgen.streams import (
    Progress,
    check_stdin_once,
    has_input,
    open_input,
    read_chunks,
    reason,
    refuse_device,
    suffix_of,
)

__all__ = [
    "Document", "FileTest", "ReadOptions", "Spool", "Warn", "check_unchanged", "checksum_documents", "find",
    "find_unchanged", "fingerprint", "needs_network",
]  # fmt: skip

_COMPANIONS = re.compile(
    r"(readme|licen[cs]e|copying|changelog|contributing|authors|citation)([-_.].*)?", re.IGNORECASE
)
_TRAINING_PARTS = ("train", "training")
_OTHER_PARTS = ("test", "testing", "valid", "validation", "val", "dev", "eval")
_PART = re.compile(r"[a-z]+")  # of a name: its first word
_MAX_BESIDE = 1000  # files whose names are compared with a mistyped one
_WAIT_SECONDS = 2.0  # for data from a pipe, before it is reported


@dataclass(frozen=True)
class ReadOptions:
    """How documents are read. Raises `UserError` for an encoding of bytes that aren't decoded.

    Attributes:
        encoding: of text, as the user gave it; None to recognise it.
        decode: whether to decode text at all, or to take its bytes as they are.
        sheet: of the model's training data (see `Document`).
    """

    encoding: str | None = None
    decode: bool = True
    sheet: str | None = None

    def __post_init__(self) -> None:
        if self.encoding is not None and not self.decode:
            raise UserError("--encoding can't be used with the tokenizer byte, which takes bytes as they are")


AS_FOUND = ReadOptions()


@dataclass(frozen=True)
class FileTest:
    """Which files of a folder a task reads: those with one of the suffixes, compressed or not, or else all text."""

    suffixes: tuple[str, ...] = ()
    noun: str = "text"  # for messages
    kinds: tuple[str, ...] = ()  # of files, by their bytes, that are read whatever they are called
    formats: str = ""  # for messages, where it is no text that is read


TEXT_FILES = FileTest()


def find(
    sources: Sequence[str],
    spool: Spool,
    progress: Progress | None = None,
    warn: Warn = lambda _: None,
    accepts: FileTest = TEXT_FILES,
    rows: RowFormat = AS_TEXT,
    reading: ReadOptions = AS_FOUND,
    report: Callable[[str], None] = lambda _: None,
) -> list[Document]:
    """Return the documents of `sources`, in the order given.

    Args:
        spool: stores data that can be read only once (standard input, named pipes, members of archives).
        progress: called during downloads.
        warn: called with a sentence about what is left out, and what is read otherwise than its name tells.
        accepts: selects the files of a folder. A file named directly is always read.
        rows: how to read the rows of datasets and tables.
        reading: how to read the documents.
        report: called with what is waited for.

    Raises:
        DataError: a source does not exist, can't be read, is of a kind that the task doesn't read, or has no documents.
    """
    found: list[Document] = []
    check_stdin_once(sources)
    for source in sources:
        skipped: list[str] = []
        documents = _Finder(spool, progress, skipped.append, accepts, rows, reading, report).find(source)
        if not documents:
            detail = f" ({skipped[0].removeprefix(source + ': ')})" if skipped else ""
            raise DataError(f"{source!r} has no {accepts.noun}{detail}")
        for sentence in skipped:
            warn(sentence)
        found += documents if reading.sheet is None else [replace(each, sheet=reading.sheet) for each in documents]
    for sentence in remarks(found, is_learnt=rows.layout == RowLayout.TEXT and accepts == TEXT_FILES):
        warn(sentence)
    return found


def is_companion(name: str) -> bool:
    """Whether a file is about the data that it lies beside, by its name: a README, a licence."""
    return _COMPANIONS.fullmatch(PurePath(name).name) is not None


def is_part(name: str) -> bool:
    """Whether a file or folder is a part of a data set, by its name: its training, validation or test set."""
    return _part(name) in (*_TRAINING_PARTS, *_OTHER_PARTS)


def _part(name: str) -> str:
    match = _PART.match(name.lower())
    return match[0] if match else ""


def _names_beside(source: str) -> list[str]:
    """The names of corpora and of files in the same folder, for messages."""
    folder = os.path.dirname(source)
    with contextlib.suppress(OSError):
        found = itertools.islice(os.scandir(os.path.expanduser(folder) or "."), _MAX_BESIDE)
        return [*catalogue.load(), *(os.path.join(folder, entry.name) for entry in found)]
    return list(catalogue.load())


def needs_network(source: str) -> bool:
    """Return whether reading a source would use the network."""
    if source.startswith("hf:"):
        return True
    if os.path.exists(os.path.expanduser(source)):
        return False
    entry = catalogue.load().get(source)
    return entry is not None and entry.address is not None


def read_standard_input(spool: Spool, report: Callable[[str], None] = lambda _: None) -> Path:
    """Store standard input, and return its path. It can be called again."""
    if spool.standard_input is None:
        spool.standard_input = _store(spool, open_input("-"), "standard input", report)
    return spool.standard_input


def read_named_pipe(spool: Spool, path: Path, name: str, report: Callable[[str], None] = lambda _: None) -> Path:
    """Store what a named pipe, as in `<(zcat x.gz)`, has, and return its path. It can be called again.

    Raises `DataError` if it can't be read.
    """
    if path not in spool.named_pipes:
        try:
            with open(path, "rb") as stream:
                spool.named_pipes[path] = _store(spool, stream, name, report)
        except OSError as error:
            raise DataError(f"cannot read {name!r}: {reason(error)}") from error
    return spool.named_pipes[path]


def _store(spool: Spool, stream: BinaryIO, name: str, report: Callable[[str], None]) -> Path:
    """Store what arrives through a pipe, compressed or not."""
    refuse_device(stream, quoted(name))
    if not has_input(stream, _WAIT_SECONDS):
        report(f"waiting for {name}")
    return spool.store(read_chunks(stream, name), name)


@dataclass(frozen=True)
class _Finder:
    """See `find`."""

    spool: Spool
    progress: Progress | None
    warn: Warn
    accepts: FileTest
    rows: RowFormat
    reading: ReadOptions
    report: Callable[[str], None]

    def find(self, source: str) -> list[Document]:
        if source == "-":
            return self._file("-", read_standard_input(self.spool, self.report))
        if source.startswith("hf:"):
            return [self._rows(source, hub.parse(source))]
        if not source:
            raise DataError("'' is not a source; is a variable empty?")
        expanded = os.path.expanduser(source)
        if os.path.exists(expanded):  # unlike Path.exists, no error for a name that is too long
            return self._on_disk(source, Path(expanded))
        if (within := split_member(expanded)) is not None:
            return self._members(source.removesuffix(within[1]).rstrip("/"), within[0], within[1])
        if any(mark in source for mark in "*?["):
            matches = sorted(glob.glob(expanded, recursive=True))
            if not is_hidden_name(os.path.basename(expanded)):  # glob itself leaves out the other hidden files
                matches = [match for match in matches if not is_hidden_name(os.path.basename(match))]
            if not matches:
                raise DataError(f"no file matches {source!r}")
            matches = _outermost(matches)
            return [document for match in matches for document in self._on_disk(match, Path(match))]
        if os.sep in source or Path(expanded).suffix:
            hint = did_you_mean(source, _names_beside(source), cutoff=0.75)
            raise DataError(f"there is no file or folder {source!r}{hint}")
        entry = catalogue.find(source)
        paths = materialise(entry, cache_folder(), self.progress)
        names = [path.name if len(paths) > 1 else source for path in paths]
        return [Document(name, path, form=self._identify(name, path)) for name, path in zip(names, paths, strict=True)]

    def _on_disk(self, name: str, path: Path) -> list[Document]:
        if path.is_dir():
            if self.rows.layout != RowLayout.NONE and hub.is_saved_dataset(path):
                return [self._dataset(name, path)]
            if is_model_folder(path):
                raise DataError(f"{name!r} is a model, not {self.accepts.noun}; name the data that it was trained on")
            return self._walk(path)
        if not path.is_file():  # it can be read only once
            path = read_named_pipe(self.spool, path, name, self.report)
        return self._file(name, path)

    def _file(self, name: str, path: Path) -> list[Document]:
        """The document of a file that is named directly, or those of an archive."""
        form = self._identify(name, path)
        return self._members(name, path) if form.kind in archives.KINDS else self._documents(name, path, form)

    def _members(self, name: str, path: Path, only: str = "") -> list[Document]:
        """The members of an archive that `accepts` selects; with `only`, the member or folder of that name."""
        form = self._identify(name, path)
        if form.kind not in archives.KINDS and not is_tune_book(form):
            raise DataError(f"{name!r} is not an archive: it has no {only!r}")
        members = self.spool.unpack(path, form, name)
        if only:
            found = [(member, file) for member, file in members if member == only]
            found = found or [(member, file) for member, file in members if member.startswith(only + "/")]
            if not found:
                what = "book" if is_tune_book(form) else "archive"
                raise DataError(f"the {what} {name!r} has no {only!r}")
            members = found
        return self._select(name, [(f"{name}/{member}", file) for member, file in members])

    def _identify(self, name: str, path: Path) -> FileForm:
        """What a file is. Raises `DataError` for a kind that the task doesn't read."""
        shown = "standard input" if name == "-" else name
        if self.rows.layout == RowLayout.NONE:  # its reader says what is wrong with a file
            form = identify(path, shown, decode=False, formats=self.accepts.formats)
            return form if form.kind in archives.KINDS else replace(form, encoding="")
        form = identify(path, shown, self.reading.encoding, self.reading.decode)
        unreadable = _UNREADABLE.get(form.kind)
        if unreadable is None or self.rows.layout in unreadable[0] or not self.reading.decode:
            return form
        raise UnreadableKindError(shown, unreadable[1], self.accepts.noun)

    def _documents(self, name: str, path: Path, form: FileForm) -> list[Document]:
        """The document of a file, or those of the tunes in a book."""
        if is_tune_book(form):
            found = self.spool.unpack(path, form, name)
            if len(found) > 1:
                tune = FileForm(encoding="", markup=form.markup)
                return [Document(f"{name}/{number}", file, form=tune) for number, file in found]
        return [self._document(name, path, form)]

    def _document(self, name: str, path: Path, form: FileForm) -> Document:
        layout, column = self.rows
        is_dataset = form.kind == "arrow" or (form.kind == "parquet" and layout != RowLayout.TABLE)
        has_column = column is not None and layout == RowLayout.TEXT
        if column is not None and has_column and self.reading.decode and form.is_text and not _is_json(path):
            rows = column_text(Document(name, path, form=form), column, self.warn)
            return Document(name, self.spool.store(rows, name))
        if layout != RowLayout.NONE and self.reading.decode and (is_dataset or has_column):
            return self._dataset(name, self._plain(name, path, form))
        return Document(name, path, form=form)

    def _plain(self, name: str, path: Path, form: FileForm) -> Path:
        """A path whose file the library `datasets` can read: decompressed where its name doesn't say so, and UTF-8."""
        named = form.compressions == (path.suffix.lower().removeprefix("."),)
        if form.is_utf8 and not form.mark and (named or not form.compressions):
            return path
        return self.spool.store(Document(name, path, form=form).chunks(), name, suffix_of(path))

    def _dataset(self, name: str, path: Path) -> Document:
        return self._rows(name, hub.local_dataset(name, path))

    def _rows(self, name: str, dataset: hub.DatasetName) -> Document:
        path = hub.fetch(dataset, self.rows, self.progress)
        is_table = self.rows.layout == RowLayout.TABLE
        return Document(name, path, form=FileForm(encoding="", kind="parquet") if is_table else FileForm())

    def _walk(self, folder: Path) -> list[Document]:
        """Every file below `folder` that `accepts` selects, in sorted order.

        Skips hidden files, locks of open documents, models, and links to files outside the folder: in an untrusted
        folder they could lead to private files.
        """
        files, models, outside = [], [], 0
        root = folder.resolve()
        for parent, folders, names in os.walk(folder):
            models += [Path(parent) / name for name in sorted(folders) if is_model_folder(Path(parent) / name)]
            folders[:] = sorted(
                name for name in folders if not is_hidden_name(name) and Path(parent) / name not in models
            )
            for name in sorted(names):
                path = Path(parent) / name
                if is_hidden_name(name) or not path.is_file():
                    continue
                if path.is_symlink() and not path.resolve().is_relative_to(root):
                    outside += 1
                else:
                    files.append((str(path), path))
        if outside:
            links = "links skipped: they lead" if outside > 1 else "link skipped: it leads"
            self.warn(f"{folder}: {outside:,} {links} out of the folder (to read the file, name it)")
        if models:
            shown = shortened_list(models, 3, lambda model: str(model.relative_to(folder)))
            what = "it is a model" if len(models) == 1 else "they are models"
            self.warn(f"{folder}: {shown} left out: {what}")
        return self._select(str(folder), files)

    def _select(self, source: str, files: Iterable[tuple[str, Path]]) -> list[Document]:
        """The files of a folder or an archive that `accepts` selects. Reports those that it doesn't, and why."""
        documents: list[Document] = []
        rejected: list[tuple[str, str]] = []
        files = list(files)
        if self.rows.layout in (RowLayout.RECORDS, RowLayout.TABLE):  # of which a README has none
            about = [file for file in files if is_companion(file[0])]
            if len(about) < len(files):
                rejected = [(name, "about the data") for name, _ in about]
                files = [file for file in files if file not in about]
        for name, path in files:
            why = f"not {self.accepts.noun}"
            try:
                form = self._identify(name, path)
                if form.kind in archives.KINDS:
                    why = "an archive; name it to read its files"
                elif path.stat().st_size == 0 or (form.compressions and not _has_bytes(path)):
                    why = "empty"
                elif self._accepts(path, name, form):
                    documents += self._documents(name, path, form)
                    continue
            except UnreadableKindError as error:
                why = error.kind.noun
            except UnclearEncodingError:
                why = "its encoding is unclear: name it with --encoding"
            except OSError as error:
                raise DataError(f"cannot read {name!r}: {reason(error)}") from error
            rejected.append((name, why))
        if rejected:
            shown = shortened_list(rejected, 3, lambda file: f"{file[0].removeprefix(source).lstrip('/')} ({file[1]})")
            self.warn(f"{source}: {plural(len(rejected), 'file')} left out: {shown}")
        self._warn_of_parts(source, documents)
        return documents

    def _warn_of_parts(self, source: str, documents: Iterable[Document]) -> None:
        """Report a folder that holds a training set and a test or validation set: both are read."""
        parts: dict[str, str] = {}
        for document in documents:
            first = document.name.removeprefix(source).lstrip("/\\").replace("\\", "/").partition("/")[0]
            parts.setdefault(_part(first), first)
        train = next((parts[part] for part in _TRAINING_PARTS if part in parts), None)
        other = next((parts[part] for part in _OTHER_PARTS if part in parts), None)
        if train and other:
            self.warn(
                f"{source} has both {train!r} and {other!r}, and all of it is read; to learn from one and validate on "
                f"the other, name {source}/{train}, and {source}/{other} with --valid"
            )

    def _accepts(self, path: Path, name: str, form: FileForm) -> bool:
        if self.accepts.suffixes:
            return form.content in self.accepts.kinds or suffix_of(Path(name)) in self.accepts.suffixes
        return True


# By kind: the layouts of the tasks that read such files, and what to tell the others.
_UNREADABLE: dict[str, tuple[tuple[RowLayout, ...], Kind]] = {
    "midi": ((), Kind("a MIDI file", "train on it with --task music")),
    "mxl": ((), Kind("a MusicXML score", "train on it with --task music")),
    "xlsx": (
        (RowLayout.RECORDS, RowLayout.TABLE),
        Kind("an Excel workbook", "name a task for tables, such as --task dialogue, or save the sheet as CSV"),
    ),
    "binary": ((), Kind("binary data", "give text, or learn its bytes with --tokenizer byte")),
}


def _outermost(matches: Iterable[str]) -> list[str]:
    """Leave out what lies below another match: `**` matches a folder, which is walked, and all that is in it."""
    found = {os.path.normpath(match): match for match in matches}
    return [match for path, match in found.items() if not any(str(parent) in found for parent in Path(path).parents)]


def _is_json(path: Path) -> bool:
    return read_head(path, 4096).lstrip().startswith((b"{", b"["))


def is_model_folder(path: Path) -> bool:
    """Whether a folder is a model, by the names of its files."""
    return (path / "config.json").is_file() and (path / "model.safetensors").is_file()


def _has_bytes(path: Path) -> bool:
    """Whether a compressed file has contents. A damaged one counts, and is reported later."""
    try:
        with contextlib.closing(open_input(path)) as stream:
            return bool(stream.read(1))
    except Exception:  # of any decompressor
        return True
