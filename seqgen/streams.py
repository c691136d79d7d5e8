"""Reading and writing bytes: `-`, compressed files, closed pipes, and atomic writes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import io
import os
import re
import select
import shutil
import stat
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path, PurePath
from typing import IO, BinaryIO, NamedTuple

from seqgen.decompression import CHUNK_SIZE, compression_of, decompressed
from seqgen.errors import DataError, UserError
from seqgen.locks import lock_descriptor, try_lock

Progress = Callable[[int, int | None], None]  # called with the bytes done and in all, None if unknown

COMPRESSED_SUFFIXES = (".gz", ".xz", ".bz2", ".zst", ".zip")  # of names only: a file's first bytes decide
PARTIAL_SUFFIX = ".part"  # of unfinished files and folders
_DESCRIPTORS = re.compile(r"/dev/fd|(/proc/\w+)(?:/task/\d+)?/fd")  # folders of the open files of a process
_MAX_LINKS = 40  # symlinks that are followed, as by Linux
_MAX_NAME_BYTES = 255 - len("..01234567" + PARTIAL_SUFFIX)  # of what the name of an unfinished file begins with
# A file read into memory may decompress to this many times its size, plus this many bytes. Real tables compress to a
# twentieth at best; a decompression bomb of ten kilobytes becomes ten gigabytes.
MAX_DECOMPRESSION_RATIO, DECOMPRESSION_HEADROOM = 100, 1 << 23


class DecompressedSize:
    """Counts what a file of `size` bytes decompresses to. Raises `DataError`, which begins with `name`, for a bomb.

    Attributes:
        limit: the most bytes that it may have.
    """

    def __init__(self, size: int, name: str, headroom: int | None = None) -> None:
        self.limit = MAX_DECOMPRESSION_RATIO * size + (DECOMPRESSION_HEADROOM if headroom is None else headroom)
        self._name = name
        self._count = 0

    def count(self, size: int) -> None:
        """Count a part of `size` bytes."""
        self._count += size
        if self._count > self.limit:
            raise DataError(
                f"{self._name} is refused as a decompression bomb: it decompresses to more than {self.limit:,} bytes"
            )

    def check(self, whole: int) -> None:
        """Check the size of the whole, which the file states."""
        if whole > self.limit:
            raise DataError(
                f"{self._name} is refused as a decompression bomb: it decompresses to {whole:,} bytes, too many for "
                "its size"
            )

    def watch(self, chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
        """Count chunks as they are read."""
        for chunk in chunks:
            self.count(len(chunk))
            yield chunk


def open_input(path: str | Path) -> BinaryIO:
    """Open a file for reading, decompressed if its first bytes are those of a compressed file; `-` is standard input.

    The returned stream owns the file. Raises `DataError` if it can't be opened.
    """
    if path == "-":  # a string; `Path("-")` is a file
        if sys.stdin is None or sys.stdin.closed:
            raise DataError("standard input is closed; give a file, or pipe something in")
        return sys.stdin.buffer
    return open_decompressed(path)[0]


def check_stdin_once(names: Iterable[str | None]) -> None:
    """Raise `DataError` if more than one of the names of files is `-`, standard input."""
    if sum(name == "-" for name in names) > 1:
        raise DataError("standard input can be read only once: '-' is given twice")


def open_decompressed(path: str | Path) -> tuple[BinaryIO, tuple[str, ...]]:
    """Open a file for reading, and return its decompressed stream and its compressions, outermost first.

    Raises `DataError` if it can't be opened.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - the stream closes it
        try:
            return decompressed(file)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {reason(error)}") from error


def is_compressed(path: str | Path) -> bool:
    """Whether the first bytes of a file are those of a compressed file; False for a pipe, or one that can't be read."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return bool(compression_of(file.read(16)))
    except (OSError, ValueError):
        return False


def refuse_device(stream: BinaryIO, name: str) -> None:
    """Raise `DataError`, which begins with `name`, for a device other than a terminal and /dev/null: it may never end.

    To be called before all that a stream has is stored or held in memory.
    """
    if sys.platform == "win32":  # has none
        return
    try:
        status = os.fstat(stream.fileno())
        is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
        if not is_device or stream.isatty() or status.st_rdev == os.stat(os.devnull).st_rdev:
            return
    except (OSError, ValueError):  # not a file of the system
        return
    raise DataError(f"{name} is a device, which may never end; pipe in what is wanted of it, as head -c 1000000 does")


def has_input(stream: BinaryIO, seconds: float) -> bool:
    """Whether something arrives within `seconds`. True where that can't be known."""
    try:
        return bool(select.select([stream], [], [], seconds)[0])
    except (OSError, ValueError):  # not a file of the system, or Windows
        return True


