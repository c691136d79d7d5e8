"""How processes started by `torchrun` (or by anything that sets its variables) become a `World`, and how they end.

If one fails, all do, and one of them says why: the one that failed, or where that was killed, the first to miss it.
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

# Heavy imports are inside functions: every command asks `read_launch` who may speak.

STEP_TIMEOUT = datetime.timedelta(
    minutes=30
)  # until a machine that says nothing more is given up; one that dies is noticed
_HOURS = datetime.timedelta(days=1)  # for what rank 0 may do alone, such as reading a large corpus
_MEETING = datetime.timedelta(minutes=10)  # for all to start
_ROLL_CALL = 1.0  # seconds until whoever has not noticed that a run is over is taken for the one that is gone
_SIOCGIFADDR = 0x8915  # Linux: the address of a network interface
_PLACE = re.compile(r"\[\S+:\d+\] ")  # in the source of gloo, with which its messages begin


@dataclass(frozen=True)
class Launch:
    """What torchrun tells a process: its number among all, and among the `local_world_size` that share its machine."""

    rank: int
    size: int
    local_rank: int
    local_world_size: int


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What torchrun said, or None without it. Raises `UserError` where that is no number."""
    if not all(environment.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")):
        return None

    def number(name: str, default: int) -> int:
        try:
            return int(environment.get(name) or default)
        except ValueError:
            raise UserError(f"{name}={environment[name]} in the environment is no number; torchrun sets it") from None

    rank, size = number("RANK", 0), number("WORLD_SIZE", 1)
    if not 0 <= rank < size:
        raise UserError(f"RANK={rank} in the environment does not fit WORLD_SIZE={size}; torchrun sets them")
    return Launch(
        rank,
        size,
        number("LOCAL_RANK", rank),
        max(1, number("LOCAL_WORLD_SIZE", size)),
    )


def may_report() -> bool:
    """Whether this process is the one to say what is wrong with a command: wrong for one, it is wrong for all, until
    they have met. From then on `join_world` sees to it that one speaks."""
    if "seqgen.training.distributed.world" in sys.modules:
        return True
    with contextlib.suppress(UserError):
        launch = read_launch()
        return launch is None or launch.rank == 0
    return True


@contextlib.contextmanager
def join_world(cuda: bool = False, timeout: datetime.timedelta = STEP_TIMEOUT) -> Iterator[World]:
    """The world of this process, alone or with others, until the context ends.

    Args:
        cuda: whether gradients may lie on a GPU.
        patience: how long another process may keep silent in a step.

    Raises:
        TrainingError: another process is gone.
        ElsewhereError: another process failed, and says why.
    """
    from seqgen.training.distributed.world import World

    launch = read_launch()
    if launch is None or (launch.size == 1 and not _has_agent()):
        yield World()
        return
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if "GLOO_SOCKET_IFNAME" not in os.environ and (interface := _interface(os.environ["MASTER_ADDR"])):
        os.environ["GLOO_SOCKET_IFNAME"] = interface
    try:
        common, _, _ = next(rendezvous("env://", timeout=_MEETING))
        run = _run(common) if _has_agent() else ""
        if launch.size > 1:
            store = PrefixStore(f"seqgen/{_session(common, launch)}", common)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo", store=PrefixStore("group", store), rank=launch.rank,
                world_size=launch.size, timeout=timeout,
            )  # fmt: skip
            patient = dist.new_group(backend="gloo", timeout=_HOURS)
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise TrainingError(f"rank {launch.rank} could not meet the other processes of this run: {why}") from error
    if launch.size == 1:
        yield World(run_id=run)
        return
    fate = _Fate(launch, store)
    try:
        yield World(launch.rank, launch.size, launch.local_rank, launch.local_world_size, patient, run)
    except BaseException as error:
        told = fate.ending(error)
        if told is error:
            raise
        raise told from error
    finally:
        with contextlib.suppress(RuntimeError, ValueError):
            dist.destroy_process_group()


