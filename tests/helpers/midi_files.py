"""MIDI files from lists of events, and checks of the pieces read from them."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable
from typing import Any

import mido
from hypothesis import settings

from seqgen.music.metre import bar_length, metres
from seqgen.music.midi import read
from seqgen.music.piece import Piece

QUICK = settings(max_examples=80, deadline=None)

Event = tuple[int, Any]  # absolute tick, message

GRIDS = (1, 3, 4, 12)


def on(tick: int, pitch: int, velocity: int = 64, channel: int = 0) -> Event:
    return tick, mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)


def off(tick: int, pitch: int, channel: int = 0) -> Event:
    return tick, mido.Message("note_off", note=pitch, channel=channel)


def program(tick: int, number: int, channel: int = 0) -> Event:
    return tick, mido.Message("program_change", program=number, channel=channel)


def tempo(tick: int, bpm: float) -> Event:
    return tick, mido.MetaMessage("set_tempo", tempo=round(6e7 / bpm))


def metre(tick: int, numerator: int, denominator: int) -> Event:
    return tick, mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)


def midi_file(*tracks: Iterable[Event], kind: int = 1, division: int = 4) -> bytes:
    """A MIDI file of these tracks. With 4 ticks per quarter note and a grid of 4, a tick is a step."""
    result = mido.MidiFile(type=kind, ticks_per_beat=division)
    for events in tracks:
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(events, key=lambda event: event[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        result.tracks.append(track)
    buffer = io.BytesIO()
    result.save(file=buffer)
    return buffer.getvalue()


def notes(data: bytes, grid: int = 4, **options: Any) -> list[tuple[int, ...]]:
    return [tuple(note) for note in read(data, grid, **options)[0].notes]


def nonzero_losses(data: bytes, grid: int = 4, **options: Any) -> dict[str, Any]:
    """Nonzero quantisation statistics."""
    found = vars(read(data, grid, **options)[1])
    return {name: value for name, value in found.items() if value}


def check_piece(piece: Piece) -> None:
    """Assert the invariants of `Piece` and `Note`."""
    assert all(0 <= note.track < len(piece.tracks) for note in piece.notes)
    assert all(0 <= note.start < note.end <= piece.length for note in piece.notes)
    assert all(0 <= note.pitch <= 127 and 1 <= note.velocity <= 127 for note in piece.notes)
    assert list(piece.notes) == sorted(piece.notes, key=lambda note: (note.start, note.track, -note.pitch))
    latest: dict[tuple[int, int], int] = {}
    for note in piece.notes:
        assert latest.get((note.track, note.pitch), 0) <= note.start
        latest[note.track, note.pitch] = note.end
    begins = [min(note.start for note in piece.notes if note.track == number) for number in range(len(piece.tracks))]
    assert begins == sorted(begins)
    start = 0
    for bar in piece.bars:
        assert bar.start == start
        assert (bar.numerator, bar.denominator) in metres(piece.grid)
        assert bar.length == bar_length(bar.numerator, bar.denominator, piece.grid)
        start += bar.length
    assert piece.tempos[0][0] == 0
    assert [step for step, _ in piece.tempos] == sorted({step for step, _ in piece.tempos})
    assert sum(track.drums for track in piece.tracks) <= 1
    assert len(piece.tracks) <= 16


PLAIN = [on(0, 60), off(4, 60)]

LONG = [on(0, 60), off(40, 60)]

Notes = list[tuple[int, int, int, int, int]]  # track, tick, length in ticks, pitch, velocity


def file_of_notes(found: Notes, division: int) -> bytes:
    """A MIDI file with a channel for each track; the last track is drums."""
    tracks: list[list[Event]] = [[program(0, 10 * number, number)] for number in range(4)]
    for track, tick, length, pitch, velocity in found:
        channel = 9 if track == 3 else track
        tracks[track] += [on(tick, pitch, velocity, channel), off(tick + length, pitch, channel)]
    return midi_file(*tracks, division=division)


def tune(seed: int, drums: bool = True) -> bytes:
    """A short piece with a melody, chords and drums, slightly off the grid."""
    rng = random.Random(seed)
    melody, chords, beat = [program(0, rng.randrange(128))], [program(0, 48, 1)], []
    for step in range(0, 480 * 8, 240):
        pitch = 60 + rng.choice([0, 2, 4, 5, 7, 9, 11]) + 12 * rng.randrange(2)
        late = rng.randrange(-20, 60) if step else 0
        melody += [
            on(step + late, pitch, rng.randint(40, 110)),
            off(step + late + rng.randint(20, 400), pitch),
        ]
    for step in range(0, 480 * 8, 960):
        for pitch in (36, 40, 43):
            chords += [on(step, pitch, 50, 1), off(step + 960, pitch, 1)]
        beat += [on(step, 36, 90, 9), off(step + 10, 36, 9)] if drums else []
    head = [tempo(0, rng.choice([80, 100, 120])), metre(0, *rng.choice([(4, 4), (3, 4), (6, 8)]))]
    return midi_file(head, melody, chords, beat, division=480)
