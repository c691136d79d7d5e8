"""Batch-invariant inference, in which no row's result depends on the batch: products in blocks of fixed size.

A matrix library picks its code by the shape of the whole product, so the last digits of a row may depend on the number
of rows. Products of one shape are computed alike. Whether a row's position within a block matters as well depends on
the library and the processor, so it is measured once for each shape; if it matters, a block is one row.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows, the preferred size first: large blocks waste work on small batches, small blocks are slow on large ones.
BLOCKS = (64, 16)

_ACTIVE: contextvars.ContextVar[bool] = contextvars.ContextVar("batch_invariant", default=False)


@contextlib.contextmanager
def batch_invariant() -> Iterator[None]:
    """Make networks on the CPU compute every row as if it were alone, for the length of a `with` block. Slower."""
    token = _ACTIVE.set(True)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def is_batch_invariant(like: Tensor) -> bool:
    """Whether products of such tensors have to be batch-invariant now."""
    return _ACTIVE.get() and like.device.type == "cpu" and not torch.is_grad_enabled()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, in blocks within `batch_invariant`.

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
    """Contiguous blocks of `rows` along `dim`, the last one padded with zeros."""
    for start in range(0, tensor.shape[dim], rows):
        block = tensor.narrow(dim, start, min(rows, tensor.shape[dim] - start))
        missing = rows - block.shape[dim]
        if missing:
            shape = list(block.shape)
            shape[dim] = missing
            block = torch.cat([block, block.new_zeros(shape)], dim=dim)
        yield block.contiguous()


@functools.cache
def rows_of_block(outputs: int, inputs: int, dtype: torch.dtype, sizes: tuple[int, ...] = BLOCKS) -> int:
    """The first of `sizes` in which a row's result doesn't depend on its position, or 1."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator).to(dtype)
    for size in sizes:
        rows = torch.randn(size, inputs, generator=generator).to(dtype)
        first = F.linear(rows, weight)
        if all(torch.equal(F.linear(rows.roll(by, 0), weight).roll(-by, 0), first) for by in range(1, size)):
            return size
    return 1
