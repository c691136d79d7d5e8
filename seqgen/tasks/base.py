"""What a task is, to those who train without knowing which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import nn

from seqgen.checkpoint import Checkpoint
from seqgen.config import TrainOptions
from seqgen.corpus.sources import Document, Progress
from seqgen.training.device import Compute
from seqgen.training.loop import Objective
from seqgen.training.plans.language import Plan, SpeedProbe


@dataclass(frozen=True)
class Preparation:
    """What a task is given to make data of."""

    documents: list[Document]  # measured
    valid: list[Document]  # measured; empty where a fraction is held out
    options: TrainOptions
    codec: Any = None  # a Codec, or a Scaler: the tokenizer of a run that goes on, kept as it is
    start: Checkpoint | None = None  # a model to start from: its tokenizer is kept, and extended
    report: Callable[[str], None] = lambda _: None  # what is being done, in a few words
    warn: Callable[[str], None] = lambda _: None  # something the person should know
    progress: Progress = lambda done, of: None  # bytes of what is being done, as far as they are known


class HeadlineMetric(NamedTuple):
    """The one measure by which a task's training is followed: its key among the metrics, and its unit in short."""

    key: str
    unit: str


class Data(Protocol):
    """A corpus made ready: ids on disk, and the codec they were made with."""

    @property
    def codec(self) -> Any:
        """What turns the sources into what the network reads: a Codec, or a Scaler."""
        ...

    @property
    def tokens(self) -> int:
        """Ids that one pass reads."""
        ...

    def summary(self) -> str:
        """What there is to learn from and what is held out, in a few words."""
        ...

    def metadata(self) -> dict[str, Any]:
        """For config.json: counts of tokens, characters and bytes, trained on and held out, and the cache's key."""
        ...

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan: ...

    def prepare_network(self, network: Any) -> None:
        """Starts what the data can tell a network before training does."""
        ...

    def pretraining(self, network: Any, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        """What the network learns before its task, for as long as `plan.pretraining` says; None: nothing."""
        ...

    def objective(self, network: Any, plan: Plan, compute: Compute, seed: int) -> Objective: ...

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        """What a held-out loss means in the task's own measures."""
        ...


class Task(Protocol):
    """One row of the table of tasks."""

    name: ClassVar[str]
    tokenizers: ClassVar[tuple[str, ...]]  # kinds that it can learn with, the default first
    headline: ClassVar[HeadlineMetric]
    needs_float32: ClassVar[
        bool
    ]  # products in float32 where nobody says otherwise: numbers need more digits than choices
    init_from_tasks: ClassVar[tuple[str, ...]]  # tasks whose models `--init-from` may name

    def prepare(self, preparation: Preparation) -> Data: ...

    def load_cached(self, metadata: dict[str, Any], codec: Any) -> Data | None:
        """The data that `metadata` were made of, from the cache; None where the cache no longer has it."""
        ...

    def transfer(self, network: Any, start: Checkpoint) -> None:
        """Copies into a network what it shares with another model."""
        ...

    def network(self, config: Any) -> nn.Module:
        """A network of this task, its weights not yet set."""
        ...
