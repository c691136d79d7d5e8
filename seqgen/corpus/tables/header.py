"""The header of a table: known by being unlike the rows below it, in any language.

Above it there may be comments and other lines, below it more header rows: tickers, units, or a line of dashes.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from seqgen.corpus.tables.cells import NUMBER, TEXT, TIME, cell_kind, column_kind, filled
from seqgen.corpus.tables.detect import Head, NumberedRows

_MAX_HEADER_ROWS = 5
_SAMPLE_ROWS = 400
_MAX_PADDED_CELLS = 1 << 19  # of rows below a longer header: fewer rows decide on one of thousands of names
_MAX_SPARSE_ROWS = 40  # above a header, of fewer cells than that has
_RULE = re.compile(r"\s*[-+=|:]{3}[-+=|: ]*")  # as databases print it around tables
_DASHES = re.compile(r"\s*:?[-=_+]{2,}:?\s*")
_SENTENCE_ENDS = tuple(".!?…。！？")
_MAX_NAME_LENGTH = 40  # characters of a column's name
_YEARS = range(1500, 2200)


@dataclass(frozen=True)
class Header:
    """The rows above the data.

    Attributes:
        names: of the columns, '' for those without one; None without a header.
        line: of the header; 0 for none.
        first_row: index of the first row of data among the rows of the head.
        above: rows above the header, or the data, that hold neither.
        comments: the same for lines that begin with #.
        below: rows between header and data.
        naming: lines of those below whose cells are parts of the names.
    """

    names: tuple[str, ...] | None
    line: int
    first_row: int
    above: NumberedRows
    comments: NumberedRows
    below: NumberedRows
    naming: frozenset[int] = frozenset()


def find_header(head: Head, known: Collection[str] = (), given: bool | None = None) -> Header:
    """Find the header among the rows of a head.

    Args:
        known: names of columns in lower case, by which a first row is certainly a header.
        given: whether there is a header, if that is known. If there is none, all rows are data.
    """
    rows, width = head.rows, head.width
    if given is False:
        return Header(None, 0, 0, [], [], [])
    comments: NumberedRows = []
    start = 0
    while start < len(rows) and is_comment(rows[start][1], width):
        comments.append(rows[start])
        start += 1
    merged = _merged_header(head, start) if given is None and head.is_even else None
    if merged is not None:
        return replace(merged, comments=comments)
    first = next((index for index in range(start, len(rows)) if len(rows[index][1]) == width), start)
    if not head.is_even:
        first = start  # rows of any width are data
    elif given is None:
        first = _below_sparse_rows(rows, first, width, known)
    if first == len(rows):
        return Header(None, 0, start, [], comments, [])
    line, cells = rows[first]
    wide = max(width, len(cells))  # in an uneven table the first row may be longer than most
    below = [row for _, row in rows[first + 1 : first + 1 + _SAMPLE_ROWS] if len(row) == wide]
    is_header = _is_header(cells, below, known) if given is None else given
    if not is_header and first > start and width > 1:
        names = _uneven_names(rows[first - 1][1], [cells, *below], known)
        if names is not None:  # the row above has another number of cells than the data, and is unlike it
            return Header(names, rows[first - 1][0], first, rows[start : first - 1], comments, [])
    if not is_header and comments and given is None:
        names = _commented_names(head, comments[-1][1], [cells, *below])
        if names is not None:
            return Header(names, comments[-1][0], first, rows[start:first], comments[:-1], [])
    above = rows[start:first]
    if not is_header:
        longer = next((index for index, (_, row) in enumerate(above) if len(row) > width), len(above))
        return Header(None, 0, start + longer, above[:longer], comments, [])
    extra = _rows_below(rows[first + 1 :], width, head.is_sheet)
    if cells[0].startswith("#"):
        cells = [cells[0].lstrip("# ") or cells[0], *cells[1:]]
    further = [(number, row) for number, row in _filled(extra, width, head.is_sheet) if len(row) == width]
    names, naming = _merged_names(cells, further)
    return Header(names, line, first + 1 + len(extra), above, comments, extra, naming)


def _below_sparse_rows(rows: NumberedRows, first: int, width: int, known: Collection[str]) -> int:
    """Return the index of a header below rows that spreadsheets fill up with empty cells; `first` if there are none."""
    for index in range(first, min(first + _MAX_SPARSE_ROWS, len(rows))):
        cells = rows[index][1]
        written = sum(map(bool, map(str.strip, cells)))
        if len(cells) == width and written == width:
            below = [row for _, row in rows[index + 1 : index + 1 + _SAMPLE_ROWS] if len(row) == width]
            return index if index > first and _is_header(cells, below, known) else first
        if 2 * written > width:
            break
    return first


def _merged_header(head: Head, start: int) -> Header | None:
    """Return the header of two rows with merged cells, of which spreadsheets leave all but the first empty.

    `Date, Sales, , Stock` above `, North, South, ` names `Date`, `Sales North`, `Sales South` and `Stock`. The rows are
    text above columns that are mostly numbers and times, and name each but perhaps the first. The lower one has no cell
    under one of the upper, or has names that only the upper tells apart. None if there are no such rows.
    """
    rows, width = head.rows, head.width
    for index in range(start, min(start + _MAX_SPARSE_ROWS, len(rows) - 2)):
        (line, above), (_, below), (_, after) = rows[index : index + 3]
        if len(above) == width and all(map(str.strip, above)):
            return None
        if len(above) > width or len(below) > width:
            continue
        upper, lower = (filled([cell.strip() for cell in cells], width) for cells in (above, below))
        groups = list(upper)
        for column in range(1, width):
            if lower[column - 1] and lower[column] and not groups[column]:
                groups[column] = groups[column - 1]
        names = [f"{group} {name}".strip() for group, name in zip(groups, lower, strict=True)]
        ends = any(group and not name for group, name in zip(upper, lower, strict=True))
        written = [name for name in lower if name]
        tells_apart = len(set(written)) < len(written) and len(set(names)) == width
        if groups == upper or not (ends or tells_apart) or not all(names[1:]):
            continue
        if any(cell and cell_kind(cell) != TEXT for cell in (*upper, *lower)):
            continue
        if 2 * len(_typed_columns(_filled(rows[index + 2 :], width, head.is_sheet), width) or ()) <= width:
            continue
        extra = rows[index + 1 : index + 2]
        if not names[0] and cell_kind(after[0]) == TEXT and not any(map(str.strip, after[1:])):
            names[0] = after[0].strip()  # pandas names the column of times in a row of its own
            extra = rows[index + 1 : index + 3]
        naming = frozenset(number for number, _ in extra)
        extra = extra + _rows_below(rows[index + 1 + len(extra) :], width, head.is_sheet)
        return Header(tuple(names), line, index + 1 + len(extra), rows[start:index], [], extra, naming)
    return None


def is_comment(cells: Sequence[str], width: int) -> bool:
    """Whether a row is a comment: it begins with # or is a line of dashes, and is no row of the table."""
    return len(cells) != width and (cells[0].lstrip().startswith("#") or _RULE.fullmatch("".join(cells)) is not None)


