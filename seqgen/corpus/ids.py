"""The id cache: a corpus of any size as one memory-mapped array of ids.

The array is `end document end document …`: `end` precedes every document. A part that was cut off before the end of
its document must not teach that documents end there, so the positions of such false ends are stored too.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.errors import DataError
from seqgen.streams import atomic_write, reason, write_bytes

_MAX_RESIDENT = 64 << 20  # bytes read of a mapped array before their memory is released


class PageReleaser:
    """Releases the memory of a mapped array after every 64 MiB read.

    Otherwise the pages count as this process's memory for as long as the system has room. They stay in the system's
    page cache.
    """

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, mapped: npt.NDArray, read: int) -> None:
        """Count `read` items of an array, which may also be one that is not mapped."""
        self._bytes += read * mapped.itemsize
        if self._bytes > _MAX_RESIDENT:
            self._bytes = 0
            pages = getattr(mapped, "_mmap", None)
            if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class IdStream:
    """Ids of a corpus, in order.

    Attributes:
        ids: uint8, uint16 or uint32, shape (tokens,), in memory or mapped.
        false_ends: sorted positions of `end` that follow a cut, not to be used as targets. Position 0 follows the last.
        given: whether each id follows from those before it, so that it is no target either; None if none does.
    """

    ids: npt.NDArray[np.unsignedinteger]
    false_ends: npt.NDArray[np.int64]
    given: npt.NDArray[np.bool_] | None = None
    _releaser: PageReleaser = field(default_factory=PageReleaser, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the ids at these positions, in the same shape."""
        found = self.ids[positions].astype(np.int64)
        self._releaser.add(self.ids, found.size)
        return found

    def is_false_end(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return whether each position is one of `false_ends`."""
        if not len(self.false_ends):
            return np.zeros(positions.shape, dtype=bool)
        found = np.searchsorted(self.false_ends, positions)
        return self.false_ends[np.minimum(found, len(self.false_ends) - 1)] == positions

    def is_target(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return whether the ids at these positions are to be predicted, in the same shape."""
        found = ~self.is_false_end(positions)
        return found if self.given is None else found & ~self.given[positions]

    @property
    def predicts_all(self) -> bool:
        """Whether every id is to be predicted."""
        return not len(self.false_ends) and self.given is None


def id_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Return the narrowest unsigned dtype for ids below `vocab_size`."""
    return np.dtype(np.uint8 if vocab_size <= 1 << 8 else np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def build(
    path: Path,
    parts: Iterable[tuple[Iterable[npt.NDArray[np.integer]], bool]],
    vocab_size: int,
    end: int,
    about: str = "",
    cut_short: Callable[[], bool] = lambda: False,
) -> IdStream:
    """Write the ids of all parts to `path`, atomically, and map them.

    Args:
        parts: for each part, its ids in pieces, and whether it ends where its document ends.
        about: description for the list of the cache.
        cut_short: asked at the end, whether the last part ends before its document does, in spite of `parts`.

    Raises:
        UserError: the disk is full or the folder can't be written.
    """
    dtype = id_dtype(vocab_size)
    count, false_ends = 0, []
    true_end = True
    with atomic_write(path) as stream:
        for pieces, ends_document in parts:
            if not true_end:
                false_ends.append(count)
            stream.write(np.array([end], dtype=dtype).tobytes())
            count += 1
            for ids in pieces:
                stream.write(ids.astype(dtype, copy=False).tobytes())
                count += len(ids)
            true_end = ends_document
        true_end = true_end and not cut_short()
    if not true_end:
        false_ends.append(0)
    # Written last: its presence means that the ids are complete.
    index: dict[str, object] = {"dtype": dtype.name, "tokens": count, "false_ends": sorted(false_ends)}
    if about:
        index["about"] = about
    write_bytes(_index(path), json.dumps(index).encode())
    stored = load(path)
    assert stored is not None
    return stored


def load(path: Path) -> IdStream | None:
    """Map the ids that `build` wrote to `path`; None if they are missing or incomplete."""
    try:
        index = json.loads(_index(path).read_bytes())
        dtype = np.dtype(index["dtype"])
        if path.stat().st_size != dtype.itemsize * index["tokens"] or dtype.kind != "u":
            return None
        ids = np.memmap(path, dtype=dtype, mode="r", shape=(index["tokens"],))
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
