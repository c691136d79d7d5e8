"""What is copied from the training pieces: how many notes in a row, in any key, and a guard that lets no more.

Notes of one track are compared by what they have in common in every key and at every place, as in
`evaluation.novelty`: the interval and the time to the note before them; drums by both keys and the time. They stand in
the order in which they are composed, those that begin together from the bottom up (or from the top down, where the
model spells them so).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from seqgen.generation.copies.suffixes import SuffixArray, build_suffix_array
from seqgen.music.events import EventVocabulary
from seqgen.music.grammar import GrammarState, bits_of
from seqgen.music.piece import Note
from seqgen.tensors import Arrays

_SPAN = 1 << 20  # steps of the grid between two notes of one run, at most
_DRUMS = 1000  # above every interval
_BORDER = 1 << 40  # above every step: behind each run one of its own, so that no run reaches into the next


class NoteCopyIndex:
    """The runs of notes of a set of pieces, and where anything stands in them."""

    def __init__(self, suffixes: SuffixArray) -> None:
        self.suffixes = suffixes

    @classmethod
    def build(cls, pieces: Iterable[npt.NDArray[np.integer]], vocabulary: EventVocabulary) -> NoteCopyIndex:
        """Of whole pieces, given as ids."""
        runs: list[list[int]] = []
        for piece in pieces:
            walk = GrammarState(vocabulary)
            for token in piece.tolist():
                walk.push(token)
            runs += [[*run, _BORDER + len(runs) + place] for place, run in enumerate(_runs(walk))]
        symbols = np.array(list(itertools.chain.from_iterable(runs)), dtype=np.int64)
        return cls(SuffixArray(symbols, build_suffix_array(symbols)))

    @classmethod
    def of(cls, arrays: Arrays) -> NoteCopyIndex:
        """Of what `arrays` gave. Raises `ModelError` for anything else."""
        return cls(SuffixArray.of(arrays, "steps", np.int64, "notes and their suffixes"))

    def arrays(self) -> Arrays:
        """What keeps it in a file."""
        return {"steps": self.suffixes.symbols, "suffixes": self.suffixes.order}

    def longest_match(self, walk: GrammarState) -> int:
        """Notes of the longest run of one track that stands in one track of a piece of the set; 0 where there are not
        even two."""
        most = 0
        for steps in _runs(walk):
            most = self.suffixes.longest_match(len(steps), lambda start, end: steps[start:end], most)  # noqa: B023 - at once
        return most + 1 if most else 0

    def forbidden_pitches(self, notes: Sequence[Note], drums: bool, now: int, most: int) -> int:
        """Pitches, as bits, by which a track of these notes would get a run of more than `most`, played now."""
        if len(notes) < most:
            return 0
        before = _steps(notes[-most:], drums)
        low, high = self.suffixes.find(before)
        behind = self.suffixes.order[low:high].astype(np.int64) + len(before)
        following = np.unique(self.suffixes.symbols[behind[behind < len(self.suffixes.symbols)]])
        kinds, times = following // _SPAN, following % _SPAN
        last = notes[-1]
        kinds = kinds[(times == min(now - last.start, _SPAN - 1)) & (following < _BORDER)]
        pitches = (kinds - _DRUMS) % 128 if drums else kinds + last.pitch
        fits = (kinds - _DRUMS) // 128 == last.pitch if drums else (kinds < _DRUMS - 128) & (pitches >= 0)
        return bits_of(pitches[fits & (pitches < 128)].tolist())


class NoteCopyGuard:
    """Keeps a walk from copying more than `most` notes in a row; one for each walk."""

    def __init__(self, copies: NoteCopyIndex, most: int) -> None:
        self._copies, self._most = copies, most
        self._notes: list[list[Note]] = []
        self._taken = -1
        self._known: dict[int, tuple[tuple[int, int], int]] = {}

    def __call__(self, walk: GrammarState, track: int) -> int:
        """See `GrammarState.forbid_pitches`."""
        if self._taken < 0:
            self._notes, self._taken = [[] for _ in range(32)], 0
            for note in walk.earlier_notes:
                self._notes[note.track].append(note)
        for note in walk.notes[self._taken :]:
            self._notes[note.track].append(note)
        self._taken = len(walk.notes)
        notes = self._notes[track]
        place = (walk.now, len(notes))
        known = self._known.get(track)
        if known is None or known[0] != place:
            drums = bool(walk.track_states[track].drums)
            known = self._known[track] = place, self._copies.forbidden_pitches(notes, drums, walk.now, self._most)
        return known[1]


def _runs(walk: GrammarState) -> list[list[int]]:
    """The steps from note to note of each track of two notes or more."""
    tracks: list[list[Note]] = [[] for _ in walk.track_states]
    for note in walk.notes:
        tracks[note.track].append(note)
    found = zip(tracks, walk.track_states, strict=True)
    return [_steps(notes, bool(part.drums)) for notes, part in found if len(notes) > 1]


def _steps(notes: Sequence[Note], drums: bool) -> list[int]:
    """Interval, or both keys, and time from each note to the next as one number."""
    steps = []
    for one, other in itertools.pairwise(notes):
        kind = _DRUMS + 128 * one.pitch + other.pitch if drums else other.pitch - one.pitch
        steps.append(kind * _SPAN + min(other.start - one.start, _SPAN - 1))
    return steps
