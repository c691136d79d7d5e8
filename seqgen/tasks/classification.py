"""Classification: predict the label, or the labels, of a text."""

from __future__ import annotations

import dataclasses
import itertools
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.checkpoint import Checkpoint
from seqgen.config import AnyNetworkConfig, ClassifierConfig, GenerativeConfig, TrainOptions
from seqgen.corpus.ids import IdStream, id_dtype
from seqgen.corpus.labelled.read import (
    Example,
    LabelledOptions,
    LabelledReport,
    LabelledTexts,
    collect_examples,
    read_examples,
)
from seqgen.corpus.labelled.texts import Ints, Joined, Selected, rest, stratified_folds
from seqgen.corpus.labelled.unlabelled import UnlabelledOptions, read_texts
from seqgen.corpus.series.scaling import Scaler
from seqgen.corpus.sources import Document
from seqgen.corpus.spill import SpillArray, SpillList
from seqgen.errors import DataError, ModelError, UserError
from seqgen.model.classifier import Classifier
from seqgen.model.generative import GenerativeClassifier
from seqgen.model.ngrams import Ngrams
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TaskSpec, network_of
from seqgen.tasks import generative
from seqgen.tasks.base import Member, NothingFurther, Preparation
from seqgen.tasks.generative import GenerativeClassificationData
from seqgen.tasks.linear_classifier import LabelledSplit, LinearFit, UnlabelledTexts
from seqgen.tasks.vocabulary import extend_codec, fit_codec
from seqgen.tokenizers import END_OF_DOCUMENT, Codec
from seqgen.tokenizers.labelled import LabelledCodec
from seqgen.tokenizers.normalise import TextNormaliser, read_stop_words
from seqgen.tokenizers.workers import batch_by_size, encode_batches
from seqgen.training.device import Compute
from seqgen.training.loop import Objective
from seqgen.training.objectives.classification import (
    ClassificationObjective,
    LabelledIds,
    text_batches_per_epoch,
)
from seqgen.training.objectives.pretraining import PretrainingObjective
from seqgen.training.plans import classification as planning
from seqgen.training.plans.base import Plan, SpeedProbe, steps_for_epochs
from seqgen.training.plans.classification import LabelledCorpusStats

_VOCABULARY_BYTES = 8_000_000  # of texts to which a vocabulary is fitted


