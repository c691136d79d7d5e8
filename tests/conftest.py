"""Fixtures of all tests: a private cache, small texts and models, commands, and a terminal."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from seqgen.locks import locked_file
from tests.helpers.running import Command, MadeOnce, Result, Run, prose
from tests.helpers.terminal import Terminal, TerminalRun

if TYPE_CHECKING:
    import seqgen

# A shared machine may stall for a second at any time, so no example has a deadline.
settings.register_profile("seqgen", deadline=None, max_examples=60)  # deeper: tests/benchmarks/fuzz.py
settings.load_profile("seqgen")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in parallel: a second thread each would only wait
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):  # hundreds of processes would compile the program anew
    os.environ["PYTHONPYCACHEPREFIX"] = tempfile.mkdtemp(prefix="seqgen-bytecode-")
    atexit.register(shutil.rmtree, os.environ["PYTHONPYCACHEPREFIX"], ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    """Adapt to old `datasets`, and make sure that child processes ignore no signal of those that end a command."""
    if tuple(map(int, metadata.version("datasets").split(".")[:2])) < (5, 2):  # leaves unreadable tables open
        config.addinivalue_line("filterwarnings", "ignore:unclosed file:ResourceWarning")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background; child processes inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
        signal.signal(signal.SIGHUP, lambda *_: None)  # a handler, other than SIG_IGN, is not inherited


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--random-order", metavar="SEED", help="shuffle the test files, and the tests of each")


@pytest.hookimpl(trylast=True)  # after the tests that share a parameter of a fixture were brought together
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the tests on `--random-order`. Those of a file stay together, so that what they share is made once."""
    seed = config.getoption("--random-order")
    if seed is not None:
        numbers = random.Random(seed)
        keys = {path: numbers.random() for path in dict.fromkeys(item.path for item in items)}
        items.sort(key=lambda item: (keys[item.path], numbers.random()))


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the tests and what they share, so that none reads or fills the user's own."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    cache.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(cache))
        yield cache


# ---- Texts and models ----


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """`made_once(name, make)`: a folder that `make` fills once for all processes of this run. Read-only."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def find(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = shared / f"shared-{name}", shared / f"{name}.made"
        with locked_file(shared / f"{name}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return find


@pytest.fixture(scope="session")
def text_file(made_once: MadeOnce) -> Path:
    """About 15 KB of prose."""
    return made_once("text", lambda folder: (folder / "prose.txt").write_text(prose(), "utf-8")) / "prose.txt"


@pytest.fixture(scope="session")
def model_folder(text_file: Path, made_once: MadeOnce) -> Path:
    """A small character LSTM, trained for 60 steps. Read-only: `model_copy` is free to be changed."""
    import seqgen

    def train(folder: Path) -> None:
        seqgen.train(
            str(text_file), folder / "tiny", steps=60, rnn_size=32, embedding_size=16, batch_size=8, seq_length=32,
            precision="fp32", threads=1, seed=1,
        )  # fmt: skip

    return made_once("model", train) / "tiny"


@pytest.fixture
def model_copy(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the trained model, free to be changed."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


@pytest.fixture(scope="session")
def zoo(made_once: MadeOnce) -> dict[str, Path]:
    """A model of each task, trained for two steps, with its sources beside it (see `model_zoo`). Read-only."""
    from tests.helpers import model_zoo

    folder = made_once("zoo", model_zoo.train_each)
    return {name: folder / name for name in model_zoo.MODELS}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Model folders of random weights: `models(codec name, task, **network settings)`, each made once."""
    from seqgen.tokenizers.dialogue import DialogueCodec
    from seqgen.tokenizers.labelled import LabelledCodec
    from seqgen.tokenizers.midi import MidiCodec
    from tests.helpers.random_models import CODECS
    from tests.helpers.untrained import untrained

    root, made = tmp_path_factory.mktemp("untrained"), {}

    def find(codec: str, task: str = "text", **network: Any) -> Path:
        key = (codec, task, *sorted(network.items()))
        if key not in made:
            codecs = {**CODECS, "dialogue": DialogueCodec(CODECS["char"]), "midi": MidiCodec(),
                      "labelled": LabelledCodec(CODECS["char"], 2)}  # fmt: skip
            made[key] = untrained(root / str(len(made)), codecs[codec], task, **network)
        return made[key]

    return find


@pytest.fixture(scope="session")
def dialogue_model(made_once: MadeOnce) -> seqgen.Model:
    """A model that knows twelve conversations by heart."""
    import seqgen
    from tests.helpers.dialogues import train_known

    return seqgen.load(made_once("dialogue", train_known) / "dialogue-model")


# ---- Commands ----


@pytest.fixture(scope="session")
def seqgen_command() -> Command:
    """The real command in a process of its own: `seqgen_command("sample", folder, stdin=b"…")`."""

    def run(
        *arguments: object, stdin: bytes | None = None, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "seqgen", *map(str, arguments)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            timeout=240,
        )

    return run


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    """Restores the handlers of the signals that end a command."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in this process, which saves the start of another: `run("sample", folder, stdin=b"…")`."""
    from seqgen.cli.main import main

    def run_main(*arguments: object, stdin: bytes = b"", status: int = 0) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        ended = main([str(argument) for argument in arguments])
        captured = capfdbinary.readouterr()
        result = Result(ended, captured.out, captured.err.decode())
        assert ended == status, result.err
        return result

    return run_main


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A pseudo-terminal; its processes are killed at the end of a failed test."""
    opened = Terminal()
    yield opened
    for process in opened.processes:
        process.kill()
        process.wait()
    opened.close()


@pytest.fixture
def inside(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Iterator[TerminalRun]:
    """A command in this process with the streams named in `at` on a terminal; returns the terminal's output."""
    from seqgen.cli.main import main

    def run_main(*arguments: object, at: tuple[str, ...] = ("stdin", "stdout", "stderr"), status: int = 0) -> bytes:
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            for name in at:
                mode = "r" if name == "stdin" else "w"
                stream = stack.enter_context(open(os.dup(terminal.slave), mode, encoding="utf-8"))
                patch.setattr(sys, name, stream)
            assert main([str(argument) for argument in arguments]) == status
            patch.undo()
        return terminal.close()

    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return run_main
