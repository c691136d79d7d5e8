"""MIDI bytes ↔ pieces on a grid. `midi_chunks` reads the messages and mido writes them; here they are notes.

Handles formats 0, 1 and 2 (patterns played in sequence), note-on with velocity 0, restruck and hanging notes, the
sustain pedal, tempo and metre changes, channel 10 and SMPTE time.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import defaultdict, deque
from typing import Any, NamedTuple

import mido

from seqgen.errors import DataError
from seqgen.music.midi_chunks import METRE, TEMPO, MidiData, parse
from seqgen.music.piece import Piece
from seqgen.music.score import MusicScore, QuantisationStats, ScorePart, check_length, quantise

NOUN = "the MIDI file"
_DRUM_CHANNEL = 9  # zero-based; known as channel 10
_SUSTAIN = 64  # controller number of the sustain pedal
_RESET = 121  # controller "reset all controllers", which lifts the pedal too
_SILENCE = (120, 123)  # controllers "all sound off" and "all notes off"
_TICKS = 480  # per quarter note in written files, rounded to a multiple of the grid


def read(data: bytes, grid: int, tracks: str = "all", low: int = 0, high: int = 127) -> tuple[Piece, QuantisationStats]:
    """Read the piece in a MIDI file; see `score.quantise` for the arguments.

    Raises:
        DataError: there is no piece in the file. The message lacks the file's name, which the caller adds.
    """
    score, stats = read_score(data)
    return quantise(score, grid, tracks, low, high, stats), stats


def read_score(data: bytes) -> tuple[MusicScore, QuantisationStats]:
    """Read the notes of a MIDI file as it has them. Raises `DataError` if it is damaged or longer than any piece."""
    file, repairs = parse(data)
    stats = QuantisationStats(**vars(repairs))
    score = _collect(file, stats)
    check_length(score)
    if not stats.notes and (stats.tracks_cut or stats.stray):
        raise DataError("the MIDI file is truncated or damaged: it has no readable note")
    return score, stats


class _Track(NamedTuple):
    """The notes of a track as (channel, start, end, pitch, velocity); by channel, its programs and its pedal.

    The latter two are (tick, value) in order of time.
    """

    number: int
    notes: list[tuple[int, int, int, int, int]]
    programs: dict[int, list[tuple[int, int]]]
    pedals: dict[int, list[tuple[int, int]]]


def _collect(file: MidiData, stats: QuantisationStats) -> MusicScore:
    metres: list[tuple[int, int, int]] = []
    tempos: list[tuple[int, float]] = []
    parts: dict[tuple[int, int, int | None], ScorePart] = {}
    begin = last = 0
    together: list[_Track] = []  # tracks that are played at once
    for number, (track, track_end) in enumerate(zip(file.tracks, file.ends, strict=True)):
        if file.format == 2 and number:  # patterns are played in sequence
            last = max(last, _add_parts(together, parts))
            together.clear()
            begin = -int(-last // (4 * file.division)) * int(4 * file.division)
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
                if first == _RESET:
                    own_pedals[channel].append((now, 0))
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
        stats.notes += len(closed)
        together.append(_Track(number, closed, own_programs, own_pedals))
    last = max(last, _add_parts(together, parts))
    metres.sort(key=lambda each: each[0])
    tempos.sort(key=lambda each: each[0])
    return MusicScore(file.division, list(parts.values()), metres, tempos, last, NOUN)


def _add_parts(tracks: list[_Track], parts: dict[tuple[int, int, int | None], ScorePart]) -> int:
    """Add the parts of tracks that are played at once, and return the end of the last note.

    A channel has one pedal, whichever track it is in. Its programs too, but those of the note's own track take
    precedence.
    """
    programs, pedals = _by_channel([each.programs for each in tracks]), _by_channel([each.pedals for each in tracks])
    last = 0
    for number, closed, own_programs, _ in tracks:
        own = _by_channel([own_programs])
        for channel, start, end, pitch, velocity in closed:
            program = None
            if channel != _DRUM_CHANNEL:
                changes = own.get(channel) or programs.get(channel)
                program = changes.program(start) if changes else 0
            key = (-1, 0, None) if program is None else (number, channel, program)
            part = parts.get(key)
            if part is None:
                part = parts[key] = ScorePart(program, (number, channel, program or 0))
            end = pedals[channel].release(end) if channel in pedals else end
            part.notes.append((start, end, pitch, velocity))
            last = max(last, end)
    return last


class _Changes:
    """The programs, or the positions of the pedal, of a channel, as (tick, value) in order of time, at least one.

    Of several at a tick, the last counts.
    """

    def __init__(self, changes: list[tuple[int, int]]) -> None:
        self._changes = changes
        self._releases = [tick for tick, value in changes if not value]  # where the pedal goes up

    def program(self, tick: int) -> int:
        # Files often send the first program change just after the first note, so it applies from the start.
        return self._changes[max(bisect_right(self._changes, (tick, 1 << 8)) - 1, 0)][1]

    def release(self, end: int) -> int:
        """Return when a note with note-off at `end` stops sounding: with the pedal down, at the pedal's release."""
        index = bisect_right(self._changes, (end, 1 << 8))
        if not index or not self._changes[index - 1][1]:
            return end
        following = bisect_right(self._releases, end)
        return self._releases[following] if following < len(self._releases) else end


def _by_channel(tracks: list[dict[int, list[tuple[int, int]]]]) -> dict[int, _Changes]:
    """The changes of several tracks together, by channel."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for track in tracks:
        for channel, changes in track.items():
            found[channel] += changes
    return {channel: _Changes(sorted(changes, key=lambda change: change[0])) for channel, changes in found.items()}


def write(piece: Piece) -> bytes:
    """Return a MIDI file of format 1: a track of tempos and metres, then the piece's, ending with the last bar."""
    ticks = piece.grid * max(1, _TICKS // piece.grid)
    step = ticks // piece.grid
    file = mido.MidiFile(type=1, ticks_per_beat=ticks)
    conductor: list[tuple[int, int, Any]] = []
    for start, bpm in piece.tempos:
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
            messages.append((0, 0, mido.Message("program_change", channel=channel, program=part.program)))
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
