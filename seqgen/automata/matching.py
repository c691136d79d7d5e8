"""Texts that match a regular expression as a whole: a deterministic automaton over bytes, built as it is walked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from seqgen.automata.alphabet import DEAD, alphabet_of
from seqgen.automata.automaton import StateArray, check_banned
from seqgen.automata.program import END, FORK, compile_pattern
from seqgen.automata.strings import AhoCorasick
from seqgen.errors import UserError

_MOST_PAIRS = 1 << 18  # of an instruction and what is begun of banned strings
_MOST_KEPT = 1 << 22  # numbers in all cores, and in the table between them
_UNKNOWN = -2
_FAR = 1 << 30  # characters: no end can be reached


class RegexAutomaton:
    """See `Automaton`. Texts that match `pattern`, and hold none of `banned` where there are any.

    Between characters a state is a core: a set of instructions of the pattern's program that wait for the next
    character, and how much of banned strings has begun. The subset construction (Rabin & Scott, 1959) is done for those
    cores only that are met. Within a character a state is a core and a node of UTF-8's table. What can't be brought to
    an end is left out of every core, by distances that are known beforehand, so that no state is a dead end.
    """

    def __init__(self, pattern: str, banned: Sequence[bytes] = (), before: bytes = b"") -> None:
        """`before` is the text that goes on, where a banned string may have begun.

        Raises:
            UserError: the pattern is none, it or the banned strings are too large, or nothing is left that matches.
        """
        check_banned(banned)
        self._program = program = compile_pattern(pattern)
        points = [[ord(character) for character in text.decode("utf-8", "surrogateescape")] for text in banned]
        letters = self._letters = alphabet_of(program.sets, sorted({point for each in points for point in each}))
        self._nodes = len(letters.table)
        # What ends with a character that the pattern never writes can't come. Within a string such characters can have
        # come before, so they are symbols of their own, behind those that are written.
        points = [each for each in points if each and letters.code[each[-1]] >= 0]
        unwritten = sorted({point for each in points for point in each if letters.code[point] < 0})
        symbol_of = {point: letters.size + number for number, point in enumerate(unwritten)}
        symbols = [[symbol_of.get(point, int(letters.code[point])) for point in each] for each in points]
        if sum(map(len, symbols)) * (letters.size + len(unwritten)) > _MOST_KEPT:
            raise UserError("--grammar and --ban are too large together")
        strings = AhoCorasick(symbols, letters.size + len(unwritten))
        self._after = np.where(strings.accepting[strings.transitions], -1, strings.transitions)
        self._apart = sum({1 << symbol for each in symbols for symbol in each if symbol < letters.size})  # as bits
        self._members = [letters.members[number] if number >= 0 else 0 for number in program.set_indices]
        state = 0
        for character in before[-_MOST_PAIRS:].decode("utf-8", "surrogateescape"):
            symbol = symbol_of.get(ord(character), int(letters.code[ord(character)]))
            state = int(strings.transitions[state, symbol]) if symbol >= 0 else 0
        self._ways: dict[tuple[int, int], list[int]] = {}
        self._distances = self._measure(state)
        if self._distances.get((program.start, state), _FAR) == _FAR:
            banned_too = " without --ban's texts" if banned else ""
            raise UserError(f"--grammar {pattern[:40]!r}: nothing matches it{banned_too}")
        self._begin()
        self.start = self._core(state, [program.start]) * self._nodes

    # ---- how far it is to an end ----

    def _measure(self, state: int) -> dict[tuple[int, int], int]:
        """Characters to the end from each pair of an instruction and a state of the banned strings that can be come
        to, where there is a way."""
        waits, goes = self._program.set_indices, self._program.successors
        back: dict[tuple[int, int], list[tuple[int, int]]] = {(self._program.start, state): []}
        waiting = list(back)
        for place, begun in waiting:
            states = [begun] if waits[place] == FORK else self._begun_after(self._members[place], begun)
            for then in goes[place]:
                for next_begun in states:
                    if (then, next_begun) not in back:
                        back[then, next_begun] = []
                        waiting.append((then, next_begun))
                    back[then, next_begun].append((place, begun))
            if len(waiting) > _MOST_PAIRS:
                raise UserError("--grammar and --ban are too large together")
        distances = {pair: 0 for pair in waiting if waits[pair[0]] == END}
        nearest = deque(distances)
        while nearest:  # a fork costs nothing, a character 1
            pair = nearest.popleft()
            for before in back[pair]:
                cost = distances[pair] + (waits[before[0]] != FORK)
                if cost < distances.get(before, _FAR):
                    distances[before] = cost
                    if waits[before[0]] == FORK:
                        nearest.appendleft(before)
                    else:
                        nearest.append(before)
        return distances

    def _begun_after(self, members: int, begun: int) -> list[int]:
        """The states of the banned strings after a character of one of these classes."""
        if not self._apart:
            return [0] if members else []
        key = members, begun
        if key not in self._ways:
            found = {0} if members & ~self._apart else set()
            found |= {int(self._after[begun, symbol]) for symbol in _bits(members & self._apart)}
            self._ways[key] = sorted(found - {-1})
        return self._ways[key]

    # ---- cores ----

    def _begin(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._cores: list[bytes] = []  # int32: the state of the banned strings, then the instructions
        self._needs: list[int] = []
        self._ends: list[bool] = []
        self._kept = 0
        self._table = np.full((16, self._letters.size), _UNKNOWN, dtype=np.int64)

    def _core(self, begun: int, places: Iterable[int]) -> int:
        """The number of the core of these instructions, forks followed; −1 where none can be brought to an end."""
        waits, goes, distances = self._program.set_indices, self._program.successors, self._distances
        waiting, seen, found = list(places), set(), []
        while waiting:
            place = waiting.pop()
            if place in seen or (place, begun) not in distances:
                continue
            seen.add(place)
            if waits[place] == FORK:
                waiting += goes[place]
            else:
                found.append(place)
        return self._number(np.array([begun, *sorted(found)], dtype=np.int32).tobytes()) if found else -1

    def _number(self, core: bytes) -> int:
        if core not in self._numbers:
            number = self._numbers[core] = len(self._cores)
            begun, *places = np.frombuffer(core, dtype=np.int32).tolist()
            self._cores.append(core)
            self._needs.append(min(self._distances[place, begun] for place in places))
            self._ends.append(any(self._program.set_indices[place] == END for place in places))
            self._kept += len(core) // 4 + self._letters.size
            if number == len(self._table):
                more = np.full_like(self._table, _UNKNOWN)
                self._table = np.concatenate([self._table, more])
        return self._numbers[core]

    def _step(self, core: int, symbol: int) -> int:
        """The core after a character of a class; −1 where there is none."""
        begun, *places = np.frombuffer(self._cores[core], dtype=np.int32).tolist()
        next_begun = int(self._after[begun, symbol])
        if next_begun < 0:
            return -1
        goes = self._program.successors
        return self._core(next_begun, [goes[place][0] for place in places if self._members[place] >> symbol & 1])

    # ---- see `Automaton` ----

    def advance(self, states: StateArray, data: npt.NDArray[np.uint8]) -> StateArray:
        cores, nodes = np.divmod(states, self._nodes)
        entries = self._letters.table[nodes, data].astype(np.int64)
        result = np.where(entries >= 0, cores * self._nodes + entries, -1)
        whole = np.flatnonzero(entries < DEAD)  # a character ends
        from_cores, symbols = cores[whole], -2 - entries[whole]
        found = self._table[from_cores, symbols]
        new = found == _UNKNOWN
        if new.any():
            pairs = np.unique(from_cores[new] * self._letters.size + symbols[new])
            for pair in pairs.tolist():
                core, symbol = divmod(pair, self._letters.size)
                number = self._step(core, symbol)  # which may make the table longer
                self._table[core, symbol] = number
            found = self._table[from_cores, symbols]
        result[whole] = np.where(found >= 0, found * self._nodes, -1)
        return result

    def min_remaining(self, states: StateArray) -> npt.NDArray[np.int64]:
        different, where = np.unique(states, return_inverse=True)
        found = [self._need(*divmod(state, self._nodes)) for state in different.tolist()]
        return np.array(found, dtype=np.int64)[where]

    def _need(self, core: int, node: int) -> int:
        if not node:
            return self._needs[core]
        reach, nearest = self._letters.reach[node], _FAR
        begun, *places = np.frombuffer(self._cores[core], dtype=np.int32).tolist()
        for place in places:
            for next_begun in self._begun_after(self._members[place] & reach, begun):
                then = self._program.successors[place][0]
                nearest = min(nearest, self._distances.get((then, next_begun), _FAR))
        return -1 if nearest == _FAR else nearest

    def is_accepting(self, state: int) -> bool:
        core, node = divmod(state, self._nodes)
        return not node and self._ends[core]

    @property
    def full(self) -> bool:
        return self._kept > _MOST_KEPT

    def retain(self, states: Sequence[int]) -> list[int]:
        kept = [(self._cores[state // self._nodes], state % self._nodes) for state in states]
        begin = self._cores[self.start // self._nodes]
        self._begin()
        self.start = self._number(begin) * self._nodes
        return [self._number(core) * self._nodes + node for core, node in kept]


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
