"""Filters: pure functions from logits to logits, and the chain that runs them.

A filter takes logits of shape (rows, vocabulary) and a `FilterContext`, and returns new logits in which removed tokens
are −∞. It never modifies its arguments and never removes every token. The rows of `specs.filters` say which filters
there are and in which order they run: each sees the renormalised distribution that the earlier ones left. Ties are
broken by id, lower first, so that top-k keeps exactly k and equal seeds give equal bytes on every machine.

`native/filters.c` implements the same filters; the tests compare it with these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.config import SampleOptions, flag_name
from seqgen.errors import UserError
from seqgen.specs.filters import filter_rows
from seqgen.specs.registry import resolve

Logits = npt.NDArray[np.float64]
History = Sequence[Sequence[int]]

MAX_PENALTY = 1e4  # nats a repetition can cost: beyond any logit, and no overflow
MAX_LIMIT = 2048.0  # bits of mirostat's limit: no token that can be drawn is as surprising


@dataclass(frozen=True)
class FilterContext:
    """What a filter may know of each row besides its logits.

    Attributes:
        history: the ids of the prompt and those drawn so far.
        uniforms: a number in [0, 1) from each row's own random stream, new at every step; empty where none is drawn.
            A chain takes an array of shape (rows, filters that need one).
        limits: the limit of a stateful filter for each row; empty for its initial one.
    """

    history: History = ()
    uniforms: Any = ()
    limits: Sequence[float] = ()


Filter = Callable[[Logits, FilterContext], Logits]


class StatefulFilter(Protocol):
    """A filter with a limit for each row that adapts to the drawn tokens."""

    initial_limit: float

    def __call__(self, logits: Logits, context: FilterContext) -> Logits: ...

    def next_limit(self, limit: float, bits: float) -> float:
        """The limit after a token of this surprise, measured before the filter."""
        ...


# --- probabilities ----------------------------------------------------------------------------------------------------


def softmax(logits: Logits) -> Logits:
    """Probabilities along the last axis; −∞ gives exactly 0."""
    shifted: Logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_softmax(logits: Logits) -> Logits:
    """Log-probabilities along the last axis, accurate for improbable tokens too."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Logits = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def target_nats(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Cross-entropy of each target in nats, summed in float64.

    Args:
        logits: shape (tokens, vocabulary).
        targets: ids, shape (tokens,).
    """
    largest = logits.max(axis=1)
    sums = np.exp(logits - largest[:, None]).sum(axis=1, dtype=np.float64)
    nats: npt.NDArray[np.float64] = np.log(sums) + largest - logits[np.arange(len(targets)), targets]
    return nats


def entropies(log_probs: Logits) -> Logits:
    """Entropy of each row in nats, shape (rows, 1), from log-probabilities."""
    with np.errstate(invalid="ignore"):
        result: Logits = -np.where(np.isneginf(log_probs), 0.0, np.exp(log_probs) * log_probs).sum(
            axis=-1, keepdims=True
        )
    return result


# --- single tokens ----------------------------------------------------------------------------------------------------


def suppress_tokens(tokens: Sequence[int]) -> Filter:
    """Remove these tokens: control tokens where they have no meaning."""
    ids = np.asarray(tokens, dtype=np.intp)

    def apply(logits: Logits, context: FilterContext) -> Logits:
        result = logits.copy()
        result[:, ids] = -np.inf
        return result

    return apply


def logit_bias(bias: Sequence[tuple[int, float]]) -> Filter:
    """Add a value to the logits of some tokens, given as pairs of an id and a number."""

    def apply(logits: Logits, context: FilterContext) -> Logits:
        result = logits.copy()
        for token, value in bias:
            result[:, token] += value
        return result

    return apply


def make_logit_bias(options: SampleOptions, bias: Sequence[tuple[int, float]] | None) -> Filter | None:
    """The filter of `--logit-bias`. Raises `ValueError` if its tokens weren't resolved."""
    if options.logit_bias and bias is None:
        raise ValueError("logit_bias needs a vocabulary: resolve its tokens first")
    return logit_bias(bias) if bias else None


def repetition_penalty(penalty: float, window: int) -> Filter:
    """Divide the positive logits of the last `window` tokens by `penalty`, and multiply negative ones by it.

    Keskar et al., 2019 (CTRL), eq. 2, extended to negative logits as in common use.
    """

    def apply(logits: Logits, context: FilterContext) -> Logits:
        result = logits.copy()
        for row, tokens in enumerate(context.history):
            recent = np.unique(np.asarray(tokens[-window:], dtype=np.intp))
            values = result[row, recent]
            result[row, recent] = np.where(values > 0, values / penalty, values * penalty)
        return result

    return apply


