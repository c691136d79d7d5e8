"""Audio of pieces, measured: pitches by their spectra, tempo, rests, loudness, and the same bytes bar by bar."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from seqgen.errors import DataError
from seqgen.music import midi
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.rendering import audio
from seqgen.rendering.formats import arranged
from seqgen.rendering.instruments import voice_of
from seqgen.rendering.tones import RATE

CORPUS = Path(__file__).resolve().parents[2] / "corpora" / "tunes"
BARS = tuple(Bar(16 * n, 16, 4, 4) for n in range(4))

Samples = npt.NDArray[np.float64]


def samples(piece: Piece) -> Samples:
    """Samples of shape (n, 2), −1 to 1, as a program reads them from the file."""
    with wave.open(io.BytesIO(b"".join(audio.wave(piece)))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
        data = file.readframes(file.getnframes())
        assert len(data) == 4 * file.getnframes()
    return np.frombuffer(data, "<i2").reshape(-1, 2) / 32_768


def alone(*notes: Note, track: Track = Track(0), tempo: int = 120) -> Piece:  # noqa: B008
    return Piece(4, (track,), notes, BARS, ((0, tempo),))


def loudest_frequency(sound: Samples) -> float:
    """The fundamental: the lowest peak of the spectrum that is at least a quarter of the highest."""
    size = 1 << 17
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), size))
    peaks = np.flatnonzero((spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] > spectrum[2:])) + 1
    strong = peaks[spectrum[peaks] > 0.25 * spectrum.max()]
    return float(strong[0] * RATE / size)


@pytest.mark.parametrize("program", [0, 9, 16, 21, 25, 33, 40, 48, 56, 66, 71, 73, 80, 88, 105, 110])
def test_pitch_of_every_family_is_that_of_the_note(program: int) -> None:
    for pitch in (48, 69, 76):
        sound = samples(alone(Note(0, 0, pitch, 8, 100), track=Track(program)))[:, 0]
        frequency = 440 * 2 ** ((pitch - 69) / 12)
        cents = 1200 * np.log2(loudest_frequency(sound[: RATE // 2]) / frequency)
        assert abs(cents) < 20


def test_notes_begin_when_the_tempo_says() -> None:
    piece = Piece(
        4, (Track(115),), tuple(Note(4 * n, 0, 80, 4 * n + 1, 110) for n in range(8)), BARS, ((0, 90), (16, 180))
    )
    sound = np.abs(samples(piece)[:, 0])
    at = [int(RATE * (n * 60 / 90 if n < 4 else 4 * 60 / 90 + (n - 4) * 60 / 180)) for n in range(8)]
    for begin in at:
        assert sound[begin + 20 : begin + 400].max() > 0.05
        assert begin == 0 or sound[begin - 800 : begin - 1].max() < 0.01


def test_rests_are_silent_and_the_end_is_faded() -> None:
    sound = samples(alone(Note(0, 0, 60, 4, 100), Note(32, 0, 64, 36, 100), track=Track(73)))
    assert np.abs(sound[RATE : int(3.9 * RATE)]).max() == 0
    assert np.abs(sound[4 * RATE : 5 * RATE]).max() > 0.05
    assert len(sound) == 9 * RATE
    assert np.abs(sound[-100:]).max() == 0


def test_nothing_clips_however_many_notes_sound() -> None:
    tracks = (*(Track(program) for program in (19, 30, 48, 61, 81)), Track(None))
    notes = [Note(0, track, pitch, 16, 127) for track in range(5) for pitch in range(36, 96, 2)]
    notes += [Note(0, 5, key, 1, 127) for key in range(35, 82)]
    piece = Piece(4, tracks, tuple(sorted(notes, key=lambda n: (n.start, n.track, -n.pitch))), BARS[:1])
    sound = samples(piece)
    assert 0.9 < np.abs(sound).max() < 0.96
    assert (np.abs(sound) > 0.94).mean() < 0.01
    chord = samples(Piece(4, tracks[2:3], tuple(Note(0, 0, pitch, 16, 127) for pitch in range(96, 36, -2)), BARS[:1]))
    spectrum = np.abs(np.fft.rfft(chord[RATE // 2 : RATE, 0]))
    between = [round(440 * 2 ** ((pitch - 69) / 12) / 2) for pitch in (41, 43, 45)]  # a clipped sum would sound there
    assert spectrum[between].max() < 0.1 * spectrum.max()


def test_notes_that_sound_for_days_together_are_refused() -> None:
    """A chord of all keys on fifteen channels, held for minutes: 16 kB of MIDI took many minutes."""
    bars = (Bar(0, 2700, 2700, 4),)  # three hours at 15 quarter notes per minute
    notes = tuple(Note(0, 0, pitch, 2700, 90) for pitch in range(80, 59, -1))
    next(audio.wave(Piece(1, (Track(19),), notes[1:], bars, ((0, 15),))))
    next(audio.wave(Piece(1, (Track(None),), notes, bars, ((0, 15),))))
    with pytest.raises(DataError, match="its notes would last longer than 60 hours together; --tempo"):
        next(audio.wave(Piece(1, (Track(19),), notes, bars, ((0, 15),))))


def test_louder_notes_are_louder_and_tracks_stand_apart() -> None:
    soft, loud = (samples(alone(Note(0, 0, 69, 8, velocity))) for velocity in (40, 120))
    assert np.abs(loud).max() > 3 * np.abs(soft).max()
    two = Piece(4, (Track(0), Track(0)), (Note(0, 1, 69, 8, 100),), BARS[:1])
    left, right = np.square(samples(two)).mean(axis=0)
    assert left > 1.5 * right


def test_drums_sound_each_in_its_way() -> None:
    sounds = [samples(alone(Note(0, 0, key, 1, 110), track=Track(None)))[:, 0] for key in (36, 38, 42, 46, 49, 45, 76)]
    assert all(0.02 < np.abs(sound).max() < 1 for sound in sounds)
    spectra = [np.abs(np.fft.rfft(sound[:8192])) for sound in sounds]
    centres = [float((s * np.arange(len(s))).sum() / s.sum()) for s in spectra]
    assert centres[0] < centres[1] < centres[2]
    for index, one in enumerate(sounds):
        assert all(not np.array_equal(one, other) for other in sounds[:index])


def test_audio_made_bar_by_bar_is_that_of_the_whole_piece() -> None:
    whole, _ = midi.read(sorted(CORPUS.glob("*.mid"))[0].read_bytes(), 4)
    long_note = whole.notes[0]._replace(end=90)  # over five bar lines
    whole = Piece(4, whole.tracks, (long_note, *whole.notes[1:]), whole.bars[:8], whole.tempos)
    cut = whole.excerpt(0, 8)
    growing = audio.Audio()
    parts = [growing.bars(whole.excerpt(0, count), count) for count in range(1, 9)]
    data = b"".join(parts) + growing.tail(cut)
    assert all(parts)
    assert b"".join(audio.wave(cut)) == audio.header(len(data)) + data


def test_sustained_voices_hold_and_plucked_ones_fade() -> None:
    assert voice_of(73).decay == 0 < voice_of(24).decay
    for program, ratio in ((73, 0.8), (24, 0.3)):
        sound = np.abs(samples(alone(Note(0, 0, 69, 16, 100), track=Track(program)))[:, 0])
        early, late = sound[RATE // 5 : RATE // 2].max(), sound[int(1.6 * RATE) : int(1.9 * RATE)].max()
        assert (late > ratio * early) == (program == 73)


def test_tempo_and_instruments_are_replaced() -> None:
    piece = Piece(4, (Track(0), Track(None), Track(5)), (Note(0, 0, 60, 4, 90),), BARS, ((0, 100), (4, 50)))
    changed = arranged(piece, 80.4, (40, 41))
    assert changed.tempos == ((0, 80.4),)
    assert changed.tracks == (Track(40), Track(None), Track(41))
    assert arranged(piece) == piece
