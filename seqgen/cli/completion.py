"""Shell completion: `seqgen --show-completion [SHELL]`, `seqgen --install-completion [SHELL]`.

The scripts are typer's. Its own two options, which `--help` lists, ignore the name of a shell other than the one that
the program runs in; here the name counts.
"""

from __future__ import annotations

from typing import Any

from seqgen.cli.output import Output, StderrLogger
from seqgen.errors import UserError

OPTIONS = ("--show-completion", "--install-completion")
SHELLS = ("bash", "zsh", "fish")


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
        script = completion.get_completion_script(prog_name="seqgen", complete_var="_SEQGEN_COMPLETE", shell=shell)
        with Output("-") as out:
            out.write(script + "\n")
    else:
        _, path = completion.install(shell, "seqgen", "_SEQGEN_COMPLETE")
        StderrLogger(quiet=False).info(f"completion for {shell} is installed in {path}; open a new terminal to use it")


def _current_shell() -> str:
    """The shell that the program runs in, or nothing."""
    import shellingham  # a dependency of typer

    try:
        name: str = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        return ""
    return name
