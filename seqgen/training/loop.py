"""The training loop: a generator of events. Display, saving and stopping are left to its caller.

An `Objective` has what differs between tasks: the batches, their loss, and validation. The loop has the optimiser, the
schedule, gradient clipping, patience, and recovery from a loss that is not finite.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from seqgen.checkpoint import MAX_STEPS
from seqgen.config import from_json
from seqgen.errors import ModelError, TrainingError, UserError
from seqgen.model.dropout import step_generator
from seqgen.model.weight_shapes import depth
from seqgen.training.distributed.world import SINGLE_PROCESS, World
from seqgen.training.finishing import reserved_seconds
from seqgen.training.optimiser import KEYS, AdamW, Moments, ParameterGroup
from seqgen.training.schedule import Schedule

_VALIDATION_INTERVAL = 1 / 15  # fraction of the run
_LONGEST = 1e12  # seconds, as for a budget
_MAX_STATE_VALUE = 1e18  # beyond it the next product overflows
_SNAPSHOT_STEPS = 100  # between snapshots; the copy costs a thousandth of that
_READ_STEPS = 20  # of a GPU between readings of its losses, each of which waits until all of its work is done
_COOLING = 0.2  # of the steps so far: the length of the cooling
_COOLING_VALIDATIONS = 6
_MIN_COOLING_RATE = 0.05  # fraction of the learning rate: below it there is nothing to cool
_MOST_RECOVERIES = 12  # halvings of the learning rate: after 4,000 times less, something else is wrong

_VALIDATION_STATE = (  # of a `Position`
    "best_loss", "best_step", "best_progress", "worse", "next_validation", "validation_cost", "finishing_cost",
    "grad_norm_sum", "grad_norm_steps",
)  # fmt: skip

_COUNTS = (  # of a `Position`
    "step", "tokens", "recoveries", "best_step", "worse", "grad_norm_steps", "cooling_from", "cooling_steps",
)  # fmt: skip

State = tuple[dict[str, np.ndarray], dict[str, Any]]  # tensors by name, and the position as JSON


class Objective(Protocol):
    """The batches of a task, their loss, and validation.

    A batch is a pure function of the step; the state carried between steps can be saved.
    """

    @property
    def network(self) -> nn.Module: ...

    steps_per_epoch: int
    metrics: dict[str, float]  # of the last validation, in the task's own terms, besides its loss

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, int]:
        """The mean loss of batch `step` in nats a token, and the number of its tokens.

        With several processes: this one's contribution to the mean over the tokens of all.
        """
        ...

    def validate(self) -> float | None:
        """The mean validation loss, without dropout; None without a validation set."""
        ...

    def carried_state(self) -> dict[str, Tensor]:
        """Tensors carried from step to step besides the weights: recurrent states, those of all processes."""
        ...

    def load_carried_state(self, tensors: dict[str, Tensor]) -> None:
        """Restore the result of `carried_state`; an empty dict resets the state."""
        ...


@dataclass
class Position:
    """The position of a run, saved with a model in training: everything that is not a tensor.

    Raises `UserError` if no run can be there.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0  # on the clock before the first step; in older states, 0
    rate_factor: float = 1.0  # lowered by recoveries
    recoveries: int = 0
    best_loss: float | None = None
    best_step: int = 0
    best_progress: float | None = None  # of the run, at that step; None: unknown, as in older states
    worse: int = 0  # validations since the best
    train_loss: float | None = None  # smoothed
    grad_norm_sum: float = 0.0  # of the steps since the last validation, before clipping
    grad_norm_steps: int = 0
    next_validation: float = 0.0  # seconds; if the clock decides
    validation_cost: float = 0.0  # seconds of the last one, reserved at the end of a budget
    finishing_cost: float | None = None  # seconds of the finishing, reserved as well; None until steps were measured
    cooling_from: int | None = None  # the step after which cooling began
    cooling_steps: int = 0  # its length
    cooling_rate: float = 0.0  # its first learning rate
    cooling_progress: float = 0.0  # of the run, when it began

    def __post_init__(self) -> None:
        counted = all(0 <= (getattr(self, name) or 0) <= MAX_STEPS for name in _COUNTS)
        timed = all(0 <= seconds < _LONGEST for seconds in (self.seconds, self.first_seconds))
        timed = timed and 0 <= (self.best_progress or 0.0) <= 1
        cooled = self.cooling_from is None or (self.cooling_steps > 0 and self.cooling_progress < 1)
        if not (counted and timed and cooled and self.rate_factor > 0):
            raise UserError("the position is impossible")


