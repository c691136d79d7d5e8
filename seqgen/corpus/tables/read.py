"""Reader of tables for all tasks: CSV, TSV and their relatives, and Excel workbooks.

| input | result |
|---|---|
| delimiter | the one of tab, `;`, `\\|` and comma that gives rows of one width; colons or spaces if only they do |
| `sep=;` in the first line | the delimiter |
| line ends | LF, CR LF, CR, mixed |
| quotes | enclose cells, doubled inside or escaped by a backslash; letters if they enclose none (see `rows`) |
| comments (#), lines above the header | skipped, reported |
| header | known by being unlike the rows below; several header rows, units and dashes are reported |
| columns without a name | named `column_1`, …; dropped if empty throughout the head |
| repeated names | made unique, reported |
| rows with fewer or more cells | yielded as they are, reported |
| the header again, of tables put together | skipped, reported |
| notes below the table | skipped, reported |
| lines that are not UTF-8, NUL bytes | read as Windows-1252 and U+FFFD, reported |
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from seqgen.corpus.documents import Document, Warn
from seqgen.corpus.tables.cells import filled, is_value
from seqgen.corpus.tables.columnar import ColumnBlock, ColumnParser
from seqgen.corpus.tables.detect import Head, are_quoted_decimals, detect, may_be_decimals
from seqgen.corpus.tables.dialect import Dialect
from seqgen.corpus.tables.header import Header, find_header, is_comment
from seqgen.corpus.tables.rows import NOT_UTF8, NUL_BYTES, STRAY_QUOTES, RowParser, line_blocks, split_lines
from seqgen.errors import DataError

_HEAD_BYTES = 1 << 18
_SAMPLE_ROWS = 400
_MAX_NOTES = 20  # rows below a table
_FORMULA = re.compile(r'="([^"]*)"|=([-+]?\d[\d.,]*)')
_SHORT = "{rows have|row has} fewer cells than the {width} of the others"
_LONG = "{rows have|row has} more cells than the {width} of the others"
_COMMENT = "{comment lines are|comment line is} skipped"
_NOTE = "{lines below the table are|line below the table is} skipped"
_ABOVE = "{lines above the table are|line above the table is} skipped"
_BELOW = "{rows below the header hold no data and are|row below the header holds no data and is} skipped"
_HEADER = "{rows repeat the header and are|row repeats the header and is} skipped"

Rows = list[list[str]]
NumberedRow = tuple[int, list[str]]
Blocks = Iterator[tuple[Sequence[int], Rows]]
MixedBlocks = Iterator[tuple[Sequence[int], Rows | ColumnBlock]]


class TableReport:
    """Count and first line of each kind of defect, reported once."""

    def __init__(self, name: str, unit: str, ignored: Collection[str] = ()) -> None:
        self.name, self.unit, self._ignored = name, unit, ignored
        self._found: dict[str, tuple[int, int, str]] = {}

    def add(self, kind: str, line: int, example: str = "", count: int = 1) -> None:
        number, first, text = self._found.get(kind, (0, line, example))
        self._found[kind] = number + count, first, text

    def flush(self, warn: Warn, width: int = 0) -> None:
        found, self._found = self._found, {}
        for kind, (count, first, example) in found.items():
            if kind in self._ignored:
                continue
            before, _, rest = kind.partition("{")
            choice, _, after = rest.partition("}")
            sentence = before + choice.split("|")[count == 1] + after.replace("{width}", f"{width:,}")
            where = f"{self.unit} {first:,}" + (f", {example!r}" if example else "")
            warn(f"{self.name}: {count:,} {sentence} (first: {where})")


@dataclass
class Table:
    """A table, read as often as its rows are asked for, never whole in memory.

    Attributes:
        name: for messages.
        unit: of row numbers: `line`, or `row` of a sheet.
        header: unique names of the columns.
        has_header: whether they stand in the table; otherwise they are `column_1`, `column_2` and so on.
        nameless: indices of the columns for which the header that stands there has no name.
        sample: the first data rows, at most 400.
        is_regular: whether nearly all rows of the head have one width, of at least two cells.
    """

    name: str
    unit: str
    dialect: Dialect
    header: tuple[str, ...]
    has_header: bool
    nameless: frozenset[int]
    sample: list[list[str]]
    is_regular: bool
    _blocks: Callable[[TableReport, ColumnParser | None], MixedBlocks]
    _layout: _Layout
    _warn: Warn
    _ignored: tuple[str, ...] = ()  # kinds of defects that are not reported

    @property
    def format(self) -> str:
        """The name of the format."""
        return "Excel" if self.unit == "row" else "TSV" if self.dialect.delimiter == "\t" else "CSV"

    @property
    def width(self) -> int:
        """The normal number of cells."""
        return len(self.header)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (number of the first line, cells) of each row of data.

        Blank rows, comments, notes and everything above the data are left out. Rows with too few or too many cells
        are yielded as they are. What was left out or is irregular is reported when the rows end.
        """
        for numbers, rows in self.blocks():
            yield from zip(numbers, rows, strict=True)

    def blocks(self) -> Blocks:
        """As `rows`, as blocks of (line numbers, rows)."""
        for numbers, rows in self._mixed_blocks(None):
            assert not isinstance(rows, ColumnBlock)  # without a parser of them
            yield numbers, rows

    def column_blocks(self, texts: Collection[int]) -> MixedBlocks:
        """As `blocks`, the blocks of rows that need no interpretation as columns.

        Args:
            texts: indices of the columns that are text though they may hold numbers only.
        """
        layout = self._layout
        parser = ColumnParser(self.dialect, layout.first_line, layout.raw_width, self.sample, texts)
        return self._mixed_blocks(parser if layout.is_whole else None)

    def _mixed_blocks(self, columns: ColumnParser | None) -> MixedBlocks:
        report = TableReport(self.name, self.unit, self._ignored)
        yield from self._layout.data(self._blocks(report, columns), report)
        report.flush(self._warn, self.width)
        self._warn = _ignore  # once

    def column(self, name: str) -> int | None:
        """Return the index of a column by its exact name, or None."""
        return self.header.index(name) if name in self.header else None


