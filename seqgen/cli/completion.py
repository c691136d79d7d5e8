"""Shell completion: `seqgen --show-completion [SHELL]`, `seqgen --install-completion [SHELL]`.

The scripts are typer's. Its own two options, which `--help` lists, ignore the name of a shell other than the one that
the program runs in; here the name counts.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from typing import Any

from seqgen.cli.output import Output, StderrLogger
from seqgen.errors import UserError

OPTIONS = ("--show-completion", "--install-completion")
SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_SEQGEN_COMPLETE"  # with which a script asks for completions


def command_on_line(names: Iterable[str]) -> str | None:
    """The command on the line that a shell wants to have completed; None if no shell asks, or there is none yet."""
    if VARIABLE not in os.environ:
        return None
    return next((name for name in names if words_on_line()[1:2] == [name]), None)


def words_on_line() -> list[str]:
    """The words on the line that a shell wants to have completed."""
    line = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    try:
        return shlex.split(line)
    except ValueError:  # within a quotation
        return line.split()


def run(option: str, *names: str) -> None:
    """Print the completion script for a shell, or install it in the user's shell configuration.

    Args:
        option: One of `OPTIONS`.
        names: The shell, or nothing for the one that the program runs in.

    Raises:
        UserError: More than one shell, an unsupported one, or none that can be detected.
        OSError: The configuration can't be written.
    """
    from typer import completion as typer_completion

    completion: Any = typer_completion  # the functions below are missing from its type annotations
    shell = names[0] if names else _current_shell()
    if shell not in SHELLS or len(names) > 1:
        wrong = repr(" ".join(names) or shell) if names or shell else "a shell that cannot be detected"
        raise UserError(f"there is no completion for {wrong}; name one of {', '.join(SHELLS)}: seqgen {option} bash")
    if option == "--show-completion":
        script = completion.get_completion_script(prog_name="seqgen", complete_var=VARIABLE, shell=shell)
        with Output("-") as out:
            out.write(script + "\n")
    else:
        _, path = completion.install(shell, "seqgen", VARIABLE)
        StderrLogger(quiet=False).info(f"completion for {shell} is installed in {path}; open a new terminal to use it")


def _current_shell() -> str:
    """The shell that the program runs in, or nothing."""
    import shellingham  # a dependency of typer

    try:
        name: str = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        return ""
    return name
