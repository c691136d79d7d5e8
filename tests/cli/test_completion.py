"""Completion in a shell: the script that was asked for, what Tab then offers, what the installation leaves behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shellingham

from tests.helpers.running import COMMANDS, Run, imported_packages

SHELLS = ("bash", "zsh", "fish")
SETTINGS = {  # under the person's home
    "bash": ".bash_completions/seqgen.sh", "zsh": ".zfunc/_seqgen", "fish": ".config/fish/completions/seqgen.fish",
}  # fmt: skip
LINES = (("tra", "train"), ("train --rnn-s", "--rnn-size"), ("--vers", "--version"), ("tokenize --che", "--check"))


def offered(run: Run, monkeypatch: pytest.MonkeyPatch, shell: str, line: str) -> str:
    """What the program answers to the script of `shell` when Tab is pressed after `seqgen LINE`."""
    words = ["seqgen", *line.split(" ")]
    monkeypatch.setenv("_SEQGEN_COMPLETE", f"complete_{shell}")
    if shell == "bash":
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    else:
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(words))
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    text = run().text
    monkeypatch.delenv("_SEQGEN_COMPLETE")
    return text


@pytest.mark.parametrize("shell", SHELLS)
def test_show_completion_every_shell_has_a_script(run: Run, shell: str) -> None:
    script = run("--show-completion", shell).text
    assert f"complete_{shell}" in script
    assert not any(f"complete_{other}" in script for other in SHELLS if other != shell)


@pytest.mark.parametrize("shell", SHELLS)
def test_show_completion_script_is_valid_in_its_shell(run: Run, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([program, "-n"], input=run("--show-completion", shell).out, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("line", "completed"), LINES, ids=[line for line, _ in LINES])
def test_completion_offers_commands_and_options(
    run: Run, monkeypatch: pytest.MonkeyPatch, shell: str, line: str, completed: str
) -> None:
    assert completed in offered(run, monkeypatch, shell, line)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the line: a model, a folder of one, a table, JSON lines."""
    for model in ("tales", "runs/first"):
        (tmp_path / model).mkdir(parents=True)
        (tmp_path / model / "config.json").write_text("{}")
    (tmp_path / "t.csv").write_text("day,close price,volume\n2024-01-01,2,3\n2024-01-02,4,3\n")
    (tmp_path / "t.jsonl").write_text('{"body": "a text", "verdict": "good"}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


VALUES = (
    ("train --cell ", {"lstm", "gru", "rnn"}),
    ("train --tokenizer b", {"byte"}),
    ("train --task m", {"music"}),
    ("train tidew", {"tidewater"}),
    ("train -o x t", {"tidewater", "tunes", "t.csv", "t.jsonl"}),
    ("train t.csv --target vo", {"volume"}),
    ("train t.csv --target day,vo", {"day,volume"}),
    ("train prices --target c", {"close"}),
    ("train t.jsonl --label-column v", {"verdict"}),
    ("train --init-from ", {"tales", "runs/"}),
    ("sample ta", {"tales"}),
    ("sample runs/", {"runs/first"}),
    ("sample tales --engine c", {"cpu"}),
    ("tokenize by", {"byte"}),
    ("corpora pri", {"prices"}),
    ("docs internal", {"internals"}),
)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("line", "values"), VALUES, ids=[line for line, _ in VALUES])
def test_completion_offers_values(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path, shell: str, line: str, values: set[str]
) -> None:
    answer = offered(run, monkeypatch, shell, line)
    words = re.findall(r'^(?:_arguments .*\(\()?"([^"]+)"', answer, re.MULTILINE) if shell == "zsh" else [
        line.split("\t")[0] for line in answer.splitlines()
    ]  # fmt: skip
    assert values <= set(words)
    assert all(word.startswith(line.rpartition(" ")[2]) for word in words)


@pytest.mark.parametrize("line", ["train --config t", "train --rnn-size ", "sample tales --prompt-file t", "chat x"])
def test_completion_leaves_files_to_the_shell(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path, line: str
) -> None:
    assert offered(run, monkeypatch, "bash", line).strip() == ""
    assert offered(run, monkeypatch, "zsh", line).strip() == "_files"


