"""From MIDI bytes to events and back: event table, grammar, unusual files, transposition, many files."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen import tokenizers
from seqgen.corpus import ids as id_cache
from seqgen.corpus.ids import IdStream
from seqgen.corpus.split import hold_out_items
from seqgen.errors import DataError, ModelError
from seqgen.music import grammar, midi
from seqgen.music.events import EVENT_TYPES, EventVocabulary, VocabularyOptions, tempo_value
from seqgen.music.grammar import GrammarState
from seqgen.music.metre import bar_length, metre_of_length, metres, nearest_metre
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files
from seqgen.training.augment import Augmenter
from seqgen.training.batches import LaneBatches

TICKS = 480


def file(*tracks: list[Any], kind: int = 1, division: int = TICKS) -> bytes:
    """A MIDI file of (tick, message) lists, ticks counted from the beginning."""
    made = mido.MidiFile(type=kind, ticks_per_beat=division)
    for messages in tracks:
        track = mido.MidiTrack()
        now = 0
        for tick, message in sorted(messages, key=lambda item: item[0]):
            message.time = tick - now
            now = tick
            track.append(message)
        made.tracks.append(track)
    buffer = io.BytesIO()
    made.save(file=buffer)
    return buffer.getvalue()


def on(pitch: int, velocity: int = 80, channel: int = 0) -> mido.Message:
    return mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)


def off(pitch: int, channel: int = 0) -> mido.Message:
    return mido.Message("note_off", note=pitch, channel=channel)


def notes_of(data: bytes, grid: int = 4, **options: Any) -> list[tuple[int, int, int]]:
    """(start, end, pitch) of every note."""
    piece, _ = midi.read(data, grid, **options)
    return [(note.start, note.end, note.pitch) for note in piece.notes]


# ---- The table and the grammar ----


def test_grammar_and_event_table_have_the_same_types() -> None:
    names = {kind.name for kind in EVENT_TYPES}
    assert set(grammar._RULES) == set(grammar._STEPS) == names
    assert all(set(kind.predecessors) <= names for kind in EVENT_TYPES)
    assert all(grammar.SUCCESSORS[name] for name in names), "a kind that nothing may follow"


walks = st.tuples(
    st.sampled_from([1, 2, 3, 4, 12]), st.booleans(), st.sampled_from([1, 8, 127]), st.booleans(), st.booleans(),
    st.integers(0, 1 << 30), st.integers(1, 250),
)  # fmt: skip


@given(walks)
@settings(max_examples=60)
def test_grammar_any_allowed_events_are_a_piece(case: tuple[int, bool, int, bool, bool, int, int]) -> None:
    grid, rising, bins, restricted, tempo, seed, length = case
    words = EventVocabulary(VocabularyOptions(grid=grid, rising=rising, velocity_bins=bins, key=True))
    chance = np.random.default_rng(seed)
    walk, ids = GrammarState(words), []
    walk.restrict(range(60, 64) if restricted else None, tempo)
    for _ in range(length):
        mask = walk.mask()
        assert mask.any(), "there is no way on"
        token = int(chance.choice(np.flatnonzero(mask)))
        if token == words.id("end"):
            continue
        assert walk.allows(token)
        assert walk.push(token)
        ids.append(token)
    piece = walk.piece()
    starts = {bar.start: bar for bar in piece.bars}
    assert [bar.start for bar in piece.bars] == [sum(b.length for b in piece.bars[:i]) for i in range(len(piece.bars))]
    assert all(bar.length == bar_length(bar.numerator, bar.denominator, grid) for bar in starts.values())
    assert all(0 <= note.start < note.end <= piece.length for note in piece.notes)
    sounding: dict[tuple[int, int], int] = {}
    for note in piece.notes:
        assert sounding.get((note.track, note.pitch), 0) <= note.start, "struck again while it sounds"
        sounding[note.track, note.pitch] = note.end
    if restricted:
        assert {n.pitch for n in piece.notes if not piece.tracks[n.track].drums} <= {60, 61, 62, 63}
    if piece.notes:
        again, losses = midi.read(midi.write(piece), grid)
        assert again.notes == piece.notes
        assert (losses.hanging, losses.lengthened, losses.doubled, losses.struck_again) == (0, 0, 0, 0)
        # As far as a file can tell: empty bars at the end leave no trace.
        spelt = grammar.encode_piece(again, words)
        assert grammar.encode_piece(grammar.decode_piece(spelt, words), words) == spelt


@given(st.integers(0, 1 << 30))
@settings(max_examples=20)
def test_grammar_mask_equals_allows(seed: int) -> None:
    words = EventVocabulary(VocabularyOptions(key=True))
    chance, walk = np.random.default_rng(seed), GrammarState(words)
    for _ in range(40):
        mask = walk.mask()
        assert mask.tolist() == [walk.allows(token) for token in range(words.size)]
        walk.push(int(chance.choice(np.flatnonzero(mask))))
        if walk.ended:
            break


@given(st.lists(st.integers(-5, 900), max_size=200))
def test_decode_piece_skips_illegal_events(ids: list[int]) -> None:
    piece = grammar.decode_piece(ids, EventVocabulary(VocabularyOptions(key=True)))
    assert all(note.end > note.start for note in piece.notes)


def test_event_vocabulary_id_round_trip() -> None:
    words = EventVocabulary(VocabularyOptions(grid=3, velocity_bins=5, key=True))
    assert [words.id(*words.event(token)) for token in range(words.size)] == list(range(words.size))
    assert len({words.token_name(token) for token in range(words.size)}) == words.size
    with pytest.raises(ValueError, match="velocity has no value 5"):
        words.id("velocity", 5)


@pytest.mark.parametrize("bins", range(1, 128))
def test_event_vocabulary_velocity_stays_in_its_bin(bins: int) -> None:
    words = EventVocabulary(VocabularyOptions(velocity_bins=bins, key=True))
    assert [words.velocity_bin(words.velocity(value)) for value in range(bins)] == list(range(bins))
    assert all(1 <= words.velocity(value) <= 127 for value in range(bins))


def test_encode_piece_by_hand() -> None:
    """Golden: a waltz's bar in B minor, whose events are two semitones lower; two tracks and a drum."""
    notes = (
        Note(0, 0, 67, 4, 72), Note(0, 1, 52, 12, 40), Note(0, 1, 48, 12, 40), Note(4, 0, 69, 8, 72),
        Note(8, 2, 38, 9, 104), Note(12, 0, 71, 60, 72),
    )  # fmt: skip
    bars = tuple(Bar(12 * place, 12, 3, 4) for place in range(5))
    piece = Piece(4, (Track(73), Track(24), Track(None)), notes, bars, ((0, 95),))
    words = EventVocabulary(VocabularyOptions(key=True))
    assert [words.token_name(token) for token in grammar.encode_piece(piece, words)] == [
        "key Bm", "bar 4 to come", "metre 3/4", "position 0", "tempo 95", "track 0", "program 73", "velocity 71",
        "duration 4", "note 65", "track 1", "program 24", "velocity 39", "duration 12", "note 46", "note 50",
        "position 4", "track 0", "note 67", "position 8", "track 2", "drums", "velocity 103", "duration 1", "drum 38",
        "bar 3 to come", "position 0", "track 0", "longer", "duration 16", "note 69", "bar 2 to come",
        "bar 1 to come", "bar 0 to come",
    ]  # fmt: skip


