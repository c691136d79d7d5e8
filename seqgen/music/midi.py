"""MIDI bytes ↔ pieces on a grid. `midi_chunks` reads the messages and mido writes them; here they are notes.

Handles formats 0, 1 and 2 (patterns played in sequence), note-on with velocity 0, restruck and hanging notes, the
sustain pedal, tempo and metre changes, channel 10 and SMPTE time.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import defaultdict, deque
from typing import Any

import mido

from seqgen.errors import DataError
from seqgen.music.midi_chunks import METRE, TEMPO, MidiData, parse
from seqgen.music.piece import Piece
from seqgen.music.score import QuantisationStats, Score, ScorePart, check_length, quantise

NOUN = "the MIDI file"
_DRUM_CHANNEL = 9  # zero-based; known as channel 10
_SUSTAIN = 64  # controller number of the sustain pedal
_SILENCE = (120, 123)  # controllers "all sound off" and "all notes off"
_TICKS = 480  # per quarter note in written files, rounded to a multiple of the grid


def read(data: bytes, grid: int, tracks: str = "all", low: int = 0, high: int = 127) -> tuple[Piece, QuantisationStats]:
    """Read the piece in a MIDI file; see `score.quantise` for the arguments.

    Raises:
        DataError: there is no piece in the file. The message lacks the file's name, which the caller adds.
    """
    score, stats = read_score(data)
    return quantise(score, grid, tracks, low, high, stats), stats


def read_score(data: bytes) -> tuple[Score, QuantisationStats]:
    """Read the notes of a MIDI file as it has them. Raises `DataError` if it is damaged or longer than any piece."""
    file, repairs = parse(data)
    stats = QuantisationStats(**vars(repairs))
    score = _collect(file, stats)
    check_length(score)
    if not stats.notes and (stats.tracks_cut or stats.stray):
        raise DataError("the MIDI file is truncated or damaged: it has no readable note")
    return score, stats


def _collect(file: MidiData, stats: QuantisationStats) -> Score:
    metres: list[tuple[int, int, int]] = []
    tempos: list[tuple[int, float]] = []
    parts: dict[tuple[int, int, int | None], ScorePart] = {}
    begin = last = 0
    programs: dict[int, _Changes] = defaultdict(_Changes)  # by channel
    pedals: dict[int, _Changes] = defaultdict(_Changes)
    for number, (track, track_end) in enumerate(zip(file.tracks, file.ends, strict=True)):
        if file.format == 2 and number:  # patterns are played in sequence
            begin = -int(-last // (4 * file.division)) * int(4 * file.division)
            programs.clear()
            pedals.clear()
        own_programs: dict[int, list[tuple[int, int]]] = defaultdict(list)
        own_pedals: dict[int, list[tuple[int, int]]] = defaultdict(list)
        opened: dict[int, dict[int, deque[tuple[int, int]]]] = defaultdict(lambda: defaultdict(deque))
        closed: list[tuple[int, int, int, int, int]] = []  # channel, start, end, pitch, velocity
        for tick, status, first, second in track:
            now = begin + tick
            channel, message = status & 0x0F, status & 0xF0
            if status == TEMPO:
                if not file.is_smpte:
                    tempos.append((now, 6e7 / first))
            elif status == METRE:
                metres.append((now, first, second))
            elif message == 0x90 and second:
                opened[channel][first].append((now, second))
            elif message <= 0x90:
                if channel in opened and (waiting := opened[channel].get(first)):
                    start, velocity = waiting.popleft()
                    closed.append((channel, start, now, first, velocity))
            elif message == 0xC0:
                own_programs[channel].append((now, first))
            elif message == 0xB0:
                if first == _SUSTAIN:
                    own_pedals[channel].append((now, second >= 64))
                else:
                    stats.controllers += 1
                if first in _SILENCE:
                    for pitch, waiting in opened.pop(channel, {}).items():
                        closed += [(channel, start, now, pitch, velocity) for start, velocity in waiting]
            elif message == 0xE0:
                stats.bends += 1
        now = begin + track_end
        for channel, pitches in opened.items():
            for pitch, waiting in pitches.items():
                stats.hanging += len(waiting)
                closed += [(channel, start, max(now, start), pitch, velocity) for start, velocity in waiting]
        own: dict[int, _Changes] = defaultdict(_Changes)
        for channel, changes in own_programs.items():
            own[channel].add(changes)
            programs[channel].add(changes)
        for channel, changes in own_pedals.items():
            pedals[channel].add(changes)
        stats.notes += len(closed)
        for channel, start, end, pitch, velocity in closed:
            # A program change in the note's own track takes precedence over other tracks' for the same channel.
            own_program = own[channel].program(start)
            program = programs[channel].program(start) if own_program is None else own_program
            program = None if channel == _DRUM_CHANNEL else program
            program = 0 if program is None and channel != _DRUM_CHANNEL else program
            key = (-1, 0, None) if program is None else (number, channel, program)
            part = parts.get(key)
            if part is None:
                part = parts[key] = ScorePart(program, (number, channel, program or 0))
            end = pedals[channel].release(end)
            part.notes.append((start, end, pitch, velocity))
            last = max(last, end)
    metres.sort(key=lambda each: each[0])
    tempos.sort(key=lambda each: each[0])
    return Score(file.division, list(parts.values()), metres, tempos, last, NOUN)


class _Changes:
    """The programs, or the positions of the pedal, of a channel, as (tick, value).

    They are in runs in order of time, each more than twice as long as the next. So not every track sorts those of all
    tracks before it again. Of several at a tick, the last that was added counts.
    """

    def __init__(self) -> None:
        self._runs: list[list[tuple[int, int]]] = []
        self._releases: list[list[int]] = []  # ticks of each run at which the pedal goes up

    def add(self, changes: list[tuple[int, int]]) -> None:
        """Add those of a track, in order."""
        while self._runs and len(self._runs[-1]) <= 2 * len(changes):
            changes = sorted([*self._runs.pop(), *changes], key=lambda change: change[0])
            self._releases.pop()
        self._runs.append(changes)
        self._releases.append([tick for tick, value in changes if not value])

    def _at(self, tick: int) -> tuple[int, int] | None:
        found = None
        for run in self._runs:
            index = bisect_right(run, (tick, 1 << 8))
            if index and (found is None or run[index - 1][0] >= found[0]):
                found = run[index - 1]
        return found

    def program(self, tick: int) -> int | None:
        if not self._runs:
            return None
        # Files often send the first program change just after the first note, so it applies from the start.
        found = self._at(tick) or min((run[0] for run in self._runs), key=lambda change: change[0], default=None)
        return found[1] if found else None

    def release(self, end: int) -> int:
        """Return when a note with note-off at `end` stops sounding: with the pedal down, at the pedal's release."""
        position = self._at(end)
        if not position or not position[1]:
            return end
        following = [(each, bisect_right(each, end)) for each in self._releases]
        return min((each[index] for each, index in following if index < len(each)), default=end)


