"""`train --plan`: what would be chosen, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqgen import checkpoint
from seqgen.api.train import begin as beginning
from seqgen.config import TrainOptions
from seqgen.training.device import Compute
from seqgen.training.plans import language
from seqgen.training.plans.language import CorpusStats
from tests.helpers.running import TINY_FLAGS, RefusedRun, Run


def test_plan_has_the_settings_of_the_training_and_writes_no_model(run: Run, text_file: Path, tmp_path: Path) -> None:
    planned = run("train", text_file, "-o", tmp_path / "planned", *TINY_FLAGS, "--plan", "--json").json
    assert not (tmp_path / "planned").exists()
    run("train", text_file, "-o", tmp_path / "trained", *TINY_FLAGS)
    config = checkpoint.load(tmp_path / "trained").config
    assert planned["network"] == config["network"]
    for name in ("batch_size", "seq_length", "blank", "precision", "threads"):
        assert planned[name] == config["training"][name]
    assert planned["learning_rate"] == config["training"]["schedule"]["learning_rate"]
    assert planned["task"] == config["task"]
    assert planned["expected"]["steps"] == planned["steps"] == 3
    assert planned["expected"]["tokens_per_second"] > 0
    reasons = planned["reasons"]
    settings = set(planned) - {"network", "parameters", "data", "expected", "reasons", "widths", "budget"}
    assert settings == set(reasons) - {"budget"}
    given = {name for name, reason in reasons.items() if reason == "given"}
    assert given == {"rnn_size", "steps", "threads", "precision", "budget"}
    assert "prose" in reasons["task"]
    assert planned["widths"] == [], "of given steps nothing is measured"


@pytest.mark.parametrize(
    ("source", "flags", "expected"),
    [
        ("prices", ["--target", "close", "--steps", 3], {"horizon": "season", "val_fraction": "last rows"}),
        ("reviews", ["--steps", 3, "--rnn-size", 8, "--ngrams", 0], {"tokenizer": "default", "pretrain": "tokens"}),
    ],
)
def test_plan_table_has_a_line_for_each_setting(
    run: Run, source: str, flags: list[Any], expected: dict[str, str]
) -> None:
    lines = run("train", source, *flags, "--threads", 1, "--plan").lines
    rows = {line.split()[0]: line for line in lines}
    assert rows["steps"].split() == ["steps", "3", "given"]
    assert rows["expected"].split()[1:3] == ["3", "steps,"]
    assert "tokens/s" in rows["speed"]
    for name, reason in expected.items():
        assert reason in rows[name.replace("_", "-")]


def test_plan_of_init_from_keeps_the_shape_and_says_so(run: Run, model_folder: Path, text_file: Path) -> None:
    planned = run("train", text_file, "--init-from", model_folder, "--steps", 3, "--plan", "--json").json
    assert planned["rnn_size"] == checkpoint.load(model_folder).config["network"]["rnn_size"]
    assert planned["reasons"]["rnn_size"] == "as in the model of --init-from"
    assert "quarter" in planned["reasons"]["learning_rate"]


def test_plan_reasons_follow_what_limits_the_size() -> None:
    compute = Compute(torch.device("cpu"), torch.float32)
    options, slow, fast = TrainOptions(budget="60s"), 100.0, 1e9
    small, large = CorpusStats(20_000, 80, 80), CorpusStats(100_000_000, 80, 80)
    by_corpus = language.make_plan(options, small, compute, lambda *_: fast).reasons
    by_time = language.make_plan(options, large, compute, lambda *_: slow).reasons
    assert "too few" in by_corpus["rnn_size"] and "20,000" in by_corpus["rnn_size"]
    assert "time" in by_time["rnn_size"]
    assert "epochs" in language.make_plan(TrainOptions(), small, compute, lambda *_: fast).reasons["budget"]
    assert "10 minutes" in language.make_plan(TrainOptions(), large, compute, lambda *_: slow).reasons["budget"]


def test_plan_compares_the_widths_that_it_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(compute: Compute, patience: float) -> language.SpeedProbe:
        return lambda network, batch, length: 6e6 / network.rnn_size

    monkeypatch.setattr(beginning, "measure_speed", measure)
    flags = ["train", "tidewater", "--budget", "60s", "--threads", 1, "--plan"]
    planned = run(*flags, "--json").json
    widths = {width["rnn_size"]: width for width in planned["widths"]}
    assert planned["rnn_size"] in widths and len(widths) > 2
    assert min(width["excess"] for width in widths.values()) == 0
    assert widths[planned["rnn_size"]]["excess"] < widths[64]["excess"], "too few units for the time"
    for units, width in widths.items():
        assert width["tokens_per_second"] == 6e6 / units
        assert width["tokens"] / width["tokens_per_second"] == pytest.approx(60, abs=5)
    table = {line.split()[0]: line for line in run(*flags).lines}
    assert all("tokens/s" in table[str(units)] and "M in the time" in table[str(units)] for units in widths)
    assert "above the best width" in table["64"]


def test_plan_contradictions_are_refused(refused: RefusedRun, text_file: Path, tmp_path: Path) -> None:
    assert "--plan is for a new run" in refused(
        ["train", str(text_file), "-o", str(tmp_path / "m"), "--plan", "--resume"]
    )
    assert "--json is for --plan" in refused(["train", str(text_file), "-o", str(tmp_path / "m"), "--json"])
    assert "no file" in refused(["train", str(tmp_path / "missing.txt"), "--plan"])
