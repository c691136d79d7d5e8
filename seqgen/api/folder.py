"""The model folder of a run: what goes into it, and when.

It appears at the first validation, whole; before that nothing of an old model is touched. From then on every file in
it is replaced atomically: the weights when they are the best so far, the rest at every validation. One training at a
time writes it: see `claim`.
"""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import seqgen
from seqgen import checkpoint, tokenizers
from seqgen.checkpoint import Checkpoint
from seqgen.config import FORMAT, NetworkConfig, TrainOptions
from seqgen.corpus import sources as reading
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Document
from seqgen.errors import UserError
from seqgen.generation.compiled import rounding_cost
from seqgen.streams import exchange, reason
from seqgen.tasks.task import Data, Task
from seqgen.training import device, plan
from seqgen.training.loop import Run, Validated

_SAVE_EVERY = 60.0  # seconds between saves where validations are further apart
_ROUNDING = "rounding_bits_per_token"
_ROUNDING_SAMPLE = 1 << 15  # ids by which the cost of rounding is measured, at most


@dataclass
class Training:
    """A training under way, as those who watch it may see it."""

    folder: Path
    task: Task
    plan: plan.Plan
    compute: device.Compute
    data: Data
    run: Run
    before: Run | None = None  # what the network learns before its task
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def measured(self, loss: float | None) -> str:
        """A held-out loss in the task's own measure: `2.067 bits/char`; nothing where nothing is held out."""
        value = self.metrics_of(loss).get(self.task.headline.key)
        return "" if value is None else f"{value:.3f} {self.task.headline.unit}"

    def metrics_of(self, loss: float | None) -> dict[str, float]:
        """A held-out loss, just measured, in all of the task's own measures."""
        return {**self.data.metrics(loss), **self.run.objective.measures}

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights as they are now."""
        state = self.run.objective.network.state_dict()
        return {name: weight.detach().float().cpu().numpy() for name, weight in state.items()}


def describe(
    kind: Task,
    data: Data,
    given: TrainOptions,
    settled: plan.Plan,
    compute: device.Compute,
    documents: list[Document],
    held_out: list[Document],
    start: Checkpoint | None,
    init_from: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """config.json of a run, before anything is measured."""
    sources = [{"name": d.name, "bytes": d.size, "sha256": d.sha256} for d in documents]
    return {
        "format": FORMAT,
        "seqgen": seqgen.__version__,
        "task": kind.name,
        "tokenizer": data.codec.kind,
        "identity": checkpoint.identity(settled.network, tokenizers.dump(data.codec)),
        "network": dataclasses.asdict(settled.network),
        "training": {
            "options": dataclasses.asdict(given),
            "batch_size": settled.batch_size,
            "seq_length": settled.seq_length,
            "precision": compute.precision,
            "threads": torch.get_num_threads(),
            "init_from": None if start is None else str(init_from),
            "schedule": dataclasses.asdict(settled.schedule),
            "pretraining": None if settled.pretraining is None else dataclasses.asdict(settled.pretraining),
        },
        "data": {
            "fingerprint": reading.fingerprint([*documents, *held_out]),
            "sources": sources,
            "valid_sources": [{"name": d.name, "bytes": d.size, "sha256": d.sha256} for d in held_out],
            **data.facts(),
        },
        "metrics": {},
    }


class ModelFolder:
    """The model folder of a run: how and when it is written. `written`: whether it is there already."""

    def __init__(self, training: Training, config: dict[str, Any], written: bool) -> None:
        self._training = training
        self._config = config
        self._data = training.data
        self.written = written
        self._saved_at = time.monotonic()

    def validated(self, event: Validated) -> None:
        """Saves all; the weights only if they are the best so far."""
        training = self._training
        record = {
            "step": event.step,
            "seconds": round(event.seconds, 3),
            "tokens": event.tokens,
            "train_loss": checkpoint.as_json(event.train_loss),
            "val_loss": event.val_loss,
            "learning_rate": event.learning_rate,
            "tokens_per_second": round(event.tokens_per_second, 1),
        }
        training.metrics.append(record)
        position = training.run.position
        if event.best:
            self._config.pop(_ROUNDING, None)  # it was of other weights
            self._config["metrics"] = {
                **training.metrics_of(event.val_loss),
                "train_loss": record["train_loss"],
                "best_step": event.step,
            }
        self._config["training"] |= {"step": position.step, "seconds": round(event.seconds, 2)}
        if not self.written:
            self._create()
            return
        if event.best:
            path = training.folder / checkpoint.WEIGHTS
            checkpoint.write_weights(path, training.weights(), self._config["identity"])
        checkpoint.write_config(training.folder, self._config)
        checkpoint.write_metrics(training.folder, training.metrics)
        self.save()

    def _create(self) -> None:
        """The whole folder beside its place, then into it."""
        folder, new = self._training.folder, checkpoint.staging(self._training.folder)
        try:
            new.mkdir(parents=True, exist_ok=True)
            checkpoint.create(new, self._config, self._data.codec, self._training.weights(), folder.name)
            checkpoint.write_metrics(new, self._training.metrics)
            self.save(new)
            exchange(new, folder)
        except OSError as error:
            raise UserError(f"cannot write {str(folder)!r}: {reason(error)}") from error
        self.written = True

    def save(self, folder: Path | None = None) -> None:
        """What is needed to go on."""
        arrays, position = self._training.run.state()
        checkpoint.write_resume(folder or self._training.folder, arrays, position)
        self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Measures, once all is over, what sampling with rounded weights would cost: of text, on what was held out."""
        network = self._training.plan.network
        stream = getattr(self._data, "held_out", None) or getattr(self._data, "train", None)
        if not isinstance(network, NetworkConfig) or not isinstance(stream, IdStream):
            return
        saved = checkpoint.load(self._training.folder)
        cost = rounding_cost(network, saved.weights(), stream.ids[:_ROUNDING_SAMPLE])
        if cost is not None and self._config.get(_ROUNDING) != round(cost, 6):
            self._config[_ROUNDING] = round(cost, 6)
            checkpoint.write_config(self._training.folder, self._config)

    def save_if_due(self) -> None:
        since = time.monotonic() - self._saved_at
        if self.written and not 0 <= since <= _SAVE_EVERY:  # a clock that was set back must not put it off
            self.save()
