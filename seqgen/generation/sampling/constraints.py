"""Constraints on generated text as masks over tokens: banned strings, a grammar, and limits on copying.

A token may come if all its bytes may, one after another, and if an accepting state can still be reached within the
requested length. So a banned text never appears, however it is tokenized, and a text always matches its grammar in
time. Every byte is a token of every vocabulary: any ending that bytes can reach, tokens can reach.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqgen.automata.automaton import Automaton, BannedStringsAutomaton
from seqgen.config import SampleOptions
from seqgen.errors import UserError
from seqgen.generation.prompts import Prompt
from seqgen.generation.sampling.draw import Guide
from seqgen.generation.sampling.filters import FilterChain
from seqgen.generation.sampling.token_names import (
    TokenBytes,
    bytes_by_position,
    join_token_bytes,
    resolve_names,
    token_bytes,
    visible_token_bytes,
)
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes

_MAX_CACHED = 1 << 22  # entries of all rows, of 13 bytes each
_NEVER = (1 << 31) - 1  # characters: more than any token needs
_UNLIMITED = 1 << 60  # characters


class TextConstraint(Guide, Protocol):
    """A guide for one text that can be copied, so that two texts may diverge from it."""

    @property
    def over(self) -> bool:
        """Whether the text is complete and nothing may follow."""
        ...

    def copy(self) -> TextConstraint: ...


@dataclass(frozen=True)
class _Row:
    """The transitions of one state.

    Attributes:
        mask: shape (vocabulary,): ids that may come if the length doesn't matter.
        after: the state after each id.
        min_remaining: characters that each id begins, plus those that must follow it at least.
        most: the largest of these among ids in `mask`.
        continues: whether any id that writes something may come.
    """

    mask: npt.NDArray[np.bool_]
    after: npt.NDArray[np.int64]
    min_remaining: npt.NDArray[np.int32]
    most: int
    continues: bool


class _Table:
    """The bytes of all ids, as arrays."""

    def __init__(self, table: TokenBytes) -> None:
        self.writes = np.array([bool(data) for data in table])
        self.positions = bytes_by_position(table)
        self.characters = [sum(byte & 0xC0 != 0x80 for byte in data or b"") for data in table]
        self.counts = np.array(self.characters, dtype=np.int64)


class AutomatonMasks:
    """The ids that an automaton allows in each state, computed when a state is first met and shared by all streams."""

    def __init__(
        self, automaton: Automaton, table: TokenBytes, closing: Sequence[int] | None, opening: TokenBytes | None = None
    ) -> None:
        """
        Args:
            table: the bytes of each id.
            closing: ids without bytes that end a text and may come where it is complete; other ids without bytes never
                may. None: all of them may come at any time.
            opening: the bytes of each id at the beginning of a text, if they differ.
        """
        self.automaton = automaton
        self._closing = None if closing is None else list(closing)
        self._tables = _Table(table), _Table(table if opening is None else opening)
        self._rows: dict[tuple[int, bool], _Row] = {}
        self._streams: weakref.WeakSet[AutomatonConstraint] = weakref.WeakSet()

    def stream(self, length: int) -> AutomatonConstraint:
        """Start a text of at most `length` characters. Raises `UserError` if that is too short."""
        least = int(self.automaton.min_remaining(np.array([self.automaton.start]))[0])
        if least > length:
            raise UserError(
                f"cannot match --grammar: it needs at least {least:,} characters, and the limit is {length:,}"
            )
        return AutomatonConstraint(self, length)

    def follow(self, stream: AutomatonConstraint) -> None:
        """Register a stream, whose state is renumbered when the automaton's states are."""
        self._streams.add(stream)

    def characters(self, opening: bool) -> list[int]:
        """Characters that each id begins."""
        return self._tables[opening].characters

    def writes(self, opening: bool) -> npt.NDArray[np.bool_]:
        """The ids that write something."""
        return self._tables[opening].writes

    def row(self, stream: AutomatonConstraint) -> _Row:
        """The transitions of a stream's state. May renumber the states of all streams."""
        found = self._rows.get((stream.state, stream.opening))
        if found is None:
            if self.automaton.full or len(self._rows) * len(self._tables[0].characters) > _MAX_CACHED:
                self._forget()
            found = self._rows[stream.state, stream.opening] = self._make(stream.state, self._tables[stream.opening])
        return found

    def _forget(self) -> None:
        streams = list(self._streams)
        self._rows.clear()
        for stream, state in zip(streams, self.automaton.retain([each.state for each in streams]), strict=True):
            stream.rename(state)

    def _make(self, state: int, table: _Table) -> _Row:
        after = np.full(len(table.writes), state, dtype=np.int64)
        for ids, data in table.positions:
            alive = after[ids] >= 0
            after[ids[alive]] = self.automaton.advance(after[ids[alive]], data[alive])
        min_remaining = np.full(len(after), _NEVER, dtype=np.int32)
        alive_ids = np.flatnonzero(table.writes & (after >= 0))
        if len(alive_ids):
            rest = self.automaton.min_remaining(after[alive_ids])
            min_remaining[alive_ids] = np.where(rest < 0, _NEVER, table.counts[alive_ids] + rest)
        continues = bool((min_remaining < _NEVER).any())
        if self._closing is None:
            min_remaining[~table.writes] = 0
        elif self.automaton.is_accepting(state):
            min_remaining[self._closing] = 0
        mask = min_remaining < _NEVER
        return _Row(mask, after, min_remaining, int(min_remaining[mask].max(initial=0)), continues)


