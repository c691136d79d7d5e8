"""Detection of a table's dialect from the head of a file: the delimiter that gives rows of one width."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from seqgen.corpus.tables.cells import NUMBER, TIME, column_kind
from seqgen.corpus.tables.dialect import SPACES, Dialect, exchange_quotes, split_line, unwrap_lines
from seqgen.corpus.tables.rows import ColumnHabits, RowParser, Rows, is_malformed, normal_width

_DELIMITERS = "\t;|,"  # in order of preference: prose and numbers contain commas, but hardly the others
_RARE_DELIMITERS = "^~\x01"  # only if every line has them
_LAST_RESORTS = ":" + SPACES  # only if every row has the same number of cells
MIN_CONSTANT = 0.9  # fraction of the rows that have the normal width in a table
_MIN_BROKEN = 0.5  # the same in a file with damaged rows or notes
_MIN_ROWS = 3  # fewer of one width are an accident
_MAX_PREAMBLE = 40  # lines above a header
_MAX_LINES = 2000
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE | re.DOTALL)
_WRAPPED = re.compile(r'"(?:[^"]|"")*"\s*')
_SINGLE_QUOTED = re.compile(r"(?:^|[\t;|,])[ ]?'(?:[^']|'')*'(?=[\t;|,\r\n]|$)")
_SPACED_QUOTES = re.compile(r'(?:(?:"(?:[^"]|"")*"|[^\s"]+)(?:\s+|$))+')
_DECIMAL = re.compile(r"\s*[-+]?\d+,\d+\s*")
_QUOTED_DECIMAL = re.compile(rf'\s*"{_DECIMAL.pattern}"\s*')

NumberedRows = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class Head:
    """The rows of a file's head, blank ones excluded, in its dialect.

    Attributes:
        width: the normal number of cells.
        constant: fraction of the rows, without those above the first of normal width, that have it.
        declared: whether the first line names the delimiter, `sep=;`.
        rows: (number of the first line, cells).
        habits: of the rows of normal width.
        stray: number of lines with a quote that encloses no cell.
    """

    dialect: Dialect
    width: int
    constant: float
    rows: NumberedRows
    habits: ColumnHabits | None = None
    declared: bool = False
    stray: int = 0

    @property
    def is_sheet(self) -> bool:
        """Whether it is that of a sheet of a workbook, whose rows end with their last cell."""
        return not self.dialect.delimiter

    @property
    def is_even(self) -> bool:
        """Whether most rows have the normal width."""
        return self.constant >= _MIN_BROKEN

    @property
    def is_table(self) -> bool:
        """Whether the rows have one width, of at least two cells."""
        return self.width > 1 and (self.constant >= MIN_CONSTANT or self.declared)


def detect(lines: Sequence[str], delimiter: str | None = None) -> Head:
    """Detect the dialect of complete lines with their ends.

    Args:
        delimiter: if known.
    """
    lines = list(lines[:_MAX_LINES])
    match = _SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    if match and match[1] not in '"\r\n':
        head = _read(lines[1:], match[1], 2)
        return replace(head, declared=True)
    if delimiter is not None:
        return _read(lines, delimiter, 1)
    return _wrapped(lines) or _single_quoted(lines) or _detect(lines)


def _wrapped(lines: Sequence[str]) -> Head | None:
    """The table in lines that are quoted as a whole, as by a program that took the rows for cells; None for none."""
    written = [line for line in lines if line.strip()]
    if len(written) < _MIN_ROWS or not all(_WRAPPED.fullmatch(line) for line in written):
        return None
    if are_quoted_decimals(written):  # "10,40"
        return None
    head = _detect(unwrap_lines(lines))
    return replace(head, dialect=replace(head.dialect, wrapped=True)) if head.is_table else None


def _single_quoted(lines: Sequence[str]) -> Head | None:
    """The table whose cells are in single quotes; None if there is none."""
    written = [line for line in lines if line.strip()]
    enclosed = sum(_SINGLE_QUOTED.search(line) is not None for line in written)
    if len(written) < _MIN_ROWS or enclosed < MIN_CONSTANT * len(written):
        return None
    head = _detect(list(map(exchange_quotes, lines)))
    if not head.is_table or not head.dialect.quote or head.stray:
        return None
    rows = [(line, list(map(exchange_quotes, cells))) for line, cells in head.rows]
    return replace(head, dialect=replace(head.dialect, single=True), rows=rows)


def _detect(lines: list[str]) -> Head:
    marks = [mark for mark in _DELIMITERS if any(mark in line for line in lines)]
    marks += [mark for mark in _RARE_DELIMITERS if all(mark in line for line in lines if line.strip())]
    heads = [_read(lines, mark, 1) for mark in marks]
    # With the wrong delimiter, quotes around cells are in the middle of them.
    clean = [head for head in heads if head.dialect.quote and head.width > 1 and not head.stray]
    if clean and any('"' in line for line in lines):
        heads = clean
    for least in (MIN_CONSTANT, _MIN_BROKEN):
        good = [head for head in heads if head.width > 1 and head.constant >= least]
        # The wrong delimiter may make a few long rows of many lines.
        most = max((_normal(head) for head in good), default=0)
        good = [head for head in good if 2 * _normal(head) >= most]
        whole = [head for head in good if _fraction(head) >= least]
        if whole or good:
            even = [head for head in good if _fraction(head) == 1]  # the header too
            best = (even or whole or good)[0]
            return _one_column(lines) if _is_decimal(best) else best
    ragged = [head for head in heads if _is_ragged(head)]
    if ragged:
        return max(ragged, key=_raggedness)
    for mark in _LAST_RESORTS:
        head = _read(lines, mark, 1)
        uneven = [cells for _, cells in head.rows if len(cells) != head.width]
        # R leaves out the name of the rows' names in the header.
        is_named = (
            mark == SPACES and len(uneven) == 1 and uneven[0] == head.rows[0][1] and len(uneven[0]) == head.width - 1
        )
        is_even = not uneven or is_named
        if (
            is_even
            and head.width > 1
            and len(head.rows) - len(uneven) >= _MIN_ROWS
            and (mark != SPACES or _has_values(head))
        ):
            return head
    return _one_column(lines)


def _has_values(head: Head) -> bool:
    """Whether a column has numbers or times: lines of prose may have equally many words."""
    body = [cells for _, cells in head.rows[1:] if len(cells) == head.width]
    return any(column_kind(cells) in (NUMBER, TIME) for cells in zip(*body, strict=True))


def _fraction(head: Head) -> float:
    """The fraction of all rows that have the normal width."""
    return _normal(head) / max(len(head.rows), 1)


def _normal(head: Head) -> int:
    """The number of rows of normal width."""
    return sum(len(cells) == head.width for _, cells in head.rows)


def _is_decimal(head: Head) -> bool:
    """Whether the rows are one column of numbers with decimal commas."""
    (_, first), *others = head.rows
    return (
        head.dialect.delimiter == ","
        and len(first) == 1
        and bool(others)
        and all(_DECIMAL.fullmatch(",".join(cells)) for _, cells in others)
    )


def may_be_decimals(lines: Sequence[str]) -> bool:
    """Whether lines may be numbers with as many decimals behind a comma, one or two, as well as two columns."""
    written = [line for line in lines if line.strip()]
    if not all(map(_DECIMAL.fullmatch, written)):
        return False
    decimals = {len(line.partition(",")[2].strip()) for line in written}
    return decimals in ({1}, {2})


def are_quoted_decimals(lines: Sequence[str]) -> bool:
    """Whether each line is one quoted cell with a number behind whose comma there are decimals."""
    return all(_QUOTED_DECIMAL.fullmatch(line) for line in lines if line.strip())


def _one_column(lines: Sequence[str]) -> Head:
    """Lines of one cell: the delimiter is one that none of them has."""
    unused = next((mark for mark in "\t;|\x1f" if not any(mark in line for line in lines)), "\x1f")
    return _read(lines, unused, 1)


def _raggedness(head: Head) -> float:
    """The fraction of the rows that have at least as many cells as the first row has."""
    width = len(head.rows[0][1])
    return sum(len(cells) >= width for _, cells in head.rows) / len(head.rows)


def _is_ragged(head: Head) -> bool:
    """Whether the first row may be a header, and delimiters in the last cells of the others may be unquoted."""
    return len(head.rows) > 1 and len(head.rows[0][1]) > 1 and _raggedness(head) >= MIN_CONSTANT


def _is_strict(lines: Sequence[str], delimiter: str) -> bool:
    """Whether the rows have one width by RFC 4180, so that a backslash before a quote is the end of a cell."""
    try:
        return len({len(cells) for cells in csv.reader(lines, delimiter=delimiter, strict=True) if cells}) == 1
    except csv.Error:
        return False


def _read(lines: Sequence[str], delimiter: str, number: int) -> Head:
    """Read the head with a delimiter, in the reading of the quotes that gives most rows one width."""
    plain = Dialect(delimiter)
    quoted = any('"' in line for line in lines)
    dialects = [plain]
    if quoted and delimiter != SPACES:
        if any(map(functools.partial(_has_spaced_quotes, plain), lines)):
            dialects.insert(0, replace(plain, skip_spaces=True))
        escapes = any('\\"' in line and is_malformed(line, plain) for line in lines)
        if escapes and not _is_strict(lines, delimiter):
            dialects = [*(replace(dialect, escape="\\") for dialect in dialects), *dialects]
    heads = [_measure(lines, dialect, number) for dialect in dialects]
    best = max(heads, key=lambda head: head.constant)  # the first of equals
    if quoted and not _encloses_cells(lines, best.dialect):
        best = _measure(lines, replace(best.dialect, quote=""), number)
    return best


def _has_spaced_quotes(dialect: Dialect, line: str) -> bool:
    """Whether a line has a quoted cell behind a space: `1, "a, b"`."""
    mark = dialect.delimiter
    if f'{mark} "' not in line:
        return False
    return any(
        cell.startswith(" ") and cell.lstrip(" ").startswith('"') and mark + cell in line
        for cell in split_line(line, dialect)
    )


def _encloses_cells(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether some quotes enclose a cell."""
    if dialect.delimiter == SPACES:
        return any('"' in line and _SPACED_QUOTES.fullmatch(line.strip()) for line in lines)
    mark = re.escape(dialect.delimiter)
    escaped = r"\\.|" if dialect.escape else ""
    cell = re.compile(rf'(?:^|{mark})[ ]*"(?:{escaped}[^"]|"")*+"[ ]*(?={mark}|$)', re.MULTILINE)
    return cell.search("".join(lines).replace("\r\n", "\n").replace("\r", "\n")) is not None


