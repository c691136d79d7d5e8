"""MIDI bytes ↔ pieces on a grid. `midi_chunks` reads the messages and mido writes them; here they are notes and bars.

Handles formats 0, 1 and 2 (patterns played in sequence), note-on with velocity 0, restruck and hanging notes, the
sustain pedal, tempo and metre changes, shortened bars, channel 10 and SMPTE time. Whatever the grid can't represent is
counted in `QuantisationStats`.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field, fields
from typing import Any

import mido

from seqgen.errors import DataError
from seqgen.music.events import MAX_NOTE_QUARTERS, MAX_TRACKS
from seqgen.music.metre import bar_length, metre_of_length, nearest_metre
from seqgen.music.midi_chunks import METRE, TEMPO, MidiData, parse
from seqgen.music.piece import Bar, Note, Piece, Track

NO_NOTES = "the MIDI file has no notes"  # start of the error for files without anything to learn from
MAX_BARS = 10_000  # about six hours; a longer piece means damaged times
_DRUM_CHANNEL = 9  # zero-based; known as channel 10
_SUSTAIN = 64  # controller number of the sustain pedal
_SILENCE = (120, 123)  # controllers "all sound off" and "all notes off"
FINER_GRIDS = (8, 12, 24)  # compared with the grid of a reading
_OFF_GRID = 1 / 200  # of a quarter note: a note displaced by more was not written on the grid
_TICKS = 480  # per quarter note in written files, rounded to a multiple of the grid


@dataclass
class QuantisationStats:
    """Changes and omissions when files are read on a grid. Numbers of notes unless stated otherwise."""

    notes: int = 0  # in the file
    kept: int = 0
    hanging: int = 0  # without a note-off: ended with their track
    struck_again: int = 0  # cut at the next note of the same pitch and part
    doubled: int = 0  # dropped: the same pitch at the same step in the same part
    lengthened: int = 0  # shorter than half a step: now one step
    shortened: int = 0  # cut at the longest possible duration
    out_of_range: int = 0  # dropped by the pitch range or the choice of tracks
    parts_merged: int = 0  # parts beyond the sixteenth
    metres_changed: int = 0  # metre changes replaced by the nearest metre in length, or delayed
    bends: int = 0  # pitch bends, dropped
    controllers: int = 0  # control changes other than the pedal, dropped
    headers: int = 0  # see `midi_chunks.Repairs`
    chunks: int = 0
    tracks_cut: int = 0
    metas: int = 0
    stray: int = 0
    clipped: int = 0
    moved: int = 0  # notes that don't stand on the grid
    moved_8: int = 0  # notes that wouldn't stand on one of 8, 12 or 24 steps per quarter note
    moved_12: int = 0
    moved_24: int = 0
    shift: float = 0.0  # sum of the onsets' displacements, in steps
    largest_shift: float = 0.0

    def add(self, other: QuantisationStats) -> None:
        """Add the counts of another file."""
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            setattr(self, item.name, max(mine, theirs) if item.name == "largest_shift" else mine + theirs)


@dataclass
class _MidiPart:
    """The notes of one part in ticks: (start, end, pitch, velocity)."""

    program: int | None
    order: tuple[int, int, int]
    notes: list[tuple[int, int, int, int]] = field(default_factory=list)


def read(data: bytes, grid: int, tracks: str = "all", low: int = 0, high: int = 127) -> tuple[Piece, QuantisationStats]:
    """Read the piece in a MIDI file.

    Args:
        grid: steps per quarter note; onsets and ends move by at most half a step.
        tracks: `all`; `melody`, the skyline of the highest part; or `piano`, all parts but drums merged into one.
        low, high: pitch range to keep, both included; drums are exempt.

    Raises:
        DataError: there is no piece in the file. The message lacks the file's name, which the caller adds.
    """
    file, repairs = parse(data)
    stats = QuantisationStats(**vars(repairs))
    parts, metres, tempos, last = _collect(file, stats)
    scale = grid / file.division
    if last * scale > MAX_BARS * 4 * grid:
        raise DataError(f"the MIDI file is longer than {MAX_BARS:,} bars")
    if not stats.notes and (stats.tracks_cut or stats.stray):
        raise DataError("the MIDI file is truncated or damaged: it has no readable note")
    selected = _select_parts(parts, tracks, low, high, scale, stats)
    if not any(part.notes for part in selected):
        raise DataError(f"{NO_NOTES} in the requested tracks and pitch range" if stats.notes else NO_NOTES)
    ordered = _order_parts(selected, stats)
    notes = _on_grid(ordered, scale, grid, stats)
    end = max(note.end for note in notes)
    steps = [(round_half_up(tick * scale), n, d) for tick, n, d in metres]
    bars = _bars(steps, end, grid, stats)
    if len(bars) > MAX_BARS:
        raise DataError(f"the MIDI file has more than {MAX_BARS:,} bars")
    stats.kept = len(notes)
    found = tuple(Track(part.program) for part in ordered)
    return Piece(grid, found, tuple(notes), tuple(bars), _tempos(tempos, scale, end)), stats


def round_half_up(value: float) -> int:
    """Round to the nearest integer, halves up."""
    return int(value + 0.5)


def _collect(
    file: MidiData, stats: QuantisationStats
) -> tuple[list[_MidiPart], list[tuple[int, int, int]], list[tuple[int, float]], int]:
    """Return parts, metres (tick, numerator, denominator), tempos (tick, quarter notes a minute) and the last tick."""
    metres: list[tuple[int, int, int]] = []
    tempos: list[tuple[int, float]] = []
    parts: dict[tuple[int, int, int | None], _MidiPart] = {}
    begin = last = 0
    shared = _Channels()
    for number, (track, track_end) in enumerate(zip(file.tracks, file.ends, strict=True)):
        if file.format == 2 and number:  # patterns are played in sequence
            begin = -int(-last // (4 * file.division)) * int(4 * file.division)
            shared = _Channels()
        own = _Channels()
        opened: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
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
                opened[channel, first].append((now, second))
            elif message <= 0x90:
                waiting = opened.get((channel, first))
                if waiting:
                    start, velocity = waiting.pop(0)
                    closed.append((channel, start, now, first, velocity))
            elif message == 0xC0:
                own.programs[channel].append((now, first))
            elif message == 0xB0:
                if first == _SUSTAIN:
                    own.pedals[channel].append((now, second >= 64))
                else:
                    stats.controllers += 1
                if first in _SILENCE:
                    for (of_channel, pitch), waiting in opened.items():
                        if of_channel == channel:
                            closed += [(channel, start, now, pitch, velocity) for start, velocity in waiting]
                            waiting.clear()
            elif message == 0xE0:
                stats.bends += 1
        now = begin + track_end
        for (channel, pitch), waiting in opened.items():
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
                part = parts[key] = _MidiPart(program, (number, channel, program or 0))
            end = shared.release(channel, end)
            part.notes.append((start, end, pitch, velocity))
            last = max(last, end)
    return list(parts.values()), sorted(metres, key=lambda m: m[0]), sorted(tempos, key=lambda t: t[0]), last


@dataclass
class _Channels:
    """Programs and pedal positions of each channel, as (tick, value) in order."""

    programs: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    pedals: dict[int, list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))

    def merge(self, other: _Channels) -> None:
        for mine, theirs in ((self.programs, other.programs), (self.pedals, other.pedals)):
            for channel, changes in theirs.items():
                mine[channel] = sorted([*mine[channel], *changes], key=lambda change: change[0])

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
        if index and changes[index - 1][1]:
            for tick, down in changes[index:]:
                if not down:
                    return tick
        return end


def _select_parts(
    parts: list[_MidiPart], tracks: str, low: int, high: int, scale: float, stats: QuantisationStats
) -> list[_MidiPart]:
    """Return the requested parts and notes; `scale` is steps per tick."""
    before = sum(len(part.notes) for part in parts)
    pitched = [part for part in parts if part.program is not None]
    for part in pitched:
        part.notes = [note for note in part.notes if low <= note[2] <= high]
    pitched = [part for part in pitched if part.notes]
    if tracks == "melody":
        pitched.sort(key=lambda part: -sum(note[2] for note in part.notes) / len(part.notes))
        parts = pitched[:1]
        for part in parts:
            part.notes = _skyline(part.notes, scale)
    elif tracks == "piano":
        parts = [_MidiPart(0, (0, 0, 0), [note for part in pitched for note in part.notes])]
    else:
        parts = pitched + [part for part in parts if part.program is None]
    stats.out_of_range += before - sum(len(part.notes) for part in parts)
    return parts


def _skyline(notes: list[tuple[int, int, int, int]], scale: float) -> list[tuple[int, int, int, int]]:
    """Return the skyline melody: the highest note of each onset, cut at the next one (Uitdenbogerd & Zobel, 1999)."""
    highest: dict[int, tuple[int, int, int, int]] = {}
    for note in notes:
        step = int(note[0] * scale + 0.5)
        if step not in highest or note[2] > highest[step][2]:
            highest[step] = note
    melody = [highest[step] for step in sorted(highest)]
    next_starts = [note[0] for note in melody[1:]] + [1 << 62]
    return [(start, min(end, next_start), pitch, velocity) for (start, end, pitch, velocity), next_start in
            zip(melody, next_starts, strict=True)]  # fmt: skip


def _order_parts(parts: list[_MidiPart], stats: QuantisationStats) -> list[_MidiPart]:
    """Sort the parts by onset and limit them to sixteen, one of them drums; further parts are merged into others."""
    parts = sorted((part for part in parts if part.notes), key=lambda part: (min(n[0] for n in part.notes), part.order))
    kept: list[_MidiPart] = []
    for part in parts:
        melodic = [other for other in kept if other.program is not None]
        if part.program is None or len(melodic) < MAX_TRACKS - 1:
            kept.append(part)
            continue
        stats.parts_merged += 1
        same_program = [other for other in melodic if other.program == part.program] or melodic[-1:]
        same_program[0].notes += part.notes
    return kept


def _is_off(quarters: float, grid: int) -> bool:
    steps = quarters * grid
    return abs(steps - round(steps)) > _OFF_GRID * grid


def _on_grid(parts: list[_MidiPart], scale: float, grid: int, stats: QuantisationStats) -> list[Note]:
    """Quantise the notes: sorted, unique, bounded in length, without overlaps of the same pitch and part."""
    max_length = MAX_NOTE_QUARTERS * grid
    result: list[Note] = []
    for track, part in enumerate(parts):
        latest: dict[int, int] = {}  # pitch → index in `placed` of its last note
        placed: list[Note] = []
        part.notes.sort()
        for start, end, pitch, velocity in part.notes:
            exact = start * scale
            step = round_half_up(exact)
            stop = round_half_up(end * scale)
            shift = abs(step - exact)
            stats.shift += shift
            quarters = exact / grid
            stats.moved += shift > _OFF_GRID * grid
            stats.moved_8 += _is_off(quarters, 8)
            stats.moved_12 += _is_off(quarters, 12)
            stats.moved_24 += _is_off(quarters, 24)
            stats.largest_shift = max(stats.largest_shift, shift)
            if stop - step > max_length:
                stats.shortened += 1
                stop = step + max_length
            if stop <= step:
                stats.lengthened += 1
                stop = step + 1
            before = latest.get(pitch)
            if before is not None:
                earlier = placed[before]
                if earlier.start == step:
                    stats.doubled += 1
                    placed[before] = earlier._replace(
                        end=max(earlier.end, stop), velocity=max(earlier.velocity, velocity)
                    )
                    continue
                if earlier.end > step:
                    stats.struck_again += 1
                    placed[before] = earlier._replace(end=step)
            latest[pitch] = len(placed)
            placed.append(Note(step, track, pitch, stop, velocity))
        result += placed
    result.sort(key=lambda note: (note.start, note.track, -note.pitch))
    return result


def _bars(metres: list[tuple[int, int, int]], end: int, grid: int, stats: QuantisationStats) -> list[Bar]:
    """Return bars from step 0 until every note has ended.

    A metre change inside a bar shortens that bar if its remaining length is a metre too; otherwise it waits for the
    bar's end.
    """
    bars: list[Bar] = []
    numerator, denominator = 4, 4
    waiting = metres[::-1]
    start = 0
    while start < end and len(bars) <= MAX_BARS:
        while waiting and waiting[-1][0] <= start:
            _, *written = waiting.pop()
            numerator, denominator = nearest_metre(written[0], written[1], grid)
            stats.metres_changed += [numerator, denominator] != written
        length = bar_length(numerator, denominator, grid)
        bar = Bar(start, length, numerator, denominator)
        if waiting and waiting[-1][0] < start + length:
            if nearest_metre(waiting[-1][1], waiting[-1][2], grid) == (numerator, denominator):
                waiting.pop()
                continue
            short_metre = metre_of_length(waiting[-1][0] - start, grid, denominator)
            if short_metre is None:
                stats.metres_changed += 1
            else:
                bar = Bar(start, waiting[-1][0] - start, *short_metre)
        bars.append(bar)
        start += bar.length
    return bars


def _tempos(tempos: list[tuple[int, float]], scale: float, end: int) -> tuple[tuple[int, int], ...]:
    """Return (step, tempo): the last tempo of each step, 120 at step 0 unless the file sets another."""
    found: dict[int, int] = {0: 120}
    for tick, bpm in tempos:
        step = round_half_up(tick * scale)
        if step < end:
            found[step] = max(1, round_half_up(bpm))
    return tuple(sorted(found.items()))


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
