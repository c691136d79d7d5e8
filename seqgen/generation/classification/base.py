"""What sorts texts, and how several share the work: by whatever arithmetic (`light_labelling`, `labelling`)."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float32]

_WORTH_SHARING = 1 << 15  # bytes of texts: fewer are read before a second thread has woken


class TextClassifier(Protocol):
    """A classifier at work: `labeller(texts)` → probabilities, shape (texts, labels).

    Where a text has one label a row sums to one; where it may have several each stands for itself. A text's
    probabilities are its own to the last bit, whichever texts come with it.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the columns."""
        ...

    def __call__(self, texts: Sequence[bytes]) -> Probabilities: ...


class ThreadedClassifier:
    """See `TextClassifier`: another one, given parts of the texts by several threads at once. Tokenizing, hashing and small
    products keep one processor busy each, and let go of the interpreter meanwhile."""

    def __init__(self, labeller: TextClassifier, workers: int) -> None:
        self._labeller = labeller
        self._workers = workers
        self._pool = concurrent.futures.ThreadPoolExecutor(workers)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labeller.labels

    def __call__(self, texts: Sequence[bytes]) -> Probabilities:
        ends = np.cumsum([len(text) for text in texts])
        if len(texts) < 2 * self._workers or ends[-1] < _WORTH_SHARING:
            return self._labeller(texts)
        cuts = np.searchsorted(ends, ends[-1] * np.arange(1, self._workers) / self._workers)
        places = [0, *(int(cut) for cut in cuts), len(texts)]
        parts = [texts[first:last] for first, last in itertools.pairwise(places) if first < last]
        return np.concatenate(list(self._pool.map(self._labeller, parts)))
