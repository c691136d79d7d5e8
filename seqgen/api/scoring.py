"""What records cost a model: `Model.score` and its kin."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqgen.corpus.shards import WHOLE, Shard
from seqgen.errors import ModelError
from seqgen.evaluation.text import Masks, Scored, Scorer, token_nats
from seqgen.tokenizers import decode

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.corpus.sources import Document


@dataclass(frozen=True)
class Score:
    """What a record costs the model: nats in all, and bits a byte. `per_token`: the pieces and their nats."""

    name: str
    tokens: int
    nats: float
    bits_per_byte: float
    per_token: list[tuple[str, float]] | None = None


def score(model: Model, chunks: Iterable[bytes] | bytes | str, name: str, per_token: bool) -> Score:
    """One record of text or music."""
    if model.task not in ("text", "music"):
        raise ModelError(f"this is a model for {model.task}, with which this version can't score")
    if isinstance(chunks, str):
        chunks = chunks.encode("utf-8", "surrogateescape")
    chunks = [chunks] if isinstance(chunks, bytes) else chunks
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            size += len(chunk)
            yield chunk

    found = _sum(model, token_nats(model.network, model.codec, counted(), _masks(model)), name, per_token)
    return _over(found, size)


def score_lines(model: Model, lines: Iterable[bytes], name: str, per_token: bool) -> Iterator[Score]:
    """Each line given all lines before it."""
    model.must_be_of_text("score")
    scorer = Scorer(model.network, model.codec)
    for number, line in enumerate(lines, start=1):
        found = _sum(model, scorer.read(model.codec.encode(line)), f"{name}:{number}", per_token)
        yield _over(found, len(line))


def score_conversations(
    model: Model, documents: Sequence[Document], per_token: bool, part: Shard = WHOLE
) -> Iterator[Score]:
    """Each conversation in files of them, or those that are in a part of all."""
    from seqgen.corpus.conversations import Reading, iterate
    from seqgen.tasks.dialogue import encode

    codec = model.dialogue_codec()
    own = None if part.is_whole else part.of_numbers(sum(1 for _ in iterate(documents, Reading())))
    place = itertools.count()
    for document in documents:
        for number, conversation in enumerate(iterate([document], Reading()), start=1):
            if own is not None and next(place) not in own:
                continue
            ids = np.append(encode(codec, conversation), codec.end).astype(np.int32)
            size = sum(len(turn.text.encode("utf-8", "surrogateescape")) for turn in conversation.turns)
            found = _sum(model, Scorer(model.network, codec).read(ids), f"{document.name}:{number}", per_token)
            yield _over(found, size)


def _sum(model: Model, pieces: Iterable[Scored], name: str, per_token: bool) -> Score:
    """The cost of all pieces; bits a byte are still bits in all."""
    tokens, nats = 0, 0.0
    details: list[tuple[str, float]] | None = [] if per_token else None
    for piece in pieces:
        tokens += len(piece.ids)
        nats += float(piece.nats.sum())
        if details is not None:
            details += zip(_spell(model, piece.ids), piece.nats.tolist(), strict=True)
    return Score(name, tokens, nats, nats / math.log(2), details)


def _over(found: Score, size: int) -> Score:
    """The same, in bits for each of `size` bytes."""
    return Score(found.name, found.tokens, found.nats, found.bits_per_byte / max(size, 1), found.per_token)


def _masks(model: Model) -> Masks | None:
    """What the grammar of music lets come; text has none."""
    if model.task != "music":
        return None
    from seqgen.evaluation.events import Possible
    from seqgen.generation.music import music_codec

    return Possible(music_codec(model.codec).vocabulary)


def _spell(model: Model, ids: Iterable[int]) -> list[str]:
    if model.task == "music":
        from seqgen.generation.music import music_codec

        return [music_codec(model.codec).vocabulary.spell(int(token)) for token in ids]
    return [decode(model.codec, [token]).decode("utf-8", "backslashreplace") for token in ids]
