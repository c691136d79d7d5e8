"""Protocol of the automata that constrain text, the Aho–Corasick automaton, and the one that bans strings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqgen.errors import UserError

StateArray = npt.NDArray[np.int64]

_MAX_BANNED_BYTES = 1 << 14  # each takes a row of the transition table


class Automaton(Protocol):
    """Deterministic automaton over bytes. From every reachable state the text can be completed.

    A state is an integer, valid until `retain` is called, which should happen when `full` is true.
    """

    start: int

    def advance(self, states: StateArray, data: npt.NDArray[np.uint8]) -> StateArray:
        """Return the state of each after one more byte; −1 if that byte is illegal."""
        ...

    def min_remaining(self, states: StateArray) -> npt.NDArray[np.int64]:
        """Return the least number of characters still needed after the current one; −1 if there is no completion."""
        ...

    def is_accepting(self, state: int) -> bool:
        """Whether the text may end here."""
        ...

    @property
    def full(self) -> bool:
        """Whether so many states are cached that the caller should call `retain`."""
        ...

    def retain(self, states: Sequence[int]) -> list[int]:
        """Drop all states but these, and return their new numbers."""
        ...


class AhoCorasick:
    """Automaton that finds many strings at once (Aho & Corasick, 1975), over integer symbols.

    Attributes:
        transitions: int32, shape (states, symbols): the state after a symbol; state 0 is the empty prefix.
        accepting: shape (states,): whether one of the strings ends there.
    """

    def __init__(self, strings: Iterable[Sequence[int]], symbols: int) -> None:
        children: list[dict[int, int]] = [{}]
        ends = [False]
        for string in strings:
            state = 0
            for symbol in string:
                if symbol not in children[state]:
                    children[state][symbol] = len(children)
                    children.append({})
                    ends.append(False)
                state = children[state][symbol]
            ends[state] = True
        self.transitions = np.zeros((len(children), symbols), dtype=np.int32)
        self.accepting = np.array(ends)
        queue = [0]  # breadth first, so that a state's failure link is complete before the state
        failure = [0] * len(children)
        for state in queue:
            if state:
                self.transitions[state] = self.transitions[failure[state]]
                self.accepting[state] |= self.accepting[failure[state]]
            for symbol, child in children[state].items():
                failure[child] = int(self.transitions[state, symbol]) if state else 0
                self.transitions[state, symbol] = child
                queue.append(child)

    def run(self, symbols: Iterable[int], state: int = 0) -> int:
        """Return the state after some symbols."""
        for symbol in symbols:
            state = int(self.transitions[state, symbol])
        return state


class BannedStringsAutomaton:
    """Texts without any of the banned strings, of unlimited length. See `Automaton`."""

    full = False

    def __init__(self, banned: Sequence[bytes], before: bytes = b"") -> None:
        """Build the automaton.

        Args:
            banned: strings that must not occur.
            before: text that is continued; a banned string that starts in it must not be completed either.

        Raises:
            UserError: the strings are too long in total, or no byte is legal.
        """
        check_banned(banned)
        strings = AhoCorasick(banned, 256)
        self._next = np.where(strings.accepting[strings.transitions], -1, strings.transitions).astype(np.int32)
        dead: set[int] = set()
        while True:  # removes dead ends; each needs 256 banned strings, so there are few rounds
            found = set(np.flatnonzero((self._next < 0).all(axis=1)).tolist())
            if found == dead:
                break
            dead = found
            self._next[np.isin(self._next, sorted(dead))] = -1
        self.start = strings.run(before)
        if self.start in dead:
            raise UserError("--ban leaves nothing to generate here; ban fewer strings")

    def advance(self, states: StateArray, data: npt.NDArray[np.uint8]) -> StateArray:
        return self._next[states, data].astype(np.int64)

    def min_remaining(self, states: StateArray) -> npt.NDArray[np.int64]:
        return np.zeros(len(states), dtype=np.int64)

    def is_accepting(self, state: int) -> bool:
        return True

    def retain(self, states: Sequence[int]) -> list[int]:
        return list(states)


def check_banned(banned: Sequence[bytes]) -> None:
    """Raise `UserError` if the banned strings are too long in total."""
    if sum(map(len, banned)) > _MAX_BANNED_BYTES:
        raise UserError(f"--ban takes at most {_MAX_BANNED_BYTES:,} bytes in total, not {sum(map(len, banned)):,}")
