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
from seqgen.generation.prompts import Prompt, carried_bytes
from seqgen.generation.sampling.draw import Guide
from seqgen.generation.sampling.filters import FilterChain
from seqgen.generation.sampling.token_names import (
    TokenBytes,
    bytes_by_position,
    count_characters,
    join_token_bytes,
    resolve_names,
    token_bytes,
    visible_token_bytes,
)
from seqgen.generation.sampling.transitions import KernelConstraint, Transitions, TransitionTable
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes

_MAX_CACHED = 1 << 22  # ids of all states, of 17 bytes each
_NEVER = (1 << 31) - 1  # characters: more than any token needs
_UNLIMITED = 1 << 60  # characters


class TextConstraint(Guide, Protocol):
    """A guide for one text that can be copied, so that two texts may diverge from it."""

    @property
    def over(self) -> bool:
        """Whether the text is complete and nothing may follow."""
        ...

    def copy(self) -> TextConstraint: ...


class _Table:
    """The bytes of all ids, as arrays."""

    def __init__(self, table: TokenBytes) -> None:
        self.writes = np.array([bool(data) for data in table])
        self.positions = bytes_by_position(table)
        self.characters = np.array([count_characters(data or b"") for data in table], dtype=np.int32)


class AutomatonMasks:
    """The ids that an automaton allows in each state, computed when a state is first met and shared by all streams."""

    def __init__(
        self,
        automaton: Automaton,
        table: TokenBytes,
        closing: Sequence[int] | None,
        opening: TokenBytes | None = None,
        carried: bytes = b"",
    ) -> None:
        """
        Args:
            table: the bytes of each id.
            closing: ids without bytes that end a text and may come where it is complete; other ids without bytes never
                may. None: all of them may come at any time.
            opening: the bytes of each id at the beginning of a text, if they differ.
            carried: what every text begins with, before its first id.
        """
        self.automaton, self._carried = automaton, carried
        self._closing = None if closing is None else list(closing)
        self._tables = _Table(table), _Table(table if opening is None else opening)
        self.table = TransitionTable()
        self._streams: weakref.WeakSet[AutomatonConstraint] = weakref.WeakSet()

    def stream(self, length: int) -> AutomatonConstraint:
        """Start a text of at most `length` characters.

        Raises:
            UserError: that is too short, or the text begins with something that isn't allowed.
        """
        self.make_room()
        state, begun = self._begin()
        least = begun + int(self.automaton.min_remaining(np.array([state]))[0])
        if least > length:
            raise UserError(
                f"cannot match --grammar: it needs at least {least:,} characters, and the limit is {length:,}"
            )
        return AutomatonConstraint(self, state, length - begun)

    def _begin(self) -> tuple[int, int]:
        """The state in which texts begin, and the characters that they have then."""
        states = np.array([self.automaton.start])
        for byte in self._carried:
            states = self.automaton.advance(states, np.array([byte], dtype=np.uint8))
            if states[0] < 0:
                shown = self._carried[:40].decode("utf-8", "surrogateescape")
                raise UserError(
                    f"cannot continue the state: the text begins with what its last token left over, {shown!r}, and "
                    "--grammar or --ban excludes that"
                )
        return int(states[0]), count_characters(self._carried)

    def follow(self, stream: AutomatonConstraint) -> None:
        """Register a stream, whose state is renumbered when the automaton's states are."""
        self._streams.add(stream)

    def make_room(self) -> None:
        """Forget all states but those of the streams, if there are many. It may renumber them."""
        if self.automaton.full or len(self.table) * len(self._tables[0].writes) > _MAX_CACHED:
            streams = list(self._streams)
            self.table.clear()
            for stream, state in zip(streams, self.automaton.retain([each.state for each in streams]), strict=True):
                stream.rename(state)

    def number(self, state: int, opening: bool) -> int:
        """The number of a state's transitions in the table."""
        found = self.table.number(state, opening)
        return self.table.add(self._transitions(state, opening)) if found is None else found

    def _transitions(self, state: int, opening: bool) -> Transitions:
        table = self._tables[opening]
        after = np.full(len(table.writes), state, dtype=np.int64)
        for ids, data in table.positions:
            alive = after[ids] >= 0
            after[ids[alive]] = self.automaton.advance(after[ids[alive]], data[alive])
        min_remaining = np.full(len(after), _NEVER, dtype=np.int32)
        alive_ids = np.flatnonzero(table.writes & (after >= 0))
        if len(alive_ids):
            rest = self.automaton.min_remaining(after[alive_ids])
            min_remaining[alive_ids] = np.where(rest < 0, _NEVER, table.characters[alive_ids] + rest)
        continues = bool((min_remaining < _NEVER).any())
        if self._closing is None:
            min_remaining[~table.writes] = 0
        elif self.automaton.is_accepting(state):
            min_remaining[self._closing] = 0
        mask = min_remaining < _NEVER
        return Transitions(
            state, opening, mask, table.writes, table.characters, min_remaining, after,
            np.full(len(after), -1, dtype=np.int32), int(min_remaining[mask].max(initial=0)), continues,
        )  # fmt: skip


