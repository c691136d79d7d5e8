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
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from seqgen.errors import DataError, UserError

Progress = Callable[[int, int | None], None]  # called with the bytes done and in all, None if unknown

COMPRESSED_SUFFIXES = (".gz", ".xz", ".bz2", ".zst")
CHUNK_SIZE = 1 << 20  # large enough that a system call costs nothing beside it, small enough to stay in cache
PARTIAL_SUFFIX = ".part"  # ends the names of unfinished files and folders; never taken for a whole one
# What is held in memory may unfold to so many times its size, and so many bytes beside: honest tables shrink to a
# twentieth at best, and ten kilobytes made to harm unfold to ten gigabytes.
MAX_DECOMPRESSION_RATIO, DECOMPRESSION_HEADROOM = 100, 1 << 23
_MOST_MEMORY = 1 << 29  # bytes that a .xz may ask for to be unfolded; `xz -9` asks for an eighth of it


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

        # `lzma.open` would give a small file whatever memory its header asks for.
        return lambda path: _unfolding(path, lambda: lzma.LZMADecompressor(memlimit=_MOST_MEMORY), padding=b"\0")
    if suffix == ".bz2":
        import bz2

        return lambda path: cast(BinaryIO, bz2.open(path, "rb"))
    if suffix == ".zst":
        import zstandard

        # zstandard's own reader takes a file that was cut off for one that is whole.
        return lambda path: _unfolding(path, zstandard.ZstdDecompressor().decompressobj)
    return lambda path: open(path, "rb")


def _unfolding(path: str | Path, begin: Callable[[], Any], padding: bytes = b"") -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Unfolding(path, begin, padding), CHUNK_SIZE))


class _Unfolding(io.RawIOBase):
    """A compressed file of frames, one behind the other, read; `begin` makes what unfolds a frame. Between frames there
    may be `padding`."""

    def __init__(self, path: str | Path, begin: Callable[[], Any], padding: bytes) -> None:
        self._begin, self._padding = begin, padding
        self._file: BinaryIO | None = None
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._frame: Any = None  # the frame that has begun and not ended
        self._waiting = memoryview(b"")

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        assert self._file is not None
        return self._file.fileno()

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
                data = data.lstrip(self._padding) if self._padding else data
                if not data:
                    break
                self._frame = self._begin()
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
    stream: BinaryIO, name: str, size: int = CHUNK_SIZE, unbuffered: bool = False
) -> Generator[bytes, None, None]:
    """The stream's bytes, chunk by chunk. A damaged or truncated compressed file raises `DataError`.

    With `unbuffered` a chunk is what is there, however little, as from a pipe that someone is still writing to.
    """
    read = getattr(stream, "read1", stream.read) if unbuffered else stream.read
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


def limited(chunks: Iterable[bytes], path: str | Path, name: str) -> Generator[bytes, None, None]:
    """The chunks of a file that is to be held in memory. One that unfolds to far more than any honest file of its size
    raises `DataError`, before it fills the memory."""
    max_bytes = None
    if Path(path).suffix.lower() in COMPRESSED_SUFFIXES:
        with contextlib.suppress(OSError):  # reading it in earnest tells the person
            max_bytes = MAX_DECOMPRESSION_RATIO * os.stat(path).st_size + DECOMPRESSION_HEADROOM
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise DataError(
                f"{name!r} is refused: it unfolds to more than {max_bytes:,} bytes, which no honest file does"
            )
        yield chunk


def read_whole(path: str | Path, name: str = "", max_bytes: int | None = None) -> bytes:
    """All of a file, known as `name`, decompressed if its own name says so, or of standard input for `-`. Raises
    `DataError` if it can't be read, is refused by `limited`, or has more than `max_bytes` bytes."""
    name = name or str(path)
    stream = open_input(path)
    parts, size = [], 0
    with contextlib.nullcontext(stream) if path == "-" else contextlib.closing(stream):
        for chunk in limited(read_chunks(stream, name), path, name):
            parts.append(chunk)
            size += len(chunk)
            if max_bytes is not None and size > max_bytes:
                raise DataError(f"{name!r} is far too large to be what it should be")
    return b"".join(parts)


def suffix_of(path: Path) -> str:
    """Return the suffix of a file name in lower case, without that of a compression: `.mid` for `A.MID.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


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


def discard_stdout() -> None:
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
        if path.parent.exists() and not path.parent.is_dir():  # mkdir would say that it exists
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL_SUFFIX, dir=path.parent)
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


def replace_folder(new: Path, old: Path) -> None:
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
        aside = old.with_name(f".{old.name}.old{PARTIAL_SUFFIX}")
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


def is_terminal(stream: IO[str] | IO[bytes] | None) -> bool:
    """Whether a person watches `stream`."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
