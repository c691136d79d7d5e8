"""Chord symbols ("Am", "D7", "C/e") and the notes that accompany a tune under them."""

from __future__ import annotations

import re
from functools import cache

from seqgen.music.notation.keys import STEPS

LOWEST_ROOT = 36  # roots lie in the octave from here on
_QUALITIES: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 7, 10), "m7": (0, 3, 7, 10), "maj7": (0, 4, 7, 11), "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9), "dim": (0, 3, 6), "dim7": (0, 3, 6, 9), "m7b5": (0, 3, 6, 10), "aug": (0, 4, 8),
    "7#5": (0, 4, 8, 10), "7b5": (0, 4, 6, 10), "mmaj7": (0, 3, 7, 11), "sus4": (0, 5, 7), "sus2": (0, 2, 7),
    "7sus4": (0, 5, 7, 10), "5": (0, 7), "9": (0, 4, 7, 10, 14), "m9": (0, 3, 7, 10, 14), "maj9": (0, 4, 7, 11, 14),
    "add9": (0, 4, 7, 14), "69": (0, 4, 7, 9, 14), "11": (0, 7, 10, 14, 17), "13": (0, 4, 10, 14, 21),
}  # fmt: skip
_SYNONYMS = {
    "maj": "", "major": "", "M": "", "min": "m", "minor": "m", "mi": "m", "-": "m", "min7": "m7", "mi7": "m7",
    "-7": "m7", "M7": "maj7", "ma7": "maj7", "Maj7": "maj7", "j7": "maj7", "^7": "maj7", "dom7": "7", "maj6": "6",
    "M6": "6", "min6": "m6", "-6": "m6", "d": "dim", "o": "dim", "°": "dim", "dim.": "dim", "mb5": "dim", "d7": "dim7",
    "o7": "dim7", "°7": "dim7", "ø": "m7b5", "ø7": "m7b5", "min7b5": "m7b5", "-7b5": "m7b5", "a": "aug", "+": "aug",
    "#5": "aug", "aug7": "7#5", "+7": "7#5", "7+": "7#5", "7aug": "7#5", "mM7": "mmaj7", "minmaj7": "mmaj7",
    "sus": "sus4", "4": "sus4", "7sus": "7sus4", "2": "sus2", "min9": "m9", "M9": "maj9", "add2": "add9", "6/9": "69",
    "7b9": "9", "7#9": "9",
}  # fmt: skip
_SYMBOL = re.compile(r"([A-G])([#b♯♭]?)([^/\s]*|6/9)(?:/([A-Ga-g])([#b♯♭+]?))?")
_SIGNS = {"": 0, "#": 1, "♯": 1, "+": 1, "b": -1, "♭": -1}
_SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLATS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
NO_CHORD = ("N.C.", "NC", "N.C", "n.c.", "tacet")


@cache
def pitches_of(symbol: str) -> tuple[int, ...] | None:
    """Return the pitches of a chord in close position, ascending; () for "N.C."; None if it is no chord.

    Of alternatives such as "G(Em)", the first counts. A bass after a slash is added below.
    """
    inside, close, after = symbol.rpartition(")")  # where nothing closes, every bracket would search to the end
    text = ((re.sub(r"\([^)]*\)", "", inside + close) + after).strip() or symbol.strip("() ")).replace(" ", "")
    if text in NO_CHORD:
        return ()
    match = _SYMBOL.fullmatch(text)
    if match is None:
        return None
    intervals = _QUALITIES.get(_SYNONYMS.get(match[3], match[3]))
    if intervals is None:
        return None
    root = LOWEST_ROOT + (STEPS[match[1]] + _SIGNS[match[2]]) % 12
    pitches = [root + interval for interval in intervals]
    if match[4]:
        bass = LOWEST_ROOT + (STEPS[match[4].upper()] + _SIGNS[match[5]]) % 12
        pitches = [bass, *(pitch + 12 * (pitch < bass) for pitch in pitches if pitch != bass)]
    return tuple(sorted(set(pitches)))


@cache
def _names() -> dict[tuple[int, ...], tuple[int, str, int | None]]:
    """By the pitches of a chord: the class of its root, its quality and the class of its bass, if that is another."""
    found: dict[tuple[int, ...], tuple[int, str, int | None]] = {}
    for bass in (None, *range(12)):
        for quality in _QUALITIES:
            for root in range(12):
                symbol = f"{_SHARPS[root]}{quality}" + ("" if bass is None else f"/{_SHARPS[bass]}")
                pitches = pitches_of(symbol)
                if pitches:
                    found.setdefault(pitches, (root, quality, bass))
    return found


def symbol_of(pitches: tuple[int, ...], fifths: int = 0) -> str | None:
    """Return the symbol whose `pitches_of` are these, with flats in keys with flats; None if there is none."""
    found = _names().get(pitches)
    if found is None:
        return None
    names = _FLATS if fifths < 0 else _SHARPS
    root, quality, bass = found
    return names[root] + quality + ("" if bass is None else f"/{names[bass]}")
