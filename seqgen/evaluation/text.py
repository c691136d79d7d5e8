"""How good a language model is on text it has not seen: nats by token, and their sums as people quote them.

The state is carried through a record from its first byte to its last. Every character counts but the first, which
nothing announces. Nats are summed over the record, so that numbers compare across tokenizers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from seqgen.generation.scoring import MaskFunction, TokenScores
from seqgen.model.language import LanguageModel, LayerStates
from seqgen.tokenizers import Codec, encode_stream

_PIECE = 4096  # ids read at a time: bounds memory on records of any length


def token_nats(
    network: LanguageModel, codec: Codec, chunks: Iterable[bytes], masks: MaskFunction | None = None
) -> Iterator[TokenScores]:
    """What each token of a record costs, in order, in flat memory. The first token's cost is included."""
    scorer = TorchScorer(network, codec, masks)
    for ids in encode_stream(codec, chunks):
        yield from scorer.read(ids)


class TorchScorer:
    """Reads a record piece by piece; the state stays between calls of `read`, as if it were one."""

    def __init__(self, network: LanguageModel, codec: Codec, masks: MaskFunction | None = None) -> None:
        """`masks` says which ids were possible at each place: only they share the probability."""
        self._masks = masks
        self._network = network
        self._device = network.embedding.device
        self._states: LayerStates = network.initial(1)
        self._last = codec.end

    def read(self, ids: npt.NDArray[np.int32]) -> Iterator[TokenScores]:
        """The cost of every id, each given all before it."""
        for start in range(0, len(ids), _PIECE):
            piece = ids[start : start + _PIECE]
            targets = torch.from_numpy(piece.astype(np.int64)).to(self._device)
            inputs = torch.empty_like(targets)
            inputs[0], inputs[1:] = self._last, targets[:-1]
            with torch.inference_mode():
                hidden, self._states = self._network(inputs[:, None], self._states)
                logits = self._network.logits(hidden[:, 0])
                if self._masks is not None:
                    possible = torch.from_numpy(self._masks(piece)).to(self._device)
                    logits = logits.masked_fill(~possible, -torch.inf)
                nats = F.cross_entropy(logits, targets, reduction="none")
            self._last = int(piece[-1])
            yield TokenScores(piece, nats.double().cpu().numpy())


@dataclass
class TextTally:
    """Sums over records. The first character of each record, with all tokens that spell it, is left out of the sums;
    `characters` and `bytes` count everything."""

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
    """Counts white-space words across chunk borders."""

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
    """What tells the cost of a record's ids, piece by piece: `TorchScorer`, or one that learns from them."""

    def read(self, ids: npt.NDArray[np.int32]) -> Iterator[TokenScores]: ...


def tally_record(
    network: LanguageModel,
    codec: Codec,
    chunks: Iterable[bytes],
    into: TextTally | None = None,
    scorer: TokenScorer | None = None,
) -> TextTally:
    """Scores one record and adds it to `into`. A `scorer` at a record's beginning reads instead of `network`."""
    scorer = scorer or TorchScorer(network, codec)
    result = into or TextTally()
    spellings = _spellings(codec)
    lengths = np.array([len(piece) for piece in spellings], dtype=np.int64)
    characters = np.array([_characters(piece) for piece in spellings], dtype=np.int64)
    words = _Words()

    def watched() -> Iterator[bytes]:
        for chunk in chunks:
            words.count(chunk)
            yield chunk

    first = _FirstCharacter(spellings)
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


def _spellings(codec: Codec) -> list[bytes]:
    return [
        b"" if piece is None else bytes([piece]) if isinstance(piece, int) else piece.encode("utf-8")
        for piece in codec.pieces()
    ]


def _characters(piece: bytes) -> int:
    """Characters begun by these bytes: all but UTF-8's continuation bytes."""
    return sum(byte & 0xC0 != 0x80 for byte in piece)


class _FirstCharacter:
    """Finds the tokens that spell a record's first character: one, and the continuation bytes behind it."""

    def __init__(self, spellings: list[bytes]) -> None:
        self._spellings = spellings
        self._found = 0
        self._over = False

    def tokens_in(self, ids: npt.NDArray[np.int32]) -> int:
        """How many tokens at the beginning of these, the record's next ones, still belong to it."""
        count = 0
        while not self._over and count < len(ids):
            continues = self._found > 0 and not _characters(self._spellings[int(ids[count])][:1])
            if self._found and (not continues or self._found == 4):
                self._over = True
            else:
                self._found += 1
                count += 1
        return count
