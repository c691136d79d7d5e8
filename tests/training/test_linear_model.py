"""The linear model over n-grams: its words, its optimum, and warm starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqgen.model.ngrams import BUCKETS, bags, concat_bags
from seqgen.training import linear_model as wide
from tests.helpers.classifiers import made_up_reviews, make_classifier


def test_logistic_regression_weights_the_telling_words() -> None:
    texts, targets = made_up_reviews(200)
    found = bags(texts, 2, BUCKETS)
    keys = wide.frequent_buckets(found, 200, 1 << 20)
    problem = wide.LogisticRegression(found, keys, targets, multi=False)
    fitted = problem.linear(problem.fit_moderate_penalty())
    made = make_classifier(labels=("fine", "poor"), features=len(keys))
    made.set_linear_model(keys, fitted.weight, fitted.bias)
    unseen, truth = made_up_reviews(400)
    logits = made.linear_logits(bags(unseen[200:], 2, BUCKETS))
    assert logits is not None
    assert (logits.argmax(1) == truth[200:].argmax(1)).all()


def test_logistic_regression_reaches_the_convex_optimum() -> None:
    """The gradient vanishes, computed with the dense matrix."""
    texts, targets = made_up_reviews(30)
    found = bags(texts, 1, BUCKETS)
    keys = wide.frequent_buckets(found, 30, 1 << 20)
    problem = wide.LogisticRegression(found, keys, targets, multi=False)
    weight, bias = torch.zeros(len(keys), 2), torch.zeros(2)
    problem._solve(weight, bias, 1e-2)
    dense = torch.zeros(30, len(keys))
    for number in range(30):
        own = found.buckets[found.starts[number] : found.starts[number + 1]]
        dense[number, np.flatnonzero(np.isin(keys, own))] = len(own) ** -0.5
    weight.requires_grad_()
    logits = dense @ (weight * problem._ratio) + bias
    loss = torch.nn.functional.cross_entropy(logits, targets) + 0.5e-2 * weight.square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.abs().max() < 1e-4


def test_refit_on_more_texts_keeps_the_penalty() -> None:
    texts, targets = made_up_reviews(300)
    first, second = bags(texts[:200], 1, BUCKETS), bags(texts[200:], 1, BUCKETS)
    both = concat_bags(first, second)
    whole = bags(texts, 1, BUCKETS)
    np.testing.assert_array_equal(both.buckets, whole.buckets)
    np.testing.assert_array_equal(both.starts, whole.starts)
    keys = wide.frequent_buckets(first, 200, 1 << 20)
    near, logits = wide.LogisticRegression(first, keys, targets[:200], multi=False).fit_best_penalty(
        second, targets[200:]
    )
    assert (logits.argmax(1) == targets[200:].argmax(1)).float().mean() > 0.9
    problem = wide.LogisticRegression(both, keys, targets, multi=False)
    again = problem.refit(near)
    afresh = wide.Solution(near.penalty, torch.zeros_like(near.weight), near.bias)
    for _ in range(5):
        afresh = problem.refit(afresh)
    torch.testing.assert_close(again.weight, afresh.weight, atol=2e-2, rtol=0.05)
    assert not torch.equal(again.weight, near.weight)


def test_best_penalty_is_found_between_the_powers_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, targets = made_up_reviews(300)
    wrong = torch.arange(300) % 7 == 0
    noisy = torch.where(wrong[:, None], targets.flip(1), targets)  # what a weak penalty learns by heart
    first, second = bags(texts[:200], 1, BUCKETS), bags(texts[200:], 1, BUCKETS)
    problem = wide.LogisticRegression(first, wide.frequent_buckets(first, 200, 1 << 20), noisy[:200], multi=False)

    def loss(between: tuple[float, ...]) -> tuple[float, float]:
        monkeypatch.setattr(wide, "_BETWEEN", between)
        solution, logits = problem.fit_best_penalty(second, noisy[200:])
        return solution.penalty, wide.temperature_scaled_loss(logits, noisy[200:], multi=False)

    factors = wide._BETWEEN
    (coarse, before), (fine, after) = loss(()), loss(factors)
    assert after < before
    assert fine / coarse == pytest.approx(10**0.5) or coarse / fine == pytest.approx(10**0.5)
    late = wide.LogisticRegression(
        first, wide.frequent_buckets(first, 200, 1 << 20), noisy[:200], multi=False, deadline=0.0
    )
    assert late.fit_best_penalty(second, noisy[200:])[0].penalty == wide._PENALTIES[0], "no time for another fit"


def test_frequent_buckets_many_texts_drop_n_grams_of_one_text() -> None:
    texts = [f"common word{number}".encode() for number in range(1200)]
    found = bags(texts, 1, BUCKETS)
    assert len(wide.frequent_buckets(found, 1200, 1 << 20)) < 60  # "common", and n-grams that share a bucket
    assert len(wide.frequent_buckets(found, 100, 1 << 20)) > 1000
    assert len(wide.frequent_buckets(found, 100, 10)) == 10


def test_linear_logits_unknown_words_give_the_bias() -> None:
    made = make_classifier(features=3)
    made.set_linear_model(np.array([1, 5, 9]), torch.ones(3, 3), torch.tensor([0.5, 0.0, -0.5]))
    logits = made.linear_logits(bags([b"", b"zzz"], 1, BUCKETS))
    assert logits is not None
    assert logits.tolist() == [[0.5, 0.0, -0.5]] * 2
    assert make_classifier().linear_logits(bags([b"x"], 1, BUCKETS)) is None


def test_logistic_regression_at_its_deadline_returns_the_best_solution_so_far() -> None:
    """It ends after one evaluation, at the prior: no worse than where it began."""
    texts = [f"good w{number}".encode() if number % 2 else f"bad w{number}".encode() for number in range(60)]
    targets = torch.eye(2)[[number % 2 for number in range(60)]]
    found = bags(texts, 2, BUCKETS)
    keys = wide.frequent_buckets(found, len(texts), 1000)
    problem = wide.LogisticRegression(found, keys, targets, multi=False, deadline=0.0)
    solution, logits = problem.fit_best_penalty(found, targets)
    assert not solution.weight.any()
    assert torch.allclose(logits.softmax(1), torch.full((60, 2), 0.5))
    assert problem.refit(solution).weight.shape == solution.weight.shape
