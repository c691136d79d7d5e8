"""The longest run of notes that also occurs in a training piece, in any key."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from seqgen.generation.copies.notes import NoteCopyIndex, piece_tracks
from seqgen.music.piece import Note, Piece, Track

PIANO, KIT = Track(0), Track(None)


def longest(training: Sequence[Piece], piece: Piece) -> int:
    return index_of(training).longest_match(piece_tracks(piece, rising=False))


def index_of(training: Sequence[Piece]) -> NoteCopyIndex:
    return NoteCopyIndex.of_tracks(piece_tracks(each, rising=False) for each in training)


def piece_of(*tracks: Sequence[tuple[int, int]], kinds: tuple[Track, ...] = (PIANO, PIANO)) -> Piece:
    """Notes are (start, pitch), a list a track."""
    notes = {(start, number, pitch) for number, track in enumerate(tracks) for start, pitch in track}
    ordered = sorted(notes, key=lambda note: (note[0], note[1], -note[2]))
    return Piece(4, kinds, tuple(Note(start, track, pitch, start + 1, 80) for start, track, pitch in ordered), ())


def tune(text: str, pitch: int = 60, start: int = 0) -> list[tuple[int, int]]:
    """A note a letter, a step each: a is `pitch`, b a semitone above; a dot is a rest."""
    return [(start + place, pitch + ord(letter) - ord("a")) for place, letter in enumerate(text) if letter != "."]


def naive(training: Sequence[Piece], piece: Piece) -> int:
    """The same by trying everything, from nothing but the definition."""

    def runs(each: Piece) -> list[tuple[bool, list[Note]]]:
        return [(t.drums, [n for n in each.notes if n.track == number]) for number, t in enumerate(each.tracks)]

    def shape(drums: bool, notes: list[Note]) -> tuple:
        first = notes[0]
        return drums, *((note.pitch - (0 if drums else first.pitch), note.start - first.start) for note in notes)

    def shapes(each: Piece, length: int) -> set[tuple]:
        return {shape(d, r[at : at + length]) for d, r in runs(each) for at in range(len(r) - length + 1)}

    for length in range(len(piece.notes), 1, -1):
        if shapes(piece, length) & set(itertools.chain.from_iterable(shapes(each, length) for each in training)):
            return length
    return 0


@st.composite
def pieces(draw: st.DrawFn, most: int = 12) -> Piece:
    """Up to three tracks of few pitches and short rests, so that copies are frequent."""
    tracks, kinds = [], []
    for _ in range(draw(st.integers(1, 3))):
        steps = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=most))
        starts = np.cumsum([step for step, _ in steps]).tolist()
        tracks.append([(int(start), 60 + pitch) for start, (_, pitch) in zip(starts, steps, strict=True)])
        kinds.append(draw(st.sampled_from([PIANO, PIANO, KIT])))
    return piece_of(*tracks, kinds=tuple(kinds))


# ---- By hand ----


@pytest.mark.parametrize(
    ("training", "asked", "wanted"),
    [
        ("abcab", "abcab", 5),
        ("abcab", "xxabcxx", 3),
        ("ace", "bdf", 3),  # in another key
        ("ace", "a.ce", 2),  # in another rhythm
        ("a.c.e", "ace", 0),
        ("ace", "eca", 0),
        ("aaaaaaaa", "aaa", 3),
        ("aaa", "aaaaaaaa", 3),
        ("abc", "a", 0),
        ("", "abc", 0),
        ("abc", "", 0),
    ],
)
def test_note_longest_match_by_hand(training: str, asked: str, wanted: int) -> None:
    assert longest([piece_of(tune(training))], piece_of(tune(asked))) == wanted


def test_note_longest_match_empty_index_is_zero() -> None:
    assert longest([], piece_of(tune("abc"))) == 0
    assert longest([piece_of(), piece_of(tune("a"))], piece_of(tune("abc"))) == 0


def test_note_longest_match_stays_within_track_and_piece() -> None:
    assert longest([piece_of(tune("abc"), tune("def", start=3))], piece_of(tune("abcdef"))) == 3
    index = index_of([piece_of(tune("ace")), piece_of(tune("gik"))])
    assert index.longest_match(piece_tracks(piece_of(tune("acegik")), rising=False)) == 3
    assert longest([piece_of(tune("acegik"))], piece_of(tune("ace"), tune("gik"))) == 3


def test_note_longest_match_includes_chords() -> None:
    chords = [(0, 60), (0, 64), (0, 67), (4, 62), (4, 65)]
    index = index_of([piece_of(chords)])
    assert (
        index.longest_match(piece_tracks(piece_of([(start + 8, pitch - 5) for start, pitch in chords]), rising=False))
        == 5
    )
    assert index.longest_match(piece_tracks(piece_of([(0, 60), (0, 63), (0, 67)]), rising=False)) == 2
    assert index.longest_match(piece_tracks(piece_of([(0, 60), (1, 64), (2, 67)]), rising=False)) == 0


def test_note_longest_match_drums_are_not_transposed() -> None:
    def beat(pitch: int, kind: Track = KIT) -> Piece:
        return piece_of(tune("abacab", pitch), kinds=(kind,))

    index = index_of([beat(36)])
    assert index.longest_match(piece_tracks(beat(36), rising=False)) == 6
    assert index.longest_match(piece_tracks(beat(50), rising=False)) == 0
    assert index.longest_match(piece_tracks(beat(36, PIANO), rising=False)) == 0


def test_note_longest_match_counts_the_first_drum() -> None:
    index = index_of([piece_of(tune("abac"), kinds=(KIT,))])
    assert index.longest_match(piece_tracks(piece_of(tune("xbac"), kinds=(KIT,)), rising=False)) == 3
    assert index.longest_match(piece_tracks(piece_of(tune("xc"), kinds=(KIT,)), rising=False)) == 0


# ---- Always ----


@settings(max_examples=150)
@given(st.lists(pieces(), max_size=4), pieces())
def test_note_longest_match_equals_exhaustive_search(training: list[Piece], piece: Piece) -> None:
    assert longest(training, piece) == naive(training, piece)


@settings(max_examples=60)
@given(st.lists(pieces(), min_size=1, max_size=4), pieces(), st.integers(-50, 50), st.integers(0, 1000))
def test_note_longest_match_ignores_key_and_position(training: list[Piece], piece: Piece, by: int, later: int) -> None:
    moved = tuple(
        note._replace(
            pitch=note.pitch + (0 if piece.tracks[note.track].drums else by),
            start=note.start + later,
            end=note.end + later,
        )
        for note in piece.notes
    )
    index = index_of(training)
    other = Piece(4, piece.tracks, moved, ())
    assert index.longest_match(piece_tracks(other, False)) == index.longest_match(piece_tracks(piece, False))


@settings(max_examples=60)
@given(st.lists(pieces(), max_size=4), pieces(most=30))
def test_note_longest_match_training_piece_is_copied_whole(others: list[Piece], piece: Piece) -> None:
    wanted = max([0, *(sum(note.track == track for note in piece.notes) for track in range(len(piece.tracks)))])
    assume(wanted >= 2)
    index = index_of([*others, piece])
    assert index.longest_match(piece_tracks(piece, rising=False)) == wanted


def test_note_longest_match_finds_a_passage_in_long_pieces() -> None:
    chance = np.random.default_rng(3)

    def walk(count: int) -> list[tuple[int, int]]:
        starts, pitches = np.cumsum(chance.integers(1, 5, count)), chance.integers(30, 90, count)
        return list(zip(starts.tolist(), pitches.tolist(), strict=True))

    training = [piece_of(walk(500), walk(700)) for _ in range(20)]
    source = [(note.start, note.pitch) for note in training[13].notes if note.track == 1][211:298]
    begin = source[0][0]
    own = walk(300)
    stolen = own + [(own[-1][0] + 3 + start - begin, pitch + 4) for start, pitch in source]
    stolen += [(stolen[-1][0] + start, pitch) for start, pitch in walk(200)]
    assert 87 <= longest(training, piece_of(walk(50), stolen)) <= 89  # the notes beside it may happen to agree
    assert longest(training, piece_of(own)) < 10


def test_note_longest_match_repeated_piece() -> None:
    piece = piece_of(tune("abcd" * 50))
    index = index_of([piece] * 30)
    assert index.longest_match(piece_tracks(piece, rising=False)) == 200
    assert index.longest_match(piece_tracks(piece_of(tune("bcda" * 50)), rising=False)) == 199


def test_note_longest_match_many_queries_are_fast() -> None:
    import time

    chance = np.random.default_rng(4)

    def random_piece(count: int) -> Piece:
        starts, pitches = np.cumsum(chance.choice([1, 2, 4], count)), chance.integers(55, 70, count)
        return piece_of(list(zip(starts.tolist(), pitches.tolist(), strict=True)))

    training = [random_piece(1000) for _ in range(100)]
    asked = [random_piece(int(count)) for count in chance.integers(100, 900, 30)]
    begin = time.process_time()
    index = index_of(training)
    found = [index.longest_match(piece_tracks(piece, rising=False)) for piece in asked]
    assert min(found) > 2
    assert time.process_time() - begin < 10  # a tenth of that where nothing else runs
