"""What an automaton is to those who let it say what may come next; and the simplest one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqgen.automata.strings import AhoCorasick
from seqgen.errors import UserError

StateArray = npt.NDArray[np.int64]

_MOST_BANNED = 1 << 14  # bytes of all strings: a row of the table each


class Automaton(Protocol):
    """Reads bytes. From every state that it comes to, the text can be brought to an end.

    A state is a number. It holds until `retain`, which an automaton that has grown asks for by `full`.
    """

    start: int

    def advance(self, states: StateArray, data: npt.NDArray[np.uint8]) -> StateArray:
        """The state after one byte more, of each; −1 where it may not come, or leads nowhere."""
        ...

    def min_remaining(self, states: StateArray) -> npt.NDArray[np.int64]:
        """How many characters, beyond one that is begun, must still come at least; −1 where there is no way."""
        ...

    def is_accepting(self, state: int) -> bool:
        """Whether the text may be over here."""
        ...

    @property
    def full(self) -> bool:
        """Whether it has grown so large that it should forget."""
        ...

    def retain(self, states: Sequence[int]) -> list[int]:
        """Forgets all states but these, and returns what they are called now."""
        ...


class BannedStringsAutomaton:
    """See `Automaton`. Texts that hold none of some strings, and can go on for ever."""

    full = False

    def __init__(self, banned: Sequence[bytes], before: bytes = b"") -> None:
        """`before` is the text that goes on: a banned string may not end in what comes now, wherever it begins.

        Raises:
            UserError: they are too many, or nothing could come.
        """
        check_banned(banned)
        strings = AhoCorasick(banned, 256)
        self._next = np.where(strings.accepting[strings.transitions], -1, strings.transitions).astype(np.int32)
        dead: set[int] = set()
        while True:  # a state goes with the last that it leads to; 256 strings end for each, so that rounds are few
            found = set(np.flatnonzero((self._next < 0).all(axis=1)).tolist())
            if found == dead:
                break
            dead = found
            self._next[np.isin(self._next, sorted(dead))] = -1
        self.start = strings.run(before)
        if self.start in dead:
            raise UserError("--ban leaves nothing that could be written here")

    def advance(self, states: StateArray, data: npt.NDArray[np.uint8]) -> StateArray:
        return self._next[states, data].astype(np.int64)

    def min_remaining(self, states: StateArray) -> npt.NDArray[np.int64]:
        return np.zeros(len(states), dtype=np.int64)

    def is_accepting(self, state: int) -> bool:
        return True

    def retain(self, states: Sequence[int]) -> list[int]:
        return list(states)


def check_banned(banned: Sequence[bytes]) -> None:
    """Raises `UserError` where there is more to ban than there is room for."""
    if sum(map(len, banned)) > _MOST_BANNED:
        raise UserError(f"--ban takes {_MOST_BANNED:,} bytes of text in all, not {sum(map(len, banned)):,}")
