"""Engines: one step from ids to logits, with the state coming in and going out.

Filters and the sampler see float arrays and know no engine. `light` needs no torch and starts in a blink; `torch` is
for devices other than the processor and for checking. Their logits agree within float32's rounding, unless `light` is
allowed to round more (`compiled.NativeEngine`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.config import NetworkConfig
from seqgen.errors import UserError


class Engine(Protocol):
    """A loaded model, one step at a time. States belong to the engine that made them and are never written to."""

    vocab_size: int
    batch_size: int  # streams that it pays to run side by side
    arithmetic: str  # how it computes: engines of one kind give the same bits on the same machine

    def initial(self, batch: int) -> Any:
        """The state of `batch` streams that have read nothing."""
        ...

    def step(self, ids: npt.NDArray[np.integer], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """Reads one id a stream, shape (batch,); returns logits, shape (batch, vocabulary), and the new state.

        A row's numbers do not depend on what other rows hold, nor on how many there are.
        """
        ...

    def read(self, ids: npt.NDArray[np.integer], state: Any) -> Any:
        """The state of one stream after a run of ids, shape (tokens,), without the logits."""
        ...

    def logits_of(self, ids: npt.NDArray[np.integer], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """Reads a run of ids in one stream; returns the logits after each, shape (tokens, vocabulary), and the state.
        They are those of `step` but for the last bits of the sums."""
        ...

    def repeat(self, state: Any, batch: int) -> Any:
        """`batch` streams, each in the state of the one in `state`."""
        ...

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        """The streams `rows` of a state, in that order; one may be taken twice."""
        ...

    def export_state(self, state: Any, row: int) -> npt.NDArray[np.float32]:
        """One stream as any engine can take it, shape (layers, tensors of the cell, units)."""
        ...

    def import_state(self, cells: npt.NDArray[np.float32]) -> Any:
        """The state of one stream, from what `export_state` gave."""
        ...


Weights = Mapping[str, npt.NDArray[np.float32]]
PRECISIONS = ("fp32", "bf16")


def light(config: NetworkConfig, weights: Weights, device: str, exact: bool, precision: str) -> Engine:
    """The engine without torch: compiled kernels, or numpy where there are none."""
    from seqgen.native import library

    if library() is None:
        from seqgen.generation.engines.numpy import NumpyEngine

        return NumpyEngine(config, weights)
    from seqgen.generation.engines.native import NativeEngine, int8_is_fast

    return NativeEngine(config, weights, quantized=not exact and int8_is_fast())


def make_torch_engine(config: NetworkConfig, weights: Weights, device: str, exact: bool, precision: str) -> Engine:
    """The network itself, on any device."""
    from seqgen.generation.engines.torch import TorchEngine

    return TorchEngine(config, weights, device, precision)


ENGINES: dict[str, Callable[[NetworkConfig, Weights, str, bool, str], Engine]] = {
    "light": light,
    "torch": make_torch_engine,
}
_MANY = 16  # streams beyond which numpy, one stream after another, takes longer than PyTorch takes to start


def choose(name: str, device: str, precision: str, streams: int) -> str:
    """The engine for a job of so many streams, by its name.

    `auto` is `light` on the processor, and `torch` where another device or precision is asked for; and for many streams
    where there are no compiled kernels. With kernels `light` is the fastest for one stream and for hundreds.

    Raises `UserError` for an engine that there is not, or that can't do what is asked.
    """
    if name == "auto":
        from seqgen.native import library

        slow = streams > _MANY and library() is None
        name = "torch" if device not in ("auto", "cpu") or precision != "fp32" or slow else "light"
    if name not in ENGINES:
        raise UserError(f"--engine must be one of auto, {', '.join(ENGINES)}; not {name!r}")
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise UserError(f"--device must be one of auto, cpu, cuda, mps; not {device!r}")
    if name == "light" and device not in ("auto", "cpu"):
        raise UserError(f"the light engine runs on the processor only, not on {device}")
    if precision not in PRECISIONS:
        raise UserError(f"--precision must be one of {', '.join(PRECISIONS)}; not {precision!r}")
    if name == "light" and precision != "fp32":
        raise UserError(f"the light engine does not compute in {precision}; --engine torch does")
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
    """An engine by name, as `choose` has it. Without `exact`, weights may be rounded to 8 bits where that is faster."""
    name = choose(name, device, precision, streams)
    return ENGINES[name](config, weights, "cpu" if device == "auto" else device, exact, precision)