def read_chunks(
    stream: BinaryIO, name: str, size: int = CHUNK_SIZE, unbuffered: bool = False
) -> Generator[bytes, None, None]:
    """Yield the bytes of a stream in chunks. Raises `DataError` if it is damaged or truncated.

    With `unbuffered`, a chunk has whatever bytes are available, as for a pipe that is still being written to.
    """
    read = getattr(stream, "read1", stream.read) if unbuffered else stream.read
    while True:
        try:
            chunk = read(size)
        except Exception as error:  # every decompressor has its own errors; zstandard's is not even an OSError
            if isinstance(error, KeyboardInterrupt | MemoryError):
                raise
            raise DataError(f"cannot read {name!r}: {reason(error)}") from error
        if not chunk:
            return
        yield chunk


def limited(chunks: Iterable[bytes], path: str | Path, name: str) -> Generator[bytes, None, None]:
    """Yield the chunks of a file to be read into memory. Raises `DataError` for a decompression bomb."""
    if is_compressed(path):
        with contextlib.suppress(OSError):  # reading the file reports the error
            chunks = DecompressedSize(os.stat(path).st_size, repr(name)).watch(chunks)
    yield from chunks


def read_whole(path: str | Path, name: str = "", max_bytes: int | None = None) -> bytes:
    """Read a whole file, or standard input for `-`, and decompress it if it is compressed.

    Raises `DataError`, which calls it `name`, if it can't be read, is refused by `limited`, or has more than
    `max_bytes` bytes.
    """
    name = name or str(path)
    stream = open_input(path)
    parts, size = [], 0
    with contextlib.nullcontext(stream) if path == "-" else contextlib.closing(stream):
        refuse_device(stream, "standard input" if path == "-" else repr(name))
        for chunk in limited(read_chunks(stream, name), path, name):
            parts.append(chunk)
            size += len(chunk)
            if max_bytes is not None and size > max_bytes:
                raise DataError(f"{name!r} is larger than {max_bytes:,} bytes, the most that such a file may have")
    return b"".join(parts)


def suffix_of(path: PurePath) -> str:
    """Return the suffix of a file name in lower case, without that of a compression: `.mid` for `A.MID.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def expand(path: str | os.PathLike[str]) -> Path:
    """Replace a leading `~` or `~user` by the home folder. Raises `DataError` if there is no such user."""
    text = os.fspath(path)
    full = os.path.expanduser(text)
    if full.startswith("~") and not os.path.exists(full):
        raise DataError(f"there is no home folder for {text!r}")
    return Path(full)


def reason(error: BaseException) -> str:
    """Return the error's message on one line; for an OSError, the operating system's, without the path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def stdin_is_piped() -> bool:
    """Whether standard input is open and not a terminal."""
    try:
        return sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty()
    except ValueError:  # closed in the meantime
        return False


def discard_stdout() -> None:
    """Redirect standard output to /dev/null, so that the interpreter exits quietly after a broken pipe."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)


def is_broken_pipe(error: BaseException | None) -> bool:
    """Whether a write failed because the reader of the pipe went away; Windows calls that an invalid argument."""
    return isinstance(error, BrokenPipeError) or (
        sys.platform == "win32"
        and isinstance(error, OSError)
        and error.errno == errno.EINVAL
        and error.filename is None
    )


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut, if the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class _Descriptor(NamedTuple):
    """An open file as a path names it; its number, None if another process has it open."""

    path: str
    number: int | None


def _descriptor(path: str | Path) -> _Descriptor | None:
    """The open file that a path names, as /dev/stdout and /dev/fd/5 do, or a symlink to them; None if it names none.

    `realpath` would go on to the file behind it, of which it may be a part: what others write there too would be lost.
    """
    if sys.platform == "win32":  # has none
        return None
    try:
        name = os.path.join(os.getcwd(), path)
        for _ in range(_MAX_LINKS):
            folder, entry = os.path.realpath(os.path.dirname(name)), os.path.basename(name)
            found = _DESCRIPTORS.fullmatch(folder)
            if found and re.fullmatch("[0-9]+", entry):
                is_own = found[1] in (None, os.path.realpath("/proc/self"))
                return _Descriptor(os.path.join(folder, entry), int(entry) if is_own else None)
            name = os.path.join(folder, os.readlink(os.path.join(folder, entry)))
    except (OSError, ValueError):  # not a link
        pass
    return None


def is_device_or_pipe(path: str | Path) -> bool:
    """Whether something is there that is neither a file nor missing."""
    return os.path.exists(path) and not os.path.isfile(path)


def is_written_in_place(path: str | Path) -> bool:
    """Whether `open_output` writes to what is there and doesn't replace it: an open file, a device or a pipe."""
    return _descriptor(path) is not None or is_device_or_pipe(path)


