"""Waveforms of notes: additive synthesis of pitched voices, noise and swept tones for drums.

A waveform is made in blocks of one size, of which each depends on nothing but the instrument, the pitch and its number.
So a note sounds the same however a piece is cut into parts.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from seqgen.music.names import DRUMS
from seqgen.rendering.instruments import Voice, voice_of

Samples = npt.NDArray[np.float32]

RATE = 44_100  # samples per second
_BLOCK = 8192
_MAX_BLOCKS = 2048  # in memory: 64 MiB
_NYQUIST = 0.45 * RATE  # no partial lies above
_RMS = 0.2  # of a pitched note at full velocity
_DRUM_SECONDS = {"kick": 0.35, "snare": 0.28, "tom": 0.5, "closed": 0.09, "open": 0.5, "cymbal": 1.6, "click": 0.12}
_SILENT = 1e-4  # a partial below is left out


class Tones:
    """The waveforms of all notes that a piece has needed so far."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, int, int], Samples] = {}
        self._drums: dict[int, Samples] = {}
        self._times = np.arange(_BLOCK) / RATE

    def tone(self, program: int, pitch: int, start: int, stop: int) -> Samples:
        """Return samples `start` to `stop` of a note that does not end, float32, shape (stop − start,)."""
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        blocks = [self._block(program, pitch, number) for number in range(first, last + 1)]
        joined = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return joined[start - first * _BLOCK : stop - first * _BLOCK]

    def drum(self, key: int) -> Samples:
        """Return the whole stroke on an instrument of the drum kit, float32."""
        if key not in self._drums:
            self._drums[key] = _stroke(key)
        return self._drums[key]

    def _block(self, program: int, pitch: int, number: int) -> Samples:
        key = program, pitch, number
        block = self._blocks.get(key)
        if block is None:
            if len(self._blocks) >= _MAX_BLOCKS:
                self._blocks.clear()
            block = self._blocks[key] = self._make(voice_of(program), pitch, number)
        return block

    def _make(self, voice: Voice, pitch: int, number: int) -> Samples:
        """The block `number` of a note: the sum of its partials."""
        frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
        begin = number * _BLOCK / RATE
        seconds = begin + self._times
        cycles = frequency * seconds
        if voice.vibrato:
            depth = voice.vibrato / 1200 * np.log(2) * np.minimum(np.maximum(seconds - 0.25, 0) * 2, 1)
            cycles += frequency * depth * np.sin(2 * np.pi * 5.5 * seconds) / (2 * np.pi * 5.5)
        rate = voice.decay * 2.0 ** ((pitch - 69) / 24)
        growth = voice.damping * 2.0 ** ((pitch - 69) / 24)
        total = np.zeros(_BLOCK, dtype=np.float32)
        heard = [n for n in range(len(voice.amplitudes)) if frequency * (voice.ratios or _HARMONICS)[n] < _NYQUIST]
        loud = [n for n in heard if voice.amplitudes[n] * np.exp(-begin * (rate + n * growth)) > _SILENT]
        if voice.ratios:
            for n in loud:
                wave = np.sin(2 * np.pi * (cycles * voice.ratios[n] % 1)) * voice.amplitudes[n]
                total += (wave * np.exp(-seconds * (rate + n * growth))).astype(np.float32)
        elif loud:
            self._add_harmonics(total, cycles, voice, seconds, rate, growth, max(loud) + 1)
        power = float(np.sqrt(sum(a * a for a in voice.amplitudes) / 2))
        total *= np.float32(_RMS / power)
        if begin < voice.attack:
            total *= np.minimum(seconds / voice.attack, 1).astype(np.float32)
        return total

    @staticmethod
    def _add_harmonics(
        total: Samples, cycles: npt.NDArray[np.float64], voice: Voice, seconds: npt.NDArray[np.float64], rate: float,
        growth: float, count: int,
    ) -> None:  # fmt: skip
        """Add harmonics 1 to `count`: sin((n + 1)x) = 2 cos(x) sin(nx) − sin((n − 1)x) needs two sines for all."""
        phase = (2 * np.pi * (cycles % 1)).astype(np.float32)
        before, wave, double = np.zeros_like(phase), np.sin(phase), 2 * np.cos(phase)
        level = np.exp(-seconds * rate).astype(np.float32)
        fading = np.exp(-seconds * growth).astype(np.float32) if growth else None
        for n in range(count):
            total += np.float32(voice.amplitudes[n]) * (level * wave if rate or growth else wave)
            before, wave = wave, double * wave - before
            if fading is not None:
                level = level * fading


_HARMONICS = range(1, 1000)


def _stroke(key: int) -> Samples:
    """A stroke on a drum: noise, filtered by differences, and swept tones, by the kind of its instrument."""
    kind = _kind(key)
    seconds = np.arange(int(_DRUM_SECONDS[kind] * RATE)) / RATE
    noise = np.random.Generator(np.random.PCG64(zlib.crc32(b"drum %d" % key))).uniform(-1, 1, len(seconds))
    bright = np.diff(noise, prepend=0.0) / 2  # differences weaken low frequencies

    def sweep(low: float, high: float, fall: float) -> npt.NDArray[np.float64]:
        """A sine whose frequency falls from `high` to `low`."""
        cycles = low * seconds + (high - low) * (1 - np.exp(-fall * seconds)) / fall
        return np.asarray(np.sin(2 * np.pi * cycles))

    if kind == "kick":
        wave = sweep(48, 150, 30) * np.exp(-9 * seconds) + 0.15 * bright * np.exp(-150 * seconds)
    elif kind == "snare":
        wave = 0.5 * sweep(180, 240, 40) * np.exp(-22 * seconds) + 0.7 * bright * np.exp(-16 * seconds)
    elif kind == "tom":
        wave = sweep(2.0 ** ((key - 41) / 9) * 75, 2.0 ** ((key - 41) / 9) * 110, 18) * np.exp(-8 * seconds)
    elif kind == "click":
        pitch = 440.0 * 2.0 ** ((key - 54) / 12)
        wave = (np.sin(2 * np.pi * pitch * seconds) + 0.3 * bright) * np.exp(-45 * seconds)
    else:
        decay = {"closed": 60.0, "open": 9.0, "cymbal": 3.0}[kind]
        wave = 0.6 * np.diff(bright, prepend=0.0) * np.exp(-decay * seconds)
    fade = np.minimum((seconds[-1] - seconds) / 0.02, 1)  # to silence, so that the end makes no click
    return np.asarray(0.42 * wave * fade, dtype=np.float32)


def _kind(key: int) -> str:
    name = DRUMS.get(key, "")
    for kind, words in (
        ("kick", ("bass drum",)), ("snare", ("snare", "clap")), ("tom", (" tom", "conga", "bongo", "timbale")),
        ("closed", ("closed hi-hat", "pedal hi-hat", "maracas", "cabasa", "tambourine", "guiro")),
        ("open", ("open hi-hat", "splash", "vibraslap")), ("cymbal", ("crash", "ride", "chinese")),
    ):  # fmt: skip
        if any(word in name for word in words):
            return kind
    return "click"
