"""MIDI bytes → a piece on a grid, and back. mido reads and writes the messages; here they become notes and bars.

Formats 0, 1 and 2 (whose patterns follow one another), running status, note-on with velocity 0, notes struck again or
never let go, the sustain pedal, changes of tempo and metre, bars cut short, channel 10, SMPTE time, RIFF wrappers.
What a grid can't hold is counted in `QuantisationStats`.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import mido

from seqgen.errors import DataError
from seqgen.music.events import MAX_NOTE_QUARTERS
from seqgen.music.metre import bar_length, metre_of_length, nearest_metre
from seqgen.music.parts import MidiPart, QuantisationStats, select_parts
from seqgen.music.parts import number as number_parts
from seqgen.music.piece import Bar, Note, Piece, Track

MAX_BARS = 10_000  # some six hours: beyond it is a damaged time, not a piece
_DRUM_CHANNEL = 9  # counted from 0: the one people call channel 10
_PEDAL = 64  # the controller of the sustain pedal
_SILENCE = (120, 123)  # controllers: all sound off, all notes off
_LATEST = 1 << 60  # ticks: damaged delta times can have any number of digits, and no float holds them
# A time's bytes but the last are above 127. Reading one takes the square of its length: of a megabyte, minutes. No
# lyrics in another script are so long without a space either.
_HIGH = bytes(value >> 7 for value in range(256))
_ENDLESS = b"\x01" * 4096
_TICKS = 480  # a quarter in the files written, or the next multiple of the grid


def read(data: bytes, grid: int, tracks: str = "all", low: int = 0, high: int = 127) -> tuple[Piece, QuantisationStats]:
    """The piece in a MIDI file.

    Args:
        grid: steps a quarter note; onsets and ends move by at most half a step.
        tracks: `all`; `melody`, the highest part with one note at a time; or `piano`, all but the drums as one part.
        low, high: the lowest and highest pitch kept; drums are not pitches.

    Raises:
        DataError: why there is no piece in it, without the file's name, which the caller knows.
    """
    file, division = _parse(data)
    losses = QuantisationStats()
    parts, metres, tempos, last = _collect(file, division, losses)
    scale = grid / division
    if last * scale > MAX_BARS * 4 * grid:
        raise DataError(f"it lasts longer than {MAX_BARS:,} bars")
    chosen = select_parts(parts, tracks, low, high, scale, losses)
    if not any(part.notes for part in chosen):
        raise DataError(
            "it has no notes" if not losses.notes else "it has no notes of the tracks and pitches asked for"
        )
    numbered = number_parts(chosen, losses)
    notes = _on_grid(numbered, scale, MAX_NOTE_QUARTERS * grid, losses)
    end = max(note.end for note in notes)
    steps = [(round_half_up(tick * scale), n, d) for tick, n, d in metres]
    bars = _bars(steps, end, grid, losses)
    if len(bars) > MAX_BARS:
        raise DataError(f"it has more than {MAX_BARS:,} bars")
    losses.kept = len(notes)
    found = tuple(Track(part.program) for part in numbered)
    return Piece(grid, found, tuple(notes), tuple(bars), _tempos(tempos, scale, end)), losses


def round_half_up(value: float) -> int:
    """The nearest whole number; the larger of two."""
    return int(value + 0.5)


def _parse(data: bytes) -> tuple[mido.MidiFile, float]:
    """mido's reading of the bytes, and ticks a quarter note."""
    begin = data.find(b"MThd", 0, 64)  # RIFF files carry a MIDI file in a wrapper
    if begin < 0:
        raise DataError("it is no MIDI file (it does not begin with MThd)" if data else "it is empty")
    if data.translate(_HIGH).find(_ENDLESS) >= 0:
        raise DataError("it is damaged (one of its times has thousands of digits)")
    try:
        file = mido.MidiFile(file=io.BytesIO(data[begin:]), clip=True)
    except EOFError as error:
        raise DataError("it ends in the middle: the file is cut off") from error
    except Exception as error:  # mido raises a dozen kinds on what is no MIDI
        raise DataError(f"it is damaged ({' '.join(str(error).split())[:80] or type(error).__name__})") from error
    division = file.ticks_per_beat
    if division < 0:  # SMPTE: frames a second and ticks a frame; a quarter is half a second, at 120 a minute
        frames, ticks = 256 - ((division >> 8) & 0xFF), division & 0xFF
        return file, (29.97 if frames == 29 else frames) * ticks / 2 or _damaged_time()
    return file, division or _damaged_time()