@pytest.mark.parametrize("grid", [1, 3, 4, 12, 48])
def test_metres_fill_whole_steps(grid: int) -> None:
    assert (4, 4) in metres(grid)
    thirty_seconds = {numerator for numerator, denominator in metres(grid) if denominator == 32}
    assert thirty_seconds == (set(range(1, 97, 2)) if grid % 8 == 0 else set())  # 6/32 is 3/16
    for numerator, denominator in metres(grid):
        length = bar_length(numerator, denominator, grid)
        assert length * denominator == numerator * 4 * grid
        assert 1 <= length <= 12 * grid
        assert metre_of_length(length, grid, denominator) == (numerator, denominator)
        assert nearest_metre(numerator, denominator, grid) == (numerator, denominator)
    assert nearest_metre(100, 4, grid) in metres(grid)


def test_tempo_value_is_the_nearest() -> None:
    words = EventVocabulary(VocabularyOptions(key=True))
    assert [words.token_name(words.id("tempo", tempo_value(bpm))) for bpm in (1, 119, 121, 9999)] == [
        "tempo 30", "tempo 120", "tempo 120", "tempo 480",
    ]  # fmt: skip


# ---- Files ----


def test_midi_read_note_begin_and_end() -> None:
    data = file([(0, on(60)), (480, off(60)), (480, on(64)), (720, on(64, velocity=0))])
    assert notes_of(data) == [(0, 4, 60), (4, 6, 64)]


