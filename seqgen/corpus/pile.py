"""Byte strings that are gathered once and read often: in memory while they are few, in a file without a name when many.

Such a file is gone when the program is, however it ends.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from typing import IO

from seqgen.corpus.catalogue import cache_folder
from seqgen.errors import UserError
from seqgen.streams import reason

_IN_MEMORY = 64 << 20  # bytes; more are written down
_WINDOW = 1 << 20  # bytes read at a time, because most readers go from front to back


class Pile:
    """String i is `pile[i]`.

    Raises:
        UserError: there is no room where the cache is.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._tail = bytearray()  # what is not in the file
        self._file: IO[bytes] | None = None
        self._written = 0
        self._ends = array("q", [0])
        self._window, self._window_start = b"", 0

    def append(self, data: bytes) -> None:
        """Adds a string."""
        self._tail += data
        self._ends.append(self._ends[-1] + len(data))
        if len(self._tail) > (self._in_memory if self._file is None else _WINDOW):
            self._write()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> bytes:
        if not 0 <= number < len(self):  # also what ends a loop over it
            raise IndexError(number)
        start, stop = self._ends[number], self._ends[number + 1]
        if start >= self._written:
            return bytes(self._tail[start - self._written : stop - self._written])
        if not self._window_start <= start <= stop <= self._window_start + len(self._window):
            self._window, self._window_start = self._read(start, max(stop - start, _WINDOW)), start
        return self._window[start - self._window_start : stop - self._window_start]

    @property
    def size(self) -> int:
        """Bytes of all strings together."""
        return self._ends[-1]

    def _write(self) -> None:
        place = cache_folder() / "spool"
        try:
            if self._file is None:
                place.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - goes with the pile
            self._file.write(self._tail)
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot keep the texts in {str(place)!r}: {reason(error)}") from error
        self._written += len(self._tail)
        self._tail = bytearray()

    def _read(self, start: int, size: int) -> bytes:
        assert self._file is not None
        parts = []
        while size > 0 and (part := os.pread(self._file.fileno(), size, start)):
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return b"".join(parts)
