"""Filters: pure functions from logits to logits, closed over their settings, in one fixed order.

A filter takes the logits, shape (batch, vocabulary), and what is known of each row (`logits.FilterContext`), and returns new
logits; what it forbids becomes −∞. It never writes to its arguments. `FilterChain` is the filters that a `SampleOptions` asks
for, after what may not come at all (control tokens, a grammar, banned texts: see `draw.Guide`) is taken out:

    logit bias → repetition penalty → DRY → temperature → top-k → top-p → min-p → typical-p → XTC → mirostat

Each later filter sees the distribution, renormalised, that the earlier ones left. Ties at a border are broken by id,
lower first, so that top-k keeps exactly k and equal seeds give equal bytes everywhere. A filter never forbids all.
To add one: a function here or beside, a row in `FILTER_ORDER`, a field in `SampleOptions`, and its like in
`native/filters.c`, which runs where it is compiled and is compared with what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.config import SampleOptions
from seqgen.generation.sampling.logits import Filter, FilterContext, History, Logits, entropies, log_softmax, softmax
from seqgen.generation.sampling.penalties import SequenceBreakers, dry, logit_bias, repetition_penalty, suppress_tokens
from seqgen.generation.sampling.temperatures import EventTemperature, dynamic_temperature, temperature, temperatures_of

__all__ = [
    "FILTER_ORDER",
    "SequenceBreakers",
    "FilterChain",
    "Filter",
    "History",
    "EventTemperature",
    "Logits",
    "ResolvedNames",
    "FilterContext",
    "dry",
    "dynamic_temperature",
    "suppress_tokens",
    "log_softmax",
    "logit_bias",
    "min_p",
    "mirostat",
    "repetition_penalty",
    "softmax",
    "next_mirostat_limit",
    "temperature",
    "temperatures_of",
    "top_k",
    "top_p",
    "typical_p",
    "xtc",
]


def _order(keys: Logits) -> npt.NDArray[np.intp]:
    """Ids by rising key, ties by id."""
    return np.argsort(keys, axis=-1, kind="stable")


def _keep(logits: Logits, order: npt.NDArray[np.intp], kept: npt.NDArray[np.bool_]) -> Logits:
    """`logits` where `kept`, which is given in the order of `order`, else −∞."""
    mask = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(mask, order, kept, axis=-1)
    return np.where(mask, logits, -np.inf)


def top_k(k: int) -> Filter:
    """Keeps the `k` likeliest (Fan et al., 2018). A `k` as wide as the vocabulary keeps all."""

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        if k >= logits.shape[-1]:
            return logits
        order = _order(-logits)
        return _keep(logits, order, np.broadcast_to(np.arange(logits.shape[-1]) < k, logits.shape))

    return apply


def top_p(p: float) -> Filter:
    """Keeps the smallest set of likeliest tokens whose probability reaches `p` (Holtzman et al., 2020, nucleus)."""

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        return _smallest_set(logits, _order(-logits), p)

    return apply


def min_p(share: float) -> Filter:
    """Keeps tokens at least `share` times as likely as the likeliest (Nguyen et al., 2024)."""

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        with np.errstate(divide="ignore"):
            floor = logits.max(axis=-1, keepdims=True) + np.log(share)
        return np.where(logits >= floor, logits, -np.inf)

    return apply


def typical_p(p: float) -> Filter:
    """Keeps the tokens whose surprise is nearest the entropy until they hold `p` (Meister et al., 2023)."""

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        logs = log_softmax(logits)
        distance = np.abs(-logs - entropies(logs))  # +∞ for what is already forbidden: last in the order
        return _smallest_set(logits, _order(distance), p)

    return apply


def _smallest_set(logits: Logits, order: npt.NDArray[np.intp], p: float) -> Logits:
    """Keeps tokens in `order` until their probability reaches `p`; the one that reaches it is kept."""
    if p >= 1:
        return logits
    ordered = np.take_along_axis(softmax(logits), order, axis=-1)
    before = np.cumsum(ordered, axis=-1) - ordered
    kept = before < p
    kept[..., 0] = True
    return _keep(logits, order, kept)


def xtc(probability: float, threshold: float) -> Filter:
    """Excludes top choices (p-e-w, 2024, in text-generation-webui): where the row's coin is below `probability`, all
    tokens with at least `threshold` of the probability go, but for the least likely of them (the highest id of
    equals)."""

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        if not len(rows.coins):
            return logits
        heads = np.asarray(rows.coins)[:, None] < probability
        gone = (softmax(logits) >= threshold).sum(axis=-1, keepdims=True) - 1
        kept = (np.arange(logits.shape[-1]) >= gone) | ~heads
        return _keep(logits, _order(-logits), kept)

    return apply


def mirostat(tau: float) -> Filter:
    """Cuts what is more surprising than the row's limit; the likeliest is kept (Basu et al., 2021, algorithm 2).

    The limit begins at 2 `tau` bits. After each draw `eta` · (surprise − `tau`) is taken from it (`next_mirostat_limit`), where
    the surprise is that of the token drawn before this cut. The other cuts are not needed beside it; where they are
    asked for, it sees what they leave.
    """

    def apply(logits: Logits, rows: FilterContext) -> Logits:
        limits = np.asarray(rows.limits if len(rows.limits) else [2 * tau] * len(logits))[:, None]
        bits = -log_softmax(logits) / np.log(2)
        best = logits.argmax(axis=-1, keepdims=True)
        return np.where((bits <= limits) | (np.arange(logits.shape[-1]) == best), logits, -np.inf)

    return apply


def next_mirostat_limit(limit: float, bits: float, tau: float, eta: float) -> float:
    """What mirostat's limit is after a token of so many bits."""
    return limit - eta * (bits - tau)


