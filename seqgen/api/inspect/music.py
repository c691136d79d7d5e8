"""Read music for `inspect`: a piece is a record."""

from __future__ import annotations

from seqgen.api.inspect.base import InspectedRecord, InspectionContext, spelt, take
from seqgen.errors import DataError
from seqgen.generation.music.composing import music_codec
from seqgen.inspection.features import Feature, music_features
from seqgen.inspection.views import RollView
from seqgen.music.grammar import decode_piece
from seqgen.tokenizers import Ids
from seqgen.tokenizers.midi_files import read_midi_files


def read(context: InspectionContext) -> list[InspectedRecord]:
    """The first pieces. Raises `DataError` if no document is one."""
    codec = music_codec(context.model.codec)
    errors: list[str] = []

    def pieces() -> object:
        files = [(span.document.name, span.document.path) for span in context.spans]
        for found in read_midi_files(codec, files):
            if found.error:
                errors.append(f"{found.name!r}: {found.error}")
            else:
                yield found.name, found.ids

    def record(name: str, ids: Ids, cut: bool) -> InspectedRecord:
        def features() -> list[Feature]:
            return music_features(ids, codec.vocabulary)[0]

        view = RollView(
            spelt(codec, ids), decode_piece(ids.tolist(), codec.vocabulary), music_features(ids, codec.vocabulary)[1]
        )
        return InspectedRecord(name, ids, view, features, cut)

    found = [record(*each) for each in take(context, pieces())]  # type: ignore[arg-type]
    if not found and errors:
        raise DataError(errors[0])
    if errors:
        context.warn(f"skipped {len(errors):,} files: {errors[0]}")
    return found
