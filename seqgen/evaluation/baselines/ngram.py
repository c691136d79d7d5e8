"""An n-gram model as a baseline of music models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.generation.scoring import MaskFunction

Ints = npt.NDArray[np.int64]

_CHUNK = 1024  # positions at a time, so that their probabilities fit into the cache


@dataclass(frozen=True)
class _Level:
    """Counts for contexts of one length."""

    contexts: Ints  # sorted keys
    totals: Ints  # occurrences of each context
    types: Ints  # distinct ids that follow each context
    pairs: Ints  # sorted keys of context and next id
    counts: Ints  # occurrences of each pair


class NgramModel:
    """An n-gram model with interpolated Witten–Bell smoothing (Witten & Bell, 1991; Chen & Goodman, 1999, section 2.4).

    p(w | c) = (count(c w) + types(c) · p(w | shorter c)) / (count(c) + types(c)), down to 1 / vocabulary size.
    """

    def __init__(self, levels: list[_Level], vocab_size: int) -> None:
        self._levels = levels
        self._vocab_size = vocab_size

    @classmethod
    def fit(cls, ids: npt.NDArray[Any], vocab_size: int, order: int = 5) -> NgramModel:
        """Count `ids`, shape (tokens,), in contexts of up to `order` − 1 ids.

        Raises `ValueError` if `order` ids don't fit into a 63-bit key.
        """
        if vocab_size**order >= 1 << 63:
            raise ValueError(f"{order} ids of a vocabulary of {vocab_size} don't fit into a 63-bit key")
        stream = np.asarray(ids, dtype=np.int64)
        levels = []
        for length in range(order):
            contexts = _contexts(stream, length, vocab_size)
            pairs, counts = np.unique(contexts * vocab_size + stream[length:], return_counts=True)
            known, first, types = np.unique(pairs // vocab_size, return_index=True, return_counts=True)
            totals = np.add.reduceat(counts, first) if len(first) else counts
            levels.append(_Level(known, totals, types, pairs, counts))
        return cls(levels, vocab_size)

    def nats(self, ids: npt.NDArray[Any], first: int = 0, masks: MaskFunction | None = None) -> npt.NDArray[np.float64]:
        """Negative log-likelihood of each id from position `first` on, given those before it, shape (tokens − first,).

        Args:
            masks: the ids that share the probability at each position, which must include the one that comes; by
                default all.
        """
        stream = np.asarray(ids, dtype=np.int64)
        chunks = [np.empty(0)]
        for begin in range(first, len(stream), _CHUNK):
            following = stream[begin : begin + _CHUNK]
            chances = self._chances(stream, begin, begin + len(following))
            chosen = chances[np.arange(len(following)), following]
            possible = 1.0 if masks is None else (chances * masks(following.astype(np.int32))).sum(axis=1)
            chunks.append(-np.log(chosen / possible))
        return np.concatenate(chunks)

    def _chances(self, stream: Ints, begin: int, end: int) -> npt.NDArray[np.float64]:
        """The probability of every id at the positions from `begin` to `end`, shape (positions, vocabulary)."""
        chances = np.full((end - begin, self._vocab_size), 1 / self._vocab_size)
        for length, level in enumerate(self._levels):
            contexts = _contexts(stream[max(0, begin - length) : end], length, self._vocab_size)
            total, types = _look_up(level.contexts, contexts, level.totals, level.types)
            known = np.flatnonzero(total)
            total, types = total[known], types[known]
            offsets = np.arange(types.sum()) - np.repeat(np.cumsum(types) - types, types)
            pairs = offsets + np.repeat(np.searchsorted(level.pairs, contexts[known] * self._vocab_size), types)
            rows = max(0, length - begin) + known  # the first ids have fewer before them
            chances[rows] *= types[:, None]
            chances[np.repeat(rows, types), level.pairs[pairs] % self._vocab_size] += level.counts[pairs]
            chances[rows] /= (total + types)[:, None]
        return chances


def _contexts(stream: Ints, length: int, vocab_size: int) -> Ints:
    """A key of the `length` ids before each position from `length` on."""
    count = max(len(stream) - length, 0)
    key = np.zeros(count, dtype=np.int64)
    for back in range(length):
        key = key * vocab_size + stream[back : back + count]
    return key


def _look_up(keys: Ints, wanted: Ints, *values: Ints) -> list[Ints]:
    """The values of the `wanted` keys among sorted `keys`; 0 for keys that are missing."""
    if not len(keys):
        return [np.zeros(len(wanted), dtype=np.int64) for _ in values]
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    exists = keys[index] == wanted
    return [np.where(exists, value[index], 0) for value in values]
