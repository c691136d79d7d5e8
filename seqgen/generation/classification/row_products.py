"""Matrix products whose rows don't depend on each other, for results that must not change with the batch.

A BLAS library chooses its code by the shape of the whole product and by the position of a row within a tile. On some
processors the last digits of a row therefore depend on the batch. Here every row is a product of its own, always of the
same shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def rowwise(rows: Array, weight: Array) -> Array:
    """Compute `rows @ weight`, shape (…, outputs), one row at a time.

    Args:
        rows: shape (…, inputs).
        weight: shape (inputs, outputs); fastest if it is contiguous.
    """
    return np.matmul(rows[..., None, :], weight)[..., 0, :]
