"""The plan of a language model: network size, batch, learning rate and duration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from seqgen.config import NetworkConfig, TrainOptions, parse_duration
from seqgen.errors import DataError
from seqgen.generation.engines.context_cache import MOST_FIT_IDS
from seqgen.model.language import LanguageModel
from seqgen.specs.cells import CELLS
from seqgen.training.batches import lane_batches_per_epoch
from seqgen.training.calibration.dropout_temperature import CALIBRATION_IDS
from seqgen.training.cross_entropy import language_loss
from seqgen.training.device import Compute
from seqgen.training.objectives.language import MOST_VALIDATION
from seqgen.training.plans.base import DEFAULT_SECONDS, Plan, SpeedProbe, Width, saving_seconds, steps_for_epochs
from seqgen.training.plans.speed import undisturbed_seconds
from seqgen.training.schedule import Schedule

# Candidates, smallest first: (units, layers). One wide layer learns more a minute than two narrower ones.
SIZES = ((64, 1), (128, 1), (192, 1), (256, 1), (384, 1), (512, 1), (768, 1), (1024, 1), (1536, 1), (2048, 1))
_DEFAULT_EPOCHS = 40.0  # enough for a small corpus; more only if asked for
_BATCHES = ((64, 64), (32, 64), (32, 32), (16, 32), (8, 32), (8, 16))  # batch size and sequence length, largest first
# On a GPU also these: a step of the recurrent product takes as long for 512 lanes as for 64.
_GPU_BATCHES = ((512, 64), (256, 64), (128, 64), *_BATCHES)
_ENOUGH_STEPS = 700  # optimiser steps that a run should have if possible
_UNTRAINABLE_SPEED = 1.0  # tokens a second
_LEAST_RATIO, _BEST_RATIO = 3.5, 4.8  # tokens for each recurrent weight
_EXCESS = 0.009  # excess loss in nats, by the square of log(ratio / _BEST_RATIO)
_ONE_STREAM = 4000.0  # tokens a second with a context cache
_DECAY = 0.6  # of the run, in which the rate falls to zero: a high rate for long keeps from overfitting
_LEAST_SECONDS = 12.0  # even for the smallest corpus, unless the duration is given


@dataclass(frozen=True)
class CorpusStats:
    """Sizes of a training set, as the plan needs them.

    Attributes:
        tokens: ids in the training set.
        seen: distinct ids that occur in it.
        variety: factor by which augmentation multiplies the number of different tokens.
        characters: whether ids are characters or bytes, which can be guessed if one is missing.
    """

    tokens: int
    vocab_size: int
    seen: int
    variety: float = 1.0
    characters: bool = False


def make_plan(
    options: TrainOptions, corpus: CorpusStats, compute: Compute, speed: SpeedProbe, spent: float = 0.0
) -> Plan:
    """Decide every number that `options` leave open.

    Args:
        speed: measures training, in tokens a second.
        spent: seconds of the budget that are already used.

    Raises:
        DataError: the corpus is too small to learn anything from.
    """
    if corpus.tokens < 32 or corpus.seen < 3:
        raise DataError(
            f"the corpus is too small: {corpus.tokens - 1:,} tokens to train on, {corpus.seen - 1:,} of them distinct; "
            "give at least a few hundred characters, better some thousands"
        )
    asked = parse_duration(options.budget) if options.budget else None
    seconds = (asked if asked is not None else DEFAULT_SECONDS) - spent

    budgeted = options.steps is None and options.epochs is None
    # A run of given steps or epochs is the same on every machine.
    batches = _GPU_BATCHES if budgeted and compute.device.type == "cuda" else _BATCHES
    chosen, rate, (batch_size, seq_length), why, widths = _size(
        options, corpus, max(seconds, 1.0), batches, speed if budgeted else None
    )
    per_step = batch_size * seq_length
    steps = options.steps
    if options.epochs is not None:
        steps = steps_for_epochs(options.epochs, lane_batches_per_epoch(corpus.tokens, batch_size, seq_length))
    length = f"{DEFAULT_SECONDS / 60:g} minutes, unless another time is given"
    if steps is None and asked is None:
        natural = max(_LEAST_SECONDS, _DEFAULT_EPOCHS * corpus.tokens / rate)
        if natural < seconds:
            seconds, length = natural, f"{_DEFAULT_EPOCHS:g} epochs are enough, and at least {_LEAST_SECONDS:g} s"
    expected = steps if steps is not None else max(1.0, seconds * rate / per_step)
    epochs = expected * per_step / corpus.tokens if options.epochs is None else options.epochs
    wide = chosen.rnn_size >= 512 and corpus.variety == 1  # augmented music needs no more dropout in wide layers
    dropout, blank = _noise(epochs / corpus.variety**0.5, wide, corpus.characters)

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
        learning_rate=options.learning_rate or _learning_rate(network, batch_size, corpus),
        warmup=options.warmup,
        steps=steps,
        # The clock of a run starts before the corpus is read, and stops before the last save.
        seconds=None if steps is not None else spent + seconds - _ending(network, corpus, rate, seconds),
        patience=options.patience,
        grad_clip=options.grad_clip,
        weight_decay=options.weight_decay,
        averaging=options.averaging,
        decay=_DECAY,
    )
    reasons = {
        "budget": length,
        "rnn_size": why,
        "num_layers": "one wide layer learns more a minute than two narrower ones",
        "embedding_size": f"a {'small' if corpus.vocab_size < 1000 else 'large'} vocabulary, and no more than units",
        "tie_weights": f"a vocabulary {'below' if corpus.vocab_size < 1000 else 'of at least'} 1,000",
        "batch_size": f"the largest that leaves {_ENOUGH_STEPS} steps in the run and 20 in an epoch",
        "seq_length": "chosen with the batch size",
        "learning_rate": f"for a layer of {network.rnn_size:,} units, its cell and the batch size"
        + (", at most 0.01 for augmented music" if corpus.variety > 1 else ""),
        "dropout": f"{epochs:,.1f} epochs: many need more, less than one none",
        "blank": "against overfitting, from six epochs of characters on",
    }
    blank = blank if options.blank is None else options.blank
    return Plan(network, schedule, batch_size, seq_length, blank=blank, reasons=reasons, widths=widths)


def _batch(
    options: TrainOptions, corpus_tokens: int, tokens: float, batches: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Batch size and sequence length, of those in `batches`.

    The largest keep the processor busiest, but a short run learns more from many small steps than from few large ones.
    So it is the largest batch that leaves `_ENOUGH_STEPS` in the run and 20 in an epoch.
    """
    batch, length = batches[-1]
    for candidate in batches:
        per_step = candidate[0] * candidate[1]
        if tokens >= _ENOUGH_STEPS * per_step and corpus_tokens >= 20 * per_step:
            batch, length = candidate
            break
    return options.batch_size or batch, options.seq_length or length


