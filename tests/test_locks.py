"""File locks, seen from one process: each open file has a lock of its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from seqgen import locks
from tests.helpers.windows import Msvcrt


@pytest.fixture(params=["POSIX", "Windows"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "Windows":
        monkeypatch.setattr(locks, "fcntl", None)
        monkeypatch.setattr(locks, "msvcrt", Msvcrt)
    return str(request.param)


def test_try_lock_of_a_locked_file_returns_none_unless_both_are_shared(tmp_path: Path) -> None:
    handle = locks.try_lock(tmp_path, shared=True)
    assert handle is not None
    assert locks.try_lock(tmp_path) is None
    other = locks.try_lock(tmp_path, shared=True)
    assert other is not None
    for each in (handle, other):
        os.close(each)
    assert not locks.is_locked(tmp_path)


def test_try_lock_of_a_locked_file_returns_none(system: str, tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    handle = locks.acquire_lock_file(path)
    assert handle is not None and handle >= 0
    assert locks.acquire_lock_file(path) is None
    assert locks.is_locked(path)
    locks.release_lock_file(path, handle)
    assert not path.exists()
    assert not locks.is_locked(path)


def test_release_lock_file_on_windows_keeps_the_file_of_the_next_owner(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed first, the file may belong to another process by the time it is removed: Windows then refuses."""
    path, taken = tmp_path / ".lock", []
    handle = locks.acquire_lock_file(path)
    assert handle is not None

    def unlink(_: Path) -> None:
        taken.append(locks.acquire_lock_file(path))
        if taken[0] is not None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(locks.os, "unlink", unlink)
    locks.release_lock_file(path, handle)
    monkeypatch.undo()
    assert (taken[0] is None) == (system == "POSIX")
    assert path.exists()


def test_remove_locked_folder_removes_its_lock_file_too(system: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "part").touch()
    handle = locks.acquire_lock_file(folder / locks.LOCK_SUFFIX)
    assert handle is not None
    locks.remove_locked_folder(folder, handle)
    assert not folder.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def test_try_lock_for_another_reason_than_a_lock_raises(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    module, name = (locks.fcntl, "flock") if system == "POSIX" else (locks.msvcrt, "locking")
    monkeypatch.setattr(module, name, fail)
    (tmp_path / "file").touch()
    with pytest.raises(locks.LocksUnsupportedError):
        locks.try_lock(tmp_path / "file")
    assert locks.acquire_lock_file(tmp_path / "file") == -1


def test_acquire_lock_file_that_its_owner_removes_meanwhile_locks_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise two processes would have the lock: one of a file that is no longer there."""
    path, opened = tmp_path / ".lock", []
    flock = locks.fcntl.flock

    def remove_first(handle: int, operation: int) -> None:
        opened.append(handle)
        if len(opened) == 1:
            path.unlink()
        flock(handle, operation)

    monkeypatch.setattr(locks.fcntl, "flock", remove_first)
    handle = locks.acquire_lock_file(path)
    assert handle is not None and len(opened) == 2
    assert locks.is_same_file(handle, path) and locks.is_locked(path)
    locks.release_lock_file(path, handle)


def test_release_lock_file_whose_descriptor_is_0_removes_and_closes_it(tmp_path: Path) -> None:
    """As in a process that was started without a standard input."""
    path, stdin = tmp_path / ".lock", os.dup(0)
    os.close(0)
    try:
        handle = locks.acquire_lock_file(path)
        assert handle == 0
        locks.release_lock_file(path, handle)
        assert not path.exists()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)


def test_is_locked_disturbs_nobody_who_shares_a_lock(tmp_path: Path) -> None:
    handle = locks.try_lock(tmp_path, shared=True)
    assert handle is not None and not locks.is_locked(tmp_path)
    os.close(handle)


def test_lock_descriptor_where_there_are_no_locks_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int, _: int) -> None:
        handles.append(handle)
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    handles: list[int] = []
    monkeypatch.setattr(locks.fcntl, "flock", fail)
    with open(tmp_path / "file", "wb") as file:
        assert locks.lock_descriptor(file.fileno()) is None
        assert handles[0] != file.fileno()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(handles[0])
    with locks.locked_folder(tmp_path) as handle:
        assert handle is None
    monkeypatch.setattr(locks, "fcntl", None)
    assert locks.lock_descriptor(0) is None


def test_is_locked_of_a_missing_file_is_false(tmp_path: Path) -> None:
    assert not locks.is_locked(tmp_path / "missing")


def test_locked_file_waits_and_removes_the_file(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    handle = locks.acquire_lock_file(path)
    assert handle is not None
    waits: list[str] = []
    monkeypatch.setattr(locks.time, "sleep", lambda _: locks.release_lock_file(path, handle))
    with locks.locked_file(path, lambda: waits.append("waiting")):
        assert waits == ["waiting"]
        assert locks.is_locked(path)
    assert not path.exists()


def test_locked_folder_of_a_locked_folder_raises(system: str, tmp_path: Path) -> None:
    folder, renamed = tmp_path / "folder", tmp_path / "renamed"
    folder.mkdir()
    with locks.locked_folder(folder) as handle:
        assert (handle is None) == (system == "Windows")
        with pytest.raises(locks.AlreadyLockedError), locks.locked_folder(folder):
            pass
        folder.rename(renamed)
    assert [path.name for path in tmp_path.iterdir()] == ["renamed"]
    with locks.locked_folder(renamed):
        pass


def test_locked_folder_without_locks_yields_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with locks.locked_folder(tmp_path) as handle:
        assert handle is None
    with pytest.raises(locks.LocksUnsupportedError):
        locks.try_lock(tmp_path)
