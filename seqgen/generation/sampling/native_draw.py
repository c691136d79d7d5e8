"""Filters and the draw where the compiled kernels are there: one call for all streams (`native/draw.c`)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seqgen.generation.sampling.filters import FilterChain
from seqgen.native import library, pointer_to

_D, _L, _P = ctypes.c_double, ctypes.c_long, ctypes.c_void_p


class _Kind(ctypes.Structure):
    _fields_ = [("temperature", _D), ("first", _L), ("last", _L)]


class _Filters(ctypes.Structure):
    _fields_ = [
        *[(name, _D) for name in (
            "penalty", "dry_multiplier", "dry_base", "temperature", "dynatemp_range", "dynatemp_exponent", "top_p",
            "typical_p", "min_p", "xtc_probability", "xtc_threshold", "tau", "eta",
        )],
        *[(name, _L) for name in (
            "top_k", "window", "dry_window", "dry_allowed", "forbidden_count", "bias_count", "kind_count",
        )],
        *[(name, _P) for name in ("forbidden", "biased", "bias", "event_temperatures", "sequence_breakers")],
    ]  # fmt: skip


class _Streams(ctypes.Structure):
    _fields_ = [("capacity", _L), *[(name, _P) for name in ("history", "broken", "counts", "places", "limits")]]


class NativeSampler:
    """See `draw.Sampler`."""

    def __init__(self, filters: FilterChain, vocab_size: int, history: Sequence[int], streams: int) -> None:
        kernels = library()
        assert kernels is not None, "ask for the library before"
        self._draw = kernels.seqgen_draw
        self.numbers = np.ones((streams, 2))
        self.limits = np.full(streams, 2 * filters.options.mirostat_tau)
        self._kept: list[object] = []  # what the kernel points to
        options, names = filters.options, filters.names
        window = options.repetition_window if options.repetition_penalty != 1 else 0
        dry_window = options.dry_window if options.dry_multiplier else 0
        event_temperatures = (_Kind * len(names.event_temperatures))(
            *(_Kind(kind.temperature, kind.first, kind.last) for kind in names.event_temperatures)
        )
        self._kept.append(event_temperatures)
        self._filters = _Filters(
            options.repetition_penalty, options.dry_multiplier, options.dry_base, options.temperature,
            options.dynatemp_range, options.dynatemp_exponent, options.top_p, options.typical_p, options.min_p,
            options.xtc_probability, options.xtc_threshold, options.mirostat_tau, options.mirostat_eta,
            min(options.top_k, vocab_size), window, dry_window, options.dry_allowed_length, len(filters.forbidden),
            len(names.bias), len(names.event_temperatures), self._keep(np.array(filters.forbidden, dtype=np.int32)),
            self._keep(np.array([token for token, _ in names.bias], dtype=np.int32)),
            self._keep(np.array([added for _, added in names.bias], dtype=np.float64)), ctypes.addressof(event_temperatures),
            None if names.sequence_breakers is None else self._keep(names.sequence_breakers.table),
        )  # fmt: skip
        longest = max(window, dry_window)
        ids = np.zeros((streams, 2 * longest), dtype=np.int32)
        broken = np.zeros((streams, 2 * longest), dtype=np.uint8)
        places = np.zeros((streams, 2), dtype=np.int32)
        recent = list(history[-longest:]) if longest else []
        ids[:, : len(recent)] = recent
        if names.sequence_breakers is not None:
            flags, state = names.sequence_breakers.read(history[-longest - names.sequence_breakers.longest :])
            broken[:, : len(recent)], places[:] = flags[len(flags) - len(recent) :], state
        self._counts = np.full(streams, len(recent), dtype=np.int64)
        self._places = places if longest else None
        self._streams = _Streams(
            2 * longest, self._keep(ids), self._keep(broken), self._keep(self._counts), self._keep(places),
            self._keep(self.limits),
        )  # fmt: skip
        # The masks of the last draw, which often are those of the next, and where they lie.
        self._possible: npt.NDArray[np.bool_] | None = None
        self._allowed: npt.NDArray[np.bool_] | None = None
        self._possible_place: object = None
        self._allowed_place: object = None
        self._ids, self._logs = np.empty(streams, dtype=np.int32), np.empty(streams)
        self._settings = ctypes.byref(self._filters), ctypes.byref(self._streams), streams, vocab_size
        self._results = self._keep(self.numbers), self._keep(self._ids), self._keep(self._logs)

    def draw(
        self,
        logits: npt.NDArray[np.float32],
        possible: npt.NDArray[np.bool_] | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[list[int], list[float]]:
        if possible is not self._possible:
            self._possible, self._possible_place = possible, None if possible is None else pointer_to(possible)
        if allowed is not self._allowed:
            self._allowed, self._allowed_place = allowed, None if allowed is None else pointer_to(allowed)
        failed = self._draw(
            *self._settings, pointer_to(np.ascontiguousarray(logits)), self._possible_place, self._allowed_place,
            *self._results,
        )  # fmt: skip
        if failed:
            raise MemoryError("there is no memory for another draw")
        return self._ids.tolist(), self._logs.tolist()

    def forget_last(self, row: int) -> None:
        if self._places is not None:
            self._counts[row] -= 1
            self._places[row, 0] = self._places[row, 1]

    def _keep(self, array: npt.NDArray) -> int:
        """Where an array lies, which it does as long as this does."""
        self._kept.append(array)
        return array.ctypes.data
