"""A recurrent stack over many texts side by side, without torch: by the compiled kernels (`native/sequence.c`) where
the processor has what they need, otherwise by numpy. A text's numbers are the same, to the last bit, whichever texts
are beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from seqgen.config import AnyClassifierConfig
from seqgen.generation.classification.rowwise import rowwise
from seqgen.generation.engines.numpy import cell_step
from seqgen.native import library
from seqgen.native.sequence_call import UNIT_MULTIPLE, SequenceCall, run_sequence
from seqgen.specs.cells import CELLS

Array = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Weights = Mapping[str, Array]

_AT_ONCE = 1 << 22  # numbers of gates that numpy works on together: 16 MiB
_COMPILED_AT_ONCE = 1 << 14  # ids that the kernels read together: they lay out the weights anew each time
_LARGEST_TABLE = 1 << 25  # numbers: 128 MiB


class LightStack:
    """See the module. Thread-safe."""

    def __init__(self, config: AnyClassifierConfig, weights: Weights, prefix: str) -> None:
        """`prefix`: of the names of the layers' weights."""
        self._step = cell_step(config.cell, config.activation)
        self._cell, self._units = CELLS[config.cell], config.rnn_size
        self._relu = self._cell.effective_activation(config.activation) == "relu"
        self._embedding = weights["embedding"]
        self._layers = [
            (
                np.ascontiguousarray(weights[f"{prefix}layers.{number}.input_weight"].T),
                weights[f"{prefix}layers.{number}.bias"],
                np.ascontiguousarray(weights[f"{prefix}layers.{number}.recurrent_weight"]),
                weights.get(f"{prefix}layers.{number}.recurrent_bias"),
            )
            for number in range(config.num_layers)
        ]
        self._kernels = library() if self._cell.native_id is not None and self._units % UNIT_MULTIPLE == 0 else None
        if self._kernels is not None and not self._kernels.seqgen_sequence_dtypes():
            self._kernels = None
        self._table: Array | None = None  # the first layer's share of the gates, of every id
        self._seen = 0  # ids
        self._lock = threading.Lock()
        width = len(self._layers[0][1])
        self.most = _COMPILED_AT_ONCE if self.compiled else max(1, _AT_ONCE // width)  # ids to read together

    @property
    def compiled(self) -> bool:
        """Whether the kernels do the work."""
        return self._kernels is not None

    def read(self, ids: Integers) -> Array:
        """The top layer's outputs, shape (time, streams, units), from an empty state. `ids`: (time, streams)."""
        return self._run(ids, None)

    def summaries(self, ids: Integers, lengths: Integers) -> Array:
        """Last, largest and sum of the top layer's outputs over so many steps of each stream, (streams, 3, units)."""
        return self._run(ids, lengths)

    def _run(self, ids: Integers, lengths: Integers | None) -> Array:
        table, rows = self._shares(ids)
        result: Array | None = None
        for number, (weight, bias, recurrent, recurrent_bias) in enumerate(self._layers):
            top = number == len(self._layers) - 1
            gates, places = (table, rows) if result is None else (rowwise(result, weight) + bias, None)
            result = self._layer(gates, places, recurrent, recurrent_bias, lengths if top else None)
        assert result is not None
        return result

    def _shares(self, ids: Integers) -> tuple[Array, Integers]:
        """The first layer's share of the gates, a row for each of some ids, and where each id's row is: all ids' rows,
        once as many have been read as there are, or those of the ids that are met."""
        weight, bias, *_ = self._layers[0]
        with self._lock:
            self._seen += ids.size
            small = len(self._embedding) * len(bias) <= _LARGEST_TABLE
            if self._table is None and small and self._seen >= len(self._embedding):
                self._table = rowwise(self._embedding, weight) + bias
        if self._table is not None:
            return self._table, ids
        used, which = np.unique(ids, return_inverse=True)
        return rowwise(self._embedding[used], weight) + bias, which.reshape(ids.shape)

    def _layer(
        self, gates: Array, places: Integers | None, recurrent: Array, bias: Array | None, lengths: Integers | None
    ) -> Array:
        """Outputs, (time, streams, units), or, of `lengths`, their summaries. `gates`: (time, streams, gates), or,
        where `places` says which row of it is whose, (rows, gates)."""
        if self._kernels is None:
            return self._in_numpy(gates if places is None else gates[places], recurrent, bias, lengths)
        steps, streams = (gates if places is None else places).shape[:2]
        history = np.zeros((steps + 1 if lengths is None else 2, streams, self._units), dtype=np.float32)
        exact = np.zeros((1, streams, self._units), dtype=np.float32)
        pooled = None if lengths is None else np.empty((streams, 3, self._units), dtype=np.float32)
        arrays = {
            "x": np.ascontiguousarray(gates), "weight": recurrent, "bias": bias, "history": history, "state_f32": exact,
            "ids": None if places is None else np.ascontiguousarray(places), "lengths": lengths, "pooled": pooled,
        }  # fmt: skip
        sequence = SequenceCall(
            cell=self._cell.native_id, relu=self._relu, steps=steps, rows=streams, units=self._units,
            **{name: array.ctypes.data for name, array in arrays.items() if array is not None},
        )  # fmt: skip
        run_sequence(self._kernels.seqgen_sequence_forward, sequence, threads=1)
        return history[1:] if pooled is None else pooled

    def _in_numpy(self, gates: Array, recurrent: Array, bias: Array | None, lengths: Integers | None) -> Array:
        steps, streams = gates.shape[:2]
        state = (np.zeros((streams, self._units), dtype=np.float32),) * self._cell.states
        hidden = np.empty((steps, streams, self._units), dtype=np.float32)
        turned = np.ascontiguousarray(recurrent.T)
        for t in range(steps):
            product = rowwise(state[0], turned)
            if bias is not None:
                product += bias
            state = self._step(gates[t], product, state)
            hidden[t] = state[0]
        return hidden if lengths is None else _summaries(hidden, lengths)


def _summaries(hidden: Array, lengths: Integers) -> Array:
    """(time, streams, units) → (streams, 3, units)."""
    inside = (np.arange(len(hidden))[:, None] < lengths)[:, :, None]
    last = hidden[lengths - 1, np.arange(len(lengths))]
    largest = np.where(inside, hidden, np.float32(-np.inf)).max(axis=0)
    return np.stack([last, largest, (hidden * inside).sum(axis=0)], axis=1)
