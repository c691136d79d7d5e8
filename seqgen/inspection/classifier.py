"""Inside a classifier: its layers in each reading direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.config import ClassifierConfig
from seqgen.inspection.base import MIN_SEQUENCES, Floats, Inspector, Saliency, Weights
from seqgen.inspection.stack import FollowedStack, LagGradients, TracedStack, lag_gradients
from seqgen.model.chunks import chunk_texts
from seqgen.model.classifier import Classifier, reverse, summarise
from seqgen.model.recurrent.stack import RecurrentStack
from seqgen.specs.cells import CELLS
from seqgen.tokenizers import Codec, Ids

_SEQUENCES = 128  # that a mean gradient is taken over


class ClassifierInspector(Inspector[Ids]):
    """An `Inspector` whose records are the ids of a text, read as the classifier reads them.

    A long text is read in chunks, each from an empty state, so units forget at the beginning of a chunk. The layers of
    the backward direction see what follows.
    """

    def __init__(self, config: ClassifierConfig, weights: Weights, codec: Codec) -> None:
        self.spec = CELLS[config.cell]
        both = len(config.directions) > 1
        self.layers = tuple(
            f"{number + 1} {direction}" if both else str(number + 1)
            for direction in config.directions
            for number in range(config.num_layers)
        )
        self._config = config
        self._network = Classifier(config)
        self._network.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()})
        self._network.eval().requires_grad_(False)
        self._stacks = [cast(RecurrentStack, reader.layers) for reader in self._network.readers]

    def trace(self, record: Ids, name: str) -> list[Floats]:
        """See `Inspector.trace`."""
        if not len(record):
            return [np.zeros((0, self._config.rnn_size), dtype=np.float32) for _ in self.layers]
        ids, lengths, _ = map(torch.from_numpy, chunk_texts([record], self._config.stretch))
        stacks = [TracedStack(stack, name) for stack in self._stacks]
        self._use(stacks)
        with torch.no_grad():
            self._network.summaries(ids, lengths)
        found = []
        for direction, stack in zip(self._config.directions, stacks, strict=True):
            for values in stack.traces[0]:  # (time, chunks, units), in reading order
                if direction != "forward":
                    values = torch.stack([reverse(values[:, :, unit], lengths) for unit in range(values.shape[2])], 2)
                parts = [values[:length, chunk] for chunk, length in enumerate(lengths.tolist())]
                found.append(torch.cat(parts)[: len(record)].numpy())
        return found

    def max_lags(self, records: Sequence[Ids]) -> int:
        """See `Inspector.max_lags`."""
        lengths = sorted((min(len(record), self._config.stretch) for record in records), reverse=True)
        return max(0, lengths[min(len(lengths), 4 * MIN_SEQUENCES) - 1] - 1) if lengths else 0

    def gradients(self, records: Sequence[Ids], lags: int) -> list[LagGradients]:
        """See `Inspector.gradients`. A loss is −log p of the predicted label, at the end of reading a text's last
        tokens."""
        long = [record[-lags - 1 :] for record in records if len(record) > lags]
        chosen = [long[i] for i in np.unique(np.linspace(0, len(long) - 1, _SEQUENCES).round().astype(int))]
        stacks, logits = self._follow(chosen)
        loss = F.cross_entropy(logits, logits.argmax(dim=1), reduction="sum")
        return lag_gradients(loss, [layer for stack in stacks for layer in stack.steps[0]])

    def saliency(self, record: Ids, lags: int) -> Saliency:
        """See `Inspector.saliency`. There is one prediction: the label of the whole text, by the network alone."""
        record = record[-self._config.stretch :]
        if not len(record):
            nothing = np.zeros(0, dtype=np.float32)
            return Saliency(np.zeros(0, dtype=np.int64), nothing[:, None], np.zeros(0, dtype=np.int64), nothing)
        stacks, logits = self._follow([record])
        best, label = logits.log_softmax(dim=1).max(dim=1)
        total = torch.zeros(len(record))
        for direction, stack in zip(self._config.directions, stacks, strict=True):
            norms = stack.input_gradients(best.sum())[:, 0]
            total += norms if direction == "forward" else norms.flip(0)
        shares = (total / total.sum().clamp(min=1e-30)).flip(0)[None, :lags]
        return Saliency(np.array([len(record) - 1]), shares.numpy(), label.numpy(), best.detach().exp().numpy())

    def _follow(self, texts: Sequence[Ids]) -> tuple[list[FollowedStack], Tensor]:
        """Read texts of one length, each as one chunk; returns the stacks and the network's logits."""
        ids = torch.from_numpy(np.stack(texts, axis=1).astype(np.int64))
        lengths = torch.full((len(texts),), len(ids))
        stacks = [FollowedStack(stack) for stack in self._stacks]
        self._use(stacks)
        hidden = self._network.outputs(ids, lengths, None, None, 0.0)
        summaries = torch.stack([summarise(outputs, lengths) for _, outputs in hidden], dim=1)
        logits = self._network.logits_from_summaries(summaries, lengths, torch.arange(len(texts)), len(texts))
        return stacks, logits

    def _use(self, stacks: Sequence[RecurrentStack]) -> None:
        for reader, stack in zip(self._network.readers, stacks, strict=True):
            reader.layers = stack