class AutomatonConstraint:
    """A `TextConstraint` that follows one text through an automaton, which the kernels can do as well."""

    def __init__(self, masks: AutomatonMasks, state: int, length: int) -> None:
        self.masks = masks
        self._left = length
        self.state = state
        self._opening = True  # no id was drawn yet
        self.over = False
        self.kernel = KernelConstraint()
        self._transitions: Transitions | None = None
        masks.follow(self)
        self._update()

    def mask(self) -> npt.NDArray[np.bool_]:
        return self._mask

    def push(self, token: int) -> bool:
        if not self.over:
            one = self._transitions or self._present()
            self._left -= one.characters.item(token)
            after = one.after.item(token)
            if after != self.state or self._opening or one.most > self._left:
                self.state, self._opening = after, False
                self.masks.make_room()
                self._update()
        return True

    def copy(self) -> AutomatonConstraint:
        """A constraint in the same state."""
        same = copy.copy(self)
        same.kernel = KernelConstraint()
        self.masks.follow(same)
        return same

    def rename(self, state: int) -> None:
        """Take the new number of the present state."""
        self.state, self._transitions = state, None

    @staticmethod
    def begin_call(constraints: Sequence[AutomatonConstraint]) -> None:
        """Set `kernel` of each to its state. From then on, until `end_call` of all, no state may be renumbered."""
        for each in constraints:
            each.masks.make_room()
        numbers = [each.masks.number(each.state, each._opening) for each in constraints]
        for each, number in zip(constraints, numbers, strict=True):  # once no table grows any more, and moves
            each.masks.table.fill(each.kernel, number, each._left)

    def end_call(self, tokens: Sequence[int]) -> int:
        """Take the ids that the kernels have taken, the first of `tokens`, and return their number."""
        kernel = self.kernel
        self._left, taken, last = kernel.left, kernel.taken, self.masks.table[kernel.row]
        self.state, self._opening = last.state, last.opening
        if kernel.waits:
            token = tokens[taken - 1]
            self.state, self._opening = last.after.item(token), False
            if last.next.item(token) < 0:  # no other text has come here
                last.next[last.after == self.state] = self.masks.number(self.state, False)
        self._update()
        return int(taken)

    def _present(self) -> Transitions:
        return self.masks.table[self.masks.number(self.state, self._opening)]

    def _update(self) -> None:
        self._transitions = self._present()
        self._mask, continues = self._transitions.allowed(self._left)
        if not continues:
            self.over = True
            self._mask = np.ones_like(self._mask)  # other streams may still run; what this one draws is dropped


def make_masks(
    options: SampleOptions,
    codec: Codec,
    closing: Sequence[int],
    before: bytes = b"",
    writing: Sequence[int] = (),
    begun: bool = True,
    carried: bytes = b"",
) -> AutomatonMasks | None:
    """The masks of `--ban` and `--grammar`; None without either.

    Args:
        closing: ids that may end a match of the grammar.
        before: the text that is continued: a banned text may not end in the generated part, wherever it begins.
        writing: control tokens that write something.
        begun: whether something was written before.
        carried: what every text begins with, after `before`.

    Raises:
        UserError: the grammar is invalid or too large, or leaves nothing to generate.
    """
    if not options.ban and options.grammar is None:
        return None
    banned = [as_bytes(text) for text in options.ban]
    table = token_bytes(codec, writing)
    opening = None if begun or not writing else token_bytes(codec, writing, begun=False)
    if options.grammar is None:
        return AutomatonMasks(BannedStringsAutomaton(banned, before), table, None, opening, carried)
    from seqgen.automata.dfa import RegexAutomaton

    return AutomatonMasks(RegexAutomaton(options.grammar, banned, before), table, closing, opening, carried)


class CombinedConstraint:
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

    def copy(self) -> CombinedConstraint:
        return CombinedConstraint(self._first.copy(), self._second.copy())


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
        before, carried = as_bytes(prompt.text), carried_bytes(prompt, codec)
        if prompt.is_continuation:
            before = join_token_bytes(np.array(prompt.primed.history, dtype=np.int64), visible_token_bytes(codec))
            before = before.removesuffix(carried)
        begun = bool(prompt.primed.history)
        masks = make_masks(options, codec, ends, before, prompt.allowed, begun, carried)
        return cls(FilterChain(options, forbidden, resolve_names(options, codec)), masks, guard)

    @property
    def kernels_can_follow(self) -> bool:
        """Whether the kernels know the constraints of a text, if there are any."""
        return self.guard is None

    def stream(self, length: int) -> TextConstraint | None:
        """The constraint at the start of a text of at most `length` characters; None without any.

        A text that needn't match a grammar may be cut anywhere: it is drawn as if it could be longer.
        """
        matching = self.filters.options.grammar is not None
        masks = None if self.masks is None else self.masks.stream(length if matching else _UNLIMITED)
        guard = None if self.guard is None else self.guard.copy()
        return CombinedConstraint(masks, guard) if masks is not None and guard is not None else masks or guard