def _measure(lines: Sequence[str], dialect: Dialect, number: int) -> Head:
    # Two readings: each line is a row, or quoted cells go on in the next line wherever they could.
    alone = [cells for line in lines if any(map(str.strip, cells := split_line(line, dialect)))]
    width, fraction = normal_width(alone)
    sure = alone
    if dialect.quote and dialect.delimiter != SPACES and any(_opens(line, dialect) for line in lines):
        numbers, rows, _ = RowParser(dialect).parse(list(lines), number, True)
        joined = [cells for cells in rows if any(map(str.strip, cells))]
        joined_width, joined_fraction = normal_width(joined)
        unbroken = [cells for cells in joined if not any("\n" in cell for cell in cells)]
        unbroken = unbroken if 2 * len(unbroken) > len(joined) else joined
        if _is_better(unbroken, joined_width, joined_fraction, alone, width, fraction):
            width, sure = joined_width, unbroken
    habits = ColumnHabits(sure, width)
    defects: list[str] = []
    parser = RowParser(dialect, width, habits, lambda kind, line: defects.append(kind))
    numbers, rows, _ = parser.parse(list(lines), number, True)
    found = [(line, cells) for line, cells in zip(numbers, rows, strict=True) if any(map(str.strip, cells))]
    first = next((index for index, (_, cells) in enumerate(found) if len(cells) == width), 0)
    normal = sum(len(cells) == width for _, cells in found)
    # Lines above a header are few, or have one cell.
    is_preamble = first <= _MAX_PREAMBLE and 2 * sum(len(cells) > 1 for _, cells in found[:first]) < normal
    constant = normal / max(len(found) - first * is_preamble, 1) if normal > 1 or len(found) < 2 else 0.0
    return Head(dialect, width, constant, found, habits, stray=len(defects))


def _is_better(
    joined: Rows, joined_width: int, joined_fraction: float, alone: Rows, width: int, fraction: float
) -> bool:
    """Whether quoted cells go on in the next line, rather than being letters that would swallow rows.

    Then the rows are more even, or their columns have more in common, or each quote that opens a cell has one that
    closes it.
    """
    if joined_fraction != fraction:
        return joined_fraction > fraction
    found = ColumnHabits(joined, joined_width).count - ColumnHabits(alone, width).count
    if found:
        return found > 0
    opened = sum(cell.lstrip().startswith('"') for cells in alone for cell in cells)
    closed = sum(cell.rstrip().endswith('"') for cells in alone for cell in cells)
    return 5 * closed >= 4 * opened


def _opens(line: str, dialect: Dialect) -> bool:
    return line.startswith('"') or f'{dialect.delimiter}"' in line or f'{dialect.delimiter} "' in line
