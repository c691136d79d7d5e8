"""What a classifier learns before labels: to predict the next id of its texts, in each direction that it reads.

A network that has learnt what words follow one another needs far fewer labels to learn what they mean (Dai & Le, 2015;
Howard & Ruder, 2018). The softmax is sampled (Bengio & Senécal, 2008): each id is told from a thousand others drawn by
how common they are, which costs a tenth of telling it from all.
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
from seqgen.training.device import Compute
from seqgen.training.objectives.classification import LabelledIds, chunk_range, truncate

_DRAWN = 512  # ids that each one is told from
_FLATTENED = 0.75  # power of the frequencies by which they are drawn (Mikolov et al., 2013)
DROPOUT = 0.1  # there are more words than labels: less is needed


class PretrainingObjective:
    """Sampled cross-entropy of the next id, in nats (see `loop.Objective`)."""

    def __init__(self, network: Classifier, train: LabelledIds, compute: Compute, batch_size: int, seed: int) -> None:
        self.network = _Reader(network, _frequencies(train, network.config.vocab_size)).to(compute.device)
        self._train = train
        self._compute = compute
        self._batch_size = max(1, min(batch_size, len(train)))
        self._seed = seed
        self.steps_per_epoch = -(-len(train) // self._batch_size)
        self.metrics: dict[str, float] = {}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        turn, place = divmod(step, self.steps_per_epoch)
        random = np.random.Generator(np.random.Philox(key=np.array([self._seed, turn], dtype=np.uint64)))
        order = random.permutation(len(self._train))
        chosen = order[place * self._batch_size : (place + 1) * self._batch_size]
        texts, stretch = self._compute.world.lane_range(len(chosen)), self.network.reads.config.stretch
        lengths = self._train.read_lengths[chosen]
        columns = chunk_range(texts, lengths, stretch)
        predicted = int(lengths.sum()) - columns.total  # every id of a stretch but its first
        if not predicted:  # texts of one id: there is nothing to predict
            return self.network.frequency_bias.sum() * 0, 1
        laid = chunk_texts([truncate(self._train.text(number)) for number in chosen[texts.as_slice]], stretch)
        ids = torch.from_numpy(laid.ids).to(self._compute.device)
        sizes = torch.from_numpy(laid.lengths).to(self._compute.device)
        total = self.network(ids, sizes, MaskRng(generator, columns), self._compute.dtype)
        return (total if texts.counted else total * 0) / predicted, predicted

    def validate(self) -> float | None:
        """Nothing: what counts is what the labels gain."""
        return None

    def carried_state(self) -> dict[str, Tensor]:
        return {}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        if tensors:
            raise ValueError("nothing is carried from batch to batch")


class _Reader(nn.Module):
    """The classifier's embedding and recurrent stacks, with the embedding as output layer too."""

    def __init__(self, reads: Classifier, shares: Tensor) -> None:
        super().__init__()
        self.reads = reads
        self.frequency_bias = nn.Parameter(shares.log())
        drawn = shares**_FLATTENED
        self.register_buffer("drawn", drawn / drawn.sum(), persistent=False)
        # Outputs as wide as the embedding are asked for; a projection makes them so where they are not.
        width, units = reads.config.embedding_size, reads.config.rnn_size
        self.projection = None if width == units else nn.Parameter(torch.eye(width, units))

    def forward(self, ids: Tensor, lengths: Tensor, chance: MaskRng, dtype: torch.dtype) -> Tensor:
        """The cost of all ids but the first of each stretch, the mean of all directions."""
        steps = torch.arange(len(ids) - 1, device=ids.device)[:, None]
        inside = steps < lengths - 1
        drawn = self.get_buffer("drawn")
        place = chance.generator.device
        others = torch.multinomial(drawn.to(place), _DRAWN, replacement=True, generator=chance.generator).to(ids.device)
        total = ids.new_zeros((), dtype=torch.float32)
        for direction, hidden in self.reads.outputs(ids, lengths, chance, dtype, DROPOUT):
            read = ids if direction == "forward" else reverse(ids, lengths)
            top, true = hidden[:-1][inside], read[1:][inside]
            if self.projection is not None:
                top = top @ self.projection.to(dtype).t()
            rows = embedding_lookup(self.reads.embedding.to(dtype), torch.cat([true, others]))
            shift = self.frequency_bias - drawn.log() - math.log(_DRAWN)
            own = (top * rows[: len(true)]).sum(1, dtype=torch.float32) + shift[true]
            rest = (top @ rows[len(true) :].t()).float() + shift[others]
            rest = rest.masked_fill(true[:, None] == others, -math.inf)
            total = total + (torch.logaddexp(torch.logsumexp(rest, dim=1), own) - own).sum()
        return total / len(self.reads.config.directions)


def _frequencies(train: LabelledIds, vocab_size: int) -> Tensor:
    """How common each id is; one that never occurs, half as common as one that occurs once."""
    counts = np.full(vocab_size, 0.5)
    for start in range(0, len(train.ids), 1 << 22):  # not at once: bincount makes eight bytes of each
        counts += np.bincount(train.ids[start : start + (1 << 22)], minlength=vocab_size)
    return torch.from_numpy(counts / counts.sum()).float()
