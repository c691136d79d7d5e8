"""Notes on a grid: quantisation, choices of tracks, excerpts and losses."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seqgen.errors import DataError
from seqgen.music.events import MAX_NOTE_QUARTERS
from seqgen.music.midi import read, write
from seqgen.music.piece import Bar, Track
from seqgen.music.score import QuantisationStats
from tests.helpers.midi_files import (
    GRIDS,
    LONG,
    PLAIN,
    QUICK,
    Notes,
    check_piece,
    file_of_notes,
    midi_file,
    nonzero_losses,
    notes,
    off,
    on,
    program,
    tempo,
)

# ---- What a grid does ----

PITCHES, LOUDNESS = st.integers(58, 64), st.integers(1, 127)

WIDE = st.tuples(st.integers(0, 3), st.integers(0, 3000), st.integers(0, 2000), PITCHES, LOUDNESS)

CROWDED = st.tuples(st.integers(0, 3), st.integers(0, 100), st.integers(0, 200), PITCHES, LOUDNESS)

ANY_NOTES = st.lists(WIDE, min_size=1, max_size=25) | st.lists(CROWDED, min_size=1, max_size=25)


@QUICK
@given(found=ANY_NOTES, division=st.sampled_from([1, 7, 96, 480]), grid=st.sampled_from(GRIDS))
def test_read_arbitrary_notes_are_written_and_read_back(found: Notes, division: int, grid: int) -> None:
    piece, lost = read(file_of_notes(found, division), grid)
    check_piece(piece)
    assert lost.notes >= lost.kept == len(piece.notes)
    assert lost.largest_shift <= 0.5
    assert lost.shift <= lost.largest_shift * lost.notes + 1e-9
    assert lost.notes - lost.kept == lost.doubled
    again, lost_again = read(write(piece), grid)
    assert again == piece
    lost_again.moved_8 = lost_again.moved_12 = lost_again.moved_24 = 0  # of other grids
    assert lost_again == QuantisationStats(notes=len(piece.notes), kept=len(piece.notes))


@QUICK
@given(found=ANY_NOTES, division=st.sampled_from([7, 96, 480]), grid=st.sampled_from(GRIDS))
def test_read_moves_onsets_and_ends_by_at_most_half_a_step(found: Notes, division: int, grid: int) -> None:
    """If no two notes share a pitch. An end moves further only to make a note one step long, or not too long."""
    apart = {(track, pitch): (track, tick, length, pitch, velocity) for track, tick, length, pitch, velocity in found}
    piece = read(file_of_notes(list(apart.values()), division), grid)[0]
    assert len(piece.notes) == len(apart)
    for note in piece.notes:
        part = piece.tracks[note.track].program
        _, tick, length, _, velocity = apart[3 if part is None else part // 10, note.pitch]
        start, end = tick * grid / division, (tick + length) * grid / division
        assert abs(note.start - start) <= 0.5
        assert note.velocity == velocity
        if abs(note.end - end) > 0.5:
            assert (note.end - note.start, end - start <= 1) == (
                1,
                True,
            ) or note.end - note.start == MAX_NOTE_QUARTERS * grid


@pytest.mark.parametrize("tracks", ["all", "melody", "piano"])
@QUICK
@example(found=[(0, 0, 300, 60, 64), (0, 10, 300, 63, 64)], division=480, grid=4)
@given(found=ANY_NOTES, division=st.sampled_from([7, 96, 480]), grid=st.sampled_from(GRIDS))
def test_read_choice_of_tracks_is_idempotent(tracks: str, found: Notes, division: int, grid: int) -> None:
    data = file_of_notes([(0, 0, 10, 58, 64), *found], division)
    piece, lost = read(data, grid, tracks=tracks, low=58, high=63)
    check_piece(piece)
    assert all(58 <= note.pitch <= 63 for note in piece.notes if not piece.tracks[note.track].drums)
    assert lost.notes - lost.kept == lost.doubled + lost.out_of_range
    if tracks != "all":
        assert [track.drums for track in piece.tracks] == [False]
    if tracks == "piano":
        assert piece.tracks == (Track(0),)
    if tracks == "melody":
        assert all(one.end <= two.start for one, two in itertools.pairwise(piece.notes)), "one note at a time"
    assert read(write(piece), grid, tracks, 58, 63)[0] == piece


def test_read_melody_is_the_skyline_of_the_highest_part() -> None:
    low = [program(0, 1), on(0, 40), off(8, 40)]
    high = [program(0, 2, 1), on(0, 70, 64, 1), on(0, 74, 64, 1), on(4, 72, 64, 1), off(8, 70, 1), off(8, 74, 1),
            off(8, 72, 1)]  # fmt: skip
    drums = [on(0, 100, 64, 9), off(8, 100, 9)]
    piece, lost = read(midi_file(low, high, drums), 4, tracks="melody")
    assert piece.tracks == (Track(2),)
    assert [tuple(note) for note in piece.notes] == [(0, 0, 74, 4, 64), (4, 0, 72, 8, 64)]
    assert (lost.notes, lost.kept, lost.out_of_range) == (5, 2, 3)


def test_read_piano_merges_all_parts_but_drums() -> None:
    drums = [on(0, 50, 64, 9), off(8, 50, 9)]
    data = midi_file([program(0, 40), *PLAIN], [program(0, 2, 1), on(0, 60, 90, 1), off(8, 60, 1)], drums)
    piece = read(data, 4, tracks="piano")[0]
    assert piece.tracks == (Track(0),)
    assert [tuple(note) for note in piece.notes] == [(0, 0, 60, 8, 90)]


def test_read_pitch_range_does_not_apply_to_drums() -> None:
    data = midi_file([*PLAIN, on(0, 20), off(4, 20)], [on(0, 20, 64, 9), off(4, 20, 9)])
    assert notes(data, low=50) == [(0, 0, 60, 4, 64), (0, 1, 20, 4, 64)]
    assert nonzero_losses(data, low=50)["out_of_range"] == 1
    with pytest.raises(DataError, match="no notes in the requested tracks and pitch range"):
        read(midi_file(PLAIN), 4, low=70)


# ---- Excerpts, losses ----


def test_piece_excerpt_is_a_piece() -> None:
    piece = read(midi_file([tempo(0, 100), tempo(20, 50), tempo(40, 70)], [*LONG, on(18, 62), off(30, 62), on(30, 64),
                      off(60, 64), on(50, 65), off(51, 65)]), 4)[0]  # fmt: skip
    some = piece.excerpt(1, 2)
    assert [tuple(note) for note in some.notes] == [(2, 0, 62, 14, 64), (14, 0, 64, 32, 64)]
    assert some.bars == (Bar(0, 16, 4, 4), Bar(16, 16, 4, 4))
    assert some.tempos == ((0, 100), (4, 50), (24, 70))
    assert piece.excerpt(0, len(piece.bars)) == piece
    nothing = piece.excerpt(99, 1)
    assert (nothing.notes, nothing.bars, nothing.length) == ((), (), 0)
    assert write(nothing)


def test_quantisation_stats_add() -> None:
    chance = random.Random(1)
    many = [QuantisationStats(**{name: chance.randint(0, 9) for name in vars(QuantisationStats())}) for _ in range(5)]
    total = QuantisationStats()
    for each in many:
        total.add(each)
    for name, value in vars(total).items():
        values = [getattr(each, name) for each in many]
        assert value == (max(values) if name == "largest_shift" else sum(values))
