"""The objective of language models: the next id of a text, dialogue or piece of music."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.corpus.ids import IdStream
from seqgen.model.dropout import LaneRange, MaskRng, keep_mask
from seqgen.model.language import LanguageModel, LayerStates, detach
from seqgen.model.transfer import to_device
from seqgen.training.batches import IGNORE_INDEX, Batch, LaneBatches, Transform, sequential_batches
from seqgen.training.cross_entropy import language_loss
from seqgen.training.device import Compute

_MOST_LOGITS = 1 << 24  # of a validation at a time: 64 MiB, and as much again for the softmax
MOST_VALIDATION = 200_000  # ids: enough for the third decimal, and a few seconds


class NextTokenObjective:
    """Cross-entropy of the next id along lanes, with the state carried from batch to batch (see `loop.Objective`)."""

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
        """
        Args:
            seen: ids below this number occur in the training set; only they are predicted.
            transform: augments the batches.
            blank: fraction of the input ids that are blanked, while all ids are predicted: data noising against
                overfitting (Xie et al., 2017).
        """
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
        self._lane_range = compute.world.lane_range(self._lanes.batch_size)

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        batch = self._lanes[step]
        own, fraction = _own_lanes(batch, self._lane_range)
        if batch.resets_state or self._states is None:
            self._states = self.network.initial(own.inputs.shape[1])
        inputs, targets = self._tensors(own)
        rng = MaskRng(generator, self._lane_range)
        blank = ~keep_mask(inputs, self._blank, rng, lane_dim=1) if self._blank else None
        hidden, states = self.network(inputs, self._states, rng, self._compute.dtype, blank)
        self._states = detach(states)
        # Ids that the training set never uses need no gradient: their bias starts low and stays there.
        loss = language_loss(self.network, hidden, targets, self._seen)
        return loss if fraction == 1 else loss * fraction, batch.targets.size

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
                for part, part_targets in zip(torch.split(hidden, steps), torch.split(targets, steps), strict=True):
                    logits = self.network.logits(part).flatten(0, 1)
                    total += float(
                        F.cross_entropy(logits, part_targets.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
                    )
                count += int((targets != IGNORE_INDEX).sum())
        return total / max(count, 1)

    def carried_state(self) -> dict[str, Tensor]:
        if self._states is None:
            return {}
        world = self._compute.world
        return {
            f"{i}.{j}": world.gather_lanes(tensor, self._lane_range)
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
        device = self._compute.device
        self._states = tuple(
            tuple(tensors[f"{i}.{j}"][self._lane_range.as_slice].to(device) for j in range(len(state)))
            for i, state in enumerate(blank)
        )

    def _tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        device = self._compute.device
        return to_device(batch.inputs, device), to_device(batch.targets, device)


def _own_lanes(batch: Batch, lanes: LaneRange) -> tuple[Batch, float]:
    """The lanes of a batch that one process reads, and the fraction of the predicted targets that they have."""
    total = int((batch.targets != IGNORE_INDEX).sum())
    if total and lanes.counted and lanes.stop - lanes.first == lanes.total:
        return batch, 1.0
    inputs, targets = batch.inputs[:, lanes.as_slice], batch.targets[:, lanes.as_slice]
    predicted = int((targets != IGNORE_INDEX).sum()) if lanes.counted else 0
    if not predicted:  # the mean over no target is NaN, even with weight 0
        targets = inputs
    return Batch(inputs, targets, batch.resets_state), predicted / max(1, total)


def set_output_bias(network: LanguageModel, stream: IdStream) -> None:
    """Set the output bias to the logarithm of each id's frequency, the first thing that a network would learn.

    All ids that the training set never uses together count as half an occurrence, and keep that probability.
    """
    counts = np.zeros(network.config.vocab_size)
    for start in range(0, min(len(stream), 1 << 26), 1 << 22):
        part = slice(start, start + (1 << 22))
        ids = stream.ids[part] if stream.given is None else stream.ids[part][~stream.given[part]]
        counts += np.bincount(ids, minlength=len(counts))
    counts[counts == 0] = 0.5 / max((counts == 0).sum(), 1)
    frequencies = counts / counts.sum()
    with torch.no_grad():
        network.output_bias.copy_(torch.from_numpy(np.log(frequencies)).float())
