"""`seqgen info`: describe a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from seqgen.cli.options import JsonOption, QuietOption
from seqgen.cli.output import Output, human_size, human_time, to_json
from seqgen.errors import ModelError, UserError
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS, NetworkSpec, network_of
from seqgen.untrusted import one_line

InfoRows = list[tuple[str, str]]


EXAMPLES = (
    "seqgen info tales",
    "seqgen info tales --recipe > run.toml && seqgen train --config run.toml -o again",
    "seqgen info tales again --plot curves.png",
)


def run(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model folders, as `train` writes them.")],
    as_json: JsonOption = False,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print the run as TOML; `train --config` repeats it.")
    ] = False,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Plot of the training and validation losses.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Describe a model: its network, its training set and its metrics.

    Several models are compared in a table; with --json each is an object on a line.
    """
    # `quiet` is accepted as by every command; there are no messages to suppress
    from seqgen.api.model import load

    if recipe and (as_json or plot is not None or len(models) > 1):
        raise UserError("--recipe is of one model, and can't be used with --json or --plot")
    loaded = [load(name) for name in models]
    if recipe:
        from seqgen.api.recipe import make_recipe

        with Output("-") as out:
            out.write(make_recipe(loaded[0].checkpoint, models[0]))
        return
    described, rows = [], []
    for name, model in zip(models, loaded, strict=True):
        facts = model.info()
        try:
            if as_json:
                described.append(to_json(facts, indent=1 if len(models) == 1 else None) + "\n")
            elif len(models) == 1:
                described.append(_page(facts, network_of(model.checkpoint.network)))
            else:
                rows.append(_cells(name, facts))
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration, ArithmeticError) as error:
            raise ModelError(f"{name!r}: config.json is damaged: a value is missing, or is not a number") from error
    if plot is not None:
        _plot(models, [model.checkpoint.folder for model in loaded], plot)
    with Output("-") as out:
        out.write(_table(rows) if rows else "".join(described))


def _plot(names: Sequence[str], folders: Sequence[Path], target: str) -> None:
    from seqgen.checkpoint import read_metrics
    from seqgen.plots.curves import LearningCurve, learning_curves
    from seqgen.streams import write_bytes

    curves = [LearningCurve(name, read_metrics(folder)) for name, folder in zip(names, folders, strict=True)]
    for name, curve in zip(names, curves, strict=True):
        if not curve.records:
            raise ModelError(f"cannot plot {name!r}: its metrics.jsonl is missing, damaged or empty; leave it out")
    write_bytes(Path(os.path.expanduser(target)), learning_curves(curves))


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
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip() + "\n")
    return "".join(lines)


def _page(facts: dict[str, Any], spec: NetworkSpec) -> str:
    training, data = facts["training"], facts["data"]
    schedule = training["schedule"]
    described, amount = resolve(spec.describe)(facts)
    members = len(facts.get("members", []))
    rows = [
        ("task", facts["task"]),
        *described,
        *([("networks", f"{members + 1}, whose predictions are averaged")] if members else []),
        ("parameters", f"{facts['parameters']:,} ({human_size(facts['weights_bytes'])})"),
        ("dropout", f"{facts['network']['dropout']:g}"),
        ("trained for", f"{training.get('step', 0):,} steps of {training['batch_size']} × {training['seq_length']} "
                        f"tokens, {human_time(training.get('seconds', 0))}, {training['precision']}"),
        ("learning rate", f"{schedule['learning_rate']:g}"),
    ]  # fmt: skip
    rows += [("trained on", f"{source['name']} ({human_size(source['bytes'])})") for source in data["sources"][:10]]
    if len(data["sources"]) > 10:
        rows.append(("", f"and {len(data['sources']) - 10:,} more"))
    rows.append(("", amount))
    rows += [
        (name, f"{value:.4f}" if isinstance(value, float) else f"{value}") for name, value in facts["metrics"].items()
    ]
    if finished := facts.get("finished"):
        row = f"learnt too, after this was measured on it: {finished['epochs']:g} epochs, {finished['steps']:,} steps"
        rows.append(("held-out part", row))
    cost = facts.get("rounding_bits_per_token")
    if isinstance(cost, float):
        use = "used for sampling" if facts["may_be_rounded"] else "not used for sampling"
        rows.append(("8-bit weights", f"{cost:+.4f} bits per token: {use}"))
    if "corpus_bytes" in facts:
        rows.append(("corpus kept", f"{human_size(facts['corpus_bytes'])}, to find copies of it in samples"))
    rows.append(("written by", f"seqgen {facts['seqgen']}, format {facts['format']}"))
    width = max(len(name) for name, _ in rows) + 2
    return "".join(f"{name:{width}}{one_line(value)}\n" for name, value in rows)


