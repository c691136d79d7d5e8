"""From a model to music: events under the grammar of `music.grammar`, counted in bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.config import SampleOptions
from seqgen.errors import ModelError, UserError
from seqgen.generation.copies.notes import NoteCopyGuard, NoteCopyIndex
from seqgen.generation.engines.base import Engine
from seqgen.generation.music.native_grammar import NativeWalk
from seqgen.generation.sampling.draw import PrimedState, SamplerState, ids, stream_position
from seqgen.generation.sampling.draw import prime as prime_ids
from seqgen.generation.sampling.filters import FilterChain
from seqgen.generation.sampling.token_names import resolve_names
from seqgen.generation.state import SavedState, truncate_history
from seqgen.music import barline
from seqgen.music.events import EventVocabulary
from seqgen.music.grammar import GrammarState
from seqgen.music.piece import Piece
from seqgen.native import library
from seqgen.tokenizers import Codec, Ids
from seqgen.tokenizers.midi import MidiCodec

_NOTES = ("note", "drum")


@dataclass(frozen=True)
class Composition:
    """A finished piece. `log_probability` is the model's own under the grammar, in nats, before temperature and
    filters, of the events after the primer."""

    index: int
    seed: int
    piece: Piece  # with the primer
    primer_bars: int
    events: int
    log_probability: float
    finish_reason: str  # "length", or "end" where the model ended the piece before
    longest_copy: int | None = None  # notes in a row as in the training set, where that is known
    saved: SavedState | None = None  # where it has got to, where that was asked for

    @property
    def bars(self) -> int:
        """Bars that were composed."""
        return len(self.piece.bars) - self.primer_bars

    def without_primer(self) -> Piece:
        """Only what was composed. Notes that the primer began are not in it."""
        return self.piece.excerpt(self.primer_bars, len(self.piece.bars))


@dataclass(frozen=True)
class Primer:
    """A primer that was read once: what any number of pieces go on from."""

    ids: Ids
    primed: PrimedState
    walk: dict[str, Any] | None = None  # where a piece was left that is gone on with (`barline`)

    def begin(self, vocabulary: EventVocabulary) -> GrammarState:
        """The grammar's place in the piece after it."""
        if self.walk is not None:
            walk = barline.load_barline(vocabulary, self.walk)
            walk.push(self.primed.last)
            return walk
        walk = GrammarState(vocabulary)
        for token in self.ids.tolist():
            walk.push(token)
        return walk


def music_codec(codec: Codec) -> MidiCodec:
    """The codec, if it is music's. Raises `UserError` otherwise."""
    if not isinstance(codec, MidiCodec):
        raise UserError(f"this model reads {codec.name}, and can't compose")
    return codec


def prime(engine: Engine, codec: Codec, primer: Piece | None = None) -> Primer:
    """Reads a primer; without one, a piece begins."""
    music = music_codec(codec)
    begin = np.empty(0, dtype=np.int32) if primer is None else music.encode_piece(primer)
    primed = prime_ids(engine, codec, begin)
    counted = [token for token in begin.tolist() if music.vocabulary.event_types[token] in _NOTES]
    return Primer(begin, PrimedState(counted, primed.last, primed.state))


def continue_from(engine: Engine, codec: Codec, saved: SavedState) -> Primer:
    """From the bar line where a piece was left. Raises `ModelError` for a state of something else."""
    music = music_codec(codec)
    if saved.walk is not None:
        barline.load_barline(music.vocabulary, saved.walk)  # refuses what is damaged
    elif saved.last != music.end:
        raise ModelError("the state of the piece is damaged: it does not say where the piece is")
    return Primer(np.empty(0, dtype=np.int32), saved.primed(engine), saved.walk)


