"""The classifier: its layout, what it keeps of a text, the linear model beside it, their mixture, and its measures."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqgen.config import DIRECTIONS, ClassifierConfig, GenerativeConfig, TrainOptions
from seqgen.errors import UserError
from seqgen.evaluation import classification as measuring
from seqgen.evaluation.baselines import tfidf as linear_rival
from seqgen.generation.classification.base import ThreadedClassifier
from seqgen.generation.classification.numpy import LightClassifier
from seqgen.model.chunks import chunk_texts, group_by_length
from seqgen.model.classifier import Classifier, reverse
from seqgen.model.ngrams import BUCKETS, bags, concat_bags
from seqgen.model.weight_shapes import weight_shapes
from seqgen.specs.cells import CELLS
from seqgen.tokenizers.normalise import TextNormaliser, read_stop_words
from seqgen.training import linear_model as wide
from seqgen.training.device import Compute
from seqgen.training.objectives.classification import ClassificationObjective, LabelledIds, fit_mixture
from seqgen.training.objectives.pretraining import PretrainingObjective
from seqgen.training.plans import classification as labelled_plan
from seqgen.training.plans.classification import LabelledCorpusStats
from seqgen.training.plans.language import Plan

CPU = Compute(torch.device("cpu"), torch.float32)


def config(**changes: Any) -> ClassifierConfig:
    return ClassifierConfig(**{"vocab_size": 11, "labels": ("a", "b", "c"), "rnn_size": 6, "embedding_size": 5,
                               "stretch": 4, **changes})  # fmt: skip


def network(**changes: Any) -> Classifier:
    made = Classifier(config(**changes), torch.Generator().manual_seed(1))
    torch.nn.init.normal_(made.head_weight, generator=torch.Generator().manual_seed(2))
    return made.eval()


def some_texts(*lengths: int) -> list[np.ndarray]:
    chance = np.random.default_rng(3)
    return [chance.integers(11, size=length) for length in lengths]


# The layout


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 9))
def test_every_id_is_laid_out_once_and_in_order(lengths: list[int], stretch: int) -> None:
    texts = some_texts(*lengths)
    laid = chunk_texts(texts, stretch)
    assert laid.ids.shape[0] <= stretch
    for number, text in enumerate(texts):
        columns = np.flatnonzero(laid.text_indices == number)
        read = np.concatenate([laid.ids[: laid.lengths[column], column] for column in columns])
        assert read.tolist() == text.tolist()


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 100))
def test_groups_hold_each_stretch_once_and_are_bounded(lengths: list[int], most: int) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    groups = group_by_length(sizes, most)
    assert sorted(np.concatenate(groups).tolist() if groups else []) == list(range(len(lengths)))
    assert all(len(group) == 1 or len(group) * sizes[group].max() <= most for group in groups)


@pytest.mark.parametrize(("units", "vocabulary"), [(32, 40), (48, 2000), (100, 300)])
@pytest.mark.parametrize("generative", [False, True])
def test_light_labeller_split_batches_give_the_same_bits(units: int, vocabulary: int, generative: bool) -> None:
    """So that parts of a work can be done apart, and joined."""
    shape: dict[str, Any] = {"vocab_size": vocabulary, "labels": ("a", "b", "c"), "rnn_size": units,
                             "embedding_size": 32}  # fmt: skip
    chance = np.random.default_rng(units)
    config = GenerativeConfig(**shape) if generative else ClassifierConfig(**shape, stretch=20)
    weights = {n: chance.normal(0, 0.3, s).astype(np.float32) for n, s in weight_shapes(config).items()}
    read = LightClassifier(config, weights, NumberCodec(vocabulary))
    texts = [chance.integers(4, vocabulary, size=int(size)).tobytes() for size in chance.integers(1, 90, size=50)]
    whole = read(texts)
    for cuts in ([1, 2, 3, 49], [25], sorted(chance.integers(1, 50, size=9))):
        parts = [read(texts[a:b]) for a, b in itertools.pairwise([0, *cuts, 50]) if a < b]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


class NumberCodec:
    """Ids as they lie in memory, eight bytes each."""

    end = 3

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode(self, data: bytes) -> np.ndarray:
        return np.frombuffer(data, dtype=np.int64)


def test_a_stretch_is_turned_within_its_length() -> None:
    ids = torch.tensor([[1, 4], [2, 5], [3, 0]])
    assert reverse(ids, torch.tensor([3, 2])).tolist() == [[3, 5], [2, 4], [1, 0]]


# The network


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("features", [0, 7])
def test_the_weights_are_those_of_the_layout(cell: str, direction: str, features: int) -> None:
    made = config(cell=cell, direction=direction, features=features, num_layers=2)
    shapes = {name: tuple(weight.shape) for name, weight in Classifier(made).state_dict().items()}
    assert shapes == weight_shapes(made)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_text_has_the_same_logits_whoever_is_beside_it(cell: str, direction: str) -> None:
    made = network(cell=cell, direction=direction)
    texts = some_texts(1, 9, 3, 17, 4)
    with torch.inference_mode():
        together = made.predict_logits(texts)
        apart = torch.cat([made.predict_logits([text]) for text in texts])
        at_once = made.network_logits(chunk_texts(texts, 4), len(texts))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, at_once, atol=1e-5, rtol=1e-5)


def test_what_is_pooled_is_last_largest_and_mean() -> None:
    made = network(direction="forward", stretch=100, num_layers=1)
    (text,) = some_texts(7)
    laid = chunk_texts([text], 100)
    with torch.inference_mode():
        ((_, hidden),) = made.outputs(torch.from_numpy(laid.ids), torch.from_numpy(laid.lengths), None, None, 0.0)
        steps = hidden[:, 0]
        pooled = torch.cat([steps[-1], steps.max(0).values, steps.mean(0)])
        wanted = made.head_weight @ pooled + made.head_bias
        torch.testing.assert_close(made.predict_logits([text])[0], wanted, atol=1e-5, rtol=1e-5)


def test_who_goes_backwards_ends_at_the_beginning() -> None:
    """Its last output hears of the first stretch, not of the last."""
    made = network(direction="backward")
    one, other = some_texts(12, 12)
    mixed = np.concatenate([one[:4], other[4:]])
    size = made.config.rnn_size
    with torch.inference_mode():
        made.head_weight[:, size:] = 0  # the last output alone
        torch.testing.assert_close(made.predict_logits([one]), made.predict_logits([mixed]))
        assert not torch.allclose(made.predict_logits([one]), made.predict_logits([other]))


def test_nothing_was_read_of_an_empty_text() -> None:
    made = network()
    with torch.inference_mode():
        found = made.predict_logits([np.zeros(0, dtype=np.int64), *some_texts(3)])
    torch.testing.assert_close(found[0], made.head_bias)
    with torch.inference_mode():
        assert made.predict_logits([np.zeros(0, dtype=np.int64)]).shape == (1, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"labels": ("a",)}, {"labels": ("a", "a")}, {"direction": "up"}, {"features": -1}, {"features": (1 << 24) + 1},
     {"ngrams": 0}, {"stretch": 0}, {"rnn_size": 0}, {"dropout": 1.0}, {"cell": "x"}, {"activation": "x"}],
)  # fmt: skip
def test_a_classifier_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        config(**wrong)


# The linear model


def reviews(count: int) -> tuple[list[bytes], torch.Tensor]:
    chance = np.random.default_rng(0)
    texts, targets = [], torch.zeros(count, 2)
    for number in range(count):
        words = [f"w{n}" for n in chance.integers(40, size=8)]
        words[number % 8] = ("fine", "poor")[number % 2]
        texts.append(" ".join(words).encode())
        targets[number, number % 2] = 1
    return texts, targets


def test_the_linear_model_finds_the_words_that_tell() -> None:
    texts, targets = reviews(200)
    found = bags(texts, 2, BUCKETS)
    keys = wide.frequent_buckets(found, 200, 1 << 20)
    problem = wide.LogisticRegression(found, keys, targets, multi=False)
    fitted = problem.linear(problem.fit_moderate_penalty())
    made = network(labels=("fine", "poor"), features=len(keys))
    made.set_linear_model(keys, fitted.weight, fitted.bias)
    unseen, truth = reviews(400)
    logits = made.linear_logits(bags(unseen[200:], 2, BUCKETS))
    assert logits is not None
    assert (logits.argmax(1) == truth[200:].argmax(1)).all()


def test_the_linear_model_is_the_convex_optimum() -> None:
    """Its gradient vanishes: checked with the matrix written out."""
    texts, targets = reviews(30)
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


def test_a_solution_is_carried_over_to_more_texts() -> None:
    texts, targets = reviews(300)
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


def test_n_grams_of_one_text_alone_are_not_learnt_where_there_are_many() -> None:
    texts = [f"common word{number}".encode() for number in range(1200)]
    found = bags(texts, 1, BUCKETS)
    assert len(wide.frequent_buckets(found, 1200, 1 << 20)) < 60  # "common", and what shares a bucket
    assert len(wide.frequent_buckets(found, 100, 1 << 20)) > 1000
    assert len(wide.frequent_buckets(found, 100, 10)) == 10


def test_a_text_of_strange_words_gets_the_bias() -> None:
    made = network(features=3)
    made.set_linear_model(np.array([1, 5, 9]), torch.ones(3, 3), torch.tensor([0.5, 0.0, -0.5]))
    logits = made.linear_logits(bags([b"", b"zzz"], 1, BUCKETS))
    assert logits is not None
    assert logits.tolist() == [[0.5, 0.0, -0.5]] * 2
    assert network().linear_logits(bags([b"x"], 1, BUCKETS)) is None


# The mixture


def test_the_mixture_calibrates_and_never_counts_against() -> None:
    chance = torch.Generator().manual_seed(0)
    truth = torch.randint(3, (4000,), generator=chance)
    targets = torch.nn.functional.one_hot(truth, 3).float()
    honest = torch.randn(4000, 3, generator=chance) + targets * 2
    share = honest.softmax(1)
    drawn = torch.nn.functional.one_hot(torch.multinomial(share, 1, generator=chance)[:, 0], 3).float()
    made = network()
    fit_mixture(made, honest * 3, None, drawn)  # three times too sure
    assert made.mix[0].item() == pytest.approx(1 / 3, rel=0.1)
    fit_mixture(made, -honest, honest, drawn)  # one of the two says the contrary
    assert (made.mix >= 0).all()
    assert (made.mix[1] - made.mix[0]).item() == pytest.approx(1.0, rel=0.1)
    loss = wide.classification_loss(False)(made.combined_logits(-honest, honest), drawn)
    assert loss < math.log(3)


def labelled(count: int) -> LabelledIds:
    """Texts of which the ids 1 and 2 tell the label."""
    chance = np.random.default_rng(4)
    texts = [chance.integers(3, 11, size=chance.integers(3, 12)) for _ in range(count)]
    for number, text in enumerate(texts):
        text[chance.integers(len(text))] = 1 + number % 2
    starts = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    return LabelledIds(
        np.concatenate(texts).astype(np.uint16), starts, np.eye(2, dtype=np.float32)[np.arange(count) % 2]
    )


def test_batches_are_pure_functions_of_their_number_and_a_pass_has_every_text_once() -> None:
    objective = ClassificationObjective(network(labels=("x", "y")), labelled(150), None, None, CPU, 8, seed=5)
    again = ClassificationObjective(network(labels=("x", "y")), labelled(150), None, None, CPU, 8, seed=5)
    one_pass = [objective.batch(step) for step in range(objective.steps_per_epoch)]
    assert sorted(np.concatenate(one_pass).tolist()) == list(range(150))
    assert [batch.tolist() for batch in one_pass] == [again.batch(step).tolist() for step in range(len(one_pass))]
    assert objective.batch(0).tolist() != objective.batch(objective.steps_per_epoch).tolist()


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=20), st.integers(0, 1000), st.integers(0, 9))
def test_of_a_long_text_a_window_is_labelled_and_of_a_short_one_all(lengths: list[int], step: int, seed: int) -> None:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    texts = LabelledIds(np.arange(starts[-1], dtype=np.uint32), starts, np.ones((len(lengths), 2), dtype=np.float32))
    objective = ClassificationObjective(network(labels=("x", "y")), texts, None, None, CPU, 8, seed)
    chosen, sizes = np.arange(len(lengths)), texts.window_lengths
    windows = objective._windows(step, chosen, sizes)
    for number, (window, size) in enumerate(zip(windows, sizes, strict=True)):
        whole = texts.text(number)
        assert len(window) == size == (len(whole) if len(whole) <= 320 else max(320, -(-len(whole) // 2)))
        place = int(window[0]) - int(whole[0])
        np.testing.assert_array_equal(window, whole[place : place + size])
    again = objective._windows(step, chosen, sizes)
    assert all((one == other).all() for one, other in zip(windows, again, strict=True))


def test_a_window_is_another_one_each_time_and_reaches_both_ends() -> None:
    texts = LabelledIds(np.arange(1000, dtype=np.uint16), np.array([0, 1000]), np.ones((1, 2), dtype=np.float32))
    objective = ClassificationObjective(network(labels=("x", "y")), texts, None, None, CPU, 8, 0)
    places = [int(objective._windows(step, np.array([0]), np.array([500]))[0][0]) for step in range(3000)]
    assert min(places) < 5
    assert max(places) > 495
    assert len(set(places)) > 450


def planned(monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Plan:
    """The plan for 25,000 reviews, on a machine that labels 38,000 ids a second with 256 units."""

    def speed(network: ClassifierConfig, *_: Any) -> float:
        return float(38_000 * (256 / network.rnn_size) ** 1.6)

    monkeypatch.setattr(labelled_plan, "_speed", speed)
    corpus = LabelledCorpusStats(22_500, 7_400_000, 5_500_000, 2_500, 11_000, ("bad", "good"), False, 1000)
    return labelled_plan.make_plan(TrainOptions(threads=1, **asked), corpus, CPU, 0.0)


def test_words_are_read_first_where_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    short, hour = planned(monkeypatch, budget="10m"), planned(monkeypatch, budget="1h")
    assert short.pretraining is None
    assert (short.schedule.layer_decay, short.schedule.unfreeze) == (1.0, 0.0)
    assert short.network.rnn_size == 256  # three passes over the labels
    assert hour.network.rnn_size == 256  # the widest that reads four times
    assert hour.pretraining is not None
    assert hour.pretraining.seconds is not None
    assert hour.schedule.seconds is not None
    assert hour.pretraining.seconds / (hour.pretraining.seconds + hour.schedule.seconds) == pytest.approx(0.65)
    assert (hour.schedule.layer_decay, hour.schedule.unfreeze) == (1.5, 0.1)
    never = planned(monkeypatch, budget="1h", pretrain=0.0)
    assert never.pretraining is None
    assert never.network.rnn_size == 512
    asked = planned(monkeypatch, budget="1h", pretrain=0.3, layer_decay=2.0, unfreeze=0.0)
    assert asked.pretraining is not None
    assert (asked.schedule.layer_decay, asked.schedule.unfreeze) == (2.0, 0.0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"smoothing": 0.1, "weights": np.array([1.0, 2.0], dtype=np.float32)}])
@pytest.mark.parametrize("multi", [False, True])
def test_labels_are_learnt(cell: str, options: dict[str, Any], multi: bool) -> None:
    made = Classifier(config(labels=("x", "y"), cell=cell, multi=multi, rnn_size=16), torch.Generator().manual_seed(1))
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


def test_words_are_learnt_before_labels() -> None:
    """Of a text in which every id follows from the last, little is left to guess."""
    made = Classifier(config(rnn_size=16, embedding_size=12), torch.Generator().manual_seed(1))
    ids = np.tile(np.arange(11), 40).astype(np.uint16)
    data = LabelledIds(ids, np.arange(0, len(ids) + 1, 22), np.eye(3, dtype=np.float32)[np.zeros(20, dtype=int)])
    objective = PretrainingObjective(made, data, CPU, 8, 0)
    objective.network.train()
    optimiser = torch.optim.Adam([w for w in objective.network.parameters() if w.requires_grad], lr=0.02)
    losses = []
    for step in range(80):
        optimiser.zero_grad()
        loss, _ = objective.loss(step, torch.Generator().manual_seed(step))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < losses[0] / 2
    assert objective.validate() is None


# What may be done to a text


def test_capitals_and_words_may_go(tmp_path: Any) -> None:
    (tmp_path / "stop.txt").write_text("# words\nthe\nof\n的\n\nThe\n", encoding="utf-8")
    words = read_stop_words(tmp_path / "stop.txt")
    assert words == ("the", "of", "的", "The")
    prepare = TextNormaliser(lowercase=True, stop_words=words)
    assert prepare(b"The End of Theodora").split() == [b"end", b"theodora"]
    assert prepare("我的书".encode()).decode() == "我 书"
    assert TextNormaliser()(b"\xff As it IS") == b"\xff As it IS"


# The measures


def test_measures_by_hand() -> None:
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    targets = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], dtype=bool)
    found = measuring.measures(shares, targets, ("n", "p"), multi=False)
    assert found["accuracy"] == 0.75
    assert found["per_class"]["n"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert found["per_class"]["p"]["recall"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert found["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.4, 0.8, 0.7])))
    assert found["confusion"] == {"labels": ["n", "p"], "matrix": [[1, 0], [1, 2]]}
    assert found["expected_calibration_error"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.3) / 4)
    assert measuring.most_confident_mistakes(shares, targets, 5, multi=False) == [1]


def test_several_labels_are_right_only_together() -> None:
    shares = np.array([[0.9, 0.8], [0.9, 0.2]])
    targets = np.array([[1, 1], [1, 1]], dtype=bool)
    found = measuring.measures(shares, targets, ("a", "b"), multi=True)
    assert found["accuracy"] == 0.5
    assert found["per_class"]["b"]["recall"] == 0.5
    assert measuring.most_confident_mistakes(shares, targets, 3, multi=True) == [1]


def test_the_commonest_label_is_a_rival() -> None:
    targets = np.array([[1, 0], [1, 0], [0, 1]], dtype=bool)
    found = measuring.majority_baseline(np.array([0.7, 0.3]), targets, ("a", "b"), multi=False)
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_the_linear_rival_learns() -> None:
    if not linear_rival.is_available():
        pytest.skip("scikit-learn is not installed")
    texts, targets = reviews(80)
    words = [text.decode() for text in texts]
    for multi in (False, True):
        found = linear_rival.fit_predict_proba(words[:60], targets[:60].numpy().astype(bool), words[60:], multi)
        assert (found.argmax(1) == targets[60:].argmax(1).numpy()).mean() > 0.9


def test_a_config_of_a_classifier_comes_back_from_json() -> None:
    import json

    from seqgen.config import from_json

    made = config(stop_words=("the",), multi=True)
    assert from_json(ClassifierConfig, json.loads(json.dumps(dataclasses.asdict(made)))) == made


def test_threads_share_the_texts_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lengths:
        labels = ("a", "b")

        def __call__(self, texts: Sequence[bytes]) -> npt.NDArray[np.float32]:
            seen.append(len(texts))
            return np.array([[len(text), text[0]] for text in texts], dtype=np.float32)

    seen: list[int] = []
    monkeypatch.setattr("seqgen.generation.classification.base._WORTH_SHARING", 50)
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
