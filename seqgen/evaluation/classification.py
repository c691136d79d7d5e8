"""How well texts are sorted: accuracy, F1, log loss, calibration, and who was taken for whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_BINS = 15  # of the calibration error, as in Guo et al.
_LEAST = 1e-12  # probability: what is called impossible costs much, and not infinitely much

Probabilities = npt.NDArray[np.floating]
Targets = npt.NDArray[np.bool_]


def predicted_labels(probabilities: Probabilities, multi: bool) -> Targets:
    """The labels given, shape (texts, labels): the likeliest, or where there may be several those likelier than not."""
    if multi:
        return probabilities > 0.5
    given = np.zeros(probabilities.shape, dtype=bool)
    given[np.arange(len(given)), probabilities.argmax(axis=1)] = True
    return given


def measures(probabilities: Probabilities, targets: Targets, labels: Sequence[str], multi: bool) -> dict[str, Any]:
    """Every measure of the task.

    Args:
        probabilities, targets: shape (texts, labels); a label that the model does not know has probability 0.

    `accuracy` is the share of texts whose labels are all right; `macro_f1` the mean over the labels that occur;
    `log_loss` in nats a text; `expected_calibration_error` after Guo et al. (2017), in 15 equal bins.
    """
    given = predicted_labels(probabilities, multi)
    right = (given == targets).all(axis=1)
    hits = (given & targets).sum(axis=0)
    support, guesses = targets.sum(axis=0), given.sum(axis=0)
    per_class = {}
    for number, label in enumerate(labels):
        precision = _ratio(hits[number], guesses[number])
        recall = _ratio(hits[number], support[number])
        f1 = _ratio(2 * precision * recall, precision + recall)
        per_class[label] = {"precision": precision, "recall": recall, "f1": f1, "support": int(support[number])}
    occurring = [per_class[label]["f1"] for label in labels if per_class[label]["support"]]
    found: dict[str, Any] = {
        "accuracy": float(right.mean()),
        "macro_f1": float(np.mean(occurring)) if occurring else 0.0,
        "log_loss": log_loss(probabilities, targets, multi),
        "expected_calibration_error": expected_calibration_error(probabilities, targets, multi),
        "per_class": per_class,
    }
    if not multi:
        found["confusion"] = {"labels": list(labels), "matrix": confusion_matrix(given, targets).tolist()}
    else:
        found["confusion"] = {"labels": list(labels), "matrix": _confusion_of_several(given, targets).tolist()}
    return found


def log_loss(probabilities: Probabilities, targets: Targets, multi: bool) -> float:
    """Mean cost of the truth in nats a text."""
    shares = np.clip(probabilities.astype(np.float64), _LEAST, 1.0)
    if not multi:
        return float(-(np.log(shares) * targets).sum(axis=1).mean())
    rest = np.clip(1 - probabilities.astype(np.float64), _LEAST, 1.0)
    return float(-(np.log(shares) * targets + np.log(rest) * ~targets).sum(axis=1).mean())


def expected_calibration_error(probabilities: Probabilities, targets: Targets, multi: bool) -> float:
    """How far confidence and accuracy are apart, in the mean over the texts (or, with several labels, over all yeses
    and noes)."""
    if multi:
        confidence = np.maximum(probabilities, 1 - probabilities).ravel()
        right = ((probabilities > 0.5) == targets).ravel()
    else:
        confidence = probabilities.max(axis=1)
        right = targets[np.arange(len(targets)), probabilities.argmax(axis=1)]
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for number in range(_BINS):
        inside = bins == number
        if inside.any():
            total += inside.sum() * abs(float(confidence[inside].mean()) - float(right[inside].mean()))
    return total / max(len(confidence), 1)


def confusion_matrix(given: Targets, targets: Targets) -> npt.NDArray[np.int64]:
    """Counts of texts, by true label (rows) and label given (columns)."""
    size = targets.shape[1]
    pairs = targets.argmax(axis=1) * size + given.argmax(axis=1)
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def _confusion_of_several(given: Targets, targets: Targets) -> npt.NDArray[np.int64]:
    """For every true label (rows), how often each label (columns) was given."""
    return targets.astype(np.int64).T @ given.astype(np.int64)


def majority_baseline(
    shares: npt.NDArray[np.floating], targets: Targets, labels: Sequence[str], multi: bool
) -> dict[str, Any]:
    """The rival that always says what is most common in training; `shares` of the labels there, shape (labels,)."""
    return measures(np.broadcast_to(shares, targets.shape), targets, labels, multi)


def most_confident_mistakes(probabilities: Probabilities, targets: Targets, most: int, multi: bool) -> list[int]:
    """Numbers of the texts that are most surely wrong, the worst first."""
    wrong = (predicted_labels(probabilities, multi) != targets).any(axis=1)
    surety = (np.where(targets, 1 - probabilities, probabilities) if multi else probabilities).max(axis=1)
    order = np.argsort(-np.where(wrong, surety, -1.0), kind="stable")
    return [int(number) for number in order[:most] if wrong[number]]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
