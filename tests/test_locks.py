"""File locks, seen from one process: each open file has a lock of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seqgen import locks


def test_try_lock_of_a_locked_file_returns_none_unless_both_are_shared(tmp_path: Path) -> None:
    handle = locks.try_lock(tmp_path, shared=True)
    assert handle is not None
    assert locks.try_lock(tmp_path) is None
    other = locks.try_lock(tmp_path, shared=True)
    assert other is not None
    for each in (handle, other):
        os.close(each)
    assert not locks.is_locked(tmp_path)


def test_is_locked_of_a_missing_file_is_false(tmp_path: Path) -> None:
    assert not locks.is_locked(tmp_path / "missing")


def test_locked_file_waits_and_removes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    handle = locks.acquire_lock_file(path)
    assert handle is not None
    waits: list[str] = []
    monkeypatch.setattr(locks.time, "sleep", lambda _: locks.release_lock_file(path, handle))
    with locks.locked_file(path, lambda: waits.append("waiting")):
        assert waits == ["waiting"]
        assert locks.is_locked(path)
    assert not path.exists()


def test_locked_folder_of_a_locked_folder_raises(tmp_path: Path) -> None:
    with locks.locked_folder(tmp_path), pytest.raises(locks.AlreadyLockedError), locks.locked_folder(tmp_path):
        pass
    assert not locks.is_locked(tmp_path)


def test_locked_folder_without_locks_yields_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with locks.locked_folder(tmp_path) as handle:
        assert handle is None
    with pytest.raises(locks.LocksUnsupportedError):
        locks.try_lock(tmp_path)
