"""Classification without PyTorch: equal to PyTorch's, and independent of the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import seqgen
from seqgen.config import AnyClassifierConfig, ClassifierConfig, GenerativeConfig
from seqgen.generation.classification.base import ThreadedClassifier
from seqgen.generation.classification.numpy import CpuClassifier, Discriminative
from seqgen.generation.classification.recurrent_stack import CpuStack
from seqgen.generation.classification.torch import load_torch_classifier
from seqgen.model.weight_shapes import weight_shapes
from seqgen.native import library
from seqgen.tokenizers import Codec
from seqgen.tokenizers.characters import CharCodec
from seqgen.tokenizers.labelled import LabelledCodec
from tests.helpers.kernels import disable_kernels
from tests.helpers.running import imported_packages

TEXTS = [
    b"the old lamp was lit", b"", b"   ", b"a", "灯塔的灯亮了 café".encode(), b"\xff\x80 no text at all", b"The END\n",
    b"a long one " * 60, b"another, longer still " * 120, b"lamp lamp lamp",
]  # fmt: skip
TEXT_CODEC = CharCodec.fit([b" ".join(TEXTS)])


def some_weights(config: AnyClassifierConfig, seed: int = 1) -> dict[str, npt.NDArray[np.float32]]:
    chance = np.random.default_rng(seed)
    weights = {name: chance.normal(0, 0.3, shape).astype(np.float32) for name, shape in weight_shapes(config).items()}
    if "wide_keys" in weights:
        keys = chance.choice(1 << 24, len(weights["wide_keys"]), replace=False)
        known = np.unique(np.concatenate([_buckets(config), keys]))[: len(keys)]
        weights["wide_keys"] = np.sort(known).astype(np.float32)
    return weights


def _buckets(config: AnyClassifierConfig) -> npt.NDArray[np.int64]:
    from seqgen.model.ngrams import BUCKETS, bags

    assert isinstance(config, ClassifierConfig)
    return bags(TEXTS[:1], config.ngrams, BUCKETS, affixes=config.affixes).buckets


def compare(config: AnyClassifierConfig, codec: Codec, tolerance: float) -> None:
    weights = some_weights(config)
    theirs = load_torch_classifier([(config, weights)], codec, torch.device("cpu"))
    ours = CpuClassifier(config, weights, codec)
    assert ours.labels == theirs.labels
    wanted, found = theirs(TEXTS), ours(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert np.ptp(wanted, axis=0).min() > 1e-3, "texts must differ, or nothing is compared"
    np.testing.assert_allclose(found, wanted, atol=tolerance)
    for number in (0, 1, 7):  # a text's are its own
        np.testing.assert_array_equal(ours(TEXTS[number : number + 1])[0], found[number])
    assert ours([]).shape == (0, len(config.labels))


CASES: list[dict[str, Any]] = [
    {"cell": cell, "direction": direction, "num_layers": layers}
    for cell in ("lstm", "gru", "rnn") for direction in ("both", "forward", "backward") for layers in (1, 2)
] + [
    {"cell": "rnn", "activation": "relu"}, {"multi": True}, {"features": 0}, {"ngrams": 1}, {"affixes": 5},
    {"stretch": 7},
    {"lowercase": True, "stop_words": ("the", "long")},
]  # fmt: skip


@pytest.fixture(params=["numpy", "compiled", "compiled, padded"])
def units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many a network has: the kernels take multiples of sixteen, so others are padded."""
    if request.param == "numpy":
        disable_kernels(monkeypatch)
    elif library() is None:
        pytest.skip("no kernels")
    return 32 if request.param == "compiled" else 20


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cpu_classifier_discriminative_equals_torch(case: dict[str, Any], units: int) -> None:
    config = ClassifierConfig(TEXT_CODEC.vocab_size, ("a", "b", "c"), rnn_size=units, embedding_size=11,
                              **{"features": 50, **case})  # fmt: skip
    compare(config, TEXT_CODEC, 1e-5)


def test_cpu_classifier_members_equal_torch_and_the_mean_of_their_logits(units: int) -> None:
    config = ClassifierConfig(TEXT_CODEC.vocab_size, ("a", "b", "c"), rnn_size=units, embedding_size=11, features=50)
    narrow = dataclasses.replace(config, rnn_size=8, num_layers=2, features=0)
    first, second = some_weights(config), some_weights(narrow, 2)
    ours = CpuClassifier(config, first, TEXT_CODEC, [(narrow, second)])
    found = ours(TEXTS)
    theirs = load_torch_classifier([(config, first), (narrow, second)], TEXT_CODEC, torch.device("cpu"))
    np.testing.assert_allclose(found, theirs(TEXTS), atol=1e-5)
    for number in (0, 1, 7):  # a text's are its own
        np.testing.assert_array_equal(ours(TEXTS[number : number + 1])[0], found[number])
    # The second network alone, with the linear model of the first.
    linear = {name: first[name] for name in first if name.startswith("wide_")}
    alone = CpuClassifier(dataclasses.replace(narrow, features=50), {**second, **linear}, TEXT_CODEC)(TEXTS)
    logits = (np.log(CpuClassifier(config, first, TEXT_CODEC)(TEXTS)) + np.log(alone)) / 2
    mean = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    empty = [number for number, text in enumerate(TEXTS) if not text.strip()]  # these have the first one's prior
    np.testing.assert_allclose(np.delete(found, empty, 0), np.delete(mean, empty, 0), atol=1e-5)


