"""MIDI files made of events."""

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

Event = tuple[int, Any]  # tick from the beginning, message

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


def file(*tracks: Iterable[Event], kind: int = 1, division: int = 4) -> bytes:
    """A MIDI file. With four ticks a quarter note and a grid of four, ticks are steps."""
    made = mido.MidiFile(type=kind, ticks_per_beat=division)
    for events in tracks:
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(events, key=lambda event: event[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        made.tracks.append(track)
    buffer = io.BytesIO()
    made.save(file=buffer)
    return buffer.getvalue()


def notes(data: bytes, grid: int = 4, **options: Any) -> list[tuple[int, ...]]:
    return [tuple(note) for note in read(data, grid, **options)[0].notes]


def losses(data: bytes, grid: int = 4, **options: Any) -> dict[str, Any]:
    """What is not 0 of the losses."""
    found = vars(read(data, grid, **options)[1])
    return {name: value for name, value in found.items() if value}


def check(piece: Piece) -> None:
    """What `Piece` and `Note` promise."""
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
    place = 0
    for bar in piece.bars:
        assert bar.start == place
        assert (bar.numerator, bar.denominator) in metres(piece.grid)
        assert bar.length == bar_length(bar.numerator, bar.denominator, piece.grid)
        place += bar.length
    assert piece.tempos[0][0] == 0
    assert [step for step, _ in piece.tempos] == sorted({step for step, _ in piece.tempos})
    assert sum(track.drums for track in piece.tracks) <= 1
    assert len(piece.tracks) <= 16


PLAIN = [on(0, 60), off(4, 60)]

LONG = [on(0, 60), off(40, 60)]

Notes = list[tuple[int, int, int, int, int]]  # track, tick, length in ticks, pitch, velocity


def of_notes(found: Notes, division: int) -> bytes:
    """Each track on a channel of its own, the last the drums'."""
    tracks: list[list[Event]] = [[program(0, 10 * number, number)] for number in range(4)]
    for track, tick, length, pitch, velocity in found:
        channel = 9 if track == 3 else track
        tracks[track] += [on(tick, pitch, velocity, channel), off(tick + length, pitch, channel)]
    return file(*tracks, division=division)


def tune(seed: int, drums: bool = True) -> bytes:
    """A little made-up piece of a melody, chords, and drums, off the grid now and then."""
    chance = random.Random(seed)
    melody, chords, beat = [program(0, chance.randrange(128))], [program(0, 48, 1)], []
    for step in range(0, 480 * 8, 240):
        pitch = 60 + chance.choice([0, 2, 4, 5, 7, 9, 11]) + 12 * chance.randrange(2)
        late = chance.randrange(-20, 60) if step else 0
        melody += [on(step + late, pitch, chance.randint(40, 110)), off(step + late + chance.randint(20, 400), pitch)]
    for step in range(0, 480 * 8, 960):
        for pitch in (36, 40, 43):
            chords += [on(step, pitch, 50, 1), off(step + 960, pitch, 1)]
        beat += [on(step, 36, 90, 9), off(step + 10, 36, 9)] if drums else []
    head = [tempo(0, chance.choice([80, 100, 120])), metre(0, *chance.choice([(4, 4), (3, 4), (6, 8)]))]
    return file(head, melody, chords, beat, division=480)
