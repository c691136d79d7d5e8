"""Small classifiers, their configs and data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seqgen.config import ClassifierConfig
from seqgen.model.classifier import Classifier
from seqgen.training.device import Compute

CPU = Compute(torch.device("cpu"), torch.float32)


def classifier_config(**changes: Any) -> ClassifierConfig:
    return ClassifierConfig(**{"vocab_size": 11, "labels": ("a", "b", "c"), "rnn_size": 6, "embedding_size": 5,
                               "stretch": 4, **changes})  # fmt: skip


def make_classifier(**changes: Any) -> Classifier:
    classifier = Classifier(classifier_config(**changes), torch.Generator().manual_seed(1))
    torch.nn.init.normal_(classifier.head_weight, generator=torch.Generator().manual_seed(2))
    return classifier.eval()


def made_up_reviews(count: int) -> tuple[list[bytes], torch.Tensor]:
    rng = np.random.default_rng(0)
    texts, targets = [], torch.zeros(count, 2)
    for number in range(count):
        words = [f"w{n}" for n in rng.integers(40, size=8)]
        words[number % 8] = ("fine", "poor")[number % 2]
        texts.append(" ".join(words).encode())
        targets[number, number % 2] = 1
    return texts, targets
