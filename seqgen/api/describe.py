"""What a model is, as rows of names and values: for `info` and for notebooks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from seqgen.errors import ModelError
from seqgen.quantities import human_size, human_time, plural, shortened_list
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import network_of

InfoRows = list[tuple[str, str]]


class NetworkDescription(NamedTuple):
    """What `info` prints of a network and its training, in the words of what it reads.

    Attributes:
        batch: what a step of training reads.
        amount: the size of the training set.
        loss: the unit of the training and validation losses.
        remarks: on other metrics, by their keys.
    """

    rows: InfoRows
    batch: str
    amount: str
    loss: str
    remarks: dict[str, str] = {}


@contextlib.contextmanager
def damage_named(model: str) -> Iterator[None]:
    """Raise `ModelError`, which names the model, where a value of its config.json is missing or of another type."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, ArithmeticError) as error:
        raise ModelError(f"{model!r}: config.json is damaged: a value is missing, or is not a number") from error


def describe(facts: dict[str, Any], network: object) -> InfoRows:
    """What `info` prints of a model: names and values.

    Args:
        facts: what `Model.info` returns.
        network: its config, by which the table of networks knows how to describe it.

    Raises what Python raises for a value that is missing or of another type; see `damage_named`.
    """
    training, data = facts["training"], facts["data"]
    schedule = training["schedule"]
    described: NetworkDescription = resolve(network_of(network).describe)(facts)
    members = len(facts.get("members", []))
    rows = [
        ("task", facts["task"]),
        *described.rows,
        *([("networks", f"{members + 1}, whose predictions are averaged")] if members else []),
        ("parameters", f"{facts['parameters']:,} ({human_size(facts['weights_bytes'])})"),
        ("dropout", f"{facts['network']['dropout']:g}"),
        ("trained for", f"{training.get('step', 0):,} steps of {described.batch}, "
                        f"{human_time(training.get('seconds', 0))}, {training['precision']}"),
        ("learning rate", f"{schedule['learning_rate']:g}"),
    ]  # fmt: skip
    rows += [("trained on", f"{source['name']} ({human_size(source['bytes'])})") for source in data["sources"][:10]]
    if len(data["sources"]) > 10:
        rows.append(("", f"and {len(data['sources']) - 10:,} more"))
    rows.append(("", described.amount))
    for name, value in facts["metrics"].items():
        if value is None:  # of a run that was stopped before its first step
            continue
        remark = described.loss if name in _LOSSES else described.remarks.get(name, "")
        rows.append((name, f"{value:.4f} {remark}".rstrip() if isinstance(value, float) else f"{value}"))
    if finished := facts.get("finished"):
        length = f"{finished['epochs']:g} epoch{'s' * (finished['epochs'] != 1)}, {finished['steps']:,} steps"
        row = f"learnt too, after this was measured on it: {length}"
        rows.append(("held-out part", row))
    cost = facts.get("rounding_bits_per_token")
    if isinstance(cost, float):
        use = "used for sampling" if facts["may_be_rounded"] else "not used for sampling"
        rows.append(("8-bit weights", f"{round(cost, 4) + 0.0:+.4f} bits per token: {use}"))  # never -0.0000
    if "corpus_bytes" in facts:
        rows.append(("corpus kept", f"{human_size(facts['corpus_bytes'])}, to find copies of it in samples"))
    rows.append(("written by", f"seqgen {facts['seqgen']}, format {facts['format']}"))
    return rows


def describe_language_model(facts: dict[str, Any]) -> NetworkDescription:
    """Describe a network that predicts ids."""
    network, data = facts["network"], facts["data"]
    rows = [
        ("network", f"{_layers(network)}, embedding {network['embedding_size']:,}"
                    f"{', tied' if network['tie_weights'] else ''}"),
        _tokenizer(facts),
    ]  # fmt: skip
    unit = next(unit for unit in ("pieces", "conversations", "characters", "tokens") if f"train_{unit}" in data)
    return NetworkDescription(rows, _token_batch(facts), _split(data, unit), "nats per token")


