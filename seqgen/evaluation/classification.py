"""Metrics of classification: accuracy, F1, log loss, calibration error and confusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_BINS = 15  # of the calibration error
_MIN_PROBABILITY = 1e-12  # keeps the log loss finite

Probabilities = npt.NDArray[np.floating]
Targets = npt.NDArray[np.bool_]


def predicted_labels(probabilities: Probabilities, multi: bool) -> Targets:
    """The predicted labels, shape (texts, labels): the likeliest or, with several per text, those above 0.5."""
    if multi:
        return probabilities > 0.5
    predicted = np.zeros(probabilities.shape, dtype=bool)
    predicted[np.arange(len(predicted)), probabilities.argmax(axis=1)] = True
    return predicted


def classification_metrics(
    probabilities: Probabilities, targets: Targets, labels: Sequence[str], multi: bool
) -> dict[str, Any]:
    """Compute all metrics of classification.

    Args:
        probabilities, targets: shape (texts, labels); a label that is unknown to the model has probability 0.
        multi: whether a text may have several labels.

    Returns:
        `accuracy`, the fraction of texts whose labels are all correct; `macro_f1`, the mean over the labels that occur
        or are predicted; `log_loss`, in nats per text; `expected_calibration_error` (Guo et al., 2017) with 15 equal
        bins; `per_class`; `confusion`.
    """
    predicted = predicted_labels(probabilities, multi)
    correct = (predicted == targets).all(axis=1)
    hits = (predicted & targets).sum(axis=0)
    support, predictions = targets.sum(axis=0), predicted.sum(axis=0)
    per_class = {}
    for number, label in enumerate(labels):
        precision = _ratio(hits[number], predictions[number])
        recall = _ratio(hits[number], support[number])
        f1 = _ratio(2 * precision * recall, precision + recall)
        per_class[label] = {"precision": precision, "recall": recall, "f1": f1, "support": int(support[number])}
    present = support + predictions > 0
    scores = [per_class[label]["f1"] for label, is_present in zip(labels, present, strict=True) if is_present]
    metrics: dict[str, Any] = {
        "accuracy": float(correct.mean()),
        "macro_f1": float(np.mean(scores)) if scores else 0.0,
        "log_loss": log_loss(probabilities, targets, multi),
        "expected_calibration_error": expected_calibration_error(probabilities, targets, multi),
        "per_class": per_class,
    }
    confusion = _multi_label_confusion(predicted, targets) if multi else confusion_matrix(predicted, targets)
    metrics["confusion"] = {"labels": list(labels), "matrix": confusion.tolist()}
    return metrics


def log_loss(probabilities: Probabilities, targets: Targets, multi: bool) -> float:
    """Mean negative log-likelihood of the true labels, in nats per text."""
    likelihoods = np.clip(probabilities.astype(np.float64), _MIN_PROBABILITY, 1.0)
    if not multi:
        return float(-(np.log(likelihoods) * targets).sum(axis=1).mean())
    complements = np.clip(1 - probabilities.astype(np.float64), _MIN_PROBABILITY, 1.0)
    return float(-(np.log(likelihoods) * targets + np.log(complements) * ~targets).sum(axis=1).mean())


def expected_calibration_error(probabilities: Probabilities, targets: Targets, multi: bool) -> float:
    """Mean difference between confidence and accuracy, over texts or, with several labels, over pairs of text and label
    (Guo et al., 2017)."""
    if multi:
        confidence = np.maximum(probabilities, 1 - probabilities).ravel()
        correct = ((probabilities > 0.5) == targets).ravel()
    else:
        confidence = probabilities.max(axis=1)
        correct = targets[np.arange(len(targets)), probabilities.argmax(axis=1)]
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for number in range(_BINS):
        inside = bins == number
        if inside.any():
            total += inside.sum() * abs(float(confidence[inside].mean()) - float(correct[inside].mean()))
    return total / max(len(confidence), 1)


def confusion_matrix(predicted: Targets, targets: Targets) -> npt.NDArray[np.int64]:
    """Counts of texts by true label (rows) and predicted label (columns)."""
    size = targets.shape[1]
    pairs = targets.argmax(axis=1) * size + predicted.argmax(axis=1)
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def _multi_label_confusion(predicted: Targets, targets: Targets) -> npt.NDArray[np.int64]:
    """Counts of texts by each true label (rows) and each predicted label (columns)."""
    return targets.astype(np.int64).T @ predicted.astype(np.int64)


def majority_baseline(
    fractions: npt.NDArray[np.floating], targets: Targets, labels: Sequence[str], multi: bool
) -> dict[str, Any]:
    """Metrics of always predicting `fractions`, those of the labels in the training set, shape (labels,)."""
    return classification_metrics(np.broadcast_to(fractions, targets.shape), targets, labels, multi)


class Mistake(NamedTuple):
    """The number of a misclassified text, and the probability of what is wrong about it: a label given, or left out."""

    text: int
    probability: float


def most_confident_mistakes(probabilities: Probabilities, targets: Targets, limit: int, multi: bool) -> list[Mistake]:
    """The misclassified texts, the most confident mistake first."""
    wrong = (predicted_labels(probabilities, multi) != targets).any(axis=1)
    confidence = (np.where(targets, 1 - probabilities, probabilities) if multi else probabilities).max(axis=1)
    order = np.argsort(-np.where(wrong, confidence, -1.0), kind="stable")
    return [Mistake(int(number), float(confidence[number])) for number in order[:limit] if wrong[number]]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
