"""Bad days by the hundred: trainings that are killed, starved and misled, and have to go on as if nothing had been.

    python tests/benchmarks/faults.py [CLASS...] [--count 300] [--seed 0] [--kinds text,music] [--json]

Every training is the command `seqgen train` in a process of its own (forked from one that has imported all it needs, so
that hundreds take minutes), and what befalls it is real: signals, a killed process, a full or read-only file system
(where this process may mount one). After each:

- the model that is there loads, and its weights are those that the undisturbed run had saved at some moment (or, with
  `--overwrite`, all of the old model is there, to the byte);
- `--resume` goes on, and ends with the weights, the optimiser's state and the measures of the undisturbed run;
- nothing is left that is unfinished, and nobody is kept out.

A run that ends otherwise is told with its seed, and what was found is kept for a look.
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
SAYS = "seqgen: error: "
LONGEST = 120.0  # seconds until a run counts as hanging
FILES = {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "resume", "README.md"}


class Wrong(AssertionError):
    """A promise was not kept."""


def need(true: object, what: str) -> None:
    """Raises `Wrong` where something is not so."""
    if not true:
        raise Wrong(what)


# ---- Trainings to be disturbed ----


@dataclass
class Kind:
    """A small training of one task, and what it comes to when nothing disturbs it."""

    name: str
    source: Path
    flags: list[str]
    seconds: float = 0.0
    points: Counter[str] = field(default_factory=Counter)  # how many moments of each sort it has
    weights: set[str] = field(default_factory=set)  # what its weights were after each of its steps, see `digest`
    result: Any = None

    def line(self, folder: Path, *more: str) -> list[str]:
        """The command."""
        return ["train", str(self.source), "-o", str(folder), *self.flags, "--quiet", *more]


def kinds(place: Path, names: list[str]) -> dict[str, Kind]:
    """Trainings of each task, of about ten validations each."""
    numbers = {"rnn-size": 16, "batch-size": 4, "threads": 1, "precision": "fp32", "seed": 3, "steps": 30}
    common = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    (place / "prose.txt").write_text((CORPORA / "tidewater.txt").read_text()[:20_000])
    (place / "talk.jsonl").write_text('["Hello!", "Good morning.", "Is it far?", "A mile."]\n' * 60)
    (place / "texts.csv").write_text("".join((CORPORA / "reviews.csv").read_text().splitlines(True)[:80]))
    (place / "table.csv").write_text("".join((CORPORA / "weather.csv").read_text().splitlines(True)[:300]))
    tunes = place / "tunes"
    tunes.mkdir()
    for path in sorted((CORPORA / "tunes").iterdir())[:4]:
        shutil.copy(path, tunes)
    words = ["--embedding-size", "8", "--seq-length", "16", "--dropout", "0.2"]
    found = [
        Kind("text", place / "prose.txt", [*common, *words]),
        Kind("dialogue", place / "talk.jsonl", [*common, *words, "--task", "dialogue", "--tokenizer", "byte"]),
        Kind("music", tunes, [*common, *words]),
        Kind("classify", place / "texts.csv", [*common, "--tokenizer", "char", "--pretrain", "0.2"]),
        Kind("forecast", place / "table.csv", [*common, "--horizon", "3", "--look-back", "14"]),
    ]
    assert {kind.name for kind in found} == set(TASKS)
    return {kind.name: kind for kind in found if kind.name in names}


def outcome(folder: Path) -> Any:
    """What a run came to: weights, state and measures; not when, nor where."""
    digest = hashlib.sha256()
    for path in (folder / "model.safetensors", *(folder / "resume").glob("*.safetensors")):
        for name, array in sorted(load_file(path).items()):
            digest.update(name.encode() + array.tobytes())
    told = {m["step"]: (m["train_loss"], m["val_loss"]) for m in checkpoint.read_metrics(folder)}
    config = json.loads((folder / "config.json").read_text())
    return digest.hexdigest(), told, config["metrics"], config["training"]["step"]


def is_same(found: Any, wanted: Any) -> bool:
    """Whether two runs came to the same; where one was told to stop it was also measured."""
    told = {step: values for step, values in found[1].items() if step in wanted[1]}
    return (found[0], told, *found[2:]) == wanted


# Weights that validation finds: one out of turn, where a run is told to stop, finds others.
_FOUND = ("believed", "widening", "mix", "shift", "prior")


def digest(arrays: dict[str, Any]) -> str:
    """Of the weights that steps change."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        if name not in _FOUND:
            found.update(name.encode() + arrays[name].tobytes())
    return found.hexdigest()


