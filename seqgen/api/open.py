"""Models by name: a folder, or `hf:OWNER/NAME[@REVISION]`."""

from __future__ import annotations

import os

from seqgen import checkpoint
from seqgen.checkpoint import Checkpoint


def open_checkpoint(name: str | os.PathLike[str]) -> Checkpoint:
    """Read and validate a model, fetched into the cache if it is on the hub.

    Raises:
        ModelError: there is no such model, or it is damaged.
    """
    return checkpoint.load(model_folder(name))


def model_folder(name: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The folder of a model. Raises `ModelError` if the hub can't be reached, or has no such model."""
    if isinstance(name, str) and name.startswith("hf:"):
        from seqgen.interop.hub import find_model

        return find_model(name)
    return name