def test_completion_of_values_reads_nothing_strange(run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Neither a damaged table nor what evaluates a name in a shell disturbs the line."""
    (folder / "bad.csv").write_bytes(b"\xff\xfe\x00,\x00\n" * 40)
    assert offered(run, monkeypatch, "bash", "train bad.csv --target x").strip() == ""
    names = ["$(touch pwned)", "`touch pwned`", r"\\$(touch pwned)", '""; touch pwned; ""', "';touch pwned;'", "(a)"]
    (folder / "sly.csv").write_text("day|" + "|".join(names) + "\n2024-01-01|2|3|4|5|6|7\n" * 3)
    assert "touch" in offered(run, monkeypatch, "bash", "train sly.csv --target ")
    for shell in filter(shutil.which, ("bash", "zsh")):
        answer = offered(run, monkeypatch, shell, "train sly.csv --target ")
        twice = """_arguments() { w=${1#*: :((}; eval "ws=(${w%))})"; }\n"""
        given = twice + answer if shell == "zsh" else f"COMPREPLY=( $(cat <<'E'\n{answer}\nE\n) )"
        subprocess.run([shell, "-f" if shell == "zsh" else "--norc"], input=given.encode(), timeout=60)
    assert not (folder / "pwned").exists()


def test_completion_of_values_loads_nothing_heavy(folder: Path) -> None:
    environment = {"_SEQGEN_COMPLETE": "complete_bash", "COMP_WORDS": "seqgen\ntrain\nt.csv\n--target\n",
                   "COMP_CWORD": "4"}  # fmt: skip
    code = f"""import os, sys
os.environ |= {environment!r}
from seqgen.cli.main import main
assert main([]) == 0"""
    assert not imported_packages(code) & {"torch", "numpy", "datasets", "safetensors", "sentencepiece", "matplotlib"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(("line", "completed"), LINES, ids=[line for line, _ in LINES])
def test_completion_in_bash(run: Run, tmp_path: Path, line: str, completed: str) -> None:
    """The script in a bash of its own, which calls the real command."""
    command = tmp_path / "seqgen"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m seqgen "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    words = ["seqgen", *line.split(" ")]
    press = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _seqgen_completion seqgen\n"
    script = run("--show-completion", "bash").text + press + 'printf "%s\\n" "${COMPREPLY[@]}"\n'
    done = subprocess.run(
        ["bash", "--norc"], input=script.encode(), capture_output=True, timeout=60,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert (done.stdout.decode().splitlines(), done.stderr) == ([completed], b"")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("command", COMMANDS)
def test_completion_help_texts_are_quoted(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """zsh evaluates the answer, help texts and all: with these quotes bash reads it alike."""
    answer = offered(run, monkeypatch, "zsh", f"{command} --")
    given = f'_arguments() {{ printf \'%s\\n\' "$#" "$1"; }}\n{answer}'
    done = subprocess.run(["bash", "--norc"], input=given.encode(), capture_output=True, timeout=60)
    assert done.stderr == b""
    count, offers = done.stdout.decode().split("\n", 1)
    assert count == "1", "one word, whatever is in it"
    assert offers.startswith('*: :(("--') and offers.endswith("))\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_install_completion_twice_equals_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shell: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = tmp_path / f".{shell}rc"
    settings.write_text("alias ll='ls -l'\n", encoding="utf-8")
    said = run("--install-completion", shell)
    assert (said.out, said.err.count("\n")) == (b"", 1) and SETTINGS[shell] in said.err
    once = settings.read_text(encoding="utf-8").split()
    run("--install-completion", shell)
    assert settings.read_text(encoding="utf-8").split() == once
    assert once[:3] == ["alias", "ll='ls", "-l'"]
    script = (tmp_path / SETTINGS[shell]).read_text(encoding="utf-8")
    assert script.strip() == run("--show-completion", shell).text.strip()


def test_completion_without_name_takes_the_current_shell(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("fish", "/usr/bin/fish"))
    assert run("--show-completion").out == run("--show-completion", "fish").out


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
@pytest.mark.parametrize("names", [["klingon"], ["bash", "zsh"], [""], ["dash", "\n"], []], ids=repr)
def test_completion_unsupported_shell_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str, names: list[str]
) -> None:
    def unknown() -> tuple[str, str]:
        raise shellingham.ShellDetectionFailure

    monkeypatch.setattr(shellingham, "detect_shell", unknown)
    monkeypatch.setenv("HOME", str(tmp_path))
    said = run(option, *names, status=2)
    assert said.out == b"" and said.err.count("\n") == 1
    assert said.err.startswith("seqgen: error: ") and "bash, zsh, fish" in said.err
    assert not list(tmp_path.iterdir())
