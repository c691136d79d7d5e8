"""The id cache: a corpus as one memory-mapped array of ids, a few bytes a token, whatever its size.

The array reads `end document end document …`: every document is announced by `end`. A part that was cut off before
its document's end does not teach that documents end there: the places of such false ends are kept beside the ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.errors import DataError
from seqgen.streams import atomic_write, reason, write_bytes


@dataclass(frozen=True)
class IdStream:
    """Ids of a corpus, in order.

    `ids` is one-dimensional, uint8, uint16 or uint32, in memory or mapped. `false_ends` are the places of `end` that
    follow a cut: nothing should be learnt from them as a target. Place 0 follows the last place.
    """

    ids: npt.NDArray[np.unsignedinteger]
    false_ends: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


def id_type(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """The narrowest unsigned type that holds every id."""
    return np.dtype(np.uint8 if vocab_size <= 1 << 8 else np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def build(
    path: Path, parts: Iterable[tuple[Iterable[npt.NDArray[np.int32]], bool]], vocab_size: int, end: int
) -> IdStream:
    """Writes the ids of every part to `path`, atomically, and maps them.

    Args:
        parts: for each part its ids in pieces, and whether it ends where its document ends.

    Raises:
        UserError: the disk is full or the folder can't be written.
    """
    kind = id_type(vocab_size)
    count, false_ends = 0, []
    true_end = True
    with atomic_write(path) as stream:
        for pieces, whole_end in parts:
            if not true_end:
                false_ends.append(count)
            stream.write(np.array([end], dtype=kind).tobytes())
            count += 1
            for ids in pieces:
                stream.write(ids.astype(kind).tobytes())
                count += len(ids)
            true_end = whole_end
    if not true_end:
        false_ends.append(0)
    # Last, because its presence says that the ids are whole.
    index = {"dtype": kind.name, "tokens": count, "false_ends": sorted(false_ends)}
    write_bytes(_index(path), json.dumps(index).encode())
    stored = load(path)
    assert stored is not None
    return stored


def load(path: Path) -> IdStream | None:
    """Maps the ids that `build` left at `path`; None if they are not there, or not whole."""
    try:
        index = json.loads(_index(path).read_bytes())
        kind = np.dtype(index["dtype"])
        if path.stat().st_size != kind.itemsize * index["tokens"] or kind.kind != "u":
            return None
        ids = np.memmap(path, dtype=kind, mode="r", shape=(index["tokens"],))
        false_ends = np.array(index["false_ends"], dtype=np.int64)
        if false_ends.ndim != 1 or ((false_ends < 0) | (false_ends >= len(ids))).any():
            return None
        return IdStream(ids, false_ends)
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    except OSError as error:
        raise DataError(f"cannot read the id cache {str(path)!r}: {reason(error)}") from error


def _index(path: Path) -> Path:
    return path.with_suffix(".json")