def test_midi_read_formats_0_1_and_2() -> None:
    line = [(0, on(60)), (480, off(60))]
    assert notes_of(file(list(line), kind=0)) == [(0, 4, 60)]
    assert notes_of(file(list(line), [(0, on(72, channel=1)), (480, off(72, channel=1))])) == [(0, 4, 60), (0, 4, 72)]
    # The patterns of format 2 follow one another, each from a new bar.
    assert notes_of(file(list(line), [(0, on(72)), (480, off(72))], kind=2)) == [(0, 4, 60), (16, 20, 72)]


def test_midi_read_unended_notes_end_with_their_track() -> None:
    piece, losses = midi.read(file([(0, on(60)), (960, mido.MetaMessage("end_of_track"))]), 4)
    assert [(n.start, n.end) for n in piece.notes] == [(0, 8)]
    assert losses.hanging == 1


def test_midi_read_all_notes_off_ends_notes() -> None:
    quiet = mido.Message("control_change", control=123, value=0)
    assert notes_of(file([(0, on(60)), (480, quiet), (1920, mido.MetaMessage("end_of_track"))])) == [(0, 4, 60)]


def test_midi_read_pedal_sustains_notes() -> None:
    down, up = (mido.Message("control_change", control=64, value=value) for value in (127, 0))
    assert notes_of(file([(0, down), (0, on(60)), (240, off(60)), (960, up)])) == [(0, 8, 60)]
    again = file([(0, down), (0, on(60)), (240, off(60)), (480, on(60)), (600, off(60)), (960, up)])
    assert notes_of(again) == [(0, 4, 60), (4, 8, 60)]


def test_midi_read_counts_short_doubled_and_overlapping_notes() -> None:
    piece, losses = midi.read(
        file([(0, on(60)), (10, off(60)), (480, on(62)), (490, on(62)), (1440, off(62)), (1440, off(62))]), 4
    )
    assert [(n.start, n.end, n.pitch) for n in piece.notes] == [(0, 1, 60), (4, 12, 62)]
    assert (losses.lengthened, losses.doubled, losses.notes, losses.kept) == (1, 1, 3, 2)


def test_midi_read_channel_ten_is_drums() -> None:
    flute = mido.Message("program_change", program=73)
    data = file([(0, on(36, channel=9)), (120, off(36, channel=9)), (0, flute), (0, on(70)), (480, off(70))])
    piece, _ = midi.read(data, 4)
    assert set(piece.tracks) == {Track(None), Track(73)}


def test_midi_codec_tracks_option_selects_tracks() -> None:
    data = file(
        [(0, on(72)), (480, off(72)), (0, on(76)), (960, off(76)), (480, on(74)), (960, off(74))],
        [(0, on(40, channel=1)), (960, off(40, channel=1))],
        [(0, on(38, channel=9)), (120, off(38, channel=9))],
    )
    assert notes_of(data, tracks="melody") == [(0, 4, 76), (4, 8, 74)]
    piano, _ = midi.read(data, 4, tracks="piano")
    assert piano.tracks == (Track(0),)
    assert len(piano.notes) == 4
    assert sorted(notes_of(data, low=70, high=75)) == [(0, 1, 38), (0, 4, 72), (4, 8, 74)]


def metre(numerator: int, denominator: int) -> mido.MetaMessage:
    return mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)


def test_midi_read_metre_change_cuts_the_bar_short() -> None:
    data = file([(0, metre(4, 4)), (480, metre(3, 4)), (0, on(60)), (4000, off(60))])
    piece, losses = midi.read(data, 4)
    assert [(bar.length, bar.numerator, bar.denominator) for bar in piece.bars[:3]] == [
        (4, 1, 4),
        (12, 3, 4),
        (12, 3, 4),
    ]
    assert losses.metres_changed == 0


def test_midi_read_unfit_metre_becomes_the_nearest() -> None:
    piece, losses = midi.read(file([(0, metre(3, 32)), (0, on(60)), (480, off(60))]), 4)
    assert losses.metres_changed >= 1
    assert notes_of(midi.write(piece)) == [(0, 4, 60)]


