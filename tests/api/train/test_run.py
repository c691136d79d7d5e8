"""Training: the schedule, the loop on a toy objective, the plan, and whole runs: killed, stopped, resumed, extended."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from torch import Tensor, nn

import seqgen
from seqgen import checkpoint, tasks
from seqgen.api.train import folder as model_folders
from seqgen.api.train.run import Watcher
from seqgen.config import CELL_NAMES, TOKENIZER_NAMES, TrainOptions
from seqgen.corpus import ids
from seqgen.corpus.catalogue.entries import cache_folder
from seqgen.errors import DataError, ModelError, TrainingError, UserError
from seqgen.model.weight_shapes import depth
from seqgen.music import midi
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.tokenizers import decode
from seqgen.training import device
from seqgen.training.loop import Event, Finished, Position, Recovered, Run, Stepped, Validated
from seqgen.training.objectives.language import NextTokenObjective
from seqgen.training.plans import language as plan
from seqgen.training.schedule import Schedule
from tests.helpers.running import Command, prose

TINY: dict[str, Any] = {
    "rnn_size": 32, "embedding_size": 16, "batch_size": 8, "seq_length": 32, "precision": "fp32", "threads": 1,
}  # fmt: skip


# The schedule


@given(st.floats(0, 0.9), st.floats(1e-6, 10), st.floats(0, 1))
def test_the_rate_is_never_above_its_peak_nor_below_zero(warmup: float, peak: float, progress: float) -> None:
    rate = Schedule(peak, warmup, steps=10).rate(progress)
    assert 0 <= rate <= peak * (1 + 1e-9)


@given(st.floats(0.01, 0.9))
def test_the_rate_rises_to_its_peak_and_falls_to_zero(warmup: float) -> None:
    schedule = Schedule(0.5, warmup, steps=10)
    rising = [schedule.rate(warmup * share) for share in np.linspace(0.1, 0.999, 9)]
    falling = [schedule.rate(warmup + (1 - warmup) * share) for share in np.linspace(0, 1, 9)]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert 0 < schedule.rate(0) < 0.06
    assert schedule.rate(warmup) == pytest.approx(0.5)
    assert schedule.rate((1 + warmup) / 2) == pytest.approx(0.25)
    assert schedule.rate(1.0) == pytest.approx(0, abs=1e-12)


def test_without_warm_up_the_rate_begins_at_its_peak() -> None:
    assert Schedule(0.5, 0.0, steps=10).rate(0) == 0.5


# The loop, on an objective that takes no time: a line through noise


def alone(loss: Tensor, step: int, call: int, weight: Tensor) -> Tensor:
    """Spoils nothing."""
    return loss


class Toy:
    """Moves two numbers to 3; `spoil` may replace the loss, `heights` are the validations in order."""

    def __init__(self, spoil: Callable[..., Tensor] = alone, heights: list[float | None] | None = None) -> None:
        self.network = nn.Linear(1, 1)
        self.metrics: dict[str, float] = {}
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)
        self.steps_per_epoch = 10
        self.calls = 0
        self.asked: list[int] = []
        self.noise: list[float] = []
        self.memory = torch.zeros(1)
        self.carries: list[dict[str, Tensor]] = []
        self._spoil = spoil
        self._heights = iter(heights) if heights is not None else None

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        self.calls += 1
        assert self.calls < 1000, "the run does not end"
        self.asked.append(step)
        noise = torch.rand(1, generator=generator)
        self.noise.append(float(noise))
        self.memory = 0.5 * self.memory + noise
        weight, bias = self.network.weight, self.network.bias
        loss = ((weight - 3 - 0.01 * noise) ** 2).mean() + ((bias - 3 - 0.01 * self.memory) ** 2).mean()
        return self._spoil(loss, step, self.calls, weight), 10

    def validate(self) -> float | None:
        if self._heights is not None:
            return next(self._heights)
        return float(((self.network.weight - 3) ** 2).mean().detach())

    def carried_state(self) -> dict[str, Tensor]:
        return {"memory": self.memory}

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        self.carries.append(tensors)
        self.memory = tensors.get("memory", torch.zeros(1))

    def weight(self) -> float:
        return float(self.network.weight.detach())


def run_of(toy: Toy, **schedule: Any) -> Run:
    settled = {"learning_rate": 0.05, "warmup": 0.1, "steps": 30, "patience": 0, **schedule}
    return Run(toy, Schedule(**settled), torch.Generator().manual_seed(1))


def nan_at(*calls: int) -> Callable[..., Tensor]:
    return lambda loss, step, call, weight: loss * math.nan if call in calls else loss


def infinite_gradient_at(*calls: int) -> Callable[..., Tensor]:
    """√x at 0: the value is 0, the slope is infinite."""
    return lambda loss, step, call, weight: loss + (weight - weight.detach()).sqrt().sum() if call in calls else loss


def test_events_come_in_order_and_the_last_step_is_validated() -> None:
    events = list(run_of(Toy(), steps=31).events())  # 31: validations are every 2 steps, and the last is an odd one
    steps = [event.step for event in events if isinstance(event, Stepped)]
    validated = [event.step for event in events if isinstance(event, Validated)]
    assert steps == list(range(1, 32))
    assert validated == [*range(2, 31, 2), 31]
    assert events[-1] == Finished(early=False)
    assert isinstance(events[-2], Validated)
    last = 0
    for event in events[:-1]:  # a validation follows the step it is of
        assert isinstance(event, Stepped | Validated)
        assert event.step == (last if isinstance(event, Validated) else last + 1)
        last = event.step


def test_batches_are_asked_for_by_number_from_zero() -> None:
    toy = Toy()
    list(run_of(toy, steps=20).events())
    assert toy.asked == list(range(20))


def test_the_loop_learns_and_counts() -> None:
    toy = Toy()
    events = list(run_of(toy, steps=300, learning_rate=0.1).events())
    assert abs(toy.weight() - 3) < 0.1
    stepped = [event for event in events if isinstance(event, Stepped)]
    assert [event.tokens for event in stepped] == [10 * (n + 1) for n in range(300)]
    assert [event.progress for event in stepped] == pytest.approx([(n + 1) / 300 for n in range(300)])
    schedule = Schedule(0.1, 0.1, steps=300)
    assert [event.learning_rate for event in stepped] == pytest.approx([schedule.rate(n / 300) for n in range(300)])
    assert stepped[-1].seconds_left == 0


def test_the_gradient_is_clipped() -> None:
    norms: list[float] = []

    def steep(loss: Tensor, step: int, call: int, weight: Tensor) -> Tensor:
        return loss * 1e6

    toy = Toy(steep)
    run = run_of(toy, steps=1, grad_clip=0.5)
    for event in run.events():
        if isinstance(event, Stepped):
            norms += [math.hypot(*[float(weight.grad.norm()) for weight in toy.network.parameters()])]
    assert norms == pytest.approx([0.5], rel=1e-4)


def test_best_marks_every_new_low_and_patience_ends_the_run_early() -> None:
    heights = [5.0, 4.0, 4.5, 3.0, 3.0, 3.5, 3.1, 1.0]
    run = run_of(Toy(heights=heights), steps=30, patience=3)
    events = list(run.events())
    validated = [event for event in events if isinstance(event, Validated)]
    assert [event.val_loss for event in validated] == heights[:7]
    assert [event.best for event in validated] == [True, True, False, True, False, False, False]
    assert events[-1] == Finished(early=True)
    assert (run.position.best_loss, run.position.best_step) == (3.0, 8)


def test_patience_zero_never_stops() -> None:
    events = list(run_of(Toy(heights=[1.0] * 20), steps=30).events())
    assert events[-1] == Finished(early=False)
    assert sum(isinstance(event, Stepped) for event in events) == 30


def test_where_nothing_is_held_out_later_is_better() -> None:
    events = list(run_of(Toy(heights=[None] * 20), steps=30, patience=1).events())
    validated = [event for event in events if isinstance(event, Validated)]
    assert all(event.best and event.val_loss is None for event in validated)
    assert events[-1] == Finished(early=False)


def test_a_validation_that_is_not_finite_is_never_better() -> None:
    validated = [
        event
        for event in run_of(Toy(heights=[math.nan, 2.0, math.inf, math.nan, 1.0] + [5.0] * 20)).events()
        if isinstance(event, Validated)
    ]
    assert [event.val_loss for event in validated[:5]] == [None, 2.0, None, None, 1.0]
    assert [event.best for event in validated[1:5]] == [True, False, False, True]


@pytest.mark.parametrize("spoil", [nan_at(121), infinite_gradient_at(121)], ids=["loss", "gradient"])
def test_what_is_not_finite_sends_the_run_back_with_half_the_rate(spoil: Callable[..., Tensor]) -> None:
    toy = Toy(spoil)
    run = run_of(toy, steps=150)
    weights = {0: toy.weight()}
    rates: list[float] = []
    recovered: list[Event] = []
    for event in run.events():
        if isinstance(event, Stepped):
            weights.setdefault(event.step, toy.weight())
            if recovered:
                rates.append(event.learning_rate)
        if isinstance(event, Recovered):
            recovered.append(event)
            assert toy.weight() == weights[100]
            assert toy.carries[-1] == {}, "what was carried may be the very thing that is not finite"
    assert recovered == [Recovered(step=100, factor=0.5)]
    assert run.position.step == 150
    assert math.isfinite(toy.weight())
    schedule = Schedule(0.05, 0.1, steps=150)
    assert rates == pytest.approx([schedule.rate(n / 150) / 2 for n in range(100, 150)])
    assert toy.asked == [*range(121), *range(100, 150)]


def test_two_bad_moments_halve_the_rate_twice() -> None:
    events = list(run_of(Toy(nan_at(5, 20)), steps=30).events())
    assert [event.factor for event in events if isinstance(event, Recovered)] == [0.5, 0.25]
    assert events[-1] == Finished(early=False)


def test_a_recovery_changes_no_weight_before_it_goes_back() -> None:
    toy = Toy(nan_at(1))
    events = run_of(toy).events()
    assert next(events) == Recovered(step=0, factor=0.5)
    assert toy.weight() == 0.0


@pytest.mark.parametrize(
    "spoil",
    [lambda loss, *_: loss * math.nan, lambda loss, *_: loss * math.inf,
     lambda loss, step, call, weight: loss + (weight - weight.detach()).sqrt().sum()],
    ids=["nan", "inf", "gradient"],
)  # fmt: skip
def test_a_loss_that_is_never_finite_ends_in_an_error(spoil: Callable[..., Tensor]) -> None:
    toy = Toy(spoil)
    events: list[Event] = []
    with pytest.raises(TrainingError, match="not finite"):
        events.extend(run_of(toy).events())
    assert toy.calls <= 20
    assert all(isinstance(event, Recovered) for event in events)
    factors = [event.factor for event in events if isinstance(event, Recovered)]
    assert factors == [0.5**n for n in range(1, len(factors) + 1)]
    assert toy.weight() == 0.0


def test_a_batch_that_is_always_spoilt_ends_in_an_error_too() -> None:
    toy = Toy(lambda loss, step, call, weight: loss * math.nan if step == 7 else loss)
    with pytest.raises(TrainingError):
        list(run_of(toy, steps=30).events())
    assert toy.calls <= 20 * 8


def test_a_step_that_breaks_the_weights_is_not_what_the_run_goes_back_to() -> None:
    """The loss shows only one step later that an update was bad; the copy in memory must not be of that update."""

    def cliff(loss: Tensor, step: int, call: int, weight: Tensor) -> Tensor:
        return loss * math.nan if float(weight.detach()) > broken_above else loss

    calm = Toy()
    for event in run_of(calm, steps=150, learning_rate=0.01).events():
        if isinstance(event, Stepped) and event.step == 100:
            broken_above = calm.weight() - 1e-4  # first passed by the update of step 100, where the copy is taken
    run = run_of(Toy(cliff), steps=150, learning_rate=0.01)
    recovered = None
    for event in run.events():
        if isinstance(event, Recovered):
            recovered = event
            break
    assert recovered is not None
    assert recovered.step < 100


def test_a_run_by_the_clock_ends_on_time_and_validates_last() -> None:
    class Slow(Toy):
        def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
            time.sleep(0.005)
            return super().loss(step, generator)

    began = time.monotonic()
    run = run_of(Slow(), steps=None, seconds=0.5)
    events = list(run.events())
    assert 0.5 <= time.monotonic() - began < 1.5
    assert isinstance(events[-2], Validated)
    assert events[-1] == Finished(early=False)
    assert 3 <= sum(isinstance(event, Validated) for event in events) <= 20
    rates = [event.learning_rate for event in events if isinstance(event, Stepped)]
    assert rates[-1] < 0.1 * max(rates)


def test_a_run_whose_time_is_up_takes_no_step() -> None:
    run = run_of(Toy(), steps=None, seconds=1.0)
    run.began -= 2
    assert list(run.events()) == [Finished(early=False)]


@pytest.mark.parametrize("cut", [1, 7, 29])
def test_state_and_restore_make_no_difference_to_a_run(cut: int) -> None:
    whole = Toy()
    list(run_of(whole).events())
    first = Toy()
    run = run_of(first)
    saved = None
    for event in run.events():
        if isinstance(event, Stepped) and event.step == cut:
            arrays, position = run.state()
            saved = {name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(position))
            break
    assert saved is not None
    second = Toy()
    again = run_of(second)
    again.restore(*saved)
    list(again.events())
    assert second.weight() == whole.weight()
    assert second.noise == whole.noise[cut:]
    assert again.position.tokens == 300


@pytest.mark.parametrize("eta", [0.5, 8.0])
def test_the_average_is_that_of_all_weights_so_far_later_ones_counting_more(eta: float) -> None:
    toy = Toy()
    run = run_of(toy, averaging=eta)
    seen = [toy.weight(), *(toy.weight() for event in run.events() if isinstance(event, Stepped))]
    # Its closed form: weight k of n counts in proportion to Γ(k + η) / Γ(k) (Shamir & Zhang, 2013).
    shares = np.array([math.exp(math.lgamma(k + eta) - math.lgamma(k)) for k in range(1, len(seen))])
    expected = float(shares @ np.array(seen[1:]) / shares.sum())
    before = toy.weight()
    with run.averaged():
        assert toy.weight() == pytest.approx(expected, rel=1e-5)
    assert toy.weight() == before


def test_without_averaging_the_weights_themselves_are_measured() -> None:
    toy = Toy()
    run = run_of(toy)
    list(run.events())
    before = toy.weight()
    with run.averaged():
        assert toy.weight() == before


def test_a_run_restored_goes_on_averaging_where_it_was() -> None:
    whole = Toy()
    run = run_of(whole, averaging=8.0)
    list(run.events())
    first = run_of(Toy(), averaging=8.0)
    for event in first.events():
        if isinstance(event, Stepped) and event.step == 11:
            break
    again = run_of(Toy(), averaging=8.0)
    again.restore(*first.state())
    list(again.events())
    assert torch.equal(again.averages["weight"], run.averages["weight"])


@pytest.mark.parametrize("what", ["missing", "shape", "random", "position", "optimiser", "average"])
def test_state_of_another_run_is_refused(what: str) -> None:
    run = run_of(Toy())
    list(run.events())
    arrays, position = run.state()
    arrays = dict(arrays)
    if what == "missing":
        del arrays["weight.bias"]
    if what == "shape":
        arrays["weight.weight"] = np.zeros((3, 3), np.float32)
    if what == "random":
        del arrays["random"]
    if what == "position":
        position = {**position, "luck": 7}
    if what == "optimiser":
        arrays["optimiser.weight.exp_avg"] = np.zeros((3, 3), np.float32)
    if what == "average":
        arrays["average.weight"] = np.zeros((1, 1), np.float32)
    other = run_of(Toy())
    with pytest.raises(ModelError, match="does not fit"):
        other.restore(arrays, position)


# The plan


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
def test_a_plan_keeps_what_was_given_and_settles_the_rest(
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


def test_more_time_never_makes_a_smaller_network() -> None:
    corpus = plan.CorpusStats(5_000_000, 300, 300)
    sizes = [
        plan.make_plan(TrainOptions(budget=f"{s}s"), corpus, device.choose("cpu", "fp32", 1), steady(20_000))
        for s in (5, 60, 600, 7200)
    ]
    units = [made.network.rnn_size for made in sizes]
    assert units == sorted(units)
    assert units[0] < units[-1]


@pytest.mark.parametrize("epochs", [1e300, 1e308])
def test_more_epochs_than_can_be_counted_are_no_fault_of_the_program(epochs: float) -> None:
    corpus = plan.CorpusStats(10**9, 300, 300)
    with pytest.raises(UserError, match="--epochs"):
        plan.make_plan(TrainOptions(epochs=epochs), corpus, device.choose("cpu", "fp32", 1), steady(1e5))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_told_of(text_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--device cuda"):
        seqgen.train(str(text_file), tmp_path / "m", device="cuda")
    assert not (tmp_path / "m").exists()


# Whole runs


def tensors(folder: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(folder / checkpoint.WEIGHTS).items()}


def resume_weights(folder: Path) -> dict[str, bytes]:
    arrays, _ = checkpoint.read_resume(folder)
    return {name: array.tobytes() for name, array in arrays.items()}


def measured(folder: Path) -> list[tuple[Any, ...]]:
    """What metrics.jsonl says, without what the clock says."""
    keys = ("step", "tokens", "train_loss", "val_loss", "learning_rate")
    return [tuple(record[key] for key in keys) for record in checkpoint.read_metrics(folder)]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below `folder`, with the time it was last written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def finished(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the finished model, free to be changed."""
    return Path(shutil.copytree(model_folder, tmp_path / "finished"))


