"""Whole layers by PyTorch's own recurrent operators, which on a GPU are cuDNN's (MIOpen's on AMD's).

One call has the input's product, the time loop and the gates of a layer, where the loop of `scan` would launch dozens
of kernels a step. A cell's row names the operators whose arithmetic is that of the cell. A GPU computes every cell that
has them in this way; on CPUs they are slower than the loops of `scan`, and tests turn them on (`fused_on_cpu`) to hold
them against these.

The operators keep the carried state in the dtype of their products. An LSTM's cell state is a sum over hundreds of
steps; bfloat16, with 8 bits, would lose every increment below 1/256 of it. So layers are computed in float32, and where
bfloat16 is allowed their products are in TF32 instead (`allow_tf32`): three more bits than bfloat16 in the factors, and
float32 in sums and states.
"""

from __future__ import annotations

import contextlib
import contextvars
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from seqgen.model.recurrent.cells import Cell, State

_DEVICES = ("cuda",)  # MPS has a graph of its own for the LSTM only, slower than its CPU's loops

_ON_CPU: contextvars.ContextVar[bool] = contextvars.ContextVar("fused_on_cpu", default=False)

# cuDNN copies weights into one buffer at every call unless they lie in one; `_in_one_buffer` lays them out as it does.
# Should a version of cuDNN add padding, it copies them again, which costs less than the warning's text says.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk of memory")


@contextlib.contextmanager
def fused_on_cpu() -> Iterator[None]:
    """Make layers on CPUs use the operators too, for the length of a `with` block."""
    token = _ON_CPU.set(True)
    try:
        yield
    finally:
        _ON_CPU.reset(token)


def allow_tf32(allowed: bool) -> None:
    """Set whether a GPU rounds the factors of float32 products to 11 bits, which makes them several times faster."""
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def is_fused(cell: Cell, device: torch.device) -> bool:
    """Whether layers of this cell are computed by `run_fused` on this device."""
    return bool(cell.spec.fused) and (device.type in _DEVICES or (_ON_CPU.get() and device.type == "cpu"))


def run_fused(
    cell: Cell,
    inputs: Tensor,
    input_weight: Tensor,
    bias: Tensor,
    recurrent_weight: Tensor,
    recurrent_bias: Tensor | None,
    state: State,
) -> tuple[Tensor, State]:
    """Run a layer over a sequence, in the dtype of its state.

    Args:
        inputs: shape (time, batch, input size), of any floating dtype.
        input_weight, recurrent_weight: shape (gates · units, input size) and (gates · units, units).
        bias, recurrent_bias: shape (gates · units,); None for a cell without recurrent bias.
        state: tensors of shape (batch, units), float32 or float64.

    Returns:
        the outputs h_1 … h_T, shape (time, batch, units), and the last state.
    """
    dtype = state[0].dtype
    if not inputs.shape[0] * inputs.shape[1]:  # cuDNN takes no empty tensors
        return state[0].new_empty(*inputs.shape[:2], state[0].shape[1]), state
    if recurrent_bias is None:
        recurrent_bias = torch.zeros_like(bias)
    weights = [weight.to(dtype) for weight in (input_weight, recurrent_weight, bias, recurrent_bias)]
    operator = cell.spec.fused_operator(cell.activation)
    inputs = inputs.to(dtype)
    if len(inputs) == 1:  # two products and one kernel, with the weights where they are
        step = getattr(torch._VF, operator + "_cell")
        new = step(inputs[0], state if len(state) > 1 else state[0], *weights)
        state = new if isinstance(new, tuple) else (new,)
        return state[0][None], state
    first = tuple(tensor[None].contiguous() for tensor in state)
    run = getattr(torch._VF, operator)
    outputs, *last = run(
        inputs.contiguous(), first if len(first) > 1 else first[0], _in_one_buffer(weights),
        True, 1, 0.0, torch.is_grad_enabled(), False, False,
    )  # fmt: skip
    return outputs, tuple(tensor[0] for tensor in last)


def _in_one_buffer(weights: list[Tensor]) -> list[Tensor]:
    """The same weights one after another in memory, matrices first, as cuDNN reads them."""
    flat = torch.cat([weight.reshape(-1) for weight in weights])
    parts = torch.split(flat, [weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
