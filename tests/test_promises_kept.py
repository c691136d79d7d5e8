"""Promises of the documentation that no test of a single module holds; `seqgen/docs/safety.md` lists all of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import seqgen
from seqgen.cli.interrupts import InterruptHandler
from seqgen.cli.main import COMMANDS, make_program
from seqgen.streams import write_bytes
from tests.helpers.running import Run
from tests.helpers.waiting import eventually, killed_after

GOLDEN = Path(__file__).parent / "golden"
REVIEWS, TALES = GOLDEN / "models" / "reviews-lstm", GOLDEN / "models" / "tidewater-lstm"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fsync of folders")
def test_atomic_write_reaches_the_disk_before_its_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a power cut could leave the name with no contents, or the old name after the command had ended."""
    happened: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        status = os.fstat(handle)
        happened.append("folder on disk" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes on disk")
        fsync(handle)

    def noted_replace(old: str, new: str | Path) -> None:
        happened.append(f"renamed to {Path(new).name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_bytes(tmp_path / "weights", b"0123456789")
    assert happened == ["10 bytes on disk", "renamed to weights", "folder on disk"]


def test_interrupt_handler_second_ctrl_c_raises_at_once() -> None:
    with InterruptHandler() as handler:
        handler.training = True
        signal.raise_signal(signal.SIGINT)
        assert handler(), "the first one asks to save"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_classify_labels_lines_as_they_come() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [sys.executable, "-m", "seqgen", "classify", str(REVIEWS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    with killed_after(started) as command, command:
        assert command.stdin is not None and command.stdout is not None
        for line in (b"What a lovely book\n", b"\n", b"The kettle broke\n"):
            command.stdin.write(line)
            command.stdin.flush()
            assert command.stdout.readline().count(b"\t") == 1, "the label comes while the pipe is open"
        command.stdin.close()
        assert command.stdout.read() == b""
    assert command.returncode == 0


def test_classify_memory_does_not_grow_with_the_lines(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Constant:
        labels = ("negative", "positive")

        def __call__(self, texts: list[bytes]) -> Any:
            return np.full((len(texts), 2), 0.5)

    monkeypatch.setattr("seqgen.api.classifying.make_classifier", lambda _: Constant())
    peaks = []
    for count in (1_500, 3_000):  # lines of a kilobyte; the first is more than is read at once
        (tmp_path / "texts").write_bytes((b"words of a long line " * 47 + b"end\n") * count)
        tracemalloc.start()
        try:
            run("classify", REVIEWS, tmp_path / "texts", "-o", tmp_path / "labels")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert (tmp_path / "labels").read_bytes().count(b"\n") == count
    assert peaks[1] < 1.2 * peaks[0]


def test_commands_and_flags_of_earlier_versions_are_there() -> None:
    """`golden/flags.json` has those of every command; it grows, and nothing is taken out of it."""
    program: Any = typer.main.get_command(make_program(COMMANDS))
    root = program.make_context("seqgen", [], resilient_parsing=True)
    for name, flags in json.loads((GOLDEN / "flags.json").read_text("utf-8")).items():
        command = program.get_command(root, name)
        assert command is not None, name
        found = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        assert set(flags.split()) <= found, name


def test_errors_in_python_have_the_line_of_the_command(run: Run, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for call, typed in (
        (lambda: seqgen.load(nowhere), ("sample", nowhere)),
        (lambda: seqgen.load(TALES).sample(temperature=-1), ("sample", TALES, "-t", -1)),
        (lambda: seqgen.load(TALES).forecast("prices"), ("forecast", TALES, "prices")),
        (lambda: seqgen.load(REVIEWS).sample("x"), ("sample", REVIEWS, "-p", "x")),
        (lambda: seqgen.load(TALES).evaluate("tidewatr"), ("evaluate", TALES, "tidewatr")),
    ):
        with pytest.raises(seqgen.UserError) as raised:
            call()  # type: ignore[no-untyped-call]
        assert run(*typed, status=2).err == f"seqgen: error: {raised.value}\n"


def test_states_and_receipts_leave_the_model_as_it_is(run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TALES, tmp_path / "model"))

    def contents() -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = contents()
    done = run("sample", folder, "-l", 20, "--json", "--state-out", tmp_path / "state")
    (tmp_path / "receipt").write_bytes(done.out)
    run("sample", folder, "-l", 20, "--state-in", tmp_path / "state")
    run("sample", folder, "--replay", tmp_path / "receipt")
    assert contents() == before


def test_read_writes_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "prose.txt").write_text("The boat came home late.\n" * 40)
    (tmp_path / "texts.csv").write_text("text,label\n" + "fine,good\nbroke,bad\n" * 9)
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(b"It rained on the quay.\n" * 40))
    before = sorted(tmp_path.rglob("*"))
    for name in ("prose.txt", "texts.csv", "packed.txt.gz", "."):
        assert run("read", tmp_path / name).out
    assert run("read", stdin=b"The boat came home late.\n" * 40).out
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []


@pytest.fixture
def server_log() -> Iterator[tuple[Any, list[str]]]:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from tests.helpers.server import serving

    lines: list[str] = []
    with serving([TALES]) as served:
        served.state.log = lines.append
        yield served, lines


def test_server_log_has_a_line_a_request_and_no_text(server_log: tuple[Any, list[str]]) -> None:
    served, lines = server_log
    asked = {"prompt": "SECRET words", "length": 5, "stop": "SECRET stop"}
    for body, status in ((asked, 200), ({**asked, "temperature": -1}, 400), ({**asked, "tempo": "SECRET"}, 400)):
        lines.clear()
        assert served.ask("/v1/completions", body).status == status
        assert eventually(lambda: lines), "the line is written once the answer is away"
        (line,) = lines
        assert "/v1/completions" in line and str(status) in line
        assert "SECRET" not in line and str(TALES) not in line


def test_server_request_reads_no_file(server_log: tuple[Any, list[str]], tmp_path: Path) -> None:
    """Fields that name files on the command line are unknown; names of files elsewhere are only text."""
    served, _ = server_log
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    for field in ("prompt_file", "primer", "state_in", "state_out", "output", "replay", "config"):
        answer = served.ask("/v1/completions", {"prompt": "x", "length": 3, field: str(secret)})
        assert answer.status == 400 and b"SECRET" not in answer.body, field
    for name in (str(secret), f"../{tmp_path.name}", "hf:me/tales", str(REVIEWS)):
        answer = served.ask("/v1/completions", {"model": name, "prompt": "x", "length": 3})
        assert answer.status in (400, 404) and b"SECRET" not in answer.body, name
    for path in (f"/{secret}", f"//{secret}", f"/../..{secret}", f"/%2e%2e{secret}", f"/v1/..%2f..{secret}"):
        assert served.ask(path).status in (400, 404)
    answer = served.ask("/v1/completions", {"prompt": f"@{secret}", "length": 3, "echo": True})
    assert answer.status == 200 and b"SECRET" not in answer.body
