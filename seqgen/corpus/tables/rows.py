"""Rows of a delimited file: bytes to lines, lines to rows, a block at a time at the speed of the csv module.

A quote is a letter if it encloses no cell: because it is never closed, because something else than a delimiter follows
the closing quote, or because it would swallow lines that have the normal width without it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from seqgen.corpus.series.numbers import is_missing, parse_number
from seqgen.corpus.tables.columnar import ColumnBlock, ColumnParser
from seqgen.corpus.tables.dialect import SPACES, Dialect, exchange_quotes, split_line, unwrap_lines

Defect = Callable[[str, int], None]  # called with a kind of defect and the number of its line
Rows = list[list[str]]

NOT_UTF8 = "{lines that are|line that is} not UTF-8, read as Windows-1252"
NUL_BYTES = "{lines have|line has} NUL bytes, read as U+FFFD"
STRAY_QUOTES = "{lines have|line has} a quote that encloses no cell, read as a letter"
UNDOUBLED_QUOTES = "{rows have|row has} quotes inside a quoted cell that are not doubled, read as letters"
_MAX_QUOTED_LENGTH = 1 << 23  # characters; a quote open for longer is a letter
_MAX_FIELD_LENGTH = 1 << 30
_BLOCK_LINES = 1000  # more would leave the processor's cache, and keep the garbage collector busy
_MAX_LENIENT_LINES = 100  # of a quoted cell with unescaped quotes inside
_MOSTLY = 0.8  # fraction of swallowed lines that have the normal width
_OTHER_LINE_ENDS = "\x0b\x0c\x1c\x1d\x1e"  # those of ASCII, for `str.splitlines`
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')


_FIELD_LIMIT = threading.Lock()  # that of the csv module is global to the process


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read cells of any length, in one thread at a time."""
    with _FIELD_LIMIT:
        limit = csv.field_size_limit(_MAX_FIELD_LENGTH)
        try:
            yield
        finally:
            csv.field_size_limit(limit)


def line_blocks(chunks: Iterable[bytes], defect: Defect) -> Iterator[tuple[int, list[str]]]:
    """Yield blocks of (number of the first line, lines with their ends). LF, CR LF and CR end a line.

    Args:
        chunks: UTF-8; other lines are read as Windows-1252.
    """
    parts: list[bytes] = []
    number = 1
    for chunk in chunks:
        cut = max(chunk.rfind(b"\n"), chunk.rfind(b"\r", 0, max(len(chunk) - 1, 0))) + 1
        if cut == 0:
            parts.append(chunk)
            continue
        block = b"".join([*parts, chunk[:cut]])
        parts = [chunk[cut:]]
        lines = _decoded_lines(block, number, defect)
        for start in range(0, len(lines), _BLOCK_LINES):
            yield number + start, lines[start : start + _BLOCK_LINES]
        number += len(lines)
    rest = b"".join(parts)
    if rest:
        yield number, _decoded_lines(rest, number, defect)


def split_lines(text: str) -> list[str]:
    """Split text into lines with their ends. Only LF, CR LF and CR end a line."""
    if text.isascii() and not any(mark in text for mark in _OTHER_LINE_ENDS):
        return text.splitlines(keepends=True)
    return io.StringIO(text, newline="").readlines()


