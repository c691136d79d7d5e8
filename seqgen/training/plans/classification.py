"""The plan of a classifier: network size, learning rate and duration of pretraining and training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from seqgen.config import ClassifierConfig, TrainOptions, parse_duration
from seqgen.errors import DataError
from seqgen.model.chunks import chunk_texts
from seqgen.model.classifier import Classifier
from seqgen.model.dropout import step_generator
from seqgen.model.weight_shapes import parameter_count
from seqgen.specs.cells import CELLS
from seqgen.training.device import Compute
from seqgen.training.objectives.classification import text_batches_per_epoch
from seqgen.training.plans.base import DEFAULT_SECONDS, Members, Plan, saving_seconds, steps_for_epochs
from seqgen.training.plans.speed import probe_patience, undisturbed_seconds
from seqgen.training.schedule import Schedule

_SIZES = (32, 64, 128, 192, 256, 384, 512)
_AFFIX, _SHORT_TEXT = 5, 500  # characters; bytes, on average: longer texts have words enough of their own
_STRETCH = 200  # ids in a chunk: some sentences
_DEFAULT_EPOCHS = 12.0  # more help little: the best step comes early, and is kept
_MOST_EPOCHS = 30.0  # even with a larger budget
_ENOUGH_EPOCHS = 3.0  # a network so wide that it manages fewer learns less than a narrower one
_MEMBER_EPOCHS = 12.0  # for each of several networks, which are better than one that takes all of the time
_MOST_NETWORKS = 6
_LEAST_SECONDS = 10.0
_PRETRAINING_FRACTION = 0.65  # of the time: labels need only a few epochs
_PRETRAINING_SPEED = 0.6  # ids a second, relative to training on labels
_PRETRAINING_RATE = 2.0  # learning rate, relative to training on labels
_PRETRAINING_EPOCHS = 4.0  # with fewer the time is better spent on labels: 1.4 gained nothing
_MOST_PRETRAINING_EPOCHS = 15.0
_PRETRAINING_TOKENS = 1_000_000  # fewer teach little
_PRETRAINING_SIZE = 128  # units; smaller networks predict words too badly to gain from it
_PRETRAINED_DECAY, _PRETRAINED_UNFREEZE = 1.5, 0.1  # `--layer-decay` and `--unfreeze` after pretraining


@dataclass(frozen=True)
class LabelledCorpusStats:
    """Sizes of a training set, as the plan needs them.

    Attributes:
        tokens: ids of all texts.
        labelled: ids that an epoch on labels reads.
        longest: ids of the longest text.
        features: n-grams and affixes of the linear model.
        affixes: the longest affix among them, in characters; 0: none.
        read, read_texts: ids and texts that an epoch of pretraining reads, if it reads more than the training set.
    """

    texts: int
    tokens: int
    labelled: int
    longest: int
    vocab_size: int
    labels: tuple[str, ...]
    multi: bool
    features: int
    affixes: int = 0
    stop_words: tuple[str, ...] = ()
    read: int | None = None
    read_texts: int | None = None

    @property
    def pretrained(self) -> int:
        """Ids that an epoch of pretraining reads."""
        return self.tokens if self.read is None else self.read


def make_plan(options: TrainOptions, corpus: LabelledCorpusStats, compute: Compute, spent: float) -> Plan:
    """Decide every number that `options` leave open; `spent` seconds of the budget are already used.

    Raises:
        DataError: there are too few texts to learn anything from.
    """
    if corpus.texts < 4:
        raise DataError(f"the corpus is too small: {corpus.texts} texts; give at least some dozens for each label")
    asked = parse_duration(options.budget) if options.budget else None
    seconds = max(1.0, (asked if asked is not None else DEFAULT_SECONDS) - spent)
    batch_size = options.batch_size or default_batch_size(corpus.texts)
    threads = torch.get_num_threads()
    counted = options.steps is not None or options.epochs is not None
    epochs = options.epochs or (options.steps * batch_size / corpus.texts if options.steps else 0.0)
    time = _Time(
        seconds, 1 if counted else options.members or 1, _MOST_EPOCHS if asked is not None else _DEFAULT_EPOCHS
    )
    network, rate, why = _size(options, corpus, compute, time, epochs if counted else None, batch_size)
    networks = options.members or (time.members(options, corpus, network, rate) if asked is not None else 1)
    if not counted:
        time = dataclasses.replace(time, networks=networks)
    tokens_a_step = max(1, corpus.labelled * batch_size // corpus.texts)
    steps = options.steps
    if options.epochs is not None:
        steps = steps_for_epochs(options.epochs, text_batches_per_epoch(corpus.texts, batch_size))
    length = f"{DEFAULT_SECONDS / 60:g} minutes, unless another time is given"
    reading = time.pretraining(options, corpus, network, rate)
    share = (seconds - reading) / time.networks
    if not counted and (useful := time.useful(corpus, rate)) < share:
        share, length = useful, f"more than {time.most_epochs:g} epochs help little, at least {_LEAST_SECONDS:g} s"
    second = Schedule(
        learning_rate=options.learning_rate or _learning_rate(network, batch_size),
        warmup=options.warmup,
        steps=steps,
        seconds=None if steps is not None else share - saving_seconds(network, share),
        patience=options.patience,
        grad_clip=options.grad_clip,
        weight_decay=options.weight_decay,
        averaging=options.averaging,
    )
    first = None
    if reading:
        peak = second.learning_rate
        if options.learning_rate is None and corpus.read_texts is not None:
            peak = _learning_rate(network, default_batch_size(corpus.read_texts))
        first = dataclasses.replace(second, learning_rate=peak * _PRETRAINING_RATE, patience=0, seconds=spent + reading)
        if steps is not None:
            read = max(1, min(steps - 1, round(reading / seconds * steps)))
            first = dataclasses.replace(first, steps=read, seconds=None)
            second = dataclasses.replace(second, steps=max(1, steps - read))
    elif second.seconds is not None:  # the clock has run for the time that is spent
        second = dataclasses.replace(second, seconds=spent + second.seconds)
    decay, unfreeze = (_PRETRAINED_DECAY, _PRETRAINED_UNFREEZE) if first else (1.0, 0.0)
    second = dataclasses.replace(
        second,
        layer_decay=decay if options.layer_decay is None else options.layer_decay,
        unfreeze=unfreeze if options.unfreeze is None else options.unfreeze,
    )
    reasons = {
        "budget": length,
        "rnn_size": why,
        "num_layers": "one layer that reads in both directions",
        "embedding_size": "as many as units",
        "dropout": "the same for every corpus",
        "batch_size": f"{corpus.texts:,} texts: about a hundred steps an epoch, 64 at most",
        "members": f"as many as have time for {_MEMBER_EPOCHS:g} epochs, at most {_MOST_NETWORKS}",
        "seq_length": f"chunks of {_STRETCH} tokens at most",
        "learning_rate": "for these units, this cell and batch size",
        "pretrain": f"needs {_PRETRAINING_TOKENS:,} tokens, {_PRETRAINING_SIZE} units and time for "
                    f"{_PRETRAINING_EPOCHS:g} epochs",
    }  # fmt: skip
    if torch.get_num_threads() != threads:
        reasons["threads"] = "measured: one is as fast for such short texts"
    members = Members(networks, networks)
    if not counted:
        members = Members(networks, networks, share, spent + reading + networks * share)
    return Plan(
        network, second, batch_size, min(network.stretch, max(1, tokens_a_step)), first, members=members,
        reasons=reasons,
    )  # fmt: skip


@dataclass(frozen=True)
class _Time:
    """The time of a run: what is left for pretraining, and then for each of its networks."""

    seconds: float
    networks: int
    most_epochs: float  # on labels

    def useful(self, corpus: LabelledCorpusStats, rate: float) -> float:
        """The most seconds that labels are worth, for one network that reads `rate` ids a second."""
        return max(_LEAST_SECONDS, self.most_epochs * corpus.labelled / rate)

    def members(
        self, options: TrainOptions, corpus: LabelledCorpusStats, network: ClassifierConfig, rate: float
    ) -> int:
        """The number of networks for which there is time, each for enough epochs on labels."""
        one = dataclasses.replace(self, networks=1)
        left = self.seconds - one.pretraining(options, corpus, network, rate)
        count = left / max(_LEAST_SECONDS, _MEMBER_EPOCHS * corpus.labelled / rate)
        return int(np.clip(count, 1, _MOST_NETWORKS))

    def pretraining(
        self, options: TrainOptions, corpus: LabelledCorpusStats, network: ClassifierConfig, rate: float
    ) -> float:
        """Seconds of pretraining: none without enough text, units and time for enough epochs, unless asked for."""
        if options.pretrain is not None:
            return options.pretrain * self.seconds
        speed = rate * _PRETRAINING_SPEED
        spare = self.seconds - self.networks * self.useful(corpus, rate)  # that labels don't need
        seconds = min(
            max(_PRETRAINING_FRACTION * self.seconds, spare), _MOST_PRETRAINING_EPOCHS * corpus.pretrained / speed
        )
        enough = seconds * speed >= _PRETRAINING_EPOCHS * corpus.pretrained
        if options.unlabelled or (
            enough and corpus.pretrained >= _PRETRAINING_TOKENS and network.rnn_size >= _PRETRAINING_SIZE
        ):
            return seconds
        return 0.0


def longest_affix(mean_size: float) -> int:
    """The longest affix of the linear model for texts of `mean_size` bytes on average, in characters; 0 for none."""
    return _AFFIX if mean_size <= _SHORT_TEXT else 0


def default_batch_size(texts: int) -> int:
    """64, or less to leave about a hundred steps an epoch."""
    return int(np.clip(1 << (max(texts // 100, 1).bit_length() - 1), 8, 64))


def _learning_rate(network: ClassifierConfig, batch_size: int) -> float:
    rate = 3e-3 * (128 / network.rnn_size) ** 0.5 * (batch_size / 64) ** 0.5
    rate *= CELLS[network.cell].learning_rate_factor
    return float(f"{min(rate, 0.01):.2g}")


def _size(
    options: TrainOptions,
    corpus: LabelledCorpusStats,
    compute: Compute,
    time: _Time,
    epochs: float | None,
    batch_size: int,
) -> tuple[ClassifierConfig, float, str]:
    """The network, its speed in ids a second, and why it is no wider.

    It is the widest network with enough time for pretraining, or, if there is none, the widest with enough epochs on
    labels. With given `epochs` (a run that must be the same on every machine) nothing is measured.
    """
    best: tuple[ClassifierConfig, float] | None = None
    pretrained: tuple[ClassifierConfig, float] | None = None
    why = "the largest size that is chosen"
    seconds = time.seconds / time.networks
    length = max(1, corpus.tokens // corpus.texts)
    if epochs is None and options.threads is None:
        _choose_threads(_network(options, corpus, 64), compute, batch_size, length, probe_patience(seconds))
    for size in _SIZES:
        network = _network(options, corpus, size)
        if best is not None and (options.rnn_size is not None or size > 0.5 * corpus.pretrained**0.5):
            why = f"{corpus.pretrained:,} tokens are too few for more units"
            break
        if epochs is not None:
            rate = epochs * corpus.labelled / seconds
            if best is not None and epochs < _ENOUGH_EPOCHS:
                why = f"fewer than {_ENOUGH_EPOCHS:g} epochs teach more units too little"
                break
        else:
            rate = _speed(network, compute, batch_size, length, probe_patience(seconds))
            if best is not None and rate * seconds < _ENOUGH_EPOCHS * corpus.labelled:
                why = f"the most units with time for {_ENOUGH_EPOCHS:g} epochs"
                break
        best = network, rate
        if options.pretrain is None and epochs is None and _reads_enough(options, corpus, network, rate, time):
            pretrained = best
    assert best is not None
    if pretrained is not None and pretrained is not best:
        return *pretrained, f"the most units with time for {_PRETRAINING_EPOCHS:g} epochs of pretraining"
    return *best, why


def _reads_enough(
    options: TrainOptions, corpus: LabelledCorpusStats, network: ClassifierConfig, rate: float, time: _Time
) -> bool:
    """Whether a network of this size would be pretrained, for enough epochs."""
    speed = rate * _PRETRAINING_SPEED
    return time.pretraining(options, corpus, network, rate) * speed >= _PRETRAINING_EPOCHS * corpus.pretrained


def _network(options: TrainOptions, corpus: LabelledCorpusStats, size: int) -> ClassifierConfig:
    rnn_size = options.rnn_size or size
    return ClassifierConfig(
        vocab_size=corpus.vocab_size,
        labels=corpus.labels,
        multi=corpus.multi,
        cell=options.cell,
        activation=options.activation,
        direction=options.direction,
        rnn_size=rnn_size,
        num_layers=options.num_layers or 1,
        embedding_size=options.embedding_size or rnn_size,
        dropout=0.4 if options.dropout is None else options.dropout,
        weight_drop=options.weight_drop or 0.0,
        stretch=min(options.seq_length or _STRETCH, corpus.longest),
        features=corpus.features,
        ngrams=options.ngrams or 1,
        affixes=corpus.affixes,
        lowercase=options.lowercase,
        stop_words=corpus.stop_words,
    )


def _choose_threads(network: ClassifierConfig, compute: Compute, batch_size: int, length: int, patience: float) -> None:
    """Use one thread if several are no faster: a batch of short texts is done before a second thread wakes up."""
    several = torch.get_num_threads()
    if several > 1:
        with_several = _speed(network, compute, batch_size, length, patience)
        torch.set_num_threads(1)
        if _speed(network, compute, batch_size, length, patience) < 1.1 * with_several:
            torch.set_num_threads(several)


def _speed(network: ClassifierConfig, compute: Compute, batch_size: int, length: int, patience: float) -> float:
    """Ids a second that training reads, measured on noise; each process computes its own part of a batch.

    `patience`: see `undisturbed_seconds`.
    """
    generator = torch.Generator().manual_seed(0)
    model = Classifier(network, generator).to(compute.device)
    random = np.random.Generator(np.random.Philox(key=0))
    own = -(-batch_size // compute.world.size)
    texts = [random.integers(network.vocab_size, size=min(length, 2000)) for _ in range(own)]
    chunks = chunk_texts(texts, network.stretch)

    def train() -> None:
        masks = step_generator(generator, compute.device)
        logits = model.network_logits(chunks, len(texts), masks, compute.dtype)
        loss = F.cross_entropy(logits, torch.zeros(len(texts), dtype=torch.long, device=logits.device))
        loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())

    ids = int(chunks.lengths.sum()) * batch_size / own
    seconds = undisturbed_seconds(train, patience, compute.device)
    seconds += compute.world.all_reduce_seconds(parameter_count(network))
    return 0.85 * ids / seconds  # the rest is for optimiser, batches and validation
