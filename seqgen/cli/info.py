"""`seqgen info`: what a model is."""

from __future__ import annotations

from typing import Any

from seqgen.cli.common import AsJson, ModelFolder, Output, Quiet, human_size, human_time, pipes, to_json


@pipes
def run(model: ModelFolder, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Tell what a model is, what it was trained on, and how well it does."""
    from seqgen.api.model import load

    facts = load(model).info()
    with Output("-") as out:
        out.write(to_json(facts, indent=1) + "\n" if as_json else _page(facts))


def _page(facts: dict[str, Any]) -> str:
    network, training, data = facts["network"], facts["training"], facts["data"]
    schedule = training["schedule"]
    rows = [
        ("task", facts["task"]),
        ("network", f"{network['num_layers']} × {network['cell'].upper()} of {network['rnn_size']:,} units, embedding "
                    f"{network['embedding_size']:,}{', tied' if network['tie_weights'] else ''}"),
        ("parameters", f"{facts['parameters']:,} ({human_size(facts['weights_bytes'])})"),
        ("tokenizer", f"{facts['tokenizer']}, {network['vocab_size']:,} ids"),
        ("dropout", f"{network['dropout']:g}"),
        ("trained for", f"{training.get('step', 0):,} steps of {training['batch_size']} × {training['seq_length']} "
                        f"tokens, {human_time(training.get('seconds', 0))}, {training['precision']}"),
        ("learning rate", f"{schedule['learning_rate']:g}"),
    ]  # fmt: skip
    rows += [("trained on", f"{source['name']} ({human_size(source['bytes'])})") for source in data["sources"][:10]]
    if len(data["sources"]) > 10:
        rows.append(("", f"and {len(data['sources']) - 10:,} more"))
    unit = next(unit for unit in ("pieces", "conversations", "characters", "tokens") if f"train_{unit}" in data)
    rows.append(("", f"{data[f'train_{unit}']:,} {unit} to train on, {data[f'held_out_{unit}']:,} held out"))
    rows += [
        (name, f"{value:.4f}" if isinstance(value, float) else f"{value}") for name, value in facts["metrics"].items()
    ]
    rows.append(("written by", f"seqgen {facts['seqgen']}, format {facts['format']}"))
    width = max(len(name) for name, _ in rows) + 2
    return "".join(f"{name:{width}}{value}\n" for name, value in rows)
