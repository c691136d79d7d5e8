"""`seqgen train`: from sources to a model."""

from __future__ import annotations

import shlex
import signal
import time
from typing import Annotated, Any

import typer

from seqgen.cli.inputs import sources_or_stdin
from seqgen.cli.interrupts import InterruptHandler
from seqgen.cli.options import QuietOption, add_options
from seqgen.cli.output import StderrLogger, human_time
from seqgen.config import TASK_NAMES, TrainOptions, make_options
from seqgen.errors import UserError
from seqgen.specs.tasks import TASKS

EXAMPLES = (
    "seqgen train tidewater -o tales --budget 2m",
    "seqgen train tunes -o reels --cell gru --budget 5m",
    "seqgen train prices --target close --horizon 10 -o px",
)


@add_options(TrainOptions)
def run(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders, globs, -, names from `seqgen corpora`, hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT].",
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="MODEL", help="Model folder to write.", rich_help_panel="Output")
    ] = "",
    task: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(TASK_NAMES), help="Task [default: guessed from the sources].", rich_help_panel="Data"
        ),
    ] = None,
    valid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE", help="Validation set instead of --val-fraction (repeatable).", rich_help_panel="Data"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the training run saved in MODEL.", rich_help_panel="Output")
    ] = False,
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Model whose weights and tokenizer to start from.", rich_help_panel="Network"
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the model in MODEL.", rich_help_panel="Output")
    ] = False,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> int:
    """Train a network on SOURCE and save it as a model.

    By default, the size of the network, its learning rate and the training time (ten minutes at most) are chosen from
    the corpus.
    """
    from seqgen.training.distributed.launch import read_launch

    began = time.monotonic()
    launch = read_launch()
    if launch is not None and launch.rank:
        quiet = True  # rank 0 reports for all
    make_options(TrainOptions, options)
    if not output:
        raise UserError("-o MODEL is missing: name a folder to save the model in")
    names = sources or []
    if not (resume and not names):
        names = sources_or_stdin(sources, "there is nothing to train on")
    stop = InterruptHandler()
    stop.install()

    from seqgen.cli.progress import display

    log = StderrLogger(quiet)
    try:
        with display(quiet, stop, began) as watcher:
            from seqgen.api.train.run import train

            model = train(
                names, output, task=task, valid=valid or (), resume=resume, init_from=init_from, overwrite=overwrite,
                watch=watcher, **options,
            )  # fmt: skip
    except KeyboardInterrupt:
        return 128 + (stop.signal or signal.SIGINT)
    if launch is not None and launch.rank:
        return 128 + stop.signal if stop.signal else 0
    training = model.checkpoint.config["training"]
    metrics = model.checkpoint.config["metrics"]
    headline = TASKS.find(model.task).headline
    value = metrics.get(headline.key)
    result = f", held out {value:.3f} {headline.unit}" if value else ""
    log.info(f"{output}: {training.get('step', 0):,} steps in {human_time(training.get('seconds', 0))}{result}")
    if stop.signal:
        log.info(f"stopped and saved; `--resume -o {output}` continues")
        return 128 + stop.signal
    source = (names or training.get("sources") or ["-"])[0]
    log.info(f"next: {_fill(TASKS.find(model.task).next_command, output.rstrip('/') or output, source)}")
    return 0


def _fill(template: str, model: str, source: str) -> str:
    """A command line about a model, with its names quoted for a shell."""
    words = template.split(" ")
    return " ".join(shlex.quote(word.format(model=model, source=source)) if "{" in word else word for word in words)
