"""The objective of every task that predicts the next id: text, dialogue, music."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.corpus.ids import IdStream
from seqgen.model.dropout import LaneRange, MaskRng, keep_mask
from seqgen.model.language import LanguageModel, LayerStates, detach
from seqgen.training.batches import IGNORE_INDEX, Batch, LaneBatches, Transform, sequential_batches
from seqgen.training.cross_entropy import language_loss
from seqgen.training.device import Compute

_MOST_LOGITS = 1 << 24  # of a validation at a time: 64 MiB, and as much again for their softmax
MOST_VALIDATION = 200_000  # ids: enough for the third decimal, and a few seconds


class NextTokenObjective:
    """Cross-entropy of the next id along lanes, the state carried from batch to batch (see `loop.Objective`)."""

    def __init__(
        self,
        network: LanguageModel,
        train: IdStream,
        held_out: IdStream | None,
        compute: Compute,
        seen: int,
        batch_size: int,
        seq_length: int,
        seed: int,
        transform: Transform | None = None,
        blank: float = 0.0,
    ) -> None:
        """`blank`: share of the ids in whose place nothing is read, while all are predicted (data noising with blanks;
        Xie et al., 2017): what a text could be learnt by heart from is never there whole."""
        self.network = network
        self._lanes = LaneBatches(train, batch_size, seq_length, seed, transform)
        self.steps_per_epoch = self._lanes.batches_per_epoch
        self.metrics: dict[str, float] = {}
        self._validation: list[Batch] = []
        if held_out is not None and len(held_out) > 2:
            self._validation = sequential_batches(held_out, 32, 256, MOST_VALIDATION)
        self._compute = compute
        self._seen, self._blank = seen, blank
        self._states: LayerStates | None = None
        self._part = compute.world.lane_range(self._lanes.batch_size)

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        batch = self._lanes[step]
        mine, share = _part(batch, self._part)
        if batch.resets_state or self._states is None:
            self._states = self.network.initial(mine.inputs.shape[1])
        inputs, targets = self._tensors(mine)
        chance = MaskRng(generator, self._part)
        blank = ~keep_mask(inputs, self._blank, chance, lane_dim=1) if self._blank else None
        hidden, states = self.network(inputs, self._states, chance, self._compute.dtype, blank)
        self._states = detach(states)
        # Ids that the training text never uses need no push down: their bias starts at the bottom and stays there.
        loss = language_loss(self.network, hidden, targets, self._seen)
        return loss if share == 1 else loss * share, batch.targets.size

    def validate(self) -> float | None:
        if not self._validation:
            return None
        total, count = 0.0, 0
        states: LayerStates | None = None
        with torch.inference_mode():
            for batch in self._validation:
                if batch.resets_state or states is None:
                    states = self.network.initial(batch.inputs.shape[1])
                inputs, targets = self._tensors(batch)
                hidden, states = self.network(inputs, states, dtype=self._compute.dtype)
                steps = max(1, _MOST_LOGITS // (hidden.shape[1] * self.network.config.vocab_size))
                for some, wanted in zip(torch.split(hidden, steps), torch.split(targets, steps), strict=True):
                    logits = self.network.logits(some).flatten(0, 1)
                    total += float(
                        F.cross_entropy(logits, wanted.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
                    )
                count += int((targets != IGNORE_INDEX).sum())
        return total / max(count, 1)

    def carried_state(self) -> dict[str, Tensor]:
        if self._states is None:
            return {}
        world = self._compute.world
        return {
            f"{i}.{j}": world.gather_lanes(tensor, self._part)
            for i, state in enumerate(self._states)
            for j, tensor in enumerate(state)
        }

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        if not tensors:
            self._states = None
            return
        blank = self.network.initial(self._lanes.batch_size)
        names = {f"{i}.{j}": tensor.shape for i, state in enumerate(blank) for j, tensor in enumerate(state)}
        if {name: tensor.shape for name, tensor in tensors.items()} != names:
            raise ValueError("the carried state is not of this network")
        place = self._compute.device
        self._states = tuple(
            tuple(tensors[f"{i}.{j}"][self._part.as_slice].to(place) for j in range(len(state)))
            for i, state in enumerate(blank)
        )

    def _tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        place = self._compute.device
        return torch.from_numpy(batch.inputs).to(place), torch.from_numpy(batch.targets).to(place)


def _part(batch: Batch, part: LaneRange) -> tuple[Batch, float]:
    """The lanes of a batch that one process reads, and its share of all the targets from which something is learnt."""
    if part.counted and part.stop - part.first == part.total:
        return batch, 1.0
    inputs, targets = batch.inputs[:, part.as_slice], batch.targets[:, part.as_slice]
    learnt = int((targets != IGNORE_INDEX).sum()) if part.counted else 0
    if not learnt:  # a mean over nothing is no number, even of no weight
        targets = inputs
    return Batch(inputs, targets, batch.resets_state), learnt / max(1, int((batch.targets != IGNORE_INDEX).sum()))


def set_output_bias(network: LanguageModel, stream: IdStream) -> None:
    """Starts the output bias at the logarithm of each id's frequency: the first thing a network would learn.

    The ids that the text never uses share half an occurrence, and stay there: that is how likely a stranger is.
    """
    counts = np.zeros(network.config.vocab_size)
    for start in range(0, min(len(stream), 1 << 26), 1 << 22):
        counts += np.bincount(stream.ids[start : start + (1 << 22)], minlength=len(counts))
    counts[counts == 0] = 0.5 / max((counts == 0).sum(), 1)
    shares = counts / counts.sum()
    with torch.no_grad():
        network.output_bias.copy_(torch.from_numpy(np.log(shares)).float())
