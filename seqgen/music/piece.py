"""A piece of music on a grid, as read from MIDI, plotted, evaluated and written.

All times are in steps from the start; a quarter note has `grid` steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Note(NamedTuple):
    """One note.

    `end` > `start`, in steps; `pitch` 0–127 and `velocity` 1–127 as in MIDI; `track` is an index into `Piece.tracks`.
    On a drum track the pitch is the General MIDI key of an instrument.
    """

    start: int
    track: int
    pitch: int
    end: int
    velocity: int


@dataclass(frozen=True)
class Track:
    """A track. `program` is the General MIDI instrument, 0–127; None is the drum kit (channel 10)."""

    program: int | None = 0

    @property
    def drums(self) -> bool:
        return self.program is None


class Bar(NamedTuple):
    """A bar from step `start`, `length` steps long, in `numerator`/`denominator` time."""

    start: int
    length: int
    numerator: int
    denominator: int


@dataclass(frozen=True)
class Piece:
    """A piece of music.

    Attributes:
        grid: steps per quarter note.
        tracks: tracks, in the order in which they start.
        notes: sorted by start, then track, then descending pitch; no two of one track share pitch and start, and none
            ends after the last bar.
        bars: contiguous from step 0 to `length`.
        tempos: (step, quarter notes per minute), ascending; the first at step 0.
    """

    grid: int
    tracks: tuple[Track, ...]
    notes: tuple[Note, ...]
    bars: tuple[Bar, ...]
    tempos: tuple[tuple[int, float], ...] = ((0, 120),)

    @property
    def length(self) -> int:
        """Length in steps."""
        return self.bars[-1].start + self.bars[-1].length if self.bars else 0

    def notes_by_bar(self) -> list[tuple[Note, ...]]:
        """Return for each bar the notes that begin in it."""
        found: list[tuple[Note, ...]] = []
        index = 0
        for bar in self.bars:
            first = index
            while index < len(self.notes) and self.notes[index].start < bar.start + bar.length:
                index += 1
            found.append(self.notes[first:index])
        return found

    def excerpt(self, first: int, count: int) -> Piece:
        """Return bars `first` to `first + count` as a piece.

        Notes that start earlier and silent tracks are dropped; notes that end later are cut at the last bar.
        """
        bars = self.bars[first : first + count]
        if not bars:
            return Piece(self.grid, (), (), ())
        begin, end = bars[0].start, bars[-1].start + bars[-1].length
        notes = tuple(
            note._replace(start=note.start - begin, end=min(note.end, end) - begin)
            for note in self.notes
            if begin <= note.start < end
        )
        used = list(dict.fromkeys(note.track for note in notes))  # in order of first use
        notes = tuple(sorted((n._replace(track=used.index(n.track)) for n in notes), key=lambda n: (n[0], n[1], -n[2])))
        before = [bpm for step, bpm in self.tempos if step <= begin]
        tempos = [(0, before[-1] if before else 120)]
        tempos += [(step - begin, bpm) for step, bpm in self.tempos if begin < step < end]
        tracks = tuple(self.tracks[track] for track in used)
        return Piece(self.grid, tracks, notes, tuple(b._replace(start=b.start - begin) for b in bars), tuple(tempos))
