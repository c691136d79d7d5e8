"""Recipes: a run is repeated by the file that `info --recipe` prints, to the same weights."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.helpers.running import Run, weight_bytes

STEPS = ["--steps", "3", "--threads", "1", "--rnn-size", "16"]


@pytest.mark.parametrize(
    ("source", "flags"),
    [
        ("TEXT", ["--lr", "0.02", "--seed", "7"]),
        ("reviews", ["--generative"]),
        ("prices", ["--target", "close", "--horizon", "10", "--log-returns"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_recipe_repeats_a_run_to_the_same_weights(
    run: Run, text_file: Path, tmp_path: Path, source: str, flags: list[str]
) -> None:
    model, again = tmp_path / "model", tmp_path / "again"
    run("train", str(text_file) if source == "TEXT" else source, "-o", model, *flags, *STEPS)
    recipe = run("info", model, "--recipe").out
    (tmp_path / "run.toml").write_bytes(recipe)
    run("train", "--config", tmp_path / "run.toml", "-o", again)
    assert weight_bytes(model) == weight_bytes(again)
    assert tomllib.loads(recipe.decode())["output"] == str(model)


def test_recipe_holds_what_was_given_and_what_was_chosen(run: Run, text_file: Path, tmp_path: Path) -> None:
    name = 'a "model"\\ of\tmine \x7f'
    run("train", text_file, text_file, "-o", tmp_path / name, "--valid", text_file, "--cell", "lstm", *STEPS)
    recipe = tomllib.loads(run("info", tmp_path / name, "--recipe").text)
    assert recipe["sources"] == [str(text_file)] * 2
    assert recipe["valid"] == [str(text_file)]
    assert recipe["output"] == str(tmp_path / name)
    given = {name: recipe[name] for name in ("task", "cell", "rnn_size", "steps", "threads", "seed")}
    assert given == {"task": "text", "cell": "lstm", "rnn_size": 16, "steps": 3, "threads": 1, "seed": 0}
    assert recipe["batch_size"] > 0 and recipe["learning_rate"] > 0
    assert not {"budget", "epochs", "patience", "horizon", "vocab_size"} & recipe.keys()


def test_recipe_of_a_model_of_an_older_version_names_its_documents(run: Run) -> None:
    golden = Path(__file__).parents[1] / "golden" / "models" / "weather-gru"
    assert "sources" not in json.loads((golden / "config.json").read_text())["training"]
    recipe = tomllib.loads(run("info", golden, "--recipe").text)
    assert (recipe["sources"], recipe["steps"], recipe["cell"]) == (["weather"], 400, "gru")


def test_recipe_of_a_damaged_model_is_an_error(run: Run, model_folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(model_folder, damaged)
    config = json.loads((damaged / "config.json").read_text())
    del config["training"]["options"]
    (damaged / "config.json").write_text(json.dumps(config))
    assert "the settings of the run are missing" in run("info", damaged, "--recipe", status=2).err
    assert (
        "--recipe is of one model, and can't be used with --json"
        in run("info", model_folder, "--recipe", "--json", status=2).err
    )
