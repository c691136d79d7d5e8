"""Text without a file: it arrives through a pipe, and is passed on as it arrives, or it is in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, BinaryIO

from seqgen.corpus.opening import encodings
from seqgen.corpus.opening.form import FileForm, as_utf8, quoted, text_codec
from seqgen.corpus.opening.identify import HEAD_BYTES, UnclearEncodingError, UnreadableKindError, recognise
from seqgen.corpus.opening.signatures import Kind, kind_of
from seqgen.decompression import decompressed
from seqgen.streams import read_chunks


def read_pipe(
    stream: BinaryIO,
    name: str,
    warn: Callable[[str], None] = lambda _: None,
    encoding: str | None = None,
    decode: bool = True,
) -> Generator[bytes, None, None]:
    """Yield what arrives, decompressed, and text as UTF-8 without a mark. What arrives first decides what it is.

    Args:
        stream: the pipe.
        warn: called with a sentence if it is read otherwise than as plain UTF-8.
        encoding: of the text; None to recognise it.
        decode: whether to decode it at all.

    Raises:
        DataError: it is damaged, no text, or its encoding is unclear.
    """
    if not hasattr(stream, "peek"):
        yield from read_chunks(stream, name, unbuffered=True)
        return
    source, compressions = decompressed(stream)
    if compressions:
        warn(f"{name} is compressed ({', '.join(compressions)}); read decompressed")
    if not decode:
        yield from read_chunks(source, name, unbuffered=True)
        return
    head = _peek(source)
    form = _form(head, name, encoding)
    if form.encoding != "utf-8" and encoding is None:
        warn(f"{name} is {form.encoding_name}; read as text; if that is wrong, name its encoding with --encoding")
    yield from as_utf8(read_chunks(source, name, unbuffered=True), form, name)


def text_of(data: bytes, name: str, warn: Callable[[str], None] = lambda _: None) -> bytes:
    """Return text that was read whole, as UTF-8 without a mark; as it stands if its encoding is unclear.

    Raises `DataError` if it is a file of a known kind that is no text.
    """
    head = data[:HEAD_BYTES]
    is_plain = encodings.mark_of(head) or encodings.wide_without_mark(head) or not encodings.is_binary(head)
    try:
        form = _form(head, name, None) if is_plain or kind_of(head) else None
    except UnclearEncodingError:
        form = None
    if form is None:
        warn(f"the encoding of {quoted(name)} is unclear: its bytes are taken as they stand; save it as UTF-8")
        return data
    if form.encoding != "utf-8" and not form.mark:
        warn(f"{quoted(name)} is {form.encoding_name}; if that is wrong, save it as UTF-8")
    return b"".join(as_utf8([data], form, name))


def _peek(stream: Any) -> bytes:
    try:
        return bytes(stream.peek(HEAD_BYTES)[:HEAD_BYTES])
    except Exception:  # of any decompressor; reading the stream reports it
        return b""


def _form(head: bytes, name: str, encoding: str | None) -> FileForm:
    if encoding is not None:
        return FileForm(encoding=text_codec(encoding), strict=True)
    known = kind_of(head) or (_ARCHIVE if head.startswith(b"PK\x03\x04") else None)
    if known is not None:
        raise UnreadableKindError(name, known)
    codec = encodings.mark_of(head)
    if codec:
        return FileForm(encoding=codec, mark=True)
    codec = encodings.wide_without_mark(head)
    if not codec and encodings.is_binary(head):
        raise UnreadableKindError(name, Kind("binary data", "give text"))
    return FileForm(encoding=codec or recognise([head], name))


_ARCHIVE = Kind("a zip archive", "name its file instead of piping it")
