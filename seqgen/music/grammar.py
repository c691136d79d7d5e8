"""The grammar of events: which may come next. From it come the masks of sampling, the checks of decoding, and tests.

`events.KINDS` says which kind may follow which; the rules here say which of its values, given what has been said so
far. A `Walk` is where one piece has got to. Whatever is drawn under its masks is a piece: no note hangs, none lasts no
time, none begins outside its bar, and there is never a place with no way on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from seqgen.errors import UserError
from seqgen.music.events import KINDS, LONGEST, MOST_LONGER, MOST_TRACKS, TEMPOS, Vocabulary, tempo_value
from seqgen.music.piece import Bar, Note, Piece, Track

Mask = npt.NDArray[np.bool_]
_PITCHES = np.arange(128)


@dataclass
class Part:
    """A track so far."""

    drums: bool | None = None  # None until `program` or `drums` has said it
    program: int = 0
    velocity: int | None = None  # the value that holds
    duration: int | None = None  # steps
    ends: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(128, dtype=np.int64))  # of the last notes


class Walk:
    """Where a piece has got to: `mask` says what may come next, `push` takes it, `piece` is what has come."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        options = vocabulary.options
        self._pitches = (options.low <= _PITCHES) & (options.high >= _PITCHES)
        self._tempo_changes = True
        self._barred: Callable[[Walk, int], Mask] | None = None
        self.notes: list[Note] = []
        self.before: list[Note] = []  # the latest notes of what went before, where the piece goes on from there
        self.parts: list[Part] = []
        self.bars: list[Bar] = []
        self.tempos: list[tuple[int, int]] = [(0, tempo_value(120))]
        self.previous = "end"
        self.ended = False
        self.metre = (4, 4)
        self.now = 0  # step
        self.track: int | None = None  # whose notes follow
        self._group: int | None = None  # the track whose notes at this position were begun last
        self._last: int | None = None  # the pitch of the last note of this track at this position
        self._longer = 0

    def bar_out(self, barred: Callable[[Walk, int], Mask]) -> None:
        """From here on a track plays no pitch that `barred` tells for it, of shape (128,), at each place anew."""
        self._barred = barred

    def restrict(self, pitches: Iterable[int] | None = None, tempo_changes: bool = True) -> None:
        """From here on melodic tracks play only these pitches (None: any), and the tempo changes only if it may.

        Raises `UserError` where no pitch is left.
        """
        if pitches is not None:
            self._pitches &= np.isin(_PITCHES, np.fromiter(pitches, dtype=np.int64))
            if not self._pitches.any():
                raise UserError("the key leaves no pitch that this model can play")
        self._tempo_changes = tempo_changes

    # ---- what may come ----

    def mask(self) -> Mask:
        """Which ids may come next, shape (vocabulary,)."""
        result = np.zeros(self.vocabulary.size, dtype=bool)
        for kind in _AFTER[self.previous]:
            first = self.vocabulary.first[kind]
            result[first : first + self.vocabulary.sizes[kind]] = _RULES[kind](self)
        return result

    def allows(self, token: int) -> bool:
        """Whether this id may come next."""
        if not 0 <= token < self.vocabulary.size:
            return False
        kind, value = self.vocabulary.event(token)
        if kind not in _AFTER[self.previous]:
            return False
        values = _RULES[kind](self)
        return bool(values if isinstance(values, (bool, np.bool_)) else values[value])

    def _values(self, kind: str) -> npt.NDArray[np.int64]:
        return np.arange(self.vocabulary.sizes[kind])

    def _metre_rule(self) -> Mask | bool:
        values = np.ones(self.vocabulary.sizes["metre"], dtype=bool)
        values[[self.vocabulary.metre(v) == self.metre for v in range(len(values))].index(True)] = False
        return values

    def _position_rule(self) -> Mask | bool:
        bar = self.bars[-1]
        here = self.now - bar.start if self._inside() else -1
        values = self._values("position")
        return self._something_may_be_said() and (values > here) & (values < bar.length)

    def _something_may_be_said(self) -> bool:
        """Whether a position would have anything to hold."""
        new = self._melodic() < MOST_TRACKS - 1 or not self._has_drums()
        return self._tempo_changes or new or any(self._free(track).any() for track in range(len(self.parts)))

    def _tempo_rule(self) -> Mask | bool:
        return self._tempo_changes and self._values("tempo") != self.tempos[-1][1]

    def _track_rule(self) -> Mask | bool:
        values = np.zeros(MOST_TRACKS, dtype=bool)
        least = 0 if self._group is None else self._group + 1  # at one position the tracks come in order
        for track in range(least, len(self.parts)):
            values[track] = track != self.track and bool(self._free(track).any())
        new = len(self.parts)
        if new < MOST_TRACKS:
            values[new] = self._melodic() < MOST_TRACKS - 1 or not self._has_drums()
        return values

    def _program_rule(self) -> Mask | bool:
        return self._is_new() and self._melodic() < MOST_TRACKS - 1 and bool(self._pitches.any())

    def _drums_rule(self) -> Mask | bool:
        return self._is_new() and not self._has_drums()

    def _velocity_rule(self) -> Mask | bool:
        return self._playable() and self._values("velocity") != _or(self._part().velocity, -1)

    def _longer_rule(self) -> Mask | bool:
        return self._playable() and self._part().velocity is not None and self._longer < MOST_LONGER

    def _duration_rule(self) -> Mask | bool:
        if not self._playable() or self._part().velocity is None:
            return False
        lengths = self._values("duration") + 1 + self._longer * LONGEST * self.vocabulary.options.grid
        return lengths != _or(self._part().duration, -1)

    def _note_rule(self) -> Mask | bool:
        return self._sounds() and not self._part().drums and self._open()

    def _drum_rule(self) -> Mask | bool:
        return self._sounds() and bool(self._part().drums) and self._open()

    def _sounds(self) -> bool:
        """Whether all that a note needs is said."""
        part = self._part() if self.track is not None else None
        return part is not None and part.velocity is not None and part.duration is not None

    def _playable(self) -> bool:
        """Whether the track that is spoken of may still play a note at this position."""
        return self.track is not None and self._part().drums is not None and bool(np.any(self._open()))

    def _open(self) -> Mask:
        """Pitches that the track may still play here: silent ones, in the order of notes that begin together."""
        assert self.track is not None
        free = self._free(self.track)
        if self._last is None:
            return free
        return free & (self._last < _PITCHES if self.vocabulary.options.rising else self._last > _PITCHES)

    def _free(self, track: int) -> Mask:
        """Pitches of a track that don't sound now."""
        part = self.parts[track]
        silent: Mask = part.ends <= self.now
        if self._barred is not None:
            silent = silent & ~self._barred(self, track)
        return silent if part.drums else silent & self._pitches

    def _part(self) -> Part:
        assert self.track is not None
        return self.parts[self.track]

    def _is_new(self) -> bool:
        return self.track is not None and self._part().drums is None

    def _melodic(self) -> int:
        return sum(part.drums is False for part in self.parts)

    def _has_drums(self) -> bool:
        return any(part.drums for part in self.parts)

    def _inside(self) -> bool:
        """Whether a position of the present bar has been named."""
        return self.previous not in ("bar", "metre")

    # ---- what comes ----

    def push(self, token: int) -> bool:
        """Takes the next event; False, and nothing is changed, if the grammar does not allow it."""
        if not self.allows(token):
            return False
        kind, value = self.vocabulary.event(token)
        _STEPS[kind](self, value)
        if kind not in ("duration", "longer"):
            self._longer = 0
        self.previous = kind
        return True

    def _bar(self, value: int) -> None:
        start = self.length
        self.bars.append(Bar(start, self.vocabulary.bar_length(self.metre), *self.metre))
        self.now = start

    def _set_metre(self, value: int) -> None:
        self.metre = self.vocabulary.metre(value)
        self.bars[-1] = Bar(self.bars[-1].start, self.vocabulary.bar_length(self.metre), *self.metre)

    def _position(self, value: int) -> None:
        self.now = self.bars[-1].start + value
        self._group = self._last = None

    def _tempo(self, value: int) -> None:
        if self.now == 0:
            self.tempos = [(0, value)]
        else:
            self.tempos.append((self.now, value))

    def _switch(self, value: int) -> None:
        self.track, self._last = value, None
        if value == len(self.parts):
            self.parts.append(Part())

    def _program(self, value: int) -> None:
        self._part().drums, self._part().program = False, value

    def _drums(self, value: int) -> None:
        self._part().drums = True

    def _velocity(self, value: int) -> None:
        self._part().velocity = value

    def _more(self, value: int) -> None:
        self._longer += 1

    def _duration(self, value: int) -> None:
        self._part().duration = value + 1 + self._longer * LONGEST * self.vocabulary.options.grid

    def _note(self, value: int) -> None:
        part, track = self._part(), self.track
        assert track is not None and part.duration is not None and part.velocity is not None
        end = self.now + part.duration
        part.ends[value] = end
        self.notes.append(Note(self.now, track, value, end, self.vocabulary.velocity(part.velocity)))
        self._group, self._last = track, value

    def _end(self, value: int) -> None:
        self.ended = True

    @property
    def length(self) -> int:
        """Steps in the bars so far."""
        return self.bars[-1].start + self.bars[-1].length if self.bars else 0

    def piece(self) -> Piece:
        """The piece so far. A note that would outlast the last bar ends with it."""
        end = self.length
        # A track whose first note never came is left out: only the last one can be without.
        used = 1 + max((note.track for note in self.notes), default=-1)
        return Piece(
            self.vocabulary.options.grid,
            tuple(Track(None if part.drums else part.program) for part in self.parts[:used]),
            tuple(sorted((n._replace(end=min(n.end, end)) for n in self.notes), key=lambda n: (n[0], n[1], -n[2]))),
            tuple(self.bars),
            tuple((step, TEMPOS[value]) for step, value in self.tempos),
        )


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


