"""The saved state of a text or piece, from which any engine can continue.

A file holds the recurrent state in float32, the latest ids (for penalties and copy guards), generated text that wasn't
shown yet, and the count of random numbers drawn; so its size is constant, however much was read. It belongs to one
model, identified by its fingerprint, in memory as in a file. It is a tensor file (`tensors.py`), parsed strictly.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.config import NetworkConfig, SampleOptions
from seqgen.errors import ModelError
from seqgen.generation.engines.base import CacheEntries, Engine, ExportedStream
from seqgen.generation.sampling.draw import PrimedState
from seqgen.specs.cells import CELLS
from seqgen.specs.filters import filter_rows
from seqgen.tensors import dump, parse

FORMAT = "seqgen state 1"
MIN_HISTORY = 4096  # ids saved at least: the longest run of `--max-copy`, in single bytes
_TENSORS = {"cells": "<f4", "history": "<i4", "pending": "u1", "unread": "u1"}
_CACHE_TENSORS = {"cache_keys": "<f4", "cache_ids": "<i4"}  # of a state with a context cache


class StateOwner:
    """The weights that read a state, known by their fingerprint, which is computed when it is first needed."""

    def __init__(self, compute_fingerprint: Callable[[], str]) -> None:
        self._compute_fingerprint = compute_fingerprint

    @cached_property
    def fingerprint(self) -> str:
        """A digest of network, tokenizer and weights. Raises `ModelError` if the weights can't be read."""
        return self._compute_fingerprint()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, StateOwner) and self.fingerprint == other.fingerprint)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return known_owner, (self.fingerprint,)


def known_owner(fingerprint: str) -> StateOwner:
    """The owner with this fingerprint."""
    return StateOwner(lambda: fingerprint)


@dataclass(frozen=True)
class SavedState:
    """The state of one stream. The names of the attributes are those in the file.

    Attributes:
        cells: the recurrent state, float32, shape (layers, tensors of the cell, units), before `last` is read.
        last: the id generated or read last, which is still to be fed to the network.
        history: the latest ids, oldest first, as repetition filters count them.
        cut: whether there were more of them.
        seed, index, drawn: the random stream, and the count of its numbers that were drawn.
        limit: of a stateful filter (mirostat), if there is one.
        pending: text of the last ids beyond the end of the sample: it comes first in the continuation.
        tail: the last ids, if they hold an unfinished character.
        unread: bytes of a prompt that tokenize together with what follows them.
        walk: the grammar's state at a bar line of a piece (`music.bar_state`), or None.
        cache: what the context cache holds, if there is one.
        owner: the weights that read it, the only ones that may continue it.
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
    cache: CacheEntries | None = None
    owner: StateOwner | None = None

    def primed(self, engine: Engine) -> PrimedState:
        """The state from which `draw.sample_ids` continues. Raises `ModelError` if it doesn't fit the network."""
        fits = engine.export_stream(engine.initial(1), 0).cells.shape
        if self.cells.shape != fits:  # the kernels would read beyond its end
            raise ModelError(f"the state does not fit this network: its shape is {self.cells.shape}, not {fits}")
        state = engine.import_stream(ExportedStream(self.cells, self.cache))
        return PrimedState(list(self.history), self.last, state, self.drawn, self.limit)

    def to_bytes(self, model: str) -> bytes:
        """The contents of the file, for the model with this fingerprint."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "cells": self.cells,
            "history": np.array(self.history, dtype=np.int32),
            "pending": np.frombuffer(self.pending.encode("utf-8", "surrogateescape"), dtype=np.uint8),
            "unread": np.frombuffer(self.unread, dtype=np.uint8),
        }
        about = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in arrays and field.name not in ("cache", "owner")
        }
        if self.cache is not None:
            arrays |= {"cache_keys": self.cache.keys, "cache_ids": self.cache.ids}
            about["cache_phase"] = self.cache.phase
        return dump(arrays, {"format": FORMAT, "model": model, "about": json.dumps(about)})


def from_bytes(data: bytes, name: str, model: str, network: NetworkConfig) -> SavedState:
    """Parse the contents of the file `name`. Raises `ModelError` if it is damaged or another model's."""
    arrays, metadata = parse(data, name)
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{name!r} is not a saved state; `sample --state-out` writes one")
    if metadata.get("model") != model:
        raise ModelError(f"{name!r} belongs to another model, or to this one before further training")
    try:
        return _checked(arrays, json.loads(metadata["about"]), network, known_owner(model))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{name!r} is damaged: {' '.join(str(error).split()) or 'it is incomplete'}") from error