def describe_classifier(facts: dict[str, Any]) -> NetworkDescription:
    """Describe a classifier."""
    network, data = facts["network"], facts["data"]
    labels = network["labels"]
    named = shortened_list(labels, 12)
    if "features" in network:
        reads = f"read {'in both directions' if network['direction'] == 'both' else network['direction']}"
        features, longest = network["features"], network.get("affixes", 0)
        counted = f"n-grams, prefixes and suffixes of up to {longest} characters" if longest else "n-grams"
        linear = [("linear model", f"over {features:,} hashed {counted}" if features else "none")]
        batch, loss = f"{facts['training']['batch_size']:,} texts", "nats per text"
    else:
        reads, linear = "generative: writes texts of a label, classifies by Bayes' rule", []
        batch, loss = _token_batch(facts), "nats per token"
    rows = [
        ("labels", named + (" (several a text)" if network.get("multi") else "")),
        ("network", f"{_layers(network)}, {reads}"),
        *linear,
        _tokenizer(facts),
    ]
    remarks = {"accuracy_deep": "(the network alone)", "accuracy_wide": "(the linear model alone)"}
    return NetworkDescription(rows, batch, _split(data, "texts"), loss, remarks)


def describe_forecaster(facts: dict[str, Any]) -> NetworkDescription:
    """Describe a forecaster."""
    network, data, training = facts["network"], facts["data"], facts["training"]
    levels = network["levels"]
    # Older models lack both.
    mixed = ", mixed with a linear map and the last season" if network.get("mixture") else ""
    earlier = "".join(f", and the values of {lag:,} rows before" for lag in network.get("lags", ()))
    intervals = [f"{levels[-1 - index] - levels[index]:g} %" for index in reversed(range(len(levels) // 2))]
    rows = [
        ("network", f"{_layers(network)}{', and a linear map' if network['linear'] else ''}{mixed}"),
        ("look-back", f"{network['look_back']:,} rows, {network['segment_length']:,} in a step of recurrence{earlier}"),
        ("forecasts", f"{network['horizon']:,} rows ahead of {plural(network['targets'], 'column')}, "
                      f"prediction intervals: {', '.join(intervals) or 'none'}"),
        ("covariates", f"{network['past']:,} known up to now, {network['known']:,} known ahead (calendar included)"),
    ]  # fmt: skip
    several = f"{data['series']:,} series, " if data["series"] > 1 else ""
    batch = f"{training['batch_size']:,} windows of {training['seq_length']:,} rows"
    options = training.get("options", {})
    scale = [f"--scaling {options['scaling']}"] if options.get("scaling", "standard") != "standard" else []
    scale += ["--log-returns"] if options.get("log_returns") else []
    remark = f"(in the scale of {' and '.join(scale)}, unlike evaluate's)" if scale else ""
    remarks = dict.fromkeys(("scaled_mse", "scaled_mae"), remark)
    return NetworkDescription(rows, batch, several + _split(data, "rows"), "(Huber and pinball loss)", remarks)


def _tokenizer(facts: dict[str, Any]) -> tuple[str, str]:
    """The row about the tokenizer, and about the one that it wraps."""
    inner = facts.get("text_tokenizer")
    return "tokenizer", (
        f"{facts['tokenizer']}{f' over {inner}' if inner else ''}, vocabulary size {facts['network']['vocab_size']:,}"
    )


def _token_batch(facts: dict[str, Any]) -> str:
    training = facts["training"]
    return f"{training['batch_size']:,} × {training['seq_length']:,} tokens"


_LOSSES = ("val_loss", "train_loss")


def _layers(network: dict[str, Any]) -> str:
    return f"{network['num_layers']} × {network['cell'].upper()} of {network['rnn_size']:,} units"


def _split(data: dict[str, Any], unit: str) -> str:
    return f"{data[f'train_{unit}']:,} {unit} to train on, {data[f'held_out_{unit}']:,} held out"
