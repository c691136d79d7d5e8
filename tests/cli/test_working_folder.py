"""Commands in a folder of Python files that are called like modules, and of settings: none of them is run or read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import seqgen
from tests.helpers.midi_files import tune
from tests.helpers.running import TINY_FLAGS, prose

ROOT = Path(seqgen.__file__).resolve().parents[1]
# What a package manager installs as the command `seqgen`; it may not be installed where the tests run.
SCRIPT = f"import sys\nsys.path.insert(1, {str(ROOT)!r})\nfrom seqgen.__main__ import main\nsys.exit(main())\n"
OTHERS = "numpy torch typer click mido sentencepiece matplotlib sitecustomize usercustomize readline zstandard".split()  # noqa: SIM905


@pytest.fixture
def exercises(tmp_path: Path) -> Path:
    """A folder of files named like the modules of the standard library, and others; each leaves a mark and ends."""
    folder = tmp_path / "exercises"
    folder.mkdir()
    for name in {*sys.stdlib_module_names, *OTHERS}:
        mark = tmp_path / f"MARK-{name}"
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\nraise SystemExit(9)\n")
    (folder / "matplotlibrc").write_bytes(b"\xff")  # which matplotlib can't read
    (folder / "tunes").mkdir()
    for number in range(26):  # more than one process reads these
        (folder / "tunes" / f"{number:02}.mid").write_bytes(tune(number))
    (folder / "prose.txt").write_text(prose(300))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "seqgen").write_text(SCRIPT)
    return folder


@pytest.mark.slow
def test_commands_in_a_folder_of_modules_run_none_of_them(exercises: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["SEQGEN_CACHE"] = str(exercises.parent / "cache")

    def run(*arguments: str) -> bytes:
        script = exercises.parent / "bin" / "seqgen"
        done = subprocess.run(
            [sys.executable, script, *arguments], cwd=exercises, env=environment, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
        assert not list(exercises.parent.glob("MARK-*"))
        return done.stdout

    assert run("--help")
    run("train", "tunes", "-o", "reels", *TINY_FLAGS, "--threads", "2")
    assert run("sample", "reels", "--length", "2", "--plot", "roll.png").startswith(b"MThd")
    run("train", "prose.txt", "-o", "tales", "--tokenizer", "subword", "--vocab-size", "320", *TINY_FLAGS)
    assert run("sample", "tales", "--length", "20")
    assert run("score", "tales", "prose.txt")
    assert run("info", "tales")
