"""The pieces of a corpus, read before they are split: what was left out and forgiven, and the grid that holds them.

A file that can't be read or has no notes is left out before anything is held out, so it counts on neither side.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from seqgen.config import TrainOptions
from seqgen.corpus import split
from seqgen.corpus.opening.form import quoted
from seqgen.corpus.sources import Document
from seqgen.corpus.spill import SpillList
from seqgen.errors import DataError
from seqgen.music.score import FINER_GRIDS, NO_NOTES, QuantisationStats, repairs
from seqgen.quantities import plural, shortened_list
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files

_CHOSEN_GRIDS = FINER_GRIDS[:2]  # taken without being asked for
_MANY_MOVED = 0.05  # of the notes: more are worth a warning
_NAMED = 3  # files of each group that are named


@dataclass
class MidiCorpus:
    """The pieces that were read, in order of their files, and what became of the other files.

    Attributes:
        silent: names of the files without notes.
        damaged: for each file that can't be read, its name and why.
        repaired: names of the files that are damaged but were read.
    """

    codec: MidiCodec
    files: int = 0  # that were read
    unread: int = 0  # for which there was no time
    stats: QuantisationStats = field(default_factory=QuantisationStats)
    silent: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    _pieces: SpillList = field(default_factory=SpillList)

    @property
    def pieces(self) -> int:
        return len(self._pieces)

    def ids(self, number: int) -> Ids:
        """The ids of a piece, int32."""
        return np.frombuffer(self._pieces[number], dtype=np.int32)

    def add(self, ids: Ids) -> None:
        self._pieces.append(ids.astype(np.int32).tobytes())


@dataclass(frozen=True)
class Pieces:
    """Some pieces of a corpus: the training or the validation set."""

    corpus: MidiCorpus
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def hold_out(self, fraction: float) -> tuple[Pieces, Pieces]:
        """The training set, and the validation set of whole pieces."""
        train, held_out = split.hold_out_items(self.numbers, fraction)
        return Pieces(self.corpus, train), Pieces(self.corpus, held_out)


def read_corpus(
    codec: MidiCodec,
    documents: list[Document],
    strict: bool = False,
    workers: int | None = None,
    report: Callable[[str], None] = lambda _: None,
    limit: TimeLimit = NO_LIMIT,
) -> Pieces:
    """Read every document, or the first of them until the time is over.

    Args:
        strict: whether a file that can't be read is an error.
        workers: see `read_midi_files`.
        report: told about the progress, once a second.

    Raises:
        DataError: a file is damaged and `strict` is set, none can be read, or one has changed.
    """
    corpus = MidiCorpus(codec)
    reported_at = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at > 1:
            reported_at = time.monotonic()
            report(f"reading music: {done:,} of {total:,} files")

    files = [(document.shown, document.path) for document in documents]
    for result in read_midi_files(codec, files, progress, workers, limit.check):
        corpus.files += 1
        if not result.error:
            corpus.add(result.ids)
            corpus.stats.add(result.losses)
            if repairs(result.losses):
                corpus.repaired.append(result.name)
        elif strict:
            raise DataError(f"{quoted(result.name)}: {result.error}; without --strict it would be skipped")
        elif NO_NOTES in result.error:
            corpus.silent.append(result.name)
        else:
            corpus.damaged.append(f"{result.name}: {result.error}")
        if corpus.pieces and limit.is_over:
            break
    corpus.unread = len(files) - corpus.files
    for document in documents:
        document.verify_unchanged()
    if not corpus.pieces and len(files) == 1:
        raise DataError(f"{quoted(files[0][0])}: {result.error}")
    if not corpus.pieces:
        raise DataError(f"none of {len(files):,} files of music can be trained on ({result.name}: {result.error})")
    return Pieces(corpus, range(corpus.pieces))


def read_training_set(
    options: TrainOptions,
    documents: list[Document],
    given: MidiCodec | None = None,
    add: Callable[[str, bool], None] = lambda message, is_warning: None,
    report: Callable[[str], None] = lambda _: None,
    limit: TimeLimit = NO_LIMIT,
) -> Pieces:
    """Read every document on the grid asked for, or on one that the notes choose.

    Args:
        given: codec of a model that the training goes on from; it keeps its grid.
        add: called with each sentence about the files and the grid, and whether it is a warning.
        limit: of the reading; half of it if the notes choose the grid, because they are then read again.
    """
    chooses = given is None and options.grid is None
    codec, first = given or MidiCodec.from_options(options), limit.part(0.5) if chooses else limit
    pieces = read_corpus(codec, documents, options.strict, options.threads, report, first)
    stats, grid = pieces.corpus.stats, pieces.corpus.codec.options.grid
    choice = grid_to_choose(stats) if chooses else None
    if choice is not None:
        codec = MidiCodec.from_options(dataclasses.replace(options, grid=choice))
        documents = documents[: pieces.corpus.files]
        unread = pieces.corpus.unread
        pieces = read_corpus(codec, documents, options.strict, options.threads, report, limit)
        pieces.corpus.unread += unread
    add(*summary(pieces.corpus))
    if choice is not None:
        add(grid_choice(stats, grid, choice), True)
    elif warning := grid_warning(stats, grid):
        add(warning, True)
    return pieces


def summary(corpus: MidiCorpus) -> tuple[str, bool]:
    """How many files were read, and what is wrong with the others; whether that is a warning."""
    parts = [f"{corpus.pieces:,} read"]
    if corpus.silent:
        parts.append(f"{len(corpus.silent):,} without notes ({_names(corpus.silent)})")
    if corpus.damaged:
        parts.append(f"{len(corpus.damaged):,} damaged ({corpus.damaged[0]})")
    if corpus.repaired:
        counts = ", ".join(repairs(corpus.stats))
        parts.append(f"{len(corpus.repaired):,} of them damaged but read ({_names(corpus.repaired)}): {counts}")
    return f"{plural(corpus.files, 'file')}: {', '.join(parts)}", len(parts) > 1


def better_grid(stats: QuantisationStats) -> int | None:
    """The coarsest grid that holds at least nine in ten of the notes that were moved; None if there is none."""
    return next((grid for grid in FINER_GRIDS if 10 * getattr(stats, f"moved_{grid}") <= stats.moved), None)


def grid_to_choose(stats: QuantisationStats) -> int | None:
    """The grid to take where none was asked for, if it is clearly better than the one that was tried."""
    grid = better_grid(stats)
    return grid if grid in _CHOSEN_GRIDS and stats.moved > _MANY_MOVED * stats.notes else None


def grid_warning(stats: QuantisationStats, grid: int) -> str | None:
    """What a grid loses, and which would lose less; None if it holds nearly all notes."""
    if stats.moved <= _MANY_MOVED * stats.notes:
        return None
    lost = (
        f"{stats.moved / stats.notes:.0%} of the notes are off the grid of {grid} steps a quarter note, "
        f"and are moved by {stats.shift / stats.moved:.2f} steps on average"
    )
    better = better_grid(stats)
    if better is not None:
        return f"{lost}; --grid {better} moves {getattr(stats, f'moved_{better}') / stats.notes:.0%}"
    finer = next((each for each in FINER_GRIDS if each > grid), None)
    hint = f"; --grid {finer} moves them by less" if finer else ""
    return f"{lost}: they were not played to a metronome{hint}"


def grid_choice(stats: QuantisationStats, tried: int, chosen: int) -> str:
    """Why another grid than the usual one was taken."""
    still = getattr(stats, f"moved_{chosen}") / stats.notes
    return (
        f"the grid is {chosen} steps a quarter note, which moves {still:.0%} of the notes; {tried} would move "
        f"{stats.moved / stats.notes:.0%} by {stats.shift / stats.moved:.2f} steps on average (--grid {tried} keeps it)"
    )


def _names(names: list[str]) -> str:
    return shortened_list(names, _NAMED)
