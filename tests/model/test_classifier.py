"""The classifier: chunks, weights, pooling, both directions, and its configuration."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqgen.config import DIRECTIONS, ClassifierConfig, GenerativeConfig
from seqgen.errors import UserError
from seqgen.generation.classification.base import ThreadedClassifier
from seqgen.generation.classification.numpy import CpuClassifier
from seqgen.model.chunks import chunk_texts, group_by_length
from seqgen.model.classifier import Classifier, reverse
from seqgen.model.weight_shapes import weight_shapes
from seqgen.specs.cells import CELLS
from tests.helpers.classifiers import classifier_config, make_classifier


def some_texts(*lengths: int) -> list[np.ndarray]:
    chance = np.random.default_rng(3)
    return [chance.integers(11, size=length) for length in lengths]


# ---- The layout ----


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 9))
def test_chunk_texts_has_every_id_once_in_order(lengths: list[int], stretch: int) -> None:
    texts = some_texts(*lengths)
    laid = chunk_texts(texts, stretch)
    assert laid.ids.shape[0] <= stretch
    for number, text in enumerate(texts):
        columns = np.flatnonzero(laid.text_indices == number)
        read = np.concatenate([laid.ids[: laid.lengths[column], column] for column in columns])
        assert read.tolist() == text.tolist()


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 100))
def test_group_by_length_has_each_chunk_once_in_bounded_groups(lengths: list[int], most: int) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    groups = group_by_length(sizes, most)
    assert sorted(np.concatenate(groups).tolist() if groups else []) == list(range(len(lengths)))
    assert all(len(group) == 1 or len(group) * sizes[group].max() <= most for group in groups)


@pytest.mark.parametrize(("units", "vocabulary"), [(32, 40), (48, 2000), (100, 300)])
@pytest.mark.parametrize("generative", [False, True])
def test_light_classifier_split_batches_give_the_same_bits(units: int, vocabulary: int, generative: bool) -> None:
    """Shards of a job can be computed separately and joined."""
    shape: dict[str, Any] = {"vocab_size": vocabulary, "labels": ("a", "b", "c"), "rnn_size": units,
                             "embedding_size": 32}  # fmt: skip
    chance = np.random.default_rng(units)
    config = GenerativeConfig(**shape) if generative else ClassifierConfig(**shape, stretch=20)
    weights = {n: chance.normal(0, 0.3, s).astype(np.float32) for n, s in weight_shapes(config).items()}
    read = CpuClassifier(config, weights, NumberCodec(vocabulary))
    texts = [chance.integers(4, vocabulary, size=int(size)).tobytes() for size in chance.integers(1, 90, size=50)]
    whole = read(texts)
    for cuts in ([1, 2, 3, 49], [25], sorted(chance.integers(1, 50, size=9))):
        parts = [read(texts[a:b]) for a, b in itertools.pairwise([0, *cuts, 50]) if a < b]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


class NumberCodec:
    """Ids as their memory, eight bytes each."""

    end = 3

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode(self, data: bytes) -> np.ndarray:
        return np.frombuffer(data, dtype=np.int64)


def test_reverse_keeps_the_padding_at_the_end() -> None:
    ids = torch.tensor([[1, 4], [2, 5], [3, 0]])
    assert reverse(ids, torch.tensor([3, 2])).tolist() == [[3, 5], [2, 4], [1, 0]]


# ---- The network ----


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("features", [0, 7])
def test_classifier_state_dict_has_the_weight_shapes(cell: str, direction: str, features: int) -> None:
    made = classifier_config(cell=cell, direction=direction, features=features, num_layers=2)
    shapes = {name: tuple(weight.shape) for name, weight in Classifier(made).state_dict().items()}
    assert shapes == weight_shapes(made)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_classifier_logits_do_not_depend_on_other_texts(cell: str, direction: str) -> None:
    made = make_classifier(cell=cell, direction=direction)
    texts = some_texts(1, 9, 3, 17, 4)
    with torch.inference_mode():
        together = made.predict_logits(texts)
        apart = torch.cat([made.predict_logits([text]) for text in texts])
        at_once = made.network_logits(chunk_texts(texts, 4), len(texts))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, at_once, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["dropout", "weight_drop"])
def test_classifier_masks_apply_in_training_only(kind: str) -> None:
    """Each without the other too."""
    made = make_classifier(**{"dropout": 0.0, kind: 0.5})
    chunks, texts = chunk_texts(some_texts(4, 7), 5), 2

    def logits(generator: torch.Generator | None) -> torch.Tensor:
        return made.network_logits(chunks, texts, generator, torch.float32).detach()

    wanted = logits(None)
    made.train()
    assert not torch.allclose(logits(torch.Generator().manual_seed(1)), wanted)
    assert torch.equal(logits(None), wanted)
    made.eval()
    assert torch.equal(logits(torch.Generator().manual_seed(1)), wanted)


def test_classifier_pools_last_maximum_and_mean() -> None:
    made = make_classifier(direction="forward", stretch=100, num_layers=1)
    (text,) = some_texts(7)
    laid = chunk_texts([text], 100)
    with torch.inference_mode():
        ((_, hidden),) = made.outputs(torch.from_numpy(laid.ids), torch.from_numpy(laid.lengths), None, None, 0.0)
        steps = hidden[:, 0]
        pooled = torch.cat([steps[-1], steps.max(0).values, steps.mean(0)])
        wanted = made.head_weight @ pooled + made.head_bias
        torch.testing.assert_close(made.predict_logits([text])[0], wanted, atol=1e-5, rtol=1e-5)


def test_classifier_backward_direction_ends_at_the_first_id() -> None:
    """The last output depends on the first chunk, not on the last."""
    made = make_classifier(direction="backward")
    one, other = some_texts(12, 12)
    mixed = np.concatenate([one[:4], other[4:]])
    size = made.config.rnn_size
    with torch.inference_mode():
        made.head_weight[:, size:] = 0  # only the last output
        torch.testing.assert_close(made.predict_logits([one]), made.predict_logits([mixed]))
        assert not torch.allclose(made.predict_logits([one]), made.predict_logits([other]))


def test_predict_logits_empty_text_gets_the_output_bias() -> None:
    made = make_classifier()
    with torch.inference_mode():
        found = made.predict_logits([np.zeros(0, dtype=np.int64), *some_texts(3)])
    torch.testing.assert_close(found[0], made.head_bias)
    with torch.inference_mode():
        assert made.predict_logits([np.zeros(0, dtype=np.int64)]).shape == (1, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"labels": ("a",)}, {"labels": ("a", "a")}, {"direction": "up"}, {"features": -1}, {"features": (1 << 24) + 1},
     {"ngrams": 0}, {"affixes": -1}, {"affixes": 17}, {"stretch": 0}, {"rnn_size": 0}, {"dropout": 1.0}, {"cell": "x"},
     {"activation": "x"}],
)  # fmt: skip
def test_classifier_config_invalid_value_raises_user_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        classifier_config(**wrong)


def test_classifier_config_survives_json() -> None:
    import json

    from seqgen.config import from_json

    made = classifier_config(stop_words=("the",), multi=True)
    assert from_json(ClassifierConfig, json.loads(json.dumps(dataclasses.asdict(made)))) == made


def test_threaded_classifier_gives_the_same_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lengths:
        labels = ("a", "b")

        def __call__(self, texts: Sequence[bytes]) -> npt.NDArray[np.float32]:
            seen.append(len(texts))
            return np.array([[len(text), text[0]] for text in texts], dtype=np.float32)

    seen: list[int] = []
    monkeypatch.setattr("seqgen.generation.classification.base._MIN_THREADED_BYTES", 50)
    shared = ThreadedClassifier(Lengths(), 3)
    for texts in ([b"x"] * 4, [b"abc" * n for n in range(1, 40)], [b"z" * 500, *[b"q"] * 9], [b"q"] * 9 + [b"z" * 500]):
        seen.clear()
        found = shared(texts)
        np.testing.assert_array_equal(found, Lengths()(texts))
    seen.clear()
    shared([b"abcdefgh"] * 30)
    assert sum(seen) == 30
    assert len(seen) == 3
    assert max(seen) <= 11
