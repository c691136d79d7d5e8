"""The model folder of a run: what is written to it, and when.

The folder appears as a whole at the first validation; until then an old model stays untouched. Afterwards its files are
replaced atomically: the weights when they are the best so far, the others at every validation. See `lock` for how other
trainings are kept out.
"""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from seqgen import checkpoint, tokenizers
from seqgen.api import copies
from seqgen.checkpoint import Checkpoint
from seqgen.config import FORMAT_VERSION, AnyNetworkConfig, TrainOptions
from seqgen.corpus import sources as reading
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Document
from seqgen.errors import UserError
from seqgen.generation.engines.native import quantization_cost
from seqgen.model.language import LanguageModel
from seqgen.specs.tasks import TaskSpec
from seqgen.streams import reason, replace_folder
from seqgen.tasks.base import AnyNetwork, Data, Task
from seqgen.tokenizers import Codec
from seqgen.training.calibration import dropout_temperature
from seqgen.training.device import Compute
from seqgen.training.loop import Run, Validated
from seqgen.training.plans.base import Plan
from seqgen.version import __version__

_SAVE_EVERY = 60.0  # seconds between saves if validations are further apart
_ROUNDING = "rounding_bits_per_token"
_TEMPERATURE = "temperature"  # that the logits were divided by
_ROUNDING_SAMPLE = 1 << 15  # at most this many ids measure the cost of rounding


