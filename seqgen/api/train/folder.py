"""The model folder of a run: what goes into it, and when.

It appears at the first validation, whole; before that nothing of an old model is touched. From then on every file in
it is replaced atomically: the weights when they are the best so far, the rest at every validation. One training at a
time writes it: see `claim`.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import seqgen
from seqgen import checkpoint, tokenizers
from seqgen.api import copies
from seqgen.checkpoint import Checkpoint
from seqgen.config import FORMAT_VERSION, GenerativeConfig, NetworkConfig, TrainOptions
from seqgen.corpus import sources as reading
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Document
from seqgen.errors import UserError
from seqgen.generation.engines.native import quantization_cost
from seqgen.model.language import LanguageModel
from seqgen.streams import reason, replace_folder
from seqgen.tasks.base import Data, Task
from seqgen.tasks.language import LanguageData
from seqgen.training import device
from seqgen.training.calibration import dropout_temperature as confidence
from seqgen.training.loop import Run, Validated
from seqgen.training.plans import language as plan

_SAVE_EVERY = 60.0  # seconds between saves where validations are further apart
_ROUNDING = "rounding_bits_per_token"
_TEMPERATURE = "temperature"  # that the output layer was divided by
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
    documents: list[Document] = field(default_factory=list)  # that it learns from, where they were read
    metrics: list[dict[str, Any]] = field(default_factory=list)

    def format_loss(self, loss: float | None) -> str:
        """A held-out loss in the task's own measure: `2.067 bits/char`; nothing where nothing is held out."""
        value = self.metrics_of(loss).get(self.task.headline.key)
        return "" if value is None else f"{value:.3f} {self.task.headline.unit}"

    def metrics_of(self, loss: float | None) -> dict[str, float]:
        """A held-out loss, just measured, in all of the task's own measures."""
        return {**self.data.metrics(loss), **self.run.objective.metrics}

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights as they are now, or their average where the run keeps one."""
        with self.run.averaged():
            state = self.run.objective.network.state_dict()
            return {name: weight.detach().float().cpu().numpy() for name, weight in state.items()}


def build_config(
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
        "format": FORMAT_VERSION,
        "seqgen": seqgen.__version__,
        "task": kind.name,
        "tokenizer": data.codec.kind,
        "identity": checkpoint.identity(settled.network, tokenizers.dump(data.codec)),
        "network": dataclasses.asdict(settled.network),
        "training": {
            "options": dataclasses.asdict(given),
            "batch_size": settled.batch_size,
            "seq_length": settled.seq_length,
            "blank": settled.blank,
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
            **data.metadata(),
        },
        "metrics": {},
    }


class ModelFolder:
    """The model folder of a run: how and when it is written. `written`: whether it is there already.

    Where several processes train, each has one and calls it alike, and rank 0's writes.
    """

    def __init__(self, training: Training, config: dict[str, Any], written: bool) -> None:
        self._training = training
        self._config = config
        self._data = training.data
        self._world = training.compute.world
        self.written = written
        self._saved_at = training.run.seconds()

    def on_validation(self, event: Validated) -> None:
        """Saves all; the weights only if they are the best so far."""
        training = self._training
        if not self._world.is_main_process:
            self.written = True
            self.save()
            return
        record = {
            "step": event.step,
            "seconds": round(event.seconds, 3),
            "tokens": event.tokens,
            "train_loss": checkpoint.finite_or_none(event.train_loss),
            "val_loss": event.val_loss,
            "learning_rate": event.learning_rate,
            "tokens_per_second": round(event.tokens_per_second, 1),
        }
        training.metrics.append(record)
        position = training.run.position
        if event.best:
            for name in (_ROUNDING, _TEMPERATURE):
                self._config.pop(name, None)  # it was of other weights
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
            replace_folder(new, folder)
        except OSError as error:
            raise UserError(f"cannot write {str(folder)!r}: {reason(error)}") from error
        self.written = True

    def save(self, folder: Path | None = None) -> None:
        """What is needed to go on."""
        arrays, position = self._training.run.state()  # of which every process has a part
        if self._world.is_main_process:
            checkpoint.write_resume(folder or self._training.folder, arrays, position)
        self._saved_at = self._training.run.seconds()

    def finish(self) -> None:
        """Once all is over, keeps the corpus, if it is to be kept. Then, of text, music and dialogue, makes the network
        as sure as the mean over its masks, and measures what sampling with rounded weights would cost, on what was held
        out."""
        self._keep_corpus()
        network = self._training.plan.network
        learnt, held_out = getattr(self._data, "train", None), getattr(self._data, "held_out", None)
        if (
            not self._world.is_main_process
            or not isinstance(network, NetworkConfig)
            or not isinstance(learnt, IdStream)
        ):
            return
        if not isinstance(network, GenerativeConfig) and _TEMPERATURE not in self._config:
            self._correct_temperature(learnt)
        saved = checkpoint.load(self._training.folder)
        cost = quantization_cost(network, saved.weights(), (held_out or learnt).ids[:_ROUNDING_SAMPLE])
        if cost is not None and self._config.get(_ROUNDING) != round(cost, 6):
            self._config[_ROUNDING] = round(cost, 6)
            checkpoint.write_config(self._training.folder, self._config)

    def _keep_corpus(self) -> None:
        folder, data = self._training.folder, self._data
        wanted = self._config["training"]["options"].get("keep_corpus")
        if not wanted or not self._world.is_main_process or not isinstance(data, LanguageData):
            return
        if (folder / checkpoint.CORPUS).exists():  # a run that goes on has the same sources
            return
        streams = [data.train] if data.held_out is None else [data.train, data.held_out]
        documents = self._training.documents if self._training.task.name == "text" else []
        copies.save_copy_index(folder, copies.build(data.codec, streams, documents), self._config)

    def _correct_temperature(self, learnt: IdStream) -> None:
        """See `training.confidence`; not where what is held out shows that it is sure with reason. config.json is
        written first: it says that this is done, and a kill in between leaves a model that is a little too sure, not
        one that is softened twice."""
        training = self._training
        network = training.run.objective.network
        assert isinstance(network, LanguageModel)
        weights = checkpoint.load(training.folder).weights()  # the best, which need not be the last
        network.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
        seed = self._config["training"]["options"]["seed"]
        found = confidence.fit_temperature(network, learnt, training.compute, seed)
        softened = found != 1 and confidence.apply_temperature(network, found)
        if softened:
            loss, before = training.run.objective.validate(), training.run.position.best_loss
            softened = loss is None or before is None or loss < before
            if softened:
                self._config["metrics"] |= training.metrics_of(loss)
        self._config[_TEMPERATURE] = found if softened else 1.0
        checkpoint.write_config(training.folder, self._config)
        if softened:
            state = {name: weight.detach().float().cpu().numpy() for name, weight in network.state_dict().items()}
            checkpoint.write_weights(training.folder / checkpoint.WEIGHTS, state, self._config["identity"])

    def save_if_due(self) -> None:
        since = self._training.run.seconds() - self._saved_at
        if self.written and not 0 <= since <= _SAVE_EVERY:  # before zero: the clock began anew, after pretraining
            self.save()
