"""How much of a piece is copied: the longest run of its notes that occurs in the training set, in any key.

Notes are compared by what they have in common in every key and at every place: the interval and the time to the note
before them; on drum tracks, by both keys and the time. A run of k such steps is a run of k + 1 notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.music.piece import Note, Piece

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
_SPAN = 1 << 20  # steps of the grid between two notes of one run, at most
_DRUMS = 1000  # above every interval
_BORDER = 1 << 40  # above every step: behind each run one of its own, so that no match reaches into the next


@dataclass(frozen=True)
class CopiedRun:
    """A run of `notes` notes, two or more, that also occurs in training piece number `piece`, from step `start` of it
    on. Where there is no such run, `notes` is 0 and `piece` None."""

    notes: int
    piece: int | None = None
    start: int = 0


class CopyFinder:
    """Finds copies from a set of pieces: a suffix array (Manber & Myers, 1993) of all steps from note to note, whose
    comparisons go by hashes of runs. Memory: some 40 bytes a note, thrice that while it is built."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        runs: list[Ints] = [np.array([_BORDER], dtype=np.int64)]
        onsets: list[Ints] = [np.zeros(1, dtype=np.int64)]
        owners: list[int] = [-1]
        for number, piece in enumerate(pieces):
            for steps, starts in _tracks(piece):
                runs.append(np.append(steps, _BORDER + len(runs)))
                onsets.append(starts)
                owners.append(number)
        self._steps = np.concatenate(runs)
        self._onsets = np.concatenate(onsets)  # of the note that each step leads away from
        self._owners = owners
        self._ends = np.cumsum([len(run) for run in runs])
        self._sums = _prefix_sums(self._steps)
        self._inverses = _powers(_inverse(_BASE), len(self._steps) + 1)
        self._sorted = _suffix_array(self._steps)

    def longest_copy(self, piece: Piece) -> CopiedRun:
        """The longest run of notes of one track of `piece` that occurs in one track of a piece of the set."""
        best = CopiedRun(0)
        for steps, _ in _tracks(piece):
            lengths, places = self._matches(steps)
            for at in np.argsort(-lengths, kind="stable"):
                length, place = int(lengths[at]), int(places[at])
                if length == 0 or length + 1 <= best.notes:
                    break
                # Different runs may have the same hash, however unlikely that is.
                if np.array_equal(self._steps[place : place + length], steps[at : at + length]):
                    run = int(np.searchsorted(self._ends, place, side="right"))
                    best = CopiedRun(length + 1, self._owners[run], int(self._onsets[place]))
                    break
        return best

    def _matches(self, steps: Ints) -> tuple[Ints, Ints]:
        """For every place of `steps` how many steps from there on occur in the set, and where: shape (steps,) each.

        The longest match stands next to where the rest of `steps` would be inserted in the sorted suffixes, and a
        binary search looks at both neighbours of the place that it ends at.
        """
        sums, inverses = _prefix_sums(steps), self._inverses
        if len(inverses) < len(sums):
            inverses = _powers(_inverse(_BASE), len(sums))
        ended = np.append(steps, -_BORDER)  # what ends comes before what goes on
        mine = np.arange(len(steps))
        low, high = np.zeros(len(steps), dtype=np.int64), np.full(len(steps), len(self._sorted))
        lengths, places = np.zeros(len(steps), dtype=np.int64), np.zeros(len(steps), dtype=np.int64)
        for _ in range(len(self._sorted).bit_length()):
            middle = np.minimum((low + high) // 2, len(self._sorted) - 1)
            theirs = self._sorted[middle]
            most = np.minimum(len(steps) - mine, len(self._steps) - 1 - theirs)
            common = np.zeros(len(steps), dtype=np.int64)
            for power in reversed(range(int(most.max()).bit_length())):
                tried = common + (1 << power)
                fits = tried <= most
                here, there = np.where(fits, mine + tried, mine), np.where(fits, theirs + tried, theirs)
                equal = (sums[here] - sums[mine]) * inverses[mine] == (
                    self._sums[there] - self._sums[theirs]
                ) * self._inverses[theirs]
                common = np.where(fits & equal, tried, common)
            longer = common > lengths
            lengths, places = np.where(longer, common, lengths), np.where(longer, theirs, places)
            open_ = low < high
            after = self._steps[theirs + common] < ended[mine + common]
            low, high = np.where(open_ & after, middle + 1, low), np.where(open_ & ~after, middle, high)
        return lengths, places


def _tracks(piece: Piece) -> Iterator[tuple[Ints, Ints]]:
    """For each track of two notes or more the steps from note to note, interval and time as one number, shape
    (notes − 1,), and where each note begins, shape (notes,)."""
    tracks: dict[int, list[Note]] = {}
    for note in piece.notes:
        tracks.setdefault(note.track, []).append(note)
    for track, notes in sorted(tracks.items()):
        if len(notes) < 2:
            continue
        pitches = np.array([note.pitch for note in notes], dtype=np.int64)
        starts = np.array([note.start for note in notes], dtype=np.int64)
        keys = _DRUMS + 128 * pitches[:-1] + pitches[1:]  # of two drums: another one is no transposition
        intervals = keys if piece.tracks[track].drums else np.diff(pitches)
        yield intervals * _SPAN + np.minimum(np.diff(starts), _SPAN - 1), starts


def _suffix_array(steps: Ints) -> Ints:
    """Where the suffixes of `steps` begin, in their order, by doubling the length that they are sorted by."""
    ranks = np.unique(steps, return_inverse=True)[1].astype(np.int64)
    length, count = 1, len(steps)
    while True:
        following = np.zeros(count, dtype=np.int64)
        following[: max(count - length, 0)] = ranks[length:] + 1
        keys = ranks * (count + 1) + following
        order = np.argsort(keys)
        ordered = keys[order]
        ranks[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
        if ranks[order[-1]] == count - 1:
            return order
        length *= 2


def _inverse(odd: np.uint64) -> np.uint64:
    """The number that gives 1 modulo 2^64 when multiplied with `odd` (Newton's iteration)."""
    value, result = int(odd), 1
    for _ in range(6):
        result = result * (2 - value * result) % (1 << 64)
    return np.uint64(result)


def _powers(base: np.uint64, count: int) -> Hashes:
    factors = np.full(count, base, dtype=np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)


def _prefix_sums(steps: Ints) -> Hashes:
    """Sums of the steps, well mixed, times rising powers of the base, modulo 2^64, shape (steps + 1,). The difference
    of two, times the inverse power of where it begins, is a hash of the run between them, wherever it is."""
    mixed = steps.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0x94D049BB133111EB)  # the finaliser of splitmix64 (Steele et al., 2014)
    mixed ^= mixed >> np.uint64(29)
    sums = np.zeros(len(steps) + 1, dtype=np.uint64)
    np.cumsum(mixed * _powers(_BASE, len(steps)), out=sums[1:])
    return sums
