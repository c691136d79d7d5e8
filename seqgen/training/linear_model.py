"""The linear model beside the network: logistic regression over hashed n-grams, scaled by their log-count ratios.

Every n-gram counts once a text, times the logarithm of how much more likely it is under a label than under the others
("NB-SVM"; Wang & Manning, 2012), divided by the square root of the text's number of n-grams. The problem is convex:
L-BFGS on all texts at once solves it in seconds. The validation set chooses the strength of the regularisation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.model.ngrams import Bags, rows_of_buckets
from seqgen.training.optimiser import minimise

# L2 regularisation, strongest first: each fit starts at the solution of the last.
_PENALTIES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
_BETWEEN = (10**0.5, 10**-0.5)  # times the best of them: tried at the end
_ITERATIONS = 40
_LEAST, _MANY = 2, 1000  # texts that an n-gram must occur in, if there are so many texts


class LinearWeights(NamedTuple):
    """Weights of the features, shape (features, labels), and biases, (labels,)."""

    weight: Tensor
    bias: Tensor


class Solution(NamedTuple):
    """The solution for one penalty: weights of the scaled features, shape (features, labels), and biases."""

    penalty: float
    weight: Tensor
    bias: Tensor


class _Measured(NamedTuple):
    """A solution, its logits of the validation texts, shape (texts, labels), and their loss in nats a text."""

    solution: Solution
    logits: Tensor
    loss: float


Loss = Callable[[Tensor, Tensor], Tensor]  # (logits, targets), both (texts, labels) → mean nats a text


def classification_loss(multi: bool, weights: Tensor | None = None) -> Loss:
    """Cross-entropy of one label a text or, for `multi`, binary cross-entropy summed over the labels.

    Args:
        weights: weight of each label, shape (labels,); a text counts as much as its labels together.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        losses = text_losses(logits, targets, multi)
        return losses.mean() if weights is None else weighted_mean(losses, (targets * weights).sum(1))

    return loss


def text_losses(logits: Tensor, targets: Tensor, multi: bool) -> Tensor:
    """The loss of each text, shape (texts,): see `classification_loss`."""
    if multi:
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    return F.cross_entropy(logits, targets, reduction="none")


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """The mean of the losses of texts, each with its weight; 0 if all weights are 0."""
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def frequent_buckets(bags: Bags, texts: int, most: int) -> npt.NDArray[np.int64]:
    """The buckets of the linear model, ascending: those that occur in two texts or more, at most the `most` common."""
    buckets, counts = np.unique(bags.buckets, return_counts=True)
    least = _LEAST if texts >= _MANY else 1
    buckets, counts = buckets[counts >= least], counts[counts >= least]
    if len(buckets) > most:
        buckets = np.sort(buckets[np.argsort(-counts, kind="stable")[:most]])
    return buckets


class SparseIndicators:
    """A sparse matrix of zeros and ones, by the columns of each row."""

    def __init__(self, columns: Any, starts: Any) -> None:
        self.columns = torch.from_numpy(np.ascontiguousarray(columns))
        self.starts = torch.from_numpy(np.ascontiguousarray(starts))

    def sums(self, dense: Tensor) -> Tensor:
        """This matrix times `dense`, shape (columns, labels)."""
        if not len(self.columns):
            return dense.new_zeros(len(self.starts) - 1, dense.shape[1])
        return F.embedding_bag(self.columns, dense, self.starts[:-1], mode="sum")

    def transposed(self, columns: int) -> SparseIndicators:
        """The transposed matrix."""
        order = torch.argsort(self.columns, stable=True)
        rows = torch.repeat_interleave(torch.arange(len(self.starts) - 1), self.starts.diff())
        counts = torch.bincount(self.columns, minlength=columns)
        return SparseIndicators(rows[order].numpy(), torch.cat([counts.new_zeros(1), counts.cumsum(0)]).numpy())

    def product(self, transposed: SparseIndicators, dense: Tensor) -> Tensor:
        """`sums` for autograd; the gradient is the product with the transposed matrix."""
        result: Tensor = _Product.apply(self, transposed, dense)  # type: ignore[no-untyped-call]
        return result


def temperature_scaled_loss(logits: Tensor, targets: Tensor, multi: bool, weights: Tensor | None = None) -> float:
    """The loss of logits after temperature scaling (Guo et al., 2017), in nats a text; `weights` of the labels."""
    loss = classification_loss(multi, weights)
    return min(float(loss(logits * factor, targets)) for factor in torch.logspace(-1.5, 0.5, 41))


class _DeadlineError(Exception):
    """There is no time for another evaluation."""


