"""A regular expression as a program: one instruction a character, a fork or the end (Thompson, 1968)."""

from __future__ import annotations

from dataclasses import dataclass, field

from seqgen.automata.syntax import Alternation, CharacterSet, CodePointRanges, Concatenation, RegexNode, Repeat, parse
from seqgen.errors import UserError

MAX_INSTRUCTIONS = 20_000  # instructions; each may be waited at, so that a step of the automaton may cost as much


@dataclass
class RegexProgram:
    """A nondeterministic automaton over characters.

    Attributes:
        sets: the sets of characters that instructions wait for, each once.
        waits_for: of each instruction the number of its set; −1 of a fork, −2 of the end.
        goes_to: where it goes on: one place behind a character, two from a fork, none from the end.
    """

    start: int = 0
    sets: list[CodePointRanges] = field(default_factory=list)
    set_indices: list[int] = field(default_factory=list)
    successors: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, set_indices: int, *successors: int) -> int:
        """Adds an instruction and returns its place."""
        self.set_indices.append(set_indices)
        self.successors.append(successors)
        return len(self.set_indices) - 1


FORK, END = -1, -2


def compile_pattern(pattern: str) -> RegexProgram:
    """The program of a pattern. Raises `UserError` for one that is none, or whose program would be too long."""
    tree = parse(pattern)
    if _size(tree) > MAX_INSTRUCTIONS:
        shown = pattern if len(pattern) <= 40 else pattern[:40] + "…"
        raise UserError(
            f"--grammar {shown!r} is too large: spelt out, it would hold more than {MAX_INSTRUCTIONS:,} characters"
        )
    program = RegexProgram()
    numbers: dict[CodePointRanges, int] = {}

    def put(tree: RegexNode, then: int) -> int:
        """Adds what `tree` stands for, and `then` behind it; returns where it begins."""
        if isinstance(tree, CharacterSet):
            number = numbers.setdefault(tree.ranges, len(numbers))
            return program.add(number, then)
        if isinstance(tree, Concatenation):
            for part in reversed(tree.parts):
                then = put(part, then)
            return then
        if isinstance(tree, Alternation):
            begin = put(tree.parts[-1], then)
            for part in reversed(tree.parts[:-1]):
                begin = program.add(FORK, put(part, then), begin)
            return begin
        begin = then
        if tree.most is None:
            begin = program.add(FORK)
            program.successors[begin] = (put(tree.part, begin), then)
        else:
            for _ in range(tree.most - tree.least):
                begin = program.add(FORK, put(tree.part, begin), then)
        for _ in range(tree.least):
            begin = put(tree.part, begin)
        return begin

    program.start = put(tree, program.add(END))
    program.sets = list(numbers)
    return program


def _size(tree: RegexNode) -> int:
    """How many instructions a tree makes; what is empty counts as one, so that nothing can be copied without end."""
    if isinstance(tree, CharacterSet):
        return 1
    if isinstance(tree, Repeat):
        one = _size(tree.part)
        optional = 1 if tree.most is None else tree.most - tree.least
        return max(1, tree.least * one + optional * (one + 1))
    return max(1, sum(map(_size, tree.parts)) + (len(tree.parts) - 1) * isinstance(tree, Alternation))
