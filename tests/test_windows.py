"""Windows, imitated: its own ways of locking, writing and stopping, and that nothing needs those of POSIX systems."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqgen import streams
from seqgen.cli.interrupts import InterruptHandler
from seqgen.cli.output import end_on_broken_pipe
from seqgen.corpus.cache.folder import cache_folder
from tests.helpers import windows
from tests.helpers.running import TINY_FLAGS

GOLDEN = Path(__file__).parent / "golden" / "models"
Imitated = Callable[..., str]


@pytest.fixture
def imitated() -> Imitated:
    """The command in a process of its own: `imitated("sample", folder, stdin="…")`; returns what it writes."""

    def run(*arguments: object, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, windows.__file__, *map(str, arguments)], input=stdin.encode(), capture_output=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return run


def test_imitation_of_windows_lacks_what_windows_lacks(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from tests.helpers import windows
windows.imitate()
for name in ("fcntl", "pwd", "resource", "termios"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(name)
assert not any(hasattr(os, name) for name in ("fork", "getuid", "killpg", "sched_getaffinity", "O_NOFOLLOW"))
assert not hasattr(signal, "SIGHUP") and not hasattr(signal, "SIGALRM")
def refused(call, *arguments):
    try:
        call(*arguments)
    except PermissionError:
        return True
    return False
with open("file", "w"):
    assert refused(os.unlink, "file") == refused(os.replace, "other", "file") == os.path.isdir("/proc/self/fd")
assert refused(os.open, ".", os.O_RDONLY)
"""
    (tmp_path / "other").touch()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.long
def test_windows_command_trains_resumes_and_overwrites(imitated: Imitated, text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    imitated("train", text_file, "-o", folder, *TINY_FLAGS)
    imitated("train", text_file, "-o", folder, *TINY_FLAGS, "--steps", 4, "--resume")
    assert json.loads(imitated("info", folder, "--json"))["training"]["step"] == 4
    imitated("train", "-", "-o", folder, *TINY_FLAGS, "--overwrite", stdin=text_file.read_text("utf-8"))
    assert json.loads(imitated("info", folder, "--json"))["training"]["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "no lock file, nothing unfinished"


@pytest.mark.parametrize(
    ("arguments", "stdin", "wanted"),
    [
        (["sample", "tidewater-lstm", "-p", "The ", "-l", 20, "-t", 0], "", "The "),
        (["sample", "tunes-gru", "-l", 1, "-o", "-", "--json"], "", "{"),
        (["score", "tidewater-lstm", "-"], "hello there\n", '{"name": "-", "tokens": '),
        (["classify", "reviews-lstm"], "a very good film\n", "positive\t"),
        (["forecast", "weather-gru", "weather", "--horizon", 1], "", "time,temperature,"),
        (["chat", "dialogues-rnn", "-t", 0], "hello\n", ""),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_windows_command_runs(arguments: list[object], stdin: str, wanted: str, imitated: Imitated) -> None:
    command, model, *options = arguments
    written = imitated(command, GOLDEN / str(model), *options, stdin=stdin)
    assert written.startswith(wanted)
    assert written.strip()


# ---- What differs there, one by one ----


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")


def test_cache_folder_on_windows_is_local_app_data(
    on_windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEQGEN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache_folder() == tmp_path / "seqgen" / "Cache"
    monkeypatch.setenv("LOCALAPPDATA", "")
    assert cache_folder() == Path.home() / ".cache" / "seqgen"
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_end_on_broken_pipe_on_windows_takes_an_invalid_argument_for_one(
    on_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    discarded: list[bool] = []
    monkeypatch.setattr("seqgen.cli.output.discard_stdout", lambda: discarded.append(True))
    invalid = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    with end_on_broken_pipe():
        raise invalid
    assert discarded == [True]
    with pytest.raises(OSError, match="x"), end_on_broken_pipe():
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), "x")  # of a file
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(OSError, match="Invalid"), end_on_broken_pipe():
        raise invalid
    assert discarded == [True]


@pytest.mark.parametrize(("is_console", "obeys"), [(True, True), (True, False), (False, False)])
def test_enable_escape_sequences_on_windows_sets_the_mode_of_the_console(
    is_console: bool, obeys: bool, on_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENABLE_VIRTUAL_TERMINAL_PROCESSING is added to the modes of standard output, −11."""
    modes: list[tuple[int | None, int]] = []

    def get(_: object, mode: object) -> bool:
        ctypes.cast(mode, ctypes.POINTER(ctypes.c_uint32))[0] = 3  # type: ignore[arg-type]
        return is_console

    def put(output: ctypes.c_void_p, mode: int) -> bool:
        modes.append((output.value, mode))
        return obeys

    kernel = SimpleNamespace(GetStdHandle=lambda number: 100 - number, GetConsoleMode=get, SetConsoleMode=put)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert streams.enable_escape_sequences() == obeys
    assert modes == [(111, 7)] * is_console
    monkeypatch.setattr(sys, "platform", "linux")
    assert streams.enable_escape_sequences()


def test_interrupt_handler_handles_ctrl_break_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    with InterruptHandler() as stop:
        stop.training = True
        signal.raise_signal(signal.SIGUSR1)
        assert stop() and stop.signal == signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) is before
