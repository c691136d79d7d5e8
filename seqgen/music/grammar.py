"""Event grammar: legal next events, and the encoding of pieces as ids.

`events.EVENT_TYPES` lists which event type may follow which; the rules here decide which of its values are legal, given
the events so far. `GrammarState` holds the state of one piece. Any sequence sampled under its masks is a valid piece:
no note hangs, has zero length or starts outside its bar, and some event is always legal while the piece may go on or
end.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqgen.errors import UserError
from seqgen.music.events import (
    EVENT_TYPES,
    MAX_DURATION_QUARTERS,
    MAX_LONGER_EVENTS,
    MAX_TRACKS,
    TEMPOS,
    EventVocabulary,
    VocabularyOptions,
    tempo_value,
)
from seqgen.music.form import BarCount, BarNote, NoteSpeller, RecentBars, bars_of, repetitions
from seqgen.music.key import KEYS, shift_of, spelt_key
from seqgen.music.piece import Bar, Note, Piece, Track

Mask = npt.NDArray[np.bool_]
_ALL_PITCHES = (1 << 128) - 1
_MAX_CACHED_MASKS = 1 << 14  # of one event type; the same sets of sounding pitches recur


class EventMasks:
    """Precomputed masks of one vocabulary: for each event type one byte per value, 1 if it is legal.

    A mask over all ids is the concatenation of one such mask per event type, so a step joins cached bytes.

    Attributes:
        none: for each event type, in table order: no value.
        all: by event type: every value.
        all_except: by event type: for each value, all others; the last item (index −1) allows every value.
        metres: metre → value of `metre`.
        velocities: MIDI velocity of each value of `velocity`.
    """

    def __init__(self, vocabulary: EventVocabulary) -> None:
        sizes = self._sizes = vocabulary.sizes
        self.none = [bytes(sizes[event.name]) for event in EVENT_TYPES]
        self.all = {event.name: b"\1" * sizes[event.name] for event in EVENT_TYPES}
        self.all_except = {
            name: [*(b"\1" * value + b"\0" + b"\1" * (sizes[name] - value - 1) for value in range(sizes[name])),
                   self.all[name]]
            for name in ("metre", "tempo", "velocity", "duration")
        }  # fmt: skip
        self.metres = {vocabulary.metre(value): value for value in range(sizes["metre"])}
        self.velocities = [vocabulary.velocity(value) for value in range(sizes["velocity"])]
        self._by_bits: dict[str, dict[int, bytes]] = {event.name: {} for event in EVENT_TYPES}

    def within(self, event_type: str, values: range) -> bytes:
        """Values in a range of step 1."""
        return self.from_bits(event_type, (1 << values.stop) - (1 << values.start) if values else 0)

    def from_bits(self, event_type: str, values: int) -> bytes:
        """Values whose bits are set in `values`."""
        cache = self._by_bits[event_type]
        mask = cache.get(values)
        if mask is None:
            if len(cache) >= _MAX_CACHED_MASKS:
                cache.clear()
            mask = cache[values] = bytes(values >> value & 1 for value in range(self._sizes[event_type]))
        return mask


@functools.lru_cache(maxsize=8)
def event_masks(options: VocabularyOptions) -> EventMasks:
    """Return the masks of the vocabulary with these options."""
    return EventMasks(EventVocabulary(options))


def bits_of(values: Iterable[int]) -> int:
    """Return a set of small integers as a bit set."""
    bits = 0
    for value in values:
        bits |= 1 << value
    return bits


def _moved(pitches: int, semitones: int) -> int:
    """Return a bit set of pitches moved up, without those that leave the range of MIDI."""
    return (pitches << semitones if semitones >= 0 else pitches >> -semitones) & _ALL_PITCHES


@dataclass
class TrackState:
    """State of one track. Sets of pitches are bit sets, and pitches those of events, not moved by the key."""

    index: int
    drums: bool | None = None  # None until a `program` or `drums` event
    program: int = 0
    velocity: int = -1  # current value of `velocity`; −1 before the first
    duration: int = -1  # current duration in steps; −1 before the first
    ends: dict[int, int] = field(default_factory=dict)  # pitch → end of its last note, while it may still sound
    sounding: int = 0

    def move_to(self, step: int) -> None:
        """Release the notes that end by `step`. Steps never decrease."""
        over = [pitch for pitch, end in self.ends.items() if end <= step]
        for pitch in over:
            del self.ends[pitch]
            self.sounding ^= 1 << pitch


class NoteGuard(Protocol):
    """Notes that a piece must not have, beyond the grammar."""

    def __call__(self, grammar: GrammarState, track: int) -> int:
        """The pitches, as bits, that a track may not play now."""
        ...

    def forbids(self, grammar: GrammarState, notes: Sequence[Note]) -> bool:
        """Whether a run of notes, in their order, must not be played next."""
        ...


class GrammarState:
    """State of the grammar within one piece: `mask` gives the legal events, `push` takes one, `piece` the result."""

    def __init__(self, vocabulary: EventVocabulary) -> None:
        self.vocabulary = vocabulary
        options = vocabulary.options
        self._masks = event_masks(options)
        self._allowed = bits_of(pitch for pitch in range(128) if options.low <= pitch <= options.high)
        self._pitches = self._allowed  # as events, in the key of the piece
        self.key: int | None = None
        self._only_key: int | None = None
        self._shift = 0  # semitones from the pitches of events up to those of notes, except drums
        self._tempo_changes = True
        self._guard: NoteGuard | None = None
        self._recent = RecentBars() if options.form else None
        self.bar_count = BarCount(vocabulary)
        self.notes: list[Note] = []
        self.earlier_notes: list[Note] = []  # latest notes before step 0, in a resumed piece
        self.track_states: list[TrackState] = []
        self.bars: list[Bar] = []
        self.tempos: list[tuple[int, int]] = [(0, tempo_value(120))]
        self.previous = "end"
        self.ended = False
        self._metre = (4, 4)
        self._now = 0
        self._track_index = -1
        self._track: TrackState | None = None  # the one of `_track_index`
        self._group: int | None = None  # track of the last note at this position
        self._last: int | None = None  # pitch of this track's last note at this position
        self._longer = 0
        self._melodic = 0  # number of tracks other than drums
        self._has_drums = False
        self._max_duration = MAX_DURATION_QUARTERS * options.grid  # steps of one `duration`
        self._rising = options.rising
        self._mask: bytearray | None = None  # cached until the state changes

    def allow_end(self, may: bool) -> None:
        """Set whether `end` is legal where the grammar allows it."""
        if may != self.bar_count.end_allowed:
            self.bar_count.end_allowed, self._mask = may, None

    def plan_bars(self, to_come: int | None) -> None:
        """Set how many bars are to follow, which `bar` then counts; None if their number is to stay unknown.

        Without a plan, the first `bar` may have any value. A vocabulary without counted bars takes any plan.
        """
        self.bar_count.to_come, self._mask = -1 if to_come is None else to_come, None

    def next_bars(self) -> range:
        """Return the legal values of `bar`, should a bar be legal at all."""
        return self.bar_count.next_values()

    @property
    def recent_bars(self) -> RecentBars | None:
        """The latest bars; None where the vocabulary has no `again`."""
        return self._recent

    def scalars(self) -> dict[str, int]:
        """Return the state except its tracks as integers, named as in `native/grammar.c`; −1 for none."""
        bar = self.bars[-1] if self.bars else Bar(0, 0, *self._metre)
        return {
            "metre": self._masks.metres[self._metre], "now": self._now, "bar": bar.start, "length": bar.length,
            "tempo": self.tempos[-1][1], "track": self._track_index,
            "group": -1 if self._group is None else self._group, "last": -1 if self._last is None else self._last,
            "longer": self._longer, "melodic": self._melodic, "has_drums": self._has_drums,
            "tempo_changes": self._tempo_changes, "may_end": self.bar_count.may_end, "pitches": self._pitches,
        }  # fmt: skip

    @property
    def now(self) -> int:
        """The current step."""
        return self._now

    def pitches_in(self, key: int) -> int:
        """Return the pitches of events that melodic tracks may play in a key, as bits."""
        return _moved(self._allowed, -shift_of(key))

    @classmethod
    def resumed(
        cls,
        vocabulary: EventVocabulary,
        metre: int,
        tempo: int,
        track: int,
        track_states: list[TrackState],
        earlier_notes: list[Note],
        recent: RecentBars | None,
        key: int | None,
    ) -> GrammarState:
        """Return a state at a bar line, at step 0, whose tracks have played before (see `bar_state`).

        Args:
            recent: the bars before the line; None if the vocabulary has no `again`.
            key: of the piece; None if the vocabulary has no `key`.
        """
        state = cls(vocabulary)
        state._metre, state.tempos = vocabulary.metre(metre), [(0, tempo)]
        state.track_states, state.earlier_notes = track_states, earlier_notes
        state._melodic = sum(each.drums is False for each in track_states)
        state._has_drums = any(each.drums for each in track_states)
        state._track_index, state._track = track, track_states[track] if track >= 0 else None
        state.previous, state.bar_count.latest, state._recent = "note", 0, recent
        if key is not None:
            state._set_key(key)
        return state

    def forbid_notes(self, guard: NoteGuard) -> None:
        """Exclude, from here on, the notes that `guard` forbids."""
        self._guard, self._mask = guard, None

    def restrict(
        self, pitches: Iterable[int] | None = None, tempo_changes: bool = True, key: int | None = None
    ) -> None:
        """Limit melodic tracks to these pitches (None: no limit), and optionally forbid tempo changes.

        Args:
            key: the only one that a new piece may have; None for any.

        Raises:
            UserError: no pitch is left.
        """
        if pitches is not None:
            self._allowed &= bits_of(pitches)
            if not self._allowed:
                raise UserError("the key has no pitch in this model's range; choose another key")
            self._pitches = self._allowed if self.key is None else self.pitches_in(self.key)
        self._tempo_changes, self._only_key = tempo_changes, key
        self._mask = None

    # ---- legal events ----

    def mask(self) -> Mask:
        """Return the legal ids, shape (vocab_size,). Read-only."""
        if self._mask is None and self._recent is not None and self._recent.forced:
            self._mask = bytearray(self.vocabulary.size)
            self._mask[self._recent.forced[-1]] = 1
        if self._mask is None:
            parts = list(self._masks.none)
            track, playable = self._track, self._playable()
            closed = self._recent is not None and self._recent.closed
            for index, rule in _RULES_AFTER_REPETITION if closed else _RULES_AFTER[self.previous]:
                parts[index] = rule(self, track, playable)
            self._mask = bytearray().join(parts)
        return np.frombuffer(self._mask, dtype=bool)

    def allows(self, token: int) -> bool:
        """Whether this id is legal next."""
        if not 0 <= token < self.vocabulary.size:
            return False
        event_type, value = self.vocabulary.event(token)
        if self._recent is not None and self._recent.closed:
            if self._recent.forced:
                return token == self._recent.forced[-1]
            if event_type not in AFTER_REPETITION:
                return False
        follows = event_type in SUCCESSORS[self.previous]
        return follows and bool(_RULES[event_type](self, self._track, self._playable())[value])

    def _playable(self) -> int:
        """Pitches that the current track may still play at this position: silent, and later in the chord's order."""
        track = self._track
        if track is None or track.drums is None:
            return 0
        if self._last is None:
            return self._silent(track)
        return self._silent(track) & (-2 << self._last if self._rising else (1 << self._last) - 1)

    def _silent(self, track: TrackState) -> int:
        """Allowed pitches of a track that don't sound now."""
        silent = ~track.sounding & (_ALL_PITCHES if track.drums else self._pitches)
        if self._guard is None:
            return silent
        return silent & ~_moved(self._guard(self, track.index), 0 if track.drums else -self._shift)

    def _all_if(self, event_type: str, condition: bool) -> bytes:
        return self._masks.all[event_type] if condition else self._masks.none[_INDEX[event_type]]

    # A rule takes the current track and the result of `_playable`, and returns the mask of its event type.

    def _key_rule(self, track: TrackState | None, playable: int) -> bytes:
        if not self.vocabulary.options.key:
            return self._all_if("key", False)
        keys = range(KEYS) if self._only_key is None else (self._only_key,)
        legal = bits_of(key for key in keys if self.pitches_in(key))
        # Only in C and Am is every pitch that is allowed also that of an event.
        return self._masks.from_bits("key", legal or bits_of(key for key in range(KEYS) if not shift_of(key)))

    def _bar_rule(self, track: TrackState | None, playable: int) -> bytes:
        awaits_key = self.previous == "end" and self.vocabulary.options.key
        return self._masks.within("bar", range(0) if awaits_key else self.next_bars())

    def _metre_rule(self, track: TrackState | None, playable: int) -> bytes:
        return self._masks.all_except["metre"][self._masks.metres[self._metre]]

    def _again_rule(self, track: TrackState | None, playable: int) -> bytes:
        if self._recent is None:
            return self._all_if("again", False)

        def steps_left(track: int, pitch: int) -> int:
            return self.track_states[track].ends.get(pitch, 0) - self._now

        return self._masks.from_bits("again", self._recent.choices(self._pitches, steps_left, self._is_forbidden))

    def _is_forbidden(self, notes: Sequence[BarNote]) -> bool:
        """Whether the guard forbids the notes of an earlier bar in the current one."""
        if self._guard is None:
            return False
        line = self.bars[-1].start
        played = [
            Note(
                line + n.start,
                n.track,
                n.pitch if n.drums else n.pitch + self._shift,
                line + n.start + n.duration,
                self._masks.velocities[n.velocity],
            )
            for n in notes
        ]
        return self._guard.forbids(self, played)

    def _position_rule(self, track: TrackState | None, playable: int) -> bytes:
        bar = self.bars[-1]
        here = -1 if self.previous in ("bar", "metre") else self._now - bar.start  # −1: no position in this bar yet
        return self._masks.within("position", range(here + 1, bar.length if self._position_has_successor() else 0))

    def _position_has_successor(self) -> bool:
        return self._tempo_changes or self._can_add_track() or any(self._silent(track) for track in self.track_states)

    def _tempo_rule(self, track: TrackState | None, playable: int) -> bytes:
        if not self._tempo_changes:
            return self._all_if("tempo", False)
        return self._masks.all_except["tempo"][self.tempos[-1][1]]

    def _track_rule(self, track: TrackState | None, playable: int) -> bytes:
        tracks = 0
        first = 0 if self._group is None else self._group + 1  # tracks of one position come in order
        for index in range(first, len(self.track_states)):
            if self.track_states[index] is not track and self._silent(self.track_states[index]):
                tracks |= 1 << index
        if self._can_add_track():
            tracks |= 1 << len(self.track_states)
        return self._masks.from_bits("track", tracks)

    def _can_add_track(self) -> bool:
        return self._melodic < MAX_TRACKS - 1 or not self._has_drums

    def _program_rule(self, track: TrackState | None, playable: int) -> bytes:
        new = track is not None and track.drums is None
        return self._all_if("program", new and self._melodic < MAX_TRACKS - 1 and self._pitches != 0)

    def _drums_rule(self, track: TrackState | None, playable: int) -> bytes:
        return self._all_if("drums", track is not None and track.drums is None and not self._has_drums)

    def _velocity_rule(self, track: TrackState | None, playable: int) -> bytes:
        if not track or not playable:
            return self._all_if("velocity", False)
        return self._masks.all_except["velocity"][track.velocity]

    def _longer_rule(self, track: TrackState | None, playable: int) -> bytes:
        legal = track is not None and playable != 0 and track.velocity >= 0 and self._longer < MAX_LONGER_EVENTS
        return self._all_if("longer", legal)

    def _duration_rule(self, track: TrackState | None, playable: int) -> bytes:
        if track is None or not playable or track.velocity < 0:
            return self._all_if("duration", False)
        value = track.duration - 1 - self._longer * self._max_duration
        return self._masks.all_except["duration"][value if 0 <= value < self._max_duration else -1]

    def _note_rule(self, track: TrackState | None, playable: int) -> bytes:
        ready = track is not None and track.velocity >= 0 and track.duration >= 0 and not track.drums
        return self._masks.from_bits("note", playable if ready else 0)

    def _drum_rule(self, track: TrackState | None, playable: int) -> bytes:
        ready = track is not None and track.velocity >= 0 and track.duration >= 0 and track.drums
        return self._masks.from_bits("drum", playable if ready else 0)

    def _end_rule(self, track: TrackState | None, playable: int) -> bytes:
        return self._all_if("end", self.bar_count.may_end)

    # ---- transitions ----

    def push(self, token: int) -> bool:
        """Take the next event. Return False, with the state unchanged, if it is illegal."""
        mask = self._mask
        if not (self.allows(token) if mask is None or not 0 <= token < len(mask) else mask[token]):
            return False
        event_type, value = self.vocabulary.event(token)
        if self._recent is not None and self._recent.forced:
            self._recent.forced.pop()
        _STEPS[event_type](self, value)
        if self._longer and event_type not in ("duration", "longer"):
            self._longer = 0
        self.previous, self._mask = event_type, None
        return True

    def _move_to(self, step: int) -> None:
        self._now = step
        for track in self.track_states:
            track.move_to(step)

    def _set_key(self, value: int) -> None:
        self.key, self._shift, self._pitches = value, shift_of(value), self.pitches_in(value)

    def _bar(self, value: int) -> None:
        start = self.length
        self.bars.append(Bar(start, self.vocabulary.bar_length(self._metre), *self._metre))
        self._move_to(start)
        self.bar_count.take(value)
        if self._recent is not None:
            self._recent.begin(self.bars[-1].length)

    def _set_metre(self, value: int) -> None:
        self._metre = self.vocabulary.metre(value)
        self.bars[-1] = Bar(self.bars[-1].start, self.vocabulary.bar_length(self._metre), *self._metre)
        if self._recent is not None:
            self._recent.resize(self.bars[-1].length)

    def _again(self, value: int) -> None:
        assert self._recent is not None
        values = {track.index: (track.velocity, track.duration) for track in self.track_states}
        self._recent.repeat(value, NoteSpeller(self.vocabulary, self._track_index, values))

    def _position(self, value: int) -> None:
        self._move_to(self.bars[-1].start + value)
        self._group = self._last = None

    def _tempo(self, value: int) -> None:
        if self._now == 0:
            self.tempos = [(0, value)]
        else:
            self.tempos.append((self._now, value))

    def _switch_track(self, value: int) -> None:
        if value == len(self.track_states):
            self.track_states.append(TrackState(value))
        self._track_index, self._track, self._last = value, self.track_states[value], None

    def _program(self, value: int) -> None:
        self._current_track().drums, self._current_track().program = False, value
        self._melodic += 1

    def _drums(self, value: int) -> None:
        self._current_track().drums = self._has_drums = True

    def _velocity(self, value: int) -> None:
        self._current_track().velocity = value

    def _count_longer(self, value: int) -> None:
        self._longer += 1

    def _duration(self, value: int) -> None:
        self._current_track().duration = value + 1 + self._longer * self._max_duration

    def _note(self, value: int) -> None:
        track, index = self._current_track(), self._track_index
        end = self._now + track.duration
        track.ends[value] = end
        track.sounding |= 1 << value
        pitch = value if track.drums else value + self._shift
        self.notes.append(Note(self._now, index, pitch, end, self._masks.velocities[track.velocity]))
        if self._recent is not None:
            step = self._now - self.bars[-1].start
            self._recent.add(BarNote(step, index, value, track.duration, track.velocity, bool(track.drums)))
        self._group, self._last = index, value

    def _current_track(self) -> TrackState:
        assert self._track is not None
        return self._track

    def _end(self, value: int) -> None:
        self.ended = True

    @property
    def length(self) -> int:
        """Number of steps in the bars so far."""
        return self.bars[-1].start + self.bars[-1].length if self.bars else 0

    def piece(self) -> Piece:
        """Return the piece so far. Notes are cut at the end of the last bar."""
        end = self.length
        # Only the last track can lack a first note; it is left out.
        used = 1 + max((note.track for note in self.notes), default=-1)
        return Piece(
            self.vocabulary.options.grid,
            tuple(Track(None if track.drums else track.program) for track in self.track_states[:used]),
            tuple(sorted((n._replace(end=min(n.end, end)) for n in self.notes), key=lambda n: (n[0], n[1], -n[2]))),
            tuple(self.bars),
            tuple((step, TEMPOS[value]) for step, value in self.tempos),
        )


