"""Commands in forked processes, and faults that hit them: signals at a moment of processor time or at a file access.

A command is forked from a process that has done the imports, so that hundreds take minutes. Moments are of the
process's own processor time, so that they fall into the same parts of a command on a busy machine.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import functools
import importlib
import json
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from seqgen import streams
from seqgen.checkpoint import ModelError
from seqgen.cli.main import main as seqgen_main
from tests.helpers.waiting import waited

ERROR_PREFIX = "seqgen: error: "
TIMEOUT = 120.0  # seconds until a command counts as hanging, without those in which it waited for a processor
STOPS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}  # signals to stop at, and the exit status


class FaultError(AssertionError):
    """A command did not survive a fault as it should."""


def require(condition: object, message: str) -> None:
    """Raise `FaultError` if the condition is false."""
    if not condition:
        raise FaultError(message)


# ---- Parts of a command ----

Phases = Mapping[str, tuple[str, str]]
"""From the name of a part to the function that does it: module and qualified name."""


class Phase:
    """The part that a forked command is in, in memory that it shares with this process."""

    def __init__(self, phases: Phases) -> None:
        self._names = ["start", *phases]
        self._phases = phases
        self._shared = mmap.mmap(-1, 1)

    @property
    def now(self) -> str:
        """The part that the last command is in, or ended in."""
        return self._names[self._shared[0]]

    def clear(self) -> None:
        self._shared[0] = 0

    def watch(self, on_entry: Callable[[str], None] = lambda _: None) -> None:
        """Note in the forked process which part it is in, and call `on_entry` when one begins."""

        def wrap(function: Any, name: str) -> Any:
            @functools.wraps(function)
            def wrapped(*arguments: Any, **words: Any) -> Any:
                before = self._shared[0]
                self._shared[0] = self._names.index(name)
                on_entry(name)
                try:
                    return function(*arguments, **words)
                finally:
                    self._shared[0] = before

            return wrapped

        self.replace(wrap)

    def replace(self, wrap: Callable[[Any, str], Any]) -> None:
        """Replace the function that does each part by `wrap(function, name of the part)`."""
        for name, (module, qualified) in self._phases.items():
            *owners, attribute = qualified.split(".")
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            setattr(owner, attribute, wrap(getattr(owner, attribute), name))


@dataclass(frozen=True)
class Moment:
    """A moment of a command: this long after the beginning of a part, for the time-th time.

    Attributes:
        seconds: of processor time.
    """

    phase: str
    time: int
    seconds: float


def send_at(moment: Moment, number: int, phase: Phase) -> None:
    """Let the kernel send this process a signal at a moment."""
    left = moment.time

    def on_entry(name: str) -> None:
        nonlocal left
        if name == moment.phase and left:
            left -= 1
            if not left:
                send_after(moment.seconds, number)

    phase.watch(on_entry)
    if moment.phase == "start":
        send_after(moment.seconds, number)


def send_after(seconds: float, number: int) -> None:
    """Let the kernel send this process a signal once it has used so much more processor time."""
    libc = ctypes.CDLL(None, use_errno=True)
    clock_process_cputime, sigev_signal = 2, 0
    event = ctypes.create_string_buffer(struct.pack("qii", 0, number, sigev_signal), 64)
    timer = ctypes.c_void_p()
    require(libc.timer_create(clock_process_cputime, event, ctypes.byref(timer)) == 0, "no timer")
    seconds = max(seconds, 1e-6)
    setting = struct.pack("qqqq", 0, 0, int(seconds), int(seconds % 1 * 1e9) or 1)
    require(libc.timer_settime(timer, 0, setting, None) == 0, "the timer does not start")


@dataclass
class Durations:
    """How often each part of a command begins, and for how long, measured in an undisturbed run."""

    entries: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)  # of processor time, of all entries of the part together

    def draw(self, rng: random.Random) -> Moment:
        """A moment of the whole command or, half of the time, of one part, each with equal probability."""
        name = "start" if rng.random() < 0.5 else rng.choice(sorted(self.entries))
        return Moment(name, rng.randint(1, self.entries[name]), rng.uniform(0, 1.05) * self.mean(name))

    def mean(self, name: str) -> float:
        return self.seconds[name] / max(self.entries[name], 1)


def measure_durations(path: Path, phase: Phase) -> Callable[[], None]:
    """Return a function that lets this process write its `Durations` to a file whenever a part ends."""

    def watch() -> None:
        found: dict[str, list[float]] = {}
        began = time.process_time()

        def wrap(function: Any, name: str) -> Any:
            @functools.wraps(function)
            def wrapped(*arguments: Any, **words: Any) -> Any:
                entered = time.process_time()
                try:
                    return function(*arguments, **words)
                finally:
                    now = time.process_time()
                    count, seconds = found.get(name, [0, 0.0])
                    found[name] = [count + 1, seconds + now - entered]
                    path.write_text(json.dumps({**found, "start": [1, now - began]}))

            return wrapped

        phase.replace(wrap)

    return watch


def read_durations(path: Path) -> Durations:
    """Read what `measure_durations` wrote, which is nothing for a command without parts."""
    found = json.loads(path.read_text()) if path.exists() else {"start": [1, 0.3]}
    entries = Counter({name: int(count) for name, (count, _) in found.items()})
    return Durations(entries, Counter({name: seconds for name, (_, seconds) in found.items()}))


# ---- File accesses ----


class Points:
    """Counts the points at which a command accesses its files, and injects a fault at one of them.

    `touch`: a file is opened, renamed or removed, or a folder made. `write`: in the middle of a write. `before` and
    `after`: around an fsync.
    """

    def __init__(self, at: tuple[str, int] | None, inject: Callable[[str], None], count: Path | None = None) -> None:
        self._at, self._inject, self._count = at, inject, count
        self._seen: Counter[str] = Counter()
        self._busy = False

    def __call__(self, point_type: str) -> None:
        if self._busy:
            return
        self._seen[point_type] += 1
        self._busy = True
        try:
            if (point_type, self._seen[point_type]) == self._at:
                self._inject(point_type)
            if self._count is not None:
                self._count.write_text(json.dumps(self._seen))
        finally:
            self._busy = False

    def install(self, *paths: Path) -> None:
        """Watch all files below these paths."""
        inside = tuple(str(path) for path in paths)

        def on_audit(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _TOUCHES and arguments and str(arguments[0]).startswith(inside):
                self("touch")

        sys.addaudithook(on_audit)
        fsync, fdopen = os.fsync, os.fdopen

        def sync(handle: int) -> None:
            self("before")
            fsync(handle)
            self("after")

        def opened(handle: int, *more: Any, **words: Any) -> Any:
            return _SplitWrites(fdopen(handle, *more, **words), self)

        streams.os = _Os(fsync=sync, fdopen=opened)  # type: ignore[attr-defined]


_TOUCHES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


class _Os:
    """The module `os` with some functions replaced, for `streams`."""

    def __init__(self, **instead: Any) -> None:
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


class _SplitWrites:
    """A file with an injection point in the middle of each write."""

    def __init__(self, stream: Any, points: Points) -> None:
        self._stream, self._points = stream, points

    def write(self, data: bytes) -> int:
        half = len(data) // 2
        self._stream.write(data[:half])
        self._stream.flush()
        self._points("write")
        self._stream.write(data[half:])
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _SplitWrites:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def measure_targets(
    run: Callable[[Callable[[], None]], None], phase: Phase, folder: Path, notes: Path
) -> tuple[Counter[str], Durations]:
    """What of a command can be hit: its accesses to files below `folder`, of each type, and its parts.

    `run` runs it undisturbed, in a process that calls what it is given first. It is run twice.
    """
    points, durations = notes / "points", notes / "durations"
    for path in (points, durations):
        path.unlink(missing_ok=True)
    run(lambda: Points(None, kill, points).install(folder))
    run(measure_durations(durations, phase))
    return Counter(json.loads(points.read_text()) if points.exists() else {}), read_durations(durations)


def kill(_: str = "") -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def full(_: str = "") -> None:
    """Raise the error of a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# ---- Processes ----


