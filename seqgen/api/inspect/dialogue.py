"""Read conversations for `inspect`: a conversation is a record."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seqgen.api.inspect.base import InspectedRecord, InspectionContext, spelt, take, text_record
from seqgen.api.scoring import read_conversations
from seqgen.inspection.features import Feature, text_features
from seqgen.tokenizers import Ids


def read(context: InspectionContext) -> list[InspectedRecord]:
    """The first conversations."""
    codec = context.model.dialogue_codec()
    documents = [span.document for span in context.spans]
    records: Iterator[tuple[str, Ids]] = (
        (record.name, record.encode()) for record in read_conversations(context.model, documents)
    )

    def features(ids: Ids) -> list[Feature]:
        is_speaker = ids < codec.speakers
        last = np.maximum.accumulate(np.where(is_speaker, np.arange(len(ids)), 0))  # where the turn began
        return text_features(spelt(codec, ids), ids[last].astype(np.int64))

    return [
        text_record(codec, name, ids, cut, lambda own=ids: features(own))  # type: ignore[misc]
        for name, ids, cut in take(context, records)
    ]
