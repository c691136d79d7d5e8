"""Regular expressions, as Python writes them, as trees. Only what a finite automaton can know: no back-references, no
looking around; a lazy quantifier stands for the same texts as a greedy one."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np

from seqgen.errors import UserError

MAX_CODE_POINT = 0x10FFFF
_DEEPEST = 100  # groups within each other
_MOST_COPIES = 1 << 20  # that a quantifier may ask for; the automaton's own bound is narrower
_SIMPLE = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7, "0": 0}
_HEXADECIMAL = {"x": 2, "u": 4, "U": 8}
_QUANTIFIERS = {"*": (0, None), "+": (1, None), "?": (0, 1)}

CodePointRanges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CharacterSet:
    """One character of some: ranges of code points, both ends included, rising and apart."""

    ranges: CodePointRanges


@dataclass(frozen=True)
class Concatenation:
    """One after another; none of them is the empty text."""

    parts: tuple[RegexNode, ...]


@dataclass(frozen=True)
class Alternation:
    """One of these."""

    parts: tuple[RegexNode, ...]


@dataclass(frozen=True)
class Repeat:
    """So many times; `most` None is any number."""

    part: RegexNode
    least: int
    most: int | None


RegexNode = CharacterSet | Concatenation | Alternation | Repeat


def parse(pattern: str) -> RegexNode:
    """The tree of a pattern. Raises `UserError`, which tells the place, for what is none or is not known here."""
    return _Parser(pattern).whole()


def merge_ranges(ranges: list[tuple[int, int]]) -> CodePointRanges:
    """Ranges in any order as rising ones that are apart."""
    result: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return tuple(result)


def complement(ranges: CodePointRanges) -> CodePointRanges:
    """All code points but these."""
    result, begin = [], 0
    for low, high in ranges:
        if low > begin:
            result.append((begin, low - 1))
        begin = high + 1
    return (*result, (begin, MAX_CODE_POINT)) if begin <= MAX_CODE_POINT else tuple(result)


@functools.cache
def class_ranges(letter: str) -> CodePointRanges:
    r"""The characters of \d, \w and \s, and of the capitals, which are all others: exactly Python's own."""
    everything = np.arange(MAX_CODE_POINT + 1, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    found = [(match.start(), match.end() - 1) for match in re.finditer(rf"\{letter.lower()}+", everything)]
    return merge_ranges(found) if letter.islower() else complement(merge_ranges(found))


_ANY = complement(((10, 10),))


class _Parser:
    """Recursive descent: choice → sequence → quantified → single."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0

    def whole(self) -> RegexNode:
        for place, character in enumerate(self._text):
            if 0xD800 <= ord(character) < 0xE000:
                self._at = place
                raise self._wrong("this is no UTF-8")
        tree = self._choice()
        if self._at < len(self._text):
            raise self._wrong("this ')' closes nothing")
        return tree

    def _choice(self) -> RegexNode:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Alternation(tuple(parts))

    def _sequence(self) -> RegexNode:
        parts: list[RegexNode] = []
        if self._depth == 0:  # all that is written is matched, so that an anchor at an end says nothing new
            self._take("^")
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            last = self._text[self._at + 1 : self._at + 2] in ("", "|")
            if self._text[self._at] == "$" and last and self._depth == 0:
                self._at += 1
                break
            parts.append(self._quantified())
        return parts[0] if len(parts) == 1 else Concatenation(tuple(parts))

    def _quantified(self) -> RegexNode:
        tree = self._single()
        found = self._quantifier()
        if found is not None:
            self._take("?")  # lazy: the same texts
            if self._text[self._at : self._at + 1] == "+":
                raise self._wrong("a possessive quantifier is not known here")
            if self._quantifier() is not None:
                raise self._wrong("two quantifiers in a row", back=1)
            tree = Repeat(tree, *found)
        return tree

    def _quantifier(self) -> tuple[int, int | None] | None:
        """How often, if a quantifier comes next."""
        character = self._text[self._at : self._at + 1]
        if character in _QUANTIFIERS:
            self._at += 1
            return _QUANTIFIERS[character]
        match = re.compile(r"\{(\d*)(,?)(\d*)\}", re.ASCII).match(self._text, self._at)
        if character != "{" or match is None or not (match[1] or match[3]):
            return None
        if max(len(match[1]), len(match[3])) > 7:
            raise self._wrong("this asks for too many copies")
        least = int(match[1] or 0)
        most = least if not match[2] else int(match[3]) if match[3] else None
        if most is not None and most < least:
            raise self._wrong("the least is more than the most")
        if max(least, most or 0) > _MOST_COPIES:
            raise self._wrong("this asks for too many copies")
        self._at = match.end()
        return least, most

    def _single(self) -> RegexNode:
        character = self._text[self._at]
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == "\\":
            return CharacterSet(self._escape())
        if character in _QUANTIFIERS:
            raise self._wrong("there is nothing to repeat")
        if character in "^$":
            raise self._wrong(f"an anchor inside can't match; \\{character} is the character itself")
        self._at += 1
        return CharacterSet(_ANY if character == "." else ((ord(character), ord(character)),))

    def _group(self) -> RegexNode:
        begin = self._at
        self._at += 1
        if self._take("?"):
            named = re.compile(r"P<\w+>").match(self._text, self._at)
            if named is not None:
                self._at = named.end()
            elif not self._take(":"):
                raise self._wrong("of the groups with (? only (?:…) and (?P<name>…) are known here", back=1)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong(f"groups are more than {_DEEPEST} deep")
        tree = self._choice()
        self._depth -= 1
        if not self._take(")"):
            self._at = begin
            raise self._wrong("this '(' is never closed")
        return tree

    def _class(self) -> RegexNode:
        begin = self._at
        self._at += 1
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self._text[self._at : self._at + 1] != "]":
            first = False
            if self._at >= len(self._text):
                self._at = begin
                raise self._wrong("this '[' is never closed")
            if self._text.startswith(("[:", "[=", "[."), self._at):
                raise self._wrong("classes such as [:alpha:] are not known here; \\w, \\d and \\s are")
            start = self._at
            low = self._member()
            if self._text[self._at : self._at + 1] == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._member()
                ends = [each[0] for each in (low, high) if len(each) == 1 and each[0][0] == each[0][1]]
                if len(ends) < 2 or ends[0][0] > ends[1][0]:
                    self._at = start
                    raise self._wrong("this is no range of characters")
                ranges.append((ends[0][0], ends[1][0]))
            else:
                ranges += low
        self._at += 1
        return CharacterSet(complement(merge_ranges(ranges)) if negated else merge_ranges(ranges))

    def _member(self) -> CodePointRanges:
        if self._text[self._at] == "\\":
            return self._escape(inside=True)
        self._at += 1
        code = ord(self._text[self._at - 1])
        return ((code, code),)

    def _escape(self, inside: bool = False) -> CodePointRanges:
        character = self._text[self._at + 1 : self._at + 2]
        if not character:
            raise self._wrong("there is nothing behind the backslash")
        if character in "dwsDWS":
            self._at += 2
            return class_ranges(character)
        if character in _HEXADECIMAL:
            digits = self._text[self._at + 2 : self._at + 2 + _HEXADECIMAL[character]]
            if len(digits) < _HEXADECIMAL[character] or not re.fullmatch("[0-9a-fA-F]+", digits):
                raise self._wrong(f"\\{character} needs {_HEXADECIMAL[character]} hexadecimal digits")
            code = int(digits, 16)
            if code > MAX_CODE_POINT or 0xD800 <= code < 0xE000:
                raise self._wrong("there is no such character")
            self._at += 2 + len(digits)
        elif character in _SIMPLE and (character != "0" or not self._text[self._at + 2 : self._at + 3].isdigit()):
            code = _SIMPLE[character]
            self._at += 2
        elif character == "b" and inside:
            code = 8
            self._at += 2
        elif character.isascii() and character.isalnum():
            raise self._wrong(f"\\{character} is not known here")
        else:
            code = ord(character)
            self._at += 2
        return ((code, code),)

    def _take(self, character: str) -> bool:
        """Whether this comes next; then it is passed."""
        found = self._text.startswith(character, self._at)
        self._at += found
        return found

    def _wrong(self, what: str, back: int = 0) -> UserError:
        shown = self._text if len(self._text) <= 40 else self._text[:40] + "…"
        return UserError(f"--grammar {shown!r}: {what} (character {self._at - back + 1})")