def _is_header(first: Sequence[str], below: Sequence[Sequence[str]], known: Collection[str]) -> bool:
    names = [cell.strip() for cell in first]
    count = sum(name.lower() in known for name in names)
    if count > 1 or (count and _recurs(first, below, known)):  # of tables put together, the header recurs
        below = [row for row in below if row != first]
    if any(
        name.lower() in known and all(name != row[index].strip() for row in below) for index, name in enumerate(names)
    ):
        return True  # a label of that name would occur again
    if not below:
        return False
    columns = [[row[index] for row in below] for index in range(len(names))]
    if not names[0] and names[1:] == list(map(str, range(len(names) - 1))) and len(names) > 1 and all(columns[0]):
        return True  # pandas numbers columns without a name, and gives that of the rows none
    body = min(_MAX_HEADER_ROWS, len(below) // 2)  # there may be more header rows
    pairs = [(cell_kind(name), column_kind(cells[body:])) for name, cells in zip(names, columns, strict=True)]
    typed = [(mine, kind) for mine, kind in pairs if kind in (NUMBER, TIME) and mine]
    if typed:
        # Of a row of data, few cells are out of place; of a header all are, but for years.
        wrong = sum(mine != kind for mine, kind in typed)
        return wrong * 2 > len(typed) or _are_years(names, pairs)
    return _is_above_row_numbers(names, columns) or _is_unlike_text(names, columns)


def _recurs(first: Sequence[str], below: Sequence[Sequence[str]], known: Collection[str]) -> bool:
    """Whether a row with a known name stands again below as a header does, not as a row with a label of that name.

    No other row has one of its cells, or another known name in that column.
    """
    others = [row for row in below if row != first]
    if len(first) < 2 or not 0 < len(others) < len(below):
        return False
    return not any(
        (cell and cell == row[index]) or (cell.strip().lower() in known and row[index].strip().lower() in known)
        for index, cell in enumerate(first)
        for row in others
    )


def _is_above_row_numbers(names: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Whether it names all columns but that of the rows' numbers, as pandas and R write them."""
    numbers = [cell.strip() for cell in columns[0]]
    are_numbers = len(set(numbers)) == len(numbers) > 1 and all(re.fullmatch("[0-9]{1,18}", each) for each in numbers)
    return are_numbers and not names[0] and all(names[1:]) and not any(map(operator.contains, columns[1:], names[1:]))


def _are_years(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether the numbers among the names are successive years, as in tables that have a column a year."""
    numbers = [name for name, (mine, kind) in zip(names, pairs, strict=True) if mine == NUMBER and kind != TEXT]
    if len(numbers) < 3 or not all(re.fullmatch(r"\d{4}", name) and int(name) in _YEARS for name in numbers):
        return False
    years = list(map(int, numbers))
    steps = {later - earlier for earlier, later in itertools.pairwise(years)}
    return len(steps) == 1 and steps != {0}


def _is_unlike_text(names: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Whether a row of words is a header of columns of text.

    It isn't if one of its cells occurs below. It is if its cell in a column of repeated values occurs only there, and
    nothing in its other cells is like the text below; or if all rows below have sentences, and it has names.
    """
    cleaned = [[cell.strip() for cell in cells] for cells in columns]
    # A column without a name has hardly a cell.
    named = [index for index, cells in enumerate(cleaned) if names[index] or 2 * sum(map(bool, cells)) > len(cells)]
    names, cleaned = [names[index] for index in named], [cleaned[index] for index in named]
    if not names or not all(names) or len(set(names)) < len(names):
        return False
    if any(len(name) > _MAX_NAME_LENGTH or name.endswith(_SENTENCE_ENDS) for name in names):
        return False
    if any(name in cells for name, cells in zip(names, cleaned, strict=True)):
        return False
    repeated, prose = [], []
    for name, cells in zip(names, cleaned, strict=True):
        counts = Counter(cell for cell in cells if cell)
        once = sum(count == 1 for count in counts.values())
        if counts and once <= 0.02 * counts.total() and len(counts) * 2 <= counts.total():
            repeated.append(name)
        elif counts:
            prose.append((name, [cell for cell in cells if cell]))
    unlike = [_is_name(name, cells) for name, cells in prose]
    if repeated:
        # One of a hundred texts may be as short as a name; a label that occurs once is rarer still.
        return all(_is_short(name, cells) for name, cells in prose)
    return bool(unlike) and all(unlike)


def _is_short(name: str, cells: Sequence[str]) -> bool:
    """Whether a name is no longer than the texts of a column."""
    return len(name) <= max(map(len, cells))


def _is_name(name: str, cells: Sequence[str]) -> bool:
    """Whether a name is one word, and nothing below it is."""
    if len(name.split()) > 1 or any(len(cell) <= len(name) for cell in cells):
        return False
    spaced = sum(len(cell.split()) > 1 for cell in cells)
    if spaced == len(cells):
        return len(cells) > 1
    # Without spaces between words, as in Chinese.
    return len(cells) > 1 and not spaced * 2 > len(cells) and min(map(len, cells)) >= 2 * len(name)


def _uneven_names(
    above: Sequence[str], rows: Sequence[Sequence[str]], known: Collection[str]
) -> tuple[str, ...] | None:
    """Return the names in a row above the data of another number of cells; None if it is no header.

    If delimiters in the cells are not quoted, there are fewer names than cells.
    """
    width, names = len(rows[0]), [cell.strip() for cell in above]
    if len(names) < 2:
        return None
    if len(names) < width and not any(row[-1].strip() for row in rows):  # delimiters at the ends of the rows
        fitted = filled(names, width)
    elif len(names) == width - 1 and _has_row_names(names, rows, known):  # R leaves out the name of the rows' names
        fitted = ["", *names]
    elif len(names) < width:
        spaced = sum(any(cell.startswith(" ") for cell in row[1:]) for row in rows) * 2 > len(rows)
        is_name = all(names) and len(set(names)) == len(names) and all(cell_kind(name) == TEXT for name in names)
        return tuple(names) if is_name and (spaced or any(name.lower() in known for name in names)) else None
    elif len(names) > width:  # delimiters at the end of the header, or cells missing at the ends of all rows
        fitted = names[:width] if not any(names[width:]) else names
    else:
        return None
    rows = rows[: max(1, _MAX_PADDED_CELLS // len(fitted))]
    padded = [filled(row, len(fitted)) for row in rows]
    return tuple(fitted) if _is_header(fitted, padded, known) else None


def _has_row_names(names: Sequence[str], rows: Sequence[Sequence[str]], known: Collection[str]) -> bool:
    """Whether the first cells may be the names of the rows: no two are the same, and no cell of the next goes on."""
    first = [row[0].strip() for row in rows]
    if len(set(first)) < len(first) or sum(row[1].startswith(" ") for row in rows) * 2 > len(rows):
        return False
    return names[0].lower() not in known or column_kind(first) != TIME  # the name of times stands above times


def _commented_names(head: Head, cells: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the names in a commented header, `# time, price`; None if the comment is something else."""
    first = cells[0].lstrip().removeprefix("#").lstrip("# ").strip()
    names = [first, *(cell.strip() for cell in cells[1:])]
    if not first and len(names) == len(rows[0]) + 1:
        names = names[1:]
    if len(names) != len(rows[0]) or len(names) < 2:
        return None
    return tuple(names) if _is_header(names, rows, ()) else None


def _filled(rows: NumberedRows, width: int, is_sheet: bool) -> NumberedRows:
    """The first rows, in a sheet with the empty cells at their ends, which it leaves out."""
    rows = rows[: _SAMPLE_ROWS + _MAX_HEADER_ROWS]
    return [(line, filled(cells, width)) for line, cells in rows] if is_sheet else rows


def _rows_below(rows: NumberedRows, width: int, is_sheet: bool) -> NumberedRows:
    """Return the rows below a header that belong to it: further names, units, dashes.

    They have no number or time in any column that has numbers or times below them, and most columns have.
    """
    found: NumberedRows = []
    filled = _filled(rows, width, is_sheet)
    typed = _typed_columns(filled, width)
    if typed is None:
        return found
    for (line, written_cells), (_, cells) in zip(rows[:_MAX_HEADER_ROWS], filled, strict=False):
        if is_comment(written_cells, width):
            found.append((line, written_cells))
            continue
        if len(cells) != width:
            break
        written = [cell for cell in cells if cell.strip()]
        dashes = bool(written) and all(_DASHES.fullmatch(cell) for cell in written)
        mine = [cell_kind(cells[index]) for index in typed]
        names = len(typed) * 2 > width and TEXT in mine and NUMBER not in mine and TIME not in mine
        # A row of data may have text in one of its columns of numbers, hardly in all of them.
        if not dashes and not (names and (mine.count(TEXT) * 2 > len(mine) or len(written) == 1)):
            break
        found.append((line, written_cells))
    return found


def _typed_columns(rows: NumberedRows, width: int) -> list[int] | None:
    """Return the columns that have numbers or times below what further header rows there may be; None for one row."""
    data = [cells for _, cells in rows if len(cells) == width]
    if len(data) < 2:
        return None
    body = data[min(_MAX_HEADER_ROWS, len(data) // 2) :]
    return [index for index, cells in enumerate(zip(*body, strict=True)) if column_kind(cells) in (NUMBER, TIME)]


def _merged_names(names: Sequence[str], below: NumberedRows) -> tuple[tuple[str, ...], frozenset[int]]:
    """Return names made unique by the rows below them, and the lines of the rows that have parts of them.

    Close of two tickers becomes `Close ACME`, `Close INIT`. A row with a cell in the first column only, as pandas
    writes it, has the name of that column.
    """
    merged = [name.strip() for name in names]
    repeated = len({name for name in merged if name}) < sum(map(bool, merged))
    naming: set[int] = set()
    for line, cells in below:
        written = [index for index, cell in enumerate(cells) if cell.strip()]
        if merged[0] and not any(merged[1:]) and len(cells) > 1 and all(map(str.strip, cells[1:])):
            # The row above is a title.
            merged = [cells[0].strip() or merged[0], *map(str.strip, cells[1:])]
        elif written == [0] and len(cells) > 1 and not _DASHES.fullmatch(cells[0]):
            merged[0] = cells[0].strip()
        elif repeated and not all(_DASHES.fullmatch(cells[index]) for index in written):
            merged = [f"{name} {cell.strip()}".strip() if index else name
                      for index, (name, cell) in enumerate(zip(merged, cells, strict=True))]  # fmt: skip
        else:
            continue
        naming.add(line)
    return tuple(merged), frozenset(naming)