def _decoded_lines(block: bytes, number: int, defect: Defect) -> list[str]:
    try:
        text = block.decode()
    except UnicodeDecodeError:
        lines = []
        for index, line in enumerate(re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", block)):
            try:
                lines.append(line.decode())
            except UnicodeDecodeError:
                defect(NOT_UTF8, number + index)
                lines.append(line.decode("cp1252", "replace"))
    else:
        lines = split_lines(text)
    if number == 1 and lines:
        lines[0] = lines[0].removeprefix("\ufeff")
    if b"\0" in block:
        for index, line in enumerate(lines):
            if "\0" in line:
                defect(NUL_BYTES, number + index)
                lines[index] = line.replace("\0", "\ufffd")
    return lines


class ColumnHabits:
    """The columns of rows whose width is certain, by which a line is recognised as a row of the table.

    Numbers, or a few repeated values, identify a column; prose doesn't.
    """

    def __init__(self, rows: Sequence[Sequence[str]], width: int) -> None:
        sure = [cells for cells in rows if len(cells) == width]
        self._tests: list[tuple[int, frozenset[str] | None]] = []
        for column in range(width):
            cells = [row[column].strip() for row in sure if not is_missing(row[column])]
            counts = Counter(cells)
            values = frozenset(value for value, count in counts.items() if count > 1)
            if len(cells) > 3 and sum(parse_number(cell) is not None for cell in cells) >= 0.9 * len(cells):
                self._tests.append((column, None))
            elif (
                len(cells) > 3
                and len(values) <= max(2, len(cells) // 4)
                and sum(counts[value] for value in values) >= _MOSTLY * len(cells)
            ):
                self._tests.append((column, values))
        # After a comma in prose there is a space, after one between cells usually not.
        self.spaced = sum(_is_spaced(row) for row in sure) > 0.1 * len(sure)

    @property
    def count(self) -> int:
        """The number of columns that identify a row."""
        return len(self._tests)

    def fit(self, rows: Sequence[Sequence[str]]) -> bool | None:
        """Whether most rows have the habits of the table's; None if it has no such columns."""
        if not self._tests:
            return None
        return sum(map(self._fits, rows)) >= _MOSTLY * len(rows)

    def _fits(self, row: Sequence[str]) -> bool:
        results = [
            parse_number(row[column]) is not None if values is None else row[column].strip() in values
            for column, values in self._tests
            if not is_missing(row[column])
        ]
        return bool(results) and 2 * sum(results) > len(results)


def _is_spaced(cells: Sequence[str]) -> bool:
    return any(not cell or cell[0] == " " for cell in cells[1:])


def _quoted(cells: Sequence[str], delimiter: str) -> str:
    """The line of a row, all of whose cells are quoted."""
    return delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells)


class RowParser:
    """Splits lines into rows."""

    def __init__(
        self, dialect: Dialect, width: int = 0, habits: ColumnHabits | None = None, defect: Defect | None = None
    ) -> None:
        """`width`: the normal number of cells; 0 if unknown: then every quote that could enclose a cell does."""
        self._dialect, self._width, self._habits = dialect, width, habits
        self._defect: Defect = defect or (lambda kind, line: None)

    def blocks(
        self, blocks: Iterable[tuple[int, list[str]]], columns: ColumnParser | None = None
    ) -> Iterator[tuple[Sequence[int], Rows | ColumnBlock]]:
        """Yield blocks of (number of the first line of each row, rows), blank rows included, from blocks of lines.

        With `columns`, the blocks that it parses are yielded as columns.
        """
        waiting: list[str] = []  # lines, from number `start` on
        start = need = 1
        for number, lines in blocks:
            if len(waiting) >= need:
                numbers, rows, used = self.parse(waiting, start, False)
                yield numbers, rows
                waiting = waiting[used:]
                need = 2 * len(waiting) + 1  # so that a quote open for long isn't read again with every block
            if columns is not None and not waiting:
                found = columns.parse(number, lines)
                if found is not None:
                    yield range(number, number + len(lines)), found
                    continue
            start = number - len(waiting)
            waiting += lines
        if waiting:
            numbers, rows, _ = self.parse(waiting, start, True)
            yield numbers, rows

    def parse(self, lines: list[str], number: int, is_last: bool) -> tuple[Sequence[int], Rows, int]:
        """Split a block of lines into rows.

        Args:
            number: of the first line.
            is_last: whether no more lines follow.

        Returns:
            The number of the first line of each row, the rows, and how many lines they take: a quoted cell may go on
            in the next block.
        """
        dialect = self._dialect
        if dialect.wrapped:
            lines = unwrap_lines(lines)
        if dialect.single:
            numbers, rows, used = self._parse(list(map(exchange_quotes, lines)), number, is_last)
            return numbers, [list(map(exchange_quotes, cells)) for cells in rows], used
        return self._parse(lines, number, is_last)

    def _parse(self, lines: list[str], number: int, is_last: bool) -> tuple[Sequence[int], Rows, int]:
        """As `parse`, lines whose quotes are double and enclose cells only."""
        dialect = self._dialect
        if dialect.delimiter == SPACES:
            rows = [split_line(line, dialect) for line in lines] if dialect.quote else list(map(str.split, lines))
            return range(number, number + len(lines)), rows, len(lines)
        if not dialect.quote:
            mark = dialect.delimiter
            rows = [line.rstrip("\r\n").split(mark) for line in lines]
            if any(len(cells) != self._width for cells in rows):
                with _long_fields():
                    return self._parse_rows(lines, number, is_last)
            return range(number, number + len(lines)), rows, len(lines)
        if dialect.escape:
            lines = [_ESCAPED_QUOTE.sub(r'\1""', line) if '\\"' in line else line for line in lines]
        with _long_fields():
            try:
                rows = list(_reader(self._dialect, iter(lines)))
            except csv.Error:
                rows = []
            if len(rows) == len(lines) and set(map(len, rows)) == {self._width}:
                return range(number, number + len(lines)), rows, len(lines)
            return self._parse_rows(lines, number, is_last)

    def _parse_rows(self, lines: list[str], number: int, is_last: bool) -> tuple[list[int], Rows, int]:
        """As `parse`, row by row."""
        numbers: list[int] = []
        rows: Rows = []
        index, count = 0, len(lines)
        while index < count:
            iterator: Any = iter(lines)
            iterator.__setstate__(index)
            reader = _reader(self._dialect, iterator)
            start = index
            while True:
                cells: list[str] | None = None
                try:
                    cells = next(reader)
                except StopIteration:
                    index = count
                    break
                except csv.Error as error:
                    is_open = "unexpected end" in str(error) and not is_last
                    if is_open and sum(map(len, lines[index:])) < _MAX_QUOTED_LENGTH:
                        return numbers, rows, index
                end = start + reader.line_num
                if cells is not None and end == index + 1 and (len(cells) == self._width or not cells):
                    numbers.append(number + index)
                    rows.append(cells)
                    index = end
                    continue
                found, used = self._examine(lines, index, end, cells, number + index)
                numbers.append(number + index)
                rows.append(found)
                index += used
                if index != end or cells is None:
                    break  # the reader is not where the next row begins
        return numbers, rows, count

    def _examine(
        self, lines: list[str], index: int, end: int, cells: list[str] | None, number: int
    ) -> tuple[list[str], int]:
        """Return the row that begins in line `index`, and how many lines it has.

        Args:
            end: index behind the lines that the csv module took for the row.
            cells: what it made of them, None for an error.
        """
        width = self._width
        if cells is not None and end > index + 1:
            # The first of swallowed lines has the normal width, if its quote is a letter.
            ends_early = lines[index].count(self._dialect.delimiter) < width - 1
            if not width or ends_early or not self._swallows(lines[index:end], cells):
                return cells, end - index
            self._defect(STRAY_QUOTES, number)
        alone = split_line(lines[index], self._dialect)
        if cells is None:
            lenient = self._lenient(lines, index, alone) if width else None
            if lenient is not None:
                self._defect(UNDOUBLED_QUOTES, number)
                return lenient
            self._defect(STRAY_QUOTES, number)
        elif end == index + 1 and len(alone) != width and self._dialect.delimiter == "\t":  # seldom in a cell
            plain = lines[index].rstrip("\r\n").split(self._dialect.delimiter)
            if len(plain) == width and self._dialect.quote:
                self._defect(STRAY_QUOTES, number)
                return plain, 1
        if len(alone) < width and lines[index].endswith("\r") and index + 1 < len(lines):
            joined = split_line(lines[index][:-1] + " " + lines[index + 1], self._dialect)
            if len(joined) == width and len(split_line(lines[index + 1], self._dialect)) < width:
                return joined, 2  # a CR within a line of a file whose lines end in LF
        return alone, 1

    def _swallows(self, lines: Sequence[str], cells: Sequence[str]) -> bool:
        """Whether a quoted cell over several lines is none: each is a row of the table if the quote is a letter."""
        if self._width == len(cells) > 1 and _quoted(cells, self._dialect.delimiter) == "".join(lines).rstrip("\r\n"):
            return False  # a writer that quotes all cells wrote it
        rows = [split_line(line, self._dialect) for line in lines]
        normal = [row for row in rows if len(row) == self._width]
        if len(normal) < len(rows) and (len(rows) < 5 or len(normal) < _MOSTLY * len(rows)):
            return False
        if len(cells) != self._width or self._habits is None:
            return True
        fits = self._habits.fit(normal)
        if fits is not None:
            return fits
        if not self._habits.spaced and sum(map(_is_spaced, normal)) * 2 >= len(normal):
            return False
        return len(rows) > 2

    def _lenient(self, lines: list[str], index: int, alone: list[str]) -> tuple[list[str], int] | None:
        """Return a row of normal width over several lines, whose quoted cell has unescaped quotes inside; or None."""
        if len(alone) == self._width:
            return None
        text, closing = "", f'"{self._dialect.delimiter}'
        for count, line in enumerate(lines[index : index + _MAX_LENIENT_LINES], 1):
            text += line
            if count == 1 or not (closing in line or line.rstrip("\r\n").endswith('"')):
                continue  # no quoted cell ends in it
            cells = split_line(text, self._dialect)
            if len(cells) != self._width or any("\n" in cell and cell.startswith('"') for cell in cells):
                continue
            if not self._swallows(lines[index : index + count], cells):
                return cells, count
        return None


def _reader(dialect: Dialect, lines: Iterable[str]) -> Any:
    if not dialect.quote:
        return csv.reader(lines, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=dialect.delimiter, skipinitialspace=dialect.skip_spaces, strict=True)


def is_malformed(line: str, dialect: Dialect) -> bool:
    """Whether the quotes of a line, on its own, are malformed."""
    try:
        list(_reader(dialect, [line]))
    except csv.Error:
        return True
    return False


def normal_width(rows: Iterable[Sequence[str]]) -> tuple[int, float]:
    """Return the most frequent number of cells, the larger of two, and the fraction of the rows that have it."""
    widths = Counter(map(len, rows))
    if not widths:
        return 1, 0.0
    width = max(widths, key=lambda width: (widths[width], width))
    return width, widths[width] / widths.total()