# ---- What befalls ----


class Points:
    """Counts the moments at which a training touches its files, and does something at one of them.

    `touch`: a file is opened, renamed, removed, a folder made. `write`: bytes go into a file. `before` and `after`:
    it is made sure that they are on the disk.
    """

    def __init__(self, at: tuple[str, int] | None, what: Callable[[str], None], count: Path | None = None) -> None:
        self._at, self._what, self._count = at, what, count
        self._seen: Counter[str] = Counter()
        self._busy = False

    def __call__(self, sort: str) -> None:
        if self._busy:
            return
        self._seen[sort] += 1
        self._busy = True
        try:
            if (sort, self._seen[sort]) == self._at:
                self._what(sort)
            if self._count is not None:
                self._count.write_text(json.dumps(self._seen))
        finally:
            self._busy = False

    def install(self, place: Path) -> None:
        """From now on, for what is below `place`."""
        inside = str(place)

        def heard(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _TOUCHES and arguments and str(arguments[0]).startswith(inside):
                self("touch")

        sys.addaudithook(heard)
        fsync, fdopen = os.fsync, os.fdopen

        def sync(handle: int) -> None:
            self("before")
            fsync(handle)
            self("after")

        def opened(handle: int, *more: Any, **words: Any) -> Any:
            return _Torn(fdopen(handle, *more, **words), self)

        streams.os = _Os(fsync=sync, fdopen=opened)  # type: ignore[assignment]


_TOUCHES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


class _Os:
    """The module `os` as `streams` sees it."""

    def __init__(self, **instead: Any) -> None:
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


class _Torn:
    """A file whose writing has a moment in its middle."""

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

    def __enter__(self) -> _Torn:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def kill(_: str = "") -> None:
    """The end, with no more words."""
    os.kill(os.getpid(), signal.SIGKILL)


def full(_: str = "") -> None:
    """What the system says when there is no more room."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class Ended:
    """How a training ended."""

    status: int  # below 0 for the number of the signal that ended it
    said: str

    @property
    def error(self) -> str:
        """Its one line, where it is an error."""
        lines = self.said.splitlines()
        need(len(lines) == 1 and lines[0].startswith(SAYS), f"not one line of error: {self.said[-800:]!r}")
        return lines[0].removeprefix(SAYS)


@dataclass
class Started:
    """A training under way."""

    pid: int
    said: Path

    def wait(self, at_most: float = LONGEST) -> Ended:
        """Its end."""
        ends = time.monotonic() + at_most
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return Ended(os.waitstatus_to_exitcode(status), self.said.read_text(errors="replace"))
            if time.monotonic() > ends:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise Wrong(f"it hangs: {self.said.read_text(errors='replace')[-500:]!r}")
            time.sleep(0.002)

    def signal(self, number: int) -> None:
        """Sends one, if it is still there: it is waited for only by `wait`, so its number is its own until then."""
        os.kill(self.pid, number)


def start(
    line: list[str], place: Path, prepare: Callable[[], None] = lambda: None, cache: Path | None = None
) -> Started:
    """The command in a process of its own; `prepare` is called in it before."""
    handle, said = tempfile.mkstemp(dir=place, suffix=".said")
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(handle)
        return Started(pid, Path(said))
    status = 1
    try:
        os.dup2(handle, 2)
        os.dup2(handle, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = (open(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))  # noqa: SIM115
        os.environ["SEQGEN_CACHE"] = str(cache or place / "cache")
        os.environ["SEQGEN_DEBUG"] = "1"
        torch.set_num_threads(1)
        model_folders._SAVE_EVERY = -1.0  # after every step, as a slow run saves after a minute
        prepare()
        status = seqgen_main(line)
    finally:
        sys.stderr.flush()
        os._exit(status)


def warm_up(kind: Kind, place: Path) -> None:
    """Runs it once in this process, from which others are forked: half of a short run is the first use of things."""
    os.environ["SEQGEN_CACHE"] = str(place / "warm")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    torch.set_num_threads(1)
    need(seqgen_main(kind.line(place / f"warm-{kind.name}")) == 0, f"{kind.name} does not even train")
    for number, handler in before.items():
        signal.signal(number, handler)
    shutil.rmtree(place / "warm", ignore_errors=True)
    shutil.rmtree(place / f"warm-{kind.name}")


def undisturbed(kind: Kind, place: Path) -> None:
    """Runs it alone, twice, and remembers what came of it."""
    saves = place / f"{kind.name}.saves"

    def note() -> None:
        def noting(do: Callable[..., None]) -> Callable[..., None]:
            def noted(self: Any, *event: Any) -> None:
                with open(saves, "a") as file:
                    file.write(digest(self._training.weights()) + "\n")
                do(self, *event)

            return noted

        for name in ("save_if_due", "on_validation"):  # one of them after every step
            setattr(model_folders.ModelFolder, name, noting(getattr(model_folders.ModelFolder, name)))
        Points(None, kill, place / f"{kind.name}.points").install(place / kind.name)

    for number in range(2):
        folder = place / kind.name / f"m{number}"
        folder.parent.mkdir(exist_ok=True)
        began = time.monotonic()
        ended = start(kind.line(folder), place, note if number else lambda: None).wait()
        kind.seconds = min(kind.seconds or LONGEST, time.monotonic() - began)
        need(ended.status == 0 and not ended.said, f"{kind.name} does not even train: {ended.said}")
        found = outcome(folder)
        need(kind.result in (None, found), f"{kind.name} is not the same twice")
        kind.result = found
    kind.weights = set(saves.read_text().split())
    kind.points = Counter(json.loads((place / f"{kind.name}.points").read_text()))


# ---- What must be so afterwards ----


def is_sound(kind: Kind, folder: Path, old: dict[str, bytes] | None = None) -> None:
    """Whatever is there is whole."""
    if not folder.exists():
        need(old is None, "the old model is gone")
        return
    if old is not None and contents(folder) == old:
        return
    try:
        weights = checkpoint.load(folder).weights()
        checkpoint.read_resume(folder)
    except SeqgenError as error:
        raise Wrong(f"what is there does not load: {error}") from error
    need(digest(weights) in kind.weights, "these weights are of no step of the run")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    for told in map(json.loads, lines):
        wanted = kind.result[1].get(told["step"], (told["train_loss"], told["val_loss"]))
        need((told["train_loss"], told["val_loss"]) == wanted, "the measures are not those of the run")
    left = {path.name for path in folder.iterdir() if not path.name.endswith(streams.PARTIAL_SUFFIX)}
    need(left == FILES, f"there are other files: {left ^ FILES}")


def is_free(folder: Path) -> None:
    """Nobody is kept out."""
    for place in (folder, checkpoint.staging(folder)):
        if place.exists():
            handle = locks.try_lock(place)
            need(handle is not None, f"{place.name} is still held")
            os.close(handle)  # type: ignore[arg-type]


def goes_on(kind: Kind, folder: Path, place: Path, *flags: str) -> None:
    """The same command with --resume (or other flags) ends as the undisturbed run did, and leaves nothing else."""
    ended = start(kind.line(folder, *(flags or ("--resume",))), place).wait()
    said = [line for line in ended.said.splitlines() if "starting from the beginning" not in line]
    need(ended.status == 0 and not said, f"it does not go on: status {ended.status}, {ended.said[-600:]!r}")
    need(is_same(outcome(folder), kind.result), "it went on to something else")
    left = sorted(path.name for path in folder.parent.iterdir())
    need(left == [folder.name], f"left behind: {left}")
    inside = {path.name for path in folder.iterdir()}
    need(inside == FILES and len(list((folder / "resume").iterdir())) == 2, f"left in the model: {inside ^ FILES}")


def survives(kind: Kind, folder: Path, place: Path) -> None:
    """All three: the promise of every bad day that ends a run."""
    is_sound(kind, folder)
    is_free(folder)
    goes_on(kind, folder, place)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- The classes of faults; each takes a training, a free folder and chance ----

Fault = Callable[[Kind, Path, random.Random], None]
FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    """Adds a row to the table."""

    def add(do: Fault) -> Fault:
        FAULTS[name] = do
        return do

    return add


def moment(kind: Kind, chance: random.Random) -> float:
    """Seconds after the start; a little beyond the end too."""
    return chance.uniform(0, 1.1) * kind.seconds


def point(kind: Kind, chance: random.Random) -> tuple[str, int]:
    """One of the moments at which files are touched, each sort as likely."""
    sort = chance.choice([sort for sort, count in kind.points.items() if count])
    return sort, chance.randint(1, kind.points[sort])


@fault("SIGKILL at any moment")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    folder = place / "models" / "m"
    run = start(kind.line(folder), place)
    time.sleep(moment(kind, chance))
    run.signal(signal.SIGKILL)
    run.wait()
    survives(kind, folder, place)


@fault("SIGKILL inside a save")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    folder = place / "models" / "m"
    at = point(kind, chance)
    run = start(kind.line(folder), place, lambda: Points(at, kill).install(folder.parent))
    ended = run.wait()
    need(ended.status in (-9, 0), f"{at}: {ended}")
    survives(kind, folder, place)


@fault("SIGKILL again and again until it is done")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    folder = place / "models" / "m"
    for number in range(40):
        # A point rather than a time: so each go gets a little further, however slow the machine is.
        sort, count = "after", chance.randint(4, 14)
        run = start(
            kind.line(folder, *["--resume"] * bool(number)), place,
            lambda at=(sort, count): Points(at, kill).install(folder.parent),
        )  # fmt: skip
        ended = run.wait()
        is_sound(kind, folder)
        is_free(folder)
        if ended.status == 0:
            break
        need(ended.status == -9, str(ended))
    goes_on(kind, folder, place)


@fault("SIGKILL while it replaces a model")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    folder = place / "models" / "m"
    need(start([*kind.line(folder), "--learning-rate", "0.5"], place).wait().status == 0, "no old model")
    old = contents(folder)
    at = point(kind, chance)
    run = start(kind.line(folder, "--overwrite"), place, lambda: Points(at, kill).install(folder.parent))
    need(run.wait().status in (-9, 0), str(at))
    is_sound(kind, folder, old)
    is_free(folder)
    goes_on(kind, folder, place, "--overwrite")


@fault("SIGTERM")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    _asked_to_stop(kind, place, chance, [signal.SIGTERM], 143)


@fault("SIGINT")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    _asked_to_stop(kind, place, chance, [signal.SIGINT], 130)


@fault("SIGINT twice")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    _asked_to_stop(kind, place, chance, [signal.SIGINT, signal.SIGINT], 130)


def _asked_to_stop(kind: Kind, place: Path, chance: random.Random, signals: list[int], status: int) -> None:
    folder = place / "models" / "m"
    run = start(kind.line(folder), place)
    time.sleep(max(0.01, moment(kind, chance)))  # the command has to have begun: before, it is any process
    for number in signals:
        run.signal(number)
        time.sleep(chance.choice([0.0, 0.001, 0.01, 0.05]))
    ended = run.wait()
    need(ended.status in (0, status, -signals[0]), f"status {ended.status}: {ended.said[-600:]}")
    need("Traceback" not in ended.said, ended.said[-900:])
    survives(kind, folder, place)


@fault("no room for one write")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    folder = place / "models" / "m"
    sort, number = point(kind, chance)
    sort = "write" if sort == "touch" else sort  # who removes a file may be let off
    at = sort, min(number, kind.points[sort])
    ended = start(kind.line(folder), place, lambda: Points(at, full).install(folder.parent)).wait()
    need(ended.status in (0, 2), f"{at}: status {ended.status}: {ended.said[-600:]}")
    if ended.status == 2:
        need("No space left on device" in ended.error, ended.said)
    is_sound(kind, folder)
    is_free(folder)
    need(not list(place.rglob(f"*{streams.PARTIAL_SUFFIX}")), "something unfinished is left")
    goes_on(kind, folder, place)


@contextlib.contextmanager
def disk(place: Path, size: int) -> Iterator[Path]:
    """A small file system of its own. Raises `PermissionError` where this process may not mount any."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", place], capture_output=True)
    if done.returncode:
        raise PermissionError("no right to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@fault("a disk that fills up")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    with disk(place / "models", 4) as small:
        folder = small / "m"
        needed = sum(len(data) for data in contents(place.parent / kind.name / "m0").values()) // 1024 + 40
        subprocess.run(["mount", "-o", f"remount,size={chance.randint(4, 3 * needed)}k", small], check=True)
        ended = start(kind.line(folder), place).wait()
        need(ended.status in (0, 2), f"status {ended.status}: {ended.said[-600:]}")
        if ended.status == 2:
            need("No space left on device" in ended.error, ended.said)
        is_sound(kind, folder)
        is_free(folder)
        subprocess.run(["mount", "-o", f"remount,size={10 * needed}k", small], check=True)
        goes_on(kind, folder, place)


@fault("a full disk under the cache")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    folder = place / "models" / "m"
    with disk(place / "cache", chance.choice([4, 8, 12, 24, 64])) as small:
        ended = start(kind.line(folder), place, cache=small).wait()
        need(ended.status in (0, 2), f"status {ended.status}: {ended.said[-600:]}")
        if ended.status == 2:
            need("No space left on device" in ended.error, ended.said)
        is_sound(kind, folder)
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        goes_on(kind, folder, place)


@fault("a file system that becomes read-only")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    with disk(place / "models", 20_000) as small:
        folder = small / "m"
        run = start(kind.line(folder), place)
        time.sleep(moment(kind, chance))
        for _ in range(2000):  # it is refused while a file is open for writing
            done = subprocess.run(["mount", "-o", "remount,ro", small], capture_output=True)
            if not done.returncode:
                break
        ended = run.wait()
        need(ended.status in (0, 2), f"status {ended.status}: {ended.said[-600:]}")
        if ended.status == 2:
            need("Read-only file system" in ended.error, ended.said)
        is_sound(kind, folder)
        again = start(kind.line(folder, "--resume"), place).wait()
        need(again.status == 2 and "Read-only file system" in again.error, f"it is not told at once: {again}")
        subprocess.run(["mount", "-o", "remount,rw", small], check=True)
        is_free(folder)
        goes_on(kind, folder, place)


@fault("clocks that jump")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    folder = place / "models" / "m"
    jumps = [(chance.randint(1, 400), chance.choice([-1, 1]) * 10 ** chance.uniform(-1, 7)) for _ in range(3)]

    def mislead() -> None:
        model_folders._SAVE_EVERY = 60.0
        for name in ("monotonic", "time", "perf_counter"):
            setattr(time, name, _jumping(getattr(time, name), jumps))

    ended = start(kind.line(folder), place, mislead).wait()
    need(ended.status == 0 and not ended.said, f"{jumps}: {ended}")
    is_sound(kind, folder)
    need(outcome(folder) == kind.result, f"{jumps}: another result")
    goes_on(kind, folder, place)


@fault("clocks that jump, on a budget")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    """It ends, early where the clock says that the time is up, and late by no more than it was set back."""
    folder = place / "models" / "m"
    jumps = [(chance.randint(1, 100), chance.choice([-1, 1, 1]) * 10 ** chance.uniform(-1, 5)) for _ in range(2)]

    def mislead() -> None:
        time.monotonic = _jumping(time.monotonic, jumps)

    words = kind.flags.index("--steps")
    flags = [*kind.flags[:words], "--budget", "1s", *kind.flags[words + 2 :]]
    run = start(["train", str(kind.source), "-o", str(folder), *flags, "--quiet"], place, mislead)
    time.sleep(2 + 2 * kind.seconds)
    run.signal(signal.SIGTERM)
    ended = run.wait()
    need(ended.status in (0, 143) and not ended.said, f"{jumps}: {ended}")
    if folder.exists():
        checkpoint.load(folder).weights()
        more = start(["train", "-o", str(folder), "--resume", "--steps", "100000", "--quiet"], place)
        time.sleep(0.2 + kind.seconds)
        more.signal(signal.SIGTERM)
        need(more.wait().status in (0, 143), "it does not go on")
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
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    source = place / kind.source.name
    (shutil.copytree if kind.source.is_dir() else shutil.copy)(kind.source, source)
    path = chance.choice(sorted(source.iterdir())) if source.is_dir() else source
    good = path.read_bytes()
    mine = Kind(kind.name, source, kind.flags, kind.seconds, kind.points, kind.weights, kind.result)
    folder = place / "models" / "m"
    run = start(mine.line(folder), place)
    time.sleep(moment(kind, chance) * 0.5)
    how = chance.choice(["append", "cut", "write over", "another file", "vanish"])
    if how == "append":
        with open(path, "ab") as file:
            file.write(good[:500])
    elif how == "cut":
        os.truncate(path, chance.randrange(len(good)))
    elif how == "write over":
        with open(path, "r+b") as file:
            file.seek(chance.randrange(len(good)))
            file.write(b"#" * 200)
    elif how == "another file":
        (place / "another").write_bytes(good[: len(good) // 2])
        os.replace(place / "another", path)
    else:
        path.unlink()
    ended = run.wait()
    need(ended.status in (0, 2), f"{how}: status {ended.status}: {ended.said[-900:]}")
    if ended.status == 2:
        need(str(path) in ended.error or str(source) in ended.error, f"{how}: {ended.error}")
    changed = folder.exists() and json.loads((folder / "config.json").read_text())["data"]["fingerprint"]
    path.write_bytes(good)
    # Whatever the cache was filled with meanwhile, the same text gives the same model.
    shutil.rmtree(folder, ignore_errors=True)
    goes_on(mine, folder, place, "--overwrite")
    same = json.loads((folder / "config.json").read_text())["data"]["fingerprint"]
    if changed == same:
        need(ended.status == 0, "it ended although it was done")


@fault("two trainings into one folder")
def _(kind: Kind, place: Path, chance: random.Random) -> None:
    folder = place / "models" / "m"
    if chance.random() < 0.3:
        need(start(kind.line(folder), place).wait().status == 0, "no model to begin with")
        flags = chance.choice([("--overwrite", "--overwrite"), ("--overwrite", "--resume")])
    else:
        flags = chance.choice([("--seed", "--overwrite"), ("--seed", "--resume"), ("--overwrite", "--overwrite")])
    first = start(kind.line(folder, *([flags[0]] if flags[0] != "--seed" else [])), place)
    time.sleep(moment(kind, chance) * 0.9)
    second = start(kind.line(folder, flags[1]), place)
    ended = [first.wait(), second.wait()]
    refused = [one for one in ended if one.status == 2]
    for one in refused:
        need("another training is writing" in one.error, one.said)
    need([one.status for one in ended].count(0) + len(refused) == 2, str(ended))
    need(len(refused) < 2, f"both were turned away: {ended}")
    survives(kind, folder, place)


def main() -> None:
    """Tries, and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("classes", nargs="*", help="words of their names; all where none is given")
    parser.add_argument("--count", type=int, default=300, help="of moments, over all classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(TASKS))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    names = [name for name in FAULTS if not asked.classes or any(word in name for word in asked.classes)]
    tried: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    wrong: list[str] = []
    began = time.monotonic()
    # Where writing is quick: what is tested is not the disk.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as text:
        place = Path(text)
        found = kinds(place, asked.kinds.split(","))
        for kind in found.values():
            warm_up(kind, place)
        for kind in found.values():
            undisturbed(kind, place)
        for number in range(asked.count):
            name = names[number % len(names)]
            chance = random.Random(f"{asked.seed} {number}")
            kind = chance.choice(list(found.values()))
            scene = place / "scene"
            (scene / "models").parent.mkdir()
            if name not in _MOUNTS:
                (scene / "models").mkdir()
            if chance.random() < 0.5:  # else the cache has to be filled as well
                shutil.copytree(place / "cache", scene / "cache", ignore_dangling_symlinks=True)
            if name in _MOUNTS and name.endswith("cache"):
                shutil.rmtree(scene / "cache", ignore_errors=True)
                (scene / "models").mkdir()
            try:
                FAULTS[name](kind, scene, chance)
            except PermissionError:
                shutil.rmtree(scene)
                continue
            except Wrong as error:
                wrong.append(f"{name} (--seed {asked.seed}, number {number}, {kind.name}): {error}")
                print(wrong[-1], file=sys.stderr, flush=True)
            else:
                survived[name] += 1
            tried[name] += 1
            shutil.rmtree(scene)
    if asked.json:
        print(json.dumps({"tried": tried, "survived": survived, "wrong": wrong}))
        return
    print(f"{'what befell':46}{'tried':>8}{'survived':>10}")
    for name in names:
        print(f"{name:46}{tried[name] or 'no right to':>8}{survived[name]:>10}")
    total = f"{sum(tried.values()):,} moments in {(time.monotonic() - began) / 60:.1f} minutes"
    print(f"{total}, {len(wrong)} ended otherwise than promised")


_MOUNTS = {name for name in FAULTS if "disk" in name and "room" not in name} | {"a file system that becomes read-only"}


if __name__ == "__main__":
    main()
