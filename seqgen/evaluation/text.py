"""Evaluation of a language model on text: cross-entropy per token, and the usual metrics.

The state is carried through a record from its first byte to its last. Every character counts but the first, for which
there is no context. Nats are summed over the record, so that metrics compare across tokenizers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqgen.generation.engines.base import Engine
from seqgen.generation.engines.context_cache import ContextCacheEngine
from seqgen.generation.sampling.token_names import count_characters, token_bytes
from seqgen.generation.scoring import MAX_OPEN_DOCUMENTS, ExactSum, ScoringJob, TokenScores, score_records
from seqgen.tokenizers import Codec, Ids, encode_stream

_MAX_WORD = 20  # characters of a word and the white space after it, in the mean of a text that has words


@dataclass
class TextTally:
    """Sums over records.

    The first character of each record, with all its tokens, is left out of `nats` and the `counted_` sums.
    """

    records: int = 0
    tokens: int = 0
    nats: float = 0.0
    characters: int = 0
    bytes: int = 0
    words: int = 0
    counted_tokens: int = 0
    counted_characters: int = 0
    counted_bytes: int = 0

    def add(self, other: TextTally) -> None:
        """Add the records of another tally."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def metrics(self) -> dict[str, float]:
        """See `text_metrics`; empty if nothing was counted."""
        if not self.counted_tokens or not self.counted_characters:
            return {}
        return text_metrics(
            self.nats, self.counted_characters, self.counted_bytes, words=self.words, tokens=self.counted_tokens
        )


def text_metrics(
    nats: float, characters: int, bytes: int, *, words: int | None = None, tokens: int | None = None
) -> dict[str, float]:
    """The metrics of a text of this negative log-likelihood; perplexities only for the units that are given.

    Without one per word where white space doesn't separate words, as in Chinese: it would be that of whole sentences.
    """
    if words is not None and characters > _MAX_WORD * words:
        words = None
    per_character = nats / max(1, characters)
    metrics = {
        "nats_per_character": per_character,
        "bits_per_character": per_character / math.log(2),
        "bits_per_byte": nats / max(1, bytes) / math.log(2),
    }
    for unit, count in (("token", tokens), ("word", words)):
        if count is not None:
            metrics[f"perplexity_per_{unit}"] = math.exp(min(700.0, nats / max(1, count)))  # JSON has no infinity
    return metrics


class _Words:
    """A count of whitespace-separated words across chunks."""

    def __init__(self) -> None:
        self.total = 0
        self._inside = False

    def count(self, chunk: bytes) -> None:
        if not chunk:
            return
        self.total += len(chunk.split())
        if self._inside and chunk[:1].strip():
            self.total -= 1
        self._inside = bool(chunk[-1:].strip())


class TokenScorer(Protocol):
    """Scores the ids of a record chunk by chunk: a `Scorer`, or one that learns from them."""

    def read(self, ids: npt.NDArray[np.int32]) -> Iterator[TokenScores]: ...


class _TokenCounts:
    """The bytes of every token, and how many characters begin in them."""

    def __init__(self, codec: Codec) -> None:
        self.bytes = [data or b"" for data in token_bytes(codec)]
        self.lengths = np.array([len(data) for data in self.bytes], dtype=np.int64)
        self.characters = np.array([count_characters(data) for data in self.bytes], dtype=np.int64)


class TextJob(ScoringJob):
    """A record of text that is scored, in constant memory, and its `tally`."""

    def __init__(self, codec: Codec, chunks: Iterable[bytes], counts: _TokenCounts | None = None) -> None:
        self._codec, self._chunks = codec, chunks
        self._counts = counts or _TokenCounts(codec)
        self._first = _FirstCharacter(self._counts.bytes)
        self._words, self._nats = _Words(), ExactSum()
        self._tally = TextTally(records=1)

    def ids(self) -> Iterator[Ids]:
        """See `ScoringJob`."""
        return encode_stream(self._codec, self._watched())

    def take(self, scores: TokenScores) -> None:
        """See `ScoringJob`."""
        counts, tally = self._counts, self._tally
        skip = self._first.tokens_in(scores.ids)
        tally.tokens += len(scores.ids)
        tally.characters += int(counts.characters[scores.ids].sum())
        tally.bytes += int(counts.lengths[scores.ids].sum())
        rest = scores.ids[skip:]
        self._nats.add(scores.nats[skip:])
        tally.counted_tokens += len(rest)
        tally.counted_characters += int(counts.characters[rest].sum())
        tally.counted_bytes += int(counts.lengths[rest].sum())

    @property
    def tally(self) -> TextTally:
        """The sums over what was scored so far."""
        return replace(self._tally, nats=float(self._nats), words=self._words.total)

    def _watched(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._words.count(chunk)
            yield chunk


def tally_records(engine: Engine, codec: Codec, records: Iterable[Iterable[bytes]]) -> TextTally:
    """Score many records, given as chunks of bytes, side by side."""
    counts, total = _TokenCounts(codec), TextTally()
    jobs = (TextJob(codec, chunks, counts) for chunks in records)
    for job in score_records(engine, codec, jobs, most=MAX_OPEN_DOCUMENTS):
        total.add(job.tally)
    return total


def tally_with_cache(
    engine: ContextCacheEngine, codec: Codec, records: Iterable[Iterable[bytes]]
) -> tuple[TextTally, TextTally]:
    """Score records one after another, by a model alone and with its context cache, which begins each of them empty."""
    counts, alone, cached = _TokenCounts(codec), TextTally(), TextTally()
    for chunks in records:
        job, mixture = TextJob(codec, chunks, counts), TextJob(codec, (), counts)
        state, last = engine.initial(1), codec.end
        for ids in job.ids():
            if not len(ids):
                continue
            inputs = np.concatenate([np.array([last], dtype=np.int32), ids[:-1]])
            own, mixed, state = engine.own_and_mixed_nats_of(inputs, ids, state)
            last = int(ids[-1])
            job.take(TokenScores(ids, own))
            mixture.take(TokenScores(ids, mixed))
        alone.add(job.tally)
        cached.add(replace(job.tally, nats=mixture.tally.nats))
    return alone, cached


def tally_record(scorer: TokenScorer, codec: Codec, chunks: Iterable[bytes]) -> TextTally:
    """Score one record by a scorer at the beginning of a record."""
    job = TextJob(codec, chunks)
    for ids in job.ids():
        for scores in scorer.read(ids):
            job.take(scores)
    return job.tally


class _FirstCharacter:
    """Finds the tokens of a record's first character: one, and the continuation bytes after it."""

    def __init__(self, table: list[bytes]) -> None:
        self._table = table
        self._found = 0
        self._over = False

    def tokens_in(self, ids: npt.NDArray[np.int32]) -> int:
        """The count of tokens at the beginning of these, the record's next ones, that still belong to it."""
        count = 0
        while not self._over and count < len(ids):
            continues = self._found > 0 and not count_characters(self._table[int(ids[count])][:1])
            if self._found and (not continues or self._found == 4):
                self._over = True
            else:
                self._found += 1
                count += 1
        return count
