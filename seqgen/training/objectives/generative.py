"""The objective of a generative classifier: the next id of records that begin with their label."""

from __future__ import annotations

import math
from typing import Any

import torch

from seqgen.model.generative import GenerativeClassifier
from seqgen.training.objectives.classification import LabelledIds, fit_mixture_weights
from seqgen.training.objectives.language import NextTokenObjective

_MOST_IDS = 60_000  # read for calibration, once for each label: a second or two


class GenerativeObjective(NextTokenObjective):
    """A `NextTokenObjective` whose validation also classifies validation texts, to calibrate the saved model."""

    def __init__(self, *given: Any, held_out_texts: LabelledIds | None, end: int) -> None:
        super().__init__(*given)
        self._texts = held_out_texts
        self._end = end

    def validate(self) -> float | None:
        loss = super().validate()
        network = self.network
        assert isinstance(network, GenerativeClassifier)
        if self._texts is None or not len(self._texts):
            return loss
        count, ids = 0, 0
        while count < len(self._texts) and ids < _MOST_IDS:
            ids += (len(self._texts.text(count)) + 2) * len(network.config.labels)
            count += 1
        texts = [self._texts.text(number) for number in range(count)]
        # Cloned, since an inference tensor can't take part in autograd.
        likelihoods = network.log_likelihoods(texts, self._end, self._compute.dtype).clone()
        targets = torch.from_numpy(self._texts.targets[:count]).to(likelihoods.device)
        mix, shift = fit_mixture_weights([likelihoods], targets, False, network.prior)
        with torch.no_grad():
            if not (likelihoods * mix.sum() + shift.sum()).isfinite().all():  # so improbable that nothing calibrates it
                return math.nan
            network.mix.copy_(mix.clamp(min=0))
            network.shift.copy_(shift)
            logits = network.calibrated(likelihoods)
            correct = logits.argmax(1) == targets.argmax(1)
            self.metrics = {
                "accuracy": float(correct.float().mean()),
                "log_loss": float(torch.nn.functional.cross_entropy(logits, targets)),
            }
        return loss
