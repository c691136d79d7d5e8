"""Fitting tokenizers to a corpus, and extending them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from seqgen import tokenizers
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.tokenizers import Codec


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


def fit_codec(name: str, source: TextSource, vocab_size: int | None = None, limit: int | None = None) -> Codec:
    """Fit a tokenizer to a corpus, or to the sample of it that is enough for this tokenizer.

    Args:
        vocab_size: for tokenizers that take one; None: their default.
        limit: bytes that are enough for the task, whatever the tokenizer. The default vocabulary size then follows
            from the size of the whole corpus.

    Raises:
        DataError: there is too little text.
    """
    spec = TOKENIZERS.find(name)
    sizes = [size for size in (spec.fit_bytes, limit) if size is not None]
    options: dict[str, Any] = {}
    if 0 in sizes:
        return tokenizers.fit(name, ())
    sample = source.sample(min(sizes)) if sizes else source
    if "vocab_size" in spec.fit_options:
        options["vocab_size"] = vocab_size
        if limit is not None:
            options["fraction"] = sample.size / max(1, source.size)
    return tokenizers.fit(name, sample.chunks(), **options)


def extend_codec(codec: Codec, source: TextSource) -> Codec:
    """The codec with ids for whatever is new in a corpus; a codec that is fitted to a sample has ids for any text."""
    spec = TOKENIZERS.find(getattr(codec, "text", codec).name)  # of the text inside a dialogue or labelled codec
    return codec.extend(source.chunks() if spec.fit_bytes is None else ())
