"""TF-IDF and logistic regression as a baseline of text classifiers. Needs scikit-learn."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def is_available() -> bool:
    """Whether scikit-learn is installed."""
    return importlib.util.find_spec("sklearn") is not None


def fit_predict_proba(
    train: Sequence[str], targets: npt.NDArray[np.bool_], test: Sequence[str], multi: bool
) -> npt.NDArray[np.float64]:
    """Fit to the texts `train` and return the probabilities of `test`, shape (texts, labels).

    Features are sublinear TF-IDF of words and word pairs or, for scripts without spaces and texts without words, of one
    to three characters. The logistic regression has an L2 penalty with C = 10. These are common choices, not tuned on
    the test set. A label that all training texts have, or none, keeps that probability; without features all labels
    keep their fractions of the training set.

    Args:
        targets: shape (training texts, labels).
        multi: whether a text may have several labels.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    probabilities = np.tile(targets.mean(axis=0), (len(test), 1))
    learnt = np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0))
    features = _features(train, test)
    if features is None or not len(learnt):
        return probabilities
    train_features, test_features = features
    model = LogisticRegression(C=10.0, max_iter=1000)
    if multi:
        fitted = OneVsRestClassifier(model).fit(train_features, targets[:, learnt].astype(int))
        probabilities[:, learnt] = fitted.predict_proba(test_features).reshape(len(test), -1)[:, -len(learnt) :]
        return probabilities
    fitted = model.fit(train_features, targets.argmax(axis=1))
    probabilities[:, fitted.classes_] = fitted.predict_proba(test_features)
    return probabilities


def _features(train: Sequence[str], test: Sequence[str]) -> tuple[Any, Any] | None:
    """The TF-IDF weights of both, sparse, shape (texts, features); None if the training texts have no characters."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    # A text of one word has no space, however short it is: most texts in Chinese are such.
    spaced = np.mean([len(text.split()[1:]) / max(len(text), 1) for text in train[:1000]]) > 0.05
    words, characters = {"ngram_range": (1, 2)}, {"analyzer": "char", "ngram_range": (1, 3)}
    for ngrams in (words, characters) if spaced else (characters,):
        vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2 if len(train) > 1000 else 1, **ngrams)
        with contextlib.suppress(ValueError):  # its vocabulary is empty: words have two letters at least
            return vectorizer.fit_transform(train), vectorizer.transform(test)
    return None
