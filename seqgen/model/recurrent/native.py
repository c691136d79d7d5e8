"""The time loops of the cells in compiled kernels.

`SequenceLoop` is one call for a whole sequence (`native/sequence.c`). It takes float32 on every processor with kernels,
and bfloat16 on some (`seqgen_sequence_dtypes` in `native/dispatch.c`). It sums the products of bfloat16 in float32 and
passes them to the gates unrounded. The step loops are one product and one kernel a step (`native/cells.c`). Both save
the same tensors for the backward pass: the activated gates in the dtype of the products, and the state in float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from seqgen.model.recurrent.cells import Cell, Saved, State
from seqgen.native import library_with_threads
from seqgen.native.sequence_call import UNIT_MULTIPLE, SequenceCall, run_sequence
from seqgen.specs.registry import resolve

Gradients = tuple[Tensor, Tensor, State]

_DTYPES = (torch.float32, torch.bfloat16)  # `SequenceLoop` takes the first `seqgen_sequence_dtypes()` of them


class TimeLoop(Protocol):
    """The time loop of one cell, forward and backward. `history`: h_0 … h_T in the dtype of the products."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        """The history, the last state, and the tensors saved for backward if asked for. `weight` has the dtype of x."""
        ...

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> tuple[Tensor, Tensor, State]:
        """Gradients with respect to the input's and the state's terms of the gates and to the first state.

        The first two have shape (time, batch, gates · units); they are one tensor where they are equal.
        """
        ...


def sequence_loop(cell: Cell, x: Tensor) -> SequenceLoop | None:
    """The whole-sequence loop of `cell` for inputs like `x`.

    None without kernels, and for a processor, device, dtype, size or cell that they don't support.
    """
    if x.device.type != "cpu" or cell.spec.native_id is None or x.dtype not in _DTYPES:
        return None
    if x.shape[-1] % (cell.spec.gates * UNIT_MULTIPLE):
        return None
    kernels = library_with_threads()
    if kernels is None or _DTYPES.index(x.dtype) >= kernels.seqgen_sequence_dtypes():
        return None
    return SequenceLoop(kernels, cell, cell.spec.native_id)


def step_loop(cell: Cell, x: Tensor) -> TimeLoop | None:
    """The step-by-step loop of `cell` for inputs like `x`; None without kernels or for another device or dtype."""
    if x.device.type != "cpu" or x.dtype not in _DTYPES or cell.spec.step_kernels is None:
        return None
    kernels = library_with_threads()
    if kernels is None:
        return None
    loop: TimeLoop = resolve(cell.spec.step_kernels)(kernels, cell)
    return loop


class SequenceLoop:
    """All steps of all rows in one call for each pass."""

    def __init__(self, kernels: ctypes.CDLL, cell: Cell, native_id: int) -> None:
        self._kernels, self._cell, self._id = kernels, cell, native_id

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        x, weight = x.contiguous(), weight.contiguous()
        bias = None if bias is None else bias.to(torch.float32).contiguous()
        history = _history(x, state[0])
        saves_gates = save_for_backward and not self._cell.spec.saves_only_outputs
        states_f32 = state[-1].new_empty(len(x) + 1 if saves_gates else 1, *state[0].shape)
        states_f32[0] = state[-1]
        gates = x.new_empty(len(x) if saves_gates else 0, x.shape[1], 4 * state[0].shape[1])
        self._call(self._kernels.seqgen_sequence_forward, history, save_for_backward=int(save_for_backward),
                   x=x, weight=weight, bias=bias, state_f32=states_f32, saved=gates)  # fmt: skip
        last = states_f32[-1] if saves_gates else states_f32[0]
        state = (history[-1].to(state[0].dtype), last) if self._cell.spec.states > 1 else (last,)
        return history, state, (gates, states_f32) if saves_gates else ()

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> Gradients:
        gates, states_f32 = saved or (None, None)
        grad_outputs, weight = grad_outputs.contiguous(), weight.contiguous()
        grad_x = weight.new_empty(*grad_outputs.shape[:2], len(weight))
        grad_h = torch.empty_like(grad_x) if self._cell.spec.recurrent_bias else grad_x
        grad_hidden = grad_last[0].clone(memory_format=torch.contiguous_format)
        grad_carry = (
            grad_last[1].clone(memory_format=torch.contiguous_format)
            if self._cell.spec.states > 1
            else torch.zeros_like(grad_hidden)
        )
        self._call(self._kernels.seqgen_sequence_backward, history, weight=weight, state_f32=states_f32, saved=gates,
                   grad_out=grad_outputs, grad_x=grad_x, grad_h=grad_h, grad_hidden=grad_hidden,
                   grad_carry=grad_carry)  # fmt: skip
        if self._cell.spec.states > 1:
            return grad_x, grad_h, (grad_hidden, grad_carry)
        return grad_x, grad_h, (grad_hidden.add_(grad_carry),)

    def _call(
        self, function: Callable[..., int], history: Tensor, save_for_backward: int = 0, **tensors: Tensor | None
    ) -> None:
        """Call a kernel with the pointers of tensors, which are named like the fields of `SequenceCall`."""
        steps, rows, units = history.shape
        pointers = {name: None if tensor is None else tensor.data_ptr() for name, tensor in tensors.items()}
        sequence = SequenceCall(
            self._id, history.dtype == torch.bfloat16, self._cell.activation == "relu", save_for_backward,
            steps - 1, rows, units, history=history.data_ptr(), **pointers,
        )  # fmt: skip
        run_sequence(function, sequence, torch.get_num_threads())


class StepLoop:
    """Base of the loops with one product and one kernel a step."""

    def __init__(self, kernels: ctypes.CDLL, cell: Cell) -> None:
        self._kernels = kernels
        self._relu = int(cell.activation == "relu")


def _header(history: Tensor) -> tuple[int, int, int, int]:
    """The first arguments of every step kernel: whether bfloat16, rows, units, threads."""
    return int(history.dtype == torch.bfloat16), history.shape[1], history.shape[2], torch.get_num_threads()


def _history(x: Tensor, start: Tensor) -> Tensor:
    """A buffer for h_0 … h_T in the dtype of the products, with h_0 filled in."""
    history = x.new_empty(len(x) + 1, *start.shape)
    history[0] = start
    return history


def _row_pointers(tensor: Tensor) -> list[int]:
    """The address of each item along the first dimension."""
    size = tensor.stride(0) * tensor.element_size()
    return [tensor.data_ptr() + number * size for number in range(len(tensor))]


class LSTMStepLoop(StepLoop):
    """The LSTM; the kernel activates the gates in the buffer of the product."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        steps = len(x)
        history = _history(x, state[0])
        cells = (
            state[1].new_empty(steps + 1, *state[1].shape) if save_for_backward else torch.stack([state[1], state[1]])
        )
        cells[0] = state[1]
        gates = (
            torch.empty_like(x, memory_format=torch.contiguous_format)
            if save_for_backward
            else x.new_empty(1, *x.shape[1:])
        )
        header, transposed, kernel = _header(history), weight.t(), self._kernels.seqgen_lstm_forward
        outputs, gate_rows, cell_rows = _row_pointers(history), _row_pointers(gates), _row_pointers(cells)
        for t, (step, old) in enumerate(zip(x.unbind(), history.unbind(), strict=False)):
            row = t if save_for_backward else 0
            torch.addmm(step, old, transposed, out=gates[row])
            before, after = (t, t + 1) if save_for_backward else (t % 2, (t + 1) % 2)
            kernel(*header, gate_rows[row], cell_rows[before], cell_rows[after], outputs[t + 1])
        last = cells[steps if save_for_backward else steps % 2]
        return history, (history[-1].to(state[0].dtype), last), (gates, cells) if save_for_backward else ()

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> Gradients:
        gates, cells = saved
        grad_outputs = grad_outputs.contiguous()
        grad_x = torch.empty_like(gates)
        grad_hidden = grad_last[0].to(weight.dtype, copy=True).contiguous()
        grad_cell = grad_last[1].clone().contiguous()
        header, kernel = _header(history), self._kernels.seqgen_lstm_backward
        gate_rows, cell_rows = _row_pointers(gates), _row_pointers(cells)
        output_rows, x_rows, steps = _row_pointers(grad_outputs), _row_pointers(grad_x), grad_x.unbind()
        for t in range(len(grad_x) - 1, -1, -1):
            kernel(
                *header, gate_rows[t], cell_rows[t], cell_rows[t + 1], output_rows[t], grad_hidden.data_ptr(),
                grad_cell.data_ptr(), x_rows[t],
            )  # fmt: skip
            torch.mm(steps[t], weight, out=grad_hidden)
        return grad_x, grad_x, (grad_hidden.to(grad_last[0].dtype), grad_cell)


