"""The compiled kernels: they agree with the cells' own arithmetic, and everything works without them."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from seqgen import native
from seqgen.config import NetworkConfig
from seqgen.generation.engines.native import NativeEngine
from seqgen.model.language import LanguageModel
from seqgen.model.recurrent.cells import Cell, State, make_cell
from seqgen.model.recurrent.native import TimeLoop, sequence_loop, step_loop
from seqgen.model.recurrent.scan import EagerLoop, scan, scan_reference
from seqgen.native.build import compile_kernels
from seqgen.specs.cells import CELLS
from tests.helpers.kernels import forget_library

VARIANTS = [(spec.name, activation) for spec in CELLS.values() for activation in spec.activations]
KERNELS = [spec.name for spec in CELLS.values() if spec.step_kernels]
every_cell = pytest.mark.parametrize(("name", "activation"), VARIANTS)
STEPS, ROWS = 9, 33
ODD, EVEN = 35, 80  # no multiple of a vector; supported by the sequence kernels, with a panel that is not full
every_size = pytest.mark.parametrize("units", [ODD, EVEN])


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Kernels built from the present sources, and in use: those installed if they are, since compiling takes 20 s."""
    place = native.LIBRARY
    newest = max(source.stat().st_mtime for source in Path(native.__file__).parent.glob("*.[ch]"))
    if not place.exists() or place.stat().st_mtime < newest:
        if shutil.which("cc") is None:
            pytest.skip("there is no compiler")
        place = tmp_path_factory.mktemp("native") / "kernels.so"
        assert compile_kernels(place) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "LIBRARY", place)
        patch.delenv("SEQGEN_NATIVE", raising=False)
        forget_library()
        yield place
    forget_library()


def numbers(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def problem(made: Cell, units: int = ODD, rows: int = ROWS) -> tuple[Tensor, Tensor, Tensor | None, State]:
    width = made.spec.gates * units
    bias = numbers(width, seed=3, scale=0.1) if made.spec.recurrent_bias else None
    state = tuple(numbers(rows, units, seed=4 + n, scale=0.5) for n in range(made.spec.states))
    return numbers(STEPS, rows, width, seed=1), numbers(width, units, seed=2, scale=0.12), bias, state


def compiled_loop(made: Cell, kind: torch.dtype, units: int) -> TimeLoop | None:
    """The compiled loop that `scan` takes: of whole sequences if they are supported, otherwise step by step."""
    x = torch.zeros(1, 1, made.spec.gates * units, dtype=kind)
    return sequence_loop(made, x) or step_loop(made, x)


def results(made: Cell, kind: torch.dtype, units: int, reference: bool = False) -> list[Tensor]:
    """Outputs, last state and every gradient, in float64."""
    exact = torch.promote_types(kind, torch.float32)
    x, weight, bias, state = problem(made, units)
    x = x.to(kind).clone().requires_grad_()
    weight = weight.to(exact).clone().requires_grad_()
    bias = None if bias is None else bias.to(exact).clone().requires_grad_()
    state = tuple(part.to(exact).clone().requires_grad_() for part in state)
    out, last = (scan_reference if reference else scan)(made, x, weight, bias, state)
    loss = (out.to(exact) * numbers(*out.shape, seed=7)).sum()
    for n, part in enumerate(last):
        loss = loss + (part * numbers(*part.shape, seed=8 + n)).sum()
    loss.backward()
    leaves = [x, weight, *([] if bias is None else [bias]), *state]
    return [part.detach().double() for part in (out, *last, *[leaf.grad for leaf in leaves])]


@every_cell
@every_size
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 0.02)])
def test_kernels_agree_with_the_step_of_the_cell(
    kernels: Path, name: str, activation: str, units: int, kind: torch.dtype, tolerance: float
) -> None:
    made = make_cell(name, activation)
    assert compiled_loop(made, kind, units) is not None
    if activation == "relu" and kind == torch.bfloat16:
        tolerance = 0.15  # a sum that rounding moves across zero loses its gradient
    exact = results(made, torch.float64, units, reference=True)
    for got, wanted in zip(results(made, kind, units), exact, strict=True):
        assert float((got - wanted).norm() / wanted.norm()) < tolerance


@every_cell
@every_size
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_scan_with_and_without_gradients_gives_the_same_outputs(
    kernels: Path, name: str, activation: str, units: int, kind: torch.dtype
) -> None:
    made = make_cell(name, activation)
    x, weight, bias, state = problem(made, units)
    inputs = (x.to(kind), weight.float().requires_grad_(), None if bias is None else bias.float())
    state = tuple(part.float() for part in state)
    kept, kept_last = scan(made, *inputs, state)
    with torch.no_grad():
        free, free_last = scan(made, *inputs, state)
        halves, middle = scan(made, inputs[0][:4], *inputs[1:], state)
        rest, last = scan(made, inputs[0][4:], *inputs[1:], middle)
    assert torch.equal(kept, free)
    assert all(torch.equal(a, b) for a, b in zip(kept_last, free_last, strict=True))
    assert torch.equal(torch.cat([halves, rest]), free)
    assert all(torch.equal(a, b) for a, b in zip(last, free_last, strict=True))