def check_target(target: str, flag: str) -> None:
    """Raise `UserError`, before any work is done, if the file that a `flag` names can't be written."""
    if not target:
        raise UserError(f"{flag} is empty: name a file")
    if os.path.isdir(target) or target.endswith(("/", os.sep)):
        raise UserError(f"{flag} {target!r} is a folder; name a file")
    if is_written_in_place(target):
        _check_descriptor(target)
        return
    try:
        os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # its name is too long
        raise UserError(f"cannot write {target!r}: {reason(error)}") from error
    path = Path(os.path.realpath(target) if os.path.islink(target) else target)
    parent = next((folder for folder in path.parents if folder.exists()), path)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"cannot write {target!r}: {str(parent)!r} is not a writable folder")


def _check_descriptor(target: str) -> None:
    """Raise `UserError` for an open file that this process can't write to, or that it hasn't open."""
    descriptor = _descriptor(target)
    if sys.platform == "win32" or descriptor is None:
        return
    import fcntl

    flags = os.O_RDWR
    try:
        if descriptor.number is not None:
            flags = fcntl.fcntl(descriptor.number, fcntl.F_GETFL)
        else:
            os.stat(descriptor.path)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot write {target!r}: it is not open") from error
    if not flags & (os.O_WRONLY | os.O_RDWR):
        raise UserError(f"cannot write {target!r}: it is open for reading only")


@contextlib.contextmanager
def open_output(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file that a user names, to be written whole: atomically, and a symlink stays.

    What is written in place (see `is_written_in_place`) keeps what it has.

    Raises `UserError` if it can't be written, but `BrokenPipeError` if the reader of a pipe went away.
    """
    descriptor = _descriptor(path)
    if descriptor is None and not is_device_or_pipe(path):
        with atomic_write(os.path.realpath(path) if os.path.islink(path) else path) as stream:
            yield stream
        return
    try:
        with _opened_in_place(path, descriptor) as stream:
            yield stream
    except OSError as error:
        if is_broken_pipe(error):  # as of `-o -`
            raise
        raise UserError(f"cannot write {str(path)!r}: {reason(error)}") from error


def _opened_in_place(path: str | Path, descriptor: _Descriptor | None) -> BinaryIO:
    if descriptor is None:  # as /dev/null
        return open(path, "wb")
    if descriptor.number is None:
        return open(descriptor.path, "ab" if os.path.isfile(descriptor.path) else "wb")
    # To open it again would begin at the start of a file, and whoever shares it goes on behind what is written here.
    return os.fdopen(os.dup(descriptor.number), "wb")


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file that appears at `path` only when it is complete: temporary sibling, fsync, rename.

    Whatever has that name is replaced, a symlink too; `open_output` is for files that a user names. The temporary file
    is locked, so that the next process that writes to `path` can remove it if this one is killed.

    Raises `UserError` if the disk is full or the path not writable; the old file then stays as it is.
    """
    path = Path(path)
    temporary: Path | None = None
    lock: int | None = None
    try:
        if path.parent.exists() and not path.parent.is_dir():  # mkdir's error would be that it exists
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(path)
        handle, temporary = _create_unfinished(path)
        with os.fdopen(handle, "wb") as stream:
            lock = lock_descriptor(handle)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r}: {reason(error)}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if lock is not None:
            os.close(lock)


