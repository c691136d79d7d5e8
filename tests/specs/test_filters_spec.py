"""The table of filters: rows are complete, no condition outside it names a filter, and a function and a row suffice."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqgen.config import SampleOptions
from seqgen.errors import UserError
from seqgen.generation.sampling.draw import NativeSampler, NumpySampler, make_sampler
from seqgen.generation.sampling.filters import FilterChain, check_beam_options
from seqgen.native import library
from seqgen.specs import filters
from seqgen.specs.filters import FILTERS, filter_options, filter_rows
from seqgen.specs.registry import resolve
from tests.helpers.random_models import CODECS, Models
from tests.helpers.syntax_tree import PACKAGE, named_in_conditions, parse, source_files
from tests.helpers.toy_filters import TOY

# ---- The table ----


@pytest.mark.parametrize("row", filter_rows(), ids=lambda row: row.name)
def test_filter_spec_names_things_that_exist(row: filters.FilterSpec) -> None:
    assert row.options[0].name == row.name
    assert row.window is None or row.window in {option.name for option in filter_options()}  # penalties share one
    for dotted in (row.implementation, row.resolve, *(option.parse for option in row.options)):
        assert dotted is None or callable(resolve(dotted))
    assert resolve(row.implementation)(SampleOptions(), None) is None, "off by default"


def test_filter_rows_stateful_filters_run_last() -> None:
    with FILTERS.registered(TOY):
        assert [row.name for row in filter_rows()][-2:] == ["toy_multiple", "mirostat_tau"]
        with pytest.raises(ValueError, match="already"):
            FILTERS.register(TOY)


# Conditions on something else of the same name.
OTHERS = {
    ("cli/commands/chat.py", "temperature"),  # the command /temperature
    ("api/classifying.py", "top_k"),  # labels to print, an option of `classify`
    ("api/evaluate/dialogue.py", "temperature"),  # of its replies, an option of `evaluate`
    ("api/evaluate/music.py", "temperature"),  # of its pieces, an option of `evaluate`
    ("generation/dialogue.py", "temperature"),  # at 0 all candidates are the same: one is drawn
}


def attributes_in_conditions(tree: ast.AST) -> set[str]:
    tests: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            tests.append(node.test)
        elif isinstance(node, ast.comprehension):
            tests += node.ifs
    return {each.attr for test in tests for each in ast.walk(test) if isinstance(each, ast.Attribute)}


def test_conditions_name_no_filter_outside_the_table() -> None:
    names = {option.name for option in filter_options()}
    own = {f"{dotted.split(':')[0].removeprefix('seqgen.').replace('.', '/')}.py"
           for row in filter_rows() for dotted in (row.implementation, row.resolve) if dotted}  # fmt: skip
    own |= {"generation/sampling/native_draw.py", "generation/sampling/device_draw.py"}  # the same filters there
    found = set()
    for path in source_files("specs", *own):
        tree = parse(path)
        named = {name for _, name in named_in_conditions(tree, names)} | (attributes_in_conditions(tree) & names)
        found |= {(path.relative_to(PACKAGE).as_posix(), name) for name in named}
    assert found <= OTHERS, found - OTHERS


# ---- The compiled filters ----


@pytest.mark.skipif(library() is None, reason="no kernels")
def test_make_sampler_filter_without_compiled_code_draws_in_numpy() -> None:
    options: Any = SampleOptions(top_k=3, min_p=0.1)
    assert isinstance(make_sampler(FilterChain(options), 5, [], 1), NativeSampler)
    fields = {item.name: getattr(options, item.name) for item in dataclasses.fields(options)}
    with FILTERS.registered(TOY):
        for value, kind in ((0, NativeSampler), (2, NumpySampler)):
            with_toy: Any = type("Options", (), {**fields, "toy_multiple": value})()
            assert isinstance(make_sampler(FilterChain(with_toy), 5, [], 1), kind)


@pytest.mark.parametrize("given", [{"xtc_probability": 0.5}, {"mirostat_tau": 3.0}])
def test_check_beam_options_random_filter_raises_user_error(given: dict[str, float]) -> None:
    with pytest.raises(UserError, match="beam search draws nothing at random"):
        check_beam_options(SampleOptions(**given))
    check_beam_options(SampleOptions(xtc_threshold=0.5, top_k=5))


# ---- A function and a row are all that a filter needs ----

PROGRAM = """
import json, sys
from seqgen.specs.filters import FILTERS
from tests.helpers.toy_filters import TOY
FILTERS.register(TOY)
import seqgen
from seqgen.cli.main import main
from seqgen.config import SampleOptions
for command in json.loads(sys.argv[1]):
    status = main(command)
    assert not status, (command, status)
