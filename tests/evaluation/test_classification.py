"""Metrics of classification."""

from __future__ import annotations

import numpy as np
import pytest

from seqgen.evaluation import classification as measuring


def test_classification_metrics_equal_values_by_hand() -> None:
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    targets = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], dtype=bool)
    found = measuring.classification_metrics(shares, targets, ("n", "p"), multi=False)
    assert found["accuracy"] == 0.75
    assert found["per_class"]["n"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert found["per_class"]["p"]["recall"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert found["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.4, 0.8, 0.7])))
    assert found["confusion"] == {"labels": ["n", "p"], "matrix": [[1, 0], [1, 2]]}
    assert found["expected_calibration_error"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.3) / 4)
    assert measuring.most_confident_mistakes(shares, targets, 5, multi=False) == [(1, pytest.approx(0.6))]


def test_macro_f1_is_the_mean_over_labels_that_occur_or_are_predicted() -> None:
    """As scikit-learn's: `c` is predicted once and never true, `d` neither."""
    shares = np.array([[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0], [0.1, 0.2, 0.7, 0]])
    targets = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]], dtype=bool)
    found = measuring.classification_metrics(shares, targets, ("a", "b", "c", "d"), multi=False)
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert list(found["per_class"]) == ["a", "b", "c", "d"]


def test_classification_metrics_multi_label_text_is_correct_only_with_all_labels() -> None:
    shares = np.array([[0.9, 0.8], [0.9, 0.2]])
    targets = np.array([[1, 1], [1, 1]], dtype=bool)
    found = measuring.classification_metrics(shares, targets, ("a", "b"), multi=True)
    assert found["accuracy"] == 0.5
    assert found["per_class"]["b"]["recall"] == 0.5
    assert measuring.most_confident_mistakes(shares, targets, 3, multi=True) == [(1, pytest.approx(0.8))]


def test_classification_metrics_multi_label_texts_without_any_label() -> None:
    targets = np.zeros((3, 2), dtype=bool)
    found = measuring.classification_metrics(np.full((3, 2), 0.2, dtype=np.float32), targets, ("a", "b"), multi=True)
    assert (found["accuracy"], found["macro_f1"]) == (1, 0)
    assert found["expected_calibration_error"] == pytest.approx(0.2)
    assert found["per_class"]["a"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
