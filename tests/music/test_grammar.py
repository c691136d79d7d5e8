"""Event vocabulary and grammar: sampling under the masks gives valid pieces, and every piece can be encoded."""

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
AT_REST = {"bar", "metre", "tempo", "note", "drum"}  # events after which a piece may stop

ANY_OPTIONS = st.builds(
    VocabularyOptions,
    grid=st.sampled_from(GRIDS),
    velocity_bins=st.sampled_from([1, 8, 127]),
    low=st.sampled_from([0, 21, 60]),
    high=st.sampled_from([60, 108, 127]),
    rising=st.booleans(),
    form=st.booleans(),
    key=st.booleans(),
)
KEYS = st.sampled_from([None, "C major", "F# minor pentatonic"])
SEEDS = st.integers(0, 1 << 32)


def draw(state: GrammarState, rng: np.random.Generator, by_type: bool) -> int:
    """Draw a legal id: uniformly, or uniformly within an event type, so that rare types occur too."""
    allowed = np.flatnonzero(state.mask())
    assert len(allowed), f"no legal event after {state.previous}"
    if by_type:
        kinds = [state.vocabulary.event_types[token] for token in allowed]
        chosen = sorted(set(kinds))[rng.integers(len(set(kinds)))]
        allowed = allowed[[kind == chosen for kind in kinds]]
    return int(allowed[rng.integers(len(allowed))])


def wander(state: GrammarState, seed: int, steps: int) -> Iterator[int]:
    """Draw `steps` ids without `end`, or more until the piece may stop; each is pushed before it is yielded.

    Fewer, if the last bar that was counted is over.
    """
    rng = np.random.default_rng(seed)
    end = state.vocabulary.id("end")
    for number in itertools.count():
        repeats = state.recent_bars is not None and state.recent_bars.forced
        if number >= steps and state.previous in AT_REST and not repeats:
            return
        assert number < steps + MAX_LONGER_EVENTS + 10 or repeats
        if not state.next_bars() and not state.mask().any():  # `end` is not allowed here
            return
        token = draw(state, rng, by_type=bool(seed % 4))
        if token == end:
            values = state.next_bars()
            if not values:
                return
            token = state.vocabulary.id("bar", values[0])
            assert state.allows(token)
        assert state.push(token)
        yield token


def keyed(key: str | None, options: VocabularyOptions) -> list[int] | None:
    """Return the pitches of a key; None for no limit, if the range has none of them."""
    pitches = [pitch for pitch in range(128) if key is not None and pitch % 12 in scale(key)]
    return pitches if any(options.low <= pitch <= options.high for pitch in pitches) else None


def check(piece: Piece, vocabulary: EventVocabulary) -> None:
    """Check that no note has zero length, hangs, starts outside its bars or doubles another."""
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
def test_event_types_have_rules_steps_and_successors(kind: Any) -> None:
    assert kind.name in grammar._RULES
    assert kind.name in grammar._STEPS
    assert kind.description
    assert set(kind.predecessors) <= set(NAMES)
    assert len(set(kind.predecessors)) == len(kind.predecessors) > 0
    assert grammar.SUCCESSORS[kind.name], "nothing may follow"
    assert all(kind.size(VocabularyOptions(grid=grid, velocity_bins=1, key=True)) >= 1 for grid in range(1, 49))


