"""Drawing ids from a model, under filters: the thin layer below text and music.

Every sample draws from a random stream of its own, keyed by (seed, index): sample 3 is the same alone or among 100.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.generation.engine import Engine
from seqgen.generation.filters import Chain, Filter, Logits, log_softmax, softmax
from seqgen.native import library
from seqgen.tokenizers import Codec, Ids

_LONGEST_WINDOW = 1 << 14  # of a penalty, whose ids are kept for each stream
_AT_A_TIME = 4  # random numbers that Philox makes for each value of its counter


@dataclass(frozen=True)
class Primed:
    """A prompt that was read once: what any number of samples go on from."""

    history: list[int]
    last: int  # the id still to be stepped on: its logits are the first ones needed
    state: object
    drawn: int = 0  # random numbers that went before: every stream goes on behind so many of its own


def prime(engine: Engine, codec: Codec, begin: Ids) -> Primed:
    """Reads `end` (something new begins) and then the ids of a prompt, which may be none."""
    ids = np.concatenate([np.array([codec.end], dtype=np.int32), begin])
    return Primed(ids[1:].tolist(), int(ids[-1]), engine.read(ids[:-1], engine.initial(1)))


def read_on(engine: Engine, primed: Primed, more: Ids) -> Primed:
    """The same after more ids, which may be none."""
    if not len(more):
        return primed
    ids = np.concatenate([np.array([primed.last], dtype=np.int32), more])
    state = engine.read(ids[:-1], primed.state)
    return Primed([*primed.history, *more.tolist()], int(ids[-1]), state, primed.drawn)


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


def drawn_from(stream: np.random.Generator) -> int:
    """How many random numbers a stream has given."""
    state = stream.bit_generator.state
    counter = sum(int(word) << (64 * place) for place, word in enumerate(state["state"]["counter"]))
    return _AT_A_TIME * counter - (_AT_A_TIME - int(state["buffer_pos"]))


@dataclass
class Where:
    """Where streams have got to: `ids` keeps it true at every step that it yields."""

    state: Any = None
    last: list[int] = field(default_factory=list)  # the ids still to be stepped on
    streams: list[np.random.Generator] = field(default_factory=list)


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
    primed: Primed,
    filters: Filter,
    seed: int,
    indices: Sequence[int],
    guides: Sequence[Guide] = (),
    where: Where | None = None,
) -> Iterator[list[tuple[int, float]]]:
    """For every step the id drawn and its log-probability, of each of `indices` side by side, without end.

    Args:
        filters: from logits to the logits that are drawn from.
        guides: one a stream, or none. What they forbid has no probability before the filters and in the
            log-probabilities.
        where: told where the streams are.
    """
    streams = [random_stream(seed, index, primed.drawn) for index in indices]
    drawing = make_drawing(filters, engine.vocab_size, primed.history, len(indices))
    state = engine.repeat(primed.state, len(indices))
    last: npt.NDArray[np.int64] = np.full(len(indices), primed.last, dtype=np.int64)
    while True:
        logits, state = engine.step(last, state)
        possible = np.stack([guide.mask() for guide in guides]) if guides else None
        tokens, logs = drawing.draw(logits, possible, [stream.random() for stream in streams])
        for row, token in enumerate(tokens):
            if not guides or guides[row].push(token):
                drawing.push(row, token)
        last[:] = tokens
        if where is not None:
            where.state, where.last, where.streams = state, tokens, streams
        yield list(zip(tokens, logs, strict=True))


class Drawing(Protocol):
    """One draw for each of some streams, under filters that know what was drawn before."""

    def draw(
        self, logits: npt.NDArray[np.float32], possible: npt.NDArray[np.bool_] | None, uniforms: Sequence[float]
    ) -> tuple[list[int], list[float]]:
        """Ids, and their log-probabilities among what was `possible`, before the filters. `logits` and `possible`:
        shape (streams, vocabulary)."""
        ...

    def push(self, row: int, token: int) -> None:
        """Counts an id as drawn."""
        ...


def make_drawing(filters: Filter, vocab_size: int, history: Sequence[int], streams: int) -> Drawing:
    """With the compiled kernel where there is one and it knows the filters."""
    if isinstance(filters, Chain) and library() is not None and filters.options.repetition_window <= _LONGEST_WINDOW:
        return CompiledDrawing(filters, vocab_size, history, streams)
    return PlainDrawing(filters, history, streams)


class PlainDrawing:
    """In numpy, by the filters' own definitions."""

    def __init__(self, filters: Filter, history: Sequence[int], streams: int) -> None:
        self._filters = filters
        self._histories = [list(history) for _ in range(streams)]

    def draw(
        self, logits: npt.NDArray[np.float32], possible: npt.NDArray[np.bool_] | None, uniforms: Sequence[float]
    ) -> tuple[list[int], list[float]]:
        exact = logits.astype(np.float64)
        if possible is not None:
            exact = np.where(possible, exact, -np.inf)
        logs = log_softmax(exact)
        shares = softmax(self._filters(exact, self._histories))
        tokens = [draw(row, uniform) for row, uniform in zip(shares, uniforms, strict=True)]
        return tokens, logs[np.arange(len(tokens)), tokens].tolist()

    def push(self, row: int, token: int) -> None:
        self._histories[row].append(token)


