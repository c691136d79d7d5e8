"""Music from a model: events under the grammar of `music.grammar`, counted in bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.config import SampleOptions
from seqgen.errors import ModelError, UserError
from seqgen.generation.copies.notes import NoteCopyGuard, NoteCopyIndex, grammar_tracks
from seqgen.generation.engines.base import Engine
from seqgen.generation.music.native_grammar import NativeGrammarState
from seqgen.generation.sampling.draw import PrimedState, SamplerState, sample_ids, stream_position
from seqgen.generation.sampling.draw import prime as prime_ids
from seqgen.generation.sampling.filters import FilterChain
from seqgen.generation.sampling.token_names import resolve_names
from seqgen.generation.state import SavedState, truncate_history
from seqgen.generation.text import best_of
from seqgen.music import bar_state as barline
from seqgen.music.events import EventVocabulary
from seqgen.music.grammar import GrammarState
from seqgen.music.piece import Piece
from seqgen.native import library
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.tokenizers import Codec, Ids
from seqgen.tokenizers.midi import MidiCodec

_NOTES = ("note", "drum")

BarCallback = Callable[[Piece, int], None]


@dataclass(frozen=True)
class Composition:
    """A finished piece.

    Attributes:
        piece: with the primer.
        events: after the primer.
        choices: of these, without the notes of repeated bars, which the grammar gives.
        log_probability: of these events under the model and the grammar, in nats, before temperature and filters.
        finish_reason: "length", or "end" if the model ended the piece earlier.
        longest_copy: notes of the longest run copied from the training set, if that is known.
        saved: the state after the piece, if requested.
    """

    index: int
    seed: int
    piece: Piece
    primer_bars: int
    events: int
    choices: int
    log_probability: float
    finish_reason: str
    longest_copy: int | None = None
    saved: SavedState | None = None

    @property
    def bars(self) -> int:
        """Bars after the primer."""
        return len(self.piece.bars) - self.primer_bars

    def without_primer(self) -> Piece:
        """The piece after the primer, without notes that began in the primer."""
        return self.piece.excerpt(self.primer_bars, len(self.piece.bars))


@dataclass(frozen=True)
class Primer:
    """A primer as the network has read it. `walk` is the bar line of a saved piece (`music.bar_state`)."""

    ids: Ids
    primed: PrimedState
    walk: dict[str, Any] | None = None

    def begin(self, vocabulary: EventVocabulary) -> GrammarState:
        """The state of the grammar after the primer."""
        if self.walk is not None:
            grammar = barline.load_barline(vocabulary, self.walk)
            grammar.push(self.primed.last)
            return grammar
        grammar = GrammarState(vocabulary)
        for token in self.ids.tolist():
            grammar.push(token)
        return grammar


def music_codec(codec: Codec) -> MidiCodec:
    """The codec of a music model. Raises `UserError` for another one."""
    if not isinstance(codec, MidiCodec):
        raise UserError(f"this model cannot compose: its tokenizer is {codec.name!r}; composing needs a music model")
    return codec


def prime(engine: Engine, codec: Codec, primer: Piece | None = None, to_come: int | None = None) -> Primer:
    """Read a primer; without one, begin a new piece.

    Args:
        to_come: bars that will follow the primer; None if their number is unknown.
    """
    music = music_codec(codec)
    begin = np.empty(0, dtype=np.int32) if primer is None else music.encode_piece(primer, to_come)
    primed = prime_ids(engine, codec, begin)
    notes = [token for token in begin.tolist() if music.vocabulary.event_types[token] in _NOTES]
    return Primer(begin, PrimedState(notes, primed.last, primed.state))


def continue_from(engine: Engine, codec: Codec, saved: SavedState) -> Primer:
    """Continue a saved piece from its last bar line. Raises `ModelError` if the state isn't that of a piece."""
    music = music_codec(codec)
    if saved.walk is not None:
        grammar = barline.load_barline(music.vocabulary, saved.walk)
        if music.vocabulary.event_types[saved.last] != "bar" or not grammar.push(saved.last):
            raise ModelError("the saved state of the piece is damaged: its last event begins no bar")
    elif saved.last != music.end:
        raise ModelError("the saved state of the piece is damaged: the state of the grammar is missing")
    return Primer(np.empty(0, dtype=np.int32), saved.primed(engine), saved.walk)


