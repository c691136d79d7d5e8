"""Fitting tokenizers to a corpus, and extending them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from seqgen import tokenizers
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.tokenizers import Codec

_FIT_SPEED = 100_000  # bytes a second of the budget: they take about a fifth of it
_LEAST_BYTES = 1_000_000  # to which a tokenizer is fitted, however short the time
_MANY_BYTES = 20_000_000  # more hardly lengthen the training of subwords, which thins its sample


class TextSource(Protocol):
    """The texts of a corpus."""

    @property
    def size(self) -> int:
        """Bytes, roughly."""
        ...

    def sample(self, size: int) -> TextSource:
        """Roughly `size` bytes of it, evenly spread; all of it if it isn't larger."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """All texts, each followed by `END_OF_DOCUMENT`."""
        ...


def fit_codec(
    name: str,
    source: TextSource,
    vocab_size: int | None = None,
    enough: int | None = None,
    limit: TimeLimit = NO_LIMIT,
) -> Codec:
    """Fit a tokenizer to a corpus, or to the sample of it that is enough for this tokenizer.

    Args:
        vocab_size: for tokenizers that take one; None: their default.
        enough: bytes that are enough for the task, whatever the tokenizer. The default vocabulary size follows from
            the size of the whole corpus nevertheless.
        limit: of the whole training; see `sample_bytes`.

    Raises:
        DataError: there is too little text.
        StoppedError: the limit says so.
    """
    spec = TOKENIZERS.find(name)
    timely = sample_bytes(name, limit)
    sizes = [size for size in (spec.fit_bytes, enough, timely) if size is not None]
    options: dict[str, Any] = {}
    if 0 in sizes:
        return tokenizers.fit(name, ())
    sample = source.sample(min(sizes)) if sizes else source
    if "vocab_size" in spec.fit_options:
        options |= {"vocab_size": vocab_size, "check": limit.check}
        if sizes:
            options["fraction"] = sample.size / max(1, source.size)
    return tokenizers.fit(name, _checked(sample.chunks(), limit), **options)


def sample_bytes(name: str, limit: TimeLimit) -> int | None:
    """Bytes that a tokenizer can be fitted to in its part of the time; None for one that takes no time, or no limit.

    It depends on the whole time, not on what is left of it: the same sources and budget give the same tokenizer.
    """
    if "vocab_size" not in TOKENIZERS.find(name).fit_options or limit.seconds * _FIT_SPEED >= _MANY_BYTES:
        return None
    return max(_LEAST_BYTES, int(limit.seconds * _FIT_SPEED))


def extend_codec(codec: Codec, source: TextSource, limit: TimeLimit = NO_LIMIT) -> Codec:
    """The codec with ids for whatever is new in a corpus; a codec that is fitted to a sample has ids for any text."""
    spec = TOKENIZERS.find(getattr(codec, "text", codec).name)  # of the text inside a dialogue or labelled codec
    return codec.extend(_checked(source.chunks(), limit) if spec.fit_bytes is None else ())


def _checked(chunks: Iterator[bytes], limit: TimeLimit) -> Iterator[bytes]:
    for chunk in chunks:
        limit.check()
        yield chunk
