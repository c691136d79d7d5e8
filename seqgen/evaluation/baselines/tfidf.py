"""TF-IDF and logistic regression as a baseline of text classifiers. Needs scikit-learn."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def is_available() -> bool:
    """Whether scikit-learn is installed."""
    return importlib.util.find_spec("sklearn") is not None


def fit_predict_proba(
    train: Sequence[str], targets: npt.NDArray[np.bool_], test: Sequence[str], multi: bool
) -> npt.NDArray[np.float64]:
    """Fit to the texts `train` and return the probabilities of `test`, shape (texts, labels).

    Features are sublinear TF-IDF of words and word pairs or, for scripts without spaces, of one to three characters.
    The logistic regression has an L2 penalty with C = 10. These are common choices, not tuned on the test set.

    Args:
        targets: shape (training texts, labels).
        multi: whether a text may have several labels.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    spaced = np.mean([len(text.split()) / max(len(text), 1) for text in train[:1000]]) > 0.05
    ngrams = {"ngram_range": (1, 2)} if spaced else {"analyzer": "char", "ngram_range": (1, 3)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2 if len(train) > 1000 else 1, **ngrams)
    train_features, test_features = vectorizer.fit_transform(train), vectorizer.transform(test)
    model = LogisticRegression(C=10.0, max_iter=1000)
    probabilities = np.zeros((len(test), targets.shape[1]))
    if multi:
        present = np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0))
        fitted = OneVsRestClassifier(model).fit(train_features, targets[:, present].astype(int))
        probabilities[:, present] = fitted.predict_proba(test_features).reshape(len(test), -1)[:, -len(present) :]
        return probabilities
    fitted = model.fit(train_features, targets.argmax(axis=1))
    probabilities[:, fitted.classes_] = fitted.predict_proba(test_features)
    return probabilities
