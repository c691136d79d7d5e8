"""A recurrent stack over batches of texts without torch.

It uses the compiled kernels (`native/sequence.c`) if the processor supports them, otherwise numpy. The outputs of a
text are the same to the last bit, whichever other texts are in the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from seqgen.config import AnyClassifierConfig
from seqgen.generation.classification.row_products import rowwise
from seqgen.generation.engines.numpy import cell_step
from seqgen.native import library
from seqgen.native.sequence_call import UNIT_MULTIPLE, SequenceCall, run_sequence
from seqgen.specs.cells import CELLS

Array = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Weights = Mapping[str, Array]

_NUMPY_BATCH = 1 << 22  # gates in numpy's batch: 16 MiB
_NATIVE_BATCH = 1 << 14  # ids in the kernels' batch; each call lays out the weights anew
_MAX_TABLE = 1 << 25  # numbers: 128 MiB


class CpuStack:
    """Recurrent layers of a classifier, for inference. Thread-safe."""

    def __init__(self, config: AnyClassifierConfig, weights: Weights, prefix: str) -> None:
        """`prefix` is that of the names of the layers' weights."""
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
        self._table: Array | None = None  # of every id, the input's terms of the first layer's gates
        self._seen = 0  # ids
        self._lock = threading.Lock()
        width = len(self._layers[0][1])
        self.batch_ids = _NATIVE_BATCH if self.compiled else max(1, _NUMPY_BATCH // width)  # ids in one batch

    @property
    def compiled(self) -> bool:
        """Whether the kernels are used."""
        return self._kernels is not None

    def read(self, ids: Integers) -> Array:
        """The top layer's outputs, shape (time, streams, units), for `ids` of shape (time, streams)."""
        return self._run(ids, None)

    def summaries(self, ids: Integers, lengths: Integers) -> Array:
        """Last, maximum and sum of the top layer's outputs over the steps of each stream, shape (streams, 3, units)."""
        return self._run(ids, lengths)

    def _run(self, ids: Integers, lengths: Integers | None) -> Array:
        table, rows = self._first_gates(ids)
        result: Array | None = None
        for number, (weight, bias, recurrent, recurrent_bias) in enumerate(self._layers):
            top = number == len(self._layers) - 1
            gates, indices = (table, rows) if result is None else (rowwise(result, weight) + bias, None)
            result = self._layer(gates, indices, recurrent, recurrent_bias, lengths if top else None)
        assert result is not None
        return result

    def _first_gates(self, ids: Integers) -> tuple[Array, Integers]:
        """The input's terms of the first layer's gates: a table of rows, and the index of each id's row.

        The table has the rows of the ids that occur, or all rows once as many ids have been read as there are.
        """
        weight, bias, *_ = self._layers[0]
        with self._lock:
            self._seen += ids.size
            small = len(self._embedding) * len(bias) <= _MAX_TABLE
            if self._table is None and small and self._seen >= len(self._embedding):
                self._table = rowwise(self._embedding, weight) + bias
        if self._table is not None:
            return self._table, ids
        used, which = np.unique(ids, return_inverse=True)
        return rowwise(self._embedding[used], weight) + bias, which.reshape(ids.shape)

    def _layer(
        self, gates: Array, indices: Integers | None, recurrent: Array, bias: Array | None, lengths: Integers | None
    ) -> Array:
        """Outputs, shape (time, streams, units), or their summaries over `lengths`.

        `gates` has shape (time, streams, gates); with `indices` of shape (time, streams) into its rows, (rows, gates).
        """
        if self._kernels is None:
            return self._in_numpy(gates if indices is None else gates[indices], recurrent, bias, lengths)
        steps, streams = (gates if indices is None else indices).shape[:2]
        history = np.zeros((steps + 1 if lengths is None else 2, streams, self._units), dtype=np.float32)
        exact = np.zeros((1, streams, self._units), dtype=np.float32)
        pooled = None if lengths is None else np.empty((streams, 3, self._units), dtype=np.float32)
        arrays = {
            "x": np.ascontiguousarray(gates), "weight": recurrent, "bias": bias, "history": history, "state_f32": exact,
            "ids": None if indices is None else np.ascontiguousarray(indices), "lengths": lengths, "pooled": pooled,
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
        transposed = np.ascontiguousarray(recurrent.T)
        for t in range(steps):
            product = rowwise(state[0], transposed)
            if bias is not None:
                product += bias
            state = self._step(gates[t], product, state)
            hidden[t] = state[0]
        return hidden if lengths is None else _summaries(hidden, lengths)


def _summaries(hidden: Array, lengths: Integers) -> Array:
    """Last, maximum and sum of each stream: (time, streams, units) → (streams, 3, units)."""
    inside = (np.arange(len(hidden))[:, None] < lengths)[:, :, None]
    last = hidden[lengths - 1, np.arange(len(lengths))]
    largest = np.where(inside, hidden, np.float32(-np.inf)).max(axis=0)
    return np.stack([last, largest, (hidden * inside).sum(axis=0)], axis=1)