def write(piece: Piece, tempo: float | None = None, programs: tuple[int, ...] = ()) -> bytes:
    """Return a MIDI file of format 1: a track of tempos and metres, then the piece's tracks, ending with the last bar.

    Args:
        tempo: quarter notes per minute throughout, instead of the piece's own tempos.
        programs: instruments of the melodic tracks in order, the last one for all further tracks; default their own.
    """
    ticks = piece.grid * max(1, _TICKS // piece.grid)
    step = ticks // piece.grid
    file = mido.MidiFile(type=1, ticks_per_beat=ticks)
    conductor: list[tuple[int, int, Any]] = []
    for start, bpm in [(0, tempo)] if tempo else piece.tempos:
        conductor.append(
            (start * step, 0, mido.MetaMessage("set_tempo", tempo=min(mido.bpm2tempo(bpm), (1 << 24) - 1)))
        )
    metre: tuple[int, int] | None = None
    for bar in piece.bars:
        if (bar.numerator, bar.denominator) != metre:
            metre = (bar.numerator, bar.denominator)
            conductor.append(
                (bar.start * step, 1,
                 mido.MetaMessage("time_signature", numerator=bar.numerator, denominator=bar.denominator))
            )  # fmt: skip
    end = piece.length * step
    file.tracks.append(_track(conductor, end))
    channels = [channel for channel in range(16) if channel != _DRUM_CHANNEL]
    melodic = 0
    for number, part in enumerate(piece.tracks):
        messages: list[tuple[int, int, Any]] = []
        if part.program is None:
            channel = _DRUM_CHANNEL
        else:
            channel = channels[melodic % len(channels)]
            program = programs[min(melodic, len(programs) - 1)] if programs else part.program
            messages.append((0, 0, mido.Message("program_change", channel=channel, program=program)))
            melodic += 1
        for note in piece.notes:
            if note.track == number:
                # At equal times note-off precedes note-on.
                on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
                off = mido.Message("note_off", channel=channel, note=note.pitch, velocity=0)
                messages += [(note.start * step, 2, on), (note.end * step, 1, off)]
        file.tracks.append(_track(messages, end))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _track(messages: list[tuple[int, int, Any]], end: int) -> mido.MidiTrack:
    """Return the track of (tick, rank, message), sorted by time and with delta times."""
    track = mido.MidiTrack()
    now = 0
    for tick, _, message in sorted(messages, key=lambda item: item[:2]):
        message.time = tick - now
        now = tick
        track.append(message)
    track.append(mido.MetaMessage("end_of_track", time=max(0, end - now)))
    return track
