"""The processes that train one model together, by torch.distributed's own means: gloo, or NCCL between GPUs.

Every process computes its lanes of each batch; the gradients are summed. What a process adds is its share of the mean
over the whole batch, so that the sum is the gradient that one process alone would have found, whatever the number of
processes and however unevenly tokens fall to them. (That is why `DistributedDataParallel` is not used: it takes the
mean over processes, and hooks itself into one `forward`, where these losses use several parts of a network. Nor is
there much to overlap with: the gradient of a layer is one product at the end of its time loop.)

Whatever depends on a clock, a disk or a person is rank 0's to decide, and told to the others: `broadcast_json`, `broadcast_floats`.
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

_BUCKET = 1 << 22  # numbers exchanged at a time: 16 MiB, so that the copy made for it stays small


class PeerLostError(TrainingError):
    """Another process could not be reached."""


class World:
    """The processes of a run, as one of them sees them. `World()` is a process alone, which has nobody to ask.

    Every method must be called by all processes, in the same order. Raises `PeerLostError` where one is gone.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        local_rank: int = 0,
        local_world_size: int = 1,
        patient: dist.ProcessGroup | None = None,
        run_id: str = "",
    ) -> None:
        """
        Args:
            rank: this process's number among `size`.
            local_rank: its number among the `local_world_size` that share its machine.
            patient: the same processes as a group that waits for hours, for what is not a step of training.
            run_id: the name of the torchrun that started them, the same when it starts them again; empty without one.
        """
        self.rank, self.size = rank, size
        self.local_rank, self.local_world_size = local_rank, local_world_size
        self.run_id = run_id
        self._patient = patient
        self._latency, self._pace = 0.0, 0.0  # seconds of an exchange, and of each number in it

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes, shows, validates and decides."""
        return self.rank == 0

    def lane_range(self, lanes: int) -> LaneRange:
        """Which of so many lanes are this process's."""
        first, stop = lanes * self.rank // self.size, lanes * (self.rank + 1) // self.size
        if first < stop:
            return LaneRange(first, stop, lanes)
        first = min(first, lanes - 1)
        return LaneRange(first, first + 1, lanes, counted=False)

    def all_reduce_gradients(self, weights: Iterable[nn.Parameter], loss: Tensor) -> float:
        """Sums the gradients over all processes, and the loss, which is returned."""
        value = float(loss.detach())
        if self.size == 1:
            return value
        mine = [weight for weight in weights if weight.requires_grad]
        # A weight that took no part in one process's loss may have in another's; one that took none at all stays so.
        facts = loss.new_tensor([value, *(float(weight.grad is not None) for weight in mine)])
        gradients = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in mine]
        self._exchange([facts, *gradients], lambda flat: dist.all_reduce(flat, async_op=True))
        for weight, gradient, present in zip(mine, gradients, facts[1:].tolist(), strict=True):
            weight.grad = gradient if present else None
        return float(facts[0])

    def gather_lanes(self, tensor: Tensor, part: LaneRange, lane_dim: int = 0) -> Tensor:
        """The tensor of all lanes, of which each process has its part; `lane_dim` is the dimension they lie in."""
        if self.size == 1:
            return tensor
        shape = list(tensor.shape)
        shape[lane_dim] = part.total
        found = tensor.new_zeros(shape)
        if part.counted:
            found.narrow(lane_dim, part.first, part.stop - part.first).copy_(tensor)
        self._exchange([found], lambda flat: dist.all_reduce(flat, async_op=True))
        return found

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites the tensors with rank 0's."""
        if self.size > 1:
            self._exchange(list(tensors), lambda flat: dist.broadcast(flat, 0, async_op=True))

    def broadcast_floats(self, *numbers: float) -> tuple[float, ...]:
        """Rank 0's numbers."""
        if self.size == 1:
            return numbers
        with _together():
            told = torch.tensor(numbers, dtype=torch.float64)
            dist.broadcast(told, 0)
            return tuple(told.tolist())

    def any_rank(self, wish: bool) -> bool:
        """Whether any process wishes it."""
        if self.size == 1:
            return wish
        with _together():
            wishes = torch.tensor([float(wish)])
            dist.all_reduce(wishes)
            return bool(wishes[0] > 0)

    def broadcast_json(self, what: Callable[[], Any]) -> Any:
        """What rank 0 finds, as JSON holds it. The others wait, however long that takes."""
        if self.size == 1:
            return what()
        return json.loads(self.broadcast_bytes(json.dumps(what()).encode() if self.is_main_process else b""))

    def broadcast_bytes(self, data: bytes) -> bytes:
        """Rank 0's bytes."""
        if self.size == 1:
            return data
        with _together():
            size = torch.tensor([len(data)])
            dist.broadcast(size, 0, group=self._patient)
            told = torch.frombuffer(
                bytearray(data if self.is_main_process else int(size)) or bytearray(1), dtype=torch.uint8
            )
            dist.broadcast(told, 0, group=self._patient)
            return told.numpy().tobytes()[: int(size)]

    def barrier(self) -> None:
        """Waits until all have come here, however long that takes."""
        if self.size > 1:
            with _together():
                dist.barrier(group=self._patient)

    @contextlib.contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Runs what it encloses in rank 0 alone, then in one process of every other machine, then in the rest: what
        those before have downloaded or encoded is found in the machine's cache."""
        mine = 0 if self.is_main_process else 1 if self.local_rank == 0 else 2
        for turn in range(3):
            if turn == mine:
                yield
            self.barrier()

    def measure_all_reduce(self, device: torch.device) -> None:
        """Measures how long gradients take to be summed, so that a plan can reckon with it: see `all_reduce_seconds`."""
        if self.size == 1:
            return
        few, many = self._time(1, device), self._time(_BUCKET // 16, device)
        self._latency, self._pace = self.broadcast_floats(few, max(0.0, many - few) / (_BUCKET // 16))

    def _time(self, count: int, device: torch.device) -> float:
        """Seconds to sum so many numbers: the shortest of a few times."""
        times = []
        for _ in range(4):
            began = time.perf_counter()
            self._exchange([torch.zeros(count, device=device)], lambda flat: dist.all_reduce(flat, async_op=True))
            times.append(time.perf_counter() - began)
        return min(times)

    def all_reduce_seconds(self, numbers: int) -> float:
        """Seconds that a step spends on summing so many gradients."""
        return self._latency + self._pace * numbers

    def _exchange(self, tensors: Sequence[Tensor], begin: Callable[[Tensor], Any]) -> None:
        """Passes the tensors, some at a time and end to end, to a collective operation that changes them in place."""
        with torch.no_grad(), _together():
            under_way = []
            for group in _groups(tensors):
                flat = torch.cat([tensor.reshape(-1) for tensor in group])
                flat = flat if flat.device.type == "cuda" else flat.cpu()
                under_way.append((group, flat, begin(flat)))
            for group, flat, work in under_way:
                work.wait()
                parts = torch.split(flat, [tensor.numel() for tensor in group])
                for tensor, part in zip(group, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))


SINGLE_PROCESS = World()


def _groups(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type each, so many as fill a bucket, or one that is larger."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        group: list[Tensor] = []
        for tensor in tensors:
            if tensor.dtype != dtype or not tensor.numel():
                continue
            if group and sum(map(torch.numel, group)) + tensor.numel() > _BUCKET:
                yield group
                group = []
            group.append(tensor)
        if group:
            yield group


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """What goes wrong in here is that another process is gone."""
    try:
        yield
    except RuntimeError as error:  # all of torch.distributed's are
        raise PeerLostError(" ".join(str(error).split())[:300]) from error
