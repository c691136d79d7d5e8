"""Recurrent layers, step by step: the values of states and gates, and the gradients of a loss through time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import UserError
from seqgen.model.recurrent.cells import State
from seqgen.model.recurrent.stack import LayerStates, RecurrentLayer, RecurrentStack
from seqgen.specs.cells import CellSpec


def check_quantity(spec: CellSpec, name: str) -> None:
    """Raise `UserError` if a cell has no state or gate of this name."""
    known = (*spec.state_names, *filter(None, spec.gate_names))
    if name not in known:
        raise UserError(f"--what {name}: the cell of this model, {spec.name}, has {', '.join(known)}")


Inputs = Tensor | Callable[[Tensor, Tensor], Tensor]  # of a stack's first layer; see `RecurrentStack.forward`


class TracedStack(RecurrentStack):
    """A stack that records a state or gate of its layers while it runs, without gradients."""

    def __init__(self, stack: RecurrentStack, name: str) -> None:
        """`name`: a state or gate that the cell has (`check_quantity`)."""
        nn.ModuleList.__init__(self, stack)
        self._name = name
        self.traces: list[list[Tensor]] = []
        """By run and layer, tensors of shape (time, batch, units)."""

    def forward(
        self, inputs: Inputs, states: LayerStates, dtype: torch.dtype, **dropout: object
    ) -> tuple[Tensor, LayerStates]:
        """See `RecurrentStack.forward`; drops nothing."""
        traces, last = [], []
        for layer, state in zip(self, states, strict=True):
            gates = _gates(layer, inputs)
            outputs, new = layer(gates, state)
            traces.append(_layer_trace(layer, gates, outputs, state, self._name))
            last.append(new)
            inputs = outputs
        self.traces.append(traces)
        return outputs, tuple(last)


class FollowedStack(RecurrentStack):
    """A stack that runs in operations that autograd follows, and records the outputs of its layers at each step."""

    def __init__(self, stack: RecurrentStack) -> None:
        nn.ModuleList.__init__(self, stack)
        self.steps: list[list[list[Tensor]]] = []
        """By run, layer and step, tensors of shape (batch, units): the points to take gradients at."""
        self.gates: list[Tensor] = []
        """By run, the first layer's input terms, shape (time, batch, gates · units), to take gradients at too."""

    def forward(
        self, inputs: Inputs, states: LayerStates, dtype: torch.dtype, **dropout: object
    ) -> tuple[Tensor, LayerStates]:
        """See `RecurrentStack.forward`; drops nothing."""
        steps, last = [], []
        for number, (layer, state) in enumerate(zip(self, states, strict=True)):
            gates = _gates(layer, inputs)
            if not number:
                self.gates.append(gates if gates.requires_grad else gates.requires_grad_())
            own = []
            for x in gates:
                state = layer.cell.step(x, F.linear(state[0], layer.recurrent_weight, layer.recurrent_bias), state)
                own.append(state[0])
            inputs = outputs = torch.stack(own)
            steps.append(own)
            last.append(state)
        self.steps.append(steps)
        return outputs, tuple(last)

    def input_gradients(self, total: Tensor) -> Tensor:
        """‖∂ total / ∂ input‖ at each step of the last run, shape (time, batch)."""
        (gradient,) = torch.autograd.grad(total, self.gates[-1], retain_graph=True)
        return (gradient @ next(iter(self)).input_weight).norm(dim=2)


def _gates(layer: RecurrentLayer, inputs: Inputs) -> Tensor:
    if isinstance(inputs, Tensor):
        return F.linear(inputs, layer.input_weight, layer.bias)
    return inputs(layer.input_weight, layer.bias)


def _layer_trace(layer: RecurrentLayer, gates: Tensor, outputs: Tensor, state: State, name: str) -> Tensor:
    spec = layer.cell.spec
    if name == spec.state_names[0]:
        return outputs
    before = torch.cat([state[0][None].to(outputs.dtype), outputs[:-1]])
    recurrent = F.linear(before, layer.recurrent_weight, layer.recurrent_bias)
    if name in spec.gate_names:
        blocks = (gates + recurrent).chunk(spec.gates, dim=2)
        return blocks[spec.gate_names.index(name)].sigmoid()
    values, index = [], spec.state_names.index(name)
    for x, h in zip(gates, recurrent, strict=True):
        state = layer.cell.step(x, h, state)
        values.append(state[index])
    return torch.stack(values)


@dataclass(frozen=True)
class LagGradients:
    """‖∂L_t / ∂h_{t−k}‖ of one layer over the lag k: mean and percentiles over many t; shape (lags + 1,) each."""

    layer: int
    mean: npt.NDArray[np.float64]
    p10: npt.NDArray[np.float64]
    p90: npt.NDArray[np.float64]

    def steps_until(self, fraction: float) -> int | None:
        """The first lag from which on the mean stays below `fraction` of that at lag 0; None if it doesn't."""
        above = np.flatnonzero(self.mean >= fraction * self.mean[0])
        last = int(above[-1]) if len(above) else 0
        return last + 1 if last + 1 < len(self.mean) else None


def lag_gradients(loss: Tensor, steps: Sequence[Sequence[Tensor]]) -> list[LagGradients]:
    """The gradients of a loss at the last step with respect to the outputs of each layer at each step before it.

    Args:
        loss: the sum of the losses of all sequences of the batch, which don't depend on each other.
        steps: by layer and step, tensors of shape (batch, units), as `FollowedStack` records them.
    """
    flat = [step for layer in steps for step in layer]
    found = torch.autograd.grad(loss, flat, allow_unused=True)
    norms = [
        np.zeros(len(step)) if gradient is None else gradient.double().norm(dim=1).numpy()
        for gradient, step in zip(found, flat, strict=True)
    ]
    results, start = [], 0
    for number, layer in enumerate(steps, start=1):
        by_lag = np.stack(norms[start : start + len(layer)][::-1])  # (lags + 1, batch)
        start += len(layer)
        p10, p90 = np.percentile(by_lag, [10, 90], axis=1)
        results.append(LagGradients(number, by_lag.mean(axis=1), p10, p90))
    return results
