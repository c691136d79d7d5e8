"""The linear model beside a classifier: the texts and n-grams that it is fitted to, and the time to fit it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.model.ngrams import Bags, Ngrams, concat_bags
from seqgen.training.latent_space import LatentSpace, soft_labels
from seqgen.training.linear_model import LogisticRegression, frequent_buckets
from seqgen.training.objectives.classification import LabelledIds

_MAX_WEIGHTS = 1 << 25  # of the linear model: 128 MiB, and twelve times that while it is fitted
_MANY_LABELS, _MAX_WEIGHTS_OF_MANY = 256, 1 << 22  # where weights are many because labels are
_LINEAR_FRACTION = 0.4  # of the time that is left, for the linear model
_MAX_NGRAMS = 60_000_000  # in the texts that the linear model is fitted to
_MIN_UNLABELLED_RATIO = 4  # texts without labels for each with one, from which on they get soft labels
_LABELLED_WEIGHT = 5.0  # of a text with a label in the loss of the linear model, beside one with a soft label


class LabelledSplit(NamedTuple):
    """The training and the validation set of a network: texts, normalised, and their ids and labels."""

    texts: Sequence[bytes]
    train: LabelledIds
    held_texts: Sequence[bytes]
    held_out: LabelledIds | None


class LinearModel(NamedTuple):
    """Ascending buckets of n-grams, their weights and the biases of the labels (see `Classifier.set_linear_model`)."""

    keys: npt.NDArray[np.int64]
    weight: Tensor
    bias: Tensor


class _SoftLabelled(NamedTuple):
    """N-grams of texts, and probabilities of their labels, shape (texts, labels)."""

    bags: Bags
    labels: Tensor


class UnlabelledTexts:
    """The texts of --unlabelled, normalised, with what the fits of all networks share: their n-grams and points."""

    def __init__(self, texts: Sequence[bytes], seed: int) -> None:
        self._texts, self._seed = texts, seed
        self._bags: Bags | None = None
        self._latent: tuple[LatentSpace, Tensor] | None = None

    def __len__(self) -> int:
        return len(self._texts)

    def bags(self, ngrams: Ngrams) -> Bags:
        """Their n-grams, of as many texts as memory allows, counted once."""
        if self._bags is None:
            sizes = np.fromiter(map(len, self._texts), dtype=np.int64, count=len(self._texts))
            count = int(np.searchsorted(np.cumsum(sizes // 4) * ngrams.each_token, _MAX_NGRAMS, side="right"))
            self._bags = ngrams.bags(self._texts[: max(count, 1)])
        return self._bags

    def soft_labelled(self, found: Bags, targets: Tensor, ngrams: Ngrams, multi: bool) -> _SoftLabelled:
        """Their n-grams with soft labels, in a latent space of all texts that is computed once.

        Args:
            found, targets: of the texts with labels.
        """
        others = self.bags(ngrams)
        if self._latent is None:
            space = LatentSpace(concat_bags(found, others), self._seed)
            self._latent = space, space.points(others)
        space, points = self._latent
        return _SoftLabelled(others, soft_labels(space.points(found), targets, points, multi))


@dataclass(frozen=True)
class _Problem:
    """Texts with labels, perhaps others with soft labels, and the features and limits of their logistic regression."""

    bags: Bags
    targets: Tensor
    soft: _SoftLabelled | None
    keys: npt.NDArray[np.int64]
    multi: bool
    label_weights: Tensor | None
    deadline: float

    def with_texts(self, bags: Bags, targets: Tensor) -> _Problem:
        """The same with further texts that have labels."""
        targets = torch.cat([self.targets, targets])
        return dataclasses.replace(self, bags=concat_bags(self.bags, bags), targets=targets)

    def regression(self) -> LogisticRegression:
        """The logistic regression, not yet fitted."""
        bags, targets, importance = self.bags, self.targets, None
        if self.soft is not None:
            importance = torch.cat([torch.full((len(targets),), _LABELLED_WEIGHT), torch.ones(len(self.soft.labels))])
            importance /= importance.mean()
            bags, targets = concat_bags(bags, self.soft.bags), torch.cat([targets, self.soft.labels])
        return LogisticRegression(bags, self.keys, targets, self.multi, self.label_weights, self.deadline, importance)


@dataclass
class LinearFit:
    """The fit of the linear model beside one network.

    Attributes:
        unlabelled: Shared with the fits of the other networks.
        multi: Whether a text may have several labels.
        learns_held_out: Whether the model is fitted to the validation set too, once that has chosen the penalty.
        deadline: Time (`time.monotonic`) at which the fit should end.
        held_logits: Those of the validation set, before it is learnt; None until the penalty is chosen.
    """

    split: LabelledSplit
    unlabelled: UnlabelledTexts
    multi: bool
    seed: int
    learns_held_out: bool
    deadline: float = math.inf
    held_logits: Tensor | None = None
    _bags: Bags | None = field(default=None, init=False)  # see `_train_bags`

    def of_member(self, split: LabelledSplit) -> LinearFit:
        """The fit for a further network, which only needs logits: those known, unless it holds out other texts."""
        held_logits = self.held_logits if split is self.split else None
        return LinearFit(split, self.unlabelled, self.multi, self.seed, False, held_logits=held_logits)

    def reserve_time(self, seconds: float) -> None:
        """Set the deadline by the seconds that are left for all of the training."""
        self.deadline = time.monotonic() + _LINEAR_FRACTION * seconds

    def count_features(self, ngrams: Ngrams, labels: int) -> int:
        """The number of features that the model gets, as far as memory allows for so many labels."""
        most = _MAX_WEIGHTS if labels <= _MANY_LABELS else _MAX_WEIGHTS_OF_MANY
        return len(self._buckets(ngrams, most // labels))

    def fit(self, ngrams: Ngrams, features: int, label_weights: Tensor | None) -> LinearModel:
        """Fit the model. The validation set, if there is one, chooses its penalty, and sets `held_logits`."""
        problem = self._problem(ngrams, features, label_weights)
        fitted = problem.regression()
        if self.split.held_out is None:
            return LinearModel(problem.keys, *fitted.linear(fitted.fit_moderate_penalty()))
        held, held_targets = ngrams.bags(self.split.held_texts), torch.from_numpy(self.split.held_out.targets)
        solution, self.held_logits = fitted.fit_best_penalty(held, held_targets)
        if self.learns_held_out:
            fitted = problem.with_texts(held, held_targets).regression()
            solution = fitted.refit(solution)
        return LinearModel(problem.keys, *fitted.linear(solution))

    def _problem(self, ngrams: Ngrams, features: int, label_weights: Tensor | None) -> _Problem:
        """The problem of the training texts, whose n-grams are in memory no longer than it is."""
        bags = self._train_bags(ngrams)
        targets = torch.from_numpy(self.split.train.targets[self._numbers(ngrams)])
        began, soft = time.monotonic(), None
        if self._labels_are_few:
            soft = self.unlabelled.soft_labelled(bags, targets, ngrams, self.multi)
        keys = self._buckets(ngrams, features)
        self._bags = None
        now = time.monotonic()
        # The fit has as long as soft labels took, whatever is left: without it they would be for nothing.
        deadline = max(self.deadline, now + (now - began))
        return _Problem(bags, targets, soft, keys, self.multi, label_weights, deadline)

    @property
    def _labels_are_few(self) -> bool:
        return len(self.split.train) * _MIN_UNLABELLED_RATIO <= len(self.unlabelled)

    def _buckets(self, ngrams: Ngrams, most: int) -> npt.NDArray[np.int64]:
        """The buckets of the model."""
        found, texts = self._train_bags(ngrams), len(self.split.train)
        if self._labels_are_few:
            found, texts = concat_bags(found, self.unlabelled.bags(ngrams)), texts + len(self.unlabelled)
        return frequent_buckets(found, texts, most)

    def _train_bags(self, ngrams: Ngrams) -> Bags:
        """N-grams of the training texts in `_numbers`, counted once."""
        if self._bags is None:
            self._bags = ngrams.bags([self.split.texts[number] for number in self._numbers(ngrams)])
        return self._bags

    def _numbers(self, ngrams: Ngrams) -> npt.NDArray[np.int64]:
        """Numbers of the training texts that the model is fitted to: all, or as many as memory allows."""
        sizes = self.split.train.lengths
        if int(sizes.sum()) * ngrams.each_token <= _MAX_NGRAMS:
            return np.arange(len(self.split.train))
        order = np.random.Generator(np.random.Philox(key=self.seed)).permutation(len(self.split.train))
        count = int(np.searchsorted(np.cumsum(sizes[order]) * ngrams.each_token, _MAX_NGRAMS))
        return np.sort(order[: max(count, 1)])