def test_rules_and_steps_match_event_types() -> None:
    assert list(grammar._RULES) == list(grammar._STEPS) == list(grammar.SUCCESSORS) == NAMES
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("grid", [*GRIDS, 48])
@pytest.mark.parametrize("bins", [1, 8, 127])
def test_vocabulary_id_is_the_inverse_of_event(grid: int, bins: int) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(grid=grid, velocity_bins=bins, key=True))
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
def test_velocity_bin_is_the_inverse_of_velocity(bins: int) -> None:
    """A bin's velocity is in that bin, bins ascend, and no velocity is further than a bin's width away."""
    vocabulary = EventVocabulary(VocabularyOptions(velocity_bins=bins, key=True))
    middles = [vocabulary.velocity(value) for value in range(bins)]
    assert [vocabulary.velocity_bin(velocity) for velocity in middles] == [*range(bins)]
    assert middles == sorted(set(middles))
    assert 1 <= middles[0] <= middles[-1] <= 127
    for velocity in range(1, 128):
        there = vocabulary.velocity(vocabulary.velocity_bin(velocity))
        assert abs(there - velocity) <= 64 / bins + 1
        assert bins < 127 or velocity in (1, 64, 127) or abs(there - velocity) <= 1


def test_tempo_value_is_the_nearest_tempo() -> None:
    assert list(TEMPOS) == sorted(set(TEMPOS))
    assert (TEMPOS[0], TEMPOS[-1]) == (30, 480)
    assert [tempo_value(bpm) for bpm in TEMPOS] == [*range(len(TEMPOS))]
    assert TEMPOS[tempo_value(120)] == 120
    assert (tempo_value(1), tempo_value(1e6)) == (0, len(TEMPOS) - 1)


