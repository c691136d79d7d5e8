"""Text classification in numpy and by compiled kernels, without PyTorch.

It computes in float32 as `model.classifier` and `model.generative` do. Probabilities agree with theirs to 1e-5, and to
1e-3 for a generative model, whose nats of thousands of characters are summed in float64 here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from seqgen.config import AnyClassifierConfig, ClassifierConfig, GenerativeConfig
from seqgen.generation.classification.recurrent_stack import CpuStack
from seqgen.generation.engines.base import output_matrix
from seqgen.generation.recurrent.row_products import RowProduct
from seqgen.generation.sampling.filters import softmax, target_nats
from seqgen.model.chunks import Ids, chunk_texts, group_by_length
from seqgen.model.ngrams import Bags, Ngrams, rows_of_buckets
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import network_of
from seqgen.tokenizers import Codec
from seqgen.tokenizers.normalise import TextNormaliser

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]
Network = tuple[AnyClassifierConfig, Weights]

_MIN_TABLE_LOOKUPS = 1 << 20  # n-grams, as in a thousand reviews, for which a table of all buckets pays
_MAX_IDS = 4096  # of a text that a generative model reads, as in `model.generative`


class CpuClassifier:
    """A `LabelPredictor` on the CPU, discriminative or generative."""

    def __init__(
        self, config: AnyClassifierConfig, weights: Weights, codec: Codec, members: Sequence[Network] = ()
    ) -> None:
        """`members`: further networks, whose logits are averaged with those of the first."""
        self._config, self._weights, self._codec = config, weights, codec
        self._prepare = TextNormaliser(config.lowercase, config.stop_words)
        name = network_of(config).numpy_classifier
        assert name is not None
        self._network: Discriminative | Generative = resolve(name)(config, weights, members)

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
        probabilities = 1 / (1 + np.exp(-exact)) if config.multi else softmax(exact)
        return probabilities.astype(np.float32)


class Discriminative:
    """The logits of `model.classifier.Classifier`, or their mean over several, whose first has the linear model."""

    def __init__(self, config: ClassifierConfig, weights: Weights, members: Sequence[Network] = ()) -> None:
        self._config, self._weights = config, weights
        self._members = [Discriminative(*cast("tuple[ClassifierConfig, Weights]", member)) for member in members]
        self._head = RowProduct(weights["head_weight"], weights["head_bias"])
        self._stacks = [CpuStack(config, weights, f"readers.{number}.") for number in range(len(config.directions))]
        self._table: npt.NDArray[np.int32] | None = None  # row of each bucket
        self._lookups = 0  # of buckets

    def logits(self, texts: Sequence[bytes], ids: Sequence[Ids], end: int) -> Array:
        """Calibrated logits, shape (texts, labels)."""
        linear = None
        if self._config.features:
            linear = self._linear_logits(Ngrams(self._config.ngrams, self._config.affixes).bags(texts))
        logits = self._combined(ids, linear)
        for member in self._members:
            logits += member._combined(ids, linear)
        return logits / np.float32(1 + len(self._members)) if self._members else logits

    def _combined(self, ids: Sequence[Ids], linear: Array | None) -> Array:
        """Calibrated logits of this network and the linear model, shape (texts, labels)."""
        recurrent: Array = self._weights["mix"][0] * self._recurrent_logits(ids) + self._weights["shift"]
        return recurrent if linear is None else recurrent + self._weights["mix"][1] * linear

    def _recurrent_logits(self, ids: Sequence[Ids]) -> Array:
        logits = np.tile(self._weights["head_bias"], (len(ids), 1))
        not_empty = [number for number, text in enumerate(ids) if len(text)]
        if not not_empty:
            return logits
        chunks = chunk_texts([ids[number] for number in not_empty], self._config.stretch)
        summaries = np.empty((len(chunks.lengths), len(self._stacks), 3, self._config.rnn_size), dtype=np.float32)
        for chosen in group_by_length(chunks.lengths, self._stacks[0].batch_ids):
            lengths = chunks.lengths[chosen]
            read = chunks.ids[: int(lengths.max()), chosen]
            steps = np.arange(len(read))[:, None]
            for number, direction in enumerate(self._config.directions):
                backwards = np.where(steps < lengths, lengths - 1 - steps, steps)  # the padding stays at the end
                order = read if direction == "forward" else np.take_along_axis(read, backwards, axis=0)
                summaries[chosen, number] = self._stacks[number].summaries(order, lengths)
        logits[not_empty] = self._head(self._pooled(summaries, chunks.lengths, chunks.text_indices))
        return logits

    def _pooled(self, summaries: Array, lengths: npt.NDArray[np.int64], text_indices: npt.NDArray[np.int64]) -> Array:
        """The features that the head reads, shape (texts, features), pooled over the chunks of each text."""
        starts = np.flatnonzero(np.diff(text_indices, prepend=-1))
        ends = np.append(starts[1:], len(text_indices)) - 1
        counts = np.add.reduceat(lengths, starts)[:, None].astype(np.float32)
        features = []
        for number, direction in enumerate(self._config.directions):
            last, largest, total = summaries[:, number].transpose(1, 0, 2)
            features += [
                last[ends if direction == "forward" else starts],  # the backward direction ends in the first chunk
                np.maximum.reduceat(largest, starts),
                np.add.reduceat(total, starts) / counts,
            ]
        return np.concatenate(features, axis=1)

    def _linear_logits(self, found: Bags) -> Array:
        """The linear model's logits, shape (texts, labels)."""
        rows = self._rows_of(found.buckets)
        known = rows >= 0
        starts = np.concatenate([[0], np.cumsum(known)])[found.starts]
        sums = np.zeros((len(starts) - 1, len(self._config.labels)))
        some = np.diff(starts) > 0
        if some.any():  # texts without a known bucket have no rows, so the others are adjacent
            each = self._weights["wide_weight"][rows[known]]
            sums[some] = np.add.reduceat(each, starts[:-1][some], axis=0, dtype=np.float64)
        scale = np.diff(found.starts).clip(min=1) ** -0.5
        return (sums * scale[:, None]).astype(np.float32) + self._weights["wide_bias"]

    def _rows_of(self, buckets: npt.NDArray[np.int64]) -> npt.NDArray[np.integer]:
        """The row of each bucket in the linear model's weights, or −1.

        Buckets are found by binary search, and in a table once there were enough lookups.
        """
        keys = self._weights["wide_keys"]  # ascending
        self._lookups += len(buckets)
        if self._table is None and self._lookups > _MIN_TABLE_LOOKUPS:
            self._table = rows_of_buckets(keys.astype(np.int64))
        if self._table is not None:
            return self._table[buckets]
        rows = np.minimum(np.searchsorted(keys, buckets.astype(np.float32)), len(keys) - 1)
        return np.where(keys[rows] == buckets, rows, -1)


