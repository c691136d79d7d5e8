"""The cross-entropy of each token of a record, by any engine: scoring needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.config import SampleOptions
from seqgen.generation.engines.base import Engine
from seqgen.generation.sampling.draw import PrimedState
from seqgen.generation.state import SavedState, truncate_history
from seqgen.tokenizers import Codec

# From the next ids, shape (tokens,), to the tokens that were possible at each, shape (tokens, vocabulary).
MaskFunction = Callable[[npt.NDArray[np.int32]], npt.NDArray[np.bool_]]

_MAX_LOGITS = 1 << 21  # numbers at a time, so that they stay in or near the cache
_MAX_CHUNK = 1024  # ids read at a time


@dataclass(frozen=True)
class TokenScores:
    """A run of consecutive tokens of one record: their ids, and the cross-entropy of each in nats."""

    ids: npt.NDArray[np.int32]
    nats: npt.NDArray[np.float64]


class Scorer:
    """Scores a record chunk by chunk; the state is carried from one call of `read` to the next."""

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        masks: MaskFunction | None = None,
        state: SavedState | None = None,
        chunk: int | None = None,
    ) -> None:
        """
        Args:
            masks: the tokens that share the probability at each position; by default all.
            state: where the record continues.
            chunk: ids that the engine reads at a time.
        """
        self._engine, self._masks = engine, masks
        self._chunk = chunk or int(np.clip(_MAX_LOGITS // codec.vocab_size, 1, _MAX_CHUNK))
        self._primed = PrimedState([], codec.end, engine.initial(1)) if state is None else state.primed(engine)
        self._before = state or SavedState(np.empty(0, dtype=np.float32), codec.end, [])
        self._recent, self._cut = list(self._before.history), self._before.cut
        if state is not None and state.unread:
            for _ in self.read(codec.encode(state.unread)):
                pass

    def read(self, ids: npt.NDArray[np.int32]) -> Iterator[TokenScores]:
        """Yield the scores of all ids, each given those before it."""
        for start in range(0, len(ids), self._chunk):
            chunk = ids[start : start + self._chunk]
            inputs = np.concatenate([np.array([self._primed.last], dtype=np.int32), chunk[:-1]])
            possible = None if self._masks is None else self._masks(chunk)
            nats, state = self._engine.nats_of(inputs, chunk, self._primed.state, possible)
            self._primed = PrimedState([], int(chunk[-1]), state, self._primed.rng_offset)
            self._recent, cut = truncate_history([*self._recent, *chunk.tolist()], SampleOptions())
            self._cut |= cut
            yield TokenScores(chunk, nats)

    def saved(self) -> SavedState:
        """The state after all that was read."""
        cells, before = self._engine.export_state(self._primed.state, 0), self._before
        last, drawn = self._primed.last, before.drawn
        return SavedState(cells, last, self._recent, self._cut, before.seed, before.index, drawn, before.limit)
