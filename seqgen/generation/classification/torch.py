"""Text classification by PyTorch, on a CPU or a GPU, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.config import AnyClassifierConfig
from seqgen.generation.classification.base import Probabilities, TextClassifier
from seqgen.model.classifier import Classifier
from seqgen.model.generative import GenerativeClassifier
from seqgen.model.ngrams import BUCKETS, bags
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import network_of
from seqgen.tokenizers import Codec
from seqgen.tokenizers.normalise import TextNormaliser


class TorchClassifier:
    """A `TextClassifier` by a discriminative network, or by Bayes' rule from the likelihoods of a generative one."""

    def __init__(self, network: Classifier | GenerativeClassifier, codec: Codec) -> None:
        self._network = network.eval()
        self._codec = codec
        self._prepare = TextNormaliser(network.config.lowercase, network.config.stop_words)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._network.config.labels

    def __call__(self, texts: Sequence[bytes]) -> Probabilities:
        config = self._network.config
        if not texts:
            return np.zeros((0, len(config.labels)), dtype=np.float32)
        prepared = [self._prepare(text) for text in texts]
        with torch.inference_mode():
            logits = self._logits(prepared)
            empty = [number for number, text in enumerate(prepared) if not text.strip()]
            logits[empty] = self._network.prior
            probabilities: Probabilities = (logits.sigmoid() if config.multi else logits.softmax(dim=1)).cpu().numpy()
        return probabilities

    def _logits(self, texts: Sequence[bytes]) -> Tensor:
        network = self._network
        ids = [self._codec.encode(text) for text in texts]
        if isinstance(network, GenerativeClassifier):
            return network.calibrated(network.log_likelihoods(ids, self._codec.end))
        config = network.config
        linear_logits = network.linear_logits(bags(texts, config.ngrams, BUCKETS)) if config.features else None
        return network.combined_logits(network.predict_logits(ids), linear_logits)


def load_torch_classifier(
    config: AnyClassifierConfig,
    weights: Mapping[str, npt.NDArray[np.float32]],
    codec: Codec,
    device: torch.device,
) -> TextClassifier:
    """Make a classifier with these weights."""
    network: Classifier | GenerativeClassifier = resolve(network_of(config).module)(config)
    network.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()})
    network.to(device)
    return TorchClassifier(network, codec)
