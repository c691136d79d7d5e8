"""The recurrence over time: `scan` runs a cell along a sequence, forward and back.

The time loop is one autograd function per layer: the input's share of the gates comes in for all steps at once, each
step does one recurrent product and the cell's arithmetic, and the weight gradient is one large product over all steps
at the end. That is several times faster than a tape of small operations, and faster than `nn.LSTM` on a CPU, which
packs its weights anew at every call. Where the compiled kernels are there all of it is one call a sequence
(`sequence.py`, on processors with AVX-512), or the cell's arithmetic one pass a step (`fused.py`).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgen.model.invariant import BLOCK, blocks, is_batch_invariant, rows_of_block
from seqgen.model.recurrent.cells import Cell, Saved, State
from seqgen.model.recurrent.fused import fused_loop
from seqgen.model.recurrent.native import SequenceLoop, sequence_loop


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
        state: tensors of shape (batch, units); float32, or float64 if x is.

    Returns:
        the outputs h_1 … h_T, shape (time, batch, units), in the type of x, and the last state, in the type of `state`.
    """
    loop = sequence_loop(cell, x) or fused_loop(cell, x) or EagerLoop(cell)
    if is_batch_invariant(x) and not isinstance(loop, SequenceLoop):  # whose rows never depend on each other
        return _in_blocks(loop, x, weight.to(x.dtype), bias, state)
    if not torch.is_grad_enabled():
        outputs, last, _ = loop.forward(x, weight.to(x.dtype), bias, state, save_for_backward=False)
        return outputs[1:], last
    outputs, *last = _Scan.apply(loop, x, weight, bias, *state)  # type: ignore[no-untyped-call]
    return outputs, tuple(last)


def _in_blocks(loop: TimeLoop, x: Tensor, weight: Tensor, bias: Tensor | None, state: State) -> tuple[Tensor, State]:
    """See `scan` and `batch_invariant`: a block of rows at a time."""
    # Arithmetic on single numbers takes 32 of them at a time, and those left over otherwise.
    rows = rows_of_block(*weight.shape, x.dtype) if (BLOCK * weight.shape[1]) % 32 == 0 else 1
    results = [
        loop.forward(x_block, weight, bias, tuple(state_block), save_for_backward=False)
        for x_block, *state_block in zip(blocks(x, rows, dim=1), *(blocks(part, rows) for part in state), strict=True)
    ]
    batch = x.shape[1]
    last = tuple(torch.cat(parts)[:batch] for parts in zip(*(result[1] for result in results), strict=True))
    return torch.cat([result[0][1:] for result in results], dim=1)[:, :batch], last


class TimeLoop(Protocol):
    """The time loop of one cell, forward and back. `history`: h_0 … h_T in the type of the products."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        """The history, the last state, and where `save_for_backward`, what the way back needs. `weight` is in the type of x."""
        ...

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> tuple[Tensor, Tensor, State]:
        """Gradients with respect to the input's and the state's shares of the gates, (time, batch, gates · units) each
        (one tensor where they are the same), and to the first state."""
        ...


class EagerLoop:
    """The cell's own arithmetic, an operation of PyTorch's at a time: on any device, in any type."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        turned = weight.t()
        low_bias = None if bias is None else bias.to(x.dtype)
        # Row t is the old output of step t, rows 1 … T are the result.
        history = x.new_empty(len(x) + 1, *state[0].shape)
        history[0] = state[0]
        product = x.new_empty(x.shape[1:])
        saved: list[Tensor] = []
        for t in range(len(x)):
            if low_bias is None:
                torch.mm(history[t], turned, out=product)
            else:
                torch.addmm(low_bias, history[t], turned, out=product)
            state, kept = self._cell.forward(x[t], product, state)
            history[t + 1] = state[0]
            if save_for_backward:
                saved.extend(kept)
        return history, state, tuple(saved)

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> tuple[Tensor, Tensor, State]:
        steps = len(grad_outputs)
        kept = len(saved) // max(steps, 1)
        grad_x = weight.new_empty(steps, history.shape[1], weight.shape[0])
        # Where x and h take part in the gates as a sum their gradients are one tensor, and one copy is enough.
        shared = not self._cell.recurrent_bias
        grad_h = grad_x if shared else torch.empty_like(grad_x)
        grad_state = list(grad_last)
        through = grad_state[0].clone()
        for t in range(steps - 1, -1, -1):
            through += grad_outputs[t]
            dx, dh, rest = self._cell.backward(saved[t * kept : (t + 1) * kept], (through, *grad_state[1:]))
            grad_x[t] = dx
            if not shared:
                grad_h[t] = dh
            through = torch.mm(grad_h[t], weight).to(through.dtype)
            if self._cell.states > 1:
                grad_state[1:] = rest
            elif rest:
                through += rest[0]
        return grad_x, grad_h, (through, *grad_state[1:])


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loop: TimeLoop, x: Tensor, weight: Tensor, bias: Tensor | None, *state: Tensor
    ) -> tuple[Tensor, ...]:
        low = weight.to(x.dtype)
        history, last, saved = loop.forward(x, low, bias, state, save_for_backward=True)
        ctx.loop, ctx.has_bias = loop, bias is not None
        ctx.save_for_backward(low, history, *saved)
        return (history[1:], *last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, *grad_last: Tensor) -> tuple[Tensor | None, ...]:
        weight, history, *saved = ctx.saved_tensors
        grad_x, grad_h, grad_state = ctx.loop.backward(tuple(saved), history, weight, grad_outputs, grad_last)
        exact, flat = grad_last[0].dtype, grad_h.flatten(0, 1)
        # One large product over all steps.
        grad_weight = torch.mm(flat.t(), history[:-1].flatten(0, 1)).to(exact)
        grad_bias = flat.to(exact).sum(0) if ctx.has_bias else None
        return (None, grad_x, grad_weight, grad_bias, *grad_state)
