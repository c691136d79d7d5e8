"""Texts to the probabilities of their labels in numpy and by the compiled kernels: no PyTorch has to start.

The arithmetic is that of `model.classifier` and `model.generative` in float32. Probabilities agree with theirs to 1e-5;
where a generative model sums the nats of thousands of characters, which is done in float64 here, to 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from seqgen.config import AnyClassifierConfig, ClassifierConfig, GenerativeConfig
from seqgen.generation.classification.recurrent_stack import LightStack
from seqgen.generation.classification.rowwise import rowwise
from seqgen.generation.sampling.filters import softmax
from seqgen.model.chunks import Ids, chunk_texts, group_by_length
from seqgen.model.ngrams import BUCKETS, Bags, bags, rows_of_buckets
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import network_of
from seqgen.tokenizers import Codec
from seqgen.tokenizers.normalise import TextNormaliser

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]

_WORTH_A_TABLE = 1 << 20  # n-grams: those of a thousand reviews
_LONGEST = 4096  # ids of a text that count for a generative model, as in `model.generative`


class LightClassifier:
    """See `labellers.TextClassifier`."""

    def __init__(self, config: AnyClassifierConfig, weights: Weights, codec: Codec) -> None:
        self._config, self._weights, self._codec = config, weights, codec
        self._prepare = TextNormaliser(config.lowercase, config.stop_words)
        name = network_of(config).numpy_classifier
        assert name is not None
        self._network: Discriminative | Generative = resolve(name)(config, weights)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._config.labels

    def __call__(self, texts: Sequence[bytes]) -> Array:
        config = self._config
        if not texts:
            return np.zeros((0, len(config.labels)), dtype=np.float32)
        prepared = [self._prepare(text) for text in texts]
        logits = self._network.logits(prepared, [self._codec.encode(text) for text in prepared], self._codec.end)
        logits[[number for number, text in enumerate(prepared) if not text.strip()]] = self._weights["prior"]
        exact = logits.astype(np.float64)
        shares = 1 / (1 + np.exp(-exact)) if config.multi else softmax(exact)
        return shares.astype(np.float32)


class Discriminative:
    """`model.classifier.Classifier`."""

    def __init__(self, config: ClassifierConfig, weights: Weights) -> None:
        self._config, self._weights = config, weights
        self._stacks = [LightStack(config, weights, f"readers.{number}.") for number in range(len(config.directions))]
        self._table: npt.NDArray[np.int32] | None = None  # row of each bucket
        self._asked = 0  # buckets

    def logits(self, texts: Sequence[bytes], ids: Sequence[Ids], end: int) -> Array:
        """Calibrated, shape (texts, labels)."""
        deep = self._weights["mix"][0] * self._deep(ids) + self._weights["shift"]
        if not self._config.features:
            return deep
        return deep + self._weights["mix"][1] * self._wide(bags(texts, self._config.ngrams, BUCKETS))

    def _deep(self, ids: Sequence[Ids]) -> Array:
        logits = np.tile(self._weights["head_bias"], (len(ids), 1))
        written = [number for number, text in enumerate(ids) if len(text)]
        if not written:
            return logits
        laid = chunk_texts([ids[number] for number in written], self._config.stretch)
        kept = np.empty((len(laid.lengths), len(self._stacks), 3, self._config.rnn_size), dtype=np.float32)
        for chosen in group_by_length(laid.lengths, self._stacks[0].most):
            lengths = laid.lengths[chosen]
            read = laid.ids[: int(lengths.max()), chosen]
            steps = np.arange(len(read))[:, None]
            for number, direction in enumerate(self._config.directions):
                turned = np.where(steps < lengths, lengths - 1 - steps, steps)  # the padding stays behind
                order = read if direction == "forward" else np.take_along_axis(read, turned, axis=0)
                kept[chosen, number] = self._stacks[number].summaries(order, lengths)
        logits[written] = rowwise(self._pooled(kept, laid.lengths, laid.text_indices), self._weights["head_weight"].T)
        logits[written] += self._weights["head_bias"]
        return logits

    def _pooled(self, kept: Array, lengths: npt.NDArray[np.int64], text_indices: npt.NDArray[np.int64]) -> Array:
        """What the head reads, shape (texts, features), of all stretches of the texts."""
        starts = np.flatnonzero(np.diff(text_indices, prepend=-1))
        ends = np.append(starts[1:], len(text_indices)) - 1
        counts = np.add.reduceat(lengths, starts)[:, None].astype(np.float32)
        features = []
        for number, direction in enumerate(self._config.directions):
            last, largest, total = kept[:, number].transpose(1, 0, 2)
            features += [
                last[ends if direction == "forward" else starts],  # a reader that goes backwards ends in the first
                np.maximum.reduceat(largest, starts),
                np.add.reduceat(total, starts) / counts,
            ]
        return np.concatenate(features, axis=1)

    def _wide(self, found: Bags) -> Array:
        """The linear model's logits, shape (texts, labels)."""
        rows = self._rows_of(found.buckets)
        known = rows >= 0
        starts = np.concatenate([[0], np.cumsum(known)])[found.starts]
        sums = np.zeros((len(starts) - 1, len(self._config.labels)))
        some = np.diff(starts) > 0
        if some.any():  # what no text knows stands in no row, so the starts of the others lie end to end
            each = self._weights["wide_weight"][rows[known]]
            sums[some] = np.add.reduceat(each, starts[:-1][some], axis=0, dtype=np.float64)
        share = np.diff(found.starts).clip(min=1) ** -0.5
        return (sums * share[:, None]).astype(np.float32) + self._weights["wide_bias"]

    def _rows_of(self, buckets: npt.NDArray[np.int64]) -> npt.NDArray[np.integer]:
        """The row of each bucket among those that the linear model knows, or −1: searched for, and looked up in a table
        once so many have been asked for that it is worth making."""
        keys = self._weights["wide_keys"]  # ascending
        self._asked += len(buckets)
        if self._table is None and self._asked > _WORTH_A_TABLE:
            self._table = rows_of_buckets(keys.astype(np.int64))
        if self._table is not None:
            return self._table[buckets]
        rows = np.minimum(np.searchsorted(keys, buckets.astype(np.float32)), len(keys) - 1)
        return np.where(keys[rows] == buckets, rows, -1)


