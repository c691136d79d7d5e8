"""Read text for `inspect`: a document is a record."""

from __future__ import annotations

import numpy as np

from seqgen.api.inspect.base import InspectedRecord, InspectionContext, text_record
from seqgen.tokenizers import encode_stream


def read(context: InspectionContext) -> list[InspectedRecord]:
    """The beginning of each document, until there are enough steps."""
    codec, left, found = context.model.codec, context.length, []
    for span in context.spans:
        parts, size = [], 0
        for ids in encode_stream(codec, span.chunks()):
            parts.append(ids)
            size += len(ids)
            if size > left:
                break
        ids = np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)
        if len(ids):
            found.append(text_record(codec, span.document.name, ids[:left], len(ids) > left))
        left -= len(ids)
        if left <= 0:
            break
    return found
