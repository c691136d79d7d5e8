"""Drawing ids from a model under filters: the layer below text and music.

Each sample draws from a random stream of its own, keyed by (seed, index): sample 3 is the same alone or among 100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.generation.engines.base import Engine
from seqgen.generation.sampling.filters import FilterChain, FilterContext, Logits, log_softmax, softmax
from seqgen.generation.sampling.native_draw import NativeSampler
from seqgen.native import library
from seqgen.tokenizers import Codec, Ids

MAX_NATIVE_WINDOW = 1 << 14  # past ids, of which the kernel stores two windows for each stream
_MIN_PREFETCH_STREAMS = 32  # from here on it pays to compute the next step while the caller handles this one
_PHILOX_BLOCK = 4  # random numbers for each value of Philox's counter


@dataclass(frozen=True)
class PrimedState:
    """The state after a prompt, from which any number of samples continue."""

    history: list[int]
    last: int  # the id still to be fed to the network, for the first logits
    state: object
    rng_offset: int = 0  # random numbers already drawn: each stream skips as many
    limit: float | None = None  # of a stateful filter, where a saved text is continued


def prime(engine: Engine, codec: Codec, begin: Ids) -> PrimedState:
    """Read `end`, after which something new begins, and then the ids of a prompt, which may be empty."""
    ids = np.concatenate([np.array([codec.end], dtype=np.int32), begin])
    return PrimedState(ids[1:].tolist(), int(ids[-1]), engine.read(ids[:-1], engine.initial(1)))


def extend_primed(engine: Engine, primed: PrimedState, more: Ids) -> PrimedState:
    """The state after more ids, which may be empty."""
    if not len(more):
        return primed
    ids = np.concatenate([np.array([primed.last], dtype=np.int32), more])
    state = engine.read(ids[:-1], primed.state)
    return PrimedState([*primed.history, *more.tolist()], int(ids[-1]), state, primed.rng_offset, primed.limit)


def draw(probabilities: Logits, uniform: float) -> int:
    """The id at which the cumulative sum of `probabilities`, shape (vocabulary,), passes `uniform` in [0, 1)."""
    sums = np.cumsum(probabilities)
    token = int(np.searchsorted(sums, uniform * sums[-1], side="right"))
    if token >= len(sums) or probabilities[token] == 0:  # rounding at the very end
        token = int(np.flatnonzero(probabilities)[-1])
    return token


def random_stream(seed: int, index: int, drawn: int = 0) -> np.random.Generator:
    """The random numbers of sample `index` after the first `drawn`.

    The generator is counter-based, so that streams never overlap (Philox; Salmon, 2011).
    """
    stream = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
    stream.bit_generator.advance(drawn // _PHILOX_BLOCK)  # type: ignore[attr-defined]
    stream.random(drawn % _PHILOX_BLOCK)
    return stream


def stream_position(stream: np.random.Generator) -> int:
    """The count of random numbers drawn from a stream."""
    state = stream.bit_generator.state
    counter = sum(int(word) << (64 * index) for index, word in enumerate(state["state"]["counter"]))
    return _PHILOX_BLOCK * counter - (_PHILOX_BLOCK - int(state["buffer_pos"]))


@dataclass
class SamplerState:
    """The current state of all streams, which `sample_ids` updates before each step that it yields."""

    state: Any = None
    last: list[int] = field(default_factory=list)  # the ids still to be fed to the network
    streams: list[np.random.Generator] = field(default_factory=list)
    limits: Sequence[float | None] = ()  # of a stateful filter; None where there is none


class Guide(Protocol):
    """Constraints on one stream beyond the filters, such as a grammar."""

    def mask(self) -> npt.NDArray[np.bool_]:
        """The ids that may come next, shape (vocabulary,); always at least one."""
        ...

    def push(self, token: int) -> bool:
        """Take the drawn id. Returns whether repetition filters count it."""
        ...


def sample_ids(
    engine: Engine,
    primed: PrimedState,
    filters: FilterChain,
    seed: int,
    indices: Sequence[int],
    guides: Sequence[Guide] = (),
    constraints: Sequence[Guide] = (),
    sampler_state: SamplerState | None = None,
) -> Iterator[list[tuple[int, float]]]:
    """Yield at each step the drawn id and its log-probability for each of `indices`, endlessly.

    Args:
        guides: one for each stream, or none. Ids that they exclude get no probability before the filters, nor in the
            log-probabilities: they aren't in the model's language.
        constraints: the same, for the user's own constraints: log-probabilities ignore them. Where a guide and a
            constraint leave no id together, the guide is ignored.
        sampler_state: kept up to date, for saving.
    """
    streams = [random_stream(seed, index, primed.rng_offset) for index in indices]
    step, sampler = _step_and_sampler(engine, filters, primed, len(indices), bool(guides or constraints))
    # One number for the draw, and one for each filter that needs any.
    fill = [(stream.random, sampler.uniforms[row, : 1 + filters.uniforms]) for row, stream in enumerate(streams)]
    state = engine.repeat(primed.state, len(indices))
    last: npt.NDArray[np.int64] = np.full(len(indices), primed.last, dtype=np.int64)
    pool = ThreadPoolExecutor(1, "prefetch") if len(indices) >= _MIN_PREFETCH_STREAMS else None
    try:
        pending = pool.submit(step, last, state) if pool else None
        while True:
            possible, allowed = _masks(guides), _masks(constraints)
            for random, uniforms in fill:
                random(out=uniforms)
            logits, state = pending.result() if pending else step(last, state)
            tokens, log_probs = sampler.draw(logits, possible, allowed)
            for every in (guides, constraints):
                for row, guide in enumerate(every):
                    if not guide.push(tokens[row]):
                        sampler.forget_last(row)
            last = np.array(tokens, dtype=np.int64)
            if pool:
                pending = pool.submit(step, last, state)
            if sampler_state is not None:
                sampler_state.state, sampler_state.last, sampler_state.streams = state, tokens, streams
                sampler_state.limits = sampler.limits.tolist() if filters.stateful else [primed.limit] * len(tokens)
            yield list(zip(tokens, log_probs, strict=True))
    finally:
        if pool:
            pool.shutdown()


def _step_and_sampler(
    engine: Engine, filters: FilterChain, primed: PrimedState, streams: int, guided: bool
) -> tuple[Callable[..., tuple[Any, Any]], Sampler]:
    """The function that reads an id in each stream, and the sampler that draws from its logits."""
    on_device = None if guided else engine.device_sampling(filters, streams)
    if on_device:
        return on_device
    return engine.step, make_sampler(filters, engine.vocab_size, primed.history, streams, primed.limit)


def _masks(guides: Sequence[Guide]) -> npt.NDArray[np.bool_] | None:
    """Shape (streams, vocabulary); for one stream (vocabulary,), as the guide made it, so that its identity stays."""
    if not guides:
        return None
    return guides[0].mask() if len(guides) == 1 else np.stack([guide.mask() for guide in guides])


class Sampler(Protocol):
    """One draw for each of several streams, under filters that see their histories."""

    uniforms: npt.NDArray[np.float64]
    """In [0, 1), for the next draw and its filters, shape (streams, 2 or more); to be filled before each."""
    limits: npt.NDArray[np.float64]
    """Of the stateful filter, shape (streams,)."""

    def draw(
        self,
        logits: npt.NDArray[np.float32],
        possible: npt.NDArray[np.bool_] | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[list[int], list[float]]:
        """Draw ids, and append them to the histories.

        Args:
            logits: shape (streams, vocabulary).
            possible: mask of the same shape, or for one stream (vocabulary,): the rest has no probability at all.
            allowed: mask alike: the rest isn't drawn, but has a probability.

        Returns:
            ids, and their log-probabilities before the filters among all that were `possible`.
        """
        ...

    def forget_last(self, row: int) -> None:
        """Remove the last id of a stream from its history."""
        ...


def is_compiled(filters: FilterChain) -> bool:
    """Whether the kernels can draw under these filters."""
    return library() is not None and filters.is_compiled and filters.window <= MAX_NATIVE_WINDOW


def make_sampler(
    filters: FilterChain, vocab_size: int, history: Sequence[int], streams: int, limit: float | None = None
) -> Sampler:
    """The compiled sampler, or the numpy one where a filter, or everything, isn't compiled.

    Args:
        limit: of the stateful filter, where a saved text is continued.
    """
    sampler: Sampler
    if is_compiled(filters):
        sampler = NativeSampler(filters, vocab_size, history, streams)
    else:
        sampler = NumpySampler(filters, history, streams)
    if limit is not None and filters.stateful:
        sampler.limits[:] = limit
    return sampler


class NumpySampler:
    """The reference sampler, made of the filters' numpy functions."""

    def __init__(self, filters: FilterChain, history: Sequence[int], streams: int) -> None:
        self._filters = filters
        self._histories = [list(history) for _ in range(streams)]
        self.uniforms = np.ones((streams, max(2, 1 + filters.uniforms)))
        self.limits = np.full(streams, filters.initial_limit)

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
        log_probs = log_softmax(exact)
        left = exact if allowed is None else np.where(allowed, exact, -np.inf)
        stateful, needed = self._filters.stateful, self._filters.uniforms
        context = FilterContext(self._histories, self.uniforms[:, 1 : 1 + needed], self.limits.tolist())
        before = self._filters.apply_stateless(left, context)
        probabilities = softmax(self._filters.apply_stateful(before, context))
        tokens = [draw(row, uniform) for row, uniform in zip(probabilities, self.uniforms[:, 0].tolist(), strict=True)]
        if stateful:
            bits = -log_softmax(before)[np.arange(len(tokens)), tokens] / np.log(2)
            limits = [stateful.next_limit(*pair) for pair in zip(self.limits, bits, strict=True)]
            # No surprise in an id that alone was left: it teaches the filter nothing.
            given = np.count_nonzero(left > -np.inf, axis=-1) <= 1
            self.limits[:] = np.where(given, self.limits, limits)
        for row, token in enumerate(tokens):
            self._histories[row].append(token)
        return tokens, log_probs[np.arange(len(tokens)), tokens].tolist()

    def forget_last(self, row: int) -> None:
        self._histories[row].pop()
