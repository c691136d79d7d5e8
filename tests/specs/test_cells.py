"""The table of cells: rows are complete, no condition outside it names a cell, and a row and a class make a cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqgen
from seqgen.config import ForecasterConfig, NetworkConfig, TrainOptions
from seqgen.errors import UserError
from seqgen.model.batch_invariant import batch_invariant
from seqgen.model.forecaster import Forecaster
from seqgen.model.language import LanguageModel
from seqgen.model.recurrent.cells import make_cell
from seqgen.model.recurrent.scan import scan
from seqgen.specs import registry
from seqgen.specs.cells import CELLS, CellSpec, check_cell
from tests.helpers import toy_cells
from tests.helpers.running import Run, prose
from tests.helpers.syntax_tree import failing, named_in_conditions, parse, source_files

BUILT_IN = CELLS.names()
TOYS = {toy.name: toy for toy in (toy_cells.WITH_NUMPY_STEP, toy_cells.WITHOUT_NUMPY_STEP)}
SMALL: dict[str, Any] = {"steps": 3, "rnn_size": 16, "embedding_size": 8, "batch_size": 4, "threads": 1, "seed": 1}


@pytest.fixture(params=list(TOYS))
def toy(request: pytest.FixtureRequest) -> Iterator[CellSpec]:
    """A toy cell, registered."""
    with CELLS.registered(TOYS[request.param]) as spec:
        yield spec


# ---- The table ----


@pytest.mark.parametrize("name", BUILT_IN)
def test_cell_spec_names_things_that_exist(name: str) -> None:
    spec = CELLS[name]
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, str) and ":" in value:
            registry.resolve(value)


@pytest.mark.parametrize("name", BUILT_IN)
def test_cell_spec_gates_and_states_are_those_of_the_implementation(name: str) -> None:
    made, units = make_cell(name), 5
    state = tuple(torch.zeros(2, units) for _ in range(made.spec.states))
    gates = torch.zeros(2, made.spec.gates * units)
    assert [part.shape for part in made.step(gates, gates, state)] == [(2, units)] * made.spec.states


def test_native_variant_is_distinct_for_every_activation() -> None:
    variants = [spec.native_variant(activation) for spec in CELLS.values() for activation in spec.activations]
    assert sorted(map(str, variants)) == ["0", "1", "2", "3"]
    assert CELLS["lstm"].native_variant("relu") == CELLS["lstm"].native_variant("tanh")
    assert toy_cells.WITH_NUMPY_STEP.native_variant("tanh") is None


@pytest.mark.parametrize(("cell", "activation"), [("mgu", "tanh"), ("lstm", "exp"), (3, "tanh")])
def test_check_cell_unknown_name_raises_user_error(cell: str, activation: str) -> None:
    with pytest.raises(UserError, match="must be"):
        check_cell(cell, activation)


def test_train_options_activation_of_another_cell_raises_user_error() -> None:
    with pytest.raises(UserError, match="--activation relu needs --cell rnn, not lstm"):
        TrainOptions(activation="relu")


def test_conditions_name_no_cell_outside_the_table() -> None:
    files = source_files("specs")
    assert failing(lambda path: named_in_conditions(parse(path), BUILT_IN), files) == {}


# ---- A row is all that a cell needs ----


def test_network_config_toy_cell_is_accepted_while_it_is_registered() -> None:
    with pytest.raises(UserError, match="cell must be one of"):
        NetworkConfig(5, cell="mgu")
    with CELLS.registered(toy_cells.WITH_NUMPY_STEP):
        assert NetworkConfig(5, cell="mgu").cell == "mgu"


def test_scan_step_only_cell_has_the_gradients_of_autograd_in_bfloat16(toy: CellSpec) -> None:
    made = make_cell(toy.name)
    generator = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((5, 3, 8), (8, 4)))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        leaves = [x.detach().to(dtype).clone().requires_grad_(), weight.clone().requires_grad_()]
        outputs, (last,) = scan(made, *leaves, None, (torch.zeros(3, 4),))
        assert (outputs.dtype, last.dtype) == (dtype, torch.float32)
        (outputs.float().sum() + last.sum()).backward()
        found.append([leaf.grad.float() for leaf in leaves if leaf.grad is not None])
    for exact, rounded in zip(*found, strict=True):
        assert float((exact - rounded).norm() / exact.norm()) < 0.05


def test_scan_step_only_cell_within_batch_invariant_ignores_other_rows(toy: CellSpec) -> None:
    config = NetworkConfig(7, cell=toy.name, rnn_size=16, embedding_size=8)
    network = LanguageModel(config, torch.Generator().manual_seed(1)).eval()
    ids = torch.randint(7, (4, 21), generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), batch_invariant():
        whole, _ = network(ids, network.initial(21))
        alone, _ = network(ids[:, 5:6], network.initial(1))
    assert torch.equal(whole[:, 5:6], alone)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_toy_cell_text_model_trains_samples_scores_and_evaluates(
    toy: CellSpec, precision: str, text_file: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "model"
    seqgen.train(str(text_file), folder, cell=toy.name, seq_length=16, precision=precision, **SMALL)
    sampled = run("sample", folder, "--length", 12, "-t", 0).out
    assert run("sample", folder, "--length", 12, "-t", 0, "--engine", "torch").out == sampled
    state = tmp_path / "state"
    first = run("sample", folder, "--length", 5, "-t", 0, "--state-out", state).out
    assert first + run("sample", folder, "--length", 7, "-t", 0, "--state-in", state).out == sampled
    assert run("score", folder, text_file).out
    assert "bits_per_character" in run("evaluate", folder, text_file, "--json").text
    assert toy.name.upper() in run("info", folder).text


def test_engine_cpu_cell_without_numpy_step_raises_user_error(text_file: Path, tmp_path: Path, run: Run) -> None:
    with CELLS.registered(toy_cells.WITHOUT_NUMPY_STEP) as spec:
        seqgen.train(str(text_file), tmp_path / "model", cell=spec.name, seq_length=16, **SMALL)
        error = run("sample", tmp_path / "model", "--engine", "cpu", status=2).err
    assert "has no numpy step; use --engine torch" in error


@pytest.mark.parametrize("generative", [False, True])
def test_toy_cell_classifier_trains_classifies_and_evaluates(
    toy: CellSpec, generative: bool, tmp_path: Path, run: Run
) -> None:
    table = tmp_path / "texts.csv"
    lines = prose(60).splitlines()
    table.write_text("text,label\n" + "".join(f"{line},{'ab'[n % 2]}\n" for n, line in enumerate(lines)))
    folder = tmp_path / "model"
    options = {"generative": True} if generative else {"pretrain": 0.4}
    seqgen.train(
        str(table), folder, task="classify", cell=toy.name, tokenizer="char", precision="fp32", **options, **SMALL
    )
    assert len(run("classify", folder, stdin=b"the old lamp\nthe boat\n").lines) == 2
    assert "accuracy" in run("evaluate", folder, table, "--json").text


def test_toy_cell_forecaster_trains_forecasts_and_evaluates(toy: CellSpec, tmp_path: Path, run: Run) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("value\n" + "".join(f"{np.sin(n / 4):.4f}\n" for n in range(200)))
    folder = tmp_path / "model"
    seqgen.train(str(table), folder, task="forecast", cell=toy.name, horizon=4, look_back=12, **SMALL)
    assert len(run("forecast", folder, table).lines) == 5
    assert "mae" in run("evaluate", folder, table, "--json").text


def test_forecaster_identity_start_is_a_field_of_the_row() -> None:
    starts = {}
    for identity in (True, False):
        with CELLS.registered(dataclasses.replace(toy_cells.WITH_NUMPY_STEP, identity_start=identity)) as spec:
            config = ForecasterConfig(1, 4, 2, 2, cell=spec.name, rnn_size=6, embedding_size=6)
            weight = Forecaster(config, torch.Generator().manual_seed(1)).state_dict()["layers.0.recurrent_weight"]
            starts[identity] = all(torch.equal(block, torch.eye(6)) for block in weight.chunk(2))
    assert starts == {True: True, False: False}
