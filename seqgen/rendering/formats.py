"""The formats in which a piece can be written, by name and by the suffix of a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

from seqgen.errors import UserError
from seqgen.music.piece import Piece, Track
from seqgen.streams import is_written_in_place


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: for `--format`, and the suffix of its files.
        write: f(piece, title) → the parts of the file, which may be made one after the other.
        is_text: whether a terminal can show it.
        is_notation: whether notes need a grid of note values; other formats have any times.
        suffixes: other suffixes of its files.
    """

    name: str
    write: Callable[[Piece, str], Iterator[bytes]]
    is_text: bool = False
    is_notation: bool = False
    suffixes: tuple[str, ...] = ()

    def file(self, piece: Piece, title: str = "") -> bytes:
        """Return the whole file of a piece. Raises `DataError` if the format can't hold it."""
        return b"".join(self.write(piece, title))


def _midi(piece: Piece, title: str) -> Iterator[bytes]:
    from seqgen.music import midi

    yield midi.write(piece)


def _wave(piece: Piece, title: str) -> Iterator[bytes]:
    from seqgen.rendering import audio

    yield from audio.wave(piece)


def _musicxml(piece: Piece, title: str) -> Iterator[bytes]:
    from seqgen.music.notation import musicxml_writing

    yield musicxml_writing.write(piece, title)


def _abc(piece: Piece, title: str) -> Iterator[bytes]:
    from seqgen.music.notation import abc_writing

    yield abc_writing.write(piece, title)


def _html(piece: Piece, title: str) -> Iterator[bytes]:
    from seqgen.rendering import page

    yield page.write(piece, title)


def _png(piece: Piece, title: str) -> Iterator[bytes]:
    from seqgen.plots.music import piano_roll

    yield piano_roll(piece, title=title)


MIDI = Format("mid", _midi, suffixes=("midi", "kar", "smf"))
WAVE = Format("wav", _wave, suffixes=("wave",))
_ALL = (
    MIDI, WAVE, Format("musicxml", _musicxml, is_text=True, is_notation=True, suffixes=("xml",)),
    Format("abc", _abc, is_text=True, is_notation=True), Format("html", _html, is_text=True, suffixes=("htm",)),
    Format("png", _png, is_notation=True),
)  # fmt: skip
NAMES = tuple(each.name for each in _ALL)


def named(name: str) -> Format:
    """Return the format of a name, with or without a dot. Raises `UserError` if there is none."""
    wanted = name.lower().removeprefix(".")
    for each in _ALL:
        if wanted in (each.name, *each.suffixes):
            return each
    raise UserError(f"there is no format {name!r}; the formats are {', '.join(NAMES)}")


def of_file(name: str) -> Format | None:
    """Return the format of a file by the suffix of its name, None if that is unknown."""
    suffix = PurePath(name).suffix.lower().removeprefix(".")
    return next((each for each in _ALL if suffix in (each.name, *each.suffixes)), None)


def of_output(path: str) -> Format | None:
    """Return the format of a file that is written, by its name or else by that of the file that a symlink points to."""
    found = of_file(path)
    return of_file(os.path.realpath(path)) if found is None and not is_written_in_place(path) else found


def arranged(piece: Piece, tempo: float | None = None, programs: tuple[int, ...] = ()) -> Piece:
    """Return a piece with another tempo throughout, in quarter notes per minute, and other instruments.

    Args:
        programs: of the melodic tracks in order, the last one for all further tracks.
    """
    if tempo is not None:
        piece = replace(piece, tempos=((0, tempo),))
    if programs:
        tracks, melodic = [], 0
        for track in piece.tracks:
            if not track.drums:
                track = Track(programs[min(melodic, len(programs) - 1)])
                melodic += 1
            tracks.append(track)
        piece = replace(piece, tracks=tuple(tracks))
    return piece
