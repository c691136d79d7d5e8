"""Evaluation of a music model: cross-entropy per event under the grammar, beside n-gram baselines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.evaluation.baselines.ngram import NgramModel
from seqgen.generation.engines.base import Engine
from seqgen.generation.music.composing import GrammarMasks
from seqgen.generation.scoring import ExactSum, ScoringJob, TokenScores, score_records
from seqgen.music.events import count_steps
from seqgen.tokenizers import Ids
from seqgen.tokenizers.midi import MidiCodec

_ORDER = 5  # of the stronger n-gram baseline: longer ones are hardly better on corpora of this size


class PieceJob(ScoringJob):
    """A piece that is scored, each event given those before it and the grammar.

    The `end` of a piece counts as an event, since a model has to know when to stop. The notes of a bar that `again`
    repeats don't, since the grammar allows nothing else.
    """

    def __init__(self, codec: MidiCodec, piece: Ids) -> None:
        """`piece`: its ids without `end`."""
        self.events = np.append(piece, codec.end).astype(np.int32)
        self.predicted = len(self.events) - int(codec.unpredicted(self.events).sum())
        self.masks = GrammarMasks(codec.vocabulary)
        self.nats = ExactSum()

    def ids(self) -> Iterator[Ids]:
        """See `ScoringJob`."""
        yield self.events

    def take(self, scores: TokenScores) -> None:
        """See `ScoringJob`."""
        self.nats.add(scores.nats)


@dataclass
class EventTally:
    """Sums over pieces."""

    records: int = 0
    events: int = 0
    steps: int = 0
    nats: float = 0.0

    def metrics(self) -> dict[str, float]:
        """See `event_metrics`."""
        return event_metrics(self.nats, self.events, self.steps)


def tally_pieces(engine: Engine, codec: MidiCodec, pieces: Iterable[Ids]) -> EventTally:
    """Score many pieces, given without their `end`, side by side."""
    tally = EventTally()
    for job in score_records(engine, codec, (PieceJob(codec, piece) for piece in pieces)):
        tally.records += 1
        tally.events += job.predicted
        tally.steps += count_steps(job.events, codec.vocabulary)
        tally.nats += float(job.nats)
    return tally


def event_metrics(nats: float, events: int, steps: int) -> dict[str, float]:
    """Metrics of pieces with this total cross-entropy, number of events and length in steps of the grid."""
    return {
        "nats_per_event": nats / max(events, 1),
        "nats_per_step": nats / max(steps, 1),
        "events": events,
        "steps": steps,
    }


def baselines(
    training: npt.NDArray[Any], pieces: Iterable[Ids], codec: MidiCodec, order: int = _ORDER
) -> dict[str, dict[str, float]]:
    """Metrics of n-gram models fitted on the training ids: of single events, and of `order`.

    As for the network, only the events that the grammar allows share the probability.
    """
    held_out = [np.append(piece, codec.end) for piece in pieces]
    counted = [~codec.unpredicted(piece) for piece in held_out]
    events = int(sum(map(np.count_nonzero, counted)))
    steps = sum(count_steps(piece, codec.vocabulary) for piece in held_out)
    found = {}
    for name, length in (("unigram", 1), (f"{order}-gram", order)):
        model = NgramModel.fit(np.asarray(training, dtype=np.int64), codec.vocab_size, length)
        nats = ExactSum()
        for piece, is_counted in zip(held_out, counted, strict=True):
            nats.add(model.nats(np.append(codec.end, piece), 1, GrammarMasks(codec.vocabulary))[is_counted])
        found[name] = event_metrics(float(nats), events, steps)
    return found
