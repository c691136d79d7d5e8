"""Compose music with a loaded model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seqgen.api.sampling import ReportCallback, SampleRequest
from seqgen.corpus.opening.form import quoted
from seqgen.corpus.opening.identify import HEAD_BYTES, UnreadableKindError
from seqgen.corpus.opening.signatures import kind_of
from seqgen.errors import DataError, UserError
from seqgen.generation.copies.notes import NoteCopyIndex
from seqgen.generation.music import composing as generation
from seqgen.generation.music.composing import BarCallback, Composition, music_codec
from seqgen.music import names
from seqgen.music.piece import Piece
from seqgen.music.score import repairs
from seqgen.streams import read_whole
from seqgen.time_limit import NO_LIMIT, TimeLimit

if TYPE_CHECKING:
    from seqgen.api.loaded import LoadedModel


class PlayableComposition(Composition):
    """A finished piece, which a notebook shows as a piano roll that moves and sounds."""

    def _repr_html_(self) -> str:
        from seqgen.rendering.page import frame

        return frame(self.piece, f"Piece {self.index} of seed {self.seed}")


def read_piece(
    model: LoadedModel, data: bytes, name: str = "the primer", warn: ReportCallback = lambda _: None
) -> Piece:
    """Read a file of music onto the grid of the model's codec. Raises `DataError`, which begins with `name`.

    Args:
        warn: called with what the file's damage, the grid and the range of the codec take from it.
    """
    codec = music_codec(model.codec)
    try:
        piece, stats = codec.read_piece(data)
    except DataError as error:
        known = kind_of(data[:HEAD_BYTES])
        if known is not None:
            raise UnreadableKindError(name, known, formats=model.checkpoint.spec.source_formats) from error
        raise DataError(f"{name!r}: {error}") from error
    changes = repairs(stats)
    if stats.moved:
        changes.append(
            f"{stats.moved:,} of {stats.notes:,} notes moved to the model's grid of {codec.options.grid} steps a "
            "quarter note"
        )
    if stats.out_of_range:
        changes.append(f"{stats.out_of_range:,} of {stats.notes:,} notes left out, as in training")
    if changes:
        warn(f"{quoted(name)} is changed: {', '.join(changes)}")
    return piece


def load_primer(
    model: LoadedModel, primer: str | os.PathLike[str] | bytes | Piece | Composition | None, name: str = "the primer",
    warn: ReportCallback = lambda _: None,
) -> Piece | None:  # fmt: skip
    """Load a primer from the path or the bytes of a file of music; `name` stands for the bytes in errors.

    A piece, also that of a composition, or None, is returned as it is. `warn` as in `read_piece`.

    Raises `DataError` for a file that can't be read, and `UserError` for what names none.
    """
    if isinstance(primer, Composition):
        return primer.piece
    if primer is None or isinstance(primer, Piece):
        return primer
    if isinstance(primer, bytes):
        return read_piece(model, primer, name, warn)
    if not isinstance(primer, str | os.PathLike):
        raise UserError(f"a primer is a piece or the path of a file of music, not {type(primer).__name__}")
    path = os.fspath(primer)
    return read_piece(model, read_whole(path), path, warn)


def compose(
    model: LoadedModel,
    request: SampleRequest,
    count: int = 1,
    first: int = 0,
    primer: Piece | None = None,
    copies: bool = False,
    report: ReportCallback = lambda _: None,
    on_bar: BarCallback | None = None,
    limit: TimeLimit = NO_LIMIT,
) -> Iterator[PlayableComposition]:
    """Compose `count` pieces, numbered from `first`.

    Args:
        primer: a piece to continue, instead of the MIDI file in `request`.
        copies: whether to measure the longest run of notes copied from the corpus, if the model keeps an index of it.
        report: called with progress messages.
        on_bar, limit: see `generation.music.composing.compose`.
    """
    codec = music_codec(model.codec)
    named = request.music_options.key
    scale = None if named is None else names.scale(named)
    max_copy = request.search.max_copy
    how = generation.CompositionRequest(
        request.options,
        request.stop_at_end,
        None if scale is None else [pitch for pitch in range(128) if pitch % 12 in scale],
        request.music_options.tempo,
        _copy_index(model, max_copy is not None, report) if copies or max_copy else None,
        max_copy,
        request.to_be_continued,
        request.search.best_of,
        None if named is None else names.key_of_scale(named),
    )
    if request.state is not None:
        primed = generation.continue_from(model.engine, codec, request.state)
    else:
        if primer is None and request.primer is not None:
            primer = read_piece(model, request.primer)
        primed = generation.prime(model.engine, codec, primer, how.bars_to_come)
    for composed in generation.compose(model.engine, codec, primed, how, count, first, on_bar, limit):
        saved = composed.saved and dataclasses.replace(composed.saved, owner=model.state_owner)
        yield PlayableComposition(**{**vars(composed), "saved": saved})


def _copy_index(model: LoadedModel, required: bool, report: ReportCallback) -> NoteCopyIndex | None:
    from seqgen.api import copies

    loaded = model.checkpoint
    index = copies.load_or_build_copy_index(loaded, report) if required else copies.load_copy_index(loaded)
    assert index is None or isinstance(index, NoteCopyIndex)
    return index
