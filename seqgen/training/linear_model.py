"""The linear model beside the network: logistic regression over hashed n-grams, scaled by how telling each is.

Every n-gram counts once a text, times the logarithm of how much likelier it is under a label than under the others
(Wang & Manning, 2012, "NB-SVM"), over the square root of how many n-grams the text has. The problem is convex; L-BFGS
on all texts at once solves it in seconds, and the held-out part says how strongly to hold the weights to zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.model.ngrams import BUCKETS, Bags, rows_of_buckets

# Of the squared weights, strongest first: each fit starts where the last ended.
_PENALTIES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
_ITERATIONS = 40
_LEAST, _MANY = 2, 1000  # texts that must have an n-gram for it to be learnt, where there are so many


class LinearWeights(NamedTuple):
    """Weights of the features, shape (features, labels), and biases, (labels,)."""

    weight: Tensor
    bias: Tensor


class Solution(NamedTuple):
    """What a problem has under a penalty: weights of the scaled features, shape (features, labels), and biases."""

    penalty: float
    weight: Tensor
    bias: Tensor


Loss = Callable[[Tensor, Tensor], Tensor]  # (logits, targets), both (texts, labels) → mean nats a text


def classification_loss(multi: bool) -> Loss:
    """Of one label a text, or, where there may be several, of a yes or no for each, summed."""

    def one(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets)

    def several(logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(logits)

    return several if multi else one


def frequent_buckets(bags: Bags, texts: int, most: int) -> npt.NDArray[np.int64]:
    """The buckets that the linear model should know, ascending: those of two texts or more, and of them the `most`
    common."""
    counts = np.bincount(bags.buckets, minlength=BUCKETS)
    least = _LEAST if texts >= _MANY else 1
    kept = np.flatnonzero(counts >= least)
    if len(kept) > most:
        kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[:most]])
    return kept


class _Rows:
    """A matrix of zeros and ones by the columns of each row."""

    def __init__(self, columns: Any, starts: Any) -> None:
        self.columns = torch.from_numpy(np.ascontiguousarray(columns))
        self.starts = torch.from_numpy(np.ascontiguousarray(starts))

    def sums(self, dense: Tensor) -> Tensor:
        """This matrix times `dense`, shape (columns, labels)."""
        if not len(self.columns):
            return dense.new_zeros(len(self.starts) - 1, dense.shape[1])
        return F.embedding_bag(self.columns, dense, self.starts[:-1], mode="sum")

    def transposed(self, columns: int) -> _Rows:
        """The rows of each column."""
        order = torch.argsort(self.columns, stable=True)
        rows = torch.repeat_interleave(torch.arange(len(self.starts) - 1), self.starts.diff())
        counts = torch.bincount(self.columns, minlength=columns)
        return _Rows(rows[order].numpy(), torch.cat([counts.new_zeros(1), counts.cumsum(0)]).numpy())

    def product(self, transposed: _Rows, dense: Tensor) -> Tensor:
        """`sums` that autograd follows; the gradient is another such product, with the transposed matrix."""
        result: Tensor = _Product.apply(self, transposed, dense)  # type: ignore[no-untyped-call]
        return result


def temperature_scaled_loss(logits: Tensor, targets: Tensor, multi: bool) -> float:
    """The cost of logits times the one number that makes it least (Guo et al., 2017)."""
    loss = classification_loss(multi)
    return min(float(loss(logits * factor, targets)) for factor in torch.logspace(-1.5, 0.5, 41))


class LogisticRegression:
    """Texts as bags, and their labels, ready to be fitted again and again."""

    def __init__(
        self, bags: Bags, keys: npt.NDArray[np.int64], targets: Tensor, multi: bool, weights: Tensor | None = None
    ) -> None:
        """`keys`: the buckets that count, ascending. `targets`: float32, shape (texts, labels). `weights`: what each
        label counts, shape (labels,)."""
        self._keys = keys
        self._targets = targets
        self._texts, self._share = _known(bags, keys)
        self._columns = self._texts.transposed(len(keys))
        self._ratio = self._log_ratio(targets)
        self._loss = classification_loss(multi)
        self._multi = multi
        self._each = None if weights is None else (targets * weights).sum(1).clamp(min=1e-6)
        share = targets.mean(0).clamp(1e-6, 1 - 1e-6)
        self._prior = torch.logit(share) if multi else share.log()

    def _log_ratio(self, targets: Tensor) -> Tensor:
        """log of the share of an n-gram among those of a label over its share among the others', (used, labels)."""
        within = self._columns.sums(targets) + 1
        outside = self._columns.sums(1 - targets) + 1
        return ((within / within.sum(0)) / (outside / outside.sum(0))).log_()

    def fit_best_penalty(self, held: Bags, targets: Tensor) -> tuple[Solution, Tensor]:
        """The solution under the penalty that suits the held-out texts best, and their logits under it. `targets` and
        logits are (texts, labels)."""
        chosen, logits, least = None, targets, math.inf
        rows, share = _known(held, self._keys)
        for found in self._path(_PENALTIES):
            linear = self.linear(found)
            given = rows.sums(linear.weight) * share + linear.bias
            loss = temperature_scaled_loss(given, targets, self._multi)
            if chosen is not None and loss >= least:
                break
            chosen, logits, least = found, given, loss
        assert chosen is not None
        return chosen, logits

    def fit_moderate_penalty(self) -> Solution:
        """The solution under a penalty that suits most texts."""
        return list(self._path(_PENALTIES[:3]))[-1]

    def refit(self, near: Solution) -> Solution:
        """The solution of this problem under the penalty of another problem's, which is near it."""
        weight, bias = near.weight.clone(), near.bias.clone()
        self._solve(weight, bias, near.penalty)
        return Solution(near.penalty, weight, bias)

    def linear(self, solution: Solution) -> LinearWeights:
        """The model that a solution makes of the n-grams as they are."""
        return LinearWeights(solution.weight * self._ratio, solution.bias)

    def _path(self, penalties: Sequence[float]) -> Iterator[Solution]:
        """Solutions for ever weaker penalties, each begun where the last ended."""
        weight = torch.zeros(len(self._keys), self._targets.shape[1])
        bias = self._prior.clone()
        for penalty in penalties:
            self._solve(weight, bias, penalty)
            yield Solution(penalty, weight.clone(), bias.clone())

    def _solve(self, weight: Tensor, bias: Tensor, penalty: float) -> None:
        """Changes `weight` and `bias` to the solution."""
        weight.requires_grad_()
        bias.requires_grad_()
        optimiser = torch.optim.LBFGS(
            [weight, bias], max_iter=_ITERATIONS, history_size=6, tolerance_grad=1e-7, tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def evaluate() -> Tensor:
            optimiser.zero_grad()
            logits = self._texts.product(self._columns, weight * self._ratio) * self._share + bias
            loss = self._cost(logits) + penalty / 2 * weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(evaluate)  # type: ignore[no-untyped-call]
        weight.requires_grad_(False)
        bias.requires_grad_(False)

    def _cost(self, logits: Tensor) -> Tensor:
        if self._each is None:
            return self._loss(logits, self._targets)
        if self._multi:
            costs = F.binary_cross_entropy_with_logits(logits, self._targets, reduction="none").sum(1)
        else:
            costs = F.cross_entropy(logits, self._targets, reduction="none")
        return (costs * self._each).sum() / self._each.sum()


def _known(bags: Bags, keys: npt.NDArray[np.int64]) -> tuple[_Rows, Tensor]:
    """The features of each text, and one over the root of how many n-grams it has, shape (texts, 1)."""
    columns = rows_of_buckets(keys)[bags.buckets].astype(np.int64)
    kept = columns >= 0
    starts = np.concatenate([[0], np.cumsum(kept)])[bags.starts]
    sizes = np.diff(bags.starts).clip(min=1).astype(np.float32)
    return _Rows(columns[kept], starts), torch.from_numpy(sizes).rsqrt_()[:, None]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: _Rows, transposed: _Rows, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return rows.sums(dense)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed.sums(grad.contiguous())
