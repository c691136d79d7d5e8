"""A piece as audio: 16-bit stereo PCM, made bar by bar, and wave files of it.

The loudness is fixed and not fitted to a piece, so that it can be heard while it is composed: the first bars of a piece
are the same bytes whatever follows. Where many notes meet, a limiter turns the loudness down before they clip.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from seqgen.errors import DataError
from seqgen.music.piece import Note, Piece
from seqgen.rendering.instruments import voice_of
from seqgen.rendering.tones import RATE, Samples, Tones

Mix = npt.NDArray[np.float32]  # shape (CHANNELS, samples), −1 to 1

CHANNELS, SAMPLE_BYTES = 2, 2
TAIL_SAMPLES = RATE  # after the last bar, in which its notes fade
_FADED_SAMPLES = RATE // 50  # at the very end: a cymbal that still sounds there would click
_PEAK = 0.95  # of full scale: nothing is louder
_BLOCK = 441  # samples between two gains of the limiter: 10 ms
_RECOVERY = 1.02  # by which its gain may grow from one to the next: twice in a third of a second
_PANS = (0.0, -0.35, 0.35, -0.18, 0.18, -0.55, 0.55, -0.7, 0.7)  # of tracks, in turn: −1 left, 1 right
_UNKNOWN = 0xFFFFFFFF - 36  # bytes of audio in the header of a stream of unknown length
_MAX_HOURS = 3  # of a file: 1.9 GB; a few bytes of MIDI may ask for days
_MAX_NOTE_HOURS = 60  # of all pitched notes together: twenty at a time for so long; they are what takes time


class Audio:
    """The audio of a piece that may still grow: `bars` returns what is new.

    The piece given later must begin like the one given before; only its last notes may be longer.
    """

    def __init__(self, tones: Tones | None = None) -> None:
        self._tones = tones or Tones()
        self._done = 0  # samples that were returned
        self._next = 0  # index of the first note that has not begun
        self._sounding: list[int] = []  # indices of notes
        self._limiter = _Limiter()

    def bars(self, piece: Piece, count: int) -> bytes:
        """Return the audio from where it ended before to about the end of bar number `count`."""
        clock = Clock(piece)
        step = piece.bars[count - 1].start + piece.bars[count - 1].length if count else 0
        return _pcm(self._limiter.take(self._until(piece, clock, clock.sample(step), step)))

    def tail(self, piece: Piece) -> bytes:
        """Return the rest of the last bar, and what sounds after it."""
        clock = Clock(piece)
        rest = self._until(piece, clock, clock.sample(piece.length) + TAIL_SAMPLES, piece.length)
        rest[:, -_FADED_SAMPLES:] *= np.linspace(1, 0, _FADED_SAMPLES, dtype=np.float32)
        return _pcm(np.concatenate([self._limiter.take(rest), self._limiter.finish()], axis=1))

    def _until(self, piece: Piece, clock: Clock, stop: int, step: int) -> Mix:
        begin, self._done = self._done, max(stop, self._done)
        if stop <= begin:
            return _silence(0)
        while self._next < len(piece.notes) and piece.notes[self._next].start < step:
            self._sounding.append(self._next)
            self._next += 1
        mix = _silence(stop - begin)
        self._sounding = [i for i in self._sounding if self._add(mix, piece, piece.notes[i], clock, begin)]
        return mix

    def _add(self, mix: Mix, piece: Piece, note: Note, clock: Clock, begin: int) -> bool:
        """Add the part of a note that sounds in `mix`, which starts at sample `begin`. Whether it sounds longer."""
        start, end = clock.sample(note.start), clock.sample(note.end)
        program = piece.tracks[note.track].program
        stop = begin + mix.shape[1]
        first = max(start, begin)
        if program is None:
            stroke = self._tones.drum(note.pitch)
            last = start + len(stroke)
            wave = stroke[first - start : max(min(last, stop) - start, first - start)]
        else:
            release = int(voice_of(program).release * RATE)
            last = end + release
            if first >= min(last, stop):
                return last > stop
            wave = self._tones.tone(program, note.pitch, first - start, min(last, stop) - start)
            if min(last, stop) > end:
                wave = _released(wave, first, end, release)
        if len(wave):
            left, right = _gains(note, program)
            place = slice(first - begin, first - begin + len(wave))
            mix[0, place] += left * wave
            mix[1, place] += right * wave
        return last > stop


class _Limiter:
    """Turns the loudness down where it would exceed the peak, in time, and slowly up again.

    The gain is given at the boundaries of blocks and linear between them. At each it suits both blocks that meet there,
    so that it suits all samples.
    """

    def __init__(self) -> None:
        self._pending = _silence(0)  # a block that waits for the next, and samples that make no whole one
        self._gain = 1.0  # where they begin

    def take(self, mix: Mix) -> Mix:
        """Take samples and return as many earlier ones as are settled."""
        self._pending = np.concatenate([self._pending, mix], axis=1)
        return self._release(self._pending.shape[1] // _BLOCK - 1)

    def finish(self) -> Mix:
        """Return the samples that are left."""
        size = self._pending.shape[1]
        blocks = -(-size // _BLOCK)
        self._pending = np.concatenate([self._pending, _silence((blocks + 1) * _BLOCK - size)], axis=1)
        return self._release(blocks)[:, :size]

    def _release(self, blocks: int) -> Mix:
        """Return whole blocks, of which another one follows."""
        if blocks < 1:
            return _silence(0)
        looked_at = self._pending[:, : (blocks + 1) * _BLOCK]
        peaks = np.abs(looked_at).max(axis=0).reshape(-1, _BLOCK).max(axis=1)
        wanted = np.minimum(1, _PEAK / np.maximum(peaks, 1e-9)).tolist()
        gains = [min(self._gain, wanted[0])]
        for one, other in pairwise(wanted):
            gains.append(min(one, other, gains[-1] * _RECOVERY))
        ready, self._pending = self._pending[:, : blocks * _BLOCK], self._pending[:, blocks * _BLOCK :]
        self._gain = gains[-1]
        if min(gains) == 1:
            return ready
        along = np.arange(_BLOCK, dtype=np.float32) / _BLOCK
        begins, ends = np.array(gains[:-1], dtype=np.float32)[:, None], np.array(gains[1:], dtype=np.float32)[:, None]
        return np.asarray(ready * (begins + (ends - begins) * along).reshape(-1), dtype=np.float32)


class Clock:
    """The samples at which the steps of a piece begin."""

    def __init__(self, piece: Piece) -> None:
        self._steps = [step for step, _ in piece.tempos]
        self._per_step = [60.0 * RATE / (bpm * piece.grid) for _, bpm in piece.tempos]
        self._at = [0.0]
        for index in range(1, len(self._steps)):
            self._at.append(self._at[-1] + (self._steps[index] - self._steps[index - 1]) * self._per_step[index - 1])
        self._cache: dict[int, int] = {}

    def sample(self, step: int) -> int:
        """Return the sample at a step."""
        found = self._cache.get(step)
        if found is None:
            index = max(bisect_right(self._steps, step) - 1, 0)
            found = self._cache[step] = round(self._at[index] + (step - self._steps[index]) * self._per_step[index])
        return found

    def seconds(self, step: int) -> float:
        """Return the time of a step, to a tenth of a millisecond."""
        return round(self.sample(step) / RATE, 4)


def timed_notes(piece: Piece, clock: Clock) -> list[list[float]]:
    """The notes of a piece for programs that draw or play it: start and length in seconds, pitch, velocity, track."""
    return [
        [clock.seconds(start), round(clock.seconds(end) - clock.seconds(start), 4), pitch, velocity, track]
        for start, track, pitch, end, velocity in piece.notes
    ]


def _released(wave: Samples, first: int, end: int, release: int) -> Samples:
    """A waveform, from sample `first`, that fades from `end` on."""
    faded = wave.copy()
    begin = max(end - first, 0)
    left = 1 - (np.arange(first + begin, first + len(wave)) - end) / release
    faded[begin:] *= (left * left).astype(np.float32)
    return faded


def pan_of(track: int) -> float:
    """Return the place of a track between the loudspeakers, −1 left, 1 right."""
    return _PANS[track % len(_PANS)]


def _gains(note: Note, program: int | None) -> tuple[np.float32, np.float32]:
    """Left and right gain: loudness by velocity, place by track, of constant power; drums stand in the middle."""
    loudness = (note.velocity / 127) ** 1.5
    angle = (1 + (0.0 if program is None else pan_of(note.track))) * np.pi / 4
    return np.float32(loudness * np.cos(angle) * np.sqrt(2)), np.float32(loudness * np.sin(angle) * np.sqrt(2))


def _silence(count: int) -> Mix:
    return np.zeros((CHANNELS, count), dtype=np.float32)


def _pcm(mix: Mix) -> bytes:
    """Samples as interleaved 16-bit integers."""
    return np.rint(mix.T * np.float32(32_767)).astype("<i2").tobytes()


def header(size: int | None) -> bytes:
    """Return the header of a wave file of `size` bytes of audio; None: of a stream of unknown size."""
    data = _UNKNOWN if size is None or size > _UNKNOWN else size
    frame = CHANNELS * SAMPLE_BYTES
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, CHANNELS, RATE, RATE * frame, frame, 8 * SAMPLE_BYTES)
    return struct.pack("<4sI4s", b"RIFF", 36 + data, b"WAVE") + form + struct.pack("<4sI", b"data", data)


def wave(piece: Piece) -> Iterator[bytes]:
    """Yield a piece as a wave file, 44,100 Hz, 16 bits, stereo: the header, the bars, and what sounds after them.

    Raises:
        DataError: it would last longer than three hours, or its notes sixty together.
    """
    clock = Clock(piece)
    if clock.seconds(piece.length) > 3600 * _MAX_HOURS:
        raise DataError(f"as audio it would last longer than {_MAX_HOURS} hours; --tempo makes it faster")
    pitched = (note for note in piece.notes if piece.tracks[note.track].program is not None)
    if sum(clock.sample(note.end) - clock.sample(note.start) for note in pitched) > 3600 * _MAX_NOTE_HOURS * RATE:
        raise DataError(
            f"as audio its notes would last longer than {_MAX_NOTE_HOURS} hours together; --tempo makes it faster"
        )
    yield header((clock.sample(piece.length) + TAIL_SAMPLES) * CHANNELS * SAMPLE_BYTES)
    audio = Audio()
    for count in range(1, len(piece.bars) + 1):
        yield audio.bars(piece, count)
    yield audio.tail(piece)
