"""What the tasks that predict the next id have in common: streams of ids on disk, and the objective over them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from seqgen import tokenizers
from seqgen.checkpoint import Checkpoint
from seqgen.config import TrainOptions
from seqgen.corpus import ids
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import fingerprint
from seqgen.model.language import LanguageModel
from seqgen.tasks.base import Preparation
from seqgen.tasks.prepared import ids_path
from seqgen.tokenizers import Codec
from seqgen.training.batches import Transform
from seqgen.training.device import Compute
from seqgen.training.objectives.language import NextTokenObjective, set_output_bias
from seqgen.training.plans import language as planning
from seqgen.training.plans.language import CorpusStats, Plan, SpeedProbe

_ALPHABET = 1000  # characters, beyond which each is nearly a word

MetricsFunction = Callable[
    [float, Mapping[str, int]], dict[str, float]
]  # (nats an id, counts) → the task's own measures


@dataclass(frozen=True)
class LanguageData:
    """See `task.Data`. `counts` has `train_tokens`, `held_out_tokens` and what else the task counts."""

    codec: Codec
    train: IdStream
    held_out: IdStream | None
    counts: Mapping[str, int]
    key: str
    loss_metrics: MetricsFunction
    transform: Callable[[int], Transform] | None = None  # from the run's seed
    variety: float = 1.0  # see `plan.CorpusStats`

    @property
    def tokens(self) -> int:
        return len(self.train)

    def summary(self) -> str:
        return (
            f"{self.counts['train_tokens']:,} tokens of {self.codec.vocab_size:,} kinds to train on, "
            f"{self.counts['held_out_tokens']:,} held out"
        )

    def metadata(self) -> dict[str, Any]:
        return {**self.counts, "cache": self.key}

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        letters = self.codec.kind in ("char", "byte") and self.codec.seen() <= _ALPHABET
        corpus = CorpusStats(self.tokens, self.codec.vocab_size, self.codec.seen(), self.variety, letters)
        return planning.make_plan(options, corpus, compute, speed, spent)

    def prepare_network(self, network: LanguageModel) -> None:
        set_output_bias(network, self.train)

    def pretraining(self, network: LanguageModel, plan: Plan, compute: Compute, seed: int) -> None:
        """Nothing comes before."""
        return

    def objective(self, network: LanguageModel, plan: Plan, compute: Compute, seed: int) -> NextTokenObjective:
        transform = None if self.transform is None else self.transform(seed)
        return NextTokenObjective(
            network, self.train, self.held_out, compute, self.codec.seen(), plan.batch_size, plan.seq_length, seed,
            transform, plan.blank,
        )  # fmt: skip

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        if val_loss is None or not self.counts["held_out_tokens"]:
            return {}
        return {"val_loss": val_loss, **self.loss_metrics(val_loss, self.counts)}


def copy_weights(network: LanguageModel, start: Checkpoint) -> None:
    """Every weight of `start`; rows for ids that it did not know stay as they were initialised."""
    weights = start.weights()
    with torch.no_grad():
        for name, weight in network.state_dict().items():
            old = torch.from_numpy(weights[name])
            weight[: len(old)] = old


def cache_key(codec: Codec, preparation: Preparation) -> str:
    """What the id cache is found by: the same sources, cut the same way, spelt with the same codec."""
    parts = [fingerprint(preparation.documents), fingerprint(preparation.valid), preparation.options.val_fraction]
    digest = hashlib.sha256(json.dumps(parts).encode())
    for name, data in sorted(tokenizers.dump(codec).items()):
        digest.update(name.encode() + hashlib.sha256(data).digest())
    return digest.hexdigest()[:32]


def from_cache(metadata: Mapping[str, Any]) -> tuple[str, IdStream, IdStream | None, dict[str, int]] | None:
    """Key, ids to train on, ids held out and counts of the data that `metadata` were made of; None where the cache no
    longer has them."""
    key = metadata.get("cache")
    if not isinstance(key, str) or not key.isalnum():
        return None
    train = ids.load(ids_path(key, "train"))
    held_out = ids.load(ids_path(key, "valid"))
    if train is None or (held_out is None and metadata.get("held_out_tokens")):
        return None
    counts = {name: value for name, value in metadata.items() if isinstance(value, int)}
    return key, train, held_out, counts
