"""Models written by an earlier version: they load, and give what they gave then.

`golden/models` was trained on the starter corpora by the version that `expected.json` names; `how` in each entry is the
command that gave the expected values, without the compiled kernels.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from tests.helpers.running import Command

GOLDEN = Path(__file__).parent / "golden"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
MODELS = [name for name, entry in EXPECTED.items() if isinstance(entry, dict)]
NUMPY = {"SEQGEN_NATIVE": "0"}


def model(name: str) -> Path:
    return GOLDEN / "models" / name


@pytest.mark.parametrize("name", MODELS)
def test_golden_model_files_are_unchanged(name: str) -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in model(name).iterdir()}
    assert found == EXPECTED[name]["files"]


@pytest.mark.parametrize("name", MODELS)
def test_golden_model_loads_with_its_task_and_parameters(name: str) -> None:
    loaded = seqgen.load(model(name))
    assert loaded.task == EXPECTED[name]["task"]
    assert loaded.info()["parameters"] == EXPECTED[name]["parameters"]


@pytest.mark.parametrize("case", EXPECTED["tidewater-lstm"]["cases"], ids=lambda case: case["prompt"] or "nothing")
@pytest.mark.parametrize("environment", [NUMPY, {}], ids=["numpy", "kernels"])
def test_golden_text_at_temperature_0_is_that_of_before(
    case: dict[str, Any], environment: dict[str, str], seqgen_command: Command
) -> None:
    folder = model("tidewater-lstm")
    options = ("-l", len(case["ids"]), "-t", 0, "--engine", "light", "--exact")
    done = seqgen_command("sample", folder, "-p", case["prompt"], *options, **environment)
    assert done.stdout.decode() == case["prompt"] + case["text"]
    ids = seqgen_command("tokenize", folder, "-", stdin=(case["prompt"] + case["text"]).encode()).stdout
    assert [int(word) for word in ids.split()] == case["prompt_ids"] + case["ids"]


def test_golden_text_with_a_seed_is_that_of_before(seqgen_command: Command) -> None:
    for case in EXPECTED["tidewater-lstm"]["cases"]:
        options = ("-l", 100, "-t", 0.8, "--seed", 1, "--engine", "light", "--exact")
        done = seqgen_command("sample", model("tidewater-lstm"), "-p", case["prompt"], *options, **NUMPY)
        assert done.stdout.decode() == case["prompt"] + case["drawn_temperature_0.8_seed_1_length_100"]


@pytest.mark.parametrize("case", EXPECTED["tunes-gru"]["cases"], ids=lambda case: case["primer"] or "nothing")
def test_golden_music_at_temperature_0_is_that_of_before(case: dict[str, Any], seqgen_command: Command) -> None:
    primer = ("--primer", GOLDEN / case["primer"]) if case["primer"] else ()
    options = ("-l", case["bars"], "-t", 0, "--engine", "light", "--exact", "-o", "-")
    done = seqgen_command("sample", model("tunes-gru"), *primer, *options, **NUMPY)
    assert hashlib.sha256(done.stdout).hexdigest() == case["midi_sha256"], done.stderr.decode()


def test_golden_labels_and_probabilities_are_those_of_before(seqgen_command: Command) -> None:
    entry = EXPECTED["reviews-lstm"]
    loaded = seqgen.load(model("reviews-lstm"))
    for case in entry["cases"]:
        (prediction,) = loaded.classify([case["text"]], top_k=2)
        assert prediction.label == case["label"]
        assert dict(prediction.labels) == pytest.approx(case["probabilities"], abs=2e-6)
    lines = "".join(case["text"] + "\n" for case in entry["cases"]).encode()
    done = seqgen_command("classify", model("reviews-lstm"), stdin=lines, **NUMPY)
    assert done.stdout.decode().splitlines() == entry["cli_lines"]


def test_golden_forecast_is_that_of_before() -> None:
    entry = EXPECTED["weather-gru"]
    (made,) = seqgen.load(model("weather-gru")).forecast("weather", levels="80")
    assert made.times == entry["times"]
    for number, name in enumerate(made.columns):
        wanted = entry["columns"][name]
        found = {"point": made.point, "low80": made.bands[0].lower, "high80": made.bands[0].upper}
        for key, values in found.items():
            np.testing.assert_allclose(values[number], wanted[key], rtol=2e-5)


def test_golden_conversation_at_temperature_0_is_that_of_before(seqgen_command: Command) -> None:
    entry = EXPECTED["dialogues-rnn"]
    lines = "".join(case["line"] + "\n" for case in entry["cases"]).encode()
    done = seqgen_command("chat", model("dialogues-rnn"), "-t", 0, "--exact", stdin=lines, **NUMPY)
    assert done.stdout.decode().splitlines() == [case["reply"] for case in entry["cases"]]
