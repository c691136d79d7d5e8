"""The table of events and its grammar: whatever is drawn under the masks is a piece, and every piece can be spelt."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.errors import DataError, UserError
from seqgen.generation.music.native_grammar import NativeGrammarState
from seqgen.music import grammar, midi
from seqgen.music.events import (
    EVENT_TYPES,
    MAX_DURATION_QUARTERS,
    MAX_LONGER_EVENTS,
    MAX_NOTE_QUARTERS,
    MAX_TRACKS,
    TEMPOS,
    EventVocabulary,
    VocabularyOptions,
    count_steps,
    tempo_value,
)
from seqgen.music.grammar import GrammarState, decode_piece, encode_piece
from seqgen.music.names import scale
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.native import library
from tests.helpers.midi_files import metre, midi_file, off, on, program, tempo

GRIDS = (1, 3, 4, 12)
NAMES = [kind.name for kind in EVENT_TYPES]
AT_REST = {"bar", "metre", "tempo", "note", "drum"}  # after these a piece may stop

ANY_OPTIONS = st.builds(
    VocabularyOptions,
    grid=st.sampled_from(GRIDS),
    velocity_bins=st.sampled_from([1, 8, 127]),
    low=st.sampled_from([0, 21, 60]),
    high=st.sampled_from([60, 108, 127]),
    rising=st.booleans(),
)
KEYS = st.sampled_from([None, "C major", "F# minor pentatonic"])
SEEDS = st.integers(0, 1 << 32)


def draw(walk: GrammarState, chance: np.random.Generator, by_kind: bool) -> int:
    """An id that the mask lets in: any, or, so that seldom kinds come too, any of any kind. There is always one."""
    allowed = np.flatnonzero(walk.mask())
    assert len(allowed), f"no way on after {walk.previous}"
    if by_kind:
        kinds = [walk.vocabulary.event_types[token] for token in allowed]
        chosen = sorted(set(kinds))[chance.integers(len(set(kinds)))]
        allowed = allowed[[kind == chosen for kind in kinds]]
    return int(allowed[chance.integers(len(allowed))])


def wander(walk: GrammarState, seed: int, steps: int) -> Iterator[int]:
    """Draws `steps` ids without `end`, or more until the walk is at rest; each is pushed before it is yielded."""
    chance = np.random.default_rng(seed)
    end = walk.vocabulary.id("end")
    for number in itertools.count():
        if number >= steps and walk.previous in AT_REST:
            return
        assert number < steps + MAX_LONGER_EVENTS + 10
        token = draw(walk, chance, by_kind=bool(seed % 4))
        if token == end:
            token = walk.vocabulary.id("bar")
            assert walk.allows(token)
        assert walk.push(token)
        yield token


def keyed(key: str | None, options: VocabularyOptions) -> list[int] | None:
    """The pitches of a key; None, for any, where the range has none of them."""
    pitches = [pitch for pitch in range(128) if key is not None and pitch % 12 in scale(key)]
    return pitches if any(options.low <= pitch <= options.high for pitch in pitches) else None


def check(piece: Piece, vocabulary: EventVocabulary) -> None:
    """No note lasts no time, hangs, or begins outside its bars; none doubles another."""
    options = vocabulary.options
    place = 0
    for bar in piece.bars:
        assert bar.start == place
        assert 1 <= bar.length <= 12 * options.grid
        place += bar.length
    for note in piece.notes:
        assert 0 <= note.start < note.end <= piece.length
        assert note.end - note.start <= MAX_NOTE_QUARTERS * options.grid
        assert 1 <= note.velocity <= 127
        assert piece.tracks[note.track].drums or options.low <= note.pitch <= options.high
    latest: dict[tuple[int, int], int] = {}
    for note in piece.notes:
        assert latest.get((note.track, note.pitch), 0) <= note.start
        latest[note.track, note.pitch] = note.end
    assert len(piece.tracks) <= MAX_TRACKS
    assert sum(track.drums for track in piece.tracks) <= 1
    assert {note.track for note in piece.notes} == set(range(len(piece.tracks)))


# ---- The table ----


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=NAMES)
def test_every_kind_has_a_rule_a_step_and_neighbours(kind: Any) -> None:
    assert kind.name in grammar._RULES
    assert kind.name in grammar._STEPS
    assert kind.description
    assert set(kind.predecessors) <= set(NAMES)
    assert len(set(kind.predecessors)) == len(kind.predecessors) > 0
    assert grammar.SUCCESSORS[kind.name], "nothing may follow"
    assert all(kind.size(VocabularyOptions(grid=grid, velocity_bins=1)) >= 1 for grid in range(1, 49))


def test_rules_and_steps_are_of_the_table() -> None:
    assert list(grammar._RULES) == list(grammar._STEPS) == list(grammar.SUCCESSORS) == NAMES
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("grid", [*GRIDS, 48])
@pytest.mark.parametrize("bins", [1, 8, 127])
def test_ids_and_events_are_each_others_inverse(grid: int, bins: int) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(grid=grid, velocity_bins=bins))
    assert len(vocabulary.event_types) == vocabulary.size == sum(vocabulary.sizes.values())
    for token in range(vocabulary.size):
        assert vocabulary.id(*vocabulary.event(token)) == token
    assert [
        vocabulary.id(kind.name, value) for kind in EVENT_TYPES for value in range(vocabulary.sizes[kind.name])
    ] == [*range(vocabulary.size)]
    spelt = [vocabulary.token_name(token) for token in range(vocabulary.size)]
    assert len(set(spelt)) == vocabulary.size
    for kind in NAMES:
        for value in (-1, vocabulary.sizes[kind]):
            with pytest.raises(ValueError, match=f"{kind} has no value {value}"):
                vocabulary.id(kind, value)


@pytest.mark.parametrize("bins", range(1, 128))
def test_velocities_of_bins(bins: int) -> None:
    """A bin's own velocity is in that bin; bins rise, and none is more than its width away."""
    vocabulary = EventVocabulary(VocabularyOptions(velocity_bins=bins))
    middles = [vocabulary.velocity(value) for value in range(bins)]
    assert [vocabulary.velocity_bin(velocity) for velocity in middles] == [*range(bins)]
    assert middles == sorted(set(middles))
    assert 1 <= middles[0] <= middles[-1] <= 127
    for velocity in range(1, 128):
        there = vocabulary.velocity(vocabulary.velocity_bin(velocity))
        assert abs(there - velocity) <= 64 / bins + 1
        assert bins < 127 or velocity in (1, 64, 127) or abs(there - velocity) <= 1


