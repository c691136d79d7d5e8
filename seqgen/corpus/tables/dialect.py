"""Dialects of CSV: how the cells of a table are separated and quoted."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

SPACES = " "  # the delimiter of cells aligned by spaces


@dataclass(frozen=True)
class Dialect:
    """How the cells of a table are written.

    Attributes:
        delimiter: one character; a space stands for any number of spaces or tabs.
        quote: `"`, or nothing if quotes are letters.
        escape: a backslash if it escapes quotes in quoted cells; doubled quotes stand for one in any case.
        skip_spaces: whether spaces before a quoted cell belong to the delimiter.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    skip_spaces: bool = False

    @property
    def name(self) -> str:
        """The delimiter for messages."""
        names = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", ":": "colons", SPACES: "spaces"}
        return names.get(self.delimiter, repr(self.delimiter))


def split_line(line: str, dialect: Dialect) -> list[str]:
    """Split one line into cells, in which unclosed and misplaced quotes are letters."""
    line = line.rstrip("\r\n")
    if dialect.delimiter == SPACES:
        return line.split()
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


@functools.cache
def _cell_pattern(delimiter: str, skip_spaces: bool) -> re.Pattern[str]:
    mark = re.escape(delimiter)
    spaces = "[ ]*" if skip_spaces else ""
    # A quote ends a quoted cell only before a delimiter or the end of the line; others inside are letters.
    return re.compile(rf'{spaces}"((?:[^"]|""|"(?!{mark}|\Z))*+)"(?={mark}|\Z)|([^{mark}]*+)')
