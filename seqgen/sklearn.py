"""A text classifier as an estimator of scikit-learn: `from seqgen.sklearn import TextClassifier`.

It goes into pipelines, cross-validation and grid search. It needs `pip install 'seqgen-rnn[baselines]'`.
"""

from __future__ import annotations

import contextlib
import numbers
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from seqgen.api.model import Model, load
from seqgen.api.train.run import train

_LENGTHS = ("budget", "steps", "epochs")


class TextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn declares no types
    """A recurrent network, and a linear model beside it, that label texts.

    Args:
        budget: time to train, such as "1m"; it also decides the size of the network.
        steps: number of steps instead.
        cell: "lstm", "gru" or "rnn".
        options: further options of `train`, by name, such as {"ngrams": 2, "members": 1}. They go before those above.
        threads: processor threads; None for all.
        random_state: seed, or a generator of NumPy; None for another seed each time.

    Attributes:
        classes_: the labels, sorted.
        model_: the trained `seqgen.Model`.
    """

    def __init__(
        self,
        budget: str = "1m",
        steps: int | None = None,
        cell: str = "lstm",
        options: Mapping[str, Any] | None = None,
        threads: int | None = None,
        random_state: int | None = 0,
    ) -> None:
        self.budget = budget
        self.steps = steps
        self.cell = cell
        self.options = options
        self.threads = threads
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        return tags

    def fit(self, X: Iterable[str], y: Iterable[Any]) -> Self:
        """Train on texts and their labels, which may be of any type that sorts: texts, numbers, booleans.

        Raises:
            ValueError: there are not as many labels as texts, some are missing or don't sort, or there are fewer than
                two different ones of texts that are not empty.
            UserError: an option is wrong, or the data can't be learnt from.
        """
        texts, labels = _texts(X), _labels(y)
        if labels.ndim != 1 or len(labels) != len(texts):
            raise ValueError(f"y must have one label for each of the {len(texts)} texts; its shape is {labels.shape}")
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"TextClassifier can't be trained on {len(self.classes_)} class; it needs at least two")
        learnt = {number for text, number in zip(texts, numbers.tolist(), strict=True) if text.strip()}
        if len(learnt) < 2:
            raise ValueError(f"there must be two classes or more of texts that are not empty, not {len(learnt)}")
        options: dict[str, Any] = {"cell": self.cell, "threads": self.threads, "seed": _seed(self.random_state)}
        given = dict(self.options or {})
        if given.keys().isdisjoint(_LENGTHS):
            options |= {"budget": self.budget} if self.steps is None else {"steps": self.steps}
        data = ((text, f"{number:06d}") for text, number in zip(texts, numbers.tolist(), strict=True))
        with _new_folder() as folder:
            self.model_: Model = train(data=data, output=folder / "model", task="classify", **(options | given))
            _remove_with(self.model_, folder)
        return self

    def predict_proba(self, X: Iterable[str]) -> npt.NDArray[np.float64]:
        """The probability of each class, in the order of `classes_`; shape (texts, classes)."""
        check_is_fitted(self, "model_")
        found = np.zeros((len(texts := _texts(X)), len(self.classes_)))
        for row, one in enumerate(self.model_.classify(texts, top_k=len(self.classes_))):
            for label, probability in one.labels:
                found[row, int(label)] = probability
        return found

    def predict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """The most probable class of each text."""
        probabilities = self.predict_proba(X)  # first, so that an estimator that isn't fitted says so
        chosen: npt.NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return chosen

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: of the model, the files that `load` reads, and not the state to resume from."""
        state = dict(super().__getstate__())
        if self.__dict__.get("model_") is not None:
            folder = self.model_.checkpoint.folder
            state["model_"] = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.get("model_")
        super().__setstate__({name: value for name, value in state.items() if name != "model_"})
        if files is not None:
            with _new_folder() as folder:
                for name, data in files.items():
                    (folder / Path(name).name).write_bytes(data)
                self.model_ = load(folder)
                _remove_with(self.model_, folder)


@contextlib.contextmanager
def _new_folder() -> Iterator[Path]:
    """A temporary folder, which is removed if the block fails."""
    folder = Path(tempfile.mkdtemp(prefix="seqgen-"))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _remove_with(model: Model, folder: Path) -> None:
    """Remove a folder with the last reference to its model, or when the program ends."""
    weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)


def _seed(given: Any) -> int:
    """The seed of a `random_state`: a number, a generator of NumPy, or None."""
    if isinstance(given, numbers.Integral):
        return int(given)
    if isinstance(given, np.random.Generator):  # which scikit-learn doesn't take
        return int(given.integers(2**31 - 1))
    return int(check_random_state(given).randint(2**31 - 1))


def _labels(given: Iterable[Any]) -> npt.NDArray[Any]:
    """Labels as an array that sorts, or has another shape than (texts,).

    Raises `ValueError` if some are missing, or of types that don't sort together.
    """
    if getattr(given, "ndim", 1) != 1:  # its rows don't sort, and a frame lists its columns
        return np.asarray(given)
    labels = list(given)
    if any(label is None or (isinstance(label, (float, np.floating)) and label != label) for label in labels):
        raise ValueError("y has missing labels")
    try:
        sorted(labels)
    except (TypeError, ValueError) as error:
        raise ValueError(f"y has labels that don't sort: {error}") from error
    return np.asarray(labels)


def _texts(given: Iterable[str]) -> list[str]:
    """The texts of a list, an array, a column, or a table of one column. Raises `ValueError` for anything else."""
    if isinstance(given, str | bytes):
        raise ValueError("X must be a list of texts, not one text")
    array = np.asarray(given if hasattr(given, "__array__") else list(given), dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or not all(isinstance(text, str) for text in array):
        raise ValueError("X must be one text for each sample")
    return [str(text) for text in array]
