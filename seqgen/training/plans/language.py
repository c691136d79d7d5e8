"""The plan: how large a network, which batch, which rates, for how long — whatever the person left open.

What was given is kept; the rest follows from the size of the corpus and the time there is, by rules with their reasons
beside them. The measurements behind the numbers are in tests/benchmarks/recipe.md.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from seqgen.config import AnyNetworkConfig, NetworkConfig, TrainOptions, parse_duration
from seqgen.errors import DataError, UserError
from seqgen.specs.cells import CELLS
from seqgen.training.calibration import dropout_temperature as confidence
from seqgen.training.cross_entropy import language_loss
from seqgen.training.device import Compute
from seqgen.training.objectives.language import MOST_VALIDATION
from seqgen.training.schedule import Schedule

# Sizes tried, smallest first: (units, layers). One wide layer learns more a minute than two narrower ones.
SIZES = ((64, 1), (128, 1), (256, 1), (384, 1), (512, 1), (768, 1), (1024, 1), (1536, 1), (2048, 1))
DEFAULT_SECONDS = 600.0  # "in minutes": what a person waits for without being asked
_DEFAULT_EPOCHS = 40.0  # a small corpus is learnt after this many passes; more time is not spent without a word
_BATCHES = ((64, 64), (32, 64), (32, 32), (16, 32), (8, 32), (8, 16))  # lanes and length, largest first
_ENOUGH_STEPS = 700  # optimiser steps that a run should have, where it can
LAYER_DECAY, UNFREEZE = 2.6, 0.3  # of a classifier whose layers knew something before (Howard & Ruder, 2018)
_LEAST_SECONDS = 12.0  # even the smallest corpus gets this long when nothing is said


@dataclass(frozen=True)
class Plan:
    """A run, settled in every number."""

    network: Any  # one of the kinds of `config.NETWORK_CONFIGS`
    schedule: Schedule
    batch_size: int
    seq_length: int
    pretraining: Schedule | None = None  # of what comes before, where something does (see `task.Data.pretraining`)
    blank: float = 0.0  # share of the ids of a language model that are not read while it learns


@dataclass(frozen=True)
class CorpusStats:
    """What the plan needs to know of the data: ids to train on, the vocabulary, and how much of it is in use.

    `variety`: how many times more there is to learn than `tokens` says, where every pass reads something else.
    `characters`: whether the ids are letters, which can be guessed where one is missing.
    """

    tokens: int
    vocab_size: int
    seen: int
    variety: float = 1.0
    characters: bool = False


SpeedProbe = Callable[[NetworkConfig, int, int], float]  # (network, batch, length) → tokens a second


def make_plan(
    options: TrainOptions, corpus: CorpusStats, compute: Compute, speed: SpeedProbe, spent: float = 0.0
) -> Plan:
    """Settles everything.

    Args:
        speed: measures training, in tokens a second.
        spent: seconds of the budget that are gone already.

    Raises:
        DataError: the corpus is too small to learn anything from.
    """
    if corpus.tokens < 32 or corpus.seen < 3:
        raise DataError(
            f"there is too little to learn from: {corpus.tokens - 1:,} tokens to train on, {corpus.seen - 1:,} of them "
            "distinct; a few hundred characters are the least, and some thousands do better"
        )
    asked = parse_duration(options.budget) if options.budget else None
    seconds = (asked if asked is not None else DEFAULT_SECONDS) - spent

    budgeted = options.steps is None and options.epochs is None
    chosen, rate = _size(options, corpus, max(seconds, 1.0), speed if budgeted else None)
    batch_size, seq_length = _batch(options, corpus.tokens, rate * seconds)
    per_step = batch_size * seq_length
    steps = options.steps if options.epochs is None else steps_for_epochs(options.epochs, corpus.tokens, per_step)
    if steps is None and asked is None:
        natural = max(_LEAST_SECONDS, _DEFAULT_EPOCHS * corpus.tokens / rate)
        seconds = min(seconds, natural)
    expected = steps if steps is not None else max(1.0, seconds * rate / per_step)
    epochs = expected * per_step / corpus.tokens
    dropout, blank = _noise(epochs / corpus.variety**0.5, chosen.rnn_size, corpus.characters)

    network = NetworkConfig(
        vocab_size=corpus.vocab_size,
        cell=options.cell,
        activation=options.activation,
        rnn_size=chosen.rnn_size,
        num_layers=chosen.num_layers,
        embedding_size=chosen.embedding_size,
        tie_weights=chosen.tie_weights,
        dropout=dropout if options.dropout is None else options.dropout,
        weight_drop=options.weight_drop or 0.0,
    )
    schedule = Schedule(
        learning_rate=options.learning_rate or _learning_rate(network, batch_size),
        warmup=options.warmup,
        steps=steps,
        # The clock of a run starts before the corpus is read; the last save is left out of it.
        seconds=None if steps is not None else spent + seconds - _ending(network, corpus, rate, seconds),
        patience=options.patience,
        grad_clip=options.grad_clip,
        weight_decay=options.weight_decay,
        averaging=options.averaging,
    )
    return Plan(network, schedule, batch_size, seq_length, blank=blank if options.blank is None else options.blank)


def steps_for_epochs(epochs: float, tokens: int, per_step: int) -> int:
    """Optimiser steps in so many passes over `tokens` ids. Raises `UserError` for more than can be counted."""
    steps = epochs * max(1, tokens // per_step)
    if steps > 1 << 60:
        raise UserError(f"--epochs {epochs:g} would take longer than there is time")
    return max(1, round(steps))


def _batch(options: TrainOptions, corpus_tokens: int, tokens: float) -> tuple[int, int]:
    """Lanes and length of a batch.

    64 lanes of 64 steps keep the processor busiest, but a short run learns more from many small steps than from few
    large ones: the largest batch is taken that leaves `_ENOUGH_STEPS` in the run, and 20 in a pass over the corpus.
    """
    batch, length = _BATCHES[-1]
    for candidate in _BATCHES:
        per_step = candidate[0] * candidate[1]
        if tokens >= _ENOUGH_STEPS * per_step and corpus_tokens >= 20 * per_step:
            batch, length = candidate
            break
    return options.batch_size or batch, options.seq_length or length


def _noise(epochs: float, units: int, characters: bool) -> tuple[float, float]:
    """Dropout, and the share of ids that are blanked out: against learning by heart. None for a text that is not read
    twice.

    Dropout is a quarter at four passes, a half for a text read dozens of times; in layers of 512 units and more, which
    learn by heart sooner, half as much again. A little too much costs less than a little too little: what is held out
    close to what is learnt flatters. Of characters, less is dropped, and from six passes on some are blanked out as
    well, in wide layers up to a fifth: that keeps what many passes gain.
    """
    if epochs <= 0.8:
        return 0.0, 0.0
    doublings = math.log2(epochs)
    if characters:
        blank = min(0.1 * (doublings - 2.4), 0.2 if units >= 512 else 0.1)
        return round(min(0.4, max(0.05, 0.05 + 0.08 * doublings)), 2), round(max(0.0, blank), 2)
    growth, most = (0.15, 0.6) if units >= 512 else (0.1, 0.5)
    return round(min(most, max(0.05, 0.05 + growth * doublings)), 2), 0.0


def _learning_rate(network: NetworkConfig, batch_size: int) -> float:
    """0.01 for a gated layer of 512 units; less for wider layers, very small batches and the vanilla RNN."""
    rate = 0.01 * (512 / network.rnn_size) ** 0.75 * min(1.0, batch_size / 16) ** 0.5
    rate *= CELLS[network.cell].learning_rate_factor
    return float(f"{min(rate, 0.02):.2g}")


def saving_seconds(network: AnyNetworkConfig, seconds: float) -> float:
    """Seconds that the end of a run takes: the last validation is counted by the loop, this is writing files."""
    from seqgen.model.weight_shapes import parameter_count

    return min(0.3 + parameter_count(network) * 4 * 4 / 300e6, seconds / 4)


def _ending(network: NetworkConfig, corpus: CorpusStats, rate: float, seconds: float) -> float:
    """Seconds after the loop: the network is made less sure of itself and measured once more, then files are written.
    To read is three times as fast as to learn."""
    reading = confidence.CALIBRATION_IDS + min(MOST_VALIDATION, corpus.tokens / 9) if network.dropout else 0.0
    return min(reading / (3 * rate), seconds / 6) + saving_seconds(network, seconds)


def _network(options: TrainOptions, corpus: CorpusStats, size: int, layers: int) -> NetworkConfig:
    """A candidate: what was given, and `size` and `layers` where they were not."""
    rnn_size = options.rnn_size or size
    embedding = options.embedding_size
    if embedding is None:
        # A character needs few numbers; a subword's meaning needs about as many as there are units.
        embedding = min(rnn_size, 128 if corpus.vocab_size < 1000 else 256)
    tied = options.tie_weights if options.tie_weights is not None else corpus.vocab_size >= 1000
    return NetworkConfig(
        vocab_size=corpus.vocab_size,
        cell=options.cell,
        activation=options.activation,
        rnn_size=rnn_size,
        num_layers=options.num_layers or layers,
        embedding_size=embedding,
        tie_weights=tied,
    )


def _size(
    options: TrainOptions, corpus: CorpusStats, seconds: float, speed: SpeedProbe | None
) -> tuple[NetworkConfig, float]:
    """The largest candidate that still reads enough: the corpus sets a limit, and so does the time.

    Without `speed` (a run of so many steps or passes, which must come out the same on every machine) the size follows
    from the tokens that will be read, and nothing is measured.

    Returns the network and its speed in tokens a second; without `speed`, the tokens to be read a second of `seconds`.
    """
    fixed = options.rnn_size is not None
    best: tuple[NetworkConfig, float] | None = None
    for size, layers in SIZES:
        candidate = _network(options, corpus, size, layers)
        if best is not None and (fixed or not _fits_corpus(candidate, corpus.tokens * corpus.variety)):
            break
        rate = speed(candidate, options.batch_size or 32, options.seq_length or 64) if speed else (
            _tokens(options, corpus) / seconds)  # fmt: skip
        if best is not None and not _fits_time(candidate, rate * seconds):
            break
        best = candidate, rate
    assert best is not None
    return best


def _tokens(options: TrainOptions, corpus: CorpusStats) -> float:
    """Tokens that a run of given length will read."""
    if options.epochs is not None:
        return options.epochs * corpus.tokens
    assert options.steps is not None
    largest = _BATCHES[0]
    return options.steps * (options.batch_size or largest[0]) * (options.seq_length or largest[1])


def _fits_corpus(network: NetworkConfig, tokens: float) -> bool:
    """Units may grow with the square root of the corpus: 256 at 100 KB, 1,024 at 1.6 MB."""
    return network.rnn_size <= 0.8 * tokens**0.5


def _fits_time(network: NetworkConfig, tokens: float) -> bool:
    """A network must read some 2.5 tokens for every weight of a recurrent LSTM block before its size pays."""
    return tokens >= 2.5 * network.num_layers * 4 * network.rnn_size**2


def measure_speed(compute: Compute) -> SpeedProbe:
    """A `SpeedProbe` that trains a candidate for a moment on noise: what a second gives on this machine, right now."""
    from seqgen.model.language import LanguageModel, detach

    def speed(config: NetworkConfig, batch: int, length: int) -> float:
        generator = torch.Generator().manual_seed(0)
        network = LanguageModel(config, generator).to(compute.device)
        steps = min(length, 24)
        ids = torch.randint(config.vocab_size, (steps + 1, batch), generator=generator).to(compute.device)
        states = network.initial(batch)
        best = math.inf
        for _ in range(5):  # the best of them: something else may be running for a moment
            began = time.perf_counter()
            hidden, after = network(ids[:-1], states, dtype=compute.dtype)
            loss = language_loss(network, hidden, ids[1:])
            loss.backward()  # type: ignore[no-untyped-call]
            float(loss.detach())  # waits for a GPU
            detach(after)
            best = min(best, time.perf_counter() - began)
        return 0.9 * steps * batch / best  # optimiser, batches and validation take the rest

    return speed
