"""File locks: one process at a time writes a file or a folder.

They are `flock` on POSIX systems and `msvcrt.locking` on Windows, which can't lock a folder: there a lock file beside
it stands for it. The operating system releases a lock when its process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

fcntl: Any
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # POSIX
    msvcrt = None

LOCK_SUFFIX = ".lock"
_POLL_SECONDS = 0.1


class LocksUnsupportedError(OSError):
    """The operating system or the file system has no locks; some network file systems have none."""


class AlreadyLockedError(Exception):
    """Another process has the lock."""


def try_lock(path: Path, flags: int = os.O_RDONLY, shared: bool = False) -> int | None:
    """Lock a file or a folder without waiting.

    Args:
        flags: how to open `path`.
        shared: whether other processes may have a shared lock at the same time. Windows' locks are never shared.

    Returns:
        A file descriptor, which releases the lock when closed; None if another process has the lock.

    Raises:
        LocksUnsupportedError: there are no locks here.
        OSError: `path` can't be opened.
    """
    if fcntl is None and msvcrt is None:
        raise LocksUnsupportedError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    handle = os.open(path, flags, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # the first byte, which the file need not have
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError if fcntl is not None else PermissionError):
            return None
        raise LocksUnsupportedError(error.errno, error.strerror) from error
    return handle


def lock_descriptor(handle: int) -> int | None:
    """Lock an open file, and return a descriptor that releases the lock when closed; None if there are no locks here.

    On Windows there are none for this: a locked file can't be renamed there.
    """
    if fcntl is None:
        return None
    lock = os.dup(handle)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def is_same_file(handle: int, path: Path) -> bool:
    """Return whether an open file descriptor still refers to the file at `path`."""
    try:
        current = os.stat(path)
    except OSError:
        return False
    return os.path.samestat(os.fstat(handle), current)


def is_locked(path: Path) -> bool:
    """Return whether a process has locked `path`; False if there is no such file or there are no locks."""
    try:
        handle = try_lock(path, shared=True)
    except OSError:
        return False
    if handle is not None:
        os.close(handle)
    return handle is None


def acquire_lock_file(lock_path: Path) -> int | None:
    """Create and lock a lock file without waiting.

    Returns:
        A handle for `release_lock_file`; −1 where there are no locks; None if another process has the lock.
    """
    while True:
        try:
            handle = try_lock(lock_path, os.O_RDWR | os.O_CREAT)
        except LocksUnsupportedError:
            return -1
        if handle is None or is_same_file(handle, lock_path):
            return handle
        os.close(handle)  # its previous owner removed the file between our open and our lock


def release_lock_file(lock_path: Path, handle: int) -> None:
    """Remove a lock file and release its lock."""
    with contextlib.suppress(OSError), _released(handle):
        if handle >= 0:
            os.unlink(lock_path)


def remove_locked_folder(folder: Path, handle: int) -> None:
    """Remove a folder together with the lock file inside it, and release its lock, `handle` of `acquire_lock_file`."""
    with _released(handle):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _released(handle: int) -> Iterator[None]:
    """Release a lock, around the block that removes its file.

    On POSIX systems the file is removed first, so that no other process's file is. On Windows an open file can't be
    removed, neither this one nor that of another process that has the lock by now.
    """
    if handle >= 0 and fcntl is None:
        os.close(handle)
    try:
        yield
    finally:
        if handle >= 0 and fcntl is not None:
            os.close(handle)


@contextlib.contextmanager
def locked_file(lock_path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock file, waiting for it if necessary. Where there are no locks, nothing is locked.

    Args:
        on_wait: called once if another process has the lock.

    Raises:
        OSError: the lock file can't be created.
    """
    handle = acquire_lock_file(lock_path)
    if handle is None:
        on_wait()
    while handle is None:
        time.sleep(_POLL_SECONDS)
        handle = acquire_lock_file(lock_path)
    try:
        yield
    finally:
        release_lock_file(lock_path, handle)


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[int | None]:
    """Hold the lock of an existing folder without waiting. There is no lock file, except on Windows.

    Yields:
        The folder's file descriptor; None on Windows and where there are no locks.

    Raises:
        AlreadyLockedError: another process has the lock, or just replaced the folder.
        OSError: the lock file can't be created.
    """
    handle: int | None = None
    if fcntl is None:
        lock_path = folder.with_name(f".{folder.name}{LOCK_SUFFIX}")
        handle = acquire_lock_file(lock_path)
        if handle is None:
            raise AlreadyLockedError(str(folder))
        try:
            yield None
        finally:
            release_lock_file(lock_path, handle)
        return
    try:
        try:
            handle = try_lock(folder)
            taken = handle is None or not is_same_file(handle, folder)
        except OSError:  # some network file systems report "bad file descriptor" for a lock that they don't support
            taken = False
        if taken:
            raise AlreadyLockedError(str(folder))
        yield handle
    finally:
        if handle is not None:
            os.close(handle)
