"""The program `seqgen`: its commands, and how it ends.

Exit status: 0 done, 2 for what the caller can mend, 1 for a failure of the program, 130 after Ctrl-C, 143 after
SIGTERM. An error is one line on stderr. A reader that goes away (`| head -1`) ends the program silently with 0.
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

import seqgen
from seqgen.cli import completion
from seqgen.cli.options import one_line
from seqgen.errors import PeerProcessError, SeqgenError, UserError
from seqgen.streams import discard_stdout, reason
from seqgen.training.distributed.launch import may_report

COMMANDS = (
    "train", "sample", "chat", "classify", "forecast", "score", "evaluate", "info", "tokenize", "corpora",
)  # fmt: skip
"""Each a module beside this one, whose `run` it is."""

_LONGEST = 4000  # characters of an error that are shown: whoever made the name in it may not fill the screen


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seqgen {seqgen.__version__}")
        raise typer.Exit


def _program(names: Sequence[str]) -> typer.Typer:
    """The program with these of its commands. To make ready all of their flags takes as long as everything else that
    `sample` does before its first character."""
    app = typer.Typer(
        name="seqgen",
        help="Learn sequences with recurrent networks: train on your own text, then write, score and measure.",
        epilog="Start with:  seqgen train tidewater -o tales --budget 1m && seqgen sample tales",
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: it keeps brackets as they are, and starts sooner
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        app.command(name)(importlib.import_module(f"seqgen.cli.commands.{name}").run)
    return app


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    # OpenMP's threads wait for each other by spinning, long enough to starve one another when something else runs on
    # the machine: two trainings at once were 20 times slower. A short spin costs nothing when alone.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # PyTorch then asks Linux for large pages: what a training step allocates is several times faster to touch.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        result: Any = None
        if given and given[0] in completion.OPTIONS:
            completion.run(*given)
        else:
            asked = [name for name in COMMANDS if given[:1] == [name]]
            result = _program(asked or COMMANDS)(given or ["--help"], standalone_mode=False, prog_name="seqgen")
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        discard_stdout()
        return 0
    except SystemExit as stop:
        # typer itself ends with 1 when the reader of a help text goes away
        if isinstance(stop.__context__, BrokenPipeError):
            discard_stdout()
            return 0
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except PeerProcessError:
        return 1
    except SeqgenError as error:
        _complain(str(error))
        return 2 if isinstance(error, UserError) else 1
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("seqgen"):
            return _fail(error)
        package = error.name.partition(".")[0]
        _complain(f"this needs the package {package!r}, which is not installed: pip install {package}")
        return 2
    except OSError as error:  # no module made a sentence of it: still the world's doing, not the program's
        _complain(f"cannot use {str(error.filename or 'a file')[:200]!r}: {reason(error)}")
        return 2
    except MemoryError:
        _complain("there is not enough memory for this; a smaller --rnn-size or --batch-size needs less")
        return 1
    except Exception as error:
        show = getattr(error, "format_message", None)
        if show is not None:  # the command line itself was wrong: typer's own errors know how to say it
            _complain(show())
            return int(getattr(error, "exit_code", 2))
        if type(error).__name__ == "Abort":
            return 130
        return _fail(error)


def _complain(message: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be that nobody is left to tell
        if may_report():
            sys.stderr.write(f"seqgen: error: {one_line(message[:_LONGEST])}\n")


def _fail(error: Exception) -> int:
    """A fault of the program: one line, and the trace for those who ask for it."""
    if os.environ.get("SEQGEN_DEBUG"):
        traceback.print_exception(error)
    _complain(f"{type(error).__name__}: {error} (a fault of seqgen; SEQGEN_DEBUG=1 shows where)")
    return 1
