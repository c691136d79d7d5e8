"""The plan of a language model: given settings are kept, the budget decides the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.config import NetworkConfig, TrainOptions
from seqgen.corpus.ids import IdStream
from seqgen.errors import UserError
from seqgen.training import device
from seqgen.training.batches import LaneBatches
from seqgen.training.plans import language as plan


def steady(rate: float) -> plan.SpeedProbe:
    return lambda network, batch, length: rate


@settings(max_examples=200)
@given(
    st.integers(32, 10**12), st.integers(3, 10**6), st.floats(1, 1e8),
    st.fixed_dictionaries({}, optional={
        "rnn_size": st.integers(1, 4096), "num_layers": st.integers(1, 8), "batch_size": st.integers(1, 4096),
        "seq_length": st.integers(2, 4096), "learning_rate": st.floats(1e-9, 10), "dropout": st.floats(0, 0.95),
        "embedding_size": st.integers(1, 4096), "tie_weights": st.booleans(), "patience": st.integers(0, 100),
        "grad_clip": st.floats(1e-3, 10), "weight_decay": st.floats(0, 10), "warmup": st.floats(0, 0.9),
    }),
    st.one_of(st.none(), st.tuples(st.just("budget"), st.sampled_from(["1s", "30s", "10m", "9d"])),
              st.tuples(st.just("steps"), st.integers(1, 10**9)),
              st.tuples(st.just("epochs"), st.floats(1e-3, 1e4))),
    st.floats(0, 100),
)  # fmt: skip
def test_language_plan_keeps_given_options_and_decides_the_rest(
    tokens: int, vocab: int, rate: float, given_options: dict[str, Any], long: tuple[str, Any] | None, spent: float
) -> None:
    options = TrainOptions(**given_options, **dict([long] if long else []))
    made = plan.make_plan(
        options, plan.CorpusStats(tokens, vocab, vocab), device.choose("cpu", "fp32", 1), steady(rate), spent
    )
    for name, value in given_options.items():
        homes = [made.network, made.schedule, made]
        kept = next(getattr(home, name) for home in homes if hasattr(home, name))
        assert kept == value
    schedule = made.schedule
    assert (schedule.steps is None) != (schedule.seconds is None)
    if long is not None and long[0] == "steps":
        assert schedule.steps == long[1]
    if long is not None and long[0] == "budget" and schedule.seconds is not None:
        assert schedule.seconds > 0
        asked = {"1s": 1, "30s": 30, "10m": 600, "9d": 777600}[long[1]]
        assert schedule.seconds <= max(asked, spent)
    assert 0 < schedule.learning_rate <= 10
    assert 0 <= made.network.dropout <= 0.95


def test_language_plan_more_time_never_shrinks_the_network() -> None:
    corpus = plan.CorpusStats(5_000_000, 300, 300)
    sizes = [
        plan.make_plan(TrainOptions(budget=f"{s}s"), corpus, device.choose("cpu", "fp32", 1), steady(20_000))
        for s in (5, 60, 600, 7200)
    ]
    units = [made.network.rnn_size for made in sizes]
    assert units == sorted(units)
    assert units[0] < units[-1]


@pytest.mark.parametrize(("tokens", "units"), [(20_000, 64), (50_000, 128), (195_000, 256)])
def test_language_plan_with_much_time_the_corpus_limits_the_units(tokens: int, units: int) -> None:
    corpus = plan.CorpusStats(tokens, 300, 300, characters=True)
    made = plan.make_plan(TrainOptions(budget="10h"), corpus, device.choose("cpu", "fp32", 1), steady(1e5))
    assert made.network.rnn_size == units
    assert "too few for more units" in made.reasons["rnn_size"]


@pytest.mark.parametrize("tokens", [33, 9_900, 81_919])
def test_language_plan_of_epochs_has_their_batches(tokens: int) -> None:
    """The last batch of an epoch is one too, however short it is; of 9,900 tokens ten epochs were seven."""
    corpus, cpu = plan.CorpusStats(tokens, 300, 300), device.choose("cpu", "fp32", 1)
    made = plan.make_plan(TrainOptions(epochs=10, batch_size=64, seq_length=64), corpus, cpu, steady(1e5))
    stream = IdStream(np.zeros(tokens, dtype=np.uint32), np.empty(0, dtype=np.int64))
    assert made.schedule.steps == 10 * LaneBatches(stream, 64, 64, 0).batches_per_epoch
    assert "10.0 epochs" in made.reasons["dropout"]


@pytest.mark.parametrize("epochs", [1e300, 1e308])
def test_language_plan_too_many_epochs_raises_user_error(epochs: float) -> None:
    corpus = plan.CorpusStats(10**9, 300, 300)
    with pytest.raises(UserError, match="--epochs"):
        plan.make_plan(TrainOptions(epochs=epochs), corpus, device.choose("cpu", "fp32", 1), steady(1e5))


def test_language_plan_is_measured_with_the_batch_that_it_chooses() -> None:
    measured: list[tuple[int, tuple[int, int]]] = []

    def speed(network: plan.NetworkConfig, batch: int, length: int) -> float:
        measured.append((network.rnn_size, (batch, length)))
        return batch * 1e6 / network.rnn_size  # a larger batch keeps the processor busier

    corpus, compute = plan.CorpusStats(5_000_000, 300, 300), device.choose("cpu", "fp32", 1)
    for seconds in (5, 60, 600):
        measured.clear()
        made = plan.make_plan(TrainOptions(budget=f"{seconds}s"), corpus, compute, speed)
        assert (made.network.rnn_size, (made.batch_size, made.seq_length)) in measured
        assert len(measured) <= 2 * len(plan.SIZES)
    measured.clear()
    plan.make_plan(TrainOptions(budget="60s", batch_size=7, seq_length=9), corpus, compute, speed)
    assert {batch for _, batch in measured} == {(7, 9)}
    assert len({size for size, _ in measured}) == len(measured), "once each"


GPU = device.Compute(torch.device("cuda"), torch.bfloat16)


@pytest.mark.parametrize(("rate", "lanes"), [(4e6, 512), (3e5, 256), (1.5e5, 128), (5e4, 64)])
def test_language_plan_on_a_gpu_takes_as_many_lanes_as_leave_enough_steps(rate: float, lanes: int) -> None:
    corpus = plan.CorpusStats(5_000_000, 300, 300)
    options = TrainOptions(budget="1m")
    made = plan.make_plan(options, corpus, GPU, steady(rate))
    assert (made.batch_size, made.seq_length) == (lanes, 64)
    assert plan.make_plan(options, corpus, device.choose("cpu", "fp32", 1), steady(rate)).batch_size <= 64


def test_language_plan_of_given_steps_is_the_same_on_a_gpu() -> None:
    corpus = plan.CorpusStats(5_000_000, 300, 300)
    for options in (TrainOptions(steps=50_000), TrainOptions(epochs=40)):
        here, there = (
            plan.make_plan(options, corpus, compute, steady(4e6)) for compute in (device.choose("cpu", "fp32", 1), GPU)
        )
        assert here == there


def test_language_plan_avoids_what_the_device_has_no_memory_for() -> None:
    corpus = plan.CorpusStats(5_000_000, 300, 300)

    def speed(network: NetworkConfig, batch: int, length: int) -> float:
        return 1.0 if network.rnn_size * batch > 1024 * 256 else 4e6

    made = plan.make_plan(TrainOptions(budget="2m"), corpus, GPU, speed)
    assert speed(made.network, made.batch_size, made.seq_length) > 1


def test_language_plan_learning_rate_grows_with_the_root_of_the_lanes_beyond_64() -> None:
    corpus = plan.CorpusStats(5_000_000, 300, 300)

    def rate(lanes: int) -> float:
        options = TrainOptions(steps=5000, rnn_size=512, batch_size=lanes)
        return plan.make_plan(options, corpus, device.choose("cpu", "fp32", 1), steady(4e6)).schedule.learning_rate

    assert [rate(lanes) for lanes in (16, 64, 256, 512)] == pytest.approx([0.01, 0.01, 0.02, 0.028])


def test_language_plan_learning_rate_is_lower_for_gru_and_for_augmented_music() -> None:
    def rate(variety: float, **options: Any) -> float:
        corpus = plan.CorpusStats(5_000_000, 300, 300, variety)
        options = {"steps": 5000, "batch_size": 64, **options}
        compute = device.choose("cpu", "fp32", 1)
        return plan.make_plan(TrainOptions(**options), corpus, compute, steady(4e6)).schedule.learning_rate

    assert [rate(1, rnn_size=units) for units in (128, 256, 512)] == pytest.approx([0.02, 0.017, 0.01])
    assert [rate(11, rnn_size=units) for units in (128, 256, 512, 1024)] == pytest.approx([0.01, 0.01, 0.01, 0.0059])
    assert [rate(1, rnn_size=units, cell="gru") for units in (128, 256, 512)] == pytest.approx([0.01, 0.01, 0.01])
    assert [rate(1, rnn_size=units, cell="rnn") for units in (128, 512)] == pytest.approx([0.011, 0.004])
    assert [rate(11, rnn_size=units, cell="rnn") for units in (128, 512)] == pytest.approx([0.004, 0.004])
