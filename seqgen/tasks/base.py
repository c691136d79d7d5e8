"""The interfaces of a task and its data, which training knows them by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from seqgen.checkpoint import Checkpoint, Weights
from seqgen.config import AnyNetworkConfig, TrainOptions
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series.scaling import Scaler
from seqgen.corpus.sources import Document
from seqgen.model.classifier import Classifier
from seqgen.model.forecaster import Forecaster
from seqgen.model.language import LanguageModel
from seqgen.specs.tasks import TaskSpec
from seqgen.streams import Progress
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.tokenizers import Codec
from seqgen.training.device import Compute
from seqgen.training.loop import Objective
from seqgen.training.plans.base import Plan, SpeedProbe

AnyNetwork = LanguageModel | Classifier | Forecaster
NetworkT = TypeVar("NetworkT", bound=AnyNetwork)
NetworkT_contra = TypeVar("NetworkT_contra", bound=AnyNetwork, contravariant=True)


@dataclass(frozen=True)
class Preparation:
    """The input of `Task.prepare`. Every reading of the documents asks the limit whether to stop."""

    documents: list[Document]  # with checksums
    valid: list[Document]  # with checksums; empty if a fraction of `documents` is held out
    options: TrainOptions
    codec: Codec | Scaler | None = None  # of a resumed run; it is kept as it is
    start: Checkpoint | None = None  # the model of --init-from; its tokenizer is kept and extended
    report: Callable[[str], None] = lambda _: None  # describes the current step in a few words
    warn: Callable[[str], None] = lambda _: None
    progress: Progress = lambda done, of: None  # bytes done in the current step, and their total if known
    limit: TimeLimit = NO_LIMIT  # of the whole training
    unlabelled: list[Document] = field(default_factory=list)  # with checksums: texts of --unlabelled
    network: AnyNetworkConfig | None = None  # of a resumed run; it is kept as it is
    given: Collection[str] = ()  # names of the options that were given, which may have the values of the defaults

    def asks_for(self, option: str) -> bool:
        """Whether an option was given or isn't its default: what a model of --init-from has must agree with it."""
        return option in self.given or getattr(self.options, option) != getattr(TrainOptions, option)

    def __post_init__(self) -> None:
        for name in ("documents", "valid", "unlabelled"):
            checked = [replace(document, check=self.limit.check) for document in getattr(self, name)]
            object.__setattr__(self, name, checked)


class Data(Protocol[NetworkT_contra]):
    """A prepared corpus: what training needs from a task."""

    @property
    def codec(self) -> Codec | Scaler:
        """The model's codec, or the scaler of its columns."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens per epoch."""
        ...

    def steps(self, epochs: float, batch_size: int, seq_length: int) -> int:
        """Optimiser steps of so many epochs, as the plan counts them."""
        ...

    @property
    def held_out(self) -> Sized | None:
        """The validation set, if there is one."""
        ...

    @property
    def id_streams(self) -> tuple[IdStream, ...]:
        """The training and, if there is one, the validation set of a language model; empty for other networks."""
        ...

    @property
    def corrects_temperature(self) -> bool:
        """Whether the network's temperature is corrected after training with dropout."""
        ...

    @property
    def cross_fits(self) -> bool:
        """Whether further networks hold out other parts, so that each part is learnt by some of them."""
        ...

    def summary(self) -> str:
        """Sizes of the training and validation sets, in a few words."""
        ...

    def metadata(self) -> dict[str, Any]:
        """Entries of `data` in config.json: counts of both sets, and the key of the id cache."""
        ...

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        """Choose what `options` leave open; `spent` seconds of the budget are gone."""
        ...

    def prepare_network(self, network: NetworkT_contra) -> None:
        """Set the weights that follow from the data without training."""
        ...

    def pretraining(self, network: NetworkT_contra, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        """The objective of pretraining, which lasts as long as `plan.pretraining` says; None: there is none."""
        ...

    def objective(self, network: NetworkT_contra, plan: Plan, compute: Compute, seed: int) -> Objective: ...

    def finishing(self, network: NetworkT_contra, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        """The objective that has the validation set in place of the training set, to learn it at the very end.

        None: there is nothing to learn. It is not used if the validation set is a source of its own (--valid).
        """
        ...

    def before_finishing(self, network: NetworkT_contra) -> None:
        """Store in the network what can only be measured while the validation set is not learnt."""
        ...

    def companion(
        self,
        network: NetworkT_contra,
        weights: Weights,
        compute: Compute,
        seed: int,
        trained_tokens: int,
        limit: TimeLimit,
    ) -> Companion | None:
        """A further file of the model, made from the best network while the validation set is not learnt.

        None: the model has none, or there is too little data for it.

        Args:
            weights: of the saved model, which may differ from the network's in the output layer.
            trained_tokens: tokens that the network was trained on.
            limit: as long as the training before it took, which the task may use a fraction of.
        """
        ...

    def member(self, number: int, plan: Plan) -> Member | None:
        """The data and plan of further network `number`, from 1; None: models of this task have one network."""
        ...

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        """The metrics of the task that follow from a validation loss."""
        ...


class NothingFurther:
    """Hooks of `Data` for a task whose models have no further file or network, and measure nothing at the end."""

    def before_finishing(self, network: Any) -> None: ...

    def companion(
        self, network: Any, weights: Weights, compute: Compute, seed: int, trained_tokens: int, limit: TimeLimit
    ) -> Companion | None:
        return None

    def member(self, number: int, plan: Plan) -> Member | None:
        return None


class Companion(NamedTuple):
    """A further file of a model: its name, its contents, and metrics on the validation set that it brings."""

    name: str
    contents: bytes
    metrics: dict[str, float]


class Member(NamedTuple):
    """A further network of a model that averages several: its data, with other texts or rows held out, and its plan."""

    data: Data[Any]
    plan: Plan


class Task(Protocol[NetworkT]):
    """A task, made from its row of the table (`specs.tasks`)."""

    @property
    def spec(self) -> TaskSpec: ...

    def prepare(self, preparation: Preparation) -> Data[NetworkT]:
        """Read the sources. Raises `StoppedError` if `preparation.limit` says so."""
        ...

    def load_cached(self, metadata: Mapping[str, Any], codec: Codec | Scaler) -> Data[NetworkT] | None:
        """The data whose `metadata()` these are, from the cache; None if the cache doesn't have them any more."""
        ...

    def transfer(self, network: NetworkT, start: Checkpoint) -> None:
        """Copy the weights that a network shares with the model of --init-from."""
        ...

    def network(self, config: AnyNetworkConfig) -> NetworkT:
        """A network of this task, not yet initialised."""
        ...
