"""Score records: the cost, in nats, of each token. PyTorch is needed only for a device other than the CPU."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqgen.api import states
from seqgen.corpus.opening.form import quoted
from seqgen.corpus.shards import SINGLE_SHARD, Shard
from seqgen.errors import DataError, ModelError
from seqgen.generation.scoring import MAX_OPEN_DOCUMENTS, ExactSum, MaskFunction, Scorer, ScoringJob, TokenScores
from seqgen.generation.scoring import score_records as score_jobs
from seqgen.generation.state import SavedState
from seqgen.specs.registry import resolve
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.tokenizers import Ids, encode_stream
from seqgen.untrusted import as_bytes

if TYPE_CHECKING:
    from seqgen.api.loaded import LoadedModel
    from seqgen.corpus.sources import Document


@dataclass(frozen=True)
class Score:
    """The cost of a record: nats in total, and bits per byte. `per_token` has the pieces of text and their nats.

    `separator` stands between the pieces where they are written one after another: text has none, events have a space.
    """

    name: str
    tokens: int
    nats: float
    bits_per_byte: float
    per_token: list[tuple[str, float]] | None = None
    separator: str = ""

    def _repr_html_(self) -> str:
        """The numbers, and the text coloured by its surprisal, for a notebook."""
        from seqgen.plots import notebook

        rows = [
            ("tokens", f"{self.tokens:,}"),
            ("nats", f"{self.nats:,.2f}"),
            ("bits per byte", f"{self.bits_per_byte:.3f}"),
        ]
        if self.per_token is None:
            rows.append(("text", "per_token=True shows it, coloured by its surprisal"))
        shown = "" if self.per_token is None else notebook.surprisal(self.per_token, self.separator)
        return notebook.facts(self.name or "Score", rows) + shown


class _Totals:
    """Sums over the tokens of a record."""

    def __init__(self, size: int = 0) -> None:
        """`size`: its bytes, as far as they don't come through `sized`."""
        self._tokens, self._bytes, self._nats = 0, size, ExactSum()

    def add(self, scores: TokenScores) -> None:
        self._tokens += len(scores.ids)
        self._nats.add(scores.nats)

    def sized(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks, and count their bytes."""
        for chunk in chunks:
            self._bytes += len(chunk)
            yield chunk

    def score(self, name: str, per_token: list[tuple[str, float]] | None, separator: str = "") -> Score:
        nats = float(self._nats)
        return Score(name, self._tokens, nats, nats / math.log(2) / max(self._bytes, 1), per_token, separator)


class RecordScorer:
    """Scores a record in constant memory: read its tokens as they come, then take its `score`."""

    def __init__(self, model: LoadedModel, state: SavedState | None = None, context_cache: int = 0) -> None:
        """
        Args:
            state: the saved state that the record continues.
            context_cache: tokens of the context cache; 0 for none.

        Raises:
            ModelError: the model can't score, or the state is another model's.
            UserError: it has no context cache.
        """
        _check_task(model)
        if state is not None:
            states.check(model, state)
        self._model = model
        engine = model.with_context_cache(model.exact_engine, context_cache)
        self._scorer = Scorer(engine, model.codec, _masks(model), state)
        self.pieces = TokenSpeller(model)
        self._totals = _Totals()

    def read(self, chunks: Iterable[bytes]) -> Iterator[TokenScores]:
        """Score all tokens of a stream, in order."""
        return self._counted(scored for ids in encode_stream(self._model.codec, self._totals.sized(chunks))
                             for scored in self._scorer.read(ids))  # fmt: skip

    def read_line(self, line: bytes) -> Iterator[TokenScores]:
        """Score all tokens of a line. It is a record of its own: the totals restart, the network's state doesn't."""
        self._totals = _Totals(len(line))
        return self._counted(self._scorer.read(self._model.codec.encode(line)))

    def score(self, name: str, per_token: list[tuple[str, float]] | None = None) -> Score:
        """The score of everything read since the record began."""
        separator = " " if self._model.checkpoint.spec.composes else ""
        return self._totals.score(name, per_token, separator)

    def saved(self) -> SavedState:
        """The state after everything read."""
        return dataclasses.replace(self._scorer.saved(), owner=self._model.state_owner)

    def _counted(self, pieces: Iterable[TokenScores]) -> Iterator[TokenScores]:
        for piece in pieces:
            self._totals.add(piece)
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
    context_cache: int = 0,
    limit: TimeLimit = NO_LIMIT,
) -> Score:
    """Score one record of text or music, which continues `state` if there is one; see `RecordScorer`.

    Raises `StoppedError` if `limit` says so.
    """
    record = RecordScorer(model, state, context_cache)
    if isinstance(chunks, str):
        chunks = as_bytes(chunks)
    return _read_all(record, record.read([chunks] if isinstance(chunks, bytes) else chunks), name, per_token, limit)


def score_documents(
    model: LoadedModel,
    documents: Iterable[tuple[str, Generator[bytes, None, None]]],
    state: SavedState | None = None,
    context_cache: int = 0,
) -> Iterator[Score]:
    """Score many records of text or music side by side, given as names and chunks; each continues `state`.

    The scores are those of `score`, in the order of the documents. Raises `DataError` for one without tokens.
    """
    _check_task(model)
    if state is not None:
        states.check(model, state)
    jobs = (_DocumentJob(model, name, chunks) for name, chunks in documents)
    engine = model.with_context_cache(model.exact_engine, context_cache)
    for job in score_jobs(engine, model.codec, jobs, state, MAX_OPEN_DOCUMENTS):
        yield job.totals.score(job.name, None)


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


class _DocumentJob(ScoringJob):
    """A document that is scored beside others, in constant memory."""

    def __init__(self, model: LoadedModel, name: str, chunks: Generator[bytes, None, None]) -> None:
        self.masks = _masks(model)
        self.totals = _Totals()
        self.name = name
        self._model, self._chunks = model, chunks

    def ids(self) -> Iterator[Ids]:
        """See `ScoringJob`. Raises `DataError` for a document without tokens, or what the codec raises."""
        empty = True
        try:
            with contextlib.closing(self._chunks):
                for ids in encode_stream(self._model.codec, self.totals.sized(self._chunks)):
                    empty &= not len(ids)
                    yield ids
        except DataError as error:
            if not self._model.checkpoint.spec.composes:
                raise
            raise DataError(f"{quoted(self.name)}: {error}") from error
        if empty:
            raise DataError(f"{quoted(self.name)} is empty")

    def take(self, scores: TokenScores) -> None:
        """See `ScoringJob`."""
        self.totals.add(scores)


class _RecordJob(ScoringJob):
    """A record within a document that is scored beside others."""

    def __init__(self, record: Record, end: int, pieces: TokenSpeller | None) -> None:
        """`pieces` spells its tokens, if wanted."""
        self.totals = _Totals(record.size)
        self.name = record.name
        self.per_token: list[tuple[str, float]] | None = None if pieces is None else []
        self._record, self._end, self._pieces = record, end, pieces

    def ids(self) -> Iterator[Ids]:
        """See `ScoringJob`."""
        yield np.append(self._record.encode(), self._end).astype(np.int32)

    def take(self, scores: TokenScores) -> None:
        """See `ScoringJob`."""
        self.totals.add(scores)
        if self._pieces is not None and self.per_token is not None:
            self.per_token += self._pieces(scores)


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
    model: LoadedModel,
    documents: Sequence[Document],
    per_token: bool,
    shard: Shard = SINGLE_SHARD,
    context_cache: int = 0,
) -> Iterator[Score]:
    """Score each record of the documents, or those of a shard of them all, each from an empty state.

    Raises `ModelError` for a model whose records are whole documents.
    """
    reader = model.checkpoint.spec.record_reader
    if reader is None:
        raise ModelError(f"this is a model for {model.task}: its records are whole documents")
    pieces = TokenSpeller(model) if per_token else None
    count = 0 if shard.is_whole else sum(1 for _ in resolve(reader)(model, documents))
    own = None if shard.is_whole else shard.index_range(count)
    jobs = (
        _RecordJob(record, model.codec.end, pieces)
        for index, record in enumerate(resolve(reader)(model, documents))
        if own is None or index in own
    )
    engine = model.with_context_cache(model.exact_engine, context_cache)
    for job in score_jobs(engine, model.codec, jobs):
        yield job.totals.score(job.name, job.per_token)


def _read_all(
    record: RecordScorer, pieces: Iterable[TokenScores], name: str, per_token: bool, limit: TimeLimit = NO_LIMIT
) -> Score:
    details: list[tuple[str, float]] | None = [] if per_token else None
    for piece in pieces:
        limit.check()
        if details is not None:
            details += record.pieces(piece)
    return record.score(name, details)


def _check_task(model: LoadedModel) -> None:
    """Raise `ModelError` for a model whose records are not documents, or can't be scored."""
    spec = model.checkpoint.spec
    if not spec.can_score or spec.record_reader is not None:
        remedy = "" if spec.can_score else f"; use `seqgen {spec.command}`"
        raise ModelError(f"this is a model for {model.task}: it can't score{remedy}")


def _masks(model: LoadedModel) -> MaskFunction | None:
    """The masks of the tokens that the codec's grammar allows; None if it has no grammar."""
    dotted = TOKENIZERS.find(model.codec.name).grammar_masks
    masks: MaskFunction | None = None if dotted is None else resolve(dotted)(model.codec)
    return masks
