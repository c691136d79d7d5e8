"""Regular expressions in Python's syntax, parsed to trees and compiled to nondeterministic automata (Thompson, 1968).

Only what a finite automaton can match: no back-references and no lookaround. Lazy quantifiers match the same texts as
greedy ones.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

import numpy as np

from seqgen.errors import UserError

MAX_CODE_POINT = 0x10FFFF
MAX_INSTRUCTIONS = 20_000  # the cost of one step of the automaton is proportional to their number
_MAX_LENGTH = 1 << 17  # characters of a pattern: a class may list thousands
_MAX_RANGES = 1 << 20  # in all classes, as they are written: \w has hundreds
_MAX_DEPTH = 100  # of nested groups
_MAX_REPEAT = 1 << 20  # in a quantifier; MAX_INSTRUCTIONS is narrower for the whole
_SIMPLE = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7, "0": 0}
_HEXADECIMAL = {"x": 2, "u": 4, "U": 8}
_QUANTIFIERS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_COUNTED = re.compile(r"\{(?!\})(\d*+)(,?)(\d*+)\}", re.ASCII)  # as in Python, {} are two characters

CodePointRanges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CharacterSet:
    """One character of a set: ranges of code points, ends included, ascending and disjoint."""

    ranges: CodePointRanges


@dataclass(frozen=True)
class Concatenation:
    """Parts in sequence; no parts match the empty text."""

    parts: tuple[RegexNode, ...]


@dataclass(frozen=True)
class Alternation:
    """One of the parts."""

    parts: tuple[RegexNode, ...]


@dataclass(frozen=True)
class Repeat:
    """A part repeated `minimum` to `maximum` times; None for no maximum."""

    part: RegexNode
    minimum: int
    maximum: int | None


RegexNode = CharacterSet | Concatenation | Alternation | Repeat


def parse(pattern: str) -> RegexNode:
    """Parse a pattern.

    Raises:
        UserError: the pattern is invalid or not supported, with the position.
    """
    return _Parser(pattern).parse()


def merge_ranges(ranges: list[tuple[int, int]]) -> CodePointRanges:
    """Return the ranges ascending and disjoint."""
    result: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return tuple(result)


def complement(ranges: CodePointRanges) -> CodePointRanges:
    """Return all other code points."""
    result, begin = [], 0
    for low, high in ranges:
        if low > begin:
            result.append((begin, low - 1))
        begin = high + 1
    return (*result, (begin, MAX_CODE_POINT)) if begin <= MAX_CODE_POINT else tuple(result)


@functools.cache
def class_ranges(letter: str) -> CodePointRanges:
    r"""Return the code points of \d, \w, \s and their complements \D, \W, \S, exactly as Python defines them."""
    everything = np.arange(MAX_CODE_POINT + 1, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    found = [(match.start(), match.end() - 1) for match in re.finditer(rf"\{letter.lower()}+", everything)]
    return merge_ranges(found) if letter.islower() else complement(merge_ranges(found))


_ANY = complement(((10, 10),))


class _Parser:
    """Recursive descent: alternation → concatenation → quantified → atom."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._position = 0
        self._depth = 0
        self._ranges = 0  # in all classes until now

    def parse(self) -> RegexNode:
        if len(self._text) > _MAX_LENGTH:  # the tree takes hundreds of bytes a character
            raise self._error(f"it has more than {_MAX_LENGTH:,} characters")
        for position, character in enumerate(self._text):
            if 0xD800 <= ord(character) < 0xE000:
                self._position = position
                raise self._error("invalid UTF-8")
        tree = self._alternation()
        if self._position < len(self._text):
            raise self._error("unmatched ')'")
        return tree

    def _alternation(self) -> RegexNode:
        parts = [self._concatenation()]
        while self._take("|"):
            parts.append(self._concatenation())
        return parts[0] if len(parts) == 1 else Alternation(tuple(parts))

    def _concatenation(self) -> RegexNode:
        parts: list[RegexNode] = []
        if self._depth == 0:  # the whole text is matched anyway, so outer anchors are redundant
            self._take("^")
        while self._position < len(self._text) and self._text[self._position] not in "|)":
            at_end = self._text[self._position + 1 : self._position + 2] in ("", "|")
            if self._text[self._position] == "$" and at_end and self._depth == 0:
                self._position += 1
                break
            parts.append(self._quantified())
        return parts[0] if len(parts) == 1 else Concatenation(tuple(parts))

    def _quantified(self) -> RegexNode:
        tree = self._atom()
        found = self._quantifier()
        if found is not None:
            self._take("?")  # lazy
            if self._text[self._position : self._position + 1] == "+":
                raise self._error("possessive quantifiers are not supported")
            before = self._position
            if self._quantifier() is not None:
                self._position = before
                raise self._error("multiple quantifiers in a row")
            tree = Repeat(tree, *found)
        return tree

    def _quantifier(self) -> tuple[int, int | None] | None:
        """Parse a quantifier, if one is next."""
        character = self._text[self._position : self._position + 1]
        if character in _QUANTIFIERS:
            self._position += 1
            return _QUANTIFIERS[character]
        match = _COUNTED.match(self._text, self._position)
        if match is None:
            return None
        if max(len(match[1]), len(match[3])) > 7:
            raise self._error("too many repetitions")
        minimum = int(match[1] or 0)
        maximum = minimum if not match[2] else int(match[3]) if match[3] else None
        if maximum is not None and maximum < minimum:
            raise self._error("the minimum is more than the maximum")
        if max(minimum, maximum or 0) > _MAX_REPEAT:
            raise self._error("too many repetitions")
        self._position = match.end()
        return minimum, maximum

    def _atom(self) -> RegexNode:
        character = self._text[self._position]
        if character == "(":
            return self._group()
        if character == "[":
            return self._character_class()
        if character == "\\":
            return CharacterSet(self._escape())
        if character in _QUANTIFIERS or _COUNTED.match(self._text, self._position):
            raise self._error("nothing to repeat")
        if character in "^$":
            raise self._error(f"an anchor inside the pattern can't match; write \\{character} for the character itself")
        self._position += 1
        return CharacterSet(_ANY if character == "." else ((ord(character), ord(character)),))

    def _group(self) -> RegexNode:
        begin = self._position
        self._position += 1
        if self._take("?"):
            named = re.compile(r"P<\w+>").match(self._text, self._position)
            if named is not None:
                self._position = named.end()
            elif not self._take(":"):
                raise self._error("of the groups that start with (? only (?:…) and (?P<name>…) are supported", back=1)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"groups are nested more than {_MAX_DEPTH} deep")
        tree = self._alternation()
        self._depth -= 1
        if not self._take(")"):
            self._position = begin
            raise self._error("'(' is never closed")
        return tree

    def _character_class(self) -> RegexNode:
        begin = self._position
        self._position += 1
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self._text[self._position : self._position + 1] != "]":
            first = False
            if self._position >= len(self._text):
                self._position = begin
                raise self._error("'[' is never closed")
            if self._text.startswith(("[:", "[=", "[."), self._position):
                raise self._error("classes such as [:alpha:] are not supported; use \\w, \\d or \\s")
            start = self._position
            low = self._member()
            if self._text[self._position : self._position + 1] == "-" and self._text[
                self._position + 1 : self._position + 2
            ] not in ("]", ""):
                self._position += 1
                high = self._member()
                ends = [each[0] for each in (low, high) if len(each) == 1 and each[0][0] == each[0][1]]
                if len(ends) < 2 or ends[0][0] > ends[1][0]:
                    self._position = start
                    raise self._error("invalid character range")
                ranges.append((ends[0][0], ends[1][0]))
            else:
                ranges += low
            if self._ranges + len(ranges) > _MAX_RANGES:
                self._position = begin
                raise self._error("its classes are too large together")
        self._ranges += len(ranges)
        self._position += 1
        return CharacterSet(complement(merge_ranges(ranges)) if negated else merge_ranges(ranges))

    def _member(self) -> CodePointRanges:
        if self._text[self._position] == "\\":
            return self._escape(inside=True)
        self._position += 1
        code = ord(self._text[self._position - 1])
        return ((code, code),)

    def _escape(self, inside: bool = False) -> CodePointRanges:
        character = self._text[self._position + 1 : self._position + 2]
        if not character:
            raise self._error("nothing follows the backslash")
        if character in "dwsDWS":
            self._position += 2
            return class_ranges(character)
        if character in _HEXADECIMAL:
            digits = self._text[self._position + 2 : self._position + 2 + _HEXADECIMAL[character]]
            if len(digits) < _HEXADECIMAL[character] or not re.fullmatch("[0-9a-fA-F]+", digits):
                raise self._error(f"\\{character} needs {_HEXADECIMAL[character]} hexadecimal digits")
            code = int(digits, 16)
            if code > MAX_CODE_POINT or 0xD800 <= code < 0xE000:
                raise self._error("no such character")
            self._position += 2 + len(digits)
        elif character in _SIMPLE and (
            character != "0" or not self._text[self._position + 2 : self._position + 3].isdigit()
        ):
            code = _SIMPLE[character]
            self._position += 2
        elif character == "b" and inside:
            code = 8
            self._position += 2
        elif character.isascii() and character.isalnum():
            raise self._error(f"\\{character} is not supported")
        else:
            code = ord(character)
            self._position += 2
        return ((code, code),)

    def _take(self, character: str) -> bool:
        """Consume the character if it is next, and return whether it was."""
        found = self._text.startswith(character, self._position)
        self._position += found
        return found

    def _error(self, reason: str, back: int = 0) -> UserError:
        shown = self._text if len(self._text) <= 40 else self._text[:40] + "…"
        return UserError(f"--grammar {shown!r}: {reason} (character {self._position - back + 1})")