def make_repetition_penalty(options: SampleOptions, resolved: object) -> Filter | None:
    """The filter of `--repetition-penalty`."""
    if options.repetition_penalty == 1:
        return None
    return repetition_penalty(options.repetition_penalty, options.repetition_window)


def count_penalty(each: float, once: float, window: int) -> Filter:
    """Subtract `each` from a token's logit for every time it occurs in the last `window` tokens, and `once` if it does.

    These are the frequency and presence penalties of OpenAI's API.
    """

    def apply(logits: Logits, context: FilterContext) -> Logits:
        result = logits.copy()
        for row, tokens in enumerate(context.history):
            recent, counts = np.unique(np.asarray(tokens[-window:], dtype=np.intp), return_counts=True)
            result[row, recent] -= each * counts + once
        return result

    return apply


def make_frequency_penalty(options: SampleOptions, resolved: object) -> Filter | None:
    """The filter of `--frequency-penalty`."""
    if options.frequency_penalty == 0:
        return None
    return count_penalty(options.frequency_penalty, 0, options.repetition_window)


def make_presence_penalty(options: SampleOptions, resolved: object) -> Filter | None:
    """The filter of `--presence-penalty`."""
    if options.presence_penalty == 0:
        return None
    return count_penalty(0, options.presence_penalty, options.repetition_window)


@dataclass(frozen=True)
class SequenceBreakers:
    """An automaton over tokens that finds where a sequence breaker ends, however it is tokenized.

    Attributes:
        table: shape (states, vocabulary), int32: the next state s, or −1 − s if a breaker ended in the token.
        longest: bytes of the longest breaker; after as many tokens the state is certain.
    """

    table: npt.NDArray[np.int32]
    longest: int

    def read(self, tokens: Sequence[int]) -> tuple[list[bool], int]:
        """Whether a breaker ended in each of `tokens`, and the state after them."""
        found, state = [], 0
        for token in tokens:
            state = int(self.table[state, token])
            found.append(state < 0)
            state = -1 - state if state < 0 else state
        return found, state


def dry(
    multiplier: float, base: float, allowed: int, window: int, sequence_breakers: SequenceBreakers | None = None
) -> Filter:
    """Penalise tokens that would extend a repetition: Don't Repeat Yourself (p-e-w, 2024, text-generation-webui).

    Where the last n ≥ `allowed` tokens also occur earlier within the last `window` tokens, the token that followed them
    there loses `multiplier` · `base`^(n − `allowed`) from its logit. If there are several such occurrences, the largest
    n counts. A repetition never contains a token in which a breaker ends, and such tokens aren't penalised.
    """

    def apply(logits: Logits, context: FilterContext) -> Logits:
        result = logits.copy()
        for row, tokens in enumerate(context.history):
            recent = list(tokens[-window:])
            breaks = [False] * len(recent)
            if sequence_breakers is not None:  # a breaker may begin before the window
                breaks = sequence_breakers.read(tokens[-window - sequence_breakers.longest :])[0][-window:]
            for token, length in repetitions(recent, breaks).items():
                if length >= allowed:
                    with np.errstate(over="ignore"):
                        penalty = multiplier * np.float64(base) ** (length - allowed)
                    result[row, token] -= min(penalty, MAX_PENALTY)
        return result

    return apply


def make_dry(options: SampleOptions, sequence_breakers: SequenceBreakers | None) -> Filter | None:
    """The filter of `--dry-multiplier`."""
    if not options.dry_multiplier:
        return None
    o = options
    return dry(o.dry_multiplier, o.dry_base, o.dry_allowed_length, o.dry_window, sequence_breakers)


def repetitions(tokens: Sequence[int], breaks: Sequence[bool]) -> dict[int, int]:
    """Tokens that followed an earlier copy of the last tokens, and the length of the longest such copy."""
    reverse, ends = tokens[::-1], breaks[::-1]
    limit = next((index for index, ended in enumerate(ends) if ended), len(reverse))  # since the last breaker
    found: dict[int, int] = {}
    for index, length in enumerate(common_prefixes(reverse)):
        length = min(length, limit)
        if index and length and not ends[index - 1]:
            token = reverse[index - 1]
            found[token] = max(found.get(token, 0), length)
    return found


