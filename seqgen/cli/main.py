"""The program `seqgen`: its commands and its exit status.

Exit status: 0 success, 2 an error that the caller can mend, 1 a failure of the program, 130 after Ctrl-C, 143 after
SIGTERM, 129 after SIGHUP. An error is one line on stderr. A closed pipe (`| head -1`) ends the program silently with
status 0.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from seqgen.cli import completion
from seqgen.cli.command import Group, make_command
from seqgen.cli.interrupts import exit_on_signals
from seqgen.cli.memory import memory_message, prepare_for_limit
from seqgen.cli.output import Output, end_on_broken_pipe
from seqgen.errors import PeerProcessError, SeqgenError, UserError, did_you_mean
from seqgen.streams import reason, write_utf8
from seqgen.training.distributed.launch import may_report
from seqgen.untrusted import one_line
from seqgen.version import __version__

COMMANDS = (
    "train", "sample", "chat", "classify", "forecast", "score", "evaluate", "compare", "info", "inspect", "export",
    "push", "serve", "read", "tokenize", "render", "corpora", "docs", "doctor",
)  # fmt: skip
"""Each is the function `run` of its module in `seqgen.cli.commands`."""

_MAX_ERROR_LENGTH = 4000  # characters, so that no untrusted name fills the screen

# Packages by import name, and the extra of the distribution that installs them.
_EXTRAS = {
    "sklearn": "baselines", "pyppmd": "baselines", "openpyxl": "excel", "onnx": "onnx",
    "starlette": "serve", "uvicorn": "serve",
}  # fmt: skip


def _show_version(asked: bool) -> None:
    if asked:
        with Output("-") as out:
            out.write(f"seqgen {__version__}\n")
        raise typer.Exit


def make_program(names: Sequence[str], completes: bool = False) -> typer.Typer:
    """Make the program with these commands; with `completes`, to complete a line for a shell.

    Making the flags of all commands takes as long as everything else that `sample` does before its first character.
    """
    app = typer.Typer(
        name="seqgen",
        cls=Group,
        help="Recurrent networks for your own text, dialogue, music, labels and time series: train, sample, evaluate.",
        epilog="seqgen train tidewater -o first --budget 1m && seqgen sample first",
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # `command` writes the help
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module = importlib.import_module(f"seqgen.cli.commands.{name}")
        command, kind = make_command(module.run, getattr(module, "EXAMPLES", ()), completes)
        app.command(name, cls=kind)(command)
    return app


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    # OpenMP threads spin while they wait for each other. With several busy programs on a machine that starves them: two
    # training runs at once were 20 times slower. A shorter spin costs a single program nothing.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # PyTorch then asks Linux for large pages: first access to memory that a training step allocates is several times
    # faster.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    write_utf8()
    prepare_for_limit()
    if os.path.lexists("matplotlibrc"):
        _import_matplotlib_elsewhere()
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        result: Any = None
        with exit_on_signals(), end_on_broken_pipe():
            if given and given[0] in completion.OPTIONS:
                completion.run(*given)
            else:
                completed = completion.command_on_line(COMMANDS)
                named = [name for name in COMMANDS if name in (*given[:1], completed)]
                if given and not named and not given[0].startswith("-"):
                    hint = did_you_mean(given[0], COMMANDS) or "; `seqgen --help` lists them"
                    raise UserError(f"there is no command {given[0]!r}{hint}")
                result = make_program(named or COMMANDS, completes=completed is not None)(
                    given or ["--help"], standalone_mode=False, prog_name="seqgen"
                )
        return result if isinstance(result, int) else 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except PeerProcessError:
        return 1
    except SeqgenError as error:
        _print_error(str(error))
        return 2 if isinstance(error, UserError) else 1
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("seqgen"):
            return _fail(error)
        package = error.name.partition(".")[0]
        requirement = f"'seqgen-rnn[{_EXTRAS[package]}]'" if package in _EXTRAS else package
        _print_error(f"this needs the package {package!r}, which is not installed: pip install {requirement}")
        return 2
    except Exception as error:
        format_message = getattr(error, "format_message", None)
        if format_message is not None:  # an error of typer: the command line is wrong
            _print_error(format_message())
            return int(getattr(error, "exit_code", 2))
        if type(error).__name__ == "Abort":
            return 130
        if (message := memory_message(error)) is not None:
            _print_error(message)
            return 1
        if isinstance(error, OSError):  # not reported by any module, but still no failure of the program
            tried = f"use {str(error.filename)[:200]!r}" if error.filename else "read or write"
            _print_error(f"cannot {tried}: {reason(error)}")
            return 2
        return _fail(error)


def _import_matplotlib_elsewhere() -> None:
    """Import matplotlib where it finds no settings: those of the working folder may be anybody's."""
    with contextlib.suppress(Exception):  # what needs it reports its absence
        folder = os.getcwd()
        os.chdir(os.path.dirname(__file__))
        try:
            importlib.import_module("matplotlib")
        finally:
            os.chdir(folder)


def _print_error(message: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed
        if may_report():
            sys.stderr.write(f"seqgen: error: {one_line(message[:_MAX_ERROR_LENGTH])}\n")


def _fail(error: Exception) -> int:
    """Report an internal error in one line, with a traceback if SEQGEN_DEBUG is set."""
    if os.environ.get("SEQGEN_DEBUG"):
        traceback.print_exception(error)
    _print_error(f"{type(error).__name__}: {error} (an internal error; SEQGEN_DEBUG=1 prints a traceback)")
    return 1
