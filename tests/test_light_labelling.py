"""Texts sorted without PyTorch: the probabilities are PyTorch's, and large jobs are handed over to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import Run
from test_cli import imported

import seqgen
from seqgen.api import classifying
from seqgen.config import ClassifierConfig, GenerativeConfig, Sorter
from seqgen.generation.labellers import Gradual
from seqgen.generation.labelling import load_labeller
from seqgen.generation.light_labelling import LightLabeller, _Reader
from seqgen.generation.light_stack import LightStack
from seqgen.model.layout import weight_shapes
from seqgen.native import library
from seqgen.tokenizers import Codec
from seqgen.tokenizers.characters import CharCodec
from seqgen.tokenizers.labelled import LabelledCodec

TEXTS = [
    b"the old lamp was lit", b"", b"   ", b"a", "灯塔的灯亮了 café".encode(), b"\xff\x80 no text at all", b"The END\n",
    b"a long one " * 60, b"another, longer still " * 120, b"lamp lamp lamp",
]  # fmt: skip
TEXT_CODEC = CharCodec.fit([b" ".join(TEXTS)])


def some_weights(config: Sorter, seed: int = 1) -> dict[str, npt.NDArray[np.float32]]:
    chance = np.random.default_rng(seed)
    weights = {
        name: chance.normal(0, 0.3, shape).astype(np.float32) for name, shape in weight_shapes(config).items()
    }
    if "wide_keys" in weights:
        keys = chance.choice(1 << 24, len(weights["wide_keys"]), replace=False)
        known = np.unique(np.concatenate([_buckets(config), keys]))[: len(keys)]
        weights["wide_keys"] = np.sort(known).astype(np.float32)
    return weights


def _buckets(config: Sorter) -> npt.NDArray[np.int64]:
    from seqgen.model.ngrams import BUCKETS, bags

    assert isinstance(config, ClassifierConfig)
    return bags(TEXTS[:1], config.ngrams, BUCKETS).buckets


def compare(config: Sorter, codec: Codec, tolerance: float) -> None:
    weights = some_weights(config)
    theirs = load_labeller(config, weights, codec, torch.device("cpu"))
    ours = LightLabeller(config, weights, codec)
    assert ours.labels == theirs.labels
    wanted, found = theirs(TEXTS), ours(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert np.ptp(wanted, axis=0).min() > 1e-3, "texts must differ, or nothing is compared"
    np.testing.assert_allclose(found, wanted, atol=tolerance)
    for number in (0, 1, 7):  # a text's are its own
        np.testing.assert_allclose(ours(TEXTS[number : number + 1])[0], found[number], atol=1e-6)
    assert ours([]).shape == (0, len(config.labels))


CASES: list[dict[str, Any]] = [
    {"cell": cell, "direction": direction, "num_layers": layers}
    for cell in ("lstm", "gru", "rnn") for direction in ("both", "forward", "backward") for layers in (1, 2)
] + [
    {"cell": "rnn", "activation": "relu"}, {"multi": True}, {"features": 0}, {"ngrams": 1}, {"stretch": 7},
    {"lowercase": True, "stop_words": ("the", "long")},
]  # fmt: skip


@pytest.fixture(params=["numpy", "compiled"])
def units(request: pytest.FixtureRequest) -> int:
    """How many a network has: the kernels take multiples of sixteen."""
    if request.param == "compiled" and (library() is None or not library().seqgen_sequence_kinds()):
        pytest.skip("no kernels for this processor")
    return 32 if request.param == "compiled" else 20


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_network_sorts_as_with_torch(case: dict[str, Any], units: int) -> None:
    config = ClassifierConfig(TEXT_CODEC.vocab_size, ("a", "b", "c"), rnn_size=units, embedding_size=11,
                              **{"features": 50, **case})  # fmt: skip
    assert LightLabeller(config, some_weights(config), TEXT_CODEC).is_fast == (units == 32)
    compare(config, TEXT_CODEC, 1e-5)


def test_a_table_of_all_ids_changes_nothing(units: int) -> None:
    """It is made when as many ids have been read as there are: the first answers are without, the later ones with."""
    config = ClassifierConfig(TEXT_CODEC.vocab_size, ("a", "b"), rnn_size=units)
    weights = some_weights(config)
    ours = LightLabeller(config, weights, TEXT_CODEC)
    first = ours(TEXTS[:1])
    assert isinstance(ours._network, _Reader)
    assert all(stack._table is None for stack in ours._network._stacks)
    ours(TEXTS)
    assert all(stack._table is not None for stack in ours._network._stacks)
    np.testing.assert_allclose(ours(TEXTS[:1]), first, atol=1e-6)


def test_texts_of_the_kernels_do_not_know_of_each_other() -> None:
    """Bit for bit, however many stand beside one another."""
    if library() is None or not library().seqgen_sequence_kinds():
        pytest.skip("no kernels for this processor")
    config = ClassifierConfig(50, ("a", "b"), rnn_size=48, cell="gru")
    stack = LightStack(config, some_weights(config), "readers.0.")
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
def test_a_writer_sorts_as_with_torch(case: dict[str, Any], units: int) -> None:
    codec = LabelledCodec(TEXT_CODEC, 3)
    sizes = {"rnn_size": units, "embedding_size": 11, **case}
    compare(GenerativeConfig(codec.vocab_size, **sizes, labels=("a", "b", "c")), codec, 1e-3)


def test_large_jobs_are_handed_over() -> None:
    def counting(name: str) -> Callable[[Sequence[bytes]], Any]:
        return lambda texts: asked.append((name, len(texts)))

    asked: list[tuple[str, int]] = []
    config = ClassifierConfig(TEXT_CODEC.vocab_size, ("a", "b"))
    light = LightLabeller(config, some_weights(config), TEXT_CODEC)
    started = []

    def heavy() -> Any:
        started.append(1)
        return counting("heavy")

    work = Gradual(light, heavy, 20)
    work._now = counting("light")
    assert work.labels == ("a", "b")
    for texts in ([b"ten bytes."], [b"ten bytes."], [b"x"], [b"y", b"z"]):
        work(texts)
    assert asked == [("light", 1), ("light", 1), ("heavy", 1), ("heavy", 2)]
    assert started == [1]


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


def test_few_texts_are_sorted_without_torch(mood: Path) -> None:
    program = (
        "import sys\nfrom seqgen.cli.main import main\nassert main(['classify', *sys.argv[1:]]) == 0\n"
        "import io\nassert 'torch' not in sys.modules"
    )
    (mood.parent / "texts").write_text("it was lovely\nit was broken\n")
    assert "numpy" in imported(program, mood, mood.parent / "texts", "-o", mood.parent / "out")
    assert [line.split("\t")[0] for line in (mood.parent / "out").read_text().splitlines()] == ["good", "bad"]


def test_without_kernels_who_expects_many_gets_torch_at_once(
    mood: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = seqgen.load(mood)
    monkeypatch.setattr("seqgen.generation.light_stack.library", lambda: None)
    assert isinstance(classifying.labeller(model, expected=100), Gradual)
    for many in (None, 1 << 40):
        assert not isinstance(classifying.labeller(model, expected=many), Gradual)
    texts = "".join(f"it was {word} and {number}\n" for number in range(60) for word in ("lovely", "rude")).encode()
    few = run("classify", mood, "--format", "jsonl", stdin=texts).records
    monkeypatch.setattr(classifying, "_WORTH_A_START", 1)
    many_ = run("classify", mood, "--format", "jsonl", stdin=texts).records
    assert [record["label"] for record in few] == [record["label"] for record in many_]
    np.testing.assert_allclose(
        [record["probability"] for record in few], [record["probability"] for record in many_], atol=1e-5
    )
    assert json.dumps(few) != "[]"