def test_tempos_are_sorted_and_nearest() -> None:
    assert list(TEMPOS) == sorted(set(TEMPOS))
    assert (TEMPOS[0], TEMPOS[-1]) == (30, 480)
    assert [tempo_value(bpm) for bpm in TEMPOS] == [*range(len(TEMPOS))]
    assert TEMPOS[tempo_value(120)] == 120
    assert (tempo_value(1), tempo_value(1e6)) == (0, len(TEMPOS) - 1)


# ---- Spelling ----

LITTLE = Piece(
    4,
    (Track(40), Track(None)),
    (
        Note(0, 0, 67, 4, 72), Note(0, 0, 60, 4, 72), Note(0, 1, 36, 1, 100), Note(4, 0, 64, 6, 72),
        Note(12, 1, 38, 13, 100), Note(14, 0, 62, 50, 30),
    ),
    (Bar(0, 12, 3, 4), Bar(12, 12, 3, 4), Bar(24, 16, 4, 4), Bar(40, 16, 4, 4)),
    ((0, 100), (24, 60)),
)  # fmt: skip

RISING = """
bar; metre 3/4
position 0; tempo 101; track 0; program 40; velocity 71; duration 4; note 60; note 67
track 1; drums; velocity 103; duration 1; drum 36
position 4; track 0; duration 2; note 64
bar
position 0; track 1; drum 38
position 2; track 0; velocity 23; longer; duration 4; note 62
bar; metre 4/4
position 0; tempo 60
bar
"""


