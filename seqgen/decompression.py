"""Decompression of files that are recognised by their first bytes, never by their names.

gzip, xz, bzip2 and zstd, each of one frame or several, and a zip with a single member.
"""

from __future__ import annotations

import abc
import contextlib
import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from seqgen.errors import DataError

CHUNK_SIZE = 1 << 20  # bytes: a system call costs little beside it, and it stays in the processor's cache
MAX_DEPTH = 2  # compressions around each other
_MAX_XZ_MEMORY = 1 << 29  # bytes that decompressing a .xz may take; `xz -9` takes an eighth of that
_SIGNATURE_BYTES = 10
_BZIP2_BLOCKS = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")  # a block, and the end of an empty file


def compression_of(head: bytes) -> str:
    """Return "gz", "xz", "bz2", "zst" or "zip" for the first bytes of such a file; "" for any other."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gz"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    if head.startswith(b"BZh") and head[4:10] in _BZIP2_BLOCKS:
        return "bz2"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zst"
    return "zip" if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) else ""


def decompressed(file: BinaryIO) -> tuple[BinaryIO, tuple[str, ...]]:
    """Return the decompressed stream of an open, seekable file, and its compressions, outermost first.

    The file itself, and (), if it is not compressed, or a zip of several members. The stream closes the file.
    """
    found: list[str] = []
    stream = file
    while len(found) < MAX_DEPTH:
        kind = compression_of(_peek(stream))
        if kind == "zip":
            member = _only_member(file) if stream is file else None
            if member is None:
                break
            stream = _buffered(_ZipMember(file, *member))
        elif kind:
            stream = _OPENERS[kind](stream)
        else:
            break
        found.append(kind)
    return stream, tuple(found)


def _peek(stream: Any) -> bytes:
    try:
        return bytes(stream.peek(_SIGNATURE_BYTES)[:_SIGNATURE_BYTES])
    except Exception:  # of any decompressor; reading the stream reports it
        return b""


def _gzip(file: BinaryIO) -> BinaryIO:
    import gzip

    stream = gzip.GzipFile(fileobj=file, mode="rb")
    stream.myfileobj = file  # type: ignore[assignment]  # so that closing the stream closes the file
    return cast(BinaryIO, stream)


def _xz(file: BinaryIO) -> BinaryIO:
    import lzma

    # `lzma.open` has no limit for the memory that a file's header asks for.
    make = lambda: lzma.LZMADecompressor(memlimit=_MAX_XZ_MEMORY)  # noqa: E731
    return _buffered(_DecompressedFile(file, make, padding=b"\0"))


def _bzip2(file: BinaryIO) -> BinaryIO:
    import bz2

    return _buffered(_DecompressedFile(file, bz2.BZ2Decompressor))


def _zstd(file: BinaryIO) -> BinaryIO:
    import zstandard

    # zstandard's own reader accepts truncated files.
    return _buffered(_DecompressedFile(file, zstandard.ZstdDecompressor().decompressobj))


_OPENERS: dict[str, Callable[[BinaryIO], BinaryIO]] = {"gz": _gzip, "xz": _xz, "bz2": _bzip2, "zst": _zstd}


def _buffered(stream: io.RawIOBase) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(stream, CHUNK_SIZE))


class _Decompressed(io.RawIOBase):
    """The decompressed bytes of an open file, which is closed with it.

    What failed once fails at every further read: libbz2 writes beyond its memory if it is called after an error.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: Any) -> int:
        if self._error is not None:
            raise self._error
        try:
            return self._fill(buffer)
        except Exception as error:
            self._error = error
            raise

    @abc.abstractmethod
    def _fill(self, buffer: Any) -> int:
        """`readinto`, which is never called again after an error."""

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _DecompressedFile(_Decompressed):
    """A file of consecutive frames, with `padding` allowed between them."""

    def __init__(self, file: BinaryIO, make_decompressor: Callable[[], Any], padding: bytes = b"") -> None:
        """`make_decompressor`: makes the decompressor of one frame."""
        super().__init__(file)
        self._make_decompressor, self._padding = make_decompressor, padding
        self._frame: Any = None  # the decompressor of a frame that has not ended
        self._unread = memoryview(b"")

    def _fill(self, buffer: Any) -> int:
        while not self._unread:
            chunk = self._file.read(1 << 11)  # few, because they may become many when decompressed
            if not chunk:
                if self._frame is not None:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
                return 0
            self._unread = memoryview(self._decompress(chunk))
        count = min(len(buffer), len(self._unread))
        buffer[:count] = self._unread[:count]
        self._unread = self._unread[count:]
        return count

    def _decompress(self, data: bytes) -> bytes:
        parts = []
        while data:
            if self._frame is None:
                data = data.lstrip(self._padding) if self._padding else data
                if not data:
                    break
                self._frame = self._make_decompressor()
            parts.append(self._frame.decompress(data))
            data = b""
            if self._frame.eof:
                data, self._frame = self._frame.unused_data, None
        return b"".join(parts)


# ---- zip ----


def is_hidden_name(name: str) -> bool:
    """Whether a file or folder is hidden, or the lock that an office program keeps beside an open document."""
    return name.startswith((".", "~$"))


def is_hidden_member(name: str) -> bool:
    """Whether a member of an archive is hidden, or one of the copies that macOS adds."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return not parts or any(is_hidden_name(part) or part == "__MACOSX" for part in parts)


def _only_member(file: BinaryIO) -> tuple[Any, Any] | None:
    """The archive and the info of its only member; None if it has several, or is damaged or encrypted."""
    import zipfile

    try:
        archive = zipfile.ZipFile(file)
        members = [info for info in archive.infolist() if not info.is_dir() and not is_hidden_member(info.filename)]
    except Exception:  # zipfile raises many types for a damaged archive
        members = []
    if len(members) != 1 or members[0].flag_bits & 1 or _holds_document(members[0].filename):
        with contextlib.suppress(OSError):
            file.seek(0)
        return None
    return archive, members[0]


def _holds_document(name: str) -> bool:
    """Whether the only member of a zip makes it a file of another kind: an array of numpy, a pickle of PyTorch."""
    return name.lower().endswith((".npy", "data.pkl"))


class _ZipMember(_Decompressed):
    def __init__(self, file: BinaryIO, archive: Any, info: Any) -> None:
        super().__init__(file)
        try:
            self._member = archive.open(info)
        except Exception as error:
            raise DataError(f"cannot read the archive: {' '.join(str(error).split())}; unpack it first") from error

    def _fill(self, buffer: Any) -> int:
        data = self._member.read1(min(len(buffer), CHUNK_SIZE))
        buffer[: len(data)] = data
        return len(data)
