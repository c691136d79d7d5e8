"""Event grammar: legal next events, and the encoding of pieces as ids.

`events.EVENT_TYPES` lists which event type may follow which; the rules here decide which of its values are legal, given
the events so far. `GrammarState` holds the state of one piece. Any sequence sampled under its masks is a valid piece:
no note hangs, has zero length or starts outside its bar, and some event is always legal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

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
        self._positions: dict[tuple[int, int], bytes] = {}
        self._by_bits: dict[str, dict[int, bytes]] = {event.name: {} for event in EVENT_TYPES}

    def positions_between(self, above: int, below: int) -> bytes:
        """Values of `position` strictly between the two bounds."""
        mask = self._positions.get((above, below))
        if mask is None:
            mask = bytes(above < value < below for value in range(self._sizes["position"]))
            self._positions[above, below] = mask
        return mask

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


@dataclass
class TrackState:
    """State of one track. Sets of pitches are bit sets."""

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


class GrammarState:
    """State of the grammar within one piece: `mask` gives the legal events, `push` takes one, `piece` the result."""

    def __init__(self, vocabulary: EventVocabulary) -> None:
        self.vocabulary = vocabulary
        options = vocabulary.options
        self._masks = event_masks(options)
        self._pitches = bits_of(pitch for pitch in range(128) if options.low <= pitch <= options.high)
        self._tempo_changes = True
        self._may_end = True
        self._forbidden: Callable[[GrammarState, int], int] | None = None
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
        if may != self._may_end:
            self._may_end, self._mask = may, None

    def scalars(self) -> dict[str, int]:
        """Return the state except its tracks as integers, named as in `native/grammar.c`; −1 for none."""
        bar = self.bars[-1] if self.bars else Bar(0, 0, *self._metre)
        return {
            "metre": self._masks.metres[self._metre], "now": self._now, "bar": bar.start, "length": bar.length,
            "tempo": self.tempos[-1][1], "track": self._track_index,
            "group": -1 if self._group is None else self._group, "last": -1 if self._last is None else self._last,
            "longer": self._longer, "melodic": self._melodic, "has_drums": self._has_drums,
            "tempo_changes": self._tempo_changes, "may_end": self._may_end, "pitches": self._pitches,
        }  # fmt: skip

    @property
    def now(self) -> int:
        """The current step."""
        return self._now

    @classmethod
    def resumed(
        cls,
        vocabulary: EventVocabulary,
        metre: int,
        tempo: int,
        track: int,
        track_states: list[TrackState],
        earlier_notes: list[Note],
    ) -> GrammarState:
        """Return a state at a bar line, at step 0, whose tracks have played before (see `barline`)."""
        state = cls(vocabulary)
        state._metre, state.tempos = vocabulary.metre(metre), [(0, tempo)]
        state.track_states, state.earlier_notes = track_states, earlier_notes
        state._melodic = sum(each.drums is False for each in track_states)
        state._has_drums = any(each.drums for each in track_states)
        state._track_index, state._track = track, track_states[track] if track >= 0 else None
        state.previous = "note"
        return state

    def forbid_pitches(self, forbidden: Callable[[GrammarState, int], int]) -> None:
        """Exclude, from here on, the pitches (a bit set) that `forbidden` returns for a state and a track index."""
        self._forbidden, self._mask = forbidden, None

    def restrict(self, pitches: Iterable[int] | None = None, tempo_changes: bool = True) -> None:
        """Limit melodic tracks to these pitches (None: no limit), and optionally forbid tempo changes.

        Raises:
            UserError: no pitch is left.
        """
        if pitches is not None:
            self._pitches &= bits_of(pitches)
            if not self._pitches:
                raise UserError("the key has no pitch in this model's range; choose another key")
        self._tempo_changes = tempo_changes
        self._mask = None

    # ---- legal events ----

    def mask(self) -> Mask:
        """Return the legal ids, shape (vocab_size,). Read-only."""
        if self._mask is None:
            parts = list(self._masks.none)
            track, playable = self._track, self._playable()
            for index, rule in _RULES_AFTER[self.previous]:
                parts[index] = rule(self, track, playable)
            self._mask = bytearray().join(parts)
        return np.frombuffer(self._mask, dtype=bool)

    def allows(self, token: int) -> bool:
        """Whether this id is legal next."""
        if not 0 <= token < self.vocabulary.size:
            return False
        event_type, value = self.vocabulary.event(token)
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
        return silent if self._forbidden is None else silent & ~self._forbidden(self, track.index)

    def _all_if(self, event_type: str, condition: bool) -> bytes:
        return self._masks.all[event_type] if condition else self._masks.none[_INDEX[event_type]]

    # A rule takes the current track and the result of `_playable`, and returns the mask of its event type.

    def _bar_rule(self, track: TrackState | None, playable: int) -> bytes:
        return self._masks.all["bar"]

    def _metre_rule(self, track: TrackState | None, playable: int) -> bytes:
        return self._masks.all_except["metre"][self._masks.metres[self._metre]]

    def _position_rule(self, track: TrackState | None, playable: int) -> bytes:
        bar = self.bars[-1]
        here = -1 if self.previous in ("bar", "metre") else self._now - bar.start  # −1: no position in this bar yet
        return self._masks.positions_between(here, bar.length if self._position_has_successor() else 0)

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
        return self._all_if("end", self._may_end and bool(self.bars))

    # ---- transitions ----

    def push(self, token: int) -> bool:
        """Take the next event. Return False, with the state unchanged, if it is illegal."""
        mask = self._mask
        if not (self.allows(token) if mask is None or not 0 <= token < len(mask) else mask[token]):
            return False
        event_type, value = self.vocabulary.event(token)
        _STEPS[event_type](self, value)
        if self._longer and event_type not in ("duration", "longer"):
            self._longer = 0
        self.previous, self._mask = event_type, None
        return True

    def _move_to(self, step: int) -> None:
        self._now = step
        for track in self.track_states:
            track.move_to(step)

    def _bar(self, value: int) -> None:
        start = self.length
        self.bars.append(Bar(start, self.vocabulary.bar_length(self._metre), *self._metre))
        self._move_to(start)

    def _set_metre(self, value: int) -> None:
        self._metre = self.vocabulary.metre(value)
        self.bars[-1] = Bar(self.bars[-1].start, self.vocabulary.bar_length(self._metre), *self._metre)

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
        self.notes.append(Note(self._now, index, value, end, self._masks.velocities[track.velocity]))
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
    "bar": GrammarState._bar_rule,
    "metre": GrammarState._metre_rule,
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
_STEPS: dict[str, Callable[[GrammarState, int], None]] = {
    "bar": GrammarState._bar,
    "metre": GrammarState._set_metre,
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


def encode_piece(piece: Piece, vocabulary: EventVocabulary) -> list[int]:
    """Return the ids of a piece on the vocabulary's grid, without the final `end`. The encoding is unique."""
    options = vocabulary.options
    ids: list[int] = []

    def emit(event_type: str, value: int = 0) -> None:
        ids.append(vocabulary.offsets[event_type] + value)

    metre_values = {vocabulary.metre(value): value for value in range(vocabulary.sizes["metre"])}
    max_duration = MAX_DURATION_QUARTERS * options.grid
    tempos = {step: tempo_value(bpm) for step, bpm in piece.tempos}
    notes_at: dict[int, list[Note]] = {}
    for note in piece.notes:
        notes_at.setdefault(note.start, []).append(note)
    steps = sorted({*notes_at, *tempos})
    metre, tempo = (4, 4), tempo_value(120)
    track: int | None = None
    current: dict[int, list[int]] = {}  # track → current velocity value and duration
    index = 0
    for bar in piece.bars:
        emit("bar")
        if (bar.numerator, bar.denominator) != metre:
            metre = (bar.numerator, bar.denominator)
            emit("metre", metre_values[metre])
        while index < len(steps) and steps[index] < bar.start + bar.length:
            step = steps[index]
            index += 1
            new_tempo = tempos.get(step, tempo)
            notes = notes_at.get(step, [])
            if not notes and new_tempo == tempo:
                continue
            emit("position", step - bar.start)
            if new_tempo != tempo:
                tempo = new_tempo
                emit("tempo", tempo)
            if options.rising:
                notes = sorted(notes, key=lambda note: (note.track, note.pitch))
            for note in notes:
                program = piece.tracks[note.track].program
                if note.track != track:
                    track = note.track
                    emit("track", track)
                    if track not in current:
                        current[track] = [-1, -1]
                        if program is None:
                            emit("drums")
                        else:
                            emit("program", program)
                state = current[track]
                velocity, length = vocabulary.velocity_bin(note.velocity), note.end - note.start
                if velocity != state[0]:
                    state[0] = velocity
                    emit("velocity", velocity)
                if length != state[1]:
                    state[1] = length
                    for _ in range((length - 1) // max_duration):
                        emit("longer")
                    emit("duration", (length - 1) % max_duration)
                emit("drum" if program is None else "note", note.pitch)
    return ids


def decode_piece(ids: Iterable[int], vocabulary: EventVocabulary) -> Piece:
    """Return the piece encoded by `ids`, up to the first `end`. Illegal events are skipped."""
    state = GrammarState(vocabulary)
    for token in ids:
        state.push(int(token))
        if state.ended:
            break
    return state.piece()
