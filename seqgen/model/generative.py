"""A language model that knows the label of what it reads, and sorts by Bayes' rule.

Every label has an id, which stands before its texts. What a text is worth under a label is what the model gives its
ids and its end after that label's id; the answer is

    logits = mix · log p(text | label) + log p(label) + shift

where the weight and the shift are fitted on the held-out part: a model is surer of long texts than it should be, since
it takes all that its state forgot for chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import GenerativeConfig, NetworkConfig
from seqgen.model.classifier import accumulation_dtype, group_by_length
from seqgen.model.language import LanguageModel

Ids = npt.NDArray[np.integer]

_IGNORED = -100
_AT_ONCE = 1 << 14  # ids read together
_LOGITS = 1 << 24  # numbers of logits at a time: 64 MiB
_LONGEST = 4096  # ids of a text that count: beyond, nobody's mind is changed


class GenerativeClassifier(LanguageModel):
    """See the module's text. What calibrates it are weights like others, but not learnt by gradient."""

    config: GenerativeConfig

    def __init__(self, config: GenerativeConfig, generator: torch.Generator | None = None) -> None:
        super().__init__(config, generator)
        labels = len(config.labels)
        self.mix = nn.Parameter(torch.ones(1), requires_grad=False)
        self.shift = nn.Parameter(torch.zeros(labels), requires_grad=False)
        self.prior = nn.Parameter(torch.zeros(labels), requires_grad=False)  # log p(label)

    def log_likelihoods(self, texts: Sequence[Ids], end: int, dtype: torch.dtype | None = None) -> Tensor:
        """log p(text | label) in nats, shape (texts, labels), float32, without gradients and in bounded memory.

        Args:
            texts: ids of each text, none of a label; those beyond the first 4,096 are not read.
            end: the id that stands before every record and after it.
        """
        labels = len(self.config.labels)
        found = torch.zeros(len(texts) * labels, device=self.embedding.device)
        lengths = np.repeat([min(len(text), _LONGEST) for text in texts], labels) + 2
        with torch.inference_mode():
            for chosen in group_by_length(lengths, _AT_ONCE):
                records = np.full((int(lengths[chosen].max()) + 1, len(chosen)), _IGNORED, dtype=np.int64)
                records[0] = end
                for column, number in enumerate(chosen):
                    text = texts[number // labels][:_LONGEST]
                    records[1, column] = number % labels
                    records[2 : 2 + len(text), column] = text
                    records[2 + len(text), column] = end
                found[torch.from_numpy(chosen)] = self._read(torch.from_numpy(records).to(found.device), dtype)
        return found.view(len(texts), labels)

    def _read(self, records: Tensor, dtype: torch.dtype | None) -> Tensor:
        """The log-probability of each column, from its second id on, given the first two."""
        inputs, targets = records[:-1].clamp(min=0), records[1:].clone()
        targets[0] = _IGNORED
        states = self.initial(records.shape[1])
        fine = accumulation_dtype(self.output_bias)
        total = torch.zeros(records.shape[1], dtype=fine, device=records.device)
        rows = max(1, _LOGITS // (records.shape[1] * self.config.vocab_size))
        for start in range(0, len(inputs), rows):
            hidden, states = self(inputs[start : start + rows], states, dtype=dtype)
            logits, wanted = self.logits(hidden), targets[start : start + rows]
            costs = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=_IGNORED, reduction="none")
            total -= costs.view(wanted.shape).sum(0, dtype=fine)
        return total.float()

    def calibrated(self, likelihoods: Tensor) -> Tensor:
        """Logits of the labels, from `log_likelihoods`."""
        return self.mix * likelihoods + self.prior + self.shift


def build_language_model(config: NetworkConfig) -> LanguageModel:
    """The network of that kind, its weights not yet set."""
    return GenerativeClassifier(config) if isinstance(config, GenerativeConfig) else LanguageModel(config)
