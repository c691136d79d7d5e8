"""Evaluation of music: nats under the grammar, n-gram baselines and generated pieces."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import seqgen
from seqgen.evaluation import music_likelihood
from seqgen.evaluation.music_likelihood import GrammarMasks, tally_pieces
from seqgen.generation.music import composing
from seqgen.generation.music.composing import music_codec
from seqgen.music import grammar, midi
from seqgen.music.events import EventVocabulary, VocabularyOptions, count_steps
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.tasks import id_cache
from seqgen.tokenizers.midi import MidiCodec
from tests.helpers.running import Command
from tests.helpers.scorers import network_scorer

SCALE = [60, 62, 64, 65, 67, 69, 71, 72]


def tune(number: int, metre: int = 4) -> Piece:
    """A scale up and down, which starts on a note that depends on `number`; `metre` quarters a bar."""
    line = [pitch + number % 5 for pitch in (SCALE + SCALE[::-1]) * 3]
    notes = tuple(Note(2 * index, 0, pitch, 2 * index + 2, 72) for index, pitch in enumerate(line))
    steps = 4 * metre
    bars = tuple(Bar(steps * index, steps, metre, 4) for index in range(-(-96 // steps)))
    return Piece(4, (Track(0),), notes, bars)


@pytest.fixture(scope="module")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music") / "tunes"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.mid").write_bytes(midi.write(tune(number)))
    return folder


@pytest.fixture(scope="module")
def scales(tunes: Path) -> seqgen.Model:
    folder = tunes.parent / "model"
    seqgen.train(
        str(tunes), folder, steps=60, rnn_size=32, embedding_size=16, batch_size=8, seq_length=32, learning_rate=0.01,
        precision="fp32", threads=1, transpose=0, dropout=0.0,
    )  # fmt: skip
    return seqgen.load(folder)


def test_event_tally_steps_are_those_of_the_bars() -> None:
    words = EventVocabulary(VocabularyOptions(key=True))
    ids: list[int] = []
    for number, metre in enumerate((4, 3, 4)):
        ids += [words.id("end"), *grammar.encode_piece(tune(number, metre), words)]
    assert count_steps(np.array(ids), words) == 3 * 96


def test_scorer_forbidden_events_have_no_probability(scales: seqgen.Model) -> None:
    """Masks of the grammar never raise the nats of an event, and lower some."""
    codec = music_codec(scales.codec)
    ids = np.append(codec.encode_piece(tune(3)), codec.end).astype(np.int32)
    free = np.concatenate([scored.nats for scored in network_scorer(scales.network, codec).read(ids)])
    masks = GrammarMasks(codec.vocabulary)
    bound = np.concatenate([scored.nats for scored in network_scorer(scales.network, codec, masks).read(ids)])
    assert (bound <= free + 1e-5).all()
    assert bound.sum() < free.sum() - 0.01


def test_grammar_masks_allow_the_grammar_and_the_actual_event() -> None:
    codec = MidiCodec(VocabularyOptions(key=True))
    ids = codec.encode_piece(tune(0))
    masks = GrammarMasks(codec.vocabulary)(ids)
    walk = grammar.GrammarState(codec.vocabulary)
    for mask, token in zip(masks, ids.tolist(), strict=True):
        assert mask[token]
        assert (mask == walk.mask()).all()
        walk.push(token)


def test_grammar_masks_with_illegal_events_are_the_same_with_and_without_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codec = MidiCodec(VocabularyOptions(key=True))
    ids = codec.encode_piece(tune(0))
    for illegal in (0, 7, len(ids)):  # two notes in a row: the second would need a position
        note = codec.vocabulary.id("note", 60)
        piece = np.insert(ids, illegal, [note, note]).astype(np.int32)
        found = GrammarMasks(codec.vocabulary)
        ours = np.concatenate([found(part) for part in np.array_split(piece, 5)])
        with monkeypatch.context() as patch:
            patch.setattr(composing, "library", lambda: None)
            wanted = GrammarMasks(codec.vocabulary)(piece)
        np.testing.assert_array_equal(ours, wanted)


def test_event_tally_sums_pieces(scales: seqgen.Model) -> None:
    codec = music_codec(scales.codec)
    pieces = [codec.encode_piece(tune(number)) for number in (0, 1)]
    tally = tally_pieces(scales.batch_engine, codec, pieces)
    metrics = tally.metrics()
    assert (tally.records, metrics["steps"]) == (2, 192)
    assert metrics["events"] == sum(len(piece) - codec.unpredicted(piece).sum() for piece in pieces) + 2
    assert metrics["nats_per_event"] * metrics["events"] == pytest.approx(metrics["nats_per_step"] * 192)


def test_event_tally_repeated_bars_cost_no_nats(scales: seqgen.Model) -> None:
    """The tune has six bars, of which four are `again`, which itself is counted; the first `bar` costs its length."""
    codec = music_codec(scales.codec)
    ids = np.append(codec.encode_piece(tune(2)), codec.end).astype(np.int32)
    given = codec.unpredicted(ids)
    assert codec.vocabulary.is_event(ids, "again").sum() == 4
    masks = GrammarMasks(codec.vocabulary)
    nats = np.concatenate([scored.nats for scored in network_scorer(scales.network, codec, masks).read(ids)])
    assert given.sum() > 40
    assert not nats[given].any()
    assert (nats[codec.vocabulary.is_event(ids, "again")] > 0).all()
    assert nats[0] > 0
    assert nats[-1] == 0, "the count said that this is the end"
    metrics = tally_pieces(scales.batch_engine, codec, [ids[:-1]]).metrics()
    assert metrics["events"] == len(ids) - given.sum()
    assert metrics["nats_per_step"] * 96 == pytest.approx(nats.sum(), rel=1e-4)


def test_evaluate_music_has_the_documented_keys(
    scales: seqgen.Model, tunes: Path, tmp_path: Path, seqgen_command: Command
) -> None:
    picture = tmp_path / "features.png"
    result = seqgen_command(
        "evaluate", scales.checkpoint.folder, tunes, "--json", "--pieces", 3, "--length", 4, "--plot", picture
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert {"task", "records", "tokens", "seconds", "metrics", "baselines"} <= set(found)
    assert (found["task"], found["records"]) == ("music", 12)
    metrics = found["metrics"]
    wanted = {
        "nats_per_event",
        "nats_per_step",
        "events",
        "steps",
        "mean_overlap_area",
        "overlap_area",
        "kl",
        "longest_copy",
    }
    assert wanted <= set(metrics)
    assert set(metrics["overlap_area"]) == set(metrics["kl"])
    assert all(0 <= area <= 1 for area in metrics["overlap_area"].values())
    assert metrics["mean_overlap_area"] == pytest.approx(np.mean(list(metrics["overlap_area"].values())))
    assert all(math.isfinite(value) and value >= 0 for value in metrics["kl"].values())
    for baseline in found["baselines"].values():
        assert {"nats_per_event", "nats_per_step"} <= set(baseline)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "trained on this" in result.stderr.decode()


def test_evaluate_music_without_pieces_and_baselines_only_scores(scales: seqgen.Model, tunes: Path) -> None:
    found = scales.evaluate(str(tunes), baselines=False, pieces=0)
    assert found["baselines"] == {}
    assert set(found["metrics"]) == {"nats_per_event", "nats_per_step", "events", "steps"}
    assert found["metrics"]["nats_per_event"] < 3, "it learnt something"


def test_evaluate_options_of_another_task_are_refused(
    model_folder: Path, text_file: Path, seqgen_command: Command
) -> None:
    result = seqgen_command("evaluate", model_folder, text_file, "--pieces", 3)
    assert result.returncode == 2
    assert result.stderr.count(b"\n") == 1
    assert "--pieces is for music; this is text" in result.stderr.decode()


def test_evaluate_music_measures_copies(scales: seqgen.Model, tunes: Path) -> None:
    """An overfitted model copies long runs of tunes of six bars."""
    scales_again = scales.evaluate(str(tunes), pieces=2, length=6, temperature=0.0)["metrics"]
    assert scales_again["longest_copy"] > 4


@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize(("finished", "learnt"), [({"steps": 1, "epochs": 1.0}, 12), (None, 11)])
def test_evaluate_music_counts_the_pieces_that_the_model_has_learnt(
    finished: dict[str, float] | None, learnt: int, is_cached: bool, scales: seqgen.Model, tunes: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whether the cache has their ids or not, and whether or not they are evaluated themselves."""
    shutil.copytree(scales.checkpoint.folder, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "finished": finished}))
    if not is_cached:
        monkeypatch.setattr(id_cache, "load_ids", lambda data, codec: None)
    counted: list[int] = []

    def count(training: np.ndarray, pieces: object, codec: MidiCodec) -> dict[str, dict[str, float]]:
        counted.append(int((training == codec.end).sum()))
        return {}

    monkeypatch.setattr(music_likelihood, "baselines", count)
    warnings: list[str] = []
    seqgen.load(tmp_path / "m").evaluate(str(tunes / "03.mid"), warn=warnings.append)
    assert counted == [learnt]
    assert not any("not measured" in warning for warning in warnings)


def test_evaluate_model_that_names_no_sources_measures_no_copies(
    scales: seqgen.Model, tunes: Path, tmp_path: Path
) -> None:
    """A damaged config.json: there were no pieces to join (an internal error)."""
    shutil.copytree(scales.checkpoint.folder, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["data"] |= {"sources": [], "cache": None}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    warnings: list[str] = []
    found = seqgen.load(tmp_path / "m").evaluate(str(tunes), pieces=1, length=1, baselines=False, warn=warnings.append)
    assert "longest_copy" not in found["metrics"]
    assert any("copies of the training set are not measured" in warning for warning in warnings)


# ---- Guessing the task ----