@pytest.mark.parametrize("units", [256, 257])  # enough work for several threads, in both loops
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_threads_do_not_change_results(kernels: Path, name: str, units: int) -> None:
    made, before = make_cell(name), torch.get_num_threads()
    loop = compiled_loop(made, torch.float32, units)
    assert loop is not None
    width = made.spec.gates * units
    x, weight = numbers(2, 96, width, seed=1).float(), torch.zeros(width, units)
    bias = torch.zeros(width) if made.spec.recurrent_bias else None
    state = tuple(numbers(96, units, seed=5).float() for _ in range(made.spec.states))
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            history, last, saved = loop.forward(x, weight, bias, state, save_for_backward=True)
            found.append((history, *last, *loop.backward(saved, history, weight, history[1:], state)[:2]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", KERNELS)
def test_sequence_loop_rows_are_independent(kernels: Path, name: str, kind: torch.dtype) -> None:
    made = make_cell(name)
    x, weight, bias, state = problem(made, EVEN)
    loop = sequence_loop(made, x.to(kind))
    if loop is None:
        pytest.skip("this processor has no kernels of whole sequences for that type")
    bias = None if bias is None else bias.float()
    state = tuple(part.float() for part in state)
    whole, _, _ = loop.forward(x.to(kind), weight.to(kind), bias, state, save_for_backward=False)
    for rows in (slice(0, 1), slice(7, 12), slice(20, 33)):
        some, _, _ = loop.forward(
            x[:, rows].to(kind), weight.to(kind), bias, tuple(s[rows] for s in state), save_for_backward=False
        )
        assert torch.equal(some, whole[:, rows])


def test_sequence_loop_unsupported_input_is_none(kernels: Path) -> None:
    made = make_cell("lstm")
    assert sequence_loop(made, torch.zeros(1, 1, 4 * ODD)) is None
    assert sequence_loop(made, torch.zeros(1, 1, 4 * EVEN, dtype=torch.float64)) is None


@every_size
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@every_cell
def test_scan_nan_input_reaches_the_output_of_its_row_only(
    kernels: Path, name: str, activation: str, kind: torch.dtype, units: int
) -> None:
    made = make_cell(name, activation)
    x, weight, bias, state = problem(made, units)
    x[3, 5, 7] = float("nan")
    with torch.no_grad():
        out, _ = scan(
            made, x.to(kind), weight.float(), None if bias is None else bias.float(), tuple(s.float() for s in state)
        )
    assert out[:3].isfinite().all()
    assert out[3, 5].isnan().any()
    # On processors with AMX the bfloat16 product of PyTorch reads the NaNs of other rows from the next step on. That is
    # not a kernel's fault, so bfloat16 is checked further only where the kernel computes the product itself.
    own_product = sequence_loop(made, x.to(kind)) is not None
    assert out[: None if own_product or kind == torch.float32 else 4, :5].isfinite().all()


@every_cell
def test_native_engine_nan_in_a_weight_reaches_the_logits(kernels: Path, name: str, activation: str) -> None:
    config = NetworkConfig(vocab_size=5, cell=name, activation=activation, rnn_size=8, embedding_size=4)
    network = LanguageModel(config, torch.Generator().manual_seed(1))
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    weights["layers.0.bias"][3] = np.nan
    engine = NativeEngine(config, weights)
    logits, _ = engine.step(np.array([2]), engine.initial(1))
    assert np.isnan(logits).all()


def test_scan_extreme_inputs_stay_within_bounds(kernels: Path) -> None:
    x = torch.tensor([-3e38, -100.0, -88.0, -1e-8, 0.0, 1e-8, 88.0, 100.0, 3e38])[None, :, None]
    with torch.no_grad():
        out, _ = scan(make_cell("rnn"), x, torch.zeros(1, 1), None, (torch.zeros(9, 1),))
    torch.testing.assert_close(out, x.tanh(), rtol=0, atol=2e-7)


def test_step_loop_without_kernels_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("SEQGEN_NATIVE", "0"), ("SEQGEN_NATIVE", "1")):
        monkeypatch.setenv(name, value)
        monkeypatch.setattr(native, "LIBRARY", tmp_path / "none.so")
        forget_library()
        assert step_loop(make_cell("lstm"), torch.zeros(1)) is None
    forget_library()


@pytest.mark.parametrize("content", [b"", b"not a library"])
def test_library_damaged_file_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "kernels.so"
    place.write_bytes(content)
    monkeypatch.setattr(native, "LIBRARY", place)
    forget_library()
    assert native.library() is None
    forget_library()


def test_library_other_version_is_none(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ctypes.CDLL(str(kernels)).seqgen_version() == native.VERSION
    monkeypatch.setattr(native, "VERSION", native.VERSION + 1)
    forget_library()
    assert native.library() is None
    monkeypatch.undo()
    forget_library()


def test_compile_kernels_failing_compiler_returns_its_message_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", "false")
    assert "false" in str(compile_kernels(tmp_path / "kernels.so"))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "no compiler" in str(compile_kernels(tmp_path / "kernels.so"))
    assert list(tmp_path.iterdir()) == []


def test_scan_float64_takes_the_eager_loop() -> None:
    made = make_cell("lstm")
    assert step_loop(made, torch.zeros(1, dtype=torch.float64)) is None
    x, weight, bias, state = problem(made)
    wanted, _, _ = EagerLoop(made).forward(x, weight, bias, state, save_for_backward=False)
    assert torch.equal(scan(made, x, weight, bias, state)[0], wanted[1:])
