"""Drawing ids from a model, under filters: the thin layer below text and music.

Every sample draws from a random stream of its own, keyed by (seed, index): sample 3 is the same alone or among 100.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqgen.generation.engine import Engine
from seqgen.generation.filters import Filter, Logits, log_softmax, softmax
from seqgen.tokenizers import Codec, Ids


@dataclass(frozen=True)
class Primed:
    """A prompt that was read once: what any number of samples go on from."""

    history: list[int]
    last: int  # the id still to be stepped on: its logits are the first ones needed
    state: object


def prime(engine: Engine, codec: Codec, begin: Ids) -> Primed:
    """Reads `end` (something new begins) and then the ids of a prompt, which may be none."""
    ids = np.concatenate([np.array([codec.end], dtype=np.int32), begin])
    return Primed(ids[1:].tolist(), int(ids[-1]), engine.read(ids[:-1], engine.initial(1)))


def draw(probabilities: Logits, uniform: float) -> int:
    """The id at which the running sum of `probabilities`, shape (vocabulary,), passes `uniform` in [0, 1)."""
    sums = np.cumsum(probabilities)
    token = int(np.searchsorted(sums, uniform * sums[-1], side="right"))
    if token >= len(sums) or probabilities[token] == 0:  # rounding at the very end
        token = int(np.flatnonzero(probabilities)[-1])
    return token


def random_stream(seed: int, index: int) -> np.random.Generator:
    """The random numbers of sample `index`: a counter-based generator, so streams never overlap (Salmon, 2011)."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))


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
) -> Iterator[list[tuple[int, float]]]:
    """For every step the id drawn and its log-probability, of each of `indices` side by side, without end.

    Args:
        filters: from logits to the logits that are drawn from.
        guides: one a stream, or none. What they forbid has no probability before the filters and in the
            log-probabilities.
    """
    streams = [random_stream(seed, index) for index in indices]
    histories = [list(primed.history) for _ in indices]
    state = engine.repeat(primed.state, len(indices))
    last: npt.NDArray[np.int64] = np.full(len(indices), primed.last, dtype=np.int64)
    while True:
        raw, state = engine.step(last, state)
        logits = raw.astype(np.float64)
        if guides:
            logits = np.where(np.stack([guide.mask() for guide in guides]), logits, -np.inf)
        logs = log_softmax(logits)
        shares = softmax(filters(logits, histories))
        step = []
        for row, stream in enumerate(streams):
            token = draw(shares[row], stream.random())
            if not guides or guides[row].push(token):
                histories[row].append(token)
            last[row] = token
            step.append((token, float(logs[row, token])))
        yield step