SUCCESSORS = {
    before: tuple(event.name for event in EVENT_TYPES if before in event.predecessors)
    for before in (event.name for event in EVENT_TYPES)
}
_RULES: dict[str, Callable[[GrammarState, TrackState | None, int], bytes]] = {
    "key": GrammarState._key_rule,
    "bar": GrammarState._bar_rule,
    "metre": GrammarState._metre_rule,
    "again": GrammarState._again_rule,
    "position": GrammarState._position_rule,
    "tempo": GrammarState._tempo_rule,
    "track": GrammarState._track_rule,
    "program": GrammarState._program_rule,
    "drums": GrammarState._drums_rule,
    "velocity": GrammarState._velocity_rule,
    "longer": GrammarState._longer_rule,
    "duration": GrammarState._duration_rule,
    "note": GrammarState._note_rule,
    "drum": GrammarState._drum_rule,
    "end": GrammarState._end_rule,
}
_INDEX = {event.name: index for index, event in enumerate(EVENT_TYPES)}
_RULES_AFTER = {before: [(_INDEX[name], _RULES[name]) for name in names] for before, names in SUCCESSORS.items()}
AFTER_REPETITION = ("bar", "end")  # events that may follow a bar that repeats another
_RULES_AFTER_REPETITION = [(_INDEX[name], _RULES[name]) for name in AFTER_REPETITION]
_STEPS: dict[str, Callable[[GrammarState, int], None]] = {
    "key": GrammarState._set_key,
    "bar": GrammarState._bar,
    "metre": GrammarState._set_metre,
    "again": GrammarState._again,
    "position": GrammarState._position,
    "tempo": GrammarState._tempo,
    "track": GrammarState._switch_track,
    "program": GrammarState._program,
    "drums": GrammarState._drums,
    "velocity": GrammarState._velocity,
    "longer": GrammarState._count_longer,
    "duration": GrammarState._duration,
    "note": GrammarState._note,
    "drum": GrammarState._note,
    "end": GrammarState._end,
}


