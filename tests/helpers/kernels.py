"""Inference with and without the compiled kernels, on one instruction set or another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

from seqgen import native
from seqgen.config import NetworkConfig
from seqgen.generation.engines.native import NativeEngine
from seqgen.model.weight_shapes import weight_shapes

_USERS = ("seqgen.generation.recurrent.layers", "seqgen.generation.recurrent.row_products")


def disable_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make recurrent layers and products run in numpy; PyTorch's networks keep their kernels."""
    for module in _USERS:
        monkeypatch.setattr(f"{module}.library", lambda: None)


def forget_library() -> None:
    """Let the library be loaded anew when it is asked for."""
    native.library.cache_clear()
    native.library_with_threads.cache_clear()


@contextlib.contextmanager
def library_by(variable: str, value: str) -> Iterator[None]:
    """Let an environment variable, `SEQGEN_ISA` or `SEQGEN_NATIVE`, choose the library for a `with` block."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable, value)
            forget_library()
            yield
    finally:
        forget_library()
        native.library()  # the process has one, which goes back to its best instruction set


def random_engine(cell: str, quantized: bool, activation: str = "tanh") -> NativeEngine:
    """An engine of two layers of a hundred units, always with the same random weights."""
    config = NetworkConfig(65, cell=cell, activation=activation, rnn_size=100, num_layers=2, embedding_size=33)
    rng = np.random.default_rng(7)
    weights = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in weight_shapes(config).items()}
    return NativeEngine(config, weights, quantized)
