"""The time loops of the cells with the compiled kernels: one product and one kernel a step (see `recurrence.Loop`).

What is kept for the way back is kept in the type of the products: the activated gates, and the cell state in float32.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from seqgen.model.recurrent.cells import Cell, State
from seqgen.native import library_with_threads

Saved = tuple[Tensor, ...]
Gradients = tuple[Tensor, Tensor, State]


def fused_loop(cell: Cell, x: Tensor) -> FusedLSTM | FusedGRU | FusedRNN | None:
    """The loop of `cell` for inputs like `x`, or None: no kernels, another device or type, a cell without kernels."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16) or cell.name not in FUSED:
        return None
    kernels = library_with_threads()
    return None if kernels is None else FUSED[cell.name](kernels, cell)


class _Fused:
    def __init__(self, kernels: ctypes.CDLL, cell: Cell) -> None:
        self._kernels = kernels
        self._relu = int(getattr(cell, "relu", False))


def _header(history: Tensor) -> tuple[int, int, int, int]:
    """What every kernel is told first: whether in bfloat16, rows, units, threads."""
    return int(history.dtype == torch.bfloat16), history.shape[1], history.shape[2], torch.get_num_threads()


def _begin(x: Tensor, start: Tensor) -> Tensor:
    """Room for h_0 … h_T in the type of the products, h_0 filled in."""
    history = x.new_empty(len(x) + 1, *start.shape)
    history[0] = start
    return history


def _places(tensor: Tensor) -> list[int]:
    """Where each of the tensor's rows lies in memory."""
    size = tensor.stride(0) * tensor.element_size()
    return [tensor.data_ptr() + number * size for number in range(len(tensor))]


class FusedLSTM(_Fused):
    """One product and one kernel a step; the gates are activated where the product left them."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        steps = len(x)
        history = _begin(x, state[0])
        cells = (
            state[1].new_empty(steps + 1, *state[1].shape) if save_for_backward else torch.stack([state[1], state[1]])
        )
        cells[0] = state[1]
        gates = (
            torch.empty_like(x, memory_format=torch.contiguous_format)
            if save_for_backward
            else x.new_empty(1, *x.shape[1:])
        )
        header, turned, kernel = _header(history), weight.t(), self._kernels.seqgen_lstm_forward
        outs, gate_places, cell_places = _places(history), _places(gates), _places(cells)
        for t, (step, old) in enumerate(zip(x.unbind(), history.unbind(), strict=False)):
            mine = t if save_for_backward else 0
            torch.addmm(step, old, turned, out=gates[mine])
            before, after = (t, t + 1) if save_for_backward else (t % 2, (t + 1) % 2)
            kernel(*header, gate_places[mine], cell_places[before], cell_places[after], outs[t + 1])
        last = cells[steps if save_for_backward else steps % 2]
        return history, (history[-1].to(state[0].dtype), last), (gates, cells) if save_for_backward else ()

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> Gradients:
        gates, cells = saved
        grad_outputs = grad_outputs.contiguous()
        grad_x = torch.empty_like(gates)
        through = grad_last[0].to(weight.dtype, copy=True).contiguous()
        grad_cell = grad_last[1].clone().contiguous()
        header, kernel = _header(history), self._kernels.seqgen_lstm_backward
        gate_places, cell_places = _places(gates), _places(cells)
        out_places, x_places, steps = _places(grad_outputs), _places(grad_x), grad_x.unbind()
        for t in range(len(grad_x) - 1, -1, -1):
            kernel(
                *header, gate_places[t], cell_places[t], cell_places[t + 1], out_places[t], through.data_ptr(),
                grad_cell.data_ptr(), x_places[t],
            )  # fmt: skip
            torch.mm(steps[t], weight, out=through)
        return grad_x, grad_x, (through.to(grad_last[0].dtype), grad_cell)


class FusedGRU(_Fused):
    """The product apart, since the reset gate stands between it and the input's share."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        assert bias is not None
        x, steps, batch, units = x.contiguous(), len(x), *state[0].shape
        history = _begin(x, state[0])
        exact = state[0].new_empty(
            steps + 1 if save_for_backward else 2, batch, units
        )  # the state itself is never rounded
        exact[0] = state[0]
        kept = x.new_empty(steps if save_for_backward else 1, batch, 4 * units)
        product = x.new_empty(x.shape[1:])
        header, turned, low_bias = _header(history), weight.t(), bias.to(x.dtype)
        x_places, outs, exact_places, kept_places = _places(x), _places(history), _places(exact), _places(kept)
        for t, old in enumerate(history.unbind()[:-1]):
            torch.addmm(low_bias, old, turned, out=product)
            before, after, mine = (t, t + 1, t) if save_for_backward else (t % 2, (t + 1) % 2, 0)
            self._kernels.seqgen_gru_forward(
                *header, x_places[t], product.data_ptr(), exact_places[before], exact_places[after], outs[t + 1],
                kept_places[mine],
            )  # fmt: skip
        return history, (exact[steps if save_for_backward else steps % 2],), (kept, exact) if save_for_backward else ()

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> Gradients:
        kept, exact = saved
        grad_outputs = grad_outputs.contiguous()
        steps, batch, units = grad_outputs.shape
        grad_x = weight.new_empty(steps, batch, 3 * units)
        grad_h = torch.empty_like(grad_x)
        through = weight.new_zeros(batch, units)
        direct = grad_last[0].clone().contiguous()
        header, h_steps = _header(history), grad_h.unbind()
        kept_places, exact_places, out_places = _places(kept), _places(exact), _places(grad_outputs)
        x_places, h_places = _places(grad_x), _places(grad_h)
        for t in range(steps - 1, -1, -1):
            self._kernels.seqgen_gru_backward(
                *header, kept_places[t], exact_places[t], out_places[t], through.data_ptr(), direct.data_ptr(),
                x_places[t], h_places[t],
            )  # fmt: skip
            torch.mm(h_steps[t], weight, out=through)
        return grad_x, grad_h, (direct.add_(through),)


class FusedRNN(_Fused):
    """All in place: an output is its own record."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        history = _begin(x, state[0])
        exact = torch.empty_like(state[0], memory_format=torch.contiguous_format)
        header, turned, kernel = _header(history), weight.t(), self._kernels.seqgen_rnn_forward
        outs, rows = _places(history), history.unbind()
        for t, step in enumerate(x.unbind()):
            torch.addmm(step, rows[t], turned, out=rows[t + 1])
            kernel(self._relu, *header, outs[t + 1], exact.data_ptr())
        return history, (exact if len(x) else state[0],), ()

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> Gradients:
        grad_outputs = grad_outputs.contiguous()
        grad_x = torch.empty_like(grad_outputs)
        through = grad_last[0].to(weight.dtype, copy=True).contiguous()
        header, kernel, steps = _header(history), self._kernels.seqgen_rnn_backward, grad_x.unbind()
        outs, grads, x_places = _places(history), _places(grad_outputs), _places(grad_x)
        for t in range(len(grad_x) - 1, -1, -1):
            kernel(self._relu, *header, outs[t + 1], grads[t], through.data_ptr(), x_places[t])
            torch.mm(steps[t], weight, out=through)
        return grad_x, grad_x, (through.to(grad_last[0].dtype),)


FUSED: dict[str, type[FusedLSTM] | type[FusedGRU] | type[FusedRNN]] = {
    "lstm": FusedLSTM,
    "gru": FusedGRU,
    "rnn": FusedRNN,
}
