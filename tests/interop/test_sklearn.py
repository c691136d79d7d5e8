"""The estimator of scikit-learn."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from seqgen.sklearn import TextClassifier

GOOD, BAD = "a lovely warm day {}", "cold rain and mud {}"
TEXTS = [(GOOD if n % 3 else BAD).format(n) for n in range(60)]
LABELS = np.array([3 if n % 3 else -1 for n in range(60)])
SMALL = {"steps": 10, "threads": 1, "options": {"rnn_size": 16, "tokenizer": "char"}}


@pytest.fixture(scope="module")
def fitted() -> TextClassifier:
    return TextClassifier(**SMALL).fit(TEXTS, LABELS)


def test_text_classifier_predicts_its_own_labels(fitted: TextClassifier) -> None:
    assert fitted.classes_.tolist() == [-1, 3]
    probabilities = fitted.predict_proba(["a lovely day", "rain and mud"])
    assert probabilities.shape == (2, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert fitted.predict(["a lovely warm day", "cold rain and mud"]).tolist() == [3, -1]
    assert fitted.score(TEXTS, LABELS) > 0.9
    np.testing.assert_array_equal(fitted.predict(np.array(TEXTS)[:, None]), fitted.predict(TEXTS))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_text_classifier_passes_the_checks_of_scikit_learn() -> None:
    check_estimator(TextClassifier(**SMALL))


def test_text_classifier_state_is_its_files(fitted: TextClassifier) -> None:
    again = copy.deepcopy(fitted)  # by __getstate__ and __setstate__, as those do that store estimators
    assert again.model_.checkpoint.folder != fitted.model_.checkpoint.folder
    np.testing.assert_array_equal(again.predict_proba(TEXTS[:5]), fitted.predict_proba(TEXTS[:5]))
    with pytest.raises(NotFittedError):
        clone(fitted).predict(TEXTS)
    assert copy.deepcopy(clone(fitted)).get_params() == fitted.get_params()


def test_text_classifier_in_a_pipeline_and_cross_validated() -> None:
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    found = cross_val_predict(make_pipeline(lower, TextClassifier(**SMALL)), np.array(TEXTS), LABELS, cv=2)
    assert (found == LABELS).mean() > 0.8


def test_model_of_a_classifier_outlives_it_and_takes_its_folder_away() -> None:
    model = TextClassifier(**SMALL).fit(TEXTS, LABELS).model_
    folder = model.checkpoint.folder
    gc.collect()
    assert len(model.classify(TEXTS[:1])) == 1
    del model
    gc.collect()
    assert not folder.exists()


def test_options_and_random_states_as_searches_for_parameters_give_them() -> None:
    options = {"rnn_size": np.int64(16), "tokenizer": "char", "epochs": np.float64(1.0), "seed": 3, "threads": 1}
    for random_state in (np.random.RandomState(0), np.random.default_rng(0)):
        found = TextClassifier(options=options, random_state=random_state).fit(TEXTS, LABELS)
        assert found.model_.checkpoint.config["training"]["options"]["epochs"] == 1
        assert found.model_.checkpoint.config["training"]["options"]["seed"] == 3


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), "text beside numbers"])
def test_labels_that_do_not_sort_are_a_value_error(missing: object) -> None:
    with pytest.raises(ValueError, match="y has "):
        TextClassifier(**SMALL).fit(TEXTS, [*LABELS[1:].tolist(), missing])


def test_text_classifier_wrong_data_is_a_value_error() -> None:
    for texts, labels in (
        (TEXTS, LABELS[:-1]),
        ("text", [1]),
        ([1, 2], [0, 1]),
        (["a", "b"], [1, 1]),
        ([["a", "b"]], [1]),
        (["", "a", " "], ["bad", "good", "bad"]),
    ):
        with pytest.raises(ValueError):
            TextClassifier(**SMALL).fit(texts, labels)


def test_labels_of_several_columns_are_told_by_their_shape() -> None:
    with pytest.raises(ValueError, match=r"its shape is \(60, 2\)"):
        TextClassifier(**SMALL).fit(TEXTS, np.stack([LABELS, LABELS], axis=1))
