"""Matrix products of which no row depends on the others: for results that must not change with the batch.

A BLAS library picks its code by the shape of the whole product, and by where a row lies within a tile. The same row may
come out with other last digits alone and among a hundred, on some processors and not on others. Here every row is a
product of its own, always of the same shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def rowwise(rows: Array, weight: Array) -> Array:
    """`rows @ weight`, shape (…, outputs), one row at a time.

    Args:
        rows: shape (…, inputs).
        weight: shape (inputs, outputs); fastest where it is contiguous.
    """
    return np.matmul(rows[..., None, :], weight)[..., 0, :]
