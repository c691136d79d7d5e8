"""`seqgen info`."""

from __future__ import annotations

import json
from pathlib import Path

import seqgen
from tests.helpers.running import Run

# ---- info, tokenize ----


def test_info_prints_a_page_and_json(run: Run, model_folder: Path, text_file: Path) -> None:
    page = run("info", model_folder).out.decode()
    for words in ("LSTM of 32 units", "char", str(text_file), "bits_per_character", f"seqgen {seqgen.__version__}"):
        assert words in page
    facts = run("info", model_folder, "--json").json
    config = json.loads((model_folder / "config.json").read_text())
    assert {name: facts[name] for name in config} == config
    assert facts["weights_bytes"] == (model_folder / "model.safetensors").stat().st_size
    assert facts["parameters"] * 4 < facts["weights_bytes"] < facts["parameters"] * 4 + 10_000


def test_info_quiet_prints_the_same_page(run: Run, model_folder: Path) -> None:
    result = run("info", model_folder, "--quiet")
    assert (result.out, result.err) == (run("info", model_folder).out, "")
