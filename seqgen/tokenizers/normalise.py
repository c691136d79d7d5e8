"""Normalisation of texts before classification: lower case and stop words, both off by default."""

from __future__ import annotations

import functools
import itertools
import os
import re
import unicodedata

from seqgen.errors import DataError
from seqgen.streams import expand, read_whole

_MAX_WORDS = 20_000
_MAX_BYTES = 1 << 24  # of their file
_MARKS = (range(0x300, 0x1F000), range(0xE0100, 0xE01F0))  # code points among which all combining marks are
_JOINERS = "\u200c\u200d"


def read_stop_words(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read a file of stop words, one per line; blank lines and lines that begin with # are skipped.

    Raises `DataError` if the file can't be read, is not UTF-8, has no words, or has more than 20,000.
    """
    if not os.fspath(path):
        raise DataError("--stop-words is empty: name a file")
    data = read_whole(expand(path), str(path), _MAX_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # as in UTF-16 without a mark
        raise DataError(f"the stop words file {str(path)!r} is not UTF-8; convert it")
    lines = (line.strip() for line in text.splitlines())
    words = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not words:
        raise DataError(f"the stop words file {str(path)!r} has no words")
    if len(words) > _MAX_WORDS:
        raise DataError(f"the stop words file {str(path)!r} has {len(words):,} words; the limit is {_MAX_WORDS:,}")
    return words


class TextNormaliser:
    """A function from the bytes of a text to the bytes that a classifier reads."""

    def __init__(self, lowercase: bool = False, stop_words: tuple[str, ...] = ()) -> None:
        self.lowercase = lowercase
        self.stop_words = stop_words
        self._pattern = _pattern(stop_words, lowercase) if stop_words else None

    def __call__(self, text: bytes) -> bytes:
        if not self.lowercase and self._pattern is None:
            return text
        words = text.decode("utf-8", "surrogateescape")
        if self.lowercase:
            words = words.lower()
        if self._pattern is not None:
            words = self._pattern.sub(" ", words)
        return words.encode("utf-8", "surrogateescape")


def _pattern(words: tuple[str, ...], lowercase: bool) -> re.Pattern[str]:
    """Matches any of the words as a whole word; words in a script without spaces, and punctuation, anywhere."""
    folded = sorted({word.lower() if lowercase else word for word in words}, key=lambda word: (-len(word), word))
    letter = _letter()
    border = f"(?:(?<!{letter})|(?!{letter}))"  # not within a word
    anywhere = [re.escape(word) for word in folded if _unspaced(word)]
    spaced = [re.escape(word) for word in folded if not _unspaced(word)]
    # The longest that fits goes: of those that may stand anywhere, the ones that begin with a spaced word are longer.
    patterns = ["|".join(anywhere)] if anywhere else []
    patterns += [f"{border}(?:{'|'.join(spaced)}){border}"] if spaced else []
    return re.compile("|".join(patterns))


@functools.cache
def _letter() -> str:
    """A pattern of what words are made of: unlike `\\w`, with the marks and joiners that many scripts need."""
    points = "".join(map(chr, itertools.chain(*_MARKS)))
    categories = "".join(unicodedata.category(point)[0] for point in points)
    ranges = (f"{points[run.start()]}-{points[run.end() - 1]}" for run in re.finditer("M+", categories))
    return rf"[\w{_JOINERS}{''.join(ranges)}]"


def _unspaced(word: str) -> bool:
    """Whether a word has kana or Han characters, whose scripts have no spaces."""
    return any("\u3040" <= letter <= "\u9fff" or letter >= "\U00020000" for letter in word)
