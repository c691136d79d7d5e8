"""The form of a file: its compressions, its encoding and its kind; and its text as UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from seqgen.errors import DataError, UserError

TEXT = "text"  # the kind of a file
REPLACEMENT = "\ufffd".encode()  # in place of bytes that a guessed encoding does not have
_NAMES = {
    "utf-8": "UTF-8", "utf-16-le": "UTF-16 (little-endian)", "utf-16-be": "UTF-16 (big-endian)",
    "utf-32-le": "UTF-32 (little-endian)", "utf-32-be": "UTF-32 (big-endian)", "gb18030": "GB18030", "cp950": "Big5",
    "big5hkscs": "Big5-HKSCS", "cp932": "Shift-JIS", "euc_jp": "EUC-JP", "iso2022_jp": "ISO-2022-JP",
    "cp949": "EUC-KR", "koi8_r": "KOI8-R", "koi8_u": "KOI8-U", "mac_roman": "Mac Roman", "mac_cyrillic": "Mac Cyrillic",
    "cp437": "DOS code page 437", "cp850": "DOS code page 850", "cp852": "DOS code page 852",
    "cp866": "DOS code page 866", "cp874": "Windows-874",
}  # fmt: skip

_NO_ENCODINGS = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape")


@dataclass(frozen=True)
class FileForm:
    """What a file is, by its bytes.

    Attributes:
        compressions: of "gz", "xz", "bz2", "zst", "zip", outermost first.
        encoding: Python's name of the codec; "" for bytes that are not decoded.
        mark: whether the text begins with a byte order mark, which is dropped.
        kind: "text", or "midi", "mxl" (MusicXML), "parquet", "arrow", "xlsx", "tar", "zip" (of several members),
            "binary" (unknown).
        markup: "HTML", "XML", "MusicXML" or "e-mail" if text begins like that. Of text that is not decoded, "MusicXML"
            or "ABC".
        strict: whether bytes that the encoding doesn't have are an error: it was given, not guessed.
    """

    compressions: tuple[str, ...] = ()
    encoding: str = "utf-8"
    mark: bool = False
    kind: str = TEXT
    markup: str = ""
    strict: bool = False

    @property
    def is_text(self) -> bool:
        return self.kind == TEXT

    @property
    def content(self) -> str:
        """The kind or, of text, its markup."""
        return self.markup or self.kind

    @property
    def is_utf8(self) -> bool:
        """Whether the bytes are passed on as they are, but for a byte order mark."""
        return self.encoding in ("", "utf-8") and not self.strict

    @property
    def is_seekable(self) -> bool:
        """Whether the bytes that are passed on stand in the file, one after the other."""
        return not self.compressions and self.is_utf8

    @property
    def mark_size(self) -> int:
        """Bytes of the byte order mark to skip in a file that is passed on as it is."""
        return len(codecs.BOM_UTF8) if self.mark and self.is_utf8 else 0

    @property
    def encoding_name(self) -> str:
        """The encoding as people write it."""
        return encoding_name(self.encoding)


def encoding_name(codec: str) -> str:
    """Return the name of a codec as people write it: `Windows-1252` for `cp1252`."""
    if codec in _NAMES:
        return _NAMES[codec]
    if codec.startswith("cp125"):
        return "Windows-" + codec[2:]
    return codec.upper().replace("_", "-").replace("ISO8859", "ISO-8859")


def quoted(name: str) -> str:
    """Return the name of a file in quotes, and that of standard input, which is `-` too, without."""
    return "standard input" if name in ("-", "standard input") else repr(name)


def text_codec(encoding: str) -> str:
    """Return Python's name of an encoding of text. Raises `UserError` if there is none of this name."""
    try:
        found = codecs.lookup(encoding)
        if found.name not in _NO_ENCODINGS and isinstance("".encode(found.name), bytes):
            return found.name
    except (LookupError, ValueError):  # of a codec from bytes to bytes, too
        pass
    raise UserError(f"there is no encoding {encoding!r}; some are utf-8, utf-16, gb18030, big5, shift_jis and cp1252")


def as_utf8(chunks: Iterable[bytes], form: FileForm, name: str) -> Generator[bytes, None, None]:
    """Yield the text of a file, from its first decompressed byte on, as UTF-8 without a mark.

    Bytes that a guessed encoding doesn't have become U+FFFD. Chunks end between characters unless the file is UTF-8.

    Raises:
        DataError: a given encoding doesn't have some bytes, or is UTF-16 or UTF-32 and there is no byte order mark.
    """
    if form.is_utf8:
        yield from _without_mark(chunks, form.mark_size)
        return
    decoder = codecs.getincrementaldecoder(form.encoding)("strict" if form.strict else "replace")
    first, read = True, 0
    for chunk, final in _with_end(chunks):
        try:
            text = decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise DataError(_not_decodable(form, name, read, error)) from error
        except UnicodeError as error:  # decoders of UTF-16 and UTF-32 need the mark: it tells the order of bytes
            raise DataError(
                f"{quoted(name)} has no byte order mark: give --encoding {form.encoding}-le or {form.encoding}-be, or "
                "none to have it recognised"
            ) from error
        read += len(chunk)
        if text and first:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text.encode("utf-8", "surrogatepass")


def _not_decodable(form: FileForm, name: str, read: int, error: UnicodeDecodeError) -> str:
    place = max(read - (len(error.object) - error.end) - (error.end - error.start), 0) if read else error.start
    return (
        f"{quoted(name)} is not {form.encoding_name}: byte {place + 1:,} can't be decoded ({error.reason}); "
        "give another --encoding, or none to have it recognised"
    )


def _with_end(chunks: Iterable[bytes]) -> Generator[tuple[bytes, bool], None, None]:
    for chunk in chunks:
        yield chunk, False
    yield b"", True


def _without_mark(chunks: Iterable[bytes], count: int) -> Generator[bytes, None, None]:
    for chunk in chunks:
        part = chunk[count:]
        count -= len(chunk) - len(part)
        if part:
            yield part
