"""The most probable tokens at each position of a generated text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqgen.api.loaded import LoadedModel
from seqgen.generation.engines.base import Engine
from seqgen.generation.job import GenerationJob
from seqgen.generation.prompts import carried_bytes
from seqgen.generation.sampling.draw import PrimedState
from seqgen.generation.sampling.filters import softmax
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes

_CHUNK = 1024  # tokens whose probabilities are in memory at once


@dataclass(frozen=True)
class TokenChoice:
    """A token of a text, its probability, and the most probable others, each with its own.

    Probabilities are the model's own, before temperature and filters.
    """

    token: str
    probability: float
    alternatives: tuple[tuple[str, float], ...]


def alternatives(model: LoadedModel, job: GenerationJob, text: str, count: int) -> list[TokenChoice]:
    """The choices at each token of a text that the job generated, in the model's tokenization of it.

    What a saved state left over has none: its token was chosen before.

    Raises `ModelError` for a model that is not of plain text.
    """
    model.require_text_task("show --alternatives")
    drawn = as_bytes(text)[len(carried_bytes(job.prompt, job.codec)) :]
    return token_choices(job.engine, job.codec, job.prompt.primed, drawn, count)


def token_choices(engine: Engine, codec: Codec, primed: PrimedState, text: bytes, count: int) -> list[TokenChoice]:
    """The choices at each token of a text after a state, in the codec's tokenization of it."""
    ids = codec.encode(text)
    state, last = primed.state, primed.last
    found = []
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        inputs = np.concatenate([np.array([last], dtype=np.int32), chunk[:-1]])
        logits, state = engine.logits_of(inputs, state)
        last = int(chunk[-1])
        for token, probabilities in zip(chunk.tolist(), softmax(logits.astype(np.float64)), strict=True):
            order = np.argsort(-probabilities, kind="stable")[: count + 1].tolist()
            others = [other for other in order if other != token][:count]
            found.append(
                TokenChoice(
                    codec.token_name(token),
                    float(probabilities[token]),
                    tuple((codec.token_name(other), float(probabilities[other])) for other in others),
                )
            )
    return found
