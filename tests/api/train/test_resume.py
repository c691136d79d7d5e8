"""`train --resume`: killed, interrupted and finished runs continue as if nothing had happened."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import seqgen
from seqgen import checkpoint
from seqgen.api.recipe import make_recipe
from seqgen.api.train import folder as model_folders
from seqgen.api.train.watch import Watcher
from seqgen.corpus.cache.folder import cache_folder
from seqgen.errors import UserError
from seqgen.training import device
from seqgen.training.loop import Cooling, Event, Finished, Stepped
from seqgen.training.plans import classification, forecasting
from tests.helpers import ranks
from tests.helpers.running import Command, prose
from tests.helpers.training import (
    DROPOUT,
    TINY,
    Killed,
    file_contents,
    kill_after,
    metrics_without_time,
    resume_weights,
    saved_weights,
)
from tests.helpers.waiting import Stopwatch, eventually

OPTIONS: dict[str, Any] = {**DROPOUT, "steps": 36, "seed": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the model of a test shall be."""
    return tmp_path / "m"


@pytest.fixture
def saved_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings save after every step, as a slow one does after a minute."""
    monkeypatch.setattr(model_folders, "_SAVE_EVERY", -1.0)


@pytest.fixture(scope="module")
def uninterrupted(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 steps, validated every 2: the events are S S V, S S V…, 54 and the end."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "m"
    seqgen.train(str(text_file), folder, **OPTIONS)
    return folder


def same_weights(folder: Path, other: Path) -> None:
    assert saved_weights(folder) == saved_weights(other)
    assert resume_weights(folder) == resume_weights(other)


@contextlib.contextmanager
def refused(folder: Path, match: str) -> Iterator[None]:
    """The block raises a `UserError`, and the model stays as it is."""
    before = file_contents(folder)
    with pytest.raises(UserError, match=match):
        yield
    assert file_contents(folder) == before


def same_run(folder: Path, other: Path) -> None:
    assert metrics_without_time(folder) == metrics_without_time(other)
    same_weights(folder, other)
    assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}
    assert len(list((folder / "resume").iterdir())) == 2


@pytest.mark.parametrize("after", [3, 4, 5, 30, 31, 32, 52, 53, 54])
def test_resume_after_any_event_gives_the_same_run(
    after: int, uninterrupted: Path, text_file: Path, folder: Path, saved_often: None
) -> None:
    with pytest.raises(Killed):
        seqgen.train(str(text_file), folder, watch=kill_after(after), **OPTIONS)
    checkpoint.load(folder).weights()
    seqgen.train(str(text_file), folder, resume=True, **OPTIONS)
    same_run(folder, uninterrupted)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random digits: a network can only memorise them, so the validation loss soon rises."""
    path = tmp_path_factory.mktemp("noise") / "digits.txt"
    path.write_text("".join(random.Random(4).choices("0123456789", k=1500)))
    return path


def test_resume_in_the_cooling_gives_the_same_run(noise: Path, tmp_path: Path, saved_often: None) -> None:
    """Killed before its first step, in its midst, and after its end."""
    options = {**TINY, "steps": 120, "learning_rate": 0.05, "patience": 2, "dropout": 0.2}
    events: list[Event] = []
    whole = tmp_path / "whole"
    seqgen.train(str(noise), whole, watch=Watcher(event=events.append), **options)
    (cooling,) = [number for number, event in enumerate(events) if isinstance(event, Cooling)]
    steps = [event.step for event in events if isinstance(event, Stepped)]
    assert steps[-1] < 120, "it ended early"
    for after in (cooling, cooling + 1, cooling + 4, len(events) - 1):
        folder = tmp_path / str(after)
        with pytest.raises(Killed):
            seqgen.train(str(noise), folder, watch=kill_after(after), **options)
        checkpoint.load(folder).weights()
        seqgen.train([], folder, resume=True)
        same_run(folder, whole)
    longer = seqgen.train([], whole, resume=True, steps=130)
    assert longer.checkpoint.config["training"]["step"] > steps[-1], "a longer run goes on, at the rate of its schedule"


