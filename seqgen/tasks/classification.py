"""Classification: predict the label, or the labels, of a text."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from seqgen.corpus.labelled.texts import Joined, Selected, rest, stratified_folds
from seqgen.corpus.labelled.unlabelled import UnlabelledOptions, read_texts
from seqgen.corpus.series.scaling import Scaler
from seqgen.corpus.sources import Document
from seqgen.corpus.spill import SpillArray, SpillList
from seqgen.errors import DataError, ModelError, UserError
from seqgen.model.classifier import Classifier
from seqgen.model.generative import GenerativeClassifier
from seqgen.model.ngrams import Bags, Ngrams, concat_bags
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TaskSpec, network_of
from seqgen.tasks import generative
from seqgen.tasks.base import Member, NothingFurther, Preparation
from seqgen.tasks.generative import GenerativeClassificationData
from seqgen.tasks.vocabulary import extend_codec, fit_codec
from seqgen.tokenizers import END_OF_DOCUMENT, Codec
from seqgen.tokenizers.labelled import LabelledCodec
from seqgen.tokenizers.normalise import TextNormaliser, read_stop_words
from seqgen.tokenizers.workers import batch_by_size, encode_batches
from seqgen.training import linear_model
from seqgen.training.device import Compute
from seqgen.training.latent_space import LatentSpace, soft_labels
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

_MAX_WEIGHTS = 1 << 25  # of the linear model: 128 MiB, and twelve times that while it is fitted
_MANY_LABELS, _MAX_WEIGHTS_OF_MANY = 256, 1 << 22  # where weights are many because labels are
_LINEAR_SHARE = 0.4  # of the time that is left, for the linear model
_MAX_NGRAMS = 60_000_000  # in the texts that the linear model is fitted to
_MANY_FURTHER = 4  # texts without labels for each with one, from which on they get soft labels
_LABELLED_WEIGHT = 5.0  # of a text with a label in the loss of the linear model, beside one with a soft label
_VOCABULARY_BYTES = 8_000_000  # of texts to which a vocabulary is fitted


@dataclass(frozen=True)
class ClassificationData(NothingFurther):
    """See `base.Data`."""

    codec: Codec
    labels: tuple[str, ...]
    multi: bool  # a text may have several labels
    texts: Sequence[bytes]  # the training set, normalised
    held_texts: Sequence[bytes]  # the validation set, normalised
    train: LabelledIds
    held_out: LabelledIds | None
    options: TrainOptions
    stop_words: tuple[str, ...]
    counts: dict[str, int]
    label_fractions: dict[str, float]  # of the training texts that have each label
    has_own_valid: bool  # the validation set is --valid, not a part of the sources
    columns: dict[str, list[str]] = field(default_factory=dict)  # names of the columns of text and label
    bags: list[Bags] = field(default_factory=list)  # n-grams of `_linear_texts`, until the linear model is fitted
    linear_deadline: list[float] = field(default_factory=list)  # `time.monotonic`, once the run is planned
    held_linear: list[Tensor] = field(default_factory=list)  # its logits of the validation set, once it is fitted
    further: Sequence[bytes] = ()  # the texts of --unlabelled, normalised
    further_bags: list[Bags] = field(default_factory=list)  # their n-grams, once they are counted
    latent: list[_Latent] = field(default_factory=list)  # what gives them soft labels, once it is computed
    reading: LabelledIds | None = None  # that pretraining reads, if it isn't the training set
    whole: _Whole | None = None  # what both sets were split from; None for a validation set of its own
    first: ClassifierConfig | None = None  # of a further network: the first one's, which has the linear model

    id_streams: ClassVar[tuple[IdStream, ...]] = ()
    corrects_temperature: ClassVar[bool] = False
    cross_fits: ClassVar[bool] = True

    @property
    def tokens(self) -> int:
        return self.train.tokens

    def summary(self) -> str:
        labels = f"{len(self.labels):,} labels{', several per text' if self.multi else ''}"
        return (
            f"{len(self.train):,} texts with {labels} to train on ({self.tokens:,} tokens, vocabulary of "
            f"{self.codec.vocab_size:,}), {len(self.held_texts):,} held out"
            + (f", {self.counts['unlabelled_texts']:,} without labels" if self.reading is not None else "")
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
            most = _MAX_WEIGHTS if len(self.labels) <= _MANY_LABELS else _MAX_WEIGHTS_OF_MANY
            features = len(self._buckets(Ngrams(options.ngrams, affixes), most // len(self.labels)))
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
            read=None if self.reading is None else self.reading.tokens,
            read_texts=None if self.reading is None else len(self.reading),
        )
        plan = planning.make_plan(options, corpus, compute, spent)
        if plan.schedule.seconds is not None:
            left = plan.schedule.seconds - spent
            self.linear_deadline[:] = [time.monotonic() + _LINEAR_SHARE * max(0.0, left)]
        return plan

    def prepare_network(self, network: Classifier) -> None:
        """Fit the linear model.

        The validation set chooses its penalty. It is then fitted to the validation set too, unless that is never
        learnt; its logits of the validation set stay those from before. For a further network only those logits are
        needed.
        """
        config = self.first or network.config
        with torch.no_grad():
            fractions = self._label_shares().clamp(1e-6, 1 - 1e-6)
            network.prior.copy_(torch.logit(fractions) if self.multi else fractions.log())
            network.head_bias.copy_(network.prior)
        if not config.features or self.held_linear:
            return
        ngrams = Ngrams(config.ngrams, config.affixes)
        found, targets = self._train_bags(ngrams), torch.from_numpy(self.train.targets[self._linear_texts(ngrams)])
        began = time.monotonic()
        further = self._soft_labelled(found, targets, ngrams)
        keys = self._buckets(ngrams, config.features)
        self.bags.clear()
        weights = self._label_weights()
        each = None if weights is None else torch.from_numpy(weights)
        now = time.monotonic()
        # The fit has as long as soft labels took, whatever is left: without it they would be for nothing.
        deadline = max(self.linear_deadline[0], now + (now - began)) if self.linear_deadline else math.inf

        def problem(found: Bags, targets: Tensor) -> linear_model.LogisticRegression:
            importance = None
            if further is not None:
                importance = torch.cat([torch.full((len(targets),), _LABELLED_WEIGHT), torch.ones(len(further.labels))])
                importance /= importance.mean()
                found, targets = concat_bags(found, further.bags), torch.cat([targets, further.labels])
            return linear_model.LogisticRegression(found, keys, targets, self.multi, each, deadline, importance)

        fitted = problem(found, targets)
        if self.held_out is None:
            if self.first is None:
                network.set_linear_model(keys, *fitted.linear(fitted.fit_moderate_penalty()))
            return
        held, held_targets = ngrams.bags(self.held_texts), torch.from_numpy(self.held_out.targets)
        solution, logits = fitted.fit_best_penalty(held, held_targets)
        self.held_linear[:] = [logits]
        if self.first is not None:
            return
        if self.options.finish and not self.has_own_valid:
            fitted = problem(concat_bags(found, held), torch.cat([targets, held_targets]))
            solution = fitted.refit(solution)
        network.set_linear_model(keys, *fitted.linear(solution))

    def _soft_labelled(self, found: Bags, targets: Tensor, ngrams: Ngrams) -> _SoftLabelled | None:
        """The n-grams of the texts without labels, with soft labels; None if those with labels are not few beside them.

        Args:
            found, targets: of the texts with labels.
        """
        if not self._labels_are_few():
            return None
        if not self.latent:
            others = self._further_bags(ngrams)
            space = LatentSpace(concat_bags(found, others), self.options.seed)
            self.latent.append(_Latent(space, others, space.points(others)))
        latent = self.latent[0]
        points = latent.space.points(found)
        return _SoftLabelled(latent.bags, soft_labels(points, targets, latent.points, self.multi))

    def _labels_are_few(self) -> bool:
        return len(self.train) * _MANY_FURTHER <= len(self.further)

    def _buckets(self, ngrams: Ngrams, most: int) -> npt.NDArray[np.int64]:
        """The buckets of the linear model."""
        found, texts = self._train_bags(ngrams), len(self.train)
        if self._labels_are_few():
            found, texts = concat_bags(found, self._further_bags(ngrams)), texts + len(self.further)
        return linear_model.frequent_buckets(found, texts, most)

    def _further_bags(self, ngrams: Ngrams) -> Bags:
        """N-grams of the texts without labels, as many as memory allows, counted once."""
        if not self.further_bags:
            sizes = np.fromiter(map(len, self.further), dtype=np.int64, count=len(self.further))
            count = int(np.searchsorted(np.cumsum(sizes // 4) * ngrams.each_token, _MAX_NGRAMS, side="right"))
            self.further_bags.append(ngrams.bags(self.further[: max(count, 1)]))
        return self.further_bags[0]

    def _train_bags(self, ngrams: Ngrams) -> Bags:
        """N-grams of `_linear_texts`, counted once."""
        if not self.bags:
            self.bags.append(ngrams.bags([self.texts[number] for number in self._linear_texts(ngrams)]))
        return self.bags[0]

    def _linear_texts(self, ngrams: Ngrams) -> npt.NDArray[np.int64]:
        """Numbers of the training texts that the linear model is fitted to: all, or as many as memory allows."""
        sizes = self.train.lengths
        if int(sizes.sum()) * ngrams.each_token <= _MAX_NGRAMS:
            return np.arange(len(self.train))
        order = np.random.Generator(np.random.Philox(key=self.options.seed)).permutation(len(self.train))
        count = int(np.searchsorted(np.cumsum(sizes[order]) * ngrams.each_token, _MAX_NGRAMS))
        return np.sort(order[: max(count, 1)])

    def _mean_size(self) -> float:
        """The mean size of the training texts in bytes, estimated from a thousand of them."""
        some = np.linspace(0, len(self.texts) - 1, min(len(self.texts), 1000)).astype(int)
        return float(np.mean([len(self.texts[int(number)]) for number in some])) if len(some) else 0.0

    def _label_weights(self) -> npt.NDArray[np.float32] | None:
        """With --balance, the weight of each label in the loss, as if all were equally common."""
        if not self.options.balance:
            return None
        counts = self.train.targets.sum(0)
        present = counts > 0
        weights = np.where(present, counts.sum() / np.maximum(counts, 1) / max(present.sum(), 1), 1.0)
        return weights.astype(np.float32)

    def _label_shares(self) -> Tensor:
        """The share of the training texts that has each label, where each text counts as much as it does in the loss.

        They are the probabilities of a text without content: what is likeliest if nothing is known of it.
        """
        targets, weights = torch.from_numpy(self.train.targets), self._label_weights()
        if weights is None:
            return targets.mean(0)
        of_texts = (targets * torch.from_numpy(weights)).sum(1)
        return (targets * of_texts[:, None]).sum(0) / of_texts.sum().clamp(min=1e-6)

    def pretraining(self, network: Classifier, plan: Plan, compute: Compute, seed: int) -> Objective | None:
        batch = plan.batch_size
        if self.reading is not None and self.options.batch_size is None:
            batch = planning.default_batch_size(len(self.reading))
        return PretrainingObjective(network, self.reading or self.train, compute, max(1, batch // 2), seed)

    def objective(self, network: Classifier, plan: Plan, compute: Compute, seed: int) -> Objective:
        return ClassificationObjective(
            network, self.train, self.held_out, self.held_linear[0] if self.held_linear else None, compute,
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
        data = dataclasses.replace(
            self, first=self.first or plan.network, bags=[], held_linear=list(self.held_linear), linear_deadline=[]
        )
        options = self.options
        if self.whole is not None and options.finish:
            held = stratified_folds(self.whole.labelled, options.val_fraction, number + 1)[number]
            train = rest(len(self.whole.texts), held)
            data = dataclasses.replace(
                data,
                texts=Selected(self.whole.texts, train),
                held_texts=Selected(self.whole.texts, held),
                train=self.whole.ids.select(train),
                held_out=self.whole.ids.select(held) if len(held) else None,
                held_linear=[],
            )
        if plan.members.seconds is not None:
            data.linear_deadline[:] = [time.monotonic() + _LINEAR_SHARE * plan.members.seconds]
        return Member(data, dataclasses.replace(plan, network=dataclasses.replace(plan.network, features=0)))

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        return {} if val_loss is None else {"val_loss": val_loss, "log_loss": val_loss}


class _Latent(NamedTuple):
    """The latent space of all texts, and in it those without labels: their n-grams and points."""

    space: LatentSpace
    bags: Bags
    points: Tensor


class _SoftLabelled(NamedTuple):
    """N-grams of texts, and probabilities of their labels, shape (texts, labels)."""

    bags: Bags
    labels: Tensor


class _Whole(NamedTuple):
    """All labelled texts of the sources: as they were read, normalised, and as ids."""

    labelled: LabelledTexts
    texts: Sequence[bytes]
    ids: LabelledIds


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
        resumed = preparation.network
        if isinstance(resumed, (ClassifierConfig, GenerativeConfig)):
            stop_words = resumed.stop_words  # their file may be another by now
        else:
            stop_words = () if options.stop_words is None else read_stop_words(options.stop_words)
        normalise = TextNormaliser(options.lowercase, stop_words)
        preparation.report("reading the labelled texts")
        report = LabelledReport()
        found = collect_examples(self._examples(preparation.documents, preparation, report), preparation.warn)
        if isinstance(resumed, (ClassifierConfig, GenerativeConfig)) and resumed.labels != found.labels:
            raise UserError(
                "the sources don't have the labels that the run began with: now "
                f"{', '.join(found.labels[:5])}, then {', '.join(resumed.labels[:5])}"
            )
        further, whole = self._unlabelled(preparation, normalise, report.names), None
        if preparation.valid:
            held = collect_examples(self._examples(preparation.valid, preparation), preparation.warn, found.labels)
            if held.labels != found.labels:
                unknown = ", ".join(sorted(set(held.labels) - set(found.labels))[:3])
                raise DataError(f"--valid has labels that no training text has: {unknown}")
            texts, held_texts = _normalised(found, normalise), _normalised(held, normalise)
            codec = self._codec(preparation, texts, further, found.labels)
            every, others = texts, np.arange(len(texts))
            encoded = _encode(preparation, codec, [texts, further], found)
            held_ids = _encode(preparation, codec, [held_texts], held) if len(held_texts) else None
        else:
            (chosen,) = stratified_folds(found, options.val_fraction, 1)
            others, every = rest(len(found), chosen), _normalised(found, normalise)
            texts, held_texts = Selected(every, others), Selected(every, chosen)
            codec = self._codec(preparation, texts, further, found.labels)
            encoded = _encode(preparation, codec, [every, further], found)
            whole = _Whole(found, every, encoded)
            held_ids = encoded.select(chosen) if len(chosen) else None
        ids = encoded.select(others)
        reading = None
        if len(further):
            rows = np.concatenate([others, np.arange(len(every), len(every) + len(further))])
            reading = LabelledIds(encoded.ids, encoded.starts, np.zeros((len(rows), 0), dtype=np.float32), rows)
        counts = {
            "train_tokens": ids.tokens,
            "held_out_tokens": 0 if held_ids is None else held_ids.tokens,
            "train_texts": len(texts),
            "held_out_texts": len(held_texts),
            **({"unlabelled_texts": len(further)} if len(further) else {}),
            "duplicates": found.duplicates,
            "conflicts": found.conflicts,
        }
        if isinstance(codec, LabelledCodec):
            for part, part_texts in (("train", texts), ("held_out", held_texts)):
                counts[f"{part}_bytes"] = sum(map(len, part_texts))
                counts[f"{part}_characters"] = sum(len(text.decode("utf-8", "replace")) for text in part_texts)
            return generative.prepare(
                preparation, codec, ids, held_ids, found.labels, normalise.stop_words, counts, report.names
            )
        fractions = zip(found.labels, ids.targets.mean(axis=0), strict=True)
        return ClassificationData(
            codec,
            found.labels,
            found.multi_label,
            texts,
            held_texts,
            ids,
            held_ids,
            options,
            normalise.stop_words,
            counts,
            {label: float(fraction) for label, fraction in fractions},
            bool(preparation.valid),
            report.names,
            whole=whole,
            further=further,
            reading=reading,
        )

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
        columns = UnlabelledOptions(options.text_column, tuple(names.get("text", ())), options.sheet)
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
