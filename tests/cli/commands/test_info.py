"""`seqgen info`."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

import seqgen
from seqgen.config.networks import NetworkConfig
from tests.helpers.running import RefusedRun, Run

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


def test_info_of_a_model_without_a_step_leaves_out_what_was_not_measured(run: Run, model_copy: Path) -> None:
    config = json.loads((model_copy / "config.json").read_text())
    config["metrics"]["train_loss"] = None
    (model_copy / "config.json").write_text(json.dumps(config))
    page = run("info", model_copy).out.decode()
    assert "val_loss" in page and "train_loss" not in page


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        ("text", {"trained for": r"2 steps of \d+ × \d+ tokens, ", "val_loss": r"[\d.]+ nats per token"}),
        ("dialogue", {"tokenizer": r"dialogue over (subword|char|byte), vocabulary size "}),
        ("classify", {"trained for": r"\d steps of \d+ texts, ", "train_loss": r"[\d.]+ nats per text",
                      "accuracy_wide": r"[\d.]+ \(the linear model alone\)"}),
        ("forecast", {"trained for": r"2 steps of \d+ windows of \d+ rows, ",
                      "val_loss": r"[\d.]+ \(Huber and pinball loss\)"}),
    ],
)  # fmt: skip
def test_info_counts_in_the_units_of_the_task(model: str, rows: dict[str, str], zoo: dict[str, Path], run: Run) -> None:
    page = run("info", zoo[model]).lines
    for name, pattern in rows.items():
        assert any(re.match(rf"{name} +{pattern}", line) for line in page), page


def test_info_tells_a_scale_that_is_not_that_of_evaluate(zoo: dict[str, Path], run: Run, tmp_path: Path) -> None:
    assert "unlike evaluate's" not in run("info", zoo["forecast"]).out.decode()
    shutil.copytree(zoo["forecast"], tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["training"]["options"] |= {"scaling": "minmax", "log_returns": True}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    page = run("info", tmp_path / "m").out.decode()
    assert "(in the scale of --scaling minmax and --log-returns, unlike evaluate's)" in page


def test_a_field_that_config_json_leaves_to_its_default_has_it(model_copy: Path, run: Run) -> None:
    """In the page, in JSON and in a model card."""
    page, card = run("info", model_copy).out, run("push", model_copy, "me/tales", "--dry-run").out
    config = json.loads((model_copy / "config.json").read_text())
    whole = dict(config["network"])
    for field in dataclasses.fields(NetworkConfig):
        if config["network"][field.name] == field.default:
            del config["network"][field.name]
    (model_copy / "config.json").write_text(json.dumps(config))
    assert run("info", model_copy).out == page and run("push", model_copy, "me/tales", "--dry-run").out == card
    assert run("info", model_copy, "--json").json["network"] == whole != config["network"]


def test_info_shows_names_of_metrics_on_one_short_line(model_copy: Path, run: Run) -> None:
    """The longest name made every row as wide, and a line feed in one made a row of its own."""
    config = json.loads((model_copy / "config.json").read_text())
    config["metrics"] |= {"k" * 9000: 1, "a\nwritten by          seqgen 99": 1.0}
    (model_copy / "config.json").write_text(json.dumps(config))
    page = run("info", model_copy).lines
    assert max(map(len, page)) < 300
    assert [line for line in page if line.startswith("written by")] == page[-1:]


def test_info_quiet_prints_the_same_page(run: Run, model_folder: Path) -> None:
    result = run("info", model_folder, "--quiet")
    assert (result.out, result.err) == (run("info", model_folder).out, "")


def test_info_of_several_models_is_a_table_or_json_lines(run: Run, model_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    header, *rows = run("info", model_folder, other).lines
    assert header.split()[:3] == ["model", "task", "network"]
    assert [row.split()[:2] for row in rows] == [[str(model_folder), "text"], [str(other), "text"]]
    metrics = json.loads((other / "config.json").read_text())["metrics"]
    for expected in ("1 × LSTM 32", f"{metrics['val_loss']:.4f}", f"{metrics['bits_per_character']:.3f} bits/char"):
        assert all(expected in row for row in rows)
    records = run("info", model_folder, other, "--json").records
    assert records == [run("info", model_folder, "--json").json] * 2


def test_info_table_stands_in_columns_below_chinese_names(run: Run, model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "模型一")
    before = [row.partition(" text ")[0] for row in run("info", model_folder, tmp_path / "模型一").lines[1:]]
    assert len({len(part) + sum(map(part.count, "模型一")) for part in before}) == 1


def test_info_plot_draws_the_curves_of_several_models(run: Run, model_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    page = run("info", model_folder, "--plot", tmp_path / "one.png")
    assert page.out == run("info", model_folder).out
    run("info", model_folder, other, "--plot", tmp_path / "two.png")
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one[:4] == two[:4] == b"\x89PNG"
    assert one != two


def test_info_plot_of_a_model_without_metrics_is_refused(
    refused: RefusedRun, model_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    (other / "metrics.jsonl").write_text("{")
    assert "metrics.jsonl is missing" in refused(["info", str(other), "--plot", str(tmp_path / "curves.png")])
    assert not (tmp_path / "curves.png").exists()
    assert "--recipe takes one model" in refused(["info", str(model_folder), str(other), "--recipe"])
