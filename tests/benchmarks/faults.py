"""Fault injection: trainings that are killed, run out of disk or read a wrong clock must resume as if nothing happened.

    python tests/benchmarks/faults.py [CLASS...] [--count 300] [--seed 0] [--tasks text,music] [--json]

Every training is the command `seqgen train` in a process of its own, forked from one that has done the imports, so that
hundreds take minutes. The faults are real: signals, a killed process, a full or read-only file system (if this process
may mount one). Half of the signals arrive in a part of the training drawn first, so that short parts, such as those
after the last step, are hit as often as long ones. After each:

- the model loads, and its weights are those of some step of the undisturbed run (or, with `--overwrite`, the old model
  is unchanged);
- `--resume` ends with the weights, the optimiser's state and the metrics of the undisturbed run;
- no unfinished file, no lock and no process is left.

Any other ending is reported with its seed. `command_faults.py` does the same to other commands.
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
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from safetensors.numpy import load_file

from seqgen import checkpoint, load, locks, streams
from seqgen.api.train import folder as model_folders
from seqgen.cli.main import main as seqgen_main
from seqgen.errors import SeqgenError
from seqgen.generation.engines import context_cache
from seqgen.tasks import TASKS
from seqgen.training import reply_ranking
from tests.helpers.fault_injection import (
    STOPS,
    TIMEOUT,
    Durations,
    Ended,
    FaultError,
    Phase,
    Points,
    Tally,
    add_arguments,
    contents,
    full,
    kill,
    measure_targets,
    require,
    run,
    send_at,
    start,
    succeed,
    unfinished,
    workspace_in_memory,
)

CORPORA = Path(__file__).resolve().parents[2] / "corpora"
PHASES = {  # parts of a training, which a fault may be aimed at
    "plan": ("seqgen.api.train.begin", "begin"),
    "resume": ("seqgen.api.train.resume", "resume"),
    "pretraining": ("seqgen.training.objectives.pretraining", "PretrainingObjective.loss"),
    "loop": ("seqgen.api.train.run", "_run"),
    "save": ("seqgen.api.train.folder", "ModelFolder.save"),
    "validation": ("seqgen.api.train.folder", "ModelFolder.on_validation"),
    "calibration": ("seqgen.api.train.finish", "_complete_language_model"),
    "context cache": ("seqgen.api.train.context_cache", "fit"),
    "companion": ("seqgen.api.train.finish", "_add_companion"),
    "held-out part": ("seqgen.api.train.finish", "_learn"),
    "members": ("seqgen.api.train.run", "members.train_members"),
    "member's end": ("seqgen.api.train.members", "finish_member"),
    "member's save": ("seqgen.api.train.folder", "ModelFolder.add_member"),
}
PHASE = Phase(PHASES)
NO_ROOM, READ_ONLY = (os.strerror(number) for number in (errno.ENOSPC, errno.EROFS))


# ---- Trainings ----


@dataclass
class Training:
    """A small training of one task, and its outcome without faults."""

    name: str
    source: Path
    flags: list[str]
    seconds: float = 0.0
    points: Counter[str] = field(default_factory=Counter)  # the number of injection points of each type
    durations: Durations = field(default_factory=Durations)
    weights: set[str] = field(default_factory=set)  # digests of its weights after each step, and of those it saves
    files: set[str] = field(default_factory=set)  # of the finished model
    result: Any = None

    def line(self, folder: Path, *more: str) -> list[str]:
        """The command line."""
        return ["train", str(self.source), "-o", str(folder), *self.flags, "--quiet", *more]

    def run(self, workspace: Path, prepare: Callable[[], None], *more: str) -> Ended:
        """Train into `models/m` of a workspace, with further flags."""
        return run(self.line(workspace / "models" / "m", *more), workspace, prepare)


def make_trainings(workspace: Path, names: list[str]) -> dict[str, Training]:
    """A training of each task, with about ten validations, and of models with several networks."""
    numbers = {"rnn-size": 8, "batch-size": 16, "threads": 1, "precision": "fp32", "seed": 3, "steps": 12}
    common = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    (workspace / "prose.txt").write_text((CORPORA / "tidewater.txt").read_text()[:4_500])
    (workspace / "talk.jsonl").write_text(
        "".join(
            json.dumps([f"Hello {n}!", f"Good {n % 7}.", f"Is it {n % 5} far?", f"A mile {n}."]) + "\n"
            for n in range(70)
        )
    )
    (workspace / "texts.csv").write_text("".join((CORPORA / "reviews.csv").read_text().splitlines(True)[:80]))
    (workspace / "table.csv").write_text("".join((CORPORA / "weather.csv").read_text().splitlines(True)[:200]))
    tunes = workspace / "tunes"
    tunes.mkdir()
    for path in sorted((CORPORA / "tunes").iterdir())[:4]:
        shutil.copy(path, tunes)
    words = ["--embedding-size", "8", "--seq-length", "16", "--dropout", "0.2"]
    texts = [*common, "--tokenizer", "char", "--pretrain", "0.2"]
    series = [*common, "--horizon", "3", "--look-back", "14"]
    found = [
        Training("text", workspace / "prose.txt", [*common, *words, "--keep-corpus"]),
        Training("dialogue", workspace / "talk.jsonl", [*common, *words, "--task", "dialogue", "--tokenizer", "byte"]),
        Training("music", tunes, [*common, *words]),
        Training("classify", workspace / "texts.csv", texts),
        Training("forecast", workspace / "table.csv", series),
        Training("classify, 2 networks", workspace / "texts.csv", [*texts, "--members", "2"]),
        Training("forecast, 2 networks", workspace / "table.csv", [*series, "--members", "2"]),
        Training("generative", workspace / "texts.csv", [*common, "--generative", "--tokenizer", "byte"]),
    ]
    assert {training.name for training in found} >= set(TASKS)
    # So little text is held out that neither would be fitted.
    context_cache._LEAST_FIT_IDS = 50
    reply_ranking._LEAST_PAIRS = reply_ranking._LEAST_QUESTIONS = 8
    return {training.name: training for training in found if any(training.name.startswith(name) for name in names)}


def outcome(folder: Path) -> Any:
    """The weights, state and metrics of a run, without times and paths."""
    paths = [folder / "model.safetensors", *sorted((folder / "resume").glob("*.safetensors"))]
    digests = {
        f"{path.name}: {name}": hashlib.sha256(array.tobytes()).hexdigest()[:16]
        for path in paths
        for name, array in load_file(path).items()
    }
    for name in (checkpoint.RANKER, checkpoint.CORPUS):
        if (folder / name).exists():
            digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    metrics = {m["step"]: (m["train_loss"], m["val_loss"]) for m in checkpoint.read_metrics(folder)}
    config = json.loads((folder / "config.json").read_text())
    fitted = {name: config.get(name) for name in (*model_folders.MEASURED, "members")}
    return digests, metrics, config["metrics"], {"step": config["training"]["step"]}, fitted


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
    """Run it twice without faults, and store its outcome and what can be hit."""
    saves = workspace / f"{training.name}.saves"
    (workspace / training.name).mkdir()

    def record() -> None:
        def saved(weights: dict[str, Any]) -> None:
            with open(saves, "a") as file:
                file.write(digest(weights) + "\n")

        def recording(method: Callable[..., None]) -> Callable[..., None]:
            def recorded(self: Any, *event: Any) -> None:
                saved(self._training.weights())
                method(self, *event)

            return recorded

        for name in ("save_if_due", "on_validation"):  # one of them after every step
            setattr(model_folders.ModelFolder, name, recording(getattr(model_folders.ModelFolder, name)))
        write = checkpoint.write_weights

        def recorded_write(path: Path, weights: Any, *more: Any) -> None:
            saved(weights)
            write(path, weights, *more)

        checkpoint.write_weights = recorded_write  # type: ignore[assignment]

    def train(prepare: Callable[[], None]) -> None:
        folder = workspace / training.name / ("m1" if training.result else "m0")
        began = time.monotonic()
        ended = run(training.line(folder), workspace, lambda: (save_often(), record(), prepare()))
        training.seconds = min(training.seconds or TIMEOUT, time.monotonic() - began)
        require(ended.status == 0 and not ended.output, f"{training.name} does not train: {ended.output}")
        found = outcome(folder)
        require(training.result in (None, found), f"{training.name} has two different outcomes")
        training.result = found
        training.files = set(contents(folder))

    training.points, training.durations = measure_targets(train, PHASE, workspace / training.name, workspace)
    training.weights = set(saves.read_text().split())


def save_often() -> None:
    """Let this process save after every step, as a slow run does after a minute."""
    model_folders._SAVE_EVERY = -1.0


# ---- Conditions ----


def is_sound(training: Training, folder: Path, old: dict[str, bytes] | None = None, stopped: bool = False) -> None:
    """Require that the model in `folder`, if there is one, is complete.

    Args:
        old: what was there before.
        stopped: whether the run was asked to stop. It was then validated once more, and calibrated by that.
    """
    if not folder.exists():
        require(old is None, "the old model is gone")
        return
    if old is not None and contents(folder) == old:
        return
    try:
        weights = checkpoint.load(folder).weights()
        checkpoint.read_resume(folder)
        load(folder)
    except SeqgenError as error:
        raise FaultError(f"the model does not load: {error}") from error
    require(stopped or digest(weights) in training.weights, "the weights belong to no step of the run")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    for metrics in map(json.loads, lines):
        wanted = training.result[1].get(metrics["step"], (metrics["train_loss"], metrics["val_loss"]))
        require((metrics["train_loss"], metrics["val_loss"]) == wanted, "the metrics are not those of the run")
    kept = {name for name in contents(folder) if not name.endswith(streams.PARTIAL_SUFFIX)}
    others = {name for name in kept - training.files if not name.startswith(f"{checkpoint.RESUME}/step-")}
    require(not others, f"there are other files: {others}")


def is_free(folder: Path) -> None:
    """Require that the folder is not locked."""
    for path in (folder, checkpoint.staging(folder)):
        if path.exists():
            handle = locks.try_lock(path)
            require(handle is not None, f"{path.name} is still locked")
            os.close(handle)  # type: ignore[arg-type]


def resumes(training: Training, folder: Path, workspace: Path, *flags: str) -> None:
    """Require that the command with --resume, or other flags, ends as the undisturbed run and leaves no other files."""
    ended = run(training.line(folder, *(flags or ("--resume",))), workspace, save_often)
    output = [line for line in ended.output.splitlines() if "starting from the beginning" not in line]
    require(ended.status == 0 and not output, f"it does not resume: status {ended.status}, {ended.output[-600:]!r}")
    found = outcome(folder)
    differing = [
        f"{name}: {a.get(name)} instead of {b.get(name)}"
        for a, b in zip(found, training.result, strict=True)
        for name in sorted(a.keys() | b.keys(), key=str)
        if a.get(name) != b.get(name)
    ]
    require(is_same(found, training.result), f"it ended differently: {'; '.join(differing)}")
    is_alone(folder)
    inside = set(contents(folder))
    require(inside == training.files, f"left in the model: {inside ^ training.files}")


def is_alone(folder: Path) -> None:
    """Require that nothing else is beside the model."""
    left = sorted(path.name for path in folder.parent.iterdir())
    require(left == [folder.name], f"left behind: {left}")


def survives(training: Training, folder: Path, workspace: Path, stopped: bool = False) -> None:
    """Require all three conditions."""
    is_sound(training, folder, stopped=stopped)
    is_free(folder)
    resumes(training, folder, workspace)


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


TALLY = Tally()


def hit(training: Training, name: str) -> None:
    TALLY.hits[training.name, PHASE.now, name] += 1


def is_killed(training: Training, ended: Ended) -> bool:
    """Require that it was killed, which is counted, or had ended before. Return whether it was killed."""
    require(ended.status in (-signal.SIGKILL, 0), str(ended))
    if ended.status:
        hit(training, "SIGKILL")
    return ended.status != 0


def aimed(training: Training, rng: random.Random, *signals: int) -> Callable[[], None]:
    """Prepare a process for signals at a moment drawn now."""
    moments = [training.durations.draw(rng)]
    while len(moments) < len(signals):
        moments.append(replace(moments[-1], seconds=moments[-1].seconds + rng.choice([1e-6, 0.001, 0.01, 0.05])))
    PHASE.clear()

    def prepare() -> None:
        save_often()
        for moment, number in zip(moments, signals, strict=True):
            send_at(moment, number, PHASE)

    return prepare


def at_point(at: tuple[str, int], inject: Callable[[str], None], folder: Path) -> Callable[[], None]:
    """Prepare a process for a fault at an injection point below `folder`."""
    PHASE.clear()

    def prepare() -> None:
        save_often()
        PHASE.watch()
        Points(at, inject).install(folder)

    return prepare


@fault("SIGKILL at any moment")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    for number in range(rng.randint(1, 6)):
        ended = training.run(workspace, aimed(training, rng, signal.SIGKILL), *["--resume"] * bool(number))
        is_sound(training, folder)
        is_free(folder)
        if not is_killed(training, ended):
            break
    resumes(training, folder, workspace)


@fault("SIGKILL inside a save")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    is_killed(training, training.run(workspace, at_point(point(training, rng), kill, folder.parent)))
    survives(training, folder, workspace)


@fault("SIGKILL again and again until it is done")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    for number in range(40):
        # A point instead of a time, so that each run gets a little further on any machine.
        at = "after", rng.randint(4, 14)
        ended = training.run(workspace, at_point(at, kill, folder.parent), *["--resume"] * bool(number))
        is_sound(training, folder)
        is_free(folder)
        if not is_killed(training, ended):
            break
    resumes(training, folder, workspace)


@fault("SIGKILL while it replaces a model")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    old_line = [*training.line(folder), "--learning-rate", "0.5"]
    succeed(old_line, workspace, "no old model")
    old = contents(folder)
    at = point(training, rng)
    is_killed(training, training.run(workspace, at_point(at, kill, folder.parent), "--overwrite"))
    is_sound(training, folder, old)
    is_free(folder)
    if contents(folder) != old:
        resumes(training, folder, workspace, *rng.choice([(), ("--overwrite",)]))
        return
    succeed([*old_line, "--resume"], workspace, "the old model does not resume")
    is_alone(folder)
    resumes(training, folder, workspace, "--overwrite")


@fault("SIGTERM")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    _stopped(training, workspace, rng, signal.SIGTERM)


@fault("SIGINT")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    _stopped(training, workspace, rng, signal.SIGINT)


@fault("SIGHUP")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    _stopped(training, workspace, rng, signal.SIGHUP)


@fault("two signals")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    _stopped(training, workspace, rng, *rng.choices(list(STOPS), k=2))


def _stopped(training: Training, workspace: Path, rng: random.Random, *signals: int) -> None:
    folder = workspace / "models" / "m"
    ended = training.run(workspace, aimed(training, rng, *signals))
    ended.require_stopped(*signals)
    if ended.status:
        hit(training, "/".join(signal.Signals(number).name for number in signals))
        require(not unfinished(workspace) or ended.status < 0, f"unfinished: {unfinished(workspace)}")
    survives(training, folder, workspace, stopped=True)


@fault("no room for one write")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    point_type, number = point(training, rng)
    point_type = "write" if point_type == "touch" else point_type  # errors of removing a file may be ignored
    at = point_type, min(number, training.points[point_type])
    if not training.run(workspace, at_point(at, full, folder.parent)).require_done_or(NO_ROOM):
        hit(training, "no room")
    is_sound(training, folder)
    is_free(folder)
    require(not unfinished(workspace), f"unfinished: {unfinished(workspace)}")
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
        training.run(workspace, save_often).require_done_or(NO_ROOM)
        is_sound(training, folder)
        is_free(folder)
        subprocess.run(["mount", "-o", f"remount,size={10 * needed}k", small], check=True)
        resumes(training, folder, workspace)


@fault("a full disk under the cache")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    with disk(workspace / "cache", rng.choice([4, 8, 12, 24, 64])) as small:
        run(training.line(folder), workspace, save_often, small).require_done_or(NO_ROOM)
        is_sound(training, folder)
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        resumes(training, folder, workspace)


@fault("a file system that becomes read-only")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    with disk(workspace / "models", 20_000) as small:
        folder = small / "m"
        started = start(training.line(folder), workspace, save_often)
        time.sleep(moment(training, rng))
        for _ in range(2000):  # fails while a file is open for writing
            done = subprocess.run(["mount", "-o", "remount,ro", small], capture_output=True)
            if not done.returncode:
                break
        started.wait().require_done_or(READ_ONLY)
        is_sound(training, folder)
        again = run(training.line(folder, "--resume"), workspace)
        require(again.status == 2 and READ_ONLY in again.error, f"it is not reported at once: {again}")
        subprocess.run(["mount", "-o", "remount,rw", small], check=True)
        is_free(folder)
        resumes(training, folder, workspace)


@fault("clocks that jump")
def _(training: Training, workspace: Path, rng: random.Random) -> None:
    folder = workspace / "models" / "m"
    jumps = [(rng.randint(1, 400), rng.choice([-1, 1]) * 10 ** rng.uniform(-1, 7)) for _ in range(3)]

    def mislead() -> None:
        for name in ("monotonic", "time", "perf_counter"):
            setattr(time, name, _jumping(getattr(time, name), jumps))

    ended = training.run(workspace, mislead)
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
    started = start(replace(training, flags=flags).line(folder), workspace, mislead)
    time.sleep(2 + 2 * training.seconds)
    started.signal(signal.SIGTERM)
    ended = started.wait()
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
    mine = replace(training, source=source)
    folder = workspace / "models" / "m"
    started = start(mine.line(folder), workspace)
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
    ended = started.wait()
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
        succeed(training.line(folder), workspace, "no model to begin with", save_often)
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
    add_arguments(parser, 300)
    parser.add_argument("--number", type=int, help="only this fault of the seed, with the same CLASSes and --tasks")
    parser.add_argument("--tasks", default=",".join((*TASKS, "generative")), help="beginnings of names of trainings")
    arguments = parser.parse_args()
    names = [name for name in FAULTS if not arguments.classes or any(word in name for word in arguments.classes)]
    with workspace_in_memory() as workspace:
        found = make_trainings(workspace, arguments.tasks.split(","))
        for training in found.values():
            warm_up(training, workspace)
        for training in found.values():
            undisturbed(training, workspace)
        TALLY.begin()
        for number in range(arguments.count) if arguments.number is None else [arguments.number]:
            if TALLY.is_over(arguments.minutes):
                break
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
            if arguments.verbose:
                print(number, name, training.name, file=sys.stderr, flush=True)
            where = f"--seed {arguments.seed}, number {number}, {training.name}"
            with contextlib.suppress(PermissionError), TALLY.attempt(name, where):
                FAULTS[name](training, scene, rng)
            shutil.rmtree(scene)
    if arguments.json:
        print(TALLY.json())
        return
    by_phase: Counter[tuple[str, str]] = Counter()
    for (name, phase, _), count in TALLY.hits.items():
        by_phase[name, phase] += count
    print(f"{'fault':46}{'tried':>8}{'survived':>10}")
    for name in names:
        print(f"{name:46}{TALLY.tried[name] or 'not allowed':>8}{TALLY.survived[name]:>10}")
    print(f"\n{'training':24}{'part':18}{'signals and full disks there':>8}")
    for (name, phase), count in sorted(by_phase.items()):
        print(f"{name:24}{phase:18}{count:>8}")
    print(TALLY.summary())


_MOUNTS = {name for name in FAULTS if "disk" in name and "room" not in name} | {"a file system that becomes read-only"}


if __name__ == "__main__":
    main()