def spelling(text: str) -> list[str]:
    return [event.strip() for line in text.strip().splitlines() for event in line.split(";")]


def test_a_piece_is_spelt_event_for_event() -> None:
    vocabulary = EventVocabulary(VocabularyOptions())
    ids = encode_piece(LITTLE, vocabulary)
    assert [vocabulary.token_name(token) for token in ids] == spelling(RISING)
    again = decode_piece(ids, vocabulary)
    assert again.tempos == ((0, TEMPOS[tempo_value(100)]), (24, 60))
    assert again == replace(
        LITTLE,
        tempos=again.tempos,
        notes=tuple(n._replace(velocity={72: 71, 100: 103, 30: 23}[n.velocity]) for n in LITTLE.notes),
    )


def test_falling_order_reads_chords_from_the_top() -> None:
    vocabulary = EventVocabulary(VocabularyOptions(rising=False))
    spelt = [vocabulary.token_name(token) for token in encode_piece(LITTLE, vocabulary)]
    assert spelt == spelling(RISING.replace("note 60; note 67", "note 67; note 60"))
    assert decode_piece(encode_piece(LITTLE, vocabulary), vocabulary) == decode_piece(encode_piece(LITTLE, EventVocabulary(VocabularyOptions())), EventVocabulary(
        VocabularyOptions()))  # fmt: skip


