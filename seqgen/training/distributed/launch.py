"""Processes started by `torchrun`, or anything that sets its variables: how they form a `World`, and how they end.

If one process fails, all end, and one reports the reason: the process that failed or, if it was killed, the first to
notice.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import re
import secrets
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqgen.errors import PeerProcessError, SeqgenError, TrainingError, UserError

if TYPE_CHECKING:
    from seqgen.training.distributed.world import World

# Heavy imports are inside functions: every command calls `may_report`.

STEP_TIMEOUT = datetime.timedelta(minutes=30)  # for a silent machine; one that dies is noticed at once
_SETUP_TIMEOUT = datetime.timedelta(days=1)  # for work of rank 0 alone, such as reading a large corpus
_START_TIMEOUT = datetime.timedelta(minutes=10)  # for all to start
_ROLL_CALL = 1.0  # seconds until a process that hasn't noticed the end of a run counts as the lost one
_SIOCGIFADDR = 0x8915  # Linux: the address of a network interface
_SOURCE_LINE = re.compile(r"\[\S+:\d+\] ")  # of gloo's source, at the start of its messages


@dataclass(frozen=True)
class Launch:
    """The variables that torchrun sets: a process's rank among all, and among the `local_world_size` on its machine."""

    rank: int
    size: int
    local_rank: int
    local_world_size: int


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """The variables of torchrun, or None without it. Raises `UserError` for invalid ones."""
    if not all(environment.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")):
        return None

    def number(name: str, default: int) -> int:
        try:
            return int(environment.get(name) or default)
        except ValueError:
            raise UserError(
                f"{name}={environment[name]} in the environment is not an integer; let torchrun set it"
            ) from None

    rank, size = number("RANK", 0), number("WORLD_SIZE", 1)
    if not 0 <= rank < size:
        raise UserError(f"RANK={rank} in the environment doesn't match WORLD_SIZE={size}; let torchrun set them")
    return Launch(
        rank,
        size,
        number("LOCAL_RANK", rank),
        max(1, number("LOCAL_WORLD_SIZE", size)),
    )


def may_report() -> bool:
    """Whether this process is the one to report an error.

    Until the processes have joined, an error of one is an error of all, and rank 0 reports it. From then on
    `join_world` chooses the one that reports.
    """
    if "seqgen.training.distributed.world" in sys.modules:
        return True
    with contextlib.suppress(UserError):
        launch = read_launch()
        return launch is None or launch.rank == 0
    return True


@functools.cache
def _common_store(address: str, port: str, rank: int, size: int) -> Any:
    """The store of the launch, opened once a process.

    If each run opened and closed one, a process that is quick to begin the next could join the old one as it closes.
    """
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://", timeout=_START_TIMEOUT))[0]


@contextlib.contextmanager
def join_world(cuda: bool = False, timeout: datetime.timedelta = STEP_TIMEOUT) -> Iterator[World]:
    """Join the other processes of the run, if any, for the length of a `with` block.

    Args:
        cuda: whether gradients may lie on a GPU.
        timeout: how long another process may be silent within a step.

    Raises:
        UserError: the environment lacks a variable of torchrun.
        TrainingError: another process was lost.
        PeerProcessError: another process failed, and reports why.
    """
    from seqgen.training.distributed.world import World

    launch = read_launch()
    if launch is None or (launch.size == 1 and not _has_agent()):
        yield World()
        return
    if not os.environ.get("MASTER_PORT"):
        raise UserError("MASTER_PORT is missing in the environment, which has RANK; let torchrun set them")
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore

    if "GLOO_SOCKET_IFNAME" not in os.environ and (interface := _interface(os.environ["MASTER_ADDR"])):
        os.environ["GLOO_SOCKET_IFNAME"] = interface
    try:
        common = _common_store(os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], launch.rank, launch.size)
        run = _run_id(common) if _has_agent() else ""
        if launch.size > 1:
            store = PrefixStore(f"seqgen/{_session(common, launch)}", common)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo", store=PrefixStore("group", store), rank=launch.rank,
                world_size=launch.size, timeout=timeout,
            )  # fmt: skip
            setup_group = dist.new_group(backend="gloo", timeout=_SETUP_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"rank {launch.rank} cannot reach the other processes of this run: {reason}") from error
    if launch.size == 1:
        yield World(run_id=run)
        return
    failures = _Failures(launch, store)
    try:
        yield World(launch.rank, launch.size, launch.local_rank, launch.local_world_size, setup_group, run)
    except BaseException as error:
        reported = failures.to_raise(error)
        if reported is error:
            raise
        raise reported from error
    finally:
        with contextlib.suppress(RuntimeError, ValueError):
            dist.destroy_process_group()


