"""A recurrent stack over batches of texts without torch: embedding and layers.

The outputs of a text are the same to the last bit, whichever other texts are in the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from seqgen.config import AnyClassifierConfig
from seqgen.generation.recurrent.layers import RecurrentLayers

Array = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Weights = Mapping[str, Array]

_NUMPY_BATCH = 1 << 22  # gates in numpy's batch: 16 MiB
_NATIVE_BATCH = 1 << 14  # ids in the kernels' batch; each call lays out the weights anew
_MAX_TABLE = 1 << 25  # numbers: 128 MiB


class CpuStack:
    """Embedding and recurrent layers of a classifier, for inference. Thread-safe."""

    def __init__(self, config: AnyClassifierConfig, weights: Weights, prefix: str) -> None:
        """`prefix` is that of the names of the layers' weights."""
        self._embedding = weights["embedding"]
        self._layers = RecurrentLayers(config, weights, prefix)
        self._table: Array | None = None  # of every id, the input's terms of the first layer's gates
        self._seen = 0  # ids
        self._lock = threading.Lock()
        # ids in one batch
        self.batch_ids = _NATIVE_BATCH if self._layers.compiled else max(1, _NUMPY_BATCH // self._layers.width)

    def read(self, ids: Integers) -> Array:
        """The top layer's outputs, shape (time, streams, units), for `ids` of shape (time, streams)."""
        table, rows = self._first_gates(ids)
        return self._layers.run(table, indices=rows)[0]

    def summaries(self, ids: Integers, lengths: Integers) -> Array:
        """Last, maximum and sum of the top layer's outputs over the steps of each stream, shape (streams, 3, units)."""
        table, rows = self._first_gates(ids)
        return self._layers.run(table, indices=rows, lengths=lengths)[0]

    def _first_gates(self, ids: Integers) -> tuple[Array, Integers]:
        """The input's terms of the first layer's gates: a table of rows, and the index of each id's row.

        The table has the rows of the ids that occur, or all rows once as many ids have been read as there are.
        """
        with self._lock:
            self._seen += ids.size
            small = len(self._embedding) * self._layers.width <= _MAX_TABLE
            if self._table is None and small and self._seen >= len(self._embedding):
                self._table = self._layers.first_gates(self._embedding)
        if self._table is not None:
            return self._table, ids
        used, which = np.unique(ids, return_inverse=True)
        return self._layers.first_gates(self._embedding[used]), which.reshape(ids.shape)
