"""The plan of a run, and the rules that the plans of all tasks share.

Given options are kept; the rest follows from the size of the corpus and the available time, by rules with their reasons
beside them. The measurements behind the numbers are in tests/benchmarks/recipe.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from seqgen.checkpoint import MAX_NETWORKS, MAX_SECONDS, MAX_STEPS
from seqgen.config import AnyNetworkConfig, NetworkConfig, check_ranges
from seqgen.errors import UserError
from seqgen.model.weight_shapes import parameter_count
from seqgen.training.schedule import Schedule

DEFAULT_SECONDS = 600.0  # without any option: how long most people wait
LAYER_DECAY, UNFREEZE = 2.6, 0.3  # of a classifier after --init-from (Howard & Ruder, 2018)

SpeedProbe = Callable[[NetworkConfig, int, int], float]  # (network, batch size, length) → tokens a second


@dataclass(frozen=True)
class Members:
    """The networks of a model that averages several, trained one after another.

    Attributes:
        planned: networks in all. The time that is left is divided between those that are still to come.
        most: networks in all if those before ended early and time is left.
        seconds: that one trains for, without reading; by default as long as the first did.
        total_seconds: of the whole command. None: each network takes the steps of the schedule.

    Raises `UserError` for values that no run has; it may come from the config.json of a model by others.
    """

    planned: int = 1
    most: int = 1
    seconds: float | None = None
    total_seconds: float | None = None

    def __post_init__(self) -> None:
        networks, time = (1, MAX_NETWORKS), (0, MAX_SECONDS)
        check_ranges(self, {"planned": networks, "most": networks, "seconds": time, "total_seconds": time})


@dataclass(frozen=True)
class Width:
    """A width that a plan considered for the time of a run.

    Attributes:
        tokens_per_second: measured.
        tokens: read in that time.
        excess: the validation loss that is expected beyond that of the best width, in nats per token.
    """

    rnn_size: int
    tokens_per_second: float
    tokens: float
    excess: float


@dataclass(frozen=True)
class Plan:
    """A run with every number decided.

    `reasons`: why, in a few words, by the name of the option that would have decided; a setting that was given has one
    too, which then doesn't count.
    """

    network: AnyNetworkConfig
    schedule: Schedule
    batch_size: int
    seq_length: int
    pretraining: Schedule | None = None  # of pretraining, if there is any (see `tasks.base.Data.pretraining`)
    blank: float = 0.0  # fraction of a language model's input ids that are blanked in training
    members: Members = field(default_factory=Members)
    reasons: dict[str, str] = field(default_factory=dict)
    widths: tuple[Width, ...] = ()  # that were measured, where the time decides between them


def steps_for_epochs(epochs: float, batches: int) -> int:
    """Optimiser steps in so many epochs of `batches` each. Raises `UserError` for more than can be counted."""
    steps = epochs * batches
    if steps > MAX_STEPS:
        raise UserError(f"--epochs {epochs:g} is too large: it asks for more than {MAX_STEPS:,} steps")
    return max(1, round(steps))


def saving_seconds(network: AnyNetworkConfig, seconds: float) -> float:
    """Seconds to write the files at the end of a run; the loop accounts for the last validation itself."""
    return min(0.3 + parameter_count(network) * 4 * 4 / 300e6, seconds / 4)