@dataclass(frozen=True)
class ClassificationData(NothingFurther):
    """See `base.Data`."""

    codec: Codec
    labels: tuple[str, ...]
    multi: bool  # a text may have several labels
    split: LabelledSplit
    options: TrainOptions
    stop_words: tuple[str, ...]
    counts: dict[str, int]
    label_fractions: dict[str, float]  # of the training texts that have each label
    columns: dict[str, list[str]]  # names of the columns of text and label
    linear: LinearFit
    pretraining_ids: LabelledIds | None  # of labelled and unlabelled texts; None: those of the training set
    whole: _AllLabelled | None  # what both sets were split from; None for a validation set of its own
    first: ClassifierConfig | None = None  # of a further network: the first one's, which has the linear model

    id_streams: ClassVar[tuple[IdStream, ...]] = ()
    corrects_temperature: ClassVar[bool] = False
    cross_fits: ClassVar[bool] = True

    @property
    def train(self) -> LabelledIds:
        return self.split.train

    @property
    def held_texts(self) -> Sequence[bytes]:
        return self.split.held_texts

    @property
    def held_out(self) -> LabelledIds | None:
        return self.split.held_out

    @property
    def tokens(self) -> int:
        return self.train.tokens

    def summary(self) -> str:
        labels = f"{len(self.labels):,} labels{', several per text' if self.multi else ''}"
        return (
            f"{len(self.train):,} texts with {labels} to train on ({self.tokens:,} tokens, vocabulary of "
            f"{self.codec.vocab_size:,}), {len(self.held_texts):,} held out"
            + (f", {self.counts['unlabelled_texts']:,} without labels" if self.pretraining_ids is not None else "")
        )

    def steps(self, epochs: float, batch_size: int, seq_length: int) -> int:
        return steps_for_epochs(epochs, text_batches_per_epoch(len(self.train), batch_size))

    def metadata(self) -> dict[str, Any]:
        return {**self.counts, "label_shares": self.label_fractions, "columns": self.columns}

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        lengths = self.train.lengths
        features = affixes = 0
        if options.ngrams:
            affixes = planning.longest_affix(self._mean_size())
            features = self.linear.count_features(Ngrams(options.ngrams, affixes), len(self.labels))
        corpus = LabelledCorpusStats(
            texts=len(self.train),
            tokens=self.tokens,
            labelled=int(self.train.window_lengths.sum()),
            longest=max(1, int(lengths.max(initial=1))),
            vocab_size=self.codec.vocab_size,
            labels=self.labels,
            multi=self.multi,
            features=features,
            affixes=affixes,
            stop_words=self.stop_words,
            read=None if self.pretraining_ids is None else self.pretraining_ids.tokens,
            read_texts=None if self.pretraining_ids is None else len(self.pretraining_ids),
        )
        plan = planning.make_plan(options, corpus, compute, spent)
        if plan.schedule.seconds is not None:
            self.linear.reserve_time(max(0.0, plan.schedule.seconds - spent))
        return plan

    def prepare_network(self, network: Classifier) -> None:
        """Set the prior, and fit the linear model.

        The validation set chooses its penalty. It is then fitted to the validation set too, unless that is never
        learnt; its logits of the validation set stay those from before. For a further network only those logits are
        needed.
        """
        config = self.first or network.config
        with torch.no_grad():
            fractions = self._label_priors().clamp(1e-6, 1 - 1e-6)
            network.prior.copy_(torch.logit(fractions) if self.multi else fractions.log())
            network.head_bias.copy_(network.prior)
        needs_logits = self.held_out is not None and self.linear.held_logits is None
        if not config.features or (self.first is not None and not needs_logits):
            return
        weights = self._label_weights()
        model = self.linear.fit(
            Ngrams(config.ngrams, config.affixes),
            config.features,
            None if weights is None else torch.from_numpy(weights),
        )
        if self.first is None:
            network.set_linear_model(*model)

    def _mean_size(self) -> float:
        """The mean size of the training texts in bytes, estimated from a thousand of them."""
        some = np.linspace(0, len(self.split.texts) - 1, min(len(self.split.texts), 1000)).astype(int)
        return float(np.mean([len(self.split.texts[int(number)]) for number in some])) if len(some) else 0.0

    def _label_weights(self) -> npt.NDArray[np.float32] | None:
        """With --balance, the weight of each label in the loss, as if all were equally common."""
        if not self.options.balance:
            return None
        counts = self.train.targets.sum(0)
        present = counts > 0
        weights = np.where(present, counts.sum() / np.maximum(counts, 1) / max(present.sum(), 1), 1.0)
        return weights.astype(np.float32)

    def _label_priors(self) -> Tensor:
        """The fraction of the training texts with each label, where each text counts as much as it does in the loss.

        They are the probabilities of a text without content: what is likeliest if nothing is known of it.
        """
        targets, weights = torch.from_numpy(self.train.targets), self._label_weights()
        if weights is None:
            return targets.mean(0)
        of_texts = (targets * torch.from_numpy(weights)).sum(1)
        return (targets * of_texts[:, None]).sum(0) / of_texts.sum().clamp(min=1e-6)

    def pretraining(self, network: Classifier, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        batch = plan.batch_size
        if self.pretraining_ids is not None and self.options.batch_size is None:
            batch = planning.default_batch_size(len(self.pretraining_ids))
        return PretrainingObjective(network, self.pretraining_ids or self.train, compute, max(1, batch // 2), seed)

    def objective(self, network: Classifier, plan: Plan, compute: Compute, seed: int) -> Objective:
        return ClassificationObjective(
            network, self.train, self.held_out, self.linear.held_logits, compute,
            plan.batch_size, seed, self.options.label_smoothing, self._label_weights(),
        )  # fmt: skip

    def finishing(self, network: Classifier, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        if self.held_out is None or not len(self.held_out):
            return None
        return ClassificationObjective(
            network, self.held_out, None, None, compute, plan.batch_size, seed, self.options.label_smoothing,
            self._label_weights(),
        )  # fmt: skip

    def member(self, number: int, plan: Plan) -> Member:
        """A further network, without a linear model of its own.

        It holds out another fold, unless there is --valid or what the first one held out is never learnt (`finish`).
        """
        assert isinstance(plan.network, ClassifierConfig)
        split = self.split
        if self.whole is not None and self.options.finish:
            held = stratified_folds(self.whole.labelled, self.options.val_fraction, number + 1)[number]
            split = self.whole.split(rest(len(self.whole.texts), held), held)
        linear = self.linear.of_member(split)
        if plan.members.seconds is not None:
            linear.reserve_time(plan.members.seconds)
        data = dataclasses.replace(self, split=split, linear=linear, first=self.first or plan.network)
        return Member(data, dataclasses.replace(plan, network=dataclasses.replace(plan.network, features=0)))

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        return {} if val_loss is None else {"val_loss": val_loss, "log_loss": val_loss}


class _AllLabelled(NamedTuple):
    """All labelled texts of the sources: as they were read, normalised, and as ids."""

    labelled: LabelledTexts
    texts: Sequence[bytes]
    ids: LabelledIds

    def split(self, train: Ints, held: Ints) -> LabelledSplit:
        """The training and the validation set, by the numbers of their texts."""
        return LabelledSplit(
            Selected(self.texts, train), self.ids.select(train),
            Selected(self.texts, held), self.ids.select(held) if len(held) else None,
        )  # fmt: skip


class _PreparedTexts(NamedTuple):
    """Labelled texts and those of --unlabelled, split and encoded: see `ClassificationData`."""

    codec: Codec
    split: LabelledSplit
    pretraining_ids: LabelledIds | None
    whole: _AllLabelled | None


class ClassificationTask:
    """See `base.Task`."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def examples(
        self, documents: list[Document], preparation: Preparation, report: LabelledReport | None = None
    ) -> Iterator[Example]:
        """Read the labelled texts of some documents."""
        return read_examples(documents, LabelledOptions.of(preparation.options), preparation.warn, report)

    def prepare(self, preparation: Preparation) -> ClassificationData | GenerativeClassificationData:
        options = preparation.options
        if options.tie_weights is not None and not options.generative:
            raise UserError("--tie-weights needs --generative: another classifier has labels as outputs, not tokens")
        normalise = TextNormaliser(options.lowercase, _stop_words(preparation))
        preparation.report("reading the labelled texts")
        report = LabelledReport()
        found = collect_examples(self._examples(preparation.documents, preparation, report), preparation.warn)
        _check_labels(preparation.network, found.labels)
        further = self._unlabelled(preparation, normalise, report.names)
        split_texts = self._split_by_valid if preparation.valid else self._split_by_fraction
        codec, split, pretraining_ids, whole = split_texts(preparation, found, normalise, further)
        counts = _counts(split, found, len(further))
        if isinstance(codec, LabelledCodec):
            return generative.prepare(
                preparation, codec, split.train, split.held_out, found.labels, normalise.stop_words,
                {**counts, **_text_sizes(split)}, report.names,
            )  # fmt: skip
        fractions = zip(found.labels, split.train.targets.mean(axis=0), strict=True)
        learns_held_out = options.finish and whole is not None
        return ClassificationData(
            codec,
            found.labels,
            found.multi_label,
            split,
            options,
            normalise.stop_words,
            counts,
            {label: float(fraction) for label, fraction in fractions},
            report.names,
            LinearFit(split, UnlabelledTexts(further, options.seed), found.multi_label, options.seed, learns_held_out),
            pretraining_ids,
            whole,
        )

    def _split_by_valid(
        self, preparation: Preparation, found: LabelledTexts, normalise: TextNormaliser, further: Sequence[bytes]
    ) -> _PreparedTexts:
        """Read the validation set of --valid, and encode both sets and the texts without labels."""
        held = collect_examples(self._examples(preparation.valid, preparation), preparation.warn, found.labels)
        if held.labels != found.labels:
            unknown = ", ".join(sorted(set(held.labels) - set(found.labels))[:3])
            raise DataError(f"--valid has labels that no training text has: {unknown}")
        texts, held_texts = _normalised(found, normalise), _normalised(held, normalise)
        codec = self._codec(preparation, texts, further, found.labels)
        encoded = _encode(preparation, codec, [texts, further], found)
        held_ids = _encode(preparation, codec, [held_texts], held) if len(held_texts) else None
        train = np.arange(len(texts))
        split = LabelledSplit(texts, encoded.select(train), held_texts, held_ids)
        return _PreparedTexts(codec, split, _pretraining_ids(encoded, train, len(texts), len(further)), None)

    def _split_by_fraction(
        self, preparation: Preparation, found: LabelledTexts, normalise: TextNormaliser, further: Sequence[bytes]
    ) -> _PreparedTexts:
        """Hold out a fraction of the texts, and encode all of them and the texts without labels."""
        (held,) = stratified_folds(found, preparation.options.val_fraction, 1)
        train, texts = rest(len(found), held), _normalised(found, normalise)
        codec = self._codec(preparation, Selected(texts, train), further, found.labels)
        encoded = _encode(preparation, codec, [texts, further], found)
        whole = _AllLabelled(found, texts, encoded)
        ids = _pretraining_ids(encoded, train, len(texts), len(further))
        return _PreparedTexts(codec, whole.split(train, held), ids, whole)

    def _examples(
        self, documents: list[Document], preparation: Preparation, report: LabelledReport | None = None
    ) -> Iterator[Example]:
        """`examples`, with progress: roughly, as markup isn't counted."""
        done, total = 0, sum(document.size for document in documents)
        for example in self.examples(documents, preparation, report):
            yield example
            preparation.limit.check()
            done += len(example.text)
            preparation.progress(min(done, total), total)

    def _unlabelled(
        self, preparation: Preparation, normalise: TextNormaliser, names: dict[str, list[str]]
    ) -> Sequence[bytes]:
        """The texts of --unlabelled, normalised, from the columns that the labelled ones have been read from."""
        options, found = preparation.options, SpillList()
        if not preparation.unlabelled:
            return found
        if options.generative or options.pretrain == 0:
            raise UserError("--unlabelled is for pretraining, which --generative and --pretrain 0 don't have")
        preparation.report("reading the texts without labels")
        columns = UnlabelledOptions.of_model(tuple(names.get("text", ())), options.text_column, sheet=options.sheet)
        for text in read_texts(preparation.unlabelled, columns, preparation.warn):
            preparation.limit.check()
            found.append(normalise(text))
        if not len(found):
            raise DataError("the sources of --unlabelled contain no text")
        return found

    def _codec(
        self, preparation: Preparation, texts: Sequence[bytes], further: Sequence[bytes], labels: tuple[str, ...]
    ) -> Codec:
        preparation.report("learning the vocabulary")
        if len(further):
            texts = Joined(texts, further)
        if preparation.options.generative:
            return generative.labelled_codec(lambda: self._text_codec(preparation, texts), preparation, labels)
        if preparation.start is not None and isinstance(preparation.start.network, GenerativeConfig):
            raise ModelError("cannot train a discriminative classifier from a generative model; add --generative")
        return self._text_codec(preparation, texts)

    def _text_codec(self, preparation: Preparation, texts: Sequence[bytes]) -> Codec:
        if preparation.codec is not None:
            assert not isinstance(preparation.codec, Scaler)
            return preparation.codec
        options, source = preparation.options, _TextList(texts, preparation.options.seed)
        if preparation.start is not None:
            return extend_codec(preparation.start.codec, source, preparation.limit)
        return fit_codec(
            options.tokenizer_for(self.spec.name), source, options.vocab_size, _VOCABULARY_BYTES, preparation.limit
        )

    def load_cached(
        self, metadata: Mapping[str, Any], codec: Codec | Scaler
    ) -> ClassificationData | GenerativeClassificationData | None:
        """None: the sources are read again."""
        return None

    def transfer(self, network: Classifier | GenerativeClassifier, start: Checkpoint) -> None:
        """Copy the embedding and the recurrent stacks, and the head if the labels are the same.

        A model for text has one stack, which reads forwards. Weights without a counterpart stay as they are.
        """
        if isinstance(network, GenerativeClassifier):
            generative.transfer(network, start)
            return
        weights = start.weights()
        from_classifier = isinstance(start.network, ClassifierConfig)
        same_labels = isinstance(start.network, ClassifierConfig) and start.network.labels == network.config.labels
        for name, weight in network.state_dict().items():
            old = weights.get(name)
            if old is None and not from_classifier and network.config.directions[0] == "forward":
                old = weights.get(name.removeprefix("readers.0."))
            shared = name == "embedding" or name.startswith("readers.") or (same_labels and name.startswith("head_"))
            if old is not None and shared and old.shape[1:] == tuple(weight.shape[1:]):
                with torch.no_grad():
                    weight[: len(old)] = torch.from_numpy(old)

    def network(self, config: AnyNetworkConfig) -> Classifier | GenerativeClassifier:
        network: Classifier | GenerativeClassifier = resolve(network_of(config).module)(config)
        return network


def _stop_words(preparation: Preparation) -> tuple[str, ...]:
    """The stop words of a new run, or of the resumed one, whose file may be another by now."""
    if isinstance(preparation.network, (ClassifierConfig, GenerativeConfig)):
        return preparation.network.stop_words
    return () if preparation.options.stop_words is None else read_stop_words(preparation.options.stop_words)


def _check_labels(resumed: AnyNetworkConfig | None, labels: tuple[str, ...]) -> None:
    """Raise `UserError` if the network of a resumed run has other labels."""
    if isinstance(resumed, (ClassifierConfig, GenerativeConfig)) and resumed.labels != labels:
        raise UserError(
            "the sources don't have the labels that the run began with: now "
            f"{', '.join(labels[:5])}, then {', '.join(resumed.labels[:5])}"
        )


def _pretraining_ids(encoded: LabelledIds, train: Ints, labelled: int, further: int) -> LabelledIds | None:
    """The training texts and the `further` texts, which follow all `labelled` ones; None without further texts."""
    if not further:
        return None
    rows = np.concatenate([train, np.arange(labelled, labelled + further)])
    return LabelledIds(encoded.ids, encoded.starts, np.zeros((len(rows), 0), dtype=np.float32), rows)


def _counts(split: LabelledSplit, found: LabelledTexts, further: int) -> dict[str, int]:
    """Counts of both sets, for config.json."""
    return {
        "train_tokens": split.train.tokens,
        "held_out_tokens": 0 if split.held_out is None else split.held_out.tokens,
        "train_texts": len(split.texts),
        "held_out_texts": len(split.held_texts),
        **({"unlabelled_texts": further} if further else {}),
        "duplicates": found.duplicates,
        "conflicts": found.conflicts,
    }


def _text_sizes(split: LabelledSplit) -> dict[str, int]:
    """The bytes and characters of both sets, for config.json of a generative model."""
    sizes = {}
    for part, texts in (("train", split.texts), ("held_out", split.held_texts)):
        sizes[f"{part}_bytes"] = sum(map(len, texts))
        sizes[f"{part}_characters"] = sum(len(text.decode("utf-8", "replace")) for text in texts)
    return sizes


def _normalised(texts: LabelledTexts, normalise: TextNormaliser) -> Sequence[bytes]:
    if not normalise.lowercase and not normalise.stop_words:
        return texts.strings()
    found = SpillList()
    for text in texts.strings():
        found.append(normalise(text))
    return found


@dataclass(frozen=True)
class _TextList:
    """See `vocabulary.TextSource`. A sample is taken in random order."""

    texts: Sequence[bytes]
    seed: int
    order: Sequence[int] | None = None

    @property
    def size(self) -> int:
        return sum(len(self.texts[number]) for number in self._numbers())

    def sample(self, size: int) -> _TextList:
        order = np.random.Generator(np.random.Philox(key=self.seed)).permutation(len(self.texts))
        total = 0
        for index, number in enumerate(order):
            total += len(self.texts[number])
            if total > size:
                order = order[: index + 1]
                break
        return _TextList(self.texts, self.seed, order.tolist())

    def chunks(self) -> Iterator[bytes]:
        for number in self._numbers():
            yield self.texts[number]
            yield END_OF_DOCUMENT

    def _numbers(self) -> Sequence[int]:
        return range(len(self.texts)) if self.order is None else self.order


def _encode(
    preparation: Preparation, codec: Codec, parts: Sequence[Sequence[bytes]], labelled: LabelledTexts
) -> LabelledIds:
    """Encode texts. The first have labels; `targets` has no rows for the others."""
    preparation.report(f"encoding {sum(map(len, parts)):,} texts")
    ids = SpillArray(id_dtype(codec.vocab_size))
    sizes = array("q")

    def read() -> Iterator[bytes]:
        done = 0
        for text in itertools.chain(*parts):
            yield text
            preparation.limit.check()
            done += len(text)
            preparation.progress(done, None)

    for batch in encode_batches(codec, batch_by_size(read()), preparation.options.threads, preparation.limit.check):
        ids.append(np.concatenate(batch))
        sizes.extend(map(len, batch))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return LabelledIds(ids.array(), starts, labelled.targets().astype(np.float32))
