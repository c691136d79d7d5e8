"""The training loop on a toy objective: events, validation, recovery, averaging, saving and resuming."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqgen.errors import ModelError, TrainingError
from seqgen.training import loop
from seqgen.training.loop import Cooling, Event, Finished, Position, Recovered, Run, Stepped, Validated
from seqgen.training.schedule import Schedule
from tests.helpers.waiting import Stopwatch

# ---- A toy objective ----


def alone(loss: Tensor, step: int, call: int, weight: Tensor) -> Tensor:
    """The loss unchanged."""
    return loss


class Toy:
    """Moves two numbers to 3; `spoil` may replace the loss, `heights` are the validation losses in order."""

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
    """√x at 0: its value is 0, its derivative infinite."""
    return lambda loss, step, call, weight: loss + (weight - weight.detach()).sqrt().sum() if call in calls else loss


def test_events_come_in_order_and_end_with_a_validation() -> None:
    events = list(run_of(Toy(), steps=31).events())  # 31: validations are every 2 steps, and the last is an odd one
    steps = [event.step for event in events if isinstance(event, Stepped)]
    validated = [event.step for event in events if isinstance(event, Validated)]
    assert steps == list(range(1, 32))
    assert validated == [*range(2, 31, 2), 31]
    assert events[-1] == Finished(early=False)
    assert isinstance(events[-2], Validated)
    last = 0
    for event in events[:-1]:  # a validation follows its step
        assert isinstance(event, Stepped | Validated)
        assert event.step == (last if isinstance(event, Validated) else last + 1)
        last = event.step


def test_events_ask_for_batches_by_step_from_zero() -> None:
    toy = Toy()
    list(run_of(toy, steps=20).events())
    assert toy.asked == list(range(20))


def test_events_lower_the_loss_and_count_tokens() -> None:
    toy = Toy()
    events = list(run_of(toy, steps=300, learning_rate=0.1).events())
    assert abs(toy.weight() - 3) < 0.1
    stepped = [event for event in events if isinstance(event, Stepped)]
    assert [event.tokens for event in stepped] == [10 * (n + 1) for n in range(300)]
    assert [event.progress for event in stepped] == pytest.approx([(n + 1) / 300 for n in range(300)])
    schedule = Schedule(0.1, 0.1, steps=300)
    assert [event.learning_rate for event in stepped] == pytest.approx([schedule.rate(n / 300) for n in range(300)])
    assert stepped[-1].seconds_left == 0


def test_events_clip_the_gradient() -> None:
    norms: list[float] = []

    def steep(loss: Tensor, step: int, call: int, weight: Tensor) -> Tensor:
        return loss * 1e6

    toy = Toy(steep)
    run = run_of(toy, steps=1, grad_clip=0.5)
    for event in run.events():
        if isinstance(event, Stepped):
            norms += [math.hypot(*[float(weight.grad.norm()) for weight in toy.network.parameters()])]
    assert norms == pytest.approx([0.5], rel=1e-4)


def test_validated_grad_norm_is_the_mean_before_clipping_since_the_last_validation() -> None:
    toy, norms = Toy(), []

    def measured(loss: Tensor, step: int, call: int, weight: Tensor) -> Tensor:
        norms.append(
            math.hypot(*[float(g) for g in torch.autograd.grad(loss, toy.network.parameters(), retain_graph=True)])
        )
        return loss

    toy._spoil = measured
    validated = [event for event in run_of(toy, steps=31, grad_clip=1e-3).events() if isinstance(event, Validated)]
    expected = [sum(norms[last - 2 : last]) / 2 for last in range(2, 31, 2)] + [norms[30]]
    assert [event.grad_norm for event in validated] == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 1e-3


def test_validated_that_does_not_count_leaves_the_grad_norm_of_the_next() -> None:
    norms = []
    for interrupts in (False, True):
        run = run_of(Toy())
        for event in run.events():
            if isinstance(event, Validated):
                norms.append(event.grad_norm)
                break
            if interrupts:
                assert run.validate(counts=False).grad_norm > 0
    assert norms[0] == norms[1]


def test_patience_ends_the_run_early_and_best_marks_new_minima() -> None:
    heights = [5.0, 4.0, 4.5, 3.0, 3.0, 3.5, 3.1, 1.0]
    run = run_of(Toy(heights=heights), steps=30, patience=3)
    events = list(run.events())
    validated = [event for event in events if isinstance(event, Validated)]
    assert [event.val_loss for event in validated] == heights[:7]
    assert [event.best for event in validated] == [True, True, False, True, False, False, False]
    assert events[-1] == Finished(early=True)
    assert (run.position.best_loss, run.position.best_step) == (3.0, 8)


def plateau(**schedule: Any) -> tuple[Run, list[Event]]:
    """A run whose third validation is its best, after step 6; patience is over after step 12."""
    toy = Toy(heights=[3.0, 2.0, 1.0, *[1.5] * 60])
    run = run_of(toy, **{"steps": 100, "validate_every": 2, "patience": 3, "cooling": True, **schedule})
    return run, list(run.events())


def test_cooling_goes_back_to_the_best_weights_and_ends_at_a_rate_of_zero() -> None:
    toy = Toy(heights=[3.0, 2.0, 1.0, *[1.5] * 60])
    run = run_of(toy, steps=100, validate_every=2, patience=3, cooling=True, averaging=8.0)
    seen: list[tuple[Event, float]] = []
    for event in run.events():
        with run.averaged():
            seen.append((event, toy.weight()))
    (cooling,) = [number for number, (event, _) in enumerate(seen) if isinstance(event, Cooling)]
    assert seen[cooling][0] == Cooling(step=6, steps=2)
    assert [weight for event, weight in seen if isinstance(event, Validated) and event.step == 6] == [seen[cooling][1]]
    before, after = seen[:cooling], seen[cooling:]
    assert [event.step for event, _ in before if isinstance(event, Stepped)] == list(range(1, 13))
    cooled = [event for event, _ in after if isinstance(event, Stepped)]
    assert [event.step for event in cooled] == [13, 14], "a fifth of the steps so far"
    highest = run.schedule.rate(6 / 100)  # of the best step
    assert [event.learning_rate for event in cooled] == pytest.approx([highest, highest / 2])
    assert isinstance(after[-2][0], Validated)
    assert after[-1][0] == Finished(early=True)


def test_cooling_is_left_out_at_a_low_rate_and_unless_asked_for() -> None:
    cools = {
        name: any(isinstance(event, Cooling) for event in plateau(**schedule)[1])
        for name, schedule in {"asked": {}, "unasked": {"cooling": False}, "late": {"steps": 13}}.items()
    }
    assert cools == {"asked": True, "unasked": False, "late": True}
    falling = Toy(heights=[*map(float, range(100, 54, -1)), *[200.0] * 9])  # best at step 92, at a rate of 0.02
    run = run_of(falling, steps=100, validate_every=2, patience=3, cooling=True)
    assert not any(isinstance(event, Cooling) for event in run.events())
    assert (run.position.best_step, run.position.step) == (92, 98)


def test_cooling_ends_with_the_run_at_the_latest() -> None:
    run, events = plateau(steps=13, warmup=0.9)
    assert run.position.cooling_steps == 2
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(1, 14))
    assert events[-1] == Finished(early=True)


@pytest.mark.parametrize("cooling", [True, False])
def test_patience_that_runs_out_at_the_last_step_ends_nothing_early(cooling: bool) -> None:
    run, events = plateau(steps=12, cooling=cooling)
    assert run.position.step == 12
    assert events[-1] == Finished(early=False)
    again = run_of(Toy(), steps=12, patience=3, cooling=cooling)
    again.restore(*run.state())
    assert list(again.events()) == [Finished(early=False)]


@pytest.mark.parametrize("cut", [12, 13, 14])
def test_restore_of_state_continues_the_cooling_exactly(cut: int) -> None:
    """Cut off before, in and after the cooling; the best weights are kept apart from the state."""
    whole, _ = plateau(averaging=8.0)
    toy = Toy(heights=[3.0, 2.0, 1.0, *[1.5] * 60])
    begun = run_of(toy, steps=100, validate_every=2, patience=3, cooling=True, averaging=8.0)
    for event in begun.events():
        if isinstance(event, Validated if cut % 2 == 0 else Stepped) and event.step == cut:
            break
    arrays, position = begun.state()
    resumed = run_of(Toy(heights=[1.5] * 60), steps=100, validate_every=2, patience=3, cooling=True, averaging=8.0)
    resumed.best = begun.best
    resumed.restore({name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(position)))
    assert list(resumed.events())[-1] == Finished(early=True)
    ours, theirs = resumed.state()[0], whole.state()[0]
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_restore_of_a_state_without_cooling_is_that_of_an_older_version() -> None:
    run = run_of(Toy())
    arrays, position = run.state()
    newer = ("cooling", "finishing", "best_progress")
    older = {name: value for name, value in position.items() if not name.startswith(newer)}
    run_of(Toy()).restore(arrays, older)
    for impossible in ({"cooling_from": 3, "cooling_steps": 0}, {"best_progress": 1.5}):
        with pytest.raises(ModelError, match="position"):
            run_of(Toy()).restore(arrays, {**position, **impossible})


def test_patience_zero_never_stops() -> None:
    events = list(run_of(Toy(heights=[1.0] * 20), steps=30).events())
    assert events[-1] == Finished(early=False)
    assert sum(isinstance(event, Stepped) for event in events) == 30


def test_validated_without_validation_set_is_always_best() -> None:
    events = list(run_of(Toy(heights=[None] * 20), steps=30, patience=1).events())
    validated = [event for event in events if isinstance(event, Validated)]
    assert all(event.best and event.val_loss is None for event in validated)
    assert events[-1] == Finished(early=False)


def test_validated_non_finite_loss_is_never_best() -> None:
    validated = [
        event
        for event in run_of(Toy(heights=[math.nan, 2.0, math.inf, math.nan, 1.0] + [5.0] * 20)).events()
        if isinstance(event, Validated)
    ]
    assert [event.val_loss for event in validated[:5]] == [None, 2.0, None, None, 1.0]
    assert [event.best for event in validated[1:5]] == [True, False, False, True]


@pytest.mark.parametrize("spoil", [nan_at(121), infinite_gradient_at(121)], ids=["loss", "gradient"])
def test_recovered_non_finite_step_halves_the_learning_rate(spoil: Callable[..., Tensor]) -> None:
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


def test_recovered_run_keeps_its_clock() -> None:
    run, before = run_of(Toy(nan_at(5)), steps=30), 0.0
    for event in run.events():
        if isinstance(event, Recovered):
            assert run.seconds() >= before > run.position.seconds == 0
        before = run.seconds()


def test_recovered_two_bad_steps_halve_the_rate_twice() -> None:
    events = list(run_of(Toy(nan_at(5, 20)), steps=30).events())
    assert [event.factor for event in events if isinstance(event, Recovered)] == [0.5, 0.25]
    assert events[-1] == Finished(early=False)


def test_recovered_run_may_have_weights_without_a_gradient() -> None:
    """As a classifier's output layer has none in pretraining: its optimiser has no state of it to return to."""
    toy = Toy(nan_at(120))
    toy.network.register_parameter("unused", nn.Parameter(torch.zeros(2)))
    events = list(run_of(toy, steps=130).events())
    assert [event.step for event in events if isinstance(event, Recovered)] == [100]
    assert events[-1] == Finished(early=False)


