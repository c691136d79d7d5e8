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
from seqgen.tasks.language import ENCODING, ENCODING_HELD_OUT, LanguageTask, Messages
from seqgen.tasks.vocabulary import extend_codec, fit_codec
from seqgen.time_limit import TimeLimit
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
            return extend_codec(preparation.start.codec, source, preparation.limit)
        return fit_codec(options.tokenizer_for(self.spec.name), source, options.vocab_size, limit=preparation.limit)

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
        limit = preparation.limit.part(ENCODING if is_train else ENCODING_HELD_OUT)
        encoder = _SpanEncoder(codec, part, counter, limit, preparation.options.threads)
        stream = ids.build(
            path, encoder.parts(), codec.vocab_size, codec.end, sources_label(preparation), lambda: encoder.cut_short
        )
        if encoder.cut_short:
            whose = "" if is_train else " held out"
            messages.add_cut(f"{counter.bytes:,} of {size:,} bytes{whose}")
        return stream, {
            "tokens": len(stream) - encoder.spans_read, "characters": counter.characters, "bytes": counter.bytes,
        }  # fmt: skip

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


class _SpanEncoder:
    """The ids of spans, until the time is over.

    Attributes:
        spans_read: their number, once the ids are written.
        cut_short: whether the time was over before the end.
    """

    def __init__(
        self, codec: Codec, spans: list[DocumentSpan], counter: _Counter, limit: TimeLimit, threads: int | None
    ) -> None:
        self._codec, self._spans, self._counter, self._limit, self._threads = codec, spans, counter, limit, threads
        self._owners: deque[int] = deque()  # the span of each piece that is being encoded
        self.spans_read = 0
        self.cut_short = False

    def parts(self) -> Iterator[tuple[Iterator[npt.NDArray[np.integer]], bool]]:
        """The ids of each span in pieces, and whether it ends where its document does (see `ids.build`).

        Raises:
            DataError: a document has become shorter since it was measured.
        """
        batches = encode_batches(self._codec, batch_by_size(self._pieces()), self._threads, self._limit.check)
        encoded = ((self._owners.popleft(), piece) for batch in batches for piece in batch)
        for number, group in itertools.groupby(encoded, key=itemgetter(0)):
            self.spans_read += 1
            yield (piece for _, piece in group), self._spans[number].ends_document

    def _pieces(self) -> Iterator[bytes]:
        for number, span in enumerate(self._spans):
            if self.cut_short:
                return
            before = self._counter.bytes
            for piece in split_stream(self._codec, self._chunks(span)):
                self._owners.append(number)
                yield piece
            if not self.cut_short and self._counter.bytes - before != span.size:
                raise DataError(
                    f"{span.document.name!r} changed while it was being read; start again when nothing writes to it"
                )

    def _chunks(self, span: DocumentSpan) -> Iterator[bytes]:
        whole = sum(each.size for each in self._spans)
        for chunk in self._counter.count(span.chunks()):
            self._limit.check()
            yield chunk
            if self._counter.bytes < whole and self._limit.is_over:
                self.cut_short = True
                return
