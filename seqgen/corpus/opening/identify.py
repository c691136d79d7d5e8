"""What a file is, by its bytes."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from seqgen.corpus.opening import encodings, signatures
from seqgen.corpus.opening.form import TEXT, FileForm, as_utf8, encoding_name, quoted, text_codec
from seqgen.corpus.opening.signatures import Kind
from seqgen.errors import DataError
from seqgen.music.notation.files import notation_of
from seqgen.streams import open_decompressed, suffix_of

HEAD_BYTES = 1 << 16
_SPOTS, _SPOT_BYTES = 16, 1 << 12  # of a long file, besides its head


class UnreadableKindError(DataError):
    """A file of a known kind that no task reads. `kind` names it."""

    def __init__(self, name: str, kind: Kind, wanted: str = "text", formats: str = "") -> None:
        """`formats`: where no text is wanted, the formats that are; most advice is about text."""
        advice = "" if formats and kind.advice not in signatures.ANY_ADVICE else f"; {kind.advice}"
        super().__init__(f"{quoted(name)} is {kind.name}, not {formats or wanted}{advice}")
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        """Exceptions are unpickled from their message alone, which is not what `__init__` takes."""
        return DataError.__new__, (type(self), *self.args), vars(self)


class UnclearEncodingError(DataError):
    """Text whose encoding is not plain."""


def identify(path: Path, name: str, encoding: str | None = None, decode: bool = True, formats: str = "") -> FileForm:
    """Return what a file is. A damaged compressed file counts as text: reading it reports the damage.

    Args:
        path: the file.
        name: what messages call it.
        encoding: the encoding of text, given by the user; None to recognise it.
        decode: whether text is to be decoded. If not, any file is read as bytes.
        formats: without decoding: those that are expected, as messages name them; then known kinds are refused too.

    Raises:
        UnreadableKindError: it is of a known kind that no task reads (a Word document, an image, …).
        UnclearEncodingError: it is text, but two readings are plausible, or none is.
        DataError: it can't be opened.
    """
    stream, compressions = open_decompressed(path)
    with contextlib.closing(stream):
        try:
            head = stream.read(HEAD_BYTES)
        except Exception:  # of any decompressor; reading the whole file reports it
            return FileForm(compressions)
        kind, known = _kind(path, head, compressions)
        if known is not None and (decode or formats):
            raise UnreadableKindError(name, known, formats=formats)
        if kind:
            return FileForm(compressions, "", kind=kind)
        if not decode:
            notation = notation_of(head)
            is_text = notation or not encodings.is_binary(head)
            return FileForm(compressions, "", kind=TEXT if is_text else "binary", markup=notation)
        return _text_form(stream, head, compressions, name, encoding)


def _kind(path: Path, head: bytes, compressions: tuple[str, ...]) -> tuple[str, Kind | None]:
    """The kind of data that is no text, and that of a file that no task reads."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _compressed_zip_kind(head) if compressions else _zip_kind(path)
    if signatures.is_tar(head):
        return "tar", None
    if signatures.is_midi(head):
        return "midi", None
    if signatures.is_parquet(head):
        return "parquet", None
    if head.startswith(b"ARROW1\0\0") or (head.startswith(b"\xff\xff\xff\xff") and suffix_of(path) == ".arrow"):
        return "arrow", None
    known = signatures.kind_of(head, suffix_of(path))
    return ("binary", known) if known else ("", None)