def _has_agent() -> bool:
    """Whether torchrun hosts the common store, which then outlives the processes."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _run_id(common: Any) -> str:
    """The identifier of one torchrun, which survives restarts of its processes: it is in its store."""
    return str(common.compare_set("seqgen/run", "", secrets.token_hex(8)).decode())


@functools.cache
def process_token() -> str:
    """A unique identifier of this process."""
    return secrets.token_hex(8)


def _session(common: Any, launch: Launch) -> str:
    """The identifier of the present group of processes, which keeps their keys apart from older ones in the store.

    Rank 0 makes it, and publishes it to every process under the token that this one has just drawn. Rank 0 may have
    read an older token, so it repeats that until all have answered.
    """
    token = secrets.token_hex(8)
    common.set(f"seqgen/here/{launch.rank}", token)
    if launch.rank:
        name = str(common.get(f"seqgen/name/{token}").decode())
        common.set(f"seqgen/heard/{name}/{launch.rank}", "")
        return name
    until = time.monotonic() + _START_TIMEOUT.total_seconds()
    waiting = list(range(1, launch.size))
    while waiting:
        for rank in waiting:
            if common.check([f"seqgen/here/{rank}"]):
                common.set(f"seqgen/name/{common.get(f'seqgen/here/{rank}').decode()}", token)
        waiting = [rank for rank in waiting if not common.check([f"seqgen/heard/{token}/{rank}"])]
        if waiting and time.monotonic() > until:
            raise RuntimeError(f"rank {waiting[0]} has not started")
        time.sleep(0.02)
    return token


class _Failures:
    """The failures of a run's processes, in their common store: they decide which process reports."""

    def __init__(self, launch: Launch, store: Any) -> None:
        self._launch, self._store = launch, store
        self._hostname = socket.gethostname()
        store.set(f"host/{launch.rank}", self._hostname)

    def to_raise(self, error: BaseException) -> BaseException:
        """The error that this process raises after `error`, so that one process of all reports."""
        from seqgen.training.distributed.world import PeerLostError

        if isinstance(error, PeerLostError):
            return self._lost(error)
        if self._launch.rank and not isinstance(error, KeyboardInterrupt):
            self._wait_for_others()
        if not self._is_first_to("fail") and not isinstance(error, KeyboardInterrupt):
            return PeerProcessError("another process of this run failed, and reports why")
        if isinstance(error, SeqgenError) and self._launch.rank:
            return type(error)(f"{error} (rank {self._launch.rank}, on {self._hostname})")
        return error

    def _wait_for_others(self) -> None:
        """Wait a moment for another process to fail: an error of all should be reported by rank 0."""
        until = time.monotonic() + _ROLL_CALL / 2
        while not self._has("fail") and time.monotonic() < until:
            time.sleep(0.02)

    def _lost(self, error: Exception) -> SeqgenError:
        time.sleep(0.1)  # until a failed process has noted it
        if self._has("fail") or not self._is_first_to("miss"):
            return PeerProcessError("another process of this run ended it")
        return TrainingError(
            f"lost {self._missing()}, so the run ends; continue from the last save with --resume "
            f"({_SOURCE_LINE.sub('', str(error)).partition('. ')[0][:90]})"
        )

    def _missing(self) -> str:
        """The processes that have not noticed the end of the run: one of them is the lost one."""
        others = [rank for rank in range(self._launch.size) if rank != self._launch.rank]
        until = time.monotonic() + _ROLL_CALL
        while len(others) > 1 and time.monotonic() < until:
            others = [rank for rank in others if not self._has(f"miss/{rank}")] or others
            time.sleep(0.05)
        if len(others) > 3:
            return f"another process (one of {len(others)})"
        hosts = {rank: self._host(rank) for rank in others}
        return " or ".join(f"rank {rank} (on {host})" for rank, host in hosts.items())

    def _is_first_to(self, event: str) -> bool:
        """Note an event of this process; return whether it is the first one, or the store is lost as well."""
        with contextlib.suppress(RuntimeError):
            self._store.set(f"{event}/{self._launch.rank}", "")
            return int(self._store.add(event, 1)) == 1
        return True

    def _has(self, key: str) -> bool:
        with contextlib.suppress(RuntimeError):
            return bool(self._store.check([key]))
        return False

    def _host(self, rank: int) -> str:
        with contextlib.suppress(RuntimeError):
            return str(self._store.get(f"host/{rank}").decode())
        return "an unknown host"


def _interface(address: str) -> str | None:
    """The network interface that reaches `address`, or None if the system can't tell.

    gloo by itself takes the interface of this machine's host name, which other machines often can't reach.
    """
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # no packet is sent
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):
                    packed = struct.pack("256s", name.encode()[:15])
                    if socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, packed)[20:24]) == own:
                        return name
    except (ImportError, OSError):
        pass
    return None