def _ignore(_: str) -> None:
    pass


@dataclass(frozen=True)
class _Layout:
    """Where the data of a table are.

    Attributes:
        first_line: of the data.
        skipped: rows above and below the header, and comments.
        columns: those that are kept: empty ones without a name at the edges are not.
        key_is_value: whether the first column has numbers or times.
        header: the rows of the header, which stand again where tables were put together; none if there is no header.
    """

    first_line: int
    skipped: tuple[tuple[str, int, str, int], ...]  # kind, first line, example, count
    columns: slice
    raw_width: int
    key_is_value: bool
    is_plain: bool  # every row that is not blank is data
    has_formulas: bool  # ="2021-01-01"
    header: Rows

    @property
    def is_whole(self) -> bool:
        """Whether the rows of normal width are yielded as they are."""
        return not self.has_formulas and self.columns == slice(0, self.raw_width)

    def data(self, blocks: MixedBlocks, report: TableReport) -> MixedBlocks:
        """Yield the data of a table, blocks of columns as they are."""
        for numbers, rows in self._data(blocks, report):
            if self.has_formulas and not isinstance(rows, ColumnBlock):
                rows = [list(map(_without_formula, row)) for row in rows]
            yield numbers, rows

    def _data(self, blocks: MixedBlocks, report: TableReport) -> MixedBlocks:
        for kind, line, example, count in self.skipped:
            report.add(kind, line, example, count)
        width = self.raw_width
        held: list[NumberedRow] = []  # rows that are notes if nothing follows them
        again: Rows = []  # rows of the header that follow if it stands again
        for numbers, rows in blocks:
            if isinstance(rows, ColumnBlock):  # data: what was held back is no note below the table
                again.clear()
                if held:
                    earlier, held = self._checked(held, report), []
                    yield [line for line, _ in earlier], [cells for _, cells in earlier]
                yield numbers, rows
                continue
            if not rows or numbers[-1] < self.first_line:
                continue
            if (
                numbers[0] < self.first_line
                or held
                or again
                or any(one in rows for one in self.header[:1])
                or set(map(len, rows)) != {width}
                or any(not any(map(str.strip, row)) for row in rows if not row[0].strip())
                or (self.key_is_value and not self.is_plain and any(map(self._may_be_note, rows[-_MAX_NOTES:])))
            ):
                numbers, rows = self._select(numbers, rows, report, held, again)
            if self.columns != slice(0, width):
                rows = self._without_edges(numbers, rows, report)
            if rows:
                yield numbers, rows
        for line, cells in held:
            report.add(_NOTE, line, " ".join(filter(None, map(str.strip, cells)))[:60])

    def _select(
        self, numbers: Sequence[int], rows: Rows, report: TableReport, held: list[NumberedRow], again: Rows
    ) -> tuple[Sequence[int], list[list[str]]]:
        """Leave out blank rows, comments and the header where it recurs, and hold back what may be notes below."""
        kept: list[NumberedRow] = []
        width = self.raw_width
        for line, cells in zip(numbers, rows, strict=True):
            if line < self.first_line or not any(map(str.strip, cells)):
                continue
            if cells in self.header[:1] or cells in again[:1]:
                report.add(_HEADER, line)
                again[:] = again[1:] if cells in again[:1] else self.header[1:]
                continue
            again.clear()
            if self.is_plain:
                kept.append((line, cells))
                continue
            if len(cells) != width:
                if is_comment(cells, width):
                    report.add(_COMMENT, line, cells[0].strip()[:60])
                    continue
                if self._may_be_note(cells) and len(held) < _MAX_NOTES:
                    held.append((line, cells))
                    continue
            elif self.key_is_value and self._may_be_note(cells) and len(held) < _MAX_NOTES:
                held.append((line, cells))
                continue
            kept += self._checked([*held, (line, cells)], report)
            held.clear()
        return [line for line, _ in kept], [cells for _, cells in kept]

    def _checked(self, rows: list[NumberedRow], report: TableReport) -> list[NumberedRow]:
        """Return rows of data, those of another width reported."""
        for line, cells in rows:
            if len(cells) < self.raw_width:
                report.add(_SHORT, line)
            elif any(map(str.strip, cells[self.raw_width :])):
                report.add(_LONG, line)
            else:
                del cells[self.raw_width :]  # delimiters at the end of the row
        return rows

    def _may_be_note(self, cells: list[str]) -> bool:
        written = [cell for cell in cells if cell.strip()]
        if self.raw_width < 2 or len(written) != 1 or not cells[0].strip():
            return False
        if len(cells) == self.raw_width:
            return self.raw_width > 1 and self.key_is_value and not is_value(cells[0])
        return len(cells) == 1 or not any(map(str.strip, cells[1:]))

    def _without_edges(self, numbers: Sequence[int], rows: list[list[str]], report: TableReport) -> list[list[str]]:
        first, last = self.columns.start, self.columns.stop
        for line, cells in zip(numbers, rows, strict=True):
            if any(map(str.strip, cells[:first])) or any(map(str.strip, cells[last : self.raw_width])):
                report.add("{rows have|row has} cells in a column without a name, left out", line)
        return [[*cells[first:last], *cells[self.raw_width :]] for cells in rows]


