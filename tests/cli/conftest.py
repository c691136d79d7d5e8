"""Fixtures for tests of commands."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from seqgen.cli.main import main
from tests.helpers.running import RefusedRun, prose


@pytest.fixture(scope="session")
def two_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two short texts, and other things that people have in folders."""
    folder = tmp_path_factory.mktemp("sources") / "texts"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text(prose(200, seed=2))
    (folder / "more" / "b.txt").write_text(prose(200, seed=3))
    (folder / "picture.png").write_bytes(b"\x89PNG\0\0")
    (folder / ".hidden").write_text("a secret")
    return folder


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RefusedRun:
    """Runs a command that is wrong, with nothing on standard input; checks how it ends and gives its one line."""

    def run(arguments: list[str]) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        status = main(arguments)
        said = capfd.readouterr()
        assert said.err.startswith("seqgen: error: ")
        assert said.err.endswith("\n")
        assert said.err.count("\n") == 1, "more than one line"
        assert "internal error" not in said.err
        assert status == 2
        assert said.out == ""
        return said.err

    return run
