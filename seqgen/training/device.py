"""Where and how to compute: device, threads, and the type of the products."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from dataclasses import dataclass

import torch

from seqgen.errors import UserError
from seqgen.processors import process_cpu_count
from seqgen.training.distributed.world import SINGLE_PROCESS, World


@dataclass(frozen=True)
class Compute:
    """The device, the type of the matrix products (weights, sums and states stay float32), and with whom."""

    device: torch.device
    dtype: torch.dtype
    world: World = SINGLE_PROCESS

    @property
    def precision(self) -> str:
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"


def choose(
    device: str = "auto", precision: str = "auto", threads: int | None = None, world: World = SINGLE_PROCESS
) -> Compute:
    """The best there is, or what was asked for. Processes that share a machine share its processors, and have a GPU
    each.

    Raises:
        UserError: the device asked for is not there, or not as often as there are processes.
    """
    _keep_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    else:
        torch.set_num_threads(max(1, process_cpu_count() // world.local_world_size))
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if available[name])
    elif not available[device]:
        raise UserError(f"--device {device}: this machine, or this build of PyTorch, has none; try --device auto")
    if device == "cuda":
        torch.cuda.set_device(own_gpu(world, torch.cuda.device_count()))
    if precision == "auto":
        precision = "bf16" if _fast_bfloat16(device) else "fp32"
    return Compute(torch.device(device), torch.bfloat16 if precision == "bf16" else torch.float32, world)


def own_gpu(world: World, there: int) -> int:
    """The number of the GPU that is this process's, of so many in this machine. Raises `UserError` for too few."""
    if world.local_world_size > there:
        raise UserError(
            f"{world.local_world_size} processes on a machine with {there} GPU{'s' * (there > 1)}: start one for each "
            "(torchrun --nproc-per-node), or give --device cpu"
        )
    return world.local_rank


def _keep_memory() -> None:
    """Tells glibc to keep the memory that a step frees for the next one. Given back to the system and asked for again
    it comes as thousands of page faults, which took longer than the arithmetic."""
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform.startswith("linux"):
            adjust = ctypes.CDLL(None).mallopt
            for parameter, value in _MALLOC.items():
                adjust(parameter, value)


# M_MMAP_MAX: nothing mapped apart; M_TRIM_THRESHOLD: nothing given back; M_TOP_PAD: asked for in large portions.
_MALLOC = {-4: 0, -1: (1 << 31) - 1, -2: 1 << 26}


def _fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 products are done by the processor itself; where they are emulated they are slower."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    if device == "mps":
        return False
    try:
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        left = torch.ones(8, 64, dtype=torch.bfloat16)
        return bool((left @ left.t() == 64).all())  # a processor may claim it and fail at the first product
    except (AttributeError, RuntimeError):
        return False
