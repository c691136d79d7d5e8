"""A toy tokenizer, a toy language task and a toy classification task, each a class and a row of its table."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from seqgen.api.evaluate.base import EvaluationContext
from seqgen.corpus import ids, split
from seqgen.corpus.ids import IdStream
from seqgen.corpus.labelled.read import Example, LabelledReport
from seqgen.corpus.sources import Document
from seqgen.specs.tasks import CLASSIFIER, LANGUAGE_MODEL, MetricLabel, TaskSpec
from seqgen.specs.tokenizers import TokenizerSpec
from seqgen.tasks.base import Preparation
from seqgen.tasks.classification import ClassificationTask
from seqgen.tasks.language import LanguageTask, Messages
from seqgen.tasks.vocabulary import fit_codec
from seqgen.tokenizers import END_OF_DOCUMENT, Codec
from seqgen.tokenizers.characters import ByteCodec
from seqgen.tokenizers.codec import Ids, Utf8Decoder

# ---- A tokenizer ----


class MirroredCodec(ByteCodec):
    """One id per byte: byte b is id 255 - b."""

    name: ClassVar[str] = "mirrored"

    def encode(self, data: bytes) -> Ids:
        return np.int32(255) - super().encode(data)

    def decoder(self) -> Utf8Decoder:
        return Utf8Decoder([bytes([255 - value]) for value in range(256)] + [b""])

    def pieces(self) -> list[str | int | None]:
        return [*reversed(range(256)), None]


MIRRORED = TokenizerSpec(
    "mirrored",
    "tests.helpers.toys:MirroredCodec",
    encodes_text=True,
    task="text",
    fit_bytes=0,
    is_character_level=True,
    decodes_text=False,
)

# ---- A language task ----


@dataclass(frozen=True)
class Lines:
    """See `vocabulary.TextSource`."""

    lines: list[bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.lines))

    def sample(self, size: int) -> Lines:
        return self

    def chunks(self) -> Iterator[bytes]:
        for line in self.lines:
            yield line
            yield END_OF_DOCUMENT


class LineTask(LanguageTask[list[bytes]]):
    """Each line of a file is a record."""

    counted: ClassVar[tuple[str, ...]] = ("tokens", "bytes")

    def read(self, preparation: Preparation, messages: Messages) -> tuple[list[bytes], list[bytes]]:
        lines = [line for document in preparation.documents for line in _read(document).splitlines()]
        return split.hold_out_items(lines, preparation.options.val_fraction)

    def codec(self, preparation: Preparation, train: list[bytes]) -> Codec:
        if preparation.codec is not None:
            assert isinstance(preparation.codec, Codec)
            return preparation.codec
        return fit_codec(preparation.options.tokenizer_for(self.spec.name), Lines(train))

    def encode(
        self, preparation: Preparation, codec: Codec, part: list[bytes], path: Path, is_train: bool, messages: Messages
    ) -> tuple[IdStream, dict[str, int]]:
        stream = ids.build(path, (((codec.encode(line),), True) for line in part), codec.vocab_size, codec.end)
        return stream, {"tokens": len(stream) - len(part), "bytes": sum(map(len, part))}

    def loss_metrics(self, loss: float, counts: Mapping[str, int]) -> dict[str, float]:
        return {"nats_per_id": loss}


def _read(document: Document) -> bytes:
    return b"".join(document.chunks())


def evaluate_lines(context: EvaluationContext) -> dict[str, Any]:
    """The longest line: enough to see that the row's evaluator is called."""
    lines = [line for document in context.documents for line in io.BytesIO(_read(document))]
    return {"records": len(lines), "metrics": {"longest_line": max(map(len, lines))}, "baselines": {}}


LINES = TaskSpec(
    "lines",
    "tests.helpers.toys:LineTask",
    (LANGUAGE_MODEL,),
    default_tokenizer="mirrored",
    reads_text=True,
    headline=MetricLabel("nats_per_id", "nats/id"),
    option_groups=frozenset({"language_model", "text_output"}),
    prompt="seqgen.api.sampling:prompt_of_text",
    preview="seqgen.cli.progress:preview_text",
    evaluator="tests.helpers.toys:evaluate_lines",
    can_score=True,
    default_length=7,
)

# ---- A classification task ----


class MarkTask(ClassificationTask):
    """Each line is a text; its last character is its label."""

    def examples(
        self, documents: list[Document], preparation: Preparation, report: LabelledReport | None = None
    ) -> Iterator[Example]:
        for document in documents:
            for line in _read(document).decode().splitlines():
                yield Example(line[:-1], (line[-1],))


MARKS = TaskSpec(
    "marks",
    "tests.helpers.toys:MarkTask",
    (CLASSIFIER,),
    default_tokenizer="mirrored",
    reads_text=True,
    headline=MetricLabel("accuracy", "accuracy"),
    option_groups=frozenset({"labels"}),
    command="classify",
)