# To make a new task part of the contract below: a function that writes something easy to learn, and one that uses
# the trained model for a moment.


def easy_text(folder: Path) -> str:
    path = folder / "easy.txt"
    path.write_text("the tide comes in and the tide goes out\n" * 150)
    return str(path)


def use_text(model: seqgen.Model) -> None:
    (sample,) = model.sample("the tide", length=40, temperature=0.5)
    assert len(sample.text) == 40
    assert set(sample.text) <= set("the tide comes in and the tide goes out\n"), "it learnt which characters there are"


def easy_music(folder: Path) -> str:
    """Scales, up and down."""
    (folder / "tunes").mkdir()
    scale = [60, 62, 64, 65, 67, 69, 71, 72]
    for number in range(12):
        line = [pitch + number % 3 for pitch in (scale + scale[::-1]) * 3]
        notes = tuple(Note(2 * place, 0, pitch, 2 * place + 2, 72) for place, pitch in enumerate(line))
        bars = tuple(Bar(16 * place, 16, 4, 4) for place in range(6))
        (folder / "tunes" / f"{number}.mid").write_bytes(midi.write(Piece(4, (Track(0),), notes, bars)))
    return str(folder / "tunes")


def use_music(model: seqgen.Model) -> None:
    (composed,) = model.compose(length=4, temperature=0.5)
    assert len(composed.piece.bars) == composed.bars == 4
    assert {note.end - note.start for note in composed.piece.notes} == {2}, "it learnt how long notes are"


