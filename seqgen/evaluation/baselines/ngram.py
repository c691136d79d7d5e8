"""A rival that only counts: which id came how often after the ones before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Level:
    """Counts of one length of context: of contexts, of their distinct followers, and of context and follower."""

    contexts: Ints  # sorted keys
    totals: Ints
    kinds: Ints
    pairs: Ints  # sorted keys
    counts: Ints


class NgramModel:
    """An n-gram model with interpolated Witten–Bell smoothing (Witten & Bell, 1991; Chen & Goodman, 1999, section 2.4).

    p(w | c) = (count(c w) + kinds(c) · p(w | shorter c)) / (count(c) + kinds(c)), down to 1 / vocabulary.
    """

    def __init__(self, levels: list[_Level], vocab_size: int) -> None:
        self._levels = levels
        self._vocab_size = vocab_size

    @classmethod
    def fit(cls, ids: npt.NDArray[Any], vocab_size: int, order: int = 5) -> NgramModel:
        """Counts `ids`, shape (tokens,), with contexts of up to `order` − 1 ids.

        Raises `ValueError` where so many ids in a row have no place in 63 bits.
        """
        if vocab_size**order >= 1 << 63:
            raise ValueError(f"contexts of {order} ids of {vocab_size} kinds are too many to number")
        stream = np.asarray(ids, dtype=np.int64)
        levels = []
        for length in range(order):
            contexts = _contexts(stream, length, vocab_size)
            pairs, counts = np.unique(contexts * vocab_size + stream[length:], return_counts=True)
            known, first, kinds = np.unique(pairs // vocab_size, return_index=True, return_counts=True)
            totals = np.add.reduceat(counts, first) if len(first) else counts
            levels.append(_Level(known, totals, kinds, pairs, counts))
        return cls(levels, vocab_size)

    def nats(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """What each id costs given those before it, shape (tokens,)."""
        stream = np.asarray(ids, dtype=np.int64)
        share = np.full(len(stream), 1 / self._vocab_size)
        for length, level in enumerate(self._levels):
            contexts = _contexts(stream, length, self._vocab_size)
            followers = stream[length:]
            total, kinds = _look_up(level.contexts, contexts, level.totals, level.kinds)
            (count,) = _look_up(level.pairs, contexts * self._vocab_size + followers, level.counts)
            known = total > 0
            mixed = (count + kinds * share[length:]) / np.maximum(total + kinds, 1)
            share[length:] = np.where(known, mixed, share[length:])
        return -np.log(share)


def _contexts(stream: Ints, length: int, vocab_size: int) -> Ints:
    """A number for the `length` ids before each place from `length` on."""
    count = max(len(stream) - length, 0)
    key = np.zeros(count, dtype=np.int64)
    for back in range(length):
        key = key * vocab_size + stream[back : back + count]
    return key


def _look_up(keys: Ints, wanted: Ints, *values: Ints) -> list[Ints]:
    """The values at the places of `wanted` among sorted `keys`; 0 where they are not."""
    if not len(keys):
        return [np.zeros(len(wanted), dtype=np.int64) for _ in values]
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    there = keys[place] == wanted
    return [np.where(there, value[place], 0) for value in values]