def describe_language_model(facts: dict[str, Any]) -> tuple[InfoRows, str]:
    """Rows about a network that predicts ids, and the size of its training set."""
    network, data = facts["network"], facts["data"]
    rows = [
        ("network", f"{_layers(network)}, embedding {network['embedding_size']:,}"
                    f"{', tied' if network['tie_weights'] else ''}"),
        ("tokenizer", f"{facts['tokenizer']}, vocabulary size {network['vocab_size']:,}"),
    ]  # fmt: skip
    unit = next(unit for unit in ("pieces", "conversations", "characters", "tokens") if f"train_{unit}" in data)
    return rows, _split(data, unit)


def describe_classifier(facts: dict[str, Any]) -> tuple[InfoRows, str]:
    """Rows about a classifier, and the size of its training set."""
    network, data = facts["network"], facts["data"]
    labels = network["labels"]
    named = ", ".join(labels[:12]) + (f" and {len(labels) - 12:,} more" if len(labels) > 12 else "")
    if "features" in network:
        reads = f"read {'in both directions' if network['direction'] == 'both' else network['direction']}"
        features = network["features"]
        linear = [("linear model", f"over {features:,} hashed n-grams" if features else "none")]
    else:
        reads, linear = "generative: writes texts of a label, classifies by Bayes' rule", []
    rows = [
        ("labels", named + (" (several a text)" if network.get("multi") else "")),
        ("network", f"{_layers(network)}, {reads}"),
        *linear,
        ("tokenizer", f"{facts['tokenizer']}, vocabulary size {network['vocab_size']:,}"),
    ]
    return rows, _split(data, "texts")


def describe_forecaster(facts: dict[str, Any]) -> tuple[InfoRows, str]:
    """Rows about a forecaster, and the size of its training set."""
    network, data = facts["network"], facts["data"]
    levels = network["levels"]
    # Older models lack both.
    mixed = ", mixed with a linear map and the last season" if network.get("mixture") else ""
    earlier = "".join(f", and the values of {lag:,} rows before" for lag in network.get("lags", ()))
    intervals = [f"{levels[-1 - index] - levels[index]:g} %" for index in reversed(range(len(levels) // 2))]
    rows = [
        ("network", f"{_layers(network)}{', and a linear map' if network['linear'] else ''}{mixed}"),
        ("look-back", f"{network['look_back']:,} rows, {network['segment_length']:,} in a step of recurrence{earlier}"),
        ("forecasts", f"{network['horizon']:,} rows ahead of {network['targets']:,} column"
                      f"{'s' * (network['targets'] > 1)}, prediction intervals: {', '.join(intervals) or 'none'}"),
        ("covariates", f"{network['past']:,} known up to now, {network['known']:,} known ahead (calendar included)"),
    ]  # fmt: skip
    several = f"{data['series']:,} series, " if data["series"] > 1 else ""
    return rows, several + _split(data, "rows")


def _layers(network: dict[str, Any]) -> str:
    return f"{network['num_layers']} × {network['cell'].upper()} of {network['rnn_size']:,} units"


def _split(data: dict[str, Any], unit: str) -> str:
    return f"{data[f'train_{unit}']:,} {unit} to train on, {data[f'held_out_{unit}']:,} held out"
