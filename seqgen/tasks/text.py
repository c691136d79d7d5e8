"""Text: predict the next character, byte or subword."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from seqgen.corpus import ids, split
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series.scaling import Scaler
from seqgen.corpus.split import DocumentSpan
from seqgen.errors import DataError
from seqgen.evaluation import text as evaluation
from seqgen.streams import Progress
from seqgen.tasks.base import Preparation
from seqgen.tasks.id_cache import sources_label
from seqgen.tasks.language import LanguageTask, Messages
from seqgen.tasks.vocabulary import extend_codec, fit_codec
from seqgen.tokenizers import END_OF_DOCUMENT, Codec
from seqgen.tokenizers.codec import split_stream
from seqgen.tokenizers.workers import batch_by_size, encode_batches


class TextTask(LanguageTask[list[DocumentSpan]]):
    """See `base.Task`. A part is made of spans of documents."""

    counted: ClassVar[tuple[str, ...]] = ("tokens", "characters", "bytes")

    def read(self, preparation: Preparation, messages: Messages) -> tuple[list[DocumentSpan], list[DocumentSpan]]:
        if preparation.valid:
            return split.full_spans(preparation.documents), split.full_spans(preparation.valid)
        return split.hold_out(preparation.documents, preparation.options.val_fraction)

    def codec(self, preparation: Preparation, train: list[DocumentSpan]) -> Codec:
        preparation.report("learning the vocabulary")
        if preparation.codec is not None:
            assert not isinstance(preparation.codec, Scaler)
            return preparation.codec
        options, source = preparation.options, SpanSource(train, preparation.progress)
        if preparation.start is not None:
            return extend_codec(preparation.start.codec, source)
        return fit_codec(options.tokenizer_for(self.spec.name), source, options.vocab_size)

    def encode(
        self,
        preparation: Preparation,
        codec: Codec,
        part: list[DocumentSpan],
        path: Path,
        is_train: bool,
        messages: Messages,
    ) -> tuple[IdStream, dict[str, int]]:
        size = sum(span.size for span in part)
        preparation.report(f"encoding {size:,} bytes")
        counter = _Counter(preparation.progress, size)
        pieces = _encode_spans(codec, part, counter, preparation.options.threads)
        stream = ids.build(path, pieces, codec.vocab_size, codec.end, sources_label(preparation))
        return stream, {"tokens": len(stream) - len(part), "characters": counter.characters, "bytes": size}

    def loss_metrics(self, loss: float, counts: Mapping[str, int]) -> dict[str, float]:
        return text_metrics(loss, counts)


def text_metrics(loss: float, counts: Mapping[str, int]) -> dict[str, float]:
    """The metrics of a validation set of text, from nats per id."""
    if not counts["held_out_characters"]:
        return {}
    return evaluation.text_metrics(
        loss * counts["held_out_tokens"],
        counts["held_out_characters"],
        counts["held_out_bytes"],
        words=counts.get("held_out_words") or None,
    )


@dataclass(frozen=True)
class SpanSource:
    """See `vocabulary.TextSource`."""

    spans: list[DocumentSpan]
    progress: Progress = lambda done, of: None

    @property
    def size(self) -> int:
        return sum(span.size for span in self.spans)

    def sample(self, size: int) -> SpanSource:
        return SpanSource(split.sample_spans(self.spans, size), self.progress)

    def chunks(self) -> Iterator[bytes]:
        counter = _Counter(self.progress, self.size)
        for span in self.spans:
            yield from counter.count(span.chunks())
            yield END_OF_DOCUMENT


class _Counter:
    """Counts the bytes and characters of a stream, and reports its progress."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self.bytes = self.characters = 0

    def count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            data = np.frombuffer(chunk, dtype=np.uint8)
            self.bytes += len(data)
            self.characters += len(data) - int(np.count_nonzero((data & 0xC0) == 0x80))  # UTF-8 continuation bytes
            yield chunk
            self._progress(self.bytes, self._total)


def _encode_spans(
    codec: Codec, spans: list[DocumentSpan], counter: _Counter, threads: int | None
) -> Iterator[tuple[Iterator[npt.NDArray[np.integer]], bool]]:
    """The ids of each span in pieces, and whether it ends where its document does (see `ids.build`).

    Raises:
        DataError: a document has become shorter since it was measured.
    """
    owners: deque[int] = deque()  # the span of each piece that is being encoded

    def pieces() -> Iterator[bytes]:
        for number, span in enumerate(spans):
            before = counter.bytes
            for piece in split_stream(codec, counter.count(span.chunks())):
                owners.append(number)
                yield piece
            if counter.bytes - before != span.size:
                raise DataError(
                    f"{span.document.name!r} changed while it was being read; start again when nothing writes to it"
                )

    batches = encode_batches(codec, batch_by_size(pieces()), threads)
    encoded = ((owners.popleft(), piece) for batch in batches for piece in batch)
    for number, group in itertools.groupby(encoded, key=itemgetter(0)):
        yield (piece for _, piece in group), spans[number].ends_document
