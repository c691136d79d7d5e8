"""The id cache: a corpus as one memory-mapped array of ids, a few bytes a token, whatever its size.

The array reads `end document end document …`: every document is announced by `end`. A part that was cut off before
its document's end does not teach that documents end there: the places of such false ends are kept beside the ids.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.errors import DataError
from seqgen.streams import atomic_write, reason, write_bytes

_RESIDENT = 64 << 20  # bytes of a mapped array that may have been read before their memory is given back


class PageReleaser:
    """Counts what has been read of a mapped array, and gives its memory back now and then.

    What is read stays in this process's memory for as long as the system has room; given back, a large corpus neither
    seems to fill it nor does. (The system itself still has it at hand.)
    """

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, mapped: npt.NDArray, read: int) -> None:
        """So many of the array's items were read. Nothing is done for one that is not mapped."""
        self._bytes += read * mapped.itemsize
        if self._bytes > _RESIDENT:
            self._bytes = 0
            pages = getattr(mapped, "_mmap", None)
            if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class IdStream:
    """Ids of a corpus, in order.

    `ids` is one-dimensional, uint8, uint16 or uint32, in memory or mapped. `false_ends` are the places of `end` that
    follow a cut: nothing should be learnt from them as a target. Place 0 follows the last place.
    """

    ids: npt.NDArray[np.unsignedinteger]
    false_ends: npt.NDArray[np.int64]
    _releaser: PageReleaser = field(default_factory=PageReleaser, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The ids at some places, of the same shape."""
        found = self.ids[places].astype(np.int64)
        self._releaser.add(self.ids, found.size)
        return found

    def is_false_end(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each place is one of `false_ends`, which are sorted; of many documents there are many."""
        if not len(self.false_ends):
            return np.zeros(places.shape, dtype=bool)
        found = np.searchsorted(self.false_ends, places)
        return self.false_ends[np.minimum(found, len(self.false_ends) - 1)] == places


def id_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """The narrowest unsigned type that holds every id."""
    return np.dtype(np.uint8 if vocab_size <= 1 << 8 else np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def build(
    path: Path,
    parts: Iterable[tuple[Iterable[npt.NDArray[np.integer]], bool]],
    vocab_size: int,
    end: int,
    about: str = "",
) -> IdStream:
    """Writes the ids of every part to `path`, atomically, and maps them.

    Args:
        parts: for each part its ids in pieces, and whether it ends where its document ends.
        about: what the ids are of, for those who look into the cache.

    Raises:
        UserError: the disk is full or the folder can't be written.
    """
    kind = id_dtype(vocab_size)
    count, false_ends = 0, []
    true_end = True
    with atomic_write(path) as stream:
        for pieces, ends_document in parts:
            if not true_end:
                false_ends.append(count)
            stream.write(np.array([end], dtype=kind).tobytes())
            count += 1
            for ids in pieces:
                stream.write(ids.astype(kind, copy=False).tobytes())
                count += len(ids)
            true_end = ends_document
    if not true_end:
        false_ends.append(0)
    # Last, because its presence says that the ids are whole.
    index: dict[str, object] = {"dtype": kind.name, "tokens": count, "false_ends": sorted(false_ends)}
    if about:
        index["about"] = about
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
        false_ends = np.sort(np.array(index["false_ends"], dtype=np.int64))
        if false_ends.ndim != 1 or ((false_ends < 0) | (false_ends >= len(ids))).any():
            return None
        return IdStream(ids, false_ends)
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    except OSError as error:
        raise DataError(f"cannot read the id cache {str(path)!r}: {reason(error)}") from error


def _index(path: Path) -> Path:
    return path.with_suffix(".json")