def common_prefixes(tokens: Sequence[int]) -> list[int]:
    """For each suffix, the length of its common prefix with the whole: the Z-algorithm (Gusfield, 1997, 1.4).

    Its time is linear, however repetitive the tokens are.
    """
    size = len(tokens)
    found = [size] * size
    left = right = 0  # the match found so far that reaches furthest right
    for index in range(1, size):
        length = min(right - index, found[index - left]) if index < right else 0
        while index + length < size and tokens[length] == tokens[index + length]:
            length += 1
        if index + length > right:
            left, right = index, index + length
        found[index] = length
    return found


# --- temperature ------------------------------------------------------------------------------------------------------


def temperature(value: float) -> Filter:
    """Divide by `value`; 0 keeps only the likeliest token of each row, the lowest id of equals."""

    def apply(logits: Logits, context: FilterContext) -> Logits:
        return _divided(logits, np.full((len(logits), 1), value))

    return apply


def dynamic_temperature(value: float, spread: float, exponent: float) -> Filter:
    """A temperature for each row by its entropy (kalomaze, 2023, in KoboldCpp and llama.cpp).

    With H the entropy of the row, n the number of its possible tokens, low = max(0, `value` − `spread`) and
    high = `value` + `spread`, it is low + (high − low) · (H / ln n)^`exponent`. A row with a single possible token
    stays as it is.
    """
    low, high = max(0.0, value - spread), value + spread

    def apply(logits: Logits, context: FilterContext) -> Logits:
        counts = (~np.isneginf(logits)).sum(axis=-1, keepdims=True)
        fraction = entropies(log_softmax(logits)) / np.log(np.maximum(counts, 2))
        chosen = low + (high - low) * np.clip(fraction, 0, 1) ** exponent
        return np.where(counts > 1, _divided(logits, chosen), logits)

    return apply


def _divided(logits: Logits, by: Logits) -> Logits:
    """`logits` divided by a number for each row, shape (rows, 1), after the largest is shifted to 0."""
    best = logits.argmax(axis=-1, keepdims=True)
    greedy = np.where(np.arange(logits.shape[-1]) == best, 0.0, -np.inf)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # A tiny divisor sends all but the likeliest to −∞, as it should.
        return np.where(by > 0, (logits - logits.max(axis=-1, keepdims=True)) / by, greedy)


@dataclass(frozen=True)
class EventTemperature:
    """The temperature among the tokens from `first` to `last`, exclusive."""

    first: int
    last: int
    temperature: float


def temperatures_of(event_temperatures: Sequence[EventTemperature], common: Filter | None) -> Filter:
    """A separate temperature within each of some token ranges, which don't overlap.

    The probability of a range as a whole is the one that `common` gives. Within it, the range's own temperature
    applies: log p(range) + log softmax of its logits / its temperature.
    """

    def apply(logits: Logits, context: FilterContext) -> Logits:
        log_probs = log_softmax(common(logits, context) if common else logits)
        result = log_probs.copy()
        for event in event_temperatures:
            own = slice(event.first, event.last)
            possible = ~np.isneginf(log_probs[:, own]).all(axis=-1)
            if possible.any():
                mass = np.logaddexp.reduce(log_probs[possible, own], axis=-1, keepdims=True)
                within = temperature(event.temperature)(logits[possible, own], context)
                result[possible, own] = mass + log_softmax(within)
        return result

    return apply


def make_temperature(options: SampleOptions, event_temperatures: Sequence[EventTemperature] | None) -> Filter | None:
    """The filter of `--temperature`, `--dynatemp-range` and `--temperature-of`.

    Raises `ValueError` if the events of the last weren't resolved.
    """
    if options.temperature_of and event_temperatures is None:
        raise ValueError("temperature_of needs a vocabulary: resolve its events first")
    common = temperature(options.temperature) if options.temperature != 1 else None
    if options.dynatemp_range:
        common = dynamic_temperature(options.temperature, options.dynatemp_range, options.dynatemp_exponent)
    return temperatures_of(event_temperatures, common) if event_temperatures else common


# --- truncation -------------------------------------------------------------------------------------------------------


def _order(keys: Logits) -> npt.NDArray[np.intp]:
    """Ids by rising key, ties by id."""
    return np.argsort(keys, axis=-1, kind="stable")


