"""Codecs of the models of random weights, and loading them on either engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import seqgen
from seqgen.api.model import Model
from seqgen.tokenizers.characters import ByteCodec, CharCodec
from seqgen.tokenizers.subwords import SubwordCodec
from tests.helpers.untrained import TEXT

CODECS = {"char": CharCodec.fit([TEXT]), "byte": ByteCodec(), "subword": SubwordCodec.fit([TEXT], vocab_size=330)}

ENGINES = ("light", "torch")

Models = Callable[..., Path]


def load_model(folder: Path, engine: str = "auto") -> Model:
    return Model(seqgen.load(folder).checkpoint, engine)
