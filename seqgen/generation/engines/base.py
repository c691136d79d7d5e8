"""Engines: the recurrent network one step at a time, with the state passed in and out.

Filters and samplers see float arrays and know no engine. The CPU engine needs no torch and starts quickly; the torch
engine serves other devices, and checks the CPU engine. Their logits agree within float32 rounding, unless the CPU
engine may use 8-bit weights (`native.NativeEngine`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.config import NetworkConfig
from seqgen.errors import UserError
from seqgen.generation.sampling.filters import target_nats
from seqgen.specs.cells import CELLS

Weights = Mapping[str, npt.NDArray[np.float32]]


class Engine(Protocol):
    """A loaded network. States belong to the engine that made them and are never modified."""

    vocab_size: int
    batch_size: int  # streams at which a batch is most efficient
    arithmetic: str  # engines with the same value give identical bits on the same machine

    def initial(self, batch: int) -> Any:
        """The state of `batch` streams before any input."""
        ...

    def step(self, ids: npt.NDArray[np.integer], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """Read one id per stream, shape (batch,).

        Returns:
            logits, shape (batch, vocabulary), and the new state. A row depends neither on other rows nor on their count.
        """
        ...

    def read(self, ids: npt.NDArray[np.integer], state: Any) -> Any:
        """The state of one stream after a run of ids, shape (tokens,), without logits."""
        ...

    def logits_of(self, ids: npt.NDArray[np.integer], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """Read a run of ids in one stream.

        Returns:
            logits after each, shape (tokens, vocabulary), and the new state. They equal those of `step` up to the last
            bits of the sums.
        """
        ...

    def nats_of(
        self,
        ids: npt.NDArray[np.integer],
        targets: npt.NDArray[np.integer],
        state: Any,
        possible: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.float64], Any]:
        """Cross-entropy of `targets` in nats, each after its id in one stream, and the new state.

        Args:
            possible: mask of the tokens that share the probability, shape (tokens, vocabulary).
        """
        logits, state = self.logits_of(ids, state)
        if possible is not None:
            logits = np.where(possible, logits, np.float32(-np.inf))
        return target_nats(logits, targets), state

    def repeat(self, state: Any, batch: int) -> Any:
        """The state of `batch` streams, each a copy of the single one in `state`."""
        ...

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        """The streams `rows` of a state, in that order; one may occur twice."""
        ...

    def export_state(self, state: Any, row: int) -> npt.NDArray[np.float32]:
        """One stream in a form that every engine imports, shape (layers, tensors of the cell, units)."""
        ...

    def import_state(self, cells: npt.NDArray[np.float32]) -> Any:
        """The state of one stream from the result of `export_state`."""
        ...


PRECISIONS = ("fp32", "bf16")


def output_matrix(weights: Weights) -> npt.NDArray[np.float32]:
    """The matrix from hidden states to logits, shape (vocabulary, units): with tied weights the embedding's."""
    output = weights.get("output_weight")
    if output is not None:
        return output
    projection = weights.get("projection")
    tied: npt.NDArray[np.float32] = weights["embedding"] if projection is None else weights["embedding"] @ projection
    return tied


def make_cpu_engine(config: NetworkConfig, weights: Weights, device: str, exact: bool, precision: str) -> Engine:
    """The engine without torch: compiled kernels, or numpy where they or the cell's kernel are missing."""
    from seqgen.native import library

    if library() is None or CELLS[config.cell].native_id is None:
        from seqgen.generation.engines.numpy import NumpyEngine

        return NumpyEngine(config, weights)
    from seqgen.generation.engines.native import NativeEngine, int8_is_fast

    return NativeEngine(config, weights, quantized=not exact and int8_is_fast())


def make_torch_engine(config: NetworkConfig, weights: Weights, device: str, exact: bool, precision: str) -> Engine:
    """The torch network, on any device."""
    from seqgen.generation.engines.torch import TorchEngine

    return TorchEngine(config, weights, device, precision)


# By the names in receipts and saved settings, where the CPU engine is still called "light".
ENGINES: dict[str, Callable[[NetworkConfig, Weights, str, bool, str], Engine]] = {
    "light": make_cpu_engine,
    "torch": make_torch_engine,
}
ENGINE_FLAGS = {"cpu": "light", "torch": "torch"}  # values of --engine beside auto, and names in `ENGINES`
_MAX_NUMPY_STREAMS = 16  # beyond, numpy takes longer for one stream after another than torch takes to start


def choose_engine(name: str, device: str, precision: str, streams: int, cell: str | None = None) -> str:
    """The name in `ENGINES` of the engine for a job of so many streams.

    `auto` is the CPU engine on the CPU, which with kernels is the fastest for one stream and for hundreds. It is torch
    for other devices and precisions, for many streams without kernels, and for cells without a numpy step.

    Raises `UserError` for an unknown engine, or one that can't do the job.
    """
    without_step = cell is not None and CELLS.find(cell).numpy_step is None
    if name == "auto":
        from seqgen.native import library

        slow = streams > _MAX_NUMPY_STREAMS and library() is None
        needs_torch = device not in ("auto", "cpu") or precision != "fp32" or slow or without_step
        name = "torch" if needs_torch else "cpu"
    if name not in ENGINE_FLAGS and name not in ENGINES:
        raise UserError(f"--engine must be one of auto, {', '.join(ENGINE_FLAGS)}; not {name!r}")
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise UserError(f"--device must be one of auto, cpu, cuda, mps; not {device!r}")
    if precision not in PRECISIONS:
        raise UserError(f"--precision must be one of {', '.join(PRECISIONS)}; not {precision!r}")
    name = ENGINE_FLAGS.get(name, name)
    if name == ENGINE_FLAGS["cpu"]:
        for wrong, reason in (
            (device not in ("auto", "cpu"), f"on {device}"),
            (precision != "fp32", f"in {precision}"),
            (without_step, f"the cell {cell!r}, which has no numpy step"),
        ):
            if wrong:
                raise UserError(f"--engine cpu cannot compute {reason}; use --engine torch")
    return name


def make_engine(
    config: NetworkConfig,
    weights: Weights,
    name: str = "auto",
    device: str = "auto",
    exact: bool = True,
    precision: str = "fp32",
    streams: int = 1,
) -> Engine:
    """Make the engine that `choose_engine` chooses. Without `exact`, weights may be rounded to 8 bits if that is faster."""
    name = choose_engine(name, device, precision, streams, config.cell)
    return ENGINES[name](config, weights, "cpu" if device == "auto" else device, exact, precision)
