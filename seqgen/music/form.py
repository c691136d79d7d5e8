"""Form of a piece as events: bars that come again, and how many are still to come.

`again` says that the bar which has just begun equals one some bars back: the same notes at the same steps, of the same
lengths and velocities. The grammar then allows nothing but the events of that bar, one by one, so that they cost no
nats and are still read by the network. `bar` counts the bars to come, so that a piece can be asked for by its length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from seqgen.music.events import AGAIN_DISTANCES, COUNTED_BARS, MAX_DURATION_QUARTERS, EventVocabulary, tempo_value
from seqgen.music.piece import Piece

MAX_AGAIN_NOTES = 256  # of a bar that can come again: a limit of what is remembered
REMEMBERED_BARS = max(AGAIN_DISTANCES)  # before the current one


class BarNote(NamedTuple):
    """A note as the bar that it begins in has it: `start` is from the bar line, the others are values of events."""

    start: int
    track: int
    pitch: int
    duration: int
    velocity: int
    drums: bool


class NoteSpeller:
    """Spells notes as events, in the order of the pieces' events. Values that persist are spelt when they change.

    Attributes:
        ids: the events so far, without those that the caller adds between the notes.
    """

    def __init__(
        self, vocabulary: EventVocabulary, track: int = -1, values: Mapping[int, tuple[int, int]] | None = None
    ) -> None:
        """
        Args:
            track: the current one; −1 for none.
            values: current velocity and duration of each track that has played.
        """
        self.ids: list[int] = []
        self._first, self._track, self._values = vocabulary.offsets, track, dict(values or {})
        self._longest = MAX_DURATION_QUARTERS * vocabulary.options.grid

    def emit(self, event_type: str, value: int = 0) -> None:
        """Add an event."""
        self.ids.append(self._first[event_type] + value)

    def chord(self, notes: Iterable[BarNote], programs: Sequence[int | None] = ()) -> None:
        """Add notes of one position, whose order is that of the vocabulary; `programs`: of the tracks, for new ones."""
        for note in notes:
            if note.track != self._track:
                self._track = note.track
                self.emit("track", note.track)
                if note.track not in self._values:
                    self._values[note.track] = (-1, -1)
                    program = programs[note.track]
                    self.emit("drums") if program is None else self.emit("program", program)
            velocity, duration = self._values[note.track]
            if note.velocity != velocity:
                self.emit("velocity", note.velocity)
            if note.duration != duration:
                for _ in range((note.duration - 1) // self._longest):
                    self.emit("longer")
                self.emit("duration", (note.duration - 1) % self._longest)
            self._values[note.track] = note.velocity, note.duration
            self.emit("drum" if note.drums else "note", note.pitch)

    def bar(self, notes: Sequence[BarNote]) -> list[int]:
        """Return the events of all notes of a bar, in the order in which they were played."""
        for index, note in enumerate(notes):
            if not index or note.start != notes[index - 1].start:
                self.emit("position", note.start)
            self.chord([note])
        return self.ids


class RecentBars:
    """The latest bars of a piece that is read event by event, and the repetition of one of them.

    Attributes:
        forced: events of the repeated bar that are still to come, the last one first.
        closed: whether the current bar repeats another, so that only another bar or the end may follow it.
    """

    def __init__(self, bars: Iterable[tuple[int, list[BarNote]]] = ()) -> None:
        """
        Args:
            bars: length in steps and notes of the bars before the next, oldest first.
        """
        self.forced: list[int] = []
        self.closed = False
        self._bars: deque[tuple[int, list[BarNote]]] = deque(bars, REMEMBERED_BARS)
        self._length = 0  # of the current bar; 0 before the first
        self._notes: list[BarNote] = []

    def begin(self, length: int) -> None:
        """Begin a bar of this length in steps."""
        if self._length:
            self._bars.append((self._length, self._notes))
        self._length, self._notes, self.closed = length, [], False

    def resize(self, length: int) -> None:
        """Set the length of the current bar, which has no notes yet."""
        self._length = length

    def add(self, note: BarNote) -> None:
        """Add a note to the current bar."""
        if len(self._notes) <= MAX_AGAIN_NOTES:
            self._notes.append(note)

    def choices(
        self,
        pitches: int,
        steps_left: Callable[[int, int], int],
        forbids: Callable[[Sequence[BarNote]], bool] = lambda notes: False,
    ) -> int:
        """Return the values of `again` that are legal at the beginning of the current bar, as bits.

        Args:
            pitches: those that melodic tracks may play, as bits.
            steps_left: for a track and a pitch, the steps that its last note still sounds; ≤ 0 if it doesn't.
            forbids: whether the notes of an earlier bar must not be played now for another reason.
        """
        found = 0
        for value, distance in enumerate(AGAIN_DISTANCES):
            if distance > len(self._bars):
                break
            length, notes = self._bars[-distance]
            if length != self._length or not 0 < len(notes) <= MAX_AGAIN_NOTES:
                continue
            playable = all(
                (n.drums or pitches >> n.pitch & 1) and steps_left(n.track, n.pitch) <= n.start for n in notes
            )
            if playable and not forbids(notes):
                found |= 1 << value
        return found

    def repeat(self, value: int, speller: NoteSpeller) -> None:
        """Take an `again` of this value; `speller` has the current values."""
        self.forced, self.closed = speller.bar(self._bars[-AGAIN_DISTANCES[value]][1])[::-1], True

    def remembered(self) -> list[tuple[int, list[BarNote]]]:
        """Return the bars that a later one can repeat, this one included, oldest first, as `__init__` takes them."""
        bars = [*self._bars, (self._length, self._notes)] if self._length else list(self._bars)
        return [(length, notes if len(notes) <= MAX_AGAIN_NOTES else []) for length, notes in bars][-REMEMBERED_BARS:]

    def copy(self) -> RecentBars:
        """Return an independent copy."""
        made = RecentBars(self._bars)
        made.forced, made.closed = list(self.forced), self.closed
        made._length, made._notes = self._length, list(self._notes)
        return made


@dataclass
class BarCount:
    """The bars of a piece as `bar` counts them down: which one may be next, and where the piece may end.

    Attributes:
        latest: value of the last `bar`; None at the beginning.
        to_come: bars that are planned from here on, of which the next is the first; −1 if their number is to stay
            unknown, None if nothing is planned.
        end_allowed: whether the piece may end where the count allows it.
    """

    vocabulary: EventVocabulary
    latest: int | None = None
    to_come: int | None = None
    end_allowed: bool = True

    def take(self, value: int) -> None:
        """Take a `bar` of this value."""
        self.latest = value
        if self.to_come is not None and self.to_come > 0:
            self.to_come -= 1

    @property
    def may_end(self) -> bool:
        """Whether the piece may end after the last `bar`."""
        return self.end_allowed and (self.latest or 0) <= 1

    def next_values(self) -> range:
        """Return the legal values of the next `bar`."""
        size, latest, to_come = self.vocabulary.sizes["bar"], self.latest, self.to_come
        if size == 1:
            return range(1)
        if not latest:
            legal = range(size)
        elif latest > COUNTED_BARS:
            legal = range(COUNTED_BARS, COUNTED_BARS + 2)
        else:
            legal = range(latest - 1, latest) if latest > 1 else range(0)
        if to_come is None:
            return legal
        planned = self.vocabulary.bar_value(None if to_come < 0 else to_come - 1) if to_come else -1
        return range(planned, planned + 1) if planned in legal else range(0)


def bars_of(piece: Piece, vocabulary: EventVocabulary, shift: int = 0) -> list[list[BarNote]]:
    """Return for each bar the notes that begin in it, in the order in which they are spelt.

    Args:
        shift: semitones from the pitches of events up to those of the piece, except drums.
    """
    found: list[list[BarNote]] = []
    drums = [track.drums for track in piece.tracks]
    for bar, notes in zip(piece.bars, piece.notes_by_bar(), strict=True):
        inside = [
            BarNote(
                note.start - bar.start, note.track, note.pitch if drums[note.track] else note.pitch - shift,
                note.end - note.start,
                vocabulary.velocity_bin(note.velocity), drums[note.track],
            )
            for note in notes
        ]  # fmt: skip
        if vocabulary.options.rising:
            inside.sort(key=lambda note: note[:3])
        found.append(inside)
    return found


def repetitions(piece: Piece, bars: Sequence[Sequence[BarNote]]) -> list[int]:
    """Return for each bar the value of its `again`; −1 for none.

    A bar continues the repetition of the bar before it, or else begins the longest one, of the least distance.
    """
    count = len(bars)
    numbers: dict[tuple[int, tuple[BarNote, ...]], int] = {}
    contents = [
        numbers.setdefault((bar.length, tuple(notes)), len(numbers))
        for bar, notes in zip(piece.bars, bars, strict=True)
    ]
    able = np.array([0 < len(notes) <= MAX_AGAIN_NOTES for notes in bars], dtype=bool)
    tempos = [(step, tempo_value(bpm)) for step, bpm in piece.tempos]
    changes = [now[0] for before, now in pairwise(tempos) if now[1] != before[1]]  # such bars are spelt out
    change = 0
    for number, bar in enumerate(piece.bars):
        while change < len(changes) and changes[change] < bar.start + bar.length:
            able[number] &= changes[change] < bar.start
            change += 1
    equal = np.array(contents)
    runs = np.zeros((count, len(AGAIN_DISTANCES)), dtype=np.int32)  # bars that repeat at this distance from here on
    for value, distance in enumerate(AGAIN_DISTANCES):
        repeats = np.zeros(count, dtype=bool)
        repeats[distance:] = (equal[distance:] == equal[:-distance]) & able[distance:]
        first_other = np.where(repeats, count, np.arange(count))
        runs[:, value] = np.minimum.accumulate(first_other[::-1])[::-1] - np.arange(count)
    chosen: list[int] = []
    latest = -1
    for number in range(count):
        if latest < 0 or not runs[number, latest]:
            latest = int(runs[number].argmax()) if runs[number].any() else -1
        chosen.append(latest)
    return chosen