class PieceGuide:
    """See `draw.PieceGuide`. Follows one piece until its bars are full."""

    def __init__(self, codec: MidiCodec, primer: Primer, asked: CompositionRequest) -> None:
        words = codec.vocabulary
        self._bar, self._end = words.id("bar"), words.id("end")
        self._kinds = [kind in _NOTES for kind in words.event_types]
        self._asked = asked
        self._walk = primer.begin(words)
        self._walk.restrict(asked.pitches, tempo_changes=asked.tempo is None)
        guarded = asked.copies is not None and asked.max_copy is not None
        if asked.copies is not None and asked.max_copy is not None:
            self._walk.forbid_pitches(NoteCopyGuard(asked.copies, asked.max_copy))
        self.primer_bars = 0 if primer.walk is not None else len(self._walk.bars)
        bars = asked.options.length_for("music")
        self._left = bars - (primer.walk is not None)  # its first bar is drawn already
        self._let_end(self._walk)
        self.finish_reason = "" if bars else "length"
        self._sooner = NativeWalk(self._walk) if library() is not None and not guarded else None
        self._taken: list[int] = []  # what only the compiled walk knows of
        self._counted: list[int] = []

    def mask(self) -> npt.NDArray[np.bool_]:
        mask = self._walk.mask() if self._sooner is None else self._sooner.mask
        if self._asked.max_copy is not None and not mask.any():
            raise UserError(f"--max-copy {self._asked.max_copy} leaves nothing that could be played here")
        return mask

    def push(self, token: int) -> bool:
        if self.finish_reason:  # others are still being composed; what this stream goes on with is not kept
            return False
        walk = self._walk if self._sooner is None else self._sooner
        if token == self._bar:
            if not self._left:
                self.finish_reason = "length"
                return False
            self._left -= 1
            if not self._left:
                self._let_end(walk)
        elif token == self._end:
            self.finish_reason = "end" if self._left else "length"
            return False
        walk.push(token)
        if self._sooner is not None:
            self._taken.append(token)
        if self._kinds[token]:
            self._counted.append(token)
        return self._kinds[token]

    def walk(self) -> GrammarState:
        """The piece so far."""
        for token in self._taken:
            self._walk.push(token)
        self._taken.clear()
        return self._walk

    def saved(self, primer: Primer, cells: Any, where: SamplerState, row: int, index: int) -> SavedState:
        """Where the piece has got to, when it is over."""
        options, last = self._asked.options, int(where.last[row])
        history, cut = truncate_history([*primer.primed.history, *self._counted], options)
        walk = None if last == self._end else barline.dump_barline(self.walk())
        numbers = stream_position(where.streams[row])
        limit = where.limits[row] if options.mirostat_tau else primer.primed.limit
        return SavedState(cells, last, history, cut, options.seed, index, numbers, limit, walk=walk)

    def _let_end(self, walk: GrammarState | NativeWalk) -> None:
        """A piece may end where it is asked to, and in its last bar, unless others are to follow."""
        asked = self._asked
        walk.allow_end(asked.stop_at_end or not (self._left or asked.keep))


@dataclass(frozen=True)
class CompositionRequest:
    """What pieces are to be.

    Attributes:
        stop_at_end: let the model end a piece sooner.
        pitches: that melodic tracks may play; None leaves them all.
        tempo: quarter notes a minute, all through; None leaves it to the model.
        copies, most: the runs of the training set, to tell how long they are copied; no more than `max_copy`, if given.
        keep: whether pieces tell where they have got to. Their last bar is then one that others follow.
        best_of: how many are composed for each, of which the likeliest, by event, is given.
    """

    options: SampleOptions
    stop_at_end: bool = False
    pitches: Sequence[int] | None = None
    tempo: float | None = None
    copies: NoteCopyIndex | None = None
    max_copy: int | None = None
    keep: bool = False
    best_of: int = 1


