"""Arguments of the kernels in `sequence.c`: a whole sequence of one recurrent layer."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

UNIT_MULTIPLE = 16  # the number of units must be a multiple of this

_I, _L, _P = ctypes.c_int, ctypes.c_long, ctypes.c_void_p


class SequenceCall(ctypes.Structure):
    """`SequenceCall` of `sequence.c`, which documents the shapes. Fields that are not given are null."""

    _fields_ = [
        ("cell", _I), ("bf16", _I), ("relu", _I), ("save_for_backward", _I), ("steps", _L), ("rows", _L), ("units", _L),
        ("x", _P), ("weight", _P), ("bias", _P), ("history", _P), ("state_f32", _P), ("saved", _P), ("grad_out", _P),
        ("grad_x", _P), ("grad_h", _P), ("grad_hidden", _P), ("grad_carry", _P), ("ids", _P), ("lengths", _P),
        ("pooled", _P),
    ]  # fmt: skip


def run_sequence(function: Callable[..., int], sequence: SequenceCall, threads: int) -> None:
    """Call `seqgen_sequence_forward` or `seqgen_sequence_backward`. Raises `MemoryError`."""
    if function(ctypes.byref(sequence), threads):
        raise MemoryError("cannot run a recurrent layer: out of memory")