def test_midi_read_smpte_time_is_in_seconds() -> None:
    data = bytearray(file([(0, on(60)), (1000, off(60))], kind=0))
    data[12:14] = bytes([256 - 25, 40])  # 25 frames of 40 ticks: 1,000 ticks a second, two quarters at 120
    assert notes_of(bytes(data)) == [(0, 8, 60)]


def test_midi_read_unwraps_riff() -> None:
    data = file([(0, on(60)), (480, off(60))])
    assert notes_of(b"RIFF\x00\x00\x00\x00RMIDdata\x00\x00\x00\x00" + data) == [(0, 4, 60)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"), (b"no music here", "MThd"), (file([(0, metre(3, 4))]), "no notes"),
        (file([(0, on(60)), (480, off(60))])[:12], "truncated"), (b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x00\x00", ""),
        (file([(0, on(60)), (480 * 4 * 10_001 + 960, off(60))]), "bars"),
    ],
)  # fmt: skip
def test_midi_read_invalid_file_raises_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(DataError) as error:
        midi.read(data, 4)
    assert why in str(error.value)
    assert "\n" not in str(error.value)


GOOD = file(
    [(0, metre(3, 4)), (0, on(60)), (0, on(64)), (480, off(60)), (500, off(64)), (960, on(67)), (1400, off(67))]
)


@pytest.mark.parametrize("size", range(len(GOOD)))
def test_midi_read_truncated_file_is_read_or_raises(size: int) -> None:
    try:
        midi.read(GOOD[:size], 4)
    except DataError:
        return


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=12), st.binary(max_size=40))
@settings(max_examples=150)
def test_midi_read_random_bytes_are_read_or_raise(changes: list[tuple[int, int]], tail: bytes) -> None:
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    for attempt in (bytes(data), bytes(data) + tail, GOOD[:22] + tail):
        try:
            piece, _ = midi.read(attempt, 4)
        except DataError as error:
            assert str(error)
            continue
        words = EventVocabulary(VocabularyOptions(key=True))
        ids = grammar.encode_piece(piece, words)
        assert grammar.encode_piece(midi.read(midi.write(grammar.decode_piece(ids, words)), 4)[0], words) == ids


lines = st.lists(
    st.tuples(st.integers(0, 8000), st.integers(1, 3000), st.integers(0, 127), st.integers(1, 127), st.integers(0, 11)),
    min_size=1, max_size=40,
)  # fmt: skip


@given(lines, st.sampled_from([1, 3, 4, 12]), st.sampled_from([96, 480, 1024]), st.booleans())
@settings(max_examples=80)
def test_midi_codec_round_trip_moves_notes_by_half_a_step_at_most(
    line: list[tuple[int, int, int, int, int]], grid: int, division: int, rising: bool
) -> None:
    taken: dict[tuple[int, int], int] = {}
    kept = []
    for start, length, pitch, velocity, channel in sorted(line):
        if taken.get((pitch, channel), -1) < start:  # one at a time, so that each can be found again
            taken[pitch, channel] = start + length
            kept.append((start, start + length, pitch, velocity, channel))
    messages = [(s, on(p, v, c)) for s, _, p, v, c in kept] + [(e, off(p, c)) for _, e, p, _, c in kept]
    codec = MidiCodec(VocabularyOptions(grid=grid, rising=rising, key=True))
    piece, losses = codec.read_piece(file(messages, kind=0, division=division))
    scale = grid / division
    assert losses.largest_shift <= 0.5
    for start, end, pitch, _, _ in kept:
        near = [note for note in piece.notes if note.pitch == pitch and abs(note.start - start * scale) <= 0.5]
        assert near, "a note is gone"
        if not (losses.lengthened or losses.struck_again or losses.doubled):
            assert any(abs(note.end - end * scale) <= 0.5 for note in near)
    ids = codec.encode_piece(piece)
    once = tokenizers.decode(codec, ids)
    assert codec.encode(once).tolist() == ids.tolist()
    assert tokenizers.decode(codec, codec.encode(once)) == once


# ---- The codec, many files, transposition ----


def test_midi_codec_is_restored_from_its_files() -> None:
    codec = MidiCodec(VocabularyOptions(3, 5, "piano", 21, 108, False, key=True))
    again = tokenizers.parse(tokenizers.dump(codec))
    assert isinstance(again, MidiCodec)
    assert again.options == codec.options
    for change in ({"grid": 0}, {"grid": "4"}, {"low": 99, "high": 3}, {"vocab_size": 7}, {"colour": 1}):
        with pytest.raises(ModelError):
            MidiCodec.from_dict({**codec.to_dict(), **change}, {})


