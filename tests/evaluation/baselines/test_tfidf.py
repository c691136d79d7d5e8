"""Baselines of classification: the majority class, TF-IDF with logistic regression."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen.evaluation import classification as measuring
from seqgen.evaluation.baselines import tfidf as linear_rival
from tests.helpers.classifiers import made_up_reviews


def test_majority_baseline_predicts_the_commonest_label() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 1]], dtype=bool)
    found = measuring.majority_baseline(np.array([0.7, 0.3]), targets, ("a", "b"), multi=False)
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_tfidf_learns_separable_texts() -> None:
    if not linear_rival.is_available():
        pytest.skip("scikit-learn is not installed")
    texts, targets = made_up_reviews(80)
    words = [text.decode() for text in texts]
    for multi in (False, True):
        found = linear_rival.fit_predict_proba(words[:60], targets[:60].numpy().astype(bool), words[60:], multi)
        assert (found.argmax(1) == targets[60:].argmax(1).numpy()).mean() > 0.9
