"""Values in JSON text, found by their path, with one of them in memory at a time. White space makes no difference."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from json.scanner import make_scanner
from typing import Any, Final, cast

from seqgen.untrusted import UNIQUE_KEYS, RepeatedKeyError, check_depth, parse_json

EACH: Final = None  # any element of an array, any value of an object


@dataclass(frozen=True)
class Part:
    """A step of a path: a key of an object that may have others like it, as "train" has "test"."""

    key: str


Path = tuple[str | Part | None, ...]
NOT_JSON: Final = "not JSON"  # the usual damage


@dataclass(frozen=True)
class Found:
    """A value.

    Attributes:
        root: number of the top-level value that contains it, from 1.
        line: where it begins, from 1.
        value: the parsed value; None if it `is_damaged`.
        damage: why it can't be read: it isn't JSON, is cut off or nested too deeply, or repeats a key; else "".
        is_beside: whether it lies under another key than that of a `Part` of the path.
    """

    root: int
    line: int
    value: Any
    damage: str = ""
    is_beside: bool = False

    @property
    def is_damaged(self) -> bool:
        """Whether it has no value."""
        return bool(self.damage)


def find_values(pieces: Iterable[str], path: Path, unique_keys: bool = True) -> Iterator[Found]:
    """Yield the values at a path, from each of several consecutive top-level values.

    Damage ends with the brackets around it, so that the values after it are found. A damaged value is yielded at any
    depth that the path passes through, at most one a line. Scalars in an object are no values of `EACH`.

    Args:
        unique_keys: whether a value with a key that has several values is damaged (see `parse_json`).
    """
    text = _Buffer(pieces, _scan_unique if unique_keys else _scan_any)
    inside: list[str] = []  # brackets of the containers around the position
    besides = [False]  # for each of them, and before them, whether it is beside a part
    root = damaged_line = 0
    while mark := text.peek():
        if mark in ",:]}":
            text.position += 1
            if mark in "]}" and inside:
                inside.pop()
                besides.pop()
            continue
        depth = len(inside)
        line = text.line() if depth == len(path) else 0
        in_object = bool(inside) and inside[-1] == "{"
        key: Any = None
        is_intact = True
        if in_object:
            if mark == '"':
                is_intact, key = text.decode()
            else:
                is_intact = False
                text.skip()
            if is_intact and (text.peek() != ":" or not isinstance(key, str)):
                continue
            text.position += is_intact
            mark = text.peek()
        step = path[depth - 1] if depth else EACH
        if is_intact and not isinstance(step, Part) and step not in (EACH, key):
            text.skip()
            continue
        is_beside = besides[-1] or (isinstance(step, Part) and step.key != key)
        root += not depth
        if is_intact and depth < len(path) and mark and mark in "[{":
            if mark == "[" and path[depth] is not EACH:
                text.skip()
            else:
                inside.append(mark)
                besides.append(is_beside)
                text.position += 1
            continue
        value = None
        if is_intact:
            line = line or text.line()
            is_intact, value = text.decode()
        if not is_intact:
            line = line or text.line()
            if line != damaged_line:
                damaged_line = line
                yield Found(root, line, None, value or NOT_JSON, is_beside)
        elif depth == len(path) and not (in_object and path[-1] is EACH and not isinstance(value, dict | list)):
            yield Found(root, line, value, is_beside=is_beside)


def find_line_values(lines: Iterable[str | bytes], path: Path, number: int = 1) -> Iterator[Found]:
    """As `find_values`, of lines with a JSON value each, blank ones apart. So damage ends with its line.

    Args:
        number: of the first line.
    """
    for line_number, line in enumerate(lines, number):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            damage = error.msg if isinstance(error, RepeatedKeyError) else NOT_JSON
            yield Found(line_number, line_number, None, damage)
            continue
        for inner, is_beside in _select(value, path):
            yield Found(line_number, line_number, inner, is_beside=is_beside)


def select(value: Any, path: Path) -> Iterator[Any]:
    """Yield the values at a path in a parsed value, by the rules of `find_values`, without those beside a part."""
    return (inner for inner, is_beside in _select(value, path) if not is_beside)


def _select(value: Any, path: Path, is_beside: bool = False) -> Iterator[tuple[Any, bool]]:
    if not path:
        yield value, is_beside
        return
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        for item in value if first is EACH else ():
            yield from _select(item, rest, is_beside)
    elif isinstance(value, dict) and isinstance(first, Part):
        for key, item in value.items():
            yield from _select(item, rest, is_beside or key != first.key)
    elif isinstance(value, dict) and first is EACH:
        for item in value.values():
            if isinstance(item, dict | list):
                yield from _select(item, rest, is_beside)
    elif isinstance(value, dict) and first in value:
        yield from _select(value[first], rest, is_beside)


def complete(text: str) -> Any:
    """Parse the beginning of JSON text, up to where it is cut off or damaged, as if its open containers ended there.

    Raises `ValueError` if that is not JSON either.
    """
    try:
        value, _ = _DECODER.raw_decode(text, _skip_space(text, 0))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        cut_off = _closed(text)
        if cut_off is None:
            cut_off = _closed(text[: error.pos])
        if cut_off is None:
            raise
        value = json.loads(cut_off)
    check_depth(value)
    return value


_DECODER = json.JSONDecoder()
_scan_any, _scan_unique = make_scanner(cast(Any, _DECODER)), make_scanner(cast(Any, UNIQUE_KEYS))
_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_BARE = re.compile(r'[^,:\[\]{}"\s]+')
_PARTIAL_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_CLOSERS = str.maketrans("[{", "]}")
_MAX_TRIES = 3
_MAX_OPENED = 100  # containers; deeper ones are refused


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _closed(text: str) -> str | None:
    """End a truncated text after its last complete item, or within a string. Return None if it is damaged."""
    opened: list[str] = []
    cuts: deque[tuple[int, str]] = deque(maxlen=_MAX_TRIES)  # positions of the last commas, and what closes the text
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in ("[", "{"):
            if len(opened) == _MAX_OPENED:
                return None
            opened.append(token)
            cuts.append((match.end(), _closers(opened)))
        elif token in ("]", "}"):
            if not opened:
                break
            opened.pop()
            cuts.append((match.end(), _closers(opened)))
        elif token == ",":
            cuts.append((match.start(), _closers(opened)))
        elif match.end() == len(text) and not _is_closed(token):
            candidate = _PARTIAL_ESCAPE.sub("", text) + '"' + _closers(opened)
            if _is_json(candidate):
                return candidate
    for position, closers in reversed(cuts):
        candidate = text[:position] + closers
        if _is_json(candidate):
            return candidate
    return None


def _closers(opened: list[str]) -> str:
    return "".join(reversed(opened)).translate(_CLOSERS)


def _is_closed(string: str) -> bool:
    """Whether a string token, which begins with a quote, has a closing one."""
    body = string[1:]
    return body.endswith('"') and (len(body) - 1 - len(body[:-1].rstrip("\\"))) % 2 == 0


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class _Buffer:
    """Part of a text around `position`, extended when more is needed."""

    def __init__(self, pieces: Iterable[str], scan: Callable[[str, int], tuple[Any, int]]) -> None:
        self._pieces, self._scan_value = iter(pieces), scan
        self.text = ""
        self.position = 0
        self._line, self._counted = 1, 0  # line of the character at `_counted`

    def line(self) -> int:
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def peek(self) -> str:
        """Skip white space; return the next character, or '' at the end."""
        while True:
            self.position = _skip_space(self.text, self.position)
            if self.position < len(self.text):
                return self.text[self.position]
            if not self._extend():
                return ""

    def decode(self) -> tuple[bool, Any]:
        """Parse the value at the position, and move behind it: (whether it is intact, value or what is wrong)."""
        scan = _Scan()
        while True:
            try:
                # Of what is no value, `raw_decode` would count the lines before it.
                value, end = self._scan_value(self.text, self.position)
                if end == len(self.text) and not isinstance(value, dict | list | str) and self._extend():
                    continue  # perhaps the first digits of a number
                check_depth(value)
            except (StopIteration, ValueError, RecursionError) as error:
                end = scan.end(self.text, self.position)
                if end < 0 and self._extend():
                    continue
                self.position = end if end >= 0 else len(self.text)
                return False, error.msg if isinstance(error, RepeatedKeyError) else NOT_JSON
            self.position = end
            return True, value

    def skip(self) -> None:
        """Move behind the value at the position, without keeping it in memory."""
        scan = _Scan()
        while (end := scan.end(self.text, self.position)) < 0:
            self.position += scan.offset
            scan.offset = 0
            if not self._extend():
                self.position = len(self.text)
                return
        self.position = end

    def _extend(self) -> bool:
        """Drop what lies before the position, and at least double the rest, so that long values take linear time."""
        self.line()
        rest = self.text[self.position :]
        parts = [rest]
        size = 0
        for piece in self._pieces:
            parts.append(piece)
            size += len(piece)
            if size and size >= len(rest):
                break
        self.text, self.position, self._counted = "".join(parts), 0, 0
        return size > 0


class _Scan:
    """A search for the end of a value, which goes on when the text is extended."""

    def __init__(self) -> None:
        self.offset = 0  # from the position of the value
        self._depth = 0

    def end(self, text: str, position: int) -> int:
        """Return the end of the value, or −1 if the text ends before."""
        start = position + self.offset
        if not self._depth and start < len(text) and text[start] not in '"[{':
            match = _BARE.match(text, start)
            end = match.end() if match else start + 1
            return end if end < len(text) else -1
        for match in _TOKEN.finditer(text, start):
            token = match[0]
            if token in ("[", "{"):
                self._depth += 1
            elif token in ("]", "}"):
                self._depth -= 1
            elif token != "," and match.end() == len(text) and not _is_closed(token):
                self.offset = match.start() - position
                return -1
            if self._depth <= 0:
                return match.end()
        self.offset = len(text) - position
        return -1
