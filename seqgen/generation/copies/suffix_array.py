"""Suffix arrays (Manber & Myers, 1993): where a sequence occurs in a text, by binary search.

They are built in linear time by the compiled kernels (`native/suffix.c`), otherwise by prefix doubling. An array takes
four bytes a symbol, and is searched in memory or in a mapped file.
"""

from __future__ import annotations

import bisect
import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.errors import ModelError, UserError
from seqgen.native import library

Symbols = npt.NDArray[np.integer]
Order = npt.NDArray[np.int32]

MAX_SYMBOLS = (1 << 31) - 1  # positions are 32-bit integers
_PACKED_BYTES = 7  # bytes that fit into a 64-bit integer, each with a value for "end of text"
_MAX_COMPARED = 1 << 22  # symbols compared at a time
_END = np.iinfo(np.int64).min  # below every symbol: a suffix that ends sorts first


def build_suffix_array(symbols: Symbols) -> Order:
    """Start positions of all suffixes of `symbols`, shape (length,), in sorted order. Raises `UserError` beyond 2³¹."""
    if len(symbols) > MAX_SYMBOLS:
        raise UserError(f"cannot index {len(symbols):,} symbols: {MAX_SYMBOLS:,} are the maximum; use a smaller corpus")
    if symbols.dtype == np.uint8:
        ranks, alphabet = symbols.astype(np.int32), 256
    else:
        values, inverse = np.unique(symbols, return_inverse=True)
        ranks, alphabet = inverse.astype(np.int32), len(values)
    kernels = library()
    if kernels is None:
        return _prefix_doubling(ranks, alphabet)
    order = np.empty(len(ranks), dtype=np.int32)
    if kernels.seqgen_suffix_array(ranks.ctypes.data, len(ranks), max(alphabet, 1), order.ctypes.data):
        raise MemoryError("there is no memory to sort so many suffixes")
    return order


def _prefix_doubling(ranks: npt.NDArray[np.int32], alphabet: int) -> Order:
    """The suffix array in numpy, by doubling the length of the sorted prefixes."""
    count = len(ranks)
    keys: npt.NDArray[np.int64] = ranks.astype(np.int64)
    length = 1
    if alphabet == 256:
        padded = np.concatenate([keys + 1, np.zeros(_PACKED_BYTES, dtype=np.int64)])
        keys = np.zeros(count, dtype=np.int64)
        for offset in range(_PACKED_BYTES):
            keys = keys * 257 + padded[offset : offset + count]
        length = _PACKED_BYTES
    while True:
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        new_ranks = np.empty(count, dtype=np.int64)
        new_ranks[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])]) if count else 0
        if not count or new_ranks[order[-1]] == count - 1:
            return order.astype(np.int32)
        following = np.zeros(count, dtype=np.int64)
        following[: max(count - length, 0)] = new_ranks[length:] + 1
        keys = new_ranks * (count + 1) + following
        length *= 2


