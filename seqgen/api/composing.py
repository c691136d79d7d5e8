"""Composing, for those who have a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seqgen.api.sampling import ReportCallback, SampleRequest
from seqgen.config import MusicOptions, SampleOptions
from seqgen.errors import DataError
from seqgen.generation.copies.notes import NoteCopyIndex
from seqgen.generation.music import composing as generation
from seqgen.generation.music.composing import Composition, music_codec
from seqgen.music import names
from seqgen.music.piece import Piece
from seqgen.streams import read_whole
from seqgen.tokenizers.midi import MidiCodec

if TYPE_CHECKING:
    from seqgen.api.model import Model


def read_piece(codec: MidiCodec, data: bytes, source: str = "the primer") -> Piece:
    """The piece in a MIDI file. Raises `DataError`, which names it."""
    try:
        return codec.read(data)[0]
    except DataError as error:
        raise DataError(f"{source!r}: {error}") from error


def compose(
    model: Model,
    primer: str | os.PathLike[str] | Piece | None,
    options: SampleOptions,
    music_options: MusicOptions,
    count: int = 1,
    first: int = 0,
    stop_at_end: bool = False,
) -> Iterator[Composition]:
    """See `Model.compose`."""
    asked = SampleRequest(options, music_options=music_options, stop_at_end=stop_at_end)
    return compose_as(model, asked, count, first, load_primer(model, primer))


def load_primer(
    model: Model, primer: str | os.PathLike[str] | bytes | Piece | None, name: str = "the primer"
) -> Piece | None:
    """A primer as a piece, of the name of a MIDI file or of its bytes, for which errors then say `name`. What is a
    piece, or nothing, stays as it is."""
    codec = music_codec(model.codec)
    if primer is None or isinstance(primer, Piece):
        return primer
    if isinstance(primer, bytes):
        return read_piece(codec, primer, name)
    return read_piece(codec, read_whole(str(primer)), str(primer))


def compose_as(
    model: Model,
    asked: SampleRequest,
    count: int = 1,
    first: int = 0,
    primer: Piece | None = None,
    copies: bool = False,
    report: ReportCallback = lambda _: None,
) -> Iterator[Composition]:
    """Pieces as they are asked for.

    Args:
        primer: instead of the MIDI file in `asked`.
        copies: whether they tell how much of them is copied, where the model keeps what it learnt from.
        tell: told of what takes a while.
    """
    codec = music_codec(model.codec)
    scale = None if asked.music_options.key is None else set(names.scale(asked.music_options.key))
    if asked.state is not None:
        primed = generation.continue_from(model.engine, codec, asked.state)
    else:
        if primer is None and asked.primer is not None:
            primer = read_piece(codec, asked.primer)
        primed = generation.prime(model.engine, codec, primer)
    how = generation.CompositionRequest(
        asked.options,
        asked.stop_at_end,
        None if scale is None else [pitch for pitch in range(128) if pitch % 12 in scale],
        asked.music_options.tempo,
        _runs(model, asked.search.max_copy is not None, report) if copies or asked.search.max_copy else None,
        asked.search.max_copy,
        asked.to_be_continued,
        asked.search.best_of,
    )
    return generation.compose_as(model.engine, codec, primed, how, count, first)


def _runs(model: Model, must: bool, report: ReportCallback) -> NoteCopyIndex | None:
    """What the model learnt from; made where it must be there."""
    from seqgen.api import copies

    found = copies.load_or_build_copy_index(model, report) if must else copies.load_copy_index(model.checkpoint)
    assert found is None or isinstance(found, NoteCopyIndex)
    return found
