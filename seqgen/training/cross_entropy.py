"""The output layer and the cross-entropy of its softmax as one operation.

With thousands of pieces in a vocabulary the logits of a batch are far larger than all else in the step, and each of
the passes over them (to float, softmax, gradient, back to bfloat16) goes through memory. Here a few rows at a time go
all the way, gradients included, while they are in the cache, and no logits are kept (as in Liger's fused kernel;
Hsu et al., 2024).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.model.language import LanguageModel
from seqgen.training.batches import IGNORE_INDEX

_FUSED_FROM = 1000  # ids: a smaller vocabulary's logits are small enough to be kept
_NUMBERS = 1 << 21  # logits worked on at a time: 8 MiB of them fit into a cache


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, ignored: int) -> Tensor:
        dtype = hidden.dtype
        exact = torch.promote_types(dtype, torch.float32)
        narrow, shift = weight.to(dtype), bias.to(dtype)
        counted = targets != ignored
        everything = bool(counted.all())
        share = 1 / counted.sum().clamp(min=1).to(exact)
        total = torch.zeros((), dtype=exact, device=hidden.device)
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros(weight.shape, dtype=exact, device=hidden.device)
        bias_grad = torch.zeros(bias.shape, dtype=exact, device=hidden.device)
        rows = max(64, _NUMBERS // len(weight))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            some, place, counts = hidden[part], targets[part].clamp(min=0)[:, None], counted[part]
            shares = torch.softmax(torch.addmm(shift, some, narrow.T), dim=1, dtype=exact)
            # A float's smallest number, so that what is impossible costs much and not infinitely much.
            costs = shares.gather(1, place)[:, 0].clamp(min=torch.finfo(exact).tiny).log_()
            total -= (costs * counts).sum()
            grad = shares.scatter_add_(1, place, shares.new_full((len(shares), 1), -1.0)).to(dtype)
            if not everything:
                grad *= counts[:, None]
            torch.mm(grad, narrow, out=hidden_grad[part])
            weight_grad += torch.mm(grad.T, some)
            bias_grad += torch.mv(grad.T, grad.new_ones(len(grad)))
        gradients = (
            hidden_grad * share.to(dtype),
            (weight_grad * share).to(weight.dtype),
            (bias_grad * share).to(bias.dtype),
        )
        ctx.save_for_backward(*gradients)
        return total * share

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        hidden, weight, bias = ctx.saved_tensors
        return hidden * grad.to(hidden.dtype), weight * grad, bias * grad, None, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """The mean of −log softmax(hidden · weightᵀ + bias) at `targets`, over those that are not `ignored`.

    Args:
        hidden: shape (tokens, width); its type is that of the products.
        weight, bias: shape (vocabulary, width) and (vocabulary,).
        targets: shape (tokens,).
    """
    result: Tensor = _Fused.apply(hidden, weight, bias, targets, ignored)  # type: ignore[no-untyped-call]
    return result


def language_loss(network: LanguageModel, hidden: Tensor, targets: Tensor, seen: int | None = None) -> Tensor:
    """The mean cost in nats of `targets`, shape (time, batch), where the top layer gave `hidden`, shape (time, batch,
    units); among the first `seen` ids or all."""
    if (seen or network.config.vocab_size) >= _FUSED_FROM:
        top, weight, bias = network.output_layer(hidden.flatten(0, 1), seen)
        return linear_cross_entropy(top, weight, bias, targets.flatten(), IGNORE_INDEX)
    logits = network.logits(hidden, seen)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX)
