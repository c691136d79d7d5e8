"""Copies of the training corpus: the longest run of a text that is verbatim, and a guard that limits it.

A run counts if it occurs in the corpus byte for byte. It is measured in characters; invalid UTF-8 counts one for each
byte. The corpus is the training text as the model would write it. Documents are separated by a byte that none of them
contains, if there is one, so that no run crosses from one to the next.
"""

from __future__ import annotations

import bisect
import codecs
from collections.abc import Collection, Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from seqgen.errors import UserError
from seqgen.generation.copies.suffix_array import SuffixArray, build_suffix_array
from seqgen.generation.sampling.token_names import visible_token_bytes
from seqgen.tensors import Arrays
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes

_MAX_CHARACTER = 4  # bytes


class TextCopyIndex:
    """A corpus of text and its suffix array."""

    def __init__(self, suffixes: SuffixArray) -> None:
        self.suffixes = suffixes

    @classmethod
    def build(cls, documents: Iterable[bytes]) -> TextCopyIndex:
        """Index whole documents, in memory: twenty bytes for each of theirs."""
        texts = list(documents)
        present = np.zeros(256, dtype=bool)
        for text in texts:
            present[np.frombuffer(text, dtype=np.uint8)] = True
        free = [value for value in (*range(255, 127, -1), *range(32)) if not present[value]]
        border = bytes([free[0]]) if free else b"\xff"
        symbols = np.frombuffer(border.join(texts), dtype=np.uint8)
        return cls(SuffixArray(symbols, build_suffix_array(symbols)))

    @classmethod
    def of(cls, arrays: Arrays) -> TextCopyIndex:
        """Restore an index from `arrays`. Raises `ModelError` for anything else."""
        return cls(SuffixArray.of(arrays, "text", np.uint8, "a text and its suffix array"))

    def arrays(self) -> Arrays:
        """The index as tensors for a file."""
        return {"text": self.suffixes.symbols, "suffixes": self.suffixes.order}

    def longest_match(self, text: str) -> int:
        """Characters of the longest run of `text` that occurs in the corpus."""
        data = [as_bytes(character) for character in text]
        return self.suffixes.longest_match(len(data), lambda start, end: b"".join(data[start:end]))


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("surrogateescape")


class _Pieces:
    """The texts of all ids, and the ids that share a beginning."""

    def __init__(self, codec: Codec) -> None:
        self.table = visible_token_bytes(codec)
        self.end = codec.end
        self.control = np.array([piece is None for piece in codec.pieces()])
        self.texts = [_decoder().decode(piece) for piece in self.table]  # the first bytes of a character are none yet
        self.order = np.array(sorted(range(len(self.table)), key=self.table.__getitem__))

    @cached_property
    def beginnings(self) -> list[dict[bytes, tuple[int, int]]]:
        """For each k, the first k characters of ids that have as many, and the range of `order` with this beginning."""
        ordered = [self.table[token] for token in self.order]
        found: list[dict[bytes, tuple[int, int]]] = [{} for _ in range(max(map(len, self.texts)) + 1)]
        for text in set(self.texts):
            for k in range(1, len(text) + 1):
                begin = as_bytes(text[:k])
                if begin not in found[k]:
                    after = begin + b"\xff"  # sorts after everything that begins so
                    found[k][begin] = bisect.bisect_left(ordered, begin), bisect.bisect_left(ordered, after)
        return found


