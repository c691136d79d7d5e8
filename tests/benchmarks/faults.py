"""Fault injection: trainings that are killed, run out of disk or read a wrong clock must resume as if nothing happened.

    python tests/benchmarks/faults.py [CLASS...] [--count 300] [--seed 0] [--tasks text,music] [--json]

Every training is the command `seqgen train` in a process of its own, forked from one that has done the imports, so that
hundreds take minutes. The faults are real: signals, a killed process, a full or read-only file system (if this process
may mount one). After each:

- the model loads, and its weights are those of some step of the undisturbed run (or, with `--overwrite`, the old model
  is unchanged);
- `--resume` ends with the weights, the optimiser's state and the metrics of the undisturbed run;
- no unfinished file and no lock is left.

Any other ending is reported with its seed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load_file

from seqgen import checkpoint, locks, streams
from seqgen.api.train import folder as model_folders
from seqgen.cli.main import main as seqgen_main
from seqgen.errors import SeqgenError
from seqgen.tasks import TASKS

CORPORA = Path(__file__).resolve().parents[2] / "corpora"
ERROR_PREFIX = "seqgen: error: "
TIMEOUT = 120.0  # seconds until a run counts as hanging
FILES = {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "resume", "README.md"}


class FaultError(AssertionError):
    """A training did not survive a fault as it should."""


def require(condition: object, message: str) -> None:
    """Raise `FaultError` if the condition is false."""
    if not condition:
        raise FaultError(message)


# ---- Trainings ----


@dataclass
class Training:
    """A small training of one task, and its outcome without faults."""

    name: str
    source: Path
    flags: list[str]
    seconds: float = 0.0
    points: Counter[str] = field(default_factory=Counter)  # the number of injection points of each type
    weights: set[str] = field(default_factory=set)  # digests of its weights after each step
    result: Any = None

    def line(self, folder: Path, *more: str) -> list[str]:
        """The command line."""
        return ["train", str(self.source), "-o", str(folder), *self.flags, "--quiet", *more]


def make_trainings(workspace: Path, names: list[str]) -> dict[str, Training]:
    """A training of each task, with about ten validations."""
    numbers = {"rnn-size": 16, "batch-size": 4, "threads": 1, "precision": "fp32", "seed": 3, "steps": 30}
    common = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    (workspace / "prose.txt").write_text((CORPORA / "tidewater.txt").read_text()[:20_000])
    (workspace / "talk.jsonl").write_text('["Hello!", "Good morning.", "Is it far?", "A mile."]\n' * 60)
    (workspace / "texts.csv").write_text("".join((CORPORA / "reviews.csv").read_text().splitlines(True)[:80]))
    (workspace / "table.csv").write_text("".join((CORPORA / "weather.csv").read_text().splitlines(True)[:300]))
    tunes = workspace / "tunes"
    tunes.mkdir()
    for path in sorted((CORPORA / "tunes").iterdir())[:4]:
        shutil.copy(path, tunes)
    words = ["--embedding-size", "8", "--seq-length", "16", "--dropout", "0.2"]
    found = [
        Training("text", workspace / "prose.txt", [*common, *words]),
        Training("dialogue", workspace / "talk.jsonl", [*common, *words, "--task", "dialogue", "--tokenizer", "byte"]),
        Training("music", tunes, [*common, *words]),
        Training("classify", workspace / "texts.csv", [*common, "--tokenizer", "char", "--pretrain", "0.2"]),
        Training("forecast", workspace / "table.csv", [*common, "--horizon", "3", "--look-back", "14"]),
    ]
    assert {training.name for training in found} == set(TASKS)
    return {training.name: training for training in found if training.name in names}


def outcome(folder: Path) -> Any:
    """The weights, state and metrics of a run, without times and paths."""
    digest = hashlib.sha256()
    for path in (folder / "model.safetensors", *(folder / "resume").glob("*.safetensors")):
        for name, array in sorted(load_file(path).items()):
            digest.update(name.encode() + array.tobytes())
    metrics = {m["step"]: (m["train_loss"], m["val_loss"]) for m in checkpoint.read_metrics(folder)}
    config = json.loads((folder / "config.json").read_text())
    return digest.hexdigest(), metrics, config["metrics"], config["training"]["step"]


def is_same(found: Any, wanted: Any) -> bool:
    """Whether two runs have the same outcome; a stopped one has a further validation."""
    metrics = {step: values for step, values in found[1].items() if step in wanted[1]}
    return (found[0], metrics, *found[2:]) == wanted


# Weights that are fitted at validation: the further one of a stopped run fits others.
_FITTED_AT_VALIDATION = ("mixture", "believed", "widening", "mix", "shift", "prior")


def digest(arrays: dict[str, Any]) -> str:
    """Digest of the weights that the optimiser changes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        if name not in _FITTED_AT_VALIDATION:
            found.update(name.encode() + arrays[name].tobytes())
    return found.hexdigest()


