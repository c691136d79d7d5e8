"""Bytes in and out: `-`, compressed files, closed pipes, and writes that are whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from seqgen.errors import DataError, UserError

COMPRESSED = (".gz", ".xz", ".bz2", ".zst")
CHUNK = 1 << 20  # large enough that a system call costs nothing beside it, small enough to stay in cache
PART = ".part"  # ends the names of unfinished files and folders; never taken for a whole one


def open_input(path: str | Path) -> BinaryIO:
    """Opens a file for reading, through its decompressor where its name asks for one; `-` is standard input.

    Raises `DataError` if it can't be opened. What comes back owns the file: closing it closes all.
    """
    if path == "-":  # the word; a Path of that name is a file
        if sys.stdin is None or sys.stdin.closed:
            raise DataError("standard input is closed; give a file, or pipe something in")
        return sys.stdin.buffer
    try:
        return _opener(Path(path).suffix.lower())(path)
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {reason(error)}") from error


def _opener(suffix: str) -> Callable[[str | Path], BinaryIO]:
    if suffix == ".gz":
        import gzip

        return lambda path: cast(BinaryIO, gzip.open(path, "rb"))
    if suffix == ".xz":
        import lzma

        return lambda path: cast(BinaryIO, lzma.open(path, "rb"))
    if suffix == ".bz2":
        import bz2

        return lambda path: cast(BinaryIO, bz2.open(path, "rb"))
    if suffix == ".zst":
        return lambda path: cast(BinaryIO, io.BufferedReader(_ZstdFile(path), CHUNK))
    return lambda path: open(path, "rb")


class _ZstdFile(io.RawIOBase):
    """A .zst file, read. zstandard's own reader takes a file that was cut off for one that is whole."""

    def __init__(self, path: str | Path) -> None:
        import zstandard

        self._decompressor = zstandard.ZstdDecompressor()
        self._file: BinaryIO | None = None
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._frame: Any = None  # the frame that has begun and not ended
        self._waiting = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        assert self._file is not None
        while not self._waiting:
            chunk = self._file.read(1 << 11)  # little, because a little can unfold to much
            if not chunk:
                if self._frame is not None:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
                return 0
            self._waiting = memoryview(self._decompress(chunk))
        count = min(len(buffer), len(self._waiting))
        buffer[:count] = self._waiting[:count]
        self._waiting = self._waiting[count:]
        return count

    def _decompress(self, data: bytes) -> bytes:
        parts = []
        while data:
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            parts.append(self._frame.decompress(data))
            data = b""
            if self._frame.eof:
                data, self._frame = self._frame.unused_data, None
        return b"".join(parts)

    def close(self) -> None:
        if not self.closed and self._file is not None:
            self._file.close()
        super().close()


def read_chunks(
    stream: BinaryIO, name: str, size: int = CHUNK, as_it_comes: bool = False
) -> Generator[bytes, None, None]:
    """The stream's bytes, chunk by chunk. A damaged or truncated compressed file raises `DataError`.

    With `as_it_comes` a chunk is what is there, however little, as from a pipe that someone is still writing to.
    """
    read = getattr(stream, "read1", stream.read) if as_it_comes else stream.read
    while True:
        try:
            chunk = read(size)
        except Exception as error:  # each decompressor has errors of its own, zstandard's not even an OSError
            if isinstance(error, KeyboardInterrupt | MemoryError):
                raise
            raise DataError(f"cannot read {name!r}: {reason(error)}") from error
        if not chunk:
            return
        yield chunk


def read_whole(name: str, most: int | None = None) -> bytes:
    """All the bytes of a file, or of standard input for `-`. Raises `DataError` where it can't be read, or has more
    than `most` bytes."""
    stream = open_input(name)
    parts, size = [], 0
    with contextlib.nullcontext(stream) if name == "-" else contextlib.closing(stream):
        for chunk in read_chunks(stream, name):
            parts.append(chunk)
            size += len(chunk)
            if most is not None and size > most:
                raise DataError(f"{name!r} is far too large to be what it should be")
    return b"".join(parts)


def expand(path: str | os.PathLike[str]) -> Path:
    """A path with `~` at its beginning replaced by a home folder. Raises `DataError` for the home of nobody."""
    text = os.fspath(path)
    full = os.path.expanduser(text)
    if full.startswith("~") and not os.path.exists(full):
        raise DataError(f"there is no home folder for {text!r}")
    return Path(full)


def reason(error: BaseException) -> str:
    """Why it failed, in the words of the operating system and without the path, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def stdin_is_piped() -> bool:
    """Whether something other than a person is at standard input."""
    try:
        return sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty()
    except ValueError:  # closed under us
        return False


def quit_stdout() -> None:
    """Lets the interpreter exit without complaint once the reader of our output is gone."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A file that appears under its name whole or not at all: temporary sibling, fsync, rename.

    Raises `UserError` when the disk is full or the place can't be written; what stood there before still stands.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():  # /dev/null, a named pipe: written to, never replaced
            with open(path, "wb") as stream:
                yield stream
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r}: {reason(error)}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_bytes(path: str | Path, data: bytes) -> None:
    """`atomic_write` of bytes at hand."""
    with atomic_write(path) as stream:
        stream.write(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def exchange(new: Path, old: Path) -> None:
    """Puts the folder `new` where `old` is, and removes what `old` was.

    On Linux one system call swaps the two, so that there is no moment without a whole folder under the name;
    elsewhere two renames come as near as can be.
    """
    old = old.resolve() if old.is_symlink() else old  # a link stays one, and leads to what is new
    if not old.exists():
        os.rename(new, old)
    elif _swap(new, old):
        shutil.rmtree(new, ignore_errors=True)
    else:
        aside = old.with_name(f".{old.name}.old{PART}")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(old, aside)
        try:
            os.rename(new, old)
        except OSError:
            os.rename(aside, old)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(old.parent)


def _swap(new: Path, old: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if renameat2(here, os.fsencode(new), here, os.fsencode(old), swap) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS):  # a file system without it
        return False
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(old))


def printable(data: bytes) -> bytes:
    """`data` with every control character but newline and tab made visible, for a terminal.

    C0 controls become Unicode's control pictures (U+2400…), DEL and the C1 controls and the bidirectional overrides
    become U+FFFD, and bytes that are no UTF-8 likewise; so nothing read or generated can steer the terminal.
    """
    text = data.decode("utf-8", "replace")
    return text.translate(_VISIBLE).encode("utf-8")


_VISIBLE = {code: chr(0x2400 + code) for code in range(32) if code not in (9, 10)}
_VISIBLE |= dict.fromkeys([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")


def is_terminal(stream: IO[str] | IO[bytes] | None) -> bool:
    """Whether a person watches `stream`."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
