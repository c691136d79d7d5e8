"""The choice of an engine: the CPU engine, which needs no torch and starts quickly, or the torch engine.

Their logits agree within float32 rounding, unless the CPU engine may use 8-bit weights (`native.NativeEngine`).
"""

from __future__ import annotations

from collections.abc import Callable

from seqgen.config import NetworkConfig
from seqgen.errors import UserError, did_you_mean
from seqgen.generation.engines.base import Engine, Weights
from seqgen.specs.cells import CELLS

PRECISIONS = ("fp32", "bf16")


def make_cpu_engine(config: NetworkConfig, weights: Weights, device: str, exact: bool, precision: str) -> Engine:
    """The engine without torch: compiled kernels, or numpy where they or the cell's kernel are missing."""
    from seqgen.native import library

    if library() is None or CELLS[config.cell].native_id is None:
        from seqgen.generation.engines.numpy import NumpyEngine

        return NumpyEngine(config, weights)
    from seqgen.generation.engines.native import NativeEngine

    return NativeEngine(config, weights, quantized=not exact)


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
    """The name in `ENGINES` of the engine for a job of so many streams: for samples 1, however many there are.

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
        hint = did_you_mean(name, ENGINE_FLAGS)
        raise UserError(f"--engine must be one of auto, {', '.join(ENGINE_FLAGS)}; not {name!r}{hint}")
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
    """Make the engine that `choose_engine` chooses.

    Without `exact`, weights are rounded to 8 bits if there are kernels.
    """
    name = choose_engine(name, device, precision, streams, config.cell)
    return ENGINES[name](config, weights, "cpu" if device == "auto" else device, exact, precision)
