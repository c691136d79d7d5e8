"""What a person sees: a progress display that cleans up after itself, text that can't steer the terminal, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import seqgen
from seqgen.cli import progress
from seqgen.cli.interrupts import InterruptHandler
from seqgen.cli.main import main
from seqgen.cli.output import StderrLogger
from tests.helpers.terminal import Terminal, TerminalRun, start_on_terminal
from tests.helpers.waiting import PATIENCE

TINY = ["--rnn-size", "16", "--steps", "3", "--threads", "1", "--precision", "fp32"]

COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-7]|38|4[0-7]|48|9[0-7])(?:;\d+)*m")


@pytest.fixture(scope="session")
def nasty_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text full of what would colour, move and rename a terminal."""
    path = tmp_path_factory.mktemp("nasty") / "nasty.txt"
    path.write_bytes(("\x1b[31mred " * 16 + "\x1b]0;title\x07 \x9b1m \x7f \u202e\r\x08\n").encode() * 60)
    return path


@pytest.fixture(scope="session")
def nasty_model(nasty_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt to write such things."""
    folder = tmp_path_factory.mktemp("nasty-model") / "model"
    seqgen.train(str(nasty_text), folder, steps=30, rnn_size=32, precision="fp32", threads=1)
    return folder


# ---- The progress display ----


def test_progress_terminal_shows_a_bar(terminal: Terminal, text_file: Path, tmp_path: Path) -> None:
    """On stderr, if that is the terminal; stdout stays empty. At the end the cursor is back, and a line stays."""
    process = start_on_terminal(terminal, "train", text_file, "-o", tmp_path / "model", *TINY, stdout=subprocess.PIPE)
    assert process.communicate(timeout=PATIENCE)[0] == b""
    assert process.returncode == 0
    said = terminal.close()
    assert b"\x1b[" in said
    assert b"bits/char" in said
    assert said.rfind(b"\x1b[?25h") > said.rfind(b"\x1b[?25l"), "the cursor was hidden, and is shown again"
    shown = re.sub(rb"\x1b\[[?0-9;]*[A-Za-z]|\r", b"", said)
    assert shown.endswith(b"\n")
    assert re.fullmatch(rb"seqgen: .*model: 3 steps in .*", shown.splitlines()[-2])
    assert shown.splitlines()[-1].startswith(b"seqgen: next: ")


def test_progress_pipe_prints_lines_at_intervals(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    clock = [100.0]
    monkeypatch.setattr("seqgen.cli.progress.time.monotonic", lambda: clock[0])
    shown = progress._Lines(StderrLogger(quiet=False))
    shown.report("encoding much")
    for second in range(300):
        clock[0] += 0.1
        shown.progress(second * 1_000_000, 300_000_000)
    shown.report("reading what nobody knows the size of")
    clock[0] += 11
    shown.progress(5, None)
    assert capfdbinary.readouterr().err.decode().splitlines() == [
        "seqgen: encoding much", "seqgen: encoding much: 100.0 MB of 300.0 MB",
        "seqgen: encoding much: 201.0 MB of 300.0 MB", "seqgen: reading what nobody knows the size of",
        "seqgen: reading what nobody knows the size of: 5 bytes",
    ]  # fmt: skip


def test_progress_only_terminals_are_decorated(
    inside: TerminalRun, text_file: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """`train … 2> log`: stdout is a terminal, and the log is plain."""
    assert inside("train", text_file, "-o", tmp_path / "model", *TINY, at=("stdin", "stdout")) == b""
    log = capfdbinary.readouterr().err
    assert b"3 steps" in log
    assert b"\x1b" not in log
    assert b"\r" not in log


def test_progress_quiet_on_a_terminal(inside: TerminalRun, text_file: Path, tmp_path: Path) -> None:
    assert inside("train", text_file, "-o", tmp_path / "model", *TINY, "--quiet") == b""


def test_progress_no_color_is_respected(
    inside: TerminalRun, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    said = inside("train", text_file, "-o", tmp_path / "model", *TINY)
    assert b"3 steps" in said
    assert not COLOUR.search(said)


def test_progress_dumb_terminal_gets_plain_text(
    inside: TerminalRun, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emacs' shell, for example, would show every ESC."""
    monkeypatch.setenv("TERM", "dumb")
    said = inside("train", text_file, "-o", tmp_path / "model", *TINY)
    assert b"3 steps" in said
    assert b"\x1b" not in said


def test_progress_file_names_have_no_control_characters(
    inside: TerminalRun,
    text_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """What is for programs gets the name itself."""
    name = "\x1b[31mred\n.txt"
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(text_file.read_bytes())
    said = inside("train", name, "-o", "model", *TINY)
    assert b"3 steps" in said
    assert b"\x1b[31mred" not in said
    assert main(["info", "model"]) == 0
    assert b"\x1b" not in capfdbinary.readouterr().out
    assert main(["info", "model", "--json"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["data"]["sources"][0]["name"] == name


@pytest.mark.parametrize("name", ["[red]x[/red].txt", "[/b].txt"])
def test_progress_file_names_are_not_markup(terminal: Terminal, text_file: Path, tmp_path: Path, name: str) -> None:
    """They are what the display shows while it waits for the second source, which is slow."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(text_file.read_bytes())
    reading, writing = os.pipe()
    process = start_on_terminal(
        terminal, "train", name, "-", "--task", "text", "-o", tmp_path / "model", *TINY[2:], "--rnn-size", 8,
        stdin=reading, cwd=tmp_path,
    )  # fmt: skip
    os.close(reading)
    terminal.wait_for(b"reading", times=4)  # frames
    os.write(writing, b"and the boat came home\n" * 9)
    os.close(writing)
    assert process.wait(PATIENCE) == 0
    said = terminal.close()
    assert f"reading {name}".encode() in said
    assert b"Traceback" not in said


def test_preview_text_has_no_control_characters(
    inside: TerminalRun, nasty_model: Path, nasty_text: Path, tmp_path: Path
) -> None:
    how = ["--init-from", nasty_model, "--steps", 2, "--threads", 1, "--precision", "fp32"]
    said = inside("train", nasty_text, "-o", tmp_path / "model", *how)
    assert "␛".encode() in said, "there was something to be shown"
    assert b"\x1b[31mred" not in said
    assert b"\x1b]0;" not in said
    assert "\x9b" not in said.decode()


# ---- Data on a terminal ----


def test_output_control_characters_only_in_a_pipe(
    inside: TerminalRun, nasty_model: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The model has learnt to write escapes: they come out raw by a pipe, and visible but harmless on a terminal."""
    arguments = ["sample", str(nasty_model), "--length", "400", "-t", "0.7"]
    assert main(arguments) == 0
    raw = capfdbinary.readouterr().out
    assert b"\x1b" in raw
    said = inside(*arguments)
    assert "␛".encode() in said
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", said)
    assert not re.search("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said.decode())
    assert len(said.decode()) == 400 + 1, "one sign for each character, and the end of the line"


def test_output_final_line_feed_only_on_a_terminal(
    inside: TerminalRun, model_folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """So that the shell's prompt stands where it should."""
    arguments = ["sample", str(model_folder), "--length", "30", "--prompt", "the "]
    assert main(arguments) == 0
    piped = capfdbinary.readouterr().out
    assert len(piped.decode("utf-8", "surrogateescape")) == 4 + 30
    assert inside(*arguments) == piped + b"\n"


def test_output_prompt_has_no_control_characters(inside: TerminalRun, model_folder: Path, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt"
    prompt.write_bytes(b"\x1b[2J\xff\x9bgone\x00")
    said = inside("sample", model_folder, "--prompt-file", prompt, "--length", 0, "--quiet")
    assert said.decode() == "␛[2J\ufffd\ufffdgone␀\n"


def test_output_file_gets_exact_bytes(inside: TerminalRun, nasty_model: Path, tmp_path: Path) -> None:
    assert inside("sample", nasty_model, "--length", 300, "-t", 0.7, "-o", tmp_path / "out") == b""
    text = (tmp_path / "out").read_bytes()
    assert b"\x1b" in text
    assert len(text.decode("utf-8", "surrogateescape")) == 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["tokenize", "char", "TEXT", "--pieces"],
        ["score", "MODEL", "TEXT", "--per-token"],
        ["sample", "MODEL", "--json", "--length", "200"],
        ["info", "MODEL", "--json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_output_json_has_no_control_characters(
    inside: TerminalRun, nasty_text: Path, nasty_model: Path, arguments: list[str]
) -> None:
    """JSON escapes ESC but not U+009B, which steers a terminal as well."""
    places = {"TEXT": nasty_text, "MODEL": nasty_model}
    said = inside(*(places.get(word, word) for word in arguments), at=("stdout",))
    assert said
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said.decode())


def test_main_errors_have_no_control_characters(inside: TerminalRun) -> None:
    said = inside("sample", "\x1b]0;title\x07\x9b", status=2).decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", said)
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["train -o new", "score MODEL", "evaluate MODEL", "tokenize MODEL"])
def test_sources_or_stdin_on_a_terminal_is_an_error(
    inside: TerminalRun, model_folder: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where stdin is the keyboard, a missing source is an error, not an empty screen."""
    arguments = [word.replace("MODEL", str(model_folder)) for word in command.split()]
    monkeypatch.chdir(tmp_path)
    said = inside(*arguments, status=2)
    assert said.startswith(b"seqgen: error: there is nothing to ")
    assert said.count(b"\n") == 1


# ---- Ctrl-C ----

ENDLESS = ["--rnn-size", "16", "--steps", "1000000", "--threads", "1", "--precision", "fp32"]


def test_interrupt_handler_ctrl_c_saves(terminal: Terminal, text_file: Path, tmp_path: Path) -> None:
    """Status 130, a model that loads, and a run that goes on."""
    process = start_on_terminal(terminal, "train", text_file, "-o", tmp_path / "model", *ENDLESS)
    terminal.wait_for(b"tokens/s")  # the bar of a training under way
    terminal.type(b"\x03")
    assert process.wait(PATIENCE) == 130
    said = terminal.close()
    assert b"Traceback" not in said
    assert b"stopped and saved" in said
    assert said.rfind(b"\x1b[?25h") > said.rfind(b"\x1b[?25l")
    model = seqgen.load(tmp_path / "model")
    assert len(model.sample(length=5)[0].text) == 5
    done = model.info()["training"]["step"]
    assert done >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing unfinished is left"
    further = seqgen.train([], tmp_path / "model", resume=True, steps=done + 2, threads=1)
    assert further.info()["training"]["step"] == done + 2


def test_interrupt_handler_ctrl_c_before_training(terminal: Terminal, tmp_path: Path) -> None:
    """It waits for a pipe that says nothing: the first Ctrl-C ends it, and leaves no trace."""
    reading, writing = os.pipe()
    process = start_on_terminal(terminal, "train", "-", "-o", tmp_path / "model", *TINY, stdin=reading)
    os.close(reading)
    terminal.wait_for(b"waiting for standard input")
    terminal.type(b"\x03")
    assert process.wait(PATIENCE) == 130
    os.close(writing)
    assert b"Traceback" not in terminal.close()
    assert list(tmp_path.iterdir()) == []
    assert list(Path(os.environ["SEQGEN_CACHE"], "spool").iterdir()) == [], "nor of what had come through the pipe"


def test_main_ctrl_c_ends_sampling(terminal: Terminal, model_folder: Path) -> None:
    process = start_on_terminal(terminal, "sample", model_folder, "--length", 100_000_000, "--prompt", "It begins")
    terminal.wait_for(b"It begins")
    terminal.type(b"\x03")
    assert process.wait(PATIENCE) == 130
    said = terminal.close()
    assert b"Traceback" not in said
    assert b"seqgen:" not in said


def test_interrupt_handler_saves_when_the_terminal_is_closed(
    terminal: Terminal, text_file: Path, tmp_path: Path
) -> None:
    """The kernel and the shell may both send a hangup, and nothing can be written to the terminal any more."""
    process = start_on_terminal(terminal, "train", text_file, "-o", tmp_path / "model", *ENDLESS)
    terminal.wait_for(b"tokens/s")
    terminal.close()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGHUP)
    assert process.wait(PATIENCE) == 128 + signal.SIGHUP
    assert seqgen.load(tmp_path / "model").info()["training"]["step"] >= 1


def test_interrupt_handler_under_nohup_ignores_hangups(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = []
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)
    monkeypatch.setattr(signal, "signal", lambda number, handler: installed.append(number))
    with InterruptHandler():
        assert installed == [signal.SIGINT, signal.SIGTERM]


def test_interrupt_handler_sigterm_saves(terminal: Terminal, text_file: Path, tmp_path: Path) -> None:
    """What a job scheduler sends: 128 and the signal's number."""
    process = start_on_terminal(terminal, "train", text_file, "-o", tmp_path / "model", *ENDLESS)
    terminal.wait_for(b"tokens/s")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert b"stopped and saved" in terminal.close()
    assert seqgen.load(tmp_path / "model").info()["training"]["step"] >= 1
