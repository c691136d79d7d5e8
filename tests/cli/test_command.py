"""Help by headings, examples that run, suggestions for what is mistyped, the command that comes next."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqgen.cli import main
from tests.helpers.running import TINY_FLAGS, RefusedRun, Run
from tests.helpers.terminal import MAIN_ON_TERMINAL, Terminal

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
EXAMPLES = [
    (name, line)
    for name in main.COMMANDS
    for line in getattr(importlib.import_module(f"seqgen.cli.commands.{name}"), "EXAMPLES", ())
]


def listed(page: str) -> dict[str, list[str]]:
    """The long flags of a page of help, by heading."""
    found: dict[str, list[str]] = {}
    for line in page.splitlines():
        if heading := re.fullmatch(r"(\w+):", line):
            found[heading[1]] = []
        elif flags := re.match(r"  (?:-\w, )?(--[\w-]+)", line):
            list(found.values())[-1].append(flags[1])
    return found


# ---- Help ----


def test_help_of_train_lists_what_matters(run: Run) -> None:
    found = listed(run("train", "--help").text)
    assert list(found) == ["Examples", "Arguments", "Data", "Network", "Time", "Output"]
    assert {"--task", "--tokenizer", "--target"} <= set(found["Data"])
    assert found["Time"] == ["--budget", "--epochs", "--steps"]
    assert 20 <= sum(map(len, found.values())) <= 30


@pytest.mark.parametrize("command", ["train", "sample", "chat"])
def test_help_all_lists_every_flag(run: Run, command: str) -> None:
    short, long = (listed(run(command, flag).text) for flag in ("--help", "--help-all"))
    assert {"Output", "Hardware"} <= set(long)
    few, every = ({flag for flags in page.values() for flag in flags} for page in (short, long))
    assert few < every
    assert "--help-all" in few


def test_help_all_of_train_is_grouped_by_task(run: Run) -> None:
    found = listed(run("train", "--help-all").text)
    assert {"Training", "Music", "Classify", "Forecast", "Hardware"} <= set(found)
    assert "--transpose" in found["Music"] and "--label-smoothing" in found["Classify"]
    assert "--look-back" in found["Forecast"] and found["Hardware"] == ["--device", "--precision", "--threads"]


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_shows_examples_before_the_flags(run: Run, command: str) -> None:
    page = run(command, "--help").text
    examples = [line for name, line in EXAMPLES if name == command]
    assert examples and page.index("Examples:") < page.index("Options:" if "Options:" in page else "Output:")
    assert all(f"\n  {line}\n" in page for line in examples)


def test_help_names_the_task_of_a_flag_outside_its_heading(run: Run) -> None:
    assert re.search(r"--target COLUMN +Forecast: column", run("train", "--help").text)
    assert re.search(r"--target COLUMN +Column", run("train", "--help-all").text)
    assert re.search(r"--pieces (<int>|INTEGER) +Music: pieces", run("evaluate", "--help").text)


def shown_default(page: str, flag: str) -> str | None:
    """The default that a page of help shows for a flag."""
    (text,) = re.findall(rf"^  (?:-\w, )?{flag}\b.*(?:\n {{20,}}.*)*", page, re.MULTILINE)
    found = re.search(r"\[default: (.*)\]", " ".join(text.split()))
    return found[1] if found else None


def test_help_shows_the_defaults_of_its_command(run: Run) -> None:
    train, compare = (run(command, "--help-all").text for command in ("train", "compare"))
    assert [shown_default(page, "--finish") for page in (train, compare)] == ["True", "False"]
    assert [shown_default(page, "--cell") for page in (train, compare)] == ["lstm", None]
    assert shown_default(train, "--dropout") == shown_default(compare, "--dropout")


def test_help_lists_no_flag_that_the_command_refuses(run: Run) -> None:
    found = {flag for flags in listed(run("chat", "--help-all").text).values() for flag in flags}
    assert "--temperature" in found and not found & {"--stop", "--length", "--temperature-of"}


@pytest.mark.parametrize("command", ["chat", "classify", "evaluate", "forecast", "info", "serve"])
def test_help_of_a_model_names_the_hub(run: Run, command: str) -> None:
    assert "hf:OWNER/NAME[@REVISION]" in " ".join(run(command, "--help").text.split())


def test_help_on_a_terminal_shows_panels(terminal: Terminal) -> None:
    for arguments in (["train", "--help"], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-c", MAIN_ON_TERMINAL, *arguments], stdout=terminal.slave, stderr=terminal.slave,
            stdin=terminal.slave, env={"TERM": "xterm", "HOME": "/nonexistent"}, start_new_session=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0
    terminal.close()
    coloured = terminal.output.decode()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    for heading in ("Examples", "Data", "Network", "Time", "Output", "Commands"):
        assert f"╭─ {heading} ─" in shown
    assert coloured != shown and "[default: lstm]" in shown


# ---- Examples ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models and files that examples name."""
    made = tmp_path_factory.mktemp("examples")
    for name, model in (
        ("reels", "tunes-gru"), ("bot", "dialogues-rnn"),
        ("mood", "reviews-lstm"),
    ):  # fmt: skip
        shutil.copytree(GOLDEN / model, made / name)
    (made / "app.log").write_text("the lamp went out\n" * 3)
    (made / "tune.abc").write_text("X:1\nM:4/4\nL:1/4\nK:D\nDFAd|\n")
    shutil.copy(GOLDEN.parent / "primer.mid", made / "reel.mid")
    for words in (["prices", "--target", "close", "-o", "px"], ["tidewater", "-o", "tales"]):
        assert main.main(["train", *words[:-1], str(made / words[-1]), "-q", *TINY_FLAGS]) == 0
    shutil.copytree(made / "tales", made / "again")  # of the example before it, which may run elsewhere
    shutil.copytree(made / "tales", made / "logs")
    return made


