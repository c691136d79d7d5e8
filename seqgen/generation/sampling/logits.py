"""What a filter is, what it may know, and the arithmetic that filters share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float64]
History = Sequence[Sequence[int]]


@dataclass(frozen=True)
class FilterContext:
    """What a filter may know of each row beside its logits.

    Attributes:
        history: the ids of the prompt and those that were drawn.
        coins: a number in [0, 1) from the row's own random stream, another one at every step; none: never heads.
        limits: the most surprise, in bits, that `mirostat` lets pass; none: as at the beginning.
    """

    history: History = ()
    coins: Sequence[float] = ()
    limits: Sequence[float] = ()


Filter = Callable[[Logits, FilterContext], Logits]


def softmax(logits: Logits) -> Logits:
    """Probabilities along the last axis; −∞ gives exactly 0."""
    shifted: Logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_softmax(logits: Logits) -> Logits:
    """Logarithms of `softmax`, accurate for the improbable too."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Logits = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def entropies(logs: Logits) -> Logits:
    """Entropy of each row, in nats, of logarithms of probabilities; shape (rows, 1)."""
    with np.errstate(invalid="ignore"):
        result: Logits = -np.where(np.isneginf(logs), 0.0, np.exp(logs) * logs).sum(axis=-1, keepdims=True)
    return result
