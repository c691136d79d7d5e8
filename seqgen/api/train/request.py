"""What a training is asked for, and what a new run and one to continue do alike."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seqgen import checkpoint
from seqgen.api.records import StoredData
from seqgen.api.sources import open_sources
from seqgen.api.train.watch import Watcher
from seqgen.checkpoint import Checkpoint
from seqgen.config import TrainOptions
from seqgen.corpus.cache.folder import fallback_warning
from seqgen.corpus.sources import Document, Spool
from seqgen.errors import UserError
from seqgen.specs.tasks import NetworkSpec, TaskSpec
from seqgen.tasks.base import AnyNetwork, Data
from seqgen.time_limit import TimeLimit
from seqgen.training.device import Compute
from seqgen.training.loop import Position, Run
from seqgen.training.plans.base import Plan


class NamedSources(NamedTuple):
    """Sources as they were named: of the training set, and of a validation set of its own.

    data: the first, which is called `-`, if it was in memory.
    """

    names: list[str]
    valid_names: list[str]
    spool: Spool
    data: StoredData | None = None


@dataclass(frozen=True)
class TrainRequest:
    """The arguments of a training, of a new run or of one to continue.

    Attributes:
        task: Its name; None to guess it, or for that of the run to continue.
        options: All options.
        explicit: Those that were given, by name, of which `options` is made.
        init_from: The model to start from, as it was named.
        began: The time (`time.monotonic`) from which a budget counts.
    """

    folder: Path
    sources: NamedSources
    task: str | None
    options: TrainOptions
    explicit: dict[str, Any]
    init_from: str | os.PathLike[str] | None
    compute: Compute
    watch: Watcher
    began: float


def stoppable(watch: Watcher, limit: TimeLimit) -> Watcher:
    """A watcher that raises `StoppedError` at the next report or progress if the training should stop."""

    def report(activity: str) -> None:
        limit.check()
        watch.report(activity)

    def progress(done: int, of: int | None) -> None:
        limit.check()
        watch.progress(done, of)

    return dataclasses.replace(watch, report=report, progress=progress)


def check_network(network: NetworkSpec, given: TrainOptions) -> None:
    """Raise `UserError` for options that can't be used with a network."""
    if (given.members or 1) > 1 and not network.averages_members:
        raise UserError(f"--members can't be used with a {network.name}")
    if given.keep_corpus and not network.predicts_ids:
        raise UserError("--keep-corpus is for models that generate; classify needs --generative for that")


def read_sources(
    spec: TaskSpec,
    sources: NamedSources,
    watch: Watcher,
    options: TrainOptions,
    start: Checkpoint | None = None,
) -> tuple[list[Document], list[Document], list[Document]]:
    """The documents of the training set, those of a validation set of its own, and those without labels."""
    names, valid_names, spool, data = sources
    tokenizer = options.tokenizer if start is None else start.config["tokenizer"]
    if data is not None:
        data.suit(spec.row_layout, watch.warn)
    watch.report("reading " + ", ".join(names[:3]) + (" …" if len(names) > 3 else ""))
    if message := fallback_warning():
        watch.warn(message)

    def read(some: list[str], has_only_texts: bool = False) -> list[Document]:
        text_column = None if has_only_texts else options.text_column
        return open_sources(
            spec.name, some, spool, text_column, watch.progress, watch.warn, options.encoding, tokenizer, watch.report
        )

    unlabelled = list(options.unlabelled)
    only_texts = data is not None and data.has_only_texts
    found = read(names, only_texts), read(valid_names) if valid_names else [], read(unlabelled) if unlabelled else []
    if (count := sum(map(len, found))) > checkpoint.MAX_SOURCES:
        raise UserError(f"cannot train on {count:,} files: a model names at most {checkpoint.MAX_SOURCES:,}; join some")
    return found


def pretraining_run(
    data: Data[AnyNetwork], network: AnyNetwork, plan: Plan, compute: Compute, seed: int, began: float
) -> Run | None:
    """The run that precedes the task's own, if the plan has one."""
    if plan.pretraining is None:
        return None
    objective = data.pretraining(network, plan, compute, seed)
    if objective is None:
        return None
    return Run(objective, plan.pretraining, torch.Generator().manual_seed(seed), Position(), began, compute.world)