@dataclass
class Training:
    """A training in progress, for those who watch it."""

    folder: Path
    task: Task[AnyNetwork]
    plan: Plan
    compute: Compute
    data: Data[AnyNetwork]
    run: Run
    pretraining: Run | None = None
    documents: list[Document] = field(default_factory=list)  # of the training set; empty if it came from the cache
    metrics: list[dict[str, Any]] = field(default_factory=list)
    seed: int = 0
    number: int = 0  # of the network, among those of a model that averages several
    began: float = field(default_factory=time.monotonic)  # the clock of the whole command's budget
    pretrained: dict[str, torch.Tensor] = field(default_factory=dict)  # weights that further networks start from
    member_seconds: float = 0.0  # that the first network, or the one before, was trained for

    def format_loss(self, loss: float | None) -> str:
        """Format a validation loss as the task's headline metric (`2.067 bits/char`); empty if there is none."""
        value = self.metrics_of(loss).get(self.task.spec.headline.key)
        return "" if value is None else f"{value:.3f} {self.task.spec.headline.unit}"

    def metrics_of(self, loss: float | None) -> dict[str, float]:
        """The task's metrics of the validation that just gave `loss`."""
        return {**self.data.metrics(loss), **self.run.objective.metrics}

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copy the current weights or, if the run averages them, their average."""
        with self.run.averaged():
            return _as_arrays(self.run.objective.network.state_dict())


def _as_arrays(state: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[np.float32]]:
    return {name: weight.detach().float().cpu().numpy() for name, weight in state.items()}


def build_config(
    spec: TaskSpec,
    data: Data[AnyNetwork],
    options: TrainOptions,
    plan: Plan,
    compute: Compute,
    documents: list[Document],
    held_out: list[Document],
    start: Checkpoint | None,
    init_from: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """Make the config.json of a run, without metrics."""
    return {
        "format": FORMAT_VERSION,
        "seqgen": __version__,
        "task": spec.name,
        "tokenizer": data.codec.name,
        "identity": checkpoint.identity(plan.network, tokenizers.dump(data.codec)),
        "network": dataclasses.asdict(plan.network),
        "training": {
            "options": dataclasses.asdict(options),
            "batch_size": plan.batch_size,
            "seq_length": plan.seq_length,
            "blank": plan.blank,
            "precision": compute.precision,
            "threads": torch.get_num_threads(),
            "init_from": None if start is None else str(init_from),
            "schedule": dataclasses.asdict(plan.schedule),
            "pretraining": None if plan.pretraining is None else dataclasses.asdict(plan.pretraining),
            "members": dataclasses.asdict(plan.members),
        },
        "data": {
            "fingerprint": reading.fingerprint([*documents, *held_out]),
            "sources": [document.to_json() for document in documents],
            "valid_sources": [document.to_json() for document in held_out],
            **data.metadata(),
        },
        "metrics": {},
    }


class ModelFolder:
    """Writes the model folder of a run. `written`: whether there is a model in it already.

    In distributed training every process has one and calls it alike; only the main process writes.
    """

    def __init__(self, training: Training, config: dict[str, Any], written: bool) -> None:
        self._training = training
        self._config = config
        self._data = training.data
        self._world = training.compute.world
        self.written = written
        self._saved_at = training.run.seconds()

    def on_validation(self, event: Validated) -> None:
        """Save everything; the weights only if they are the best so far."""
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
            "grad_norm": checkpoint.finite_or_none(event.grad_norm),
            "learning_rate": event.learning_rate,
            "tokens_per_second": round(event.tokens_per_second, 1),
        }
        training.metrics.append(record)
        position = training.run.position
        if event.best:
            for name in (_ROUNDING, _TEMPERATURE):
                self._config.pop(name, None)  # belongs to the former weights
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
            self._write_weights(training.weights())
        checkpoint.write_config(training.folder, self._config)
        checkpoint.write_metrics(training.folder, training.metrics)
        self.save()

    def _create(self) -> None:
        """Build the whole folder beside its path, then rename it."""
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

    def _write_weights(self, weights: dict[str, npt.NDArray[np.float32]]) -> None:
        folder = self._training.folder
        members = checkpoint.load(folder).all_weights()[1:] if self.members else []
        checkpoint.write_weights(folder / checkpoint.WEIGHTS, weights, self._config["identity"], members)

    @property
    def members(self) -> int:
        """The number of further networks that the model has."""
        return len(self._config.get("members", []))

    def add_member(
        self,
        network: AnyNetworkConfig,
        weights: dict[str, npt.NDArray[np.float32]],
        metrics: dict[str, float],
        seconds: float,
    ) -> None:
        """Add a further network to the saved model.

        The weights are written first: readers ignore those of a network that config.json doesn't list.

        Args:
            metrics: on the part that this network held out; those of the model become the mean over its networks.
            seconds: of the whole training so far.
        """
        earlier = self.members
        self._config["members"] = [*self._config.get("members", []), dataclasses.asdict(network)]
        average = self._config["metrics"]
        for name, value in metrics.items():
            if isinstance(average.get(name), float):
                average[name] += (value - average[name]) / (earlier + 2)
        self._config["training"] |= {"seconds": round(seconds, 2)}
        if not self._world.is_main_process:
            return
        folder = self._training.folder
        first, *others = checkpoint.load(folder).all_weights()
        checkpoint.write_weights(
            folder / checkpoint.WEIGHTS, first, self._config["identity"], [*others, weights]
        )  # fmt: skip
        checkpoint.write_config(folder, self._config)

    def save(self, folder: Path | None = None) -> None:
        """Save the state to resume from."""
        arrays, position = self._training.run.state()  # collective: every process has a part of it
        if self._world.is_main_process:
            checkpoint.write_resume(folder or self._training.folder, arrays, position)
        self._saved_at = self._training.run.seconds()

    def save_if_due(self) -> None:
        """Save the state to resume from if the last save is more than a minute ago."""
        since = self._training.run.seconds() - self._saved_at
        if self.written and not 0 <= since <= _SAVE_EVERY:  # negative: the clock restarted after pretraining
            self.save()

    def finish(self) -> None:
        """Complete the model of a language model that is done training.

        Saves the copy index for `--keep-corpus`, corrects the temperature after dropout training, and measures the
        cost of 8-bit weights on the validation set. Other models have none of these.
        """
        streams = self._data.id_streams
        if not streams or not self._world.is_main_process:
            return
        self._keep_corpus(streams)
        if self._data.corrects_temperature and _TEMPERATURE not in self._config:
            self._correct_temperature(streams[0])
        saved = checkpoint.load(self._training.folder)
        cost = quantization_cost(saved.language_config, saved.weights(), streams[-1].ids[:_ROUNDING_SAMPLE])
        if cost is not None and self._config.get(_ROUNDING) != round(cost, 6):
            self._config[_ROUNDING] = round(cost, 6)
            checkpoint.write_config(self._training.folder, self._config)

    def _keep_corpus(self, streams: tuple[IdStream, ...]) -> None:
        training = self._training
        wanted = self._config["training"]["options"].get("keep_corpus")
        if not wanted or (training.folder / checkpoint.CORPUS).exists():  # a resumed run has the same sources
            return
        documents = training.documents if training.task.spec.is_plain_text else []
        index = copies.build(cast(Codec, self._data.codec), streams, documents)
        copies.save_copy_index(training.folder, index, self._config)

    def _correct_temperature(self, train: IdStream) -> None:
        """Correct the temperature (`training.calibration.dropout_temperature`) unless the validation loss gets worse.

        config.json is written first, because it records the correction. A kill in between leaves a slightly
        overconfident model, not one that is corrected twice.
        """
        training = self._training
        network = training.run.objective.network
        assert isinstance(network, LanguageModel)
        weights = checkpoint.load(training.folder).weights()  # the best, not the last
        network.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
        seed = self._config["training"]["options"]["seed"]
        temperature = dropout_temperature.fit_temperature(network, train, training.compute, seed)
        applied = temperature != 1 and dropout_temperature.apply_temperature(network, temperature)
        if applied:
            loss, before = training.run.objective.validate(), training.run.position.best_loss
            applied = loss is None or before is None or loss < before
            if applied:
                self._config["metrics"] |= training.metrics_of(loss)
        self._config[_TEMPERATURE] = temperature if applied else 1.0
        checkpoint.write_config(training.folder, self._config)
        if applied:
            self._write_weights(_as_arrays(network.state_dict()))