def open_table(
    document: Document,
    warn: Warn,
    sheet: str | None = None,
    known: Collection[str] = (),
    header: bool | None = None,
    delimiter: str | None = None,
    reports_widths: bool = True,
) -> Table:
    """Open a table.

    Args:
        warn: called with a sentence for each kind of what is left out or ambiguous.
        sheet: of a workbook; by default its only sheet with cells.
        known: lower-case names of columns by which a first row is certainly a header.
        header: whether the first row is a header; by default decided by the rows below it. Without one, every row is
            data, also those of another width and comments.
        delimiter: by default the one that gives rows of one width.
        reports_widths: whether rows with too few or too many cells are reported; otherwise the caller does it.

    Raises:
        DataError: the document can't be read or has no rows.
    """
    name = document.shown
    ignored = () if reports_widths else (_SHORT, _LONG)
    if is_workbook(b"".join(document.chunks(0, 8))):
        from seqgen.corpus.tables.excel import open_sheet

        source = open_sheet(document, name, sheet, warn)
        head_rows = list(itertools.islice(source.rows(), 1000))
        head = Head(Dialect("", ""), _sheet_width(head_rows), 1.0, head_rows)
        return _table(source.name, "row", head, True, source.blocks, warn, known, header, ignored)
    if sheet is not None:
        raise DataError(f"{name} is not a workbook: it has no sheets; leave out --sheet")
    lines: list[str] = []
    size = 0
    is_complete = True
    for _, block in line_blocks(document.limited(), lambda kind, line: None):
        lines += block
        size += sum(map(len, block))
        if size >= _HEAD_BYTES:
            is_complete = False
            break
    whole = _whole(lines, is_complete)
    head = detect(whole, delimiter)
    if not head.rows:
        raise DataError(f"{name} is not a table: it has no rows")

    def blocks(report: TableReport, columns: ColumnParser | None) -> MixedBlocks:
        parser = RowParser(head.dialect, head.width, head.habits, report.add)
        return parser.blocks(line_blocks(document.limited(), report.add), columns)

    table = _table(name, "line", head, head.is_table, blocks, warn, known, header, ignored)
    if header is None and delimiter is None and not table.has_header:
        _warn_of_commas(table, head, whole, warn)
    return table


