"""Habits of every command: quiet, help, version, closed pipes and streams, full disks, locales."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import seqgen
from tests.helpers.running import COMMANDS, MIXED_BYTES, TINY_FLAGS, Command, Run

GOLDEN = Path(__file__).parents[1] / "golden" / "models"

# ---- Habits of every command ----


@pytest.mark.parametrize("command", COMMANDS)
def test_main_every_command_has_quiet(run: Run, command: str) -> None:
    assert "--quiet" in run(command, "--help").out.decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_main_every_command_has_help(run: Run, command: str) -> None:
    assert run(command, "-h").out == run(command, "--help").out
    assert run(command, "-h").out.startswith(b"Usage: seqgen " + command.encode())


def test_main_without_arguments_prints_help(seqgen_command: Command) -> None:
    done = seqgen_command()
    assert (done.returncode, done.stderr) == (0, b"")
    for command in COMMANDS:
        assert f"  {command} ".encode() in done.stdout


def test_main_version(seqgen_command: Command) -> None:
    done = seqgen_command("--version")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"seqgen {seqgen.__version__}\n", b"")


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["sample", "MODEL", "-n", "100000", "--length", "20"], None),
        (["sample", "MODEL", "--length", "100000000"], None),
        (["score", "MODEL", "--lines"], b"the old lamp\n" * 3000),
        (["tokenize", "byte", "TEXT", "--pieces"], None),
        (["info", "MODEL", "--json"], None),
        (["corpora", "--json"], None),
        (["--help"], None),
        (["train", "--help"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_main_broken_pipe_ends_silently(
    arguments: list[str], stdin: bytes | None, model_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    """`| head -1`: status 0, and not a word."""
    places = {"MODEL": str(model_folder), "TEXT": str(text_file)}
    given = tmp_path / "stdin"
    given.write_bytes(stdin or b"")
    with (
        given.open("rb") as source,
        subprocess.Popen(
            [sys.executable, "-m", "seqgen", *(places.get(word, word) for word in arguments)],
            stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_main_broken_pipe_from_the_start_ends_silently(model_folder: Path) -> None:
    """The write that fails may be the very first, or the flush at the end."""
    reading, writing = os.pipe()
    os.close(reading)
    piece = ["sample", str(GOLDEN / "tunes-gru"), "-l", "1", "--format", "wav", "-o", "/dev/stdout"]
    for arguments in (["--version"], ["info", str(model_folder)], *([piece] if Path("/dev/stdout").exists() else [])):
        done = subprocess.run(
            [sys.executable, "-m", "seqgen", *arguments], stdout=writing, stderr=subprocess.PIPE, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
    os.close(writing)


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line for the shell, in which `$SEQGEN` is the command."""
    return subprocess.run(
        ["sh", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "SEQGEN": f"{sys.executable} -m seqgen", "OMP_NUM_THREADS": "1", **environment},
        timeout=120,
    )


def test_main_closed_streams(model_folder: Path, tmp_path: Path) -> None:
    """A cron job or a daemon may start a program without any of the three."""
    sample = f"$SEQGEN sample {model_folder} --length 30"
    plain = shell(sample)
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert shell(f"{sample} <&-").stdout == plain.stdout
    assert shell(f"{sample} 2>&-").stdout == plain.stdout

    closed = shell(f"{sample} >&-")
    assert closed.returncode == 2
    assert closed.stderr.startswith(b"seqgen: error: standard output is closed")
    assert closed.stderr.count(b"\n") == 1

    assert shell("$SEQGEN --version >&-").returncode == 2
    nothing = shell(f"$SEQGEN score {model_folder} <&-")
    assert nothing.returncode == 2
    assert nothing.stderr.count(b"\n") == 1

    to_a_file = shell(f"{sample} -o {tmp_path / 'out'} <&- >&- 2>&-")
    assert to_a_file.returncode == 0
    assert (tmp_path / "out").read_bytes() == plain.stdout


def test_train_with_all_streams_closed(text_file: Path, tmp_path: Path) -> None:
    """And what is written goes nowhere but into the model: not into a file that took a stream's number."""
    before = text_file.read_bytes()
    done = shell(f"$SEQGEN train {text_file} -o {tmp_path / 'model'} {' '.join(TINY_FLAGS)} <&- >&- 2>&-")
    assert done.returncode == 0
    assert text_file.read_bytes() == before
    seqgen.load(tmp_path / "model").checkpoint.weights()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("command", ["sample MODEL", "info MODEL", "--help"])
def test_main_full_disk_is_status_2(model_folder: Path, command: str) -> None:
    done = shell(f"$SEQGEN {command.replace('MODEL', str(model_folder))} > /dev/full")
    assert done.stderr.startswith(b"seqgen: error: ")
    assert done.stderr.count(b"\n") == 1
    assert b"internal error" not in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"FORCE_COLOR": "1"}], ids=str)
def test_main_no_colour_in_a_pipe(run: Run, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       environment: dict[str, str]) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for arguments in (
        ["--help"],
        ["train", text_file, "-o", tmp_path / "model", *TINY_FLAGS],
        ["info", tmp_path / "model"],
    ):
        result = run(*arguments)
        assert b"\x1b" not in result.out
        assert "\x1b" not in result.err


def test_main_ascii_locale(seqgen_command: Command, model_folder: Path) -> None:
    """Data is bytes: what a terminal could show changes nothing."""
    here = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = seqgen_command("sample", model_folder, "--prompt-file", "-", "-l", 9, stdin=MIXED_BYTES, **here)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(MIXED_BYTES)
    page = seqgen_command("info", model_folder, **here)  # it holds a ×
    assert (page.returncode, page.stderr) == (0, b"")
    told = seqgen_command("train", "灯塔.txt", "-o", "new", **here)
    assert told.returncode == 2
    assert told.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("module", "requirement"),
    [
        ("sklearn.linear_model", "'seqgen-rnn[baselines]'"), ("pyppmd", "'seqgen-rnn[baselines]'"),
        ("openpyxl", "'seqgen-rnn[excel]'"), ("zstandard", "zstandard"),
    ],
)  # fmt: skip
def test_main_missing_package_advises_its_requirement(
    run: Run, monkeypatch: pytest.MonkeyPatch, module: str, requirement: str
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("seqgen.cli.main.make_program", lambda names, completes: missing)
    assert run("info", "model", status=2).err == (
        f"seqgen: error: this needs the package {module.partition('.')[0]!r}, which is not installed: "
        f"pip install {requirement}\n"
    )