def test_read_midi_files_keeps_the_order_with_any_workers(tmp_path: Path) -> None:
    paths = []
    for number in range(40):
        path = tmp_path / f"{number} ü.mid{'.gz' * (number % 7 == 3)}"
        data = b"nothing" if number % 11 == 5 else file([(0, on(40 + number)), (480, off(40 + number))])
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        paths.append((str(path), path))
    one, two = (list(read_midi_files(MidiCodec(), paths, workers=workers)) for workers in (1, 2))
    assert [read.name for read in one] == [read.name for read in two] == [name for name, _ in paths]
    assert [read.ids.tolist() for read in one] == [read.ids.tolist() for read in two]
    assert [bool(read.error) for read in two] == [number % 11 == 5 for number in range(40)]


def stream_of(pieces: list[list[int]], codec: MidiCodec, folder: Path) -> IdStream:
    parts = (((np.array(piece, dtype=np.int32),), True) for piece in pieces)
    return id_cache.build(folder / "some.ids", parts, codec.vocab_size, codec.end)


@given(st.integers(0, 5), st.integers(0, 12))
@settings(max_examples=20)
def test_augmenter_moves_a_piece_by_one_interval_in_range(turn: int, semitones: int) -> None:
    codec = MidiCodec(VocabularyOptions(low=36, high=96, key=True))
    words = codec.vocabulary
    drum = Note(0, 1, 38, 1, 64)
    pieces = [
        Piece(
            4,
            (Track(0), Track(None)),
            (Note(0, 0, pitch, 4, 64), drum, Note(4, 0, pitch + 4, 8, 64)),
            (Bar(0, 16, 4, 4),),
        )
        for pitch in (36, 60, 92)
    ]
    ids = np.concatenate([np.append(codec.end, grammar.encode_piece(piece, words)) for piece in pieces])
    move = Augmenter(IdStream(ids.astype(np.uint16), np.zeros(0, dtype=np.int64)), words, semitones, 0, seed=3)
    moved = move(ids[:, None], np.arange(len(ids))[:, None], turn)[:, 0]
    again = np.split(moved, np.flatnonzero(moved == codec.end)[1:])
    for before, after in zip(pieces, again, strict=True):
        piece = grammar.decode_piece(after[1:].tolist(), words)
        shifts = {b.pitch - a.pitch for a, b in zip(before.notes, piece.notes, strict=True) if a.track == 0}
        assert len(shifts) == 1
        assert abs(shifts.pop()) <= semitones
        assert all(36 <= note.pitch <= 96 for note in piece.notes)
        assert [note.pitch for note in piece.notes if note.track == 1] == [38]


def test_augmenter_epochs_differ_and_batches_repeat(tmp_path: Path) -> None:
    codec = MidiCodec(VocabularyOptions(key=True))
    notes = tuple(Note(4 * place, 0, 60 + place, 4 * place + 4, 64) for place in range(8))
    piece = Piece(4, (Track(0),), notes, (Bar(0, 16, 4, 4), Bar(16, 16, 4, 4)))
    stream = stream_of([grammar.encode_piece(piece, codec.vocabulary)] * 20, codec, tmp_path)
    made = [LaneBatches(stream, 4, 16, 7, Augmenter(stream, codec.vocabulary, 5, 0, 7)) for _ in range(2)]
    passes = made[0].batches_per_epoch
    keys = set()
    for number in (0, passes, 2 * passes, 1, 0):
        one, two = made[0][number], made[1][number]
        assert (one.inputs == two.inputs).all() and (one.targets == two.targets).all()
        assert (one.inputs[1:] == one.targets[:-1]).all()
        keys |= {token for token in one.inputs.ravel().tolist() if codec.vocabulary.event_types[token] == "key"}
    assert len(keys) > 3


@given(st.integers(0, 60), st.floats(0, 0.9))
def test_hold_out_items_keeps_items_whole(count: int, fraction: float) -> None:
    train, held = hold_out_items(range(count), fraction)
    assert sorted([*train, *held]) == list(range(count))
    if count:
        assert train
    if count > 1 and fraction > 0:
        assert held
        assert abs(len(held) - fraction * count) <= 1
    if not fraction:
        assert not held
