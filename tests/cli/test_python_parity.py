"""Python functions give what the commands give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import seqgen
from seqgen.api.composing import compose
from tests.helpers.running import TINY_FLAGS, Run, weight_bytes

# ---- Python ----


def test_python_interface_equals_commands(run: Run, model_folder: Path, two_files: Path) -> None:
    model = seqgen.load(model_folder)
    source = two_files / "a.txt"
    text = source.read_bytes()

    shown = run(
        "sample", model_folder, "--json", "-n", 3, "--prompt", "the ", "-l", 40, "-t", 0.8, "--top-k", 9
    ).records
    samples = model.sample("the ", n=3, length=40, temperature=0.8, top_k=9)
    assert [vars(sample) for sample in samples] == [
        {key: value for key, value in record.items() if key != "receipt"} for record in shown
    ]
    assert model.records("the ", n=3, length=40, temperature=0.8, top_k=9) == shown
    assert "".join(model.stream("the ", length=40, temperature=0.8, top_k=9)) == samples[0].text

    (score,) = run("score", model_folder, source).records
    assert model.score(text, str(source)).nats == score["nats"]
    assert model.score([text[:1000], text[1000:]]).nats == pytest.approx(score["nats"], rel=1e-6)
    assert model.score(text.decode()).bits_per_byte == score["bits_per_byte"]

    for half in ("the \ud83d", "the \udc80"):  # half a character, which is no text; a byte that is none
        assert len(model.sample(half, length=5)[0].text) == 5
        assert model.score(half).nats > 0

    shown = run("evaluate", model_folder, source, "--json").json
    result = model.evaluate(str(source))
    assert {**result, "seconds": 0} == {**shown, "seconds": 0}
    assert model.info() == run("info", model_folder, "--json").json


def test_python_evaluates_samples_of_exact_weights_as_the_command_does(
    run: Run, zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that otherwise draws them with 8-bit weights."""
    folder, tune, drawn = tmp_path / "m", zoo["music"].parent / "tune.mid", []
    shutil.copytree(zoo["music"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rounding_bits_per_token": 0.0}))

    def watched(model: seqgen.Model, *arguments: Any) -> Any:
        drawn.append(model.engine.arithmetic)
        return compose(model, *arguments)

    monkeypatch.setattr("seqgen.api.evaluate.music.compose", watched)
    model = seqgen.load(folder)
    if model.engine.arithmetic == model.exact_engine.arithmetic:
        pytest.skip("without kernels no weights are rounded")
    result = model.evaluate(str(tune), baselines=False, pieces=2, length=1)
    shown = run("evaluate", folder, tune, "--json", "--no-baselines", "--pieces", 2, "--length", 1).json
    assert drawn == [model.exact_engine.arithmetic] * 2
    assert {**result, "seconds": 0} == {**shown, "seconds": 0}


def test_python_train_equals_command(run: Run, text_file: Path, tmp_path: Path) -> None:
    run("train", text_file, "-o", tmp_path / "command", *TINY_FLAGS)
    model = seqgen.train(text_file.as_posix(), tmp_path / "python", rnn_size=16, steps=3, threads=1, precision="fp32")
    assert weight_bytes(tmp_path / "python") == weight_bytes(tmp_path / "command")
    assert model.sample(length=5)[0].text == seqgen.load(tmp_path / "command").sample(length=5)[0].text
