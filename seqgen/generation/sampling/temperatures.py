"""Filters that make the whole distribution sharper or flatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqgen.generation.sampling.logits import Filter, FilterContext, Logits, entropies, log_softmax


def temperature(value: float) -> Filter:
    """Divides by `value`; 0 leaves only the likeliest token of each row, the lowest id of equals."""

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        return _divided(logits, np.full((len(logits), 1), value))

    return apply


def dynamic_temperature(value: float, spread: float, exponent: float) -> Filter:
    """A temperature for each row from `value` − `spread` (0 at least) to `value` + `spread`, by how unsure the model is
    (kalomaze, 2023, in KoboldCpp and llama.cpp): low + (high − low) · (H / ln n)^`exponent`, where H is the entropy of
    the row and n the number of its possible tokens. One possible token is left as it is."""
    low, high = max(0.0, value - spread), value + spread

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        counts = (~np.isneginf(logits)).sum(axis=-1, keepdims=True)
        share = entropies(log_softmax(logits)) / np.log(np.maximum(counts, 2))
        chosen = low + (high - low) * np.clip(share, 0, 1) ** exponent
        return np.where(counts > 1, _divided(logits, chosen), logits)

    return apply


def _divided(logits: Logits, by: Logits) -> Logits:
    """`logits` divided by a number for each row, shape (rows, 1), after the largest is shifted to 0."""
    best = logits.argmax(axis=-1, keepdims=True)
    greedy = np.where(np.arange(logits.shape[-1]) == best, 0.0, -np.inf)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # A tiny number sends all but the likeliest to −∞, as it should.
        return np.where(by > 0, (logits - logits.max(axis=-1, keepdims=True)) / by, greedy)


@dataclass(frozen=True)
class EventTemperature:
    """Tokens from `first` to `last`, without it, and the temperature among them."""

    first: int
    last: int
    temperature: float


def temperatures_of(event_temperatures: Sequence[EventTemperature], common: Filter | None) -> Filter:
    """Which kind of token comes is as likely as `common` makes it; which one of a kind, as the kind's own temperature
    does: log p(kind) + log softmax of the kind's logits / its temperature. Kinds don't overlap."""

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        logs = log_softmax(common(logits, rows) if common else logits)
        result = logs.copy()
        for kind in event_temperatures:
            own = slice(kind.first, kind.last)
            there = ~np.isneginf(logs[:, own]).all(axis=-1)
            if there.any():
                mass = np.logaddexp.reduce(logs[there, own], axis=-1, keepdims=True)
                within = temperature(kind.temperature)(logits[there, own], rows)
                result[there, own] = mass + log_softmax(within)
        return result

    return apply
