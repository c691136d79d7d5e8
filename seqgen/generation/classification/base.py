"""The interface of text classifiers, and a classifier that runs in several threads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqgen.processors import Threads

Probabilities = npt.NDArray[np.float32]

_MIN_THREADED_BYTES = 1 << 15  # fewer bytes are classified before a second thread has woken up


class LabelPredictor(Protocol):
    """From texts to probabilities, shape (texts, labels).

    With one label per text a row sums to one; with several, each probability is independent. The probabilities of a
    text are the same to the last bit, whichever other texts are in the batch.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the columns."""
        ...

    def __call__(self, texts: Sequence[bytes]) -> Probabilities: ...


class ThreadedClassifier:
    """Runs another `LabelPredictor` in several threads on parts of the texts.

    Tokenizing, hashing and small products occupy one processor each and release the interpreter lock.
    """

    def __init__(self, classifier: LabelPredictor, workers: int) -> None:
        self._classifier = classifier
        self._workers = workers
        self._threads = Threads(workers)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._classifier.labels

    def __call__(self, texts: Sequence[bytes]) -> Probabilities:
        ends = np.cumsum([len(text) for text in texts])
        if len(texts) < 2 * self._workers or ends[-1] < _MIN_THREADED_BYTES:
            return self._classifier(texts)
        cuts = np.searchsorted(ends, ends[-1] * np.arange(1, self._workers) / self._workers)
        borders = [0, *(int(cut) for cut in cuts), len(texts)]
        parts = [texts[first:last] for first, last in itertools.pairwise(borders) if first < last]
        return np.concatenate(list(self._threads.pool().map(self._classifier, parts)))
