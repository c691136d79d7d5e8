"""Reading and changing model folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import seqgen


def read_all(folder: Path) -> seqgen.Model:
    """Load a model with its weights."""
    loaded = seqgen.load(folder)
    loaded.checkpoint.weights()
    return loaded


def change_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