class SuffixArray:
    """A sequence of symbols, bytes or integers, with its sorted suffixes."""

    def __init__(self, symbols: Symbols, order: Order) -> None:
        """Raises `ModelError` if `order` can't belong to `symbols`; it isn't checked to be sorted."""
        if order.ndim != 1 or order.shape != symbols.shape or order.dtype != np.int32:
            raise ModelError("the suffix array does not fit the corpus beside it")
        if len(order) and (int(order.min()) < 0 or int(order.max()) >= len(order)):
            raise ModelError("the suffix array is damaged: it points outside the corpus")
        self.symbols = np.require(symbols, requirements=["C", "A"])
        self.order = np.require(order, requirements=["C", "A"])
        self._bytes = symbols.dtype == np.uint8
        kernels = library() if self._bytes else None
        self._find = None if kernels is None else kernels.seqgen_suffix_find
        self._found = (ctypes.c_int64 * 2)()
        self._pointers = self.symbols.ctypes.data, len(self.symbols), self.order.ctypes.data

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], title: str, dtype: npt.DTypeLike, content: str) -> SuffixArray:
        """Make one from the arrays of a file.

        Args:
            title: name of the array of symbols, which must have this `dtype`.
            content: what the file should contain, for the error.

        Raises:
            ModelError: the arrays are others.
        """
        symbols, order = arrays.get(title), arrays.get("suffixes")
        if len(arrays) != 2 or symbols is None or order is None or symbols.dtype != dtype:
            raise ModelError(f"it does not contain {content}")
        return cls(symbols, order)

    def longest_match(self, length: int, part: Callable[[int, int], bytes | Sequence[int]], least: int = 0) -> int:
        """Length of the longest run of a sequence that occurs here, or `least` if that is not longer.

        Args:
            length: of the sequence.
            part: from a start and an end to that part of the sequence.
        """
        start = 0
        for end in range(1, length + 1):  # a sliding window that grows at its end
            while end - start > least and not self.occurs(part(start, end)):
                start += 1
            least = max(least, end - start)
        return least

    def longest_run(self, sequence: Symbols, least: int = 0) -> int:
        """The same for a sequence of integers, all of whose runs are searched for at once."""
        start = 0
        while start + least < len(sequence):
            starts = np.arange(start, len(sequence) - least)
            occurring = np.flatnonzero(self._occurring(sequence, starts, least + 1))
            if not len(occurring):
                break
            first = int(starts[occurring[0]])
            least = self._extend(sequence[first:].tolist(), least + 1)
            start = first + 1
        return least

    def _extend(self, sequence: Sequence[int], length: int) -> int:
        """Length of the longest prefix of `sequence` that occurs, whose first `length` symbols do."""
        low, high = self.find(sequence[:length])

        def symbol(position: np.int32) -> int:
            index = int(position) + length
            return int(self.symbols[index]) if index < len(self.symbols) else _END

        while length < len(sequence):
            low = bisect.bisect_left(self.order, sequence[length], low, high, key=symbol)
            high = bisect.bisect_right(self.order, sequence[length], low, high, key=symbol)
            if low == high:
                break
            length += 1
        return length

    def _occurring(self, sequence: Symbols, starts: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.bool_]:
        """Whether each run of `size` symbols of the sequence from `starts` on occurs."""
        count = len(self.order)
        low, high = np.zeros(len(starts), dtype=np.int64), np.full(len(starts), count)
        while (low < high).any():
            middle = np.minimum((low + high) // 2, count - 1)
            less = self._compare(self.order[middle], sequence, starts, size) < 0
            active = low < high
            low, high = np.where(active & less, middle + 1, low), np.where(active & ~less, middle, high)
        found = low < count
        found[found] = self._compare(self.order[low[found]], sequence, starts[found], size) == 0
        return found

    def _compare(
        self, positions: npt.NDArray[np.int32], sequence: Symbols, starts: npt.NDArray[np.int64], size: int
    ) -> npt.NDArray[np.int8]:
        """−1, 0 or 1 as the first `size` symbols here from `positions` on are below, equal to or above the runs."""
        result = np.zeros(len(starts), dtype=np.int8)
        equal, compared, width = np.arange(len(starts)), 0, 8
        while len(equal) and compared < size:
            width = max(1, min(width, size - compared, _MAX_COMPARED // len(equal)))
            offsets = compared + np.arange(width)
            here = positions[equal].astype(np.int64)[:, None] + offsets
            ours = np.where(here < len(self.symbols), self.symbols[np.minimum(here, len(self.symbols) - 1)], _END)
            theirs = sequence[starts[equal][:, None] + offsets]
            first = (ours != theirs).argmax(axis=1)[:, None]
            one, other = np.take_along_axis(ours, first, 1)[:, 0], np.take_along_axis(theirs, first, 1)[:, 0]
            result[equal] = (one > other).astype(np.int8) - (one < other)
            equal = equal[one == other]
            compared, width = compared + width, 2 * width
        return result

    def find(self, pattern: bytes | Sequence[int]) -> tuple[int, int]:
        """The range of `order` whose suffixes begin with `pattern`, bytes or integers; empty if there is none."""
        if self._find is not None:
            self._find(*self._pointers, pattern, len(pattern), self._found)
            return self._found[0], self._found[1]
        size, wanted = len(pattern), pattern if isinstance(pattern, bytes) else list(pattern)

        def begins(position: np.int32) -> Any:
            return self.at(int(position), size)

        low = bisect.bisect_left(self.order, wanted, key=begins)
        if low == len(self.order) or begins(self.order[low]) != wanted:
            return low, low
        return low, bisect.bisect_right(self.order, wanted, low, key=begins)

    def occurs(self, pattern: bytes | Sequence[int]) -> bool:
        """Whether the pattern occurs anywhere."""
        low, high = self.find(pattern)
        return low < high

    def at(self, position: int, size: int) -> bytes | list[int]:
        """Up to `size` symbols from a position on."""
        part = self.symbols[position : position + size]
        return part.tobytes() if self._bytes else part.tolist()
