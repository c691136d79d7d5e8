"""Dynamic evaluation: weights that adapt to the text they read (Krause et al., 2018).

After each short chunk of text the weights take a gradient step on its loss, scaled by the usual size of each weight's
gradients, and decay a little towards their trained values:

    θ ← θ − η g / (√m + ε) + λ (θ₀ − θ)        m: the mean square of the gradients so far, ε a thousandth of its root

Every token is scored before the weights adapt to it, so the scores compare with static evaluation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.errors import ModelError
from seqgen.generation.scoring import TokenScores
from seqgen.model.language import LanguageModel, LayerStates, detach
from seqgen.tokenizers import Codec


@dataclass(frozen=True)
class DynamicEvaluationOptions:
    """Learning rate η and decay λ of each chunk, and tokens per chunk."""

    learning_rate: float = 1e-3
    decay: float = 3e-3
    chunk_length: int = 32


class AdaptiveScorer:
    """A scorer that learns from the records it reads. The weights carry over from record to record."""

    def __init__(
        self, network: LanguageModel, codec: Codec, adaptation: DynamicEvaluationOptions | None = None
    ) -> None:
        self.network = copy.deepcopy(network).requires_grad_(True).eval()
        self._adaptation = adaptation or DynamicEvaluationOptions()
        self._codec = codec
        self._weights: list[Tensor] = list(self.network.parameters())
        self._start = [weight.detach().clone() for weight in self._weights]
        self._squares = [torch.zeros_like(weight) for weight in self._weights]
        self._steps = 0
        self._device = network.embedding.device
        self.reset()

    def reset(self) -> None:
        """Begin a new record: reset the state, and keep the weights."""
        self._states: LayerStates = self.network.initial(1)
        self._last = self._codec.end

    def read(self, ids: npt.NDArray[np.int32]) -> Iterator[TokenScores]:
        """Yield the scores of all ids, each given those before it. Raises `ModelError` if the weights diverge."""
        size = self._adaptation.chunk_length
        for start in range(0, len(ids), size):
            chunk = ids[start : start + size]
            targets = torch.from_numpy(chunk.astype(np.int64)).to(self._device)
            inputs = torch.empty_like(targets)
            inputs[0], inputs[1:] = self._last, targets[:-1]
            with torch.enable_grad():
                hidden, states = self.network(inputs[:, None], self._states)
                nats = F.cross_entropy(self.network.logits(hidden[:, 0]), targets, reduction="none")
                gradients = torch.autograd.grad(nats.mean(), self._weights)
            self._states, self._last = detach(states), int(chunk[-1])
            self._update(gradients)
            try:
                scores = TokenScores(chunk, nats.detach().cpu().double().numpy())
            except ModelError as error:
                if self._steps == 1:  # the weights were still those of the model
                    raise
                raise ModelError("the weights diverged as they followed the text; leave out --adaptive") from error
            yield scores

    @torch.no_grad()
    def _update(self, gradients: tuple[Tensor, ...]) -> None:
        self._steps += 1
        fraction = 1 / self._steps
        learning_rate, decay = self._adaptation.learning_rate, self._adaptation.decay
        torch._foreach_lerp_(self._squares, torch._foreach_mul(gradients, gradients), fraction)
        roots = torch._foreach_sqrt(self._squares)
        for root in roots:
            root.add_(1e-3 * root.mean() + torch.finfo(root.dtype).tiny)
        torch._foreach_addcdiv_(self._weights, gradients, roots, -learning_rate)
        torch._foreach_lerp_(self._weights, self._start, decay)