def _create_unfinished(path: Path) -> tuple[int, Path]:
    """Create the temporary file of a write to `path`; return its descriptor and name.

    It has the permissions of the file that it replaces, or of any new file. `tempfile` makes private ones, and what
    others would have can't be known: to read the umask is to change it, for all threads.
    """
    temporary = path.with_name(f"{_unfinished_name(path)}{os.urandom(4).hex()}{PARTIAL_SUFFIX}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    mode = path.stat().st_mode & 0o777 if path.is_file() and not path.is_symlink() else None
    handle = os.open(temporary, flags, 0o666 if mode is None else mode)
    if mode is not None and hasattr(os, "fchmod"):  # the umask has taken some
        with contextlib.suppress(OSError):  # a file system without permissions
            os.fchmod(handle, mode)
    return handle, temporary


def _unfinished_name(path: Path) -> str:
    """How the names of the temporary files of writes to `path` begin; file systems allow 255 bytes."""
    name = path.name
    while len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = name[:-1]
    return f".{name}."


def _remove_unfinished(path: Path) -> None:
    """Remove the temporary files of writes to `path` whose process was killed. A folder is listed once a process."""
    for name in _unfinished(os.path.abspath(path.parent)):
        if re.fullmatch(re.escape(_unfinished_name(path)) + r"\w{8}" + re.escape(PARTIAL_SUFFIX), name):
            with contextlib.suppress(OSError):
                lock = try_lock(path.with_name(name))
                if lock is not None:
                    os.unlink(path.with_name(name))
                    os.close(lock)


def _is_own_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, and not something that somebody else put into a folder that everybody may write to."""
    own = not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()
    return own and entry.is_file(follow_symlinks=False)


@functools.lru_cache(maxsize=64)
def _unfinished(folder: str) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.name.endswith(PARTIAL_SUFFIX) and _is_own_file(entry)]
    return []


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file atomically (see `atomic_write`)."""
    with atomic_write(path) as stream:
        stream.write(data)


def write_output(path: str | Path, data: bytes) -> None:
    """Write a file that a user names (see `open_output`), beside the output of a command.

    Raises `UserError` if it can't be written, also where the reader of a pipe went away.
    """
    try:
        with open_output(path) as stream:
            stream.write(data)
    except BrokenPipeError as error:
        raise UserError(f"cannot write {str(path)!r}: {reason(error)}") from error


def replace_folder(new: Path, old: Path) -> None:
    """Replace the folder `old` by `new`.

    On Linux one system call swaps the two, so that `old` always exists and is complete. Elsewhere there are two
    renames, and `old` is missing between them.
    """
    old = old.resolve() if old.is_symlink() else old  # a symlink stays one
    if not old.exists():
        os.rename(new, old)
    elif _swap(new, old):
        shutil.rmtree(new, ignore_errors=True)
    else:
        backup = old.with_name(f".{old.name}.old{PARTIAL_SUFFIX}")
        shutil.rmtree(backup, ignore_errors=True)
        os.rename(old, backup)
        try:
            os.rename(new, old)
        except OSError:
            os.rename(backup, old)
            raise
        shutil.rmtree(backup, ignore_errors=True)
    sync_folder(old.parent)


def _swap(new: Path, old: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    at_fdcwd, rename_exchange = -100, 2
    if renameat2(at_fdcwd, os.fsencode(new), at_fdcwd, os.fsencode(old), rename_exchange) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS):  # the file system can't swap
        return False
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(old))


def is_terminal(stream: IO[str] | IO[bytes] | None) -> bool:
    """Whether `stream` is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def enable_escape_sequences() -> bool:
    """Make the terminal of standard output obey escape sequences. Returns False where it can't: in Windows before 10.

    Elsewhere terminals obey them anyhow.
    """
    if sys.platform != "win32":
        return True
    kernel = ctypes.windll.kernel32
    output, mode = ctypes.c_void_p(kernel.GetStdHandle(-11)), ctypes.c_uint32()
    if not kernel.GetConsoleMode(output, ctypes.byref(mode)):
        return False
    return bool(kernel.SetConsoleMode(output, mode.value | 4))  # ENABLE_VIRTUAL_TERMINAL_PROCESSING


def write_utf8() -> None:
    """Make standard output and standard error UTF-8 in a Windows pipe or file too, as they are elsewhere.

    Where the environment names another encoding, text has its missing characters replaced. Data is UTF-8 in any case.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if sys.platform == "win32":
                stream.reconfigure(encoding="utf-8")
            if stream.errors == "strict":
                stream.reconfigure(errors="replace")