# ---- Encoding ----

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
key D
bar 3 to come; metre 3/4
position 0; tempo 101; track 0; program 40; velocity 71; duration 4; note 58; note 65
track 1; drums; velocity 103; duration 1; drum 36
position 4; track 0; duration 2; note 62
bar 2 to come
position 0; track 1; drum 38
position 2; track 0; velocity 23; longer; duration 4; note 60
bar 1 to come; metre 4/4
position 0; tempo 60
bar 0 to come
"""


def spelling(text: str) -> list[str]:
    return [event.strip() for line in text.strip().splitlines() for event in line.split(";")]


def test_encode_piece_gives_expected_events() -> None:
    vocabulary = EventVocabulary(VocabularyOptions(key=True))
    ids = encode_piece(LITTLE, vocabulary)
    assert [vocabulary.token_name(token) for token in ids] == spelling(RISING)
    again = decode_piece(ids, vocabulary)
    assert again.tempos == ((0, TEMPOS[tempo_value(100)]), (24, 60))
    assert again == replace(
        LITTLE,
        tempos=again.tempos,
        notes=tuple(n._replace(velocity={72: 71, 100: 103, 30: 23}[n.velocity]) for n in LITTLE.notes),
    )


def test_encode_piece_descending_chords() -> None:
    vocabulary = EventVocabulary(VocabularyOptions(rising=False, key=True))
    spelt = [vocabulary.token_name(token) for token in encode_piece(LITTLE, vocabulary)]
    assert spelt == spelling(RISING.replace("note 58; note 65", "note 65; note 58"))
    ascending = EventVocabulary(VocabularyOptions(key=True))
    decoded = decode_piece(encode_piece(LITTLE, vocabulary), vocabulary)
    assert decoded == decode_piece(encode_piece(LITTLE, ascending), ascending)


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
def test_encode_piece_longest_notes(grid: int, quarters: int) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(grid=grid, key=True))
    bars = tuple(Bar(4 * grid * number, 4 * grid, 4, 4) for number in range(-(-quarters // 4)))
    piece = Piece(grid, (Track(),), (Note(0, 0, 60, quarters * grid, vocabulary.velocity(4)),), bars)
    ids = encode_piece(piece, vocabulary)
    assert decode_piece(ids, vocabulary) == piece
    assert [vocabulary.event_types[token] for token in ids].count("longer") == (quarters - 1) // MAX_DURATION_QUARTERS


def test_grammar_state_limits_note_length() -> None:
    vocabulary = EventVocabulary(VocabularyOptions(key=True))
    state = GrammarState(vocabulary)
    for event in (("key",), ("bar",), ("position",), ("track",), ("program",), ("velocity", 1)):
        assert state.push(vocabulary.id(*event))
    for _ in range(MAX_LONGER_EVENTS):
        assert state.push(vocabulary.id("longer"))
    assert not state.allows(vocabulary.id("longer"))
    assert state.push(vocabulary.id("duration", vocabulary.sizes["duration"] - 1))
    assert state.push(vocabulary.id("note", 60))
    assert state.track_states[0].ends[60] == MAX_NOTE_QUARTERS * 4


# ---- Walks ----


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, options=ANY_OPTIONS, key=KEYS, tempo_changes=st.booleans(), steps=st.integers(1, 250))
def test_grammar_state_random_events_give_a_valid_piece(
    seed: int, options: VocabularyOptions, key: str | None, tempo_changes: bool, steps: int
) -> None:
    """Its encoding is unique (with form or key, one of several); its ids and its MIDI file restore it."""
    vocabulary = EventVocabulary(options)
    state = GrammarState(vocabulary)
    pitches = keyed(key, options)
    state.restrict(pitches, tempo_changes)
    ids = []
    for token in wander(state, seed, steps):
        ids.append(token)
        kind, value = vocabulary.event(token)
        if kind == "position":
            assert value < state.bars[-1].length
        if kind in ("note", "drum"):
            note = state.notes[-1]
            assert state.bars[-1].start <= note.start < state.bars[-1].start + state.bars[-1].length
            assert note.start < note.end
    piece = state.piece()
    check(piece, vocabulary)
    assert tempo_changes or piece.tempos == ((0, 120),)
    melodic = [note for note in piece.notes if not piece.tracks[note.track].drums]
    assert pitches is None or {note.pitch for note in melodic} <= set(pitches)

    assert decode_piece(ids, vocabulary) == piece
    spelt = encode_piece(piece, vocabulary)
    assert decode_piece(spelt, vocabulary) == piece
    assert encode_piece(decode_piece(spelt, vocabulary), vocabulary) == spelt
    uncut = all(note.end <= state.length for note in state.notes)
    if uncut and not options.form and not options.key:
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
def test_grammar_state_mask_equals_allows(
    seed: int, options: VocabularyOptions, steps: int, tempo_changes: bool
) -> None:
    vocabulary = EventVocabulary(options)
    state = GrammarState(vocabulary)
    state.restrict(tempo_changes=tempo_changes)

    def same() -> None:
        mask = state.mask()
        assert mask.shape == (vocabulary.size,)
        assert mask.dtype == bool
        assert mask.tolist() == [state.allows(token) for token in range(vocabulary.size)]

    same()
    for number, _ in enumerate(wander(state, seed, steps)):
        if number % 12 == seed % 12:
            same()
    same()
    assert not state.allows(-1)
    assert not state.allows(vocabulary.size)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, options=ANY_OPTIONS, key=KEYS, before=st.integers(1, 120), tempo_changes=st.booleans())
def test_restrict_within_a_piece(
    seed: int, options: VocabularyOptions, key: str | None, before: int, tempo_changes: bool
) -> None:
    """For example, after a primer with notes outside the key."""
    vocabulary = EventVocabulary(options)
    state = GrammarState(vocabulary)
    list(wander(state, seed, before))
    old, tempos = len(state.notes), len(state.tempos)
    pitches = keyed(key, options)
    state.restrict(pitches, tempo_changes)
    list(wander(state, seed + 1, 120))
    check(state.piece(), vocabulary)
    new = [note for note in state.notes[old:] if not state.track_states[note.track].drums]
    assert pitches is None or {note.pitch for note in new} <= set(pitches)
    assert tempo_changes or len(state.tempos) == tempos


@pytest.mark.skipif(library() is None, reason="no kernels")
@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS, options=ANY_OPTIONS, key=KEYS, before=st.integers(0, 60), tempo_changes=st.booleans(), may=st.booleans()
)
def test_native_grammar_equals_grammar_state(
    seed: int, options: VocabularyOptions, key: str | None, before: int, tempo_changes: bool, may: bool
) -> None:
    """From the start or from within a piece, also long and dense ones."""
    state = GrammarState(EventVocabulary(options))
    list(wander(state, seed, before))
    state.restrict(keyed(key, options), tempo_changes)
    state.allow_end(may)
    compiled = NativeGrammarState(state)
    for number, token in enumerate(wander(state, seed + 1, 150)):
        compiled.push(token)
        if number % 50 == 25:
            state.allow_end(number % 100 == 25)
            compiled.allow_end(number % 100 == 25)
        assert (state.mask() == compiled.mask).all(), state.vocabulary.token_name(token)


@pytest.mark.skipif(library() is None, reason="no kernels")
@pytest.mark.parametrize("form", [True, False])
def test_native_grammar_from_the_beginning_lets_a_piece_end(form: bool) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(form=form, key=True))
    state = GrammarState(vocabulary)
    compiled = NativeGrammarState(state)
    assert (state.mask() == compiled.mask).all()
    for event in ("key", "bar", "bar"):
        state.push(vocabulary.id(event))
        compiled.push(vocabulary.id(event))
        assert (state.mask() == compiled.mask).all()
        assert compiled.mask[vocabulary.id("end")] == (event == "bar")


@pytest.mark.skipif(library() is None, reason="no kernels")
def test_native_grammar_with_all_tracks_and_long_notes() -> None:
    """All tracks, including drums, notes of several bars, and every pitch of one track sounding."""
    words = EventVocabulary(VocabularyOptions(low=60, high=61, key=True))
    state = GrammarState(words)
    compiled = NativeGrammarState(state)
    said = [("key", 14), ("bar", 0), ("position", 0)]
    for track in range(MAX_TRACKS):
        said += [("track", track), ("drums", 0) if track == 9 else ("program", track), ("velocity", 3), ("longer", 0)]
        said += [("duration", 5), *[("drum", pitch) if track == 9 else ("note", pitch + 5) for pitch in (60, 61)]]
    for kind, value in [*said, ("bar", 0), ("position", 1), ("track", 9), ("duration", 2), ("drum", 0)]:
        assert state.push(words.id(kind, value)), (kind, value)
        compiled.push(words.id(kind, value))
        assert (state.mask() == compiled.mask).all(), (kind, value)


def test_grammar_state_single_pitch_in_every_track_continues() -> None:
    """Sixteen tracks of one pitch, all sounding for long: only bars are legal, and notes after them."""
    vocabulary = EventVocabulary(VocabularyOptions(low=60, high=60, velocity_bins=1, key=True))
    state = GrammarState(vocabulary)
    state.restrict(tempo_changes=False)
    state.plan_bars(None)
    for event in ("key", "bar", "position"):
        state.push(vocabulary.id(event))
    for track in range(MAX_TRACKS - 1):
        for event in (("track", track), ("program", track), ("velocity", 0), ("longer", 0), ("duration", 31),
                      ("note", 60)):  # fmt: skip
            assert state.push(vocabulary.id(*event)), event
    allowed = {vocabulary.token_name(int(token)) for token in np.flatnonzero(state.mask())}
    assert {event for event in allowed if not event.startswith("position")} == {"bar", "end", "track 15"}
    for event in (("track", 15), ("drums", 0), ("velocity", 0), ("longer", 0), ("duration", 31)):
        assert state.push(vocabulary.id(*event)), event
    assert not state.allows(vocabulary.id("note", 60))
    for stroke in range(128):
        assert state.push(vocabulary.id("drum", stroke))
    for _ in range(4):  # 64 steps are four bars
        assert {vocabulary.token_name(int(token)) for token in np.flatnonzero(state.mask())} <= {
            "bar", "end", *(vocabulary.token_name(vocabulary.id("metre", v)) for v in range(vocabulary.sizes["metre"])),
        }  # fmt: skip
        assert state.push(vocabulary.id("bar"))
    assert state.push(vocabulary.id("position")) is (state.length > 64)
    list(wander(state, 1, 50))
    check(state.piece(), vocabulary)


def test_restrict_without_a_pitch_is_refused() -> None:
    state = GrammarState(EventVocabulary(VocabularyOptions(low=61, high=61, key=True)))
    with pytest.raises(UserError, match="the key has no pitch"):
        state.restrict([60, 62])


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
def test_encode_piece_of_every_midi_piece_is_legal(
    found: list[tuple[int, int, int, int, int]],
    metres: list[tuple[int, int, int]],
    options: VocabularyOptions,
    tempos: list[int],
) -> None:
    """Every event is legal, and decoding changes velocities and tempos only."""
    tracks = [[program(0, track, track)] for track in range(5)] + [[]]
    for start, length, pitch, velocity, track in found:
        channel = 9 if track == 5 else track
        tracks[track] += [on(start, pitch, velocity, channel), off(start + length, pitch, channel)]
    head = [metre(*each) for each in metres] + [tempo(17 * place, bpm) for place, bpm in enumerate(tempos)]
    vocabulary = EventVocabulary(replace(options, low=0))
    piece, _ = midi.read(midi_file(head, *tracks, division=5), options.grid)
    ids = encode_piece(piece, vocabulary)
    state = GrammarState(vocabulary)
    for token in ids:
        assert state.push(token), (vocabulary.token_name(token), "after", state.previous)
    again = state.piece()
    assert again == decode_piece(ids, vocabulary)
    assert again.bars == piece.bars
    assert again.tracks == piece.tracks
    assert [note[:4] for note in again.notes] == [note[:4] for note in piece.notes]
    assert encode_piece(again, vocabulary) == ids
    assert state.allows(vocabulary.id("end"))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), options=ANY_OPTIONS)
@example(data=None, options=VocabularyOptions(key=True))
def test_decode_piece_skips_illegal_events(data: st.DataObject | None, options: VocabularyOptions) -> None:
    """Any ids decode to a piece, that of the legal ones."""
    vocabulary = EventVocabulary(options)
    ids = [] if data is None else data.draw(st.lists(st.integers(-3, vocabulary.size + 3), max_size=120))
    piece = decode_piece(ids, vocabulary)
    check(piece, vocabulary)
    state = GrammarState(vocabulary)
    taken = [token for token in ids if not state.ended and state.push(token)]
    assert decode_piece(taken, vocabulary) == piece
    assert decode_piece(encode_piece(piece, vocabulary), vocabulary) == piece


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, inserted=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 900)), max_size=40))
def test_decode_piece_ignores_inserted_illegal_events(seed: int, inserted: list[tuple[int, int]]) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(key=True))
    ids = list(wander(GrammarState(vocabulary), seed, 100))
    for place, token in inserted:
        ids.insert(place, token)
    piece = decode_piece(ids, vocabulary)
    check(piece, vocabulary)
    assert decode_piece(encode_piece(piece, vocabulary), vocabulary) == piece


def test_decode_piece_stops_at_end() -> None:
    vocabulary = EventVocabulary(VocabularyOptions(key=True))
    ids = encode_piece(LITTLE, vocabulary)
    assert decode_piece([*ids, vocabulary.id("end"), *ids], vocabulary) == decode_piece(ids, vocabulary)
    assert decode_piece([vocabulary.id("end")], vocabulary).bars == ()  # no piece ends before it has begun


@settings(max_examples=20, deadline=None)
@given(seeds=st.lists(SEEDS, min_size=1, max_size=4), grid=st.sampled_from(GRIDS))
def test_count_steps_of_a_stream_is_the_sum_over_pieces(seeds: list[int], grid: int) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(grid=grid, key=True))
    stream, total = [], 0
    for seed in seeds:
        state = GrammarState(vocabulary)
        stream += [vocabulary.id("end"), *wander(state, seed, 60)]
        total += state.length
    assert count_steps(np.array(stream), vocabulary) == total
