"""Evaluation of a language model on text: cross-entropy per token, and the usual metrics.

The state is carried through a record from its first byte to its last. Every character counts but the first, for which
there is no context. Nats are summed over the record, so that metrics compare across tokenizers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqgen.generation.engines.torch import TorchEngine
from seqgen.generation.sampling.token_names import token_bytes
from seqgen.generation.scoring import MaskFunction, Scorer, TokenScores
from seqgen.model.language import LanguageModel
from seqgen.tokenizers import Codec, encode_stream

_CHUNK = 4096  # ids read at a time, which bounds memory on records of any length


def token_nats(
    network: LanguageModel, codec: Codec, chunks: Iterable[bytes], masks: MaskFunction | None = None
) -> Iterator[TokenScores]:
    """Yield the scores of all tokens of a record, the first one included, in constant memory."""
    scorer = network_scorer(network, codec, masks)
    for ids in encode_stream(codec, chunks):
        yield from scorer.read(ids)


def network_scorer(network: LanguageModel, codec: Codec, masks: MaskFunction | None = None) -> Scorer:
    """A scorer that runs the network on its own device, from the beginning of a record."""
    return Scorer(TorchEngine.of(network), codec, masks, chunk=_CHUNK)


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
    """The metrics of a text of this negative log-likelihood; perplexities only for the units that are given."""
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


def tally_record(
    network: LanguageModel,
    codec: Codec,
    chunks: Iterable[bytes],
    into: TextTally | None = None,
    scorer: TokenScorer | None = None,
) -> TextTally:
    """Score one record and add it to `into`, by the network or by a `scorer` at the beginning of a record."""
    scorer = scorer or network_scorer(network, codec)
    result = into or TextTally()
    table = [data or b"" for data in token_bytes(codec)]
    lengths = np.array([len(data) for data in table], dtype=np.int64)
    characters = np.array([_count_characters(data) for data in table], dtype=np.int64)
    words = _Words()

    def watched() -> Iterator[bytes]:
        for chunk in chunks:
            words.count(chunk)
            yield chunk

    first = _FirstCharacter(table)
    for scored in (piece for ids in encode_stream(codec, watched()) for piece in scorer.read(ids)):
        skip = first.tokens_in(scored.ids)
        result.tokens += len(scored.ids)
        result.characters += int(characters[scored.ids].sum())
        result.bytes += int(lengths[scored.ids].sum())
        rest = scored.ids[skip:]
        result.nats += float(scored.nats[skip:].sum())
        result.counted_tokens += len(rest)
        result.counted_characters += int(characters[rest].sum())
        result.counted_bytes += int(lengths[rest].sum())
    result.words += words.total
    result.records += 1
    return result


def _count_characters(data: bytes) -> int:
    """Characters that begin in these bytes: all bytes but UTF-8 continuation bytes."""
    return sum(byte & 0xC0 != 0x80 for byte in data)


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
            continues = self._found > 0 and not _count_characters(self._table[int(ids[count])][:1])
            if self._found and (not continues or self._found == 4):
                self._over = True
            else:
                self._found += 1
                count += 1
        return count
