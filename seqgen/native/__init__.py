"""The compiled kernels: C, built at installation if there is a compiler (see `build.py`).

One library contains the kernels of several instruction sets and uses the best that the processor has; `SEQGEN_ISA=avx2`
(see `instruction_sets`) forces another one. Everything works without the kernels, in numpy and PyTorch, but slower;
`SEQGEN_NATIVE=0` disables them.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import sys
from pathlib import Path
from typing import Any

from seqgen.errors import UserError

VERSION = 12  # of the functions below; a library of another version, from an older installation, is not used
LIBRARY = Path(__file__).with_name("kernels.dll" if sys.platform == "win32" else "kernels.so")

_I, _L, _P = ctypes.c_int, ctypes.c_long, ctypes.c_void_p
_STEP = [_I, _L, _L, _I]  # whether bfloat16, rows, units, threads
_SIGNATURES = {
    "seqgen_use_threads": [_P],
    "seqgen_help": [_P],
    "seqgen_row_product": [*[_P] * 3, *[_L] * 3, _P],
    "seqgen_exact_product": [*[_P] * 3, *[_L] * 3, _P],
    "seqgen_lstm_forward": [*_STEP, *[_P] * 4],
    "seqgen_lstm_backward": [*_STEP, *[_P] * 7],
    "seqgen_gru_forward": [*_STEP, *[_P] * 6],
    "seqgen_gru_backward": [*_STEP, *[_P] * 7],
    "seqgen_rnn_forward": [_I, *_STEP, *[_P] * 2],
    "seqgen_rnn_backward": [_I, *_STEP, *[_P] * 4],
    "seqgen_suffix_find": [_P, _L, _P, ctypes.c_char_p, _L, _P],
    "seqgen_grammar_mask": [_P] * 3,
    "seqgen_grammar_push": [_P, _P, _L, _P],
}
_RESULTS = {
    "seqgen_stack_run": [_P, _L, _L, *[_P] * 5],
    "seqgen_sequence_dtypes": [],
    "seqgen_sequence_forward": [_P, _I],
    "seqgen_sequence_backward": [_P, _I],
    "seqgen_draw": [_P, _P, _L, _L, *[_P] * 6],
    "seqgen_generate": [*[_P] * 4, _L, _L, *[_P] * 3, _L, *[_P] * 4],
    "seqgen_suffix_array": [_P, _L, _L, _P],
}

_NOTHING = _P * 0


def pointer_to(array: Any) -> Any:
    """A pointer to a contiguous numpy array, several times faster than `array.ctypes.data`; that is the fallback for
    read-only arrays."""
    try:
        return _NOTHING.from_buffer(array)
    except TypeError:
        return array.ctypes.data


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, or None without any.

    Raises `UserError` if `SEQGEN_ISA` names an instruction set that this processor or this library does not have.
    """
    if os.environ.get("SEQGEN_NATIVE") == "0" or not LIBRARY.exists():
        return None
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
        if loaded.seqgen_version() != VERSION:
            return None
    except (OSError, AttributeError):  # built for another platform, or older than `VERSION`
        return None
    for table, result in ((_SIGNATURES, None), (_RESULTS, _I)):
        for name, arguments in table.items():
            function = getattr(loaded, name)
            function.argtypes, function.restype = arguments, result
    for name, argument in (("seqgen_instruction_set", _I), ("seqgen_use_instruction_set", ctypes.c_char_p)):
        function = getattr(loaded, name)
        function.argtypes, function.restype = [argument], ctypes.c_char_p
    wanted = os.environ.get("SEQGEN_ISA")
    if loaded.seqgen_use_instruction_set(wanted.encode() if wanted else None) is None:
        raise UserError(f"SEQGEN_ISA={wanted}: not available here; choose one of {', '.join(_names(loaded))}")
    return loaded


def _names(loaded: ctypes.CDLL) -> tuple[str, ...]:
    names = map(loaded.seqgen_instruction_set, itertools.count())
    return tuple(name.decode() for name in itertools.takewhile(bool, names))


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets that both this processor and the kernels have, the best first; empty without kernels."""
    loaded = library()
    return () if loaded is None else _names(loaded)


def instruction_set() -> str | None:
    """The instruction set in use, or None without kernels."""
    return None if library() is None else os.environ.get("SEQGEN_ISA") or instruction_sets()[0]


@functools.cache
def library_with_threads() -> ctypes.CDLL | None:
    """The kernels, using the threads of the OpenMP runtime that this process has loaded (PyTorch's), if any."""
    loaded = library()
    if loaded is not None:
        try:
            process = ctypes.CDLL(None)
            loaded.seqgen_use_threads(ctypes.cast(process.GOMP_parallel, _P))
        except (OSError, TypeError, AttributeError):  # without such a runtime they use one thread
            pass
    return loaded
