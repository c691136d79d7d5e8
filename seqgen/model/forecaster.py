"""The forecaster: segments of a look-back through a recurrent stack, then every step of the horizon at once.

It follows SegRNN (Lin et al., 2023). A series enters cut into segments, so that a look-back of 720 hours is 15 steps of
recurrence and not 720; what comes out is decoded in parallel: for each segment of the horizon the last state takes one
step of the same stack, with an embedding of the segment's place and of the column as its input. Every column goes
through the same weights. A window is first moved by its own last value, and its forecast moved back, so that it follows
the level of the series; and divided by the size of its recent changes, so that it follows how restless it is. (By its
mean and spread it would be the reversible instance normalisation of Kim et al., 2022.) A linear map from look-back to
horizon (NLinear; Zeng et al., 2023) may stand beside the network, which then learns what that leaves.

Numbers are in the scale that `corpus.scaling` gives them; what this module calls a covariate is in its own.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.windows import WindowBatch
from seqgen.model.dropout import DropoutRng, dropout_mask
from seqgen.model.invariant import batch_invariant, linear
from seqgen.model.language import RecurrentLayer
from seqgen.model.recurrent.cells import State, cell

_LEAST_SPREAD = 0.01  # of a window, in the column's own standard deviations: a flat one is not blown up
_RECENT = 1 / 6  # of the look-back: half-life of the changes that tell how restless a series is now


class Forecaster(nn.Module):
    """`forecaster(history, channel, covariates) → (batch, horizon, 1 + levels)`: the point forecast, then quantiles."""

    def __init__(self, config: ForecasterConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        recurrent_cell = cell(config.cell, config.activation)
        width, segment = config.embedding_size, config.segment_length
        self.segment_weight = nn.Parameter(torch.empty(width, segment * (1 + config.past + config.known)))
        self.segment_bias = nn.Parameter(torch.zeros(width))
        self.place = nn.Parameter(torch.empty(config.horizon_segments, width))
        self.channel = nn.Parameter(torch.empty(config.targets, width))
        self.known_weight = nn.Parameter(torch.empty(width, segment * config.known)) if config.known else None
        sizes = [width] + [config.rnn_size] * config.num_layers
        self.layers = nn.ModuleList(RecurrentLayer(recurrent_cell, a, b) for a, b in itertools.pairwise(sizes))
        self.output_weight = nn.Parameter(torch.empty(segment * config.num_outputs, config.rnn_size))
        self.output_bias = nn.Parameter(torch.zeros(segment * config.num_outputs))
        # Fitted in closed form before the network learns, and left as it is: see `linear_map`.
        self.linear: Tensor | None
        self.register_buffer("linear", torch.zeros(config.horizon, config.look_back) if config.linear else None)
        # Of each column whether its forecasts are believed (1) or its last value stands (0), and how much wider each
        # band must be to hold its share: set when the model is validated, not by a gradient.
        self.believed: Tensor
        self.register_buffer("believed", torch.ones(config.targets))
        self.widening: Tensor
        self.register_buffer("widening", torch.ones(config.targets, config.horizon, len(config.levels)))
        if generator is not None:
            self.initialise(generator)

    def initialise(self, generator: torch.Generator) -> None:
        """Sets every weight; the output layer starts small, so that the first forecasts are the last value."""
        width = self.config.embedding_size
        for weight in (self.segment_weight, self.known_weight):
            if weight is not None:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)
        for table in (self.place, self.channel):
            nn.init.normal_(table, std=width**-0.5, generator=generator)
        for layer in self._stack():
            # From the identity a vanilla RNN begins by adding up what it reads (Le et al., 2015); gates learn that.
            layer.initialise(generator, identity=layer.cell.name == "rnn")
        nn.init.normal_(self.output_weight, std=0.3 * self.config.rnn_size**-0.5, generator=generator)
        nn.init.zeros_(self.output_bias)

    def forward(
        self,
        history: Tensor,
        channel: Tensor,
        past: Tensor | None = None,
        known: Tensor | None = None,
        generator: DropoutRng | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Forecasts of a batch of windows.

        Args:
            history: the target's last values, shape (batch, look-back), the newest last.
            channel: which column each window is of, shape (batch,).
            past: covariates beside the history, shape (batch, look-back, past).
            known: covariates beside history and horizon, shape (batch, look-back + horizon, known).
            generator: makes the masks of dropout; None (and always in evaluation) drops nothing.
            kind: type of the products of the recurrent stack, bfloat16 or by default that of the weights.

        Returns:
            shape (batch, horizon, 1 + levels): the point forecast, then a quantile for each level, in the scale of
            `history`. Quantiles may cross; `predict` puts them in order.
        """
        level, spread = self.location_and_scale(history)
        moved = (history - level) / spread
        dtype = dtype or self.output_weight.dtype
        states = self._read(moved, past, known, dtype)
        ahead = self._ahead(channel, known)  # (segments, batch, width)
        count, batch = ahead.shape[:2]
        hidden = ahead.reshape(1, count * batch, -1).to(dtype)
        for layer, state in zip(self._stack(), states, strict=True):
            repeated = tuple(tensor.repeat(count, 1) for tensor in state)
            hidden, _ = layer(_gates(layer, hidden), repeated)
        hidden = hidden[0].to(self.output_weight.dtype)
        if self.training and generator is not None and self.config.dropout:
            by_window = hidden.view(count, batch, -1)
            hidden = (by_window * dropout_mask(by_window, self.config.dropout, generator, lane_dim=1)).view_as(hidden)
        outputs = linear(hidden, self.output_weight, self.output_bias)
        outputs = outputs.view(count, batch, self.config.segment_length, -1).transpose(0, 1)
        outputs = outputs.reshape(batch, -1, self.config.num_outputs)[:, : self.config.horizon]
        if self.linear is not None:
            outputs = outputs + linear(moved, self.linear)[:, :, None]
        return outputs * spread[:, :, None] + level[:, :, None]

    def location_and_scale(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """What a window is moved by, and divided by; each of shape (batch, 1)."""
        last = history[:, -1:]
        if self.config.normalisation == "last":
            return last, torch.ones_like(last)
        if self.config.normalisation == "window":
            return history.mean(dim=1, keepdim=True), _spread(history.std(dim=1, keepdim=True, correction=0))
        changes = history.diff(dim=1) if history.shape[1] > 1 else torch.zeros_like(last)
        age = torch.arange(changes.shape[1] - 1, -1, -1, dtype=history.dtype, device=history.device)
        weight = torch.exp2(-age / max(1.0, self.config.look_back * _RECENT))
        variance = (changes.square() * weight).sum(dim=1, keepdim=True) / weight.sum()
        # What a random walk of such changes would move by until the horizon.
        return last, _spread((variance * self.config.horizon).sqrt())

    def _read(self, moved: Tensor, past: Tensor | None, known: Tensor | None, dtype: torch.dtype) -> list[State]:
        """The state of each layer after the look-back."""
        parts = [moved[:, :, None]]
        if past is not None:
            parts.append(past)
        if known is not None:
            parts.append(known[:, : self.config.look_back])
        segments = _cut(torch.cat(parts, dim=2), self.config.segment_length, at_end=False)
        hidden = linear(segments, self.segment_weight, self.segment_bias).relu().transpose(0, 1).to(dtype)
        states = []
        for layer in self._stack():
            initial = layer.initial(len(moved))
            hidden, state = layer(_gates(layer, hidden), initial)
            states.append(state)
        return states

    def _ahead(self, channel: Tensor, known: Tensor | None) -> Tensor:
        """The input of each segment of the horizon, shape (segments, batch, width)."""
        ahead = self.place[:, None] + self.channel[channel]
        if self.known_weight is not None and known is not None:
            segments = _cut(known[:, self.config.look_back :], self.config.segment_length, at_end=True)
            ahead = ahead + linear(segments, self.known_weight).transpose(0, 1)
        return ahead

    def _stack(self) -> list[RecurrentLayer]:
        """The layers, from the input up."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def predict(
        self, history: Tensor, channel: Tensor, past: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        """`forward`, its quantiles in order and as wide as validation found that they must be, and the last value in
        the middle where forecasts were found no better than that."""
        with batch_invariant():  # a forecast doesn't depend on the windows that are forecast beside it
            outputs = self(history, channel, past, known)
        last, believed = history[:, -1:, None], self.believed[channel, None, None]
        point, quantiles = outputs[:, :, :1], outputs[:, :, 1:].sort(dim=2).values
        point = torch.where(believed > 0, point, last)
        if not self.config.levels:
            return point
        middle = quantiles[:, :, self.config.median_index, None]
        quantiles = torch.where(believed > 0, quantiles, quantiles - middle + last)
        middle = torch.where(believed > 0, middle, last)
        # Sorted again: a band may have been widened more than the one around it.
        widened = (middle + (quantiles - middle) * self.widening[channel]).sort(dim=2).values
        return torch.cat([point, widened], dim=2)


def model_inputs(sample: WindowBatch, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """What a forecaster takes: history, channel, and covariates where there are any."""
    past = torch.from_numpy(sample.past).to(device) if sample.past.shape[2] else None
    known = torch.from_numpy(sample.known).to(device) if sample.known.shape[2] else None
    return torch.from_numpy(sample.history).to(device), torch.from_numpy(sample.channel).to(device), past, known


def _spread(values: Tensor) -> Tensor:
    return values.clamp(min=_LEAST_SPREAD)


def _gates(layer: RecurrentLayer, hidden: Tensor) -> Tensor:
    """The input's share of a layer's gates, in the type of `hidden`."""
    return linear(hidden, layer.input_weight.to(hidden.dtype), layer.bias.to(hidden.dtype))


def _cut(values: Tensor, length: int, at_end: bool) -> Tensor:
    """(batch, steps, numbers) → (batch, segments, length · numbers), with zeros where steps are too few: before the
    first, or `at_end`."""
    missing = -values.shape[1] % length
    if missing:
        values = F.pad(values, (0, 0, 0, missing) if at_end else (0, 0, missing, 0))
    return values.reshape(len(values), values.shape[1] // length, -1)