@dataclass(frozen=True)
class Stepped:
    """An optimiser step. `pretrains`: of pretraining, whose loss, progress and time are its own."""

    step: int
    loss: float
    progress: float
    learning_rate: float
    tokens: int
    tokens_per_second: float
    seconds_left: float
    pretrains: bool = False


@dataclass(frozen=True)
class Validated:
    """A validation. `best`: the loss has never been lower, or there is no validation set.

    `val_loss`: None without a validation set, and where it is not finite, which `diverged` says. `grad_norm`: the mean
    norm of the gradient before clipping, since the last validation; NaN without a step.
    """

    step: int
    seconds: float
    tokens: int
    train_loss: float
    val_loss: float | None
    grad_norm: float
    learning_rate: float
    tokens_per_second: float
    best: bool
    diverged: bool = False


@dataclass(frozen=True)
class Recovered:
    """A loss was not finite: the run went back to `step`, and multiplies the learning rate by `factor` from now on."""

    step: int
    factor: float


@dataclass(frozen=True)
class Cooling:
    """The loss stopped improving: the run went back to the weights of `step`, and cools the learning rate to zero."""

    step: int
    steps: int


@dataclass(frozen=True)
class Finishing:
    """The run is over; the steps that follow learn the held-out part (see `finishing`)."""


@dataclass(frozen=True)
class Finished:
    """The end of the run: its time is up, or (`early`) it stopped improving."""

    early: bool


Event = Stepped | Validated | Recovered | Cooling | Finished | Finishing


