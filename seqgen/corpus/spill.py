"""Byte strings and arrays that are collected once and read often: in memory, or spilled to a temporary file if large.

The file has no name, so it is gone when the process ends, however it ends.
"""

from __future__ import annotations

import io
import os
import tempfile
import weakref
from array import array
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from seqgen.corpus.cache.folder import cache_folder
from seqgen.errors import UserError
from seqgen.streams import reason

_IN_MEMORY = 64 << 20  # bytes; more are spilled
_WINDOW = 1 << 20  # bytes read ahead, because most readers are sequential


class _Store:
    """A buffer of bytes, spilled when it is large."""

    def __init__(self, in_memory: int) -> None:
        self._in_memory = in_memory
        self._tail = bytearray()  # the part that is not in the file
        self.file: io.FileIO | None = None
        self._written = 0
        self._window, self._window_start = b"", 0

    def __len__(self) -> int:
        return self._written + len(self._tail)

    def append(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > (self._in_memory if self.file is None else _WINDOW):
            self.write()

    def write(self) -> None:
        """Write the rest to the file. Raises `UserError`."""
        folder = cache_folder() / "spool"
        try:
            if self.file is None:
                folder.mkdir(parents=True, exist_ok=True)
                self.file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by the next
                weakref.finalize(self, self.file.close)
            with memoryview(self._tail) as rest:
                done = 0
                while done < len(rest):
                    done += self.file.write(rest[done:])
        except OSError as error:
            raise UserError(
                f"cannot store the texts in {str(folder)!r}: {reason(error)}; SEQGEN_CACHE names another folder"
            ) from error
        self._written += len(self._tail)
        self._tail = bytearray()

    def read(self, start: int, stop: int) -> bytes:
        if start >= self._written:
            return bytes(self._tail[start - self._written : stop - self._written])
        ahead = start - self._window_start
        if not 0 <= ahead <= ahead + stop - start <= len(self._window):
            # Near the end of the window the reader is sequential, most likely; otherwise it wants this string alone.
            is_sequential = 0 <= ahead - len(self._window) <= _WINDOW or (ahead >= 0 and ahead <= len(self._window))
            self._window = self._from_file(start, max(stop - start, _WINDOW if is_sequential else 0))
            self._window_start, ahead = start, 0
        return self._window[ahead : ahead + stop - start]

    def _from_file(self, start: int, size: int) -> bytes:
        assert self.file is not None
        parts = []
        while size > 0 and (part := os.pread(self.file.fileno(), size, start)):
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return b"".join(parts)


class SpillList(Sequence[bytes]):
    """A list of byte strings, spilled to a file if it is large.

    Raises:
        UserError: the cache can't be written, or its disk is full.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        """`in_memory`: bytes beyond which the strings are spilled."""
        self._store = _Store(in_memory)
        self._ends = array("q", [0])

    def append(self, data: bytes) -> None:
        """Add a string."""
        self._store.append(data)
        self._ends.append(len(self._store))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):  # also ends iteration
            raise IndexError(index)
        return self._store.read(self._ends[index], self._ends[index + 1])

    @property
    def size(self) -> int:
        """Bytes of all strings."""
        return self._ends[-1]


class SpillArray:
    """One array made of many, memory-mapped if it is large.

    Raises:
        UserError: the cache can't be written, or its disk is full.
    """

    def __init__(self, dtype: npt.DTypeLike, in_memory: int = _IN_MEMORY) -> None:
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        self._store = _Store(in_memory)

    def append(self, numbers: npt.NDArray[Any]) -> None:
        """Append an array, shape (n,)."""
        self._store.append(numbers.astype(self._dtype, copy=False).tobytes())

    def array(self) -> npt.NDArray[Any]:
        """Return the whole array; nothing may be appended after it."""
        if self._store.file is None:
            return np.frombuffer(self._store.read(0, len(self._store)), dtype=self._dtype)
        self._store.write()
        return np.memmap(self._store.file, dtype=self._dtype, mode="r")
