"""Score records: the cost, in nats, of each token. PyTorch is needed only for a device other than the CPU."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqgen.corpus.shards import SINGLE_SHARD, Shard
from seqgen.errors import ModelError
from seqgen.generation.scoring import MaskFunction, Scorer, TokenScores
from seqgen.generation.state import SavedState
from seqgen.specs.registry import resolve
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.tokenizers import Ids, encode_stream
from seqgen.untrusted import as_bytes

if TYPE_CHECKING:
    from seqgen.api.loaded import LoadedModel
    from seqgen.corpus.sources import Document


@dataclass(frozen=True)
class Score:
    """The cost of a record: nats in total, and bits per byte. `per_token` has the pieces of text and their nats."""

    name: str
    tokens: int
    nats: float
    bits_per_byte: float
    per_token: list[tuple[str, float]] | None = None


class RecordScorer:
    """Scores a record in constant memory: read its tokens as they come, then take its `score`."""

    def __init__(self, model: LoadedModel, state: SavedState | None = None) -> None:
        """`state`: the saved state that the record continues. Raises `ModelError` for a model that can't score."""
        spec = model.checkpoint.spec
        if not spec.can_score or spec.record_reader is not None:
            raise ModelError(f"this is a model for {model.task}: it can't score")
        self._model = model
        self._scorer = Scorer(model.exact_engine, model.codec, _masks(model), state)
        self.pieces = TokenSpeller(model)
        self._tokens, self._nats, self._bytes = 0, 0.0, 0

    def read(self, chunks: Iterable[bytes]) -> Iterator[TokenScores]:
        """Score all tokens of a stream, in order."""
        return self._counted(scored for ids in encode_stream(self._model.codec, self._sized(chunks))
                             for scored in self._scorer.read(ids))  # fmt: skip

    def read_line(self, line: bytes) -> Iterator[TokenScores]:
        """Score all tokens of a line. It is a record of its own: the totals restart, the network's state doesn't."""
        self._tokens, self._nats, self._bytes = 0, 0.0, len(line)
        return self._counted(self._scorer.read(self._model.codec.encode(line)))

    def score(self, name: str, per_token: list[tuple[str, float]] | None = None) -> Score:
        """The score of everything read since the record began."""
        return Score(name, self._tokens, self._nats, self._nats / math.log(2) / max(self._bytes, 1), per_token)

    def saved(self) -> SavedState:
        """The state after everything read."""
        return self._scorer.saved()

    def _sized(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._bytes += len(chunk)
            yield chunk

    def _counted(self, pieces: Iterable[TokenScores]) -> Iterator[TokenScores]:
        for piece in pieces:
            self._tokens += len(piece.ids)
            self._nats += float(piece.nats.sum())
            yield piece


class TokenSpeller:
    """Spells tokens as text; bytes that are not UTF-8 become `\\xff`."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._known: dict[int, str] = {}

    def __call__(self, scored: TokenScores) -> list[tuple[str, float]]:
        known = self._known
        for token in np.unique(scored.ids).tolist():
            if token not in known:
                known[token] = self._model.codec.token_name(token)
        return [(known[token], nats) for token, nats in zip(scored.ids.tolist(), scored.nats.tolist(), strict=True)]


def score(
    model: LoadedModel,
    chunks: Iterable[bytes] | bytes | str,
    name: str,
    per_token: bool,
    state: SavedState | None = None,
) -> Score:
    """Score one record of text or music, which continues `state` if there is one."""
    record = RecordScorer(model, state)
    if isinstance(chunks, str):
        chunks = as_bytes(chunks)
    return _read_all(record, record.read([chunks] if isinstance(chunks, bytes) else chunks), name, per_token)


def score_lines(
    model: LoadedModel, lines: Iterable[bytes], name: str, per_token: bool, record: RecordScorer | None = None
) -> Iterator[Score]:
    """Score each line, given all lines before it and everything that `record` has read already."""
    model.require_text_task("score lines")
    record = record or RecordScorer(model)
    for number, line in enumerate(lines, start=1):
        yield _read_all(record, record.read_line(line), f"{name}:{number}", per_token)


@dataclass(frozen=True)
class Record:
    """A record that is not a whole document: its name, its size in bytes, and how it becomes ids."""

    name: str
    size: int
    encode: Callable[[], Ids]


def read_conversations(model: LoadedModel, documents: Sequence[Document]) -> Iterator[Record]:
    """Read each conversation of the documents as a record."""
    from seqgen.corpus.conversations.read import iter_conversations
    from seqgen.corpus.conversations.report import ConversationReport

    codec = model.dialogue_codec()
    for document in documents:
        for number, conversation in enumerate(iter_conversations([document], ConversationReport()), start=1):
            turns = [(turn.speaker, as_bytes(turn.text)) for turn in conversation.turns]
            encode = functools.partial(codec.encode_conversation, turns)
            yield Record(f"{document.name}:{number}", sum(len(text) for _, text in turns), encode)


def score_records(
    model: LoadedModel, documents: Sequence[Document], per_token: bool, shard: Shard = SINGLE_SHARD
) -> Iterator[Score]:
    """Score each record of the documents, or those of a shard of them all, each from an empty state.

    Raises `ModelError` for a model whose records are whole documents.
    """
    reader = model.checkpoint.spec.record_reader
    if reader is None:
        raise ModelError(f"this is a model for {model.task}: its records are whole documents")
    codec, pieces = model.codec, TokenSpeller(model)
    count = 0 if shard.is_whole else sum(1 for _ in resolve(reader)(model, documents))
    own = None if shard.is_whole else shard.index_range(count)
    for index, record in enumerate(resolve(reader)(model, documents)):
        if own is not None and index not in own:
            continue
        ids = np.append(record.encode(), codec.end).astype(np.int32)
        scored = list(Scorer(model.exact_engine, codec).read(ids))
        nats = sum(float(piece.nats.sum()) for piece in scored)
        details = [pair for piece in scored for pair in pieces(piece)] if per_token else None
        yield Score(record.name, len(ids), nats, nats / math.log(2) / max(record.size, 1), details)


def _read_all(record: RecordScorer, pieces: Iterable[TokenScores], name: str, per_token: bool) -> Score:
    details: list[tuple[str, float]] | None = [] if per_token else None
    for piece in pieces:
        if details is not None:
            details += record.pieces(piece)
    return record.score(name, details)


def _masks(model: LoadedModel) -> MaskFunction | None:
    """The masks of the tokens that the codec's grammar allows; None if it has no grammar."""
    dotted = TOKENIZERS.find(model.codec.name).grammar_masks
    masks: MaskFunction | None = None if dotted is None else resolve(dotted)(model.codec)
    return masks
