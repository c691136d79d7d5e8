"""Limits on memory: one line that says so, whatever library fails."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from seqgen.cli import memory
from seqgen.cli.memory import memory_message

MAIN = "import sys; from seqgen.__main__ import main; sys.exit(main())"


def run_under(limit: int, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    def set_limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    return subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, arguments)], preexec_fn=set_limit, capture_output=True, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't limit the address space")
@pytest.mark.parametrize("megabytes", [25, 60, 150, 400])
def test_main_under_a_limit_prints_one_line_on_memory(megabytes: int, tmp_path: Path) -> None:
    text = tmp_path / "prose.txt"
    text.write_text("It rained.\n" * 100)
    done = run_under(megabytes << 20, "train", text, "-o", tmp_path / "m", "--steps", 2)
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.startswith(b"seqgen: error: ")
    assert b"memory" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == [text]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't limit the address space")
def test_main_under_a_limit_that_is_enough_does_its_work() -> None:
    done = run_under(400 << 20, "info", "model-of-none")
    assert (done.returncode, done.stderr) == (2, b"seqgen: error: there is no model 'model-of-none'\n")
    assert run_under(400 << 20, "--help").returncode == 0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("can't start new thread"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("std::bad_alloc"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_memory_message_of_any_library(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "address_space_limit", lambda: None)
    assert memory_message(error) == "not enough memory; a smaller --rnn-size or --batch-size needs less"
    monkeypatch.setattr(memory, "address_space_limit", lambda: 2_000_000_000)
    assert "2.0 GB (ulimit -v)" in (memory_message(error) or "")


@pytest.mark.parametrize(
    "error",
    [ValueError("a bad value"), FileNotFoundError("x"), RuntimeError("shapes differ"), ImportError("no y")],
)
def test_memory_message_of_another_error_is_none(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "address_space_limit", lambda: None)
    assert memory_message(error) is None


def test_memory_message_of_a_half_imported_library_under_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "address_space_limit", lambda: 1 << 29)
    assert memory_message(SystemError("error return without exception set")) is not None
    assert memory_message(ImportError("cannot import name 'x'")) is not None
    assert memory_message(ModuleNotFoundError("No module named 'x'")) is None
