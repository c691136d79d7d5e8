"""Small training settings, the contents of model folders, and runs that are killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from seqgen import checkpoint
from seqgen.api.train.watch import Watcher
from seqgen.training.loop import Event

TINY: dict[str, Any] = {
    "rnn_size": 32, "embedding_size": 16, "batch_size": 8, "seq_length": 32, "precision": "fp32", "threads": 1,
}  # fmt: skip


def saved_weights(folder: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(folder / checkpoint.WEIGHTS).items()}


def resume_weights(folder: Path) -> dict[str, bytes]:
    arrays, _ = checkpoint.read_resume(folder)
    return {name: array.tobytes() for name, array in arrays.items()}


def metrics_without_time(folder: Path) -> list[tuple[Any, ...]]:
    """The records of metrics.jsonl without times."""
    keys = ("step", "tokens", "train_loss", "val_loss", "grad_norm", "learning_rate")
    return [tuple(record[key] for key in keys) for record in checkpoint.read_metrics(folder)]


def file_contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and modification time of every file in `folder`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


DROPOUT = {**TINY, "dropout": 0.2, "weight_drop": 0.1, "num_layers": 2}  # random numbers in every step


class Killed(BaseException):
    """A simulated kill, which no handler of `Exception` catches."""


def kill_after(after: int) -> Watcher:
    """A watcher that raises `Killed` at its `after`-th event."""
    count = 0

    def event(_: Event) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise Killed

    return Watcher(event=event)
