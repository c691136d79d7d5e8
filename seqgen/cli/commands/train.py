"""`seqgen train`: from sources to a model."""

from __future__ import annotations

import shlex
import signal
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.inputs import sources_or_stdin
from seqgen.cli.interrupts import InterruptHandler
from seqgen.cli.options import QuietOption, TaskOption, ValidOption, add_options, advanced
from seqgen.cli.output import Output, StderrLogger, hanging, to_json
from seqgen.config import TrainOptions, make_options
from seqgen.errors import StoppedError, UserError
from seqgen.quantities import human_size, human_time
from seqgen.specs.tasks import TASKS
from seqgen.untrusted import one_line

if TYPE_CHECKING:
    from seqgen.api.train.plan import TrainingPlan

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
    task: TaskOption = None,
    valid: ValidOption = None,
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
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Print what would be chosen, why, and the expected time; train nothing.",
            rich_help_panel="Output",
        ),
    ] = False,
    as_json: Annotated[
        bool, advanced(typer.Option("--json", help="Print the plan as JSON.", rich_help_panel="Output"))
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
    if as_json and not plan:
        raise UserError("--json is for --plan; `seqgen info MODEL --json` describes a model")
    if plan and resume:
        raise UserError("--plan is for a new run: one that is resumed keeps its plan, which `seqgen info MODEL` shows")
    if not output and not plan:
        raise UserError("-o MODEL is missing: name a folder to save the model in")
    names = sources or []
    if not (resume and not names):
        names = sources_or_stdin(sources, "there is nothing to train on")
    from seqgen.cli.progress import display

    with InterruptHandler() as stop:
        log = StderrLogger(quiet)
        try:
            if plan:
                with display(quiet, stop, began) as watcher:
                    from seqgen.api.train.plan import plan as make_plan

                    planned = make_plan(
                        names, task=task, valid=valid or (), init_from=init_from, watch=watcher, **options
                    )
                return _print_plan(planned, as_json) if launch is None or not launch.rank else 0
            with display(quiet, stop, began) as watcher:
                from seqgen.api.train.run import train

                model = train(
                    names, output, task=task, valid=valid or (), resume=resume, init_from=init_from,
                    overwrite=overwrite, watch=watcher, **options,
                )  # fmt: skip
        except (KeyboardInterrupt, StoppedError):
            if not stop.training:
                log.info("stopped before training began: nothing was learnt, nothing is saved")
            return 128 + (stop.signal or signal.SIGINT)
        if launch is not None and launch.rank:
            return 128 + stop.signal if stop.signal else 0
        training, trained = model.checkpoint.config["training"], model.checkpoint.trained
        metrics = model.checkpoint.config["metrics"]
        headline = TASKS.find(model.task).headline
        value = metrics.get(headline.key)
        result = f", held out {value:.3f} {headline.unit}" if isinstance(value, float) and value else ""
        log.info(f"{output}: {trained.step:,} steps in {human_time(trained.seconds)}{result}")
        if stop.signal:
            log.info(f"stopped and saved; `--resume -o {output}` continues")
            return 128 + stop.signal
        listed = training.get("sources")  # of a resumed run, whose folder may be by others
        source = next(
            (name for name in names or (listed if isinstance(listed, list) else ()) if isinstance(name, str)), "-"
        )
        named = "./" * output.startswith("-") + (output.rstrip("/") or output)  # no flag
        log.info(f"next: {_fill(TASKS.find(model.task).next_command, named, source)}")
        return 0


def _print_plan(plan: TrainingPlan, as_json: bool) -> int:
    with Output("-") as out:
        if as_json:
            out.write(to_json(plan.to_json(), indent=1) + "\n")
            return 0
        budget = plan.settings["budget"]
        settings = {**plan.settings, "budget": None if budget is None else human_time(budget)}
        rows = [(name, _format(value), plan.reasons.get(name, "")) for name, value in settings.items()
                if value is not None]  # fmt: skip
        rows.insert(1, ("data", plan.data, ""))
        rows.append(("parameters", f"{plan.parameters:,}", human_size(4 * plan.parameters)))
        rows.append(("speed", f"{plan.tokens_per_second:,.0f}", "tokens/s, measured in a few steps"))
        rows.append(("expected", f"{plan.steps:,} steps, {plan.epochs:,.1f} epochs, {human_time(plan.seconds)}", ""))
        for width in plan.widths if len(plan.widths) > 1 else ():
            read = f"{width.tokens_per_second:,.0f} tokens/s, {width.tokens / 1e6:,.2f} M in the time"
            rows.append((f"{width.rnn_size:,} units", read, _excess(width.excess)))
        name_width, value_width = (2 + max(len(row[column]) for row in rows if row[2]) for column in (0, 1))
        for name, value, why in rows:
            head = f"{name.replace('_', '-'):{name_width}}{one_line(value):{value_width}}"
            out.write(hanging(head, one_line(why), out.terminal))
    return 0


def _excess(nats: float) -> str:
    return f"expected to end {nats:.3f} nats a token above the best width" if nats else "expected to end best"


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _fill(template: str, model: str, source: str) -> str:
    """A command line about a model, with its names quoted for a shell."""
    words = template.split(" ")
    return " ".join(shlex.quote(word.format(model=model, source=source)) if "{" in word else word for word in words)
