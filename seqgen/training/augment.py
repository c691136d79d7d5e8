"""Augmentation of music: if asked for, every epoch reads each piece in another key and at another tempo.

In some pieces the first bars don't count down those to come, for a model that composes without knowing it.

It transforms the ids of a batch (`batches.Transform`): nothing is stored, and batch n of a run is always the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.corpus.ids import IdStream
from seqgen.music.events import TEMPOS, EventVocabulary, tempo_value
from seqgen.music.key import KEYS, LARGEST_SHIFT, shift_of
from seqgen.training.batches import epoch_rng

Ints = npt.NDArray[np.int64]

_SHIFTS = np.array([shift_of(key) for key in range(KEYS)])
_UNCOUNTED = 0.15  # fraction of the pieces with bars that don't count down
_MOVES, _COUNTS = 1 << 32, 1 << 33  # counters of `epoch_rng`, apart from that of the batches


def opening_tempos(stream: IdStream, vocabulary: EventVocabulary) -> Ints:
    """For each piece, the value of the `tempo` with which it opens; -1 without: it begins at 120, or is silent."""
    ids = np.asarray(stream.ids)
    starts = _starts_of(ids, vocabulary)
    positions = np.append(np.flatnonzero(vocabulary.is_event(ids, "position")), len(ids))
    after = positions[np.searchsorted(positions, starts)] + 1
    events = ids[np.minimum(after, len(ids) - 1)].astype(np.int64)
    is_tempo = vocabulary.is_event(events, "tempo") & (after < np.append(starts[1:], len(ids)))
    return np.where(is_tempo, events - vocabulary.offsets["tempo"], -1)


def _starts_of(ids: npt.NDArray[np.integer], vocabulary: EventVocabulary) -> Ints:
    starts = np.flatnonzero(ids == vocabulary.id("end"))
    return starts if len(starts) and not starts[0] else np.concatenate([[0], starts])


class Augmenter:
    """Moves all pitches of a piece by one interval and all its tempos by one factor, drawn anew in every epoch.

    Where pieces name their key, the key moves, and their notes by octaves at most, as if the moved piece were encoded.
    Where bars are counted, it also hides how many are to come in the first bars of some pieces.

    Args:
        semitones: the largest interval up or down; less for pieces that would leave the vocabulary's range.
        percent: the largest change of tempo, of pieces that don't begin at 120.
    """

    def __init__(self, stream: IdStream, vocabulary: EventVocabulary, semitones: int, percent: int, seed: int) -> None:
        ids = np.asarray(stream.ids)
        self._vocabulary, self._seed = vocabulary, seed
        self._starts = _starts_of(ids, vocabulary)
        is_note = vocabulary.is_event(ids, "note")
        pitches = ids.astype(np.int64) - vocabulary.offsets["note"]
        lowest = np.minimum.reduceat(np.where(is_note, pitches, 127), self._starts)
        highest = np.maximum.reduceat(np.where(is_note, pitches, 0), self._starts)
        options = vocabulary.options
        low, high = options.low, options.high
        self._keys = np.zeros(len(self._starts), dtype=np.int64)
        if options.key:
            key = ids[np.minimum(self._starts + (ids[self._starts] == vocabulary.id("end")), len(ids) - 1)]
            self._keys = np.clip(key.astype(np.int64) - vocabulary.offsets["key"], 0, KEYS - 1)
            lowest, highest = lowest + _SHIFTS[self._keys], highest + _SHIFTS[self._keys]
            low, high = max(low, LARGEST_SHIFT), min(high, 127 - LARGEST_SHIFT)  # in every key, pitches of events
        self._down = np.clip(lowest - low, 0, semitones)
        self._up = np.clip(high - highest, 0, semitones)
        self._bins = round(12 * float(np.log2(1 + percent / 100)))  # tempos are a twelfth of an octave apart
        self._openings = opening_tempos(stream, vocabulary) if self._bins else np.full(len(self._starts), -1)
        self._bars = np.flatnonzero(vocabulary.is_event(ids, "bar")) if options.form else np.zeros(0, np.int64)
        self._first_bars = np.searchsorted(self._bars, self._starts)
        self._epoch = -1
        self._shift = self._tempo_shift = self._counted_from = np.zeros(0, dtype=np.int64)

    def __call__(self, ids: Ints, positions: Ints, epoch: int) -> Ints:
        if epoch != self._epoch:
            self._shift, self._tempo_shift = self.draw(epoch)
            if self._vocabulary.options.form:
                self._counted_from = self._draw_counted(epoch)
            self._epoch = epoch
        piece = np.searchsorted(self._starts, positions, side="right") - 1
        vocabulary = self._vocabulary
        shift = self._shift[piece]
        result = ids
        if vocabulary.options.key:
            before = self._keys[piece]
            after = (before + 2 * shift) % KEYS
            result = np.where(vocabulary.is_event(ids, "key"), vocabulary.offsets["key"] + after, ids)
            shift = shift + _SHIFTS[before] - _SHIFTS[after]
        result = np.where(vocabulary.is_event(ids, "note"), ids + shift, result)
        if vocabulary.options.form:
            uncounted = vocabulary.is_event(ids, "bar") & (positions < self._counted_from[piece])
            result = np.where(uncounted, vocabulary.id("bar", vocabulary.bar_value(None)), result)
        if self._bins:
            first = vocabulary.offsets["tempo"]
            moved = np.clip(ids - first + self._tempo_shift[piece], 0, len(TEMPOS) - 1) + first
            result = np.where(vocabulary.is_event(ids, "tempo"), moved, result)
        return result

    def draw(self, epoch: int) -> tuple[Ints, Ints]:
        """For each piece, the semitones and the tempo steps by which it is moved in `epoch`."""
        random = epoch_rng(self._seed, epoch, _MOVES)
        shift = random.integers(-self._down, self._up + 1)
        faster = random.integers(-self._bins, self._bins + 1, size=len(self._starts))
        # Pieces begin at 120 without an event: no event could move such a beginning along, and none says 120 there.
        stays = (self._openings < 0) | (self._openings + faster == tempo_value(120))
        return shift, np.where(stays, 0, faster)

    def _draw_counted(self, epoch: int) -> Ints:
        """For each piece, the position from which on its bars count down; in most pieces all do."""
        random = epoch_rng(self._seed, epoch, _COUNTS)
        bars = np.diff(self._first_bars, append=len(self._bars))
        chosen = random.random(len(bars)) < _UNCOUNTED
        bar = self._first_bars + random.integers(1, np.maximum(bars, 1) + 1)
        positions = np.append(self._bars, np.iinfo(np.int64).max)
        return np.where(chosen, positions[np.minimum(bar, len(self._bars))], 0)