@dataclass(frozen=True)
class CompositionRequest:
    """Options of pieces.

    Attributes:
        stop_at_end: let the model end a piece early.
        pitches: allowed on melodic tracks; None for all.
        tempo: quarter notes per minute throughout; None for the model's own.
        copies: index of the training set, to measure and limit copying.
        max_copy: the longest run of notes that may be copied.
        keep: whether states are saved; then another bar follows the last one.
        best_of: candidates for each piece, of which the likeliest per event is chosen.
        key: of a new piece, as `music.key` numbers it; None for the model's choice. A primer keeps its own.
    """

    options: SampleOptions
    stop_at_end: bool = False
    pitches: Sequence[int] | None = None
    tempo: float | None = None
    copies: NoteCopyIndex | None = None
    max_copy: int | None = None
    keep: bool = False
    best_of: int = 1
    key: int | None = None

    @property
    def bars_to_come(self) -> int | None:
        """Bars of a piece whose length is fixed; None for one that the model may end, or that is continued later."""
        return None if self.stop_at_end or self.keep else self.options.length_for("music")


class PieceGuide:
    """A `draw.Guide` that follows one piece until its bars are complete."""

    def __init__(self, codec: MidiCodec, primer: Primer, request: CompositionRequest) -> None:
        vocabulary = codec.vocabulary
        self._event_types = vocabulary.event_types
        self._end = vocabulary.id("end")
        self._request = request
        self._grammar = primer.begin(vocabulary)
        self._grammar.restrict(request.pitches, request.tempo is None, request.key)
        guarded = request.copies is not None and request.max_copy is not None
        if request.copies is not None and request.max_copy is not None:
            self._grammar.forbid_notes(NoteCopyGuard(request.copies, request.max_copy))
        self.primer_bars = 0 if primer.walk is not None else len(self._grammar.bars)
        bars = request.options.length_for("music")
        self._left = bars - (primer.walk is not None)  # a saved piece has drawn its next bar event already
        if request.keep:
            self._grammar.plan_bars(None)
        elif not request.stop_at_end:
            self._grammar.plan_bars(self._left)
        self._allow_end(self._grammar)
        self.finish_reason = "" if bars else "length"
        self._native = NativeGrammarState(self._grammar) if library() is not None and not guarded else None
        self._native_tokens: list[int] = []  # not yet taken by the Python grammar
        self.bars_begun = 0  # after the primer
        self.given = 0  # events of repeated bars
        self._repeats = False  # whether this bar is one
        self._notes: list[int] = []

    def mask(self) -> npt.NDArray[np.bool_]:
        mask = self._grammar.mask() if self._native is None else self._native.mask
        if self._request.max_copy is not None and not mask.any():
            raise UserError(f"--max-copy {self._request.max_copy} leaves no playable note here; raise it")
        return mask

    def push(self, token: int) -> bool:
        if self.finish_reason:  # other pieces are still in progress; what this stream draws is dropped
            return False
        grammar = self._grammar if self._native is None else self._native
        event_type = self._event_types[token]
        if event_type == "bar":
            if not self._left:
                self.finish_reason = "length"
                return False
            self._left -= 1
            self.bars_begun += 1
            self._repeats = False
            if not self._left:
                self._allow_end(grammar)
        elif token == self._end:
            self.finish_reason = "end" if self._left else "length"
            return False
        else:
            self.given += self._repeats
            self._repeats |= event_type == "again"
        grammar.push(token)
        if self._native is not None:
            self._native_tokens.append(token)
        is_note = event_type in _NOTES
        if is_note:
            self._notes.append(token)
        return is_note

    def grammar(self) -> GrammarState:
        """The state of the grammar after all events so far."""
        for token in self._native_tokens:
            self._grammar.push(token)
        self._native_tokens.clear()
        return self._grammar

    def piece(self) -> Piece:
        """The piece so far, in the tempo that was asked for."""
        piece, tempo = self.grammar().piece(), self._request.tempo
        return piece if tempo is None else replace(piece, tempos=((0, tempo),))

    def saved(self, primer: Primer, cells: Any, now: SamplerState, row: int, index: int) -> SavedState:
        """The state after the finished piece, whose recurrent state is `cells`."""
        options, last = self._request.options, int(now.last[row])
        history, cut = truncate_history([*primer.primed.history, *self._notes], options)
        walk = None if last == self._end else barline.dump_barline(self.grammar())
        position = stream_position(now.streams[row])
        return SavedState(cells, last, history, cut, options.seed, index, position, now.limits[row], walk=walk)

    def _allow_end(self, grammar: GrammarState | NativeGrammarState) -> None:
        """Let a piece end in its last bar, or early if requested; never if another bar is to follow."""
        request = self._request
        grammar.allow_end(request.stop_at_end or not (self._left or request.keep))


