"""Further networks of a model that averages several (`members` in config.json), trained one after another.

Each holds out another part of the training set and starts from other weights, or from the same pretrained ones. It is
saved as a whole when it is done; until then it is in memory only. A run that is killed or stopped keeps the networks
that were done, and `--resume` begins the next one anew.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from seqgen import checkpoint
from seqgen.api.train.finish import finish_member
from seqgen.api.train.folder import ModelFolder, Training, as_arrays
from seqgen.api.train.watch import Watcher
from seqgen.checkpoint import Checkpoint
from seqgen.config import from_json, parse_duration
from seqgen.errors import ModelError
from seqgen.tasks.base import AnyNetwork, Data, Member, Task
from seqgen.training.device import Compute
from seqgen.training.loop import Finished, Position, Run, Validated, cloned
from seqgen.training.plans.base import Members, Plan, saving_seconds

_LEAST = 0.5  # of the time of a network, for which one more is worth while
_SEED_STEP = 7919  # between the seeds of two networks


def train_members(training: Training, folder: ModelFolder, watch: Watcher) -> None:
    """Train the further networks that the plan asks for or has time for, until `watch.stop`."""
    world = training.compute.world
    while True:
        (seconds,) = world.broadcast_floats(_seconds_for_next(training, 1 + folder.members))
        if not seconds:
            return
        began = time.monotonic()
        number = 1 + folder.members
        found = training.data.member(number, training.plan)
        if found is None:
            return
        member = _begin(training, found, number, began, seconds)
        watch.started(member)
        metrics: dict[str, float] = {}
        for event in member.run.events():
            if isinstance(event, Validated) and event.best:
                metrics = member.metrics_of(event.val_loss)
            watch.event(event)
            if isinstance(event, Finished):
                break
            if world.any_rank(watch.stop()):
                return
        if member.run.best is not None:  # otherwise there was no time for a validation
            member.run.objective.network.load_state_dict(member.run.best)
        learnt = {} if training.data.cross_fits else finish_member(member, watch)
        if learnt is None:
            return
        weights = as_arrays(member.run.objective.network.state_dict())
        folder.add_member(member.plan.network, weights, metrics, learnt, time.monotonic() - training.began)
        training.member_seconds = training.member_seconds or time.monotonic() - began


def keep_pretrained(training: Training) -> None:
    """Keep the weights that pretraining ended with, from which further networks start too, now or after --resume."""
    training.pretrained = cloned(_trained_weights(training))
    if training.compute.world.is_main_process:
        arrays = {name: weight.cpu().numpy() for name, weight in training.pretrained.items()}
        checkpoint.write_pretrained(training.folder, arrays)


def _trained_weights(training: Training) -> list[tuple[str, torch.Tensor]]:
    """The weights that training changes, by name, of the network in training."""
    named = training.run.objective.network.named_parameters()
    return [(name, weight) for name, weight in named if weight.requires_grad]


def saved_plan(training_config: Mapping[str, Any]) -> Members:
    """The networks that a saved run plans. Raises `UserError` if they are malformed."""
    saved = training_config.get("members")  # missing in older runs
    return Members() if saved is None else from_json(Members, saved)


def resumed_plan(training_config: Mapping[str, Any], explicit: Mapping[str, Any], other_budget: bool) -> Members:
    """The networks of a resumed run, with the budget or the number of networks that is given now.

    Args:
        other_budget: whether a budget is given that the run did not have.
    """
    members = saved_plan(training_config)
    if explicit.get("members") is not None:  # they share another budget, or else take as long as the first
        count = int(explicit["members"])
        total = parse_duration(explicit["budget"]) if other_budget else None
        return dataclasses.replace(members, planned=count, most=count, total_seconds=total)
    if explicit.get("budget") is not None and members.total_seconds is not None:
        return dataclasses.replace(members, total_seconds=parse_duration(explicit["budget"]))
    return members


def resume(training: Training, seconds: float, done: int, warn: Callable[[str], None]) -> None:
    """Set the clock of a resumed run, and the weights that its further networks start from.

    Args:
        seconds: that the run has taken so far.
        done: further networks of the saved model.
    """
    if training.plan.pretraining is not None and not done:  # the clock started again after it
        seconds += training.plan.pretraining.seconds or 0.0
    training.began = time.monotonic() - seconds
    if training.plan.members.most == 1 or training.plan.pretraining is None or not training.run.position.step:
        return
    if training.compute.world.broadcast_json(lambda: checkpoint.has_pretrained(training.folder)):
        device = training.compute.device
        arrays = checkpoint.read_pretrained(training.folder, training.plan.network)
        if arrays.keys() != dict(_trained_weights(training)).keys():
            raise ModelError(
                f"{str(training.folder)!r} can't be resumed: the pretrained weights are not of its network"
            )
        training.pretrained = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    else:
        warn("the run did not keep the weights of its pretraining: further networks start without them")


def _seconds_for_next(training: Training, done: int) -> float:
    """Seconds for the next network, of which `done` are done; infinite if it takes steps, 0 if there is none to come.

    A network gets the time that is left, divided by the networks to come.
    """
    members = training.plan.members
    if members.total_seconds is None:
        return float("inf") if done < members.planned else 0.0
    duration = members.seconds or training.member_seconds or training.run.position.seconds
    left = members.total_seconds - (time.monotonic() - training.began)
    left -= saving_seconds(training.plan.network, left)
    if left < _LEAST * duration or left <= 0:
        return 0.0
    more = round(min(left / duration if duration else 0, members.most - done))  # infinite where a duration is tiny
    count = max(members.planned - done, more)
    return left / count if count > 0 else 0.0


def _begin(training: Training, member: Member, number: int, began: float, seconds: float) -> Training:
    """The training of further network `number`, with its clock started at `began`."""
    data, plan = member
    seed = training.seed + _SEED_STEP * number
    if seconds != float("inf"):
        plan = dataclasses.replace(plan, schedule=dataclasses.replace(plan.schedule, seconds=seconds, steps=None))
    compute = training.compute
    network, generator = new_network(training.task, data, plan, seed, compute)
    if training.pretrained:
        own = network.state_dict()
        with torch.no_grad():
            for name, weight in training.pretrained.items():
                own[name].copy_(weight)
    objective = data.objective(network, plan, compute, seed)
    run = Run(objective, plan.schedule, generator, Position(), began, compute.world)
    return dataclasses.replace(
        training, plan=plan, data=data, run=run, seed=seed, pretraining=None, metrics=[], number=number
    )


def new_network(
    task: Task[AnyNetwork],
    data: Data[AnyNetwork],
    plan: Plan,
    seed: int,
    compute: Compute,
    start: Checkpoint | None = None,
) -> tuple[AnyNetwork, torch.Generator]:
    """Rank 0's initialised network, and the generator that goes on to draw its dropout masks."""
    generator = torch.Generator().manual_seed(seed)
    network = task.network(plan.network)
    network.initialise(generator)
    if compute.world.is_main_process:
        data.prepare_network(network)
        if start is not None:
            task.transfer(network, start)
    network.to(compute.device)
    compute.world.broadcast_tensors(network.state_dict().values())
    return network, generator
