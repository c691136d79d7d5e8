"""The loop: a generator of events. Showing, saving and stopping stay outside of it.

What differs between tasks is in an `Objective`: what a batch is, its loss, and how to validate. The loop knows
optimiser, schedule, clipping, validation, patience, and what to do when a loss is not finite.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from seqgen.config import from_json
from seqgen.errors import ModelError, UserError
from seqgen.model.weight_shapes import depth
from seqgen.training.distributed.world import SINGLE_PROCESS, World
from seqgen.training.schedule import Schedule
from seqgen.training.snapshot import Snapshot

_GAP = 1 / 15  # of the run between validations
_LONGEST = 1e12  # seconds, as of a budget
_LARGEST = 1e18  # of a number in a state that is gone on with: beyond it the next product overflows


class Objective(Protocol):
    """A task in training. Its batches are pure functions of the step's number; what it carries can be saved."""

    network: nn.Module
    steps_per_epoch: int
    metrics: dict[str, float]  # of the last validation, in the task's own terms, besides what its loss says

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        """The mean loss of batch `step` in nats a token, and how many tokens it is a mean over. Where a batch is shared
        among processes: what this one adds to that mean, over the tokens of all."""
        ...

    def validate(self) -> float | None:
        """Mean held-out loss, without dropout; None where nothing is held out."""
        ...

    def carried_state(self) -> dict[str, Tensor]:
        """What goes from one step to the next besides the weights: recurrent states, those of all processes."""
        ...

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `carried_state` gave; an empty dict starts afresh."""
        ...


@dataclass
class Position:
    """Where a run is. Saved with a model in training; all that is not a tensor."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rate_factor: float = 1.0  # lowered by recoveries
    recoveries: int = 0
    best_loss: float | None = None
    best_step: int = 0
    worse: int = 0  # validations since the best
    train_loss: float | None = None  # smoothed
    next_validation: float = 0.0  # seconds; where the clock decides
    validation_cost: float = 0.0  # seconds the last one took: kept free at the end of a budget


@dataclass(frozen=True)
class Stepped:
    """One optimiser step was taken."""

    step: int
    loss: float
    progress: float
    learning_rate: float
    tokens: int
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Validated:
    """The held-out part was measured. `best`: never lower before (or nothing is held out, and later is better)."""

    step: int
    seconds: float
    tokens: int
    train_loss: float
    val_loss: float | None
    learning_rate: float
    tokens_per_second: float
    best: bool


@dataclass(frozen=True)
class Recovered:
    """A loss was not finite: the run went back to `step`, with the rate multiplied by `factor` from now on."""

    step: int
    factor: float


@dataclass(frozen=True)
class Finished:
    """The run is over: its time is up, or (`early`) it stopped improving."""

    early: bool


Event = Stepped | Validated | Recovered | Finished