class GRUStepLoop(StepLoop):
    """The GRU; the product has its own buffer, since the reset gate multiplies it before the input's term is added."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        assert bias is not None
        x, steps, batch, units = x.contiguous(), len(x), *state[0].shape
        history = _history(x, state[0])
        states_f32 = state[0].new_empty(steps + 1 if save_for_backward else 2, batch, units)
        states_f32[0] = state[0]
        gates = x.new_empty(steps if save_for_backward else 1, batch, 4 * units)
        product = x.new_empty(x.shape[1:])
        header, transposed, bias = _header(history), weight.t(), bias.to(x.dtype)
        x_rows, outputs = _row_pointers(x), _row_pointers(history)
        state_rows, gate_rows = _row_pointers(states_f32), _row_pointers(gates)
        for t, old in enumerate(history.unbind()[:-1]):
            torch.addmm(bias, old, transposed, out=product)
            before, after, row = (t, t + 1, t) if save_for_backward else (t % 2, (t + 1) % 2, 0)
            self._kernels.seqgen_gru_forward(
                *header, x_rows[t], product.data_ptr(), state_rows[before], state_rows[after], outputs[t + 1],
                gate_rows[row],
            )  # fmt: skip
        last = states_f32[steps if save_for_backward else steps % 2]
        return history, (last,), (gates, states_f32) if save_for_backward else ()

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> Gradients:
        gates, states_f32 = saved
        grad_outputs = grad_outputs.contiguous()
        steps, batch, units = grad_outputs.shape
        grad_x = weight.new_empty(steps, batch, 3 * units)
        grad_h = torch.empty_like(grad_x)
        grad_hidden = weight.new_zeros(batch, units)
        grad_carry = grad_last[0].clone().contiguous()
        header, h_steps = _header(history), grad_h.unbind()
        gate_rows, state_rows, output_rows = (
            _row_pointers(gates),
            _row_pointers(states_f32),
            _row_pointers(grad_outputs),
        )
        x_rows, h_rows = _row_pointers(grad_x), _row_pointers(grad_h)
        for t in range(steps - 1, -1, -1):
            self._kernels.seqgen_gru_backward(
                *header, gate_rows[t], state_rows[t], output_rows[t], grad_hidden.data_ptr(), grad_carry.data_ptr(),
                x_rows[t], h_rows[t],
            )  # fmt: skip
            torch.mm(h_steps[t], weight, out=grad_hidden)
        return grad_x, grad_h, (grad_carry.add_(grad_hidden),)


class RNNStepLoop(StepLoop):
    """The simple RNN, all in place: its backward pass needs only the outputs."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        history = _history(x, state[0])
        state_f32 = torch.empty_like(state[0], memory_format=torch.contiguous_format)
        header, transposed, kernel = _header(history), weight.t(), self._kernels.seqgen_rnn_forward
        outputs, rows = _row_pointers(history), history.unbind()
        for t, step in enumerate(x.unbind()):
            torch.addmm(step, rows[t], transposed, out=rows[t + 1])
            kernel(self._relu, *header, outputs[t + 1], state_f32.data_ptr())
        return history, (state_f32 if len(x) else state[0],), ()

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> Gradients:
        grad_outputs = grad_outputs.contiguous()
        grad_x = torch.empty_like(grad_outputs)
        grad_hidden = grad_last[0].to(weight.dtype, copy=True).contiguous()
        header, kernel, steps = _header(history), self._kernels.seqgen_rnn_backward, grad_x.unbind()
        outputs, output_rows, x_rows = _row_pointers(history), _row_pointers(grad_outputs), _row_pointers(grad_x)
        for t in range(len(grad_x) - 1, -1, -1):
            kernel(self._relu, *header, outputs[t + 1], output_rows[t], grad_hidden.data_ptr(), x_rows[t])
            torch.mm(steps[t], weight, out=grad_hidden)
        return grad_x, grad_x, (grad_hidden.to(grad_last[0].dtype),)
