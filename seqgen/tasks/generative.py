"""Classification by a language model: records of a label and its text, learnt like any text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqgen.checkpoint import Checkpoint
from seqgen.config import GenerativeConfig, TrainOptions
from seqgen.corpus import ids
from seqgen.corpus.ids import IdStream
from seqgen.errors import DataError, ModelError
from seqgen.model.generative import GenerativeClassifier
from seqgen.tasks.base import Preparation
from seqgen.tasks.language import LanguageData, cache_key
from seqgen.tasks.prepared import ids_path, locked, sources_label
from seqgen.tasks.text import text_metrics
from seqgen.tokenizers import Codec
from seqgen.tokenizers.labelled import LabelledCodec
from seqgen.training.device import Compute
from seqgen.training.objectives.classification import LabelledIds
from seqgen.training.objectives.generative import GenerativeObjective
from seqgen.training.plans.language import Plan, SpeedProbe


@dataclass(frozen=True, kw_only=True)
class GenerativeClassificationData(LanguageData):
    """See `task.Data`. `held_out_texts` are the held-out texts, to calibrate by; `shares` of each label in the others."""

    labels: tuple[str, ...]
    shares: tuple[float, ...]
    held_out_texts: LabelledIds | None
    options: TrainOptions
    stop_words: tuple[str, ...]

    def summary(self) -> str:
        return (
            f"{self.counts['train_texts']:,} texts of {len(self.labels):,} labels to train on "
            f"({self.tokens:,} tokens of {self.codec.vocab_size:,} kinds), {self.counts['held_out_texts']:,} held out"
        )

    def metadata(self) -> dict[str, Any]:
        return {**self.counts, "label_shares": dict(zip(self.labels, self.shares, strict=True))}

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        settled = super().plan(options, compute, speed, spent)
        network = GenerativeConfig(
            **dataclasses.asdict(settled.network),
            labels=self.labels,
            lowercase=options.lowercase,
            stop_words=self.stop_words,
        )
        return dataclasses.replace(settled, network=network)

    def prepare_network(self, network: Any) -> None:
        super().prepare_network(network)
        with torch.no_grad():
            network.prior.copy_(torch.tensor(self.shares).clamp(min=1e-6).log())

    def objective(self, network: Any, plan: Plan, compute: Compute, seed: int) -> GenerativeObjective:
        return GenerativeObjective(
            network, self.train, self.held_out, compute, self.codec.seen(), plan.batch_size, plan.seq_length, seed,
            held_out_texts=self.held_out_texts, end=self.codec.end,
        )  # fmt: skip


def labelled_codec(text: Callable[[], Codec], preparation: Preparation, labels: tuple[str, ...]) -> LabelledCodec:
    """What spells the records. `text` makes the codec of texts where they are not gone on with."""
    if isinstance(preparation.codec, LabelledCodec):
        return preparation.codec
    start = preparation.start
    if start is not None and start.task == "classify":
        if not isinstance(start.network, GenerativeConfig) or start.network.labels != labels:
            raise ModelError("--generative --init-from takes a model for text, or a generative one of these labels")
        codec = text()  # that model's, extended
        assert isinstance(codec, LabelledCodec)
        return codec
    return LabelledCodec(text(), len(labels))


def prepare(
    preparation: Preparation,
    codec: LabelledCodec,
    train: LabelledIds,
    held_out_texts: LabelledIds | None,
    labels: tuple[str, ...],
    stop_words: tuple[str, ...],
    counts: dict[str, int],
) -> GenerativeClassificationData:
    """The records as streams of ids, those to learn from in an order of chance.

    Raises:
        DataError: some text has not exactly one label.
    """
    if (train.targets.sum(1) != 1).any():
        raise DataError("--generative needs texts with one label each")
    seed = preparation.options.seed
    key = cache_key(codec, preparation)
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(train))
    what = sources_label(preparation)
    with locked(preparation, f"{key}-{seed}"):
        stream = _stream(codec, train, order, ids_path(f"{key}-{seed}", "train"), what)
        held_stream = None
        if held_out_texts is not None:
            held_stream = _stream(
                codec, held_out_texts, range(len(held_out_texts)), ids_path(f"{key}-{seed}", "valid"), what
            )
    return GenerativeClassificationData(
        codec,
        stream,
        held_stream,
        counts,
        key,
        text_metrics,
        labels=labels,
        shares=tuple(train.targets.mean(0).tolist()),
        held_out_texts=held_out_texts,
        options=preparation.options,
        stop_words=stop_words,
    )


def _stream(codec: LabelledCodec, texts: LabelledIds, order: Sequence[int] | Any, path: Path, what: str) -> IdStream:
    kinds = texts.targets.argmax(1)
    records = (
        ((np.concatenate([kinds[number : number + 1], texts.text(number)]).astype(np.int32),), True) for number in order
    )
    return ids.build(path, records, codec.vocab_size, codec.end, what)


def transfer(network: GenerativeClassifier, start: Checkpoint) -> None:
    """Every weight of a generative model; of a model for text, all of them, its ids moved up past the labels."""
    weights = start.weights()
    moved = 0 if isinstance(start.network, GenerativeConfig) else len(network.config.labels)
    with torch.no_grad():
        for name, weight in network.state_dict().items():
            if name in weights:
                old = torch.from_numpy(weights[name])
                first = moved if name in ("embedding", "output_weight", "output_bias") else 0
                weight[first : first + len(old)] = old
