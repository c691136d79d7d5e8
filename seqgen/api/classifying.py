"""Sorting texts with a model: one prediction a text, in order, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seqgen.config import AnyClassifierConfig, ClassifyOptions
from seqgen.errors import ModelError
from seqgen.tokenizers.workers import process_cpu_count

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.generation.classification.base import TextClassifier

UNKNOWN = "unknown"
_AT_ONCE = 1 << 20  # bytes of texts that are read together, or one text
_MOST = 4096  # texts


@dataclass(frozen=True)
class Prediction:
    """`labels`: the likeliest first, with their probabilities; `unknown` alone where none is likely enough."""

    labels: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The likeliest label, or `unknown`."""
        return self.labels[0][0]

    @property
    def probability(self) -> float:
        """That of the likeliest label, though it may not be likely enough to be named."""
        return self.labels[0][1]


def make_classifier(model: Model) -> TextClassifier:
    """The classifier of a model, ready to work: on the processor in numpy and by the compiled kernels, elsewhere by
    PyTorch. Which of them never depends on how much there is to sort: their last digits differ. Raises `ModelError` for
    a model of another task."""
    config = classifier_config(model)
    if model.device not in ("auto", "cpu"):
        from seqgen.generation.classification.torch import load_torch_classifier
        from seqgen.training import device

        compute = device.choose(model.device, "fp32", threads=1)
        return load_torch_classifier(config, model.checkpoint.weights(), model.codec, compute.device)
    from seqgen.generation.classification.base import ThreadedClassifier
    from seqgen.generation.classification.numpy import LightClassifier

    light = LightClassifier(config, model.checkpoint.weights(), model.codec)
    return ThreadedClassifier(light, process_cpu_count()) if process_cpu_count() > 1 else light


def classifier_config(model: Model) -> AnyClassifierConfig:
    """The network of a model that sorts. Raises `ModelError` for a model of another task."""
    network = model.checkpoint.network
    if not isinstance(network, AnyClassifierConfig):
        raise ModelError(f"this is a model for {model.task}; sorting texts needs one for classify")
    return network


def predict(model: Model, texts: Iterable[bytes], options: ClassifyOptions) -> Iterator[Prediction]:
    """A prediction for every text, in order."""
    work = make_classifier(model)
    multi = classifier_config(model).multi
    for batch in text_batches(texts):
        for row in work(batch):
            yield to_prediction(row, work.labels, multi, options)


def text_batches(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The texts in groups that fit into memory."""
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _AT_ONCE or len(batch) >= _MOST:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def to_prediction(
    row: npt.NDArray[np.floating], labels: tuple[str, ...], multi: bool, options: ClassifyOptions
) -> Prediction:
    """What is said of one text, of whose labels these are the probabilities."""
    order = np.argsort(-row, kind="stable")
    # Where a text may have several: every label likelier than not, or the likeliest.
    order = order[: max(1, int((row > 0.5).sum())) if multi and options.top_k == 1 else options.top_k]
    if row[order[0]] < options.min_confidence:
        return Prediction(((UNKNOWN, float(row[order[0]])),))
    kept = [number for number in order if row[number] >= options.min_confidence]
    return Prediction(tuple((labels[number], float(row[number])) for number in kept))
