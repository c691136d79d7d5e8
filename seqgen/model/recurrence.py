"""The recurrence over time: `scan` runs a cell along a sequence, forward and back.

The time loop is one autograd function per layer: the input's share of the gates comes in for all steps at once, each
step does one recurrent product and the cell's arithmetic, and the weight gradient is one large product over all steps
at the end. That is several times faster than a tape of small operations, and faster than `nn.LSTM` on a CPU, which
packs its weights anew at every call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgen.model.cells import Cell, Saved, State


def scan_reference(cell: Cell, x: Tensor, weight: Tensor, bias: Tensor | None, state: State) -> tuple[Tensor, State]:
    """`scan` in plain operations, for autograd to follow. Same arguments, same results, slower."""
    outputs = []
    for step in x:
        state = cell.step(step, torch.nn.functional.linear(state[0], weight, bias), state)
        outputs.append(state[0])
    return torch.stack(outputs), state


def scan(cell: Cell, x: Tensor, weight: Tensor, bias: Tensor | None, state: State) -> tuple[Tensor, State]:
    """Runs `cell` over a sequence.

    Args:
        x: the input's share of the gates, shape (time, batch, gates · units); float32, float64 or bfloat16, and the
            recurrent products are done in the same type.
        weight: recurrent weights, shape (gates · units, units).
        bias: recurrent bias, shape (gates · units,), for cells that have one.
        state: tensors of shape (batch, units); float32, or float64 if x is. Carried in full precision.

    Returns:
        the outputs h_1 … h_T, shape (time, batch, units), in the type of x, and the last state.
    """
    if not torch.is_grad_enabled():
        outputs, last, _ = _run(cell, x, weight.to(x.dtype), bias, state, keep=False)
        return outputs[1:], last
    outputs, *last = _Scan.apply(cell, x, weight, bias, *state)  # type: ignore[no-untyped-call]
    return outputs, tuple(last)


def _run(
    cell: Cell, x: Tensor, low: Tensor, bias: Tensor | None, state: State, keep: bool
) -> tuple[Tensor, State, list[Saved]]:
    """The time loop, forward: h_0 … h_T in the type of the products, the last state, and where `keep`, what the way
    back needs."""
    turned = low.t()
    low_bias = None if bias is None else bias.to(x.dtype)
    # Row t is the old output of step t, rows 1 … T are the result.
    history = x.new_empty(len(x) + 1, *state[0].shape)
    history[0] = state[0]
    product = x.new_empty(x.shape[1:])
    saved = []
    for t in range(len(x)):
        if low_bias is None:
            torch.mm(history[t], turned, out=product)
        else:
            torch.addmm(low_bias, history[t], turned, out=product)
        state, kept = cell.forward(x[t], product, state)
        history[t + 1] = state[0]
        if keep:
            saved.append(kept)
    return history, state, saved


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: Cell, x: Tensor, weight: Tensor, bias: Tensor | None, *state: Tensor
    ) -> tuple[Tensor, ...]:
        low = weight.to(x.dtype)
        history, state, saved = _run(cell, x, low, bias, state, keep=True)
        ctx.cell, ctx.steps, ctx.kept = cell, len(x), len(saved[0]) if saved else 0
        ctx.has_bias = bias is not None
        ctx.save_for_backward(low, history, *[tensor for kept in saved for tensor in kept])
        return (history[1:], *state)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, *grad_last: Tensor) -> tuple[Tensor | None, ...]:
        weight, history, *flat = ctx.saved_tensors
        cell, steps, kept = ctx.cell, ctx.steps, ctx.kept
        grad_x = weight.new_empty(steps, history.shape[1], weight.shape[0])
        # Where x and h take part in the gates as a sum their gradients are one tensor, and one copy is enough.
        shared = not cell.recurrent_bias
        grad_h = grad_x if shared else torch.empty_like(grad_x)
        grad_state = list(grad_last)
        through = grad_state[0].clone()
        for t in range(steps - 1, -1, -1):
            through += grad_outputs[t]
            dx, dh, rest = cell.backward(tuple(flat[t * kept : (t + 1) * kept]), (through, *grad_state[1:]))
            grad_x[t] = dx
            if not shared:
                grad_h[t] = dh
            through = torch.mm(grad_h[t], weight).to(through.dtype)
            if cell.states > 1:
                grad_state[1:] = rest
            elif rest:
                through += rest[0]
        flat_h = grad_h.flatten(0, 1)
        grad_weight = torch.mm(flat_h.t(), history[:-1].flatten(0, 1)).to(grad_last[0].dtype)
        grad_bias = flat_h.to(grad_last[0].dtype).sum(0) if ctx.has_bias else None
        return (None, grad_x, grad_weight, grad_bias, through, *grad_state[1:])
