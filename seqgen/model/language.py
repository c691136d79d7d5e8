"""The network: embedding → stack of recurrent layers → output layer.

Models keep nothing between calls: the state comes in and goes out, and `model(a)` followed by `model(b, state)` equals
`model(a + b)`.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import NetworkConfig
from seqgen.model.dropout import DropoutRng, dropout_mask
from seqgen.model.invariant import is_batch_invariant, linear
from seqgen.model.recurrent.cells import Cell, State, cell
from seqgen.model.recurrent.scan import scan

LayerStates = tuple[State, ...]  # one a layer

_FEW = 256  # ids present in a batch, up to which their gradients are summed by a product


class EmbeddingLookup(torch.autograd.Function):
    """Rows of a table by id, with a gradient summed in products rather than row by row.

    A character occurs hundreds of times in a batch; adding its gradients up one at a time in bfloat16 would lose
    most of them, and one product with the indicator matrix of the ids present is faster as well. Where thousands of
    ids are present each id's gradients are gathered and summed in float32.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = len(table)
        return F.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        ordered, order = torch.sort(ids.reshape(-1))
        present, counts = torch.unique_consecutive(ordered, return_counts=True)
        if len(present) <= _FEW and len(present) * 4 <= len(flat):
            indicator = flat.new_zeros(len(present), len(flat))
            rows = torch.repeat_interleave(torch.arange(len(present), device=flat.device), counts)
            indicator[rows, order] = 1
            summed = torch.mm(indicator, flat)
        else:
            exact = flat.to(torch.promote_types(flat.dtype, torch.float32))
            summed = F.embedding_bag(order, exact, counts.cumsum(0) - counts, mode="sum")
        result = grad.new_zeros(ctx.rows, flat.shape[1])
        result[present] = summed.to(result.dtype)
        return result, None


