"""The output layer and the cross-entropy of its softmax as one operation.

With a vocabulary of thousands, the logits of a batch are far larger than everything else in a step, and each pass over
them (to float32, softmax, gradient, back to bfloat16) goes through memory. Here a few rows at a time are done
completely, gradients included, while they are in the cache, and no logits are stored (as in Liger's fused kernel; Hsu
et al., 2024).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.model.language import LanguageModel
from seqgen.training.batches import IGNORE_INDEX

_FUSED_FROM = 1000  # vocabulary size; the logits of a smaller one are small enough to store
_LOGITS = 1 << 21  # at a time: 8 MiB fit into a cache
_DEVICE_LOGITS = 1 << 26  # on a GPU, which needs large products


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, ignored: int) -> Tensor:
        dtype = hidden.dtype
        wide = torch.promote_types(dtype, torch.float32)
        narrow_weight, narrow_bias = weight.to(dtype), bias.to(dtype)
        counted = targets != ignored
        on_cpu = hidden.device.type == "cpu"
        everything = on_cpu and bool(counted.all())  # a GPU multiplies sooner than it answers
        scale = 1 / counted.sum().clamp(min=1).to(wide)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros(weight.shape, dtype=wide, device=hidden.device)
        bias_grad = torch.zeros(bias.shape, dtype=wide, device=hidden.device)
        rows = max(64, (_LOGITS if on_cpu else _DEVICE_LOGITS) // len(weight))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            inputs, index, counts = hidden[part], targets[part].clamp(min=0)[:, None], counted[part]
            probabilities = torch.softmax(torch.addmm(narrow_bias, inputs, narrow_weight.T), dim=1, dtype=wide)
            # At least the smallest float, so that the loss of an impossible target is large, not infinite.
            logs = probabilities.gather(1, index)[:, 0].clamp(min=torch.finfo(wide).tiny).log_()
            total -= (logs * counts).sum()
            grad = probabilities.scatter_add_(1, index, probabilities.new_full((len(inputs), 1), -1.0)).to(dtype)
            if not everything:
                grad *= counts[:, None]
            torch.mm(grad, narrow_weight, out=hidden_grad[part])
            weight_grad += torch.mm(grad.T, inputs)
            bias_grad += torch.mv(grad.T, grad.new_ones(len(grad)))
        gradients = (
            hidden_grad * scale.to(dtype),
            (weight_grad * scale).to(weight.dtype),
            (bias_grad * scale).to(bias.dtype),
        )
        ctx.save_for_backward(*gradients)
        return total * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        hidden, weight, bias = ctx.saved_tensors
        return hidden * grad.to(hidden.dtype), weight * grad, bias * grad, None, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """The mean of −log softmax(hidden · weightᵀ + bias) at `targets`, in nats, over those that are not `ignored`.

    Args:
        hidden: shape (tokens, width); its dtype is that of the products.
        weight, bias: shape (vocabulary, width) and (vocabulary,).
        targets: shape (tokens,).
    """
    result: Tensor = _Fused.apply(hidden, weight, bias, targets, ignored)  # type: ignore[no-untyped-call]
    return result


def language_loss(network: LanguageModel, hidden: Tensor, targets: Tensor, seen: int | None = None) -> Tensor:
    """The mean cross-entropy in nats of `targets`, among the first `seen` ids or all.

    Args:
        hidden: the top layer's outputs, shape (time, batch, units).
        targets: shape (time, batch).
    """
    if (seen or network.config.vocab_size) >= _FUSED_FROM:
        top, weight, bias = network.output_layer(hidden.flatten(0, 1), seen)
        return linear_cross_entropy(top, weight, bias, targets.flatten(), IGNORE_INDEX)
    logits = network.logits(hidden, seen)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX)