def encode_piece(piece: Piece, vocabulary: EventVocabulary, to_come: int | None = 0) -> list[int]:
    """Return the ids of a piece on the vocabulary's grid, without the final `end`. A piece has one encoding.

    Args:
        to_come: bars that will follow the piece; None if their number is unknown.
    """
    metre_values = {vocabulary.metre(value): value for value in range(vocabulary.sizes["metre"])}
    programs = [track.program for track in piece.tracks]
    tempos = {step: tempo_value(bpm) for step, bpm in piece.tempos}
    changes = sorted(tempos, reverse=True)
    metre, tempo = (4, 4), tempo_value(120)
    speller = NoteSpeller(vocabulary)
    shift = 0
    if vocabulary.options.key and piece.bars:
        key = spelt_key(piece)
        shift = shift_of(key)
        speller.emit("key", key)
    bars = bars_of(piece, vocabulary, shift)
    again = repetitions(piece, bars) if vocabulary.options.form else [-1] * len(bars)
    for number, (bar, notes, repeated) in enumerate(zip(piece.bars, bars, again, strict=True)):
        speller.emit("bar", vocabulary.bar_value(None if to_come is None else len(bars) - 1 - number + to_come))
        if (bar.numerator, bar.denominator) != metre:
            metre = (bar.numerator, bar.denominator)
            speller.emit("metre", metre_values[metre])
        if repeated >= 0:
            speller.emit("again", repeated)
        chords: dict[int, list[BarNote]] = {}
        for note in notes:
            chords.setdefault(note.start, []).append(note)
        while changes and changes[-1] < bar.start + bar.length:
            chords.setdefault(changes.pop() - bar.start, [])
        for step in sorted(chords):
            new_tempo = tempos.get(bar.start + step, tempo)
            if not chords[step] and new_tempo == tempo:
                continue
            speller.emit("position", step)
            if new_tempo != tempo:
                tempo = new_tempo
                speller.emit("tempo", tempo)
            speller.chord(chords[step], programs)
    return speller.ids


def decode_piece(ids: Iterable[int], vocabulary: EventVocabulary) -> Piece:
    """Return the piece encoded by `ids`, up to the first `end`. Illegal events are skipped."""
    state = GrammarState(vocabulary)
    for token in ids:
        state.push(int(token))
        if state.ended:
            break
    return state.piece()
