"""Layers by PyTorch's own operators against the reference cells in float64: results, gradients, whole networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seqgen.config import NetworkConfig
from seqgen.model.chunks import chunk_texts
from seqgen.model.dropout import LaneRange, MaskRng
from seqgen.model.language import LanguageModel
from seqgen.model.recurrent import stack as stack_module
from seqgen.model.recurrent.cells import make_cell
from seqgen.model.recurrent.cudnn import fused_on_cpu, is_fused, run_fused
from seqgen.model.recurrent.scan import scan_reference
from seqgen.specs.cells import CELLS
from seqgen.training.cross_entropy import language_loss
from tests.helpers.classifiers import make_classifier
from tests.helpers.forecasters import config_of, make_forecaster, random_batch
from tests.helpers.toy_cells import WITH_NUMPY_STEP

VARIANTS = [(spec.name, activation) for spec in CELLS.values() for activation in spec.activations]
every_cell = pytest.mark.parametrize(("name", "activation"), VARIANTS)
TOLERANCE = {"rtol": 1e-10, "atol": 1e-11}


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- One layer ----


def layer_arguments(name: str, activation: str, steps: int, batch: int = 3, inputs: int = 5, units: int = 4):
    cell, rng = make_cell(name, activation), generator(5)
    rows = cell.spec.gates * units

    def make(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, generator=rng, dtype=torch.float64) * scale).requires_grad_()

    x, weight, bias = make(steps, batch, inputs), make(rows, inputs, scale=inputs**-0.5), make(rows)
    recurrent = make(rows, units, scale=units**-0.5)
    recurrent_bias = make(rows) if cell.spec.recurrent_bias else None
    return cell, x, weight, bias, recurrent, recurrent_bias, tuple(make(batch, units) for _ in range(cell.spec.states))


def reference(cell, x, weight, bias, recurrent, recurrent_bias, state):
    return scan_reference(cell, F.linear(x, weight, bias), recurrent, recurrent_bias, state)


@every_cell
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("use", ["outputs", "last state", "both"])
def test_run_fused_equals_scan_reference_with_all_gradients(name: str, activation: str, steps: int, use: str) -> None:
    arguments = layer_arguments(name, activation, steps)
    wanted = [tensor for tensor in (*arguments[1:-1], *arguments[-1]) if tensor is not None]
    results = []
    for run in (run_fused, reference):
        outputs, last = run(*arguments)
        loss = outputs.new_zeros(())
        if use != "last state":
            loss = loss + (outputs * torch.linspace(-1, 1, outputs.numel()).double().view_as(outputs)).sum()
        if use != "outputs":
            loss = loss + sum(((k + 1) * tensor.square()).sum() for k, tensor in enumerate(last))
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        results.append([outputs, *last, *gradients])
    for fused, plain in zip(*results, strict=True):
        assert fused.dtype == plain.dtype == torch.float64
        torch.testing.assert_close(fused, plain, **TOLERANCE)


@every_cell
def test_run_fused_gradients_agree_with_finite_differences(name: str, activation: str) -> None:
    cell, *tensors, state = layer_arguments(name, activation, steps=3)

    def run(*given: Tensor | None) -> tuple[Tensor, ...]:
        outputs, last = run_fused(cell, *given[:5], given[5:])
        return (outputs, *last)

    assert torch.autograd.gradcheck(run, (*tensors, *state))


@every_cell
@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (4, 0)])
def test_run_fused_without_steps_or_rows_returns_the_state(name: str, activation: str, steps: int, batch: int) -> None:
    arguments = layer_arguments(name, activation, steps, batch)
    outputs, last = run_fused(*arguments)
    assert outputs.shape == (steps, batch, 4)
    assert all(torch.equal(new, old) for new, old in zip(last, arguments[-1], strict=True))


def test_is_fused_on_gpus_is_every_cell_with_an_operator() -> None:
    """The loop over steps runs there for a custom cell only."""
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    for spec in CELLS.values():
        assert len(spec.fused) == len(spec.activations)
        assert is_fused(make_cell(spec.name), cuda)
        assert not is_fused(make_cell(spec.name), cpu)
    custom = type(make_cell("lstm"))(WITH_NUMPY_STEP, "tanh")
    assert not is_fused(custom, cuda)
    with fused_on_cpu():
        assert is_fused(make_cell("gru"), cpu)
        assert not is_fused(custom, cpu)
    assert not is_fused(make_cell("gru"), cpu)


# ---- Whole networks ----


@pytest.fixture
def counted_scans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The cells that ran in `scan`."""
    scans: list[str] = []
    own = stack_module.scan

    def scan(cell, *given):
        scans.append(cell.spec.name)
        return own(cell, *given)

    monkeypatch.setattr(stack_module, "scan", scan)
    yield scans


def both_ways(network: nn.Module, run: Callable[[], Sequence[Tensor]], scans: list[str]) -> list[tuple[Tensor, ...]]:
    """Results of `run` and gradients of all weights, by `scan` and by the operators."""
    found = []
    for fused in (False, True):
        network.zero_grad()
        before = len(scans)
        if fused:
            with fused_on_cpu():
                results = run()
        else:
            results = run()
        assert (len(scans) == before) == fused
        sum((k + 1) * result.square().sum() for k, result in enumerate(results)).backward()
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        found.append((*(result.detach() for result in results), *gradients))
    return found