class TextCopyGuard:
    """A `constraints.TextConstraint` that allows no run of more than `most` characters of the corpus.

    Runs include characters before the generated text: of the prompt, and of a text that is continued. The guard
    excludes ids that would complete a run of one character too many, anywhere in their text.
    """

    over = False  # something may always follow

    def __init__(self, copies: TextCopyIndex, codec: Codec, most: int) -> None:
        self._suffixes, self._most = copies.suffixes, most
        self._pieces = _Pieces(codec)
        self._usual = np.ones(len(self._pieces.table), dtype=bool)  # without a copy in progress
        self._usual[self._copies_alone()] = False
        self._usual.flags.writeable = False
        self._utf8 = _decoder()
        self._context: list[bytes] = []  # the last `most` characters

    def after(self, data: bytes) -> TextCopyGuard:
        """A guard for a text that begins with `data`."""
        fresh = self.copy()
        fresh._utf8.reset()
        fresh._context = []
        fresh._take(data[-_MAX_CHARACTER * (self._most + 1) :])
        return fresh

    def copy(self) -> TextCopyGuard:
        """A guard in the same state."""
        same = object.__new__(TextCopyGuard)
        same.__dict__ |= self.__dict__
        same._utf8 = _decoder()
        same._utf8.setstate(self._utf8.getstate())
        return same

    def mask(self) -> npt.NDArray[np.bool_]:
        """The ids that may come next. Raises `UserError` if there is none."""
        mask = self._byte_by_byte() if self._utf8.getstate()[0] else self._whole()
        if mask is not self._usual and not (mask & ~self._pieces.control).any():
            raise UserError(f"cannot continue the text: --max-copy {self._most} excludes every token; raise it")
        return mask

    def push(self, token: int) -> bool:
        self._take(self._pieces.table[token])
        return True

    def _take(self, data: bytes) -> None:
        added = [as_bytes(character) for character in self._utf8.decode(data)]
        self._context = [*self._context, *added][-self._most :]

    def _before(self, new: int) -> bytes | None:
        """The characters before the `new` ones of a run that is one too long; None if they aren't in the corpus."""
        size = self._most + 1 - new
        if size > len(self._context):
            return None
        before = b"".join(self._context[len(self._context) - size :])
        return before if self._suffixes.occurs(before) else None

    def _copies_alone(self) -> list[int]:
        """Ids whose own text contains a run that is too long."""
        size = self._most + 1
        return [
            token
            for token, text in enumerate(self._pieces.texts)
            if any(self._suffixes.occurs(as_bytes(text[at : at + size])) for at in range(len(text) - size + 1))
        ]

    def _whole(self) -> npt.NDArray[np.bool_]:
        """The ids that may come if no character is unfinished."""
        mask, beginnings = self._usual, self._pieces.beginnings
        for k in range(min(len(beginnings) - 1, self._most), 0, -1):
            before = self._before(k)
            if before is None and self._most + 1 - k <= len(self._context):
                break  # with fewer new characters, the longer text before them can't occur either
            for low, high in () if before is None else self._following(before, k, beginnings[k]):
                if mask is self._usual:
                    mask = mask.copy()
                mask[self._pieces.order[low:high]] = False
        return mask

    def _following(
        self, before: bytes, k: int, beginnings: dict[bytes, tuple[int, int]]
    ) -> Collection[tuple[int, int]]:
        """The ranges of `beginnings` of k characters that follow `before` in the corpus."""
        low, high = self._suffixes.find(before)
        if high - low > len(beginnings):
            return [found for begin, found in beginnings.items() if self._suffixes.occurs(before + begin)]
        ranges = set()
        for position in self._suffixes.order[low:high].tolist():
            after = self._suffixes.at(position + len(before), _MAX_CHARACTER * k)
            assert isinstance(after, bytes)
            begin = as_bytes(after.decode("utf-8", "surrogateescape")[:k])
            if begin in beginnings:
                ranges.add(beginnings[begin])
        return ranges

    def _byte_by_byte(self) -> npt.NDArray[np.bool_]:
        """The ids that may come after part of a character: every id is tried."""
        mask = self._usual.copy()
        most = len(self._pieces.beginnings) - 1 + _MAX_CHARACTER - 1  # characters that one id can complete
        if most < self._most < len(self._context) + most and self._before(most) is None:
            return mask
        state = self._utf8.getstate()
        for token in np.flatnonzero(mask).tolist():
            utf8 = _decoder()
            utf8.setstate(state)
            added = utf8.decode(self._pieces.table[token], token == self._pieces.end)
            characters = [*self._context, *map(as_bytes, added)]
            for stop in range(len(self._context) + 1, len(characters) + 1):
                run = characters[max(0, stop - self._most - 1) : stop]
                if len(run) > self._most and self._suffixes.occurs(b"".join(run)):
                    mask[token] = False
        return mask
