"""A signal before training has begun: it ends at once, in one line, and nothing is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.waiting import PATIENCE, eventually


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_train_stopped_while_a_pipe_is_read_ends_at_once(number: int, status: int, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    training = subprocess.Popen(
        [sys.executable, "-m", "seqgen", "train", "-", "-o", "m"], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=tmp_path, env={**os.environ, "SEQGEN_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert training.stdin is not None and training.stderr is not None
    assert eventually(lambda: list(cache.glob("spool/*/1")) or training.poll() is not None)
    began = time.monotonic()
    training.send_signal(number)
    said = training.stderr.read().decode()
    assert training.wait(PATIENCE) == status, said
    assert time.monotonic() - began < 2.0
    training.stdin.close()
    training.stderr.close()
    *notices, last = said.splitlines()
    assert last == "seqgen: stopped before training began: nothing was learnt, nothing is saved"
    assert notices in ([], ["seqgen: waiting for standard input"])  # after seconds, on a busy machine
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
    assert not [path for path in cache.rglob("*") if path.is_file()]
