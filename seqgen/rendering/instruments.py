"""Voices of the synthesiser for the General MIDI instruments, a family of eight after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import pi, sin


@dataclass(frozen=True)
class Voice:
    """A voice as a sum of partials.

    Attributes:
        amplitudes: of the partials, the lowest first.
        ratios: frequencies of the partials as multiples of the lowest; () for the harmonic series.
        attack: seconds to full loudness.
        decay: rate per second at which the lowest partial decays at A4, and higher notes faster; 0: sustained.
        damping: by how much the rate grows from one partial to the next.
        release: seconds after the end of a note.
        vibrato: in cents, at 5.5 Hz, after a while.
    """

    amplitudes: tuple[float, ...]
    ratios: tuple[float, ...] = ()
    attack: float = 0.004
    decay: float = 0.0
    damping: float = 0.0
    release: float = 0.12
    vibrato: float = 0.0


def _rolled(count: int, power: float) -> tuple[float, ...]:
    """Harmonics that fall with a power of their number."""
    return tuple(n**-power for n in range(1, count + 1))


def _plucked(count: int, position: float, power: float = 1.0) -> tuple[float, ...]:
    """Harmonics of a string plucked at a fraction of its length."""
    return tuple(abs(sin(pi * n * position)) / n**power for n in range(1, count + 1))


def _odd(count: int, even: float, power: float = 1.0) -> tuple[float, ...]:
    """Harmonics of a cylindrical reed pipe: even ones are weak."""
    return tuple((1.0 if n % 2 else even) / n**power for n in range(1, count + 1))


_PIANO = Voice(_rolled(16, 1.3), decay=0.9, damping=0.35, release=0.18)
_HARPSICHORD = Voice(_plucked(24, 0.12, 0.8), decay=1.6, damping=0.12, release=0.08)
_BELL = Voice((1.0, 0.5, 0.3, 0.18), (1.0, 2.0, 3.01, 5.4), decay=1.8, damping=1.5, release=0.8)
_BAR = Voice((1.0, 0.25, 0.1), (1.0, 3.98, 9.2), decay=5.0, damping=9.0, release=0.3)
_ORGAN = Voice((1.0, 0.7, 0.5, 0.4, 0.0, 0.25, 0.0, 0.2), attack=0.012, release=0.07)
_ACCORDION = Voice(_rolled(18, 0.85), attack=0.025, release=0.07)
_GUITAR = Voice(_plucked(20, 0.22), decay=1.7, damping=0.3, release=0.15)
_BASS = Voice(_plucked(10, 0.3, 1.3), decay=1.5, damping=0.5, release=0.1)
_STRINGS = Voice(_rolled(20, 1.1), attack=0.06, release=0.16, vibrato=7.0)
_ENSEMBLE = Voice(_rolled(16, 1.25), attack=0.11, release=0.3, vibrato=5.0)
_CHOIR = Voice((1.0, 0.55, 0.35, 0.18, 0.08, 0.05), attack=0.1, release=0.25, vibrato=8.0)
_BRASS = Voice(_rolled(18, 0.95), attack=0.035, release=0.1)
_REED = Voice(_rolled(16, 1.0), attack=0.03, release=0.09, vibrato=4.0)
_CLARINET = Voice(_odd(15, 0.12), attack=0.03, release=0.09)
_FLUTE = Voice((1.0, 0.32, 0.12, 0.04, 0.015), attack=0.045, release=0.1, vibrato=5.0)
_SQUARE = Voice(_odd(21, 0.0), release=0.06)
_SAW = Voice(_rolled(24, 1.0), release=0.06)
_PAD = Voice(_rolled(10, 1.4), attack=0.25, release=0.6)
_DRUM = Voice((1.0, 0.4, 0.2), (1.0, 1.59, 2.14), decay=7.0, damping=4.0, release=0.3)

_FAMILIES = (
    _PIANO, _BELL, _ORGAN, _GUITAR, _BASS, _STRINGS, _ENSEMBLE, _BRASS, _REED, _FLUTE, _SAW, _PAD, _PAD, _GUITAR, _BELL,
    _PAD,
)  # fmt: skip
_OTHERS: dict[int, Voice] = {
    6: _HARPSICHORD, 7: _HARPSICHORD, 12: _BAR, 13: _BAR, 15: replace(_GUITAR, decay=2.2),
    21: _ACCORDION, 22: _ACCORDION, 23: _ACCORDION, 20: _ACCORDION,
    29: replace(_SAW, release=0.12), 30: replace(_SAW, release=0.12),
    45: replace(_GUITAR, decay=7.0), 46: replace(_GUITAR, decay=1.2, release=0.5), 47: _DRUM,
    52: _CHOIR, 53: _CHOIR, 54: _CHOIR, 55: replace(_PIANO, decay=4.0),
    71: _CLARINET, 80: _SQUARE, 82: _FLUTE, 85: _CHOIR, 91: replace(_CHOIR, attack=0.25, release=0.6), 98: _BELL,
    105: replace(_HARPSICHORD, decay=4.0), 106: replace(_HARPSICHORD, decay=3.0), 108: _BAR,
    109: Voice(_rolled(22, 0.7), attack=0.02, release=0.05), 110: _STRINGS, 111: _REED,
    115: replace(_BAR, decay=25.0), 116: _DRUM, 117: _DRUM, 118: _DRUM,
}  # fmt: skip


@cache
def voice_of(program: int) -> Voice:
    """Return the voice of a General MIDI program, 0–127."""
    return _OTHERS.get(program, _FAMILIES[program // 8])
