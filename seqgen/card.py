"""The card of a model: README.md in its folder, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqgen.untrusted import one_line


def sources_of(config: Mapping[str, Any], part: str = "sources") -> list[dict[str, Any]]:
    """Name, bytes and sha256 of each of the `sources` (or `valid_sources`) in config.json; what is malformed is left
    out."""
    listed = config["data"].get(part)
    kept = [source for source in listed if isinstance(source, dict)] if isinstance(listed, list) else []
    types = {"name": str, "sha256": str, "bytes": int}
    return [source for source in kept if all(isinstance(source.get(key), kind) for key, kind in types.items())]


def card(config: Mapping[str, Any], name: str) -> str:
    """README.md of a model folder: what it is, what it was trained on, how to use it."""
    network, metrics, sources = config["network"], config["metrics"], sources_of(config)
    lines = [
        f"# {name}",
        "",
        f"A {network['cell'].upper()} ({network['num_layers']} × {network['rnn_size']} units) for {config['task']}, "
        f"trained with seqgen {config['seqgen']} ({config['tokenizer']} tokenizer).",
        "",
        "## Trained on",
        *[
            f"- {source['name']} ({source['bytes']:,} bytes, sha256 {source['sha256'][:16]}…)"
            for source in sources[:20]
        ],
        *([f"- and {len(sources) - 20:,} more"] if len(sources) > 20 else []),
        "",
        "## How well it does",
        *(
            [f"- {key}: {value:.4f}" for key, value in metrics.items() if isinstance(value, float)]
            or ["- not measured"]
        ),
        "",
        "Measured on the held-out part, which also chose the best step; `seqgen evaluate` measures on other text.",
        "",
        "## Use",
        "```",
        f"seqgen {_USE.get(config['task'], 'sample')} {name}",
        f"seqgen info {name}",
        "```",
        "",
        "The folder is data only: loading it runs no code.",
        "",
    ]
    return "\n".join(map(one_line, lines))


_USE = {
    "dialogue": "chat",
    "classify": "classify",
    "forecast": "forecast",
}  # task → the command to use its models with, if not `sample`