def test_recovered_bad_step_changes_no_weight() -> None:
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
def test_recovery_loss_never_finite_raises_training_error(spoil: Callable[..., Tensor]) -> None:
    toy = Toy(spoil)
    events: list[Event] = []
    with pytest.raises(TrainingError, match="not finite"):
        events.extend(run_of(toy).events())
    assert toy.calls <= 20
    assert all(isinstance(event, Recovered) for event in events)
    factors = [event.factor for event in events if isinstance(event, Recovered)]
    assert factors == [0.5**n for n in range(1, len(factors) + 1)]
    assert toy.weight() == 0.0


def test_recovery_batch_always_bad_raises_training_error() -> None:
    toy = Toy(lambda loss, step, call, weight: loss * math.nan if step == 7 else loss)
    with pytest.raises(TrainingError):
        list(run_of(toy, steps=30).events())
    assert toy.calls <= 20 * 8


def test_recovery_never_returns_to_a_step_that_broke_the_weights() -> None:
    """The loss shows only one step later that an update was bad; the snapshot must not contain that update."""

    def cliff(loss: Tensor, step: int, call: int, weight: Tensor) -> Tensor:
        return loss * math.nan if float(weight.detach()) > broken_above else loss

    calm = Toy()
    for event in run_of(calm, steps=150, learning_rate=0.01).events():
        if isinstance(event, Stepped) and event.step == 100:
            broken_above = calm.weight() - 1e-4  # first exceeded by the update of step 100, where a snapshot is taken
    run = run_of(Toy(cliff), steps=150, learning_rate=0.01)
    recovered = None
    for event in run.events():
        if isinstance(event, Recovered):
            recovered = event
            break
    assert recovered is not None
    assert recovered.step < 100


