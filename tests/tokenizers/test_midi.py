"""MidiCodec, reading many files at once, and what training makes of their ids: other keys, lanes, held-out pieces."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen import tokenizers
from seqgen.config import TrainOptions
from seqgen.corpus.ids import IdStream
from seqgen.corpus.split import hold_out_items
from seqgen.errors import DataError, ModelError, SeqgenError
from seqgen.music import midi
from seqgen.music.events import TEMPOS, EventVocabulary, VocabularyOptions
from seqgen.tokenizers import decode, midi_files
from seqgen.tokenizers import workers as pool
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_file, read_midi_files
from seqgen.training.augment import Transposer
from seqgen.training.batches import LaneBatches
from tests.helpers.midi_files import midi_file, set_tempo, tune

# ---- There and back ----

OPTIONS = [
    VocabularyOptions(grid, bins, tracks, low, high, rising)
    for (grid, bins, tracks, (low, high)), rising in zip(
        itertools.product([1, 4, 12], [1, 8, 127], ["all", "melody", "piano"], [(0, 127), (50, 70)]),
        itertools.cycle([True, False, False]), strict=False,
    )
]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    OPTIONS,
    ids=str,
)
def test_decoded_and_encoded_again_the_ids_are_the_same(options: VocabularyOptions) -> None:
    codec = MidiCodec(options)
    for seed in range(2):
        ids = codec.encode(tune(seed))
        assert ids.dtype == np.int32
        assert ids.min() >= 0
        assert ids.max() < codec.vocab_size
        assert codec.end not in ids
        data = decode(codec, ids)
        assert codec.encode(data).tolist() == ids.tolist()
        assert decode(codec, codec.encode(data)) == data
        assert decode(codec, [*ids, codec.end, *ids]) == data  # nothing counts behind the end


def test_the_codec_is_that_of_the_table() -> None:
    codec = MidiCodec()
    assert (codec.name, codec.options) == ("midi", VocabularyOptions())
    assert codec.vocab_size == codec.num_seen() == len(codec.pieces())
    assert set(codec.pieces()) == {None}
    assert codec.safe_prefix_length(tune(0)) == 0
    assert codec.files() == {}
    assert codec.extend(iter([b"x"])) is codec
    assert decode(codec, []) == b""
    assert midi.read(decode(codec, codec.encode(tune(0))), 4)[0].length  # and not of one push
    decoder = codec.decoder()
    assert {decoder.push(int(token)) for token in codec.encode(tune(0))} == {b""}


def test_what_train_is_told_makes_the_codec() -> None:
    asked = TrainOptions(grid=12, velocity_bins=3, tracks="piano", pitch_range="21-108", note_order="falling")
    assert MidiCodec.from_options(asked).options == VocabularyOptions(12, 3, "piano", 21, 108, False)
    assert MidiCodec.fit([b"", b"x"], grid=3).options == VocabularyOptions(grid=3)


def test_what_is_no_midi_is_a_data_error() -> None:
    with pytest.raises(DataError, match="not a MIDI file"):
        MidiCodec().encode(b"once upon a time")


# ---- tokenizer.json ----

WHOLE = tokenizers.dump(MidiCodec())["tokenizer.json"]


@pytest.mark.parametrize("options", OPTIONS[::5], ids=str)
def test_a_codec_comes_back_from_its_json(options: VocabularyOptions) -> None:
    codec = MidiCodec(options)
    for again in (MidiCodec.from_dict(json.loads(json.dumps(codec.to_dict())), {}), _parsed(tokenizers.dump(codec))):
        assert again.options == options
        assert again.to_dict() == codec.to_dict()
        assert again.encode(tune(1)).tolist() == codec.encode(tune(1)).tolist()


def _parsed(files: dict[str, bytes]) -> MidiCodec:
    codec = tokenizers.parse(files)
    assert isinstance(codec, MidiCodec)
    return codec


@pytest.mark.parametrize(
    "change",
    [
        {"grid": 0}, {"grid": 49}, {"grid": "4"}, {"grid": 4.0}, {"grid": True}, {"grid": None}, {"grid": 12},
        {"velocity_bins": 0}, {"velocity_bins": 128}, {"velocity_bins": 9}, {"tracks": "one"}, {"tracks": 1},
        {"low": -1}, {"low": 128}, {"high": 128}, {"high": 10**400}, {"low": 61, "high": 60}, {"rising": 1},
        {"rising": "up"}, {"vocab_size": 1}, {"vocab_size": None}, {"vocab_size": "816"}, {"new": 1}, {"kind": "mid"},
        {"kind": "char"}, {"kind": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_tokenizer_file_is_a_model_error(change: dict[str, Any]) -> None:
    data = json.dumps({**MidiCodec().to_dict(), **change}).encode()
    with pytest.raises(ModelError) as raised:
        tokenizers.parse({"tokenizer.json": data})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"kind": "midi"}', b"\xff", WHOLE[:-9]])
def test_half_a_tokenizer_file_is_a_model_error(data: bytes) -> None:
    with pytest.raises(ModelError):
        tokenizers.parse({"tokenizer.json": data})


# ---- Many files ----


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """More files than are read without help, of all sorts."""
    folder = tmp_path_factory.mktemp("many")
    names = [f"{number:02d}.mid" for number in range(28)]
    names[3], names[9], names[21] = "with a space.mid", 'quote " and \\ and\nline.mid', os.fsdecode(b"caf\xe9 \xff.mid")
    names[5], names[14] = "packed.mid.gz", "灯塔.midi"
    files = []
    for number, name in enumerate(names):
        data = tune(number)
        if number % 7 == 6:
            data = [b"", b"text", data[:40], midi_file([set_tempo(0, 100)])][number // 7]
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        files.append((name, folder / name))
    (folder / "broken.mid.gz").write_bytes(gzip.compress(tune(1))[:-20])
    files.insert(12, ("broken.mid.gz", folder / "broken.mid.gz"))
    files.insert(13, ("not there.mid", folder / "not there.mid"))
    return files


def facts(read: midi_files.MidiReadResult) -> tuple[Any, ...]:
    return read.name, read.ids.tolist(), read.ids.dtype, read.losses, read.error


Processes = list[subprocess.Popen[bytes]]


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """The processes that were started to read files."""
    begun: Processes = []
    start = pool._start_worker

    @contextlib.contextmanager
    def watched(*arguments: Any) -> Iterator[subprocess.Popen[bytes]]:
        with start(*arguments) as process:
            begun.append(process)
            yield process

    monkeypatch.setattr(pool, "_start_worker", watched)
    return begun


def test_many_processes_read_what_one_does(many: list[tuple[str, Path]], helpers: Processes) -> None:
    """In order, whatever the files are called, and whatever is in them; and then they end."""
    codec = MidiCodec(VocabularyOptions(grid=3, tracks="piano", low=40))
    told: dict[int, list[tuple[int, int]]] = {1: [], 2: []}
    found = {}
    for workers, said in told.items():

        def progress(done: int, of: int, said: list[tuple[int, int]] = said) -> None:
            said.append((done, of))

        found[workers] = [facts(read) for read in read_midi_files(codec, many, progress, workers)]
    assert len(helpers) == 2
    assert [process.poll() for process in helpers] == [0, 0]
    assert found[1] == found[2]
    assert [name for name, *_ in found[1]] == [name for name, _ in many]
    assert told[1] == told[2] == [(number, len(many)) for number in range(1, len(many) + 1)]
    assert sum(bool(why) for *_, why in found[1]) == 6
    assert {name: why for name, *_, why in found[1] if why} | {"broken.mid.gz": ""} == {
        "06.mid": "the file is empty",
        "13.mid": "not a MIDI file (no MThd header)",
        "20.mid": "the MIDI file is truncated",
        "27.mid": "the MIDI file has no notes",
        "broken.mid.gz": "",
        "not there.mid": found[1][13][-1],
    }
    assert "No such file" in found[1][13][-1]


def test_a_few_files_need_no_help(many: list[tuple[str, Path]], helpers: Processes) -> None:
    assert len(list(read_midi_files(MidiCodec(), many[:24], workers=2))) == 24
    assert not helpers


def test_helpers_end_when_nobody_wants_the_rest(many: list[tuple[str, Path]], helpers: Processes) -> None:
    reading = read_midi_files(MidiCodec(), many, workers=2)
    assert next(reading).name == many[0][0]
    reading.close()
    assert [process.poll() for process in helpers] == [0, 0]


def test_a_helper_that_dies_is_an_error_and_no_silence(
    many: list[tuple[str, Path]], helpers: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = pool._ask

    def deadly(helper: subprocess.Popen[bytes], batch: list[bytes], died: Any) -> pool.Reply:
        if json.loads(batch[0])[0] == many[8][0]:
            helper.kill()
            helper.wait()
        return ask(helper, batch, died)

    monkeypatch.setattr(pool, "_ask", deadly)
    with pytest.raises(SeqgenError, match=r"the process that read '.*' died"):
        list(read_midi_files(MidiCodec(), many, workers=2))
    assert all(process.poll() is not None for process in helpers)


@pytest.mark.parametrize("missing", [1, 4, 40, 10_000])
def test_a_helper_that_dies_in_the_middle_of_an_answer_is_an_error(many: list[tuple[str, Path]], missing: int) -> None:
    """Half the ids of a file are not taken for all of them."""
    name, path = many[0]
    batch = [json.dumps([name, str(path)]).encode()]
    answers = io.BytesIO()
    pool._send(answers, *midi_files.midi_job(tokenizers.dump(MidiCodec()))([memoryview(part) for part in batch]))
    for cut, whole in ((0, True), (missing, False)):
        data = answers.getvalue()
        helper: Any = SimpleNamespace(stdin=io.BytesIO(), stdout=io.BytesIO(data[: max(0, len(data) - cut)]))
        if whole:
            _, (part,) = pool._ask(helper, batch, midi_files._died)
            assert np.frombuffer(part, np.int32).tolist() == MidiCodec().encode(path.read_bytes()).tolist()
        else:
            with pytest.raises(SeqgenError, match="died"):
                pool._ask(helper, batch, midi_files._died)


def test_a_helper_that_cannot_begin_is_an_error(many: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.sys, "executable", "/bin/false")
    with pytest.raises(SeqgenError, match="died"):
        list(read_midi_files(MidiCodec(), many, workers=2))


def test_a_file_is_read_without_its_name_in_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.mid"
    path.write_bytes(tune(1)[:50])
    assert read_midi_file(MidiCodec(), "x.mid", path).error == "the MIDI file is truncated"


# ---- Other keys, other tempos ----


def stream_of(vocabulary: EventVocabulary, pieces: list[list[int]]) -> IdStream:
    ids = [token for piece in pieces for token in (vocabulary.id("end"), *piece)]
    return IdStream(np.array(ids, dtype=np.uint16), np.zeros(0, dtype=np.int64))


def passes(stream: IdStream, transposer: Transposer, turn: int) -> list[int]:
    places = np.arange(len(stream))
    return transposer(stream.ids.astype(np.int64), places, turn).tolist()


IDS = st.lists(st.lists(st.integers(0, 10**6), max_size=12), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(
    pieces=IDS, semitones=st.integers(0, 24), percent=st.integers(0, 50), seed=st.integers(0, (1 << 63) - 1),
    turn=st.integers(0, 1 << 20), low=st.integers(0, 60), high=st.integers(60, 127),
)  # fmt: skip
def test_a_pass_moves_each_piece_by_one_interval_within_its_range(
    pieces: list[list[int]], semitones: int, percent: int, seed: int, turn: int, low: int, high: int
) -> None:
    vocabulary = EventVocabulary(VocabularyOptions(low=low, high=high))
    note, strange = vocabulary.offsets["note"], vocabulary.id("end")

    def legal(number: int) -> int:
        token = number % vocabulary.size
        kind, value = vocabulary.event(token)
        return note + min(max(value, low), high) if kind == "note" else token + (token == strange) * -1

    spelt = [[legal(number) for number in piece] for piece in pieces]
    stream = stream_of(vocabulary, spelt)
    transposer = Transposer(stream, vocabulary, semitones, percent, seed)
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
            else:
                assert then == value
        assert len(shifts) <= 1
        assert len(factors) <= 1
        assert all(abs(shift) <= semitones for shift in shifts)
        assert all(abs(factor) <= bins for factor in factors)
    fresh = Transposer(stream, vocabulary, semitones, percent, seed)
    assert passes(stream, fresh, turn) == passes(stream, transposer, turn)


@pytest.fixture(scope="module")
def twelve() -> tuple[EventVocabulary, IdStream]:
    codec = MidiCodec()
    return codec.vocabulary, stream_of(codec.vocabulary, [codec.encode(tune(n)).tolist() for n in range(12)])


def test_passes_differ_and_come_back(twelve: tuple[EventVocabulary, IdStream]) -> None:
    """All intervals occur; pieces of one pass differ; a pass is the same again, alone or after others, for one seed."""
    vocabulary, stream = twelve
    transposer = Transposer(stream, vocabulary, 5, 10, 7)
    drawn = [transposer.draw(turn) for turn in range(40)]
    shifts = np.array([shift for shift, _ in drawn])
    assert set(np.unique(shifts)) == set(range(-5, 6))
    assert min(len(set(row)) for row in shifts.tolist()) > 3
    assert set(np.unique([faster for _, faster in drawn])) == {-2, -1, 0, 1, 2}
    every = [passes(stream, transposer, turn) for turn in range(6)]
    assert len(set(map(tuple, every))) == 6
    for turn in (3, 0, 5, 3):
        assert passes(stream, transposer, turn) == every[turn]
        assert passes(stream, Transposer(stream, vocabulary, 5, 10, 7), turn) == every[turn]
        assert passes(stream, Transposer(stream, vocabulary, 5, 10, 8), turn) != every[turn]
    assert passes(stream, Transposer(stream, vocabulary, 0, 0, 7), 3) == stream.ids.tolist()


def test_moved_pieces_are_pieces(twelve: tuple[EventVocabulary, IdStream]) -> None:
    """What is heard in another key is the same music: its ids are the spelling of the piece moved."""
    vocabulary, stream = twelve
    codec = MidiCodec()
    starts = np.flatnonzero(stream.ids == codec.end)
    transposer = Transposer(stream, vocabulary, 5, 0, 7)
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
def test_lanes_hear_the_same_key_in_inputs_and_targets(
    twelve: tuple[EventVocabulary, IdStream], batch_size: int, length: int
) -> None:
    """Each lane's batches join: what was a target at the end of one is the input at the beginning of the next."""
    vocabulary, stream = twelve
    plain = LaneBatches(stream, batch_size, length, seed=3)
    moved = LaneBatches(stream, batch_size, length, seed=3, transform=Transposer(stream, vocabulary, 5, 10, 3))
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
            assert kinds <= {"note", "tempo"}
            again = moved[number]
            assert (again.inputs == batch.inputs).all()
            assert (again.targets == batch.targets).all()
    assert changed


# ---- What is held out ----


@settings(max_examples=150, deadline=None)
@given(count=st.integers(0, 300), fraction=st.floats(0, 0.9) | st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1 / 3]))
def test_whole_items_are_held_out_evenly(count: int, fraction: float) -> None:
    train, held = hold_out_items(range(count), fraction)
    assert sorted(train + held) == list(range(count))
    assert train == sorted(train)
    assert held == sorted(held)
    assert train or not count
    assert bool(held) == (count > 1 and fraction > 0)
    assert abs(len(held) - count * fraction) < 1 or len(held) == 1
    gaps = [later - earlier for earlier, later in itertools.pairwise(held)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    if fraction and len(held) > 1:
        assert hold_out_items(range(count), fraction) == (train, held)
        more = hold_out_items(range(count + 10), fraction)
        assert more[1][: len(held)] == held  # files added at the end move none


def test_a_tenth_is_every_tenth() -> None:
    assert hold_out_items(range(100), 0.1)[1] == list(range(9, 100, 10))
    assert hold_out_items("ab", 0.01) == (["a"], ["b"])
    assert hold_out_items("a", 0.9) == (["a"], [])