@dataclass
class Run:
    """A training run: what it works on, where it is, and how it goes on. `events` is the loop.

    Args:
        began: seconds (`time.monotonic`) at which the budget's clock started, before the corpus was read.
        world: with whom the batches are shared. All take the same steps, by rank 0's clock.
    """

    objective: Objective
    schedule: Schedule
    generator: torch.Generator
    position: Position = field(default_factory=Position)
    began: float = field(default_factory=time.monotonic)
    world: World = SINGLE_PROCESS
    optimiser: torch.optim.Optimizer = field(init=False)
    averages: dict[str, Tensor] = field(init=False)
    _deepest: int = field(init=False)
    _agreed: float = field(init=False, default=0.0)  # seconds on rank 0's clock, when all last asked

    def __post_init__(self) -> None:
        groups: dict[tuple[bool, int], list[nn.Parameter]] = {}
        for name, weight in self._ordered():
            groups.setdefault((weight.ndim > 1, self._depth(name)), []).append(weight)
        self._deepest = max((depth for _, depth in groups), default=0)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": weights, "weight_decay": self.schedule.weight_decay if matrices else 0.0, "depth": depth}
                for (matrices, depth), weights in groups.items()
            ],
            lr=self.schedule.learning_rate,
            betas=(0.9, 0.99),  # recurrent gradients change their size quickly
            fused=all(weight.device.type != "mps" for _, weight in self._ordered()),
        )

        kept = self._ordered() if self.schedule.averaging else []
        self.averages = {name: weight.detach().clone() for name, weight in kept}

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the network has the average of its weights (where one is kept): to be measured, and to be saved."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, weight in self._ordered() if self.averages else []:
            weight.data, self.averages[name] = self.averages[name], weight.data

    def _average(self) -> None:
        """Polynomial decay (Shamir & Zhang, 2013, eq. 3): later weights count more, however long the run is."""
        if self.averages:
            share = (1 + self.schedule.averaging) / (self.position.step + 1 + self.schedule.averaging)
            weights = [weight.detach() for _, weight in self._ordered()]
            torch._foreach_lerp_([self.averages[name] for name, _ in self._ordered()], weights, share)

    def progress(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.schedule.steps is not None:
            return self.position.step / self.schedule.steps
        assert self.schedule.seconds is not None
        free = max(self.schedule.seconds - self.position.validation_cost, 1e-3)
        return min(1.0, self.seconds() / free)

    def seconds(self) -> float:
        """Seconds on the run's clock: rank 0's, as of the step or validation before."""
        return self._clock() if self.world.size == 1 else self._agreed

    def _clock(self) -> float:
        """Seconds since the budget's clock started; none where it was set back."""
        return max(0.0, time.monotonic() - self.began)

    def _look_at_the_clock(self) -> None:
        (self._agreed,) = self.world.broadcast_floats(self._clock())

    def events(self) -> Iterator[Event]:
        """Trains to the end, one optimiser step at a time, and yields what happens."""
        position = self.position
        if self._out_of_patience():  # a run that goes on may be one that had stopped
            yield Finished(early=True)
            return
        snapshot = Snapshot(self)
        self._look_at_the_clock()
        started, tokens_before = time.monotonic(), position.tokens
        while (progress := self.progress()) < 1:
            rate = self.schedule.rate(progress) * position.rate_factor
            loss, tokens = self._step(rate, progress)
            if not math.isfinite(loss):
                snapshot.restore(self)
                position = self.position
                yield Recovered(position.step, position.rate_factor)
                continue
            position.step += 1
            position.tokens += tokens
            self._look_at_the_clock()
            position.train_loss = loss if position.train_loss is None else 0.98 * position.train_loss + 0.02 * loss
            elapsed = time.monotonic() - started
            speed = (position.tokens - tokens_before) / max(elapsed, 1e-9)
            progress = self.progress()
            left = self._seconds_left(progress, elapsed)
            snapshot.stepped(self)
            yield Stepped(position.step, loss, progress, rate, position.tokens, speed, left)
            if self.validation_due():
                yield self._validate(rate, speed)
                if self._out_of_patience():
                    yield Finished(early=True)
                    return
        yield Finished(early=False)

    def _step(self, rate: float, progress: float) -> tuple[float, int]:
        """One optimiser step. Changes nothing, and returns a loss that is not finite, if loss or gradient is not."""
        network = self.objective.network
        network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate * self.schedule.layer_factor(group["depth"], self._deepest, progress)
        self.optimiser.zero_grad(set_to_none=True)
        loss, tokens = self.objective.loss(self.position.step, self.generator)
        loss.backward()  # type: ignore[no-untyped-call]
        value = self.world.all_reduce_gradients(network.parameters(), loss)
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.schedule.grad_clip)
        if not math.isfinite(value) or not math.isfinite(float(norm)):
            return math.nan, tokens
        self.optimiser.step()
        self._average()
        return value, tokens

    def _out_of_patience(self) -> bool:
        return 0 < self.schedule.patience <= self.position.worse

    def validation_due(self) -> bool:
        """Whether the step just taken is followed by a validation."""
        position, schedule = self.position, self.schedule
        if schedule.steps is not None:
            every = schedule.validate_every or max(1, round(schedule.steps * _GAP))
            return position.step % every == 0 or position.step == schedule.steps
        assert schedule.seconds is not None
        return self.progress() >= 1 or self.seconds() >= (position.next_validation or schedule.seconds * _GAP)

    def _validate(self, rate: float, speed: float) -> Validated:
        position = self.position
        loss, cost = self._measure(time.monotonic())
        finite = loss is None or math.isfinite(loss)
        best = finite and (loss is None or position.best_loss is None or loss < position.best_loss)
        if best:
            position.best_loss, position.best_step, position.worse = loss, position.step, 0
        else:
            position.worse += 1
        position.seconds = self.seconds()
        if self.schedule.seconds is not None:
            # Further apart where validation is slow; the last one comes with the end of the run in any case.
            position.next_validation = position.seconds + max(self.schedule.seconds * _GAP, 15 * cost)
            position.validation_cost = cost
        train_loss = position.train_loss if position.train_loss is not None else math.nan
        shown = loss if finite else None
        return Validated(position.step, position.seconds, position.tokens, train_loss, shown, rate, speed, best)

    def _measure(self, before: float) -> tuple[float | None, float]:
        """The held-out loss, and the seconds that it took. Rank 0 measures; the others take its figures, and its
        weights, to be one model again where processors round differently, and for what validation sets in them."""
        network = self.objective.network.eval()
        with self.averaged():
            loss = self.objective.validate() if self.world.is_main_process else None
        known, value, cost, self._agreed = self.world.broadcast_floats(
            loss is not None, loss or 0.0, time.monotonic() - before, self._clock()
        )
        self.world.broadcast_tensors([*network.state_dict().values(), *self.averages.values()])
        return value if known else None, cost

    def validate(self, counts: bool = True) -> Validated:
        """A validation out of turn: for a run that is stopped before its next one. Unless it `counts`, the run goes on
        from it as if it had not been: as one does that was never stopped."""
        before = asdict(self.position)
        seconds = max(self._clock(), 1e-9)
        found = self._validate(self.schedule.rate(self.progress()), self.position.tokens / seconds)
        if not counts:
            for name in ("best_loss", "best_step", "worse", "next_validation", "validation_cost"):
                setattr(self.position, name, before[name])
        return found

    def _seconds_left(self, progress: float, elapsed: float) -> float:
        if self.schedule.steps is None:
            assert self.schedule.seconds is not None
            return max(0.0, self.schedule.seconds - self.seconds())
        return elapsed * (1 - progress) / max(progress, 1e-9)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that is needed to go on exactly: tensors by name, and the position as JSON."""
        self.position.seconds = self._clock()
        tensors = {f"weight.{name}": weight for name, weight in self.objective.network.state_dict().items()}
        names = [name for name, _ in self._ordered()]
        for number, group in enumerate(self.optimiser.state_dict()["state"].values()):
            tensors |= {f"optimiser.{names[number]}.{key}": value for key, value in group.items()}
        tensors |= {f"average.{name}": average for name, average in self.averages.items()}
        tensors |= {f"carried.{name}": tensor for name, tensor in self.objective.carried_state().items()}
        tensors["random"] = self.generator.get_state()
        arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
        return arrays, asdict(self.position)

    def restore(self, arrays: dict[str, np.ndarray], position: dict[str, Any]) -> None:
        """Puts back what `state` gave. Raises `ModelError`, before anything is changed, if it is of another run."""
        try:
            where = from_json(Position, position)
            tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
            moments = self._moments(tensors, needed=where.step > 0)
            if where.step < 0 or where.rate_factor <= 0 or not 0 <= where.seconds < _LONGEST:
                raise ValueError("the position is impossible")
            averages = _under("average.", tensors)
            if {n: a.shape for n, a in averages.items()} != {n: a.shape for n, a in self.averages.items()}:
                raise ValueError("the averages of the weights are missing or of another shape")
            for name, array in arrays.items():
                if array.dtype.kind == "f" and not (np.abs(array) < _LARGEST).all():
                    raise ValueError(f"{name} holds numbers that are not finite, or far too large")
            self.objective.load_carried_state(_under("carried.", tensors))
            self.generator.set_state(tensors["random"])
            self.objective.network.load_state_dict(_under("weight.", tensors))
        except (KeyError, TypeError, ValueError, RuntimeError, UserError) as error:
            raise ModelError(f"the saved state does not fit this run: {' '.join(str(error).split())[:160]}") from error
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        for name, average in averages.items():
            self.averages[name].copy_(average)
        self.position = where
        self.began = time.monotonic() - where.seconds

    def _moments(self, tensors: dict[str, Tensor], needed: bool) -> dict[int, dict[str, Tensor]]:
        """The optimiser's tensors by weight. Checked here: the fused AdamW believes any shape."""
        state = {}
        for number, (name, weight) in enumerate(self._ordered()):
            entry = _under(f"optimiser.{name}.", tensors)
            if entry or needed:
                shapes = {key: tuple(value.shape) for key, value in entry.items()}
                if shapes != {"step": (), "exp_avg": tuple(weight.shape), "exp_avg_sq": tuple(weight.shape)}:
                    raise ValueError(f"the optimiser's state of {name} is missing or of another shape")
                state[number] = entry
        return state

    def _ordered(self) -> list[tuple[str, nn.Parameter]]:
        """Weights in the optimiser's order, with their names."""
        named = [(n, w) for n, w in self.objective.network.named_parameters() if w.requires_grad]
        return sorted(named, key=lambda item: (item[1].ndim <= 1, self._depth(item[0])))

    def _depth(self, name: str) -> int:
        """How many layers below the top a weight is, where the schedule asks."""
        if self.schedule.layer_decay == 1 and not self.schedule.unfreeze:
            return 0
        config: Any = self.objective.network.config
        return depth(name, config.num_layers)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


Watch = Callable[[Event], None]
