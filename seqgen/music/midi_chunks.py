"""MIDI bytes → messages, chunk by chunk, with whatever is harmless forgiven and counted.

Files found in the wild are often damaged where no player looks: a key signature of 18 flats, a tempo of two bytes, a
track whose length is wrong, a file cut at its end, a wrapper. Such a file is read as far as it is music. `Repairs`
counts what was skipped or guessed. Every loop consumes bytes, so the time is linear in the size of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from seqgen.errors import DataError

TEMPO, METRE = 0xFF51, 0xFF58  # status of the two meta events that are kept
LAST_TICK = 1 << 60  # damaged delta times can have any number of digits, and a float can't hold them
_KEY, _END_OF_TRACK = 0x59, 0x2F
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}  # of channel messages
_SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}
_MAX_DENOMINATOR = 7  # exponent: 1/128
_MAX_LEADING = 1 << 16  # bytes in front of the header that are searched for it
_MAX_HEADER = 255
_MIN_DAMAGED = 16  # fewer events that are none don't make a file damaged


class Message(NamedTuple):
    """A message at a time in ticks. `status` is that of a channel message (0x80–0xEF), `TEMPO` or `METRE`.

    `first` and `second` are its data: a pitch and a velocity; microseconds per quarter note; a metre's two numbers.
    """

    tick: int
    status: int
    first: int
    second: int


@dataclass
class Repairs:
    """Counts of what was forgiven in a file."""

    headers: int = 0  # giving another number of tracks, or no known format
    chunks: int = 0  # that are no tracks, skipped
    tracks_cut: int = 0  # with a wrong length, or cut off at the end of the file
    metas: int = 0  # malformed tempos, metres and key signatures, ignored
    stray: int = 0  # events that are none, skipped
    clipped: int = 0  # data bytes above 127, taken for 127


@dataclass(frozen=True)
class MidiData:
    """A MIDI file: each track's messages by time, relative to the track's start.

    Attributes:
        format: 0, 1 or 2.
        division: ticks per quarter note; in SMPTE time a quarter note is half a second.
        is_smpte: whether tempos are without effect.
        ends: the last tick of each track.
    """

    format: int
    division: float
    is_smpte: bool
    tracks: list[list[Message]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


def parse(data: bytes) -> tuple[MidiData, Repairs]:
    """Parse a MIDI file, taken out of whatever wraps it.

    Raises:
        DataError: there is no header, no time base, or more damage than music.
    """
    data = _unwrapped(data)
    repairs = Repairs()
    size = int.from_bytes(data[4:8], "big")
    if len(data) < 14:
        raise DataError("the MIDI file is truncated: it ends in its header")
    form, count, division = (int.from_bytes(data[start : start + 2], "big") for start in (8, 10, 12))
    if division >= 0x8000:  # frames per second, negative, and ticks per frame; 29 means 29.97
        frames, ticks = 256 - (division >> 8), division & 0xFF
        file = MidiData(form, (29.97 if frames == 29 else frames) * ticks / 2, True)
    else:
        file = MidiData(form, division, False)
    if not file.division:
        raise DataError("the MIDI file is damaged: its header gives zero ticks per quarter note")
    events = _read_chunks(data, 8 + size if 6 <= size <= _MAX_HEADER else 14, file, repairs)
    repairs.headers += form > 2 or len(file.tracks) != count
    if repairs.stray > max(_MIN_DAMAGED, events // 4) or (repairs.stray and not any(file.tracks)):
        raise DataError(f"the MIDI file is damaged: {repairs.stray:,} of its {events:,} events are none")
    return file, repairs


def _unwrapped(data: bytes) -> bytes:
    """Return the file from its header on: without RIFF, MacBinary, or other bytes in front of it."""
    if data[:4] == b"RIFF":
        data = _riff_data(data) or data
        begin = data.find(b"MThd")
    else:
        begin = data.find(b"MThd", 0, _MAX_LEADING)
    if begin == 128 and data[0] == 0 and 1 <= data[1] <= 63:  # MacBinary: the resource fork follows the data
        size = int.from_bytes(data[83:87], "big")
        data = data[: begin + size] if 14 <= size <= len(data) - begin else data
    if begin < 0:
        raise DataError("not MIDI (no MThd header), ABC or MusicXML" if data else "the file is empty")
    return data[begin:]


def _riff_data(data: bytes) -> bytes | None:
    """Return the chunk `data` of a RIFF file: the chunks around it hold a title, a picture, sounds."""
    start = 12
    while start + 8 <= len(data):
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        if data[start : start + 4] == b"data":
            found = data[start + 8 : start + 8 + size] if size else data[start + 8 :]
            return found if found[:4] == b"MThd" else None
        start += 8 + size + size % 2
    return None


def _read_chunks(data: bytes, start: int, file: MidiData, repairs: Repairs) -> int:
    """Read every track from byte `start` on; return the number of events, those without use included."""
    events = 0
    while start + 8 <= len(data):
        size = int.from_bytes(data[start + 4 : start + 8], "big")
        end = start + 8 + size
        if data[start : start + 4] == b"MTrk":
            track = _TrackReader(data, start + 8, end, repairs)
            track.read()
            file.tracks.append(track.messages)
            file.ends.append(track.now)
            events += track.events
            start = track.next_chunk
        elif _begins_chunk(data, start):
            repairs.chunks += 1
            start = end
        else:  # bytes between or behind the tracks
            start = data.find(b"MTrk", start)
            if start < 0:
                break
            repairs.chunks += 1
    return events


def _begins_chunk(data: bytes, start: int) -> bool:
    """Whether a chunk begins here, whose length the file has room for, or a track."""
    name = data[start : start + 4]
    if name == b"MTrk":
        return True
    size = int.from_bytes(data[start + 4 : start + 8], "big")
    return len(name) == 4 and name.isascii() and name.isalnum() and start + 8 + size <= len(data)


class _TrackReader:
    """Reads a track: to its end-of-track event, or to the end of its chunk if that is where a chunk may end."""

    def __init__(self, data: bytes, start: int, end: int, repairs: Repairs) -> None:
        self._data, self._position, self._end, self._repairs = data, start, end, repairs
        self.messages: list[Message] = []
        self.events = 0
        self.now = 0
        self.next_chunk = len(data)

    def read(self) -> None:
        """Read the messages, and find where the next chunk begins."""
        data, end = self._data, self._end
        # The given length is believed if a chunk may begin behind it, or the file ends there.
        plausible = end == len(data) or (end < len(data) and _begins_chunk(data, end))
        ended = self._events(end if plausible else len(data))
        if ended and self._position == end:
            self.next_chunk = end  # whatever lies behind it
        elif plausible and not (ended and data[self._position : self._position + 4] == b"MTrk"):
            self.next_chunk = end
            self._repairs.tracks_cut += ended and any(data[self._position : end])  # events behind the track's end
        else:  # the length is too small, or spans the next track
            self._repairs.tracks_cut += 1
            following = data.find(b"MTrk", self._position)
            self.next_chunk = following if following >= 0 else len(data)

    def _events(self, stop: int) -> bool:
        """Read events up to byte `stop`; return whether the last one was the end of the track."""
        data, status = self._data, 0
        position, now = self._position, 0
        messages, repairs = self.messages, self._repairs
        append: Callable[[Message], None] = messages.append
        given_end = self._end
        ended = False
        try:
            while position < stop:
                if position >= given_end and data[position : position + 4] == b"MTrk":
                    break  # the length was too small, or this one's end is missing
                delta = data[position]
                position += 1
                if delta > 127:
                    delta &= 127
                    while True:
                        byte = data[position]
                        position += 1
                        delta = min(delta << 7 | byte & 127, LAST_TICK)
                        if byte < 128:
                            break
                now = min(now + delta, LAST_TICK)
                self.events += 1
                byte = data[position]
                if byte < 0xF0:
                    if byte > 127:
                        status = byte
                        position += 1
                    elif not status:  # data of no message
                        repairs.stray += 1
                        position += 1
                        continue
                    first = data[position]
                    position += 1
                    second = 0
                    if _DATA_BYTES[status & 0xF0] == 2:
                        second = data[position]
                        position += 1
                    if position > stop:
                        break
                    if first > 127 or second > 127:
                        repairs.clipped += (first > 127) + (second > 127)
                        first, second = min(first, 127), min(second, 127)
                    append(Message(now, status, first, second))
                    continue
                position += 1
                if byte == 0xFF:
                    kind = data[position]
                    length, begin = self._length(position + 1)
                    position = min(begin + length, stop)
                    if begin + length > stop:
                        break
                    if kind == _END_OF_TRACK:
                        ended = True
                        break
                    if kind in (0x51, 0x58, _KEY):
                        self._meta(now, kind, data[begin : begin + length])
                elif byte in (0xF0, 0xF7):
                    length, begin = self._length(position)
                    position = begin + length
                    if position > stop:  # cut: the message ends with F7
                        repairs.stray += 1
                        position = data.find(0xF7, begin, stop) + 1 or stop
                else:  # no such message belongs in a file
                    repairs.stray += 1
                    position += _SYSTEM_DATA_BYTES.get(byte, 0)
        except IndexError:  # the file ends within an event
            position = len(data)
        # At the end of its file, a track without its last event is cut.
        if not ended and stop == given_end == len(data):
            repairs.tracks_cut += 1
        self._position, self.now = min(position, len(data)), now
        return ended

    def _length(self, start: int) -> tuple[int, int]:
        """Return a length and the position behind it. Raises `IndexError` at the end of the file."""
        value = 0
        while True:
            byte = self._data[start]
            start += 1
            value = min(value << 7 | byte & 127, LAST_TICK)
            if byte < 128:
                return value, start

    def _meta(self, now: int, kind: int, value: bytes) -> None:
        """Keep a tempo or a metre; count malformed ones, and malformed keys."""
        if kind == 0x51 and len(value) >= 3 and any(value[:3]):
            self.messages.append(Message(now, TEMPO, int.from_bytes(value[:3], "big"), 0))
        elif kind == 0x58 and len(value) >= 2 and value[0] and value[1] <= _MAX_DENOMINATOR:
            self.messages.append(Message(now, METRE, value[0], 1 << value[1]))
        elif kind != _KEY or len(value) < 2 or 7 < value[0] < 249 or value[1] > 1:
            self._repairs.metas += 1
