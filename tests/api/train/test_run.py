"""`train` from Python: every task, tokenizer and cell, repeatable weights, and the held-out set."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import seqgen
from seqgen import checkpoint, tasks
from seqgen.api.train.plan import plan
from seqgen.api.train.watch import Watcher
from seqgen.config import TOKENIZER_NAMES
from seqgen.corpus import ids
from seqgen.corpus.cache.folder import cache_folder
from seqgen.errors import DataError, TrainingError
from seqgen.music import midi
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.specs.cells import CELLS
from seqgen.specs.tasks import TASKS
from seqgen.tokenizers import decode
from seqgen.training import device
from seqgen.training.loop import Event, Finished, Stepped
from seqgen.training.objectives.language import NextTokenObjective
from tests.helpers.running import Command, prose
from tests.helpers.training import (
    DROPOUT,
    TINY,
    file_contents,
    kill_after,
    metrics_without_time,
    resume_weights,
    saved_weights,
)
from tests.helpers.waiting import Stopwatch


# For a new task, add a function that writes an easy corpus, and one that uses the trained model.
def easy_text(folder: Path) -> str:
    path = folder / "easy.txt"
    path.write_text("the tide comes in and the tide goes out\n" * 150)
    return str(path)


def use_text(model: seqgen.Model) -> None:
    (sample,) = model.sample("the tide", length=40, temperature=0.5)
    assert len(sample.text) == 40
    assert set(sample.text) <= set("the tide comes in and the tide goes out\n"), "it learnt which characters there are"


def easy_music(folder: Path) -> str:
    """Write scales, up and down."""
    (folder / "tunes").mkdir()
    scale = [60, 62, 64, 65, 67, 69, 71, 72]
    for number in range(12):
        line = [pitch + number % 3 for pitch in (scale + scale[::-1]) * 3]
        notes = tuple(Note(2 * index, 0, pitch, 2 * index + 2, 72) for index, pitch in enumerate(line))
        bars = tuple(Bar(16 * index, 16, 4, 4) for index in range(6))
        (folder / "tunes" / f"{number}.mid").write_bytes(midi.write(Piece(4, (Track(0),), notes, bars)))
    return str(folder / "tunes")


def use_music(model: seqgen.Model) -> None:
    (composed,) = model.compose(length=4, temperature=0.5)
    assert len(composed.piece.bars) == composed.bars == 4
    assert {note.end - note.start for note in composed.piece.notes} == {2}, "it learnt how long notes are"


def easy_dialogue(folder: Path) -> str:
    """Write two questions with their answers."""
    path = folder / "easy.jsonl"
    pairs = (("where is the boat", "on the river"), ("who has the lamp", "the boy has it"))
    lines = [
        json.dumps({"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]})
        for ask, answer in pairs * 150
    ]
    path.write_text("\n".join(lines))
    return str(path)


def use_dialogue(model: seqgen.Model) -> None:
    conversation = model.conversation()
    conversation.hear("where is the boat")
    *_, reply = conversation.reply()
    assert conversation.turns == [(0, "where is the boat"), (1, reply.text)]  # type: ignore[union-attr]
    assert set(reply.text) <= set("on the river the boy has it where is boat who lamp")  # type: ignore[union-attr]


def easy_table(folder: Path) -> str:
    path = folder / "wave.csv"
    rows = [f"{np.datetime64('2024-01-01') + day},{math.sin(day * 2 * math.pi / 7):.4f}" for day in range(200)]
    path.write_text("\n".join(["day,level", *rows]) + "\n")
    return str(path)


def use_table(model: seqgen.Model) -> None:
    name = model.checkpoint.sources[0]["name"]
    (made,) = model.forecast(name)
    truth = np.sin((200 + np.arange(7)) * 2 * np.pi / 7)
    assert np.abs(made.point[0] - truth).mean() < 0.3


def easy_labels(folder: Path) -> str:
    """Write texts that contain their labels."""
    path = folder / "labels.csv"
    rows = [
        f"{word} thing {number % 7},{label}" for number in range(60) for word, label in (("good", "p"), ("bad", "n"))
    ]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return str(path)


def use_labels(model: seqgen.Model) -> None:
    found = model.classify(["good thing 3", "bad thing 4"])
    assert [prediction.label for prediction in found] == ["p", "n"]


EASY: dict[str, tuple[Callable[[Path], str], Callable[[seqgen.Model], None]]] = {
    "text": (easy_text, use_text),
    "dialogue": (easy_dialogue, use_dialogue),
    "music": (easy_music, use_music),
    "forecast": (easy_table, use_table),
    "classify": (easy_labels, use_labels),
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("task", "tokenizer"), [(task, name) for task, spec in TASKS.items() for name in spec.tokenizers]
)
def test_train_every_cell_task_and_tokenizer(task: str, cell: str, tokenizer: str, tmp_path: Path) -> None:
    assert task in EASY, f"{task} is a new row of TASKS: give it an easy corpus here"
    write, use = EASY[task]
    losses: list[float] = []
    watch = Watcher(event=lambda event: losses.append(event.loss) if isinstance(event, Stepped) else None)
    sizes = {name: value for name, value in TINY.items() if name not in TASKS[task].unused_settings}
    seqgen.train(  # without patience: with the pieces of some versions of SentencePiece the loss stops falling sooner
        write(tmp_path), tmp_path / "m", task=task, cell=cell, steps=100, learning_rate=0.01, dropout=0.0, watch=watch,
        patience=0, tokenizer=tokenizer if tokenizer in TOKENIZER_NAMES else None, finish=False, **sizes,
    )  # fmt: skip
    assert len(losses) == 100
    assert np.mean(losses[-5:]) < losses[0] / 2
    model = seqgen.load(tmp_path / "m")
    assert model.checkpoint.config["task"] == task
    assert model.checkpoint.network.cell == cell
    preprocessor = model.checkpoint.preprocessor
    assert getattr(preprocessor, "text", preprocessor).name == tokenizer
    use(model)


def test_train_same_seed_gives_same_weights(text_file: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        seqgen.train(str(text_file), tmp_path / name, steps=8, seed=seed, **DROPOUT)
    assert saved_weights(tmp_path / "a") == saved_weights(tmp_path / "b")
    assert metrics_without_time(tmp_path / "a") == metrics_without_time(tmp_path / "b")
    other = saved_weights(tmp_path / "c")
    assert all(other[name] != same for name, same in saved_weights(tmp_path / "a").items())


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16")
def test_train_bfloat16_same_seed_gives_same_weights(text_file: Path, tmp_path: Path) -> None:
    for name in "ab":
        seqgen.train(str(text_file), tmp_path / name, steps=8, seed=5, **{**DROPOUT, "precision": "bf16"})
    assert saved_weights(tmp_path / "a") == saved_weights(tmp_path / "b")
    assert seqgen.load(tmp_path / "a").checkpoint.config["training"]["precision"] == "bf16"


def test_train_config_and_metrics_have_the_documented_keys(model_folder: Path) -> None:
    lines = (model_folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    keys = {"step", "seconds", "tokens", "train_loss", "val_loss", "grad_norm", "learning_rate", "tokens_per_second"}
    assert all(keys <= set(record) for record in records)
    assert [record["step"] for record in records] == list(range(4, 61, 4))
    assert all(math.isfinite(record[key]) for record in records for key in keys)
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    config = json.loads((model_folder / "config.json").read_text())
    assert {"format", "task", "tokenizer", "network", "seqgen", "data", "metrics", "training"} <= set(config)
    assert len(config["data"]["fingerprint"]) == 64
    assert config["metrics"]["val_loss"] <= min(record["val_loss"] for record in records)


def held_out_loss(model: seqgen.Model) -> float:
    facts = model.checkpoint.config["data"]
    data = tasks.find("text").load_cached(facts, model.codec)
    assert data is not None
    compute = device.choose("cpu", "fp32", 1)
    objective = NextTokenObjective(model.network, data.train, data.held_out, compute, model.codec.num_seen(), 8, 32, 0)
    model.network.eval()
    loss = objective.validate()
    assert loss is not None
    return loss


def test_train_leaves_the_process_its_threads(text_file: Path, tmp_path: Path) -> None:
    before, used = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:
        watch = Watcher(started=lambda _: used.append(torch.get_num_threads()))
        seqgen.train(str(text_file), tmp_path / "m", steps=1, watch=watch, **TINY)
        plan(str(text_file), steps=1, measures=False, **TINY)
        with pytest.raises(DataError):
            seqgen.train(str(tmp_path / "missing.txt"), tmp_path / "n", steps=1, **TINY)
        assert (used, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def noise_file(tmp_path: Path) -> Path:
    """Random digits: a network can only memorise them, so the validation loss soon rises."""
    path = tmp_path / "digits.txt"
    path.write_text("".join(random.Random(4).choices("0123456789", k=1500)))
    return path


def test_train_saves_the_best_weights(noise_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    model = seqgen.train(
        str(noise_file), folder, steps=90, learning_rate=0.03, dropout=0.0, patience=0, finish=False,
        **{**TINY, "rnn_size": 64},
    )  # fmt: skip
    records = checkpoint.read_metrics(folder)
    best = min(records, key=lambda record: record["val_loss"])
    assert best["step"] < 60, "the text was meant to be learnt by heart"
    assert records[-1]["val_loss"] > best["val_loss"] + 0.2
    assert held_out_loss(model) == pytest.approx(best["val_loss"], abs=1e-4)
    config = model.checkpoint.config
    assert config["metrics"]["best_step"] == best["step"]
    assert config["metrics"]["val_loss"] == best["val_loss"]
    assert config["training"]["step"] == 90


def test_resume_after_early_stopping_does_nothing(noise_file: Path, tmp_path: Path) -> None:
    """`--resume` does nothing: no further validation could improve it."""
    folder = tmp_path / "m"
    options = {"steps": 300, "learning_rate": 0.05, "dropout": 0.0, "patience": 2, **TINY, "rnn_size": 64}
    events: list[Event] = []
    seqgen.train(str(noise_file), folder, watch=Watcher(event=events.append), **options)
    assert Finished(early=True) in events
    before = file_contents(folder)
    again: list[Event] = []
    seqgen.train(str(noise_file), folder, resume=True, watch=Watcher(event=again.append), **options)
    assert file_contents(folder) == before
    assert not [event for event in again if isinstance(event, Stepped)]


@pytest.mark.parametrize(("averaging", "kept"), [(0, "weight"), (8, "average")])
def test_train_without_validation_set_saves_the_last_weights(
    text_file: Path, tmp_path: Path, averaging: float, kept: str
) -> None:
    model = seqgen.train(str(text_file), tmp_path / "m", steps=3, val_fraction=0, averaging=averaging, **TINY)
    assert [record["val_loss"] for record in checkpoint.read_metrics(tmp_path / "m")] == [None] * 3
    weights = {f"{kept}.{name}": value for name, value in saved_weights(tmp_path / "m").items()}
    assert weights.items() <= resume_weights(tmp_path / "m").items()
    assert model.checkpoint.config["data"]["held_out_tokens"] == 0


def test_train_never_reads_held_out_text(tmp_path: Path) -> None:
    text = prose(300)
    source = tmp_path / "text.txt"
    source.write_text(text[:-500] + "Ω" * 50 + text[-500:])
    model = seqgen.train(str(source), tmp_path / "m", steps=2, **TINY)
    assert "Ω" not in model.codec.pieces()
    facts = model.checkpoint.config["data"]
    train = ids.load(cache_folder() / "ids" / f"{facts['cache']}.train.ids")
    held = ids.load(cache_folder() / "ids" / f"{facts['cache']}.valid.ids")
    assert train is not None and held is not None
    first, last = decode(model.codec, train.ids), decode(model.codec, held.ids)
    assert first + last == source.read_bytes()
    assert len(last) == pytest.approx(0.1 * (len(first) + len(last)), abs=4)
    assert "Ω".encode() not in first
    assert last.count("Ω".encode()) == 50


@pytest.mark.parametrize("fraction", [0.2, 0])
def test_train_val_fraction_beside_valid_is_told(fraction: float, text_file: Path, tmp_path: Path) -> None:
    warnings: list[str] = []
    watch = Watcher(warn=warnings.append)
    seqgen.train(
        str(text_file), tmp_path / "m", valid=str(text_file), val_fraction=fraction, steps=1, watch=watch, **TINY
    )
    assert warnings.count("--val-fraction has no effect beside --valid") == (fraction > 0)
    assert any("is learnt, and in --valid too" in warning for warning in warnings)


def test_train_valid_is_the_validation_set(text_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "valid.txt"
    other.write_text(prose(30, seed=9) + "ΩΩΩ")
    warnings: list[str] = []
    watch = Watcher(warn=warnings.append)
    model = seqgen.train(str(text_file), tmp_path / "m", valid=str(other), steps=2, watch=watch, **TINY)
    assert warnings == []
    facts = model.checkpoint.config["data"]
    assert facts["train_bytes"] == text_file.stat().st_size
    assert facts["held_out_bytes"] == other.stat().st_size
    assert [source["name"] for source in facts["valid_sources"]] == [str(other)]
    assert "Ω" not in model.codec.pieces()
    assert held_out_loss(model) == pytest.approx(model.checkpoint.config["metrics"]["val_loss"], abs=1e-4)


# Five thousand times one character is enough for bytes, each of which is a kind of its own, and for subwords, whose
# pieces hold several of it; characters leave one kind only.
TOO_LITTLE = [
    (text, kind) for text in ("", "a", "a" * 10, "abcdefghij", "a\ncd e", "\n\n\n") for kind in TOKENIZER_NAMES
]


@pytest.mark.parametrize(("text", "tokenizer"), [*TOO_LITTLE, pytest.param("a" * 5000, "char", id="5000 times a")])
def test_train_too_little_text_raises_data_error(text: str, tokenizer: str, tmp_path: Path) -> None:
    source = tmp_path / "small.txt"
    source.write_text(text)
    with pytest.raises(DataError) as error:
        seqgen.train(str(source), tmp_path / "m", tokenizer=tokenizer, steps=2, **TINY)
    message = str(error.value)
    assert "\n" not in message
    assert len(message.split()) >= 5
    assert not (tmp_path / "m").exists()


def test_train_never_joins_bytes_of_two_files(tmp_path: Path) -> None:
    """The first file ends with half a €, the second begins with the other half: neither has one."""
    source = tmp_path / "parts"
    source.mkdir()
    (source / "a.txt").write_bytes(prose(60).encode() + "€€€".encode() + b"\xe2\x82")
    (source / "b.txt").write_bytes(b"\xac" + prose(60, seed=2).encode())
    model = seqgen.train(str(source), tmp_path / "m", steps=20, val_fraction=0, **TINY)
    assert math.isfinite(checkpoint.read_metrics(model.checkpoint.folder)[-1]["train_loss"])


def test_train_huge_learning_rate_gives_model_or_error(text_file: Path, tmp_path: Path) -> None:
    options = {**TINY, "cell": "rnn", "activation": "relu", "learning_rate": 10.0, "warmup": 0.0, "grad_clip": 1e9}
    try:
        seqgen.train(str(text_file), tmp_path / "m", steps=30, watch=kill_after(2000), **options)
    except TrainingError as error:
        assert "not finite" in str(error)
    if (tmp_path / "m").exists():
        seqgen.load(tmp_path / "m").checkpoint.weights()


def test_train_budget_shorter_than_a_step_gives_a_model(model_copy: Path, text_file: Path, tmp_path: Path) -> None:
    options = {"budget": "0.01s", "tokenizer": "byte", **TINY}
    model = seqgen.train(str(text_file), tmp_path / "m", **options)
    assert model.codec.name == "byte"
    model.checkpoint.weights()
    replaced = seqgen.train(str(text_file), model_copy, overwrite=True, **options)
    assert replaced.codec.name == "byte", "the old model is returned as the new one"


# ---- By the clock ----


@pytest.mark.slow
def test_train_command_keeps_its_budget(text_file: Path, tmp_path: Path, seqgen_command: Command) -> None:
    began, stopwatch = time.monotonic(), Stopwatch()
    result = seqgen_command("train", text_file, "-o", tmp_path / "m", "--budget", "6s", "--threads", 1)
    spent = time.monotonic() - began
    assert result.returncode == 0, result.stderr
    assert stopwatch.seconds_of_children <= 11  # of the processor: a busy machine takes longer
    training = seqgen.load(tmp_path / "m").checkpoint.config["training"]
    assert 1 <= training["seconds"] <= spent


def test_train_first_validation_not_finite_is_valid_json(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = NextTokenObjective.validate, iter(range(100))
    monkeypatch.setattr(NextTokenObjective, "validate", lambda self: real(self) if next(calls) else math.nan)
    seqgen.train(str(text_file), tmp_path / "m", steps=1, **TINY)

    def refuse(name: str) -> Iterator[None]:
        raise AssertionError(f"{name} is no JSON")

    for path in (tmp_path / "m" / "config.json", tmp_path / "m" / "resume" / "state.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    (record,) = checkpoint.read_metrics(tmp_path / "m")
    assert record["val_loss"] is None