FORK, END = -1, -2


@dataclass
class RegexProgram:
    """A nondeterministic automaton over characters, one instruction per character, fork or end.

    Attributes:
        start: index of the first instruction.
        sets: the distinct character sets.
        set_indices: for each instruction the index of its set, or `FORK` or `END`.
        successors: for each instruction the next ones: one after a character, two after a fork, none after the end.
    """

    start: int = 0
    sets: list[CodePointRanges] = field(default_factory=list)
    set_indices: list[int] = field(default_factory=list)
    successors: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, set_index: int, *successors: int) -> int:
        """Add an instruction and return its index."""
        self.set_indices.append(set_index)
        self.successors.append(successors)
        return len(self.set_indices) - 1


def compile_pattern(pattern: str) -> RegexProgram:
    """Compile a pattern.

    Raises:
        UserError: the pattern is invalid, or its program would exceed `MAX_INSTRUCTIONS`.
    """
    tree = parse(pattern)
    if _count_instructions(tree) > MAX_INSTRUCTIONS:
        shown = pattern if len(pattern) <= 40 else pattern[:40] + "…"
        raise UserError(f"--grammar {shown!r} is too large: expanded, it has more than {MAX_INSTRUCTIONS:,} characters")
    program = RegexProgram()
    set_numbers: dict[CodePointRanges, int] = {}

    def emit(tree: RegexNode, successor: int) -> int:
        """Add the instructions of `tree`, followed by `successor`, and return the index of the first."""
        if isinstance(tree, CharacterSet):
            number = set_numbers.setdefault(tree.ranges, len(set_numbers))
            return program.add(number, successor)
        if isinstance(tree, Concatenation):
            for part in reversed(tree.parts):
                successor = emit(part, successor)
            return successor
        if isinstance(tree, Alternation):
            begin = emit(tree.parts[-1], successor)
            for part in reversed(tree.parts[:-1]):
                begin = program.add(FORK, emit(part, successor), begin)
            return begin
        begin = successor
        if tree.maximum is None:
            begin = program.add(FORK)
            program.successors[begin] = (emit(tree.part, begin), successor)
        else:
            for _ in range(tree.maximum - tree.minimum):
                begin = program.add(FORK, emit(tree.part, begin), successor)
        for _ in range(tree.minimum):
            begin = emit(tree.part, begin)
        return begin

    program.start = emit(tree, program.add(END))
    program.sets = list(set_numbers)
    return program


def _count_instructions(tree: RegexNode) -> int:
    """Number of instructions of a tree. Empty parts count as one, which bounds how often they can be repeated."""
    if isinstance(tree, CharacterSet):
        return 1
    if isinstance(tree, Repeat):
        one = _count_instructions(tree.part)
        optional = 1 if tree.maximum is None else tree.maximum - tree.minimum
        return max(1, tree.minimum * one + optional * (one + 1))
    return max(1, sum(map(_count_instructions, tree.parts)) + (len(tree.parts) - 1) * isinstance(tree, Alternation))
