"""Files of music to be heard and read: other notations, audio, web pages, pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import NamedTuple

from seqgen.api.sources import open_sources
from seqgen.corpus.documents import Document, Spool
from seqgen.corpus.opening.form import quoted
from seqgen.errors import DataError, UserError
from seqgen.music.names import program
from seqgen.music.piece import Piece
from seqgen.music.reading import read_score
from seqgen.music.score import MusicScore, QuantisationStats, ScorePart, quantise, repairs
from seqgen.rendering.formats import Format, arranged, of_file
from seqgen.specs.tasks import TASKS, TaskSpec
from seqgen.streams import COMPRESSED_SUFFIXES, read_whole

EXACT_GRID = 480  # steps per quarter note of formats that have any times: a step is a millisecond
_NOTATED_GRIDS = (4, 8, 12, 16, 20, 24, 48, 60)  # of formats with note values: the first that holds all notes
_PLAYED_GRID = 24  # of what none of them holds: it was played, not written
_TUNE = re.compile(r"[0-9]+(-[0-9]+)?")  # the number of a tune in its book, counted on where it recurs


class RenderedPiece(NamedTuple):
    """A piece to be written: its name, without folders and suffix, and its title."""

    name: str
    title: str
    piece: Piece


def render(
    names: list[str],
    format: Format,
    spool: Spool,
    tempo: float | None = None,
    instruments: tuple[str, ...] = (),
    grid: int | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[int, Iterator[RenderedPiece]]:
    """Read sources of music for a format. Return the number of files and the pieces, read one by one.

    A file without music is skipped with a warning.

    Args:
        format: decides on the grid, unless `grid` (steps per quarter note) is given.
        spool: open until the last piece is read.
        tempo: in quarter notes per minute throughout.
        instruments: General MIDI names or numbers of the melodic tracks, the last one for all further tracks.

    Raises:
        DataError: there is no music at all.
        UserError: there is no such instrument.
    """
    programs = tuple(program(name) for name in instruments)
    documents = open_sources(music_task().name, names, spool, warn=warn)
    return len(documents), _pieces(documents, format, tempo, programs, grid, warn)


def _pieces(
    documents: list[Document], format: Format, tempo: float | None, programs: tuple[int, ...], grid: int | None,
    warn: Callable[[str], None],
) -> Iterator[RenderedPiece]:  # fmt: skip
    used: dict[str, int] = {}  # of each name, the last number that was put behind it
    read = 0
    for document in documents:
        shown = quoted(document.name)
        try:
            piece, stats = read_piece(read_whole(document.path, document.name), format, grid)
        except DataError as error:
            reason = str(error).removeprefix(f"{document.name!r}: ")
            if len(documents) == 1:
                raise DataError(f"{shown}: {reason}") from error
            warn(f"{shown} is skipped: {reason}")
            continue
        if damage := repairs(stats):
            warn(f"{shown} is damaged, but read: {', '.join(damage)}")
        if grid is None and format.is_notation and stats.moved:
            warn(
                f"{shown}: {stats.moved:,} of {stats.kept:,} notes are moved to the nearest of {piece.grid} steps a "
                "quarter note (--grid takes others)"
            )
        name = _name(document.name)
        read += 1
        yield RenderedPiece(_free_name(name, used), name, arranged(piece, tempo, programs))
    if not read:
        raise DataError(f"none of {len(documents):,} files has music that can be read")


def _name(document: str) -> str:
    """The name of a piece: that of its file, for a tune of a book with its number, `jigs-12`."""
    path = PurePath(document)
    if document == "-":
        return "piece"
    book = PurePath(_uncompressed(path.parent))
    if book.suffix.lower() == ".abc" and _TUNE.fullmatch(path.name):
        return f"{book.stem}-{path.name}"
    if path.parent.name == "-":
        return f"piece-{path.name}"
    name = _uncompressed(path)
    plain = PurePath(name)
    is_known = of_file(name) is not None or plain.suffix.lower() in music_task().file_suffixes
    return plain.stem if is_known else name  # other dots are part of it, as in `Op. 9 No. 1`


def _uncompressed(path: PurePath) -> str:
    """The name of a file without the suffix of a compression."""
    return path.stem if path.suffix.lower() in COMPRESSED_SUFFIXES else path.name


def music_task() -> TaskSpec:
    """The task whose files are music."""
    return next(spec for spec in TASKS.values() if spec.composes)


def _free_name(name: str, used: dict[str, int]) -> str:
    """A name that no piece has had, with a number behind it if it was given out: `reel`, `reel-2`."""
    number = used.get(name, 0) + 1
    free = name
    while number > 1 and (free := f"{name}-{number}") in used:
        number += 1
    used[name] = number
    used.setdefault(free, 1)
    return free


def read_piece(data: bytes, format: Format, grid: int | None = None) -> tuple[Piece, QuantisationStats]:
    """Read a piece on the grid that a format needs, and what that changes.

    Raises:
        DataError: there is none in the data.
    """
    score, stats = read_score(data)
    if grid is None:
        grid = _notated_grid(score) if format.is_notation else EXACT_GRID
    return quantise(score, grid, stats=stats), stats


def _notated_grid(score: MusicScore) -> int:
    for grid in _NOTATED_GRIDS:
        stats = QuantisationStats()
        parts = [ScorePart(part.program, part.order, list(part.notes)) for part in score.parts]
        quantise(
            MusicScore(score.division, parts, score.metres, score.tempos, score.last, score.noun), grid, stats=stats
        )
        if not stats.moved + stats.lengthened:
            return grid
    return _PLAYED_GRID


def check_single(format: Format, count: int) -> None:
    """Raise `UserError` if several pieces are to be written into one file."""
    if count > 1:
        raise UserError(f"{count:,} pieces need a folder: -o FOLDER/ --format {format.name}")
