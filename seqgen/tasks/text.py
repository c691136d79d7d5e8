"""Text: predict the next character, byte or subword."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from seqgen import tokenizers
from seqgen.checkpoint import Checkpoint
from seqgen.config import TOKENIZER_NAMES, NetworkConfig
from seqgen.corpus import ids, split
from seqgen.corpus.ids import IdStream
from seqgen.corpus.sources import Progress
from seqgen.corpus.split import DocumentSpan
from seqgen.errors import DataError
from seqgen.model.language import LanguageModel
from seqgen.tasks.base import HeadlineMetric, Preparation
from seqgen.tasks.language import LanguageData, copy_weights, from_cache
from seqgen.tasks.prepared import PreparedIds, ids_path, prepared, sources_label
from seqgen.tokenizers import END_OF_DOCUMENT, Codec
from seqgen.tokenizers.codec import split_stream
from seqgen.tokenizers.workers import batch_by_size, encode_batches

VOCABULARY_SAMPLE_BYTES = (
    80_000_000  # bytes that subwords are learnt from, about: more than their trainer takes in any script
)


class TextTask:
    """See `task.Task`."""

    name: ClassVar[str] = "text"
    tokenizers: ClassVar[tuple[str, ...]] = TOKENIZER_NAMES
    init_from_tasks: ClassVar[tuple[str, ...]] = ("text",)
    headline: ClassVar[HeadlineMetric] = HeadlineMetric("bits_per_character", "bits/char")
    needs_float32: ClassVar[bool] = False

    def prepare(self, preparation: Preparation) -> LanguageData:
        if preparation.valid:
            train, held_out = split.full_spans(preparation.documents), split.full_spans(preparation.valid)
        else:
            train, held_out = split.hold_out(preparation.documents, preparation.options.val_fraction)
        if not train:
            raise DataError("nothing is left to train on: --val-fraction holds out everything")

        def make(key: str) -> PreparedIds:
            preparation.report("learning the vocabulary")
            codec = _fit(preparation, train)
            train_ids, counts = _encode(preparation, codec, train, ids_path(key, "train"), "train_")
            held_ids: IdStream | None = None
            held_counts = {"held_out_tokens": 0, "held_out_characters": 0, "held_out_bytes": 0}
            if held_out:
                held_ids, held_counts = _encode(preparation, codec, held_out, ids_path(key, "valid"), "held_out_")
            return PreparedIds(codec, train_ids, held_ids, {**counts, **held_counts})

        found = prepared(preparation, self.name, make)
        return LanguageData(found.codec, found.train, found.held_out, found.counts, found.key, text_metrics)

    def load_cached(self, metadata: dict[str, Any], codec: Codec) -> LanguageData | None:
        found = from_cache(metadata)
        if found is None:
            return None
        key, train, held_out, counts = found
        return LanguageData(codec, train, held_out, counts, key, text_metrics)

    def transfer(self, network: LanguageModel, start: Checkpoint) -> None:
        copy_weights(network, start)

    def network(self, config: NetworkConfig) -> LanguageModel:
        return LanguageModel(config)


TASK = TextTask()


def text_metrics(loss: float, counts: Mapping[str, int]) -> dict[str, float]:
    """Nats an id as nats and bits a character, and bits a byte."""
    characters = counts["held_out_characters"]
    if not characters:
        return {}
    nats = loss * counts["held_out_tokens"] / characters
    found = {
        "nats_per_character": nats,
        "bits_per_character": nats / math.log(2),
        "bits_per_byte": nats / math.log(2) * characters / counts["held_out_bytes"],
    }
    if counts.get("held_out_words"):
        found["perplexity_per_word"] = math.exp(min(700.0, nats * characters / counts["held_out_words"]))
    return found


class _Passing:
    """Counts a stream as it passes: its bytes, and its characters, which is every byte but the continuation bytes of
    UTF-8."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self.bytes = self.characters = 0

    def count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            data = np.frombuffer(chunk, dtype=np.uint8)
            self.bytes += len(data)
            self.characters += len(data) - int(np.count_nonzero((data & 0xC0) == 0x80))
            yield chunk
            self._progress(self.bytes, self._total)


def _fit(preparation: Preparation, parts: list[DocumentSpan]) -> Codec:
    if preparation.codec is not None:
        return preparation.codec
    options, start = preparation.options, preparation.start
    kind = options.tokenizer_name if start is None else start.codec.kind
    # What changes little with more text is learnt from a part of much; what needs nothing reads nothing.
    read = split.sample_spans(parts, VOCABULARY_SAMPLE_BYTES) if kind == "subword" else [] if kind == "byte" else parts
    passing = _Passing(preparation.progress, sum(part.size for part in read))
    chunks = itertools.chain.from_iterable(
        itertools.chain(passing.count(part.chunks()), [END_OF_DOCUMENT]) for part in read
    )
    if start is not None:
        return start.codec.extend(chunks)
    extra = {"vocab_size": options.vocab_size} if kind == "subword" else {}
    return tokenizers.fit(kind, chunks, **extra)


def _encode(
    preparation: Preparation, codec: Codec, parts: list[DocumentSpan], path: Path, prefix: str
) -> tuple[IdStream, dict[str, int]]:
    """Writes the ids of `parts`, and counts."""
    size = sum(part.size for part in parts)
    preparation.report(f"encoding {size:,} bytes")
    passing = _Passing(preparation.progress, size)
    pieces = _encoded(codec, parts, passing, preparation.options.threads)
    stream = ids.build(path, pieces, codec.vocab_size, codec.end, sources_label(preparation))
    return stream, {
        f"{prefix}tokens": len(stream) - len(parts),
        f"{prefix}characters": passing.characters,
        f"{prefix}bytes": size,
    }


def _encoded(
    codec: Codec, parts: list[DocumentSpan], passing: _Passing, threads: int | None
) -> Iterator[tuple[Iterator[npt.NDArray[np.integer]], bool]]:
    """The ids of each part in pieces, and whether it ends where its document does (see `ids.build`).

    Raises:
        DataError: a document has become shorter since it was measured.
    """
    owners: deque[int] = deque()  # of the pieces that are being encoded: which part each is of

    def pieces() -> Iterator[bytes]:
        for number, part in enumerate(parts):
            before = passing.bytes
            for piece in split_stream(codec, passing.count(part.chunks())):
                owners.append(number)
                yield piece
            if passing.bytes - before != part.size:
                raise DataError(f"{part.document.name!r} changed while it was read; start again when it is whole")

    batches = encode_batches(codec, batch_by_size(pieces()), threads)
    found = ((owners.popleft(), piece) for batch in batches for piece in batch)
    for number, group in itertools.groupby(found, key=itemgetter(0)):
        yield (piece for _, piece in group), parts[number].ends_document
