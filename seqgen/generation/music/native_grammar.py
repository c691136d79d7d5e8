"""A piece that is being drawn, where the compiled kernels are there: what `grammar.GrammarState` says, sooner."""

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
"""Of the kinds, as `native/walk.c` has it."""

_PITCHES = 128
_I = ctypes.c_int64


class _Words(ctypes.Structure):
    _fields_ = [
        *[(name, _I) for name in ("size", "longest", "most_longer", "rising")],
        *[(name, _I * len(EVENT_ORDER)) for name in ("first", "sizes", "after")],
        ("bar_lengths", ctypes.POINTER(_I)),
    ]


class _Part(ctypes.Structure):
    _fields_ = [*[(name, _I) for name in ("drums", "velocity", "duration")], ("ends", _I * _PITCHES)]


class _Walk(ctypes.Structure):
    _fields_ = [
        *[(name, _I) for name in (
            "previous", "metre", "now", "bar", "length", "tempo", "track", "group", "last", "longer", "parts",
            "melodic", "has_drums", "tempo_changes", "may_end", "any_pitch",
        )],
        ("pitches", ctypes.c_uint8 * _PITCHES),
        ("part", _Part * MAX_TRACKS),
    ]  # fmt: skip


@functools.lru_cache(maxsize=8)
def _words(options: VocabularyOptions) -> _Words:
    words = EventVocabulary(options)
    assert tuple(kind.name for kind in EVENT_TYPES) == EVENT_ORDER
    lengths = [words.bar_length(words.metre(value)) for value in range(words.sizes["metre"])]
    after = [sum(1 << EVENT_ORDER.index(name) for name in SUCCESSORS[kind]) for kind in EVENT_ORDER]
    return _Words(
        words.size, MAX_DURATION_QUARTERS * options.grid, MAX_LONGER_EVENTS, options.rising, (_I * len(EVENT_ORDER))(*words.offsets.values()),
        (_I * len(EVENT_ORDER))(*words.sizes.values()), (_I * len(EVENT_ORDER))(*after), (_I * len(lengths))(*lengths),
    )  # fmt: skip


class NativeWalk:
    """Goes on from where a `GrammarState` is. It takes only what its mask lets in, and keeps no notes."""

    def __init__(self, walk: GrammarState) -> None:
        kernels = library()
        assert kernels is not None, "ask for the library before"
        self._push, self._tell = kernels.seqgen_grammar_push, kernels.seqgen_grammar_mask
        words = _words(walk.vocabulary.options)
        self.mask: npt.NDArray[np.bool_] = np.empty(words.size, dtype=bool)
        """What may come next, shape (vocabulary,). It is written to by every `push`."""
        state = walk.scalars()
        parts = [
            _Part(
                -1 if part.drums is None else part.drums, part.velocity, part.duration,
                (_I * _PITCHES)(*(part.ends.get(pitch, 0) for pitch in range(_PITCHES))),
            )
            for part in walk.track_states
        ]  # fmt: skip
        pitches = state.pop("pitches")
        self._state = _Walk(
            EVENT_ORDER.index(walk.previous), parts=len(parts), any_pitch=pitches != 0,
            pitches=(ctypes.c_uint8 * _PITCHES)(*(pitches >> pitch & 1 for pitch in range(_PITCHES))),
            part=(_Part * MAX_TRACKS)(*parts), **state,
        )  # fmt: skip
        self._words = words
        self._places = ctypes.byref(words), ctypes.byref(self._state), self.mask.ctypes.data
        self._tell(*self._places)

    def push(self, token: int) -> None:
        """Takes the next event."""
        words, state, mask = self._places
        self._push(words, state, token, mask)

    def allow_end(self, may: bool) -> None:
        """See `GrammarState.allow_end`."""
        self._state.may_end = may
        self._tell(*self._places)