class Generative:
    """`model.generative.GenerativeClassifier`."""

    def __init__(self, config: GenerativeConfig, weights: Weights) -> None:
        self._config, self._weights = config, weights
        self._stack = LightStack(config, weights, "")
        output = weights.get("output_weight")
        if output is None:
            projection = weights.get("projection")
            output = weights["embedding"] if projection is None else weights["embedding"] @ projection
        self._output = np.ascontiguousarray(output.T)

    def logits(self, texts: Sequence[bytes], ids: Sequence[Ids], end: int) -> Array:
        """Calibrated, shape (texts, labels)."""
        labels = len(self._config.labels)
        likelihoods = np.zeros((len(ids), labels))
        lengths = np.array([min(len(text), _LONGEST) + 2 for text in ids])
        for chosen in group_by_length(lengths, max(1, self._stack.most // labels)):
            records = np.zeros((int(lengths[chosen].max()), len(chosen)), dtype=np.int64)
            for column, number in enumerate(chosen):
                text = ids[number][:_LONGEST]
                records[0, column] = end
                records[2 : 2 + len(text), column] = text
            for label in range(labels):
                records[1] = label
                likelihoods[chosen, label] = self._log_likelihoods(records, lengths[chosen], end)
        weights = self._weights
        return weights["mix"] * likelihoods.astype(np.float32) + weights["prior"] + weights["shift"]

    def _log_likelihoods(
        self, records: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], end: int
    ) -> npt.NDArray[np.float64]:
        """Of each column, from its third id on and with its end, given the first two."""
        hidden = self._stack.read(records)
        total = np.zeros(records.shape[1])
        columns = np.arange(records.shape[1])
        for t in range(1, len(records)):  # what is read at t tells what comes at t + 1
            targets = np.where(t == lengths - 1, end, records[min(t + 1, len(records) - 1)])
            logits = rowwise(hidden[t], self._output) + self._weights["output_bias"]
            most = logits.max(axis=1)
            sums = np.exp(logits - most[:, None]).sum(axis=1, dtype=np.float64)
            nats = np.log(sums) + most - logits[columns, targets]
            total -= np.where(t < lengths, nats, 0)
        return total
