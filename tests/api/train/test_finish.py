"""Finishing: the held-out part is learnt too, after everything that is measured on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import seqgen
from seqgen import checkpoint
from seqgen.api.train import finish as finish_module
from seqgen.api.train import folder as model_folders
from seqgen.api.train.watch import Watcher
from seqgen.training import finishing
from seqgen.training.calibration import dropout_temperature
from seqgen.training.loop import Event, Finishing, Stepped
from tests.helpers import ranks
from tests.helpers.training import DROPOUT, TINY, Killed, file_contents, metrics_without_time, saved_weights

STEPS = 36


def config_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text()))


def resume_state(folder: Path, best: bool = False) -> dict[str, bytes]:
    arrays, _ = checkpoint.read_resume(folder)
    return {name: array.tobytes() for name, array in arrays.items() if name.startswith("best.") == best}


@pytest.fixture(autouse=True)
def finishes_however_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finishing, "_MAX_FRACTION", 100.0)


@pytest.fixture(scope="module")
def pair(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The same run with finishing and without."""
    folder = tmp_path_factory.mktemp("finish")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finishing, "_MAX_FRACTION", 100.0)
        for finish in (True, False):
            seqgen.train(str(text_file), folder / str(finish), steps=STEPS, seed=3, finish=finish, **DROPOUT)
    return {finish: folder / str(finish) for finish in (True, False)}