def assert_same(found: list[tuple[Tensor, ...]]) -> None:
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, plain, **TOLERANCE)


LANGUAGE: dict[str, dict[str, Any]] = {
    "one layer": {},
    "three layers": {"num_layers": 3},
    "locked dropout and weight-drop": {"num_layers": 2, "dropout": 0.4, "weight_drop": 0.3},
    "tied": {"tie_weights": True},
    "tied without projection": {"tie_weights": True, "embedding_size": 6},
    "more ids than tokens": {"vocab_size": 400},
}


@every_cell
@pytest.mark.parametrize("settings", LANGUAGE.values(), ids=LANGUAGE)
@pytest.mark.parametrize("blank", [False, True])
def test_language_model_fused_equals_scan(
    name: str, activation: str, settings: dict[str, Any], blank: bool, counted_scans: list[str]
) -> None:
    shape = {"vocab_size": 11, "rnn_size": 6, "embedding_size": 5, **settings}
    network = LanguageModel(NetworkConfig(cell=name, activation=activation, **shape), generator()).double().train()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator(2), dtype=weight.dtype) * 0.2)
    ids = torch.randint(shape["vocab_size"], (6, 4), generator=generator(3))
    mask = torch.rand(ids.shape, generator=generator(4)) < 0.3 if blank else None
    start = tuple(
        tuple(torch.randn(part.shape, generator=generator(5), dtype=part.dtype) for part in layer)
        for layer in network.initial(4)
    )

    def run() -> list[Tensor]:
        rng = MaskRng(generator(6), LaneRange(1, 5, 9))
        hidden, states = network(ids, start, rng, blank=mask)
        return [language_loss(network, hidden, ids), hidden, *(part for layer in states for part in layer)]

    assert_same(both_ways(network, run, counted_scans))


@every_cell
def test_language_model_fused_state_goes_in_and_comes_out(name: str, activation: str) -> None:
    network = LanguageModel(
        NetworkConfig(11, cell=name, activation=activation, rnn_size=6, num_layers=2), generator()
    ).double()
    ids = torch.randint(11, (9, 4), generator=generator(3))
    with fused_on_cpu(), torch.inference_mode():
        whole, last = network(ids, network.initial(4))
        state, parts = network.initial(4), []
        for start, stop in ((0, 1), (1, 5), (5, 5), (5, 9)):
            outputs, state = network(ids[start:stop], state)
            parts.append(outputs)
    torch.testing.assert_close(torch.cat(parts), whole, **TOLERANCE)
    torch.testing.assert_close(state, last, **TOLERANCE)


@every_cell
@pytest.mark.parametrize("lengths", [(4,), (1, 9, 3, 4), (12, 12), (1, 1, 1)])
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_classifier_fused_equals_scan_for_every_length(
    name: str, activation: str, lengths: tuple[int, ...], direction: str, counted_scans: list[str]
) -> None:
    network = make_classifier(cell=name, activation=activation, direction=direction, dropout=0.3, weight_drop=0.2)
    network.double().train()
    chance = np.random.default_rng(3)
    chunks = chunk_texts([chance.integers(11, size=length) for length in lengths], 4)

    def run() -> list[Tensor]:
        return [network.network_logits(chunks, len(lengths), generator(6))]

    assert_same(both_ways(network, run, counted_scans))


@every_cell
@pytest.mark.parametrize("layers", [1, 2])
def test_forecaster_fused_equals_scan(name: str, activation: str, layers: int, counted_scans: list[str]) -> None:
    config = config_of(cell=name, activation=activation, num_layers=layers, past=1, known=2, linear=True)
    network = make_forecaster(config).double().train()
    batch = [part.double() if part is not None and part.is_floating_point() else part for part in random_batch(config)]
    assert_same(both_ways(network, lambda: [network(*batch, rng=generator(2))], counted_scans))


# ---- The count of launches ----


class _Counted(TorchDispatchMode):
    """The operations below autograd, each of which is at least one launch on a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = ("view", "t", "transpose", "slice", "select", "split", "unbind", "detach", "expand", "alias")
        self.count += not any(function.__name__.startswith(f"{view}.") for view in views)
        return function(*args, **(kwargs or {}))


def launches(steps: int, monkeypatch: pytest.MonkeyPatch, fused: bool) -> int:
    """Of the forward and backward pass of a language model, without the kernels for CPUs."""
    monkeypatch.setattr("seqgen.model.recurrent.native.library_with_threads", lambda: None)
    network = LanguageModel(NetworkConfig(11, rnn_size=32, embedding_size=16), generator())
    ids = torch.randint(11, (steps, 4), generator=generator(3))
    with _Counted() as counted:
        if fused:
            with fused_on_cpu():
                hidden, _ = network(ids, network.initial(4))
        else:
            hidden, _ = network(ids, network.initial(4))
        language_loss(network, hidden, ids).backward()
    return counted.count


def test_launches_of_a_fused_layer_do_not_grow_with_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the loop takes dozens, forward and backward; the operator is one call each way."""
    short, long = (launches(steps, monkeypatch, fused=False) for steps in (16, 64))
    assert long - short > 48 * 25
    few, as_many = (launches(steps, monkeypatch, fused=True) for steps in (16, 64))
    assert few == as_many
    assert as_many * 20 < long
