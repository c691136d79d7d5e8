"""Many strings at once: the automaton of Aho & Corasick (1975), whole, over any symbols."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


class AhoCorasick:
    """Reads symbols and knows whether one of some strings has just ended.

    Attributes:
        next: shape (states, symbols), int32: the state after a symbol; 0 is where nothing has begun.
        hit: shape (states,): whether one of the strings ends there.
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
        waiting = [0]  # breadth first: what a state falls back to is done before it
        back = [0] * len(children)
        for state in waiting:
            if state:
                self.transitions[state] = self.transitions[back[state]]
                self.accepting[state] |= self.accepting[back[state]]
            for symbol, child in children[state].items():
                back[child] = int(self.transitions[state, symbol]) if state else 0
                self.transitions[state, symbol] = child
                waiting.append(child)

    def run(self, symbols: Iterable[int], state: int = 0) -> int:
        """The state after some symbols."""
        for symbol in symbols:
            state = int(self.transitions[state, symbol])
        return state