@pytest.mark.parametrize(
    "quarters",
    [
        1,
        MAX_DURATION_QUARTERS,
        MAX_DURATION_QUARTERS + 1,
        2 * MAX_DURATION_QUARTERS,
        MAX_NOTE_QUARTERS - 1,
        MAX_NOTE_QUARTERS,
    ],
)
@pytest.mark.parametrize("grid", GRIDS)
def test_the_longest_notes_can_be_said(grid: int, quarters: int) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(grid=grid))
    bars = tuple(Bar(4 * grid * number, 4 * grid, 4, 4) for number in range(-(-quarters // 4)))
    piece = Piece(grid, (Track(),), (Note(0, 0, 60, quarters * grid, vocabulary.velocity(4)),), bars)
    ids = encode_piece(piece, vocabulary)
    assert decode_piece(ids, vocabulary) == piece
    assert [vocabulary.event_types[token] for token in ids].count("longer") == (quarters - 1) // MAX_DURATION_QUARTERS


def test_nothing_is_longer_than_the_longest_note() -> None:
    vocabulary = EventVocabulary(VocabularyOptions())
    walk = GrammarState(vocabulary)
    for event in (("bar",), ("position",), ("track",), ("program",), ("velocity", 1)):
        assert walk.push(vocabulary.id(*event))
    for _ in range(MAX_LONGER_EVENTS):
        assert walk.push(vocabulary.id("longer"))
    assert not walk.allows(vocabulary.id("longer"))
    assert walk.push(vocabulary.id("duration", vocabulary.sizes["duration"] - 1))
    assert walk.push(vocabulary.id("note", 60))
    assert walk.track_states[0].ends[60] == MAX_NOTE_QUARTERS * 4


# ---- Walks ----


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, options=ANY_OPTIONS, key=KEYS, tempo_changes=st.booleans(), steps=st.integers(1, 250))
def test_a_random_walk_is_never_stuck_and_is_a_piece(
    seed: int, options: VocabularyOptions, key: str | None, tempo_changes: bool, steps: int
) -> None:
    """It is spelt in one way only, comes back from its ids, and from its MIDI file."""
    vocabulary = EventVocabulary(options)
    walk = GrammarState(vocabulary)
    pitches = keyed(key, options)
    walk.restrict(pitches, tempo_changes)
    ids = []
    for token in wander(walk, seed, steps):
        ids.append(token)
        kind, value = vocabulary.event(token)
        if kind == "position":
            assert value < walk.bars[-1].length
        if kind in ("note", "drum"):
            note = walk.notes[-1]
            assert walk.bars[-1].start <= note.start < walk.bars[-1].start + walk.bars[-1].length
            assert note.start < note.end
    piece = walk.piece()
    check(piece, vocabulary)
    assert tempo_changes or piece.tempos == ((0, 120),)
    melodic = [note for note in piece.notes if not piece.tracks[note.track].drums]
    assert pitches is None or {note.pitch for note in melodic} <= set(pitches)

    assert decode_piece(ids, vocabulary) == piece
    spelt = encode_piece(piece, vocabulary)
    assert decode_piece(spelt, vocabulary) == piece
    if all(note.end <= walk.length for note in walk.notes):  # none was cut short by the end of the piece
        assert spelt == ids
    assert count_steps(np.array([vocabulary.id("end"), *ids]), vocabulary) == piece.length

    if piece.notes:
        again, _ = midi.read(midi.write(piece), options.grid, low=options.low, high=options.high)
        assert again.notes == piece.notes
        assert again.tracks == piece.tracks
        assert again.bars == piece.bars[: len(again.bars)]
        assert again.tempos == tuple(change for change in piece.tempos if change[0] < max(n.end for n in piece.notes))
    else:
        with pytest.raises(DataError, match="no notes"):
            midi.read(midi.write(piece), options.grid)


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, options=ANY_OPTIONS, steps=st.integers(0, 60), tempo_changes=st.booleans())
def test_the_mask_is_what_is_allowed(seed: int, options: VocabularyOptions, steps: int, tempo_changes: bool) -> None:
    vocabulary = EventVocabulary(options)
    walk = GrammarState(vocabulary)
    walk.restrict(tempo_changes=tempo_changes)

    def same() -> None:
        mask = walk.mask()
        assert mask.shape == (vocabulary.size,)
        assert mask.dtype == bool
        assert mask.tolist() == [walk.allows(token) for token in range(vocabulary.size)]

    same()
    for number, _ in enumerate(wander(walk, seed, steps)):
        if number % 12 == seed % 12:
            same()
    same()
    assert not walk.allows(-1)
    assert not walk.allows(vocabulary.size)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, options=ANY_OPTIONS, key=KEYS, before=st.integers(1, 120), tempo_changes=st.booleans())
def test_a_restriction_may_begin_on_the_way(
    seed: int, options: VocabularyOptions, key: str | None, before: int, tempo_changes: bool
) -> None:
    """As where a primer plays outside the key, and what goes on from it does not."""
    vocabulary = EventVocabulary(options)
    walk = GrammarState(vocabulary)
    list(wander(walk, seed, before))
    old, tempos = len(walk.notes), len(walk.tempos)
    pitches = keyed(key, options)
    walk.restrict(pitches, tempo_changes)
    list(wander(walk, seed + 1, 120))
    check(walk.piece(), vocabulary)
    new = [note for note in walk.notes[old:] if not walk.track_states[note.track].drums]
    assert pitches is None or {note.pitch for note in new} <= set(pitches)
    assert tempo_changes or len(walk.tempos) == tempos


@pytest.mark.skipif(library() is None, reason="no kernels")
@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS, options=ANY_OPTIONS, key=KEYS, before=st.integers(0, 60), tempo_changes=st.booleans(), may=st.booleans()
)
def test_the_compiled_walk_says_what_the_walk_does(
    seed: int, options: VocabularyOptions, key: str | None, before: int, tempo_changes: bool, may: bool
) -> None:
    """From the beginning or from anywhere, over long and crowded pieces."""
    walk = GrammarState(EventVocabulary(options))
    list(wander(walk, seed, before))
    walk.restrict(keyed(key, options), tempo_changes)
    walk.allow_end(may)
    compiled = NativeGrammarState(walk)
    for number, token in enumerate(wander(walk, seed + 1, 150)):
        compiled.push(token)
        if number % 50 == 25:
            walk.allow_end(number % 100 == 25)
            compiled.allow_end(number % 100 == 25)
        assert (walk.mask() == compiled.mask).all(), walk.vocabulary.token_name(token)


