"""Completion in a shell: the script that was asked for, what Tab then offers, what the installation leaves behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shellingham

from tests.helpers.running import COMMANDS, Run

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