def test_watcher_stop_saves_the_run(uninterrupted: Path, text_file: Path, folder: Path) -> None:
    steps: list[int] = []
    watch = Watcher(
        event=lambda event: steps.append(event.step) if isinstance(event, Stepped) else None,
        stop=lambda: len(steps) == 9,
    )
    seqgen.train(str(text_file), folder, watch=watch, **OPTIONS)
    assert steps == list(range(1, 10))
    assert checkpoint.read_resume(folder)[1]["step"] == 9
    assert checkpoint.read_metrics(folder)[-1]["step"] == 9
    seqgen.train(str(text_file), folder, resume=True, **OPTIONS)
    same_weights(folder, uninterrupted)


def test_resume_before_first_save_starts_again(uninterrupted: Path, text_file: Path, folder: Path) -> None:
    with pytest.raises(Killed):
        seqgen.train(str(text_file), folder, watch=kill_after(2), **OPTIONS)
    assert not folder.exists()
    checkpoint.staging(folder).mkdir()  # left by a kill during the first save
    (checkpoint.staging(folder) / "config.json").write_text("{")
    warnings: list[str] = []
    seqgen.train(str(text_file), folder, resume=True, watch=Watcher(warn=warnings.append), **OPTIONS)
    assert "from the beginning" in warnings[0]
    same_run(folder, uninterrupted)
    assert not checkpoint.staging(folder).exists()


LONGER: dict[str, Any] = {**TINY, "steps": 200, "seed": 3, "dropout": 0.2, "val_fraction": 0.05}


def arguments(source: Path, folder: Path, precision: str, *more: str) -> list[str]:
    flags = {name.replace("_", "-"): value for name, value in {**LONGER, "precision": precision}.items()}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "seqgen", "train", str(source), "-o", str(folder), *words, "--quiet", *more]


def train_as_arguments_do(source: Path, folder: Path, precision: str, resume: bool = False) -> None:
    seqgen.train(str(source), folder, resume=resume, **{**LONGER, "precision": precision})


