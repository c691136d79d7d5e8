"""Shared by the tests: a private cache, small texts, and one tiny trained model a session."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers.running import Command, Result, Run, prose

# A shared machine may stall for a second at any time: how long an example takes is not what is tested.
settings.register_profile("seqgen", deadline=None)
settings.load_profile("seqgen")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; two threads each would only wait


def pytest_configure(config: pytest.Config) -> None:
    """Earlier versions of `datasets` leave a table open that they could not read: no fault of what is tested. And
    Ctrl-C is tested, so it must not be ignored."""
    if tuple(map(int, metadata.version("datasets").split(".")[:2])) < (5, 2):
        config.addinivalue_line("filterwarnings", "ignore:unclosed file:ResourceWarning")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background, and so in all that is started
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No test reads or fills the person's own cache."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    cache.mkdir(exist_ok=True)
    monkeypatch.setenv("SEQGEN_CACHE", str(cache))
    yield cache


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 15 KB of prose."""
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(prose(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model_folder(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LSTM over characters, trained for 60 steps. Not to be changed: copy it first."""
    cache = tmp_path_factory.mktemp("model-cache")
    before = os.environ.get("SEQGEN_CACHE")
    os.environ["SEQGEN_CACHE"] = str(cache)
    try:
        import seqgen

        folder = tmp_path_factory.mktemp("model") / "tiny"
        seqgen.train(
            str(text_file), folder, steps=60, rnn_size=32, embedding_size=16, batch_size=8, seq_length=32,
            precision="fp32", threads=1, seed=1,
        )  # fmt: skip
    finally:
        if before is None:
            os.environ.pop("SEQGEN_CACHE")
        else:
            os.environ["SEQGEN_CACHE"] = before
    return folder


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each kind, trained for two steps (see `strange`), with what they read. Not to be changed."""
    from tests.helpers import model_zoo as strange

    folder = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(tmp_path_factory.mktemp("zoo-cache")))
        return strange.train_each(folder)


@pytest.fixture(scope="session")
def seqgen_command() -> Command:
    """Runs the real command in a process of its own: `seqgen_command("sample", folder, stdin=b"…")`."""

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
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A command in this process, which saves the start of another: `run("sample", folder, stdin=b"…")`."""
    from seqgen.cli.main import main

    def inside(*arguments: object, stdin: bytes = b"", status: int = 0) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        ended = main([str(argument) for argument in arguments])
        said = capfdbinary.readouterr()
        result = Result(ended, said.out, said.err.decode())
        assert ended == status, result.err
        return result

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield inside
    for number, handler in before.items():  # `train` takes Ctrl-C over
        signal.signal(number, handler)
