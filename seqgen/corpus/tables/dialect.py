"""Dialects of CSV: how the cells of a table are separated and quoted."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

SPACES = " "  # the delimiter of cells aligned by spaces
_SPACED_CELL = re.compile(r'"((?:[^"]|"")*)"(?=\s|\Z)|(\S+)')  # as R writes them
_EXCHANGED = str.maketrans("\"'", "'\"")


@dataclass(frozen=True)
class Dialect:
    """How the cells of a table are written.

    Attributes:
        delimiter: one character; a space stands for any number of spaces or tabs.
        quote: `"`, or nothing if quotes are letters.
        escape: a backslash if it escapes quotes in quoted cells; doubled quotes stand for one in any case.
        skip_spaces: whether spaces before a quoted cell belong to the delimiter.
        wrapped: whether each line is one quoted cell that has the row.
        single: whether single quotes enclose cells; in the lines as they are parsed, they and `"` are exchanged.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    skip_spaces: bool = False
    wrapped: bool = False
    single: bool = False

    @property
    def name(self) -> str:
        """The delimiter for messages."""
        names = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", ":": "colons", SPACES: "spaces"}
        return names.get(self.delimiter, repr(self.delimiter))


def split_line(line: str, dialect: Dialect) -> list[str]:
    """Split one line into cells, in which unclosed and misplaced quotes are letters."""
    line = line.rstrip("\r\n")
    if dialect.delimiter == SPACES:
        if not dialect.quote or '"' not in line:
            return line.split()
        return [plain or quoted.replace('""', '"') for quoted, plain in _SPACED_CELL.findall(line)]
    if not dialect.quote or '"' not in line:
        return line.split(dialect.delimiter)
    pattern, position, cells = _cell_pattern(dialect.delimiter, dialect.skip_spaces), 0, []
    while True:
        match = pattern.match(line, position)
        assert match is not None  # the second alternative matches anything
        cells.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        position = match.end() + 1
        if position > len(line):
            return cells


def unwrap_lines(lines: Sequence[str]) -> list[str]:
    """Return lines without the quotes around each."""
    return [
        line[1 : len(text) - 1].replace('""', '"') + line[len(text) :]
        if len(text := line.rstrip()) > 1 and text[0] == text[-1] == '"'
        else line
        for line in lines
    ]


def exchange_quotes(text: str) -> str:
    """Return text with single quotes for double ones, and the reverse."""
    return text.translate(_EXCHANGED)


@functools.cache
def _cell_pattern(delimiter: str, skip_spaces: bool) -> re.Pattern[str]:
    mark = re.escape(delimiter)
    spaces = "[ ]*" if skip_spaces else ""
    # A quote ends a quoted cell only before a delimiter or the end of the line; others inside are letters.
    return re.compile(rf'{spaces}"((?:[^"]|""|"(?!{mark}|\Z))*+)"(?={mark}|\Z)|([^{mark}]*+)')