@dataclass
class Ended:
    """The end of a command."""

    status: int  # the negative number of the signal that ended it, if one did
    output: str

    @property
    def error(self) -> str:
        """The message of its only line of output."""
        lines = self.output.splitlines()
        require(len(lines) == 1 and lines[0].startswith(ERROR_PREFIX), f"not one line of error: {self.output[-800:]!r}")
        return lines[0].removeprefix(ERROR_PREFIX)

    def require_stopped(self, *numbers: int) -> None:
        """Require that it ended as a command should at one of these signals, or before they came."""
        allowed = {0, *(-number for number in numbers), *(STOPS.get(signal.Signals(n), -n) for n in numbers)}
        require(self.status in allowed, f"status {self.status} after {numbers}: {self.output[-600:]}")
        require("Traceback" not in self.output, self.output[-900:])

    def require_done_or(self, message: str) -> bool:
        """Require that it succeeded, or reported this with status 2. Return whether it succeeded."""
        require(self.status in (0, 2), f"status {self.status}: {self.output[-700:]}")
        require(self.status == 0 or message in self.error, self.output)
        return self.status == 0


@dataclass
class Started:
    """A running command, the leader of a session of its own."""

    pid: int
    output: Path

    def wait(self, timeout: float = TIMEOUT) -> Ended:
        """Wait for its end. Raises `FaultError` if it hangs, or leaves processes behind."""
        began = time.monotonic()
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - began > timeout + waited(self.pid):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise FaultError(f"it hangs: {self.output.read_text(errors='replace')[-500:]!r}")
            time.sleep(0.002)
        for _ in range(200):  # a child that reads from a pipe ends when that does
            if not (left := list(session_members(self.pid))):
                break
            time.sleep(0.02)
        require(not left, f"processes are left behind: {left}")
        return Ended(os.waitstatus_to_exitcode(status), self.text)

    @property
    def text(self) -> str:
        """Its output so far."""
        return self.output.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal. The process id stays valid until `wait` returns."""
        os.kill(self.pid, number)


def session_members(leader: int) -> Iterator[str]:
    """The names of the processes in the session of a process, or begun by it in sessions of their own."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
            environment = (status.parent / "environ").read_bytes()
        except OSError:  # it ended
            continue
        state, _, _, session, *_ = rest.split()
        if state != "Z" and (int(session) == leader or f"\0{_MARK}={leader}\0".encode() in b"\0" + environment):
            yield name.partition("(")[2]


