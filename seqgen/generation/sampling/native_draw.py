"""Filters and the draw by the compiled kernels: one call for all streams (`native/draw.c`)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seqgen.generation.engines.base import KernelDraw
from seqgen.generation.sampling.filters import FilterChain, SequenceBreakers
from seqgen.generation.sampling.transitions import KernelConstraint
from seqgen.native import library, pointer_to

_D, _L, _P = ctypes.c_double, ctypes.c_long, ctypes.c_void_p

# Fields of `Filters` of native.h that are options as they are, in its order.
_NUMBERS = {
    "penalty": "repetition_penalty", "dry_multiplier": "dry_multiplier", "dry_base": "dry_base",
    "temperature": "temperature", "dynatemp_range": "dynatemp_range", "dynatemp_exponent": "dynatemp_exponent",
    "top_p": "top_p", "typical_p": "typical_p", "min_p": "min_p", "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold", "tau": "mirostat_tau", "eta": "mirostat_eta",
}  # fmt: skip


class _TokenRange(ctypes.Structure):
    _fields_ = [("temperature", _D), ("first", _L), ("last", _L)]


class _Filters(ctypes.Structure):
    _fields_ = [
        *[(name, _D) for name in _NUMBERS],
        *[(name, _L) for name in (
            "top_k", "window", "dry_window", "dry_allowed", "forbidden_count", "bias_count", "range_count",
        )],
        *[(name, _P) for name in ("forbidden", "biased", "bias", "token_ranges", "breaks")],
    ]  # fmt: skip


class _Streams(ctypes.Structure):
    _fields_ = [
        ("capacity", _L),
        *[(name, _P) for name in ("history", "breaker_ended", "counts", "breaker_states", "limits")],
    ]


class NativeSampler:
    """See `draw.Sampler`."""

    def __init__(self, filters: FilterChain, vocab_size: int, history: Sequence[int], streams: int) -> None:
        kernels = library()
        assert kernels is not None and filters.is_compiled, "ask for both before"
        self._draw = kernels.seqgen_draw
        self.uniforms = np.ones((streams, 2))
        self.limits = np.full(streams, filters.initial_limit)
        self._kept: list[object] = []  # memory that the kernel points to
        options = filters.options
        window, dry_window = (filters.windows.get(name, 0) for name in ("repetition_penalty", "dry_multiplier"))
        bias = filters.resolved.get("logit_bias") or ()
        breakers: SequenceBreakers | None = filters.resolved.get("dry_multiplier")
        events = [
            _TokenRange(event.temperature, event.first, event.last)
            for event in filters.resolved.get("temperature") or ()
        ]
        event_temperatures = (_TokenRange * len(events))(*events)
        self._kept.append(event_temperatures)
        self.filters = _Filters(
            *(getattr(options, name) for name in _NUMBERS.values()),
            min(options.top_k, vocab_size), window, dry_window, options.dry_allowed_length, len(filters.forbidden),
            len(bias), len(events), self._keep(np.array(filters.forbidden, dtype=np.int32)),
            self._keep(np.array([token for token, _ in bias], dtype=np.int32)),
            self._keep(np.array([value for _, value in bias], dtype=np.float64)), ctypes.addressof(event_temperatures),
            None if breakers is None else self._keep(breakers.table),
        )  # fmt: skip
        longest = max(window, dry_window)
        ids = np.zeros((streams, 2 * longest), dtype=np.int32)
        broken = np.zeros((streams, 2 * longest), dtype=np.uint8)
        states = np.zeros((streams, 2), dtype=np.int32)  # of the breakers: after the last token, and before it
        recent = list(history[-longest:]) if longest else []
        ids[:, : len(recent)] = recent
        if breakers is not None:
            flags, state = breakers.read(history[-longest - breakers.longest :])
            broken[:, : len(recent)], states[:] = flags[len(flags) - len(recent) :], state
        self._counts = np.full(streams, len(recent), dtype=np.int64)
        self._states = states if longest else None
        self.streams = _Streams(
            2 * longest, self._keep(ids), self._keep(broken), self._keep(self._counts), self._keep(states),
            self._keep(self.limits),
        )  # fmt: skip
        # Masks often stay the same from draw to draw, and so do their pointers.
        self._possible: npt.NDArray[np.bool_] | None = None
        self._allowed: npt.NDArray[np.bool_] | None = None
        self._possible_pointer: object = None
        self._allowed_pointer: object = None
        self._ids, self._log_probs = np.empty(streams, dtype=np.int32), np.empty(streams)
        self._settings = ctypes.byref(self.filters), ctypes.byref(self.streams), streams, vocab_size
        self._results = self._keep(self.uniforms), self._keep(self._ids), self._keep(self._log_probs)

    def draw(
        self,
        logits: npt.NDArray[np.float32],
        possible: npt.NDArray[np.bool_] | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[list[int], list[float]]:
        if possible is not self._possible:
            self._possible, self._possible_pointer = possible, None if possible is None else pointer_to(possible)
        if allowed is not self._allowed:
            self._allowed, self._allowed_pointer = allowed, None if allowed is None else pointer_to(allowed)
        failed = self._draw(
            *self._settings, pointer_to(np.ascontiguousarray(logits)), self._possible_pointer, self._allowed_pointer,
            *self._results,
        )  # fmt: skip
        if failed:
            raise MemoryError("there is no memory for another draw")
        return self._ids.tolist(), self._log_probs.tolist()

    def forget_last(self, row: int) -> None:
        if self._states is not None:
            self._counts[row] -= 1
            self._states[row, 0] = self._states[row, 1]

    def _keep(self, array: npt.NDArray) -> int:
        """The address of an array, which stays valid as long as this object lives."""
        self._kept.append(array)
        return array.ctypes.data


def kernel_draw(samplers: Sequence[NativeSampler], constraints: Sequence[KernelConstraint | None]) -> KernelDraw:
    """The draws of several samplers of one stream each, whose filters may differ, and the constraint of each stream, if
    it has one. All of them must live as long."""
    pointers = _P * len(samplers)
    return KernelDraw(
        pointers(*(ctypes.addressof(sampler.filters) for sampler in samplers)),
        pointers(*(ctypes.addressof(sampler.streams) for sampler in samplers)),
        pointers(*(None if each is None else ctypes.addressof(each) for each in constraints)),
    )
