"""Device, threads, and the dtype of the products."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from seqgen.errors import UserError
from seqgen.model.recurrent.cudnn import allow_tf32
from seqgen.processors import process_core_count
from seqgen.training.distributed.world import SINGLE_PROCESS, World


@dataclass(frozen=True)
class Compute:
    """The device, the dtype of matrix products (weights, sums and states stay float32), and the run's processes.

    `reasons`: why, in a few words, by option.
    """

    device: torch.device
    dtype: torch.dtype
    world: World = SINGLE_PROCESS
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def precision(self) -> str:
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"


def choose(
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    world: World = SINGLE_PROCESS,
    warn: Callable[[str], None] = lambda _: None,
) -> Compute:
    """The requested device and precision, or the best available ones.

    Processes on one machine share its processors, and have one GPU each. MPS is used on request only: its recurrent
    layers are slower than the CPU's.

    Args:
        warn: receives a warning if bfloat16 is requested where it is emulated.

    Raises:
        UserError: the machine lacks the device, or has too few GPUs for its processes.
    """
    _keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    else:
        torch.set_num_threads(max(1, process_core_count() // world.local_world_size))
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    reasons = {"threads": "one a physical core" + (", shared by processes" if world.local_world_size > 1 else "")}
    if device == "auto":
        reasons["device"] = "a GPU is available" if available["cuda"] else "PyTorch finds no CUDA GPU"
        device = "cuda" if available["cuda"] else "cpu"
    elif not available[device]:
        raise UserError(
            f"cannot use --device {device}: this machine or this build of PyTorch has none; try --device auto"
        )
    if device == "cuda":
        # One size of buffers: with the two of the default, cuDNN's sums may differ from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.cuda.set_device(own_gpu(world, torch.cuda.device_count()))
    if precision == "auto":
        speedup = bfloat16_speedup(device)
        precision = "bf16" if speedup > _WORTHWHILE else "fp32"
        reasons["precision"] = (
            f"bfloat16 products are {speedup:.1f} times as fast as float32 here"
            if speedup
            else "bfloat16 doesn't work here"
        )
    elif precision == "bf16" and device == "cpu" and bfloat16_speedup(device) < 1 / _WORTHWHILE:
        factor = 1 / max(bfloat16_speedup(device), 0.001)
        warn(
            f"--precision bf16 is emulated on this processor: products take {factor:.1f} times as long as in float32; "
            "use --precision fp32"
        )
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if device == "cuda":
        allow_tf32(precision == "bf16")
    return Compute(torch.device(device), dtype, world, reasons)


@contextlib.contextmanager
def restored_threads() -> Iterator[None]:
    """Give PyTorch back, after a `with` block that chooses them, the number of threads that it had in this process."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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


_WORTHWHILE = 1.2  # times as fast: beyond the noise of the measurement
_ROUNDS = 20  # of some milliseconds in all; five were too few on a busy processor


@functools.cache
def bfloat16_speedup(device: str) -> float:
    """The time of a float32 product divided by that of the same product in bfloat16; 0 if bfloat16 doesn't work.

    On the CPU it is measured: PyTorch claims support where it emulates, several times slower than float32. GPUs have it
    since compute capability 8; earlier ones emulate it.
    """
    if device == "cuda":
        return 2.0 if torch.cuda.get_device_capability() >= (8, 0) else 0.0
    if device == "mps":
        return 0.0
    products = []
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            left, right = torch.ones(64, 512, dtype=dtype), torch.ones(512, 1024, dtype=dtype)
            try:
                if not (left[:8, :64] @ right[:64] == 64).all():  # a processor may claim support and fail at the first
                    return 0.0
            except RuntimeError:
                return 0.0
            products.append(functools.partial(torch.matmul, left, right))
        # In turns, so that other load slows both: the dtype decides the weights, whatever else the machine does.
        rounds = [[_time(product) for product in products] for _ in range(_ROUNDS)]
    full, half = map(min, zip(*rounds, strict=True))
    return full / half


def _time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
