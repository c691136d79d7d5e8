"""Filters: pure functions from logits to logits, closed over their settings, in one fixed order.

A filter takes the logits, shape (batch, vocabulary), and the history of each row, and returns new logits; what it
forbids becomes −∞. It never writes to its arguments. `Chain` is the filters that a `SampleOptions` asks for:

    repetition penalty → temperature → top-k → top-p → min-p → typical-p

Each later filter sees the distribution, renormalised, that the earlier ones left. Ties at a border are broken by id,
lower first, so that top-k keeps exactly k and equal seeds give equal bytes everywhere. A filter never forbids all.
To add one: a function here, a row in `ORDER`, a field in `SampleOptions`, and its like in `native/draw.c`, which runs
where it is compiled and is compared with what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from seqgen.config import SampleOptions

Logits = npt.NDArray[np.float64]
History = Sequence[Sequence[int]]
Filter = Callable[[Logits, History], Logits]


def softmax(logits: Logits) -> Logits:
    """Probabilities along the last axis; −∞ gives exactly 0."""
    shifted: Logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_softmax(logits: Logits) -> Logits:
    """Logarithms of `softmax`, accurate for the improbable too."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Logits = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _order(keys: Logits) -> npt.NDArray[np.intp]:
    """Ids by rising key, ties by id."""
    return np.argsort(keys, axis=-1, kind="stable")


def _keep(logits: Logits, order: npt.NDArray[np.intp], kept: npt.NDArray[np.bool_]) -> Logits:
    """`logits` where `kept`, which is given in the order of `order`, else −∞."""
    mask = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(mask, order, kept, axis=-1)
    return np.where(mask, logits, -np.inf)


def repetition_penalty(penalty: float, window: int) -> Filter:
    """Positive logits of the last `window` tokens are divided by `penalty`, negative ones multiplied (Keskar et al.,
    2019, CTRL, eq. 2, over the sign as in common use)."""

    def apply(logits: Logits, history: History) -> Logits:
        result = logits.copy()
        for row, tokens in enumerate(history):
            recent = np.unique(np.asarray(tokens[-window:], dtype=np.intp))
            values = result[row, recent]
            result[row, recent] = np.where(values > 0, values / penalty, values * penalty)
        return result

    return apply


def temperature(value: float) -> Filter:
    """Divides by `value`; 0 leaves only the likeliest token of each row, the lowest id of equals."""

    def apply(logits: Logits, history: History) -> Logits:
        if value > 0:
            with np.errstate(over="ignore"):  # a tiny value sends all but the likeliest to −∞, as it should
                return (logits - logits.max(axis=-1, keepdims=True)) / value
        best = logits.argmax(axis=-1, keepdims=True)
        return np.where(np.arange(logits.shape[-1]) == best, 0.0, -np.inf)

    return apply


def top_k(k: int) -> Filter:
    """Keeps the `k` likeliest (Fan et al., 2018). A `k` as wide as the vocabulary keeps all."""

    def apply(logits: Logits, history: History) -> Logits:
        if k >= logits.shape[-1]:
            return logits
        order = _order(-logits)
        return _keep(logits, order, np.broadcast_to(np.arange(logits.shape[-1]) < k, logits.shape))

    return apply


def top_p(p: float) -> Filter:
    """Keeps the smallest set of likeliest tokens whose probability reaches `p` (Holtzman et al., 2020, nucleus)."""

    def apply(logits: Logits, history: History) -> Logits:
        return _smallest_set(logits, _order(-logits), p)

    return apply


def min_p(share: float) -> Filter:
    """Keeps tokens at least `share` times as likely as the likeliest (Nguyen et al., 2024)."""

    def apply(logits: Logits, history: History) -> Logits:
        with np.errstate(divide="ignore"):
            floor = logits.max(axis=-1, keepdims=True) + np.log(share)
        return np.where(logits >= floor, logits, -np.inf)

    return apply


def typical_p(p: float) -> Filter:
    """Keeps the tokens whose surprise is nearest the entropy until they hold `p` (Meister et al., 2023)."""

    def apply(logits: Logits, history: History) -> Logits:
        logs = log_softmax(logits)
        with np.errstate(invalid="ignore"):
            entropy = -np.nansum(np.where(np.isneginf(logs), 0.0, np.exp(logs) * logs), axis=-1, keepdims=True)
        distance = np.abs(-logs - entropy)  # +∞ for what is already forbidden: last in the order
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


def forbid(tokens: Sequence[int]) -> Filter:
    """Never these tokens: control tokens where they have no meaning."""
    ids = np.asarray(tokens, dtype=np.intp)

    def apply(logits: Logits, history: History) -> Logits:
        result = logits.copy()
        result[:, ids] = -np.inf
        return result

    return apply


# The order in which filters run, and when the options ask for one. A `None` is no filter.
ORDER: tuple[tuple[str, Callable[[SampleOptions], Filter | None]], ...] = (
    (
        "repetition_penalty",
        lambda o: repetition_penalty(o.repetition_penalty, o.repetition_window) if o.repetition_penalty != 1 else None,
    ),
    ("temperature", lambda o: temperature(o.temperature) if o.temperature != 1 else None),
    ("top_k", lambda o: top_k(o.top_k) if o.top_k else None),
    ("top_p", lambda o: top_p(o.top_p) if o.top_p < 1 else None),
    ("min_p", lambda o: min_p(o.min_p) if o.min_p else None),
    ("typical_p", lambda o: typical_p(o.typical_p) if o.typical_p < 1 else None),
)


class Chain:
    """All the filters that `options` asks for as one, after the forbidden tokens are taken out."""

    def __init__(self, options: SampleOptions, forbidden: Sequence[int] = ()) -> None:
        self.options, self.forbidden = options, tuple(forbidden)
        self._filters = [made for _, make in ORDER if (made := make(options)) is not None]
        if forbidden:
            self._filters.insert(0, forbid(forbidden))

    def __call__(self, logits: Logits, history: History) -> Logits:
        for each in self._filters:
            logits = each(logits, history)
        return logits
