"""The models that are served, each loaded on first use."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqgen.api.model import Model
from seqgen.api.open import open_checkpoint
from seqgen.checkpoint import Checkpoint, load
from seqgen.errors import ModelChangedError, ModelError, UserError, did_you_mean
from seqgen.generation.batching import RunningBatch
from seqgen.server.errors import HttpError
from seqgen.server.texts import TextWorker
from seqgen.untrusted import is_number, one_line

_MAX_WAITING = 1024  # texts of a model


@dataclass
class ServedModel:
    """A model by the name that clients know it by."""

    name: str
    folder: str
    checkpoint: Checkpoint
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _model: Model | None = None
    _worker: TextWorker | None = None

    @property
    def model(self) -> Model:
        """The model, loaded if it isn't. Raises `ModelChangedError` if it was damaged since it was checked."""
        with self._lock:
            if self._model is None:
                # It may have been replaced since. Of a model on the hub, the folder is the commit that was checked.
                try:
                    self.checkpoint = load(self.checkpoint.folder)
                    self.checkpoint.all_weights()  # which engines read, where a fault would be the client's
                except ModelError as error:
                    raise ModelChangedError(str(error)) from error
                self._model = Model(self.checkpoint)
            return self._model

    @property
    def worker(self) -> TextWorker:
        """The thread that generates its texts. Raises `ModelError` if it generates none."""
        self.model.engine  # noqa: B018 - raises ModelError
        with self._lock:
            if self._worker is None:
                self._worker = TextWorker(RunningBatch(), _MAX_WAITING)
            return self._worker

    @property
    def running_worker(self) -> TextWorker | None:
        """That thread, if it runs already."""
        return self._worker

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()

    def describe(self) -> dict[str, Any]:
        """Its entry in the list of models."""
        config, spec = self.checkpoint.config, self.checkpoint.spec
        metrics = {
            name: value for name, value in config["metrics"].items() if is_number(value) and name == one_line(name)
        }
        return {
            "id": self.name, "object": "model", "created": 0, "owned_by": "seqgen", "task": spec.name,
            "cell": self.checkpoint.network.cell, "units": self.checkpoint.network.rnn_size,
            "layers": self.checkpoint.network.num_layers, "metrics": metrics,
        }  # fmt: skip


class ServedModels:
    """The served models by name: the last part of a folder's path, or the name on the hub."""

    def __init__(self, names: Sequence[str]) -> None:
        """Check the models. Raises `ModelError` for one that is missing or damaged, `UserError` for equal names."""
        self._models: dict[str, ServedModel] = {}
        for given in names:
            checkpoint = open_checkpoint(given)
            name = given.removeprefix("hf:") if given.startswith("hf:") else Path(given).resolve().name
            if name in self._models:
                raise UserError(f"two models would be called {name!r}; rename a folder")
            self._models[name] = ServedModel(name, given, checkpoint)

    def find(self, name: object) -> ServedModel:
        """The model of a request; if there is only one, the name may be missing. Raises `HttpError` (404, 400)."""
        if name is None and len(self._models) == 1:
            return next(iter(self._models.values()))
        if name is None:
            raise HttpError(400, f"name a model; there are {', '.join(self._models)}")
        if not isinstance(name, str):
            raise HttpError(400, "`model` must be a string")
        if name not in self._models:
            hint = did_you_mean(name[:80], self._models) or "; there are " + ", ".join(self._models)
            raise HttpError(404, f"there is no model {name[:80]!r}{hint}")
        return self._models[name]

    def all(self) -> list[ServedModel]:
        return list(self._models.values())

    def stop(self) -> None:
        """End their threads."""
        for model in self._models.values():
            model.stop()
