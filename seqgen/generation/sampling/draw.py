"""Drawing ids from a model, under filters: the thin layer below text and music.

Every sample draws from a random stream of its own, keyed by (seed, index): sample 3 is the same alone or among 100.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.generation.engines.base import Engine
from seqgen.generation.sampling.filters import (
    FilterChain,
    FilterContext,
    Logits,
    log_softmax,
    next_mirostat_limit,
    softmax,
)
from seqgen.generation.sampling.native_draw import NativeSampler
from seqgen.native import library
from seqgen.tokenizers import Codec, Ids

_LONGEST_WINDOW = 1 << 14  # of a penalty, whose ids are kept twice for each stream
_MANY = 32  # streams from which on it pays to work out the next step while somebody takes what was drawn
_AT_A_TIME = 4  # random numbers that Philox makes for each value of its counter


@dataclass(frozen=True)
class PrimedState:
    """A prompt that was read once: what any number of samples go on from."""

    history: list[int]
    last: int  # the id still to be stepped on: its logits are the first ones needed
    state: object
    drawn: int = 0  # random numbers that went before: every stream goes on behind so many of its own
    limit: float | None = None  # mirostat's, where a text is gone on with


def prime(engine: Engine, codec: Codec, begin: Ids) -> PrimedState:
    """Reads `end` (something new begins) and then the ids of a prompt, which may be none."""
    ids = np.concatenate([np.array([codec.end], dtype=np.int32), begin])
    return PrimedState(ids[1:].tolist(), int(ids[-1]), engine.read(ids[:-1], engine.initial(1)))


def extend_primed(engine: Engine, primed: PrimedState, more: Ids) -> PrimedState:
    """The same after more ids, which may be none."""
    if not len(more):
        return primed
    ids = np.concatenate([np.array([primed.last], dtype=np.int32), more])
    state = engine.read(ids[:-1], primed.state)
    return PrimedState([*primed.history, *more.tolist()], int(ids[-1]), state, primed.drawn, primed.limit)


def draw(probabilities: Logits, uniform: float) -> int:
    """The id at which the running sum of `probabilities`, shape (vocabulary,), passes `uniform` in [0, 1)."""
    sums = np.cumsum(probabilities)
    token = int(np.searchsorted(sums, uniform * sums[-1], side="right"))
    if token >= len(sums) or probabilities[token] == 0:  # rounding at the very end
        token = int(np.flatnonzero(probabilities)[-1])
    return token


def random_stream(seed: int, index: int, drawn: int = 0) -> np.random.Generator:
    """The random numbers of sample `index`, without the first `drawn`: a counter-based generator, so streams never
    overlap (Salmon, 2011)."""
    stream = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
    stream.bit_generator.advance(drawn // _AT_A_TIME)  # type: ignore[attr-defined]
    stream.random(drawn % _AT_A_TIME)
    return stream


def stream_position(stream: np.random.Generator) -> int:
    """How many random numbers a stream has given."""
    state = stream.bit_generator.state
    counter = sum(int(word) << (64 * place) for place, word in enumerate(state["state"]["counter"]))
    return _AT_A_TIME * counter - (_AT_A_TIME - int(state["buffer_pos"]))


@dataclass
class SamplerState:
    """Where streams have got to: `ids` keeps it true at every step that it yields."""

    state: Any = None
    last: list[int] = field(default_factory=list)  # the ids still to be stepped on
    streams: list[np.random.Generator] = field(default_factory=list)
    limits: Sequence[float] = ()  # mirostat's


class Guide(Protocol):
    """What one stream may hold, beyond what filters know: a grammar."""

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which ids may come next, shape (vocabulary,); never none."""
        ...

    def push(self, token: int) -> bool:
        """Takes the id that was drawn. Whether the repetition filters count it."""
        ...