_AFTER = {
    before: tuple(kind.name for kind in KINDS if before in kind.follows) for before in (kind.name for kind in KINDS)
}
_RULES: dict[str, Callable[[Walk], Mask | bool]] = {
    "bar": lambda walk: True,
    "metre": Walk._metre_rule,
    "position": Walk._position_rule,
    "tempo": Walk._tempo_rule,
    "track": Walk._track_rule,
    "program": Walk._program_rule,
    "drums": Walk._drums_rule,
    "velocity": Walk._velocity_rule,
    "longer": Walk._longer_rule,
    "duration": Walk._duration_rule,
    "note": Walk._note_rule,
    "drum": Walk._drum_rule,
    "end": lambda walk: bool(walk.bars),
}
_STEPS: dict[str, Callable[[Walk, int], None]] = {
    "bar": Walk._bar,
    "metre": Walk._set_metre,
    "position": Walk._position,
    "tempo": Walk._tempo,
    "track": Walk._switch,
    "program": Walk._program,
    "drums": Walk._drums,
    "velocity": Walk._velocity,
    "longer": Walk._more,
    "duration": Walk._duration,
    "note": Walk._note,
    "drum": Walk._note,
    "end": Walk._end,
}


def spell(piece: Piece, vocabulary: Vocabulary) -> list[int]:
    """The ids of a piece on the vocabulary's grid, without the `end` behind it."""
    options = vocabulary.options
    ids: list[int] = []

    def say(kind: str, value: int = 0) -> None:
        ids.append(vocabulary.first[kind] + value)

    metre_values = {vocabulary.metre(value): value for value in range(vocabulary.sizes["metre"])}
    longest = LONGEST * options.grid
    tempos = {step: tempo_value(bpm) for step, bpm in piece.tempos}
    at: dict[int, list[Note]] = {}
    for note in piece.notes:
        at.setdefault(note.start, []).append(note)
    moments = sorted({*at, *tempos})
    metre, tempo = (4, 4), tempo_value(120)
    track: int | None = None
    known: dict[int, list[int]] = {}  # track → velocity value and duration that hold
    place = 0
    for bar in piece.bars:
        say("bar")
        if (bar.numerator, bar.denominator) != metre:
            metre = (bar.numerator, bar.denominator)
            say("metre", metre_values[metre])
        while place < len(moments) and moments[place] < bar.start + bar.length:
            moment = moments[place]
            place += 1
            new_tempo = tempos.get(moment, tempo)
            notes = at.get(moment, [])
            if not notes and new_tempo == tempo:
                continue
            say("position", moment - bar.start)
            if new_tempo != tempo:
                tempo = new_tempo
                say("tempo", tempo)
            if options.rising:
                notes = sorted(notes, key=lambda note: (note.track, note.pitch))
            for note in notes:
                part = piece.tracks[note.track]
                if note.track != track:
                    track = note.track
                    say("track", track)
                    if track not in known:
                        known[track] = [-1, -1]
                        if part.program is None:
                            say("drums")
                        else:
                            say("program", part.program)
                state = known[track]
                velocity, length = vocabulary.velocity_bin(note.velocity), note.end - note.start
                if velocity != state[0]:
                    state[0] = velocity
                    say("velocity", velocity)
                if length != state[1]:
                    state[1] = length
                    for _ in range((length - 1) // longest):
                        say("longer")
                    say("duration", (length - 1) % longest)
                say("drum" if part.program is None else "note", note.pitch)
    return ids


def read(ids: Iterable[int], vocabulary: Vocabulary) -> Piece:
    """The piece that ids spell, up to `end`. What the grammar does not allow is passed over."""
    walk = Walk(vocabulary)
    for token in ids:
        walk.push(int(token))
        if walk.ended:
            break
    return walk.piece()