def easy_dialogue(folder: Path) -> str:
    """Two questions, each with its answer."""
    path = folder / "easy.jsonl"
    said = (("where is the boat", "on the river"), ("who has the lamp", "the boy has it"))
    lines = [
        json.dumps({"messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]})
        for ask, answer in said * 150
    ]
    path.write_text("\n".join(lines))
    return str(path)


def use_dialogue(model: seqgen.Model) -> None:
    conversation = model.conversation()
    conversation.hear("where is the boat")
    *_, reply = conversation.reply()
    assert conversation.turns == [(0, "where is the boat"), (1, reply.text)]  # type: ignore[union-attr]
    assert set(reply.text) <= set("on the river the boy has it where is boat who lamp")  # type: ignore[union-attr]


def easy_table(folder: Path) -> str:
    path = folder / "wave.csv"
    rows = [f"{np.datetime64('2024-01-01') + day},{math.sin(day * 2 * math.pi / 7):.4f}" for day in range(200)]
    path.write_text("\n".join(["day,level", *rows]) + "\n")
    return str(path)


def use_table(model: seqgen.Model) -> None:
    name = model.checkpoint.sources[0]["name"]
    (made,) = model.forecast(name)
    truth = np.sin((200 + np.arange(7)) * 2 * np.pi / 7)
    assert np.abs(made.point[0] - truth).mean() < 0.3


def easy_labels(folder: Path) -> str:
    """Texts that say what they are."""
    path = folder / "labels.csv"
    rows = [
        f"{word} thing {number % 7},{label}" for number in range(60) for word, label in (("good", "p"), ("bad", "n"))
    ]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return str(path)


def use_labels(model: seqgen.Model) -> None:
    found = model.classify(["good thing 3", "bad thing 4"])
    assert [prediction.label for prediction in found] == ["p", "n"]


EASY: dict[str, tuple[Callable[[Path], str], Callable[[seqgen.Model], None]]] = {
    "text": (easy_text, use_text),
    "dialogue": (easy_dialogue, use_dialogue),
    "music": (easy_music, use_music),
    "forecast": (easy_table, use_table),
    "classify": (easy_labels, use_labels),
}


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize(
    ("task", "tokenizer"), [(task, kind) for task in tasks.TASKS for kind in tasks.find(task).tokenizers]
)
def test_every_cell_learns_every_task_with_every_tokenizer(
    task: str, cell: str, tokenizer: str, tmp_path: Path
) -> None:
    assert task in EASY, f"{task} is a new row of TASKS: give it an easy corpus here"
    write, use = EASY[task]
    losses: list[float] = []
    watch = Watcher(event=lambda event: losses.append(event.loss) if isinstance(event, Stepped) else None)
    seqgen.train(  # without patience: with the pieces of some versions of SentencePiece all is learnt a little sooner
        write(tmp_path), tmp_path / "m", task=task, cell=cell, steps=100, learning_rate=0.01, dropout=0.0, watch=watch,
        patience=0, tokenizer=tokenizer if tokenizer in TOKENIZER_NAMES else None, **TINY,
    )  # fmt: skip
    assert len(losses) == 100
    assert np.mean(losses[-5:]) < losses[0] / 2
    model = seqgen.load(tmp_path / "m")
    assert model.checkpoint.config["task"] == task
    assert model.checkpoint.network.cell == cell
    preprocessor = model.checkpoint.preprocessor
    assert getattr(preprocessor, "text", preprocessor).kind == tokenizer
    use(model)


DROPPING = {**TINY, "dropout": 0.2, "weight_drop": 0.1, "num_layers": 2}  # chance plays a part in every step


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(text_file: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        seqgen.train(str(text_file), tmp_path / name, steps=8, seed=seed, **DROPPING)
    assert tensors(tmp_path / "a") == tensors(tmp_path / "b")
    assert measured(tmp_path / "a") == measured(tmp_path / "b")
    other = tensors(tmp_path / "c")
    assert all(other[name] != same for name, same in tensors(tmp_path / "a").items())


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16")
def test_bfloat16_is_repeatable_too(text_file: Path, tmp_path: Path) -> None:
    for name in "ab":
        seqgen.train(str(text_file), tmp_path / name, steps=8, seed=5, **{**DROPPING, "precision": "bf16"})
    assert tensors(tmp_path / "a") == tensors(tmp_path / "b")
    assert seqgen.load(tmp_path / "a").checkpoint.config["training"]["precision"] == "bf16"


def test_metrics_and_configuration_keep_the_contract(model_folder: Path) -> None:
    lines = (model_folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    keys = {"step", "seconds", "tokens", "train_loss", "val_loss", "learning_rate", "tokens_per_second"}
    assert all(keys <= set(record) for record in records)
    assert [record["step"] for record in records] == list(range(4, 61, 4))
    assert all(math.isfinite(record[key]) for record in records for key in keys)
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    config = json.loads((model_folder / "config.json").read_text())
    assert {"format", "task", "tokenizer", "network", "seqgen", "data", "metrics", "training"} <= set(config)
    assert len(config["data"]["fingerprint"]) == 64
    assert config["metrics"]["val_loss"] <= min(record["val_loss"] for record in records)


def held_out_loss(model: seqgen.Model) -> float:
    facts = model.checkpoint.config["data"]
    data = tasks.find("text").load_cached(facts, model.codec)
    assert data is not None
    compute = device.choose("cpu", "fp32", 1)
    objective = NextTokenObjective(model.network, data.train, data.held_out, compute, model.codec.seen(), 8, 32, 0)
    model.network.eval()
    loss = objective.validate()
    assert loss is not None
    return loss


@pytest.fixture
def noise_file(tmp_path: Path) -> Path:
    """Digits without any order: a network can only learn them by heart, so the held-out loss turns up soon."""
    path = tmp_path / "digits.txt"
    path.write_text("".join(random.Random(4).choices("0123456789", k=1500)))
    return path


def test_the_best_model_is_kept_not_the_last(noise_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    model = seqgen.train(
        str(noise_file), folder, steps=90, learning_rate=0.03, dropout=0.0, patience=0, **{**TINY, "rnn_size": 64}
    )
    records = checkpoint.read_metrics(folder)
    best = min(records, key=lambda record: record["val_loss"])
    assert best["step"] < 60, "the text was meant to be learnt by heart"
    assert records[-1]["val_loss"] > best["val_loss"] + 0.2
    assert held_out_loss(model) == pytest.approx(best["val_loss"], abs=1e-4)
    config = model.checkpoint.config
    assert config["metrics"]["best_step"] == best["step"]
    assert config["metrics"]["val_loss"] == best["val_loss"]
    assert config["training"]["step"] == 90


def test_a_run_that_stopped_early_is_finished(noise_file: Path, tmp_path: Path) -> None:
    """`--resume` on it does nothing: there is no next validation that would make it better."""
    folder = tmp_path / "m"
    options = {"steps": 300, "learning_rate": 0.05, "dropout": 0.0, "patience": 2, **TINY, "rnn_size": 64}
    events: list[Event] = []
    seqgen.train(str(noise_file), folder, watch=Watcher(event=events.append), **options)
    assert events[-1] == Finished(early=True)
    before = contents(folder)
    again: list[Event] = []
    seqgen.train(str(noise_file), folder, resume=True, watch=Watcher(event=again.append), **options)
    assert contents(folder) == before
    assert not [event for event in again if isinstance(event, Stepped)]


@pytest.mark.parametrize(("averaging", "kept"), [(0, "weight"), (8, "average")])
def test_with_nothing_held_out_the_last_step_is_kept(
    text_file: Path, tmp_path: Path, averaging: float, kept: str
) -> None:
    model = seqgen.train(str(text_file), tmp_path / "m", steps=3, val_fraction=0, averaging=averaging, **TINY)
    assert [record["val_loss"] for record in checkpoint.read_metrics(tmp_path / "m")] == [None] * 3
    weights = {f"{kept}.{name}": value for name, value in tensors(tmp_path / "m").items()}
    assert weights.items() <= resume_weights(tmp_path / "m").items()
    assert model.checkpoint.config["data"]["held_out_tokens"] == 0


def test_held_out_text_is_never_trained_on(tmp_path: Path) -> None:
    text = prose(300)
    source = tmp_path / "text.txt"
    source.write_text(text[:-500] + "Ω" * 50 + text[-500:])
    model = seqgen.train(str(source), tmp_path / "m", steps=2, **TINY)
    assert "Ω" not in model.codec.pieces()
    facts = model.checkpoint.config["data"]
    train = ids.load(cache_folder() / "ids" / f"{facts['cache']}.train.ids")
    held = ids.load(cache_folder() / "ids" / f"{facts['cache']}.valid.ids")
    assert train is not None and held is not None
    first, last = decode(model.codec, train.ids), decode(model.codec, held.ids)
    assert first + last == source.read_bytes()
    assert len(last) == pytest.approx(0.1 * (len(first) + len(last)), abs=4)
    assert "Ω".encode() not in first
    assert last.count("Ω".encode()) == 50


def test_valid_names_what_is_held_out(text_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "valid.txt"
    other.write_text(prose(30, seed=9) + "ΩΩΩ")
    model = seqgen.train(str(text_file), tmp_path / "m", valid=str(other), steps=2, **TINY)
    facts = model.checkpoint.config["data"]
    assert facts["train_bytes"] == text_file.stat().st_size
    assert facts["held_out_bytes"] == other.stat().st_size
    assert [source["name"] for source in facts["valid_sources"]] == [str(other)]
    assert "Ω" not in model.codec.pieces()
    assert held_out_loss(model) == pytest.approx(model.checkpoint.config["metrics"]["val_loss"], abs=1e-4)


# Five thousand times one character is enough for bytes, each of which is a kind of its own, and for subwords, whose
# pieces hold several of it; characters leave one kind only.
TOO_LITTLE = [
    (text, kind) for text in ("", "a", "a" * 10, "abcdefghij", "a\ncd e", "\n\n\n") for kind in TOKENIZER_NAMES
]


@pytest.mark.parametrize(("text", "tokenizer"), [*TOO_LITTLE, pytest.param("a" * 5000, "char", id="5000 times a")])
def test_too_little_text_is_told_in_a_sentence(text: str, tokenizer: str, tmp_path: Path) -> None:
    source = tmp_path / "small.txt"
    source.write_text(text)
    with pytest.raises(DataError) as error:
        seqgen.train(str(source), tmp_path / "m", tokenizer=tokenizer, steps=2, **TINY)
    message = str(error.value)
    assert "\n" not in message
    assert len(message.split()) >= 5
    assert not (tmp_path / "m").exists()


def test_parts_of_a_character_at_the_ends_of_two_files_are_no_character(tmp_path: Path) -> None:
    """The first file ends within a €, the second begins with the rest of one: neither holds it there."""
    source = tmp_path / "parts"
    source.mkdir()
    (source / "a.txt").write_bytes(prose(60).encode() + "€€€".encode() + b"\xe2\x82")
    (source / "b.txt").write_bytes(b"\xac" + prose(60, seed=2).encode())
    model = seqgen.train(str(source), tmp_path / "m", steps=20, val_fraction=0, **TINY)
    assert math.isfinite(checkpoint.read_metrics(model.checkpoint.folder)[-1]["train_loss"])


def test_a_reckless_rate_ends_in_a_model_or_in_an_error_that_says_why(text_file: Path, tmp_path: Path) -> None:
    options = {**TINY, "cell": "rnn", "activation": "relu", "learning_rate": 10.0, "warmup": 0.0, "grad_clip": 1e9}
    try:
        seqgen.train(str(text_file), tmp_path / "m", steps=30, watch=killing(2000), **options)
    except TrainingError as error:
        assert "not finite" in str(error)
    if (tmp_path / "m").exists():
        seqgen.load(tmp_path / "m").checkpoint.weights()


# How a model's place is treated


def test_a_model_is_not_replaced_without_a_word(finished: Path, text_file: Path) -> None:
    before = contents(finished)
    with pytest.raises(UserError, match="--overwrite"):
        seqgen.train(str(text_file), finished, steps=2, **TINY)
    with pytest.raises(UserError, match="--resume or --overwrite"):
        seqgen.train(str(text_file), finished, steps=2, resume=True, overwrite=True, **TINY)
    assert contents(finished) == before


def test_a_folder_of_other_things_is_left_alone(text_file: Path, tmp_path: Path) -> None:
    place = tmp_path / "letters"
    place.mkdir()
    (place / "dear.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds other things"):
            seqgen.train(str(text_file), place, steps=2, overwrite=overwrite, **TINY)
    with pytest.raises(UserError, match="is a file"):
        seqgen.train(str(text_file), place / "dear.txt", steps=2, overwrite=True, **TINY)
    assert [path.name for path in place.iterdir()] == ["dear.txt"]


def test_overwrite_leaves_nothing_of_the_old_model(finished: Path, text_file: Path) -> None:
    (finished / "tokenizer.model").write_bytes(b"left by a subword model")
    seqgen.train(str(text_file), finished, steps=2, tokenizer="byte", overwrite=True, **TINY)
    assert not (finished / "tokenizer.model").exists()
    assert [record["step"] for record in checkpoint.read_metrics(finished)] == [1, 2]
    assert seqgen.load(finished).codec.kind == "byte"
    assert [path.name for path in finished.parent.iterdir() if path.name.endswith(".part")] == []


def test_a_time_too_short_for_a_step_still_gives_the_model_that_was_asked_for(
    finished: Path, text_file: Path, tmp_path: Path
) -> None:
    options = {"budget": "0.01s", "tokenizer": "byte", **TINY}
    model = seqgen.train(str(text_file), tmp_path / "m", **options)
    assert model.codec.kind == "byte"
    model.checkpoint.weights()
    replaced = seqgen.train(str(text_file), finished, overwrite=True, **options)
    assert replaced.codec.kind == "byte", "the old model must not be handed out as the new one"


# Killed and resumed


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


def killing(after: int) -> Watcher:
    """A watcher that ends the process after so many events."""
    count = 0

    def event(_: Event) -> None:
        nonlocal count
        count += 1
        if count == after:
            raise Killed

    return Watcher(event=event)


@pytest.fixture(scope="module")
def uninterrupted(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 steps, validated every 2: the events are S S V, S S V…, 54 and the end."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "m"
    seqgen.train(str(text_file), folder, steps=36, seed=3, **DROPPING)
    return folder


def same_run(folder: Path, other: Path) -> None:
    assert measured(folder) == measured(other)
    assert tensors(folder) == tensors(other)
    assert resume_weights(folder) == resume_weights(other)
    assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}
    assert len(list((folder / "resume").iterdir())) == 2


@pytest.mark.parametrize("after", [3, 4, 5, 30, 31, 32, 52, 53, 54])
def test_a_run_killed_after_any_event_goes_on_as_if_nothing_had_been(
    after: int, uninterrupted: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_folders, "_SAVE_EVERY", -1.0)  # saves after every step, as a slow run does after a minute
    folder = tmp_path / "m"
    options = {"steps": 36, "seed": 3, **DROPPING}
    with pytest.raises(Killed):
        seqgen.train(str(text_file), folder, watch=killing(after), **options)
    checkpoint.load(folder).weights()
    seqgen.train(str(text_file), folder, resume=True, **options)
    same_run(folder, uninterrupted)


def test_a_run_stopped_by_its_watcher_is_saved_where_it_stands(
    uninterrupted: Path, text_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    options = {"steps": 36, "seed": 3, **DROPPING}
    steps: list[int] = []
    watch = Watcher(
        event=lambda event: steps.append(event.step) if isinstance(event, Stepped) else None,
        stop=lambda: len(steps) == 9,
    )
    seqgen.train(str(text_file), folder, watch=watch, **options)
    assert steps == list(range(1, 10))
    assert checkpoint.read_resume(folder)[1]["step"] == 9
    assert checkpoint.read_metrics(folder)[-1]["step"] == 9
    seqgen.train(str(text_file), folder, resume=True, **options)
    assert tensors(folder) == tensors(uninterrupted)
    assert resume_weights(folder) == resume_weights(uninterrupted)


def test_a_run_killed_before_its_first_save_starts_again(uninterrupted: Path, text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    options = {"steps": 36, "seed": 3, **DROPPING}
    with pytest.raises(Killed):
        seqgen.train(str(text_file), folder, watch=killing(2), **options)
    assert not folder.exists()
    checkpoint.staging(folder).mkdir()  # as a kill in the middle of the first save leaves it
    (checkpoint.staging(folder) / "config.json").write_text("{")
    warnings: list[str] = []
    seqgen.train(str(text_file), folder, resume=True, watch=Watcher(warn=warnings.append), **options)
    assert "from the beginning" in warnings[0]
    same_run(folder, uninterrupted)
    assert not checkpoint.staging(folder).exists()


def arguments(source: Path, folder: Path, precision: str, *more: str) -> list[str]:
    flags = {"steps": 200, "seed": 3, "threads": 1, "precision": precision, "rnn-size": 32, "embedding-size": 16,
             "batch-size": 8, "seq-length": 32, "dropout": 0.2, "val-fraction": 0.05}  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "seqgen", "train", str(source), "-o", str(folder), *words, "--quiet", *more]


def train_as_arguments_do(source: Path, folder: Path, precision: str, resume: bool = False) -> None:
    options = {**TINY, "steps": 200, "seed": 3, "precision": precision, "dropout": 0.2, "val_fraction": 0.05}
    seqgen.train(str(source), folder, resume=resume, **options)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def reference(
    request: pytest.FixtureRequest, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The precision, and the model of a run that nothing disturbed."""
    if request.param == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    folder = tmp_path_factory.mktemp("reference") / "m"
    train_as_arguments_do(text_file, folder, request.param)
    return request.param, folder


def saved_step(folder: Path) -> int:
    try:
        return int(json.loads((folder / "resume" / "state.json").read_bytes())["position"]["step"])
    except (FileNotFoundError, ValueError):
        return -1


def interrupted_once_saved(command: list[str], folder: Path, number: int, delay: float) -> tuple[int, bytes]:
    """Runs the command and sends it a signal, `delay` seconds after it has saved something new."""
    before = saved_step(folder)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while saved_step(folder) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return process.returncode, said


@pytest.mark.slow
def test_a_run_killed_twice_at_random_ends_with_the_same_weights(
    reference: tuple[str, Path], text_file: Path, tmp_path: Path
) -> None:
    precision, whole = reference
    folder = tmp_path / "m"
    delays = [random.uniform(0, 0.15), random.uniform(0, 0.15)]  # a fifth of the run, on a quick machine
    code, said = interrupted_once_saved(arguments(text_file, folder, precision), folder, signal.SIGKILL, delays[0])
    assert code == -signal.SIGKILL, said
    first = saved_step(folder)
    checkpoint.load(folder).weights()
    command = arguments(text_file, folder, precision, "--resume")
    code, said = interrupted_once_saved(command, folder, signal.SIGKILL, delays[1])
    assert code == -signal.SIGKILL, said
    assert 0 < first < saved_step(folder) < 200
    checkpoint.load(folder).weights()
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=200).returncode == 0
    assert measured(folder) == measured(whole), f"delays {delays}"
    assert tensors(folder) == tensors(whole), f"delays {delays}"
    assert resume_weights(folder) == resume_weights(whole), f"delays {delays}"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("reference", ["fp32"], indirect=True)
def test_a_run_told_to_stop_saves_first(
    number: int, status: int, reference: tuple[str, Path], text_file: Path, tmp_path: Path
) -> None:
    precision, whole = reference
    folder = tmp_path / "m"
    command = arguments(text_file, folder, precision)
    command.remove("--quiet")
    code, said = interrupted_once_saved(command, folder, number, random.uniform(0, 0.15))
    assert code == status, said
    assert b"--resume" in said.splitlines()[-1]
    assert b"Traceback" not in said
    assert 0 < saved_step(folder) < 200
    (sample,) = seqgen.load(folder).sample(length=20)
    assert len(sample.text) == 20
    train_as_arguments_do(text_file, folder, precision, resume=True)
    assert tensors(folder) == tensors(whole)
    assert resume_weights(folder) == resume_weights(whole)


@pytest.mark.slow
def test_resume_of_a_finished_run_does_nothing(finished: Path, text_file: Path, seqgen_command: Command) -> None:
    before = contents(finished)
    seqgen.train(str(text_file), finished, resume=True)
    seqgen.train([], finished, resume=True)  # its sources are known
    assert contents(finished) == before
    result = seqgen_command("train", text_file, "-o", finished, "--resume", "--steps", 60, "--rnn-size", 32)
    assert result.returncode == 0, result.stderr
    assert result.stdout == b""
    assert contents(finished) == before


def test_resume_with_more_steps_goes_on(finished: Path, text_file: Path) -> None:
    model = seqgen.train(str(text_file), finished, resume=True, steps=70)
    steps = [record["step"] for record in checkpoint.read_metrics(finished)]
    assert steps[:15] == list(range(4, 61, 4))
    assert steps[-1] == 70
    assert model.checkpoint.config["training"]["step"] == 70


def test_resume_of_a_changed_source_is_refused(finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(prose(seed=2))
    before = contents(finished)
    with pytest.raises(UserError, match="--init-from"):
        seqgen.train(str(other), finished, resume=True, steps=80)
    assert contents(finished) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("rnn_size", 64), ("cell", "gru"), ("tokenizer", "byte"), ("batch_size", 4), ("seq_length", 16), ("seed", 2),
     ("learning_rate", 0.5), ("dropout", 0.3), ("val_fraction", 0.2), ("precision", "bf16"), ("warmup", 0.5)],
)  # fmt: skip
def test_resume_with_another_setting_is_refused(finished: Path, text_file: Path, name: str, value: Any) -> None:
    before = contents(finished)
    with pytest.raises(UserError, match="--" + name.replace("_", "-")):
        seqgen.train(str(text_file), finished, resume=True, **{name: value})
    assert contents(finished) == before


def test_resume_keeps_the_patience_of_the_run(text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with pytest.raises(Killed):
        seqgen.train(str(text_file), folder, steps=4, patience=0, watch=killing(4), **TINY)
    model = seqgen.train(str(text_file), folder, resume=True)
    assert model.checkpoint.config["training"]["step"] == 4
    assert model.checkpoint.config["training"]["schedule"]["patience"] == 0


def test_resume_takes_another_patience_with_more_steps(text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    seqgen.train(str(text_file), folder, steps=2, **TINY)
    model = seqgen.train(str(text_file), folder, resume=True, steps=4, patience=3)
    assert model.checkpoint.config["training"]["schedule"]["patience"] == 3


def test_resume_counts_epochs_as_the_run_did(tmp_path: Path) -> None:
    """The same command with --resume behind it: many small documents, whose ends count as tokens too."""
    source = tmp_path / "poems"
    source.mkdir()
    for number in range(60):
        (source / f"{number:02}.txt").write_text(f"a leaf fell {number}\nand so did i\n" * 2)
    folder = tmp_path / "m"
    options = {"epochs": 1.0, **TINY, "batch_size": 2, "seq_length": 8}
    events: list[Event] = []
    seqgen.train(str(source), folder, **options)
    seqgen.train(str(source), folder, resume=True, watch=Watcher(event=events.append), **options)
    assert events == [Finished(early=False)]


@pytest.mark.slow
def test_resume_needs_no_source_while_the_cache_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seqgen_command: Command
) -> None:
    folder = tmp_path / "m"
    text = (prose(200) + "ünique to this test").encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    seqgen.train("-", folder, steps=3, **TINY)
    monkeypatch.setattr(sys, "stdin", None)
    model = seqgen.train([], folder, resume=True, steps=5)
    assert model.checkpoint.config["training"]["step"] == 5
    result = seqgen_command("train", "--resume", "-o", folder, "--steps", 6)
    assert result.returncode == 0, result.stderr
    assert [record["step"] for record in checkpoint.read_metrics(folder)] == list(range(1, 7))
    shutil.rmtree(cache_folder() / "ids")
    with pytest.raises(UserError, match="standard input"):
        seqgen.train([], folder, resume=True, steps=7)


# From another model


@pytest.fixture(scope="module")
def gru_folder(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gru") / "m"
    seqgen.train(str(text_file), folder, steps=2, cell="gru", **TINY)
    return folder


def test_init_from_copies_every_weight_it_knows(model_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "greek.txt"
    source.write_text((prose(80) + "αβγδ λόγος ΩΩ\n") * 3)
    model = seqgen.train(
        str(source), tmp_path / "m", init_from=model_folder, steps=1, learning_rate=1e-12, batch_size=8, seq_length=32,
        precision="fp32", threads=1,
    )  # fmt: skip
    old = seqgen.load(model_folder)
    size = old.codec.vocab_size
    assert model.codec.vocab_size > size
    assert model.codec.pieces()[:size] == old.codec.pieces()
    assert {"Ω", "λ", "ό"} <= set(model.codec.pieces()[size:])
    before, after = old.checkpoint.weights(), model.checkpoint.weights()
    assert set(before) == set(after)
    for name, weight in before.items():
        np.testing.assert_allclose(after[name][: len(weight)], weight, atol=1e-6)
    for name in ("embedding", "output_weight", "output_bias"):
        assert len(after[name]) == model.codec.vocab_size
    assert model.checkpoint.config["training"]["init_from"] == str(model_folder)


def test_init_from_learns_what_is_new(model_folder: Path, tmp_path: Path) -> None:
    line = "Ωδή ΩδήΩ δή\n"
    source = tmp_path / "greek.txt"
    source.write_text(line * 200)
    model = seqgen.train(
        str(source), tmp_path / "m", init_from=model_folder, steps=100, learning_rate=0.02, batch_size=8,
        seq_length=32, dropout=0.0, precision="fp32", threads=1,
    )  # fmt: skip
    assert model.score(line * 3).nats < seqgen.load(model_folder).score(line * 3).nats / 4
    assert "Ωδή" in model.sample(line, length=30, temperature=0)[0].text


@pytest.mark.parametrize(
    "strange",
    ["", "€", "日", b"\xff\xfe", "€€日", "\x01"],
    ids=["nothing", "once", "once in three bytes", "no UTF-8", "twice and once", "control"],
)
def test_init_from_reads_any_text(model_folder: Path, tmp_path: Path, strange: str | bytes) -> None:
    """What the new vocabulary does not hold is spelt in bytes, and those have to be learnable too."""
    source = tmp_path / "new.txt"
    extra = strange if isinstance(strange, bytes) else strange.encode()
    source.write_bytes(prose(20).encode() + extra + prose(20, seed=2).encode())
    model = seqgen.train(
        str(source), tmp_path / "m", init_from=model_folder, steps=20, val_fraction=0, batch_size=8, seq_length=32,
        precision="fp32", threads=1,
    )  # fmt: skip
    assert math.isfinite(checkpoint.read_metrics(model.checkpoint.folder)[-1]["train_loss"])


@pytest.mark.parametrize("tokenizer", ["byte", "subword"])
def test_init_from_keeps_other_tokenizers(tokenizer: str, text_file: Path, tmp_path: Path) -> None:
    seqgen.train(str(text_file), tmp_path / "old", tokenizer=tokenizer, steps=2, **TINY)
    source = tmp_path / "new.txt"
    source.write_text((prose(40, seed=5) + "日本 Ω\n") * 2)
    rest = {name: TINY[name] for name in ("batch_size", "seq_length", "precision", "threads")}
    model = seqgen.train(str(source), tmp_path / "m", init_from=tmp_path / "old", steps=2, **rest)
    assert model.codec.to_dict() == seqgen.load(tmp_path / "old").codec.to_dict()


@pytest.mark.parametrize(
    ("name", "value"),
    [("rnn_size", 64), ("cell", "gru"), ("num_layers", 2), ("embedding_size", 8), ("tie_weights", True),
     ("tokenizer", "byte"), ("tokenizer", "subword"), ("vocab_size", 500)],
)  # fmt: skip
def test_init_from_with_a_flag_that_does_not_fit(
    model_folder: Path, text_file: Path, tmp_path: Path, name: str, value: Any
) -> None:
    with pytest.raises(UserError) as error:
        seqgen.train(str(text_file), tmp_path / "m", init_from=model_folder, steps=1, **{name: value})
    assert "--" + name.replace("_", "-") in str(error.value)
    assert "--init-from" in str(error.value)
    assert not (tmp_path / "m").exists()


def test_init_from_refuses_a_flag_that_does_not_fit_even_if_it_is_the_default(
    gru_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    """`--cell lstm` was asked for in so many words; a GRU is not what the person wants."""
    with pytest.raises(UserError, match="--cell"):
        seqgen.train(str(text_file), tmp_path / "m", init_from=gru_folder, steps=1, cell="lstm", threads=1)


def test_init_from_takes_the_shape_of_its_model(gru_folder: Path, text_file: Path, tmp_path: Path) -> None:
    model = seqgen.train(str(text_file), tmp_path / "m", init_from=gru_folder, steps=1, rnn_size=32, threads=1)
    assert model.checkpoint.network.cell == "gru"
    assert model.checkpoint.network.rnn_size == 32


def test_init_from_may_replace_its_own_model(finished: Path, text_file: Path) -> None:
    model = seqgen.train(str(text_file), finished, init_from=finished, overwrite=True, steps=2, threads=1)
    assert model.checkpoint.config["training"]["step"] == 2


def test_init_from_what_is_no_model(text_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        seqgen.train(str(text_file), tmp_path / "m", init_from=tmp_path / "nowhere", steps=1)


# By the clock


@pytest.mark.slow
def test_a_budget_is_kept_by_the_whole_process(text_file: Path, tmp_path: Path, seqgen_command: Command) -> None:
    began = time.monotonic()
    result = seqgen_command("train", text_file, "-o", tmp_path / "m", "--budget", "6s", "--threads", 1)
    spent = time.monotonic() - began
    assert result.returncode == 0, result.stderr
    assert 1 <= spent <= 11
    model = seqgen.load(tmp_path / "m")
    assert model.checkpoint.config["training"]["seconds"] <= 7
    losses = [record["val_loss"] for record in checkpoint.read_metrics(tmp_path / "m")]
    assert losses[-1] < losses[0]


def test_a_run_by_the_clock_is_resumed_by_the_clock(text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with pytest.raises(Killed):
        seqgen.train(str(text_file), folder, budget="3s", watch=killing(30), **TINY)
    before = saved_step(folder)
    began = time.monotonic()
    model = seqgen.train(str(text_file), folder, budget="3s", resume=True, **TINY)
    assert time.monotonic() - began < 6
    training = model.checkpoint.config["training"]
    assert training["step"] > before
    assert training["seconds"] == pytest.approx(3, abs=1.5)


def test_positions_are_json() -> None:
    """state.json is read back with no surprise: plain numbers, and nothing that is not JSON."""
    position = dataclasses.asdict(Position(step=3, best_loss=1.5, train_loss=2.5))
    assert Position(**json.loads(json.dumps(position, allow_nan=False))) == Position(**position)


def test_a_first_validation_that_is_not_finite_is_saved_as_json_all_the_same(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = NextTokenObjective.validate, iter(range(100))
    monkeypatch.setattr(NextTokenObjective, "validate", lambda self: real(self) if next(calls) else math.nan)
    seqgen.train(str(text_file), tmp_path / "m", steps=1, **TINY)

    def refuse(name: str) -> Iterator[None]:
        raise AssertionError(f"{name} is no JSON")

    for path in (tmp_path / "m" / "config.json", tmp_path / "m" / "resume" / "state.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    (record,) = checkpoint.read_metrics(tmp_path / "m")
    assert record["val_loss"] is None


# ---- layers that knew something before ----


def test_lower_layers_learn_later_and_slower() -> None:
    schedule = Schedule(learning_rate=1.0, warmup=0.0, steps=100, layer_decay=2.6, unfreeze=0.3)
    assert [schedule.layer_factor(depth, 3, 0.0) for depth in range(4)] == [1.0, 0.0, 0.0, 0.0]
    assert [schedule.layer_factor(depth, 3, 0.2) > 0 for depth in range(4)] == [True, True, True, False]
    assert [schedule.layer_factor(depth, 3, 0.5) for depth in range(4)] == [2.6**-depth for depth in range(4)]
    plain = Schedule(learning_rate=1.0, warmup=0.0, steps=100)
    assert {plain.layer_factor(depth, 3, progress) for depth in range(4) for progress in (0.0, 0.5, 1.0)} == {1.0}


def test_how_deep_a_weight_is() -> None:
    names = ["output_weight", "head_bias", "layers.1.bias", "readers.0.layers.1.bias", "readers.1.layers.0.bias",
             "layers.0.input_weight", "embedding"]  # fmt: skip
    assert [depth(name, 2) for name in names] == [0, 0, 1, 1, 2, 2, 3]
