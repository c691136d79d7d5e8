"""Pieces composed with form: the count of bars, with primers and without."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from seqgen.config import SampleOptions
from seqgen.generation.copies.notes import NoteCopyGuard, NoteCopyIndex
from seqgen.generation.music import composing
from seqgen.generation.music.composing import CompositionRequest, PieceGuide, Primer
from seqgen.generation.sampling.draw import PrimedState
from seqgen.music.events import VocabularyOptions
from seqgen.music.grammar import GrammarState
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.tokenizers.midi import MidiCodec

CODEC = MidiCodec(VocabularyOptions(key=True))
WORDS = CODEC.vocabulary


def piece_of(pitches: list[int]) -> Piece:
    """A bar with four notes for each pitch."""
    notes = [Note(4 * n, 0, pitch + n % 4, 4 * n + 4, 72) for n, pitch in enumerate(np.repeat(pitches, 4).tolist())]
    bars = [Bar(16 * number, 16, 4, 4) for number in range(len(pitches))]
    return Piece(4, (Track(0),), tuple(notes), tuple(bars))


def guide_of(primer: Piece | None = None, bars: int = 3, **options: bool) -> PieceGuide:
    request = CompositionRequest(SampleOptions(length=bars), **options)
    ids = np.empty(0, np.int32) if primer is None else CODEC.encode_piece(primer, request.bars_to_come)
    return PieceGuide(CODEC, Primer(ids, PrimedState([], CODEC.end, None)), request)


def bars_allowed(guide: PieceGuide) -> list[str]:
    return [WORDS.token_name(token) for token in np.flatnonzero(guide.mask()).tolist() if WORDS.is_event(token, "bar")]


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("primer", [None, piece_of([60, 64])], ids=["new", "primer"])
def test_piece_guide_counts_the_bars_of_a_fixed_length(
    primer: Piece | None, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr(composing, "library", lambda: None)
    guide = guide_of(primer)
    if primer is None:
        assert bars_allowed(guide) == [], "a key comes first"
        guide.push(WORDS.id("key", 4))
    for left in (2, 1, 0):
        assert bars_allowed(guide) == [f"bar {left} to come"]
        assert not guide.mask()[CODEC.end]
        guide.push(WORDS.id("bar", WORDS.bar_value(left)))
    assert bars_allowed(guide) == []
    assert guide.mask()[CODEC.end]
    guide.push(CODEC.end)
    assert guide.finish_reason == "length"


def test_piece_guide_does_not_count_what_has_no_fixed_length() -> None:
    kept, free = guide_of(keep=True), guide_of(stop_at_end=True)
    for guide in (kept, free):
        guide.push(WORDS.id("key"))
    assert bars_allowed(kept) == ["bar"]
    assert bars_allowed(guide_of(piece_of([60]), keep=True)) == ["bar"]
    assert len(bars_allowed(free)) == WORDS.sizes["bar"], "the model chooses"
    assert guide_of(piece_of([60]), stop_at_end=True).mask()[CODEC.end]


def test_piece_guide_counts_given_events() -> None:
    guide = guide_of(bars=2)
    ids = CODEC.encode_piece(piece_of([60, 60]))
    for token in ids.tolist():
        assert guide.mask()[token]
        guide.push(token)
    assert guide.given == CODEC.unpredicted(ids).sum() == 8


def test_note_copy_guard_forbids_repetitions_that_would_copy() -> None:
    """Bars of four notes; that of 60 came after that of 64 in the training set, in another key."""
    index = NoteCopyIndex.build([CODEC.encode_piece(piece_of([66, 62, 70]))], WORDS)
    state = GrammarState(WORDS)
    state.forbid_notes(NoteCopyGuard(index, 7))
    for token in [*CODEC.encode_piece(piece_of([60, 64]), None).tolist(), WORDS.id("bar")]:
        assert state.push(token)
    assert not state.allows(WORDS.id("again", 1)), "64 and then 60: eight notes"
    assert state.allows(WORDS.id("again", 0)), "64 and then 64"
    other = dataclasses.replace(piece_of([60]))
    assert not NoteCopyGuard(index, 8).forbids(state, other.notes)


@pytest.mark.parametrize("kernels", [True, False])
def test_piece_guide_takes_the_requested_key_of_a_new_piece_only(
    kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr(composing, "library", lambda: None)
    request = CompositionRequest(SampleOptions(length=2), pitches=[64, 67, 71], key=9)
    guide = PieceGuide(CODEC, Primer(np.empty(0, np.int32), PrimedState([], CODEC.end, None)), request)
    assert np.flatnonzero(guide.mask()).tolist() == [WORDS.id("key", 9)]
    primer = CODEC.encode_piece(piece_of([60]), request.bars_to_come)
    guide = PieceGuide(CODEC, Primer(primer, PrimedState([], CODEC.end, None)), request)
    assert guide.grammar().key != 9
    for token in (WORDS.id("bar", 2), WORDS.id("position")):
        assert guide.mask()[token]
        guide.push(token)
    state = guide.grammar()
    lowest = int(np.flatnonzero(guide.mask()[WORDS.offsets["note"] :][:128])[0])
    guide.push(WORDS.id("note", lowest))
    assert guide.grammar().notes[-1].pitch == 64, "the pitches are those that sound"
    assert state.key == WORDS.event(int(primer[0]))[1]
