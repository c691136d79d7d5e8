"""`seqgen train`: from sources to a model."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Annotated, Any

import typer

from seqgen.cli.options import QuietOption, StderrLogger, add_options, handle_broken_pipe, human_time, sources_or_stdin
from seqgen.config import TASK_NAMES, TrainOptions, make_options
from seqgen.errors import UserError


class InterruptHandler:
    """Turns the first Ctrl-C or SIGTERM of a training into a wish to stop, saved; before it, and for a second one,
    it is time to leave at once: there is nothing to save, or no patience."""

    def __init__(self) -> None:
        self.signal = 0
        self.training = False

    def __call__(self) -> bool:
        return self.signal != 0

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        at_once = self.signal or not self.training
        self.signal = number
        if at_once:
            raise KeyboardInterrupt


@handle_broken_pipe
@add_options(TrainOptions)
def run(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders, globs, -, names from `seqgen corpora`, hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT].",
        ),
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="MODEL", help="The folder to make.")] = "",
    task: Annotated[
        str | None, typer.Option(metavar="|".join(TASK_NAMES), help="What to learn [default: guessed].")
    ] = None,
    valid: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE", help="Held out instead of --val-fraction (repeatable).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in MODEL.")] = False,
    init_from: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Start from this model's weights and tokenizer.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model in MODEL.")] = False,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> int:
    """Learn from SOURCE and save a model.

    Without flags the size of the network, its rates and the time are chosen from the corpus (ten minutes at most).
    """
    from seqgen.training.distributed.launch import read_launch

    began = time.monotonic()
    launch = read_launch()
    if launch is not None and launch.rank:
        quiet = True  # rank 0 speaks for all
    make_options(TrainOptions, options)
    if not output:
        raise UserError("-o MODEL is missing: the folder to save the model in")
    names = sources or []
    if not (resume and not names):
        names = sources_or_stdin(sources, "there is nothing to learn from")
    stop = InterruptHandler()
    stop.install()

    from seqgen.cli.progress import display

    voice = StderrLogger(quiet)
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
    from seqgen import tasks

    training = model.checkpoint.config["training"]
    metrics = model.checkpoint.config["metrics"]
    headline = tasks.find(model.task).headline
    how_well = f", held out {metrics[headline.key]:.3f} {headline.unit}" if metrics.get(headline.key) else ""
    voice.info(f"{output}: {training.get('step', 0):,} steps in {human_time(training.get('seconds', 0))}{how_well}")
    if stop.signal:
        voice.info(f"stopped and saved; `--resume -o {output}` goes on")
        return 128 + stop.signal
    return 0
