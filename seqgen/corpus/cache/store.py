"""The cache: one writer at a time, cleanup after killed runs, scratch folders, and checksums of large files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqgen import locks
from seqgen.corpus.cache.folder import cache_folder
from seqgen.errors import UserError
from seqgen.locks import LOCK_SUFFIX, acquire_lock_file, release_lock_file, remove_locked_folder
from seqgen.streams import PARTIAL_SUFFIX, reason, write_bytes

_ABANDONED_SECONDS = 3600.0  # age at which an unlocked partial file is removed
_TIMESTAMP_GRAIN = 2_000_000_000  # nanoseconds; some file systems store times no finer than two seconds
_MIN_CHECKSUM_BYTES = 32 << 20  # smaller files are cheap to read again


# ---- Locks ----


@contextlib.contextmanager
def locked(target: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of `target`, waiting until no other process writes it.

    Removes partial files that killed processes left beside it. `target` may stand for several files whose names begin
    with it and a full stop.

    Args:
        on_wait: called once if another process has the lock.

    Raises:
        UserError: the folder can't be made or written.
    """
    with contextlib.ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locks.locked_file(_lock_path(target), on_wait))
        except OSError as error:
            raise UserError(
                f"cannot write in the cache {str(target.parent)!r}: {reason(error)}; "
                "set SEQGEN_CACHE to a folder that can be written"
            ) from error
        _remove_partial_files(target)
        yield


def remove_stale_lock(target: Path) -> None:
    """Remove the lock file of a process that was killed just after it had finished `target`."""
    lock_path = _lock_path(target)
    with contextlib.suppress(OSError):
        if lock_path.exists() and (handle := acquire_lock_file(lock_path)) is not None:
            _remove_partial_files(target)
            release_lock_file(lock_path, handle)


def is_locked(target: Path) -> bool:
    """Return whether a process is writing `target` (see `locked`)."""
    return locks.is_locked(_lock_path(target))


def is_scratch_locked(folder: Path) -> bool:
    """Return whether the command that made a scratch folder is still running."""
    return locks.is_locked(folder / LOCK_SUFFIX)


def _lock_path(target: Path) -> Path:
    return target.with_name(f".{target.name}{LOCK_SUFFIX}")


def _remove_partial_files(target: Path) -> None:
    """Remove the partial files and folders of `target`, and those of other targets that no process is writing."""
    for part in target.parent.glob(f".*{PARTIAL_SUFFIX}"):
        stem = part.name[1:].split(".")[0]
        with contextlib.suppress(OSError):
            if stem == target.name:
                _remove(part)
                continue
            lock_path = _lock_path(target.with_name(stem))
            handle = acquire_lock_file(lock_path)
            if handle is None:
                continue
            # Only the owner of the lock writes; where there are no locks, age has to decide.
            if handle >= 0 or time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                _remove(part)
            release_lock_file(lock_path, handle)


def _remove(part: Path) -> None:
    shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()


# ---- Scratch folders ----


@dataclass
class ScratchFolder:
    """A temporary folder in the cache. The next command removes one whose command was killed."""

    path: Path
    _handle: int

    @classmethod
    def make(cls) -> ScratchFolder:
        """Make a folder and lock it. Raises `OSError`."""
        spool = cache_folder() / "spool"
        spool.mkdir(parents=True, exist_ok=True)
        for path in spool.iterdir():
            _remove_if_abandoned(path)
        while True:
            path = spool / f"{os.getpid()}-{time.time_ns():x}"
            try:
                path.mkdir(mode=0o700)
                with contextlib.suppress(FileNotFoundError):  # another process removed it before it was locked
                    handle = acquire_lock_file(path / LOCK_SUFFIX)
                    if handle is not None:
                        return cls(path, handle)
            except FileExistsError:  # of another thread
                continue
            except BaseException:  # Ctrl-C too
                shutil.rmtree(path, ignore_errors=True)
                raise

    def close(self) -> None:
        """Remove the folder and release its lock."""
        remove_locked_folder(self.path, self._handle)


def _remove_if_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError):
        if (folder / LOCK_SUFFIX).exists() if folder.is_dir() else False:
            handle = acquire_lock_file(folder / LOCK_SUFFIX)
            if handle is None or handle < 0:
                return
            remove_locked_folder(folder, handle)
        elif time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


# ---- Checksums of large files ----

FileStamp = tuple[int, int, int, int, int]  # size, mtime_ns, ctime_ns, inode, device


def stamp(file: Path | int) -> FileStamp:
    """Return the stamp of a path or an open file descriptor. Raises `OSError`."""
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev


def content_stamp(stamp: FileStamp) -> tuple[int, ...]:
    """Return a stamp without its ctime, which also changes when a backup makes a hard link."""
    size, modified, _, inode, device = stamp
    return size, modified, inode, device


def load_checksum(path: Path, before: FileStamp) -> dict[str, Any]:
    """Return what is stored about a large file that was read before and has the same stamp; else an empty object."""
    if before[0] < _MIN_CHECKSUM_BYTES:
        return {}
    note = read_json(_note(path))
    return note if note.get("stamp") == list(before) else {}


def store_checksum(path: Path, before: FileStamp, began: int, measured: Mapping[str, Any]) -> None:
    """Store what reading a large file gave: its size, its sha256 and whatever else is `measured`.

    Nothing is stored if the file was written shortly before `began` (nanoseconds) or since: a change within the
    grain of its timestamps would go unnoticed.
    """
    if before[0] < _MIN_CHECKSUM_BYTES or max(before[1], before[2]) > began - _TIMESTAMP_GRAIN:
        return
    with contextlib.suppress(OSError, UserError):  # without it, the file is only read again
        if stamp(path) == before:
            note = {**measured, "stamp": before, "path": str(path)}
            write_bytes(_note(path), json.dumps(note).encode())


def _note(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
    return cache_folder() / "measured" / f"{name}.json"


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if the file is missing or holds anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