@dataclass
class Run:
    """A training run; `events` is the loop.

    Args:
        began: seconds (`time.monotonic`) at which the budget's clock started, before the corpus was read.
        world: the processes that share the batches. All take the same steps, by the clock of rank 0.
    """

    objective: Objective
    schedule: Schedule
    generator: torch.Generator
    position: Position = field(default_factory=Position)
    began: float = field(default_factory=time.monotonic)
    world: World = SINGLE_PROCESS
    optimiser: AdamW = field(init=False)
    averages: dict[str, Tensor] = field(init=False)
    best: dict[str, Tensor] | None = field(init=False, default=None)  # the weights of the best validation
    _deepest: int = field(init=False)
    _unread: list[Tensor] = field(init=False, default_factory=list)  # of steps whose results still are on the device
    _step_seconds: float | None = field(init=False, default=None)  # of a step, with its share of validations
    _snapshot: _Snapshot = field(init=False)
    _shared_seconds: float = field(init=False, default=0.0)  # seconds on the clock of rank 0 at the last broadcast

    def __post_init__(self) -> None:
        groups: dict[tuple[bool, int], dict[str, Tensor]] = {}
        for name, weight in self._ordered():
            groups.setdefault((weight.ndim > 1, self._depth(name)), {})[name] = weight
        self._deepest = max((depth for _, depth in groups), default=0)
        self.optimiser = AdamW(
            [
                ParameterGroup(weights, self.schedule.weight_decay if matrices else 0.0, depth)
                for (matrices, depth), weights in groups.items()
            ]
        )
        averaged = self._ordered() if self.schedule.averaging else []
        self.averages = cloned(averaged)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the network its averaged weights, if there are any, for the length of a `with` block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, weight in self._ordered() if self.averages else []:
            weight.data, self.averages[name] = self.averages[name], weight.data

    def _average(self) -> None:
        """Update the averages with polynomial decay (Shamir & Zhang, 2013, eq. 3), which weights later steps more."""
        if self.averages:
            newest = (1 + self.schedule.averaging) / (self.position.step + 1 + self.schedule.averaging)
            weights = [weight.detach() for _, weight in self._ordered()]
            torch._foreach_lerp_([self.averages[name] for name, _ in self._ordered()], weights, newest)

    def progress(self) -> float:
        """The fraction of the run that is done, 0 to 1; of the cooling, once that has begun."""
        position, whole = self.position, self._whole_progress()
        if position.cooling_from is None:
            return whole
        by_steps = (position.step - position.cooling_from) / position.cooling_steps
        left = 1 - position.cooling_progress
        return min(1.0, max(by_steps, 1 - (1 - whole) / left if left > 0 else 1.0))

    def _whole_progress(self) -> float:
        """The fraction of the schedule's steps that are done, or of its seconds since the first step."""
        if self.schedule.steps is not None:
            return self.position.step / self.schedule.steps
        assert self.schedule.seconds is not None
        finishing = self.position.finishing_cost
        if finishing is None:
            finishing = reserved_seconds(self.schedule, None)
        # What was spent before the first step, on reading, is no progress: it would be a part of the warm-up.
        first = self.position.first_seconds
        validations = 2 if finishing else 1  # that are still to come when the last step is over
        left = self.schedule.seconds - validations * self.position.validation_cost - finishing - first
        return min(1.0, max(0.0, self.seconds() - first) / left) if left > 0 else 1.0

    def _validation_gap(self) -> float:
        """Seconds between validations, of a run by the clock."""
        assert self.schedule.seconds is not None
        return max(0.0, self.schedule.seconds - self.position.first_seconds) * _VALIDATION_INTERVAL

    def _rate(self, progress: float) -> float:
        """The learning rate at `progress`."""
        position = self.position
        if position.cooling_from is None:
            return self.schedule.rate(progress) * position.rate_factor
        return position.cooling_rate * (1 - progress) * position.rate_factor

    def seconds(self) -> float:
        """Seconds on the clock of rank 0, as of the last step or validation."""
        return self._shared_seconds

    def _clock(self) -> float:
        """Seconds since the budget's clock started; 0 if the system's clock was set back."""
        return max(0.0, time.monotonic() - self.began)

    def restart_clock(self) -> None:
        """Start the clock again, after pretraining: the times that are known so far are those of another clock."""
        self.began = time.monotonic()
        position = self.position
        position.seconds = position.next_validation = 0.0
        position.best_progress = 0.0  # of the validation before pretraining

    def _share_clock(self) -> None:
        (self._shared_seconds,) = self.world.broadcast_floats(self._clock())

    def events(self) -> Iterator[Event]:
        """Train to the end, one optimiser step at a time."""
        position = self.position
        self._share_clock()
        if not position.step:
            position.first_seconds = self.seconds()
        if self._out_of_patience():  # a resumed run may have stopped there
            if not self._begin_cooling():
                yield Finished(early=self.progress() < 1)
                return
            yield Cooling(position.best_step, position.cooling_steps)
        self._snapshot = _Snapshot(self)
        started, tokens_before, steps_taken = time.monotonic(), position.tokens, 0
        loss = math.nan
        while (progress := self.progress()) < 1:
            rate = self._rate(progress)
            result, tokens = self._step(rate, progress)
            self._unread.append(result)
            position.step += 1
            position.tokens += tokens
            self._share_clock()
            validates = self.validation_due()
            if validates or steps_taken == 0 or position.step % self._read_steps == 0:
                losses = self._read()
                if losses is None:
                    position = self.position
                    yield Recovered(position.step, position.rate_factor)
                    continue
                loss = losses[-1]
            steps_taken += 1
            elapsed = time.monotonic() - started
            speed = (position.tokens - tokens_before) / max(elapsed, 1e-9)
            progress = self.progress()
            self._step_seconds = elapsed / steps_taken
            left = self._seconds_left(self._step_seconds)
            yield Stepped(position.step, loss, progress, rate, position.tokens, speed, left)
            if validates:
                yield self._validate(rate, speed)
                if self._out_of_patience():
                    if not self._begin_cooling():
                        yield Finished(early=self.progress() < 1)
                        return
                    self._snapshot = _Snapshot(self)
                    yield Cooling(position.best_step, position.cooling_steps)
        yield Finished(early=position.cooling_from is not None)

    @property
    def _read_steps(self) -> int:
        return 1 if _is_on_cpu(self.objective.network) else _READ_STEPS

    def _read(self) -> list[float] | None:
        """Take the results of the steps since the last reading into the position, and return their losses.

        If any is not finite, the run goes back to its snapshot, and the result is None.
        """
        if not self._unread:
            return []
        results = torch.stack(self._unread).tolist()
        self._unread = []
        if not all(map(math.isfinite, itertools.chain.from_iterable(results))):
            self._snapshot.restore(self)
            return None
        position = self.position
        for loss, norm in results:
            position.train_loss = loss if position.train_loss is None else 0.98 * position.train_loss + 0.02 * loss
            position.grad_norm_sum += norm
            position.grad_norm_steps += 1
        self._snapshot.steps_succeeded(self)
        return [loss for loss, _ in results]

    def _step(self, rate: float, progress: float) -> tuple[Tensor, int]:
        """Take an optimiser step, and return the loss and the norm of the gradient, shape (2,), and the tokens.

        If they are not finite, a CPU changes nothing. A GPU isn't asked, and spoils its weights: `_read` finds out.
        """
        network = self.objective.network
        network.train()
        unfrozen = progress if self.position.cooling_from is None else 1.0
        for group in self.optimiser.groups:
            group.learning_rate = rate * self.schedule.layer_factor(group.depth, self._deepest, unfrozen)
        self.optimiser.zero_grad()
        generator = step_generator(self.generator, _device(network))
        loss, tokens = self.objective.loss(self.position.step, generator)
        loss.backward()  # type: ignore[no-untyped-call]
        total = self.world.all_reduce_gradients(network.parameters(), loss)
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.schedule.grad_clip)
        result = torch.stack([total.to(norm.dtype), norm])
        if _is_on_cpu(network) and not result.isfinite().all():
            return result, tokens
        self.optimiser.step()
        self._average()
        return result, tokens

    def _out_of_patience(self) -> bool:
        return 0 < self.schedule.patience <= self.position.worse and self.position.cooling_from is None

    def _begin_cooling(self) -> bool:
        """Go back to the best weights and begin to cool the rate that they had; False, without a change, if it was low.

        By now the rate may be lower: a schedule falls while the loss fails to improve.
        """
        position, progress = self.position, self._whole_progress()
        rate = self.schedule.rate(progress if position.best_progress is None else position.best_progress)
        if (
            not self.schedule.cooling
            or progress >= 1
            or rate < _MIN_COOLING_RATE * self.schedule.learning_rate
            or not self.best
        ):
            return False
        self.objective.network.load_state_dict(self.best)
        for name, average in self.averages.items():
            average.copy_(self.best[name])
        position.cooling_from, position.cooling_progress, position.cooling_rate = position.step, progress, rate
        position.cooling_steps = max(1, round(position.step * _COOLING))
        position.worse = 0
        return True

    def finishing_seconds(self) -> float:
        """Seconds that are left for finishing, besides its validation, of a run by the clock; otherwise 0."""
        if self.schedule.seconds is None:
            return 0.0
        left = self.schedule.seconds - self._clock() - self.position.validation_cost
        return min(self.position.finishing_cost or 0.0, left)

    def validation_due(self) -> bool:
        """Whether the last step is followed by a validation."""
        position, schedule = self.position, self.schedule
        if position.cooling_from is not None:
            every = max(1, round(position.cooling_steps / _COOLING_VALIDATIONS))
            return (position.step - position.cooling_from) % every == 0 or self.progress() >= 1
        if schedule.steps is not None:
            every = schedule.validate_every or max(1, round(schedule.steps * _VALIDATION_INTERVAL))
            return position.step % every == 0 or position.step == schedule.steps
        assert schedule.seconds is not None
        first = position.first_seconds + self._validation_gap()
        return self.progress() >= 1 or self.seconds() >= (position.next_validation or first)

    def _validate(self, rate: float, speed: float) -> Validated:
        position = self.position
        loss, cost, step_seconds = self._measure(time.monotonic())
        finite = loss is None or math.isfinite(loss)
        best = finite and (loss is None or position.best_loss is None or loss < position.best_loss)
        if best:
            position.best_loss, position.best_step, position.worse = loss, position.step, 0
            position.best_progress = self._whole_progress()
            self.best = self._averaged_weights()
        else:
            position.worse += 1
        position.seconds = self.seconds()
        if self.schedule.seconds is not None:
            # Further apart if validation is slow; the end of the run has one in any case.
            position.next_validation = position.seconds + max(self._validation_gap(), 15 * cost)
            position.validation_cost = cost
            if step_seconds is not None:
                position.finishing_cost = reserved_seconds(self.schedule, step_seconds)
        train_loss = position.train_loss if position.train_loss is not None else math.nan
        shown = loss if finite else None
        norm = position.grad_norm_sum / position.grad_norm_steps if position.grad_norm_steps else math.nan
        position.grad_norm_sum, position.grad_norm_steps = 0.0, 0
        return Validated(
            position.step, position.seconds, position.tokens, train_loss, shown, norm, rate, speed, best, not finite
        )

    def _averaged_weights(self) -> dict[str, Tensor]:
        """A copy of the weights that are validated."""
        with self.averaged():
            return cloned(self.objective.network.state_dict().items())

    def _measure(self, before: float) -> tuple[float | None, float, float | None]:
        """The validation loss, its duration in seconds, and the seconds of a step, if one was measured.

        Rank 0 measures. The others receive its results and weights: processors may round differently, and validation
        may set weights.
        """
        network = self.objective.network.eval()
        with self.averaged():
            loss = self.objective.validate() if self.world.is_main_process else None
        known, value, cost, self._shared_seconds, step_seconds = self.world.broadcast_floats(
            loss is not None, loss or 0.0, time.monotonic() - before, self._clock(), self._step_seconds or 0.0
        )
        self.world.broadcast_tensors([*network.state_dict().values(), *self.averages.values()])
        return value if known else None, cost, step_seconds or None

    def validate(self, counts: bool = True) -> Validated:
        """Validate at once, for a run that is stopped. Unless it `counts`, the position stays as if it had not been."""
        self._read()
        before = asdict(self.position)
        seconds = max(self._clock(), 1e-9)
        validated = self._validate(self._rate(self.progress()), self.position.tokens / seconds)
        if not counts:
            for name in _VALIDATION_STATE:
                setattr(self.position, name, before[name])
        return validated

    def _seconds_left(self, seconds_per_step: float) -> float:
        left = math.inf
        if self.position.cooling_from is not None:
            left = seconds_per_step * (self.position.cooling_from + self.position.cooling_steps - self.position.step)
        if self.schedule.steps is None:
            assert self.schedule.seconds is not None
            return max(0.0, min(left, self.schedule.seconds - self.seconds()))
        return min(left, seconds_per_step * (self.schedule.steps - self.position.step))

    def state(self) -> State:
        """Everything that is needed to resume exactly: tensors by name, and the position as JSON."""
        self._read()
        self.position.seconds = self._clock()
        arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in self.tensors().items()}
        return arrays, asdict(self.position)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of `state`, on the device and without a copy."""
        tensors = {f"weight.{name}": weight for name, weight in self.objective.network.state_dict().items()}
        for name, moments in self.optimiser.moments.items():
            tensors |= {f"optimiser.{name}.{key}": value for key, value in moments.items()}
        tensors |= {f"average.{name}": average for name, average in self.averages.items()}
        tensors |= {f"carried.{name}": tensor for name, tensor in self.objective.carried_state().items()}
        tensors["random"] = self.generator.get_state()
        return tensors

    def restore(self, arrays: dict[str, np.ndarray], position: dict[str, Any]) -> None:
        """Restore the result of `state`. Raises `ModelError`, before any change, if it belongs to another run."""
        self.restore_tensors({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, position)
        self.began = time.monotonic() - self.position.seconds
        self._shared_seconds = self.position.seconds

    def restore_tensors(self, tensors: dict[str, Tensor], position: dict[str, Any], complete: bool = True) -> None:
        """`restore` from copies of the result of `tensors`, but for the clock.

        Args:
            complete: whether every weight must have moments after a step; in pretraining some have no gradient.
        """
        try:
            restored = from_json(Position, position)
            moments = self._moments(tensors, needed=complete and restored.step > 0)
            averages = _under("average.", tensors)
            if {n: a.shape for n, a in averages.items()} != {n: a.shape for n, a in self.averages.items()}:
                raise ValueError("the averages of the weights are missing or of another shape")
            for name, tensor in tensors.items():
                if name == "random":
                    continue
                if tensor.dtype != torch.float32:  # the kernels read as many bytes as float32 has
                    raise ValueError(f"{name} is not of float32")
                if not (tensor.abs() < _MAX_STATE_VALUE).all():
                    raise ValueError(f"{name} contains numbers that are not finite or far too large")
            self.objective.load_carried_state(_under("carried.", tensors))
            self.generator.set_state(tensors["random"])
            self.objective.network.load_state_dict(_under("weight.", tensors))
        except (KeyError, TypeError, ValueError, RuntimeError, UserError) as error:
            raise ModelError(f"the saved state does not fit this run: {' '.join(str(error).split())[:160]}") from error
        self.optimiser.load(moments)
        for name, average in averages.items():
            self.averages[name].copy_(average)
        self.position = restored
        self._unread = []

    def _moments(self, tensors: dict[str, Tensor], needed: bool) -> Moments:
        """The optimiser's tensors by weight, checked: the fused AdamW reads beyond tensors of another shape."""
        state = {}
        for name, weight in self._ordered():
            entry = _under(f"optimiser.{name}.", tensors)
            if entry or needed:
                shapes = {key: tuple(value.shape) for key, value in entry.items()}
                if shapes != dict(zip(KEYS, ((), tuple(weight.shape), tuple(weight.shape)), strict=True)):
                    raise ValueError(f"the optimiser's state of {name} is missing or of another shape")
                state[name] = entry
        return state

    def _ordered(self) -> list[tuple[str, nn.Parameter]]:
        """Trainable weights with their names, in the optimiser's order."""
        named = [(n, w) for n, w in self.objective.network.named_parameters() if w.requires_grad]
        return sorted(named, key=lambda item: (item[1].ndim <= 1, self._depth(item[0])))

    def _depth(self, name: str) -> int:
        """The number of layers that a weight is below the top; 0 if the schedule treats all layers alike."""
        if self.schedule.layer_decay == 1 and not self.schedule.unfreeze:
            return 0
        config: Any = self.objective.network.config
        return depth(name, config.num_layers)


