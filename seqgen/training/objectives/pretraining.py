"""Pretraining of a classifier: predict the next id of its texts, in each direction that it reads.

A network that can predict words needs far fewer labels (Dai & Le, 2015; Howard & Ruder, 2018). The softmax is sampled
(Bengio & Senécal, 2008): each id competes with 512 negative samples drawn by frequency, which costs a tenth of the full
softmax.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from seqgen.model.chunks import chunk_texts
from seqgen.model.classifier import Classifier, reverse
from seqgen.model.dropout import MaskRng
from seqgen.model.embedding import embedding_lookup
from seqgen.model.transfer import to_device
from seqgen.training.batches import epoch_permutation
from seqgen.training.device import Compute
from seqgen.training.objectives.classification import LabelledIds, chunk_range, text_batches_per_epoch, truncate

_NEGATIVES = 512  # negative samples
_SAMPLING_POWER = 0.75  # of the frequencies by which they are drawn (Mikolov et al., 2013)
DROPOUT = 0.1  # words are more plentiful than labels, so little is needed


class PretrainingObjective:
    """Sampled cross-entropy of the next id, in nats (see `loop.Objective`)."""

    def __init__(self, network: Classifier, train: LabelledIds, compute: Compute, batch_size: int, seed: int) -> None:
        self.network = _PretrainingHead(network, _frequencies(train, network.config.vocab_size)).to(compute.device)
        self._train = train
        self._compute = compute
        self._batch_size = max(1, min(batch_size, len(train)))
        self._seed = seed
        self.steps_per_epoch = text_batches_per_epoch(len(train), self._batch_size)
        self.metrics: dict[str, float] = {}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        epoch, index = divmod(step, self.steps_per_epoch)
        order = epoch_permutation(self._seed, epoch, len(self._train))
        chosen = order[index * self._batch_size : (index + 1) * self._batch_size]
        texts, size = self._compute.world.lane_range(len(chosen)), self.network.reads.config.stretch
        lengths = self._train.read_lengths[chosen]
        columns = chunk_range(texts, lengths, size)
        predicted = int(lengths.sum()) - columns.total  # every id of a chunk except its first
        if not predicted:  # texts of one id
            return self.network.frequency_bias.sum() * 0, 1
        chunks = chunk_texts([truncate(self._train.text(number)) for number in chosen[texts.as_slice]], size)
        # Found here, because a device would have to be asked how many there are.
        inside = np.flatnonzero(np.arange(len(chunks.ids) - 1)[:, None] < chunks.lengths - 1)
        ids, sizes, indices = (to_device(array, self._compute.device) for array in (chunks.ids, chunks.lengths, inside))
        total = self.network(ids, sizes, indices, MaskRng(generator, columns), self._compute.dtype)
        return (total if texts.counted else total * 0) / predicted, predicted

    def validate(self) -> float | None:
        """None: pretraining is not validated."""
        return None

    def carried_state(self) -> dict[str, Tensor]:
        return {}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            raise ValueError("pretraining has no carried state")


class _PretrainingHead(nn.Module):
    """A classifier's embedding and recurrent stacks, with the embedding as tied output layer."""

    def __init__(self, classifier: Classifier, frequencies: Tensor) -> None:
        super().__init__()
        self.reads = classifier  # the name is that of the weights in saved states
        self.frequency_bias = nn.Parameter(frequencies.log())
        unnormalised = frequencies**_SAMPLING_POWER
        self._sampling_on_cpu = unnormalised / unnormalised.sum()  # for a generator there
        self.register_buffer("sampling", self._sampling_on_cpu.clone(), persistent=False)
        # The tied output layer needs outputs as wide as the embedding.
        width, units = classifier.config.embedding_size, classifier.config.rnn_size
        self.projection = None if width == units else nn.Parameter(torch.eye(width, units))

    def forward(self, ids: Tensor, lengths: Tensor, inside: Tensor, rng: MaskRng, dtype: torch.dtype) -> Tensor:
        """The summed cross-entropy in nats of all ids except the first of each chunk, averaged over the directions.

        Args:
            ids, lengths: of `Chunks`, as tensors.
            inside: indices of the ids that are not a chunk's last, in `ids` without its last row, flattened.
        """
        sampling = self.get_buffer("sampling")
        generator = rng.generator
        drawn_from = self._sampling_on_cpu if generator.device.type == "cpu" else sampling
        negatives = torch.multinomial(drawn_from, _NEGATIVES, replacement=True, generator=generator).to(ids.device)
        total = ids.new_zeros((), dtype=torch.float32)
        for direction, hidden in self.reads.outputs(ids, lengths, rng, dtype, DROPOUT):
            ordered = ids if direction == "forward" else reverse(ids, lengths)
            top = hidden[:-1].flatten(0, 1).index_select(0, inside)
            targets = ordered[1:].flatten().index_select(0, inside)
            if self.projection is not None:
                top = top @ self.projection.to(dtype).t()
            rows = embedding_lookup(self.reads.embedding.to(dtype), torch.cat([targets, negatives]))
            bias = self.frequency_bias - sampling.log() - math.log(_NEGATIVES)
            target_logits = (top * rows[: len(targets)]).sum(1, dtype=torch.float32) + bias[targets]
            negative_logits = (top @ rows[len(targets) :].t()).float() + bias[negatives]
            negative_logits = negative_logits.masked_fill(targets[:, None] == negatives, -math.inf)
            normaliser = torch.logaddexp(torch.logsumexp(negative_logits, dim=1), target_logits)
            total = total + (normaliser - target_logits).sum()
        return total / len(self.reads.config.directions)


def _frequencies(train: LabelledIds, vocab_size: int) -> Tensor:
    """The relative frequency of each id, with half an occurrence added to each."""
    counts = np.full(vocab_size, 0.5)
    for start in range(0, len(train.ids), 1 << 22):  # in parts: bincount makes eight bytes of each
        counts += np.bincount(train.ids[start : start + (1 << 22)], minlength=vocab_size)
    return torch.from_numpy(counts / counts.sum()).float()
