"""The time loops of the cells as one call for the whole sequence (`native/sequence.c`; see `recurrence.Loop`).

For processors with AVX-512. The numbers are those of `fused.py`, whose memory is laid out alike, but for the order of
sums; what bfloat16 multiplies is summed in float32 and goes into the gates unrounded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from seqgen.model.recurrent.cells import Cell, State
from seqgen.native import library_with_threads
from seqgen.native.sequence_call import CELLS, UNIT_MULTIPLE, SequenceCall, run_sequence

Saved = tuple[Tensor, ...]

_KINDS = (torch.float32, torch.bfloat16)  # in the order in which processors have learnt them


def sequence_loop(cell: Cell, x: Tensor) -> SequenceLoop | None:
    """The loop of `cell` for inputs like `x`, or None: no kernels, a processor, a type, a size or a cell not theirs."""
    if x.device.type != "cpu" or cell.name not in CELLS or x.dtype not in _KINDS:
        return None
    if x.shape[-1] % (cell.gates * UNIT_MULTIPLE):
        return None
    kernels = library_with_threads()
    if kernels is None or _KINDS.index(x.dtype) >= kernels.seqgen_sequence_dtypes():
        return None
    return SequenceLoop(kernels, cell)


class SequenceLoop:
    """Forward and back, all steps of all rows in one call each."""

    def __init__(self, kernels: ctypes.CDLL, cell: Cell) -> None:
        self._kernels, self._cell = kernels, cell

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, state: State, save_for_backward: bool
    ) -> tuple[Tensor, State, Saved]:
        x, weight = x.contiguous(), weight.contiguous()
        bias = None if bias is None else bias.to(torch.float32).contiguous()
        history = x.new_empty(len(x) + 1, *state[0].shape)
        history[0] = state[0]
        records = save_for_backward and self._cell.name != "rnn"  # an RNN's output is its own record
        exact = state[-1].new_empty(len(x) + 1 if records else 1, *state[0].shape)
        exact[0] = state[-1]
        kept = x.new_empty(len(x) if records else 0, x.shape[1], 4 * state[0].shape[1])
        self._call(self._kernels.seqgen_sequence_forward, history, save_for_backward=int(save_for_backward),
                   x=x, weight=weight, bias=bias, state_f32=exact, saved=kept)  # fmt: skip
        last = exact[-1] if records else exact[0]
        state = (history[-1].to(state[0].dtype), last) if self._cell.states > 1 else (last,)
        return history, state, (kept, exact) if records else ()

    def backward(
        self, saved: Saved, history: Tensor, weight: Tensor, grad_outputs: Tensor, grad_last: State
    ) -> tuple[Tensor, Tensor, State]:
        kept, exact = saved or (None, None)
        grad_outputs, weight = grad_outputs.contiguous(), weight.contiguous()
        grad_x = weight.new_empty(*grad_outputs.shape[:2], len(weight))
        grad_h = torch.empty_like(grad_x) if self._cell.recurrent_bias else grad_x
        through = grad_last[0].clone(memory_format=torch.contiguous_format)
        carry = (
            grad_last[1].clone(memory_format=torch.contiguous_format)
            if self._cell.states > 1
            else torch.zeros_like(through)
        )
        self._call(self._kernels.seqgen_sequence_backward, history, weight=weight, state_f32=exact, saved=kept,
                   grad_out=grad_outputs, grad_x=grad_x, grad_h=grad_h, grad_hidden=through, grad_carry=carry)  # fmt: skip
        return grad_x, grad_h, (through, carry) if self._cell.states > 1 else (through.add_(carry),)

    def _call(
        self, function: Callable[..., int], history: Tensor, save_for_backward: int = 0, **tensors: Tensor | None
    ) -> None:
        """Hands the kernels the places of the tensors, by the names of the structure's fields."""
        steps, rows, units = history.shape
        places = {name: None if tensor is None else tensor.data_ptr() for name, tensor in tensors.items()}
        sequence = SequenceCall(
            CELLS[self._cell.name], history.dtype == torch.bfloat16, getattr(self._cell, "relu", False), save_for_backward,
            steps - 1, rows, units, history=history.data_ptr(), **places,
        )  # fmt: skip
        run_sequence(function, sequence, torch.get_num_threads())
