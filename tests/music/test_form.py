"""Form of pieces: bars that come again, and bars that are counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.errors import ModelError
from seqgen.generation.music.native_grammar import NativeGrammarState
from seqgen.music.bar_state import dump_barline, load_barline
from seqgen.music.events import (
    AGAIN_DISTANCES,
    COUNTED_BARS,
    MAX_LONGER_EVENTS,
    MAX_NOTE_QUARTERS,
    EventVocabulary,
    VocabularyOptions,
    repeated_events,
)
from seqgen.music.form import bars_of
from seqgen.music.grammar import GrammarState, decode_piece, encode_piece
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.native import library
from seqgen.tokenizers import decode
from seqgen.tokenizers.midi import MidiCodec

CODEC = MidiCodec(VocabularyOptions(key=True))
WORDS = CODEC.vocabulary
LETTERS = st.text("abcdE ", min_size=1, max_size=40)


def piece_of(letters: str, long: int = 3) -> Piece:
    """A bar for each letter: the same letter, the same notes. E's last note sounds into later bars; a space rests."""
    notes = []
    for number, letter in enumerate(letters):
        start, pitch = 16 * number, 60 + ord(letter) % 16
        if letter == "E":
            notes += [Note(start, 0, 90, start + 4, 72), Note(start + 12, 0, 91, start + 16 + long, 72)]
        elif letter != " ":
            notes += [Note(start, 0, pitch, start + 4, 72), Note(start + 4, 0, pitch + 2, start + 10, 40)]
            notes += [Note(start + 8, 1, pitch - 12, start + 8 + ord(letter) % 4 + 1, 72)]
    end = 16 * len(letters)
    bars = tuple(Bar(start, 16, 4, 4) for start in range(0, end, 16))
    tracks = tuple(Track(program) for program in (73, 24)[: len({note.track for note in notes})])
    return Piece(4, tracks, tuple(note._replace(end=min(note.end, end)) for note in notes), bars)


def names(ids: list[int]) -> list[str]:
    return [WORDS.token_name(token) for token in ids]


def chosen(ids: list[int]) -> list[str]:
    """The events that the grammar left open."""
    return names(np.array(ids)[~repeated_events(np.array(ids), WORDS)].tolist())


def test_encode_piece_spells_a_repeated_bar_after_again() -> None:
    ids = encode_piece(piece_of("abab"), WORDS)
    assert [name for name in names(ids) if name.startswith(("bar", "again"))] == [
        "bar 3 to come", "bar 2 to come", "bar 1 to come", "again 2", "bar 0 to come", "again 2",
    ]  # fmt: skip
    state = GrammarState(WORDS)
    for token, given_ in zip(ids, repeated_events(np.array(ids), WORDS).tolist(), strict=True):
        assert state.push(token)
        if given_:
            assert names([token])[0].split()[0] in ("position", "track", "velocity", "duration", "note")
    assert state.allows(CODEC.end)
    assert not state.allows(WORDS.id("position", 15)), "the repeated bar is complete"


@settings(max_examples=50, deadline=None)
@given(letters=LETTERS, to_come=st.sampled_from([0, 1, 70, None]))
def test_encode_piece_with_form_is_decoded_and_every_repeated_bar_costs_one_event(
    letters: str, to_come: int | None
) -> None:
    piece = piece_of(letters)
    ids = encode_piece(piece, WORDS, to_come)
    assert decode_piece(ids, WORDS) == decode_piece(encode_piece(piece, PLAIN), PLAIN)
    if piece.notes:
        again = CODEC.read_piece(decode(CODEC, ids))[0]
        assert encode_piece(again, WORDS) == encode_piece(replace(piece, bars=piece.bars[: len(again.bars)]), WORDS)
    bars = bars_of(piece, WORDS)
    repeats = [any(bar and bar == bars[n - k] for k in AGAIN_DISTANCES if k <= n) for n, bar in enumerate(bars)]
    assert sum(name.startswith("again") for name in chosen(ids)) == sum(repeats)
    state = GrammarState(WORDS)
    for token, given_ in zip(ids, repeated_events(np.array(ids), WORDS).tolist(), strict=True):
        assert not given_ or np.flatnonzero(state.mask()).tolist() == [token], "its notes are forced"
        assert state.push(token)


PLAIN = EventVocabulary(VocabularyOptions(form=False, key=False))


def test_encode_piece_keeps_the_distance_of_the_bar_before() -> None:
    """The second half of `abcdabcd` repeats at 4, although `a` and `b` also come after 2."""
    distances = [name for name in names(encode_piece(piece_of("abcabcab"), WORDS)) if name.startswith("again")]
    assert distances == ["again 3"] * 5


def test_encode_piece_spells_bars_with_another_tempo_out() -> None:
    piece = replace(piece_of("aaa"), tempos=((0, 120), (16, 120), (36, 90)))
    marked = [name for name in names(encode_piece(piece, WORDS)) if name.startswith(("again", "tempo"))]
    assert marked == ["again 1", f"tempo {90}"]


def test_vocabulary_without_form_is_that_of_earlier_models() -> None:
    assert PLAIN.size == 634
    assert {name.split()[0] for name in map(PLAIN.token_name, range(634))}.isdisjoint({"again", "key"})
    stored = CODEC.to_dict()
    assert MidiCodec.from_dict(stored, {}).to_dict() == stored
    before = {name: value for name, value in stored.items() if name not in ("form", "key")} | {"vocab_size": 634}
    assert MidiCodec.from_dict(before, {}).vocabulary == PLAIN
    assert MidiCodec.from_dict(before, {}).to_dict() == before
    without_key = {name: value for name, value in stored.items() if name != "key"} | {"vocab_size": 715}
    assert MidiCodec.from_dict(without_key, {}).to_dict() == without_key


