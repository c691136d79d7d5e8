"""What stands verbatim in the training corpus: how much of a text does, and a guard that lets no more than so much.

A run counts where it stands in the corpus byte for byte, and is measured in characters; bytes that are no UTF-8 count
one each. The corpus is the text that was learnt from, as the model would write it, its documents kept apart by a byte
that none of them has (where there is such a byte), so that no run reaches from one into the next.
"""

from __future__ import annotations

import bisect
import codecs
from collections.abc import Collection, Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from seqgen.errors import UserError
from seqgen.generation.copies.suffixes import SuffixArray, build_suffix_array
from seqgen.generation.sampling.token_names import visible_token_bytes
from seqgen.tensors import Arrays
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes

_LONGEST_CHARACTER = 4  # bytes


class TextCopyIndex:
    """A corpus of text, and where anything stands in it. See the module's text."""

    def __init__(self, suffixes: SuffixArray) -> None:
        self.suffixes = suffixes

    @classmethod
    def build(cls, documents: Iterable[bytes]) -> TextCopyIndex:
        """Of whole documents, which are held in memory: twenty bytes for each of theirs."""
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
        """Of what `arrays` gave. Raises `ModelError` for anything else."""
        return cls(SuffixArray.of(arrays, "text", np.uint8, "a text and its suffixes"))

    def arrays(self) -> Arrays:
        """What keeps it in a file."""
        return {"text": self.suffixes.symbols, "suffixes": self.suffixes.order}

    def longest_match(self, text: str) -> int:
        """Characters of the longest run of `text` that stands in the corpus."""
        data = [as_bytes(character) for character in text]
        return self.suffixes.longest_match(len(data), lambda start, end: b"".join(data[start:end]))


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("surrogateescape")


class _Pieces:
    """What the guard has to know of a vocabulary: what ids spell, and which begin alike."""

    def __init__(self, codec: Codec) -> None:
        self.table = visible_token_bytes(codec)
        self.end = codec.end
        self.control = np.array([piece is None for piece in codec.pieces()])
        self.texts = [_decoder().decode(piece) for piece in self.table]  # the first byte of a character is none yet
        self.order = np.array(sorted(range(len(self.table)), key=self.table.__getitem__))

    @cached_property
    def beginnings(self) -> list[dict[bytes, tuple[int, int]]]:
        """For every k the first k characters of all ids that have so many, and the range of `order` that begins so."""
        ordered = [self.table[token] for token in self.order]
        found: list[dict[bytes, tuple[int, int]]] = [{} for _ in range(max(map(len, self.texts)) + 1)]
        for text in set(self.texts):
            for k in range(1, len(text) + 1):
                begin = as_bytes(text[:k])
                if begin not in found[k]:
                    behind = begin + b"\xff"  # which nothing that goes on from it comes behind
                    found[k][begin] = bisect.bisect_left(ordered, begin), bisect.bisect_left(ordered, behind)
        return found


class TextCopyGuard:
    """See `rules.TextConstraint`. Lets nothing come that would make a run of more than `most` characters of the corpus, counted
    with what stands before: the prompt, and a text that is gone on with.

    What is forbidden are the ids that would complete, anywhere in what they spell, one character too many.
    """

    over = False  # something can always follow

    def __init__(self, copies: TextCopyIndex, codec: Codec, most: int) -> None:
        self._suffixes, self._most = copies.suffixes, most
        self._pieces = _Pieces(codec)
        self._usual = np.ones(len(self._pieces.table), dtype=bool)  # what may come where no copy is under way
        self._usual[self._copies_alone()] = False
        self._usual.flags.writeable = False
        self._utf8 = _decoder()
        self._context: list[bytes] = []  # characters, the latest `most`

    def after(self, data: bytes) -> TextCopyGuard:
        """Another one for a text that begins with `data`."""
        fresh = self.copy()
        fresh._utf8.reset()
        fresh._context = []
        fresh._take(data[-_LONGEST_CHARACTER * (self._most + 1) :])
        return fresh

    def copy(self) -> TextCopyGuard:
        """Another one in the same place."""
        same = object.__new__(TextCopyGuard)
        same.__dict__ |= self.__dict__
        same._utf8 = _decoder()
        same._utf8.setstate(self._utf8.getstate())
        return same

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which ids may come next. Raises `UserError` where none is left."""
        mask = self._spelt_out() if self._utf8.getstate()[0] else self._whole()
        if mask is not self._usual and not (mask & ~self._pieces.control).any():
            raise UserError(f"--max-copy {self._most} leaves nothing that could be written here; a larger number does")
        return mask

    def push(self, token: int) -> bool:
        self._take(self._pieces.table[token])
        return True

    def _take(self, data: bytes) -> None:
        added = [as_bytes(character) for character in self._utf8.decode(data)]
        self._context = [*self._context, *added][-self._most :]

    def _before(self, new: int) -> bytes | None:
        """What stands before a run of one character too many, of which `new` are new, if that is in the corpus."""
        size = self._most + 1 - new
        if size > len(self._context):
            return None
        before = b"".join(self._context[len(self._context) - size :])
        return before if self._suffixes.occurs(before) else None

    def _copies_alone(self) -> list[int]:
        """Ids that hold such a run themselves."""
        size = self._most + 1
        return [
            token
            for token, text in enumerate(self._pieces.texts)
            if any(self._suffixes.occurs(as_bytes(text[at : at + size])) for at in range(len(text) - size + 1))
        ]

    def _whole(self) -> npt.NDArray[np.bool_]:
        """What may come where no character is unfinished."""
        mask, beginnings = self._usual, self._pieces.beginnings
        for k in range(min(len(beginnings) - 1, self._most), 0, -1):
            before = self._before(k)
            if before is None and self._most + 1 - k <= len(self._context):
                break  # with fewer new characters what stands before is longer, and stands nowhere either
            for low, high in () if before is None else self._following(before, k, beginnings[k]):
                if mask is self._usual:
                    mask = mask.copy()
                mask[self._pieces.order[low:high]] = False
        return mask

    def _following(
        self, before: bytes, k: int, beginnings: dict[bytes, tuple[int, int]]
    ) -> Collection[tuple[int, int]]:
        """The ranges of `beginnings`, of k characters, that follow `before` in the corpus."""
        low, high = self._suffixes.find(before)
        if high - low > len(beginnings):
            return [found for begin, found in beginnings.items() if self._suffixes.occurs(before + begin)]
        ranges = set()
        for place in self._suffixes.order[low:high].tolist():
            after = self._suffixes.at(place + len(before), _LONGEST_CHARACTER * k)
            assert isinstance(after, bytes)
            begin = as_bytes(after.decode("utf-8", "surrogateescape")[:k])
            if begin in beginnings:
                ranges.add(beginnings[begin])
        return ranges

    def _spelt_out(self) -> npt.NDArray[np.bool_]:
        """What may come where some bytes of a character wait for the others: every id is tried."""
        mask = self._usual.copy()
        most = len(self._pieces.beginnings) - 1 + _LONGEST_CHARACTER - 1  # characters that can come at once
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
