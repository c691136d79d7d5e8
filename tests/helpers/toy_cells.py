"""A toy cell, the minimal gated unit, which has no kernels: as a class, a numpy step and two rows of the table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from seqgen.model.recurrent.cells import Cell, State
from seqgen.specs.cells import CellSpec

Array = npt.NDArray[np.float32]


class MinimalGatedUnit(Cell):
    """f = σ(x_f + h_f), n = tanh(x_n + f ∘ h_n), h_t = (1 − f) ∘ h_{t-1} + f ∘ n (Zhou et al., 2016)."""

    def step(self, x: Tensor, h: Tensor, state: State) -> State:
        xf, xn = x.chunk(2, dim=1)
        hf, hn = h.chunk(2, dim=1)
        f = (xf + hf).sigmoid()
        n = (xn + f * hn).tanh()
        return (state[0] + f * (n - state[0]),)


def numpy_step(x: Array, h: Array, state: tuple[Array, ...], activation: str) -> tuple[Array, ...]:
    size = h.shape[-1] // 2
    f = 1 / (1 + np.exp(-(x[..., :size] + h[..., :size])))
    n = np.tanh(x[..., size:] + f * h[..., size:])
    return (state[0] + f * (n - state[0]),)


_IMPLEMENTATION = "tests.helpers.toy_cells:MinimalGatedUnit"
WITH_NUMPY_STEP = CellSpec("mgu", _IMPLEMENTATION, gates=2, numpy_step="tests.helpers.toy_cells:numpy_step")
WITHOUT_NUMPY_STEP = CellSpec("torch-mgu", _IMPLEMENTATION, gates=2)
