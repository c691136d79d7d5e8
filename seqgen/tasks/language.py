"""The base of the tasks that predict the next id: their data, streams of ids on disk, and how it is prepared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch

from seqgen.checkpoint import Checkpoint
from seqgen.config import AnyNetworkConfig, NetworkConfig, TrainOptions
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series.scaling import Scaler
from seqgen.errors import DataError
from seqgen.model.language import LanguageModel
from seqgen.specs.tasks import TaskSpec
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.tasks.base import NothingFurther, Preparation
from seqgen.tasks.id_cache import PreparedIds, ids_path, load_ids, prepare_ids
from seqgen.tasks.vocabulary import sample_bytes
from seqgen.tokenizers import Codec
from seqgen.training.batches import Transform, lane_batches_per_epoch
from seqgen.training.device import Compute
from seqgen.training.loop import Objective
from seqgen.training.objectives.language import NextTokenObjective, set_output_bias
from seqgen.training.plans import language as planning
from seqgen.training.plans.base import Plan, SpeedProbe, steps_for_epochs
from seqgen.training.plans.language import CorpusStats

_MAX_ALPHABET = 1000  # with more characters, each is nearly a word

MetricsFunction = Callable[[float, Mapping[str, int]], dict[str, float]]  # (nats per id, counts) -> metrics
PartT = TypeVar("PartT", bound=Sized)


@dataclass(frozen=True)
class LanguageData(NothingFurther):
    """See `base.Data`. `counts` has `train_tokens`, `held_out_tokens` and whatever else the task counts."""

    codec: Codec
    train: IdStream
    held_out: IdStream | None
    counts: Mapping[str, int]
    key: str
    loss_metrics: MetricsFunction
    transform: Callable[[IdStream, int], Transform] | None = None  # augmentation of a stream, from the run's seed
    variety: float = 1.0  # see `CorpusStats`
    corrects_temperature: ClassVar[bool] = True
    cross_fits: ClassVar[bool] = False

    @property
    def tokens(self) -> int:
        return len(self.train)

    @property
    def id_streams(self) -> tuple[IdStream, ...]:
        return tuple(stream for stream in (self.train, self.held_out) if stream)

    def summary(self) -> str:
        return (
            f"{self.counts['train_tokens']:,} tokens to train on, {self.counts['held_out_tokens']:,} held out, "
            f"vocabulary of {self.codec.vocab_size:,}"
        )

    def steps(self, epochs: float, batch_size: int, seq_length: int) -> int:
        return steps_for_epochs(epochs, lane_batches_per_epoch(self.tokens, batch_size, seq_length))

    def metadata(self) -> dict[str, Any]:
        return {**self.counts, "cache": self.key}

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        seen = self.codec.num_seen()
        characters = TOKENIZERS.find(self.codec.name).is_character_level and seen <= _MAX_ALPHABET
        corpus = CorpusStats(self.tokens, self.codec.vocab_size, seen, self.variety, characters)
        return planning.make_plan(options, corpus, compute, speed, spent)

    def prepare_network(self, network: LanguageModel) -> None:
        set_output_bias(network, self.train)

    def pretraining(self, network: LanguageModel, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        return None

    def objective(self, network: LanguageModel, plan: Plan, compute: Compute, seed: int) -> Objective:
        transform = None if self.transform is None else self.transform(self.train, seed)
        return NextTokenObjective(
            network, self.train, self.held_out, compute, self.codec.num_seen(), plan.batch_size, plan.seq_length, seed,
            transform, plan.blank,
        )  # fmt: skip

    def finishing(self, network: LanguageModel, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        if self.held_out is None or len(self.held_out) < 3:
            return None
        transform = None if self.transform is None else self.transform(self.held_out, seed)
        return NextTokenObjective(  # of all ids: the held-out part may have some that the training set has not
            network, self.held_out, None, compute, self.codec.vocab_size, plan.batch_size, plan.seq_length, seed,
            transform, plan.blank,
        )  # fmt: skip

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        if val_loss is None or not self.counts["held_out_tokens"]:
            return {}
        return {"val_loss": val_loss, **self.loss_metrics(val_loss, self.counts)}


READING, ENCODING, ENCODING_HELD_OUT = 0.35, 0.6, 0.7  # of the whole time: when they end at the latest


class Messages:
    """Reports and warnings about the sources, passed on and kept for later runs that find the ids in the cache.

    `cut_short`: whether the time was too short to read everything.
    """

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation
        self.messages: list[tuple[bool, str]] = []
        self.cut_short = False

    def add(self, message: str, is_warning: bool = False) -> None:
        self.messages.append((is_warning, message))
        (self._preparation.warn if is_warning else self._preparation.report)(message)

    def add_cut(self, what: str) -> None:
        """Report that not everything was read; `what`: how much was, as a noun phrase."""
        self.cut_short = True
        self.add(f"the budget leaves time for {what}; give a longer --budget to learn from all", is_warning=True)


class LanguageTask(ABC, Generic[PartT]):
    """Base of the tasks that predict the next id: they differ in how sources become ids.

    A part is a training or validation set before it is encoded.
    """

    counted: ClassVar[tuple[str, ...]]  # by `encode`, in this order; "tokens" among them

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @abstractmethod
    def read(self, preparation: Preparation, messages: Messages) -> tuple[PartT, PartT]:
        """The training set and the validation set; either may be empty."""

    @abstractmethod
    def codec(self, preparation: Preparation, train: PartT) -> Codec:
        """The codec that is given, or one fitted to the training set."""

    @abstractmethod
    def encode(
        self, preparation: Preparation, codec: Codec, part: PartT, path: Path, is_train: bool, messages: Messages
    ) -> tuple[IdStream, dict[str, int]]:
        """Write the ids of a part to `path` and return them with the counts that `counted` names."""

    @abstractmethod
    def loss_metrics(self, loss: float, counts: Mapping[str, int]) -> dict[str, float]:
        """The metrics of the task, from nats per id and `LanguageData.counts`."""

    def cache_name(self, preparation: Preparation) -> str:
        """The task, and the options that `read` and `encode` depend on."""
        return self.spec.name

    def fixed_codec(self, preparation: Preparation) -> Codec | None:
        """The codec, if it isn't fitted to the sources."""
        return None

    def data(self, found: PreparedIds, preparation: Preparation) -> LanguageData:
        """The data of prepared ids."""
        return self.data_of(found.codec, found.train, found.held_out, found.counts, found.key)

    def data_of(
        self, codec: Codec, train: IdStream, held_out: IdStream | None, counts: Mapping[str, int], key: str
    ) -> LanguageData:
        return LanguageData(codec, train, held_out, counts, key, self.loss_metrics)

    def prepare(self, preparation: Preparation) -> LanguageData:
        def make(key: str) -> PreparedIds:
            messages = Messages(preparation)
            train, held_out = self.read(preparation, messages)
            if not len(train):
                raise DataError("nothing is left to train on: --val-fraction holds out everything")
            codec = self.codec(preparation, train)
            train_ids, train_counts = self.encode(preparation, codec, train, ids_path(key, "train"), True, messages)
            held_ids, held_counts = None, dict.fromkeys(self.counted, 0)
            if len(held_out):
                held_ids, held_counts = self.encode(
                    preparation, codec, held_out, ids_path(key, "valid"), False, messages
                )
            elif preparation.options.val_fraction:
                messages.add(
                    "nothing is held out: the source is too short, or its parts too few, so that nothing chooses the "
                    "best step or stops early; give a validation set with --valid",
                    is_warning=True,
                )
            counts = {f"train_{name}": train_counts[name] for name in self.counted}
            counts |= {f"held_out_{name}": held_counts[name] for name in self.counted}
            return PreparedIds(
                codec, train_ids, held_ids, counts, messages=messages.messages, cut_short=messages.cut_short
            )

        fixed = self.fixed_codec(preparation)
        name = self.cache_name(preparation)
        sample = sample_bytes(preparation.options.tokenizer_for(self.spec.name), preparation.limit)
        if sample is not None and sample < sum(document.size for document in preparation.documents):
            name += f" fitted to {sample}"
        return self.data(prepare_ids(preparation, name, make, fixed), preparation)

    def load_cached(self, metadata: Mapping[str, Any], codec: Codec | Scaler) -> LanguageData | None:
        assert not isinstance(codec, Scaler)
        found = load_ids(metadata, codec)
        if found is None:
            return None
        train, held_out = found
        counts = {name: value for name, value in metadata.items() if isinstance(value, int)}
        return self.data_of(codec, train, held_out, counts, metadata["cache"])

    def transfer(self, network: LanguageModel, start: Checkpoint) -> None:
        """Copy every weight of `start`; rows of ids that it doesn't have stay as they were initialised."""
        weights = start.weights()
        with torch.no_grad():
            for name, weight in network.state_dict().items():
                old = torch.from_numpy(weights[name])
                weight[: len(old)] = old

    def network(self, config: AnyNetworkConfig) -> LanguageModel:
        assert isinstance(config, NetworkConfig)
        return LanguageModel(config)
