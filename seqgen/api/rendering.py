"""Files of music to be heard and read: other notations, audio, web pages, pictures."""

from __future__ import annotations

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
from seqgen.music.score import QuantisationStats, Score, ScorePart, quantise
from seqgen.rendering.formats import Format, arranged
from seqgen.specs.tasks import TASKS
from seqgen.streams import read_whole

EXACT_GRID = 480  # steps per quarter note of formats that have any times: a step is a millisecond
_NOTATED_GRIDS = (4, 8, 12, 24)  # of formats with note values: the first that holds all notes
_MAX_OFF = 0.005  # of the notes that may lie beside the grid


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
    task = next(spec.name for spec in TASKS.values() if spec.composes)
    documents = open_sources(task, names, spool, warn=warn)
    return len(documents), _pieces(documents, format, tempo, programs, grid, warn)


def _pieces(
    documents: list[Document], format: Format, tempo: float | None, programs: tuple[int, ...], grid: int | None,
    warn: Callable[[str], None],
) -> Iterator[RenderedPiece]:  # fmt: skip
    used: dict[str, int] = {}
    read = 0
    for document in documents:
        shown = quoted(document.name)
        try:
            piece = read_piece(read_whole(document.path, document.name), format, grid)
        except DataError as error:
            reason = str(error).removeprefix(f"{document.name!r}: ")
            if len(documents) == 1:
                raise DataError(f"{shown}: {reason}") from error
            warn(f"{shown} is skipped: {reason}")
            continue
        name = _name(document.name)
        used[name] = used.get(name, 0) + 1
        read += 1
        yield RenderedPiece(name if used[name] == 1 else f"{name}-{used[name]}", name, arranged(piece, tempo, programs))
    if not read:
        raise DataError(f"none of {len(documents):,} files has music that can be read")


def _name(document: str) -> str:
    """The name of a piece: that of its file, for a tune of a book with its number, `jigs-12`."""
    path = PurePath(document)
    if document == "-":
        return "piece"
    if path.parent.suffix.lower() == ".abc":
        return f"{path.parent.stem}-{path.name}"
    if path.parent.name == "-":
        return f"piece-{path.name}"
    return path.name.partition(".")[0] or path.name


def read_piece(data: bytes, format: Format, grid: int | None = None) -> Piece:
    """Read a piece on the grid that a format needs. Raises `DataError` if there is none in the data."""
    score, _ = read_score(data)
    if grid is None:
        grid = _notated_grid(score) if format.is_notation else EXACT_GRID
    return quantise(score, grid)


def _notated_grid(score: Score) -> int:
    for grid in _NOTATED_GRIDS:
        stats = QuantisationStats()
        parts = [ScorePart(part.program, part.order, list(part.notes)) for part in score.parts]
        quantise(Score(score.division, parts, score.metres, score.tempos, score.last, score.noun), grid, stats=stats)
        if stats.moved + stats.lengthened <= _MAX_OFF * max(stats.kept, 1):
            return grid
    return _NOTATED_GRIDS[-1]


def check_single(format: Format, count: int) -> None:
    """Raise `UserError` if several pieces are to be written into one file."""
    if count > 1:
        raise UserError(f"{count:,} pieces need a folder: -o FOLDER/ --format {format.name}")
