"""The model folder of a run: what is written to it, and when.

The folder appears as a whole at the first validation; until then an old model stays untouched. Afterwards its files are
replaced atomically: the weights when they are the best so far, the others at every validation. See `lock` for how other
trainings are kept out.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seqgen import checkpoint, tokenizers
from seqgen.checkpoint import Checkpoint
from seqgen.config import FORMAT_VERSION, AnyNetworkConfig, TrainOptions
from seqgen.corpus import sources as reading
from seqgen.corpus.sources import Document
from seqgen.errors import ModelError, UserError
from seqgen.generation.engines.context_cache import CONTEXT_CACHE
from seqgen.generation.held_out_lines import HELD_OUT_LINES
from seqgen.model.language import LanguageModel
from seqgen.specs.tasks import TaskSpec
from seqgen.streams import reason, replace_folder
from seqgen.tasks.base import AnyNetwork, Data, Task
from seqgen.training.calibration.dropout_temperature import apply_temperature
from seqgen.training.device import Compute
from seqgen.training.loop import Run, Validated, cloned
from seqgen.training.plans.base import Plan
from seqgen.version import __version__

_SAVE_EVERY = 60.0  # seconds between saves if validations are further apart
ROUNDING, TEMPERATURE, FINISHED = "rounding_bits_per_token", "temperature", "finished"
MEASURED = (ROUNDING, TEMPERATURE, FINISHED, CONTEXT_CACHE, HELD_OUT_LINES)  # see `finish`
_BEST = "best."  # prefix of weights in the saved state


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
            return as_arrays(self.run.objective.network.state_dict())


def as_arrays(state: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[np.float32]]:
    """The weights as arrays, which may share the memory of tensors on a CPU."""
    return {name: weight.detach().float().cpu().numpy() for name, weight in state.items()}


def build_config(
    spec: TaskSpec,
    data: Data[AnyNetwork],
    options: TrainOptions,
    plan: Plan,
    compute: Compute,
    documents: list[Document],
    held_out: list[Document],
    unlabelled: list[Document],
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
            "fingerprint": reading.fingerprint([*documents, *held_out, *unlabelled]),
            "sources": [document.to_json() for document in documents],
            "valid_sources": [document.to_json() for document in held_out],
            **({"unlabelled_sources": [document.to_json() for document in unlabelled]} if unlabelled else {}),
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
        self.config = config
        self._data = training.data
        self._world = training.compute.world
        self.written = written
        self.best_apart = False  # whether the model has other weights than those of the best validation
        self._saved_at = training.run.seconds()

    def on_validation(self, event: Validated) -> None:
        """Save everything; the weights only if they are the best so far."""
        training = self._training
        if event.best:
            self.best_apart = False
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
            former = [name for name in MEASURED if name in self.config]  # of the weights before
            for name in former:
                del self.config[name]
            if former:  # a kill between weights and config.json must not leave it on the new ones
                checkpoint.write_config(training.folder, self.config)
            self.config["metrics"] = {
                **training.metrics_of(event.val_loss),
                "train_loss": record["train_loss"],
                "best_step": event.step,
            }
        self.config["training"] |= {"step": position.step, "seconds": round(event.seconds, 2)}
        if not self.written:
            self._create()
            return
        if event.best:
            self._remove_ranker()
            self._write_weights(training.weights())
        checkpoint.write_config(training.folder, self.config)
        checkpoint.write_metrics(training.folder, training.metrics)
        self.save()

    def _create(self) -> None:
        """Build the whole folder beside its path, then rename it."""
        folder, new = self._training.folder, checkpoint.staging(self._training.folder)
        try:
            new.mkdir(parents=True, exist_ok=True)
            checkpoint.create(new, self.config, self._data.codec, self._training.weights(), folder.name)
            checkpoint.write_metrics(new, self._training.metrics)
            self.save(new)
            replace_folder(new, folder)
        except OSError as error:
            raise UserError(f"cannot write {str(folder)!r}: {reason(error)}") from error
        self.written = True

    def _remove_ranker(self) -> None:
        """Remove the ranker of a dialogue model that is resumed: it was fitted to the former weights."""
        path = self._training.folder / checkpoint.RANKER
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {str(path)!r}: {reason(error)}") from error

    def _write_weights(self, weights: checkpoint.Weights) -> None:
        folder = self._training.folder
        members = checkpoint.load(folder).all_weights()[1:] if self.members else []
        checkpoint.write_weights(folder / checkpoint.WEIGHTS, weights, self.config["identity"], members)

    @property
    def members(self) -> int:
        """The number of further networks that the model has."""
        return len(self.config.get("members", []))

    def add_member(
        self,
        network: AnyNetworkConfig,
        weights: dict[str, npt.NDArray[np.float32]],
        metrics: dict[str, float],
        learnt: dict[str, Any],
        seconds: float,
    ) -> None:
        """Add a further network to the saved model.

        The weights are written first: readers ignore those of a network that config.json doesn't list.

        Args:
            metrics: on the part that this network held out; those of the model become the mean over its networks.
            learnt: what it learnt of that part in the end.
            seconds: of the whole training so far.
        """
        earlier = self.members
        self.config["members"] = [*self.config.get("members", []), dataclasses.asdict(network)]
        average = self.config["metrics"]
        for name, value in metrics.items():
            if isinstance(average.get(name), float):
                average[name] += (value - average[name]) / (earlier + 2)
        if learnt and not self.config.get(FINISHED):  # the first network took it back, or had no time for it
            self.config[FINISHED] = learnt
        self.config["training"] |= {"seconds": round(seconds, 2)}
        if not self._world.is_main_process:
            return
        folder = self._training.folder
        first, *others = checkpoint.load(folder).all_weights()
        checkpoint.write_weights(
            folder / checkpoint.WEIGHTS, first, self.config["identity"], [*others, weights]
        )  # fmt: skip
        checkpoint.write_config(folder, self.config)

    def update(self, changes: dict[str, Any], weights: checkpoint.Weights | None = None) -> None:
        """Write other weights, if there are any, and then entries of config.json."""
        if weights is not None:
            self._write_weights(weights)
        self.config |= changes
        checkpoint.write_config(self._training.folder, self.config)

    def keep_best(self) -> None:
        """Keep the weights of the best validation in the state to resume from: the model is to get others."""
        if not self.best_apart:
            self.best_apart = True
            self.save()

    def has_best(self) -> bool:
        """Whether the model has the very weights of the best validation."""
        best, saved = self._training.run.best, checkpoint.load(self._training.folder).weights()
        return best is not None and all((saved[name] == array).all() for name, array in as_arrays(best).items())

    def restore_best(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Give a resumed run the weights of its best validation.

        They are in its saved state or, if the model still has them, in the model. Older versions kept them only there,
        with the correction of the temperature, which is taken back.

        Raises `ModelError` if they aren't of this network.
        """
        run = self._training.run
        best = {name.removeprefix(_BEST): array for name, array in arrays.items() if name.startswith(_BEST)}
        self.best_apart = bool(best)
        network = run.objective.network
        current = cloned(network.state_dict().items())
        if best and {n: array.shape for n, array in best.items()} != {n: tuple(w.shape) for n, w in current.items()}:
            raise ModelError(
                f"{str(self._training.folder)!r} can't be resumed: its best weights are missing or of another shape"
            )
        if self._world.is_main_process:
            found = best or checkpoint.load(self._training.folder).weights()
            network.load_state_dict({name: torch.from_numpy(np.array(found[name])) for name in current})
            if isinstance(network, LanguageModel) and not best:
                apply_temperature(network, 1 / checkpoint.temperature_of(self.config))
        self._world.broadcast_tensors(network.state_dict().values())
        run.best = cloned(network.state_dict().items())
        network.load_state_dict(current)

    def save(self, folder: Path | None = None) -> None:
        """Save the state to resume from."""
        run = self._training.run
        arrays, position = run.state()  # collective: every process has a part of it
        if self.best_apart and run.best is not None:
            arrays |= {_BEST + name: array for name, array in as_arrays(run.best).items()}
        if self._world.is_main_process:
            checkpoint.write_resume(folder or self._training.folder, arrays, position)
        self._saved_at = self._training.run.seconds()

    def save_if_due(self) -> None:
        """Save the state to resume from if the last save is more than a minute ago."""
        since = self._training.run.seconds() - self._saved_at
        if self.written and not 0 <= since <= _SAVE_EVERY:  # negative: the clock restarted after pretraining
            self.save()
