"""Engines: the recurrent network one step at a time, with the state passed in and out.

Filters and samplers see float arrays and know no engine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqgen.generation.sampling.filters import FilterChain, target_nats

Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class CacheEntries:
    """What a context cache holds of one stream (`context_cache`), oldest first.

    Attributes:
        keys: directions of the top layer's outputs, float32, shape (entries, units).
        ids: the id that came next after each, shape (entries,).
        phase: the first one's position, modulo 64, in the order of summation.
    """

    keys: npt.NDArray[np.float32]
    ids: npt.NDArray[np.int32]
    phase: int


@dataclass(frozen=True)
class ExportedStream:
    """One stream in a form that every engine imports: see `Engine.export_state`, and what a context cache holds."""

    cells: npt.NDArray[np.float32]
    cache: CacheEntries | None = None


@dataclass(frozen=True)
class KernelDraw:
    """What the kernels need for the draws of several streams: pointers to the filters, the state, and the constraint of
    each, if it has one."""

    filters: ctypes.Array[ctypes.c_void_p]
    streams: ctypes.Array[ctypes.c_void_p]
    constraints: ctypes.Array[ctypes.c_void_p]


class Engine(Protocol):
    """A loaded network. States belong to the engine that made them and are never modified."""

    vocab_size: int
    batch_size: int  # streams at which a batch is most efficient
    arithmetic: str  # engines with the same value give identical bits on the same machine
    generates: bool = False  # whether it has `generate`

    def initial(self, batch: int) -> Any:
        """The state of `batch` streams before any input."""
        ...

    def step(self, ids: npt.NDArray[np.integer], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """Read one id per stream, shape (batch,).

        Returns:
            logits, shape (batch, vocabulary), and the new state. A row depends neither on other rows nor on their
            count.
        """
        ...

    def device_sampling(self, filters: FilterChain, streams: int) -> tuple[Any, Any] | None:
        """A `step` whose logits stay on the device, and the sampler that draws from them there.

        None where there is nothing to gain, or no such form of a filter.
        """
        return None

    def generate(
        self, ids: npt.NDArray[np.integer], state: Any, draw: KernelDraw, numbers: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.intp], Any]:
        """Read one id per stream, shape (streams,), draw the next ones, read those, and so on, all in one call.

        Args:
            numbers: uniform in [0, 1), shape (streams, steps, 2): for each step's draw, and for a filter.

        Returns:
            drawn ids and their log-probabilities before the filters, shape (steps, streams); the steps made, shape
            (streams,), at least one, which are fewer where a constraint comes to a state that it never met; and the
            state in which the last ids are still to be read.
        """
        raise TypeError(f"{type(self).__name__} takes one step at a time")

    def read(self, ids: npt.NDArray[np.integer], state: Any) -> Any:
        """The state of one stream after a run of ids, shape (tokens,), without logits."""
        ...

    def logits_of(self, ids: npt.NDArray[np.integer], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """Read a run of ids in one stream.

        Returns:
            logits after each, shape (tokens, vocabulary), and the new state. They equal those of `step` up to the last
            bits of the sums.
        """
        outputs, state = self.outputs_of(ids, state)
        return self.logits_from(outputs), state

    def outputs(self, state: Any) -> npt.NDArray[np.float32]:
        """The top layer's outputs after the latest id of each stream, shape (streams, units)."""
        ...

    def outputs_of(self, ids: npt.NDArray[np.integer], state: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """Read a run of ids in one stream.

        Returns:
            the top layer's outputs after each, shape (tokens, units), and the new state.
        """
        ...

    def logits_from(self, outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits, shape (tokens, vocabulary), from the top layer's outputs, shape (tokens, units)."""
        ...

    def nats_of(
        self,
        ids: npt.NDArray[np.integer],
        targets: npt.NDArray[np.integer],
        state: Any,
        possible: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.float64], Any]:
        """Cross-entropy of `targets` in nats, each after its id in one stream, and the new state.

        Args:
            possible: mask of the tokens that share the probability, shape (tokens, vocabulary).
        """
        logits, state = self.logits_of(ids, state)
        if possible is not None:
            logits = np.where(possible, logits, np.float32(-np.inf))
        return target_nats(logits, targets), state

    def nats_of_lanes(
        self,
        ids: npt.NDArray[np.integer],
        targets: npt.NDArray[np.integer],
        lengths: npt.NDArray[np.integer],
        state: Any,
        possible: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.float64], Any]:
        """`nats_of` for several streams at once, each with a length of its own.

        Args:
            ids, targets: shape (time, streams).
            lengths: ids that count of each stream, in descending order, at least 1; shape (streams,).
            possible: mask of the tokens that share the probability, shape (time, streams, vocabulary).

        Returns:
            nats, shape (time, streams), 0 beyond a stream's length; and the state of each stream after its last id.
        """
        nats = np.zeros(ids.shape)
        states = []
        for row, length in enumerate(lengths.tolist()):
            nats[:length, row], one = self.nats_of(
                ids[:length, row], targets[:length, row], self.select(state, [row]),
                None if possible is None else possible[:length, row],
            )  # fmt: skip
            states.append(one)
        return nats, self.join(states)

    def join(self, states: Sequence[Any]) -> Any:
        """The streams of several states, one after another, as one state."""
        ...

    def repeat(self, state: Any, batch: int) -> Any:
        """The state of `batch` streams, each a copy of the single one in `state`."""
        ...

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        """The streams `rows` of a state, in that order; one may occur twice."""
        ...

    def export_state(self, state: Any, row: int) -> npt.NDArray[np.float32]:
        """One stream in a form that every engine imports, shape (layers, tensors of the cell, units)."""
        ...

    def import_state(self, cells: npt.NDArray[np.float32]) -> Any:
        """The state of one stream from the result of `export_state`."""
        ...

    def export_stream(self, state: Any, row: int) -> ExportedStream:
        """All that one stream depends on."""
        return ExportedStream(self.export_state(state, row))

    def import_stream(self, stream: ExportedStream) -> Any:
        """The state of one stream from the result of `export_stream`, of an engine with a context cache or without."""
        return self.import_state(stream.cells)


def output_matrix(
    weights: Weights,
    product: Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.float32]] = np.matmul,
) -> npt.NDArray[np.float32]:
    """The matrix from hidden states to logits, shape (vocabulary, units): with tied weights the embedding's.

    Args:
        product: multiplies the embedding by the projection, if there is one.
    """
    output = weights.get("output_weight")
    if output is not None:
        return output
    projection = weights.get("projection")
    return weights["embedding"] if projection is None else product(weights["embedding"], projection)