@pytest.mark.parametrize("bars", [1, 5, COUNTED_BARS, COUNTED_BARS + 1, COUNTED_BARS + 30])
def test_grammar_state_planned_bars_count_down_to_the_end(bars: int) -> None:
    state = GrammarState(WORDS)
    state.plan_bars(bars)
    assert state.push(WORDS.id("key"))
    for left in reversed(range(bars)):
        assert not state.allows(CODEC.end)
        assert state.next_bars() == range(WORDS.bar_value(left), WORDS.bar_value(left) + 1)
        assert state.push(WORDS.id("bar", state.next_bars()[0]))
    assert not state.next_bars()
    assert state.push(CODEC.end)


def test_grammar_state_unplanned_bars_count_down() -> None:
    state = GrammarState(WORDS)
    assert state.push(WORDS.id("key"))
    assert list(state.next_bars()) == [*range(COUNTED_BARS + 2)]
    for value in (0, 0, COUNTED_BARS + 1, COUNTED_BARS + 1, COUNTED_BARS, COUNTED_BARS - 1):
        assert state.push(WORDS.id("bar", value))
    assert list(state.next_bars()) == [COUNTED_BARS - 2]


def test_again_is_refused_where_its_notes_cannot_be_played() -> None:
    """A note that still sounds, another metre, a key that lacks a pitch."""
    whole = np.array(encode_piece(piece_of("aaEbbb", long=20), WORDS, to_come=None))
    ids = whole[: np.flatnonzero(WORDS.is_event(whole, "bar"))[3]].tolist()
    state = GrammarState(WORDS)
    for token in [*ids, WORDS.id("bar")]:
        assert state.push(token)
    assert [d for d in range(1, 4) if state.allows(WORDS.id("again", d - 1))] == [2, 3], "91 still sounds"
    state.restrict([0, 60])
    assert not state.mask()[[WORDS.id("again", d) for d in range(3)]].any()
    state.restrict(range(128))
    state = GrammarState(WORDS)
    for token in [*ids, WORDS.id("bar"), WORDS.id("metre", 2)]:
        assert state.push(token)
    assert not state.mask()[[WORDS.id("again", d) for d in range(3)]].any()


@settings(max_examples=15, deadline=None)
@given(letters=LETTERS, more=LETTERS)
def test_load_barline_repeats_the_bars_before_the_line(letters: str, more: str) -> None:
    """After a bar line the same bars may be repeated as without it; with kernels and without."""
    ids = encode_piece(piece_of(letters + more), WORDS, to_come=None)
    line = np.flatnonzero(WORDS.is_event(np.array(ids), "bar"))[len(letters)]
    whole = GrammarState(WORDS)
    for token in ids[:line]:
        assert whole.push(token)
    state = load_barline(WORDS, dump_barline(whole))
    compiled = None if library() is None else NativeGrammarState(state)
    for token in ids[line:]:
        assert whole.push(token)
        assert state.push(token)
        np.testing.assert_array_equal(state.mask(), whole.mask())
        if compiled is not None:
            compiled.push(token)
            np.testing.assert_array_equal(state.mask(), compiled.mask)


@pytest.mark.parametrize(
    "recent",
    [None, 3, [[16]], [[0, []]], [[16, 5]], [[16, [[0, 0, 60, 4]]]], [[16, [[0, 9, 60, 4, 4]]]],
     [[16, [[0, 0, 60, -1, 4]]]], [[16, []]] * 40, [[16, [[0, 0, 60, 4, 4]] * 300]], [[16, [[16, 0, 60, 4, 4]]]],
     [[16, [[4, 0, 60, 4, 4], [0, 0, 62, 4, 4]]]], [[16, [[0, 0, 60, MAX_NOTE_QUARTERS * 4 + 1, 4]]]]],
    ids=str,
)  # fmt: skip
def test_load_barline_damaged_bars_are_refused(recent: object) -> None:
    state = GrammarState(WORDS)
    for token in encode_piece(piece_of("ab"), WORDS, to_come=None):
        state.push(token)
    with pytest.raises(ModelError, match="damaged"):
        load_barline(WORDS, {**dump_barline(state), "recent": recent})


def test_load_barline_longest_note_before_the_line_is_repeated() -> None:
    """No note of a state file takes more events than one of a piece."""
    state = GrammarState(WORDS)
    for token in encode_piece(piece_of("ab"), WORDS, to_come=None):
        state.push(token)
    longest = [[16, [[15, 0, 60, MAX_NOTE_QUARTERS * 4, 4]]]]
    resumed = load_barline(WORDS, {**dump_barline(state), "recent": longest, "key": 0})
    assert resumed.push(WORDS.id("bar"))
    assert resumed.push(WORDS.id("again"))
    events = 0
    while resumed.recent_bars and resumed.recent_bars.forced:
        assert resumed.push(int(np.flatnonzero(resumed.mask())[0]))
        events += 1
    assert events < MAX_LONGER_EVENTS + 6
    assert resumed.notes == [Note(15, 0, 60, 15 + MAX_NOTE_QUARTERS * 4, WORDS.velocity(4))]
