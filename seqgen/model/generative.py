"""A language model that reads the label of a text first, and classifies by Bayes' rule.

Every label has an id, which precedes its texts. The likelihood of a text under a label is the probability that the
model gives the text's ids and its end after that label's id. The logits of the labels are

    logits = mix · log p(text | label) + log p(label) + shift

The weight and the shift are fitted on the validation set: a language model is overconfident about long texts, because
it treats tokens that its state has forgotten as independent evidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import GenerativeConfig, NetworkConfig
from seqgen.model.chunks import Ids, group_by_length
from seqgen.model.classifier import accumulation_dtype
from seqgen.model.language import LanguageModel
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import network_of

_IGNORED = -100  # a target that is not predicted
_AT_ONCE = 1 << 14  # ids read at once
_LOGITS = 1 << 24  # logits at a time: 64 MiB
_LONGEST = 4096  # ids of a text that are read: later ones no longer change the label


class GenerativeClassifier(LanguageModel):
    """A language model over records that begin with a label.

    Its calibration (`mix`, `shift`, `prior`) consists of parameters too, but not trained by gradient.
    """

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
            texts: ids of each text, without its label; only the first 4,096 are read.
            end: the id before and after every record.
        """
        labels = len(self.config.labels)
        result = torch.zeros(len(texts) * labels, device=self.embedding.device)
        lengths = np.repeat([min(len(text), _LONGEST) for text in texts], labels) + 2
        with torch.inference_mode():
            for group in group_by_length(lengths, _AT_ONCE):
                records = np.full((int(lengths[group].max()) + 1, len(group)), _IGNORED, dtype=np.int64)
                records[0] = end
                for column, number in enumerate(group):
                    text = texts[number // labels][:_LONGEST]
                    records[1, column] = number % labels
                    records[2 : 2 + len(text), column] = text
                    records[2 + len(text), column] = end
                result[torch.from_numpy(group)] = self._read(torch.from_numpy(records).to(result.device), dtype)
        return result.view(len(texts), labels)

    def _read(self, records: Tensor, dtype: torch.dtype | None) -> Tensor:
        """The log-probability of each column's ids after the second, given the first two."""
        inputs, targets = records[:-1].clamp(min=0), records[1:].clone()
        targets[0] = _IGNORED
        states = self.initial(records.shape[1])
        sum_dtype = accumulation_dtype(self.output_bias)
        total = torch.zeros(records.shape[1], dtype=sum_dtype, device=records.device)
        rows = max(1, _LOGITS // (records.shape[1] * self.config.vocab_size))
        for start in range(0, len(inputs), rows):
            hidden, states = self(inputs[start : start + rows], states, dtype=dtype)
            logits, wanted = self.logits(hidden), targets[start : start + rows]
            nats = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=_IGNORED, reduction="none")
            total -= nats.view(wanted.shape).sum(0, dtype=sum_dtype)
        return total.float()

    def calibrated(self, likelihoods: Tensor) -> Tensor:
        """Calibrated logits of the labels, shape (texts, labels), from `log_likelihoods`."""
        return self.mix * likelihoods + self.prior + self.shift


def build_language_model(config: NetworkConfig) -> LanguageModel:
    """A language model or generative classifier of this config, with its weights still to be loaded."""
    network: LanguageModel = resolve(network_of(config).module)(config)
    return network