model = seqgen.load(sys.argv[2])
session = model.conversation(SampleOptions(toy_multiple=2, seed=1, length=20))
session.hear("who has it?")
*_, reply = session.reply()
ids = model.codec.encode(reply.text.encode("utf-8", "surrogateescape"))
print("reply", all(token % 2 for token in ids.tolist()), reply.tokens)
print("engine", type(model.engine).__name__)
"""


def run_with_toy(commands: list[list[str]], chat_model: Path, native: bool) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if not native:
        environment["SEQGEN_NATIVE"] = "0"
    command = [sys.executable, "-c", PROGRAM, json.dumps(commands), str(chat_model)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "native", [pytest.param(True, marks=pytest.mark.skipif(library() is None, reason="no kernels")), False]
)
def test_toy_filter_reaches_sample_beam_states_receipts_chat_and_compose(
    native: bool, models: Models, tmp_path: Path
) -> None:
    text, chat, music = (str(models("char")), models("dialogue", "dialogue"), str(models("midi", "music")))
    flags = ["-l", "30", "--exact", "--json", "--seed", "3"]
    toy = ["--toy-multiple", "2"]
    state = ["--state-out", str(tmp_path / "state")]
    runs = {
        "off": ["sample", text, *flags, "--toy-multiple", "0"],
        "on": ["sample", text, *flags, *toy, "-n", "3"],
        "beam": ["sample", text, *flags, *toy, "--beam", "3"],
        "begun": ["sample", text, "-l", "12", "--exact", "--json", "--seed", "3", *toy, *state],
        "continued": ["sample", text, "-l", "18", "--exact", "--json", *toy, "--state-in", str(tmp_path / "state")],
        "replayed": ["sample", "--replay", str(tmp_path / "on"), "--json"],
        "composed": ["sample", music, "-l", "2", "--seed", "1", *toy, "-o", str(tmp_path / "piece.mid")],
    }
    commands = [
        [*command, *([] if name == "composed" else ["-o", str(tmp_path / name)])] for name, command in runs.items()
    ]
    printed = run_with_toy(commands, chat, native)

    def records(name: str) -> list[Any]:
        return [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]

    def odd_only(sample: str) -> bool:
        return all(token % 2 for token in CODECS["char"].encode(sample.encode("utf-8", "surrogateescape")).tolist())

    assert not odd_only(records("off")[0]["text"])
    assert "toy_multiple" not in records("off")[0]["receipt"]["options"]
    for name in ("on", "beam", "begun", "continued"):
        for record in records(name):
            assert odd_only(record["text"]) and record["receipt"]["options"]["toy_multiple"] == 2
    assert records("begun")[0]["text"] + records("continued")[0]["text"] == records("on")[0]["text"]
    assert (tmp_path / "replayed").read_bytes() == (tmp_path / "on").read_bytes()
    assert (tmp_path / "piece.mid").stat().st_size > 50
    assert "reply True" in printed and f"engine {'NativeEngine' if native else 'NumpyEngine'}" in printed


def test_toy_filter_off_leaves_every_byte(models: Models, tmp_path: Path) -> None:
    command = ["sample", str(models("char")), "-l", "30", "-t", "0.9", "--top-p", "0.9", "--xtc-probability", "0.5"]
    run_with_toy([[*command, "-o", str(tmp_path / "with")]], models("dialogue", "dialogue"), True)
    done = subprocess.run([sys.executable, "-m", "seqgen", *command, "-o", str(tmp_path / "without")], check=True)
    assert done.returncode == 0
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()
