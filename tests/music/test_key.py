"""Keys of pieces: the estimate, the event that names it, and notes moved to C major or A minor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seqgen.errors import ModelError
from seqgen.generation.copies.notes import NoteCopyGuard, NoteCopyIndex, piece_tracks
from seqgen.generation.music.native_grammar import NativeGrammarState
from seqgen.music.bar_state import dump_barline, load_barline
from seqgen.music.events import EventVocabulary, VocabularyOptions
from seqgen.music.grammar import GrammarState, decode_piece, encode_piece
from seqgen.music.key import KEYS, key_name, key_of, shift_of, spelt_key
from seqgen.music.names import key_of_scale
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.native import library

WORDS = EventVocabulary(VocabularyOptions(key=True))
MAJOR = (0, 4, 7, 5, 9, 12, 11, 7, 2, 5, 4, 0)  # semitones above the tonic
MINOR = (0, 3, 7, 8, 5, 3, 11, 12, 7, 3, 2, 0)


def melody_in(key: int, middle: int = 60) -> Piece:
    """A melody that ends on the tonic, and a stroke of a drum in each bar."""
    steps = MINOR if key % 2 else MAJOR
    notes = [Note(4 * n, 0, middle + key // 2 + step, 4 * n + 4, 71) for n, step in enumerate(steps)]
    notes += [Note(start, 1, 36, start + 1, 71) for start in (0, 16, 32)]
    bars = tuple(Bar(start, 16, 4, 4) for start in (0, 16, 32))
    return Piece(4, (Track(0), Track(None)), tuple(sorted(notes, key=lambda note: note[:2])), bars)


@pytest.mark.parametrize("key", range(KEYS))
def test_encode_piece_in_every_key_differs_in_its_key_and_octave_only(key: int) -> None:
    piece = melody_in(key)
    assert key_of(piece) == spelt_key(piece) == key
    ids = encode_piece(piece, WORDS)
    assert WORDS.token_name(ids[0]) == f"key {key_name(key)}"
    home = encode_piece(melody_in(19 if key % 2 else 0), WORDS)
    octaves = {other - one for one, other in zip(home, ids, strict=True) if WORDS.event_types[one] == "note"}
    assert len(octaves) == 1
    assert octaves <= {-12, 0, 12}
    assert [t for t in ids[1:] if WORDS.event_types[t] != "note"] == [
        t for t in home[1:] if WORDS.event_types[t] != "note"
    ], "drums too"
    assert decode_piece(ids, WORDS) == piece
    assert -5 <= shift_of(key) <= 6


def test_spelt_key_without_pitches_or_at_the_limits_of_midi_is_that_of_c() -> None:
    drums = replace(melody_in(0), notes=(Note(0, 1, 36, 1, 71),))
    assert key_of(drums) is None
    assert WORDS.token_name(encode_piece(drums, WORDS)[0]) == "key C"
    low, high = melody_in(4, middle=0), melody_in(15, middle=108)
    low = replace(low, notes=tuple(note._replace(pitch=1) if note.pitch == 13 else note for note in low.notes))
    assert [spelt_key(low), spelt_key(high)] == [0, 19]
    assert [key_of(low), key_of(high)] == [4, 15]
    for piece in (low, high):
        assert decode_piece(encode_piece(piece, WORDS), WORDS) == piece


def test_grammar_state_begins_with_one_key_and_keeps_limits_of_pitches() -> None:
    """`--key` and the range hold for the notes that sound, not for those of the events."""
    state = GrammarState(EventVocabulary(VocabularyOptions(low=60, high=72, key=True)))
    words = state.vocabulary
    assert {words.event_types[token] for token in np.flatnonzero(state.mask())} == {"key"}
    state.restrict([62, 64, 66, 67, 69, 71, 73, 74], key=4)
    compiled = None if library() is None else NativeGrammarState(state)
    assert [words.token_name(token) for token in np.flatnonzero(state.mask())] == ["key D"]
    for event in (("key", 4), ("bar",), ("position",), ("track",), ("program",), ("velocity", 4), ("duration", 3)):
        token = words.id(*event)
        assert state.push(token), event
        if compiled is not None:
            compiled.push(token)
            assert (state.mask() == compiled.mask).all(), event
    assert not state.allows(words.id("key", 4))
    open_ = np.flatnonzero(state.mask()[words.offsets["note"] :][:128])
    assert (open_ + 2).tolist() == [62, 64, 66, 67, 69, 71]
    assert state.push(words.id("note", 60))
    assert state.notes[0].pitch == 62


def test_grammar_state_without_a_key_for_its_pitches_takes_that_of_c() -> None:
    """The lowest pitch of MIDI has an event in few keys."""
    state = GrammarState(EventVocabulary(VocabularyOptions(high=0, key=True)))
    names = {state.vocabulary.token_name(token) for token in np.flatnonzero(state.mask())}
    assert names == {f"key {key_name(key)}" for key in range(KEYS) if shift_of(key) <= 0}
    state.restrict(key=4)
    names = {state.vocabulary.token_name(token) for token in np.flatnonzero(state.mask())}
    assert names == {"key C", "key Am"}


def test_load_barline_continues_in_the_key() -> None:
    state = GrammarState(WORDS)
    for token in encode_piece(melody_in(14), WORDS, to_come=None):
        assert state.push(token)
    stored = dump_barline(state)
    resumed = load_barline(WORDS, stored)
    assert dump_barline(resumed) | {"recent": []} == stored | {"recent": []}
    for event in (("bar",), ("position",), ("note", 60)):
        for each in (state, resumed):
            assert each.push(WORDS.id(*event)), event
    assert state.notes[-1].pitch == resumed.notes[-1].pitch == 60 + shift_of(14)
    for damaged in (KEYS, -1, None, "G", True):
        with pytest.raises(ModelError, match="damaged"):
            load_barline(WORDS, {**stored, "key": damaged})
    with pytest.raises(ModelError, match="damaged"):
        load_barline(WORDS, {name: value for name, value in stored.items() if name != "key"})


def test_copy_guard_forbids_the_note_that_sounds() -> None:
    """Its pitches are those of notes; those of events differ by the key."""
    piece = melody_in(14)
    index = NoteCopyIndex.of_tracks([piece_tracks(piece, rising=True)])
    state = GrammarState(WORDS)
    state.forbid_notes(NoteCopyGuard(index, 4))
    ids = encode_piece(piece, WORDS)
    refused = next(number for number, token in enumerate(ids) if not state.push(token))
    assert WORDS.event_types[ids[refused]] == "note"
    assert len([note for note in state.notes if note.track == 0]) == 4
    below = range(-shift_of(14))  # events that no pitch has in this key
    closed = np.flatnonzero(~state.mask()[WORDS.offsets["note"] :][:128]).tolist()
    assert closed == [*below, WORDS.event(ids[refused])[1]]


@pytest.mark.parametrize(
    ("scale", "key"),
    [
        ("D dorian", "Dm"), ("G", "G"), ("F#m", "F#m"), ("Bb mixolydian", "Bb"), ("A blues", "Am"), ("Cb", "B"),
        ("e minor pentatonic", "Em"), ("chromatic", None), ("C whole tone", "C"),
    ],
)  # fmt: skip
def test_key_of_scale_has_its_tonic_and_third(scale: str, key: str | None) -> None:
    found = key_of_scale(scale)
    assert (None if found is None else key_name(found)) == key
