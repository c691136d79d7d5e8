"""Model folders with random weights, for tests that don't depend on training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

import seqgen
from seqgen import checkpoint, tokenizers
from seqgen.config import FORMAT_VERSION, GenerativeConfig, NetworkConfig
from seqgen.model.weight_shapes import weight_shapes
from seqgen.specs.cells import CELLS
from seqgen.tokenizers import Codec

TEXT = ("The old lamp on the quay was lit, and 灯塔的灯 too; naïve boats came home late. 😀 \n" * 40).encode()


def untrained(folder: Path, codec: Codec, task: str = "text", seed: int = 1, **network: Any) -> Path:
    """Write a model folder. The model is confident, so that texts of different seeds differ but repeat."""
    labels = network.get("labels")
    config_class = NetworkConfig if labels is None else GenerativeConfig
    made = config_class(codec.vocab_size, **{"rnn_size": 24, "embedding_size": 12, **network})
    rng = np.random.default_rng(seed)
    # Ungated cells become chaotic with larger recurrent weights.
    recurrent = 0.7 * made.rnn_size**-0.5 if CELLS[made.cell].gates == 1 else 0.4
    scales = {"output": 1.5, "recurrent": recurrent}
    weights = {
        name: rng.normal(0, next((s for part, s in scales.items() if part in name), 0.4), shape).astype(np.float32)
        for name, shape in weight_shapes(made).items()
    }
    pieces = codec.pieces()
    if any(isinstance(piece, str) for piece in pieces):  # the bytes of unknown characters are rare
        weights["output_bias"][[isinstance(piece, int) for piece in pieces]] -= 6
    if task == "music":  # ends of pieces are rare
        weights["output_bias"][[pieces.index(None)]] -= 4
    if task == "dialogue":  # changes of speaker are frequent
        weights["output_bias"][[0, 1]] += 3
    config: dict[str, Any] = {
        "format": FORMAT_VERSION, "seqgen": seqgen.__version__, "task": task, "tokenizer": codec.name,
        "identity": checkpoint.identity(made, tokenizers.dump(codec)), "network": dataclasses.asdict(made),
        "training": {}, "data": {"fingerprint": "none", "sources": []}, "metrics": {},
    }  # fmt: skip
    folder.mkdir(parents=True)
    checkpoint.create(folder, config, codec, weights)
    return folder
