"""Runs that must be equal in one process and in several, and the program that several processes execute.

`python ranks.py FOLDER` executes all of them as one of the processes that torchrun's variables describe, and writes its
results to FOLDER; see `tests/training/distributed/test_world.py`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CORPORA = Path(__file__).resolve().parents[2] / "corpora"
SMALL: dict[str, Any] = {"precision": "fp32", "threads": 1, "seed": 5, "rnn_size": 16, "embedding_size": 12}

# Name → source, settings: every kind of mask, and batches that two processes can't split evenly.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("text.txt", {
        "steps": 40, "batch_size": 7, "seq_length": 20, "dropout": 0.3, "weight_drop": 0.2, "num_layers": 2,
        "val_fraction": 0.04}),  # so short that it is learnt at the end too
    "further": ("text.txt", {
        "steps": 3, "batch_size": 3, "seq_length": 20, "rnn_size": None, "embedding_size": None,
        "init_from": str(CORPORA.parent / "tests/golden/models/tidewater-lstm")}),
    "one lane": ("text.txt", {"steps": 6, "batch_size": 1, "seq_length": 12, "dropout": 0.3, "cell": "gru"}),
    "dialogue": ("dialogues.jsonl", {
        "steps": 16, "tokenizer": "char", "batch_size": 6, "seq_length": 24, "dropout": 0.2}),
    "music": ("tunes", {"steps": 16, "batch_size": 5, "seq_length": 24, "dropout": 0.2, "transpose": 3}),
    "classify": ("reviews.csv", {
        "epochs": 4, "batch_size": 19, "dropout": 0.4, "balance": True, "num_layers": 2, "pretrain": 0.3,
        "seq_length": 16, "vocab_size": 400}),
    "generative": ("reviews.csv", {
        "steps": 10, "generative": True, "batch_size": 5, "seq_length": 32, "tokenizer": "char"}),
    "forecast": ("prices.csv", {
        "steps": 24, "task": "forecast", "target": ("close",), "batch_size": 9, "dropout": 0.3, "look_back": 30,
        "horizon": 6, "segment_length": 3}),
}  # fmt: skip
HALFWAY = 21  # a step of "text" with a validation


def write_sources(place: Path) -> None:
    """Write small sources into a new folder."""
    place.mkdir()
    (place / "text.txt").write_text((CORPORA / "tidewater.txt").read_text("utf-8")[:6000], "utf-8")
    lines = (CORPORA / "dialogues.jsonl").read_text("utf-8").splitlines(keepends=True)
    (place / "dialogues.jsonl").write_text("".join(lines[:20]), "utf-8")
    rows = list(csv.reader(io.StringIO((CORPORA / "reviews.csv").read_text("utf-8"))))
    with open(place / "reviews.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows[:65])
    (place / "prices.csv").write_text("".join((CORPORA / "prices.csv").read_text().splitlines(True)[:400]))
    (place / "tunes").mkdir()
    for tune in sorted((CORPORA / "tunes").iterdir())[:6]:
        shutil.copy(tune, place / "tunes")


def loss_curve(name: str, place: Path, folder: Path, stop_after: int | None = None, **more: Any) -> list[float]:
    """Train run `name` into `folder`; return the losses of all steps and validations, in order."""
    import seqgen
    from seqgen.training.loop import Event, Stepped, Validated

    losses: list[float] = []
    steps: list[int] = []

    def event(event: Event) -> None:
        if isinstance(event, Stepped):
            losses.append(event.loss)
            steps.append(event.step)
        elif isinstance(event, Validated) and event.val_loss is not None:
            losses.append(event.val_loss)

    source, settings = RUNS[name]
    watch = seqgen.Watcher(event=event, stop=lambda: bool(steps) and steps[-1] == stop_after)
    seqgen.train(str(place / source), folder, watch=watch, **{**SMALL, **settings, **more})
    return losses


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Two connected network namespaces or, if they can't be made, this host twice."""
    names = [f"seqgen{os.getpid()}{letter}" for letter in "ab"]
    commands = [f"netns add {name}" for name in names]
    commands.append(f"link add a{os.getpid()} netns {names[0]} type veth peer name b{os.getpid()} netns {names[1]}")
    for number, (name, letter) in enumerate(zip(names, "ab", strict=True), start=1):
        commands += [f"-n {name} addr add {_NET}.{number}/24 dev {letter}{os.getpid()}",
                     f"-n {name} link set {letter}{os.getpid()} up", f"-n {name} link set lo up"]  # fmt: skip
    missing = "" if shutil.which("ip") else "the program ip (iproute2) is not installed"
    try:
        for command in commands if not missing else []:
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
            missing = missing or done.stderr.strip()
        if missing:
            yield Hosts([[], []], "127.0.0.1", missing)
        else:
            yield Hosts([["ip", "netns", "exec", name] for name in names], f"{_NET}.1", "")
    finally:
        for name in names if shutil.which("ip") else []:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


