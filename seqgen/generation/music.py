"""From a model to music: events under the grammar of `music.grammar`, counted in bars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.config import SampleOptions
from seqgen.errors import UserError
from seqgen.generation.compiled_walk import CompiledWalk
from seqgen.generation.draw import Primed, ids
from seqgen.generation.draw import prime as prime_ids
from seqgen.generation.engine import Engine
from seqgen.generation.filters import Chain
from seqgen.generation.naming import named
from seqgen.music.grammar import Walk
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
    primed: Primed


def music_codec(codec: Codec) -> MidiCodec:
    """The codec, if it is music's. Raises `UserError` otherwise."""
    if not isinstance(codec, MidiCodec):
        raise UserError(f"this model reads {codec.kind}, and can't compose")
    return codec


def prime(engine: Engine, codec: Codec, primer: Piece | None = None) -> Primer:
    """Reads a primer; without one, a piece begins."""
    music = music_codec(codec)
    begin = np.empty(0, dtype=np.int32) if primer is None else music.spell(primer)
    primed = prime_ids(engine, codec, begin)
    counted = [token for token in begin.tolist() if music.vocabulary.kinds[token] in _NOTES]
    return Primer(begin, Primed(counted, primed.last, primed.state))


class Guide:
    """See `draw.Guide`. Follows one piece until its bars are full."""

    def __init__(
        self, codec: MidiCodec, primer: Ids, bars: int, stop_at_end: bool, scale: Iterable[int] | None, tempo: bool
    ) -> None:
        words = codec.vocabulary
        self._bar, self._end = words.id("bar"), words.id("end")
        self._counted = [kind in _NOTES for kind in words.kinds]
        self._walk = Walk(words)
        for token in primer.tolist():
            self._walk.push(token)
        self._walk.restrict(scale, tempo_changes=not tempo)
        self._walk.let_end(stop_at_end or not bars)
        self.primer_bars = len(self._walk.bars)
        self._left = bars
        self.finish_reason = "" if bars else "length"
        self._sooner = CompiledWalk(self._walk) if library() is not None else None
        self._taken: list[int] = []  # what only the compiled walk knows of

    def mask(self) -> npt.NDArray[np.bool_]:
        return self._walk.mask() if self._sooner is None else self._sooner.mask

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
                walk.let_end(True)
        elif token == self._end:
            self.finish_reason = "end" if self._left else "length"
            return False
        walk.push(token)
        if self._sooner is not None:
            self._taken.append(token)
        return self._counted[token]

    def piece(self) -> Piece:
        """The piece so far."""
        for token in self._taken:
            self._walk.push(token)
        self._taken.clear()
        return self._walk.piece()


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
    music = music_codec(codec)
    filters = Chain(options, names=named(options, codec))
    pitches = None if scale is None else [pitch for pitch in range(128) if pitch % 12 in set(scale)]
    for start in range(first, first + count, engine.wave):
        indices: Sequence[int] = range(start, min(start + engine.wave, first + count))
        guides = [
            Guide(music, primer.ids, options.length_for("music"), stop_at_end, pitches, tempo is not None)
            for _ in indices
        ]
        counts, sums = [0] * len(indices), [0.0] * len(indices)
        going_on = {row for row, guide in enumerate(guides) if not guide.finish_reason}
        for step in ids(engine, primer.primed, filters, options.seed, indices, guides) if going_on else ():
            for row in sorted(going_on):
                if guides[row].finish_reason:  # what was drawn would begin a bar too many
                    going_on.discard(row)
                else:
                    counts[row] += 1
                    sums[row] += step[row][1]
            if not going_on:
                break
        for row, index in enumerate(indices):
            guide = guides[row]
            piece = guide.piece()
            if tempo is not None:
                piece = Piece(piece.grid, piece.tracks, piece.notes, piece.bars, ((0, max(1, round(tempo))),))
            yield Composition(
                index, options.seed, piece, guide.primer_bars, counts[row], sums[row], guide.finish_reason
            )
