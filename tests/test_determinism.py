"""What is equal to the bit under which change: `seqgen/docs/determinism.md`, and what no other test holds of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import seqgen
from seqgen.api.train import folder as model_folders
from seqgen.native import instruction_sets, library
from tests.helpers import model_zoo
from tests.helpers.kernels import library_by, random_engine
from tests.helpers.promises import DETERMINISM, holders, is_there
from tests.helpers.random_models import Models
from tests.helpers.running import Run
from tests.helpers.training import Killed, kill_after, metrics_without_time, resume_weights, saved_weights

GOLDEN = Path(__file__).parent / "golden" / "models"
CORPORA = Path(__file__).resolve().parents[1] / "corpora"
NO_FUSED = ("sse2", "generic")  # instruction sets without fused multiply and add


# ---- The table ----


def cells() -> list[tuple[str, str, str]]:
    """(what is produced, what changes, cell) of the table."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DETERMINISM.read_text("utf-8").splitlines()
        if line.startswith("|") and "---" not in line
    ]
    header, *others = rows
    assert all(len(row) == len(header) for row in others)
    return [(row[0], change, cell) for row in others for change, cell in zip(header[1:], row[1:], strict=True)]


def notes(pattern: str) -> dict[str, str]:
    """The numbered or lettered notes below the table."""
    text = DETERMINISM.read_text("utf-8")
    return dict(re.findall(rf"^{pattern}\. (.+(?:\n  .+)*)", text, re.MULTILINE))


def test_cell_names_a_test_or_a_reason() -> None:
    numbered, lettered = notes(r"(\d+)"), notes(r"- ([a-z])")
    used = set()
    for produced, change, cell in cells():
        for part in cell.split("; "):
            word, _, mark = part.partition(" ")
            assert (word, mark) == ("–", "") or mark in {"=": numbered, "no": lettered}[word], (produced, change)
            used.add(mark)
    assert used - {""} == {*numbered, *lettered}


def test_note_of_an_equal_cell_names_tests_that_exist() -> None:
    for number, note in notes(r"(\d+)").items():
        assert holders(note), number
        assert [each for each in holders(note) if not is_there(each)] == []


# ---- Tests of its cells ----


@pytest.mark.skipif(library() is None, reason="needs the kernels")
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_engine_threads_never_change_a_bit(cell: str, quantized: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.random.default_rng(8).integers(65, size=(9, 70))
    lengths = np.full(70, 8)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("seqgen.generation.engines.native.process_core_count", lambda threads=threads: threads)
        engine = random_engine(cell, quantized)
        state, logits = engine.initial(70), []
        for row in ids[:4]:
            step, state = engine.step(row, state)
            logits.append(step.tobytes())
        nats, _ = engine.nats_of_lanes(ids[:-1], ids[1:], lengths, engine.initial(70))
        found.append((logits, state.tobytes(), nats.tobytes()))
    assert found[0] == found[1] == found[2]


def predictions(table: Path) -> dict[str, bytes]:
    """Labels, forecasts and scores of the golden models, as text."""
    reviews = (CORPORA / "reviews.csv").read_text("utf-8").splitlines()[1:9]
    tales = (CORPORA / "tidewater.txt").read_text("utf-8")[:1500]
    labels = seqgen.load(GOLDEN / "reviews-lstm").classify(reviews)
    score = seqgen.load(GOLDEN / "tidewater-lstm").score(tales)
    forecasts = seqgen.load(GOLDEN / "weather-gru").forecast(str(table))
    return {
        "labels": repr([one.labels for one in labels]).encode(),
        "score": repr(score.nats).encode(),
        "forecast": json.dumps([one.to_dict() for one in forecasts]).encode(),
    }


@pytest.mark.skipif(library() is None, reason="needs the kernels")
def test_predictions_have_the_same_bits_on_instruction_sets_that_fuse(tmp_path: Path) -> None:
    lines = (CORPORA / "weather.csv").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "table.csv").write_text("".join(lines[:900]), "utf-8")
    found = {}
    for name in instruction_sets():
        if name not in NO_FUSED:
            with library_by("SEQGEN_ISA", name):
                found[name] = predictions(tmp_path / "table.csv")
    assert all(one == next(iter(found.values())) for one in found.values())


@pytest.mark.parametrize("kernels", [True, False])
def test_sample_has_the_same_engine_alone_and_among_many(
    kernels: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without kernels PyTorch would be faster for many, but its last digits are others."""
    if not kernels:  # what chooses the engine asks here
        monkeypatch.setattr("seqgen.native.library", lambda: None)
    flags = ("sample", GOLDEN / "tidewater-lstm", "-l", 20, "--json", "-p", "The ")
    (alone,) = run(*flags, "-n", 1, "--first", 17).records
    assert run(*flags, "-n", 18).records[17] == alone


def test_composed_piece_is_the_same_among_others(models: Models) -> None:
    model = seqgen.load(models("midi", "music"))
    three = model.compose(n=3, length=2, seed=4)
    assert [model.compose(n=1, first=index, length=2, seed=4)[0].piece for index in range(3)] == [
        each.piece for each in three
    ]
    assert len({repr(each.piece) for each in three}) == 3


@pytest.mark.parametrize(
    ("name", "cell"),
    [("subword", "rnn"), ("dialogue", "gru"), ("music", "rnn"), ("classify", "gru"), ("generative", "gru"),
     ("forecast", "rnn")],
)  # fmt: skip
def test_train_of_each_task_is_the_same_again_and_after_a_kill(
    name: str, cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folders, "_SAVE_EVERY", -1.0)  # after every step
    source, settings = model_zoo.write_sources(tmp_path)[name]
    settings |= {"steps": 4, "dropout": 0.1, "cell": cell}
    folders = [tmp_path / kind for kind in ("whole", "again", "resumed")]
    for folder in folders[:2]:
        seqgen.train(str(source), folder, **settings)
    with pytest.raises(Killed):
        seqgen.train(str(source), folders[2], watch=kill_after(5), **settings)
    seqgen.train([], folders[2], resume=True)
    for read in (saved_weights, resume_weights, metrics_without_time, tokenizer_files):
        assert read(folders[0]) == read(folders[1]) == read(folders[2]), read.__name__


def tokenizer_files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("tokenizer.*"))]


@pytest.mark.parametrize("flags", [(), ("--torch",)], ids=["onnx", "torch"])
def test_export_twice_writes_the_same_bytes(flags: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    if not flags:
        pytest.importorskip("onnx")
    files = [tmp_path / f"{number}.{'safetensors' if flags else 'onnx'}" for number in range(2)]
    for file in files:
        run("export", GOLDEN / "tidewater-lstm", "-o", file, *flags)
    assert files[0].read_bytes() == files[1].read_bytes()
