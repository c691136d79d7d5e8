"""The plan of a classifier: how wide, how long, at what rate (see `training.plan`, whose rules it shares)."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from seqgen.config import ClassifierConfig, TrainOptions, parse_duration
from seqgen.errors import DataError
from seqgen.model.chunks import chunk_texts
from seqgen.model.classifier import Classifier
from seqgen.model.weight_shapes import parameter_count
from seqgen.specs.cells import CELLS
from seqgen.training.device import Compute
from seqgen.training.plans.language import DEFAULT_SECONDS, Plan, saving_seconds, steps_for_epochs
from seqgen.training.schedule import Schedule

_SIZES = (32, 64, 128, 192, 256, 384, 512)
_STRETCH = 200  # ids: some sentences
_DEFAULT_PASSES = 12.0  # a pass more teaches a classifier little: the best step is kept, and comes early
_MOST_PASSES = 30.0  # beyond which even a given budget is not spent
_ENOUGH_PASSES = 3.0  # a network so wide that it reads the texts fewer times learns less than a narrower one
_LEAST_SECONDS = 10.0
_READING_SHARE = 0.65  # of the time, for predicting words: labels are learnt in some passes
_READING_SPEED = 0.6  # ids a second of predicting words, beside those of labelling
_READING_RATE = 2.0  # of the learning rates
_READING_PASSES = 4.0  # over the texts, below which the time is better spent on labels: 1.4 made a classifier no better
_READING_TOKENS = 1_000_000  # of fewer little is learnt
_READING_SIZE = 128  # units, below which words are learnt too badly to help
_READING_DECAY, _READING_UNFREEZE = 1.5, 0.1  # `--layer-decay` and `--unfreeze` of what has read these very texts


@dataclass(frozen=True)
class LabelledCorpusStats:
    """What the plan needs to know of the data. `labelled`: tokens that a pass over the labels reads; `features`:
    n-grams that the linear model knows."""

    texts: int
    tokens: int
    labelled: int
    longest: int
    vocab_size: int
    labels: tuple[str, ...]
    multi: bool
    features: int
    stop_words: tuple[str, ...] = ()


def make_plan(options: TrainOptions, corpus: LabelledCorpusStats, compute: Compute, spent: float) -> Plan:
    """Settles everything. `spent`: seconds of the budget that are gone already.

    Raises:
        DataError: there are too few texts to learn anything from.
    """
    if corpus.texts < 4:
        raise DataError(f"there is too little to learn from: {corpus.texts} texts; some dozens a label are the least")
    asked = parse_duration(options.budget) if options.budget else None
    seconds = max(1.0, (asked if asked is not None else DEFAULT_SECONDS) - spent)
    batch_size = options.batch_size or _batch_size(corpus.texts)
    counted = options.steps is not None or options.epochs is not None
    passes = options.epochs or (options.steps * batch_size / corpus.texts if options.steps else 0.0)
    network, rate = _size(options, corpus, compute, seconds, passes if counted else None, batch_size)
    tokens_a_step = max(1, corpus.labelled * batch_size // corpus.texts)
    steps = options.steps if options.epochs is None else steps_for_epochs(options.epochs, corpus.texts, batch_size)
    if not counted:
        useful = (_MOST_PASSES if asked is not None else _DEFAULT_PASSES) * corpus.labelled / rate
        seconds = min(seconds, max(_LEAST_SECONDS, useful))
    share = options.pretrain
    if share is None:
        share = _READING_SHARE if _reads_first(network, corpus, rate * seconds) else 0.0
    whole = Schedule(
        learning_rate=options.learning_rate or _learning_rate(network, batch_size),
        warmup=options.warmup,
        steps=steps,
        seconds=None if steps is not None else seconds - saving_seconds(network, seconds),
        patience=options.patience,
        grad_clip=options.grad_clip,
        weight_decay=options.weight_decay,
        averaging=options.averaging,
    )
    first, second = _divide(whole, share, spent)
    decay, unfreeze = (_READING_DECAY, _READING_UNFREEZE) if first else (1.0, 0.0)
    second = dataclasses.replace(
        second,
        layer_decay=decay if options.layer_decay is None else options.layer_decay,
        unfreeze=unfreeze if options.unfreeze is None else options.unfreeze,
    )
    return Plan(network, second, batch_size, min(network.stretch, max(1, tokens_a_step)), first)


def _reads_first(network: ClassifierConfig, corpus: LabelledCorpusStats, tokens: float) -> bool:
    """Whether the network should learn words before labels, where so many ids could be read with labels in all: where
    there is much to read and time for some passes over it."""
    enough = _READING_SHARE * tokens * _READING_SPEED >= _READING_PASSES * corpus.tokens
    return enough and corpus.tokens >= _READING_TOKENS and network.rnn_size >= _READING_SIZE


def _divide(whole: Schedule, share: float, spent: float) -> tuple[Schedule | None, Schedule]:
    """A schedule for reading and one for labels. The first one's clock has run for `spent` seconds; the second's
    starts when the first has ended."""
    if not share:
        return None, dataclasses.replace(whole, seconds=None if whole.seconds is None else spent + whole.seconds)
    first = dataclasses.replace(whole, learning_rate=whole.learning_rate * _READING_RATE, patience=0)
    if whole.steps is not None:
        steps = max(1, min(whole.steps - 1, round(share * whole.steps)))
        return dataclasses.replace(first, steps=steps), dataclasses.replace(whole, steps=max(1, whole.steps - steps))
    assert whole.seconds is not None
    second = dataclasses.replace(whole, seconds=(1 - share) * whole.seconds)
    return dataclasses.replace(first, seconds=spent + share * whole.seconds), second


def _batch_size(texts: int) -> int:
    """64 where that leaves a pass a hundred steps, fewer otherwise."""
    return int(np.clip(1 << (max(texts // 100, 1).bit_length() - 1), 8, 64))


def _learning_rate(network: ClassifierConfig, batch_size: int) -> float:
    rate = 3e-3 * (128 / network.rnn_size) ** 0.5 * (batch_size / 64) ** 0.5
    rate *= CELLS[network.cell].learning_rate_factor
    return float(f"{min(rate, 0.01):.2g}")


def _size(
    options: TrainOptions,
    corpus: LabelledCorpusStats,
    compute: Compute,
    seconds: float,
    passes: float | None,
    batch_size: int,
) -> tuple[ClassifierConfig, float]:
    """The widest network that has the time to learn words before labels, or, where none has, the widest that still
    labels all texts often enough; and its speed in ids a second. With `passes` given (a run that must come out the same
    on every machine) nothing is measured."""
    best: tuple[ClassifierConfig, float] | None = None
    reader: tuple[ClassifierConfig, float] | None = None
    length = max(1, corpus.tokens // corpus.texts)
    if passes is None and options.threads is None:
        _choose_threads(_network(options, corpus, 64), compute, batch_size, length)
    for size in _SIZES:
        network = _network(options, corpus, size)
        if best is not None and (options.rnn_size is not None or size > 0.5 * corpus.tokens**0.5):
            break
        if passes is not None:
            rate = passes * corpus.labelled / seconds
            if best is not None and passes < _ENOUGH_PASSES:
                break
        else:
            rate = _speed(network, compute, batch_size, length)
            if best is not None and rate * seconds < _ENOUGH_PASSES * corpus.labelled:
                break
        best = network, rate
        if options.pretrain is None and passes is None and _reads_first(network, corpus, rate * seconds):
            reader = best
    assert best is not None
    return reader or best


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
        lowercase=options.lowercase,
        stop_words=corpus.stop_words,
    )


def _choose_threads(network: ClassifierConfig, compute: Compute, batch_size: int, length: int) -> None:
    """One thread, where several are no faster: batches of short texts are over before a second thread has woken."""
    several = torch.get_num_threads()
    if several > 1:
        with_several = _speed(network, compute, batch_size, length)
        torch.set_num_threads(1)
        if _speed(network, compute, batch_size, length) < 1.1 * with_several:
            torch.set_num_threads(several)


def _speed(network: ClassifierConfig, compute: Compute, batch_size: int, length: int) -> float:
    """Ids a second that training reads, on noise, right now: this process its share of a batch, the others theirs."""
    generator = torch.Generator().manual_seed(0)
    model = Classifier(network, generator).to(compute.device)
    random = np.random.Generator(np.random.Philox(key=0))
    own = -(-batch_size // compute.world.size)
    texts = [random.integers(network.vocab_size, size=min(length, 2000)) for _ in range(own)]
    laid = chunk_texts(texts, network.stretch)
    best = float("inf")
    for _ in range(3):  # the best of them: something else may be running for a moment
        began = time.perf_counter()
        logits = model.network_logits(laid, len(texts), generator, compute.dtype)
        loss = F.cross_entropy(logits, torch.zeros(len(texts), dtype=torch.long, device=logits.device))
        loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())
        best = min(best, time.perf_counter() - began)
    ids = int(laid.lengths.sum()) * batch_size / own
    seconds = best + compute.world.all_reduce_seconds(parameter_count(network))
    return 0.85 * ids / seconds  # optimiser, batches and validation take the rest
