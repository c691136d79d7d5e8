"""Transposition of the pieces in a stream of ids."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import TrainOptions
from seqgen.corpus.ids import IdStream
from seqgen.music.events import TEMPOS, EventVocabulary, VocabularyOptions, tempo_value
from seqgen.music.grammar import decode_piece
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.specs.tasks import TASKS
from seqgen.tasks.music import MusicTask
from seqgen.tokenizers import decode
from seqgen.tokenizers.midi import MidiCodec
from seqgen.training.augment import Augmenter
from seqgen.training.batches import LaneBatches
from tests.helpers.midi_files import tune


def stream_of(vocabulary: EventVocabulary, pieces: list[list[int]]) -> IdStream:
    ids = [token for piece in pieces for token in (vocabulary.id("end"), *piece)]
    return IdStream(np.array(ids, dtype=np.uint16), np.zeros(0, dtype=np.int64))


def passes(stream: IdStream, transposer: Augmenter, turn: int) -> list[int]:
    places = np.arange(len(stream))
    return transposer(stream.ids.astype(np.int64), places, turn).tolist()


IDS = st.lists(st.lists(st.integers(0, 10**6), max_size=12), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(
    pieces=IDS, semitones=st.integers(0, 24), percent=st.integers(0, 50), seed=st.integers(0, (1 << 63) - 1),
    turn=st.integers(0, 1 << 20), low=st.integers(0, 60), high=st.integers(60, 127),
)  # fmt: skip
def test_augmenter_moves_each_piece_by_one_interval_within_its_range(
    pieces: list[list[int]], semitones: int, percent: int, seed: int, turn: int, low: int, high: int
) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(low=low, high=high, key=False))
    note, strange = vocabulary.offsets["note"], vocabulary.id("end")

    def legal(number: int) -> int:
        token = number % vocabulary.size
        kind, value = vocabulary.event(token)
        return note + min(max(value, low), high) if kind == "note" else token + (token == strange) * -1

    spelt = [[legal(number) for number in piece] for piece in pieces]
    stream = stream_of(vocabulary, spelt)
    transposer = Augmenter(stream, vocabulary, semitones, percent, seed)
    moved = iter(passes(stream, transposer, turn))
    bins = round(12 * float(np.log2(1 + percent / 100)))
    for piece in spelt:
        shifts, factors = set(), set()
        for token in (strange, *piece):
            kind, value = vocabulary.event(token)
            kind_then, then = vocabulary.event(next(moved))
            assert kind_then == kind
            if kind == "note":
                assert low <= then <= high
                shifts.add(then - value)
            elif kind == "tempo":
                if 0 < then < len(TEMPOS) - 1:
                    factors.add(then - value)
            elif kind == "bar":
                assert then in (value, 0)
            else:
                assert then == value
        assert len(shifts) <= 1
        assert len(factors) <= 1
        assert all(abs(shift) <= semitones for shift in shifts)
        assert all(abs(factor) <= bins for factor in factors)
    fresh = Augmenter(stream, vocabulary, semitones, percent, seed)
    assert passes(stream, fresh, turn) == passes(stream, transposer, turn)


@pytest.fixture(scope="module", params=[False, True], ids=["without key", "key"])
def twelve(request: pytest.FixtureRequest) -> tuple[EventVocabulary, IdStream]:
    codec = MidiCodec(VocabularyOptions(form=False, key=request.param))
    return codec.vocabulary, stream_of(codec.vocabulary, [codec.encode(tune(n)).tolist() for n in range(12)])


def test_augmenter_epochs_differ_and_are_reproducible(twelve: tuple[EventVocabulary, IdStream]) -> None:
    """All intervals occur; pieces of one epoch differ; an epoch is the same for one seed, alone or after others."""
    vocabulary, stream = twelve
    transposer = Augmenter(stream, vocabulary, 5, 10, 7)
    drawn = [transposer.draw(turn) for turn in range(40)]
    shifts = np.array([shift for shift, _ in drawn])
    assert set(np.unique(shifts)) == set(range(-5, 6))
    assert min(len(set(row)) for row in shifts.tolist()) > 3
    assert set(np.unique([faster for _, faster in drawn])) == {-2, -1, 0, 1, 2}
    every = [passes(stream, transposer, turn) for turn in range(6)]
    assert len(set(map(tuple, every))) == 6
    for turn in (3, 0, 5, 3):
        assert passes(stream, transposer, turn) == every[turn]
        assert passes(stream, Augmenter(stream, vocabulary, 5, 10, 7), turn) == every[turn]
        assert passes(stream, Augmenter(stream, vocabulary, 5, 10, 8), turn) != every[turn]
    assert passes(stream, Augmenter(stream, vocabulary, 0, 0, 7), 3) == stream.ids.tolist()


@pytest.mark.parametrize("tempos", [(120,), (100,), (113,), (120, 95, 120), (100, 120, 90)])
def test_augmenter_changes_all_tempos_of_a_piece_or_none(tempos: tuple[int, ...]) -> None:
    """That of a beginning at 120, which no event says, stayed where the others moved; and some came to begin at 120."""
    codec = MidiCodec(VocabularyOptions(form=False))
    starts = range(0, 16 * len(tempos), 16)
    piece = Piece(
        4, (Track(0),), tuple(Note(start, 0, 60, start + 4, 90) for start in starts),
        tuple(Bar(start, 16, 4, 4) for start in starts), tuple(zip(starts, tempos, strict=True)),
    )  # fmt: skip
    ids = codec.encode_piece(piece)
    stream = stream_of(codec.vocabulary, [list(ids)])
    augmenter = Augmenter(stream, codec.vocabulary, 0, 20, 1)
    before = [tempo_value(tempo) for tempo in tempos]
    steps = set()
    for epoch in range(40):
        moved = passes(stream, augmenter, epoch)[1:]
        made = decode_piece(moved, codec.vocabulary)
        steps.add(tempo_value(made.tempos[0][1]) - before[0])
        assert [tempo_value(tempo) - value for (_, tempo), value in zip(made.tempos, before, strict=True)] == [
            tempo_value(made.tempos[0][1]) - before[0]
        ] * len(before)
        assert moved == list(codec.encode_piece(made))
    forbidden = tempo_value(120) - before[0]  # a beginning at 120, where the piece stays as it is
    assert steps == ({0} if tempos[0] == 120 else {*range(-3, 4)} - {forbidden})


def test_music_says_which_pieces_are_not_stretched() -> None:
    codec = MidiCodec(VocabularyOptions())
    stream = stream_of(codec.vocabulary, [codec.encode(tune(number)).tolist() for number in range(4)])
    found = SimpleNamespace(codec=codec, train=stream, held_out=None, counts={}, key="")
    for percent in (0, 10):
        said: list[str] = []
        preparation = SimpleNamespace(options=TrainOptions(stretch=percent), warn=said.append)
        MusicTask(TASKS.find("music")).data(found, preparation)  # type: ignore[arg-type]
        assert [message.partition(":")[0] for message in said] == (
            ["--stretch leaves 1 of 4 pieces as they are"] if percent else []
        )


def test_augmenter_of_a_piece_yields_the_ids_of_the_transposed_piece(twelve: tuple[EventVocabulary, IdStream]) -> None:
    """The ids of a transposed piece are those of its encoding: where keys are named, in the other key."""
    vocabulary, stream = twelve
    codec = MidiCodec(vocabulary.options)
    starts = np.flatnonzero(stream.ids == codec.end)
    transposer = Augmenter(stream, vocabulary, 5, 0, 7)
    shift, _ = transposer.draw(1)
    moved = np.split(np.array(passes(stream, transposer, 1)), starts[1:])
    for number, ids in enumerate(np.split(stream.ids, starts[1:])):
        piece = codec.read_piece(decode(codec, ids[1:]))[0]
        notes = tuple(
            note if piece.tracks[note.track].drums else note._replace(pitch=note.pitch + int(shift[number]))
            for note in piece.notes
        )
        assert codec.encode_piece(replace(piece, notes=notes)).tolist() == moved[number][1:].tolist()


@pytest.mark.parametrize(("batch_size", "length"), [(1, 7), (4, 16), (5, 10_000)])
def test_augmenter_in_lanes_shifts_inputs_and_targets_alike(
    twelve: tuple[EventVocabulary, IdStream], batch_size: int, length: int
) -> None:
    """The batches of a lane join: the last target of one is the first input of the next."""
    vocabulary, stream = twelve
    plain = LaneBatches(stream, batch_size, length, seed=3)
    moved = LaneBatches(stream, batch_size, length, seed=3, transform=Augmenter(stream, vocabulary, 5, 10, 3))
    changed = 0
    for turn in range(2):
        numbers = range(turn * moved.batches_per_epoch, (turn + 1) * moved.batches_per_epoch)
        batches = [moved[number] for number in numbers]
        for batch, before, number in zip(batches, [None, *batches], numbers, strict=False):
            assert (batch.inputs[1:] == batch.targets[:-1]).all()
            assert batch.resets_state == (before is None)
            if before is not None:
                assert (before.targets[-1] == batch.inputs[0]).all()
            other = plain[number]
            differs = batch.inputs != other.inputs
            changed += int(differs.sum())
            kinds = {vocabulary.event_types[token] for token in other.inputs[differs].tolist()}
            assert kinds <= {"key", "note", "tempo"}
            again = moved[number]
            assert (again.inputs == batch.inputs).all()
            assert (again.targets == batch.targets).all()
    assert changed


def test_augmenter_hides_the_count_of_some_first_bars() -> None:
    """In about one of seven pieces of an epoch a random number of first bars, at least one, don't count."""
    codec = MidiCodec(VocabularyOptions(key=True))
    pieces = [codec.encode(tune(n % 12)).tolist() for n in range(200)]
    stream = stream_of(codec.vocabulary, pieces)
    augmenter = Augmenter(stream, codec.vocabulary, 0, 0, 3)
    starts = np.flatnonzero(stream.ids == codec.end)
    bars = codec.vocabulary.is_event(stream.ids, "bar")
    hidden: list[int] = []
    for epoch in range(3):
        ids = np.array(passes(stream, augmenter, epoch))
        assert (ids[~bars] == stream.ids[~bars]).all()
        assert ids.tolist() == passes(stream, Augmenter(stream, codec.vocabulary, 0, 0, 3), epoch)
        for before, after in zip(np.split(stream.ids, starts[1:]), np.split(ids, starts[1:]), strict=True):
            values = after[codec.vocabulary.is_event(before, "bar")] - codec.vocabulary.offsets["bar"]
            count = int((values == 0).sum())
            assert not values[:count].any(), "from the first bar on"
            hidden.append(count)
    fraction = np.mean([count > 0 for count in hidden])
    assert 0.1 < fraction < 0.2
    assert len(set(hidden)) > 2


@pytest.mark.parametrize(("key", "semitones"), [(True, 3), (False, 0), (False, 5)])
def test_music_is_transposed_as_asked_for(key: bool, semitones: int) -> None:
    codec = MidiCodec(VocabularyOptions(key=key))
    stream = stream_of(codec.vocabulary, [codec.encode(tune(0)).tolist()])
    found = SimpleNamespace(codec=codec, train=stream, held_out=None, counts={}, key="")
    preparation = SimpleNamespace(options=TrainOptions(transpose=semitones))
    data = MusicTask(TASKS.find("music")).data(found, preparation)  # type: ignore[arg-type]
    assert data.counts["transpose"] == semitones
    assert data.variety == pytest.approx(1.0 if key else (2 * semitones + 1) ** 0.5)