def words_to_run(words: list[str]) -> list[str]:
    """The words of a command line, with a tiny training."""
    if words[0] in ("train", "compare"):
        text = " ".join(words)
        return [*re.sub(r" --budget \S+", "", text).split(" "), "--overwrite", "-q", *TINY_FLAGS]
    return [*words, *(["--no-baselines"] if words[0] == "evaluate" else [])]


@pytest.mark.parametrize(("command", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_example_runs(run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path, command: str, line: str) -> None:
    if command == "serve" or (command == "push" and "--dry-run" not in line):
        pytest.skip("it serves, or needs a hub; tests/server and tests/interop do")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("seqgen.api.doctor._PROBE_SECONDS", 0.05)
    for part in line.split(" && "):
        part, _, target = part.partition(" > ")
        before, _, own = part.rpartition(" | ") if " | seqgen" in part else ("", "", part.partition(" | ")[0])
        given = subprocess.run(["sh", "-c", before], capture_output=True, check=True).stdout if before else b""
        program, *words = shlex.split(own)
        assert program == "seqgen"
        written = run(*words_to_run(words), stdin=given).out
        if target:
            Path(target).write_bytes(written)
    assert command in line


# ---- Suggestions ----


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trian x", "there is no command 'trian'; did you mean 'train'?"),
        ("klingon", "there is no command 'klingon'; `seqgen --help` lists them"),
        ("train x -o y --budgt 2m", "there is no flag --budgt; did you mean '--budget'?"),
        ("train x -o y --no-tie-weihgts", "did you mean '--no-tie-weights'?"),
        ("train x -o y --xyzzy", "there is no flag --xyzzy; `seqgen train --help-all` lists them"),
        ("info x --jsn", "did you mean '--json'?"),
        ("train tidewatr -o y", "did you mean 'tidewater'?"),
        ("train tidewater -o y --cell ltsm", "did you mean 'lstm'?"),
        ("train tidewater -o y --tokenizer subwrod", "did you mean 'subword'?"),
        ("train tidewater -o y --task dialog", "did you mean 'dialogue'?"),
        ("train prices -o y --target clsoe", "did you mean 'close'?"),
        ("sample talse", "there is no model 'talse'; did you mean 'tales'?"),
    ],
)
def test_mistyped_name_gets_a_suggestion(
    refused: RefusedRun, monkeypatch: pytest.MonkeyPatch, folder: Path, line: str, said: str
) -> None:
    monkeypatch.chdir(folder)
    assert said in refused(line.split(" "))


# ---- What comes next ----


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("tidewater", "my tales/", "seqgen sample 'my tales' -t 0.7"),
        ("prices", "px", "seqgen forecast px prices"),
        ("reviews", "mood", "seqgen classify mood reviews"),
        ("dialogues", "bot", "seqgen chat bot"),
    ],
)
def test_train_ends_with_the_next_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run("train", source, "-o", name, "--steps", 1, *TINY_FLAGS[:2], *TINY_FLAGS[4:]).err
    assert said.endswith(f"seqgen: next: {expected}\n")
