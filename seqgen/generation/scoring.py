"""What each token of a record costs a model, by any engine: no PyTorch is needed to read along."""

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

# Ids that come next, shape (tokens,) → what was possible at each, shape (tokens, vocabulary).
MaskFunction = Callable[[npt.NDArray[np.int32]], npt.NDArray[np.bool_]]

_LOGITS = 1 << 21  # numbers of logits at a time: they stay in the cache, or near it
_PIECE = 1024  # ids read at a time, at most


@dataclass(frozen=True)
class TokenScores:
    """A run of consecutive tokens of one record: their ids and what each cost in nats."""

    ids: npt.NDArray[np.int32]
    nats: npt.NDArray[np.float64]


class EngineScorer:
    """Reads a record piece by piece; the state stays between calls of `read`, as if it were one."""

    def __init__(
        self, engine: Engine, codec: Codec, masks: MaskFunction | None = None, state: SavedState | None = None
    ) -> None:
        """`masks` says which ids were possible at each place: only they share the probability. With `state`, the record
        goes on from there."""
        self._engine, self._masks = engine, masks
        self._piece = int(np.clip(_LOGITS // codec.vocab_size, 1, _PIECE))
        self._primed = PrimedState([], codec.end, engine.initial(1)) if state is None else state.primed(engine)
        self._before = state or SavedState(np.empty(0, dtype=np.float32), codec.end, [])
        self._recent, self._cut = list(self._before.history), self._before.cut
        if state is not None and state.unread:
            for _ in self.read(codec.encode(state.unread)):
                pass

    def read(self, ids: npt.NDArray[np.int32]) -> Iterator[TokenScores]:
        """The cost of every id, each given all before it."""
        for start in range(0, len(ids), self._piece):
            piece = ids[start : start + self._piece]
            inputs = np.concatenate([np.array([self._primed.last], dtype=np.int32), piece[:-1]])
            logits, state = self._engine.logits_of(inputs, self._primed.state)
            if self._masks is not None:
                logits = np.where(self._masks(piece), logits, np.float32(-np.inf))
            most = logits.max(axis=1)
            shares = np.exp(logits - most[:, None]).sum(axis=1, dtype=np.float64)
            nats = np.log(shares) + most - logits[np.arange(len(piece)), piece]
            self._primed = PrimedState([], int(piece[-1]), state, self._primed.drawn)
            self._recent, cut = truncate_history([*self._recent, *piece.tolist()], SampleOptions())
            self._cut |= cut
            yield TokenScores(piece, nats)

    def saved(self) -> SavedState:
        """Where the record has got to."""
        cells, before = self._engine.export_state(self._primed.state, 0), self._before
        last, numbers = self._primed.last, before.drawn
        return SavedState(cells, last, self._recent, self._cut, before.seed, before.index, numbers, before.limit)