def embedding_lookup(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of `table`, shape (rows, width), by id: shape (*ids.shape, width). See `EmbeddingLookup`."""
    result: Tensor = EmbeddingLookup.apply(table, ids)  # type: ignore[no-untyped-call]
    return result


class RecurrentLayer(nn.Module):
    """One recurrent layer: weights in PyTorch's order of gates, the arithmetic in its cell.

    The input bias is the only bias of the sums; a cell that needs one inside its candidate (GRU) has
    `recurrent_bias` too.
    """

    def __init__(self, recurrent_cell: Cell, input_size: int, size: int) -> None:
        super().__init__()
        self.cell = recurrent_cell
        self.size = size
        rows = recurrent_cell.gates * size
        self.input_weight = nn.Parameter(torch.empty(rows, input_size))
        self.recurrent_weight = nn.Parameter(torch.empty(rows, size))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.recurrent_bias = nn.Parameter(torch.zeros(rows)) if recurrent_cell.recurrent_bias else None

    def initialise(self, generator: torch.Generator, identity: bool = False) -> None:
        """Orthogonal recurrent blocks (Saxe et al., 2014), or where asked for, and always with ReLU, the `identity`;
        Glorot input blocks, forget bias 1 (Jozefowicz, 2015)."""
        for block in self.recurrent_weight.chunk(self.cell.gates):
            if identity or getattr(self.cell, "relu", False):
                nn.init.eye_(block)
            else:
                nn.init.orthogonal_(block, generator=generator)
        for block in self.input_weight.chunk(self.cell.gates):
            nn.init.xavier_uniform_(block, generator=generator)
        if self.cell.name == "lstm":
            with torch.no_grad():
                self.bias[self.size : 2 * self.size] = 1.0

    def initial(self, batch: int) -> State:
        weight = self.recurrent_weight
        dtype = weight.dtype if weight.dtype == torch.float64 else torch.float32
        return tuple(weight.new_zeros(batch, self.size, dtype=dtype) for _ in range(self.cell.states))

    def forward(self, gates: Tensor, state: State, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """`gates`: the input's share, (time, batch, gates · units); `mask` multiplies the recurrent weights."""
        weight = self.recurrent_weight if mask is None else self.recurrent_weight * mask
        return scan(self.cell, gates, weight, self.recurrent_bias, state)


class LanguageModel(nn.Module):
    """A language model over ids: `network(ids, states) → (hidden, states)` and `network.logits(hidden)`."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        recurrent_cell = cell(config.cell, config.activation)
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.embedding_size))
        sizes = [config.embedding_size] + [config.rnn_size] * config.num_layers
        self.layers = nn.ModuleList(RecurrentLayer(recurrent_cell, a, b) for a, b in itertools.pairwise(sizes))
        tied = config.tie_weights
        # Tied weights ask for outputs as wide as the embedding; a projection makes them so where they are not.
        project = tied and config.embedding_size != config.rnn_size
        self.projection = nn.Parameter(torch.empty(config.embedding_size, config.rnn_size)) if project else None
        self.output_weight = None if tied else nn.Parameter(torch.empty(config.vocab_size, config.rnn_size))
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        if generator is not None:
            self.initialise(generator)

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.embedding, std=self.config.embedding_size**-0.5, generator=generator)
        for layer in self._stack():
            layer.initialise(generator)
        for weight in (self.projection, self.output_weight):
            if weight is not None:
                nn.init.normal_(weight, std=self.config.rnn_size**-0.5, generator=generator)

    def initial(self, batch: int) -> LayerStates:
        """The state before anything was read: zeros, shape (batch, units) each."""
        return tuple(layer.initial(batch) for layer in self._stack())

    def forward(
        self,
        ids: Tensor,
        states: LayerStates,
        generator: DropoutRng | None = None,
        dtype: torch.dtype | None = None,
        blank: Tensor | None = None,
    ) -> tuple[Tensor, LayerStates]:
        """Reads `ids`, shape (time, batch).

        Args:
            generator: makes the masks of dropout and weight-drop; None (and always in evaluation) drops nothing.
            kind: type of the products, bfloat16 or by default that of the weights.
            blank: true where, instead of an id, nothing is read: an embedding of zeros. Shape (time, batch).

        Returns:
            the top layer's outputs, shape (time, batch, units), and the new state.
        """
        dtype = dtype or self.embedding.dtype
        drop = self.config.dropout if self.training and generator is not None else 0.0
        hidden: Tensor | None = None
        last = []
        for layer, state in zip(self._stack(), states, strict=True):
            weight, bias = layer.input_weight.to(dtype), layer.bias.to(dtype)
            gates = self._embed(ids, weight, bias, dtype, blank) if hidden is None else linear(hidden, weight, bias)
            mask = None
            if self.training and generator is not None and self.config.weight_drop:
                mask = dropout_mask(layer.recurrent_weight, self.config.weight_drop, generator)
            hidden, state = layer(gates, state, mask)
            last.append(state)
            if drop:  # locked: one mask for all steps of a sequence (Gal & Ghahramani, 2016)
                hidden = hidden * dropout_mask(hidden[:1], drop, generator, lane_dim=1)
        assert hidden is not None
        return hidden, tuple(last)

    def _stack(self) -> list[RecurrentLayer]:
        """The layers, from the input up."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def _embed(self, ids: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype, blank: Tensor | None) -> Tensor:
        """The first layer's gates. When ids outnumber the vocabulary its product is done once a piece, not once an id:
        a character's embedding times the input weights is one row of a small table."""
        embedding = self.embedding.to(dtype)
        if blank is not None:  # one more row, of zeros, which nothing is learnt for
            ids, embedding = ids.masked_fill(blank, len(embedding)), F.pad(embedding, (0, 0, 0, 1))
        if self.config.vocab_size <= ids.numel() and not is_batch_invariant(embedding):
            return embedding_lookup(linear(embedding, weight, bias), ids)
        return linear(embedding_lookup(embedding, ids), weight, bias)

    def output_layer(self, hidden: Tensor, seen: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What the output layer multiplies, and its weight and bias, for the first `seen` ids or all."""
        if self.projection is not None:
            hidden = linear(hidden, self.projection.to(hidden.dtype))
        weight: Tensor = self.embedding if self.output_weight is None else self.output_weight
        bias: Tensor = self.output_bias
        return (hidden, weight, bias) if seen is None else (hidden, weight[:seen], bias[:seen])

    def logits(self, hidden: Tensor, seen: int | None = None) -> Tensor:
        """Unnormalised log-probabilities, float32, shape (…, vocabulary), or of the first `seen` ids only."""
        hidden, weight, bias = self.output_layer(hidden, seen)
        result = linear(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype))
        return result if result.dtype == torch.float64 else result.float()


def detach(states: LayerStates) -> LayerStates:
    """The same state, cut off from the graph that made it: the end of truncated backpropagation."""
    return tuple(tuple(tensor.detach() for tensor in state) for state in states)
