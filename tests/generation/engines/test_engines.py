"""The engines: light and torch agree, and a stream's numbers are its own whatever runs beside it."""

from __future__ import annotations

import ctypes
import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from seqgen import checkpoint
from seqgen.config import NetworkConfig, SampleOptions
from seqgen.errors import UserError
from seqgen.generation import prompts, streaming
from seqgen.generation.engines import native
from seqgen.generation.engines import numpy as numpy_engine
from seqgen.generation.engines.base import Engine
from seqgen.generation.engines.choose import ENGINES, choose_engine, make_engine
from seqgen.generation.engines.native import NativeEngine, quantization_cost
from seqgen.generation.engines.numpy import NumpyEngine
from seqgen.generation.engines.torch import BLOCK, ReplayedStep, TorchEngine
from seqgen.model.language import LanguageModel
from seqgen.native import library
from seqgen.specs.cells import CELLS
from seqgen.tokenizers.characters import CharCodec
from tests.helpers.kernels import library_by

VARIANTS = [(spec.name, activation) for spec in CELLS.values() for activation in spec.activations]
Weights = Mapping[str, npt.NDArray[np.float32]]
every_cell = pytest.mark.parametrize(("name", "activation"), VARIANTS)
KINDS: dict[str, Callable[[NetworkConfig, Weights], Engine]] = {"light": NumpyEngine, "torch": TorchEngine}
if library() is not None:
    KINDS["compiled"] = NativeEngine
if library() is not None:
    KINDS["whole"] = partial(NativeEngine, quantized=True)
every_engine = pytest.mark.parametrize("kind", KINDS)


def random_weights(config: NetworkConfig, seed: int = 1) -> Weights:
    """A fresh network's weights, with every bias off zero so that a forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    weights = {key: value.numpy() for key, value in LanguageModel(config, generator).state_dict().items()}
    chance = np.random.default_rng(seed)
    for key, value in weights.items():
        if key.endswith("bias"):
            weights[key] = value + chance.normal(0, 0.5, value.shape).astype(np.float32)
    return weights


def small(name: str = "lstm", activation: str = "tanh", **more: Any) -> NetworkConfig:
    return NetworkConfig(**{"vocab_size": 37, "cell": name, "activation": activation, "rnn_size": 17,
                            "embedding_size": 9, "num_layers": 2, **more})  # fmt: skip


def engine(kind: str, config: NetworkConfig) -> Engine:
    return KINDS[kind](config, random_weights(config))


def run(some: Engine, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Logits after every step, shape (time, batch, vocabulary)."""
    state, logits = some.initial(ids.shape[1]), []
    for step in ids:
        values, state = some.step(step, state)
        logits.append(values)
    return np.stack(logits)


def some_ids(*shape: int, seed: int = 2) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, 37, shape)


def test_engines_of_the_table_are_all_tested() -> None:
    assert set(ENGINES) <= set(KINDS)
    assert all(spec.numpy_step for spec in CELLS.values())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("embedding_size", [9, 17])
@every_cell
@pytest.mark.parametrize("kind", sorted({"light", "compiled"} & set(KINDS)))
def test_engines_agree_with_each_other(
    kind: str, name: str, activation: str, embedding_size: int, layers: int, tied: bool
) -> None:
    config = small(name, activation, num_layers=layers, tie_weights=tied, embedding_size=embedding_size)
    ids = some_ids(20, 3)
    ours, theirs = run(engine(kind, config), ids), run(engine("torch", config), ids)
    assert ours.shape == theirs.shape == (20, 3, 37)
    assert ours.dtype == theirs.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [17, 64])
