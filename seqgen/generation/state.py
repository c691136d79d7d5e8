"""Where a text or a piece has got to, kept in a file from which any engine goes on.

A file holds the recurrent state in float32, the latest ids (what penalties and guards look back at), what was written
and not shown yet, and how many random numbers were drawn; so it is of constant size, however much was read. It belongs
to one model, by that model's fingerprint. It is a file of tensors (`tensors.py`), read strictly.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.config import NetworkConfig, SampleOptions
from seqgen.errors import ModelError
from seqgen.generation.engines.base import Engine
from seqgen.generation.sampling.draw import PrimedState
from seqgen.model.weight_shapes import STATES
from seqgen.tensors import dump, parse

FORMAT = "seqgen state 1"
MIN_HISTORY = 4096  # ids that are kept at least: what `--max-copy` may have to look back at, spelt in single bytes
_TENSORS = {"cells": "<f4", "history": "<i4", "pending": "u1", "unread": "u1"}


@dataclass(frozen=True)
class SavedState:
    """Where one stream is.

    Attributes:
        cells: the recurrent state, float32, shape (layers, tensors of the cell, units), before `last` is read.
        last: the id that was written or read last, and is still to be stepped on.
        history: the latest ids, oldest first, as repetition filters count them.
        cut: whether there were more of them.
        seed, index, drawn: the random stream, and how many numbers of it were drawn.
        limit: mirostat's, where there is one.
        pending: text that the last ids hold beyond where it was cut: it comes first when it goes on.
        tail: the last ids, where they hold a character that is not finished.
        unread: bytes of a prompt that can only be read together with what comes behind them.
        walk: where a piece of music is (`music.barline`), or nothing.
    """

    cells: npt.NDArray[np.float32]
    last: int
    history: list[int]
    cut: bool = False
    seed: int = 0
    index: int = 0
    drawn: int = 0
    limit: float | None = None
    pending: str = ""
    tail: list[int] = field(default_factory=list)
    unread: bytes = b""
    walk: dict[str, Any] | None = None

    def primed(self, engine: Engine) -> PrimedState:
        """From where `draw.ids` goes on."""
        return PrimedState(list(self.history), self.last, engine.import_state(self.cells), self.drawn, self.limit)

    def to_bytes(self, model: str) -> bytes:
        """The file, for the model of this fingerprint."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "cells": self.cells,
            "history": np.array(self.history, dtype=np.int32),
            "pending": np.frombuffer(self.pending.encode("utf-8", "surrogateescape"), dtype=np.uint8),
            "unread": np.frombuffer(self.unread, dtype=np.uint8),
        }
        about = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in arrays
        }
        return dump(arrays, {"format": FORMAT, "model": model, "about": json.dumps(about)})


def from_bytes(data: bytes, name: str, model: str, network: NetworkConfig) -> SavedState:
    """The state in a file. Raises `ModelError`, which begins with `name`, where it is damaged or of another model."""
    arrays, metadata = parse(data, name)
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{name!r} is no state of a text: `sample --state-out` writes one")
    if metadata.get("model") != model:
        raise ModelError(f"{name!r} is the state of another model, or of this one before it was trained further")
    try:
        return _checked(arrays, json.loads(metadata["about"]), network)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{name!r} is damaged: {' '.join(str(error).split()) or 'it is not complete'}") from error


def _checked(arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any], network: NetworkConfig) -> SavedState:
    """The state, if everything in it can be believed. Raises `ValueError` or its like otherwise."""
    if {name: array.dtype.str.lstrip("|") for name, array in arrays.items()} != _TENSORS:
        raise ValueError("it holds other tensors than a state has")
    shape = (network.num_layers, STATES[network.cell], network.rnn_size)
    cells = arrays["cells"]
    if cells.shape != shape or not np.isfinite(cells).all():
        raise ValueError("its numbers are not those of this network, or not finite")
    saved = SavedState(
        np.array(cells),
        history=arrays["history"].tolist(),
        pending=arrays["pending"].tobytes().decode("utf-8", "surrogateescape"),
        unread=arrays["unread"].tobytes(),
        **about,
    )
    if any(type(getattr(saved, name)) is not int for name in ("last", "seed", "index", "drawn")) or not (
        type(saved.cut) is bool
        and isinstance(saved.tail, list)
        and isinstance(saved.walk, dict | None)
        and isinstance(saved.limit, float | None)
    ):
        raise ValueError("a part of it is of another type")
    if not all(type(one) is int and 0 <= one < network.vocab_size for one in (saved.last, *saved.history, *saved.tail)):
        raise ValueError("it names ids that this model has not")
    limits = (("seed", 63), ("index", 63), ("drawn", 62))
    far = saved.limit is not None and not abs(saved.limit) < 1e6
    if any(not 0 <= getattr(saved, name) < 1 << bits for name, bits in limits) or len(saved.tail) > 4 or far:
        raise ValueError("a number in it is out of bounds")
    return saved


def max_window(options: SampleOptions) -> int:
    """How many ids back any filter looks."""
    return max(getattr(options, item.name) for item in dataclasses.fields(options) if item.name.endswith("_window"))


def truncate_history(ids: list[int], options: SampleOptions) -> tuple[list[int], bool]:
    """The ids that are kept of all, and whether there were more."""
    most = max(MIN_HISTORY, max_window(options))
    return ids[-most:], len(ids) > most
