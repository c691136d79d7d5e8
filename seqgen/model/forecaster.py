"""The forecaster: segments of a look-back through a recurrent stack, then every step of the horizon at once.

It follows SegRNN (Lin et al., 2023). A series is cut into segments, so that a look-back of 720 hours takes 30 recurrent
steps (days) instead of 720. Decoding is parallel: for each segment of the horizon, the last state takes one step of the
same stack, whose input is an embedding of the segment's position and of the column. All columns share the weights.

A window is first shifted by its last value and its forecast shifted back, so that it follows the level of the series;
and divided by the size of its recent changes, so that it follows its volatility. (With mean and standard deviation this
would be the reversible instance normalisation of Kim et al., 2022.) A linear map from look-back to horizon (NLinear;
Zeng et al., 2023) may stand beside the network, which then learns the residual.

The values of earlier seasons, such as of the same days a year before, can be inputs too (`lags`), of look-back and
horizon both: a look-back of a year would be too long to learn from.

What the covariates known in advance do, linearly and at once (promotions, holidays), is taken from the values that the
network sees and added to its forecast (`effects`), as in a regression whose errors the network forecasts.

With `mixture` the forecast is a convex combination, for each column, of those of the network, of a linear map of its
own and of the seasonal naive forecast. It is fitted by validation (`training.calibration.mixture`), while the network
learns alone.

Values are in the scale of `corpus.series.scaling`; covariates have scales of their own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.windows import WindowBatch
from seqgen.model.batch_invariant import batch_invariant, linear
from seqgen.model.dropout import DropoutRng, dropout_mask
from seqgen.model.recurrent.stack import LayerStates, RecurrentStack
from seqgen.model.transfer import to_device
from seqgen.model.window_scale import LEAST_SPREAD, RECENT, naive_rows


class Forecaster(nn.Module):
    """`forecaster(history, channel, covariates) → (batch, horizon, 1 + levels)`: the point forecast, then quantiles."""

    def __init__(self, config: ForecasterConfig, generator: torch.Generator | None = None) -> None:
        """`generator`: initialises the weights; without one they have to be loaded."""
        super().__init__()
        self.config = config
        width, segment = config.embedding_size, config.segment_length
        self.segment_weight = nn.Parameter(torch.empty(width, segment * (1 + config.past + config.horizon_inputs)))
        self.segment_bias = nn.Parameter(torch.zeros(width))
        self.place = nn.Parameter(torch.empty(config.horizon_segments, width))
        self.channel = nn.Parameter(torch.empty(config.targets, width))
        ahead = config.horizon_inputs
        self.known_weight = nn.Parameter(torch.empty(width, segment * ahead)) if ahead else None
        self.layers = RecurrentStack(config)
        self.output_weight = nn.Parameter(torch.empty(segment * config.num_outputs, config.rnn_size))
        self.output_bias = nn.Parameter(torch.zeros(segment * config.num_outputs))
        # Fitted in closed form before training and then fixed: see `linear_map`.
        self.linear: Tensor | None
        self.register_buffer("linear", torch.zeros(config.horizon, config.look_back) if config.linear else None)
        # For each column, what each of the first known covariates adds to its values: see `linear_map.fit_effects`.
        self.effect: Tensor | None
        self.register_buffer("effect", torch.zeros(config.targets, config.effects) if config.effects else None)
        # For each column, the weights of the network, the linear map and the seasonal naive forecast; and that map.
        self.mixture: Tensor | None
        self.mixture_weight: Tensor | None
        self.mixture_bias: Tensor | None
        mixes = config.mixture
        self.register_buffer("mixture", _network_alone(config.targets) if mixes else None)
        self.register_buffer("mixture_weight", torch.zeros(config.horizon, config.look_back) if mixes else None)
        self.register_buffer("mixture_bias", torch.zeros(config.horizon) if mixes else None)
        # For each column, whether its forecasts are used (1) or its last value (0), and the factors that calibrate the
        # widths of its prediction intervals: set by validation, not by gradient.
        self.believed: Tensor
        self.register_buffer("believed", torch.ones(config.targets))
        self.widening: Tensor
        self.register_buffer("widening", torch.ones(config.targets, config.horizon, len(config.levels)))
        if generator is not None:
            self.initialise(generator)

    def initialise(self, generator: torch.Generator) -> None:
        """Set every weight; the output layer starts small, so that the first forecasts are the last value."""
        width = self.config.embedding_size
        for weight in (self.segment_weight, self.known_weight):
            if weight is not None:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)
        for table in (self.place, self.channel):
            nn.init.normal_(table, std=width**-0.5, generator=generator)
        # From the identity a simple RNN starts by summing its inputs (Le et al., 2015); gated cells learn that.
        self.layers.initialise(generator, identity=True)
        nn.init.normal_(self.output_weight, std=0.3 * self.config.rnn_size**-0.5, generator=generator)
        nn.init.zeros_(self.output_bias)

    def forward(
        self,
        history: Tensor,
        channel: Tensor,
        past: Tensor | None = None,
        known: Tensor | None = None,
        lagged: Tensor | None = None,
        rng: DropoutRng | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Forecast a batch of windows.

        Args:
            history: the target's last values, shape (batch, look-back), the newest last.
            channel: the column of each window, shape (batch,).
            past: covariates of the history, shape (batch, look-back, past).
            known: covariates of history and horizon, shape (batch, look-back + horizon, known).
            lagged: the target a season before each row of both, and the known covariates then, shape (batch,
                look-back + horizon, lags, 1 + known); NaN where the series had not begun.
            rng: draws the dropout masks; without one, and in evaluation mode, nothing is dropped.
            dtype: of the products of the recurrent stack: bfloat16, or by default that of the weights.

        Returns:
            shape (batch, horizon, 1 + levels): the point forecast, then a quantile for each level, in the scale of
            `history`. Quantiles may cross; `predict` sorts them.
        """
        effects = self._effects(channel, known)
        if effects is not None:
            history = history - effects[:, : self.config.look_back]
        earlier = None if lagged is None else self._earlier(lagged, channel)
        level, spread = self.location_and_scale(history)
        normalised = (history - level) / spread
        dtype = dtype or self.output_weight.dtype
        both = self._of_both(known, earlier, level, spread)
        states = self._read(normalised, past, both, dtype)
        inputs = self._horizon_inputs(channel, both)  # (segments, batch, width)
        count, batch = inputs.shape[:2]
        repeated = tuple(tuple(tensor.repeat(count, 1) for tensor in state) for state in states)
        hidden, _ = self.layers(inputs.reshape(1, count * batch, -1).to(dtype), repeated, dtype)
        hidden = hidden[0].to(self.output_weight.dtype)
        if self.training and rng is not None and self.config.dropout:
            by_window = hidden.view(count, batch, -1)
            hidden = (by_window * dropout_mask(by_window, self.config.dropout, rng, lane_dim=1)).view_as(hidden)
        outputs = linear(hidden, self.output_weight, self.output_bias)
        outputs = outputs.view(count, batch, self.config.segment_length, -1).transpose(0, 1)
        outputs = outputs.reshape(batch, -1, self.config.num_outputs)[:, : self.config.horizon]
        if self.linear is not None:
            outputs = outputs + linear(normalised, self.linear)[:, :, None]
        outputs = outputs * spread[:, :, None] + level[:, :, None]
        return outputs if effects is None else outputs + effects[:, self.config.look_back :, None]

    def _effects(self, channel: Tensor, known: Tensor | None) -> Tensor | None:
        """What the known covariates add to the values of look-back and horizon, or of other rows, shape known[…]."""
        if self.effect is None or known is None:
            return None
        total = torch.zeros_like(known[..., 0])
        for number, effect in enumerate(self.effect.unbind(1)):  # a product's sums might depend on the batch
            total = total + known[..., number] * effect[channel].view(-1, *[1] * (known.dim() - 2))
        return total

    def _earlier(self, lagged: Tensor, channel: Tensor) -> Tensor:
        """The values of earlier seasons less the effects of covariates, shape (batch, look-back + horizon, lags)."""
        effects = self._effects(channel, lagged[..., 1:])
        return lagged[..., 0] if effects is None else lagged[..., 0] - effects

    def location_and_scale(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """The shift and the divisor that normalise each window, of shape (batch, 1)."""
        last = history[:, -1:]
        if self.config.normalisation == "last":
            return last, torch.ones_like(last)
        if self.config.normalisation == "window":
            return history.mean(dim=1, keepdim=True), _spread(history.std(dim=1, keepdim=True, correction=0))
        changes = history.diff(dim=1) if history.shape[1] > 1 else torch.zeros_like(last)
        age = torch.arange(changes.shape[1] - 1, -1, -1, dtype=history.dtype, device=history.device)
        weight = torch.exp2(-age / max(1.0, self.config.look_back * RECENT))
        variance = (changes.square() * weight).sum(dim=1, keepdim=True) / weight.sum()
        # The standard deviation that a random walk of such changes reaches at the horizon.
        # Far below the least spread, and above zero: the gradient of a root is infinite there.
        return last, _spread((variance * self.config.horizon).clamp(min=1e-12).sqrt())

    def _of_both(self, known: Tensor | None, lagged: Tensor | None, level: Tensor, spread: Tensor) -> Tensor | None:
        """The inputs of look-back and horizon alike, shape (batch, look-back + horizon, inputs)."""
        if lagged is None:
            return known
        present = ~lagged.isnan()
        lagged = torch.where(present, lagged, 0)  # before the arithmetic too, whose gradient would be 0 · NaN
        values = torch.where(present, (lagged - level[:, :, None]) / spread[:, :, None], 0)
        parts = [values, present.to(values)]
        return torch.cat(parts if known is None else [known, *parts], dim=2)

    def _read(self, normalised: Tensor, past: Tensor | None, both: Tensor | None, dtype: torch.dtype) -> LayerStates:
        """The state of each layer after the look-back."""
        parts = [normalised[:, :, None]]
        if past is not None:
            parts.append(past)
        if both is not None:
            parts.append(both[:, : self.config.look_back])
        segments = _cut(torch.cat(parts, dim=2), self.config.segment_length, at_end=False)
        hidden = linear(segments, self.segment_weight, self.segment_bias).relu().transpose(0, 1).to(dtype)
        states: LayerStates
        _, states = self.layers(hidden, self.layers.initial(len(normalised)), dtype)
        return states

    def _horizon_inputs(self, channel: Tensor, both: Tensor | None) -> Tensor:
        """The input of each segment of the horizon, shape (segments, batch, width)."""
        inputs = self.place[:, None] + self.channel[channel]
        if self.known_weight is not None and both is not None:
            segments = _cut(both[:, self.config.look_back :], self.config.segment_length, at_end=True)
            inputs = inputs + linear(segments, self.known_weight).transpose(0, 1)
        return inputs

    def set_mixture_map(self, fitted: npt.NDArray[np.float32]) -> None:
        """Set the linear map of the mixture; `fitted` has shape (horizon, look-back + 1), the intercepts last."""
        assert self.mixture_weight is not None and self.mixture_bias is not None
        with torch.no_grad():
            self.mixture_weight.copy_(torch.from_numpy(fitted[:, :-1].copy()))
            self.mixture_bias.copy_(torch.from_numpy(fitted[:, -1].copy()))

    def others(self, history: Tensor, channel: Tensor, known: Tensor | None = None) -> Tensor:
        """The forecasts that the network's is mixed with: of the linear map, and seasonal naive.

        Returns:
            shape (batch, horizon, 2); (batch, horizon, 0) without a mixture.
        """
        config = self.config
        if self.mixture_weight is None or self.mixture_bias is None:
            return history.new_zeros(len(history), config.horizon, 0)
        effects = self._effects(channel, known)
        if effects is not None:
            history = history - effects[:, : config.look_back]
        last = history[:, -1:]
        mapped = linear(history - last, self.mixture_weight, self.mixture_bias) + last
        result = torch.stack([mapped, history[:, naive_rows(config)]], dim=2)
        return result if effects is None else result + effects[:, config.look_back :, None]

    def predict(
        self,
        history: Tensor,
        channel: Tensor,
        past: Tensor | None = None,
        known: Tensor | None = None,
        lagged: Tensor | None = None,
    ) -> Tensor:
        """Calibrated forecasts of a batch of windows; arguments and result as in `forward`.

        Quantiles are sorted, moved with the median to the mixture, and widened by the factors that validation found.
        For columns in which validation found the forecasts no better than the last value, that value is the point
        forecast and the median.
        """
        with batch_invariant():  # a forecast must not depend on the other windows of the batch
            outputs = self(history, channel, past, known, lagged)
            others = self.others(history, channel, known)
        last, believed = history[:, -1:, None], self.believed[channel, None, None]
        point, quantiles = outputs[:, :, :1], outputs[:, :, 1:].sort(dim=2).values
        if self.mixture is not None:
            weights = self.mixture[channel, None]
            mixed = (others * weights[:, :, 1:]).sum(dim=2, keepdim=True)
            point = point * weights[:, :, :1] + mixed
            if self.config.levels:
                middle = quantiles[:, :, self.config.median_index, None]
                quantiles = quantiles + (middle * weights[:, :, :1] + mixed - middle)
        point = torch.where(believed > 0, point, last)
        if not self.config.levels:
            return point
        middle = quantiles[:, :, self.config.median_index, None]
        quantiles = torch.where(believed > 0, quantiles, quantiles - middle + last)
        middle = torch.where(believed > 0, middle, last)
        # Sorted again: an interval may have been widened more than the one around it.
        widened = (middle + (quantiles - middle) * self.widening[channel]).sort(dim=2).values
        return torch.cat([point, widened], dim=2)


ModelInputs = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


def model_inputs(sample: WindowBatch, device: torch.device) -> ModelInputs:
    """The positional inputs of a forecaster: history, channel, past, known and lagged (None without any columns)."""
    history, channel, *others = (to_device(values, device) for values in sample.inputs)
    past, known, lagged = (values if values.shape[2] else None for values in others)
    return history, channel, past, known, lagged


def _network_alone(columns: int) -> Tensor:
    """Weights of a mixture that is nothing but the network, shape (columns, 3)."""
    weights = torch.zeros(columns, 3)
    weights[:, 0] = 1
    return weights


def _spread(values: Tensor) -> Tensor:
    return values.clamp(min=LEAST_SPREAD)


def _cut(values: Tensor, length: int, at_end: bool) -> Tensor:
    """(batch, steps, columns) → (batch, segments, length · columns), padded with zeros at the start, or `at_end`."""
    missing = -values.shape[1] % length
    if missing:
        values = F.pad(values, (0, 0, 0, missing) if at_end else (0, 0, missing, 0))
    return values.reshape(len(values), values.shape[1] // length, -1)
