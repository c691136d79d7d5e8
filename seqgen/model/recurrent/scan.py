"""The recurrence over time: `scan` runs a cell along a sequence, forward and backward.

The time loop is one autograd function per layer: the input's terms of the gates come in for all steps at once, each
step is one recurrent product and the cell's arithmetic, and the weight gradient is one large product over all steps at
the end. That is several times faster than a tape of small operations, and faster than `nn.LSTM` on a CPU, which repacks
its weights at every call. Compiled kernels do it in one call a sequence or one a step (see `native`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgen.model.batch_invariant import blocks, is_batch_invariant, rows_of_block
from seqgen.model.recurrent.cells import Cell, Saved, State
from seqgen.model.recurrent.native import SequenceLoop, TimeLoop, sequence_loop, step_loop


def scan(cell: Cell, x: Tensor, weight: Tensor, bias: Tensor | None, state: State) -> tuple[Tensor, State]:
    """Run `cell` over a sequence.

    Args:
        x: the input's terms of the gates, shape (time, batch, gates · units); float32, float64 or bfloat16, which is
            also the dtype of the recurrent products.
        weight: recurrent weights, shape (gates · units, units).
        bias: recurrent bias, shape (gates · units,), for cells that have one.
        state: tensors of shape (batch, units); float32, or float64 if x is.

    Returns:
        the outputs h_1 … h_T, shape (time, batch, units), in the dtype of x, and the last state, in the dtype of
        `state`.
    """
    if not cell.has_backward:
        run: _Scan = partial(scan_reference, cell)
        rows_are_independent = False
    else:
        loop: TimeLoop = sequence_loop(cell, x) or step_loop(cell, x) or EagerLoop(cell)
        run = partial(_scan_with_gradients if torch.is_grad_enabled() else _scan_without_gradients, loop)
        rows_are_independent = isinstance(loop, SequenceLoop)
    if is_batch_invariant(x) and not rows_are_independent:
        return _in_blocks(run, x, weight.to(x.dtype), bias, state)
    return run(x, weight, bias, state)


def scan_reference(cell: Cell, x: Tensor, weight: Tensor, bias: Tensor | None, state: State) -> tuple[Tensor, State]:
    """`scan` in plain operations that autograd follows. Same arguments, same results, slower."""
    weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    outputs = []
    for step in x:
        new = cell.step(step, F.linear(state[0].to(x.dtype), weight, bias), state)
        state = tuple(part.to(old.dtype) for part, old in zip(new, state, strict=True))
        outputs.append(state[0].to(x.dtype))
    return torch.stack(outputs), state


_Scan = Callable[[Tensor, Tensor, Tensor | None, State], tuple[Tensor, State]]


def _scan_with_gradients(
    loop: TimeLoop, x: Tensor, weight: Tensor, bias: Tensor | None, state: State
) -> tuple[Tensor, State]:
    outputs, *last = _ScanFunction.apply(loop, x, weight, bias, *state)  # type: ignore[no-untyped-call]
    return outputs, tuple(last)


def _scan_without_gradients(
    loop: TimeLoop, x: Tensor, weight: Tensor, bias: Tensor | None, state: State
) -> tuple[Tensor, State]:
    outputs, last, _ = loop.forward(x, weight.to(x.dtype), bias, state, save_for_backward=False)
    return outputs[1:], last


def _in_blocks(run: _Scan, x: Tensor, weight: Tensor, bias: Tensor | None, state: State) -> tuple[Tensor, State]:
    """Run a scan on a block of rows at a time (see `batch_invariant`)."""
    # Element-wise kernels vectorise 32 numbers at a time and round the remainder otherwise.
    rows = rows_of_block(*weight.shape, x.dtype)
    rows = rows if rows * weight.shape[1] % 32 == 0 else 1
    results = [
        run(x_block, weight, bias, tuple(state_block))
        for x_block, *state_block in zip(blocks(x, rows, dim=1), *(blocks(part, rows) for part in state), strict=True)
    ]
    batch = x.shape[1]
    last = tuple(torch.cat(parts)[:batch] for parts in zip(*(state for _, state in results), strict=True))
    return torch.cat([outputs for outputs, _ in results], dim=1)[:, :batch], last


class EagerLoop:
    """The cell's own arithmetic, one PyTorch operation at a time: on any device, in any dtype."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        transposed = weight.t()
        bias = None if bias is None else bias.to(x.dtype)
        history = x.new_empty(len(x) + 1, *state[0].shape)
        history[0] = state[0]
        product = x.new_empty(x.shape[1:])
        saved: list[Tensor] = []
        for t in range(len(x)):
            if bias is None:
                torch.mm(history[t], transposed, out=product)
            else:
                torch.addmm(bias, history[t], transposed, out=product)
            state, saved_step = self._cell.forward(x[t], product, state)
            history[t + 1] = state[0]
            if save_for_backward:
                saved.extend(saved_step)
        return history, state, tuple(saved)

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> tuple[Tensor, Tensor, State]:
        steps = len(grad_outputs)
        count = len(saved) // max(steps, 1)
        grad_x = weight.new_empty(steps, history.shape[1], weight.shape[0])
        # Where x and h enter the gates as a sum, their gradients are the same tensor.
        one_tensor = not self._cell.spec.recurrent_bias
        grad_h = grad_x if one_tensor else torch.empty_like(grad_x)
        grad_state = list(grad_last)
        grad_hidden = grad_state[0].clone()
        for t in range(steps - 1, -1, -1):
            grad_hidden += grad_outputs[t]
            dx, dh, rest = self._cell.backward(saved[t * count : (t + 1) * count], (grad_hidden, *grad_state[1:]))
            grad_x[t] = dx
            if not one_tensor:
                grad_h[t] = dh
            grad_hidden = torch.mm(grad_h[t], weight).to(grad_hidden.dtype)
            if self._cell.spec.states > 1:
                grad_state[1:] = rest
            elif rest:
                grad_hidden += rest[0]
        return grad_x, grad_h, (grad_hidden, *grad_state[1:])


class _ScanFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loop: TimeLoop, x: Tensor, weight: Tensor, bias: Tensor | None, *state: Tensor
    ) -> tuple[Tensor, ...]:
        narrow = weight.to(x.dtype)
        history, last, saved = loop.forward(x, narrow, bias, state, save_for_backward=True)
        ctx.loop, ctx.has_bias = loop, bias is not None
        ctx.save_for_backward(narrow, history, *saved)
        return (history[1:], *last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, *grad_last: Tensor) -> tuple[Tensor | None, ...]:
        weight, history, *saved = ctx.saved_tensors
        grad_x, grad_h, grad_state = ctx.loop.backward(tuple(saved), history, weight, grad_outputs, grad_last)
        dtype, flat = grad_last[0].dtype, grad_h.flatten(0, 1)
        grad_weight = torch.mm(flat.t(), history[:-1].flatten(0, 1)).to(dtype)
        grad_bias = flat.to(dtype).sum(0) if ctx.has_bias else None
        return (None, grad_x, grad_weight, grad_bias, *grad_state)
