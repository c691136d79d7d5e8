"""Matrix products whose rows don't depend on each other, for results that must not change with the batch.

A BLAS library chooses its code by the shape of the whole product and by the position of a row within a tile. On some
processors the last digits of a row therefore depend on the batch. The kernels sum every row in the same order; in numpy
every row is a product of its own, always of the same shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.native import library

Array = npt.NDArray[np.float32]

_PANEL = 64  # outputs, as in native.h
_OUTPUT_MULTIPLE = 16  # of the outputs of the kernel


def rowwise(rows: Array, weight: Array) -> Array:
    """Compute `rows @ weight`, shape (…, outputs), one row at a time.

    Args:
        rows: shape (…, inputs).
        weight: shape (inputs, outputs); fastest if it is contiguous.
    """
    return np.matmul(rows[..., None, :], weight)[..., 0, :]


class RowProduct:
    """`product(rows)` is rows · weightᵀ + bias, float32 of shape (…, outputs), for rows of shape (…, inputs).

    It runs in the kernels, or else in numpy.
    """

    def __init__(self, weight: Array, bias: Array | None = None) -> None:
        """`weight` has shape (outputs, inputs), as in the model file; `bias` has shape (outputs,)."""
        self._outputs, self._inputs = weight.shape
        self._kernels = library()
        self._bias = bias
        if self._kernels is None:
            self._weight = np.ascontiguousarray(weight.T)
            return
        missing = -self._outputs % _OUTPUT_MULTIPLE
        if missing:
            weight = np.concatenate([weight, np.zeros((missing, self._inputs), dtype=np.float32)])
            self._bias = None if bias is None else np.concatenate([bias, np.zeros(missing, dtype=np.float32)])
        panels = [weight[first : first + _PANEL].T.ravel() for first in range(0, len(weight), _PANEL)]
        self._weight = np.concatenate(panels)

    def __call__(self, rows: Array) -> Array:
        if self._kernels is None:
            product = rowwise(rows, self._weight)
            return product if self._bias is None else product + self._bias
        flat = np.ascontiguousarray(rows.reshape(-1, self._inputs), dtype=np.float32)
        width = len(self._weight) // self._inputs
        result = np.empty((len(flat), width), dtype=np.float32)
        bias = None if self._bias is None else self._bias.ctypes.data
        self._kernels.seqgen_row_product(
            flat.ctypes.data, self._weight.ctypes.data, bias, len(flat), self._inputs, width, result.ctypes.data
        )
        return result[:, : self._outputs].reshape(*rows.shape[:-1], self._outputs)
