"""An engine for a caller that may leave: it reads until a limit says that the work should stop."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from seqgen.generation.engines.base import Engine
from seqgen.time_limit import TimeLimit

_CHUNK = 1024  # ids read between two questions; a multiple of the engines' own chunks, so that no bit changes


def limited(engine: Engine, limit: TimeLimit) -> Engine:
    """The engine, with the same states; while it reads ids, it raises `StoppedError` once the limit says so."""
    return cast("Engine", _LimitedEngine(engine, limit))


class _LimitedEngine:
    """Everything but the reading of runs of ids is the engine's own."""

    def __init__(self, engine: Engine, limit: TimeLimit) -> None:
        self._engine, self._limit = engine, limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def read(self, ids: npt.NDArray[np.integer], state: Any) -> Any:
        for start in range(0, len(ids), _CHUNK):
            self._limit.check()
            state = self._engine.read(ids[start : start + _CHUNK], state)
        return state

    def outputs_of(self, ids: npt.NDArray[np.integer], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        self._limit.check()
        return self._engine.outputs_of(ids, state)

    def logits_of(self, ids: npt.NDArray[np.integer], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        self._limit.check()
        return self._engine.logits_of(ids, state)
