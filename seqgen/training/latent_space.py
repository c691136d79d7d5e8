"""Labels for texts that have none, so that a linear model learns more n-grams than a few labelled texts contain.

Texts become points in the space of the strongest singular vectors of their n-grams (latent semantic analysis;
Deerwester et al., 1990), where texts of one kind lie together although they share few words. The vectors need no
labels; with them a few hundred labels suffice for a logistic regression, whose probabilities are the soft labels of
all other texts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seqgen.model.ngrams import BUCKETS, Bags
from seqgen.training.linear_model import SparseIndicators, classification_loss, columns_of
from seqgen.training.optimiser import minimise

_RANK, _SPARE = 100, 10  # singular vectors that are used, and more that are computed so that those are accurate
_TEXTS_A_VECTOR = 25  # of fewer texts the weaker vectors are noise
_ITERATIONS = 2  # of the subspace
_SHARPENING = 2.0  # of the logits of soft labels: those of so strongly regularised a model are underconfident
_MOST_FEATURES = 1 << 17
_LEAST_SHARE = 5e-4  # of the texts, that an n-gram occurs in


class LatentSpace:
    """The singular vectors of the n-grams of some texts, by randomised subspace iteration (Halko et al., 2011)."""

    def __init__(self, bags: Bags, seed: int) -> None:
        texts = len(bags.starts) - 1
        counts = np.bincount(bags.buckets, minlength=BUCKETS)
        keys = np.flatnonzero(counts >= max(2, _LEAST_SHARE * texts))
        if len(keys) > _MOST_FEATURES:
            keys = np.sort(keys[np.argsort(-counts[keys], kind="stable")[:_MOST_FEATURES]])
        self._keys = keys
        self._weights = torch.from_numpy(np.log(texts / counts[keys]) + 1).float()[:, None]
        rows, norms = self._rows(bags)
        columns = rows.transposed(len(keys))
        generator = torch.Generator().manual_seed(seed)
        rank = min(_RANK, max(2, texts // _TEXTS_A_VECTOR))
        basis = torch.randn(len(keys), min(rank + _SPARE, texts, len(keys)), generator=generator)
        for _ in range(1 + _ITERATIONS):
            inner, _r = torch.linalg.qr(rows.sums(basis * self._weights) * norms)
            basis = columns.sums(inner * norms) * self._weights
        vectors, _values, _right = torch.linalg.svd(basis, full_matrices=False)
        self._vectors = vectors[:, :rank] * self._weights

    def points(self, bags: Bags) -> Tensor:
        """Texts as points of unit length, shape (texts, rank)."""
        rows, norms = self._rows(bags)
        return torch.nn.functional.normalize(rows.sums(self._vectors) * norms, dim=1)

    def _rows(self, bags: Bags) -> tuple[SparseIndicators, Tensor]:
        """The n-grams of each text, and 1 over the length of their weights."""
        rows = columns_of(bags, self._keys)
        return rows, rows.sums(self._weights.square()).clamp(min=1e-6).rsqrt()


def soft_labels(points: Tensor, targets: Tensor, others: Tensor, multi: bool) -> Tensor:
    """Probabilities of the labels of `others` by logistic regression on labelled points, shape (others, labels).

    Args:
        points, others: shape (texts, rank).
        targets: shape (texts, labels).
        multi: whether a text may have several labels.
    """
    weight = torch.zeros(points.shape[1], targets.shape[1], requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    loss = classification_loss(multi)

    def objective() -> Tensor:
        return loss(points @ weight + bias, targets) + weight.square().sum() / (2 * len(points))

    minimise([weight, bias], objective)
    logits = _SHARPENING * (others @ weight + bias).detach()
    return logits.sigmoid() if multi else logits.softmax(dim=1)
