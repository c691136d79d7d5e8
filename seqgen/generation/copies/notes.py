"""Copies of training pieces: the longest run of notes, in any key, and a guard that limits it.

Notes of one track are compared by features that don't depend on key and position: the interval and the time to the note
before; for drums, both pitches and the time. A run of k such steps is a run of k + 1 notes. Notes are in the order in
which the model generates them: those that begin together rise (or fall, in a vocabulary that spells chords downwards).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from seqgen.generation.copies.suffix_array import SuffixArray, build_suffix_array
from seqgen.music.events import EventVocabulary
from seqgen.music.grammar import GrammarState, bits_of
from seqgen.music.piece import Note, Piece
from seqgen.tensors import Arrays

_SPAN = 1 << 20  # limit of the time between two notes, in steps of the grid
_DRUMS = 1000  # above every interval
_BORDER = 1 << 40  # above every step; each run ends with a border of its own, so that no match crosses it

Tracks = Sequence[tuple[Sequence[Note], bool]]  # for each track of a piece its notes, and whether it is drums


class NoteCopyIndex:
    """The runs of notes in a set of pieces, as a suffix array of their steps."""

    def __init__(self, suffixes: SuffixArray) -> None:
        self.suffixes = suffixes

    @classmethod
    def build(cls, pieces: Iterable[npt.NDArray[np.integer]], vocabulary: EventVocabulary) -> NoteCopyIndex:
        """Index whole pieces, given as ids."""

        def decoded() -> Iterable[Tracks]:
            for piece in pieces:
                grammar = GrammarState(vocabulary)
                for token in piece.tolist():
                    grammar.push(token)
                yield grammar_tracks(grammar)

        return cls.of_tracks(decoded())

    @classmethod
    def of_tracks(cls, pieces: Iterable[Tracks]) -> NoteCopyIndex:
        """Index the tracks of pieces."""
        runs: list[list[int]] = []
        for tracks in pieces:
            runs += [[*run, _BORDER + number] for number, run in enumerate(_runs(tracks), start=len(runs))]
        symbols = np.array(list(itertools.chain.from_iterable(runs)), dtype=np.int64)
        return cls(SuffixArray(symbols, build_suffix_array(symbols)))

    @classmethod
    def of(cls, arrays: Arrays) -> NoteCopyIndex:
        """Restore an index from `arrays`. Raises `ModelError` for anything else."""
        return cls(SuffixArray.of(arrays, "steps", np.int64, "notes and their suffix array"))

    def arrays(self) -> Arrays:
        """The index as tensors for a file."""
        return {"steps": self.suffixes.symbols, "suffixes": self.suffixes.order}

    def longest_match(self, tracks: Tracks) -> int:
        """Notes of the longest run of one track that occurs in one track of the set; 0 if that is a single note."""
        longest = 0
        for steps in _runs(tracks):
            longest = self.suffixes.longest_run(np.array(steps, dtype=np.int64), longest)
        return longest + 1 if longest else 0

    def forbidden_pitches(self, notes: Sequence[Note], drums: bool, now: int, most: int) -> int:
        """Pitches, as bits, that would complete a run of more than `most` notes, played now on a track of `notes`."""
        if len(notes) < most:
            return 0
        before = _steps(notes[-most:], drums)
        low, high = self.suffixes.find(before)
        after = self.suffixes.order[low:high].astype(np.int64) + len(before)
        following = np.unique(self.suffixes.symbols[after[after < len(self.suffixes.symbols)]])
        intervals, times = following // _SPAN, following % _SPAN
        last = notes[-1]
        intervals = intervals[(times == min(now - last.start, _SPAN - 1)) & (following < _BORDER)]
        pitches = (intervals - _DRUMS) % 128 if drums else intervals + last.pitch
        fits = (intervals - _DRUMS) // 128 == last.pitch if drums else (intervals < _DRUMS - 128) & (pitches >= 0)
        return bits_of(pitches[fits & (pitches < 128)].tolist())


class NoteCopyGuard:
    """Keeps one piece from copying more than `most` notes in a row."""

    def __init__(self, copies: NoteCopyIndex, most: int) -> None:
        self._copies, self._most = copies, most
        self._notes: list[list[Note]] = []
        self._taken = -1
        self._cached: dict[int, tuple[tuple[int, int], int]] = {}  # of each track, for a time and a count of notes

    def __call__(self, grammar: GrammarState, track: int) -> int:
        """See `music.grammar.NoteGuard`."""
        notes = self._played(grammar)[track]
        key = (grammar.now, len(notes))
        cached = self._cached.get(track)
        if cached is None or cached[0] != key:
            drums = bool(grammar.track_states[track].drums)
            cached = self._cached[track] = key, self._copies.forbidden_pitches(notes, drums, grammar.now, self._most)
        return cached[1]

    def forbids(self, grammar: GrammarState, notes: Sequence[Note]) -> bool:
        """See `music.grammar.NoteGuard`."""
        played = self._played(grammar)
        for track in {note.track for note in notes}:
            drums = bool(grammar.track_states[track].drums)
            run = [*played[track][-self._most :], *(note for note in notes if note.track == track)]
            if len(run) > self._most and self._copies.longest_match([(run, drums)]) > self._most:
                return True
        return False

    def _played(self, grammar: GrammarState) -> list[list[Note]]:
        """The notes of each track so far."""
        if self._taken < 0:
            self._notes, self._taken = [[] for _ in range(32)], 0
            for note in grammar.earlier_notes:
                self._notes[note.track].append(note)
        for note in grammar.notes[self._taken :]:
            self._notes[note.track].append(note)
        self._taken = len(grammar.notes)
        return self._notes


def grammar_tracks(grammar: GrammarState) -> Tracks:
    """The tracks of a piece in progress."""
    tracks: list[list[Note]] = [[] for _ in grammar.track_states]
    for note in grammar.notes:
        tracks[note.track].append(note)
    return [(notes, bool(state.drums)) for notes, state in zip(tracks, grammar.track_states, strict=True)]


def piece_tracks(piece: Piece, rising: bool) -> Tracks:
    """The tracks of a piece. `rising`: whether chords are spelled upwards, as the vocabulary's option says."""
    tracks: list[list[Note]] = [[] for _ in piece.tracks]
    for note in piece.notes:
        tracks[note.track].append(note)
    if rising:
        tracks = [sorted(notes, key=lambda note: (note.start, note.pitch)) for notes in tracks]
    return [(notes, track.drums) for notes, track in zip(tracks, piece.tracks, strict=True)]


def _runs(tracks: Tracks) -> list[list[int]]:
    """The steps from note to note of each track with at least two notes."""
    return [_steps(notes, drums) for notes, drums in tracks if len(notes) > 1]


def _steps(notes: Sequence[Note], drums: bool) -> list[int]:
    """The interval (for drums both pitches) and the time from each note to the next, as one integer."""
    steps = []
    for one, other in itertools.pairwise(notes):
        interval = _DRUMS + 128 * one.pitch + other.pitch if drums else other.pitch - one.pitch
        steps.append(interval * _SPAN + min(other.start - one.start, _SPAN - 1))
    return steps
