"""A new run: its sources read, planned, and its network made."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any, NamedTuple

import torch

from seqgen import tasks
from seqgen.api.reading.run import prose_warning
from seqgen.api.train import distributed, members
from seqgen.api.train.folder import Training, build_config
from seqgen.api.train.request import TrainRequest, check_network, pretraining_run, read_sources, stoppable
from seqgen.checkpoint import Checkpoint
from seqgen.config import TrainOptions, check_task, flag_name, parse_duration
from seqgen.corpus.opening.form import quoted
from seqgen.errors import UserError
from seqgen.specs.tasks import TaskSpec, network_of
from seqgen.specs.tokenizers import takes_option
from seqgen.tasks.base import AnyNetwork, Data, Preparation, Task
from seqgen.tasks.guess import guess
from seqgen.time_limit import TimeLimit
from seqgen.training.device import Compute
from seqgen.training.loop import Position, Run
from seqgen.training.plans.base import DEFAULT_SECONDS, LAYER_DECAY, UNFREEZE, Plan
from seqgen.training.plans.language import measure_speed
from seqgen.training.plans.speed import probe_patience
from seqgen.training.schedule import Schedule

_SHAPE = ("cell", "activation", "rnn_size", "num_layers", "embedding_size", "tie_weights")  # that --init-from keeps
FROM_MODEL = "as in the model of --init-from"  # a reason in a plan


class BegunTraining(NamedTuple):
    """A training before its first step. `task_reason`: why its task was chosen, as a clause."""

    training: Training
    config: dict[str, Any]
    options: TrainOptions
    task_reason: str
    start: Checkpoint | None


def begin(request: TrainRequest) -> BegunTraining:
    """Read the sources of a new run, plan it and make its network. Nothing is written but the cache."""
    given, compute, began = request.options, request.compute, request.began
    names, valid_names, _, _ = request.sources
    world = compute.world
    now, seconds = time.monotonic(), _seconds(given)
    # A slow start, of a cold disk or a busy machine, must not leave most of the corpus out.
    limit = TimeLimit(max(seconds - (now - began), seconds / 2), now, request.watch.stop)
    request = dataclasses.replace(request, watch=stoppable(request.watch, limit))
    if not names:
        raise UserError("there is nothing to learn from: name a file, a folder or a corpus, or pipe something in")
    start = None if request.init_from is None else _starting_point(distributed.load(request.init_from, world), request)
    name, why_task = _find_task(request, start)
    task = tasks.find(name)
    spec = task.spec
    _check_task(spec, request, start)
    if request.explicit.get("val_fraction") and (valid_names or given.split_rows):
        request.watch.warn(f"--val-fraction has no effect beside {'--valid' if valid_names else '--split-rows'}")
    if given.precision == "auto" and spec.needs_float32:
        reasons = {**compute.reasons, "precision": f"{spec.name} is trained in float32"}
        compute = dataclasses.replace(compute, dtype=torch.float32, reasons=reasons)
    documents, held_out, unlabelled, data = _prepare(request, task, start, limit)
    world.measure_all_reduce(compute.device)
    plan, compute = distributed.broadcast_plan(
        compute, spec.name, lambda: _make_plan(data, given, compute, start, time.monotonic() - began)
    )
    check_network(network_of(plan.network), given)
    network, generator = members.new_network(task, data, plan, given.seed, compute, start)
    objective = data.objective(network, plan, compute, given.seed)
    plan = dataclasses.replace(plan, schedule=_completed(plan, data, network, given, compute, bool(held_out)))
    config = build_config(spec, data, given, plan, compute, documents, held_out, unlabelled, start, request.init_from)
    config["training"] |= distributed.run_metadata(world)
    config["training"] |= {"sources": names, "valid": valid_names, "given": sorted(request.explicit)}
    run = Run(objective, plan.schedule, generator, Position(), began, world)
    pretraining = pretraining_run(data, network, plan, compute, given.seed, began)
    training = Training(
        request.folder, task, plan, compute, data, run, pretraining, documents, seed=given.seed, began=began
    )
    if time.monotonic() - began >= seconds:
        request.watch.warn(
            f"reading the sources took all of the budget of {seconds:g} s: the network is saved without a step "
            "of training; give a longer --budget"
        )
    limit.check()
    return BegunTraining(training, config, given, why_task, start)


def _seconds(given: TrainOptions) -> float:
    """Duration of a run in seconds; infinite if it is given in steps or epochs."""
    if given.budget:
        return parse_duration(given.budget)
    return DEFAULT_SECONDS if given.steps is None and given.epochs is None else math.inf


def _find_task(request: TrainRequest, start: Checkpoint | None) -> tuple[str, str]:
    """The task of a new run, and why it is that one; warns of data that is taken for prose."""
    if request.task is not None:
        return request.task, "given"
    if start is not None:
        return start.task, FROM_MODEL
    names, valid_names, spool, _ = request.sources
    found = guess([*names, *valid_names], request.explicit, spool, request.watch.report)
    if sentence := prose_warning(found, spool, request.options):
        request.watch.warn(sentence)
    return found.task, found.reason


def _check_task(spec: TaskSpec, request: TrainRequest, start: Checkpoint | None) -> None:
    """Raise `UserError` for options, or a model of `--init-from`, that can't be used with the task."""
    given = request.options
    check_task(TrainOptions, request.explicit, spec.name)
    if given.tokenizer is not None and given.tokenizer not in spec.tokenizers:
        raise UserError(
            f"--tokenizer {given.tokenizer} can't be used with {spec.name}, which has {', '.join(spec.tokenizers)}"
        )
    if given.vocab_size is not None and not any(takes_option(name, "vocab_size") for name in spec.tokenizers):
        raise UserError(f"--vocab-size can't be used with {spec.name}")
    if start is not None and start.task not in spec.init_from:
        raise UserError(f"--init-from: a model for {start.task} can't be trained further for {spec.name}")


