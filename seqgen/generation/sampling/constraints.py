"""What text may never hold and what it must match, as masks over tokens: an automaton over bytes, and their spelling.

A token may come where all its bytes may, one after another, and where an end can still be reached within the length
that is asked for; so that a banned text never appears, whichever tokens would spell it, and a text always matches in
time. Every byte is a token of every vocabulary: what bytes can bring to an end, tokens can.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.automata.automaton import Automaton, BannedStringsAutomaton
from seqgen.config import SampleOptions
from seqgen.errors import UserError
from seqgen.generation.sampling.token_names import TokenBytes, bytes_by_position, token_bytes
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes

_MOST_KEPT = 1 << 22  # entries in all rows, of 13 bytes
_NEVER = (1 << 31) - 1  # characters: more than any token needs


@dataclass(frozen=True)
class _Row:
    """What may come in one state.

    Attributes:
        mask: shape (vocabulary,): what may come where no length is in the way.
        after: the state after each id.
        needs: characters that each id begins and that must follow it, at least.
        most: the largest of these among what may come.
        goes_on: whether any id that writes something may come.
    """

    mask: npt.NDArray[np.bool_]
    after: npt.NDArray[np.int64]
    min_remaining: npt.NDArray[np.int32]
    most: int
    goes_on: bool


class _Table:
    """A spelling, as arrays."""

    def __init__(self, table: TokenBytes) -> None:
        self.writes = np.array([bool(data) for data in table])
        self.places = bytes_by_position(table)
        self.begins = [sum(byte & 0xC0 != 0x80 for byte in data or b"") for data in table]  # characters
        self.counts = np.array(self.begins, dtype=np.int64)


class AutomatonMasks:
    """What an automaton lets come in each state, as masks over ids; made when a state is met, kept for all streams."""

    def __init__(
        self, automaton: Automaton, table: TokenBytes, closing: Sequence[int] | None, opening: TokenBytes | None = None
    ) -> None:
        """
        Args:
            table: what each id writes.
            closing: of the ids that write nothing those that end a text, and may come where it is complete; the others
                never. None: all of them may come at any time.
            opening: what each id writes where nothing was written yet, if that is something else.
        """
        self.automaton = automaton
        self._closing = None if closing is None else list(closing)
        self._tables = _Table(table), _Table(table if opening is None else opening)
        self._rows: dict[tuple[int, bool], _Row] = {}
        self._streams: weakref.WeakSet[AutomatonConstraint] = weakref.WeakSet()

    def stream(self, length: int) -> AutomatonConstraint:
        """The beginning of a text of so many characters at most. Raises `UserError` where that is too few."""
        least = int(self.automaton.min_remaining(np.array([self.automaton.start]))[0])
        if least > length:
            raise UserError(f"--grammar needs {least:,} characters at least, and there is room for {length:,}")
        return AutomatonConstraint(self, length)

    def follow(self, stream: AutomatonConstraint) -> None:
        """Keeps the state of a stream right when states get other names."""
        self._streams.add(stream)

    def begins(self, opening: bool) -> list[int]:
        """How many characters each id begins."""
        return self._tables[opening].begins

    def writes(self, opening: bool) -> npt.NDArray[np.bool_]:
        """Which ids write something."""
        return self._tables[opening].writes

    def row(self, stream: AutomatonConstraint) -> _Row:
        """What may come in the state of a stream. All states may get other names by this."""
        found = self._rows.get((stream.state, stream.opening))
        if found is None:
            if self.automaton.full or len(self._rows) * len(self._tables[0].begins) > _MOST_KEPT:
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
        for ids, data in table.places:
            going = ids[after[ids] >= 0]
            after[going] = self.automaton.advance(after[going], data[after[ids] >= 0])
        min_remaining = np.full(len(after), _NEVER, dtype=np.int32)
        alive = np.flatnonzero(table.writes & (after >= 0))
        if len(alive):
            still = self.automaton.min_remaining(after[alive])
            min_remaining[alive] = np.where(still < 0, _NEVER, table.counts[alive] + still)
        goes_on = bool((min_remaining < _NEVER).any())
        if self._closing is None:
            min_remaining[~table.writes] = 0
        elif self.automaton.is_accepting(state):
            min_remaining[self._closing] = 0
        mask = min_remaining < _NEVER
        return _Row(mask, after, min_remaining, int(min_remaining[mask].max(initial=0)), goes_on)


class AutomatonConstraint:
    """See `draw.Guide`. Follows one text; `over` once it is complete and nothing may follow."""

    def __init__(self, masks: AutomatonMasks, length: int) -> None:
        self._masks = masks
        self._left = length
        self.state = masks.automaton.start
        self.opening = True  # nothing was written yet
        self.over = False
        self._row: _Row | None = None
        masks.follow(self)
        self._look()

    def mask(self) -> npt.NDArray[np.bool_]:
        return self._mask

    def push(self, token: int) -> bool:
        if not self.over:
            row = self._row or self._masks.row(self)
            self._left -= self._masks.begins(self.opening)[token]
            after = row.after.item(token)
            if after != self.state or self.opening or row.most > self._left:  # or nothing is new
                self.state, self.opening = after, False
                self._look()
        return True

    def copy(self) -> AutomatonConstraint:
        """Another one in the same place."""
        same = copy.copy(self)
        self._masks.follow(same)
        return same

    def rename(self, state: int) -> None:
        """The present state gets another name."""
        self.state, self._row = state, None

    def _look(self) -> None:
        row = self._row = self._masks.row(self)
        self._mask, goes_on = row.mask, row.goes_on
        if row.most > self._left:
            self._mask = row.min_remaining <= self._left
            goes_on = bool((self._mask & self._masks.writes(self.opening)).any())
        if not goes_on:
            self.over = True
            self._mask = np.ones_like(row.mask)  # others may still be writing; what this one goes on with is not kept


def make_masks(
    options: SampleOptions,
    codec: Codec,
    closing: Sequence[int],
    before: bytes = b"",
    writing: Sequence[int] = (),
    begun: bool = True,
) -> AutomatonMasks | None:
    """What `--ban` and `--grammar` ask for; None where they ask for nothing.

    Args:
        closing: ids that may end what matches the grammar.
        before: the text that goes on: a banned text may not end in what is written, wherever it begins.
        writing: control tokens that write something, and whether something was written before (`begun`).

    Raises:
        UserError: the grammar is none or too large, or nothing could be written.
    """
    if not options.ban and options.grammar is None:
        return None
    banned = [as_bytes(text) for text in options.ban]
    table = token_bytes(codec, writing)
    opening = None if begun or not writing else token_bytes(codec, writing, begun=False)
    if options.grammar is None:
        return AutomatonMasks(BannedStringsAutomaton(banned, before), table, None, opening)
    from seqgen.automata.matching import RegexAutomaton

    return AutomatonMasks(RegexAutomaton(options.grammar, banned, before), table, closing, opening)
