"""Embeddings: lookup with a gradient that is summed in products, and ids as the inputs of a recurrent stack."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.model.batch_invariant import is_batch_invariant, linear

_FEW = 256  # distinct ids in a batch, up to which their gradients are summed by a product
_FEW_ROWS = 1024  # rows of a table on a GPU, up to which the same is done


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
        if flat.device.type != "cpu":
            return _summed_on_device(flat, ids.reshape(-1), ctx.rows), None
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


def _summed_on_device(flat: Tensor, ids: Tensor, rows: int) -> Tensor:
    """The gradient of the table, without waiting for the device to tell how many ids are distinct.

    PyTorch's own adds those of frequent ids in an order that changes from run to run.
    """
    if rows > _FEW_ROWS:
        result: Tensor = torch.ops.aten.embedding_dense_backward(flat, ids, rows, -1, False)
        return result
    indicator = (torch.arange(rows, device=ids.device)[:, None] == ids).to(flat.dtype)
    return torch.mm(indicator, flat)


def embedding_lookup(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of `table`, shape (rows, dimension), by id: shape (*ids.shape, dimension)."""
    result: Tensor = _EmbeddingLookup.apply(table, ids)  # type: ignore[no-untyped-call]
    return result


class EmbeddedIds:
    """Ids as the inputs of a recurrent stack (see `stack.StackInputs`)."""

    def __init__(self, embedding: Tensor, ids: Tensor, dtype: torch.dtype, table_from: int) -> None:
        """
        Args:
            embedding: shape (rows, dimension).
            ids: shape (time, batch).
            dtype: of the products.
            table_from: so many ids share one product a row: the embedding of a character times the input weights is one
                row of a small table.
        """
        self._embedding, self._ids, self._dtype = embedding, ids, dtype
        self._has_table = ids.numel() >= table_from

    def vectors(self) -> Tensor:
        """The embedding of each id, shape (time, batch, dimension), in the dtype of the weights."""
        return embedding_lookup(self._embedding, self._ids)

    def __call__(self, weight: Tensor, bias: Tensor) -> Tensor:
        """The terms of the first layer's gates, shape (time, batch, gates · units)."""
        embedding = self._embedding.to(self._dtype)
        if self._has_table and not is_batch_invariant(embedding):
            return embedding_lookup(linear(embedding, weight, bias), self._ids)
        return linear(embedding_lookup(embedding, self._ids), weight, bias)