def compose(
    engine: Engine,
    codec: Codec,
    primer: Primer,
    options: SampleOptions,
    count: int = 1,
    first: int = 0,
    stop_at_end: bool = False,
    scale: Iterable[int] | None = None,
    tempo: float | None = None,
) -> Iterator[Composition]:
    """`count` pieces of `options.length` bars after the primer, in order.

    Args:
        first: the number of the first one: piece i is the same whatever `count` and `first` are.
        stop_at_end: let the model end a piece sooner.
        scale: pitch classes, 0–11 from C, that melodic tracks may play; None leaves them all.
        tempo: quarter notes a minute, all through; None leaves it to the model.

    Raises:
        UserError: the scale leaves no pitch, or the options name what there is not in music.
    """
    pitches = None if scale is None else [pitch for pitch in range(128) if pitch % 12 in set(scale)]
    return compose_as(engine, codec, primer, CompositionRequest(options, stop_at_end, pitches, tempo), count, first)


def compose_as(
    engine: Engine, codec: Codec, primer: Primer, asked: CompositionRequest, count: int = 1, first: int = 0
) -> Iterator[Composition]:
    """`count` pieces as they are asked for, in order, from number `first` on. With `asked.best_of`, piece i is the best
    of those from the random streams i · best_of and the following ones."""
    tries = asked.best_of
    at_once = max(1, engine.batch_size // tries)
    for start in range(first, first + count, at_once):
        stop = min(start + at_once, first + count)
        best: dict[int, Composition] = {}
        for piece in _together(engine, music_codec(codec), primer, asked, range(start * tries, stop * tries)):
            number = piece.index // tries
            if number not in best or _by_event(piece) > _by_event(best[number]):
                best[number] = piece
        yield from (replace(best[number], index=number) for number in range(start, stop))


def _by_event(piece: Composition) -> float:
    return piece.log_probability / max(piece.events, 1)


def _together(
    engine: Engine, codec: MidiCodec, primer: Primer, asked: CompositionRequest, indices: Sequence[int]
) -> Iterator[Composition]:
    """Pieces side by side."""
    guides = [PieceGuide(codec, primer, asked) for _ in indices]
    counts, sums = [0] * len(indices), [0.0] * len(indices)
    saved: list[SavedState | None] = [None] * len(indices)
    going_on = {row for row, guide in enumerate(guides) if not guide.finish_reason}
    where, seed = SamplerState(), asked.options.seed
    filters = FilterChain(asked.options, names=resolve_names(asked.options, codec))
    for step in ids(engine, primer.primed, filters, seed, indices, guides, where=where) if going_on else ():
        for row in sorted(going_on):
            if not guides[row].finish_reason:
                counts[row] += 1
                sums[row] += step[row][1]
                continue
            going_on.discard(row)  # what was drawn would begin a bar too many
            if asked.keep:
                saved[row] = guides[row].saved(primer, engine.export_state(where.state, row), where, row, indices[row])
        if not going_on:
            break
    for row, index in enumerate(indices):
        guide, walk = guides[row], guides[row].walk()
        piece = walk.piece()
        if asked.tempo is not None:
            piece = Piece(piece.grid, piece.tracks, piece.notes, piece.bars, ((0, max(1, round(asked.tempo))),))
        copied = None if asked.copies is None else asked.copies.longest_match(walk)
        yield Composition(
            index, seed, piece, guide.primer_bars, counts[row], sums[row], guide.finish_reason, copied, saved[row]
        )


class GrammarMasks:
    """Follows a piece and tells at each event what else the grammar would have let come (`scoring.Masks`)."""

    def __init__(self, vocabulary: EventVocabulary) -> None:
        self._walk = GrammarState(vocabulary)

    def __call__(self, ids: Ids) -> npt.NDArray[np.bool_]:
        masks = np.empty((len(ids), self._walk.vocabulary.size), dtype=bool)
        for place, token in enumerate(ids.tolist()):
            masks[place] = self._walk.mask()
            masks[place, token] = True  # an id of a file's own making is never impossible
            self._walk.push(token)
        return masks