def _keep(logits: Logits, order: npt.NDArray[np.intp], kept: npt.NDArray[np.bool_]) -> Logits:
    """`logits` where `kept`, given in the order of `order`, is true; −∞ elsewhere."""
    mask = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(mask, order, kept, axis=-1)
    return np.where(mask, logits, -np.inf)


def _smallest_set(logits: Logits, order: npt.NDArray[np.intp], p: float) -> Logits:
    """Keep tokens in `order` until their probability reaches `p`, including the one that reaches it."""
    if p >= 1:
        return logits
    ordered = np.take_along_axis(softmax(logits), order, axis=-1)
    before = np.cumsum(ordered, axis=-1) - ordered
    kept = before < p
    kept[..., 0] = True
    return _keep(logits, order, kept)


def top_k(k: int) -> Filter:
    """Keep the `k` likeliest tokens (Fan et al., 2018)."""

    def apply(logits: Logits, context: FilterContext) -> Logits:
        if k >= logits.shape[-1]:
            return logits
        order = _order(-logits)
        return _keep(logits, order, np.broadcast_to(np.arange(logits.shape[-1]) < k, logits.shape))

    return apply


def make_top_k(options: SampleOptions, resolved: object) -> Filter | None:
    """The filter of `--top-k`."""
    return top_k(options.top_k) if options.top_k else None


def top_p(p: float) -> Filter:
    """Keep the smallest set of likeliest tokens whose probability reaches `p`: nucleus (Holtzman et al., 2020)."""

    def apply(logits: Logits, context: FilterContext) -> Logits:
        return _smallest_set(logits, _order(-logits), p)

    return apply


def make_top_p(options: SampleOptions, resolved: object) -> Filter | None:
    """The filter of `--top-p`."""
    return top_p(options.top_p) if options.top_p < 1 else None


def min_p(fraction: float) -> Filter:
    """Keep tokens at least `fraction` times as likely as the likeliest (Nguyen et al., 2024)."""

    def apply(logits: Logits, context: FilterContext) -> Logits:
        with np.errstate(divide="ignore"):
            floor = logits.max(axis=-1, keepdims=True) + np.log(fraction)
        return np.where(logits >= floor, logits, -np.inf)

    return apply


def make_min_p(options: SampleOptions, resolved: object) -> Filter | None:
    """The filter of `--min-p`."""
    return min_p(options.min_p) if options.min_p else None


def typical_p(p: float) -> Filter:
    """Keep the tokens whose surprise is closest to the entropy until they reach `p` (Meister et al., 2023)."""

    def apply(logits: Logits, context: FilterContext) -> Logits:
        log_probs = log_softmax(logits)
        distance = np.abs(-log_probs - entropies(log_probs))  # +∞ for removed tokens: last in the order
        return _smallest_set(logits, _order(distance), p)

    return apply


def make_typical_p(options: SampleOptions, resolved: object) -> Filter | None:
    """The filter of `--typical-p`."""
    return typical_p(options.typical_p) if options.typical_p < 1 else None


def xtc(probability: float, threshold: float) -> Filter:
    """Exclude top choices (p-e-w, 2024, text-generation-webui).

    Where the row's uniform number is below `probability`, all tokens of at least `threshold` are removed but the least
    likely of them (the highest id of equals). Without uniform numbers nothing is.
    """

    def apply(logits: Logits, context: FilterContext) -> Logits:
        if not len(context.uniforms):
            return logits
        active = np.asarray(context.uniforms)[:, None] < probability
        removed = (softmax(logits) >= threshold).sum(axis=-1, keepdims=True) - 1
        kept = (np.arange(logits.shape[-1]) >= removed) | ~active
        return _keep(logits, _order(-logits), kept)

    return apply


def make_xtc(options: SampleOptions, resolved: object) -> Filter | None:
    """The filter of `--xtc-probability`."""
    return xtc(options.xtc_probability, options.xtc_threshold) if options.xtc_probability else None


