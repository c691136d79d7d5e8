"""The recurrence over time: gradients, bfloat16, and agreement with the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqgen.model.recurrent.cells import make_cell
from seqgen.model.recurrent.scan import scan, scan_reference
from seqgen.specs.cells import CELLS

VARIANTS = [(spec.name, activation) for spec in CELLS.values() for activation in spec.activations]
every_cell = pytest.mark.parametrize(("name", "activation"), VARIANTS)


def scan_arguments(name: str, activation: str, kind: torch.dtype, steps: int = 5, batch: int = 3, units: int = 4):
    """x, weight, bias or None, and the tensors of the state, all with gradients."""
    one = make_cell(name, activation)
    generator = torch.Generator().manual_seed(5)

    def make(*shape: int, scale: float = 1.0) -> Tensor:
        made = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        return made.to(kind).requires_grad_()

    x, weight = make(steps, batch, one.spec.gates * units), make(one.spec.gates * units, units, scale=units**-0.5)
    bias = make(one.spec.gates * units) if one.spec.recurrent_bias else None
    return one, x, weight, bias, tuple(make(batch, units) for _ in range(one.spec.states))


@every_cell
@pytest.mark.parametrize("steps", [1, 4])
def test_scan_gradients_agree_with_finite_differences(name: str, activation: str, steps: int) -> None:
    one, x, weight, bias, state = scan_arguments(name, activation, torch.float64, steps)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None, *state: Tensor) -> tuple[Tensor, ...]:
        outputs, last = scan(one, x, weight, bias, state)
        return (outputs, *last)

    assert torch.autograd.gradcheck(run, (x, weight, bias, *state))


@every_cell
@pytest.mark.parametrize("use", ["outputs", "last state", "both"])
def test_scan_equals_scan_reference_with_all_gradients(name: str, activation: str, use: str) -> None:
    """Losses on the outputs only or on the last state only pass different missing gradients to `backward`."""
    one, x, weight, bias, state = scan_arguments(name, activation, torch.float64, steps=6)
    wanted = [tensor for tensor in (x, weight, bias, *state) if tensor is not None]
    results = []
    for run in (scan, scan_reference):
        outputs, last = run(one, x, weight, bias, state)
        loss = outputs.new_zeros(())
        if use != "last state":
            loss = loss + (outputs * torch.linspace(-1, 1, outputs.numel()).double().view_as(outputs)).sum()
        if use != "outputs":
            loss = loss + sum(((k + 1) * tensor.square()).sum() for k, tensor in enumerate(last))
        # With T > 0 every argument is used, so no gradient may be missing.
        results.append([outputs, *last, *torch.autograd.grad(loss, wanted)])
    for ours, reference in zip(*results, strict=True):
        assert ours.dtype == reference.dtype
        torch.testing.assert_close(ours, reference, rtol=1e-11, atol=1e-11)


@every_cell
def test_scan_bfloat16_stays_near_float32(name: str, activation: str) -> None:
    """Products of numbers near 1 have an error of 2⁻⁸; training relies on a tolerance of 0.05 after 20 steps.

    States stay in float32, and so do the gradients of float32 arguments.
    """
    one, x, weight, bias, state = scan_arguments(name, activation, torch.float32, steps=20, batch=4, units=16)
    if activation == "relu":  # unbounded: keep it from growing
        weight = (weight.detach() * 0.4).requires_grad_()
    arguments = [tensor for tensor in (x, weight, bias, *state) if tensor is not None]
    exact, exact_last = scan(one, x, weight, bias, state)
    rough, rough_last = scan(one, x.bfloat16(), weight, bias, state)
    assert rough.dtype == torch.bfloat16
    assert all(tensor.dtype == torch.float32 for tensor in rough_last)
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)
    for ours, wanted in zip(rough_last, exact_last, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=0.05, atol=0.05)
    ours = torch.autograd.grad(rough.float().square().sum(), arguments)
    wanted = torch.autograd.grad(exact.square().sum(), arguments)
    for mine, theirs in zip(ours, wanted, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() <= 0.05 * theirs.norm()


@every_cell
def test_scan_leaves_its_arguments_unchanged(name: str, activation: str) -> None:
    one, x, weight, bias, state = scan_arguments(name, activation, torch.float64)
    arguments = [tensor for tensor in (x, weight, bias, *state) if tensor is not None]
    before = [tensor.detach().clone() for tensor in arguments]
    outputs, last = scan(one, x, weight, bias, state)
    (outputs.sum() + sum(tensor.sum() for tensor in last)).backward()
    for tensor, old in zip(arguments, before, strict=True):
        assert torch.equal(tensor, old)


@every_cell
def test_scan_no_steps_returns_the_state(name: str, activation: str) -> None:
    one, x, weight, bias, state = scan_arguments(name, activation, torch.float64)
    outputs, last = scan(one, x[:0], weight, bias, state)
    assert outputs.shape == (0, 3, 4)
    for tensor, old in zip(last, state, strict=True):
        assert torch.equal(tensor, old)
