"""The duration of a run and its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from seqgen.checkpoint import MAX_SECONDS, MAX_STEPS
from seqgen.config import TrainOptions, check_ranges, make_options
from seqgen.errors import UserError

_FROM_OPTIONS = ("warmup", "patience", "grad_clip", "weight_decay", "layer_decay", "unfreeze", "averaging")
_RANGES = {  # of the other fields; a part of the lowest learning rate that can be given is 0
    "learning_rate": (0, 100),
    "steps": (1, MAX_STEPS),
    "seconds": (0, MAX_SECONDS),
    "validate_every": (1, MAX_STEPS),
    "decay": (0, 1),
    "finishing": (0, MAX_STEPS),
}


@dataclass(frozen=True)
class Schedule:
    """Duration and learning rate: linear warm-up, then half a cosine to zero (Loshchilov & Hutter, 2017).

    With `decay` the rate stays high instead, and falls to zero in a straight line at the end (Hägele et al., 2024), or
    from the end of the warm-up, if that comes later. The run ends after `steps` or, if that is None, after `seconds`;
    the rate follows either.

    Raises `UserError` for values that no run has; it may come from the config.json of a model by others.
    """

    learning_rate: float
    warmup: float
    steps: int | None = None
    seconds: float | None = None
    validate_every: int | None = None  # in steps; None: the clock decides
    patience: int = 8
    grad_clip: float = 0.5
    weight_decay: float = 0.01
    layer_decay: float = 1.0  # divides the learning rate from each layer to the one below
    unfreeze: float = 0.0  # fraction of the run in which layers start to train one after another, from the top
    averaging: float = 0.0  # η: validated and saved is the mean of the weights of about the last 1 / (1 + η)
    decay: float = 0.0  # fraction of the run, at its end, in which the rate falls to zero; 0: half a cosine
    finishing: int = 0  # steps of an epoch of the held-out part, which is learnt after the run (see `finishing`)
    cooling: bool = False  # whether the run ends with a rate of zero where it would stop for lack of patience

    def __post_init__(self) -> None:
        make_options(TrainOptions, {name: getattr(self, name) for name in _FROM_OPTIONS})
        check_ranges(self, _RANGES)
        if self.steps is None and self.seconds is None:
            raise UserError("a schedule needs steps or seconds")

    def layer_factor(self, depth: int, deepest: int, progress: float) -> float:
        """The factor of the learning rate for a layer `depth` below the top.

        Discriminative rates and gradual unfreezing (Howard & Ruder, 2018).
        """
        return 0.0 if progress * deepest < self.unfreeze * depth else self.layer_decay**-depth

    def rate(self, progress: float) -> float:
        """The learning rate at `progress` from 0 to 1."""
        if progress < self.warmup:
            return self.learning_rate * min(1.0, max(progress, 1e-3) / self.warmup)
        if self.decay:
            return self.learning_rate * min(1.0, max(0.0, 1 - progress) / min(self.decay, 1 - self.warmup))
        decayed = (progress - self.warmup) / (1 - self.warmup)
        return self.learning_rate * (0.5 + 0.5 * math.cos(math.pi * min(decayed, 1.0)))
