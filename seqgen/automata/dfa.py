"""Deterministic automaton over bytes for texts that match a regular expression, built lazily."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from seqgen.automata.alphabet import DEAD, alphabet_of
from seqgen.automata.automaton import AhoCorasick, StateArray, check_banned
from seqgen.automata.regex import END, FORK, compile_pattern
from seqgen.errors import UserError

_MAX_PAIRS = 1 << 18  # of an instruction and an Aho–Corasick state
_MAX_STEPS = 1 << 22  # from pair to pair, and characters looked at: a class may lead to thousands of states
_MAX_CACHED = 1 << 22  # integers in all subsets and in the transition table between them
_UNKNOWN = -2  # transition not computed yet
_UNREACHABLE = 1 << 30  # distance, in characters, from which no end can be reached


class RegexAutomaton:
    """Texts that match `pattern` and contain none of the `banned` strings. See `Automaton`.

    Between characters a state is a subset: the instructions of the pattern's program that wait for the next character,
    and the Aho–Corasick state of the banned strings. The subset construction (Rabin & Scott, 1959) is done lazily, for
    the subsets that occur. Within a character a state is a subset and a node of the UTF-8 table. Instructions from
    which no end can be reached are left out of every subset, by precomputed distances, so no state is a dead end.
    """

    def __init__(self, pattern: str, banned: Sequence[bytes] = (), before: bytes = b"") -> None:
        """Compile the pattern.

        Args:
            pattern: regular expression that the whole text must match.
            banned: strings that must not occur.
            before: text that is continued, in which a banned string may have started.

        Raises:
            UserError: the pattern is invalid, it or the banned strings are too large, or nothing matches.
        """
        check_banned(banned)
        self._program = program = compile_pattern(pattern)
        points = [[ord(character) for character in text.decode("utf-8", "surrogateescape")] for text in banned]
        alphabet = self._alphabet = alphabet_of(program.sets, sorted({point for each in points for point in each}))
        self._nodes = len(alphabet.table)
        # A string whose last character the pattern can't produce never occurs. Its other characters may stand in
        # `before`, so those that the pattern can't produce get symbols of their own, after the alphabet's classes.
        points = [each for each in points if each and alphabet.class_of[each[-1]] >= 0]
        foreign = sorted({point for each in points for point in each if alphabet.class_of[point] < 0})
        symbol_of = {point: alphabet.size + number for number, point in enumerate(foreign)}
        symbols = [[symbol_of.get(point, int(alphabet.class_of[point])) for point in each] for each in points]
        if sum(map(len, symbols)) * (alphabet.size + len(foreign)) > _MAX_CACHED:
            raise UserError("--grammar and --ban are too large together")
        strings = AhoCorasick(symbols, alphabet.size + len(foreign))
        self._banned_next = np.where(strings.accepting[strings.transitions], -1, strings.transitions)
        self._banned_symbols = sum({1 << symbol for each in symbols for symbol in each if symbol < alphabet.size})
        self._members = [alphabet.members[number] if number >= 0 else 0 for number in program.set_indices]
        banned_state = 0
        for character in before[-_MAX_PAIRS:].decode("utf-8", "surrogateescape"):
            symbol = symbol_of.get(ord(character), int(alphabet.class_of[ord(character)]))
            banned_state = int(strings.transitions[banned_state, symbol]) if symbol >= 0 else 0
        self._banned_successors: dict[tuple[int, int], list[int]] = {}
        self._distances = self._measure_distances(banned_state)
        if self._distances.get((program.start, banned_state), _UNREACHABLE) == _UNREACHABLE:
            condition = " without the --ban strings" if banned else ""
            raise UserError(f"--grammar {pattern[:40]!r}: nothing matches it{condition}")
        self._clear()
        self.start = self._subset(banned_state, [program.start]) * self._nodes

    # ---- distances to the end ----

    def _measure_distances(self, banned_state: int) -> dict[tuple[int, int], int]:
        """Return the number of characters to the end from each reachable (instruction, banned state) that has one."""
        set_indices, successors = self._program.set_indices, self._program.successors
        pairs = [(self._program.start, banned_state)]
        numbers = {pairs[0]: 0}
        predecessors: list[list[int]] = [[]]  # of each pair, as numbers of pairs
        steps = 0
        for number, (instruction, state) in enumerate(pairs):
            next_states, members = [state], self._members[instruction]
            if set_indices[instruction] != FORK:
                if (members, state) not in self._banned_successors:
                    steps += (members & self._banned_symbols).bit_count()
                next_states = self._banned_states_after(members, state)
            steps += len(successors[instruction]) * len(next_states)
            if steps > _MAX_STEPS:
                raise UserError("--grammar and --ban are too large together")
            for successor in successors[instruction]:
                for next_state in next_states:
                    pair = successor, next_state
                    if pair not in numbers:
                        numbers[pair] = len(pairs)
                        pairs.append(pair)
                        predecessors.append([])
                    predecessors[numbers[pair]].append(number)
            if len(pairs) > _MAX_PAIRS:
                raise UserError("--grammar and --ban are too large together")
        distances = [0 if set_indices[instruction] == END else _UNREACHABLE for instruction, _ in pairs]
        nearest = deque(number for number, distance in enumerate(distances) if not distance)
        while nearest:  # breadth first: a fork costs 0, a character 1
            number = nearest.popleft()
            for before in predecessors[number]:
                is_fork = set_indices[pairs[before][0]] == FORK
                cost = distances[number] + (not is_fork)
                if cost < distances[before]:
                    distances[before] = cost
                    if is_fork:
                        nearest.appendleft(before)
                    else:
                        nearest.append(before)
        return {pair: distances[number] for pair, number in numbers.items() if distances[number] < _UNREACHABLE}

    def _banned_states_after(self, members: int, banned_state: int) -> list[int]:
        """Return the Aho–Corasick states after one character of these classes (a bit set)."""
        if not self._banned_symbols:
            return [0] if members else []
        key = members, banned_state
        if key not in self._banned_successors:
            found = {0} if members & ~self._banned_symbols else set()
            symbols = _set_bits(members & self._banned_symbols)
            found |= {int(self._banned_next[banned_state, symbol]) for symbol in symbols}
            self._banned_successors[key] = sorted(found - {-1})
        return self._banned_successors[key]

    # ---- subsets ----

    def _clear(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._subsets: list[bytes] = []  # int32: Aho–Corasick state, then the instructions
        self._min_remaining: list[int] = []
        self._accepting: list[bool] = []
        self._cached = 0
        self._table = np.full((16, self._alphabet.size), _UNKNOWN, dtype=np.int64)

    def _subset(self, banned_state: int, instructions: Iterable[int]) -> int:
        """Return the number of the subset of these instructions after their forks; −1 if none can reach an end."""
        set_indices, successors, distances = self._program.set_indices, self._program.successors, self._distances
        stack, seen, found = list(instructions), set(), []
        while stack:
            instruction = stack.pop()
            if instruction in seen or (instruction, banned_state) not in distances:
                continue
            seen.add(instruction)
            if set_indices[instruction] == FORK:
                stack += successors[instruction]
            else:
                found.append(instruction)
        return self._number(np.array([banned_state, *sorted(found)], dtype=np.int32).tobytes()) if found else -1

    def _number(self, subset: bytes) -> int:
        if subset not in self._numbers:
            number = self._numbers[subset] = len(self._subsets)
            banned_state, *instructions = np.frombuffer(subset, dtype=np.int32).tolist()
            self._subsets.append(subset)
            self._min_remaining.append(min(self._distances[each, banned_state] for each in instructions))
            self._accepting.append(any(self._program.set_indices[each] == END for each in instructions))
            self._cached += len(subset) // 4 + self._alphabet.size
            if number == len(self._table):
                more = np.full_like(self._table, _UNKNOWN)
                self._table = np.concatenate([self._table, more])
        return self._numbers[subset]

    def _next_subset(self, subset: int, symbol: int) -> int:
        """Return the subset after a character of a class; −1 if there is none."""
        banned_state, *instructions = np.frombuffer(self._subsets[subset], dtype=np.int32).tolist()
        next_state = int(self._banned_next[banned_state, symbol])
        if next_state < 0:
            return -1
        successors = self._program.successors
        return self._subset(next_state, [successors[i][0] for i in instructions if self._members[i] >> symbol & 1])

    # ---- the protocol ----

    def advance(self, states: StateArray, data: npt.NDArray[np.uint8]) -> StateArray:
        subsets, nodes = np.divmod(states, self._nodes)
        entries = self._alphabet.table[nodes, data].astype(np.int64)
        result = np.where(entries >= 0, subsets * self._nodes + entries, -1)
        complete = np.flatnonzero(entries < DEAD)  # the byte ends a character
        from_subsets, symbols = subsets[complete], -2 - entries[complete]
        found = self._table[from_subsets, symbols]
        new = found == _UNKNOWN
        if new.any():
            pairs = np.unique(from_subsets[new] * self._alphabet.size + symbols[new])
            for pair in pairs.tolist():
                subset, symbol = divmod(pair, self._alphabet.size)
                number = self._next_subset(subset, symbol)  # may replace the table by a longer one
                self._table[subset, symbol] = number
            found = self._table[from_subsets, symbols]
        result[complete] = np.where(found >= 0, found * self._nodes, -1)
        return result

    def min_remaining(self, states: StateArray) -> npt.NDArray[np.int64]:
        distinct, inverse = np.unique(states, return_inverse=True)
        found = [self._min_remaining_at(*divmod(state, self._nodes)) for state in distinct.tolist()]
        return np.array(found, dtype=np.int64)[inverse]

    def _min_remaining_at(self, subset: int, node: int) -> int:
        if not node:
            return self._min_remaining[subset]
        reach, nearest = self._alphabet.reach[node], _UNREACHABLE
        banned_state, *instructions = np.frombuffer(self._subsets[subset], dtype=np.int32).tolist()
        for instruction in instructions:
            for next_state in self._banned_states_after(self._members[instruction] & reach, banned_state):
                successor = self._program.successors[instruction][0]
                nearest = min(nearest, self._distances.get((successor, next_state), _UNREACHABLE))
        return -1 if nearest == _UNREACHABLE else nearest

    def is_accepting(self, state: int) -> bool:
        subset, node = divmod(state, self._nodes)
        return not node and self._accepting[subset]

    @property
    def full(self) -> bool:
        return self._cached > _MAX_CACHED

    def retain(self, states: Sequence[int]) -> list[int]:
        kept = [(self._subsets[state // self._nodes], state % self._nodes) for state in states]
        begin = self._subsets[self.start // self._nodes]
        self._clear()
        self.start = self._number(begin) * self._nodes
        return [self._number(subset) * self._nodes + node for subset, node in kept]


def _set_bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