def _warn_of_commas(table: Table, head: Head, lines: Sequence[str], warn: Warn) -> None:
    """Report lines that may be one number with decimals as well as two columns."""
    example = next((line.strip() for line in lines if line.strip()), "")
    if table.width == 2 and head.dialect.delimiter == "," and may_be_decimals(lines):
        warn(
            f"{table.name}: lines such as {example!r} are read as two columns of whole numbers; if the comma is the "
            "decimal mark, write a name above them"
        )
    elif table.width == 1 and are_quoted_decimals(lines):
        warn(
            f"{table.name}: lines such as {example!r} are read as one number each; if they are two columns, leave out "
            "the quotes"
        )


def _sheet_width(rows: Sequence[NumberedRow]) -> int:
    """The cells of a row, in a sheet whose rows end with their last cell: as many as the widest of them has.

    But a cell beside the table, such as a note, makes its row wider than the header and the rows above it. Lines above
    a header are few, or have one cell.
    """
    lengths = [len(cells) for _, cells in rows]
    for width in sorted(set(lengths), reverse=True):
        first = next(index for index, length in enumerate(lengths) if length >= width)
        above = sum(length > 1 for length in lengths[:first])
        if 2 * above < sum(length >= width for length in lengths):
            return width
    return 1


def is_workbook(head: bytes) -> bool:
    """Whether a file that begins so may be an Excel workbook, which is a zip archive."""
    return head.startswith(b"PK\x03\x04")


def sniff(head: str, name: str, is_complete: bool, known: Collection[str] = ()) -> Table | None:
    """Return the table that the head of a file begins, with no more rows than that; None if it is none.

    Args:
        head: decoded, without a byte order mark.
        is_complete: whether it is the whole file.
    """
    try:
        found = detect(_whole(split_lines(head.replace("\0", "\ufffd")), is_complete))
        if not found.rows:
            return None
        rows = [cells for _, cells in found.rows]
        numbers = [line for line, _ in found.rows]
        return _table(name, "line", found, found.is_table, lambda *_: iter([(numbers, rows)]), _ignore, known, None)
    except (DataError, ValueError):
        return None


def table_of(name: str, header: Sequence[str], rows: Rows) -> Table:
    """Return a table of rows that are in memory, each with a cell for each name of the header."""
    width = len(header)
    nameless = frozenset(index for index, one in enumerate(header) if not one.strip())
    layout = _Layout(1, (), slice(0, width), width, False, True, False, [])
    numbers = range(1, len(rows) + 1)
    return Table(
        name, "row", Dialect(), _unique(header, name, _ignore), True, nameless, rows, width > 1,
        lambda *_: iter([(numbers, rows)]), layout, _ignore,
    )  # fmt: skip


def _whole(lines: list[str], is_complete: bool) -> list[str]:
    """The complete lines, and the first in any case."""
    return lines if is_complete or len(lines) < 2 else lines[:-1]


