"""Inference in which no row's result depends on the batch: products in blocks of a fixed number of rows.

A matrix library picks its code by the shape of the whole product, so a row may come out with other last digits alone
and among a hundred. Products of one shape are computed alike; whether a row's position within a block matters too
depends on the library and the processor, so that is measured, once for each shape. Where it matters, a block is one
row.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 16  # rows: more would waste work on small batches, fewer would waste the processor on large ones

_ACTIVE: contextvars.ContextVar[bool] = contextvars.ContextVar("batch_invariant", default=False)


@contextlib.contextmanager
def batch_invariant() -> Iterator[None]:
    """Within it, networks on the CPU compute every row of a batch as if it were alone. Slower; for inference."""
    token = _ACTIVE.set(True)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def is_batch_invariant(like: Tensor) -> bool:
    """Whether products of such tensors must not depend on the batch."""
    return _ACTIVE.get() and like.device.type == "cpu" and not torch.is_grad_enabled()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`; within `batch_invariant`, block by block.

    Args:
        x: shape (…, inputs).
        weight: shape (outputs, inputs).
        bias: shape (outputs,).
    """
    if not is_batch_invariant(x):
        return F.linear(x, weight, bias)
    flat = x.reshape(-1, x.shape[-1])
    outputs = [F.linear(block, weight, bias) for block in blocks(flat, rows_of_block(*weight.shape, x.dtype))]
    result = torch.cat(outputs) if outputs else F.linear(flat, weight, bias)
    return result[: len(flat)].view(*x.shape[:-1], len(weight))


def blocks(tensor: Tensor, rows: int, dim: int = 0) -> Iterator[Tensor]:
    """Contiguous blocks of `rows` along `dim`, the last one filled up with zeros."""
    for start in range(0, tensor.shape[dim], rows):
        block = tensor.narrow(dim, start, min(rows, tensor.shape[dim] - start))
        missing = rows - block.shape[dim]
        if missing:
            shape = list(block.shape)
            shape[dim] = missing
            block = torch.cat([block, block.new_zeros(shape)], dim=dim)
        yield block.contiguous()


@functools.cache
def rows_of_block(outputs: int, inputs: int, dtype: torch.dtype) -> int:
    """`BLOCK`, where a product of so many rows gives a row the same bits wherever it stands, or else 1."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator).to(dtype)
    rows = torch.randn(BLOCK, inputs, generator=generator).to(dtype)
    first = F.linear(rows, weight)
    turned = (torch.equal(F.linear(rows.roll(by, 0), weight).roll(-by, 0), first) for by in range(1, BLOCK))
    return BLOCK if all(turned) else 1
