"""Byte strings that are gathered once and read often: in memory while they are few, in a file without a name when many.

Such a file is gone when the program is, however it ends.
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

_IN_MEMORY = 64 << 20  # bytes; more are written down
_WINDOW = 1 << 20  # bytes read at a time, because most readers go from front to back


class _Store:
    """Bytes one behind the other."""

    def __init__(self, in_memory: int) -> None:
        self._in_memory = in_memory
        self._tail = bytearray()  # what is not in the file
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
        """Writes down what is not in the file. Raises `UserError`."""
        place = cache_folder() / "spool"
        try:
            if self.file is None:
                place.mkdir(parents=True, exist_ok=True)
                self.file = tempfile.TemporaryFile(dir=place, buffering=0)  # noqa: SIM115 - closed by the next
                weakref.finalize(self, self.file.close)
            with memoryview(self._tail) as rest:
                done = 0
                while done < len(rest):
                    done += self.file.write(rest[done:])
        except OSError as error:
            raise UserError(f"cannot keep the texts in {str(place)!r}: {reason(error)}") from error
        self._written += len(self._tail)
        self._tail = bytearray()

    def read(self, start: int, stop: int) -> bytes:
        if start >= self._written:
            return bytes(self._tail[start - self._written : stop - self._written])
        ahead = start - self._window_start
        if not 0 <= ahead <= ahead + stop - start <= len(self._window):
            # Who is near the end of what was read goes on from there, most likely; anyone else wants this alone.
            goes_on = 0 <= ahead - len(self._window) <= _WINDOW or (ahead >= 0 and ahead <= len(self._window))
            self._window = self._from_file(start, max(stop - start, _WINDOW if goes_on else 0))
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
    """Byte strings, by their number.

    Raises:
        UserError: there is no room where the cache is.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        """`in_memory`: bytes up to which nothing is written down."""
        self._store = _Store(in_memory)
        self._ends = array("q", [0])

    def append(self, data: bytes) -> None:
        """Adds a string."""
        self._store.append(data)
        self._ends.append(len(self._store))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, number: int) -> bytes: ...

    @overload
    def __getitem__(self, number: slice) -> list[bytes]: ...

    def __getitem__(self, number: int | slice) -> bytes | list[bytes]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):  # also what ends a loop over it
            raise IndexError(number)
        return self._store.read(self._ends[number], self._ends[number + 1])

    @property
    def size(self) -> int:
        """Bytes of all strings together."""
        return self._ends[-1]


class SpillArray:
    """Arrays gathered to one, which is mapped where it is large.

    Raises:
        UserError: there is no room where the cache is.
    """

    def __init__(self, kind: npt.DTypeLike, in_memory: int = _IN_MEMORY) -> None:
        self._kind: np.dtype[Any] = np.dtype(kind)
        self._store = _Store(in_memory)

    def append(self, numbers: npt.NDArray[Any]) -> None:
        """Adds an array of one dimension."""
        self._store.append(numbers.astype(self._kind, copy=False).tobytes())

    def array(self) -> npt.NDArray[Any]:
        """All of them; nothing may be added any more."""
        if self._store.file is None:
            return np.frombuffer(self._store.read(0, len(self._store)), dtype=self._kind)
        self._store.write()
        return np.memmap(self._store.file, dtype=self._kind, mode="r")