@every_cell
@every_engine
def test_step_row_is_the_same_in_any_batch(kind: str, name: str, activation: str, size: int) -> None:
    """Odd sizes, because the ends of rows that do not fill a vector register are where kernels differ."""
    some = engine(kind, small(name, activation, rnn_size=size))
    ids = some_ids(4, 40)
    alone = [run(some, ids[:, [row]])[:, 0] for row in range(40)]
    for batch in (1, 3, 17, 40):
        rows = np.random.default_rng(batch).permutation(40)[:batch]
        together = run(some, ids[:, rows])
        for place, row in enumerate(rows):
            np.testing.assert_array_equal(together[:, place], alone[row])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("units", [33, 34])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@every_engine
def test_step_row_is_the_same_with_a_large_vocabulary(kind: str, tied: bool, cell: str, units: int) -> None:
    config = small(cell, vocab_size=1003, rnn_size=units, embedding_size=21, tie_weights=tied)
    some, ids = engine(kind, config), some_ids(3, 21)
    together = run(some, ids)
    for row in (0, 5, 15, 16, 20):
        np.testing.assert_array_equal(run(some, ids[:, [row]])[:, 0], together[:, row])


@pytest.mark.parametrize(
    "narrow",
    [
        {"name": "rnn", "rnn_size": 9},
        {"name": "gru", "rnn_size": 33, "embedding_size": 9, "tie_weights": True},
        {"name": "lstm", "rnn_size": 33, "vocab_size": 9},
    ],
    ids=["units", "projection", "vocabulary"],
)
@every_engine
def test_step_row_is_the_same_in_a_narrow_network(kind: str, narrow: dict[str, Any]) -> None:
    """A product of less than 12 columns goes through other kernels of MKL, which treat a block's rows unlike."""
    some = engine(kind, small(**narrow))
    ids = some_ids(4, 40) % some.vocab_size
    together = run(some, ids)
    for row in range(40):
        np.testing.assert_array_equal(run(some, ids[:, [row]])[:, 0], together[:, row])


def snapshot(state: Any) -> Any:
    """The numbers in a state, copied, whatever it is made of."""
    if isinstance(state, (tuple, list)):
        return [snapshot(part) for part in state]
    if isinstance(state, torch.Tensor):
        return state.numpy().copy()
    return np.array(state)


def flat(state: Any) -> list[Any]:
    return [leaf for part in state for leaf in flat(part)] if isinstance(state, list) else [state]


@every_cell
@every_engine
def test_step_does_not_modify_states(kind: str, name: str, activation: str) -> None:
    some = engine(kind, small(name, activation))
    ids = some_ids(3, 18)
    _, state = some.step(ids[0], some.initial(18))
    before = snapshot(state)
    first, new = some.step(ids[1], state)
    kept = first.copy()
    some.step(ids[2], new)
    second, _ = some.step(ids[1], state)
    np.testing.assert_array_equal(kept, second)
    np.testing.assert_array_equal(kept, first)  # nor are logits that were handed out
    for old, now in zip(flat(before), flat(snapshot(state)), strict=True):
        np.testing.assert_array_equal(old, now)


@every_cell
@every_engine
def test_read_equals_step(kind: str, name: str, activation: str) -> None:
    """As near as float32 allows: torch reads many ids in other products than one."""
    some = engine(kind, small(name, activation))
    ids = some_ids(50)
    state = some.initial(1)
    for token in ids:
        _, state = some.step(np.array([token]), state)
    read = some.read(ids, some.initial(1))
    in_two = some.read(ids[20:], some.read(ids[:20], some.initial(1)))
    for other in (read, in_two):
        ours, theirs = (some.step(np.array([5]), each)[0] for each in (other, state))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@every_engine
def test_read_without_ids_keeps_the_state(kind: str) -> None:
    some = engine(kind, small())
    state = some.read(some_ids(5), some.initial(1))
    same = some.read(np.empty(0, dtype=np.int64), state)
    np.testing.assert_array_equal(some.step(np.array([1]), same)[0], some.step(np.array([1]), state)[0])