def _noise(epochs: float, wide: bool, characters: bool) -> tuple[float, float]:
    """Dropout and the fraction of blanked ids, both against overfitting; none for less than an epoch.

    Dropout is 0.25 at four epochs and 0.5 at dozens; in wide layers, of 512 units or more, which overfit sooner, half
    as much again. Slightly too much costs less than slightly too little, since a validation set close to the training
    set is optimistic. Characters need less dropout; from six epochs on some of them are blanked as well, up to a fifth
    in wide layers, which keeps the gain of many epochs.
    """
    if epochs <= 0.8:
        return 0.0, 0.0
    doublings = math.log2(epochs)
    if characters:
        blank = min(0.1 * (doublings - 2.4), 0.2 if wide else 0.1)
        return round(min(0.4, max(0.05, 0.05 + 0.08 * doublings)), 2), round(max(0.0, blank), 2)
    growth, most = (0.15, 0.6) if wide else (0.1, 0.5)
    return round(min(most, max(0.05, 0.05 + growth * doublings)), 2), 0.0


def _learning_rate(network: NetworkConfig, batch_size: int, corpus: CorpusStats) -> float:
    """0.01 for a gated layer of 512 units; less for wider layers, very small batches and ungated cells.

    More for narrower ones, but not for augmented music, whose loss is 4 to 13 % higher then. Beyond 64 lanes it grows
    with the root of their number, as the noise of the gradient falls.
    """
    cell = CELLS[network.cell]
    rate = 0.01 * (512 / network.rnn_size) ** 0.75 * min(1.0, batch_size / 16) ** 0.5
    if corpus.variety > 1:
        rate = min(rate, 0.01)
    rate = min(rate * cell.learning_rate_factor, cell.max_learning_rate)
    return float(f"{rate * max(1.0, batch_size / 64) ** 0.5:.2g}")


def _ending(network: NetworkConfig, corpus: CorpusStats, rate: float, seconds: float) -> float:
    """Seconds after the loop: temperature correction, a last validation, the context cache, and writing files.

    Inference is three times as fast as training; for the cache it is that of one stream.
    """
    reading = CALIBRATION_IDS + min(MOST_VALIDATION, corpus.tokens / 9) if network.dropout else 0.0
    cache = min(MOST_FIT_IDS, corpus.tokens / 9) / _ONE_STREAM
    return min(reading / (3 * rate) + cache, seconds / 6) + saving_seconds(network, seconds)