def compose(
    engine: Engine,
    codec: Codec,
    primer: Primer,
    request: CompositionRequest,
    count: int = 1,
    first: int = 0,
    on_bar: BarCallback | None = None,
    limit: TimeLimit = NO_LIMIT,
) -> Iterator[Composition]:
    """Compose pieces number `first` to `first` + `count` − 1, in order.

    Piece i doesn't depend on `count` and `first`. With `request.best_of`, it is the best of the candidates from the
    random streams i · best_of and following.

    Args:
        on_bar: called when a bar begins, with the piece so far, this bar included, and the number of bars of the
            primer. Only for one piece without other candidates.
        limit: asked at each event.

    Raises:
        UserError: the options name events that the vocabulary lacks.
    """
    tries = request.best_of
    at_once = max(1, engine.batch_size // tries)
    for start in range(first, first + count, at_once):
        stop = min(start + at_once, first + count)
        indices = range(start * tries, stop * tries)
        pieces = _compose_batch(engine, music_codec(codec), primer, request, indices, on_bar, limit)
        best = best_of(((piece.index, piece) for piece in pieces), tries, _log_prob_per_event)
        yield from (replace(best[number], index=number) for number in range(start, stop))


def _log_prob_per_event(piece: Composition) -> float:
    return piece.log_probability / max(piece.choices, 1)


def _compose_batch(
    engine: Engine,
    codec: MidiCodec,
    primer: Primer,
    request: CompositionRequest,
    indices: Sequence[int],
    on_bar: BarCallback | None,
    limit: TimeLimit,
) -> Iterator[Composition]:
    guides = [PieceGuide(codec, primer, request) for _ in indices]
    counts, sums = [0] * len(indices), [0.0] * len(indices)
    reported = 0
    saved: list[SavedState | None] = [None] * len(indices)
    open_rows = {row for row, guide in enumerate(guides) if not guide.finish_reason}
    now, seed = SamplerState(), request.options.seed
    filters = FilterChain(request.options, resolved=resolve_names(request.options, codec))
    steps = sample_ids(engine, primer.primed, filters, seed, indices, guides, (), now)
    for step in steps if open_rows else ():
        limit.check()
        if on_bar is not None and guides[0].bars_begun > reported:
            reported = guides[0].bars_begun
            on_bar(guides[0].piece(), guides[0].primer_bars)
        for row in sorted(open_rows):
            if not guides[row].finish_reason:
                counts[row] += 1
                sums[row] += step[row][1]
                continue
            open_rows.discard(row)  # the drawn event would begin a bar too many
            if request.keep:
                saved[row] = guides[row].saved(primer, engine.export_state(now.state, row), now, row, indices[row])
        if not open_rows:
            break
    for row, index in enumerate(indices):
        guide, grammar = guides[row], guides[row].grammar()
        piece = guide.piece()
        copied = None if request.copies is None else request.copies.longest_match(grammar_tracks(grammar))
        yield Composition(
            index, seed, piece, guide.primer_bars, counts[row], counts[row] - guide.given, sums[row],
            guide.finish_reason, copied, saved[row],
        )  # fmt: skip


class GrammarMasks:
    """The events that the grammar allows at each position of a piece (`scoring.MaskFunction`)."""

    def __init__(self, vocabulary: EventVocabulary) -> None:
        self._grammar = GrammarState(vocabulary)
        self._native = None if library() is None else NativeGrammarState(self._grammar)
        self._taken: list[int] = []  # events, by the kernel

    def __call__(self, ids: Ids) -> npt.NDArray[np.bool_]:
        masks = np.empty((len(ids), self._grammar.vocabulary.size), dtype=bool)
        for position, token in enumerate(ids.tolist()):
            if self._native is not None:
                masks[position] = self._native.mask
                if masks[position, token]:
                    self._native.push(token)
                    self._taken.append(token)
                    continue
                for taken in self._taken:  # the kernel takes no event that the grammar doesn't allow
                    self._grammar.push(taken)
                self._native = None
            masks[position] = self._grammar.mask()
            masks[position, token] = True  # a file may contain events that the grammar doesn't allow
            self._grammar.push(token)
        return masks


def grammar_masks(codec: Codec) -> GrammarMasks:
    """The masks of a music codec, from the beginning of a piece."""
    return GrammarMasks(music_codec(codec).vocabulary)
