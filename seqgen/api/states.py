"""Files of saved states, from which `sample` and `score` continue a text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from seqgen.errors import ModelError, UserError
from seqgen.generation.state import SavedState, from_bytes
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.streams import read_whole, write_output

if TYPE_CHECKING:
    from seqgen.api.loaded import LoadedModel

_MAX_BYTES = 1 << 29  # above the size of any real state, with the largest context cache too


def load(model: LoadedModel, source: str | os.PathLike[str]) -> SavedState:
    """Read a state from a file, or from stdin for `-`. Raises `ModelError` if it is damaged or another model's."""
    name = os.fspath(source)
    return parse(model, read(name), name)


def read(name: str) -> bytes:
    """Read the bytes of a state. Raises `DataError` for a file too large to be one."""
    return read_whole(name, max_bytes=_MAX_BYTES)


def parse(model: LoadedModel, data: bytes, name: str) -> SavedState:
    """Parse a state of this model, read from the file `name`. Raises `ModelError` as `load` does."""
    loaded = model.checkpoint
    saved = from_bytes(data, name, loaded.fingerprint, loaded.language_config)
    if saved.walk is not None and TOKENIZERS.find(model.codec.name).grammar_masks is None:
        raise ModelError(f"{name!r} is damaged: it has the state of a grammar, and this model has none")
    return saved


def check(model: LoadedModel, saved: SavedState) -> None:
    """Raise `ModelError` unless the state is of this model, with the weights that it has now."""
    if saved.owner != model.state_owner:
        raise ModelError("the state belongs to another model, or to this one with other weights")


def save(model: LoadedModel, saved: SavedState, target: str | os.PathLike[str]) -> None:
    """Write a state atomically. Raises `UserError` if it can't be written."""
    write_output(Path(target), dump(model, saved))


def dump(model: LoadedModel, saved: SavedState) -> bytes:
    """Serialize a state to the bytes of its file.

    Raises `ModelError` if it is another model's, or if the model was adapted to a text.
    """
    if model.is_adapted:
        raise ModelError("the state of a model that was adapted to a text can't be saved: it has other weights")
    check(model, saved)
    return saved.to_bytes(model.checkpoint.fingerprint)


def check_stdout(target: str, output: str, terminal: bool) -> None:
    """Raise `UserError`, before any work is done, if a state that goes to standard output can't.

    Args:
        target: of the state.
        output: the target of the other output.
        terminal: whether standard output is a terminal.
    """
    if target == "-":
        if output == "-":
            raise UserError(
                "--state-out - and the output would both go to standard output; name a file for one of them"
            )
        if terminal:
            raise UserError("cannot write a state to a terminal: it is binary; name a file, or use a pipe")
