"""Ranking of replies by a learnt mixture of their likelihood, their words, and their fit to the conversation.

A `ReplyRanker` gives every candidate the weighted sum of a few features: log p(reply | history) and log p(reply), whose
difference is the mutual information (Li et al., 2016), the reply's length, the TF-IDF cosines with the history and with
the last turn (Lowe et al., 2015), and a contrastive score. That is the scalar product of two vectors: one of the
network's state after the history and of the history's n-grams, one of the reply's n-grams. They are trained so that a
reply fits its own history better than the other replies of a batch (Henderson et al., 2017; Wu et al., 2018).
`training.reply_ranking` learns both; here is what they compute.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.errors import ModelError
from seqgen.model.ngrams import BUCKETS, bags
from seqgen.tensors import dump, mmap_file
from seqgen.untrusted import as_bytes

Floats = npt.NDArray[np.float64]
Bag = npt.NDArray[np.int64]  # rows of a text's known n-grams in the tables, ascending

FEATURES = (
    "log p(reply | history)", "log p(reply)", "tokens", "log of tokens", "cosine with the history",
    "cosine with the last turn", "contrastive score",
)  # fmt: skip
ORDER = 2  # longest n-gram, in words
RECENT_TURNS = 12  # of the history; older ones don't count
_FORMAT = "seqgen ranker 1"
_IDENTITY = "identity"  # of the model that the ranker belongs to


class Likelihoods(NamedTuple):
    """Log-probabilities of candidates after the history and without one, and their lengths in tokens, by candidate."""

    given: Floats
    alone: Floats
    tokens: Floats


class ReplyContext(NamedTuple):
    """A point of a conversation: its vector, shape (dimensions,), and the TF-IDF weights of each known n-gram."""

    vector: Floats
    history: Floats
    last: Floats


@dataclass(frozen=True)
class ReplyRanker:
    """A learnt ranking of replies.

    Attributes:
        words: buckets of the words of the training set, ascending.
        keys: buckets of the known n-grams, ascending; shape (n-grams,).
        idf: their inverse document frequencies.
        said: vectors of n-grams in the history, shape (n-grams, dimensions).
        turn_weights: the weight of each turn's n-grams in the history, the last turn first; shape (RECENT_TURNS,).
        replied: vectors of n-grams in the reply, shape (n-grams, dimensions).
        projection: from the top layer's output to a vector, shape (dimensions, units).
        bias: of a context, shape (dimensions,).
        mixture: the weight of each of `FEATURES`.
    """

    words: npt.NDArray[np.int32]
    keys: npt.NDArray[np.int32]
    idf: npt.NDArray[np.float32]
    said: npt.NDArray[np.float32]
    turn_weights: npt.NDArray[np.float32]
    replied: npt.NDArray[np.float32]
    projection: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    mixture: npt.NDArray[np.float32]

    def bags(self, texts: Sequence[str]) -> list[Bag]:
        """The known n-grams of each text."""
        return known_bags(self.keys, texts)

    def has_only_words(self, reply: str, history: Sequence[str]) -> bool:
        """Whether every word of a reply is one of the training set or of the recent history: none is made up."""
        said = word_buckets([reply])
        known = np.concatenate([self.words, word_buckets(history[-RECENT_TURNS:])])
        return bool(np.isin(said, known).all())

    def context(self, hidden: npt.NDArray[np.float32], turns: Sequence[Bag]) -> ReplyContext:
        """The context of a reply.

        Args:
            hidden: the top layer's output after the history, shape (units,).
            turns: the history, oldest first.
        """
        recent = turns[-RECENT_TURNS:]
        vector = (self.projection @ hidden + self.bias).astype(np.float64)
        for weight, bag in zip(self.turn_weights.tolist(), reversed(recent), strict=False):
            vector += weight * self._vector(self.said, bag)
        history = np.unique(np.concatenate(recent)) if recent else np.empty(0, dtype=np.int64)
        return ReplyContext(vector, self._tfidf(history), self._tfidf(recent[-1] if recent else history))

    def features(self, context: ReplyContext, likelihoods: Likelihoods, replies: Sequence[Bag]) -> Floats:
        """The features of each candidate, shape (candidates, features)."""
        found = np.zeros((len(replies), len(FEATURES)))
        found[:, 0], found[:, 1], found[:, 2] = likelihoods
        found[:, 3] = np.log1p(likelihoods.tokens)
        for row, reply in enumerate(replies):
            weights = self.idf[reply].astype(np.float64)
            size = math.sqrt(math.fsum(weights * weights)) or 1.0
            found[row, 4] = math.fsum(context.history[reply] * weights) / size
            found[row, 5] = math.fsum(context.last[reply] * weights) / size
            found[row, 6] = math.fsum(context.vector * self._vector(self.replied, reply))
        return found

    def scores(self, context: ReplyContext, likelihoods: Likelihoods, replies: Sequence[Bag]) -> Floats:
        """The score of each candidate: the higher, the better; shape (candidates,)."""
        weighted = self.features(context, likelihoods, replies) * self.mixture
        return np.array([math.fsum(row) for row in weighted])

    def _vector(self, table: npt.NDArray[np.float32], bag: Bag) -> Floats:
        """The sum of the vectors of n-grams over the root of their number."""
        total: Floats = table[bag].sum(axis=0, dtype=np.float64) / math.sqrt(max(1, len(bag)))
        return total

    def _tfidf(self, bag: Bag) -> Floats:
        """The TF-IDF weights of a text, of length 1, at all known n-grams."""
        weights = np.zeros(len(self.idf))
        weights[bag] = self.idf[bag]
        return weights / (math.sqrt(math.fsum(weights[bag] ** 2)) or 1.0)

    def dump(self, identity: str) -> bytes:
        """The ranker as a file, for the model with this identity."""
        arrays = {name: np.asarray(getattr(self, name)) for name in _DTYPES}
        return dump(arrays, {"format": _FORMAT, _IDENTITY: identity})

    @classmethod
    def load(cls, path: Path, identity: str, units: int) -> ReplyRanker:
        """Map the result of `dump` into memory.

        Args:
            identity, units: of the model.

        Raises `ModelError` if the file can't be read, is damaged, or another model's.
        """
        arrays, metadata = mmap_file(path)
        if metadata.get("format") != _FORMAT or metadata.get(_IDENTITY) != identity:
            raise ModelError(f"{str(path)!r} is not the ranker of this model; delete it to rank by mutual information")
        if fault := _fault(arrays, units):
            raise ModelError(f"{str(path)!r} is damaged: {fault}")
        return cls(**arrays)


_DTYPES = {item.name: np.int32 if item.name in ("words", "keys") else np.float32 for item in fields(ReplyRanker)}


def _fault(arrays: Mapping[str, npt.NDArray[Any]], units: int) -> str:
    """What is wrong with the tensors of a file; empty if nothing is."""
    if set(arrays) != set(_DTYPES) or any(arrays[name].dtype != dtype for name, dtype in _DTYPES.items()):
        return "it lacks tensors, or has others"
    count, size = arrays["keys"].size, arrays["bias"].size
    shapes = {
        "words": (arrays["words"].size,), "keys": (count,), "idf": (count,), "said": (count, size),
        "turn_weights": (RECENT_TURNS,), "replied": (count, size), "projection": (size, units), "bias": (size,),
        "mixture": (len(FEATURES),),
    }  # fmt: skip
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            return f"{name} has the shape {list(arrays[name].shape)}, not {list(shape)}"
        if not np.isfinite(arrays[name]).all():
            return f"{name} has values that are not finite"
    for name in ("words", "keys"):
        keys = arrays[name]
        if keys.size and (keys[0] < 0 or keys[-1] >= BUCKETS or (np.diff(keys) <= 0).any()):
            return f"{name} are not ascending buckets"
    return ""


def word_buckets(texts: Sequence[str]) -> npt.NDArray[np.int32]:
    """The buckets of all words of some texts, ascending."""
    return np.unique(bags([as_bytes(text) for text in texts], 1, BUCKETS).buckets).astype(np.int32)


def known_bags(keys: npt.NDArray[np.int32], texts: Sequence[str]) -> list[Bag]:
    """The rows in `keys`, ascending buckets, of the n-grams of each text."""
    found = bags([as_bytes(text) for text in texts], ORDER, BUCKETS)
    if not len(keys):
        return [np.empty(0, dtype=np.int64) for _ in texts]
    rows = np.minimum(np.searchsorted(keys, found.buckets), len(keys) - 1)
    is_known = keys[rows] == found.buckets
    starts = found.starts.tolist()
    return [rows[start:stop][is_known[start:stop]] for start, stop in itertools.pairwise(starts)]
