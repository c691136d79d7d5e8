"""Two objectives of one network in turn: the held-out part is learnt among batches of the training set."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqgen.training.loop import Objective


class AlternatingObjective:
    """Even steps are those of the first objective, odd steps those of the second (see `loop.Objective`).

    Nothing is validated, and states are carried within each objective.
    """

    def __init__(self, first: Objective, second: Objective) -> None:
        self._parts = (first, second)
        self.steps_per_epoch = self.steps_of(first)
        self.metrics: dict[str, float] = {}

    @staticmethod
    def steps_of(first: Objective) -> int:
        """Steps in which the first objective is read once."""
        return 2 * first.steps_per_epoch

    @property
    def network(self) -> nn.Module:
        return self._parts[0].network

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        return self._parts[step % 2].loss(step // 2, generator)

    def validate(self) -> float | None:
        return None

    def carried_state(self) -> dict[str, Tensor]:
        return {
            f"{number}.{name}": tensor
            for number, part in enumerate(self._parts)
            for name, tensor in part.carried_state().items()
        }

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        for number, part in enumerate(self._parts):
            own = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{number}.")}
            part.load_carried_state({name.removeprefix(f"{number}."): tensor for name, tensor in own.items()})
