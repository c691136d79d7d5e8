"""The processes that train one model, through torch.distributed: gloo, or NCCL between GPUs.

Every process computes its lanes of each batch, and gradients are summed. A process contributes its part of the mean
over the whole batch, so that the sum is the gradient of a single process, whatever the number of processes and however
uneven their tokens. (`DistributedDataParallel` would average over processes and hook into one `forward`, while these
losses use several parts of a network. It would also have little to overlap: the gradient of a layer is one product at
the end of its time loop.)

Rank 0 decides whatever depends on a clock, a disk or a user, and broadcasts it: `broadcast_json`, `broadcast_floats`.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from seqgen.errors import TrainingError
from seqgen.model.dropout import LaneRange

_BUCKET = 1 << 22  # numbers exchanged at a time: a copy of 16 MiB


class PeerLostError(TrainingError):
    """Another process can't be reached."""


class World:
    """The processes of a run, as one of them sees them; `World()` is a single process.

    All processes must call the same methods in the same order. They raise `PeerLostError` if a process is lost.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        local_rank: int = 0,
        local_world_size: int = 1,
        setup_group: dist.ProcessGroup | None = None,
        run_id: str = "",
    ) -> None:
        """
        Args:
            rank: of this process among `size`.
            local_rank: of this process among the `local_world_size` on its machine.
            setup_group: the same processes with a timeout of hours, for anything but training steps.
            run_id: identifies the torchrun that started them, also after a restart; empty without one.
        """
        self.rank, self.size = rank, size
        self.local_rank, self.local_world_size = local_rank, local_world_size
        self.run_id = run_id
        self._setup_group = setup_group
        self._latency, self._pace = 0.0, 0.0  # seconds of an all-reduce, and of each number in it

    @property
    def is_main_process(self) -> bool:
        """Whether this is rank 0, which writes, prints, validates and decides."""
        return self.rank == 0

    def lane_range(self, lanes: int) -> LaneRange:
        """The lanes of this process, of so many."""
        first, stop = lanes * self.rank // self.size, lanes * (self.rank + 1) // self.size
        if first < stop:
            return LaneRange(first, stop, lanes)
        first = min(first, lanes - 1)
        return LaneRange(first, first + 1, lanes, counted=False)

    def all_reduce_gradients(self, weights: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
        """Sum the gradients over all processes, and return the sum of the losses, a number on the device."""
        total = loss.detach()
        if self.size == 1:
            return total
        total = total.clone()
        trained = [weight for weight in weights if weight.requires_grad]
        # A weight without a gradient here may have one elsewhere; one without any keeps none. The flags are exchanged
        # by the CPUs, which needn't wait for the gradients then.
        flags = torch.tensor([float(weight.grad is not None) for weight in trained])
        gradients = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in trained]
        self._exchange([flags, total, *gradients], lambda flat: dist.all_reduce(flat, async_op=True))
        for weight, gradient, present in zip(trained, gradients, flags.tolist(), strict=True):
            weight.grad = gradient if present else None
        return total

    def gather_lanes(self, tensor: Tensor, lanes: LaneRange, lane_dim: int = 0) -> Tensor:
        """The tensor of all lanes, from those of each process; `lane_dim` is their dimension."""
        if self.size == 1:
            return tensor
        shape = list(tensor.shape)
        shape[lane_dim] = lanes.total
        whole = tensor.new_zeros(shape)
        if lanes.counted:
            whole.narrow(lane_dim, lanes.first, lanes.stop - lanes.first).copy_(tensor)
        self._exchange([whole], lambda flat: dist.all_reduce(flat, async_op=True))
        return whole

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors with those of rank 0."""
        if self.size > 1:
            self._exchange(list(tensors), lambda flat: dist.broadcast(flat, 0, async_op=True))

    def broadcast_floats(self, *numbers: float) -> tuple[float, ...]:
        """The numbers of rank 0."""
        if self.size == 1:
            return numbers
        with _peers():
            received = torch.tensor(numbers, dtype=torch.float64)
            dist.broadcast(received, 0)
            return tuple(received.tolist())

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        with _peers():
            flags = torch.tensor([float(flag)])
            dist.all_reduce(flags)
            return bool(flags[0] > 0)

    def broadcast_json(self, compute: Callable[[], Any]) -> Any:
        """The result of `compute` in rank 0, through JSON. The others wait for it, however long that takes."""
        if self.size == 1:
            return compute()
        return json.loads(self.broadcast_bytes(json.dumps(compute()).encode() if self.is_main_process else b""))

    def broadcast_bytes(self, data: bytes) -> bytes:
        """The bytes of rank 0."""
        if self.size == 1:
            return data
        with _peers():
            size = torch.tensor([len(data)])
            dist.broadcast(size, 0, group=self._setup_group)
            received = torch.frombuffer(
                bytearray(data if self.is_main_process else int(size)) or bytearray(1), dtype=torch.uint8
            )
            dist.broadcast(received, 0, group=self._setup_group)
            return received.numpy().tobytes()[: int(size)]

    def barrier(self) -> None:
        """Wait for all processes, however long that takes."""
        if self.size > 1:
            with _peers():
                dist.barrier(group=self._setup_group)

    @contextlib.contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run a `with` block in rank 0, then in one process of every other machine, then in the rest.

        Later processes find in the machine's cache what earlier ones have downloaded or encoded.
        """
        own_round = 0 if self.is_main_process else 1 if self.local_rank == 0 else 2
        for number in range(3):
            if number == own_round:
                yield
            self.barrier()

    def measure_all_reduce(self, device: torch.device) -> None:
        """Measure the time of an all-reduce, for `all_reduce_seconds`."""
        if self.size == 1:
            return
        small, large = self._time(1, device), self._time(_BUCKET // 16, device)
        self._latency, self._pace = self.broadcast_floats(small, max(0.0, large - small) / (_BUCKET // 16))

    def _time(self, count: int, device: torch.device) -> float:
        """Seconds of an all-reduce of so many numbers: the minimum of four."""
        times = []
        for _ in range(4):
            began = time.perf_counter()
            self._exchange([torch.zeros(count, device=device)], lambda flat: dist.all_reduce(flat, async_op=True))
            times.append(time.perf_counter() - began)
        return min(times)

    def all_reduce_seconds(self, numbers: int) -> float:
        """Seconds of an all-reduce of so many gradients."""
        return self._latency + self._pace * numbers

    def _exchange(self, tensors: Sequence[Tensor], begin: Callable[[Tensor], Any]) -> None:
        """Run a collective operation in place on the tensors, concatenated into buckets."""
        with torch.no_grad(), _peers():
            pending = []
            for group in _groups(tensors):
                flat = torch.cat([tensor.reshape(-1) for tensor in group])
                flat = flat if flat.device.type == "cuda" else flat.cpu()
                pending.append((group, flat, begin(flat)))
            for group, flat, work in pending:
                work.wait()
                parts = torch.split(flat, [tensor.numel() for tensor in group])
                for tensor, part in zip(group, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))


SINGLE_PROCESS = World()


def _groups(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Groups of tensors of one dtype and device that fill a bucket, or single larger ones."""
    for kind in dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors):
        group: list[Tensor] = []
        for tensor in tensors:
            if (tensor.dtype, tensor.device) != kind or not tensor.numel():
                continue
            if group and sum(map(torch.numel, group)) + tensor.numel() > _BUCKET:
                yield group
                group = []
            group.append(tensor)
        if group:
            yield group


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """Turn the errors of torch.distributed into `PeerLostError`: another process is lost."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(" ".join(str(error).split())[:300]) from error
