"""Device, threads, and the dtype of the products."""

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
    """The device, the dtype of matrix products (weights, sums and states stay float32), and the run's processes."""

    device: torch.device
    dtype: torch.dtype
    world: World = SINGLE_PROCESS

    @property
    def precision(self) -> str:
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"


def choose(
    device: str = "auto", precision: str = "auto", threads: int | None = None, world: World = SINGLE_PROCESS
) -> Compute:
    """The requested device and precision, or the best available ones.

    Processes on one machine share its processors, and have one GPU each.

    Raises:
        UserError: the machine lacks the device, or has too few GPUs for its processes.
    """
    _keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    else:
        torch.set_num_threads(max(1, process_cpu_count() // world.local_world_size))
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if available[name])
    elif not available[device]:
        raise UserError(
            f"cannot use --device {device}: this machine or this build of PyTorch has none; try --device auto"
        )
    if device == "cuda":
        torch.cuda.set_device(own_gpu(world, torch.cuda.device_count()))
    if precision == "auto":
        precision = "bf16" if _fast_bfloat16(device) else "fp32"
    return Compute(torch.device(device), torch.bfloat16 if precision == "bf16" else torch.float32, world)


def own_gpu(world: World, available: int) -> int:
    """The index of this process's GPU. Raises `UserError` if the machine has fewer GPUs than processes."""
    if world.local_world_size > available:
        raise UserError(
            f"cannot give each of {world.local_world_size} processes a GPU: this machine has {available}; "
            "start fewer (torchrun --nproc-per-node), or use --device cpu"
        )
    return world.local_rank


def _keep_freed_memory() -> None:
    """Make glibc keep the memory that a step frees for the next one.

    Returned to the system and allocated again it costs thousands of page faults, which took longer than the arithmetic.
    """
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform.startswith("linux"):
            adjust = ctypes.CDLL(None).mallopt
            for parameter, value in _MALLOC.items():
                adjust(parameter, value)


# M_MMAP_MAX: no separate mappings; M_TRIM_THRESHOLD: never trim; M_TOP_PAD: grow in large portions.
_MALLOC = {-4: 0, -1: (1 << 31) - 1, -2: 1 << 26}


def _fast_bfloat16(device: str) -> bool:
    """Whether the processor multiplies bfloat16 itself; emulated products are slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    if device == "mps":
        return False
    try:
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        left = torch.ones(8, 64, dtype=torch.bfloat16)
        return bool((left @ left.t() == 64).all())  # a processor may claim support and fail at the first product
    except (AttributeError, RuntimeError):
        return False