class LogisticRegression:
    """Logistic regression on bags of n-grams and labels, for repeated fits."""

    def __init__(
        self,
        bags: Bags,
        keys: npt.NDArray[np.int64],
        targets: Tensor,
        multi: bool,
        weights: Tensor | None = None,
        deadline: float = math.inf,
        text_weights: Tensor | None = None,
    ) -> None:
        """
        Args:
            keys: the buckets of the model, ascending.
            targets: float32, shape (texts, labels); probabilities for texts whose labels are not known.
            weights: weight of each label in the loss, shape (labels,).
            deadline: time (`time.monotonic`) after which fits end with the best solution so far.
            text_weights: weight of each text in the loss, shape (texts,).
        """
        self._deadline = deadline
        self._keys = keys
        self._targets = targets
        self._texts, self._scale = _features(bags, keys)
        self._columns = self._texts.transposed(len(keys))
        self._ratio = self._log_ratio(targets)
        self._loss = classification_loss(multi)
        self._multi = multi
        self._label_weights = weights
        self._text_weights = None if weights is None else (targets * weights).sum(1).clamp(min=1e-6)
        if text_weights is not None:
            self._text_weights = text_weights if self._text_weights is None else self._text_weights * text_weights
        frequency = targets.mean(0).clamp(1e-6, 1 - 1e-6)
        self._prior = torch.logit(frequency) if multi else frequency.log()

    def _log_ratio(self, targets: Tensor) -> Tensor:
        """The log-ratio of an n-gram's frequency under a label to that under the others, shape (features, labels)."""
        within = self._columns.sums(targets) + 1
        outside = self._columns.sums(1 - targets) + 1
        return ((within / within.sum(0)) / (outside / outside.sum(0))).log_()

    def fit_best_penalty(self, held: Bags, targets: Tensor) -> tuple[Solution, Tensor]:
        """The solution for the best penalty on the validation texts, and their logits, shape (texts, labels)."""
        rows, scale = _features(held, self._keys)

        def measure(solution: Solution) -> _Measured:
            linear = self.linear(solution)
            logits = rows.sums(linear.weight) * scale + linear.bias
            return _Measured(
                solution, logits, temperature_scaled_loss(logits, targets, self._multi, self._label_weights)
            )

        best: _Measured | None = None
        for solution in self._path(_PENALTIES):
            tried = measure(solution)
            if best is not None and tried.loss >= best.loss:
                break
            best = tried
            if time.monotonic() > self._deadline:
                break
        assert best is not None
        near = best.solution
        for factor in _BETWEEN:
            if time.monotonic() > self._deadline:
                break
            tried = measure(self.refit(near._replace(penalty=near.penalty * factor)))
            if tried.loss < best.loss:
                best = tried
        return best.solution, best.logits

    def probabilities(self, solution: Solution, bags: Bags) -> Tensor:
        """The probabilities of the labels of other texts, shape (texts, labels)."""
        rows, scale = _features(bags, self._keys)
        linear = self.linear(solution)
        logits = rows.sums(linear.weight) * scale + linear.bias
        return logits.sigmoid() if self._multi else logits.softmax(dim=1)

    def fit_moderate_penalty(self) -> Solution:
        """The solution for a penalty that suits most texts."""
        return list(self._path(_PENALTIES[:3]))[-1]

    def refit(self, near: Solution) -> Solution:
        """The solution for the penalty of `near`, which solves a similar problem, starting from that."""
        weight, bias = near.weight.clone(), near.bias.clone()
        self._solve(weight, bias, near.penalty)
        return Solution(near.penalty, weight, bias)

    def linear(self, solution: Solution) -> LinearWeights:
        """The weights of a solution for unscaled n-grams."""
        return LinearWeights(solution.weight * self._ratio, solution.bias)

    def _path(self, penalties: Sequence[float]) -> Iterator[Solution]:
        """Solutions for ever weaker penalties, each starting from the last."""
        weight = torch.zeros(len(self._keys), self._targets.shape[1])
        bias = self._prior.clone()
        for penalty in penalties:
            self._solve(weight, bias, penalty)
            yield Solution(penalty, weight.clone(), bias.clone())

    def _solve(self, weight: Tensor, bias: Tensor, penalty: float) -> None:
        """Change `weight` and `bias` in place to the solution, or to the best one at the deadline."""
        least, best = math.inf, (weight.clone(), bias.clone())
        weight.requires_grad_()
        bias.requires_grad_()

        def objective() -> Tensor:
            nonlocal least, best
            logits = self._texts.product(self._columns, weight * self._ratio) * self._scale + bias
            loss = self._mean_loss(logits) + penalty / 2 * weight.square().sum()
            if self._deadline < math.inf and loss.item() < least:
                least, best = loss.item(), (weight.detach().clone(), bias.detach().clone())
            if time.monotonic() > self._deadline:
                raise _DeadlineError
            return loss

        try:
            minimise([weight, bias], objective, _ITERATIONS, history_size=6)
        except _DeadlineError:
            with torch.no_grad():
                weight.copy_(best[0])
                bias.copy_(best[1])
        weight.requires_grad_(False)
        bias.requires_grad_(False)

    def _mean_loss(self, logits: Tensor) -> Tensor:
        if self._text_weights is None:
            return self._loss(logits, self._targets)
        return weighted_mean(text_losses(logits, self._targets, self._multi), self._text_weights)


def _features(bags: Bags, keys: npt.NDArray[np.int64]) -> tuple[SparseIndicators, Tensor]:
    """The features of each text, and 1 / √(number of its n-grams), shape (texts, 1)."""
    sizes = np.diff(bags.starts).clip(min=1).astype(np.float32)
    return columns_of(bags, keys), torch.from_numpy(sizes).rsqrt_()[:, None]


def columns_of(bags: Bags, keys: npt.NDArray[np.int64]) -> SparseIndicators:
    """The indices in `keys` of the n-grams of each text, without those that aren't there."""
    columns = rows_of_buckets(keys)[bags.buckets].astype(np.int64)
    known = columns >= 0
    return SparseIndicators(columns[known], np.concatenate([[0], np.cumsum(known)])[bags.starts])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: SparseIndicators, transposed: SparseIndicators, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return rows.sums(dense)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed.sums(grad.contiguous())
