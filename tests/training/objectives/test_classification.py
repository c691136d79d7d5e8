"""The objective of classification: batches, windows of long texts, the calibrated mixture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqgen.model.classifier import Classifier
from seqgen.specs.cells import CELLS
from seqgen.training import linear_model as wide
from seqgen.training.objectives.classification import ClassificationObjective, LabelledIds, fit_mixture
from tests.helpers.classifiers import CPU, classifier_config, make_classifier


def test_fit_mixture_calibrates_without_negative_weights() -> None:
    chance = torch.Generator().manual_seed(0)
    truth = torch.randint(3, (4000,), generator=chance)
    targets = torch.nn.functional.one_hot(truth, 3).float()
    honest = torch.randn(4000, 3, generator=chance) + targets * 2
    share = honest.softmax(1)
    drawn = torch.nn.functional.one_hot(torch.multinomial(share, 1, generator=chance)[:, 0], 3).float()
    made = make_classifier()
    fit_mixture(made, honest * 3, None, drawn)  # three times overconfident
    assert made.mix[0].item() == pytest.approx(1 / 3, rel=0.1)
    fit_mixture(made, -honest, honest, drawn)  # one of the two predicts the opposite
    assert (made.mix >= 0).all()
    assert (made.mix[1] - made.mix[0]).item() == pytest.approx(1.0, rel=0.1)
    loss = wide.classification_loss(False)(made.combined_logits(-honest, honest), drawn)
    assert loss < math.log(3)


def test_fit_mixture_few_texts_hardly_shift_the_labels() -> None:
    made = make_classifier(labels=("x", "y"))
    fit_mixture(made, torch.zeros(6, 2), None, torch.eye(2)[[0] * 6])
    few = float(made.shift[0] - made.shift[1])
    fit_mixture(made, torch.zeros(600, 2), None, torch.eye(2)[[0] * 600])
    many = float(made.shift[0] - made.shift[1])
    assert 0 < few < 1
    assert many > 3


def test_fit_mixture_does_not_undo_the_weights_of_labels() -> None:
    made, targets = make_classifier(labels=("x", "y")), torch.eye(2)[[0] * 90 + [1] * 10]
    fit_mixture(made, torch.zeros(100, 2), None, targets)
    assert made.shift[0] - made.shift[1] > 0.5
    fit_mixture(made, torch.zeros(100, 2), None, targets, torch.tensor([10 / 18, 5.0]))
    assert made.shift.tolist() == pytest.approx([0, 0], abs=1e-3)


def labelled(count: int) -> LabelledIds:
    """Texts whose ids 1 and 2 decide the label."""
    chance = np.random.default_rng(4)
    texts = [chance.integers(3, 11, size=chance.integers(3, 12)) for _ in range(count)]
    for number, text in enumerate(texts):
        text[chance.integers(len(text))] = 1 + number % 2
    starts = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    return LabelledIds(
        np.concatenate(texts).astype(np.uint16), starts, np.eye(2, dtype=np.float32)[np.arange(count) % 2]
    )


def test_classification_batch_is_a_function_of_step_and_an_epoch_has_each_text_once() -> None:
    objective = ClassificationObjective(make_classifier(labels=("x", "y")), labelled(150), None, None, CPU, 8, seed=5)
    again = ClassificationObjective(make_classifier(labels=("x", "y")), labelled(150), None, None, CPU, 8, seed=5)
    one_pass = [objective.batch(step) for step in range(objective.steps_per_epoch)]
    assert sorted(np.concatenate(one_pass).tolist()) == list(range(150))
    assert [batch.tolist() for batch in one_pass] == [again.batch(step).tolist() for step in range(len(one_pass))]
    assert objective.batch(0).tolist() != objective.batch(objective.steps_per_epoch).tolist()


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=20), st.integers(0, 1000), st.integers(0, 9))
def test_classification_windows_cut_long_texts_only(lengths: list[int], step: int, seed: int) -> None:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    texts = LabelledIds(np.arange(starts[-1], dtype=np.uint32), starts, np.ones((len(lengths), 2), dtype=np.float32))
    objective = ClassificationObjective(make_classifier(labels=("x", "y")), texts, None, None, CPU, 8, seed)
    chosen, sizes = np.arange(len(lengths)), texts.window_lengths
    windows = objective._windows(step, chosen, sizes)
    for number, (window, size) in enumerate(zip(windows, sizes, strict=True)):
        whole = texts.text(number)
        assert len(window) == size == (len(whole) if len(whole) <= 320 else max(320, -(-len(whole) // 2)))
        place = int(window[0]) - int(whole[0])
        np.testing.assert_array_equal(window, whole[place : place + size])
    again = objective._windows(step, chosen, sizes)
    assert all((one == other).all() for one, other in zip(windows, again, strict=True))


def test_classification_windows_vary_and_reach_both_ends() -> None:
    texts = LabelledIds(np.arange(1000, dtype=np.uint16), np.array([0, 1000]), np.ones((1, 2), dtype=np.float32))
    objective = ClassificationObjective(make_classifier(labels=("x", "y")), texts, None, None, CPU, 8, 0)
    places = [int(objective._windows(step, np.array([0]), np.array([500]))[0][0]) for step in range(3000)]
    assert min(places) < 5
    assert max(places) > 495
    assert len(set(places)) > 450


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"smoothing": 0.1, "weights": np.array([1.0, 2.0], dtype=np.float32)}])
@pytest.mark.parametrize("multi", [False, True])
def test_classification_objective_learns_labels(cell: str, options: dict[str, Any], multi: bool) -> None:
    made = Classifier(
        classifier_config(labels=("x", "y"), cell=cell, multi=multi, rnn_size=16), torch.Generator().manual_seed(1)
    )
    objective = ClassificationObjective(made, labelled(200), labelled(60), None, CPU, 16, 0, **options)
    optimiser = torch.optim.Adam([w for w in made.parameters() if w.requires_grad], lr=0.02)
    for step in range(60):
        optimiser.zero_grad()
        loss, ids = objective.loss(step, torch.Generator().manual_seed(step))
        assert ids > 0
        loss.backward()
        optimiser.step()
    made.eval()
    found = objective.validate()
    assert found is not None
    assert found < 0.3
    assert objective.metrics["accuracy"] > 0.9
    assert "accuracy_wide" not in objective.metrics


def test_load_carried_state_of_other_texts_is_refused() -> None:
    objective = ClassificationObjective(
        make_classifier(labels=("x", "y")), labelled(20), labelled(6), torch.zeros(6, 2), CPU, 8, 0
    )
    objective.load_carried_state({"wide": torch.ones(6, 2)})
    for shape in ((5, 2), (6, 3), (12,)):
        with pytest.raises(ValueError, match="not of these texts"):
            objective.load_carried_state({"wide": torch.ones(shape)})
    objective.load_carried_state({})
    assert torch.equal(objective.carried_state()["wide"], torch.ones(6, 2))
