"""States of texts in files: `sample` and `score` leave them, and go on from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from seqgen.errors import ModelError, UserError
from seqgen.generation.state import SavedState, from_bytes
from seqgen.streams import read_whole, write_bytes

if TYPE_CHECKING:
    from seqgen.api.model import Model

_LARGEST = 1 << 28  # bytes: no honest state comes near


def load(model: Model, source: str | os.PathLike[str]) -> SavedState:
    """The state in a file, or in stdin for `-`. Raises `ModelError` where it is damaged or of another model."""
    name = os.fspath(source)
    return parse(model, read(name), name)


def read(name: str) -> bytes:
    """The bytes of a state. Raises `DataError` for more than any has."""
    return read_whole(name, max_bytes=_LARGEST)


def parse(model: Model, data: bytes, name: str) -> SavedState:
    """The state of this model in `data`, from the file `name`."""
    loaded = model.checkpoint
    saved = from_bytes(data, name, loaded.fingerprint, loaded.language_config)
    if (saved.walk is not None) and model.task != "music":
        raise ModelError(f"{name!r} is damaged: it is the state of a piece of music")
    return saved


def save(model: Model, saved: SavedState, target: str | os.PathLike[str]) -> None:
    """Writes a state, whole or not at all. Raises `UserError` where it can't be."""
    write_bytes(Path(target), dump(model, saved))


def dump(model: Model, saved: SavedState) -> bytes:
    """The bytes of its file."""
    return saved.to_bytes(model.checkpoint.fingerprint)


def check_target(target: str, output: str, terminal: bool) -> None:
    """Raises `UserError`, before anything is done, where a state can plainly not be written; `output` is where the rest
    goes, and `terminal` whether standard output is one."""
    if target == "-":
        if output == "-":
            raise UserError("--state-out - and the text would both go to standard output; name a file: -o FILE")
        if terminal:
            raise UserError("a state is nothing for a terminal: name a file, or pipe it on")
        return
    place = Path(target)
    if place.is_dir():
        raise UserError(f"--state-out {target!r} is a folder; name a file")
    above = next((folder for folder in place.parents if folder.exists()), place)
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"cannot write {target!r}: {str(above)!r} is no folder that can be written")
