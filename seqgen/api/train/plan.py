"""The plan of a training: all that is chosen, why, and how long it will take. No model is written."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch

from seqgen.api.sources import Sources, as_list
from seqgen.api.train import distributed
from seqgen.api.train.begin import FROM_MODEL, BegunTraining, begin
from seqgen.api.train.request import NamedSources, TrainRequest
from seqgen.api.train.watch import Watcher
from seqgen.config import TrainOptions, make_options, parse_duration
from seqgen.corpus.sources import Spool
from seqgen.model.weight_shapes import parameter_count
from seqgen.specs.tasks import network_of
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.training import device
from seqgen.training.distributed.launch import join_world
from seqgen.training.finishing import reserved_seconds
from seqgen.training.loop import Position, Run, Stepped
from seqgen.training.plans.base import Width
from seqgen.training.schedule import Schedule

_PROBE_SECONDS = 1.5  # of training, to measure its speed
_PROBE_STEPS = 3  # at least, of which the first also allocates memory
_GIVEN = "given"
_ENDLESS = 1 << 60  # steps
_SHOWN = (  # of the network
    "cell", "rnn_size", "num_layers", "embedding_size", "tie_weights", "look_back", "horizon", "segment_length",
    "direction", "dropout",
)  # fmt: skip
_LENGTHS = ("budget", "epochs", "steps")


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """What `train` would do.

    Attributes:
        settings: value by option, in the order to show them.
        reasons: why, in a few words, by option.
        network: the hyper-parameters of the network.
        data: sizes of the training and the validation set, in a few words.
        tokens_per_second: measured in the first steps of the training.
        steps: expected, with those of pretraining.
        epochs: expected, without pretraining.
        seconds: expected, from the start of the command to its end.
        widths: that were measured before one of them was chosen for the time (`plans.base.Width`).
    """

    settings: dict[str, Any]
    reasons: dict[str, str]
    network: dict[str, Any]
    parameters: int
    data: str
    tokens_per_second: float
    steps: int
    epochs: float
    seconds: float
    widths: tuple[Width, ...] = ()

    def to_json(self) -> dict[str, Any]:
        expected = {name: getattr(self, name) for name in ("tokens_per_second", "steps", "epochs", "seconds")}
        return {
            **self.settings, "network": self.network, "parameters": self.parameters, "data": self.data,
            "expected": expected, "widths": [dataclasses.asdict(width) for width in self.widths],
            "reasons": self.reasons,
        }  # fmt: skip


def plan(
    sources: Sources,
    *,
    task: str | None = None,
    valid: Sources = (),
    init_from: str | None = None,
    watch: Watcher | None = None,
    measures: bool = True,
    **options: Any,
) -> TrainingPlan:
    """Plan the training that `train` would do with the same arguments, and measure its speed in a few steps.

    Args:
        measures: without it, speed and times are NaN, and the length of the training must be given in steps or epochs.

    Raises `UserError` as `train` does.
    """
    watch = watch or Watcher()
    began = time.monotonic() if watch.began is None else watch.began
    given = make_options(TrainOptions, options)
    cuda = given.device in ("auto", "cuda") and torch.cuda.is_available()
    with join_world(cuda) as world, Spool() as spool, device.restored_threads():
        names, valid_names = as_list(sources), as_list(valid)
        distributed.check_sources([*names, *valid_names], world)
        compute = device.choose(given.device, given.precision, given.threads, world, watch.warn)
        distributed.check_device(compute)
        named = NamedSources(names, valid_names, spool)
        begun = begin(TrainRequest(Path(), named, task, given, options, init_from, compute, watch, began))
        if measures:
            watch.report("measuring the speed of training")
        return _describe(begun, options, bool(valid_names), time.monotonic() - began, measures)


def _describe(
    begun: BegunTraining, explicit: dict[str, Any], has_valid: bool, spent: float, measures: bool
) -> TrainingPlan:
    training, options = begun.training, begun.options
    plan, schedule, first = training.plan, training.plan.schedule, training.plan.pretraining
    network = dataclasses.asdict(plan.network)
    speed, rate = _measure(training.run) if measures else (math.nan, math.nan)
    pretrains = first is not None and training.pretraining is not None
    steps, seconds = _length(schedule, rate, 0.0 if pretrains else spent)
    epochs = steps / training.run.objective.steps_per_epoch
    further = plan.members.planned - 1  # networks, each of which takes as long
    steps, seconds = steps + further * steps, seconds + further * (seconds - (0.0 if pretrains else spent))
    if first is not None and training.pretraining is not None:
        more_steps, more_seconds = _length(first, _measure(training.pretraining)[1] if measures else math.nan, spent)
        steps, seconds = steps + more_steps, seconds + more_seconds
    settings: dict[str, Any] = {"task": training.task.spec.name}
    tokenizer = getattr(training.data.codec, "text", training.data.codec).name  # inside that of a dialogue or labels
    if tokenizer in training.task.spec.tokenizers and "vocab_size" in network:
        settings |= {"tokenizer": tokenizer, "vocab_size": network["vocab_size"]}
    settings |= {"val_fraction": None if has_valid or options.split_rows else options.val_fraction}
    settings |= {"finish": bool(schedule.finishing)}
    settings |= {name: network[name] for name in _SHOWN if name in network}
    settings |= {"batch_size": plan.batch_size, "seq_length": plan.seq_length, "learning_rate": schedule.learning_rate}
    if network_of(plan.network).predicts_ids:
        settings["blank"] = plan.blank
    if "members" in plan.reasons:
        settings["members"] = plan.members.planned
    if "pretrain" in plan.reasons:
        settings["pretrain"] = 0.0 if first is None else round(_fraction(first, schedule), 3)
    budget = parse_duration(options.budget) if options.budget else None if schedule.seconds is None else seconds
    settings |= {"budget": budget, "steps": schedule.steps}
    settings |= {"device": str(training.compute.device), "precision": training.compute.precision,
                 "threads": torch.get_num_threads()}  # fmt: skip
    reasons = _reasons(begun, explicit, tokenizer, has_valid)
    return TrainingPlan(
        settings,
        {name: reasons[name] for name in settings if name in reasons},
        network,
        parameter_count(plan.network),
        training.data.summary(),
        speed,
        steps,
        epochs,
        seconds,
        plan.widths,
    )


def _reasons(begun: BegunTraining, explicit: dict[str, Any], tokenizer: str, has_valid: bool) -> dict[str, str]:
    """Why each option has its value: as its own code says, unless it was given or is a constant."""
    spec, start = begun.training.task.spec, begun.start
    given = {name for name, value in explicit.items() if value not in (None, "auto", ())}
    reasons = dict.fromkeys((item.name for item in dataclasses.fields(TrainOptions)), "the default")
    reasons |= {
        "task": begun.task_reason,
        "tokenizer": f"the default for {spec.name}",
        "vocab_size": TOKENIZERS.find(tokenizer).vocabulary,
        "val_fraction": f"{spec.held_out}; chooses the step that is saved",
        **begun.training.compute.reasons,
        **begun.training.plan.reasons,
    }
    if start is not None:
        reasons |= {"tokenizer": FROM_MODEL, "vocab_size": f"{FROM_MODEL}, and what is new"}
    elif "vocab_size" in given and "tokenizer" not in given:
        reasons["tokenizer"] = "the one with a vocabulary size"
    if not begun.training.data.held_out:
        reasons["val_fraction"] = "the source is too short to hold out anything"
    reasons |= dict.fromkeys(given, _GIVEN)
    reasons["finish"] = "the held-out part is learnt too, once it has chosen the step"
    if not begun.training.plan.schedule.finishing:
        reasons["finish"] = _GIVEN if "finish" in given else "nothing is held out that may be learnt"
    if has_valid or "split_rows" in given:
        reasons["val_fraction"] = f"{'--valid' if has_valid else '--split-rows'} is given"
    length = _GIVEN if given.intersection(_LENGTHS) else reasons["budget"]
    return {**reasons, **dict.fromkeys(_LENGTHS, length)}


def _measure(run: Run) -> tuple[float, float]:
    """Tokens and steps a second, of some steps of the run."""
    endless = dataclasses.replace(run.schedule, steps=_ENDLESS, seconds=None, validate_every=_ENDLESS)
    probe = Run(run.objective, endless, run.generator, Position(), time.monotonic(), run.world)
    began: tuple[float, Stepped] | None = None
    for event in probe.events():
        if not isinstance(event, Stepped):
            continue
        now = probe.seconds()
        if began is None:
            began = now, event
        elif now >= _PROBE_SECONDS and event.step >= _PROBE_STEPS:
            passed = max(now - began[0], 1e-9)
            return (event.tokens - began[1].tokens) / passed, (event.step - began[1].step) / passed
    raise AssertionError("an endless run ended")


def _length(schedule: Schedule, rate: float, spent: float) -> tuple[int, float]:
    """Expected steps and seconds, at `rate` steps a second, if the clock started `spent` seconds before the steps."""
    if schedule.steps is not None:
        return schedule.steps, spent + schedule.steps / rate
    assert schedule.seconds is not None
    seconds = schedule.seconds - reserved_seconds(schedule, 1 / rate)
    return max(1, round((seconds - spent) * rate)), schedule.seconds


def _fraction(first: Schedule, second: Schedule) -> float:
    """The fraction of pretraining in the length of a run."""
    if first.steps is not None and second.steps is not None:
        return first.steps / (first.steps + second.steps)
    assert first.seconds is not None and second.seconds is not None
    return first.seconds / (first.seconds + second.seconds)