class _Filters(ctypes.Structure):
    _fields_ = [
        ("penalty", ctypes.c_double),
        ("temperature", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("typical_p", ctypes.c_double),
        ("min_p", ctypes.c_double),
        ("top_k", ctypes.c_long),
        ("window", ctypes.c_long),
        ("forbidden", ctypes.c_void_p),
        ("forbidden_count", ctypes.c_long),
    ]


class CompiledDrawing:
    """The same in `native/draw.c`, one call for all streams."""

    def __init__(self, filters: Chain, vocab_size: int, history: Sequence[int], streams: int) -> None:
        kernels = library()
        assert kernels is not None, "ask for the library before"
        self._draw = kernels.seqgen_draw
        options = filters.options
        self._forbidden = np.array(filters.forbidden, dtype=np.int32)
        penalised = options.repetition_penalty != 1
        window = self._window = options.repetition_window if penalised else 0
        self._recent = np.full((streams, window), -1, dtype=np.int32)
        self._counts = [0] * streams
        for row in range(streams if penalised else 0):
            for token in history[-window:]:
                self.push(row, token)
        self._spec = _Filters(
            options.repetition_penalty, options.temperature, options.top_p, options.typical_p, options.min_p,
            min(options.top_k, vocab_size), window, self._forbidden.ctypes.data, len(self._forbidden),
        )  # fmt: skip
        self._where = ctypes.byref(self._spec)
        self._ids = np.empty(streams, dtype=np.int32)
        self._logs = np.empty(streams)
        self._fixed = self._recent.ctypes.data if penalised else None, self._ids.ctypes.data, self._logs.ctypes.data

    def draw(
        self, logits: npt.NDArray[np.float32], possible: npt.NDArray[np.bool_] | None, uniforms: Sequence[float]
    ) -> tuple[list[int], list[float]]:
        logits = np.ascontiguousarray(logits)
        chances = np.array(uniforms)
        recent, ids, logs = self._fixed
        failed = self._draw(
            self._where, *logits.shape, logits.ctypes.data, None if possible is None else possible.ctypes.data, recent,
            chances.ctypes.data, ids, logs,
        )  # fmt: skip
        if failed:
            raise MemoryError("there is no memory for another draw")
        return self._ids.tolist(), self._logs.tolist()

    def push(self, row: int, token: int) -> None:
        if self._window:
            self._recent[row, self._counts[row] % self._window] = token
            self._counts[row] += 1

    @property
    def _spec_window(self) -> int:
        return self._recent.shape[1]