def _zip_kind(path: Path) -> tuple[str, Kind | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            mimetype = archive.read("mimetype")[:200].decode("latin-1") if _is_small(archive, "mimetype") else ""
    except Exception:  # zipfile raises many types for a damaged archive
        return "binary", Kind("a damaged zip archive", "get it again")
    if signatures.WORKBOOK_MEMBER in names:
        return "xlsx", None
    if signatures.is_score(names, mimetype):
        return "mxl", None
    known = signatures.kind_of_zip(names, mimetype)
    return ("binary", known) if known else ("zip", None)


def _compressed_zip_kind(head: bytes) -> tuple[str, Kind | None]:
    """As `_zip_kind`, by the members at the beginning, because the directory lies at the end."""
    names = signatures.names_in_zip(head)
    mimetype = head[38:238].decode("latin-1") if names[:1] == ["mimetype"] else ""
    if signatures.is_score(names, mimetype):
        return "mxl", None
    known = signatures.WORKBOOK if signatures.WORKBOOK_MEMBER in names else signatures.kind_of_zip(names, mimetype)
    return ("binary", known) if known else ("zip", None)


def _is_small(archive: zipfile.ZipFile, name: str) -> bool:
    with contextlib.suppress(KeyError):
        return archive.getinfo(name).file_size < 1 << 10
    return False


def _text_form(
    stream: BinaryIO, head: bytes, compressions: tuple[str, ...], name: str, encoding: str | None
) -> FileForm:
    if encoding is not None:
        codec = text_codec(encoding)
        return FileForm(compressions, codec, encodings.mark_of(head) == codec, strict=True)
    marked = encodings.mark_of(head)
    codec = marked or encodings.wide_without_mark(head)
    if not codec:
        if encodings.is_binary(head):
            return FileForm(compressions, "", kind="binary")
        codec = recognise(_samples(stream, head, not compressions), name)
    form = FileForm(compressions, codec, bool(marked))
    start = b"".join(as_utf8([head[:1024]], form, name))
    return FileForm(compressions, codec, bool(marked), markup=signatures.markup_of(start))


def recognise(samples: list[bytes], name: str) -> str:
    """Return the codec of text, by its head and samples from further on, which may be cut anywhere.

    Raises `UnclearEncodingError` if two readings are plausible. Text with a few stray bytes counts as UTF-8.
    """
    if all(encodings.is_utf8(sample, is_cut=True) for sample in samples):
        has_escapes = b"\x1b$" in samples[0] and all(sample.isascii() for sample in samples)
        return "iso2022_jp" if has_escapes and encodings.reads_japanese(samples[0]) else "utf-8"
    found = encodings.guess([samples[0], *map(_whole_lines, samples[1:])])
    if found.codec:
        return found.codec
    if len(found.alternatives) == 1:
        codec = found.alternatives[0]
        raise UnclearEncodingError(
            f"{quoted(name)} is not UTF-8, and reads poorly as {encoding_name(codec)}; give its --encoding ({codec} to "
            "take it for that)"
        )
    if found.alternatives:
        readings = " or ".join(f"{encoding_name(codec)} (--encoding {codec})" for codec in found.alternatives[:3])
        raise UnclearEncodingError(f"{quoted(name)} is not UTF-8, and may be {readings}; say which")
    return "utf-8"


def _samples(stream: BinaryIO, head: bytes, seekable: bool) -> list[bytes]:
    """The head, and spots all along a long file that can be read from anywhere."""
    if len(head) < HEAD_BYTES:
        return [head]
    found = [head[: head.rfind(b"\n") + 1] or head]
    if seekable:
        with contextlib.suppress(OSError):
            size = stream.seek(0, 2)
            step = max((size - HEAD_BYTES) // _SPOTS, 1)
            for start in {min(start, size - _SPOT_BYTES) for start in range(HEAD_BYTES + step - 1, size, step)}:
                stream.seek(max(start, HEAD_BYTES))
                found.append(stream.read(_SPOT_BYTES))
    return found


def _whole_lines(sample: bytes) -> bytes:
    """A sample without the parts of lines at its ends, within which characters may be cut."""
    return sample[sample.find(b"\n") + 1 : sample.rfind(b"\n") + 1]


def read_head(path: Path, size: int = HEAD_BYTES) -> bytes:
    """Return the first `size` bytes of a file, decompressed, as UTF-8 without a mark; b"" if it is no text or damaged.

    Parquet files, workbooks and MIDI files are returned as they are. Never raises.
    """
    try:
        form = identify(path, str(path))
        stream, _ = open_decompressed(path)
        with contextlib.closing(stream):
            if form.is_utf8:
                stream.read(form.mark_size)
                return bytes(stream.read(size))
            return b"".join(as_utf8(_chunks(stream, size), form, str(path)))[:size]
    except Exception:  # decompressors raise many types; reading the file reports the error
        return b""


def _chunks(stream: BinaryIO, size: int) -> Iterable[bytes]:
    yield stream.read(4 * size)