def test_resume_killed_between_weights_and_config_measures_the_new_weights(
    pair: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a finished model, with which a longer run goes on."""
    folder, whole, write, killed = tmp_path / "m", tmp_path / "whole", checkpoint.write_weights, False
    for copy in (folder, whole):
        shutil.copytree(pair[True], copy)
    before = config_of(folder)

    def kill(*arguments: Any) -> None:
        nonlocal killed
        write(*arguments)
        killed = True
        raise Killed

    monkeypatch.setattr(model_folders.checkpoint, "write_weights", kill)
    with pytest.raises(Killed):
        seqgen.train([], folder, resume=True, steps=2 * STEPS)
    monkeypatch.undo()
    monkeypatch.setattr(finishing, "_MAX_FRACTION", 100.0)
    assert killed and not {"finished", "temperature", "rounding_bits_per_token"} & config_of(folder).keys()
    seqgen.train([], folder, resume=True)
    seqgen.train([], whole, resume=True, steps=2 * STEPS)
    assert saved_weights(folder) == saved_weights(whole)
    after, expected = config_of(folder), config_of(whole)
    for name in ("metrics", "temperature", "finished", "rounding_bits_per_token"):
        assert after.get(name) == expected.get(name)
    assert after["metrics"] != before["metrics"]


def test_finish_leaves_what_was_measured(pair: dict[bool, Path]) -> None:
    finished, plain = config_of(pair[True]), config_of(pair[False])
    assert finished["finished"]["epochs"] == finishing.EPOCHS
    assert "finished" not in plain
    for name in ("metrics", "temperature", "rounding_bits_per_token"):
        assert finished.get(name) == plain.get(name)
    assert metrics_without_time(pair[True]) == metrics_without_time(pair[False])
    before, after = saved_weights(pair[False]), saved_weights(pair[True])
    assert all(before[name] != after[name] for name in before)
    assert resume_state(pair[True]) == resume_state(pair[False]), "a longer run goes on from before"
    card = (pair[True] / "README.md").read_text()
    assert "learnt too" in card
    assert "learnt too" not in (pair[False] / "README.md").read_text()


def test_finish_learns_the_held_out_part(text_file: Path, tmp_path: Path) -> None:
    """Its last words are found nowhere else."""
    source = tmp_path / "text.txt"
    end = "the zebra quotes a jovial sphinx of black quartz. " * 40
    source.write_text(text_file.read_text()[:12_000] + end)
    nats = {}
    for finish in (True, False):
        model = seqgen.train(str(source), tmp_path / str(finish), steps=40, seed=1, finish=finish, **TINY)
        nats[finish] = model.score(end.encode()).nats
    assert nats[True] < 0.9 * nats[False]


def test_finish_that_makes_the_held_out_loss_higher_is_taken_back(
    pair: dict[bool, Path], text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "RATE_FACTOR", 300.0)
    warnings: list[str] = []
    folder, watch = tmp_path / "m", Watcher(warn=warnings.append)
    seqgen.train(str(text_file), folder, steps=STEPS, seed=3, watch=watch, **DROPOUT)
    assert warnings == ["learning the held-out part made its loss higher, so the weights of the best step are kept"]
    assert saved_weights(folder) == saved_weights(pair[False])
    assert not checkpoint.load(folder).is_finished
    assert config_of(folder)["metrics"] == config_of(pair[False])["metrics"]
    before = file_contents(folder)
    seqgen.train([], folder, resume=True, watch=watch)
    assert (file_contents(folder), len(warnings)) == (before, 1), "it isn't tried again"


def test_finish_of_a_network_that_gets_worse_takes_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the further networks too, each by the loss of its own best step."""
    ranks.write_sources(tmp_path / "sources")
    source, settings = ranks.RUNS["forecast"]
    given = {**ranks.SMALL, **settings, "steps": 4, "members": 2}
    monkeypatch.setattr(finishing, "RATE_FACTOR", 1e4)
    for finish in (True, False):
        seqgen.train(str(tmp_path / "sources" / source), tmp_path / str(finish), finish=finish, **given)
    assert saved_weights(tmp_path / "True") == saved_weights(tmp_path / "False")


def test_finish_of_a_further_network_alone_makes_the_rows_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first took them back."""
    ranks.write_sources(tmp_path / "sources")
    source, settings = ranks.RUNS["forecast"]
    given = {**ranks.SMALL, **settings, "steps": 4, "members": 2}
    learnt = iter([False, True])
    monkeypatch.setattr(finish_module, "_is_learnt", lambda _: next(learnt))
    path, folder = str(tmp_path / "sources" / source), tmp_path / "m"
    model = seqgen.train(path, folder, **given)
    assert model.checkpoint.is_finished and "learnt too" in (folder / "README.md").read_text()
    assert "learnt too" in model.evaluate(path, baselines=False)["evaluated"]
    before = file_contents(folder)
    seqgen.train([], folder, resume=True)
    assert file_contents(folder) == before


def train_killed_in(source: Path, folder: Path, number: int) -> None:
    """Train, and die at the `number`-th event from the beginning of finishing."""
    left = number
    seen = False

    def event(event: Event) -> None:
        nonlocal left, seen
        seen = seen or isinstance(event, Finishing)
        left -= seen
        if seen and left == 0:
            raise Killed

    with pytest.raises(Killed):
        seqgen.train(str(source), folder, steps=STEPS, seed=3, watch=Watcher(event=event), **DROPOUT)


@pytest.mark.parametrize("number", [1, 3])
def test_finish_killed_begins_again(number: int, pair: dict[bool, Path], text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    train_killed_in(text_file, folder, number)
    assert saved_weights(folder) == saved_weights(pair[False]), "until the end, the model is the one from before"
    assert "finished" not in config_of(folder)
    seqgen.train([], folder, resume=True)
    assert saved_weights(folder) == saved_weights(pair[True])
    assert resume_state(folder) == resume_state(pair[True])
    before = file_contents(folder)
    seqgen.train([], folder, resume=True)
    assert file_contents(folder) == before, "nothing is learnt twice"


def test_finish_keeps_the_correction_of_the_temperature(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropout_temperature, "fit_temperature", lambda *_: 0.9)  # a network this young is too unsure
    arrays, logits = {}, ("output_weight", "output_bias")
    for finish in (True, False):
        folder = tmp_path / str(finish)
        seqgen.train(str(text_file), folder, steps=STEPS, seed=3, finish=finish, **DROPOUT)
        assert config_of(folder)["temperature"] == 0.9
        arrays[finish] = load_file(folder / "model.safetensors")
        best = checkpoint.read_resume(folder)[0]
        for name, plain in arrays[False].items() if not finish else ():
            np.testing.assert_allclose(plain, best[f"best.{name}"] / (0.9 if name in logits else 1), rtol=1e-6)
    for name in logits:  # learning changes them less than the correction
        np.testing.assert_allclose(
            np.linalg.norm(arrays[True][name]) / np.linalg.norm(arrays[False][name]), 1, atol=0.08
        )
    folder = tmp_path / "killed"
    train_killed_in(text_file, folder, 2)
    assert saved_weights(folder) == saved_weights(tmp_path / "False")
    seqgen.train([], folder, resume=True)
    assert saved_weights(folder) == saved_weights(tmp_path / "True")


def test_finish_is_left_out_of_a_stopped_run(pair: dict[bool, Path], text_file: Path, tmp_path: Path) -> None:
    folder, steps = tmp_path / "m", []
    watch = Watcher(
        event=lambda event: steps.append(event.step) if isinstance(event, Stepped) else None,
        stop=lambda: len(steps) == 8,
    )
    seqgen.train(str(text_file), folder, steps=STEPS, seed=3, watch=watch, **DROPOUT)
    assert len(steps) == 8
    assert "finished" not in config_of(folder)
    seqgen.train([], folder, resume=True)
    assert saved_weights(folder) == saved_weights(pair[True])


def test_finish_stopped_keeps_the_model(pair: dict[bool, Path], text_file: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    watch = Watcher(event=events.append, stop=lambda: any(isinstance(event, Finishing) for event in events))
    seqgen.train(str(text_file), tmp_path / "m", steps=STEPS, seed=3, watch=watch, **DROPOUT)
    assert saved_weights(tmp_path / "m") == saved_weights(pair[False])


def test_resume_with_more_steps_goes_on_from_before_finishing(pair: dict[bool, Path], tmp_path: Path) -> None:
    for finish in (True, False):
        shutil.copytree(pair[finish], tmp_path / str(finish))
        seqgen.train([], tmp_path / str(finish), resume=True, steps=STEPS + 12)
    assert resume_state(tmp_path / "True") == resume_state(tmp_path / "False")
    assert metrics_without_time(tmp_path / "True") == metrics_without_time(tmp_path / "False")
    assert config_of(tmp_path / "True")["finished"]
    best = {f"best.{name}": data for name, data in saved_weights(tmp_path / "False").items()}
    assert config_of(tmp_path / "True")["temperature"] == config_of(tmp_path / "False")["temperature"]
    if config_of(tmp_path / "False")["temperature"] == 1:
        assert resume_state(tmp_path / "True", best=True) == best


def test_resume_of_a_finished_run_keeps_the_corpus(pair: dict[bool, Path], tmp_path: Path) -> None:
    """Though there is nothing left to train."""
    shutil.copytree(pair[True], tmp_path / "m")
    seqgen.train([], tmp_path / "m", resume=True, keep_corpus=True)
    assert (tmp_path / "m" / checkpoint.CORPUS).exists()
    assert saved_weights(tmp_path / "m") == saved_weights(pair[True])


def test_finish_of_a_resumed_run_cannot_change(pair: dict[bool, Path]) -> None:
    with pytest.raises(seqgen.UserError, match="--finish can't change on --resume"):
        seqgen.train([], pair[True], resume=True, finish=False)


def test_finish_never_learns_a_validation_set_of_its_own(text_file: Path, tmp_path: Path) -> None:
    seqgen.train(str(text_file), tmp_path / "m", valid=str(text_file), steps=4, **TINY)
    assert "finished" not in config_of(tmp_path / "m")
    seqgen.train(str(text_file), tmp_path / "none", val_fraction=0, steps=4, **TINY)
    assert "finished" not in config_of(tmp_path / "none")


@pytest.mark.parametrize("name", ["dialogue", "music", "classify", "generative", "forecast"])
def test_finish_of_every_task(name: str, tmp_path: Path) -> None:
    ranks.write_sources(tmp_path / "sources")
    source, settings = ranks.RUNS[name]
    given = {**ranks.SMALL, **settings}
    given.pop("epochs", None)
    for finish in (True, False):
        seqgen.train(str(tmp_path / "sources" / source), tmp_path / str(finish), finish=finish, **{**given, "steps": 3})
    finished, plain = config_of(tmp_path / "True"), config_of(tmp_path / "False")
    assert finished["finished"]["steps"] > 0
    assert finished["metrics"] == plain["metrics"]
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("False", "True"))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert any(name.startswith(("layers", "readers", "embedding", "segment")) for name in changed), changed
    assert not changed & {"mix", "shift", "believed", "prior", "wide_keys"}


def test_finish_never_learns_what_split_rows_holds_out(tmp_path: Path) -> None:
    ranks.write_sources(tmp_path / "sources")
    source, settings = ranks.RUNS["forecast"]
    given = {**ranks.SMALL, **settings, "steps": 2, "split_rows": "250,70,70"}
    seqgen.train(str(tmp_path / "sources" / source), tmp_path / "m", **given)
    assert "finished" not in config_of(tmp_path / "m")


def test_finish_of_a_forecaster_counts_the_held_out_rows_as_learnt(tmp_path: Path) -> None:
    ranks.write_sources(tmp_path / "sources")
    source, settings = ranks.RUNS["forecast"]
    path = str(tmp_path / "sources" / source)
    rows, widths, evaluated = {}, {}, {}
    for finish in (True, False):
        given = {**ranks.SMALL, **settings, "steps": 12, "finish": finish}
        model = seqgen.train(path, tmp_path / str(finish), **given)
        (made,) = model.forecast(path, levels="80")
        rows[finish] = model.checkpoint.scaler.learnt_rows(made.series, model.checkpoint.is_finished)
        widths[finish] = float((made.bands[0].upper - made.bands[0].lower).mean())
        evaluated[finish] = model.evaluate(path)["evaluated"]
    assert rows == {True: 399, False: 359}
    assert widths[True] == pytest.approx(widths[False], rel=0.2), "what recent errors call for is kept"
    assert "learnt too" in evaluated[True]
    assert "learnt too" not in evaluated[False]
