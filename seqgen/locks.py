"""File locks (`flock`): one process at a time writes a file or a folder.

The operating system releases a lock when its process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not POSIX: concurrent writers are not detected
    fcntl = None  # type: ignore[assignment]

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
        shared: whether other processes may have a shared lock at the same time.

    Returns:
        A file descriptor, which releases the lock when closed; None if another process has the lock.

    Raises:
        LocksUnsupportedError: there are no locks here.
        OSError: `path` can't be opened.
    """
    if fcntl is None:
        raise LocksUnsupportedError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    handle = os.open(path, flags, 0o666)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        os.close(handle)
        raise LocksUnsupportedError(error.errno, error.strerror) from error
    return handle


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
    if handle >= 0:
        with contextlib.suppress(OSError):
            os.unlink(lock_path)  # before the lock is released, so that no other process's file is removed
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
    """Hold the lock of an existing folder, without a lock file and without waiting.

    Yields:
        The file descriptor; None where there are no locks.

    Raises:
        AlreadyLockedError: another process has the lock, or just replaced the folder.
    """
    handle: int | None = None
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
