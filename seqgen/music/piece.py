"""A piece of music on a grid: what a MIDI file comes to, and what is plotted, measured and written.

All times are in steps from the beginning; a quarter note has `grid` of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Note(NamedTuple):
    """One note. `end` > `start`, in steps; `pitch` and `velocity` as MIDI has them (0–127, 1–127); `track` counts from
    0 into `Piece.tracks`. On a drum track the pitch is General MIDI's key of an instrument, not a height."""

    start: int
    track: int
    pitch: int
    end: int
    velocity: int


@dataclass(frozen=True)
class Track:
    """A part. `program` is General MIDI's instrument, 0–127; None is the drum kit (channel 10)."""

    program: int | None = 0

    @property
    def drums(self) -> bool:
        return self.program is None


class Bar(NamedTuple):
    """A bar that begins at step `start`, in `numerator`/`denominator` time, `length` steps long."""

    start: int
    length: int
    numerator: int
    denominator: int


@dataclass(frozen=True)
class Piece:
    """A piece of music.

    Attributes:
        grid: steps a quarter note.
        tracks: the parts, in the order in which they begin.
        notes: sorted by start, then track, then falling pitch; no two of one track share pitch and start, none ends
            after the last bar.
        bars: without a gap from step 0 to `length`.
        tempos: (step, quarter notes a minute), rising; the first at step 0.
    """

    grid: int
    tracks: tuple[Track, ...]
    notes: tuple[Note, ...]
    bars: tuple[Bar, ...]
    tempos: tuple[tuple[int, int], ...] = ((0, 120),)

    @property
    def length(self) -> int:
        """Steps in all."""
        return self.bars[-1].start + self.bars[-1].length if self.bars else 0

    def excerpt(self, first: int, count: int) -> Piece:
        """Bars `first` to `first + count` as a piece of its own; a note that begins earlier is left out, one that ends
        later ends with the last bar. Tracks that are silent in it are left out."""
        bars = self.bars[first : first + count]
        if not bars:
            return Piece(self.grid, (), (), ())
        begin, end = bars[0].start, bars[-1].start + bars[-1].length
        notes = tuple(
            note._replace(start=note.start - begin, end=min(note.end, end) - begin)
            for note in self.notes
            if begin <= note.start < end
        )
        used = list(dict.fromkeys(note.track for note in notes))  # in the order in which they begin
        notes = tuple(sorted((n._replace(track=used.index(n.track)) for n in notes), key=lambda n: (n[0], n[1], -n[2])))
        before = [bpm for step, bpm in self.tempos if step <= begin]
        tempos = [(0, before[-1] if before else 120)]
        tempos += [(step - begin, bpm) for step, bpm in self.tempos if begin < step < end]
        tracks = tuple(self.tracks[track] for track in used)
        return Piece(self.grid, tracks, notes, tuple(b._replace(start=b.start - begin) for b in bars), tuple(tempos))