# ---- Injection ----


class Points:
    """Counts the points at which a training accesses its files, and injects a fault at one of them.

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

    def install(self, path: Path) -> None:
        """Watch all files below `path`."""
        inside = str(path)

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

        streams.os = _Os(fsync=sync, fdopen=opened)  # type: ignore[assignment]


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


def kill(_: str = "") -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def full(_: str = "") -> None:
    """Raise the error of a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class Ended:
    """The end of a training."""

    status: int  # the negative number of the signal that ended it, if one did
    output: str

    @property
    def error(self) -> str:
        """The message of its only line of output."""
        lines = self.output.splitlines()
        require(len(lines) == 1 and lines[0].startswith(ERROR_PREFIX), f"not one line of error: {self.output[-800:]!r}")
        return lines[0].removeprefix(ERROR_PREFIX)


@dataclass
class Started:
    """A running training."""

    pid: int
    output: Path

    def wait(self, timeout: float = TIMEOUT) -> Ended:
        """Wait for its end. Raises `FaultError` if it hangs."""
        ends = time.monotonic() + timeout
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return Ended(os.waitstatus_to_exitcode(status), self.output.read_text(errors="replace"))
            if time.monotonic() > ends:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise FaultError(f"it hangs: {self.output.read_text(errors='replace')[-500:]!r}")
            time.sleep(0.002)

    def signal(self, number: int) -> None:
        """Send a signal. The process id stays valid until `wait` returns."""
        os.kill(self.pid, number)


