"""What records cost a model: `Model.score` and its kin. No PyTorch is needed for it, unless another device is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqgen.corpus.shards import SINGLE_SHARD, Shard
from seqgen.errors import ModelError
from seqgen.generation.scoring import EngineScorer, MaskFunction, TokenScores
from seqgen.generation.state import SavedState
from seqgen.tokenizers import decode, encode_stream
from seqgen.untrusted import as_bytes

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


class RecordScorer:
    """A record while it is read, in flat memory: its pieces as they come, then its `score`."""

    def __init__(self, model: Model, state: SavedState | None = None) -> None:
        """Raises `ModelError` for a model that can't read records of bytes."""
        if model.task not in ("text", "music"):
            raise ModelError(f"this is a model for {model.task}, with which this version can't score")
        self._model = model
        self._scorer = EngineScorer(model.exact_engine, model.codec, _masks(model), state)
        self.pieces = TokenSpeller(model)
        self._tokens, self._nats, self._size = 0, 0.0, 0

    def read(self, chunks: Iterable[bytes]) -> Iterator[TokenScores]:
        """The cost of all tokens of a stream, in order."""
        return self._counted(scored for ids in encode_stream(self._model.codec, self._sized(chunks))
                             for scored in self._scorer.read(ids))  # fmt: skip

    def read_line(self, line: bytes) -> Iterator[TokenScores]:
        """The cost of all tokens of a line, which is a record of its own: what was counted begins anew."""
        self._tokens, self._nats, self._size = 0, 0.0, len(line)
        return self._counted(self._scorer.read(self._model.codec.encode(line)))

    def score(self, name: str, per_token: list[tuple[str, float]] | None = None) -> Score:
        """What was read since the record began."""
        return Score(name, self._tokens, self._nats, self._nats / math.log(2) / max(self._size, 1), per_token)

    def saved(self) -> SavedState:
        """Where it has got to."""
        return self._scorer.saved()

    def _sized(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._size += len(chunk)
            yield chunk

    def _counted(self, pieces: Iterable[TokenScores]) -> Iterator[TokenScores]:
        for piece in pieces:
            self._tokens += len(piece.ids)
            self._nats += float(piece.nats.sum())
            yield piece


class TokenSpeller:
    """Spells the tokens of a model for people; what is no UTF-8 as `\\xff`."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[int, str] = {}

    def __call__(self, scored: TokenScores) -> list[tuple[str, float]]:
        known = self._known
        for token in np.unique(scored.ids).tolist():
            if token not in known:
                known[token] = self._spell(token)
        return [(known[token], nats) for token, nats in zip(scored.ids.tolist(), scored.nats.tolist(), strict=True)]

    def _spell(self, token: int) -> str:
        if self._model.task == "music":
            from seqgen.generation.music.composing import music_codec

            return music_codec(self._model.codec).vocabulary.spell(token)
        return decode(self._model.codec, [token]).decode("utf-8", "backslashreplace")


def score(
    model: Model, chunks: Iterable[bytes] | bytes | str, name: str, per_token: bool, state: SavedState | None = None
) -> Score:
    """One record of text or music, after `state`."""
    record = RecordScorer(model, state)
    if isinstance(chunks, str):
        chunks = as_bytes(chunks)
    return _all(record, record.read([chunks] if isinstance(chunks, bytes) else chunks), name, per_token)


def score_lines(
    model: Model, lines: Iterable[bytes], name: str, per_token: bool, record: RecordScorer | None = None
) -> Iterator[Score]:
    """Each line given all lines before it, and what `record` has read already."""
    model.require_text_task("score")
    record = record or RecordScorer(model)
    for number, line in enumerate(lines, start=1):
        yield _all(record, record.read_line(line), f"{name}:{number}", per_token)


def score_conversations(
    model: Model, documents: Sequence[Document], per_token: bool, part: Shard = SINGLE_SHARD
) -> Iterator[Score]:
    """Each conversation in files of them, or those that are in a part of all."""
    from seqgen.corpus.conversations.read import iter_conversations
    from seqgen.corpus.conversations.report import ConversationReport

    codec, pieces = model.dialogue_codec(), TokenSpeller(model)
    own = (
        None if part.is_whole else part.index_range(sum(1 for _ in iter_conversations(documents, ConversationReport())))
    )
    place = itertools.count()
    for document in documents:
        for number, conversation in enumerate(iter_conversations([document], ConversationReport()), start=1):
            if own is not None and next(place) not in own:
                continue
            turns = [(turn.speaker, as_bytes(turn.text)) for turn in conversation.turns]
            ids = np.append(codec.conversation(turns), codec.end).astype(np.int32)
            found = list(EngineScorer(model.exact_engine, codec).read(ids))
            nats, size = sum(float(piece.nats.sum()) for piece in found), sum(len(words) for _, words in turns)
            details = [pair for piece in found for pair in pieces(piece)] if per_token else None
            yield Score(f"{document.name}:{number}", len(ids), nats, nats / math.log(2) / max(size, 1), details)


def _all(record: RecordScorer, pieces: Iterable[TokenScores], name: str, per_token: bool) -> Score:
    details: list[tuple[str, float]] | None = [] if per_token else None
    for piece in pieces:
        if details is not None:
            details += record.pieces(piece)
    return record.score(name, details)


def _masks(model: Model) -> MaskFunction | None:
    """What the grammar of music lets come; text has none."""
    if model.task != "music":
        return None
    from seqgen.generation.music.composing import GrammarMasks, music_codec

    return GrammarMasks(music_codec(model.codec).vocabulary)