def _network(options: TrainOptions, corpus: CorpusStats, size: int, layers: int) -> NetworkConfig:
    """A candidate: the given options, and `size` and `layers` in place of those that are not given."""
    rnn_size = options.rnn_size or size
    embedding = options.embedding_size
    if embedding is None:
        # A character needs few dimensions; a subword about as many as there are units.
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
    options: TrainOptions,
    corpus: CorpusStats,
    seconds: float,
    batches: Sequence[tuple[int, int]],
    speed: SpeedProbe | None,
) -> tuple[NetworkConfig, float, tuple[int, int], str, tuple[Width, ...]]:
    """The largest candidate that corpus and time allow, and why no larger one.

    With it come its speed in tokens a second, its batch size and sequence length, and the widths that were measured.

    The speed is that of the batch with which the candidate would be trained. It depends on the speed in turn, so each
    candidate is measured with the batch of the one before, and again if that turns out to be another.

    Without `speed` (a run of given steps or epochs, which must be the same on every machine) nothing is measured: the
    speed is the number of tokens to read divided by `seconds`.
    """
    fixed = options.rnn_size is not None
    best: tuple[NetworkConfig, float, tuple[int, int]] | None = None
    why, widths = "the largest size that is chosen", []
    for size, layers in SIZES:
        candidate = _network(options, corpus, size, layers)
        if best is not None and (fixed or not _fits_corpus(candidate, corpus.tokens * corpus.variety)):
            why = f"{corpus.tokens:,} tokens are too few for more units"
            break
        if speed is None:
            rate = _tokens(options, corpus) / seconds
            batch = _batch(options, corpus.tokens, rate * seconds, batches)
        else:
            tried = best[2] if best is not None else _batch(options, corpus.tokens, 0.0, batches)
            rate = speed(candidate, *tried)
            batch = _batch(options, corpus.tokens, rate * seconds, batches)
            if batch != tried:
                rate = speed(candidate, *batch)
            widths.append((candidate, rate))
        if best is not None and not _fits_time(candidate, rate * seconds):
            why = f"the most units that learn enough in {'the time' if speed else 'so many steps'}"
            break
        best = candidate, rate, batch
    assert best is not None
    return *best, why, _compared(widths, seconds)


def _compared(measured: list[tuple[NetworkConfig, float]], seconds: float) -> tuple[Width, ...]:
    """The widths with what is expected of each in so many seconds."""
    losses = [_EXCESS * math.log(_ratio(network, rate * seconds) / _BEST_RATIO) ** 2 for network, rate in measured]
    return tuple(
        Width(network.rnn_size, rate, rate * seconds, loss - min(losses))
        for (network, rate), loss in zip(measured, losses, strict=True)
    )


def _tokens(options: TrainOptions, corpus: CorpusStats) -> float:
    """Tokens that a run of given steps or epochs will read."""
    if options.epochs is not None:
        return options.epochs * corpus.tokens
    assert options.steps is not None
    largest = _BATCHES[0]
    return options.steps * (options.batch_size or largest[0]) * (options.seq_length or largest[1])


def _fits_corpus(network: NetworkConfig, tokens: float) -> bool:
    """Whether there are few enough units: up to 0.8 times the root of the tokens, 256 at 100 KB, 1,024 at 1.6 MB."""
    return network.rnn_size <= 0.8 * tokens**0.5


def _fits_time(network: NetworkConfig, tokens: float) -> bool:
    """Whether the network reads enough tokens for its size to pay."""
    return _ratio(network, tokens) >= _LEAST_RATIO


def _ratio(network: NetworkConfig, tokens: float) -> float:
    """Tokens for each recurrent weight of an LSTM of that width."""
    return tokens / (network.num_layers * 4 * network.rnn_size**2)


def measure_speed(compute: Compute, patience: float) -> SpeedProbe:
    """A `SpeedProbe` that trains a candidate for a moment on noise, on this machine under its present load.

    Args:
        patience: see `undisturbed_seconds`.
    """

    def speed(config: NetworkConfig, batch: int, length: int) -> float:
        generator = torch.Generator().manual_seed(0)
        network = LanguageModel(config, generator).to(compute.device)
        # On a CPU a step costs the same in a short sequence; a GPU has a cost a sequence too.
        steps = min(length, 24) if compute.device.type == "cpu" else length
        ids = torch.randint(config.vocab_size, (steps + 1, batch), generator=generator).to(compute.device)
        states = network.initial(batch)

        def train() -> None:
            hidden, _ = network(ids[:-1], states, dtype=compute.dtype)
            loss = language_loss(network, hidden, ids[1:])
            loss.backward()  # type: ignore[no-untyped-call]
            float(loss.detach())  # waits for a GPU

        try:
            seconds = undisturbed_seconds(train, patience, compute.device)
        except torch.OutOfMemoryError:  # of a GPU: such a batch, or such a network, can't be trained
            return _UNTRAINABLE_SPEED
        return 0.9 * steps * batch / seconds  # the rest is for optimiser, batches and validation

    return speed
