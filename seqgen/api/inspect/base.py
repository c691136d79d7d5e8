"""What the readers of all tasks share: their argument, and the records that they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqgen.corpus.split import DocumentSpan
from seqgen.inspection.features import Feature
from seqgen.inspection.views import TextView, View
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.tokenizers import Codec

if TYPE_CHECKING:
    from seqgen.api.loaded import LoadedModel


@dataclass(frozen=True)
class InspectionContext:
    """Something to inspect a model on: parts of documents, of which at most `length` steps are read."""

    model: LoadedModel
    spans: list[DocumentSpan]
    length: int
    warn: Callable[[str], None]


@dataclass(frozen=True)
class InspectedRecord:
    """A record as the network reads it.

    Attributes:
        input: for the network's `Inspector`.
        view: how it is shown; it has a step for each step of the record.
        features: finds what units may stand for, with a value for each step.
        cut: whether more of the record was not read.
    """

    name: str
    input: Any
    view: View
    features: Callable[[], list[Feature]]
    cut: bool = False


def spelt(codec: Codec, ids: npt.NDArray[np.integer]) -> tuple[str, ...]:
    """The text that each id completes, or the names of ids that are no text.

    Joined, it is the text. Within a character of several ids it is empty; bytes that are not UTF-8 are surrogate
    escapes.
    """
    if not TOKENIZERS.find(codec.name).writes_text:
        return tuple(codec.token_name(token) for token in ids.tolist())
    decoder = codec.decoder()
    parts = [decoder.push(token).decode("utf-8", "surrogateescape") for token in ids.tolist()]
    if parts:
        parts[-1] += decoder.finish().decode("utf-8", "surrogateescape")
    return tuple(parts)


def text_record(
    codec: Codec, name: str, ids: npt.NDArray[np.int32], cut: bool, features: Callable[[], list[Feature]] | None = None
) -> InspectedRecord:
    """The record of a text, given by its ids."""
    from seqgen.inspection.features import text_features

    tokens = spelt(codec, ids)
    return InspectedRecord(name, ids, TextView(tokens), features or (lambda: text_features(tokens)), cut)


def take(
    context: InspectionContext, records: Iterator[tuple[str, npt.NDArray[np.int32]]]
) -> Iterator[tuple[str, npt.NDArray[np.int32], bool]]:
    """Names and ids of records, as many as the context asks for; the last may be cut."""
    left = context.length
    for name, ids in records:
        if len(ids):
            yield name, ids[:left], len(ids) > left
            left -= len(ids)
        if left <= 0:
            return
