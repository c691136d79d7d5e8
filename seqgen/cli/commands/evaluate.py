"""`seqgen evaluate`: measure a model beside naive baselines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from seqgen.cli.inputs import sources_or_stdin
from seqgen.cli.options import DeviceOption, JsonOption, ModelArgument, OutputOption, QuietOption, add_options
from seqgen.cli.output import Output, StderrLogger, to_json
from seqgen.config import EvaluateOptions, make_options
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS

EXAMPLES = ("seqgen evaluate tales tidewater", "seqgen evaluate mood reviews --json")


@add_options(EvaluateOptions)
def run(
    model: ModelArgument,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...", help="Test set: data that the model was not trained on [default: standard input]."
        ),
    ] = None,
    as_json: JsonOption = False,
    baselines: Annotated[bool, typer.Option(help="Evaluate the baselines too.")] = True,
    output: OutputOption = "-",
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Evaluate a model on a test set, beside naive baselines.

    Every record is read from beginning to end. Baselines of text are xz and, if installed, PPMd; of music, models
    that count events, and generated pieces are compared with the test set's; of labelled texts, the majority class
    and, with scikit-learn, a linear TF-IDF model; of forecasts, the last value, the last season and a linear model
    (NLinear).
    """
    make_options(EvaluateOptions, options)
    names = sources_or_stdin(sources, "there is nothing to evaluate on")
    from seqgen.api.model import load

    result = load(model, device=device).evaluate(names, baselines=baselines, warn=StderrLogger(quiet).warn, **options)
    with Output(output) as out:
        report = to_json(result, indent=1) + "\n" if as_json else resolve(TASKS.find(result["task"]).report)(result)
        out.write(report)
