"""Model folders of random weights, in no time: for what does not depend on what a model has learnt."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

import seqgen
from seqgen import checkpoint, tokenizers
from seqgen.config import FORMAT_VERSION, GenerativeConfig, NetworkConfig
from seqgen.model.weight_shapes import weight_shapes
from seqgen.tokenizers import Codec

TEXT = ("The old lamp on the quay was lit, and 灯塔的灯 too; naïve boats came home late. 😀 \n" * 40).encode()


def untrained(folder: Path, codec: Codec, task: str = "text", seed: int = 1, **network: Any) -> Path:
    """A model folder at `folder`: rather sure of itself, so that texts of different seeds differ but repeat."""
    labels = network.get("labels")
    kind = NetworkConfig if labels is None else GenerativeConfig
    made = kind(codec.vocab_size, **{"rnn_size": 24, "embedding_size": 12, **network})
    chance = np.random.default_rng(seed)
    calm = 0.7 * made.rnn_size**-0.5 if made.cell == "rnn" else 0.4  # without gates more would be chaos
    sizes = {"output": 1.5, "recurrent": calm}
    weights = {
        name: chance.normal(0, next((s for part, s in sizes.items() if part in name), 0.4), shape).astype(np.float32)
        for name, shape in weight_shapes(made).items()
    }
    pieces = codec.pieces()
    if any(isinstance(piece, str) for piece in pieces):  # the bytes of strangers are rare
        weights["output_bias"][[isinstance(piece, int) for piece in pieces]] -= 6
    if task == "music":  # notes are not
        weights["output_bias"][[pieces.index(None)]] -= 4
    if task == "dialogue":  # nor are speakers
        weights["output_bias"][[0, 1]] += 3
    config: dict[str, Any] = {
        "format": FORMAT_VERSION, "seqgen": seqgen.__version__, "task": task, "tokenizer": codec.name,
        "identity": checkpoint.identity(made, tokenizers.dump(codec)), "network": dataclasses.asdict(made),
        "training": {}, "data": {"fingerprint": "none", "sources": []}, "metrics": {},
    }  # fmt: skip
    folder.mkdir(parents=True)
    checkpoint.create(folder, config, codec, weights)
    return folder
