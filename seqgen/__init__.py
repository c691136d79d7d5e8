"""Train recurrent networks on text, dialogue, music, labelled texts and series, and use them.

    import seqgen
    model = seqgen.train("moby.txt", "moby", budget="10m")
    print(model.sample("Call me", temperature=0.7)[0].text)
    model = seqgen.load("moby")
    model.evaluate("other.txt")["metrics"]["bits_per_character"]

Names are imported on first use, so that `import seqgen` is fast.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from seqgen.version import __version__

# PyTorch reads it when it is imported: what Apple's GPUs lack is computed by the CPU.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

if TYPE_CHECKING:
    from seqgen.api.compare import compare
    from seqgen.api.model import Model, load
    from seqgen.api.scoring import Score
    from seqgen.api.train.run import train
    from seqgen.api.train.watch import Watcher
    from seqgen.errors import DataError, ModelError, SeqgenError, StoppedError, TrainingError, UserError
    from seqgen.generation.text import Sample

_MODULES = {
    "Model": "seqgen.api.model",
    "Score": "seqgen.api.scoring",
    "compare": "seqgen.api.compare",
    "load": "seqgen.api.model",
    "Watcher": "seqgen.api.train.watch",
    "train": "seqgen.api.train.run",
    "Sample": "seqgen.generation.text",
    "SeqgenError": "seqgen.errors",
    "UserError": "seqgen.errors",
    "DataError": "seqgen.errors",
    "ModelError": "seqgen.errors",
    "TrainingError": "seqgen.errors",
    "StoppedError": "seqgen.errors",
}

__all__ = [
    "DataError", "Model", "ModelError", "Sample", "Score", "SeqgenError", "StoppedError", "TrainingError", "UserError",
    "Watcher", "__version__", "compare", "load", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'seqgen' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
