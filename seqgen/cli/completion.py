"""Completion in a shell: `seqgen --show-completion [SHELL]`, `seqgen --install-completion [SHELL]`.

The scripts are typer's. Its two options, which `--help` shows, take the shell that the program runs in, and pass over
the name of another: whoever asks in bash for zsh's script would get bash's. Here a name counts.
"""

from __future__ import annotations

from typing import Any

from seqgen.cli.options import Output, StderrLogger
from seqgen.errors import UserError

OPTIONS = ("--show-completion", "--install-completion")
SHELLS = ("bash", "zsh", "fish")


def run(option: str, *names: str) -> None:
    """Prints the script for a shell, or installs it in the person's own settings.

    Args:
        option: One of `OPTIONS`.
        names: The shell, or nothing for the one that the program runs in.

    Raises:
        UserError: For any other shell, more than one, or none that can be found out.
        OSError: Where the settings can't be written.
    """
    from typer import completion as typers

    completion: Any = typers  # what is asked of it here it has, and says so to no type checker
    shell = names[0] if names else _around()
    if shell not in SHELLS or len(names) > 1:
        wrong = repr(" ".join(names) or shell) if names or shell else "a shell that cannot be found out"
        raise UserError(f"there is no completion for {wrong}; name one of {', '.join(SHELLS)}: seqgen {option} bash")
    if option == "--show-completion":
        script = completion.get_completion_script(prog_name="seqgen", complete_var="_SEQGEN_COMPLETE", shell=shell)
        with Output("-") as out:
            out.write(script + "\n")
    else:
        _, path = completion.install(shell, "seqgen", "_SEQGEN_COMPLETE")
        StderrLogger(quiet=False).info(f"completion for {shell} is in {path}; a new terminal has it")


def _around() -> str:
    """The shell that the program runs in, or nothing."""
    import shellingham  # what typer itself asks

    try:
        name: str = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        return ""
    return name
