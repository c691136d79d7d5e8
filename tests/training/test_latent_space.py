"""Soft labels of texts without labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqgen.model.ngrams import BUCKETS, Bags, bags, concat_bags
from seqgen.training.latent_space import LatentSpace, soft_labels


def two_kinds(count: int, seed: int) -> tuple[Bags, torch.Tensor]:
    """Texts of six out of sixty words of their kind, and six of a hundred that both have."""
    random, texts, targets = np.random.default_rng(seed), [], torch.zeros(count, 2)
    for number in range(count):
        kind = number % 2
        words = [f"{'ab'[kind]}{n}" for n in random.integers(60, size=6)] + [
            f"c{n}" for n in random.integers(100, size=6)
        ]
        random.shuffle(words)
        texts.append(" ".join(words).encode())
        targets[number, kind] = 1
    return bags(texts, 1, BUCKETS), targets


@pytest.mark.parametrize("multi", [False, True])
def test_soft_labels_of_texts_that_share_few_words_with_the_labelled(multi: bool) -> None:
    """Four labelled texts have 24 of the 120 words that matter; the others say which words belong together."""
    labelled, targets = two_kinds(4, 1)
    others, truth = two_kinds(600, 2)
    space = LatentSpace(concat_bags(labelled, others), 0)
    points = space.points(others)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(600))
    found = soft_labels(space.points(labelled), targets, points, multi)
    assert found.shape == (600, 2)
    if not multi:
        torch.testing.assert_close(found.sum(1), torch.ones(600))
    assert (found.argmax(1) == truth.argmax(1)).float().mean() > 0.85


def test_latent_space_of_the_same_seed_is_the_same() -> None:
    found, _ = two_kinds(150, 3)
    assert torch.equal(LatentSpace(found, 0).points(found), LatentSpace(found, 0).points(found))


def test_latent_space_of_texts_without_ngrams_is_finite() -> None:
    found = bags([b"", b"one two", b"one two", b""], 1, BUCKETS)
    points = LatentSpace(found, 0).points(found)
    assert torch.isfinite(points).all()
    assert (points[0] == 0).all()
