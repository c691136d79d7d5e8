"""Baselines of classification: the majority class, TF-IDF with logistic regression."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen.evaluation import classification as measuring
from seqgen.evaluation.baselines import tfidf
from tests.helpers.classifiers import made_up_reviews


def test_majority_baseline_predicts_the_commonest_label() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 1]], dtype=bool)
    found = measuring.majority_baseline(np.array([0.7, 0.3]), targets, ("a", "b"), multi=False)
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_tfidf_learns_separable_texts() -> None:
    if not tfidf.is_available():
        pytest.skip("scikit-learn is not installed")
    texts, targets = made_up_reviews(80)
    words = [text.decode() for text in texts]
    for multi in (False, True):
        found = tfidf.fit_predict_proba(words[:60], targets[:60].numpy().astype(bool), words[60:], multi)
        assert (found.argmax(1) == targets[60:].argmax(1).numpy()).mean() > 0.9


def test_tfidf_of_texts_without_words_or_labels_to_learn() -> None:
    if not tfidf.is_available():
        pytest.skip("scikit-learn is not installed")
    targets = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], dtype=bool)
    marks = tfidf.fit_predict_proba(["! !", "? ?", "! !", "!"], targets, ["!", "?"], False)
    assert marks.argmax(axis=1).tolist() == [0, 1]
    assert tfidf.fit_predict_proba([""] * 4, targets, ["a"], False).tolist() == [[0.75, 0.25]]
    always = np.array([[1, 0], [1, 0]], dtype=bool)
    for multi in (False, True):
        assert tfidf.fit_predict_proba(["good day", "nice day"], always, ["day"], multi).tolist() == [[1.0, 0.0]]


def test_tfidf_of_texts_without_spaces_learns_from_their_characters() -> None:
    """Their words are whole clauses, which don't come again."""
    if not tfidf.is_available():
        pytest.skip("scikit-learn is not installed")
    train = ["我喜欢这本书", "他喜欢那部电影", "她喜欢吃饭", "我讨厌这本书", "他讨厌那部电影", "她讨厌吃饭"]
    targets = np.array([[1, 0]] * 3 + [[0, 1]] * 3, dtype=bool)
    found = tfidf.fit_predict_proba(train, targets, ["你喜欢唱歌", "你讨厌唱歌"], False)
    assert found.argmax(axis=1).tolist() == [0, 1]
