"""How much of a piece is copied: the longest run of its notes that occurs in the training set, in any key.

Notes are compared by what they have in common in every key and at every place: the interval and the time to the note
before them. A run of k such steps is a run of k + 1 notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.music.piece import Piece

Hashes = npt.NDArray[np.uint64]
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
_SPAN = 1 << 20  # steps between two notes of one run, at most


@dataclass(frozen=True)
class Copy:
    """A run of `notes` notes that also occurs in training piece number `piece` (None where there is no such run)."""

    notes: int
    piece: int | None = None


class CopyFinder:
    """Finds copies from a set of pieces. Memory: some 40 bytes a note, and 8 for each length that was asked about."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        runs: list[npt.NDArray[np.int64]] = []
        owners: list[int] = []
        for number, piece in enumerate(pieces):
            for steps in _tracks(piece):
                runs.append(steps)
                owners.append(number)
        self._lengths = np.array([len(run) for run in runs], dtype=np.int64)
        self._owners = np.array(owners, dtype=np.int64)
        self._steps = np.concatenate(runs) if runs else np.zeros(0, dtype=np.int64)
        self._begins = np.cumsum(self._lengths) - self._lengths
        self._sums = _prefix_sums(self._steps)
        self._powers = _powers(_inverse(_BASE), len(self._steps) + 1)
        self._sorted: dict[int, tuple[Hashes, npt.NDArray[np.int64]]] = {}

    def longest_copy(self, piece: Piece) -> Copy:
        """The longest run of notes of one track of `piece` that occurs in one track of a piece of the set."""
        best = Copy(0)
        for steps in _tracks(piece):
            least, most = max(best.notes, 1), len(steps)  # in steps: only a longer run is of interest
            while least <= most:
                length = (least + most) // 2
                found = self._find(steps, length)
                if found is None:
                    most = length - 1
                else:
                    best, least = Copy(length + 1, found), length + 1
        return best

    def _find(self, steps: npt.NDArray[np.int64], length: int) -> int | None:
        """A training piece with a run of `length` steps that is one of `steps`."""
        hashes, places = self._windows(length)
        if not len(hashes):
            return None
        powers = _powers(_inverse(_BASE), len(steps) + 1)
        mine = _window_hashes(_prefix_sums(steps), powers, length)
        where = np.minimum(np.searchsorted(hashes, mine), len(hashes) - 1)
        for begin in np.flatnonzero(hashes[where] == mine):
            place = int(places[where[begin]])
            if np.array_equal(self._steps[place : place + length], steps[begin : begin + length]):
                run = int(np.searchsorted(self._begins, place, side="right")) - 1
                return int(self._owners[run])
        return None

    def _windows(self, length: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """Sorted hashes of all runs of that length that lie in one track, and where each begins."""
        if length not in self._sorted:
            counts = np.maximum(self._lengths - length + 1, 0)
            inside = np.repeat(self._begins - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
            hashes = (
                _window_hashes(self._sums, self._powers, length)[inside] if len(inside) else inside.astype(np.uint64)
            )
            order = np.argsort(hashes, kind="stable")
            self._sorted[length] = hashes[order], inside[order]
        return self._sorted[length]


def _tracks(piece: Piece) -> Iterator[npt.NDArray[np.int64]]:
    """For each track of two notes or more the steps from note to note: interval and time, as one number."""
    for track in range(len(piece.tracks)):
        notes = [note for note in piece.notes if note.track == track]
        if len(notes) < 2:
            continue
        pitches = np.array([note.pitch for note in notes], dtype=np.int64)
        if piece.tracks[track].drums:
            intervals = pitches[1:] + 1000  # another drum is another note, and not a transposition
        else:
            intervals = np.diff(pitches)
        starts = np.array([note.start for note in notes], dtype=np.int64)
        yield intervals * _SPAN + np.minimum(np.diff(starts), _SPAN - 1)


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


def _prefix_sums(steps: npt.NDArray[np.int64]) -> Hashes:
    """Sums of the steps, well mixed, times rising powers of the base, modulo 2^64."""
    mixed = steps.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0x94D049BB133111EB)  # the finaliser of splitmix64 (Steele et al., 2014)
    mixed ^= mixed >> np.uint64(29)
    sums = np.zeros(len(steps) + 1, dtype=np.uint64)
    np.cumsum(mixed * _powers(_BASE, len(steps)), out=sums[1:])
    return sums


def _window_hashes(sums: Hashes, inverse_powers: Hashes, length: int) -> Hashes:
    """A hash of each run of `length` steps: equal runs have equal hashes wherever they are."""
    return (sums[length:] - sums[:-length]) * inverse_powers[: len(sums) - length]