class AutomatonConstraint:
    """A `TextConstraint` that follows one text through an automaton."""

    def __init__(self, masks: AutomatonMasks, length: int) -> None:
        self._masks = masks
        self._left = length
        self.state = masks.automaton.start
        self.opening = True  # nothing was written yet
        self.over = False
        self._row: _Row | None = None
        masks.follow(self)
        self._update()

    def mask(self) -> npt.NDArray[np.bool_]:
        return self._mask

    def push(self, token: int) -> bool:
        if not self.over:
            row = self._row or self._masks.row(self)
            self._left -= self._masks.characters(self.opening)[token]
            after = row.after.item(token)
            if after != self.state or self.opening or row.most > self._left:
                self.state, self.opening = after, False
                self._update()
        return True

    def copy(self) -> AutomatonConstraint:
        """A constraint in the same state."""
        same = copy.copy(self)
        self._masks.follow(same)
        return same

    def rename(self, state: int) -> None:
        """Take the new number of the present state."""
        self.state, self._row = state, None

    def _update(self) -> None:
        row = self._row = self._masks.row(self)
        self._mask, continues = row.mask, row.continues
        if row.most > self._left:
            self._mask = row.min_remaining <= self._left
            continues = bool((self._mask & self._masks.writes(self.opening)).any())
        if not continues:
            self.over = True
            self._mask = np.ones_like(row.mask)  # other streams may still run; what this one draws is dropped


def make_masks(
    options: SampleOptions,
    codec: Codec,
    closing: Sequence[int],
    before: bytes = b"",
    writing: Sequence[int] = (),
    begun: bool = True,
) -> AutomatonMasks | None:
    """The masks of `--ban` and `--grammar`; None without either.

    Args:
        closing: ids that may end a match of the grammar.
        before: the text that is continued: a banned text may not end in the generated part, wherever it begins.
        writing: control tokens that write something.
        begun: whether something was written before.

    Raises:
        UserError: the grammar is invalid or too large, or leaves nothing to generate.
    """
    if not options.ban and options.grammar is None:
        return None
    banned = [as_bytes(text) for text in options.ban]
    table = token_bytes(codec, writing)
    opening = None if begun or not writing else token_bytes(codec, writing, begun=False)
    if options.grammar is None:
        return AutomatonMasks(BannedStringsAutomaton(banned, before), table, None, opening)
    from seqgen.automata.dfa import RegexAutomaton

    return AutomatonMasks(RegexAutomaton(options.grammar, banned, before), table, closing, opening)


class Both:
    """Two constraints at once. The text is over where the first one is."""

    def __init__(self, first: TextConstraint, second: TextConstraint) -> None:
        self._first, self._second = first, second

    @property
    def over(self) -> bool:
        """See `TextConstraint`."""
        return self._first.over

    def mask(self) -> npt.NDArray[np.bool_]:
        mask = self._first.mask() & self._second.mask()
        if not mask.any():
            raise UserError(
                "cannot continue the text: --max-copy excludes every token that --grammar and --ban allow; raise it"
            )
        return mask

    def push(self, token: int) -> bool:
        return self._first.push(token) & self._second.push(token)

    def copy(self) -> Both:
        return Both(self._first.copy(), self._second.copy())


@dataclass(frozen=True)
class SamplingRules:
    """The filters and constraints of all samples of one prompt."""

    filters: FilterChain
    masks: AutomatonMasks | None
    guard: TextConstraint | None = None

    @classmethod
    def of(
        cls,
        codec: Codec,
        prompt: Prompt,
        options: SampleOptions,
        stop_at_end: bool = False,
        guard: TextConstraint | None = None,
    ) -> SamplingRules:
        """
        Args:
            stop_at_end: whether the model may end a text.
            guard: a constraint that has read the prompt already.

        Raises:
            UserError: the options name tokens that the model lacks, or leave nothing to generate.
        """
        control = [token for token, piece in enumerate(codec.pieces()) if piece is None]
        # A match of a grammar may be complete before the length is reached.
        ends = [codec.end] if stop_at_end or options.grammar is not None else []
        forbidden = [token for token in control if token not in {*prompt.allowed, *ends}]
        before = as_bytes(prompt.text)
        if prompt.is_continuation:
            before = join_token_bytes(np.array(prompt.primed.history, dtype=np.int64), visible_token_bytes(codec))
        begun = bool(prompt.primed.history)
        masks = make_masks(options, codec, ends, before, prompt.allowed, begun)
        return cls(FilterChain(options, forbidden, resolve_names(options, codec)), masks, guard)

    @property
    def has_constraint(self) -> bool:
        """Whether a text has a constraint beside the filters."""
        return self.masks is not None or self.guard is not None

    def stream(self, length: int) -> TextConstraint | None:
        """The constraint at the start of a text of at most `length` characters; None without any.

        A text that needn't match a grammar may be cut anywhere: it is drawn as if it could be longer.
        """
        matching = self.filters.options.grammar is not None
        masks = None if self.masks is None else self.masks.stream(length if matching else _UNLIMITED)
        guard = None if self.guard is None else self.guard.copy()
        return Both(masks, guard) if masks is not None and guard is not None else masks or guard
