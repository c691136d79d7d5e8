"""MIDI bytes and pieces: what odd files come to, what is written, and that the one undoes the other."""

from __future__ import annotations

import io
from typing import Any

import mido
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.errors import DataError
from seqgen.music.events import MAX_NOTE_QUARTERS
from seqgen.music.metre import bar_length, metre_of_length, metres, nearest_metre
from seqgen.music.midi import read, write
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.music.score import QuantisationStats
from seqgen.rendering.formats import arranged
from tests.helpers.midi_files import (
    GRIDS,
    LONG,
    PLAIN,
    QUICK,
    Event,
    check_piece,
    metre,
    midi_file,
    nonzero_losses,
    notes,
    off,
    on,
    program,
    tempo,
)

SLOW = settings(max_examples=25, deadline=None)


def control(tick: int, number: int, value: int, channel: int = 0) -> Event:
    return tick, mido.Message("control_change", control=number, value=value, channel=channel)


def raw(*tracks: bytes, kind: int = 1, division: int = 4) -> bytes:
    """Return a MIDI file with these bytes as its tracks' events."""
    head = b"MThd" + b"".join(number.to_bytes(size, "big") for number, size in ((6, 4), (kind, 2), (len(tracks), 2)))
    return head + division.to_bytes(2, "big") + b"".join(b"MTrk" + len(t).to_bytes(4, "big") + t for t in tracks)


END = b"\x00\xff\x2f\x00"

LITTLE = midi_file(
    [tempo(0, 100), metre(0, 3, 4)],
    [program(0, 40), on(0, 60), off(4, 60), on(4, 64, 90), off(12, 64)],
)


# ---- By hand ----

GOLDEN = """
4D546864 00000006 0001 0002 0060    # MThd: format 1, two tracks, 96 ticks a quarter note
4D54726B 00000013                   # MTrk, 19 bytes
  00 FF5103 0927C0                  #   600,000 µs a quarter note
  00 FF5804 03021808                #   3/4
  00 FF2F00
4D54726B 00000016                   # MTrk, 22 bytes
  00 C0 28                          #   violin
  00 90 3C 40                       #   C4 begins
  60 3C 00                          #   after 96 ticks, by running status: struck with no velocity, so it ends
  00 40 50                          #   E4 begins
  8140 80 40 40                     #   after 192 ticks it ends
  00 FF2F00
"""


def test_read_file_written_by_hand() -> None:
    data = bytes.fromhex("".join(line.split("#")[0] for line in GOLDEN.splitlines()))
    piece, lost = read(data, 4)
    assert piece == Piece(
        4, (Track(40),), (Note(0, 0, 60, 4, 64), Note(4, 0, 64, 12, 80)), (Bar(0, 12, 3, 4),), ((0, 100),)
    )
    assert lost == QuantisationStats(notes=2, kept=2)


def test_write_gives_expected_messages() -> None:
    piece = Piece(
        4,
        (Track(40), Track(None)),
        (Note(0, 0, 60, 4, 64), Note(0, 1, 36, 1, 100), Note(4, 0, 60, 12, 64)),
        (Bar(0, 12, 3, 4), Bar(12, 6, 3, 8)),
        ((0, 100), (12, 60)),
    )
    written = mido.MidiFile(file=io.BytesIO(write(piece)))
    assert (written.type, written.ticks_per_beat) == (1, 480)
    clock = "clocks_per_click=24, notated_32nd_notes_per_beat=8"
    assert [[str(message) for message in track] for track in written.tracks] == [
        [
            "MetaMessage('set_tempo', tempo=600000, time=0)",
            f"MetaMessage('time_signature', numerator=3, denominator=4, {clock}, time=0)",
            "MetaMessage('set_tempo', tempo=1000000, time=1440)",
            f"MetaMessage('time_signature', numerator=3, denominator=8, {clock}, time=0)",
            "MetaMessage('end_of_track', time=720)",
        ],
        [
            "program_change channel=0 program=40 time=0",
            "note_on channel=0 note=60 velocity=64 time=0",
            "note_off channel=0 note=60 velocity=0 time=480",  # before the same key is struck again
            "note_on channel=0 note=60 velocity=64 time=0",
            "note_off channel=0 note=60 velocity=0 time=960",
            "MetaMessage('end_of_track', time=720)",
        ],
        [
            "note_on channel=9 note=36 velocity=100 time=0",
            "note_off channel=9 note=36 velocity=0 time=120",
            "MetaMessage('end_of_track', time=2040)",
        ],
    ]


