"""`seqgen compare`: networks trained alike, side by side."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.interrupts import InterruptHandler
from seqgen.cli.options import JsonOption, QuietOption, TaskOption, ValidOption, add_options, plot_option
from seqgen.cli.output import Output, StderrLogger, to_json
from seqgen.config import TrainOptions, flag_name, make_options
from seqgen.errors import StoppedError, UserError
from seqgen.quantities import human_time, plural
from seqgen.specs.cells import CELLS
from seqgen.specs.tasks import TASKS
from seqgen.streams import write_output

if TYPE_CHECKING:
    from seqgen.api.compare import Comparison
    from seqgen.api.train.watch import Watcher

EXAMPLES = (
    "seqgen compare tidewater -o cells --budget 2m --plot cells.png",
    "seqgen compare tidewater -o sizes --cell gru --sweep 'num-layers=1,2;dropout=0.3'",
)


@add_options(TrainOptions, defaults={"cell": None, "finish": False})
def run(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Training data of all runs, as for `train`."),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Folder of the model folders: DIR/lstm-1 …", rich_help_panel="Output"
        ),
    ] = "",
    cells: Annotated[
        str | None,
        typer.Option(
            metavar=",".join(CELLS),
            help="Cells to compare [default: all, unless there is a --sweep].",
            rich_help_panel="Compare",
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="FLAG=V,V;…",
            help="Flags of `train` to compare, and their values: 'rnn-size=64,128;dropout=0,0.3'.",
            rich_help_panel="Compare",
        ),
    ] = None,
    match: Annotated[
        str,
        typer.Option(
            metavar="units|parameters|time",
            help="What is equal: hidden size and steps; parameters and steps; hidden size and time.",
            rich_help_panel="Compare",
        ),
    ] = "units",
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Runs of each, with different seeds.", rich_help_panel="Compare")
    ] = 1,
    task: TaskOption = None,
    valid: ValidOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the comparison in DIR.", rich_help_panel="Output")
    ] = False,
    plot: Annotated[str | None, plot_option("Learning curves of all runs.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> int:
    """Train networks side by side on the same batches, and compare them on the same validation set.

    By default these are the recurrent cells, each with the hidden size, the batches and the number of steps that
    `train` would choose for the slowest of them. --budget is for one run. All flags of `train` apply. A comparison that
    was stopped or killed resumes if the command is repeated.
    """
    if not output:
        raise UserError("-o DIR is missing: name a folder to save the models in")
    if not sources:
        raise UserError("there is nothing to train on: name a file, a folder or a corpus")
    make_options(TrainOptions, {name: value for name, value in options.items() if name != "cell" or not cells})
    from seqgen.api.compare import compare
    from seqgen.cli.progress import display

    log = StderrLogger(quiet)
    with InterruptHandler() as stop:

        @contextlib.contextmanager
        def watch(name: str, number: int, count: int) -> Iterator[Watcher]:
            log.info(f"{name}: {number} of {count}" if number else f"planning {plural(count, 'run')}")
            stop.training = False
            with display(quiet, stop, time.monotonic()) as watcher:
                yield watcher

        resumes = f"the same command{' without --overwrite' * overwrite} resumes"
        named = [name.strip() for name in (cells or "").split(",") if name.strip()]
        try:
            found = compare(
                sources, output, task=task, valid=valid or (), cells=named, match=match, seeds=seeds, sweep=sweep,
                overwrite=overwrite, watch=watch, **options,
            )  # fmt: skip
        except (KeyboardInterrupt, StoppedError):
            log.info(f"stopped; {resumes}")
            return 128 + (stop.signal or signal.SIGINT)
        if stop.signal:
            log.info(f"stopped and saved; {resumes}")
            return 128 + stop.signal
    if plot is not None:
        from seqgen.plots.curves import LearningCurve, learning_curves

        write_output(Path(plot), learning_curves([LearningCurve(run.name, run.curve) for run in found.runs]))
    with Output("-") as out:
        out.write(to_json(found.to_json(), indent=1) + "\n" if as_json else _table(found))
    return 0


def _table(found: Comparison) -> str:
    headline = TASKS.find(found.task).headline
    rows = [("", "parameters", "steps", "tokens/s", "time", "validation loss", headline.unit)]
    for each in found.summary:
        spread = "" if each.spread is None else f" ± {each.spread:.4f}"
        settings = {name: value for name, value in each.settings.items() if name != "cell"}
        chosen = f" ({each.settings['rnn_size']} units)" if found.match == "parameters" and settings else ""
        rows.append((
            each.name + chosen, f"{each.parameters:,}", f"{each.steps:,.0f}", f"{each.tokens_per_second:,.0f}",
            human_time(each.seconds), "none held out" if each.val_loss is None else f"{each.val_loss:.4f}{spread}",
            "" if each.headline is None else f"{each.headline:.3f}",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        others = "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append((row[0].ljust(widths[0]) + others).rstrip() + "\n")
    units = found.of_own_units("val_loss")
    if units:
        same = not found.of_own_units("headline")
        what = "validation loss does" if same else f"validation loss and {headline.unit} do"
        instead = headline.unit if same else "the models with `seqgen evaluate`"
        flags = " and ".join(map(flag_name, units))
        lines.append(f"\nThe {what} not compare: their units differ with {flags}. Compare {instead}.\n")
    return "".join(lines)
