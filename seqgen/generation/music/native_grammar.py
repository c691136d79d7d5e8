"""The state of the event grammar by compiled kernels, for pieces that are being drawn (`native/grammar.c`).

The kernels know nothing of form: how `bar` counts and what `again` repeats is added here (`music.form`). Nor do they
know keys: theirs is a piece after its `key`, with the pitches of events.
"""

from __future__ import annotations

import copy
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
from seqgen.music.form import BarCount, BarNote, NoteSpeller, RecentBars
from seqgen.music.grammar import AFTER_REPETITION, SUCCESSORS, GrammarState, event_masks
from seqgen.native import library

EVENT_ORDER = (
    "bar", "metre", "position", "tempo", "track", "program", "drums", "velocity", "longer", "duration", "note", "drum",
    "end",
)  # fmt: skip
"""Event types in the order of `native/grammar.c`, which has all but `key` and `again`."""

_BAR_BEGINS = (EVENT_ORDER.index("bar"), EVENT_ORDER.index("metre"))
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
    assert tuple(event.name for event in EVENT_TYPES if event.name not in ("key", "again")) == EVENT_ORDER
    lengths = [vocabulary.bar_length(vocabulary.metre(value)) for value in range(vocabulary.sizes["metre"])]
    successors = [[name for name in SUCCESSORS[event] if name in EVENT_ORDER] for event in EVENT_ORDER]
    after = [sum(1 << EVENT_ORDER.index(name) for name in names) for names in successors]
    per_event = _I * len(EVENT_ORDER)
    return _Vocabulary(
        vocabulary.size, MAX_DURATION_QUARTERS * options.grid, MAX_LONGER_EVENTS, options.rising,
        per_event(*(vocabulary.offsets[name] for name in EVENT_ORDER)),
        per_event(*(vocabulary.sizes[name] for name in EVENT_ORDER)), per_event(*after),
        (_I * len(lengths))(*lengths),
    )  # fmt: skip


def _pitch_array(pitches: int) -> ctypes.Array[ctypes.c_uint8]:
    """The bit set `pitches` as the kernels have it."""
    return (ctypes.c_uint8 * _PITCHES)(*(pitches >> pitch & 1 for pitch in range(_PITCHES)))


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
        self._before_key = grammar if grammar.previous == "end" and grammar.vocabulary.options.key else None
        parts = [
            _TrackState(
                -1 if part.drums is None else part.drums, part.velocity, part.duration,
                (_I * _PITCHES)(*(part.ends.get(pitch, 0) for pitch in range(_PITCHES))),
            )
            for part in grammar.track_states
        ]  # fmt: skip
        pitches = state.pop("pitches")
        recent = grammar.recent_bars
        self._count = copy.copy(grammar.bar_count)
        self._form = None if recent is None else _Form(self._count, recent.copy(), pitches)
        previous = {"again": "metre", "key": "end"}.get(grammar.previous, grammar.previous)  # as the kernels know it
        self._state = _GrammarState(
            EVENT_ORDER.index(previous), parts=len(parts), any_pitch=pitches != 0,
            pitches=_pitch_array(pitches),
            part=(_TrackState * MAX_TRACKS)(*parts), **state,
        )  # fmt: skip
        self._vocabulary = vocabulary
        self._pointers = ctypes.byref(vocabulary), ctypes.byref(self._state), self.mask.ctypes.data
        self._write_mask()

    def push(self, token: int) -> None:
        """Take the next event."""
        vocabulary, state, mask = self._pointers
        if self._before_key is not None:
            self._set_pitches(self._before_key.pitches_in(self._before_key.vocabulary.event(token)[1]))
            self._before_key = None
            self._write_mask()
            return
        if self._form is None:
            self._push(vocabulary, state, token, mask)
            return
        event_type, value = self._form.vocabulary.event(token)
        if event_type == "again":
            self._form.repeat(value, self._state)
        else:
            if event_type == "bar":
                self._count.take(value)
                self._state.may_end = self._count.may_end
            self._push(vocabulary, state, token, mask)
            self._form.take(event_type, value, self._state)
        self._form.limit(self.mask, self._state)

    def allow_end(self, may: bool) -> None:
        """See `GrammarState.allow_end`."""
        self._count.end_allowed = may
        self._state.may_end = self._count.may_end
        self._write_mask()

    def _set_pitches(self, pitches: int) -> None:
        self._state.pitches, self._state.any_pitch = _pitch_array(pitches), pitches != 0
        if self._form is not None:
            self._form.pitches = pitches

    def _write_mask(self) -> None:
        if self._before_key is not None:
            self.mask[:] = self._before_key.mask()
            return
        self._mask(*self._pointers)
        if self._form is not None:
            self._form.limit(self.mask, self._state)


class _Form:
    """What the kernels don't know of a piece: the bars to come, and the bars that may be repeated."""

    def __init__(self, count: BarCount, recent: RecentBars, pitches: int) -> None:
        self.vocabulary = vocabulary = count.vocabulary
        self._count, self._recent, self.pitches = count, recent, pitches
        self._masks = event_masks(vocabulary.options)
        bars, again = vocabulary.ids("bar"), vocabulary.ids("again")
        self._bars, self._again = slice(bars.start, bars.stop), slice(again.start, again.stop)
        self._after_repetition = np.array([name in AFTER_REPETITION for name in vocabulary.event_types])

    def repeat(self, value: int, state: _GrammarState) -> None:
        """Take an `again` of this value."""
        parts = [state.part[index] for index in range(state.parts)]
        values = {index: (part.velocity, part.duration) for index, part in enumerate(parts)}
        self._recent.repeat(value, NoteSpeller(self.vocabulary, state.track, values))

    def take(self, event_type: str, value: int, state: _GrammarState) -> None:
        """Take an event that the kernels have taken."""
        if self._recent.forced:
            self._recent.forced.pop()
        if event_type in ("note", "drum"):
            part = state.part[state.track]
            self._recent.add(
                BarNote(state.now - state.bar, state.track, value, part.duration, part.velocity, event_type == "drum")
            )
        elif event_type == "bar":
            self._recent.begin(state.length)
        elif event_type == "metre":
            self._recent.resize(state.length)

    def limit(self, mask: npt.NDArray[np.bool_], state: _GrammarState) -> None:
        """Correct the kernels' mask, in place."""
        recent = self._recent
        if recent.forced:
            mask[:] = False
            mask[recent.forced[-1]] = True
            return
        if recent.closed:
            mask &= self._after_repetition
        elif state.previous in _BAR_BEGINS:
            values = recent.choices(self.pitches, lambda track, pitch: state.part[track].ends[pitch] - state.now)
            mask[self._again] = np.frombuffer(self._masks.from_bits("again", values), dtype=bool)
        if mask[self._bars.start]:  # to the kernels, every bar is as good as another
            mask[self._bars] = np.frombuffer(self._masks.within("bar", self._count.next_values()), dtype=bool)
