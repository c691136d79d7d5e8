"""Classification by a language model, trained on records that are a label and its text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from seqgen.checkpoint import Checkpoint
from seqgen.config import GenerativeConfig, TrainOptions
from seqgen.corpus import ids
from seqgen.corpus.ids import IdStream
from seqgen.errors import DataError, ModelError
from seqgen.model.generative import GenerativeClassifier
from seqgen.model.language import LanguageModel
from seqgen.tasks.base import Preparation
from seqgen.tasks.id_cache import cache_key, codec_digest, ids_path, locked, sources_label
from seqgen.tasks.language import LanguageData
from seqgen.tasks.text import text_metrics
from seqgen.tokenizers import Codec
from seqgen.tokenizers.labelled import LabelledCodec
from seqgen.training.device import Compute
from seqgen.training.loop import Objective
from seqgen.training.objectives.classification import LabelledIds
from seqgen.training.objectives.generative import GenerativeObjective
from seqgen.training.plans.base import Plan, SpeedProbe


@dataclass(frozen=True, kw_only=True)
class GenerativeClassificationData(LanguageData):
    """See `base.Data`."""

    corrects_temperature: ClassVar[bool] = False  # the probabilities of labels are calibrated at each validation
    cross_fits: ClassVar[bool] = False

    labels: tuple[str, ...]
    label_fractions: tuple[float, ...]  # of the training texts, in the order of `labels`
    held_out_texts: LabelledIds | None  # for calibration
    options: TrainOptions
    stop_words: tuple[str, ...]
    columns: dict[str, list[str]]  # names of the columns of text and label

    def summary(self) -> str:
        return (
            f"{self.counts['train_texts']:,} texts with {len(self.labels):,} labels to train on "
            f"({self.tokens:,} tokens, vocabulary of {self.codec.vocab_size:,}), "
            f"{self.counts['held_out_texts']:,} held out"
        )

    def metadata(self) -> dict[str, Any]:
        fractions = dict(zip(self.labels, self.label_fractions, strict=True))
        return {**super().metadata(), "label_shares": fractions, "columns": self.columns}

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        plan = super().plan(options, compute, speed, spent)
        network = GenerativeConfig(
            **dataclasses.asdict(plan.network),
            labels=self.labels,
            lowercase=options.lowercase,
            stop_words=self.stop_words,
        )
        return dataclasses.replace(plan, network=network, blank=0.0)  # a blanked label would teach its texts to none

    def prepare_network(self, network: LanguageModel) -> None:
        assert isinstance(network, GenerativeClassifier)
        super().prepare_network(network)
        with torch.no_grad():
            network.prior.copy_(torch.tensor(self.label_fractions).clamp(min=1e-6).log())

    def objective(self, network: LanguageModel, plan: Plan, compute: Compute, seed: int) -> Objective:
        return GenerativeObjective(
            network, self.train, self.held_out, compute, self.codec.num_seen(), plan.batch_size, plan.seq_length, seed,
            held_out_texts=self.held_out_texts, end=self.codec.end,
        )  # fmt: skip


def labelled_codec(make_text: Callable[[], Codec], preparation: Preparation, labels: tuple[str, ...]) -> LabelledCodec:
    """The codec of records. `make_text` gives the codec of texts: a new one, or that of --init-from, extended."""
    if isinstance(preparation.codec, LabelledCodec):
        return preparation.codec
    start = preparation.start
    if start is not None and start.network_spec.classifies:
        if not isinstance(start.network, GenerativeConfig) or start.network.labels != labels:
            raise ModelError(
                "--generative --init-from takes a model for text, or a generative one with the same labels"
            )
        codec = make_text()
        assert isinstance(codec, LabelledCodec)
        return codec
    return LabelledCodec(make_text(), len(labels))


def prepare(
    preparation: Preparation,
    codec: LabelledCodec,
    train: LabelledIds,
    held_out_texts: LabelledIds | None,
    labels: tuple[str, ...],
    stop_words: tuple[str, ...],
    counts: dict[str, int],
    columns: dict[str, list[str]],
) -> GenerativeClassificationData:
    """Write the records as streams of ids, those of the training set in random order.

    Raises:
        DataError: a text doesn't have exactly one label.
    """
    if (train.targets.sum(1) != 1).any():
        raise DataError("--generative needs texts with one label each")
    options = preparation.options
    given = [options.text_column, options.label_column, options.sheet]
    key = cache_key(
        preparation, "generative", [True, codec_digest(codec)], options.seed, given, options.lowercase, stop_words
    )
    order = np.random.Generator(np.random.Philox(key=options.seed)).permutation(len(train))
    about = sources_label(preparation)
    with locked(preparation, key):
        stream = _write(codec, train, order.tolist(), ids_path(key, "train"), about)
        held_stream = None
        if held_out_texts is not None:
            numbers = range(len(held_out_texts))
            held_stream = _write(codec, held_out_texts, numbers, ids_path(key, "valid"), about)
    return GenerativeClassificationData(
        codec,
        stream,
        held_stream,
        counts,
        key,
        text_metrics,
        labels=labels,
        label_fractions=tuple(train.targets.mean(0).tolist()),
        held_out_texts=held_out_texts,
        options=options,
        stop_words=stop_words,
        columns=columns,
    )


def _write(codec: LabelledCodec, texts: LabelledIds, order: Iterable[int], path: Path, about: str) -> IdStream:
    labels = texts.targets.argmax(1)
    records = (
        ((np.concatenate([labels[number : number + 1], texts.text(number)]).astype(np.int32),), True)
        for number in order
    )
    return ids.build(path, records, codec.vocab_size, codec.end, about)


def transfer(network: GenerativeClassifier, start: Checkpoint) -> None:
    """Copy every weight of a generative model, or of a model for text, whose ids move up by the number of labels."""
    weights = start.weights()
    shift = 0 if isinstance(start.network, GenerativeConfig) else len(network.config.labels)
    with torch.no_grad():
        for name, weight in network.state_dict().items():
            if name in weights:
                old = torch.from_numpy(weights[name])
                first = shift if name in ("embedding", "output_weight", "output_bias") else 0
                weight[first : first + len(old)] = old