def start(
    line: list[str], workspace: Path, prepare: Callable[[], None] = lambda: None, cache: Path | None = None
) -> Started:
    """Run the command in a forked process, which calls `prepare` first."""
    handle, output = tempfile.mkstemp(dir=workspace, suffix=".output")
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(handle)
        return Started(pid, Path(output))
    status = 1
    try:
        os.dup2(handle, 2)
        os.dup2(handle, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = (open(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))  # noqa: SIM115
        os.environ["SEQGEN_CACHE"] = str(cache or workspace / "cache")
        os.environ["SEQGEN_DEBUG"] = "1"
        torch.set_num_threads(1)
        model_folders._SAVE_EVERY = -1.0  # saves after every step, as a slow run does after a minute
        prepare()
        status = seqgen_main(line)
    finally:
        sys.stderr.flush()
        os._exit(status)


def warm_up(training: Training, workspace: Path) -> None:
    """Run it once in this process before others are forked from it, because first use takes half of a short run."""
    os.environ["SEQGEN_CACHE"] = str(workspace / "warm")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    torch.set_num_threads(1)
    require(seqgen_main(training.line(workspace / f"warm-{training.name}")) == 0, f"{training.name} does not train")
    for number, handler in before.items():
        signal.signal(number, handler)
    shutil.rmtree(workspace / "warm", ignore_errors=True)
    shutil.rmtree(workspace / f"warm-{training.name}")


def undisturbed(training: Training, workspace: Path) -> None:
    """Run it twice without faults, and store its outcome."""
    saves = workspace / f"{training.name}.saves"

    def record() -> None:
        def recording(method: Callable[..., None]) -> Callable[..., None]:
            def recorded(self: Any, *event: Any) -> None:
                with open(saves, "a") as file:
                    file.write(digest(self._training.weights()) + "\n")
                method(self, *event)

            return recorded

        for name in ("save_if_due", "on_validation"):  # one of them after every step
            setattr(model_folders.ModelFolder, name, recording(getattr(model_folders.ModelFolder, name)))
        Points(None, kill, workspace / f"{training.name}.points").install(workspace / training.name)

    for number in range(2):
        folder = workspace / training.name / f"m{number}"
        folder.parent.mkdir(exist_ok=True)
        began = time.monotonic()
        ended = start(training.line(folder), workspace, record if number else lambda: None).wait()
        training.seconds = min(training.seconds or TIMEOUT, time.monotonic() - began)
        require(ended.status == 0 and not ended.output, f"{training.name} does not train: {ended.output}")
        found = outcome(folder)
        require(training.result in (None, found), f"{training.name} has two different outcomes")
        training.result = found
    training.weights = set(saves.read_text().split())
    training.points = Counter(json.loads((workspace / f"{training.name}.points").read_text()))


# ---- Conditions ----


def is_sound(training: Training, folder: Path, old: dict[str, bytes] | None = None) -> None:
    """Require that the model in `folder`, if there is one, is complete."""
    if not folder.exists():
        require(old is None, "the old model is gone")
        return
    if old is not None and contents(folder) == old:
        return
    try:
        weights = checkpoint.load(folder).weights()
        checkpoint.read_resume(folder)
    except SeqgenError as error:
        raise FaultError(f"the model does not load: {error}") from error
    require(digest(weights) in training.weights, "the weights belong to no step of the run")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    for metrics in map(json.loads, lines):
        wanted = training.result[1].get(metrics["step"], (metrics["train_loss"], metrics["val_loss"]))
        require((metrics["train_loss"], metrics["val_loss"]) == wanted, "the metrics are not those of the run")
    left = {path.name for path in folder.iterdir() if not path.name.endswith(streams.PARTIAL_SUFFIX)}
    require(left == FILES, f"there are other files: {left ^ FILES}")


def is_free(folder: Path) -> None:
    """Require that the folder is not locked."""
    for path in (folder, checkpoint.staging(folder)):
        if path.exists():
            handle = locks.try_lock(path)
            require(handle is not None, f"{path.name} is still locked")
            os.close(handle)  # type: ignore[arg-type]


def resumes(training: Training, folder: Path, workspace: Path, *flags: str) -> None:
    """Require that the command with --resume, or other flags, ends as the undisturbed run and leaves no other files."""
    ended = start(training.line(folder, *(flags or ("--resume",))), workspace).wait()
    output = [line for line in ended.output.splitlines() if "starting from the beginning" not in line]
    require(ended.status == 0 and not output, f"it does not resume: status {ended.status}, {ended.output[-600:]!r}")
    require(is_same(outcome(folder), training.result), "it ended differently")
    left = sorted(path.name for path in folder.parent.iterdir())
    require(left == [folder.name], f"left behind: {left}")
    inside = {path.name for path in folder.iterdir()}
    require(inside == FILES and len(list((folder / "resume").iterdir())) == 2, f"left in the model: {inside ^ FILES}")


def survives(training: Training, folder: Path, workspace: Path) -> None:
    """Require all three conditions."""
    is_sound(training, folder)
    is_free(folder)
    resumes(training, folder, workspace)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- Classes of faults: each takes a training, an empty folder and a random generator ----

Fault = Callable[[Training, Path, random.Random], None]
FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    """Add a class of faults to the table."""

    def add(function: Fault) -> Fault:
        FAULTS[name] = function
        return function

    return add


def moment(training: Training, rng: random.Random) -> float:
    """Draw a time in seconds after the start, up to a little beyond the end."""
    return rng.uniform(0, 1.1) * training.seconds


def point(training: Training, rng: random.Random) -> tuple[str, int]:
    """Draw an injection point, each type with equal probability."""
    point_type = rng.choice([point_type for point_type, count in training.points.items() if count])
    return point_type, rng.randint(1, training.points[point_type])


@fault("SIGKILL at any moment")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    run = start(training.line(folder), workspace)
    time.sleep(moment(training, rng))
    run.signal(signal.SIGKILL)
    run.wait()
    survives(training, folder, workspace)


@fault("SIGKILL inside a save")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    at = point(training, rng)
    run = start(training.line(folder), workspace, lambda: Points(at, kill).install(folder.parent))
    ended = run.wait()
    require(ended.status in (-9, 0), f"{at}: {ended}")
    survives(training, folder, workspace)


@fault("SIGKILL again and again until it is done")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    for number in range(40):
        # A point instead of a time, so that each run gets a little further on any machine.
        point_type, count = "after", rng.randint(4, 14)
        run = start(
            training.line(folder, *["--resume"] * bool(number)), workspace,
            lambda at=(point_type, count): Points(at, kill).install(folder.parent),
        )  # fmt: skip
        ended = run.wait()
        is_sound(training, folder)
        is_free(folder)
        if ended.status == 0:
            break
        require(ended.status == -9, str(ended))
    resumes(training, folder, workspace)


@fault("SIGKILL while it replaces a model")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    require(start([*training.line(folder), "--learning-rate", "0.5"], workspace).wait().status == 0, "no old model")
    old = contents(folder)
    at = point(training, rng)
    run = start(training.line(folder, "--overwrite"), workspace, lambda: Points(at, kill).install(folder.parent))
    require(run.wait().status in (-9, 0), str(at))
    is_sound(training, folder, old)
    is_free(folder)
    resumes(training, folder, workspace, "--overwrite")


@fault("SIGTERM")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    _stopped(training, workspace, rng, [signal.SIGTERM], 143)


@fault("SIGINT")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    _stopped(training, workspace, rng, [signal.SIGINT], 130)


@fault("SIGINT twice")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    _stopped(training, workspace, rng, [signal.SIGINT, signal.SIGINT], 130)


def _stopped(training: Training, workspace: Path, rng: random.Random, signals: list[int], status: int) -> None:
    folder = workspace / "models" / "m"
    run = start(training.line(folder), workspace)
    time.sleep(max(0.01, moment(training, rng)))  # earlier, the process would not yet be the command
    for number in signals:
        run.signal(number)
        time.sleep(rng.choice([0.0, 0.001, 0.01, 0.05]))
    ended = run.wait()
    require(ended.status in (0, status, -signals[0]), f"status {ended.status}: {ended.output[-600:]}")
    require("Traceback" not in ended.output, ended.output[-900:])
    survives(training, folder, workspace)


@fault("no room for one write")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    point_type, number = point(training, rng)
    point_type = "write" if point_type == "touch" else point_type  # errors of removing a file may be ignored
    at = point_type, min(number, training.points[point_type])
    ended = start(training.line(folder), workspace, lambda: Points(at, full).install(folder.parent)).wait()
    require(ended.status in (0, 2), f"{at}: status {ended.status}: {ended.output[-600:]}")
    if ended.status == 2:
        require("No space left on device" in ended.error, ended.output)
    is_sound(training, folder)
    is_free(folder)
    require(not list(workspace.rglob(f"*{streams.PARTIAL_SUFFIX}")), "something unfinished is left")
    resumes(training, folder, workspace)


@contextlib.contextmanager
def disk(mount_point: Path, size: int) -> Iterator[Path]:
    """Mount a small file system. Raises `PermissionError` if this process may not."""
    mount_point.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", mount_point], capture_output=True)
    if done.returncode:
        raise PermissionError("no permission to mount")
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", mount_point], check=True)


@fault("a disk that fills up")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    with disk(workspace / "models", 4) as small:
        folder = small / "m"
        needed = sum(len(data) for data in contents(workspace.parent / training.name / "m0").values()) // 1024 + 40
        subprocess.run(["mount", "-o", f"remount,size={rng.randint(4, 3 * needed)}k", small], check=True)
        ended = start(training.line(folder), workspace).wait()
        require(ended.status in (0, 2), f"status {ended.status}: {ended.output[-600:]}")
        if ended.status == 2:
            require("No space left on device" in ended.error, ended.output)
        is_sound(training, folder)
        is_free(folder)
        subprocess.run(["mount", "-o", f"remount,size={10 * needed}k", small], check=True)
        resumes(training, folder, workspace)


@fault("a full disk under the cache")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    with disk(workspace / "cache", rng.choice([4, 8, 12, 24, 64])) as small:
        ended = start(training.line(folder), workspace, cache=small).wait()
        require(ended.status in (0, 2), f"status {ended.status}: {ended.output[-600:]}")
        if ended.status == 2:
            require("No space left on device" in ended.error, ended.output)
        is_sound(training, folder)
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        resumes(training, folder, workspace)


@fault("a file system that becomes read-only")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    with disk(workspace / "models", 20_000) as small:
        folder = small / "m"
        run = start(training.line(folder), workspace)
        time.sleep(moment(training, rng))
        for _ in range(2000):  # fails while a file is open for writing
            done = subprocess.run(["mount", "-o", "remount,ro", small], capture_output=True)
            if not done.returncode:
                break
        ended = run.wait()
        require(ended.status in (0, 2), f"status {ended.status}: {ended.output[-600:]}")
        if ended.status == 2:
            require("Read-only file system" in ended.error, ended.output)
        is_sound(training, folder)
        again = start(training.line(folder, "--resume"), workspace).wait()
        require(again.status == 2 and "Read-only file system" in again.error, f"it is not reported at once: {again}")
        subprocess.run(["mount", "-o", "remount,rw", small], check=True)
        is_free(folder)
        resumes(training, folder, workspace)


@fault("clocks that jump")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    jumps = [(rng.randint(1, 400), rng.choice([-1, 1]) * 10 ** rng.uniform(-1, 7)) for _ in range(3)]

    def mislead() -> None:
        model_folders._SAVE_EVERY = 60.0
        for name in ("monotonic", "time", "perf_counter"):
            setattr(time, name, _jumping(getattr(time, name), jumps))

    ended = start(training.line(folder), workspace, mislead).wait()
    require(ended.status == 0 and not ended.output, f"{jumps}: {ended}")
    is_sound(training, folder)
    require(outcome(folder) == training.result, f"{jumps}: another result")
    resumes(training, folder, workspace)


@fault("clocks that jump, on a budget")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    """The run ends: early if the clock jumps ahead, and late by at most the time that it is set back."""
    folder = workspace / "models" / "m"
    jumps = [(rng.randint(1, 100), rng.choice([-1, 1, 1]) * 10 ** rng.uniform(-1, 5)) for _ in range(2)]

    def mislead() -> None:
        time.monotonic = _jumping(time.monotonic, jumps)

    words = training.flags.index("--steps")
    flags = [*training.flags[:words], "--budget", "1s", *training.flags[words + 2 :]]
    run = start(["train", str(training.source), "-o", str(folder), *flags, "--quiet"], workspace, mislead)
    time.sleep(2 + 2 * training.seconds)
    run.signal(signal.SIGTERM)
    ended = run.wait()
    require(ended.status in (0, 143) and not ended.output, f"{jumps}: {ended}")
    if folder.exists():
        checkpoint.load(folder).weights()
        more = start(["train", "-o", str(folder), "--resume", "--steps", "100000", "--quiet"], workspace)
        time.sleep(0.2 + training.seconds)
        more.signal(signal.SIGTERM)
        require(more.wait().status in (0, 143), "it does not resume")
        checkpoint.load(folder).weights()
    is_free(folder)


def _jumping(clock: Callable[[], float], jumps: list[tuple[int, float]]) -> Callable[[], float]:
    calls = 0

    def read() -> float:
        nonlocal calls
        calls += 1
        return clock() + sum(by for at, by in jumps if calls >= at)

    return read


@fault("a source that changes or vanishes")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    source = workspace / training.source.name
    (shutil.copytree if training.source.is_dir() else shutil.copy)(training.source, source)
    path = rng.choice(sorted(source.iterdir())) if source.is_dir() else source
    good = path.read_bytes()
    mine = Training(
        training.name, source, training.flags, training.seconds, training.points, training.weights, training.result
    )
    folder = workspace / "models" / "m"
    run = start(mine.line(folder), workspace)
    time.sleep(moment(training, rng) * 0.5)
    how = rng.choice(["append", "cut", "write over", "another file", "vanish"])
    if how == "append":
        with open(path, "ab") as file:
            file.write(good[:500])
    elif how == "cut":
        os.truncate(path, rng.randrange(len(good)))
    elif how == "write over":
        with open(path, "r+b") as file:
            file.seek(rng.randrange(len(good)))
            file.write(b"#" * 200)
    elif how == "another file":
        (workspace / "another").write_bytes(good[: len(good) // 2])
        os.replace(workspace / "another", path)
    else:
        path.unlink()
    ended = run.wait()
    require(ended.status in (0, 2), f"{how}: status {ended.status}: {ended.output[-900:]}")
    if ended.status == 2:
        require(str(path) in ended.error or str(source) in ended.error, f"{how}: {ended.error}")
    changed = folder.exists() and json.loads((folder / "config.json").read_text())["data"]["fingerprint"]
    path.write_bytes(good)
    # Whatever the cache contains now, the same text gives the same model.
    shutil.rmtree(folder, ignore_errors=True)
    resumes(mine, folder, workspace, "--overwrite")
    same = json.loads((folder / "config.json").read_text())["data"]["fingerprint"]
    if changed == same:
        require(ended.status == 0, "it failed although the source was unchanged")


@fault("two trainings into one folder")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    if rng.random() < 0.3:
        require(start(training.line(folder), workspace).wait().status == 0, "no model to begin with")
        flags = rng.choice([("--overwrite", "--overwrite"), ("--overwrite", "--resume")])
    else:
        flags = rng.choice([("--seed", "--overwrite"), ("--seed", "--resume"), ("--overwrite", "--overwrite")])
    first = start(training.line(folder, *([flags[0]] if flags[0] != "--seed" else [])), workspace)
    time.sleep(moment(training, rng) * 0.9)
    second = start(training.line(folder, flags[1]), workspace)
    ended = [first.wait(), second.wait()]
    refused = [one for one in ended if one.status == 2]
    for one in refused:
        require("another training is writing" in one.error, one.output)
    require([one.status for one in ended].count(0) + len(refused) == 2, str(ended))
    require(len(refused) < 2, f"both were refused: {ended}")
    survives(training, folder, workspace)


def main() -> None:
    """Inject faults, and print how many the trainings survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("classes", nargs="*", help="words in the names of classes of faults; all by default")
    parser.add_argument("--count", type=int, default=300, help="number of faults over all classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = [name for name in FAULTS if not arguments.classes or any(word in name for word in arguments.classes)]
    tried: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    wrong: list[str] = []
    began = time.monotonic()
    # In memory if possible, because writing is faster.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as text:
        workspace = Path(text)
        found = make_trainings(workspace, arguments.tasks.split(","))
        for training in found.values():
            warm_up(training, workspace)
        for training in found.values():
            undisturbed(training, workspace)
        for number in range(arguments.count):
            name = names[number % len(names)]
            rng = random.Random(f"{arguments.seed} {number}")
            training = rng.choice(list(found.values()))
            scene = workspace / "scene"
            (scene / "models").parent.mkdir()
            if name not in _MOUNTS:
                (scene / "models").mkdir()
            if rng.random() < 0.5:  # otherwise the run fills the cache as well
                shutil.copytree(workspace / "cache", scene / "cache", ignore_dangling_symlinks=True)
            if name in _MOUNTS and name.endswith("cache"):
                shutil.rmtree(scene / "cache", ignore_errors=True)
                (scene / "models").mkdir()
            try:
                FAULTS[name](training, scene, rng)
            except PermissionError:
                shutil.rmtree(scene)
                continue
            except FaultError as error:
                wrong.append(f"{name} (--seed {arguments.seed}, number {number}, {training.name}): {error}")
                print(wrong[-1], file=sys.stderr, flush=True)
            else:
                survived[name] += 1
            tried[name] += 1
            shutil.rmtree(scene)
    if arguments.json:
        print(json.dumps({"tried": tried, "survived": survived, "wrong": wrong}))
        return
    print(f"{'fault':46}{'tried':>8}{'survived':>10}")
    for name in names:
        print(f"{name:46}{tried[name] or 'not allowed':>8}{survived[name]:>10}")
    total = f"{sum(tried.values()):,} faults in {(time.monotonic() - began) / 60:.1f} minutes"
    print(f"{total}, {len(wrong)} failed")


_MOUNTS = {name for name in FAULTS if "disk" in name and "room" not in name} | {"a file system that becomes read-only"}


if __name__ == "__main__":
    main()