def test_write_with_other_tempo_and_programs() -> None:
    bars = (Bar(0, 16, 4, 4),)
    three = tuple(Note(0, track, 60, 4, 64) for track in range(4))
    piece = Piece(4, (Track(1), Track(None), Track(2), Track(3)), three, bars, ((0, 100), (8, 50)))
    again = read(write(arranged(piece, 90.0, (40, 73))), 4)[0]
    assert again.tempos == ((0, 90),)
    assert [track.program for track in again.tracks] == [40, None, 73, 73]
    assert [track.program for track in read(write(piece), 4)[0].tracks] == [1, None, 2, 3]


@pytest.mark.parametrize("grid", [1, 3, 4, 5, 7, 12, 48])
def test_write_ticks_are_a_multiple_of_the_grid(grid: int) -> None:
    scale = tuple(Note(step, 0, 60 + step % 5, step + 1, 64) for step in range(4 * grid))
    piece = Piece(grid, (Track(),), scale, (Bar(0, 4 * grid, 4, 4),))
    assert mido.MidiFile(file=io.BytesIO(write(piece))).ticks_per_beat % grid == 0
    assert read(write(piece), grid)[0] == piece


# ---- Odd files ----

ONE = [(0, 0, 60, 4, 64)]

ODD: dict[str, tuple[bytes, list[tuple[int, ...]], dict[str, Any]]] = {
    "format 0": (midi_file([tempo(0, 100), *PLAIN], kind=0), ONE, {}),
    "format 1": (midi_file([tempo(0, 100)], PLAIN), ONE, {}),
    "format 2: patterns one after another, each from a bar's beginning": (
        midi_file(PLAIN, [on(2, 62), off(3, 62)], kind=2), [*ONE, (18, 1, 62, 19, 64)], {}),
    "running status, also over what is no channel message": (
        raw(b"\x00\x90\x3c\x40\x04\x3c\x00\x00\x40\x40\x02\x40\x00" + END),
        [*ONE, (4, 0, 64, 6, 64)], {}),
    "struck with no velocity ends": (midi_file([on(0, 60), on(4, 60, 0)]), ONE, {}),
    "let go without having begun": (midi_file([off(0, 50), *PLAIN, off(6, 60)]), ONE, {}),
    "hanging": (midi_file([*PLAIN, on(4, 62), on(4, 63), (8, mido.MetaMessage("end_of_track"))]),
                [*ONE, (4, 0, 63, 8, 64), (4, 0, 62, 8, 64)], {"hanging": 2}),
    "hanging from the last moment": (midi_file([*PLAIN, on(4, 62)]), [*ONE, (4, 0, 62, 5, 64)],
                                     {"hanging": 1, "lengthened": 1}),
    "struck again before it was let go: first in, first out": (
        midi_file([on(0, 60, 50), on(2, 60, 70), off(4, 60), off(8, 60)]),
        [(0, 0, 60, 2, 50), (2, 0, 60, 8, 70)], {"struck_again": 1}),
    "the same pitch twice at once: the longer, the louder": (
        midi_file([on(0, 60, 50), on(0, 60, 70), off(4, 60), off(8, 60)]), [(0, 0, 60, 8, 70)], {"doubled": 1}),
    "the same pitch in two channels is two parts": (
        midi_file([*PLAIN, on(0, 60, 64, 1), off(2, 60, 1)]), [(0, 0, 60, 4, 64), (0, 1, 60, 2, 64)], {}),
    "no time at all": (midi_file([on(0, 60), off(0, 60), on(1, 62), off(4, 62)]),
                       [(0, 0, 60, 1, 64), (1, 0, 62, 4, 64)], {"lengthened": 1}),
    "pedal": (midi_file([control(0, 64, 127), on(0, 60), off(2, 60), control(6, 64, 0)]), [(0, 0, 60, 6, 64)], {}),
    "pedal, half": (midi_file([control(0, 64, 63), *PLAIN, control(6, 64, 0)]), ONE, {}),
    "pedal, struck again under it": (
        midi_file([control(0, 64, 127), on(0, 60), off(2, 60), on(3, 60), off(4, 60), control(8, 64, 0)]),
        [(0, 0, 60, 3, 64), (3, 0, 60, 8, 64)], {"struck_again": 1}),
    "pedal, never up again": (midi_file([control(0, 64, 127), *PLAIN]), ONE, {}),
    "pedal, of another channel": (midi_file([control(0, 64, 127, 3), *PLAIN, control(8, 64, 0, 3)]), ONE, {}),
    "pedal, down after the note": (midi_file([*PLAIN, control(5, 64, 127), control(8, 64, 0)]), ONE, {}),
    "pedal, in a track of its own": (
        midi_file([control(0, 64, 127), control(8, 64, 0)], PLAIN), [(0, 0, 60, 8, 64)], {}),
    "all notes off": (midi_file([on(0, 60), on(0, 64, 64, 1), control(4, 123, 0), off(8, 64, 1)]),
                      [*ONE, (0, 1, 64, 8, 64)], {"controllers": 1}),
    "all sound off": (midi_file([on(0, 60), control(4, 120, 0), off(9, 60)]), ONE, {"controllers": 1}),
    "other controllers and bends are counted": (
        midi_file([*PLAIN, control(0, 7, 90), (0, mido.Message("pitchwheel", pitch=5))]), ONE,
        {"controllers": 1, "bends": 1}),
    "texts, system messages and unknown ones are passed over": (
        midi_file([(0, mido.MetaMessage("track_name", name="x")), (0, mido.Message("sysex", data=[1, 2])), *PLAIN,
              (0, mido.UnknownMetaMessage(0x60, [1, 2, 3]))]), ONE, {}),
    "pitches: high before low": (midi_file([on(0, 60), on(0, 72), off(4, 60), off(4, 72)]),
                                 [(0, 0, 72, 4, 64), (0, 0, 60, 4, 64)], {}),
    "RIFF": (b"RIFF\x40\0\0\0RMIDdata\x30\0\0\0" + midi_file(PLAIN), ONE, {}),
    "bytes behind the end": (midi_file(PLAIN) + b"\0\xff garbage", ONE, {}),
    "data bytes above 127": (raw(b"\x00\x90\x3c\xc8\x04\x80\x3c\x00" + END), [(0, 0, 60, 4, 127)], {"clipped": 1}),
    "longer than any note": (
        midi_file([on(0, 60), off(4 * MAX_NOTE_QUARTERS + 40, 60)]),
        [(0, 0, 60, 4 * MAX_NOTE_QUARTERS, 64)], {"shortened": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_read_unusual_files(name: str) -> None:
    data, wanted, lost = ODD[name]
    assert notes(data) == wanted
    found = nonzero_losses(data)
    assert found.pop("kept") == len(wanted)
    assert found.pop("notes") == len(wanted) + lost.get("doubled", 0)
    assert found == lost
    piece = read(data, 4)[0]
    check_piece(piece)
    assert read(write(piece), 4)[0] == piece


TRACKS: dict[str, tuple[bytes, list[int | None], list[int]]] = {
    "its own": (midi_file([program(0, 40), *PLAIN]), [40], [0]),
    "none": (midi_file(PLAIN), [0], [0]),
    "after the first note": (midi_file([*PLAIN, program(2, 40)]), [40], [0]),
    "changed on the way": (
        midi_file([program(0, 40), *PLAIN, program(4, 41), on(4, 62), off(8, 62)]), [40, 41], [0, 1]),
    "there and back": (
        midi_file([program(0, 40), *PLAIN, program(4, 41), on(4, 62), off(8, 62), program(8, 40), on(8, 64),
                   off(9, 64)]),
        [40, 41], [0, 1, 0]),
    "chosen for the channel by another track": (midi_file([program(0, 40)], PLAIN), [40], [0]),
    "its own before what another track chose": (
        midi_file([program(0, 40), *PLAIN], [program(0, 73), on(1, 62), off(4, 62)]), [40, 73], [0, 1]),
    "its own, though the other's comes later": (
        midi_file([program(0, 40), program(2, 50)], [program(0, 73), on(4, 62), off(8, 62)]), [73], [0]),
    "of another channel": (midi_file([program(0, 40, 5), *PLAIN]), [0], [0]),
    "drums": (midi_file([program(0, 40, 9), on(0, 36, 64, 9), off(1, 36, 9)]), [None], [0]),
    "drums of two tracks are one kit": (
        midi_file([on(0, 36, 64, 9), off(1, 36, 9)], [on(2, 38, 64, 9), off(3, 38, 9)], PLAIN), [None, 0], [0, 1, 0]),
    "by their beginning": (
        midi_file([program(0, 1), on(8, 60), off(9, 60)], [program(0, 2), on(4, 60), off(9, 60)]), [2, 1], [0, 1]),
    "two channels of a track": (
        midi_file([program(0, 1), program(0, 2, 1), on(0, 50, 64, 1), off(1, 50, 1), *PLAIN]), [1, 2], [0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRACKS)
def test_read_programs(name: str) -> None:
    data, programs, of_notes = TRACKS[name]
    piece = read(data, 4)[0]
    assert [track.program for track in piece.tracks] == programs
    assert [note.track for note in piece.notes] == of_notes
    check_piece(piece)
    assert read(write(piece), 4)[0] == piece


@pytest.mark.parametrize("drums", [False, True])
def test_read_merges_parts_beyond_sixteen(drums: bool) -> None:
    """Melodic parts beyond the fifteenth are merged into one of the same program, or else the last."""
    tracks = [[program(0, number % 18), on(number, 30 + number), off(40, 30 + number)] for number in range(20)]
    if drums:
        tracks.append([on(39, 36, 64, 9), off(40, 36, 9)])
    piece, lost = read(midi_file(*tracks), 4)
    assert [track.program for track in piece.tracks] == [*range(15), *[None] * drums]
    where = {note.pitch - 30: note.track for note in piece.notes if note.pitch != 36 or note.start != 39}
    assert where == {number: min(number % 18, 14) for number in range(20)}
    assert lost.parts_merged == 5
    assert lost.kept == lost.notes == 20 + drums
    check_piece(piece)
    assert read(write(piece), 4)[0] == piece


# ---- Metres and tempos ----

METRES: dict[str, tuple[list[Event], int, list[tuple[int, int, int]], int]] = {
    # metres, end of the only note; bars as (length, numerator, denominator), changes that were lost
    "none": ([], 20, [(16, 4, 4), (16, 4, 4)], 0),
    "waltz": ([metre(0, 3, 4)], 24, [(12, 3, 4), (12, 3, 4)], 0),
    "changes at a bar": ([metre(0, 3, 4), metre(12, 6, 8), metre(24, 4, 4)], 26,
                         [(12, 3, 4), (12, 6, 8), (16, 4, 4)], 0),
    "pickup": ([metre(0, 1, 4), metre(4, 3, 4)], 16, [(4, 1, 4), (12, 3, 4)], 0),
    "inside a bar": ([metre(8, 3, 4)], 20, [(8, 2, 4), (12, 3, 4)], 0),
    "inside a bar, of eighths": ([metre(0, 6, 8), metre(6, 3, 4)], 18, [(6, 3, 8), (12, 3, 4)], 0),
    "inside a bar, by a sixteenth": ([metre(3, 3, 4)], 15, [(3, 3, 16), (12, 3, 4)], 0),
    "said again inside a bar": ([metre(0, 4, 4), metre(8, 4, 4)], 17, [(16, 4, 4), (16, 4, 4)], 0),
    "said again, then another": ([metre(5, 4, 4), metre(8, 2, 4)], 16, [(8, 2, 4), (8, 2, 4)], 0),
    "several at one moment: the last": ([metre(0, 3, 4), metre(0, 2, 4)], 8, [(8, 2, 4)], 0),
    "after the music": ([metre(99, 3, 4)], 16, [(16, 4, 4)], 0),
    "too long": ([metre(0, 13, 4)], 4, [(48, 12, 4)], 1),
    "three bars of common time": ([metre(0, 12, 4)], 4, [(48, 12, 4)], 0),
    "finer than the grid": ([metre(0, 5, 32)], 4, [(2, 1, 8), (2, 1, 8)], 1),
    "nothing over something": ([metre(0, 0, 4)], 2, [(16, 4, 4)], 0),
    "smallest notes there can be": (
        [(0, mido.MetaMessage("time_signature", numerator=255, denominator=1 << 255))], 2,
        [(16, 4, 4)], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", METRES)
def test_read_bars(name: str) -> None:
    changes, end, wanted, changed = METRES[name]
    piece, lost = read(midi_file(changes, [on(0, 60), off(end, 60)]), 4)
    assert [tuple(bar[1:]) for bar in piece.bars] == wanted
    assert lost.metres_changed == changed
    check_piece(piece)
    assert read(write(piece), 4)[0] == piece


def test_read_delays_a_metre_change_off_the_grid() -> None:
    """With a quarter note per step, a bar can't be cut at an eighth, but rounds to the quarter."""
    piece, lost = read(midi_file([metre(0, 4, 4), metre(2, 3, 4)], LONG), 1)
    assert [tuple(bar[1:]) for bar in piece.bars][:2] == [(1, 1, 4), (3, 3, 4)]
    piece, lost = read(midi_file([metre(0, 3, 8), metre(6, 3, 4)], LONG), 1)  # 3/8 is one and a half quarters
    assert lost.metres_changed >= 1
    check_piece(piece)


@QUICK
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 20), st.sampled_from([1, 2, 4, 8, 16, 32, 64])), max_size=6
    ),
    grid=st.sampled_from([*GRIDS, 5, 48]),
    end=st.integers(1, 220),
)
def test_read_arbitrary_metres_give_contiguous_bars(changes: list[tuple[int, int, int]], grid: int, end: int) -> None:
    piece = read(midi_file([metre(*change) for change in changes], [on(0, 60), off(end, 60)]), grid)[0]
    check_piece(piece)
    assert piece.bars[-1].start < piece.notes[0].end <= piece.length
    assert read(write(piece), grid)[0] == piece


@pytest.mark.parametrize("grid", [*GRIDS, 5, 48])
def test_metres_are_distinct_and_whole_steps(grid: int) -> None:
    """All are whole steps and distinct; lengths are restored, and the nearest metre to each is itself."""
    known = metres(grid)
    assert len(set(known)) == len(known)
    assert (4, 4) in known
    for numerator, denominator in known:
        length = bar_length(numerator, denominator, grid)
        assert length * denominator == numerator * 4 * grid
        assert 1 <= length <= 12 * grid
        assert metre_of_length(length, grid, denominator) == (numerator, denominator)
        assert nearest_metre(numerator, denominator, grid) == (numerator, denominator)
    for length in range(1, 12 * grid + 1):
        spelt = metre_of_length(length, grid)
        assert spelt is None or bar_length(*spelt, grid) == length
    assert metre_of_length(12 * grid + 1, grid) is None


def test_read_tempos() -> None:
    """The last tempo of a step is used, none after the music, and 120 if none is set at the start."""
    changes = [tempo(0, 100), tempo(0, 90), tempo(4, 60.4), tempo(4, 61.6), tempo(99, 30)]
    assert read(midi_file(changes, LONG), 4)[0].tempos == ((0, 90), (4, 61.6))
    assert read(midi_file([tempo(8, 60)], LONG), 4)[0].tempos == ((0, 120), (8, 60))
    assert read(midi_file(LONG), 4)[0].tempos == ((0, 120),)
    nothing = (0, mido.MetaMessage("set_tempo", tempo=0))
    assert read(midi_file([nothing], LONG), 4)[0].tempos == ((0, 120),)


@pytest.mark.parametrize("micros", [1, 2, 7, 1000, 7745, 7747, 123456, 500000, (1 << 24) - 1])
def test_write_extreme_tempos_are_read_back(micros: int) -> None:
    piece = read(midi_file([(0, mido.MetaMessage("set_tempo", tempo=micros))], LONG), 4)[0]
    assert piece.tempos[0][1] == pytest.approx(max(6e7 / micros, 1), abs=0.5 / micros * 6e7 / micros)
    assert read(write(piece), 4)[0] == piece


@pytest.mark.parametrize(("frames", "ticks", "second"), [(25, 40, 1000), (24, 100, 2400), (30, 80, 2400)])
def test_read_smpte_time(frames: int, ticks: int, second: int) -> None:
    """A quarter note is half a second, whatever the tempos."""
    events = b"\x00\xff\x51\x03\x01\x00\x00\x00\x90\x3c\x40" + _number(second) + b"\x80\x3c\x00" + END
    piece = read(raw(events, division=(256 - frames) << 8 | ticks), 4)[0]
    assert [tuple(note) for note in piece.notes] == [(0, 0, 60, 8, 64)]
    assert piece.tempos == ((0, 120),)


def test_read_smpte_drop_frame_time() -> None:
    """29 means 29.97 frames per second."""
    events = b"\x00\x90\x3c\x40" + _number(2997) + b"\x80\x3c\x00" + END
    piece, lost = read(raw(events, division=(256 - 29) << 8 | 100), 4)
    assert [tuple(note) for note in piece.notes] == [(0, 0, 60, 8, 64)]
    assert lost.largest_shift == 0


def _number(value: int) -> bytes:
    """Return a variable-length quantity."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


# ---- Damaged files ----

BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "text": (b"once upon a time", "not MIDI"),
    "only a header's name": (b"MThd", "truncated"),
    "no notes": (midi_file([tempo(0, 100)]), "the MIDI file has no notes"),
    "no tracks": (raw(), "the MIDI file has no notes"),
    "no track where one should be": (LITTLE.replace(b"MTrk", b"XTrk"), "the MIDI file has no notes"),
    "no ticks a quarter": (raw(b"\x00\x90\x3c\x40\x04\x80\x3c\x00" + END, division=0), "zero ticks"),
    "SMPTE of no ticks": (raw(b"\x00\x90\x3c\x40\x04\x80\x3c\x00" + END, division=0xE700), "zero ticks"),
    "running status of nothing": (raw(b"\x00\x3c\x40" + END), "damaged"),
    "six hours": (midi_file([on(0, 60), off(1 << 20, 60)]), "longer than"),
    "an endless number": (raw(b"\x00\x90\x3c\x40" + b"\xff" * 40 + b"\x7f\x80\x3c\x00" + END), "longer than"),
    "a number beyond all numbers": (
        raw(b"\x00\x90\x3c\x40" + b"\xff" * 400 + b"\x7f\x80\x3c\x00" + END), "longer than"),
    "a number beyond all numbers before the first note": (
        raw(b"\xff" * 400 + b"\x7f\x90\x3c\x40\x01\x80\x3c\x00" + END), "longer than"),
    "a number beyond all numbers in the first of two patterns": (
        raw(b"\x00\x90\x3c\x40" + b"\xff" * 400 + b"\x7f\x80\x3c\x00" + END, END, kind=2), "longer than"),
    "bars as short as can be": (
        midi_file([metre(0, 1, 16)], [on(40_000, 60), off(40_001, 60)]), "more than 10,000 bars"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_read_damaged_files_is_an_error(name: str) -> None:
    data, why = BROKEN[name]
    with pytest.raises(DataError, match=why) as raised:
        read(data, 4)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("what", [metre(1, 3, 4), tempo(1, 100)], ids=["metre", "tempo"])
def test_read_metre_or_tempo_at_an_endless_time_is_ignored(what: Event) -> None:
    message = bytes(what[1].bin())
    data = raw(b"\xff" * 400 + b"\x7f" + message + END, b"\x00\x90\x3c\x40\x04\x80\x3c\x00" + END)
    assert notes(data) == ONE
    assert read(data, 4)[0].tempos == ((0, 120),)


def _piece_or_reason(data: bytes, grid: int = 4) -> Piece | None:
    """Return the checked piece; None on `DataError`."""
    try:
        piece, _ = read(data, grid)
    except DataError:
        return None
    check_piece(piece)
    assert read(write(piece), grid)[0] == piece
    return piece


def test_read_truncated_file_gives_the_notes_up_to_its_end() -> None:
    """Beginnings are read, and told to be cut; the notes that sound at the end stop there."""
    whole = read(LITTLE, 4)[0]
    pieces = [_piece_or_reason(LITTLE[:length]) for length in range(len(LITTLE))]
    assert pieces[0] is None
    found = [piece for piece in pieces if piece is not None]
    assert all({n[:3] for n in piece.notes} <= {n[:3] for n in whole.notes} for piece in found)
    assert [len(piece.notes) for piece in found] == sorted(len(piece.notes) for piece in found)
    assert len(found[-1].notes) == len(whole.notes)
    assert all(read(LITTLE[:-cut], 4)[1].tracks_cut == 1 for cut in range(1, 12))


@QUICK
@given(data=st.binary(max_size=120))
@example(data=b"MThd\0\0\0\6\0\1\0\1\0\4MTrk")
def test_read_random_bytes_give_a_piece_or_data_error(data: bytes) -> None:
    _piece_or_reason(data)
    _piece_or_reason(raw(data))
    _piece_or_reason(raw(data + END, b"\x00" + data, kind=2, division=480))


RICH = midi_file(
    [tempo(0, 100), metre(0, 3, 4), metre(7, 6, 8), tempo(9, 50)],
    [program(0, 40), control(0, 64, 127), on(0, 60), off(2, 60), control(4, 64, 0), on(4, 64), on(5, 64), off(9, 64)],
    [on(0, 36, 64, 9), off(1, 36, 9), (2, mido.Message("sysex", data=[1, 2, 3])), on(3, 38, 64, 9), off(5, 38, 9)],
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(RICH) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 30),
    grid=st.sampled_from(GRIDS),
)
def test_read_changed_bytes_give_a_piece_or_data_error(changes: list[tuple[int, int]], cut: int, grid: int) -> None:
    data = bytearray(RICH)
    for place, value in changes:
        data[place] = value
    _piece_or_reason(bytes(data[: len(data) - cut // 10]), grid)
