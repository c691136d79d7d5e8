"""How music is read: each file, or tune of a book, is a record, and whole ones are held out."""

from __future__ import annotations

from seqgen.api.reading.base import Reading, ReadingContext
from seqgen.music.grammar import decode_piece
from seqgen.tasks.midi_corpus import Pieces, read_training_set

_FORMATS = {"ABC": "ABC", "MusicXML": "MusicXML", "mxl": "MusicXML"}  # by `FileForm.content`


def read(context: ReadingContext) -> Reading:
    """Read the documents as training does. Raises `UserError` if they can't be."""

    def add(message: str, is_warning: bool) -> None:
        if is_warning:
            context.warn(message)

    pieces = read_training_set(context.options, context.documents, add=add)
    _, held_out = pieces.hold_out(context.options.val_fraction)
    if not held_out and context.options.val_fraction:
        context.warn("one file is too little to hold any out")
    corpus = pieces.corpus
    return Reading(
        ", ".join(sorted({_FORMATS.get(document.form.content, "MIDI") for document in context.documents})),
        "piece",
        records=len(pieces),
        held_out=len(held_out),
        first=[_size(pieces, number) for number in range(min(context.count, len(pieces)))],
        sizes={"notes": corpus.stats.kept, "steps a quarter note": corpus.codec.options.grid},
    )


def _size(pieces: Pieces, number: int) -> dict[str, int]:
    piece = decode_piece(pieces.corpus.ids(number).tolist(), pieces.corpus.codec.vocabulary)
    return {"notes": len(piece.notes), "bars": len(piece.bars)}
