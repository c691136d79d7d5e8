"""Hashed n-grams of words, and prefixes and suffixes of words: the features of the linear model beside a classifier.

Words are found and hashed in the bytes themselves, many texts at a time, without a Python object a word. A word is a
run of letters, digits and apostrophes between them, regardless of the case of ASCII letters. Every other mark is a word
of its own, and so is every character of three bytes or more in UTF-8, as Chinese and Japanese need. Buckets follow the
hashing trick (Weinberger et al., 2009). The hash is a polynomial in the bytes modulo 2⁶⁴, finished by the mixer of
SplitMix64 (Steele et al., 2014): the same on every machine.

Prefixes and suffixes, of three characters or more, are what a word has in common with its inflections: what "thrills"
was learnt for "thrilling" has too, which the training texts may never have.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BUCKETS = 1 << 24  # integers up to here are exact in float32
_BLOCK = 1 << 20  # bytes at a time: the powers of the hash stay in the cache
_PRIME = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2⁶⁴
_BEGINS, _ENDS = np.uint64(0x6A09E667F3BCC908), np.uint64(0xBB67AE8584CAA73B)
_ORDER_SEEDS = (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89, 0x452821E638D01377)
_PREFIX_SEED, _SUFFIX_SEED = np.uint64(0xBE5466CF34E90C6C), np.uint64(0xC0AC29B7C97C50DD)
_SHORTEST_AFFIX = 3  # characters

_SPACE, _WORD, _MARK, _WIDE, _CONTINUED, _APOSTROPHE = range(6)


class Bags(NamedTuple):
    """The distinct buckets of each text: those of text i are `buckets[starts[i]:starts[i + 1]]`, ascending."""

    buckets: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]


class Ngrams(NamedTuple):
    """What a linear model counts: n-grams of up to `order` words, affixes of up to `affixes` characters; 0: none."""

    order: int
    affixes: int

    def bags(self, texts: Any) -> Bags:
        """Return the buckets of every text; see `bags` for `texts`."""
        return bags(texts, self.order, BUCKETS, self.affixes)

    @property
    def each_token(self) -> int:
        """An estimate of the distinct n-grams and affixes for each token of a text."""
        return 2 * self.order if self.affixes else self.order


class _Words(NamedTuple):
    """The words of at most a block of bytes.

    Attributes:
        hashes, starts, stops: of each word: its hash, and the positions of its first byte and after its last.
        sums: of the bytes up to each position, times powers of the hash; shape (bytes + 1,).
    """

    hashes: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    sums: npt.NDArray[np.uint64]


def _byte_classes() -> npt.NDArray[np.uint8]:
    """The class of each byte value."""
    table = np.full(256, _MARK, dtype=np.uint8)
    table[:33] = _SPACE
    table[127] = _SPACE
    for first, last in (("0", "9"), ("A", "Z"), ("a", "z")):
        table[ord(first) : ord(last) + 1] = _WORD
    table[ord("_")] = _WORD
    table[ord("'")] = _APOSTROPHE
    table[0x80:0xC0] = _CONTINUED
    table[0xC0:0xE0] = _WORD  # Latin with accents, Greek, Cyrillic, Hebrew, Arabic
    table[0xE0:0xE2] = _WORD  # the scripts of India and South-East Asia, Georgian, Latin with more accents
    table[0xE2:0xEA] = _WIDE  # general punctuation, kana, Han
    table[0xEA:0xEE] = _WORD  # Hangul, which has spaces
    table[0xEE:] = _WIDE
    return table


_BYTE_CLASSES = _byte_classes()
_FOLDED = np.arange(256, dtype=np.uint8)
_FOLDED[ord("A") : ord("Z") + 1] += 32


@lru_cache(maxsize=1)
def _powers() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """1, P, P², … and their inverses modulo 2⁶⁴."""
    inverse = np.uint64(pow(int(_PRIME), -1, 1 << 64))
    up, down = np.full(_BLOCK + 1, _PRIME), np.full(_BLOCK + 1, inverse)
    up[0] = down[0] = 1
    return np.cumprod(up, dtype=np.uint64), np.cumprod(down, dtype=np.uint64)


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finisher of SplitMix64: every bit of the result depends on every bit of the argument."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _hash_of(
    sums: npt.NDArray[np.uint64], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """The hashes of the bytes between some positions."""
    return _mix((sums[stops] - sums[starts]) * _powers()[1][starts])


def _words_of(data: npt.NDArray[np.uint8]) -> _Words:
    """The words of at most a block of bytes."""
    classes = _BYTE_CLASSES[data]
    inside = np.flatnonzero(classes == _APOSTROPHE)
    if len(inside):
        around = np.take(classes, [inside - 1, inside + 1], mode="clip")
        classes[inside] = np.where((around == _WORD).all(axis=0), _WORD, _MARK)
    begins_wide = classes == _WIDE
    whole = classes.copy()
    for _ in range(3):  # a continuation byte has the class of its character
        rest = np.flatnonzero(whole == _CONTINUED)
        if not len(rest):
            break
        before = whole[np.maximum(rest - 1, 0)]
        whole[rest] = np.where((before == _WIDE) | (before == _CONTINUED), before, _WORD)
    whole[whole == _CONTINUED] = _WORD  # invalid UTF-8
    word = whole == _WORD
    after_word = np.zeros(len(data), dtype=bool)
    after_word[1:] = word[:-1]
    begins = (classes == _MARK) | begins_wide | (word & ~after_word)
    starts = np.flatnonzero(begins)
    breaks = np.flatnonzero(begins | (whole == _SPACE))
    stops = np.append(breaks, len(data))[np.searchsorted(breaks, starts, side="right")]
    sums = np.zeros(len(data) + 1, dtype=np.uint64)
    np.cumsum((_FOLDED[data].astype(np.uint64) + np.uint64(1)) * _powers()[0][: len(data)], out=sums[1:])
    return _Words(_hash_of(sums, starts, stops), starts, stops, sums)


def _affixes(
    words: _Words, data: npt.NDArray[np.uint8], longest: int
) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]]:
    """Prefixes, then suffixes, of each length in characters: their hashes and the numbers of their words.

    A word is no affix of itself.
    """
    characters = np.flatnonzero(_BYTE_CLASSES[data] != _CONTINUED)
    first, after = np.searchsorted(characters, words.starts), np.searchsorted(characters, words.stops)
    for length in range(_SHORTEST_AFFIX, longest + 1):
        longer = np.flatnonzero(after - first > length)
        starts, stops = words.starts[longer], words.stops[longer]
        seed = np.uint64(length)
        yield _hash_of(words.sums, starts, characters[first[longer] + length]) + _PREFIX_SEED + seed, longer
        yield _hash_of(words.sums, characters[after[longer] - length], stops) + _SUFFIX_SEED + seed, longer


def bags(texts: Any, order: int, buckets: int, affixes: int = 0) -> Bags:
    """The buckets of the n-grams of every text.

    Args:
        texts: bytes, in anything with a length that can be iterated; each at most some megabytes.
        order: the longest n-gram, in words.
        buckets: their number, a power of two.
        affixes: the longest prefix and suffix of a word that counts too, in characters; 0: none.
    """
    found: list[npt.NDArray[np.uint64]] = []
    pieces: list[bytes] = []
    owners: list[int] = []
    size, several = 0, False
    for number, text in enumerate(texts):
        for start in range(0, max(len(text), 1), _BLOCK - 1):
            piece = text[start : start + _BLOCK - 1]
            if pieces and size + len(piece) + 1 > _BLOCK:
                found.append(_bags_of(pieces, owners, order, buckets, affixes))
                pieces, owners, size = [], [], 0
            pieces.append(piece)
            owners.append(number)
            size += len(piece) + 1
            several = several or start > 0
    if pieces:
        found.append(_bags_of(pieces, owners, order, buckets, affixes))
    shift = np.uint64(buckets.bit_length() - 1)
    keys = np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)
    if several:  # blocks of one text may share buckets
        keys = _distinct(keys)
    counts = np.bincount((keys >> shift).astype(np.int64), minlength=len(texts))
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(counts, out=starts[1:])
    return Bags((keys & np.uint64(buckets - 1)).astype(np.int64), starts)


def rows_of_buckets(keys: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """For each bucket its index in `keys`, an array of buckets, or −1."""
    rows = np.full(BUCKETS, -1, dtype=np.int32)
    rows[keys] = np.arange(len(keys))
    return rows


def concat_bags(first: Bags, second: Bags) -> Bags:
    """The texts of both, in order."""
    starts = np.concatenate([first.starts, first.starts[-1] + second.starts[1:]])
    return Bags(np.concatenate([first.buckets, second.buckets]), starts)


def _bags_of(pieces: list[bytes], owners: list[int], order: int, buckets: int, affixes: int) -> npt.NDArray[np.uint64]:
    """The distinct values of text number · buckets + bucket over all n-grams in pieces of texts, ascending."""
    array = np.frombuffer(b"\n".join(pieces), dtype=np.uint8)
    words = _words_of(array)
    ends = np.cumsum([len(piece) + 1 for piece in pieces])
    piece_of = np.searchsorted(ends, words.starts, side="right")
    numbers = np.asarray(owners, dtype=np.uint64)
    shift, last = np.uint64(buckets.bit_length() - 1), np.uint64(buckets - 1)
    keys = []
    for found, chosen in _affixes(words, array, affixes) if affixes else ():
        keys.append((numbers[piece_of[chosen]] << shift) | (_mix(found) & last))
    # A mark before the first word and one after the last, so that n-grams there differ from those within the text.
    numbers_of_pieces = np.arange(len(pieces))
    first = np.searchsorted(piece_of, numbers_of_pieces, side="left")
    behind = np.searchsorted(piece_of, numbers_of_pieces, side="right")
    marks = np.tile(np.array([_BEGINS, _ENDS], dtype=np.uint64), len(pieces))
    hashes = np.insert(words.hashes, np.stack([first, behind], axis=1).ravel(), marks)
    piece_of = np.sort(np.concatenate([piece_of, numbers_of_pieces, numbers_of_pieces]), kind="stable")
    running = np.zeros(len(hashes), dtype=np.uint64)
    for n in range(min(order, len(hashes))):
        # Horner's rule on the hashes of the words makes their order count.
        running = running[: len(hashes) - n] * _PRIME + hashes[n:]
        whole = piece_of[: len(piece_of) - n] == piece_of[n:]
        if n == 0:
            whole = (hashes != _BEGINS) & (hashes != _ENDS)
        bucket = _mix(running[whole] + np.uint64(_ORDER_SEEDS[n])) & last
        keys.append((numbers[piece_of[: len(piece_of) - n][whole]] << shift) | bucket)
    return _distinct(np.concatenate(keys)) if keys else np.zeros(0, dtype=np.uint64)


def _distinct(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The distinct `keys`, ascending; ten times as fast as `np.unique`, which uses a hash table."""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=keys[:1] ^ np.uint64(1)) != 0]
