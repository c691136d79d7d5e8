"""The key of a piece, and the interval between its notes and those of its events, which are in C major or A minor.

Every piece is so learnt in one key: what a cadence is, a model sees in all pieces and not in one key of twelve.
"""

from __future__ import annotations

from seqgen.music.piece import Piece

KEYS = 24  # a key is twice the pitch class of its tonic (C = 0), plus 1 if it is minor
LARGEST_SHIFT = 6
# How well each semitone above the tonic fits a key, major and minor, by listeners (Krumhansl & Kessler, 1982).
_PROFILES = (
    (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
)
_SCALE = 1 << 20


def _weights(profile: tuple[float, ...]) -> tuple[int, ...]:
    """A profile of mean 0 and norm 1 in whole numbers, with which every machine finds the same key."""
    mean = sum(profile) / len(profile)
    norm = sum((value - mean) ** 2 for value in profile) ** 0.5
    return tuple(round(_SCALE * (value - mean) / norm) for value in profile)


_WEIGHTS = tuple(map(_weights, _PROFILES))


def key_of(piece: Piece) -> int | None:
    """Return the key whose profile correlates best with the time that pitch classes sound (Krumhansl, 1990).

    None without pitched notes.
    """
    drums = [track.drums for track in piece.tracks]
    times = [0] * 12
    for note in piece.notes:
        if not drums[note.track]:
            times[note.pitch % 12] += note.end - note.start
    if not any(times):
        return None

    def fit(key: int) -> int:
        weights, tonic = _WEIGHTS[key % 2], key // 2
        return sum(time * weights[(pitch - tonic) % 12] for pitch, time in enumerate(times))

    return max(range(KEYS), key=fit)


def shift_of(key: int) -> int:
    """Return the semitones, −5 to 6, from C major up to a major key, or from A minor up to a minor one."""
    above = (key // 2 + 3 * (key % 2)) % 12
    return above if above <= LARGEST_SHIFT else above - 12


def spelt_key(piece: Piece) -> int:
    """Return the key that the events of a piece name.

    It is the piece's own, but C major or A minor if there is none, or if a moved note would not be a MIDI pitch.
    """
    key = key_of(piece) or 0
    shift = shift_of(key)
    drums = [track.drums for track in piece.tracks]
    if all(drums[note.track] or 0 <= note.pitch - shift < 128 for note in piece.notes):
        return key
    return 2 * 9 + 1 if key % 2 else 0


def key_name(key: int) -> str:
    """Return the name of a key as in ABC: "F#", "Bbm"."""
    names = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab" if not key % 2 else "G#", "A", "Bb", "B")
    return names[key // 2] + "m" * (key % 2)