def cloned(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """A copy of tensors, by name."""
    return {name: tensor.detach().clone() for name, tensor in named}


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _is_on_cpu(network: nn.Module) -> bool:
    return _device(network).type == "cpu"


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class _Snapshot:
    """The last good step, in memory, to which a run returns when a loss is not finite."""

    def __init__(self, run: Run) -> None:
        self._good = self._newest = self._copy(run)

    def steps_succeeded(self, run: Run) -> None:
        """Note finite steps: only they show that the weights before them, and so the newest copy, were good."""
        self._good = self._newest
        if run.position.step % _SNAPSHOT_STEPS == 0:
            self._newest = self._copy(run)

    def _copy(self, run: Run) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return cloned(run.tensors().items()), asdict(run.position)

    def restore(self, run: Run) -> None:
        """Return to the snapshot with half the learning rate. Clock, recoveries and best validation stay as they are.

        Raises `TrainingError` after too many recoveries.
        """
        now = run.position
        if now.recoveries >= _MOST_RECOVERIES:
            raise TrainingError(
                f"the loss was not finite {now.recoveries + 1} times, at ever lower learning rates: "
                "the data or the settings make this model impossible to train"
            )
        unchanged = {"best_loss": now.best_loss, "best_step": now.best_step, "best_progress": now.best_progress,
                     "worse": now.worse, "next_validation": now.next_validation}  # fmt: skip
        self._newest = self._good
        tensors, position = self._good
        factors = {"rate_factor": now.rate_factor / 2, "recoveries": now.recoveries + 1}
        run.restore_tensors(tensors, {**position, **unchanged, **factors}, complete=False)
        run.objective.load_carried_state({})  # the carried state may be what is not finite