@pytest.mark.skipif(library() is None, reason="no kernels")
def test_the_compiled_walk_where_it_is_crowded() -> None:
    """All tracks there may be, drums among them, notes that last for bars, every pitch of one track sounding."""
    words = EventVocabulary(VocabularyOptions(low=60, high=61))
    walk = GrammarState(words)
    compiled = NativeGrammarState(walk)
    said = [("bar", 0), ("position", 0)]
    for track in range(MAX_TRACKS):
        said += [("track", track), ("drums", 0) if track == 9 else ("program", track), ("velocity", 3), ("longer", 0)]
        said += [("duration", 5), *[("drum" if track == 9 else "note", pitch) for pitch in (60, 61)]]
    for kind, value in [*said, ("bar", 0), ("position", 1), ("track", 9), ("duration", 2), ("drum", 0)]:
        assert walk.push(words.id(kind, value)), (kind, value)
        compiled.push(words.id(kind, value))
        assert (walk.mask() == compiled.mask).all(), (kind, value)


def test_one_pitch_and_every_track_is_not_too_narrow() -> None:
    """Sixteen tracks of one pitch, all sounding for very long: then only bars are left, and after them notes."""
    vocabulary = EventVocabulary(VocabularyOptions(low=60, high=60, velocity_bins=1))
    walk = GrammarState(vocabulary)
    walk.restrict(tempo_changes=False)
    walk.push(vocabulary.id("bar"))
    walk.push(vocabulary.id("position"))
    for track in range(MAX_TRACKS - 1):
        for event in (("track", track), ("program", track), ("velocity", 0), ("longer", 0), ("duration", 31),
                      ("note", 60)):  # fmt: skip
            assert walk.push(vocabulary.id(*event)), event
    allowed = {vocabulary.token_name(int(token)) for token in np.flatnonzero(walk.mask())}
    assert {event for event in allowed if not event.startswith("position")} == {"bar", "end", "track 15"}
    for event in (("track", 15), ("drums", 0), ("velocity", 0), ("longer", 0), ("duration", 31)):
        assert walk.push(vocabulary.id(*event)), event
    assert not walk.allows(vocabulary.id("note", 60))
    for stroke in range(128):
        assert walk.push(vocabulary.id("drum", stroke))
    for _ in range(4):  # 64 steps are four bars
        assert {vocabulary.token_name(int(token)) for token in np.flatnonzero(walk.mask())} <= {
            "bar", "end", *(vocabulary.token_name(vocabulary.id("metre", v)) for v in range(vocabulary.sizes["metre"])),
        }  # fmt: skip
        assert walk.push(vocabulary.id("bar"))
    assert walk.push(vocabulary.id("position")) is (walk.length > 64)
    list(wander(walk, 1, 50))
    check(walk.piece(), vocabulary)


def test_no_key_without_a_pitch() -> None:
    walk = GrammarState(EventVocabulary(VocabularyOptions(low=61, high=61)))
    with pytest.raises(UserError, match="the key has no pitch"):
        walk.restrict([60, 62])


# ---- Real pieces ----

SOME_NOTES = st.lists(
    st.tuples(
        st.integers(0, 80), st.integers(1, 200), st.integers(50, 60), st.integers(1, 127), st.integers(0, 5)
    ),
    min_size=1, max_size=30,
)  # fmt: skip
SOME_METRES = st.lists(st.tuples(st.integers(0, 80), st.integers(1, 13), st.sampled_from([2, 4, 8, 16])), max_size=4)