_NET = "10.231.87"


@dataclass(frozen=True)
class Hosts:
    """The command prefixes that run a program on each of two hosts, and the address of the first.

    `missing`: the reason why there is only one host.
    """

    prefixes: list[list[str]]
    address: str
    missing: str


SAME = Hosts([[], []], "127.0.0.1", "")


def run_both(*arguments: str, hosts: Hosts = SAME, caches: list[Path] | None = None) -> list[tuple[int, str, str]]:
    """Run a Python program in two processes with torchrun's variables; return status, stdout and stderr of each."""
    port, apart = free_port(), hosts.address != SAME.address
    running = []
    for rank, prefix in enumerate(hosts.prefixes):
        local, local_world_size = ("0", "1") if apart else (str(rank), "2")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "RANK": str(rank), "WORLD_SIZE": "2",
                       "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": local_world_size, "MASTER_ADDR": hosts.address,
                       "MASTER_PORT": str(port)}  # fmt: skip
        if caches is not None:
            environment["SEQGEN_CACHE"] = str(caches[rank])
        running.append(
            subprocess.Popen(
                [*prefix, sys.executable, *arguments], env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    ended = []
    for process in running:
        out, err = process.communicate(timeout=240)
        ended.append((process.returncode, out, err))
    return ended


def facts() -> dict[str, Any]:
    """The results of the methods of `World`."""
    import torch

    from seqgen.training.distributed.launch import join_world

    with join_world() as world:
        rank, part = world.rank, world.lane_range(5)
        mine = torch.arange(5.0)[part.as_slice]
        weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(4)]
        weights[0].grad = torch.full((2,), 1.0 + rank)  # both
        weights[1].grad = torch.ones(2) if rank == 1 else None  # one
        frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        loss = world.all_reduce_gradients([*weights, frozen], torch.tensor(0.25 + rank)).item()
        large = torch.full((3, 1 << 22), float(rank))
        counts = torch.tensor([rank], dtype=torch.int64)
        world.broadcast_tensors([large, counts, torch.zeros(0)])
        with world.main_process_first():
            began = world.rank
        world.measure_all_reduce(torch.device("cpu"))
        return {
            "rank": rank,
            "whole": world.gather_lanes(mine, part).tolist(),
            "whole columns": world.gather_lanes(mine[None], part, lane_dim=1).tolist(),
            "whole of one": world.gather_lanes(torch.ones(1, 2), world.lane_range(1)).tolist(),
            "loss": loss,
            "gradients": [None if weight.grad is None else weight.grad.tolist() for weight in weights],
            "copied": [float(large.min()), float(large.max()), int(counts)],
            "agreed": world.broadcast_floats(rank + 0.1, 7),
            "any": [world.any_rank(rank == 1), world.any_rank(False)],
            "decided": world.broadcast_json(lambda: {"rank": rank, "text": "é"}),
            "shared": world.broadcast_bytes(bytes(range(256)) * (1 - rank)).hex() == (bytes(range(256))).hex(),
            "nothing": world.broadcast_bytes(b"").hex(),
            "turn": began,
            "exchange": world.all_reduce_seconds(1 << 20),
        }


def loop() -> dict[str, Any]:
    """The events of two runs: one with a loss that is not finite in one process, one that ends by a clock that is late
    in one process."""

    import torch
    from torch import nn

    from seqgen.training.distributed.launch import join_world
    from seqgen.training.distributed.world import World
    from seqgen.training.loop import Position, Run
    from seqgen.training.schedule import Schedule

    class Toy:
        """Moves a number to 3."""

        def __init__(self, world: World, spoilt_at: int) -> None:
            self.network = nn.Linear(1, 1, bias=False)
            nn.init.zeros_(self.network.weight)
            self.steps_per_epoch, self.metrics, self._world = 10, {}, world
            self._left = spoilt_at

        def loss(self, step: int, generator: torch.Generator) -> tuple[torch.Tensor, int]:
            time.sleep(0.002)
            self._left -= self._world.rank
            spoilt = float("nan") if self._left == 0 else 1.0
            return (self.network.weight - 3).square().mean() * spoilt / self._world.size, 10

        def validate(self) -> float:
            assert self._world.is_main_process
            return float((self.network.weight.detach() - 3).square())

        def carried_state(self) -> dict[str, torch.Tensor]:
            return {}

        def load_carried_state(self, tensors: dict[str, torch.Tensor]) -> None:
            assert not tensors

    with join_world() as world:

        def events(spoilt_at: int, late: float, **schedule: Any) -> tuple[Toy, list[list[Any]]]:
            toy = Toy(world, spoilt_at)
            settled = Schedule(0.3, 0.1, patience=0, **schedule)
            began = time.monotonic() - late * world.rank
            run = Run(toy, settled, torch.Generator().manual_seed(1), Position(), began, world)
            return toy, [[type(event).__name__, getattr(event, "step", None)] for event in run.events()]

        toy, spoilt = events(7, 0.0, steps=40)
        _, timed = events(-1, 1000.0, seconds=0.3)
        return {"spoilt": spoilt, "weight": float(toy.network.weight.detach()), "timed": timed}


def failures(place: Path, own: Path, rank: int) -> dict[str, list[str]]:
    """The class and message of each process's error, for runs that must fail."""
    import datetime

    import seqgen
    from seqgen.training.distributed.launch import join_world

    def train(source: str, folder: str, **more: Any) -> None:
        seqgen.train(source, own / folder, steps=3, **{**SMALL, **more})

    def silent() -> None:
        with join_world(timeout=datetime.timedelta(seconds=1)) as world:
            world.broadcast_floats(1)
            time.sleep(2.5 * rank)
            world.broadcast_floats(1)

    def faulty(event: object) -> None:
        assert rank == 0, "a fault of rank 1"

    text = str(place / "sources" / "text.txt")
    if rank == 0:
        (own / "damaged").mkdir()
        (own / "damaged" / "config.json").write_text("{")
    (place / f"own-{rank}.txt").write_text(f"Only rank {rank} has this text. " * 40)
    attempts = {
        "no such file": lambda: train(str(place / "nowhere.txt"), "never"),
        "standard input": lambda: train("-", "never"),
        "other sources": lambda: train(str(place / f"own-{rank}.txt"), "never"),
        "a model is there": lambda: train(text, "half"),
        "damaged": lambda: train(text, "damaged", resume=True),
        "a fault": lambda: train(text, "never", watch=seqgen.Watcher(event=faulty)),
        "silence": silent,
    }
    errors = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except Exception as error:
            errors[name] = [type(error).__name__, str(error)]
    return errors


def main(place: Path) -> None:
    """Execute every run, with a different model folder in each process."""
    rank = int(os.environ["RANK"])
    own = place / f"models {rank}"
    found: dict[str, Any] = {"facts": facts(), "loop": loop()}
    for name in RUNS:
        found[name] = loss_curve(name, place / "sources", own / name)
    found["stopped"] = loss_curve("text", place / "sources", own / "stopped", HALFWAY if rank else None)
    found["resumed"] = loss_curve("text", place / "sources", own / "half", resume=True)
    found["failures"] = failures(place, own, rank)
    (place / f"found-{rank}.json").write_text(json.dumps(found))
    until = time.monotonic() + 30
    while rank == 0 and not (place / "found-1.json").exists() and time.monotonic() < until:
        time.sleep(0.1)  # this process hosts the store, which the other still reads


if __name__ == "__main__":
    main(Path(sys.argv[1]))
