"""The fused cross-entropy equals the plain one, gradients included, in parts of any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seqgen.config import NetworkConfig
from seqgen.model.language import LanguageModel
from seqgen.training import cross_entropy
from seqgen.training.batches import IGNORE_INDEX
from seqgen.training.cross_entropy import language_loss, linear_cross_entropy


def inputs(tokens: int, width: int, vocabulary: int, kind: torch.dtype) -> tuple[torch.Tensor, ...]:
    chance = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, width, generator=chance, dtype=kind)
    weight = torch.randn(vocabulary, width, generator=chance, dtype=kind) / 3
    bias = torch.randn(vocabulary, generator=chance, dtype=kind)
    targets = torch.randint(vocabulary, (tokens,), generator=chance)
    return hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), targets


@pytest.mark.parametrize("ignored", [0, 1, 6, 70])
@pytest.mark.parametrize("numbers", [1, 500, 1 << 21])
def test_linear_cross_entropy_equals_that_of_a_linear_layer(
    numbers: int, ignored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "_LOGITS", numbers)  # parts of 64 rows, or all at once
    hidden, weight, bias, targets = inputs(150, 5, 11, torch.float64)
    targets[:ignored] = IGNORE_INDEX
    plain = F.cross_entropy(F.linear(hidden, weight, bias), targets, ignore_index=IGNORE_INDEX)
    fused = linear_cross_entropy(hidden, weight, bias, targets, IGNORE_INDEX)
    torch.testing.assert_close(fused, plain, rtol=1e-12, atol=0)
    wanted = torch.autograd.grad(3 * plain, (hidden, weight, bias))
    for got, want in zip(torch.autograd.grad(3 * fused, (hidden, weight, bias)), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-13)


def test_linear_cross_entropy_bfloat16_stays_near_float32() -> None:
    hidden, weight, bias, targets = inputs(300, 32, 1200, torch.float32)
    exact = torch.autograd.grad(F.cross_entropy(F.linear(hidden, weight, bias), targets), (hidden, weight))
    low = linear_cross_entropy(hidden.to(torch.bfloat16), weight, bias, targets, IGNORE_INDEX)
    for got, want in zip(torch.autograd.grad(low, (hidden, weight)), exact, strict=True):
        assert float((got - want).norm() / want.norm()) < 0.02


def test_linear_cross_entropy_all_ignored_is_zero() -> None:
    hidden, weight, bias, targets = inputs(9, 4, 7, torch.float32)
    loss = linear_cross_entropy(hidden, weight, bias, torch.full_like(targets, IGNORE_INDEX), IGNORE_INDEX)
    assert float(loss.detach()) == 0
    assert all(float(grad.abs().max()) == 0 for grad in torch.autograd.grad(loss, (hidden, weight, bias)))


def test_linear_cross_entropy_impossible_target_is_large_and_finite() -> None:
    hidden = torch.tensor([[300.0]], requires_grad=True)
    weight, bias = torch.tensor([[1.0], [-1.0]], requires_grad=True), torch.zeros(2, requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, bias, torch.tensor([1]), IGNORE_INDEX)
    assert 80 < float(loss.detach()) < 700
    (grad,) = torch.autograd.grad(loss, hidden)
    assert float(grad) == pytest.approx(2.0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("seen", [None, 1100])
def test_language_loss_fused_and_plain_agree(tied: bool, seen: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    config = NetworkConfig(vocab_size=1300, rnn_size=24, embedding_size=16, tie_weights=tied)
    network = LanguageModel(config, torch.Generator().manual_seed(0))
    hidden, targets = torch.randn(7, 3, 24), torch.randint(1100, (7, 3))
    fused = language_loss(network, hidden, targets, seen)
    monkeypatch.setattr(cross_entropy, "_FUSED_FROM", 1 << 30)
    torch.testing.assert_close(fused, language_loss(network, hidden, targets, seen), rtol=1e-5, atol=0)
