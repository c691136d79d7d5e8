"""Inference with and without the compiled kernels."""

from __future__ import annotations

import pytest

_USERS = ("seqgen.generation.recurrent.layers", "seqgen.generation.recurrent.row_products")


def disable_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make recurrent layers and products run in numpy; PyTorch's networks keep their kernels."""
    for module in _USERS:
        monkeypatch.setattr(f"{module}.library", lambda: None)