def test_torch_engine_read_spans_chunks() -> None:
    light_engine, torch_engine = (engine(kind, small(rnn_size=8)) for kind in ("light", "torch"))
    ids = some_ids(1500)
    ours, theirs = (
        each.step(np.array([3]), each.read(ids, each.initial(1)))[0] for each in (light_engine, torch_engine)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, BLOCK, BLOCK + 1, 3 * BLOCK])
@every_engine
def test_repeat_continues_like_the_original(kind: str, batch: int) -> None:
    some = engine(kind, small("gru"))
    state = some.read(some_ids(7), some.initial(1))
    many = some.repeat(state, batch)
    ids = some_ids(batch, seed=9)
    logits, new = some.step(ids, many)
    assert logits.shape == (batch, 37)
    for row in range(batch):
        np.testing.assert_array_equal(logits[row], some.step(ids[row : row + 1], state)[0][0])
    # The copies part ways: each follows its own ids.
    again, _ = some.step(ids[::-1].copy(), new)
    assert batch < 3 or len({values.tobytes() for values in again}) > 1


def test_numpy_engine_without_table_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    config, ids = small("gru"), some_ids(10, 2)
    wanted = run(engine("light", config), ids)
    monkeypatch.setattr(numpy_engine, "_MAX_TABLE", 0)
    some = engine("light", config)
    np.testing.assert_allclose(run(some, ids), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(run(some, ids), run(engine("light", config), ids))  # a met row is not another


@pytest.mark.skipif("compiled" not in KINDS, reason="no kernels")
def test_native_engine_without_table_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    config, ids = small("gru"), some_ids(10, 2)
    wanted = run(engine("compiled", config), ids)
    monkeypatch.setattr(native, "_MAX_TABLE", 0)
    np.testing.assert_allclose(run(engine("compiled", config), ids), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif("compiled" not in KINDS, reason="no kernels")
@pytest.mark.parametrize(("kind", "units"), [("compiled", 320), ("whole", 632)])
def test_native_engine_second_thread_changes_nothing(kind: str, units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config, ids = small(rnn_size=units, num_layers=1), some_ids(20, 3)

    def with_threads(count: int) -> NativeEngine:
        monkeypatch.setattr(native, "process_core_count", lambda: count)
        some = engine(kind, config)
        assert isinstance(some, NativeEngine)
        return some

    wanted = run(with_threads(1), ids)
    two = with_threads(2)
    for _ in range(3):
        np.testing.assert_array_equal(run(two, ids), wanted)
    assert two._second is not None
    with ThreadPoolExecutor(3) as pool:  # only one of them has its help at a time
        for got in pool.map(lambda _: run(two, ids), range(6)):
            np.testing.assert_array_equal(got, wanted)
    state = two.initial(1)
    np.testing.assert_array_equal(two.read(ids[:, 0], state), with_threads(1).read(ids[:, 0], state))


@pytest.mark.skipif("compiled" not in KINDS, reason="no kernels")
def test_native_engine_second_thread_takes_every_block_from_the_back() -> None:
    kernels = library()
    assert kernels is not None
    taken: list[int] = []
    run_block = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_long)(lambda _, block: taken.append(block))
    team = native._Team(run=ctypes.cast(run_block, ctypes.c_void_p).value, blocks=5 << 32 | 2)  # 2, 3 and 4
    kernels.seqgen_help(ctypes.byref(team))
    assert taken == [4, 3, 2]
    assert (team.done, team.present) == (3, 0)


@pytest.mark.skipif("compiled" not in KINDS, reason="no kernels")
def test_native_engine_second_thread_leaves_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "process_core_count", lambda: 2)
    some = engine("compiled", small(rnn_size=320, num_layers=1))
    assert isinstance(some, NativeEngine)
    run(some, some_ids(3, 1))
    assert some._second is not None
    some._second.result(timeout=20)
    assert not some._team.present
    narrow = engine("compiled", small())
    assert isinstance(narrow, NativeEngine)
    run(narrow, some_ids(3, 1))
    assert narrow._second is None, "its products are too small to share"


@pytest.mark.skipif("whole" not in KINDS, reason="no fast whole numbers")
@every_cell
def test_native_engine_quantized_is_close(name: str, activation: str) -> None:
    config = small(name, activation, rnn_size=65, embedding_size=30)
    ids = some_ids(20, 70)
    exact, rounded = run(engine("compiled", config), ids), run(engine("whole", config), ids)
    assert 0 < np.abs(exact - rounded).mean() < 0.02 * exact.std()


@pytest.mark.skipif("whole" not in KINDS, reason="no fast whole numbers")
def test_quantization_cost_is_the_difference_in_bits(model_folder: Path) -> None:
    loaded = checkpoint.load(model_folder)
    network, weights = loaded.language_config, dict(loaded.weights())
    ids = np.tile(loaded.codec.encode(b"The boy and the boat came home late. "), 100)
    cost = quantization_cost(network, weights, ids)
    assert cost is not None
    assert 0 < abs(cost) < 0.05
    assert quantization_cost(network, weights, ids[:100]) is None
    recorded = loaded.config["rounding_bits_per_token"]
    assert loaded.may_be_rounded == (recorded <= checkpoint.MAX_ROUNDING_COST)
    for strange in ("0.001", None, [0.0], 0.006, math.nan, math.inf):
        other = dataclasses.replace(loaded, config={**loaded.config, "rounding_bits_per_token": strange})
        assert not other.may_be_rounded


@every_engine
def test_engines_extreme_weights_neither_overflow_nor_warn(kind: str) -> None:
    config = small("lstm")
    weights = {name: value * np.float32(1000) for name, value in random_weights(config).items()}
    assert np.isfinite(run(KINDS[kind](config, weights), some_ids(10, 2))).all()


def test_cpu_engine_imports_no_torch(model_folder: Path) -> None:
    program = """
import sys
from pathlib import Path
from seqgen import checkpoint
from seqgen.config import SampleOptions
from seqgen.generation import prompts, streaming
from seqgen.generation.engines.choose import make_engine
loaded = checkpoint.load(Path(sys.argv[1]))
engine = make_engine(loaded.network, loaded.weights())
assert type(engine).__name__ in ("NumpyEngine", "NativeEngine")
primed = prompts.prime(engine, loaded.codec, b"The ")
(sample,) = streaming.samples(engine, loaded.codec, primed, SampleOptions(length=20))
assert len(sample.text) == 20
assert "torch" not in sys.modules, "torch was imported"
"""
    done = subprocess.run([sys.executable, "-c", program, str(model_folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_engines_trained_model_logits_agree(model_folder: Path) -> None:
    loaded = checkpoint.load(model_folder)
    ids = loaded.codec.encode(b"The boy and the boat came home late.")
    results = []
    for name in ENGINES:
        some = make_engine(loaded.network, loaded.weights(), name)
        state, logits = some.initial(1), []
        for token in ids:
            values, state = some.step(np.array([token]), state)
            logits.append(values)
        results.append(np.concatenate(logits))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-4)


# ---- streams that part, join, and go from one engine to another ----


@every_cell
@every_engine
def test_select_takes_streams_in_order(kind: str, name: str, activation: str) -> None:
    some = engine(kind, small(name, activation, rnn_size=32))
    ids = some_ids(3, 40)
    _, state = some.step(ids[0], some.initial(40))
    for rows in ([0], [39, 3, 3, 17], list(range(40))[::-1], [5] * 33):
        logits, _ = some.step(ids[1][rows], some.select(state, rows))
        wanted, _ = some.step(ids[1], state)
        np.testing.assert_array_equal(logits, wanted[rows])


@every_cell
@pytest.mark.parametrize("other", KINDS)
@every_engine
def test_export_state_is_imported_by_every_engine(kind: str, other: str, name: str, activation: str) -> None:
    config = small(name, activation, num_layers=3)
    one, two = engine(kind, config), engine(other, config)
    ids = some_ids(9, 5)
    state = one.initial(5)
    for step in ids[:-1]:
        _, state = one.step(step, state)
    cells = one.export_state(state, 3)
    assert cells.dtype == np.float32
    assert cells.shape == (3, CELLS[name].states, 17)
    np.testing.assert_array_equal(two.export_state(two.import_state(cells), 0), cells)
    mine, _ = one.step(ids[-1][3:4], one.import_state(cells))
    np.testing.assert_array_equal(mine[0], one.step(ids[-1], state)[0][3])
    theirs, _ = two.step(ids[-1][3:4], two.import_state(cells))
    tolerance = 0.2 if "whole" in (kind, other) else 1e-4
    np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


@every_cell
@every_engine
def test_logits_of_equals_step(kind: str, name: str, activation: str) -> None:
    some = engine(kind, small(name, activation))
    ids = some_ids(30)
    stepped = run(some, ids[:, None])[:, 0]
    first, state = some.logits_of(ids[:11], some.initial(1))
    rest, state = some.logits_of(ids[11:], state)
    logits = np.concatenate([first, rest])
    assert logits.dtype == np.float32
    tolerance = 0.3 if kind == "whole" else 1e-4  # outputs are not rounded where they are read out
    np.testing.assert_allclose(logits, stepped, rtol=tolerance, atol=tolerance)
    nothing, same = some.logits_of(ids[:0], state)
    assert nothing.shape == (0, 37)
    np.testing.assert_array_equal(some.export_state(same, 0), some.export_state(state, 0))
    np.testing.assert_allclose(
        some.export_state(state, 0), some.export_state(some.read(ids, some.initial(1)), 0), atol=1e-5
    )


@every_cell
def test_engines_exact_write_the_same_text(name: str, activation: str) -> None:
    """Logits differ in their last bits; the draws do not."""
    config = small(name, activation, rnn_size=48, num_layers=2)
    codec = CharCodec([*"abcdefghijklmnopqrstuvwxyz .", *range(256)], 29)
    config = dataclasses.replace(config, vocab_size=codec.vocab_size)
    weights = {key: value * np.float32(0.5) for key, value in random_weights(config).items()}
    for options in (SampleOptions(length=80, seed=3), SampleOptions(length=80, seed=4, temperature=0.7, top_p=0.9)):
        texts = {}
        for kind in set(KINDS) - {"whole"}:
            some = KINDS[kind](config, weights)
            primed = prompts.prime(some, codec, b"the ")
            texts[kind] = [sample.text for sample in streaming.samples(some, codec, primed, options, 3)]
        assert len({tuple(found) for found in texts.values()}) == 1, texts


# ---- PyTorch's ways ----


@every_cell
def test_torch_engine_bfloat16_is_close_and_batch_invariant(name: str, activation: str) -> None:
    config = small(name, activation, rnn_size=64, embedding_size=32)
    weights = random_weights(config)
    exact, near = TorchEngine(config, weights), TorchEngine(config, weights, precision="bf16")
    ids = some_ids(6, 20)
    wanted, found = run(exact, ids), run(near, ids)
    assert 0 < np.abs(wanted - found).mean() < 0.05 * wanted.std()
    np.testing.assert_array_equal(run(near, ids[:, [7]])[:, 0], found[:, 7])


def eager(step: Callable[[], Any]) -> tuple[Callable[[], object], Any]:
    """What a CUDA graph does, on the processor: computes again, into where the results were."""
    logits, block = step()
    flat_block = [tensor for layer in block for tensor in layer]

    def again() -> None:
        new_logits, new = step()
        logits.copy_(new_logits)
        for there, tensor in zip(flat_block, [tensor for layer in new for tensor in layer], strict=True):
            there.copy_(tensor)

    return again, (logits, block)


@every_cell
def test_replayed_step_equals_step(name: str, activation: str) -> None:
    config = small(name, activation, rnn_size=32)
    plain, replayed = (TorchEngine(config, random_weights(config)) for _ in range(2))
    replayed._advance = ReplayedStep(replayed._forward, replayed._network.initial(replayed._rows), eager)
    ids = some_ids(5, 40)
    np.testing.assert_array_equal(run(replayed, ids), run(plain, ids))
    _, state = replayed.step(ids[0], replayed.initial(40))
    before = snapshot(state)
    replayed.step(ids[1], state)
    for old, now in zip(flat(before), flat(snapshot(state)), strict=True):
        np.testing.assert_array_equal(old, now)  # what was handed out is no buffer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@every_cell
def test_torch_engine_on_cuda_replays_steps(name: str, activation: str) -> None:
    config = small(name, activation, rnn_size=64)
    ids = some_ids(6, 70)
    there = TorchEngine(config, random_weights(config), "cuda")
    assert isinstance(there._advance, ReplayedStep)
    np.testing.assert_allclose(run(there, ids), run(engine("torch", config), ids), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(run(there, ids[:, [3]])[:, 0], run(there, ids)[:, 3])


def test_choose_engine_by_device_precision_and_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqgen.native.library", lambda: object())
    for streams in (1, 1000):
        assert choose_engine("auto", "auto", "fp32", streams) == "light"
    assert choose_engine("auto", "cuda", "fp32", 1) == choose_engine("auto", "cpu", "bf16", 1) == "torch"
    monkeypatch.setattr("seqgen.native.library", lambda: None)
    assert [choose_engine("auto", "cpu", "fp32", streams) for streams in (1, 16, 17)] == ["light", "light", "torch"]
    assert choose_engine("light", "cpu", "fp32", 1000) == choose_engine("cpu", "cpu", "fp32", 1000) == "light"
    with pytest.raises(UserError, match="use --engine torch"):
        choose_engine("light", "cpu", "bf16", 1)
    with pytest.raises(UserError, match="--precision must be one of"):
        choose_engine("auto", "cpu", "int8", 1)


def test_choose_engine_cell_without_numpy_step_needs_torch() -> None:
    with CELLS.registered(dataclasses.replace(CELLS["gru"], name="toy", numpy_step=None, native_id=None)):
        assert choose_engine("auto", "cpu", "fp32", 1, "toy") == "torch"
        with pytest.raises(UserError, match="no numpy step; use --engine torch"):
            choose_engine("cpu", "cpu", "fp32", 1, "toy")
    with pytest.raises(UserError, match="--engine must be one of auto, cpu, torch"):
        choose_engine("steam", "cpu", "fp32", 1)


@pytest.mark.skipif(library() is None, reason="no kernels")
def test_native_engine_threads_end_with_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "process_core_count", lambda: 3)
    config = small("gru", "tanh")
    made = NativeEngine(config, random_weights(config))
    made.step(np.zeros(48, dtype=np.int64), made.initial(48))
    pool = made._pool.pool()
    del made
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)


def test_make_engine_by_name(model_folder: Path) -> None:
    loaded = checkpoint.load(model_folder)
    for asked in ((), ("auto", "cpu"), ("light",), ("cpu",)):
        made = make_engine(loaded.network, loaded.weights(), *asked)
        assert isinstance(made, NativeEngine if library() is not None else NumpyEngine)
    with library_by("SEQGEN_NATIVE", "0"):
        assert isinstance(make_engine(loaded.network, loaded.weights()), NumpyEngine)
    assert isinstance(make_engine(loaded.network, loaded.weights(), "torch"), TorchEngine)
    with pytest.raises(UserError, match="--engine"):
        make_engine(loaded.network, loaded.weights(), "steam")
    with pytest.raises(UserError, match="--engine cpu cannot compute on cuda"):
        make_engine(loaded.network, loaded.weights(), "light", "cuda")
