"""What is kept between runs: who may write it, how what a killed run left goes away, and which files are still known.

The locks are the system's (flock): they end with the program that holds them, however it ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqgen.corpus.catalogue.entries import cache_folder
from seqgen.errors import UserError
from seqgen.streams import PARTIAL_SUFFIX, LocksUnsupportedError, is_same_file, lock, reason, write_bytes

LOCK = ".lock"
_LOOK_AGAIN = 0.1  # seconds between two looks at a lock that somebody holds
_ABANDONED = 3600.0  # seconds without a write after which what nobody has locked is rubbish
_SETTLED = 2_000_000_000  # nanoseconds; some file systems tell times no finer than two seconds
_WORTH_KNOWING = 32 << 20  # bytes of a file below which reading it again is no trouble


# ---- Who may write ----


@contextlib.contextmanager
def locked(target: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Makes a second program that would write `target` wait until the first is done, or dead.

    What killed programs left unfinished beside it is removed. `target` may be the beginning of several files' names,
    up to their first full stop.

    Args:
        waiting: called once if somebody else is at it.

    Raises:
        UserError: the folder can't be made or written.
    """
    lock_path = target.with_name(f".{target.name}{LOCK}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        held = _seize(lock_path)
    except OSError as error:
        raise UserError(f"cannot write in the cache {str(target.parent)!r}: {reason(error)}") from error
    told = False
    while held is None:
        if not told:
            waiting()
            told = True
        time.sleep(_LOOK_AGAIN)
        held = _seize(lock_path)
    try:
        _sweep(target)
        yield
    finally:
        _let_go(lock_path, held)


def _seize(lock_path: Path) -> int | None:
    """A handle on a lock that is ours now; None where somebody else holds it, −1 where there are no locks."""
    while True:
        try:
            handle = lock(lock_path, os.O_RDWR | os.O_CREAT)
        except LocksUnsupportedError:
            return -1
        if handle is None or is_same_file(handle, lock_path):
            return handle
        os.close(handle)  # its last holder has removed it while we came


def remove_stale_lock(target: Path) -> None:
    """Removes the lock of a program that was killed when it had just finished `target`."""
    lock_path = target.with_name(f".{target.name}{LOCK}")
    with contextlib.suppress(OSError):
        if lock_path.exists() and (held := _seize(lock_path)) is not None:
            _sweep(target)
            _let_go(lock_path, held)


def is_locked(target: Path) -> bool:
    """Whether somebody is writing `target` (see `locked`)."""
    return _is_held(target.with_name(f".{target.name}{LOCK}"))


def is_scratch_locked(folder: Path) -> bool:
    """Whether the command that made a scratch folder still runs."""
    return _is_held(folder / LOCK)


def _is_held(lock_path: Path) -> bool:
    try:
        handle = lock(lock_path, shared=True)
    except OSError:  # there is none, or there are no locks
        return False
    if handle is not None:
        os.close(handle)
    return handle is None


def _let_go(lock_path: Path, held: int) -> None:
    if held >= 0:
        with contextlib.suppress(OSError):
            os.unlink(lock_path)  # while it is still ours, so nobody else's is ever removed
        os.close(held)


def _sweep(target: Path) -> None:
    """Removes what killed writes left unfinished, of `target` and of others."""
    for part in target.parent.glob(f".*{PARTIAL_SUFFIX}"):
        stem = part.name[1:].split(".")[0]
        with contextlib.suppress(OSError):
            if stem == target.name:
                part.unlink()
                continue
            lock_path = target.with_name(f".{stem}{LOCK}")
            held = _seize(lock_path)
            if held is None:
                continue
            # Who holds the lock is the only one to write; where there are no locks, age has to tell.
            if held >= 0 or time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()
            _let_go(lock_path, held)


# ---- What is kept for one run only ----


@dataclass
class ScratchFolder:
    """A folder below the cache that goes when the command ends; one whose command was killed goes with the next."""

    path: Path
    _held: int

    @classmethod
    def make(cls) -> ScratchFolder:
        """Raises `OSError`."""
        place = cache_folder() / "spool"
        place.mkdir(parents=True, exist_ok=True)
        for left in place.iterdir():
            _remove_if_left(left)
        while True:
            path = place / f"{os.getpid()}-{time.time_ns():x}"
            path.mkdir(mode=0o700)
            with contextlib.suppress(FileNotFoundError):  # swept before it was locked
                held = _seize(path / LOCK)
                if held is not None:
                    return cls(path, held)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if self._held >= 0:
            os.close(self._held)


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):
        if (folder / LOCK).exists() if folder.is_dir() else False:
            held = _seize(folder / LOCK)
            if held is None or held < 0:
                return
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)
        elif time.time() - folder.stat().st_mtime > _ABANDONED:
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


# ---- Which files are still as they were ----

FileStamp = tuple[int, int, int, int, int]  # what changes when a file does: size, both times, and which file it is


def stamp(file: Path | int) -> FileStamp:
    """Of a file by its name or an open handle. Raises `OSError`."""
    found = os.stat(file)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def content_stamp(stamp: FileStamp) -> tuple[int, ...]:
    """What of a stamp changes with the content alone: a backup's new link to a file is no change of it."""
    size, modified, _, number, device = stamp
    return size, modified, number, device


def load_checksum(path: Path, before: FileStamp) -> tuple[int, str] | None:
    """Size (of what is inside) and sha256 of a large file that has been read before and not been touched since."""
    if before[0] < _WORTH_KNOWING:
        return None
    note = read_json(_note(path))
    if note.get("stamp") != list(before) or not isinstance(note.get("bytes"), int):
        return None
    return note["bytes"], str(note.get("sha256"))


def store_checksum(path: Path, before: FileStamp, began: int, size: int, sha256: str) -> None:
    """Keeps what reading `path` gave, if nobody wrote to it from shortly before it `began` (in ns) until now: a change
    within the grain of its times would not show."""
    if before[0] < _WORTH_KNOWING or max(before[1], before[2]) > began - _SETTLED:
        return
    with contextlib.suppress(OSError, UserError):  # to know it again is a convenience
        if stamp(path) == before:
            note = {"stamp": before, "bytes": size, "sha256": sha256, "path": str(path)}
            write_bytes(_note(path), json.dumps(note).encode())


def _note(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
    return cache_folder() / "measured" / f"{name}.json"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of the cache; an empty one where there is none, or something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
