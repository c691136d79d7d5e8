"""The grammar of events: which may come next. From it come the masks of sampling, the checks of decoding, and tests.

`events.EVENT_TYPES` says which kind may follow which; the rules here say which of its values, given what has been said so
far. A `GrammarState` is where one piece has got to. Whatever is drawn under its masks is a piece: no note hangs, none lasts no
time, none begins outside its bar, and there is never a place with no way on.
"""

from __future__ import annotations

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
    tempo_value,
)
from seqgen.music.masks import bits_of, event_masks
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.music.spelling import spell

__all__ = ["SUCCESSORS", "Mask", "TrackState", "GrammarState", "read", "spell"]

Mask = npt.NDArray[np.bool_]
_EVERY_PITCH = (1 << 128) - 1


@dataclass
class TrackState:
    """A track so far, by its number. Sets of pitches are the bits of a number."""

    number: int
    drums: bool | None = None  # None until `program` or `drums` has said it
    program: int = 0
    velocity: int = -1  # the value that holds; −1 while there is none
    duration: int = -1  # steps, likewise
    ends: dict[int, int] = field(default_factory=dict)  # of the last note of each pitch that may still sound
    sounding: int = 0

    def move_to(self, step: int) -> None:
        """Lets the notes that end by then be over. Time never goes back."""
        over = [pitch for pitch, end in self.ends.items() if end <= step]
        for pitch in over:
            del self.ends[pitch]
            self.sounding ^= 1 << pitch


