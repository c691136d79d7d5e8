"""Augmentation of music: every epoch reads each piece in another key and, if asked for, at another tempo.

In some pieces the first bars don't tell how many are to come, for a model that composes without knowing it.

It transforms the ids of a batch (`batches.Transform`): nothing is stored, and batch n of a run is always the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.corpus.ids import IdStream
from seqgen.music.events import TEMPOS, EventVocabulary

Ints = npt.NDArray[np.int64]


_UNCOUNTED = 0.15  # fraction of the pieces with bars that don't tell how many are to come


class Augmenter:
    """Moves all pitches of a piece by one interval and all its tempos by one factor, drawn anew in every epoch.

    Args:
        semitones: the largest interval up or down; less for pieces that would leave the vocabulary's range.
        percent: the largest change of tempo.
    """

    def __init__(self, stream: IdStream, vocabulary: EventVocabulary, semitones: int, percent: int, seed: int) -> None:
        ids = np.asarray(stream.ids)
        first = vocabulary.offsets
        self._note, self._tempo, self._seed = first["note"], first["tempo"], seed
        self._starts = np.flatnonzero(ids == vocabulary.id("end"))
        if not len(self._starts) or self._starts[0]:
            self._starts = np.concatenate([[0], self._starts])
        is_note = (ids >= self._note) & (ids < self._note + 128)
        pitches = ids.astype(np.int64) - self._note
        lowest = np.minimum.reduceat(np.where(is_note, pitches, 127), self._starts)
        highest = np.maximum.reduceat(np.where(is_note, pitches, 0), self._starts)
        options = vocabulary.options
        self._down = np.clip(lowest - options.low, 0, semitones)
        self._up = np.clip(options.high - highest, 0, semitones)
        self._bins = round(12 * float(np.log2(1 + percent / 100)))  # tempos are a twelfth of an octave apart
        self._bar_ids = range(first["bar"] + 1, first["bar"] + vocabulary.sizes["bar"])  # those that count
        self._bars = np.flatnonzero(vocabulary.is_event(ids, "bar")) if len(self._bar_ids) else np.zeros(0, np.int64)
        self._first_bars = np.searchsorted(self._bars, self._starts)
        self._epoch = -1
        self._shift = self._tempo_shift = self._counted_from = np.zeros(0, dtype=np.int64)

    def __call__(self, ids: Ints, positions: Ints, epoch: int) -> Ints:
        if epoch != self._epoch:
            self._shift, self._tempo_shift = self.draw(epoch)
            self._counted_from = self._draw_counted(epoch)
            self._epoch = epoch
        piece = np.searchsorted(self._starts, positions, side="right") - 1
        is_note = (ids >= self._note) & (ids < self._note + 128)
        result = np.where(is_note, ids + self._shift[piece], ids)
        if len(self._bar_ids):
            is_bar = (ids >= self._bar_ids.start) & (ids < self._bar_ids.stop)
            uncounted = is_bar & (positions < self._counted_from[piece])
            result = np.where(uncounted, self._bar_ids.start - 1, result)
        if self._bins:
            is_tempo = (ids >= self._tempo) & (ids < self._tempo + len(TEMPOS))
            moved = np.clip(ids - self._tempo + self._tempo_shift[piece], 0, len(TEMPOS) - 1) + self._tempo
            result = np.where(is_tempo, moved, result)
        return result

    def draw(self, epoch: int) -> tuple[Ints, Ints]:
        """For each piece, the semitones and the tempo steps by which it is moved in `epoch`."""
        key = np.array([self._seed, epoch], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key, counter=1 << 32))  # apart from `epoch_rng`
        shift = random.integers(-self._down, self._up + 1)
        return shift, random.integers(-self._bins, self._bins + 1, size=len(self._starts))

    def _draw_counted(self, epoch: int) -> Ints:
        """For each piece, the position from which on its bars tell how many are to come; most begin with it."""
        key = np.array([self._seed, epoch], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key, counter=1 << 33))
        bars = np.diff(self._first_bars, append=len(self._bars))
        chosen = random.random(len(bars)) < _UNCOUNTED
        bar = self._first_bars + np.where(chosen, random.integers(1, np.maximum(bars, 1) + 1), 0)
        positions = np.append(self._bars, np.iinfo(np.int64).max)
        return np.where(chosen, positions[np.minimum(bar, len(self._bars))], 0)