class Generative:
    """The logits of `model.generative.GenerativeClassifier`."""

    def __init__(self, config: GenerativeConfig, weights: Weights, members: Sequence[Network] = ()) -> None:
        assert not members  # its row of the table has no `averages_members`
        self._config, self._weights = config, weights
        self._stack = CpuStack(config, weights, "")
        self._output = RowProduct(output_matrix(weights), weights["output_bias"])

    def logits(self, texts: Sequence[bytes], ids: Sequence[Ids], end: int) -> Array:
        """Calibrated logits, shape (texts, labels)."""
        labels = len(self._config.labels)
        likelihoods = np.zeros((len(ids), labels))
        lengths = np.array([min(len(text), _MAX_IDS) + 2 for text in ids])
        for chosen in group_by_length(lengths, max(1, self._stack.batch_ids // labels)):
            records = np.zeros((int(lengths[chosen].max()), len(chosen)), dtype=np.int64)
            for column, number in enumerate(chosen):
                text = ids[number][:_MAX_IDS]
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
        """Log-likelihood of each column from its third id to its end, given the first two ids."""
        hidden = self._stack.read(records)
        total = np.zeros(records.shape[1])
        for t in range(1, len(records)):  # step t predicts id t + 1
            targets = np.where(t == lengths - 1, end, records[min(t + 1, len(records) - 1)])
            total -= np.where(t < lengths, target_nats(self._output(hidden[t]), targets), 0)
        return total