@pytest.fixture(scope="module", params=["fp32", pytest.param("bf16", marks=pytest.mark.long)])
def reference(
    request: pytest.FixtureRequest, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The precision, and the model of an uninterrupted run."""
    if request.param == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    folder = tmp_path_factory.mktemp("reference") / "m"
    train_as_arguments_do(text_file, folder, request.param)
    return request.param, folder


def saved_step(folder: Path) -> int:
    try:
        return int(json.loads((folder / "resume" / "state.json").read_bytes())["position"]["step"])
    except (FileNotFoundError, ValueError):
        return -1


def interrupted_once_saved(command: list[str], folder: Path, number: int, delay: float) -> tuple[int, bytes]:
    """Run the command and send it a signal `delay` seconds after its next save."""
    before = saved_step(folder)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert eventually(lambda: saved_step(folder) != before or process.poll() is not None, pause=0.002)
        time.sleep(delay)
        process.send_signal(number)
        _, printed = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return process.returncode, printed


@pytest.mark.slow
def test_resume_after_random_kills_gives_the_same_weights(
    reference: tuple[str, Path], text_file: Path, folder: Path
) -> None:
    precision, whole = reference
    delays = [random.uniform(0, 0.15), random.uniform(0, 0.15)]  # a fifth of the run, on a quick machine
    code, printed = interrupted_once_saved(arguments(text_file, folder, precision), folder, signal.SIGKILL, delays[0])
    assert code == -signal.SIGKILL, printed
    first = saved_step(folder)
    checkpoint.load(folder).weights()
    command = arguments(text_file, folder, precision, "--resume")
    code, printed = interrupted_once_saved(command, folder, signal.SIGKILL, delays[1])
    assert code == -signal.SIGKILL, printed
    assert 0 < first < saved_step(folder) < 200
    checkpoint.load(folder).weights()
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=200).returncode == 0
    assert metrics_without_time(folder) == metrics_without_time(whole), f"delays {delays}"
    assert saved_weights(folder) == saved_weights(whole), f"delays {delays}"
    assert resume_weights(folder) == resume_weights(whole), f"delays {delays}"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_train_command_saves_on_interrupt(
    number: int, status: int, reference: tuple[str, Path], text_file: Path, folder: Path
) -> None:
    precision, whole = reference
    command = arguments(text_file, folder, precision)
    command.remove("--quiet")
    code, printed = interrupted_once_saved(command, folder, number, random.uniform(0, 0.15))
    assert code == status, printed
    assert b"--resume" in printed.splitlines()[-1]
    assert b"Traceback" not in printed
    assert 0 < saved_step(folder) < 200
    (sample,) = seqgen.load(folder).sample(length=20)
    assert len(sample.text) == 20
    train_as_arguments_do(text_file, folder, precision, resume=True)
    same_weights(folder, whole)


@pytest.mark.slow
def test_resume_of_a_finished_run_does_nothing(model_copy: Path, text_file: Path, seqgen_command: Command) -> None:
    before = file_contents(model_copy)
    seqgen.train(str(text_file), model_copy, resume=True)
    seqgen.train([], model_copy, resume=True)  # config.json has its sources
    assert file_contents(model_copy) == before
    result = seqgen_command("train", text_file, "-o", model_copy, "--resume", "--steps", 60, "--rnn-size", 32)
    assert result.returncode == 0, result.stderr
    assert result.stdout == b""
    assert file_contents(model_copy) == before


def test_resume_with_more_steps_goes_on(model_copy: Path, text_file: Path) -> None:
    model = seqgen.train(str(text_file), model_copy, resume=True, steps=70)
    steps = [record["step"] for record in checkpoint.read_metrics(model_copy)]
    assert steps[:15] == list(range(4, 61, 4))
    assert steps[-1] == 70
    assert model.checkpoint.config["training"]["step"] == 70


@pytest.mark.parametrize("name", ["batch_size", "seq_length", "precision"])
def test_resume_of_a_run_without_a_setting_is_refused(name: str, model_copy: Path) -> None:
    path = model_copy / "config.json"
    config = json.loads(path.read_text())
    config["training"][name] = None
    path.write_text(json.dumps(config))
    with refused(model_copy, f"it has no {name}"):
        seqgen.train([], model_copy, resume=True)


def test_resume_of_a_changed_source_is_refused(model_copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(prose(seed=2))
    with refused(model_copy, "--init-from"):
        seqgen.train(str(other), model_copy, resume=True, steps=80)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rnn_size", 64), ("cell", "gru"), ("tokenizer", "byte"), ("batch_size", 4), ("seq_length", 16), ("seed", 2),
     ("learning_rate", 0.5), ("dropout", 0.3), ("val_fraction", 0.2), ("precision", "bf16"), ("warmup", 0.5)],
)  # fmt: skip
def test_resume_with_another_setting_is_refused(model_copy: Path, text_file: Path, name: str, value: Any) -> None:
    with refused(model_copy, "--" + name.replace("_", "-")):
        seqgen.train(str(text_file), model_copy, resume=True, **{name: value})


def test_resume_with_members_of_a_language_model_is_refused(model_copy: Path) -> None:
    with refused(model_copy, "--members can't be used with a "):
        seqgen.train([], model_copy, resume=True, members=3)
    seqgen.train([], model_copy, resume=True, members=1)


@pytest.mark.parametrize("task", ["classify", "forecast"])
def test_resume_with_the_corpus_of_a_model_that_does_not_generate_is_refused(task: str, folder: Path) -> None:
    source = ranks.CORPORA / ("weather.csv" if task == "forecast" else "reviews.csv")
    seqgen.train(str(source), folder, task=task, steps=2, rnn_size=8, threads=1)
    with refused(folder, "--keep-corpus is for models that generate"):
        seqgen.train([], folder, resume=True, keep_corpus=True)


def test_resume_of_a_classifier_keeps_the_one_thread_that_was_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(device, "process_core_count", lambda: 2)
    monkeypatch.setattr(classification, "_choose_threads", lambda *_: torch.set_num_threads(1))
    try:
        seqgen.train(str(ranks.CORPORA / "reviews.csv"), folder, task="classify", budget="1s", rnn_size=8)
        used: list[int] = []
        for more in ({}, {"threads": 2}):
            watch = Watcher(started=lambda _: used.append(torch.get_num_threads()))
            seqgen.train([], folder, resume=True, watch=watch, **more)
        assert used == [1, 2]
    finally:
        torch.set_num_threads(before)


def test_resume_takes_the_same_value_as_text_or_list(folder: Path) -> None:
    options: dict[str, Any] = {"rnn_size": 8, "threads": 1, "steps": 2, "target": "temperature"}
    seqgen.train(str(ranks.CORPORA / "weather.csv"), folder, task="forecast", **options)
    for target in ("temperature", ["temperature"]):
        seqgen.train([], folder, resume=True, target=target)
    with refused(folder, "--target can't change on --resume: the run has temperature"):
        seqgen.train([], folder, resume=True, target="wind")


def test_resume_with_another_task_is_refused(model_copy: Path) -> None:
    with refused(model_copy, "--task can't change on --resume: the run has text"):
        seqgen.train([], model_copy, resume=True, task="music", steps=80)
    seqgen.train([], model_copy, resume=True, task="text")


def test_resume_with_another_init_from_is_refused(model_folder: Path, text_file: Path, folder: Path) -> None:
    seqgen.train(str(text_file), folder, init_from=model_folder, steps=2)
    seqgen.train(str(text_file), folder, resume=True, init_from=model_folder)
    with refused(folder, "--init-from can't change on --resume: the run started from"):
        seqgen.train(str(text_file), folder, resume=True, init_from=folder / "other", steps=4)


def test_resume_with_init_from_of_a_run_without_is_refused(model_copy: Path, model_folder: Path) -> None:
    with pytest.raises(UserError, match="the run started from no model"):
        seqgen.train([], model_copy, resume=True, init_from=model_folder, steps=80)


def test_resume_with_a_validation_set_of_a_run_without_is_refused(model_copy: Path, text_file: Path) -> None:
    with refused(model_copy, r"--valid can't be added on --resume: the run has --val-fraction 0\.1"):
        seqgen.train([], model_copy, resume=True, valid=str(text_file), steps=80)


def test_resume_with_another_validation_set_is_refused(text_file: Path, folder: Path, tmp_path: Path) -> None:
    valid, other = tmp_path / "valid.txt", tmp_path / "other.txt"
    valid.write_text(prose(60, seed=8))
    other.write_text(prose(60, seed=9))
    seqgen.train(str(text_file), folder, valid=str(valid), steps=2, **TINY)
    with pytest.raises(UserError, match="not those that the run began with"):
        seqgen.train([], folder, resume=True, valid=str(other), steps=4)
    model = seqgen.train([], folder, resume=True, valid=str(valid), steps=4)
    assert model.checkpoint.config["training"]["step"] == 4


def test_resume_estimates_the_time_left_from_its_own_steps(model_copy: Path) -> None:
    tokens = checkpoint.read_resume(model_copy)[1]["tokens"]
    events: list[Event] = []
    seqgen.train([], model_copy, resume=True, steps=80, watch=Watcher(event=events.append))
    steps = [event for event in events[: events.index(Finished(early=False))] if isinstance(event, Stepped)]
    assert [event.step for event in steps] == list(range(61, 81))
    for taken, event in enumerate(steps, start=1):
        elapsed = (event.tokens - tokens) / event.tokens_per_second
        assert event.seconds_left == pytest.approx(elapsed / taken * (80 - event.step))


def test_resume_keeps_the_patience_of_the_run(text_file: Path, folder: Path) -> None:
    with pytest.raises(Killed):
        seqgen.train(str(text_file), folder, steps=4, patience=0, watch=kill_after(4), **TINY)
    model = seqgen.train(str(text_file), folder, resume=True)
    assert model.checkpoint.config["training"]["step"] == 4
    assert model.checkpoint.config["training"]["schedule"]["patience"] == 0


def test_resume_takes_another_patience_with_more_steps(text_file: Path, folder: Path) -> None:
    seqgen.train(str(text_file), folder, steps=2, **TINY)
    model = seqgen.train(str(text_file), folder, resume=True, steps=4, patience=3)
    assert model.checkpoint.config["training"]["schedule"]["patience"] == 3


def test_resume_counts_epochs_as_the_run_did(folder: Path, tmp_path: Path) -> None:
    """The same command with --resume added. The ends of many small documents count as tokens too."""
    source = tmp_path / "poems"
    source.mkdir()
    for number in range(60):
        (source / f"{number:02}.txt").write_text(f"a leaf fell {number}\nand so did i\n" * 2)
    options = {"epochs": 1.0, **TINY, "batch_size": 2, "seq_length": 8}
    events: list[Event] = []
    seqgen.train(str(source), folder, **options)
    seqgen.train(str(source), folder, resume=True, watch=Watcher(event=events.append), **options)
    assert events == [Finished(early=False)]


@pytest.mark.parametrize("pretrain", [0, 0.25])
def test_resume_counts_more_epochs_of_texts_and_records_them(pretrain: float, folder: Path, tmp_path: Path) -> None:
    """Batches of a classifier are of texts, whatever their tokens; pretraining takes its part of the whole."""
    source = tmp_path / "moods.csv"
    source.write_text("text,label\n" + "".join(f"a {'fine' if n % 2 else 'sad'} day {n},{n % 2}\n" for n in range(40)))
    options = {
        "task": "classify",
        "pretrain": pretrain,
        "val_fraction": 0,
        "patience": 0,
        "batch_size": 4,
        "rnn_size": 4,
    }
    seqgen.train(str(source), folder, epochs=1.0, tokenizer="char", threads=1, **options)
    config = seqgen.train(str(source), folder, resume=True, epochs=2.0).checkpoint.config
    before = config["training"]["pretraining"]["steps"] if pretrain else 0
    assert before == round(10 * pretrain) and config["training"]["step"] + before == 20
    lengths = {name: config["training"]["options"][name] for name in ("budget", "epochs", "steps")}
    assert lengths == {"budget": None, "epochs": 2.0, "steps": None}
    config = seqgen.train(str(source), folder, resume=True, steps=24).checkpoint.config
    assert config["training"]["step"] + before == 24
    assert "steps = 24" in make_recipe(seqgen.load(folder).checkpoint, "again")


@pytest.mark.slow
def test_resume_needs_no_source_while_the_cache_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seqgen_command: Command
) -> None:
    text = (prose(200) + "ünique to this test").encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    seqgen.train("-", folder, steps=3, **TINY)
    monkeypatch.setattr(sys, "stdin", None)
    model = seqgen.train([], folder, resume=True, steps=5)
    assert model.checkpoint.config["training"]["step"] == 5
    result = seqgen_command("train", "--resume", "-o", folder, "--steps", 6)
    assert result.returncode == 0, result.stderr
    assert [record["step"] for record in checkpoint.read_metrics(folder)] == list(range(1, 7))
    shutil.rmtree(cache_folder() / "ids")
    with pytest.raises(UserError, match="standard input"):
        seqgen.train([], folder, resume=True, steps=7)


def test_resume_keeps_the_budget(text_file: Path, folder: Path, saved_often: None) -> None:
    with pytest.raises(Killed):  # early, since a busy machine takes few steps in this time
        seqgen.train(str(text_file), folder, budget="3s", watch=kill_after(5), **TINY)
    before = saved_step(folder)
    stopwatch = Stopwatch()
    model = seqgen.train(str(text_file), folder, budget="3s", resume=True, **TINY)
    assert stopwatch.seconds < 6
    training = model.checkpoint.config["training"]
    assert training["step"] > before
    assert training["seconds"] > 1.5


def test_resume_of_an_older_run_without_members_takes_a_budget(model_copy: Path) -> None:
    path = model_copy / "config.json"
    config = json.loads(path.read_text())
    config["training"]["members"] = None
    path.write_text(json.dumps(config))
    schedules = []
    watch = Watcher(started=lambda training: schedules.append(training.plan.schedule))
    seqgen.train([], model_copy, resume=True, budget="1s", watch=watch)
    assert [(schedule.steps, schedule.seconds) for schedule in schedules] == [(None, 1.0)]


def test_resume_of_a_forecaster_keeps_its_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the plan would choose others now: in another version of seqgen."""
    table, folder = ranks.CORPORA / "weather.csv", tmp_path / "m"
    model = seqgen.train(str(table), folder, task="forecast", steps=2, rnn_size=8, threads=1, finish=False)
    before = model.checkpoint.network
    monkeypatch.setattr(forecasting, "_SEASONS_BACK", forecasting._SEASONS_BACK - 1)
    resumed = seqgen.train([], folder, resume=True, steps=3).checkpoint
    assert resumed.network == before and checkpoint.read_metrics(folder)[-1]["step"] == 3