def _has_agent() -> bool:
    """Whether torchrun keeps the common store, which then outlives the processes."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _run(common: Any) -> str:
    """A name for all that one torchrun does, however often it starts its processes again: kept in its store."""
    return str(common.compare_set("seqgen/run", "", secrets.token_hex(8)).decode())


@functools.cache
def process_token() -> str:
    """A name for this process, which no other has."""
    return secrets.token_hex(8)


def _session(common: Any, launch: Launch) -> str:
    """A name for what the processes that live now do together, new each time: the store still holds what was said by
    others before, to be kept apart.

    Rank 0 makes the name, and tells it to every process under the token that this one has just made up. It may have
    read an older token; so it looks again until all have answered.
    """
    mine = secrets.token_hex(8)
    common.set(f"seqgen/here/{launch.rank}", mine)
    if launch.rank:
        name = str(common.get(f"seqgen/name/{mine}").decode())
        common.set(f"seqgen/heard/{name}/{launch.rank}", "")
        return name
    until = time.monotonic() + _MEETING.total_seconds()
    waiting = list(range(1, launch.size))
    while waiting:
        for rank in waiting:
            if common.check([f"seqgen/here/{rank}"]):
                common.set(f"seqgen/name/{common.get(f'seqgen/here/{rank}').decode()}", mine)
        waiting = [rank for rank in waiting if not common.check([f"seqgen/heard/{mine}/{rank}"])]
        if waiting and time.monotonic() > until:
            raise RuntimeError(f"rank {waiting[0]} has not come")
        time.sleep(0.02)
    return mine


class _Fate:
    """What the processes of a run tell each other about how it ends, in their common store."""

    def __init__(self, launch: Launch, store: Any) -> None:
        self._launch, self._store = launch, store
        self._here = socket.gethostname()
        store.set(f"host/{launch.rank}", self._here)

    def ending(self, error: BaseException) -> BaseException:
        """What this process has to raise where `error` came up: one process of all speaks."""
        from seqgen.training.distributed.world import PeerLostError

        if isinstance(error, PeerLostError):
            return self._lost(error)
        if self._launch.rank and not isinstance(error, KeyboardInterrupt):
            self._give_precedence()
        if not self._is_first_to("fail") and not isinstance(error, KeyboardInterrupt):
            return PeerProcessError("another process of this run failed, and says why")
        if isinstance(error, SeqgenError) and self._launch.rank:
            return type(error)(f"{error} (rank {self._launch.rank}, on {self._here})")
        return error

    def _give_precedence(self) -> None:
        """Waits a moment for another to fail: of what is wrong for all, rank 0 should speak."""
        until = time.monotonic() + _ROLL_CALL / 2
        while not self._has("fail") and time.monotonic() < until:
            time.sleep(0.02)

    def _lost(self, error: Exception) -> SeqgenError:
        time.sleep(0.1)  # for one that failed to say so
        if self._has("fail") or not self._is_first_to("miss"):
            return PeerProcessError("another process of this run ended it")
        return TrainingError(
            f"{self._missing()} is gone, and the run ends with it; what was saved stands, and --resume goes on "
            f"({_PLACE.sub('', str(error)).partition('. ')[0][:90]})"
        )

    def _missing(self) -> str:
        """Who has not noticed that the run is over, because they are what it misses."""
        others = [rank for rank in range(self._launch.size) if rank != self._launch.rank]
        until = time.monotonic() + _ROLL_CALL
        while len(others) > 1 and time.monotonic() < until:
            others = [rank for rank in others if not self._has(f"miss/{rank}")] or others
            time.sleep(0.05)
        if len(others) > 3:
            return f"another process (one of {len(others)})"
        hosts = {rank: self._host(rank) for rank in others}
        return " or ".join(f"rank {rank} (on {host})" for rank, host in hosts.items())

    def _is_first_to(self, what: str) -> bool:
        """Marks that this process does so, and tells whether none did before. Where the store is gone as well, each
        speaks for itself."""
        with contextlib.suppress(RuntimeError):
            self._store.set(f"{what}/{self._launch.rank}", "")
            return int(self._store.add(what, 1)) == 1
        return True

    def _has(self, key: str) -> bool:
        with contextlib.suppress(RuntimeError):
            return bool(self._store.check([key]))
        return False

    def _host(self, rank: int) -> str:
        with contextlib.suppress(RuntimeError):
            return str(self._store.get(f"host/{rank}").decode())
        return "its machine"


def _interface(address: str) -> str | None:
    """The name of the network interface by which `address` is reached, where that can be told. gloo by itself takes
    the one that this machine's own name stands for, which often nobody else can reach."""
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):
                    packed = struct.pack("256s", name.encode()[:15])
                    if socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, packed)[20:24]) == own:
                        return name
    except (ImportError, OSError):
        pass
    return None