@dataclass(frozen=True)
class ResolvedNames:
    """What the options say by name, as ids of one vocabulary (see `naming.named`)."""

    bias: tuple[tuple[int, float], ...] = ()
    event_temperatures: tuple[EventTemperature, ...] = ()
    sequence_breakers: SequenceBreakers | None = None


def _penalised(o: SampleOptions, names: ResolvedNames) -> Filter | None:
    return repetition_penalty(o.repetition_penalty, o.repetition_window) if o.repetition_penalty != 1 else None


def _not_repeating(o: SampleOptions, names: ResolvedNames) -> Filter | None:
    if not o.dry_multiplier:
        return None
    return dry(o.dry_multiplier, o.dry_base, o.dry_allowed_length, o.dry_window, names.sequence_breakers)


def _tempered(o: SampleOptions, names: ResolvedNames) -> Filter | None:
    common = temperature(o.temperature) if o.temperature != 1 else None
    if o.dynatemp_range:
        common = dynamic_temperature(o.temperature, o.dynatemp_range, o.dynatemp_exponent)
    return temperatures_of(names.event_temperatures, common) if names.event_temperatures else common


# The order in which filters run, and when the options ask for one. A `None` is no filter.
FILTER_ORDER: tuple[tuple[str, Callable[[SampleOptions, ResolvedNames], Filter | None]], ...] = (
    ("logit_bias", lambda o, names: logit_bias(names.bias) if names.bias else None),
    ("repetition_penalty", _penalised),
    ("dry_multiplier", _not_repeating),
    ("temperature", _tempered),
    ("top_k", lambda o, names: top_k(o.top_k) if o.top_k else None),
    ("top_p", lambda o, names: top_p(o.top_p) if o.top_p < 1 else None),
    ("min_p", lambda o, names: min_p(o.min_p) if o.min_p else None),
    ("typical_p", lambda o, names: typical_p(o.typical_p) if o.typical_p < 1 else None),
    ("xtc_probability", lambda o, names: xtc(o.xtc_probability, o.xtc_threshold) if o.xtc_probability else None),
    ("mirostat_tau", lambda o, names: mirostat(o.mirostat_tau) if o.mirostat_tau else None),
)


class FilterChain:
    """All the filters that `options` asks for as one, after the forbidden tokens are taken out."""

    def __init__(
        self, options: SampleOptions, forbidden: Sequence[int] = (), names: ResolvedNames | None = None
    ) -> None:
        self.options, self.forbidden = options, tuple(forbidden)
        if names is None and (options.logit_bias or options.temperature_of):
            raise ValueError("what the options name is not known without a vocabulary")
        self.names = names or ResolvedNames()
        made = [(name, some) for name, make in FILTER_ORDER if (some := make(options, self.names)) is not None]
        self._filters = [some for name, some in made if name != "mirostat_tau"]
        self._last = dict(made).get("mirostat_tau")
        if forbidden:
            self._filters.insert(0, suppress_tokens(forbidden))

    @property
    def window(self) -> int:
        """How many ids of the history the filters look at, at most."""
        o = self.options
        return max(o.repetition_window * (o.repetition_penalty != 1), o.dry_window * (o.dry_multiplier > 0))

    def __call__(
        self, logits: Logits, history: History, coins: Sequence[float] = (), limits: Sequence[float] = ()
    ) -> Logits:
        rows = FilterContext(history, coins, limits)
        return self.cut(self.before(logits, rows), rows)

    def before(self, logits: Logits, rows: FilterContext) -> Logits:
        """All but mirostat, which has to know what it cuts from."""
        for each in self._filters:
            logits = each(logits, rows)
        return logits

    def cut(self, logits: Logits, rows: FilterContext) -> Logits:
        """Mirostat, where it is asked for."""
        return self._last(logits, rows) if self._last else logits
