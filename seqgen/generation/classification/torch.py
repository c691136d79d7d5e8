"""Text classification by PyTorch, on a CPU or a GPU, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.config import AnyClassifierConfig
from seqgen.generation.classification.base import LabelPredictor, Probabilities
from seqgen.model.classifier import Classifier
from seqgen.model.generative import GenerativeClassifier
from seqgen.model.ngrams import Ngrams
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import network_of
from seqgen.tokenizers import Codec
from seqgen.tokenizers.normalise import TextNormaliser


class TorchClassifier:
    """A `LabelPredictor` by a discriminative network, or by Bayes' rule from the likelihoods of a generative one."""

    def __init__(
        self, network: Classifier | GenerativeClassifier, codec: Codec, members: Sequence[Classifier] = ()
    ) -> None:
        """`members`: further networks, whose logits are averaged with those of the first."""
        self._network = network.eval()
        self._members = [member.eval() for member in members]
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
        linear_logits = None
        if config.features:
            linear_logits = network.linear_logits(Ngrams(config.ngrams, config.affixes).bags(texts))
        logits = network.combined_logits(network.predict_logits(ids), linear_logits)
        for member in self._members:
            logits += member.combined_logits(member.predict_logits(ids), linear_logits)
        return logits / (1 + len(self._members))


def load_torch_classifier(
    networks: Sequence[tuple[AnyClassifierConfig, Mapping[str, npt.NDArray[np.float32]]]],
    codec: Codec,
    device: torch.device,
) -> LabelPredictor:
    """Make a classifier of networks with these weights: one, or several to be averaged."""
    first, *members = (_load_network(config, weights).to(device) for config, weights in networks)
    assert all(isinstance(member, Classifier) for member in members)
    return TorchClassifier(first, codec, cast("list[Classifier]", members))


def _load_network(
    config: AnyClassifierConfig, weights: Mapping[str, npt.NDArray[np.float32]]
) -> Classifier | GenerativeClassifier:
    network: Classifier | GenerativeClassifier = resolve(network_of(config).module)(config)
    network.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()})
    return network
