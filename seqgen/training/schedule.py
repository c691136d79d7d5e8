"""How long a run is, and how fast it learns on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How long, and the learning rate on the way: linear warm-up, then half a cosine to zero (Loshchilov, 2017).

    The run ends after `steps`, or, where that is None, after `seconds` on the clock; the cosine follows either.
    """

    learning_rate: float
    warmup: float
    steps: int | None = None
    seconds: float | None = None
    validate_every: int | None = None  # in steps; None leaves it to the clock
    patience: int = 8
    grad_clip: float = 0.5
    weight_decay: float = 0.01
    layer_decay: float = 1.0  # what a layer's rate is divided by to give that of the one below it
    unfreeze: float = 0.0  # share of the run by whose end all layers learn, one after another from the top
    averaging: float = 0.0  # η: what is measured and kept is the mean of the weights of about the last 1 / (1 + η)

    def layer_factor(self, depth: int, deepest: int, progress: float) -> float:
        """Of the rate, what a layer `depth` below the top learns with: discriminative rates and gradual unfreezing
        (Howard & Ruder, 2018)."""
        return 0.0 if progress * deepest < self.unfreeze * depth else self.layer_decay**-depth

    def rate(self, progress: float) -> float:
        """The learning rate at `progress` from 0 to 1."""
        if progress < self.warmup:
            return self.learning_rate * min(1.0, max(progress, 1e-3) / self.warmup)
        share = (progress - self.warmup) / (1 - self.warmup)
        return self.learning_rate * (0.5 + 0.5 * math.cos(math.pi * min(share, 1.0)))