class GrammarState:
    """Where a piece has got to: `mask` says what may come next, `push` takes it, `piece` is what has come.

    A rule tells what may come of its kind, as bytes that are made once (`masks.Masks`).
    """

    def __init__(self, vocabulary: EventVocabulary) -> None:
        self.vocabulary = vocabulary
        options = vocabulary.options
        self._masks = event_masks(options)
        self._pitches = bits_of(pitch for pitch in range(128) if options.low <= pitch <= options.high)
        self._tempo_changes = True
        self._may_end = True
        self._barred: Callable[[GrammarState, int], int] | None = None
        self.notes: list[Note] = []
        self.before: list[Note] = []  # the latest notes of what went before, where the piece goes on from there
        self.parts: list[TrackState] = []
        self.bars: list[Bar] = []
        self.tempos: list[tuple[int, int]] = [(0, tempo_value(120))]
        self.previous = "end"
        self.ended = False
        self._metre = (4, 4)
        self._now = 0  # step
        self._track = -1  # whose notes follow
        self._part: TrackState | None = None  # it
        self._group: int | None = None  # the track whose notes at this position were begun last
        self._last: int | None = None  # the pitch of the last note of this track at this position
        self._longer = 0
        self._melodic = 0  # tracks that are not drums
        self._has_drums = False
        self._longest = MAX_DURATION_QUARTERS * options.grid  # steps of one `duration`
        self._rising = options.rising
        self._mask: bytearray | None = None  # what may come, once it was asked for

    def allow_end(self, may: bool) -> None:
        """Whether `end` is among what may come, where the grammar lets it."""
        if may != self._may_end:
            self._may_end, self._mask = may, None

    def state(self) -> dict[str, int]:
        """Where it is, in numbers, the tracks aside; −1 for none."""
        bar = self.bars[-1] if self.bars else Bar(0, 0, *self._metre)
        return {
            "metre": self._masks.metres[self._metre], "now": self._now, "bar": bar.start, "length": bar.length,
            "tempo": self.tempos[-1][1], "track": self._track, "group": -1 if self._group is None else self._group,
            "last": -1 if self._last is None else self._last, "longer": self._longer, "melodic": self._melodic,
            "has_drums": self._has_drums, "tempo_changes": self._tempo_changes, "may_end": self._may_end,
            "pitches": self._pitches,
        }  # fmt: skip

    @property
    def now(self) -> int:
        """The step that it is at."""
        return self._now

    @classmethod
    def resumed(
        cls,
        vocabulary: EventVocabulary,
        metre: int,
        tempo: int,
        track: int,
        parts: list[TrackState],
        before: list[Note],
    ) -> GrammarState:
        """A walk at a bar line, at step 0, with tracks that have played before (see `barline`)."""
        walk = cls(vocabulary)
        walk._metre, walk.tempos = vocabulary.metre(metre), [(0, tempo)]
        walk.parts, walk.before = parts, before
        walk._melodic = sum(part.drums is False for part in parts)
        walk._has_drums = any(part.drums for part in parts)
        walk._track, walk._part = track, parts[track] if track >= 0 else None
        walk.previous = "note"
        return walk

    def forbid_pitches(self, barred: Callable[[GrammarState, int], int]) -> None:
        """From here on a track plays no pitch of those that `barred` tells for it, as bits, at each place anew."""
        self._barred, self._mask = barred, None

    def restrict(self, pitches: Iterable[int] | None = None, tempo_changes: bool = True) -> None:
        """From here on melodic tracks play only these pitches (None: any), and the tempo changes only if it may.

        Raises `UserError` where no pitch is left.
        """
        if pitches is not None:
            self._pitches &= bits_of(pitches)
            if not self._pitches:
                raise UserError("the key leaves no pitch that this model can play")
        self._tempo_changes = tempo_changes
        self._mask = None

    # ---- what may come ----

    def mask(self) -> Mask:
        """Which ids may come next, shape (vocabulary,). Not to be written to."""
        if self._mask is None:
            parts = list(self._masks.none)
            part, open_ = self._part, self._open()
            for place, rule in _RULES_AFTER[self.previous]:
                parts[place] = rule(self, part, open_)
            self._mask = bytearray().join(parts)
        return np.frombuffer(self._mask, dtype=bool)

    def allows(self, token: int) -> bool:
        """Whether this id may come next."""
        if not 0 <= token < self.vocabulary.size:
            return False
        kind, value = self.vocabulary.event(token)
        return kind in SUCCESSORS[self.previous] and bool(_RULES[kind](self, self._part, self._open())[value])

    def _open(self) -> int:
        """Pitches that the track that is spoken of may still play at this position, if it is known what it is: silent
        ones, in the order of notes that begin together."""
        part = self._part
        if part is None or part.drums is None:
            return 0
        if self._last is None:
            return self._free(part)
        return self._free(part) & (-2 << self._last if self._rising else (1 << self._last) - 1)

    def _free(self, part: TrackState) -> int:
        """Pitches of a track that don't sound now."""
        free = ~part.sounding & (_EVERY_PITCH if part.drums else self._pitches)
        return free if self._barred is None else free & ~self._barred(self, part.number)

    def _whole(self, kind: str, may: bool) -> bytes:
        return self._masks.all[kind] if may else self._masks.none[_PLACES[kind]]

    # A rule is told the track that is spoken of, and what `_open` says of it.

    def _bar_rule(self, part: TrackState | None, open_: int) -> bytes:
        return self._masks.all["bar"]

    def _metre_rule(self, part: TrackState | None, open_: int) -> bytes:
        return self._masks.all_except["metre"][self._masks.metres[self._metre]]

    def _position_rule(self, part: TrackState | None, open_: int) -> bytes:
        bar = self.bars[-1]
        here = -1 if self.previous in ("bar", "metre") else self._now - bar.start  # −1: none was named yet
        return self._masks.positions(here, bar.length if self._something_may_be_said() else 0)

    def _something_may_be_said(self) -> bool:
        """Whether a position would have anything to hold."""
        return self._tempo_changes or self._may_grow() or any(self._free(part) for part in self.parts)

    def _tempo_rule(self, part: TrackState | None, open_: int) -> bytes:
        return (
            self._masks.all_except["tempo"][self.tempos[-1][1]] if self._tempo_changes else self._whole("tempo", False)
        )

    def _track_rule(self, part: TrackState | None, open_: int) -> bytes:
        tracks = 0
        least = 0 if self._group is None else self._group + 1  # at one position the tracks come in order
        for track in range(least, len(self.parts)):
            if self.parts[track] is not part and self._free(self.parts[track]):
                tracks |= 1 << track
        if self._may_grow():
            tracks |= 1 << len(self.parts)
        return self._masks.these("track", tracks)

    def _may_grow(self) -> bool:
        """Whether there may be another track: not all melodic ones that there may be, or none for drums."""
        return self._melodic < MAX_TRACKS - 1 or not self._has_drums

    def _program_rule(self, part: TrackState | None, open_: int) -> bytes:
        new = part is not None and part.drums is None
        return self._whole("program", new and self._melodic < MAX_TRACKS - 1 and self._pitches != 0)

    def _drums_rule(self, part: TrackState | None, open_: int) -> bytes:
        return self._whole("drums", part is not None and part.drums is None and not self._has_drums)

    def _velocity_rule(self, part: TrackState | None, open_: int) -> bytes:
        return self._masks.all_except["velocity"][part.velocity] if part and open_ else self._whole("velocity", False)

    def _longer_rule(self, part: TrackState | None, open_: int) -> bytes:
        may = part is not None and open_ != 0 and part.velocity >= 0 and self._longer < MAX_LONGER_EVENTS
        return self._whole("longer", may)

    def _duration_rule(self, part: TrackState | None, open_: int) -> bytes:
        if part is None or not open_ or part.velocity < 0:
            return self._whole("duration", False)
        value = part.duration - 1 - self._longer * self._longest
        return self._masks.all_except["duration"][value if 0 <= value < self._longest else -1]

    def _note_rule(self, part: TrackState | None, open_: int) -> bytes:
        sounds = part is not None and part.velocity >= 0 and part.duration >= 0 and not part.drums
        return self._masks.these("note", open_ if sounds else 0)

    def _drum_rule(self, part: TrackState | None, open_: int) -> bytes:
        sounds = part is not None and part.velocity >= 0 and part.duration >= 0 and part.drums
        return self._masks.these("drum", open_ if sounds else 0)

    def _end_rule(self, part: TrackState | None, open_: int) -> bytes:
        return self._whole("end", self._may_end and bool(self.bars))

    # ---- what comes ----

    def push(self, token: int) -> bool:
        """Takes the next event; False, and nothing is changed, if the grammar does not allow it."""
        known = self._mask
        if not (self.allows(token) if known is None or not 0 <= token < len(known) else known[token]):
            return False
        kind, value = self.vocabulary.event(token)
        _STEPS[kind](self, value)
        if self._longer and kind not in ("duration", "longer"):
            self._longer = 0
        self.previous, self._mask = kind, None
        return True

    def _move_to(self, step: int) -> None:
        self._now = step
        for part in self.parts:
            part.move_to(step)

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

    def _switch(self, value: int) -> None:
        if value == len(self.parts):
            self.parts.append(TrackState(value))
        self._track, self._part, self._last = value, self.parts[value], None

    def _program(self, value: int) -> None:
        self._spoken_of().drums, self._spoken_of().program = False, value
        self._melodic += 1

    def _drums(self, value: int) -> None:
        self._spoken_of().drums = self._has_drums = True

    def _velocity(self, value: int) -> None:
        self._spoken_of().velocity = value

    def _more(self, value: int) -> None:
        self._longer += 1

    def _duration(self, value: int) -> None:
        self._spoken_of().duration = value + 1 + self._longer * self._longest

    def _note(self, value: int) -> None:
        part, track = self._spoken_of(), self._track
        end = self._now + part.duration
        part.ends[value] = end
        part.sounding |= 1 << value
        self.notes.append(Note(self._now, track, value, end, self._masks.velocities[part.velocity]))
        self._group, self._last = track, value

    def _spoken_of(self) -> TrackState:
        assert self._part is not None
        return self._part

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


SUCCESSORS = {
    before: tuple(kind.name for kind in EVENT_TYPES if before in kind.predecessors)
    for before in (kind.name for kind in EVENT_TYPES)
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
_PLACES = {kind.name: place for place, kind in enumerate(EVENT_TYPES)}
_RULES_AFTER = {before: [(_PLACES[name], _RULES[name]) for name in names] for before, names in SUCCESSORS.items()}
_STEPS: dict[str, Callable[[GrammarState, int], None]] = {
    "bar": GrammarState._bar,
    "metre": GrammarState._set_metre,
    "position": GrammarState._position,
    "tempo": GrammarState._tempo,
    "track": GrammarState._switch,
    "program": GrammarState._program,
    "drums": GrammarState._drums,
    "velocity": GrammarState._velocity,
    "longer": GrammarState._more,
    "duration": GrammarState._duration,
    "note": GrammarState._note,
    "drum": GrammarState._note,
    "end": GrammarState._end,
}


def read(ids: Iterable[int], vocabulary: EventVocabulary) -> Piece:
    """The piece that ids spell, up to `end`. What the grammar does not allow is passed over."""
    walk = GrammarState(vocabulary)
    for token in ids:
        walk.push(int(token))
        if walk.ended:
            break
    return walk.piece()
