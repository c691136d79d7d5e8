"""How text is read: each document is a record, and its end is held out."""

from __future__ import annotations

from seqgen.api.reading.base import Reading, ReadingContext
from seqgen.corpus import split
from seqgen.corpus.documents import Document

_SHOWN_CHARACTERS = 400
_CONTINUATIONS = bytes(range(0x80, 0xC0))  # bytes of UTF-8 that don't begin a character


def read(context: ReadingContext) -> Reading:
    """Read the documents as training does. Raises `UserError` if they can't be."""
    documents = context.documents
    _, held_out = split.hold_out(documents, context.options.val_fraction)
    if not held_out and context.options.val_fraction:
        context.warn("too little text to hold any out: nothing decides which step is kept, or when to stop")
    return Reading(
        "text",
        "document",
        records=len(documents),
        held_out=len({span.document.name for span in held_out}),
        first=[_beginning(document) for document in documents[: context.count]],
        held_out_part=f"{sum(span.size for span in held_out):,} bytes",
        sizes={
            "characters": sum(map(_count_characters, documents)),
            "bytes": sum(document.size for document in documents),
        },
    )


def _count_characters(document: Document) -> int:
    return sum(len(chunk.translate(None, _CONTINUATIONS)) for chunk in document.chunks())


def _beginning(document: Document) -> str:
    data = b"".join(document.chunks(0, 4 * _SHOWN_CHARACTERS))
    return data.decode("utf-8", "replace")[:_SHOWN_CHARACTERS]
