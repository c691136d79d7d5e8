"""The table of tasks: it is complete, no condition outside it names a task, and a row is all that a task needs."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import seqgen
from seqgen import tasks
from seqgen.config import ClassifierConfig, GenerativeConfig, NetworkConfig, network_config_class
from seqgen.errors import UserError
from seqgen.specs import registry
from seqgen.specs.tasks import (
    CLASSIFIER,
    GENERATIVE_CLASSIFIER,
    LANGUAGE_MODEL,
    TASKS,
    RowLayout,
    default_tokenizer,
    names_with_group,
    network_of,
)
from seqgen.specs.tokenizers import TOKENIZERS
from tests.helpers import toys
from tests.helpers.running import TINY_FLAGS, Run, prose
from tests.helpers.syntax_tree import classes_in_conditions, failing, named_in_conditions, parse, source_files


@pytest.fixture
def registered() -> Iterator[None]:
    """The toys are rows of their tables."""
    with TOKENIZERS.registered(toys.MIRRORED), TASKS.registered(toys.LINES), TASKS.registered(toys.MARKS):
        yield


# ---- The table ----


@pytest.mark.parametrize("name", TASKS.names())
def test_task_spec_names_things_that_exist(name: str) -> None:
    spec = TASKS.find(name)
    for row in (spec, *spec.networks):
        for field in dataclasses.fields(row):
            value = getattr(row, field.name)
            if isinstance(value, str) and ":" in value:
                registry.resolve(value)
    assert all(tokenizer in TOKENIZERS for tokenizer in (*spec.tokenizers, *spec.accepted_tokenizers))
    assert all(start in TASKS for start in spec.init_from)
    assert tasks.find(name).spec is spec


def test_task_find_unknown_name_raises_user_error() -> None:
    with pytest.raises(UserError, match="task must be one of text, dialogue, music, classify, forecast; not 'poems'"):
        tasks.find("poems")


def test_names_with_group_lists_tasks_in_order_of_the_table() -> None:
    assert names_with_group("lenient") == ("dialogue", "music")
    assert names_with_group("series") == ("forecast",)


def test_default_tokenizer_with_vocab_size_is_one_that_takes_it() -> None:
    assert default_tokenizer("text", False) == "char"
    assert default_tokenizer("text", True) == "subword"
    assert default_tokenizer("music", True) == "midi"


def test_network_of_config_is_its_row() -> None:
    assert network_of(NetworkConfig(5)) is LANGUAGE_MODEL
    assert network_of(ClassifierConfig(5, ("a", "b"))) is CLASSIFIER
    assert network_of(GenerativeConfig(5, labels=("a", "b"))) is GENERATIVE_CLASSIFIER
    with pytest.raises(LookupError):
        network_of("a network")


def test_network_config_class_is_the_first_that_has_all_fields() -> None:
    kept = dataclasses.asdict(GenerativeConfig(5, labels=("a", "b")))
    assert network_config_class("classify", kept) is GenerativeConfig
    assert network_config_class("classify", {"unknown": 1}) is ClassifierConfig


def test_rows_keep_the_text_column_only_of_text() -> None:
    assert tasks.rows("text", "body") == (RowLayout.TEXT, "body")
    assert tasks.rows("classify", "body") == (RowLayout.RECORDS, None)


# ---- Nothing outside the table asks for a task ----


def test_conditions_name_no_task_outside_the_table() -> None:
    files = source_files("specs")
    assert failing(lambda path: named_in_conditions(parse(path), TASKS.names()), files) == {}


def test_conditions_ask_for_no_config_outside_tasks() -> None:
    configs = {network.config.split(":")[1] for spec in TASKS.values() for network in spec.networks}
    configs |= {"AnyClassifierConfig"}
    files = source_files("specs", "tasks", "corpus/series/scaling.py")
    assert failing(lambda path: classes_in_conditions(parse(path), configs), files) == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("if task == 'text': pass", True),
        ("x = 1 if 'text' != task else 2", True),
        ("if task in ('text', 'other'): pass", True),
        ("match task:\n case 'text': pass", True),
        ("f = {'text': 1, 'music': 2}[task]", True),
        ("record = {'text': 1, 'bytes': 2}", False),
        ("print('text')", False),
        ("def f(task='text'): pass", False),
    ],
)
def test_named_in_conditions_finds_comparisons_and_tables(code: str, found: bool) -> None:
    assert bool(named_in_conditions(ast.parse(code), {"text", "music"})) == found


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("if isinstance(x, A): pass", True),
        ("y = 1 if isinstance(x, A | B) else 2", True),
        ("if x and not isinstance(x, (A, C)): pass", True),
        ("if not isinstance(x, A):\n raise TypeError", False),
        ("assert isinstance(x, A)", False),
        ("if isinstance(x, B): pass", False),
    ],
)
def test_classes_in_conditions_finds_choices_by_class(code: str, found: bool) -> None:
    assert bool(classes_in_conditions(ast.parse(code), {"A"})) == found


# ---- A row is all that a task needs ----


def test_toy_task_trains_samples_scores_and_evaluates(registered: None, run: Run, tmp_path: Path) -> None:
    source, model = tmp_path / "lines.txt", tmp_path / "model"
    source.write_text(prose(60))
    run("train", source, "--task", "lines", "-o", model, *TINY_FLAGS)
    config = json.loads((model / "config.json").read_text())
    assert (config["task"], config["tokenizer"]) == ("lines", "mirrored")
    assert config["data"]["train_tokens"] == config["data"]["train_bytes"] > 0
    assert config["metrics"]["nats_per_id"] > 0
    run("train", source, "--resume", "--steps", 5, "-o", model)

    sampled = run("sample", model, "-t", 0).text
    assert len(sampled.rstrip("\n")) == 7
    assert run("sample", model, "-t", 0).text == sampled
    (scored,) = run("score", model, source).records
    assert scored["tokens"] == source.stat().st_size
    evaluated = run("evaluate", model, source, "--json").json
    assert evaluated["metrics"] == {"longest_line": max(map(len, source.read_bytes().splitlines())) + 1}
    assert "longest_line" in run("evaluate", model, source).text
    assert "lines" in run("info", model).text

    assert (
        "--strict is for dialogue and music; this is lines"
        in run("train", source, "--task", "lines", "--strict", "-o", tmp_path / "other", status=2).err
    )
    assert "seqgen sample" in (model / "README.md").read_text()


def test_toy_task_outside_its_registration_is_one_line(run: Run, tmp_path: Path) -> None:
    source, model = tmp_path / "lines.txt", tmp_path / "model"
    source.write_text(prose(30))
    with TOKENIZERS.registered(toys.MIRRORED), TASKS.registered(toys.LINES):
        run("train", source, "--task", "lines", "-o", model, *TINY_FLAGS)
    refused = run("info", model, status=2)
    assert "its task is unknown" in refused.err
    assert refused.err.count("\n") == 1


def test_toy_classification_task_trains_and_classifies(registered: None, run: Run, tmp_path: Path) -> None:
    source, model = tmp_path / "marks.txt", tmp_path / "model"
    source.write_text("\n".join(line for line in prose(200).splitlines() if line[-1] in ".!"))
    run("train", source, "--task", "marks", "-o", model, *TINY_FLAGS)
    assert seqgen.load(model).info()["network"]["labels"] == ["!", "."]
    labels = run("classify", model, stdin=b"The boy came home\nThe lamp was lit\n").lines
    assert len(labels) == 2
    assert set(labels) <= {"!", "."} or all(label.split("\t")[0] in "!." for label in labels)
    texts = ["The boy came home", "The lamp was lit"]
    assert np.isfinite([prediction.probability for prediction in seqgen.load(model).classify(texts)]).all()

    assert run("sample", model, status=2).err.count("\n") == 1
    assert run("evaluate", model, source, status=2).err.count("\n") == 1
