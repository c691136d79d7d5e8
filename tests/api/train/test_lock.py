"""One training at a time writes a model folder; its lock ends with it, however it ends."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import seqgen
from seqgen import checkpoint, locks, streams
from seqgen.api.train import lock as claim
from seqgen.api.train.lock import lock_model_folder
from seqgen.api.train.watch import Watcher
from seqgen.errors import UserError
from tests.helpers.waiting import killed_after

TINY: dict[str, Any] = {"rnn_size": 8, "embedding_size": 4, "batch_size": 4, "seq_length": 16, "precision": "fp32",
                        "threads": 1, "steps": 2}  # fmt: skip
TAKEN = "another training is writing"


def refused(folder: Path, **options: Any) -> None:
    with pytest.raises(UserError, match=TAKEN) as error:
        seqgen.train("tidewater", folder, **{**TINY, **options})
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_lock_second_training_is_refused(text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    tried = []

    def look(_: object) -> None:
        tried.append(folder.exists())
        for flags in ({}, {"resume": True}, {"overwrite": True}):
            refused(folder, **flags)

    seqgen.train(str(text_file), folder, watch=Watcher(started=look, event=look), **TINY)
    assert set(tried) == {False, True}
    seqgen.load(folder).sample(length=3)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    seqgen.train([], folder, resume=True, steps=3)  # the lock is released


def test_lock_during_overwrite_old_model_is_readable(text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    seqgen.train(str(text_file), folder, **TINY)

    def look(_: object) -> None:
        assert len(seqgen.load(folder).sample(length=3)[0].text) == 3
        refused(folder, overwrite=True)
        refused(folder, resume=True)

    seqgen.train(str(text_file), folder, overwrite=True, watch=Watcher(started=look, event=look), **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_folder_that_is_called_like_a_model_of_the_hub_is_named_by_a_path(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="would be taken for a model of the hub"):
        seqgen.train(str(text_file), "hf:m", **TINY)
    with pytest.raises(UserError, match="would be taken for a model of the hub"):
        seqgen.compare(str(text_file), "hf:m", **TINY)
    seqgen.train(str(text_file), "./hf:m", **TINY)
    assert seqgen.load("./hf:m").info()["training"]["step"] == 2


def test_lock_sibling_folder_is_free(text_file: Path, tmp_path: Path) -> None:
    watch = Watcher(started=lambda _: seqgen.train(str(text_file), tmp_path / "b", **TINY) and None)
    seqgen.train(str(text_file), tmp_path / "a", watch=watch, **TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_lock_symlink_is_the_same_folder(text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    seqgen.train(str(text_file), tmp_path / "link", **TINY)
    watch = Watcher(started=lambda _: refused(tmp_path / "link", resume=True))
    seqgen.train(str(text_file), tmp_path / "real", overwrite=True, watch=watch, **TINY)
    assert (tmp_path / "link").is_symlink()


def test_lock_ends_with_its_process(text_file: Path, tmp_path: Path) -> None:
    """A killed process leaves no lock file, and the next training starts at once."""
    folder = tmp_path / "m"
    code = "import sys, time; from pathlib import Path; from seqgen.api.train.lock import lock_model_folder\n"
    code += "with lock_model_folder(Path(sys.argv[1]), False):\n    print('held', flush=True)\n    time.sleep(60)\n"
    command = [sys.executable, "-c", code, str(folder)]
    with killed_after(subprocess.Popen(command, stdout=subprocess.PIPE)) as process, process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        refused(folder)
        process.kill()
    seqgen.train(str(text_file), folder, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_lock_removes_leftovers_of_killed_run(tmp_path: Path) -> None:
    new = checkpoint.staging(tmp_path / "m")
    (new / "resume").mkdir(parents=True)
    (new / "resume" / "step-1.safetensors").write_bytes(b"half")
    (new / "config.json").write_text("{")
    (new / "link").symlink_to(tmp_path)
    with lock_model_folder(tmp_path / "m", resume=False):
        assert list(new.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_lock_removes_unused_parents(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        seqgen.train("missing.txt", tmp_path / "a" / "b" / "m", **TINY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EBADF, errno.ENOTSUP])
def test_lock_without_file_system_support_is_free(
    code: int, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks, "try_lock", fail)
    seqgen.train(str(text_file), tmp_path / "m", **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_lock_of_folder_replaced_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another training ended between opening and locking the folder, and replaced it."""

    try_lock = locks.try_lock

    def late(folder: Path) -> int | None:
        handle = try_lock(folder)
        if folder.name.endswith(streams.PARTIAL_SUFFIX):
            folder.rename(tmp_path / "gone")
        return handle

    monkeypatch.setattr(locks, "try_lock", late)
    with pytest.raises(UserError, match=TAKEN), lock_model_folder(tmp_path / "m", resume=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["gone"], "what is another's stays"


def test_lock_unwritable_folder_is_refused(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seqgen.train(str(text_file), tmp_path / "m", **TINY)

    def refuse(**_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(claim.tempfile, "TemporaryFile", refuse)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"cannot write .*: Read-only file system"):
        seqgen.train([], tmp_path / "m", resume=True, steps=10**9)
    assert time.monotonic() - began < 5