def ids(
    engine: Engine,
    primed: PrimedState,
    filters: FilterChain,
    seed: int,
    indices: Sequence[int],
    guides: Sequence[Guide] = (),
    constraints: Sequence[Guide] = (),
    where: SamplerState | None = None,
) -> Iterator[list[tuple[int, float]]]:
    """For every step the id drawn and its log-probability, of each of `indices` side by side, without end.

    Args:
        filters: from logits to the logits that are drawn from.
        guides: one a stream, or none. What they forbid has no probability before the filters and in the
            log-probabilities: it is not in the model's language.
        constraints: likewise, but log-probabilities know nothing of them: they are what a person asks for. Where a
            guide and a constraint leave nothing together, the guide has no say.
        where: told where the streams are.
    """
    streams = [random_stream(seed, index, primed.drawn) for index in indices]
    drawing = make_sampler(filters, engine.vocab_size, primed.history, len(indices))
    if primed.limit is not None and filters.options.mirostat_tau:
        drawing.limits[:] = primed.limit
    # One number for the draw, and one for a coin where there is a filter that throws it.
    with_coin = filters.options.xtc_probability > 0
    fill = [(stream.random, drawing.numbers[row, : 1 + with_coin]) for row, stream in enumerate(streams)]
    state = engine.repeat(primed.state, len(indices))
    last: npt.NDArray[np.int64] = np.full(len(indices), primed.last, dtype=np.int64)
    ahead = ThreadPoolExecutor(1, "ahead") if len(indices) >= _MANY else None
    coming = ahead.submit(engine.step, last, state) if ahead else None
    while True:
        possible, allowed = _masks(guides), _masks(constraints)
        for random, numbers in fill:
            random(out=numbers)
        logits, state = coming.result() if coming else engine.step(last, state)
        tokens, logs = drawing.draw(logits, possible, allowed)
        for every in (guides, constraints):
            for row, guide in enumerate(every):
                if not guide.push(tokens[row]):
                    drawing.forget_last(row)
        last = np.array(tokens, dtype=np.int64)
        if ahead:
            coming = ahead.submit(engine.step, last, state)
        if where is not None:
            where.state, where.last, where.streams, where.limits = state, tokens, streams, drawing.limits.tolist()
        yield list(zip(tokens, logs, strict=True))


def _masks(guides: Sequence[Guide]) -> npt.NDArray[np.bool_] | None:
    """Shape (streams, vocabulary), or for one stream (vocabulary,): as it is, so that it can be known again."""
    if not guides:
        return None
    return guides[0].mask() if len(guides) == 1 else np.stack([guide.mask() for guide in guides])


class Sampler(Protocol):
    """One draw for each of some streams, under filters that know what was drawn before."""

    numbers: npt.NDArray[np.float64]
    """Shape (streams, 2), in [0, 1): for the next draw, and for its coin; to be filled before each."""
    limits: npt.NDArray[np.float64]
    """Of mirostat, shape (streams,)."""

    def draw(
        self,
        logits: npt.NDArray[np.float32],
        possible: npt.NDArray[np.bool_] | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[list[int], list[float]]:
        """Ids, and their log-probabilities among what was `possible`, before the filters and whatever is `allowed`. All
        arguments have the shape (streams, vocabulary), but that masks of one stream may be without the first. What is
        drawn counts as history."""
        ...

    def forget_last(self, row: int) -> None:
        """Takes the last id of a stream out of its history."""
        ...


def make_sampler(filters: FilterChain, vocab_size: int, history: Sequence[int], streams: int) -> Sampler:
    """With the compiled kernel where there is one."""
    if library() is not None and filters.window <= _LONGEST_WINDOW:
        return NativeSampler(filters, vocab_size, history, streams)
    return NumpySampler(filters, history, streams)


class NumpySampler:
    """In numpy, by the filters' own definitions."""

    def __init__(self, filters: FilterChain, history: Sequence[int], streams: int) -> None:
        self._filters, self._options = filters, filters.options
        self._histories = [list(history) for _ in range(streams)]
        self.numbers = np.ones((streams, 2))
        self.limits = np.full(streams, 2 * self._options.mirostat_tau)

    def draw(
        self,
        logits: npt.NDArray[np.float32],
        possible: npt.NDArray[np.bool_] | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[list[int], list[float]]:
        exact = logits.astype(np.float64)
        if possible is not None:
            if allowed is not None:
                possible = possible | ~(possible & allowed).any(axis=-1, keepdims=True)
            exact = np.where(possible, exact, -np.inf)
        logs = log_softmax(exact)
        left = exact if allowed is None else np.where(allowed, exact, -np.inf)
        rows = FilterContext(self._histories, self.numbers[:, 1].tolist(), self.limits.tolist())
        before = self._filters.before(left, rows)
        shares = softmax(self._filters.cut(before, rows))
        tokens = [draw(row, uniform) for row, uniform in zip(shares, self.numbers[:, 0].tolist(), strict=True)]
        tau, eta = self._options.mirostat_tau, self._options.mirostat_eta
        if tau:
            bits = -log_softmax(before)[np.arange(len(tokens)), tokens] / np.log(2)
            self.limits[:] = [next_mirostat_limit(*pair, tau, eta) for pair in zip(self.limits, bits, strict=True)]
        for row, token in enumerate(tokens):
            self._histories[row].append(token)
        return tokens, logs[np.arange(len(tokens)), tokens].tolist()

    def forget_last(self, row: int) -> None:
        self._histories[row].pop()
