"""The objective of a generative classifier: the next id of records that begin with their label."""

from __future__ import annotations

from typing import Any

import torch

from seqgen.model.generative import GenerativeClassifier
from seqgen.training.objectives.classification import LabelledIds, fit_mixture_weights
from seqgen.training.objectives.language import NextTokenObjective

_MOST_IDS = 60_000  # read to calibrate, all labels counted: a second or two


class GenerativeObjective(NextTokenObjective):
    """See `NextTokenObjective`. At every validation some held-out texts are sorted, which calibrates the model that is saved."""

    def __init__(self, *given: Any, held_out_texts: LabelledIds | None, end: int) -> None:
        super().__init__(*given)
        self._held = held_out_texts
        self._end = end

    def validate(self) -> float | None:
        loss = super().validate()
        network = self.network
        assert isinstance(network, GenerativeClassifier)
        if self._held is None or not len(self._held):
            return loss
        count, ids = 0, 0
        while count < len(self._held) and ids < _MOST_IDS:
            ids += (len(self._held.text(count)) + 2) * len(network.config.labels)
            count += 1
        texts = [self._held.text(number) for number in range(count)]
        found = network.log_likelihoods(texts, self._end, self._compute.dtype).clone()  # no longer of inference mode
        targets = torch.from_numpy(self._held.targets[:count]).to(found.device)
        mix, shift = fit_mixture_weights([found], targets, False, network.prior)
        with torch.no_grad():
            network.mix.copy_(mix.clamp(min=0))
            network.shift.copy_(shift)
            logits = network.calibrated(found)
            right = logits.argmax(1) == targets.argmax(1)
            self.metrics = {
                "accuracy": float(right.float().mean()),
                "log_loss": float(torch.nn.functional.cross_entropy(logits, targets)),
            }
        return loss
