"""MIDI files as they are found: wrapped, cut, or damaged where no player looks."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.errors import DataError
from seqgen.music import midi
from seqgen.music.midi import read
from seqgen.music.score import QuantisationStats
from tests.helpers.growth import is_linear
from tests.helpers.midi_files import Event, midi_file, notes, off, on

END = b"\x00\xff\x2f\x00"
NOTES = b"\x00\x90\x3c\x40\x04\x3c\x00\x00\x40\x50\x04\x40\x00"  # two notes of a quarter note
WANTED = [(0, 0, 60, 4, 64), (4, 0, 64, 8, 80)]


def chunk(name: bytes, data: bytes, size: int | None = None) -> bytes:
    return name + (len(data) if size is None else size).to_bytes(4, "big") + data


def header(kind: int = 1, tracks: int = 1, division: int = 4) -> bytes:
    return chunk(b"MThd", b"".join(number.to_bytes(2, "big") for number in (kind, tracks, division)))


def track(events: bytes, size: int | None = None) -> bytes:
    return chunk(b"MTrk", events + END, size)


def one(events: bytes) -> bytes:
    return header() + track(events)


def meta(kind: int, value: bytes) -> bytes:
    return bytes([0, 0xFF, kind, len(value)]) + value


def riff(*chunks: tuple[bytes, bytes], kind: bytes = b"RMID") -> bytes:
    body = kind + b"".join(
        name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body


PLAIN = one(NOTES)
INFO = (b"LIST", b"INFOINAM\x07\0\0\0MThd it\0")
MACBINARY = (b"\0\x05tune1" + bytes(58) + b"Midi????").ljust(83, b"\0") + len(PLAIN).to_bytes(4, "big") + bytes(41)

# Each: the file, and the counts of what was forgiven.
HARMLESS: dict[str, tuple[bytes, dict[str, int]]] = {
    "key signature of 18 flats": (one(meta(0x59, b"\xee\0") + NOTES), {"metas": 1}),
    "key signature of seven flats": (one(meta(0x59, b"\xf9\1") + NOTES), {}),
    "empty key signature": (one(meta(0x59, b"") + NOTES), {"metas": 1}),
    "metre of two bytes": (one(meta(0x58, b"\4\2") + NOTES), {}),
    "metre of one byte": (one(meta(0x58, b"\4") + NOTES), {"metas": 1}),
    "tempo of two bytes": (one(meta(0x51, b"\4\2") + NOTES), {"metas": 1}),
    "empty events of every kind": (one(b"".join(meta(kind, b"") for kind in range(0x2F)) + NOTES), {}),
    "texts in several encodings": (
        one(meta(1, "für dich".encode("latin-1")) + meta(5, "歌".encode("gbk")) + meta(3, b"\xff\xfe") + NOTES), {}),
    "unknown chunks before, between and behind": (
        header() + chunk(b"XFIH", b"abc") + track(NOTES) + chunk(b"XFKM", b"\0" * 9), {"chunks": 2}),
    "header longer than six bytes": (
        chunk(b"MThd", bytes([0, 1, 0, 1, 0, 4, 9, 9])) + track(NOTES), {}),
    "header of a wrong length": (b"MThd\0\0\0\0" + header()[8:] + track(NOTES), {}),
    "wrong number of tracks": (header(tracks=5) + track(NOTES), {"headers": 1}),
    "unknown format": (header(kind=7) + track(NOTES), {"headers": 1}),
    "track length of nothing": (header() + track(NOTES, 0), {"tracks_cut": 1}),
    "track length too small": (header() + track(NOTES, 7), {"tracks_cut": 1}),
    "track length beyond the file": (header() + track(NOTES, 4000), {"tracks_cut": 1}),
    "track length over the next track": (
        header(tracks=2) + track(b"", len(NOTES) + 16) + track(NOTES), {"tracks_cut": 1}),
    "length of nothing before another track": (
        header(tracks=2) + track(NOTES, 0) + track(b""), {"tracks_cut": 1}),
    "without an end": (header() + chunk(b"MTrk", NOTES), {"tracks_cut": 1}),
    "without an end before another track": (header(tracks=2) + chunk(b"MTrk", NOTES) + track(b""), {}),
    "events behind the end of the track": (one(NOTES + END + b"\0\x90\x40\x40"), {"tracks_cut": 1}),
    "zeros behind the end of the track": (one(NOTES + END + bytes(6)), {"tracks_cut": 1}),
    "cut within an event": (PLAIN[:-6], {"tracks_cut": 1, "hanging": 1}),
    "zeros between tracks": (header(tracks=2) + track(b"") + bytes(7) + track(NOTES), {"chunks": 1}),
    "bytes behind the last track": (PLAIN + b"<!-- a host's advertisement -->", {}),
    "running status over metas and exclusive messages": (
        one(NOTES[:4] + meta(1, b"x") + b"\x00\xf0\x02\x01\xf7" + NOTES[4:]), {}),
    "exclusive message in parts": (one(b"\0\xf0\x02\x01\x02\0\xf7\x02\x03\xf7" + NOTES), {}),
    "exclusive message longer than the file": (one(b"\0\xf0\x7f\x01\xf7" + NOTES), {"stray": 1}),
    "data bytes before the first status": (one(b"\0\x40\0\x3c" + NOTES), {"stray": 2}),
    "system messages": (one(b"\0\xf8\0\xf2\1\2\0\xfe" + NOTES), {"stray": 3}),
    "RIFF": (riff((b"data", PLAIN)), {}),
    "RIFF with a list before": (riff(INFO, (b"data", PLAIN)), {}),
    "RIFF with a list behind": (riff((b"data", PLAIN), INFO), {}),
    "RIFF of no sizes": (b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + PLAIN, {}),
    "MacBinary": (MACBINARY + PLAIN + bytes(90), {}),
    "a mail's header in front": (b"Content-Type: audio/midi\r\n\r\n" + PLAIN, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_midi_read_of_harmless_damage_gives_every_note(name: str) -> None:
    data, forgiven = HARMLESS[name]
    piece, stats = read(data, 4)
    found = [(note.start, note.pitch, note.velocity) for note in piece.notes]
    assert found == [(start, pitch, velocity) for start, _, pitch, _, velocity in WANTED]
    expected = QuantisationStats(notes=2, kept=2, **forgiven)
    expected.lengthened = stats.lengthened
    assert stats == expected


def test_midi_read_of_a_bad_metre_or_tempo_keeps_the_default() -> None:
    piece = read(one(meta(0x58, b"\4") + meta(0x51, b"\4\2") + NOTES), 4)[0]
    assert (piece.bars[0][2:], piece.tempos) == ((4, 4), ((0, 120),))
    assert read(one(meta(0x58, b"\3\2") + NOTES), 4)[0].bars[0][2:] == (3, 4)


def test_midi_read_keeps_the_time_of_unknown_meta_events() -> None:
    """A sequencer's own event waits as long as any other."""
    assert notes(one(b"\x04\xff\x60\x01\x00" + NOTES)) == [(4, 0, 60, 8, 64), (8, 0, 64, 12, 80)]