def test_events_with_a_budget_end_on_time_with_a_validation() -> None:
    class Slow(Toy):
        def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
            time.sleep(0.005)
            return super().loss(step, generator)

    began, stopwatch = time.monotonic(), Stopwatch()
    run = run_of(Slow(), steps=None, seconds=0.5)
    events = list(run.events())
    assert time.monotonic() - began >= 0.5
    assert stopwatch.seconds < 1.5
    assert isinstance(events[-2], Validated)
    assert events[-1] == Finished(early=False)
    assert 3 <= sum(isinstance(event, Validated) for event in events) <= 20
    rates = [event.learning_rate for event in events if isinstance(event, Stepped)]
    assert rates[-1] < 0.1 * max(rates)


def test_events_without_time_left_take_no_step() -> None:
    run = run_of(Toy(), steps=None, seconds=1.0)
    run.began -= 2
    assert list(run.events()) == [Finished(early=False)]


class Clock:
    """A clock that advances by `tick` seconds whenever it is asked."""

    def __init__(self, tick: float = 0.01) -> None:
        self.now, self.tick = 100.0, tick

    def monotonic(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def budgeted(clock: Clock, spent: float = 0.0, toy: Toy | None = None, **schedule: Any) -> Run:
    """A run of 10 seconds, of which so many were `spent` before its first step."""
    run = run_of(toy or Toy(), steps=None, seconds=10.0, **schedule)
    run.began = clock.now - spent
    return run


def test_a_budget_spent_on_reading_is_no_progress(clock: Clock) -> None:
    """Warm-up, the peak of the rate and gradual unfreezing are fractions of the steps' own time."""
    run = budgeted(clock, spent=6.0, warmup=0.2)
    events = list(run.events())
    stepped = [event for event in events if isinstance(event, Stepped)]
    rates = [event.learning_rate for event in stepped]
    assert rates[0] == run.schedule.rate(0)
    assert max(rates) == pytest.approx(0.05, rel=0.02)
    assert rates.index(max(rates)) == pytest.approx(0.2 * len(rates), rel=0.2)
    assert rates[-1] < 0.1 * max(rates)
    assert run.position.seconds == pytest.approx(10, abs=0.2), "the budget is kept"
    validated = [event.seconds for event in events if isinstance(event, Validated)]
    assert min(np.diff([6.0, *validated])) > 0.1 and len(validated) >= 6, "spread over the time of the steps"


def test_restore_continues_on_the_clock_of_the_first_step(clock: Clock) -> None:
    run = budgeted(clock, spent=6.0)
    for event in run.events():
        if isinstance(event, Stepped) and event.progress > 0.4:
            break
    arrays, position = run.state()
    again = budgeted(clock)
    again.restore(arrays, json.loads(json.dumps(position)))
    resumed = next(event for event in again.events() if isinstance(event, Stepped))
    assert resumed.progress == pytest.approx(event.progress, abs=0.04)
    assert resumed.learning_rate == pytest.approx(event.learning_rate, rel=0.1)
    older = {name: value for name, value in position.items() if name != "first_seconds"}
    again.restore(arrays, older)
    resumed = next(event for event in again.events() if isinstance(event, Stepped))
    assert resumed.progress == pytest.approx(again.seconds() / 10, abs=0.04), "as that version counted"


def test_restart_clock_forgets_the_times_before_pretraining(clock: Clock) -> None:
    run = budgeted(clock, spent=7.0)
    run.validate()
    clock.now += 20  # of pretraining
    run.restart_clock()
    events = list(run.events())
    first = next(event for event in events if isinstance(event, Validated))
    assert first.seconds == pytest.approx(10 / 15, abs=0.2)
    assert next(event for event in events if isinstance(event, Stepped)).learning_rate == run.schedule.rate(0)


@pytest.mark.parametrize("seconds", [1 + number / 100 for number in range(20)])
def test_events_whenever_the_time_is_over_end_with_a_validation(clock: Clock, seconds: float) -> None:
    run = run_of(Toy(), steps=None, seconds=seconds)
    run.began = clock.now
    events = list(run.events())
    assert isinstance(events[-2], Validated) and events[-2].step == run.position.step


@pytest.mark.parametrize("cut", [1, 7, 29])
def test_restore_of_state_continues_the_run_exactly(cut: int) -> None:
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
def test_averaged_weights_later_steps_more(eta: float) -> None:
    toy = Toy()
    run = run_of(toy, averaging=eta)
    seen = [toy.weight(), *(toy.weight() for event in run.events() if isinstance(event, Stepped))]
    # In closed form, weight k of n has the factor Γ(k + η) / Γ(k) (Shamir & Zhang, 2013).
    shares = np.array([math.exp(math.lgamma(k + eta) - math.lgamma(k)) for k in range(1, len(seen))])
    expected = float(shares @ np.array(seen[1:]) / shares.sum())
    before = toy.weight()
    with run.averaged():
        assert toy.weight() == pytest.approx(expected, rel=1e-5)
    assert toy.weight() == before


def test_averaged_without_averaging_keeps_the_weights() -> None:
    toy = Toy()
    run = run_of(toy)
    list(run.events())
    before = toy.weight()
    with run.averaged():
        assert toy.weight() == before


def test_restore_continues_averaging() -> None:
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


@pytest.mark.parametrize("what", ["missing", "shape", "random", "position", "optimiser", "average", "dtype"])
def test_restore_state_of_another_run_raises_model_error(what: str) -> None:
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
    if what == "dtype":  # kernels would read beyond it
        arrays["weight.bias"] = arrays["weight.bias"].astype(np.uint8)
    other = run_of(Toy())
    with pytest.raises(ModelError, match="does not fit"):
        other.restore(arrays, position)


def test_position_survives_json() -> None:
    """state.json has plain numbers and nothing outside of JSON."""
    position = dataclasses.asdict(Position(step=3, best_loss=1.5, train_loss=2.5))
    assert Position(**json.loads(json.dumps(position, allow_nan=False))) == Position(**position)


# ---- A device that isn't asked at every step ----


@pytest.fixture
def rarely_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs read their losses as on a GPU: at the first step, at every twentieth and before a validation."""
    monkeypatch.setattr(loop, "_is_on_cpu", lambda network: False)


def without_losses(events: list[Event]) -> list[Event]:
    """Events without what depends on the clock, and without the losses of steps, which come late."""
    for event in events:
        for name in ("loss", "tokens_per_second", "seconds", "seconds_left"):
            if hasattr(event, name):
                object.__setattr__(event, name, 0.0)
    return events


def test_events_of_a_device_that_is_rarely_read_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    for on_cpu in (True, False):
        monkeypatch.setattr(loop, "_is_on_cpu", lambda network, here=on_cpu: here)
        toy = Toy()
        run = run_of(toy, steps=50, validate_every=13)
        events = without_losses(list(run.events()))
        ended.append((events, toy.weight(), run.position.train_loss, toy.noise))
    assert ended[0] == ended[1]


@pytest.mark.usefixtures("rarely_read")
def test_events_of_a_device_read_it_once_in_twenty_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    own = Run._read
    monkeypatch.setattr(Run, "_read", lambda run: counts.append(len(run._unread)) or own(run))
    list(run_of(Toy(), steps=100, validate_every=100).events())
    assert [count for count in counts if count] == [1, 19, 20, 20, 20, 20]


@pytest.mark.usefixtures("rarely_read")
@pytest.mark.parametrize("spoil", [nan_at(27), infinite_gradient_at(27)])
def test_recovered_device_goes_back_although_the_loss_is_read_late(spoil: Callable[..., Tensor]) -> None:
    toy = Toy(spoil)
    run = run_of(toy, steps=60)
    events = list(run.events())
    (recovered,) = [event for event in events if isinstance(event, Recovered)]
    assert (recovered.step, recovered.factor) == (0, 0.5)
    assert run.position.step == 60
    assert math.isfinite(toy.weight())
    assert all(math.isfinite(event.val_loss) for event in events if isinstance(event, Validated))


@pytest.mark.usefixtures("rarely_read")
def test_state_of_a_stopped_device_is_read_first() -> None:
    toy = Toy(nan_at(30))
    run = run_of(toy, steps=60)
    for event in run.events():
        if isinstance(event, Stepped) and event.step == 30:
            break
    arrays, position = run.state()
    assert all(np.isfinite(array).all() for name, array in arrays.items() if name != "random")
    assert position["step"] < 30
    other = Toy()
    run_of(other).restore(arrays, position)
    assert math.isfinite(other.weight())