def _table(
    name: str,
    unit: str,
    head: Head,
    is_regular: bool,
    blocks: Callable[[TableReport, ColumnParser | None], MixedBlocks],
    warn: Warn,
    known: Collection[str],
    given: bool | None,
    ignored: tuple[str, ...] = (),
) -> Table:
    found = find_header(head, known, given)
    data = head.rows[found.first_row :]
    names = list(found.names or [""] * head.width)
    width = len(names)
    body = [cells for _, cells in data if len(cells) > 1 or width == 1]
    columns = _columns(names, body, found.names is not None, head.dialect.delimiter)
    layout = _Layout(
        data[0][0] if data else max((line for line, _ in head.rows), default=0) + 1,
        _skipped(found),
        columns,
        width,
        _is_value_column([cells[columns.start] for _, cells in data if len(cells) > columns.start]),
        given is False,
        any(_FORMULA.fullmatch(cell) for _, cells in data[:_SAMPLE_ROWS] for cell in cells if cell.startswith("=")),
        _header_rows(head, found),
    )
    header = _unique(names[columns], name, warn)
    nameless = frozenset(index for index, one in enumerate(names[columns]) if found.names and not one.strip())
    table = Table(
        name, unit, head.dialect, header, found.names is not None, nameless, [], is_regular, blocks, layout, warn,
        ignored,
    )  # fmt: skip
    sample = layout.data(iter([([line for line, _ in data], [cells for _, cells in data])]), TableReport(name, unit))
    table.sample = [cells for _, rows in sample if isinstance(rows, list) for cells in rows][:_SAMPLE_ROWS]
    return table


def _header_rows(head: Head, found: Header) -> Rows:
    """The rows of the header as they stand again in further blocks, of a sheet with the empty cells at their ends."""
    first = next((cells for line, cells in head.rows if line == found.line and len(cells) > 1), None)
    rows = [] if first is None else [first, *(cells for _, cells in found.below)]
    return [filled(cells, head.width) for cells in rows] if head.is_sheet else rows


def _without_formula(cell: str) -> str:
    """Return the text in a formula that has only that, as programs write it to keep spreadsheets from changing it."""
    found = _FORMULA.fullmatch(cell) if cell.startswith("=") else None
    return cell if found is None else found[1] or found[2] or ""


def _is_value_column(cells: Sequence[str]) -> bool:
    written = [cell for cell in cells[:_SAMPLE_ROWS] if cell.strip()]
    good = sum(map(is_value, written))
    return good > 2 and (good >= 0.8 * len(written) or good == len(written) - 1)


def _skipped(found: Header) -> tuple[tuple[str, int, str, int], ...]:
    below = [row for row in found.below if row[0] not in found.naming]
    kinds = ((_COMMENT, found.comments), (_ABOVE, found.above), (_BELOW, below))
    return tuple((kind, rows[0][0], ",".join(rows[0][1]).strip()[:60], len(rows)) for kind, rows in kinds if rows)


def _columns(names: Sequence[str], rows: Sequence[Sequence[str]], has_header: bool, delimiter: str) -> slice:
    """The columns without those at the end that have neither a name nor a cell; of | tables also at the beginning."""
    first, last = 0, len(names)

    def is_empty(index: int) -> bool:
        return not names[index].strip() and not any(index < len(row) and row[index].strip() for row in rows)

    while last > 1 and is_empty(last - 1):
        last -= 1
    while delimiter == "|" and first < last - 1 and is_empty(first):
        first += 1
    return slice(first, last)


def _unique(names: Sequence[str], table: str, warn: Warn) -> tuple[str, ...]:
    """Return unique names for all columns."""
    found: dict[str, None] = {}
    names = [" ".join(name.split()) for name in names]  # of several lines, as spreadsheets have them
    taken, next_number = set(names), Counter[str]()
    for number, wanted in enumerate(names, 1):
        unique = wanted or f"column_{number}"
        if unique in found:
            first = next_number[unique] or 2
            count = next(count for count in itertools.count(first) if f"{unique}_{count}" not in taken)
            next_number[unique] = count + 1
            unique = f"{unique}_{count}"
            warn(f"{table} has two columns {wanted!r}; the second is renamed to {unique!r}")
        found[unique] = None
        taken.add(unique)
    return tuple(found)


__all__ = ["NOT_UTF8", "NUL_BYTES", "STRAY_QUOTES", "Table", "open_table", "sniff", "table_of"]
