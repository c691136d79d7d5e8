"""A piece from the bytes of any notation: MIDI, ABC, MusicXML."""

from __future__ import annotations

import re

from seqgen.errors import DataError
from seqgen.music import midi
from seqgen.music.notation.files import notation_of
from seqgen.music.piece import Piece
from seqgen.music.score import MusicScore, QuantisationStats, quantise

_HEAD_BYTES = 1 << 16
_ABC_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\s*[XTMLK]:")


def read(data: bytes, grid: int, tracks: str = "all", low: int = 0, high: int = 127) -> tuple[Piece, QuantisationStats]:
    """Read the piece in a file of music; see `score.quantise` for the other arguments.

    Raises:
        DataError: there is no piece in the file. The message lacks the file's name, which the caller adds.
    """
    score, stats = read_score(data)
    return quantise(score, grid, tracks, low, high, stats), stats


def read_score(data: bytes) -> tuple[MusicScore, QuantisationStats]:
    """Read the notes of a file as it has them. Raises `DataError` if it is damaged, or no music."""
    head = data[:_HEAD_BYTES]
    kind = notation_of(head)
    if kind == "ABC":
        from seqgen.music.notation import abc

        return abc.read_score(data)
    if kind == "MusicXML" or head.startswith(b"PK\x03\x04") or head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        from seqgen.music.notation import musicxml

        return musicxml.read_score(data)
    if _ABC_LINE.match(head) and b"\0" not in head:
        raise DataError("not a tune in ABC: it has no header with fields from X: to K:")
    return midi.read_score(data)