class Mirostat:
    """Remove tokens more surprising than the row's limit, but for the likeliest (Basu et al., 2021, algorithm 2).

    The limit begins at 2 `tau` bits. After each draw it falls by `eta` · (surprise − `tau`), where the surprise is that
    of the token before this filter. Combined with other truncation, it sees what they leave. Where the tokens can't be
    as surprising as `tau`, or not as little, the limit stops at ±`MAX_LIMIT`.
    """

    def __init__(self, tau: float, eta: float) -> None:
        self._tau, self._eta = tau, eta
        self.initial_limit = 2 * tau

    def __call__(self, logits: Logits, context: FilterContext) -> Logits:
        limits = np.asarray(context.limits if len(context.limits) else [self.initial_limit] * len(logits))[:, None]
        bits = -log_softmax(logits) / np.log(2)
        best = logits.argmax(axis=-1, keepdims=True)
        return np.where((bits <= limits) | (np.arange(logits.shape[-1]) == best), logits, -np.inf)

    def next_limit(self, limit: float, bits: float) -> float:
        """The limit after a token of this surprise."""
        return min(max(limit - self._eta * (bits - self._tau), -MAX_LIMIT), MAX_LIMIT)


def make_mirostat(options: SampleOptions, resolved: object) -> StatefulFilter | None:
    """The filter of `--mirostat-tau`."""
    return Mirostat(options.mirostat_tau, options.mirostat_eta) if options.mirostat_tau else None


# --- the chain --------------------------------------------------------------------------------------------------------


class FilterChain:
    """All filters that `options` turns on, as one, after the removal of `forbidden` tokens.

    Attributes:
        rows: the rows of the active filters, in order.
        resolved: ids of the texts and names in the options, by filter (see `token_names.resolve_names`).
        stateful: the filter with a limit, or None; it runs last.
        uniforms: random numbers that the filters need for each row and step.
    """

    def __init__(
        self, options: SampleOptions, forbidden: Sequence[int] = (), resolved: Mapping[str, Any] | None = None
    ) -> None:
        """Raises `ValueError` where an option names tokens or events and `resolved` is missing."""
        self.options, self.forbidden, self.resolved = options, tuple(forbidden), dict(resolved or {})
        made = [(row, resolve(row.implementation)(options, self.resolved.get(row.name))) for row in filter_rows()]
        active = [(row, some) for row, some in made if some is not None]
        self.rows = [row for row, _ in active]
        self._filters: list[tuple[Filter, bool]] = [(some, row.uniforms) for row, some in active if not row.stateful]
        if forbidden:
            self._filters.insert(0, (suppress_tokens(forbidden), False))
        stateful = {row.name: some for row, some in active if row.stateful}
        if len(stateful) > 1:
            raise UserError(f"cannot combine {' and '.join(map(flag_name, stateful))}: use one of them")
        self.stateful: StatefulFilter | None = next(iter(stateful.values()), None)
        self.uniforms = sum(row.uniforms for row in self.rows)

    @property
    def windows(self) -> dict[str, int]:
        """Past ids that each active filter reads at most, by its name."""
        return {row.name: getattr(self.options, row.window) for row in self.rows if row.window}

    @property
    def window(self) -> int:
        """Past ids that the filters read, at most."""
        return max(self.windows.values(), default=0)

    @property
    def is_compiled(self) -> bool:
        """Whether native/filters.c has all active filters."""
        return all(row.compiled for row in self.rows)

    @property
    def initial_limit(self) -> float:
        """The limit of a row at the beginning; 0 without a stateful filter."""
        return self.stateful.initial_limit if self.stateful else 0.0

    def __call__(self, logits: Logits, history: History, uniforms: Any = (), limits: Sequence[float] = ()) -> Logits:
        context = FilterContext(history, uniforms, limits)
        return self.apply_stateful(self.apply_stateless(logits, context), context)

    def apply_stateless(self, logits: Logits, context: FilterContext) -> Logits:
        """All filters but the stateful one, which has to know the surprise of tokens before it."""
        column = 0
        for each, needs_uniforms in self._filters:
            own = context
            if needs_uniforms and len(context.uniforms):
                own = replace(context, uniforms=np.asarray(context.uniforms)[:, column])
                column += 1
            logits = each(logits, own)
        return logits

    def apply_stateful(self, logits: Logits, context: FilterContext) -> Logits:
        """The stateful filter, if there is one."""
        return self.stateful(logits, context) if self.stateful else logits


def check_beam_options(options: SampleOptions) -> None:
    """Raise `UserError` for filters that work on drawn tokens only: beam search draws none."""
    unfit = [row for row in filter_rows() if row.uniforms or row.stateful]
    given = [row.name for row in unfit if getattr(options, row.name) != row.options[0].default]
    if given:
        flags = " or ".join(flag_name(name) for name in given)
        raise UserError(f"cannot use {flags} with --beam: beam search draws nothing at random; leave one of them out")
