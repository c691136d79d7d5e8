"""The language model: embedding → stack of recurrent layers → output layer.

Models keep nothing between calls: the state comes in and goes out, and `model(a)` followed by `model(b, state)` equals
`model(a + b)`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import NetworkConfig
from seqgen.model.batch_invariant import linear
from seqgen.model.dropout import DropoutRng
from seqgen.model.embedding import EmbeddedIds
from seqgen.model.recurrent.stack import LayerStates, RecurrentStack, detach

__all__ = ["LanguageModel", "LayerStates", "detach"]


class LanguageModel(nn.Module):
    """A language model over ids: `network(ids, states) → (hidden, states)` and `network.logits(hidden)`."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator | None = None) -> None:
        """`generator`: initialises the weights; without one they have to be loaded."""
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.embedding_size))
        self.layers = RecurrentStack(config)
        tied = config.tie_weights
        # Tied weights need outputs as wide as the embedding.
        project = tied and config.embedding_size != config.rnn_size
        self.projection = nn.Parameter(torch.empty(config.embedding_size, config.rnn_size)) if project else None
        self.output_weight = None if tied else nn.Parameter(torch.empty(config.vocab_size, config.rnn_size))
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size))
        if generator is not None:
            self.initialise(generator)

    def initialise(self, generator: torch.Generator) -> None:
        """Set every weight."""
        nn.init.normal_(self.embedding, std=self.config.embedding_size**-0.5, generator=generator)
        self.layers.initialise(generator)
        for weight in (self.projection, self.output_weight):
            if weight is not None:
                nn.init.normal_(weight, std=self.config.rnn_size**-0.5, generator=generator)

    def initial(self, batch: int) -> LayerStates:
        """The zero state of `batch` rows: tensors of shape (batch, units)."""
        return self.layers.initial(batch)

    def forward(
        self,
        ids: Tensor,
        states: LayerStates,
        rng: DropoutRng | None = None,
        dtype: torch.dtype | None = None,
        blank: Tensor | None = None,
    ) -> tuple[Tensor, LayerStates]:
        """Read `ids`, shape (time, batch).

        Args:
            rng: draws the masks of dropout and weight-drop; without one, and in evaluation mode, nothing is dropped.
            dtype: of the products: bfloat16, or by default that of the weights.
            blank: True where an embedding of zeros is read instead of the id; shape (time, batch).

        Returns:
            the top layer's outputs, shape (time, batch, units), and the new state.
        """
        dtype = dtype or self.embedding.dtype
        drops = self.training and rng is not None
        hidden: Tensor
        hidden, states = self.layers(
            self._inputs(ids, dtype, blank),
            states,
            dtype,
            dropout=self.config.dropout if drops else 0.0,
            weight_drop=self.config.weight_drop if drops else 0.0,
            rng=rng,
        )
        return hidden, states

    def _inputs(self, ids: Tensor, dtype: torch.dtype, blank: Tensor | None) -> EmbeddedIds:
        embedding: Tensor = self.embedding
        if blank is not None:  # a further row of zeros, which has no gradient
            ids, embedding = ids.masked_fill(blank, len(embedding)), F.pad(embedding, (0, 0, 0, 1))
        return EmbeddedIds(embedding, ids, dtype, self.config.vocab_size)

    def output_layer(self, hidden: Tensor, seen: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The output layer's input, weight and bias, for the first `seen` ids or all."""
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
