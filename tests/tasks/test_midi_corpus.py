"""Folders of MIDI files: what is left out and forgiven, what is held out, and the grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import seqgen
from seqgen.api.train.watch import Watcher
from seqgen.corpus.sources import Document, checksum_documents
from seqgen.errors import DataError, ModelError
from seqgen.generation.music.composing import music_codec
from seqgen.music.score import QuantisationStats, repairs
from seqgen.tasks.midi_corpus import better_grid, grid_to_choose, grid_warning, read_corpus, summary
from seqgen.tokenizers.midi import MidiCodec
from tests.helpers.midi_files import Event, midi_file, off, on, tempo, tune

TINY = {"steps": 2, "rnn_size": 8, "embedding_size": 8, "num_layers": 1, "threads": 1}


def documents(folder: Path, files: dict[str, bytes]) -> list[Document]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return checksum_documents([Document(name, folder / name) for name in files])


def line(onsets: Sequence[int], division: int = 480) -> bytes:
    events: list[Event] = []
    for number, tick in enumerate(onsets):
        events += [on(tick, 40 + number % 40), off(tick + 40, 40 + number % 40)]
    return midi_file(events, division=division)


JIGS = {f"{number}.mid": line([160 * step for step in range(48)]) for number in range(4)}
NO_NOTES = midi_file([tempo(0, 90)])


def test_read_corpus_counts_and_names_what_is_left_out(tmp_path: Path) -> None:
    files = {"a.mid": tune(1), "b.mid": NO_NOTES, "c.mid": b"text", "d.mid": tune(2)[:-20], "e.mid": tune(3)}
    pieces = read_corpus(MidiCodec(), documents(tmp_path, files))
    corpus = pieces.corpus
    assert len(pieces) == corpus.pieces == 3
    assert [corpus.ids(number).tolist() for number in (0, 2)] == [MidiCodec().encode(tune(n)).tolist() for n in (1, 3)]
    assert (corpus.silent, corpus.damaged) == (["b.mid"], ["c.mid: not MIDI (no MThd header), ABC or MusicXML"])
    assert summary(corpus) == (
        "5 files: 3 read, 1 without notes (b.mid), 1 damaged (c.mid: not MIDI (no MThd header), ABC or MusicXML), 1 of "
        "them damaged but read (d.mid): 1 track cut off or of a wrong length, read as far as possible",
        True,
    )


def test_read_corpus_of_sound_files_is_no_warning(tmp_path: Path) -> None:
    pieces = read_corpus(MidiCodec(), documents(tmp_path, {"a.mid": tune(1)}))
    assert summary(pieces.corpus) == ("1 file: 1 read", False)


@pytest.mark.parametrize("number", [4, 9, 19])
def test_hold_out_chooses_among_the_files_that_were_read(tmp_path: Path, number: int) -> None:
    """A file that can't be read takes no place: the held-out pieces are those of a folder without it."""
    whole = {f"{each:02}.mid": tune(each) for each in range(20)}
    with_damage = dict(sorted((whole | {f"{number:02}-.mid": b"no"}).items()))
    found = []
    for files in (whole, with_damage):
        train, held_out = read_corpus(MidiCodec(), documents(tmp_path, files)).hold_out(0.1)
        found.append([[part.corpus.ids(each).tolist() for each in part.numbers] for part in (train, held_out)])
    assert found[0] == found[1]
    assert [len(part) for part in found[0]] == [18, 2]


def test_train_two_pieces_and_damaged_ones_holds_out_a_piece(tmp_path: Path) -> None:
    folder = tmp_path / "tunes"
    folder.mkdir()
    for name, data in {"0.mid": tune(1), "1.mid": b"no", "2.mid": b"no", "3.mid": tune(2)}.items():
        (folder / name).write_bytes(data)
    model = seqgen.train(str(folder), tmp_path / "m", seed=1, **TINY)
    assert [model.checkpoint.config["data"][f"{part}_pieces"] for part in ("train", "held_out")] == [1, 1]


# ---- The grid ----


def stats(notes: int, moved: int, moved_8: int, moved_12: int, moved_24: int) -> QuantisationStats:
    return QuantisationStats(
        notes=notes, moved=moved, moved_8=moved_8, moved_12=moved_12, moved_24=moved_24, shift=moved / 4
    )


@pytest.mark.parametrize(
    ("counts", "better", "chosen"),
    [
        ((100, 0, 0, 0, 0), 8, None), ((100, 5, 5, 0, 0), 12, None), ((100, 60, 60, 0, 0), 12, 12),
        ((100, 30, 2, 30, 2), 8, 8), ((100, 30, 9, 21, 0), 24, None), ((100, 90, 88, 85, 70), None, None),
    ],
)  # fmt: skip
def test_grid_to_choose_is_one_that_holds_nearly_all_notes(
    counts: tuple[int, int, int, int, int], better: int | None, chosen: int | None
) -> None:
    assert (better_grid(stats(*counts)), grid_to_choose(stats(*counts))) == (better, chosen)


def test_grid_warning_names_the_grid_that_loses_less() -> None:
    assert grid_warning(stats(100, 5, 5, 0, 0), 4) is None
    assert grid_warning(stats(100, 60, 60, 3, 3), 4) == (
        "60% of the notes are off the grid of 4 steps a quarter note, and are moved by 0.25 steps on average; "
        "--grid 12 moves 3%"
    )
    played = grid_warning(stats(100, 90, 88, 85, 70), 4)
    assert played is not None and played.endswith("not played to a metronome; --grid 8 moves them by less")


@pytest.mark.parametrize(("grid", "expected"), [(None, 12), (4, 4), (3, 3)])
def test_train_takes_the_grid_of_triplets_unless_one_is_given(tmp_path: Path, grid: int | None, expected: int) -> None:
    folder = tmp_path / "jigs"
    folder.mkdir()
    for name, data in JIGS.items():
        (folder / name).write_bytes(data)
    messages: list[str] = []
    model = seqgen.train(str(folder), tmp_path / "m", seed=1, watch=Watcher(warn=messages.append), grid=grid, **TINY)
    assert music_codec(model.codec).options.grid == expected
    about = [message for message in messages if "grid" in message]
    assert len(about) == (expected != 3)


def test_train_resumed_keeps_the_grid_that_was_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "jigs"
    folder.mkdir()
    for name, data in JIGS.items():
        (folder / name).write_bytes(data)
    seqgen.train(str(folder), tmp_path / "m", seed=1, **TINY)
    model = seqgen.train(str(folder), tmp_path / "m", resume=True, **(TINY | {"steps": 4}))
    assert music_codec(model.codec).options.grid == 12
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    for damage in ({"transpose": -5}, {"stretch": 10**30}):
        damaged = {**config, "data": {**config["data"], **damage}}
        (tmp_path / "m" / "config.json").write_text(json.dumps(damaged))
        with pytest.raises(ModelError, match=r"config\.json is damaged: --(transpose|stretch) must be at"):
            seqgen.train([], tmp_path / "m", resume=True, steps=6)


def test_read_corpus_strict_raises_at_the_first_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'b.mid': .* without --strict"):
        read_corpus(MidiCodec(), documents(tmp_path, {"a.mid": tune(1), "b.mid": b"no"}), strict=True)


def test_repairs_are_in_words() -> None:
    assert repairs(QuantisationStats(metas=1, clipped=2)) == [
        "1 malformed event (tempo, metre or key) ignored", "2 data bytes above 127 taken for 127"
    ]  # fmt: skip