def test_cpu_stack_table_of_all_ids_changes_nothing(units: int) -> None:
    """It is made when as many ids have been read as there are: the first answers are without, the later ones with."""
    config = ClassifierConfig(TEXT_CODEC.vocab_size, ("a", "b"), rnn_size=units)
    weights = some_weights(config)
    ours = CpuClassifier(config, weights, TEXT_CODEC)
    first = ours(TEXTS[:1])
    assert isinstance(ours._network, Discriminative)
    assert all(stack._table is None for stack in ours._network._stacks)
    ours(TEXTS)
    assert all(stack._table is not None for stack in ours._network._stacks)
    np.testing.assert_array_equal(ours(TEXTS[:1]), first)


def test_cpu_stack_text_is_the_same_in_any_batch() -> None:
    """Bit for bit, however many stand beside one another."""
    if library() is None:
        pytest.skip("no kernels")
    config = ClassifierConfig(50, ("a", "b"), rnn_size=48, cell="gru")
    stack = CpuStack(config, some_weights(config), "readers.0.")
    chance = np.random.default_rng(3)
    ids, lengths = chance.integers(50, size=(31, 40)), chance.integers(1, 32, size=40)
    together = stack.summaries(ids, lengths)
    for number in (0, 7, 39):
        steps = int(lengths[number])
        alone = stack.summaries(ids[:steps, number : number + 1], lengths[number : number + 1])
        np.testing.assert_array_equal(alone[0], together[number])


@pytest.mark.parametrize("case", [
    {}, {"cell": "gru", "num_layers": 2}, {"cell": "rnn"}, {"tie_weights": True},
    {"tie_weights": True, "embedding_size": 32}, {"lowercase": True},
], ids=str)  # fmt: skip
def test_cpu_classifier_generative_equals_torch(case: dict[str, Any], units: int) -> None:
    codec = LabelledCodec(TEXT_CODEC, 3)
    sizes = {"rnn_size": units, "embedding_size": 11, **case}
    compare(GenerativeConfig(codec.vocab_size, **sizes, labels=("a", "b", "c")), codec, 1e-3)


@pytest.fixture(scope="module")
def mood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mood")
    words = {"good": "lovely fine warm kind", "bad": "broken cold rude slow"}
    rows = [f'{{"text": "it was {w} and {v}", "label": "{label}"}}\n' for label, some in words.items()
            for w in some.split() for v in some.split() for _ in range(2)]  # fmt: skip
    (place / "rows.jsonl").write_text("".join(rows))
    seqgen.train(str(place / "rows.jsonl"), place / "model", task="classify", steps=20, rnn_size=16, threads=1,
                 precision="fp32")  # fmt: skip
    return place / "model"


def test_classify_on_the_cpu_imports_no_torch(mood: Path) -> None:
    program = (
        "import sys\nfrom seqgen.cli.main import main\nassert main(['classify', *sys.argv[1:]]) == 0\n"
        "import io\nassert 'torch' not in sys.modules"
    )
    (mood.parent / "texts").write_text("it was lovely\nit was broken\n")
    assert "numpy" in imported_packages(program, mood, mood.parent / "texts", "-o", mood.parent / "out")
    assert [line.split("\t")[0] for line in (mood.parent / "out").read_text().splitlines()] == ["good", "bad"]


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "numpy"])
def test_classify_one_text_equals_the_same_text_among_others(
    mood: Path, monkeypatch: pytest.MonkeyPatch, kernels: bool
) -> None:
    """To the last bit, with 16 units and with 20, whichever arithmetic serves."""
    if not kernels:
        disable_kernels(monkeypatch)
    model = seqgen.load(mood)
    texts = [f"it was {word} and {number}" for number in range(37) for word in ("lovely", "rude", "")]
    together = model.classify(texts)
    assert together == [model.classify([text])[0] for text in texts]
    assert together[10:50] == model.classify(texts[10:50])


@pytest.mark.parametrize("case", [{}, {"cell": "gru", "num_layers": 2, "rnn_size": 20}, {"cell": "rnn"}],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("generative", [False, True], ids=["network", "generative"])
def test_cpu_classifier_batch_never_changes_a_bit(case: dict[str, Any], generative: bool, units: int) -> None:
    sizes = {"rnn_size": units, **case}
    if generative:
        sizes.pop("direction", None)
        codec: Codec = LabelledCodec(TEXT_CODEC, 3)
        config: AnyClassifierConfig = GenerativeConfig(codec.vocab_size, **sizes, labels=("a", "b", "c"))
    else:
        codec, config = TEXT_CODEC, ClassifierConfig(TEXT_CODEC.vocab_size, ("a", "b"), features=50, **sizes)
    ours = CpuClassifier(config, some_weights(config), codec)
    together = ours(TEXTS * 4)
    for number, text in enumerate(TEXTS):
        np.testing.assert_array_equal(ours([text])[0], together[number])
    np.testing.assert_array_equal(ours(TEXTS[3:] + TEXTS[:3])[: len(TEXTS) - 3], together[3 : len(TEXTS)])


def test_threaded_classifier_threads_end_with_the_classifier() -> None:
    class Constant:
        labels = ("a", "b")

        def __call__(self, texts: Sequence[bytes]) -> npt.NDArray[np.float32]:
            return np.full((len(texts), 2), 0.5, dtype=np.float32)

    threaded = ThreadedClassifier(Constant(), 2)
    assert threaded([b"x" * 40_000] * 4).shape == (4, 2)
    pool = threaded._threads.pool()
    del threaded
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)
