"""MIDI bytes ↔ pieces on a grid. `midi_chunks` reads the messages and mido writes them; here they are notes.

Handles formats 0, 1 and 2 (patterns played in sequence), note-on with velocity 0, restruck and hanging notes, the
sustain pedal, tempo and metre changes, channel 10 and SMPTE time.
"""

from __future__ import annotations

import io
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from dataclasses import dataclass, field
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
    shared = _Channels()
    for number, (track, track_end) in enumerate(zip(file.tracks, file.ends, strict=True)):
        if file.format == 2 and number:  # patterns are played in sequence
            begin = -int(-last // (4 * file.division)) * int(4 * file.division)
            shared = _Channels()
        own = _Channels()
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
                own.programs[channel].append((now, first))
            elif message == 0xB0:
                if first == _SUSTAIN:
                    own.pedals[channel].append((now, second >= 64))
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
        shared.merge(own)
        stats.notes += len(closed)
        for channel, start, end, pitch, velocity in closed:
            # A program change in the note's own track takes precedence over other tracks' for the same channel.
            own_program = own.program(channel, start)
            program = shared.program(channel, start) if own_program is None else own_program
            program = None if channel == _DRUM_CHANNEL else program
            program = 0 if program is None and channel != _DRUM_CHANNEL else program
            key = (-1, 0, None) if program is None else (number, channel, program)
            part = parts.get(key)
            if part is None:
                part = parts[key] = ScorePart(program, (number, channel, program or 0))
            end = shared.release(channel, end)
            part.notes.append((start, end, pitch, velocity))
            last = max(last, end)
    metres.sort(key=lambda each: each[0])
    tempos.sort(key=lambda each: each[0])
    return Score(file.division, list(parts.values()), metres, tempos, last, NOUN)


@dataclass
class _Channels:
    """Programs and pedal positions of each channel, as (tick, value) in order."""

    programs: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    pedals: dict[int, list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))
    _releases: dict[int, list[int]] = field(default_factory=dict)  # of each channel, indices in `pedals`

    def merge(self, other: _Channels) -> None:
        for mine, theirs in ((self.programs, other.programs), (self.pedals, other.pedals)):
            for channel, changes in theirs.items():
                mine[channel] = sorted([*mine[channel], *changes], key=lambda change: change[0])
        self._releases.clear()

    def program(self, channel: int, tick: int) -> int | None:
        changes = self.programs.get(channel)
        if not changes:
            return None
        # Files often send the first program change just after the first note, so it applies from the start.
        return changes[max(0, bisect_right(changes, (tick, 1 << 8)) - 1)][1]

    def release(self, channel: int, end: int) -> int:
        """Return when a note with note-off at `end` stops sounding: with the pedal down, at the pedal's release."""
        changes = self.pedals.get(channel)
        if not changes:
            return end
        index = bisect_right(changes, (end, True))
        if not index or not changes[index - 1][1]:
            return end
        if channel not in self._releases:
            self._releases[channel] = [number for number, (_, down) in enumerate(changes) if not down]
        releases = self._releases[channel]
        following = bisect_left(releases, index)
        return changes[releases[following]][0] if following < len(releases) else end


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
