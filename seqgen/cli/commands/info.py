"""`seqgen info`: describe a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from seqgen.cli.options import JsonOption, QuietOption, plot_option
from seqgen.cli.output import Output, padded, to_json
from seqgen.errors import ModelError, UserError
from seqgen.quantities import human_time
from seqgen.specs.tasks import TASKS
from seqgen.untrusted import letter_widths, one_line

EXAMPLES = (
    "seqgen info tales",
    "seqgen info tales --recipe > run.toml && seqgen train --config run.toml -o again",
    "seqgen info tales again --plot curves.png",
)


def run(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Model folders, as `train` writes them, or hf:OWNER/NAME[@REVISION]."),
    ],
    as_json: JsonOption = False,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print the run as TOML; `train --config` repeats it.")
    ] = False,
    plot: Annotated[str | None, plot_option("Plot of the training and validation losses.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Describe a model: its network, its training set and its metrics.

    Several models are compared in a table; with --json each is an object on a line.
    """
    # `quiet` is accepted as by every command; there are no messages to suppress
    from seqgen.api.describe import damage_named, describe
    from seqgen.api.model import load

    if recipe and (as_json or plot is not None or len(models) > 1):
        raise UserError("--recipe takes one model, without --json and --plot")
    loaded = [load(name) for name in models]
    if recipe:
        from seqgen.api.recipe import make_recipe

        with Output("-") as out:
            out.write(make_recipe(loaded[0].checkpoint, models[0]))
        return
    described, rows = [], []
    for name, model in zip(models, loaded, strict=True):
        facts = model.info()
        with damage_named(name):
            if as_json:
                described.append(to_json(facts, indent=1 if len(models) == 1 else None) + "\n")
            elif len(models) == 1:
                described.append(_page(describe(facts, model.checkpoint.network)))
            else:
                rows.append(_cells(name, facts))
    if plot is not None:
        _plot(models, [model.checkpoint.folder for model in loaded], plot)
    with Output("-") as out:
        out.write(_table(rows) if rows else "".join(described))


def _plot(names: Sequence[str], folders: Sequence[Path], target: str) -> None:
    from seqgen.checkpoint import read_metrics
    from seqgen.plots.curves import LearningCurve, learning_curves
    from seqgen.streams import write_output

    curves = [LearningCurve(name, read_metrics(folder)) for name, folder in zip(names, folders, strict=True)]
    for name, curve in zip(names, curves, strict=True):
        if not curve.records:
            raise ModelError(f"cannot plot {name!r}: its metrics.jsonl is missing, damaged or empty; leave it out")
    write_output(Path(target), learning_curves(curves))


_MAX_NAME = 40  # characters
_COLUMNS = ("model", "task", "network", "tokenizer", "parameters", "steps", "time", "validation loss", "held out")
_NUMBERS = ("parameters", "steps", "time", "validation loss")


def _cells(name: str, facts: dict[str, Any]) -> list[str]:
    """The cells of a model in the table that compares several."""
    training, network, metrics = facts["training"], facts["network"], facts["metrics"]
    headline, loss = TASKS.find(facts["task"]).headline, metrics.get("val_loss")
    value = metrics.get(headline.key)
    cells = (
        name,
        facts["task"],
        f"{network['num_layers']} × {network['cell'].upper()} {network['rnn_size']:,}"
        + (f", {len(facts['members']) + 1} networks" if facts.get("members") else ""),
        facts["tokenizer"],
        f"{facts['parameters']:,}",
        f"{training.get('step', 0):,}",
        human_time(training.get("seconds", 0)),
        "" if loss is None else f"{loss:.4f}",
        "" if value is None else f"{value:.3f} {headline.unit}",
    )
    return [one_line(cell) for cell in cells]


def _table(rows: Sequence[Sequence[str]]) -> str:
    cells = [_COLUMNS, *rows]
    widths = [max(sum(letter_widths(cell)) for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        shown = (padded(cell, width, name in _NUMBERS) for name, cell, width in zip(_COLUMNS, row, widths, strict=True))
        lines.append("  ".join(shown).rstrip() + "\n")
    return "".join(lines)


def _page(rows: Sequence[tuple[str, str]]) -> str:
    rows = [(one_line(name)[:_MAX_NAME], value) for name, value in rows]  # those of metrics are the model's
    width = max(len(name) for name, _ in rows) + 2
    return "".join(f"{name:{width}}{one_line(value)}\n" for name, value in rows)
