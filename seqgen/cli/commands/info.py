"""`seqgen info`: what a model is."""

from __future__ import annotations

from typing import Any

from seqgen.cli.options import (
    JsonOption,
    ModelArgument,
    Output,
    QuietOption,
    handle_broken_pipe,
    human_size,
    human_time,
    one_line,
    to_json,
)
from seqgen.errors import ModelError

InfoRows = list[tuple[str, str]]


@handle_broken_pipe
def run(model: ModelArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Tell what a model is, what it was trained on, and how well it does."""
    from seqgen.api.model import load

    facts = load(model).info()
    try:
        text = to_json(facts, indent=1) + "\n" if as_json else _page(facts)
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, ArithmeticError) as error:
        raise ModelError(f"{model!r}: config.json is damaged: a part of it is missing, or is no number") from error
    with Output("-") as out:
        out.write(text)


def _page(facts: dict[str, Any]) -> str:
    training, data = facts["training"], facts["data"]
    schedule = training["schedule"]
    what, amount = _ABOUT.get(facts["task"], _of_ids)(facts)
    rows = [
        ("task", facts["task"]),
        *what,
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
    cost = facts.get("rounding_bits_per_token")
    if isinstance(cost, float):
        use = "used to sample" if facts["may_be_rounded"] else "not used to sample"
        rows.append(("weights of 8 bits", f"{cost:+.4f} bits a token: {use}"))
    if "corpus_bytes" in facts:
        rows.append(("corpus kept", f"{human_size(facts['corpus_bytes'])}: copies from it are told"))
    rows.append(("written by", f"seqgen {facts['seqgen']}, format {facts['format']}"))
    width = max(len(name) for name, _ in rows) + 2
    return "".join(f"{name:{width}}{one_line(value)}\n" for name, value in rows)


def _of_ids(facts: dict[str, Any]) -> tuple[InfoRows, str]:
    """Rows about a network that reads ids, and how much it learnt from."""
    network, data = facts["network"], facts["data"]
    rows = [
        ("network", f"{network['num_layers']} × {network['cell'].upper()} of {network['rnn_size']:,} units, embedding "
                    f"{network['embedding_size']:,}{', tied' if network['tie_weights'] else ''}"),
        ("tokenizer", f"{facts['tokenizer']}, {network['vocab_size']:,} ids"),
    ]  # fmt: skip
    unit = next(unit for unit in ("pieces", "conversations", "characters", "tokens") if f"train_{unit}" in data)
    return rows, f"{data[f'train_{unit}']:,} {unit} to train on, {data[f'held_out_{unit}']:,} held out"


def _of_labels(facts: dict[str, Any]) -> tuple[InfoRows, str]:
    """Rows about a classifier, and how much it learnt from."""
    network, data = facts["network"], facts["data"]
    labels = network["labels"]
    named = ", ".join(labels[:12]) + (f" and {len(labels) - 12:,} more" if len(labels) > 12 else "")
    if "features" in network:
        reads = f"read {'in both directions' if network['direction'] == 'both' else network['direction']}"
        beside = [
            ("beside it", f"a linear model of {network['features']:,} n-grams" if network["features"] else "nothing")
        ]
    else:
        reads, beside = "which writes texts of a label and sorts by Bayes' rule", []
    rows = [
        ("labels", named + (" (several a text)" if network.get("multi") else "")),
        ("network", f"{network['num_layers']} × {network['cell'].upper()} of {network['rnn_size']:,} units, {reads}"),
        *beside,
        ("tokenizer", f"{facts['tokenizer']}, {network['vocab_size']:,} ids"),
    ]  # fmt: skip
    return rows, f"{data['train_texts']:,} texts to train on, {data['held_out_texts']:,} held out"


def _of_numbers(facts: dict[str, Any]) -> tuple[InfoRows, str]:
    """Rows about a forecaster, and how much it learnt from."""
    network, data = facts["network"], facts["data"]
    levels = network["levels"]
    bands = [f"{levels[-1 - place] - levels[place]:g} %" for place in reversed(range(len(levels) // 2))]
    beside = ", and a linear map" if network["linear"] else ""
    rows = [
        ("network", f"{network['num_layers']} × {network['cell'].upper()} of {network['rnn_size']:,} units{beside}"),
        ("looks back", f"{network['look_back']:,} rows, {network['segment_length']:,} in a step of recurrence"),
        ("forecasts", f"{network['horizon']:,} rows ahead of {network['targets']:,} column"
                      f"{'s' * (network['targets'] > 1)}, bands: {', '.join(bands) or 'none'}"),
        ("covariates", f"{network['past']:,} known up to now, {network['known']:,} known ahead (calendar included)"),
    ]  # fmt: skip
    several = f"{data['series']:,} series, " if data["series"] > 1 else ""
    return rows, f"{several}{data['train_rows']:,} rows to train on, {data['held_out_rows']:,} held out"


# What is told of a model by its task; of others, what `_of_ids` tells.
_ABOUT = {"forecast": _of_numbers, "classify": _of_labels}