def _checked(
    arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any], network: NetworkConfig, owner: StateOwner
) -> SavedState:
    """The state, if it is consistent. Raises `ValueError` or a similar error otherwise."""
    cached = "cache_keys" in arrays
    wanted = _TENSORS | _CACHE_TENSORS if cached else _TENSORS
    if {name: array.dtype.str.lstrip("|") for name, array in arrays.items()} != wanted:
        raise ValueError("its tensors are not those of a state")
    shape = (network.num_layers, CELLS[network.cell].states, network.rnn_size)
    cells = arrays["cells"]
    if cells.shape != shape or not np.isfinite(cells).all():
        raise ValueError("its recurrent state does not fit this network, or is not finite")
    about = dict(about)
    cache = _checked_cache(arrays, about.pop("cache_phase"), network) if cached else None
    saved = SavedState(
        np.array(cells),
        history=arrays["history"].tolist(),
        pending=arrays["pending"].tobytes().decode("utf-8", "surrogateescape"),
        unread=arrays["unread"].tobytes(),
        cache=cache,
        owner=owner,
        **about,
    )
    if any(type(getattr(saved, name)) is not int for name in ("last", "seed", "index", "drawn")) or not (
        type(saved.cut) is bool
        and isinstance(saved.tail, list)
        and isinstance(saved.walk, dict | None)
        and isinstance(saved.limit, float | None)
    ):
        raise ValueError("a field has the wrong type")
    if not all(type(one) is int and 0 <= one < network.vocab_size for one in (saved.last, *saved.history, *saved.tail)):
        raise ValueError("it contains ids that are not in the vocabulary")
    bounds = (("seed", 63), ("index", 63), ("drawn", 62))
    far = saved.limit is not None and not abs(saved.limit) < 1e6
    if any(not 0 <= getattr(saved, name) < 1 << bits for name, bits in bounds) or len(saved.tail) > 4 or far:
        raise ValueError("a number in it is out of range")
    return saved


def _checked_cache(arrays: Mapping[str, npt.NDArray[Any]], phase: Any, network: NetworkConfig) -> CacheEntries:
    """The entries of a context cache. Raises `ValueError` if they are inconsistent."""
    keys, ids = np.array(arrays["cache_keys"]), np.array(arrays["cache_ids"])
    if ids.ndim != 1 or keys.shape != (len(ids), network.rnn_size) or not np.isfinite(keys).all():
        raise ValueError("its context cache does not fit this network, or is not finite")
    if len(ids) and not 0 <= ids.min() <= ids.max() < network.vocab_size:
        raise ValueError("its context cache contains ids that are not in the vocabulary")
    if type(phase) is not int or not 0 <= phase < 64:
        raise ValueError("a number in it is out of range")
    return CacheEntries(keys, ids, phase)


def max_window(options: SampleOptions) -> int:
    """The largest window of any filter, active or not, in ids."""
    return max(getattr(options, row.window) for row in filter_rows() if row.window)


def truncate_history(ids: list[int], options: SampleOptions) -> tuple[list[int], bool]:
    """The latest of these ids that a state saves, and whether there were more."""
    size = max(MIN_HISTORY, max_window(options))
    return ids[-size:], len(ids) > size
