"""The state of the event grammar by compiled kernels, for pieces that are being drawn (`native/grammar.c`)."""

from __future__ import annotations

import ctypes
import functools

import numpy as np
import numpy.typing as npt

from seqgen.music.events import (
    EVENT_TYPES,
    MAX_DURATION_QUARTERS,
    MAX_LONGER_EVENTS,
    MAX_TRACKS,
    EventVocabulary,
    VocabularyOptions,
)
from seqgen.music.grammar import SUCCESSORS, GrammarState
from seqgen.native import library

EVENT_ORDER = (
    "bar", "metre", "position", "tempo", "track", "program", "drums", "velocity", "longer", "duration", "note", "drum",
    "end",
)  # fmt: skip
"""Event types in the order of `native/grammar.c`."""

_PITCHES = 128
_I = ctypes.c_int64


class _Vocabulary(ctypes.Structure):
    _fields_ = [
        *[(name, _I) for name in ("size", "longest", "most_longer", "rising")],
        *[(name, _I * len(EVENT_ORDER)) for name in ("first", "sizes", "after")],
        ("bar_lengths", ctypes.POINTER(_I)),
    ]


class _TrackState(ctypes.Structure):
    _fields_ = [*[(name, _I) for name in ("drums", "velocity", "duration")], ("ends", _I * _PITCHES)]


class _GrammarState(ctypes.Structure):
    _fields_ = [
        *[(name, _I) for name in (
            "previous", "metre", "now", "bar", "length", "tempo", "track", "group", "last", "longer", "parts",
            "melodic", "has_drums", "tempo_changes", "may_end", "any_pitch",
        )],
        ("pitches", ctypes.c_uint8 * _PITCHES),
        ("part", _TrackState * MAX_TRACKS),
    ]  # fmt: skip


@functools.lru_cache(maxsize=8)
def _native_vocabulary(options: VocabularyOptions) -> _Vocabulary:
    vocabulary = EventVocabulary(options)
    assert tuple(event.name for event in EVENT_TYPES) == EVENT_ORDER
    lengths = [vocabulary.bar_length(vocabulary.metre(value)) for value in range(vocabulary.sizes["metre"])]
    after = [sum(1 << EVENT_ORDER.index(name) for name in SUCCESSORS[event]) for event in EVENT_ORDER]
    per_event = _I * len(EVENT_ORDER)
    return _Vocabulary(
        vocabulary.size, MAX_DURATION_QUARTERS * options.grid, MAX_LONGER_EVENTS, options.rising,
        per_event(*vocabulary.offsets.values()), per_event(*vocabulary.sizes.values()), per_event(*after),
        (_I * len(lengths))(*lengths),
    )  # fmt: skip


class NativeGrammarState:
    """Continues from a `GrammarState`. It takes only events that its mask allows, and stores no notes."""

    def __init__(self, grammar: GrammarState) -> None:
        kernels = library()
        assert kernels is not None, "ask for the library before"
        self._push, self._mask = kernels.seqgen_grammar_push, kernels.seqgen_grammar_mask
        vocabulary = _native_vocabulary(grammar.vocabulary.options)
        self.mask: npt.NDArray[np.bool_] = np.empty(vocabulary.size, dtype=bool)
        """The events that may come next, shape (vocabulary,); every `push` overwrites it."""
        state = grammar.scalars()
        parts = [
            _TrackState(
                -1 if part.drums is None else part.drums, part.velocity, part.duration,
                (_I * _PITCHES)(*(part.ends.get(pitch, 0) for pitch in range(_PITCHES))),
            )
            for part in grammar.track_states
        ]  # fmt: skip
        pitches = state.pop("pitches")
        self._state = _GrammarState(
            EVENT_ORDER.index(grammar.previous), parts=len(parts), any_pitch=pitches != 0,
            pitches=(ctypes.c_uint8 * _PITCHES)(*(pitches >> pitch & 1 for pitch in range(_PITCHES))),
            part=(_TrackState * MAX_TRACKS)(*parts), **state,
        )  # fmt: skip
        self._vocabulary = vocabulary
        self._pointers = ctypes.byref(vocabulary), ctypes.byref(self._state), self.mask.ctypes.data
        self._mask(*self._pointers)

    def push(self, token: int) -> None:
        """Take the next event."""
        vocabulary, state, mask = self._pointers
        self._push(vocabulary, state, token, mask)

    def allow_end(self, may: bool) -> None:
        """See `GrammarState.allow_end`."""
        self._state.may_end = may
        self._mask(*self._pointers)
