"""Recipes: a run is repeated by the file that `info --recipe` prints, to the same weights."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from seqgen import checkpoint
from seqgen.api.recipe import make_recipe
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


@pytest.mark.parametrize(("name", "folder"), [("hf:me/tales", "tales"), ("hf:me/tales@main", "tales"), ("a@b", "a@b")])
def test_recipe_of_a_model_of_the_hub_writes_a_folder(model_folder: Path, name: str, folder: str) -> None:
    assert tomllib.loads(make_recipe(checkpoint.load(model_folder), name))["output"] == folder


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
    assert "--recipe takes one model, without --json" in run("info", model_folder, "--recipe", "--json", status=2).err


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("training", "step"), "x"),
        (("training", "options", "patience"), {"a": 1}),
        (("training", "options", "cell"), "\u009b31m"),
        (("training", "schedule", "learning_rate"), {"a": 1}),
        (("training", "given"), 3),
    ],
)
def test_recipe_of_a_model_with_values_of_another_type_is_one_line(
    path: tuple[str, ...], value: object, run: Run, model_copy: Path
) -> None:
    change_config(model_copy, path, value)
    refusal = run("info", model_copy, "--recipe", status=2)
    assert "config.json" in refusal.err and "damaged" in refusal.err and refusal.err.count("\n") == 1
    assert not refusal.out and "\x9b" not in refusal.err


def test_recipe_has_the_words_of_a_model_as_text_only(run: Run, model_copy: Path) -> None:
    """A version with a line feed was lines of TOML, and C1 controls of names reached the terminal."""
    sources = ["a\x9b31m", "b\u202e\x7f\n"]
    change_config(model_copy, ("training", "sources"), sources)
    change_config(model_copy, ("seqgen",), '0\nkeep_corpus = true\nunlabelled = ["/etc/hostname"]\n#')
    printed = run("info", model_copy, "--recipe").text
    assert not set(printed) & set("\x7f\x9b\u202e")
    recipe = tomllib.loads(printed)
    assert recipe["sources"] == sources and not {"keep_corpus", "unlabelled"} & recipe.keys()


def change_config(model: Path, path: tuple[str, ...], value: object) -> None:
    config = json.loads((model / "config.json").read_text())
    inner = config
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    (model / "config.json").write_text(json.dumps(config))
