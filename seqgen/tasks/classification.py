"""Classification: the label, or the labels, of a text."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from seqgen import tokenizers
from seqgen.checkpoint import Checkpoint
from seqgen.config import AnyClassifierConfig, ClassifierConfig, GenerativeConfig, TrainOptions
from seqgen.corpus.ids import id_dtype
from seqgen.corpus.labelled.read import Example, LabelledOptions, LabelledTexts, collect_examples, read_examples, stratified_split
from seqgen.corpus.sources import Document
from seqgen.corpus.spill import SpillArray, SpillList
from seqgen.errors import DataError, ModelError
from seqgen.model.classifier import Classifier
from seqgen.model.generative import GenerativeClassifier
from seqgen.model.ngrams import BUCKETS, Bags, bags, concat_bags
from seqgen.tasks import generative
from seqgen.tasks.base import HeadlineMetric, Preparation
from seqgen.tasks.generative import GenerativeClassificationData
from seqgen.tokenizers import END_OF_DOCUMENT, Codec
from seqgen.tokenizers.normalise import TextNormaliser, read_stop_words
from seqgen.tokenizers.workers import batch_by_size, encode_batches
from seqgen.training import linear_model as wide
from seqgen.training.device import Compute
from seqgen.training.objectives.classification import ClassificationObjective, LabelledIds
from seqgen.training.objectives.pretraining import PretrainingObjective
from seqgen.training.plans import classification as labelled_plan
from seqgen.training.plans.classification import LabelledCorpusStats
from seqgen.training.plans.language import Plan, SpeedProbe

_MOST_WEIGHTS = 1 << 25  # of the linear model: 128 MiB
_MOST_FEATURES = 60_000_000  # n-grams that the linear model is fitted to; of more texts it sees a part
_FITTED_CHARACTERS = 8_000_000  # that the vocabulary of subwords is learnt from


@dataclass(frozen=True)
class ClassificationData:
    """See `task.Data`. `texts` and `held` are the prepared texts as bytes."""

    codec: Codec
    labels: tuple[str, ...]
    multi: bool
    texts: Sequence[bytes]
    held: Sequence[bytes]
    train: LabelledIds
    held_out: LabelledIds | None
    options: TrainOptions
    stop_words: tuple[str, ...]
    counts: dict[str, int]
    shares: dict[str, float]  # of the texts to train on that have each label
    given: bool  # whether the held-out texts are a set of their own, not cut from the others
    kept: list[Bags] = field(default_factory=list)  # n-grams, until the linear model is fitted
    held_wide: list[Tensor] = field(default_factory=list)  # what it makes of the held-out texts, once it is

    @property
    def tokens(self) -> int:
        return len(self.train.ids)

    def summary(self) -> str:
        kinds = f"{len(self.labels):,} labels{', several a text' if self.multi else ''}"
        return (
            f"{len(self.train):,} texts of {kinds} to train on ({self.tokens:,} tokens of "
            f"{self.codec.vocab_size:,} kinds), {len(self.held):,} held out"
        )

    def metadata(self) -> dict[str, Any]:
        return {**self.counts, "label_shares": self.shares}

    def plan(self, options: TrainOptions, compute: Compute, speed: SpeedProbe, spent: float) -> Plan:
        lengths = self.train.lengths
        features = 0
        if options.ngrams:
            found = self._train_bags(options.ngrams)
            features = len(wide.frequent_buckets(found, len(self.train), _MOST_WEIGHTS // len(self.labels)))
        corpus = LabelledCorpusStats(
            texts=len(self.train),
            tokens=self.tokens,
            labelled=int(self.train.window_lengths.sum()),
            longest=max(1, int(lengths.max(initial=1))),
            vocab_size=self.codec.vocab_size,
            labels=self.labels,
            multi=self.multi,
            features=features,
            stop_words=self.stop_words,
        )
        return labelled_plan.make_plan(options, corpus, compute, spent)

    def prepare_network(self, network: Classifier) -> None:
        """Fits the linear model: as strongly held to zero as the held-out texts say, then to them as well. What is said
        of them stays what was said before."""
        config = network.config
        with torch.no_grad():
            share = torch.from_numpy(self.train.targets).mean(0).clamp(1e-6, 1 - 1e-6)
            network.prior.copy_(torch.logit(share) if self.multi else share.log())
            network.head_bias.copy_(network.prior)
        if not config.features:
            return
        found = self._train_bags(config.ngrams)
        keys = wide.frequent_buckets(found, len(self.train), config.features)
        weights = self._weights()
        each = None if weights is None else torch.from_numpy(weights)
        targets = torch.from_numpy(self.train.targets[self._some()])
        problem = wide.LogisticRegression(found, keys, targets, self.multi, each)
        self.kept.clear()
        if self.held_out is None:
            fitted = problem.linear(problem.fit_moderate_penalty())
        else:
            held, held_targets = bags_of(config, self.held), torch.from_numpy(self.held_out.targets)
            solution, logits = problem.fit_best_penalty(held, held_targets)
            self.held_wide[:] = [logits]
            if not self.given:
                problem = wide.LogisticRegression(
                    concat_bags(found, held), keys, torch.cat([targets, held_targets]), self.multi, each
                )
                solution = problem.refit(solution)
            fitted = problem.linear(solution)
        network.set_linear_model(keys, fitted.weight, fitted.bias)

    def _train_bags(self, order: int) -> Bags:
        """The n-grams of the texts that the linear model is fitted to; kept until it is."""
        if not self.kept:
            self.kept.append(bags([self.texts[number] for number in self._some()], order, BUCKETS))
        return self.kept[0]

    def _some(self) -> Any:
        """Numbers of the texts that the linear model is fitted to: all, where memory allows."""
        sizes = self.train.lengths
        if int(sizes.sum()) * self.options.ngrams <= _MOST_FEATURES:
            return np.arange(len(self.train))
        order = np.random.Generator(np.random.Philox(key=self.options.seed)).permutation(len(self.train))
        fits = int(np.searchsorted(np.cumsum(sizes[order]) * self.options.ngrams, _MOST_FEATURES))
        return np.sort(order[: max(fits, 1)])

    def _weights(self) -> Any:
        """What each label counts with --balance: as if all were equally common."""
        if not self.options.balance:
            return None
        counts = self.train.targets.sum(0)
        present = counts > 0
        weights = np.where(present, counts.sum() / np.maximum(counts, 1) / max(present.sum(), 1), 1.0)
        return weights.astype(np.float32)

    def pretraining(self, network: Classifier, plan: Plan, compute: Compute, seed: int) -> PretrainingObjective:
        return PretrainingObjective(network, self.train, compute, max(1, plan.batch_size // 2), seed)

    def objective(self, network: Classifier, plan: Plan, compute: Compute, seed: int) -> ClassificationObjective:
        return ClassificationObjective(
            network, self.train, self.held_out, self.held_wide[0] if self.held_wide else None, compute,
            plan.batch_size, seed, self.options.label_smoothing, self._weights(),
        )  # fmt: skip

    def metrics(self, val_loss: float | None) -> dict[str, float]:
        return {} if val_loss is None else {"val_loss": val_loss, "log_loss": val_loss}


class ClassificationTask:
    """See `task.Task`."""

    name: ClassVar[str] = "classify"
    tokenizers: ClassVar[tuple[str, ...]] = ("subword", "char", "byte")
    init_from_tasks: ClassVar[tuple[str, ...]] = ("classify", "text")
    headline: ClassVar[HeadlineMetric] = HeadlineMetric("accuracy", "accuracy")
    needs_float32: ClassVar[bool] = False

    def prepare(self, preparation: Preparation) -> ClassificationData | GenerativeClassificationData:
        options = preparation.options
        preparer = TextNormaliser(options.lowercase, read_stop_words(options.stop_words) if options.stop_words else ())
        layout = LabelledOptions(options.text_column, options.label_column)
        preparation.report("reading the labelled texts")
        found = collect_examples(_examples(preparation, preparation.documents, layout), preparation.warn)
        if preparation.valid:
            train = found
            held = collect_examples(_examples(preparation, preparation.valid, layout), preparation.warn, found.labels)
            if held.labels != train.labels:
                strange = ", ".join(sorted(set(held.labels) - set(train.labels))[:3])
                raise DataError(f"--valid has labels that the texts to train on have not: {strange}")
        else:
            train, held = stratified_split(found, options.val_fraction, options.seed)
        texts, held_texts = _prepared(train, preparer), _prepared(held, preparer)
        preparation.report("learning the vocabulary")
        codec = _fit(preparation, texts, train.labels)
        preparation.report(f"encoding {len(texts) + len(held_texts):,} texts")
        ids = _encoded(preparation, codec, texts, train)
        held_ids = _encoded(preparation, codec, held_texts, held) if len(held_texts) else None
        counts = {
            "train_tokens": len(ids.ids),
            "held_out_tokens": 0 if held_ids is None else len(held_ids.ids),
            "train_texts": len(texts),
            "held_out_texts": len(held_texts),
            "duplicates": found.duplicates,
            "conflicts": found.conflicts,
        }
        if options.generative:
            for part, kept in (("train", texts), ("held_out", held_texts)):
                counts[f"{part}_bytes"] = sum(map(len, kept))
                counts[f"{part}_characters"] = sum(len(text.decode("utf-8", "replace")) for text in kept)
            return generative.prepare(preparation, codec, ids, held_ids, train.labels, preparer.stop_words, counts)
        shares = ids.targets.mean(axis=0)
        shares_by_label = {label: float(share) for label, share in zip(train.labels, shares, strict=True)}
        return ClassificationData(
            codec,
            train.labels,
            train.multi_label,
            texts,
            held_texts,
            ids,
            held_ids,
            options,
            preparer.stop_words,
            counts,
            shares_by_label,
            bool(preparation.valid),
        )

    def load_cached(self, metadata: dict[str, Any], codec: Codec) -> None:
        """Nothing is kept in the cache: the sources are read again."""
        return

    def transfer(self, network: Classifier | GenerativeClassifier, start: Checkpoint) -> None:
        """The embedding and the recurrent stacks; of a model for text, which reads forwards, one stack. What there is
        no room for, and labels that are others, are left as they were."""
        if isinstance(network, GenerativeClassifier):
            generative.transfer(network, start)
            return
        weights = start.weights()
        own = network.state_dict()
        same = isinstance(start.network, ClassifierConfig) and start.network.labels == network.config.labels
        for name, weight in own.items():
            old = weights.get(name)
            if old is None and start.task == "text" and network.config.directions[0] == "forward":
                old = weights.get(name.removeprefix("readers.0."))
            shared = name == "embedding" or name.startswith("readers.") or (same and name.startswith("head_"))
            if old is not None and shared and old.shape[1:] == tuple(weight.shape[1:]):
                with torch.no_grad():
                    weight[: len(old)] = torch.from_numpy(old)

    def network(self, config: AnyClassifierConfig) -> Classifier | GenerativeClassifier:
        return GenerativeClassifier(config) if isinstance(config, GenerativeConfig) else Classifier(config)


TASK = ClassificationTask()


def bags_of(config: ClassifierConfig, texts: Sequence[bytes]) -> Bags:
    """What the linear model sees of prepared texts."""
    return bags(texts, config.ngrams, BUCKETS)


def _examples(preparation: Preparation, documents: list[Document], layout: LabelledOptions) -> Iterator[Example]:
    """The labelled texts; tells how far it is, near enough: what is not text is not counted."""
    done, of = 0, sum(document.size for document in documents)
    for example in read_examples(documents, layout, preparation.warn):
        yield example
        done += len(example.text)
        preparation.progress(min(done, of), of)


def _prepared(texts: LabelledTexts, preparer: TextNormaliser) -> Sequence[bytes]:
    """The texts as the network and the linear model read them."""
    if not preparer.lowercase and not preparer.stop_words:
        return texts.strings()
    found = SpillList()
    for text in texts.strings():
        found.append(preparer(text))
    return found


def _fit(preparation: Preparation, texts: Sequence[bytes], labels: tuple[str, ...]) -> Any:
    if preparation.options.generative:
        return generative.labelled_codec(lambda: _fit_text(preparation, texts), preparation, labels)
    if preparation.start is not None and isinstance(preparation.start.network, GenerativeConfig):
        raise ModelError("--init-from is a generative model, which only --generative can go on with")
    return _fit_text(preparation, texts)


def _fit_text(preparation: Preparation, texts: Sequence[bytes]) -> Codec:
    if preparation.codec is not None:
        return cast(Codec, preparation.codec)
    if preparation.start is not None:
        return preparation.start.codec.extend(_chunks(texts))
    options = preparation.options
    kind = options.tokenizer or ("subword" if options.vocab_size else ClassificationTask.tokenizers[0])
    some = _sample(texts, options.seed)
    extra: dict[str, Any] = {}
    if kind == "subword":
        share = sum(len(texts[number]) for number in some) / max(1, sum(map(len, texts)))
        extra = {"vocab_size": options.vocab_size, "share": share}
    return tokenizers.fit(kind, _chunks(texts[number] for number in some), **extra)


def _sample(texts: Sequence[bytes], seed: int) -> Sequence[int]:
    """Numbers of texts: all, or as many, by chance, as teach a vocabulary what it can learn."""
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(texts))
    total = 0
    for place, number in enumerate(order):
        total += len(texts[number])
        if total > _FITTED_CHARACTERS:
            return order[: place + 1].tolist()
    return order.tolist()


def _chunks(texts: Iterable[bytes]) -> Iterator[bytes]:
    for text in texts:
        yield text
        yield END_OF_DOCUMENT


def _encoded(preparation: Preparation, codec: Codec, texts: Sequence[bytes], labelled: LabelledTexts) -> LabelledIds:
    ids = SpillArray(id_dtype(codec.vocab_size))
    sizes = array("q")

    def passing() -> Iterator[bytes]:
        done = 0
        for text in texts:
            yield text
            done += len(text)
            preparation.progress(done, None)

    for batch in encode_batches(codec, batch_by_size(passing()), preparation.options.threads):
        ids.append(np.concatenate(batch))
        sizes.extend(map(len, batch))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return LabelledIds(ids.array(), starts, labelled.targets().astype(np.float32))
