"""TF-IDF and logistic regression: the rival that every classifier of texts must beat (scikit-learn, an extra)."""

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
    """What the rival says of `test`, shape (texts, labels), after `train` with `targets` of that many columns.

    Words and pairs of words, or, where words are not set apart by spaces, one to three characters; sublinear TF-IDF;
    L2-penalised logistic regression with C = 10: common choices, none tuned on what is evaluated.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    spaced = np.mean([len(text.split()) / max(len(text), 1) for text in train[:1000]]) > 0.05
    how = {"ngram_range": (1, 2)} if spaced else {"analyzer": "char", "ngram_range": (1, 3)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2 if len(train) > 1000 else 1, **how)
    known, unknown = vectorizer.fit_transform(train), vectorizer.transform(test)
    model = LogisticRegression(C=10.0, max_iter=1000)
    found = np.zeros((len(test), targets.shape[1]))
    if multi:
        present = np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0))
        fitted = OneVsRestClassifier(model).fit(known, targets[:, present].astype(int))
        found[:, present] = fitted.predict_proba(unknown).reshape(len(test), -1)[:, -len(present) :]
        return found
    fitted = model.fit(known, targets.argmax(axis=1))
    found[:, fitted.classes_] = fitted.predict_proba(unknown)
    return found
