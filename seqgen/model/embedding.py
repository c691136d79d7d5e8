"""Embedding lookup with a gradient that is summed in products."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW = 256  # distinct ids in a batch, up to which their gradients are summed by a product


class _EmbeddingLookup(torch.autograd.Function):
    """Rows of a table by id, with a gradient summed in products rather than row by row.

    A character occurs hundreds of times in a batch; adding its gradients one at a time in bfloat16 would lose most of
    them, and one product with the indicator matrix of the ids is also faster. With thousands of distinct ids, each id's
    gradients are gathered and summed in float32.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = len(table)
        return F.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        ordered, order = torch.sort(ids.reshape(-1))
        present, counts = torch.unique_consecutive(ordered, return_counts=True)
        if len(present) <= _FEW and len(present) * 4 <= len(flat):
            indicator = flat.new_zeros(len(present), len(flat))
            rows = torch.repeat_interleave(torch.arange(len(present), device=flat.device), counts)
            indicator[rows, order] = 1
            summed = torch.mm(indicator, flat)
        else:
            wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
            summed = F.embedding_bag(order, wide, counts.cumsum(0) - counts, mode="sum")
        result = grad.new_zeros(ctx.rows, flat.shape[1])
        result[present] = summed.to(result.dtype)
        return result, None


def embedding_lookup(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of `table`, shape (rows, dimension), by id: shape (*ids.shape, dimension)."""
    result: Tensor = _EmbeddingLookup.apply(table, ids)  # type: ignore[no-untyped-call]
    return result
