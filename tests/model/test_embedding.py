"""Embedding lookup: its gradients, in float64 and bfloat16."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seqgen.model import embedding
from seqgen.model.embedding import embedding_lookup


def rng(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("rows", "count"), [(3, 60), (1, 5), (50, 20), (50, 200), (7, 1), (15, 60), (16, 60)])
def test_embedding_lookup_has_the_gradient_of_an_embedding(rows: int, count: int) -> None:
    """Few distinct ids are summed by a product, many by addition; both must be exact in float64."""
    ids = torch.randint(rows, (count, 2), generator=rng())
    factors = torch.randn(count, 2, 4, generator=rng(2), dtype=torch.float64)
    tables = [torch.randn(rows, 4, generator=rng(3), dtype=torch.float64).requires_grad_() for _ in range(2)]
    values = [embedding_lookup(tables[0], ids), F.embedding(ids, tables[1])]
    assert torch.equal(*values)
    for value in values:
        (value * factors).sum().backward()
    torch.testing.assert_close(tables[0].grad, tables[1].grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [2, 400])
def test_embedding_lookup_bfloat16_sum_keeps_small_gradients(rows: int) -> None:
    """1000 gradients of 1 added one by one in bfloat16 would stop at 256."""
    table = torch.zeros(rows, 3, dtype=torch.bfloat16, requires_grad=True)
    ids = torch.cat([torch.ones(1000, dtype=torch.long), torch.arange(rows)])
    embedding_lookup(table, ids).sum().backward()
    assert table.grad is not None
    assert (table.grad[1].float() - 1001).abs().max() <= 4  # the spacing of bfloat16 there
    assert (table.grad[0] == 1).all()


@pytest.mark.parametrize("rows", [7, 300, 2000])  # a product up to 1,024
def test_embedding_gradient_on_a_device_is_the_sum_of_each_row(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(rows, (5, 40), generator=generator)
    grad = torch.randn(5, 40, 6, generator=generator, dtype=torch.float64)
    wanted = torch.zeros(rows, 6, dtype=torch.float64).index_add(0, ids.flatten(), grad.flatten(0, 1))
    summed = embedding._summed_on_device(grad.flatten(0, 1), ids.flatten(), rows)
    torch.testing.assert_close(summed, wanted, rtol=1e-12, atol=1e-12)
