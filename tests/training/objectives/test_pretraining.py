"""Pretraining of classifiers by language modelling."""

from __future__ import annotations

import numpy as np
import torch

from seqgen.model.classifier import Classifier
from seqgen.training.objectives.classification import LabelledIds
from seqgen.training.objectives.pretraining import PretrainingObjective
from tests.helpers.classifiers import CPU, classifier_config


def test_pretraining_objective_learns_words() -> None:
    """In a text in which every id follows from the last, the loss becomes small."""
    made = Classifier(classifier_config(rnn_size=16, embedding_size=12), torch.Generator().manual_seed(1))
    ids = np.tile(np.arange(11), 40).astype(np.uint16)
    data = LabelledIds(ids, np.arange(0, len(ids) + 1, 22), np.eye(3, dtype=np.float32)[np.zeros(20, dtype=int)])
    objective = PretrainingObjective(made, data, CPU, 8, 0)
    objective.network.train()
    optimiser = torch.optim.Adam([w for w in objective.network.parameters() if w.requires_grad], lr=0.02)
    losses = []
    for step in range(80):
        optimiser.zero_grad()
        loss, _ = objective.loss(step, torch.Generator().manual_seed(step))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < losses[0] / 2
    assert objective.validate() is None
