"""Form of pieces of music: bars that come back, phrases that end, and last notes on the tonic."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

from seqgen.evaluation.music import melody
from seqgen.music.key import key_of
from seqgen.music.piece import Piece

PHRASE_BARS = 4
DISTANCES = (1, 2, 4, 8, 16)  # in bars, at which folk tunes repeat


def form(excerpts: Sequence[Piece], whole: Sequence[Piece]) -> dict[str, float]:
    """Return the form of a set of pieces.

    Args:
        excerpts: of equal length in bars, because longer pieces repeat more.
        whole: the pieces that they are from, for their ends.

    Returns:
        repeated_bars: fraction of the bars with notes that equal an earlier bar of their piece (pitches, times and
            lengths of all notes that begin in it).
        repeated_after_N: fraction that equal the bar N bars back.
        phrase_end_lengthening: how much longer the last note of the melody is in bars 4, 8, 12 … than in others, on
            average; 1 for none.
        last_note_on_tonic: fraction of pieces whose melody ends on the tonic of their key (the one that their pitches
            fit best).

        What no piece has is left out.
    """
    result: dict[str, float] = {}
    contents = [_bars(piece) for piece in excerpts]
    total = sum(bool(bar) for bars in contents for bar in bars)
    if total:
        result["repeated_bars"] = sum(map(_repeated, contents)) / total
        for distance in DISTANCES:
            found = sum(
                bool(one) and one == other
                for bars in contents
                for one, other in zip(bars[distance:], bars, strict=False)
            )
            result[f"repeated_after_{distance}"] = found / total
    lengthening = _lengthening(excerpts)
    if lengthening is not None:
        result["phrase_end_lengthening"] = lengthening
    ends = [ending for piece in whole if (ending := ends_on_tonic(piece)) is not None]
    if ends:
        result["last_note_on_tonic"] = sum(ends) / len(ends)
    return result


def _bars(piece: Piece) -> list[tuple[tuple[int, int, int, int], ...]]:
    """For each bar the notes that begin in it: start within the bar, track, pitch, length."""
    return [
        tuple((n.start - bar.start, n.track, n.pitch, n.end - n.start) for n in notes)
        for bar, notes in zip(piece.bars, piece.notes_by_bar(), strict=True)
    ]


def _repeated(bars: Sequence[tuple[tuple[int, int, int, int], ...]]) -> int:
    seen: set[tuple[tuple[int, int, int, int], ...]] = set()
    count = 0
    for bar in bars:
        count += bool(bar) and bar in seen
        seen.add(bar)
    return count


def _lengthening(pieces: Iterable[Piece]) -> float | None:
    """Mean time from the onset of the last note of a bar to the next onset, at phrase ends relative to other bars."""
    at_ends: list[float] = []
    elsewhere: list[float] = []
    for piece in pieces:
        onsets = [note.start for note in melody(piece)]
        for number, bar in enumerate(piece.bars[:-1], start=1):
            following = bisect_left(onsets, bar.start + bar.length)
            if 0 < following < len(onsets) and onsets[following - 1] >= bar.start:
                target = elsewhere if number % PHRASE_BARS else at_ends
                target.append((onsets[following] - onsets[following - 1]) / piece.grid)
    return float(np.mean(at_ends) / np.mean(elsewhere)) if at_ends and elsewhere else None


def ends_on_tonic(piece: Piece) -> bool | None:
    """Whether the melody ends on the tonic of the piece's key; None without notes."""
    notes = melody(piece)
    tonic = tonic_of(piece)
    return None if tonic is None else notes[-1].pitch % 12 == tonic


def tonic_of(piece: Piece) -> int | None:
    """The pitch class of the tonic (C = 0) of the key that its notes fit best; None without pitched notes."""
    key = key_of(piece)
    return None if key is None else key // 2