def _prepare(
    request: TrainRequest, task: Task[AnyNetwork], start: Checkpoint | None, limit: TimeLimit
) -> distributed.PreparedSources:
    """Read and prepare the sources of a new run; warns of a validation set that is learnt."""
    watch = request.watch

    def read(codec: Any) -> distributed.PreparedSources:
        documents, held_out, unlabelled = read_sources(task.spec, request.sources, watch, request.options, start)
        preparation = Preparation(
            documents,
            held_out,
            request.options,
            codec=codec,
            start=start,
            report=watch.report,
            warn=watch.warn,
            progress=watch.progress,
            limit=limit,
            unlabelled=unlabelled,
            given={name for name, value in request.explicit.items() if value is not None},
        )
        return distributed.PreparedSources(documents, held_out, unlabelled, task.prepare(preparation))

    prepared = distributed.prepare_rank0_first(request.compute.world, task.spec.name, read)
    learnt = {document.sha256 for document in prepared.documents}
    if both := [document.name for document in prepared.held_out if document.sha256 in learnt]:
        watch.warn(f"{quoted(both[0])} is learnt, and in --valid too: its loss can't choose the best step")
    return prepared


def _starting_point(start: Checkpoint, request: TrainRequest) -> Checkpoint:
    """The model of `--init-from`. Raises `UserError` for options that contradict it."""
    given = request.options
    for name in _SHAPE:
        asked, existing = request.explicit.get(name), getattr(start.network, name, None)
        if existing is not None and asked is not None and asked != existing:
            raise UserError(f"{flag_name(name)} {asked} contradicts --init-from, whose model has {existing}")
    tokenizer = start.config["tokenizer"]
    if given.tokenizer is not None and given.tokenizer != tokenizer:
        raise UserError(f"--tokenizer {given.tokenizer} contradicts --init-from, whose model has {tokenizer}")
    if given.vocab_size is not None:
        raise UserError("--vocab-size can't be used with --init-from, which keeps its model's tokenizer")
    return start


def _make_plan(
    data: Data[AnyNetwork], given: TrainOptions, compute: Compute, start: Checkpoint | None, spent: float
) -> Plan:
    """Plan the run. With a starting point the network has its shape, and the learning rate is lower."""
    seconds = parse_duration(given.budget) if given.budget else DEFAULT_SECONDS
    speed = distributed.distributed_speed(measure_speed(compute, probe_patience(seconds - spent)), compute.world)
    if start is None:
        return data.plan(given, compute, speed, spent)
    shape = {name: getattr(start.network, name) for name in _SHAPE if hasattr(start.network, name)}
    if not given.generative:
        shape["layer_decay"] = LAYER_DECAY if given.layer_decay is None else given.layer_decay
        shape["unfreeze"] = UNFREEZE if given.unfreeze is None else given.unfreeze
    given = dataclasses.replace(given, **shape)
    plan = data.plan(given, compute, speed, spent)
    plan.reasons.update(dict.fromkeys(shape, FROM_MODEL))
    if given.learning_rate is None and plan.schedule.layer_decay == 1:
        schedule = dataclasses.replace(plan.schedule, learning_rate=plan.schedule.learning_rate / 4)
        plan = dataclasses.replace(plan, schedule=schedule)
        plan.reasons["learning_rate"] = "after --init-from, a quarter of that of a new network"
    return plan


def _completed(
    plan: Plan,
    data: Data[AnyNetwork],
    network: AnyNetwork,
    given: TrainOptions,
    compute: Compute,
    has_own_valid: bool,
) -> Schedule:
    """The schedule of a plan, with what follows from the held-out part.

    The held-out part is not learnt at the end if it is a source of its own, or if other networks learn it.
    """
    objective = None
    if given.finish and not has_own_valid and (plan.members.planned == 1 or not data.cross_fits):
        objective = data.finishing(network, plan, compute, given.seed)
    finishing = 0 if objective is None else objective.steps_per_epoch
    return dataclasses.replace(plan.schedule, finishing=finishing, cooling=data.held_out is not None)
