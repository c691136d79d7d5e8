"""Key signatures, and the spelling of pitches in them.

Notes are positions on the line of fifths: F −1, C 0, G 1, … B 5, F♯ 6. The key signature with `fifths` sharps (flats,
if negative) holds the seven notes from `fifths` − 1 to `fifths` + 5.
"""

from __future__ import annotations

from collections.abc import Iterable

from seqgen.music.piece import Note, Piece

LETTERS = "FCGDAEB"  # along the line of fifths, from −1
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
"""Semitones of each natural above C."""
MODES = {"maj": 0, "ion": 0, "mix": -1, "dor": -2, "min": -3, "aeo": -3, "m": -3, "phr": -4, "loc": -5, "lyd": 1}
"""Fifths between the signature of a mode and that of major on the same tonic."""

MAX_FIFTHS = 7  # sharps or flats in a signature


def fifths_of(letter: str, alter: int, mode: str) -> int:
    """Return the signature of a key, not limited to `MAX_FIFTHS`. Raises `KeyError` for an unknown mode."""
    return LETTERS.index(letter) - 1 + 7 * alter + MODES[mode]


def alterations(fifths: int) -> dict[str, int]:
    """Return the alteration in semitones of each letter in a signature."""
    return {letter: (fifths + 7 - number) // 7 for number, letter in enumerate(LETTERS, start=1)}


def spell(pitch: int, fifths: int) -> tuple[str, int, int]:
    """Return the letter, alteration and octave of a pitch in a key; middle C, 60, is ("C", 0, 4)."""
    position = (7 * pitch - (fifths - 3)) % 12 + fifths - 3  # in C, between E flat and G sharp
    letter, alter = LETTERS[(position + 1) % 7], (position + 1) // 7
    return letter, alter, (pitch - alter - STEPS[letter]) // 12 - 1


def signature_of(piece: Piece) -> tuple[int, int]:
    """Return the signature that leaves the least time to notes outside of it, and the pitch class that ends the piece.

    Of equally good signatures, it is the one nearest to the major key of that note.
    """
    durations = [0] * 12
    pitched = [note for note in piece.notes if not piece.tracks[note.track].drums]
    for note in pitched:
        durations[note.pitch % 12] += note.end - note.start
    final = _final(pitched)
    fits = {fifths: sum(durations[7 * p % 12] for p in range(fifths - 1, fifths + 6)) for fifths in range(-5, 7)}
    best = max(fits.values())
    tonic = (7 * final + 5) % 12 - 5
    return min((f for f in fits if fits[f] == best), key=lambda f: (abs(f - tonic), abs(f), f)), final


def _final(notes: Iterable[Note]) -> int:
    """The pitch class of the lowest of the notes that end last."""
    return min(notes, key=lambda note: (-note.end, note.pitch), default=Note(0, 0, 60, 1, 1)).pitch % 12
