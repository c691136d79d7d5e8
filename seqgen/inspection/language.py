"""Inside a language model: of text, of conversations, of music."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.config import NetworkConfig
from seqgen.generation.engines.torch import load_network
from seqgen.inspection.base import MIN_SEQUENCES, Floats, Inspector, Saliency, Weights
from seqgen.inspection.stack import FollowedStack, LagGradients, TracedStack, lag_gradients
from seqgen.model.language import LanguageModel
from seqgen.model.recurrent.stack import LayerStates, RecurrentStack
from seqgen.specs.cells import CELLS
from seqgen.tokenizers import Codec, Ids

_SEQUENCES = 128  # that a mean gradient is taken over
_LANES = 128  # predictions whose saliency is computed at once
_CHUNK = 4096  # ids of a record read at a time


class LanguageInspector(Inspector[Ids]):
    """An `Inspector` whose records are ids. A record is read after the id that separates records."""

    def __init__(self, config: NetworkConfig, weights: Weights, codec: Codec) -> None:
        self.spec = CELLS[config.cell]
        self.layers = tuple(str(number + 1) for number in range(config.num_layers))
        self._network: LanguageModel = load_network(config, weights).requires_grad_(False)
        self._stack: RecurrentStack = self._network.layers
        self._end = codec.end

    def trace(self, record: Ids, name: str) -> list[Floats]:
        """See `Inspector.trace`."""
        return [values.numpy()[1:] for values in self._traces(self._inputs(record), name)]

    def max_lags(self, records: Sequence[Ids]) -> int:
        """See `Inspector.max_lags`."""
        # A window has the lags, the step of the loss and the id that it predicts, and comes after the first id.
        return max(0, max(map(len, records), default=0) - MIN_SEQUENCES)

    def gradients(self, records: Sequence[Ids], lags: int) -> list[LagGradients]:
        """See `Inspector.gradients`. A loss is the cross-entropy of the next id, at points spread over the records."""
        length = lags + 2
        starts = [(inputs, start) for inputs in map(self._inputs, records) for start in range(len(inputs) - length + 1)]
        chosen = [starts[i] for i in np.unique(np.linspace(0, len(starts) - 1, _SEQUENCES).round().astype(int))]
        windows = torch.stack([inputs[start : start + length] for inputs, start in chosen], dim=1)
        states = self._states_after([inputs[max(0, start - lags) : start] for inputs, start in chosen])
        stack = self._network.layers = FollowedStack(self._stack)
        hidden, _ = self._network(windows[:-1], states)
        loss = F.cross_entropy(self._network.logits(hidden[-1]), windows[-1], reduction="sum")
        return lag_gradients(loss, stack.steps[0])

    def saliency(self, record: Ids, lags: int) -> Saliency:
        """See `Inspector.saliency`. A prediction after each step: the most probable next id."""
        inputs = self._inputs(record)
        states = [self._traces(inputs, name) for name in self.spec.state_names]  # by tensor of a state, by layer
        shares = np.zeros((len(record), lags), dtype=np.float32)
        predicted = np.zeros(len(record), dtype=np.int64)
        probability = np.zeros(len(record), dtype=np.float32)
        back, zero = torch.arange(lags)[:, None], torch.zeros(())
        for first in range(1, len(inputs), _LANES):
            at = torch.arange(first, min(first + _LANES, len(inputs)))
            begin = (at - lags + 1).clamp(min=0)
            inside = at - begin  # the step of the prediction in its window
            # The state before each window; before the beginning it is zero.
            start = tuple(
                tuple(part[layer][(begin - 1).clamp(min=0)].where((begin > 0)[:, None], zero) for part in states)
                for layer in range(len(self.layers))
            )
            stack = self._network.layers = FollowedStack(self._stack)
            hidden, _ = self._network(inputs[(begin + back).clamp(max=len(inputs) - 1)], start)
            log_probs = self._network.logits(hidden[inside, torch.arange(len(at))]).log_softmax(dim=1)
            best, token = log_probs.max(dim=1)
            norms = stack.input_gradients(best.sum())  # (lags, lanes), by step of the window
            steps = inside - back  # of the window, by lag
            by_lag = (norms / norms.sum(dim=0).clamp(min=1e-30)).gather(0, steps.clamp(min=0)).where(steps >= 0, zero)
            rows = slice(first - 1, first - 1 + len(at))
            shares[rows], predicted[rows] = by_lag.t().numpy(), token.numpy()
            probability[rows] = best.detach().exp().numpy()
        return Saliency(np.arange(len(record)), shares, predicted, probability)

    def _inputs(self, record: npt.NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(np.concatenate([[self._end], record]).astype(np.int64))

    def _traces(self, inputs: Tensor, name: str) -> list[Tensor]:
        """A state or gate after each of `inputs`, shape (steps, units), for each layer."""
        network = self._network
        stack = network.layers = TracedStack(self._stack, name)
        states = network.initial(1)
        with torch.no_grad():
            for start in range(0, len(inputs), _CHUNK):
                _, states = network(inputs[start : start + _CHUNK, None], states)
        return [torch.cat([run[layer][:, 0] for run in stack.traces]) for layer in range(len(self.layers))]

    def _states_after(self, sequences: Sequence[Tensor]) -> LayerStates:
        """The states of a batch after sequences of different lengths, each from the beginning."""
        network = self._network
        network.layers = self._stack
        finals = []
        with torch.no_grad():
            for sequence in sequences:
                states = network.initial(1)
                if len(sequence):
                    _, states = network(sequence[:, None], states)
                finals.append(states)
        return tuple(
            tuple(torch.cat([final[layer][part] for final in finals]) for part in range(self.spec.states))
            for layer in range(len(self.layers))
        )
