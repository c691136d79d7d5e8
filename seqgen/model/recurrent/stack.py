"""Recurrent layers, one above the other: the part that all networks have in common."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from seqgen.config.networks import StackConfig
from seqgen.model.batch_invariant import linear
from seqgen.model.dropout import DropoutRng, dropout_mask
from seqgen.model.recurrent.cells import Cell, State, make_cell
from seqgen.model.recurrent.cudnn import is_fused, run_fused
from seqgen.model.recurrent.scan import scan

LayerStates = tuple[State, ...]  # one a layer


class StackInputs(Protocol):
    """A stack's inputs, where the terms of the first layer's gates have a faster way than one product a step."""

    def __call__(self, weight: Tensor, bias: Tensor) -> Tensor:
        """The terms of the first layer's gates, shape (time, batch, gates · units), from its input weight and bias."""
        ...

    def vectors(self) -> Tensor:
        """The inputs themselves, shape (time, batch, embedding dimension)."""
        ...


class RecurrentLayer(nn.Module):
    """One recurrent layer: weights with gate blocks in PyTorch's order, the arithmetic in its cell.

    `bias` is the only bias of the sums; a cell that needs one inside its candidate (GRU) has `recurrent_bias` too.
    """

    def __init__(self, cell: Cell, input_size: int, size: int) -> None:
        super().__init__()
        self.cell = cell
        self.size = size
        rows = cell.spec.gates * size
        self.input_weight = nn.Parameter(torch.empty(rows, input_size))
        self.recurrent_weight = nn.Parameter(torch.empty(rows, size))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.recurrent_bias = nn.Parameter(torch.zeros(rows)) if cell.spec.recurrent_bias else None

    def initialise(self, generator: torch.Generator, identity: bool = False) -> None:
        """Set every weight.

        Recurrent blocks are orthogonal (Saxe et al., 2014), or the identity with ReLU and where `identity` is set;
        input blocks are Glorot's; the bias of a forget gate is 1 (Jozefowicz et al., 2015).
        """
        for block in self.recurrent_weight.chunk(self.cell.spec.gates):
            if identity or self.cell.activation == "relu":
                nn.init.eye_(block)
            else:
                nn.init.orthogonal_(block, generator=generator)
        for block in self.input_weight.chunk(self.cell.spec.gates):
            nn.init.xavier_uniform_(block, generator=generator)
        if self.cell.spec.forget_gate is not None:
            with torch.no_grad():
                self.bias.chunk(self.cell.spec.gates)[self.cell.spec.forget_gate].fill_(1.0)

    def initial(self, batch: int) -> State:
        """The zero state of `batch` rows, in float32, or float64 if the weights are."""
        weight = self.recurrent_weight
        dtype = weight.dtype if weight.dtype == torch.float64 else torch.float32
        return tuple(weight.new_zeros(batch, self.size, dtype=dtype) for _ in range(self.cell.spec.states))

    def forward(self, gates: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """Outputs, shape (time, batch, units), and the new state.

        Args:
            gates: the input's terms of the gates, shape (time, batch, gates · units).
            mask: factor of the recurrent weights.
        """
        return scan(self.cell, gates, self._recurrent_weight(mask), self.recurrent_bias, state)

    def run_fused(self, inputs: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """`forward` from the inputs, shape (time, batch, input size), by one operator (`cudnn.run_fused`)."""
        weight = self._recurrent_weight(mask)
        return run_fused(self.cell, inputs, self.input_weight, self.bias, weight, self.recurrent_bias, state)

    def _recurrent_weight(self, mask: Tensor | None) -> Tensor:
        weight: Tensor = self.recurrent_weight
        return weight if mask is None else weight * mask


class RecurrentStack(nn.ModuleList):
    """Recurrent layers from the input up. As the attribute `layers` its weights are `layers.N.input_weight` …"""

    def __init__(self, config: StackConfig) -> None:
        cell = make_cell(config.cell, config.activation)
        sizes = [config.embedding_size] + [config.rnn_size] * config.num_layers
        super().__init__(RecurrentLayer(cell, below, size) for below, size in itertools.pairwise(sizes))

    def __iter__(self) -> Iterator[RecurrentLayer]:
        return cast(Iterator[RecurrentLayer], super().__iter__())

    def initialise(self, generator: torch.Generator, identity: bool = False) -> None:
        """Set every weight. `identity`: recurrent weights start as the identity in cells that allow it."""
        for layer in self:
            layer.initialise(generator, identity=identity and layer.cell.spec.identity_start)

    def initial(self, batch: int) -> LayerStates:
        """The zero state of `batch` rows: tensors of shape (batch, units)."""
        return tuple(layer.initial(batch) for layer in self)

    def forward(
        self,
        inputs: Tensor | StackInputs,
        states: LayerStates,
        dtype: torch.dtype,
        *,
        dropout: float = 0.0,
        drop_top: bool = True,
        weight_drop: float = 0.0,
        rng: DropoutRng | None = None,
    ) -> tuple[Tensor, LayerStates]:
        """Run all layers over a sequence.

        Args:
            inputs: shape (time, batch, embedding dimension), or `StackInputs`.
            dtype: of the products.
            dropout: probability of dropping a unit of a layer's output, with one mask for all steps of a sequence
                (locked dropout; Gal & Ghahramani, 2016).
            drop_top: whether the top layer's output is dropped too.
            weight_drop: probability of dropping a recurrent weight (DropConnect; Merity et al., 2018).

        Returns:
            the top layer's outputs, shape (time, batch, units), and the new states.
        """
        last = []
        top = len(self) - 1
        hidden: Tensor | StackInputs = inputs
        for number, (layer, state) in enumerate(zip(self, states, strict=True)):
            fused = is_fused(layer.cell, layer.recurrent_weight.device)
            if fused:
                terms = hidden if isinstance(hidden, Tensor) else hidden.vectors()
            else:
                weight, bias = layer.input_weight.to(dtype), layer.bias.to(dtype)
                terms = linear(hidden, weight, bias) if isinstance(hidden, Tensor) else hidden(weight, bias)
            mask = dropout_mask(layer.recurrent_weight, weight_drop, rng) if weight_drop else None
            outputs, state = layer.run_fused(terms, state, mask) if fused else layer(terms, state, mask)
            outputs = outputs.to(dtype)
            last.append(state)
            if dropout and (drop_top or number < top):
                outputs = outputs * dropout_mask(outputs[:1], dropout, rng, lane_dim=1)
            hidden = outputs
        assert isinstance(hidden, Tensor)
        return hidden, tuple(last)


def detach(states: LayerStates) -> LayerStates:
    """The same states without the graph that made them: the end of truncated backpropagation."""
    return tuple(tuple(tensor.detach() for tensor in state) for state in states)