@settings(max_examples=60, deadline=None)
@given(found=SOME_NOTES, metres=SOME_METRES, options=ANY_OPTIONS, tempos=st.lists(st.integers(5, 900), max_size=3))
def test_every_piece_that_is_read_can_be_spelt(
    found: list[tuple[int, int, int, int, int]],
    metres: list[tuple[int, int, int]],
    options: VocabularyOptions,
    tempos: list[int],
) -> None:
    """The grammar allows every event of it, and reading what was spelt changes no more than loudness and tempo."""
    tracks = [[program(0, track, track)] for track in range(5)] + [[]]
    for start, length, pitch, velocity, track in found:
        channel = 9 if track == 5 else track
        tracks[track] += [on(start, pitch, velocity, channel), off(start + length, pitch, channel)]
    head = [metre(*each) for each in metres] + [tempo(17 * place, bpm) for place, bpm in enumerate(tempos)]
    vocabulary = EventVocabulary(replace(options, low=0))
    piece, _ = midi.read(midi_file(head, *tracks, division=5), options.grid)
    ids = encode_piece(piece, vocabulary)
    walk = GrammarState(vocabulary)
    for token in ids:
        assert walk.push(token), (vocabulary.token_name(token), "after", walk.previous)
    again = walk.piece()
    assert again == decode_piece(ids, vocabulary)
    assert again.bars == piece.bars
    assert again.tracks == piece.tracks
    assert [note[:4] for note in again.notes] == [note[:4] for note in piece.notes]
    assert encode_piece(again, vocabulary) == ids
    assert walk.allows(vocabulary.id("end"))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), options=ANY_OPTIONS)
@example(data=None, options=VocabularyOptions())
def test_what_is_illegal_is_passed_over(data: st.DataObject | None, options: VocabularyOptions) -> None:
    """Any ids are a piece, and what counts of them are those that the grammar took."""
    vocabulary = EventVocabulary(options)
    ids = [] if data is None else data.draw(st.lists(st.integers(-3, vocabulary.size + 3), max_size=120))
    piece = decode_piece(ids, vocabulary)
    check(piece, vocabulary)
    walk = GrammarState(vocabulary)
    taken = [token for token in ids if not walk.ended and walk.push(token)]
    assert decode_piece(taken, vocabulary) == piece
    assert decode_piece(encode_piece(piece, vocabulary), vocabulary) == piece


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, strangers=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 900)), max_size=40))
def test_strangers_between_the_events_of_a_piece_do_no_harm(seed: int, strangers: list[tuple[int, int]]) -> None:
    vocabulary = EventVocabulary(VocabularyOptions())
    ids = list(wander(GrammarState(vocabulary), seed, 100))
    for place, token in strangers:
        ids.insert(place, token)
    piece = decode_piece(ids, vocabulary)
    check(piece, vocabulary)
    assert decode_piece(encode_piece(piece, vocabulary), vocabulary) == piece


def test_nothing_is_read_behind_the_end() -> None:
    vocabulary = EventVocabulary(VocabularyOptions())
    ids = encode_piece(LITTLE, vocabulary)
    assert decode_piece([*ids, vocabulary.id("end"), *ids], vocabulary) == decode_piece(ids, vocabulary)
    assert decode_piece([vocabulary.id("end")], vocabulary).bars == ()  # no piece ends before it has begun


@settings(max_examples=20, deadline=None)
@given(seeds=st.lists(SEEDS, min_size=1, max_size=4), grid=st.sampled_from(GRIDS))
def test_steps_of_a_stream_are_those_of_its_pieces(seeds: list[int], grid: int) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(grid=grid))
    stream, total = [], 0
    for seed in seeds:
        walk = GrammarState(vocabulary)
        stream += [vocabulary.id("end"), *wander(walk, seed, 60)]
        total += walk.length
    assert count_steps(np.array(stream), vocabulary) == total