_MARK = "SEQGEN_FAULTS_LEADER"  # in the environment of processes that a command starts


def start(
    command: list[str] | Callable[[], int],
    workspace: Path,
    prepare: Callable[[], None] = lambda: None,
    cache: Path | None = None,
) -> Started:
    """Run a command line, or a function, in a forked process, which calls `prepare` first."""
    handle, output = tempfile.mkstemp(dir=workspace, suffix=".output")
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(handle)
        return Started(pid, Path(output))
    status = 1
    try:
        os.setsid()
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)  # no command outlives the benchmark
        for number in STOPS:  # the caller may ignore them, as under nohup
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.dup2(handle, 2)
        os.dup2(handle, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = (open(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))  # noqa: SIM115
        os.environ |= {"SEQGEN_CACHE": str(cache or workspace / "cache"), "SEQGEN_DEBUG": "1", _MARK: str(os.getpid())}
        torch.set_num_threads(1)
        prepare()
        status = seqgen_main(command) if isinstance(command, list) else command()
    finally:
        sys.stderr.flush()
        os._exit(status)


def run(
    command: list[str] | Callable[[], int],
    workspace: Path,
    prepare: Callable[[], None] = lambda: None,
    cache: Path | None = None,
) -> Ended:
    """`start` it, and wait for its end."""
    return start(command, workspace, prepare, cache).wait()


def succeed(command: list[str], workspace: Path, message: str, prepare: Callable[[], None] = lambda: None) -> None:
    """Run what is needed before or after a fault. Raises `FaultError` with `message` if it fails."""
    ended = run(command, workspace, prepare)
    require(ended.status == 0, f"{message}: {ended}")


# ---- What is left ----


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unfinished(folder: Path) -> list[str]:
    """The names of unfinished files and folders below `folder`."""
    return sorted(path.name for path in folder.rglob(f"*{streams.PARTIAL_SUFFIX}"))


def require_no_scratch(scene: Path) -> None:
    """Require that the cache of a scene has no scratch folder."""
    spool = scene / "cache" / "spool"
    require(not spool.exists() or not list(spool.iterdir()), "a scratch folder is left")


# ---- Many faults ----


class Tally:
    """Faults that were tried and survived, by class or command, and what went wrong.

    Attributes:
        hits: how many commands a signal ended, or a write failed in: by command, part of it, and fault.
    """

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.hits: Counter[tuple[str, str, str]] = Counter()
        self.begin()

    def begin(self) -> None:
        """Let the time of the faults begin now."""
        self._began = time.monotonic()

    @contextlib.contextmanager
    def attempt(self, name: str, where: str) -> Iterator[None]:
        """Count the fault that the block injects and, if it is not survived, report it and where it happened."""
        try:
            yield
        except (FaultError, ModelError) as error:
            self.wrong.append(f"{name} ({where}): {error}")
            print(self.wrong[-1], file=sys.stderr, flush=True)
        else:
            self.survived[name] += 1
        self.tried[name] += 1

    def is_over(self, minutes: float) -> bool:
        """Whether so much time has passed."""
        return time.monotonic() - self._began > 60 * minutes

    def summary(self) -> str:
        minutes = (time.monotonic() - self._began) / 60
        return f"{self.tried.total():,} faults in {minutes:.1f} minutes, {len(self.wrong)} failed"

    def json(self) -> str:
        hits = [[*where, count] for where, count in sorted(self.hits.items())]
        return json.dumps({"tried": self.tried, "survived": self.survived, "wrong": self.wrong, "hits": hits})


def add_arguments(parser: argparse.ArgumentParser, count: int) -> None:
    """The arguments of a benchmark of faults."""
    parser.add_argument("--count", type=int, default=count, help="number of faults")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no fault after that")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="print each fault before it is injected")
    parser.add_argument("--json", action="store_true")


@contextlib.contextmanager
def workspace_in_memory() -> Iterator[Path]:
    """A folder for a `with` block, in memory if possible, because writing is faster there."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(folder)