def _damaged_time() -> float:
    raise DataError("it is damaged (its header divides a quarter note into no ticks)")


def _collect(
    file: mido.MidiFile, division: float, losses: QuantisationStats
) -> tuple[list[MidiPart], list[tuple[int, int, int]], list[tuple[int, float]], int]:
    """Parts, metres (tick, numerator, denominator), tempos (tick, quarters a minute), and the last tick of a note."""
    smpte = file.ticks_per_beat < 0
    metres: list[tuple[int, int, int]] = []
    tempos: list[tuple[int, float]] = []
    parts: dict[tuple[int, int, int | None], MidiPart] = {}
    begin = last = 0
    shared = _Channels()
    for number, track in enumerate(file.tracks):
        if file.type == 2 and number:  # patterns that are played one after another
            begin = -int(-last // (4 * division)) * int(4 * division)
            shared = _Channels()
        own = _Channels()
        opened: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        closed: list[tuple[int, int, int, int, int]] = []  # channel, start, end, pitch, velocity
        now = begin
        for message in track:
            now = min(now + message.time, _LATEST)
            kind = message.type
            if kind == "note_on" and message.velocity:
                opened[message.channel, message.note].append((now, message.velocity))
            elif kind == "note_off" or kind == "note_on":
                waiting = opened.get((message.channel, message.note))
                if waiting:
                    start, velocity = waiting.pop(0)
                    closed.append((message.channel, start, now, message.note, velocity))
            elif kind == "program_change":
                own.programs[message.channel].append((now, message.program))
            elif kind == "control_change":
                if message.control == _PEDAL:
                    own.pedals[message.channel].append((now, message.value >= 64))
                else:
                    losses.controllers += 1
                if message.control in _SILENCE:
                    for (channel, pitch), waiting in opened.items():
                        if channel == message.channel:
                            closed += [(channel, start, now, pitch, velocity) for start, velocity in waiting]
                            waiting.clear()
            elif kind == "pitchwheel":
                losses.bends += 1
            elif kind == "set_tempo" and not smpte and message.tempo:
                tempos.append((now, 6e7 / message.tempo))
            elif kind == "time_signature":
                metres.append((now, message.numerator, message.denominator))
        for (channel, pitch), waiting in opened.items():
            losses.hanging += len(waiting)
            closed += [(channel, start, max(now, start), pitch, velocity) for start, velocity in waiting]
        shared.merge(own)
        losses.notes += len(closed)
        for channel, start, end, pitch, velocity in closed:
            # A track's own choice of instrument counts before what another track chose for its channel.
            choice = own.program(channel, start)
            program = None if channel == _DRUM_CHANNEL else shared.program(channel, start) if choice is None else choice
            program = 0 if program is None and channel != _DRUM_CHANNEL else program
            key = (-1, 0, None) if program is None else (number, channel, program)
            part = parts.get(key)
            if part is None:
                part = parts[key] = MidiPart(program, (number, channel, program or 0))
            end = shared.let_go(channel, end)
            part.notes.append((start, end, pitch, velocity))
            last = max(last, end)
    return list(parts.values()), sorted(metres, key=lambda m: m[0]), sorted(tempos, key=lambda t: t[0]), last


@dataclass
class _Channels:
    """What belongs to a channel and not to a note: instruments and pedals, each as (tick, value) in order."""

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
        # Files often choose the instrument a moment after the first note: the first choice counts from the beginning.
        return changes[max(0, bisect_right(changes, (tick, 1 << 8)) - 1)][1]

    def let_go(self, channel: int, end: int) -> int:
        """When a note that ends at `end` really falls silent: with the pedal down, when the pedal comes up."""
        changes = self.pedals.get(channel)
        if not changes:
            return end
        place = bisect_right(changes, (end, True))
        if place and changes[place - 1][1]:
            for tick, down in changes[place:]:
                if not down:
                    return tick
        return end


def _on_grid(parts: list[MidiPart], scale: float, longest: int, losses: QuantisationStats) -> list[Note]:
    """The notes in steps: sorted, none doubled, none too long, none overlapping another of its pitch and part."""
    result: list[Note] = []
    for track, part in enumerate(parts):
        latest: dict[int, int] = {}  # pitch → place in `placed` of the note that began last
        placed: list[Note] = []
        part.notes.sort()
        for start, end, pitch, velocity in part.notes:
            exact = start * scale
            step = round_half_up(exact)
            stop = round_half_up(end * scale)
            moved = abs(step - exact)
            losses.shift += moved
            losses.largest_shift = max(losses.largest_shift, moved)
            if stop - step > longest:
                losses.shortened += 1
                stop = step + longest
            if stop <= step:
                losses.lengthened += 1
                stop = step + 1
            before = latest.get(pitch)
            if before is not None:
                earlier = placed[before]
                if earlier.start == step:
                    losses.doubled += 1
                    placed[before] = earlier._replace(
                        end=max(earlier.end, stop), velocity=max(earlier.velocity, velocity)
                    )
                    continue
                if earlier.end > step:
                    losses.struck_again += 1
                    placed[before] = earlier._replace(end=step)
            latest[pitch] = len(placed)
            placed.append(Note(step, track, pitch, stop, velocity))
        result += placed
    result.sort(key=lambda note: (note.start, note.track, -note.pitch))
    return result


def _bars(metres: list[tuple[int, int, int]], end: int, grid: int, losses: QuantisationStats) -> list[Bar]:
    """Bars from step 0 until every note has ended. A metre that begins inside a bar cuts that bar short, where its
    rest can be spelt as a metre of its own; elsewhere it waits for the bar to end."""
    bars: list[Bar] = []
    numerator, denominator = 4, 4
    waiting = metres[::-1]
    place = 0
    while place < end and len(bars) <= MAX_BARS:
        while waiting and waiting[-1][0] <= place:
            _, wanted, below = waiting.pop()
            numerator, denominator = nearest_metre(wanted, below, grid)
            losses.metres_changed += (numerator, denominator) != (wanted, below)
        length = bar_length(numerator, denominator, grid)
        bar = Bar(place, length, numerator, denominator)
        if waiting and waiting[-1][0] < place + length:
            if nearest_metre(waiting[-1][1], waiting[-1][2], grid) == (numerator, denominator):  # holds already
                waiting.pop()
                continue
            spelt = metre_of_length(waiting[-1][0] - place, grid, denominator)
            if spelt is None:
                losses.metres_changed += 1
            else:
                bar = Bar(place, waiting[-1][0] - place, *spelt)
        bars.append(bar)
        place += bar.length
    return bars


def _tempos(tempos: list[tuple[int, float]], scale: float, end: int) -> tuple[tuple[int, int], ...]:
    """Tempos by step: the last one of a step counts; the first holds from the beginning."""
    found: dict[int, int] = {0: 120}
    for tick, bpm in tempos:
        step = round_half_up(tick * scale)
        if step < end:
            found[step] = max(1, round_half_up(bpm))
    return tuple(sorted(found.items()))


def write(piece: Piece, tempo: float | None = None, programs: tuple[int, ...] = ()) -> bytes:
    """A MIDI file of format 1: a track of tempos and metres, then a track a part; its end is the last bar's end.

    Args:
        tempo: quarter notes a minute all through, instead of the piece's own.
        programs: instruments of the melodic tracks in turn, the last one for all further ones; instead of their own.
    """
    ticks = piece.grid * max(1, _TICKS // piece.grid)
    step = ticks // piece.grid
    file = mido.MidiFile(type=1, ticks_per_beat=ticks)
    conductor: list[tuple[int, int, Any]] = []
    for place, bpm in [(0, tempo)] if tempo else piece.tempos:
        conductor.append(
            (place * step, 0, mido.MetaMessage("set_tempo", tempo=min(mido.bpm2tempo(bpm), (1 << 24) - 1)))
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
                # At one moment notes end before others begin.
                on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
                off = mido.Message("note_off", channel=channel, note=note.pitch, velocity=0)
                messages += [(note.start * step, 2, on), (note.end * step, 1, off)]
        file.tracks.append(_track(messages, end))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _track(messages: list[tuple[int, int, Any]], end: int) -> mido.MidiTrack:
    """(tick, rank, message) in order of time, with the time since the one before, as files have it."""
    track = mido.MidiTrack()
    now = 0
    for tick, _, message in sorted(messages, key=lambda item: item[:2]):
        message.time = tick - now
        now = tick
        track.append(message)
    track.append(mido.MetaMessage("end_of_track", time=max(0, end - now)))
    return track
