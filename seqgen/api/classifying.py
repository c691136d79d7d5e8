"""Classify texts with a loaded model: one prediction per text, in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqgen.config import ClassifyOptions
from seqgen.generation.classification.sentences import Contribution, contributions
from seqgen.processors import process_core_count
from seqgen.specs.cells import CELLS
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.tokenizers.workers import batch_by_size

if TYPE_CHECKING:
    from seqgen.api.loaded import LoadedModel
    from seqgen.generation.classification.base import LabelPredictor

UNKNOWN = "unknown"
_BATCH_BYTES = 1 << 20
_BATCH_TEXTS = 4096


@dataclass(frozen=True)
class Prediction:
    """Labels with their probabilities, most probable first; `unknown` alone if none is probable enough."""

    labels: tuple[tuple[str, float], ...]
    sentences: tuple[Contribution, ...] = ()  # with `explain`: what each contributes to the most probable label

    @property
    def label(self) -> str:
        """The most probable label, or `unknown`."""
        return self.labels[0][0]

    @property
    def probability(self) -> float:
        """The probability of the most probable label, even if the prediction is `unknown`."""
        return self.labels[0][1]

    def to_json(self) -> dict[str, Any]:
        """The object that `classify --format jsonl` writes."""
        labels = [{"label": label, "probability": probability} for label, probability in self.labels]
        found: dict[str, Any] = {"label": self.label, "probability": self.probability, "labels": labels}
        if self.sentences:
            found["sentences"] = [
                {"text": text.decode("utf-8", "replace"), "log_odds": value} for text, value in self.sentences
            ]
        return found


def make_classifier(model: LoadedModel) -> LabelPredictor:
    """Make the model's classifier: numpy and the native kernels on the CPU, otherwise PyTorch.

    The number of texts never decides, because the last digits of the two differ. Raises `ModelError` for a model of
    another task.
    """
    config = model.checkpoint.classifier_config
    networks = list(zip(model.checkpoint.classifier_configs, model.checkpoint.all_weights(), strict=True))
    if model.device not in ("auto", "cpu") or CELLS[config.cell].numpy_step is None:
        from seqgen.generation.classification.torch import load_torch_classifier
        from seqgen.training import device

        compute = device.choose("cpu" if model.device == "auto" else model.device, "fp32", threads=1)
        return load_torch_classifier(networks, model.codec, compute.device)
    from seqgen.generation.classification.base import ThreadedClassifier
    from seqgen.generation.classification.numpy import CpuClassifier

    light = CpuClassifier(*networks[0], model.codec, networks[1:])
    cores = process_core_count()
    return ThreadedClassifier(light, cores) if cores > 1 else light


def predict(
    model: LoadedModel, texts: Iterable[bytes], options: ClassifyOptions, limit: TimeLimit = NO_LIMIT
) -> Iterator[Prediction]:
    """Predict the labels of each text, in order. Raises `StoppedError` if `limit` says so."""
    classifier = make_classifier(model)
    multi = model.checkpoint.classifier_config.multi
    for batch in text_batches(texts):
        limit.check()
        yield from predict_batch(classifier, batch, multi, options, limit)


def predict_batch(
    classifier: LabelPredictor,
    texts: Sequence[bytes],
    multi: bool,
    options: ClassifyOptions,
    limit: TimeLimit = NO_LIMIT,
) -> Iterator[Prediction]:
    """Predict the labels of some texts, in order. Raises `StoppedError` if `limit` says so."""
    probabilities = classifier(texts)
    if not options.explain:
        for row in probabilities:
            yield to_prediction(row, classifier.labels, multi, options)
        return
    found = contributions(classifier, texts, probabilities, multi, limit)
    for row, sentences in zip(probabilities, found, strict=True):
        yield dataclasses.replace(to_prediction(row, classifier.labels, multi, options), sentences=sentences)


def text_batches(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Group texts into batches of bounded size."""
    return batch_by_size(texts, _BATCH_BYTES, _BATCH_TEXTS, overhead=0)


def to_prediction(
    probabilities: npt.NDArray[np.floating], labels: tuple[str, ...], multi: bool, options: ClassifyOptions
) -> Prediction:
    """Make the prediction of one text from its probabilities, shape (labels,).

    By default, a multi-label classifier predicts every label with a probability over 0.5, or the most probable one.
    """
    order = np.argsort(-probabilities, kind="stable")
    order = order[: max(1, int((probabilities > 0.5).sum())) if multi and options.top_k == 1 else options.top_k]
    if probabilities[order[0]] < options.min_confidence:
        return Prediction(((UNKNOWN, float(probabilities[order[0]])),))
    confident = [index for index in order if probabilities[index] >= options.min_confidence]
    return Prediction(tuple((labels[index], float(probabilities[index])) for index in confident))
