"""Composing, for those who have a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seqgen.config import MusicOptions, SampleOptions
from seqgen.errors import DataError
from seqgen.generation import music as generation
from seqgen.generation.music import Composition, music_codec
from seqgen.music import names
from seqgen.music.piece import Piece
from seqgen.streams import read_whole
from seqgen.tokenizers.midi import MidiCodec

if TYPE_CHECKING:
    from seqgen.api.model import Model


def read_piece(codec: MidiCodec, source: str | os.PathLike[str]) -> Piece:
    """The piece in a MIDI file, or in standard input for `-`. Raises `DataError` that names it."""
    data = read_whole(str(source))
    try:
        return codec.read(data)[0]
    except DataError as error:
        raise DataError(f"{str(source)!r}: {error}") from error


def compose(
    model: Model,
    primer: str | os.PathLike[str] | Piece | None,
    options: SampleOptions,
    wishes: MusicOptions,
    count: int = 1,
    first: int = 0,
    stop_at_end: bool = False,
) -> Iterator[Composition]:
    """See `Model.compose`."""
    codec = music_codec(model.codec)
    scale = None if wishes.key is None else names.scale(wishes.key)
    if primer is not None and not isinstance(primer, Piece):
        primer = read_piece(codec, primer)
    primed = generation.prime(model.engine, codec, primer)
    return generation.compose(
        model.engine, codec, primed, options, count, first, stop_at_end, scale, wishes.tempo
    )  # fmt: skip
