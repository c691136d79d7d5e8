"""Suffix arrays (Manber & Myers, 1993): where anything stands in a text, by binary search.

Built in linear time where the kernels are compiled (`native/suffix.c`), otherwise by doubling the length that suffixes
are sorted by. An array takes four bytes a symbol, and is read where it lies, in memory or in a file that is mapped.
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

MAX_SYMBOLS = (1 << 31) - 1  # symbols: places are numbers of 32 bits
_AT_ONCE = 7  # bytes that one number of 64 bits holds, each with a place for "nothing"


def build_suffix_array(symbols: Symbols) -> Order:
    """Where the suffixes of `symbols`, shape (length,), begin, in their order. Raises `UserError` beyond 2³¹."""
    if len(symbols) > MAX_SYMBOLS:
        raise UserError(f"{len(symbols):,} symbols are too many to look for copies in; {MAX_SYMBOLS:,} are the most")
    if symbols.dtype == np.uint8:
        ranks, kinds = symbols.astype(np.int32), 256
    else:
        values, inverse = np.unique(symbols, return_inverse=True)
        ranks, kinds = inverse.astype(np.int32), len(values)
    kernels = library()
    if kernels is None:
        return _doubled(ranks, kinds)
    order = np.empty(len(ranks), dtype=np.int32)
    if kernels.seqgen_suffix_array(ranks.ctypes.data, len(ranks), max(kinds, 1), order.ctypes.data):
        raise MemoryError("there is no memory to sort so many suffixes")
    return order


def _doubled(ranks: npt.NDArray[np.int32], kinds: int) -> Order:
    """The same in numpy."""
    count = len(ranks)
    keys: npt.NDArray[np.int64] = ranks.astype(np.int64)
    length = 1
    if kinds == 256:
        padded = np.concatenate([keys + 1, np.zeros(_AT_ONCE, dtype=np.int64)])
        keys = np.zeros(count, dtype=np.int64)
        for place in range(_AT_ONCE):
            keys = keys * 257 + padded[place : place + count]
        length = _AT_ONCE
    while True:
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        places = np.empty(count, dtype=np.int64)
        places[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])]) if count else 0
        if not count or places[order[-1]] == count - 1:
            return order.astype(np.int32)
        following = np.zeros(count, dtype=np.int64)
        following[: max(count - length, 0)] = places[length:] + 1
        keys = places * (count + 1) + following
        length *= 2


class SuffixArray:
    """Symbols and the order of their suffixes: bytes of a text, or whole numbers."""

    def __init__(self, symbols: Symbols, order: Order) -> None:
        """Raises `ModelError` where `order` can't be that of `symbols`; that it is sorted is believed."""
        if order.ndim != 1 or order.shape != symbols.shape or order.dtype != np.int32:
            raise ModelError("the suffixes are not those of the corpus beside them")
        if len(order) and (int(order.min()) < 0 or int(order.max()) >= len(order)):
            raise ModelError("the suffixes are damaged: they lead out of the corpus")
        self.symbols = np.require(symbols, requirements=["C", "A"])
        self.order = np.require(order, requirements=["C", "A"])
        self._bytes = symbols.dtype == np.uint8
        kernels = library() if self._bytes else None
        self._find = None if kernels is None else kernels.seqgen_suffix_find
        self._found = (ctypes.c_int64 * 2)()
        self._where = self.symbols.ctypes.data, len(self.symbols), self.order.ctypes.data

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], title: str, kind: npt.DTypeLike, what: str) -> SuffixArray:
        """From the arrays of a file: the symbols, of this name and type, and the suffixes. Raises `ModelError`, which
        says `what` is missing, for anything else."""
        symbols, order = arrays.get(title), arrays.get("suffixes")
        if len(arrays) != 2 or symbols is None or order is None or symbols.dtype != kind:
            raise ModelError(f"it does not hold {what}")
        return cls(symbols, order)

    def longest_match(self, length: int, part: Callable[[int, int], bytes | Sequence[int]], most: int = 0) -> int:
        """How long the longest run of something stands here, if longer than `most`: `part` gives any run of its
        `length`, from a place to before another."""
        start = 0
        for end in range(1, length + 1):  # runs that grow at one end and are given up at the other
            while end - start > most and not self.occurs(part(start, end)):
                start += 1
            most = max(most, end - start)
        return most

    def find(self, pattern: bytes | Sequence[int]) -> tuple[int, int]:
        """The range of `order` whose suffixes begin with `pattern`: bytes, or numbers; empty where none does."""
        if self._find is not None:
            self._find(*self._where, pattern, len(pattern), self._found)
            return self._found[0], self._found[1]
        size, wanted = len(pattern), pattern if isinstance(pattern, bytes) else list(pattern)

        def begins(place: np.int32) -> Any:
            return self.at(int(place), size)

        low = bisect.bisect_left(self.order, wanted, key=begins)
        if low == len(self.order) or begins(self.order[low]) != wanted:
            return low, low
        return low, bisect.bisect_right(self.order, wanted, low, key=begins)

    def occurs(self, pattern: bytes | Sequence[int]) -> bool:
        """Whether it stands anywhere."""
        low, high = self.find(pattern)
        return low < high

    def at(self, place: int, size: int) -> bytes | list[int]:
        """So many symbols from a place on, or as many as there are."""
        part = self.symbols[place : place + size]
        return part.tobytes() if self._bytes else part.tolist()
