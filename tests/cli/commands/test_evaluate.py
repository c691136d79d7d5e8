"""`seqgen evaluate` of text: the contract of its JSON, and the table."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.helpers.running import Command, Run, is_close

# ---- evaluate ----


def test_evaluate_json_keeps_the_contract(run: Run, model_folder: Path, two_files: Path) -> None:
    text = (two_files / "a.txt").read_bytes()
    result = run("evaluate", model_folder, two_files / "a.txt", "--json").json
    assert set(result) == {"task", "records", "tokens", "characters", "bytes", "seconds", "metrics", "baselines"}
    assert (result["task"], result["records"]) == ("text", 1)
    assert result["tokens"] == result["characters"] == result["bytes"] == len(text)
    metrics = result["metrics"]
    assert set(metrics) == {
        "nats_per_character", "bits_per_character", "bits_per_byte", "perplexity_per_token", "perplexity_per_word",
    }  # fmt: skip
    assert is_close(metrics["bits_per_character"] * math.log(2), metrics["nats_per_character"])
    assert is_close(metrics["bits_per_byte"], metrics["bits_per_character"]), "every character is one byte here"
    assert is_close(math.log(metrics["perplexity_per_token"]), metrics["nats_per_character"]), "and one token"
    nats = metrics["nats_per_character"] * (len(text) - 1)  # every character but the first
    assert is_close(math.log(metrics["perplexity_per_word"]), nats / len(text.split()))
    xz = result["baselines"]["xz"]
    assert set(metrics) - {"perplexity_per_token"} <= set(xz)
    assert is_close(xz["bits_per_character"] * math.log(2), xz["nats_per_character"])
    assert is_close(xz["bits_per_byte"] * len(text) / 8, round(xz["bits_per_byte"] * len(text) / 8)), "whole bytes"


def test_evaluate_agrees_with_score(run: Run, model_folder: Path, two_files: Path) -> None:
    """But for the first character, which the one leaves out and the other counts."""
    text = (two_files / "a.txt").read_bytes()
    metrics = run("evaluate", model_folder, "-", "--json", "--no-baselines", stdin=text).json["metrics"]
    (score,) = run("score", model_folder, "--per-token", stdin=text).records
    assert math.isclose(
        metrics["nats_per_character"] * (len(text) - 1), score["nats"] - score["per_token"][0][1], rel_tol=1e-5
    )


def test_evaluate_pipe_equals_file(run: Run, seqgen_command: Command, model_folder: Path, two_files: Path) -> None:
    source = two_files / "a.txt"
    filed = run("evaluate", model_folder, source, "--json").json
    piped = run("evaluate", model_folder, "--json", stdin=source.read_bytes()).json
    really_piped = json.loads(seqgen_command("evaluate", model_folder, "-", "--json", stdin=source.read_bytes()).stdout)
    for result in (filed, piped, really_piped):
        result.pop("seconds")
    assert piped == filed
    assert really_piped["baselines"] == filed["baselines"]
    assert really_piped["metrics"] == pytest.approx(filed["metrics"], rel=1e-6)


def test_evaluate_sums_records(run: Run, model_folder: Path, two_files: Path) -> None:
    parts = [run("evaluate", model_folder, path, "--json", "--no-baselines").json for path in two_files.rglob("*.txt")]
    whole = run("evaluate", model_folder, two_files, "--json", "--no-baselines", "--quiet").json
    assert whole["records"] == 2
    assert whole["baselines"] == {}
    for count in ("tokens", "characters", "bytes"):
        assert whole[count] == sum(part[count] for part in parts)
    nats = sum(part["metrics"]["nats_per_character"] * (part["characters"] - 1) for part in parts)
    assert is_close(whole["metrics"]["nats_per_character"], nats / (whole["characters"] - 2))


def test_evaluate_prints_a_table(run: Run, model_folder: Path, two_files: Path) -> None:
    result = run("evaluate", model_folder, two_files / "a.txt")
    table = result.out.decode()
    for words in ("1 record,", "this model", "xz", "bits_per_byte", "perplexity_per_word"):
        assert words in table
    assert result.err == ""


def test_evaluate_leaves_the_baselines_out(run: Run, model_folder: Path, two_files: Path) -> None:
    source = two_files / "a.txt"
    assert run("evaluate", model_folder, source, "--json", "--no-baselines").json["baselines"] == {}
    assert run("evaluate", model_folder, source, "--json").json["baselines"]


def test_evaluate_training_text_warns(run: Run, model_folder: Path, text_file: Path) -> None:
    """An evaluation on the training text is no evaluation, and says so; unless it is to be quiet."""
    assert "was trained on" in run("evaluate", model_folder, text_file, "--no-baselines").err
    assert run("evaluate", model_folder, text_file, "--no-baselines", "--quiet").err == ""