def test_midi_read_of_more_damage_than_music_is_an_error() -> None:
    with pytest.raises(DataError, match="events are none"):
        read(one(b"\x00\xf4" * 60 + NOTES), 4)


@pytest.mark.parametrize(
    "wrap",
    [lambda data: data, lambda data: riff(INFO, (b"data", data)), lambda data: MACBINARY[:83] + bytes(45) + data],
)
@pytest.mark.parametrize("part", [b"\xff", b"\x00\xff\x01", b"MTrk", b"\x80", b"\x00\x90\x3c\x40", b"\x00\xf0"])
def test_midi_read_of_a_megabyte_of_anything_ends_in_seconds(part: bytes, wrap) -> None:  # type: ignore[no-untyped-def]
    data = wrap(header() + chunk(b"MTrk", part * ((1 << 19) // len(part)), 1 << 31))
    began = time.perf_counter()
    try:
        read(data, 4)
    except DataError as error:
        assert "\n" not in str(error)
    assert time.perf_counter() - began < 20  # a second or less on an idle machine


@settings(max_examples=150, deadline=None)
@given(
    data=st.sampled_from([data for data, _ in HARMLESS.values()]),
    changes=st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 60),
    tail=st.binary(max_size=20),
)
def test_midi_read_of_changed_damage_is_read_or_raises(
    data: bytes, changes: list[tuple[int, int]], cut: int, tail: bytes
) -> None:
    changed = bytearray(data)
    for position, value in changes:
        changed[position % len(changed)] = value
    try:
        piece = read(bytes(changed[: len(changed) - cut]) + tail, 4)[0]
    except DataError as error:
        assert str(error)
    else:
        assert read(midi.write(piece), 4)[0] == piece


@pytest.mark.parametrize(
    ("channels", "controller"), [(range(16), b"\x7b\0"), ([0] * 16, b"\x40\x7f")], ids=["silence", "pedal"]
)
def test_midi_read_of_many_controllers_takes_linear_time(channels: Sequence[int], controller: bytes) -> None:
    """Every one went through all pitches, and every note through all that follow: 300 kB took 6 seconds."""
    keys = b"".join(bytes([0, 0x90 | c, p, 9, 0, 0x80 | c, p, 0]) for c in channels for p in range(128))
    began = time.process_time()
    assert read(one(keys + b"\0\xb0" + (controller + b"\1") * 60_000 + controller), 4)[1].notes == 2048
    assert time.process_time() - began < 3  # a tenth of that where nothing else runs


@pytest.mark.parametrize("controls", [b"\0\xc0\1", b"\0\xb0\x40\x7f\0\x40\0"], ids=["programs", "pedals"])
def test_midi_read_of_many_tracks_takes_linear_time(controls: bytes) -> None:
    """Each sorted the programs and pedals of all before it again: 24,000 tracks in half a megabyte took 11 seconds."""
    each = track(controls + b"\0\x90\x3c\x40\1\x80\x3c\0")
    assert is_linear(lambda count: midi.read_score(header(1, count) + each * count), 500)


def test_midi_read_programs_and_pedals_hold_in_all_tracks_of_a_channel() -> None:
    """Also those of later tracks. The latest holds, of several at a tick that of the last track."""
    tracks = [
        b"\4\xc0\5\4\xb0\x40\x7f\4\x40\0",  # a program at 4; the pedal down at 8, up at 12
        b"\0\xb0\x40\x7f\0\x90\x3c\x40\2\x80\x3c\0\x1a\xb0\x40\0",  # down at 0, a note to 2, up at 28
        b"\4\xc0\6\x02\xb0\x40\0",  # another program at 4; up at 6
        b"\5\x90\x40\x40\1\x80\x40\0\2\x90\x41\x40\1\x80\x41\0",  # notes from 5 to 6 and 8 to 9
    ]
    for order, program in (tracks, 6), ([tracks[3], tracks[2], tracks[1], tracks[0]], 5):
        score, _ = midi.read_score(header(1, 4) + b"".join(map(track, order)))
        parts = {part.program: part.notes for part in score.parts}
        early = [(0, 6, 60, 64)]
        late = [(5, 6, 64, 64), (8, 12, 65, 64)]
        assert parts == {11 - program: early, program: late}
    score, _ = midi.read_score(header(2, 2) + track(tracks[3]) + track(tracks[2]))
    assert [part.program for part in score.parts] == [0], "patterns are played one after the other"


def test_midi_read_reset_of_all_controllers_lifts_the_pedal() -> None:
    data = b"\0\xb0\x40\x7f\0\x90\x3c\x40\2\x80\x3c\0\2\xb0\x79\0\4\x90\x3e\x40\2\x80\x3e\0\2\xb0\x40\0"
    score, stats = midi.read_score(header(0, 1) + track(data))
    assert score.parts[0].notes == [(0, 4, 60, 64), (8, 10, 62, 64)]
    assert stats.controllers == 1


# ---- The grid ----


def _line(*onsets: int, division: int = 480) -> bytes:
    events: list[Event] = [
        event for number, tick in enumerate(onsets) for event in (on(tick, 40 + number), off(tick + 60, 40 + number))
    ]
    return midi_file(events, division=division)


def test_quantisation_stats_count_notes_off_each_grid() -> None:
    stats = read(_line(0, 480, 640, 800, 1020, 1083), 4)[1]
    assert (stats.moved, stats.moved_8, stats.moved_12, stats.moved_24) == (4, 3, 2, 1)
