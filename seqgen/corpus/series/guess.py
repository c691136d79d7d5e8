"""Detection of time series files by their first bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqgen.corpus.documents import Document
from seqgen.corpus.opening import read_head
from seqgen.corpus.opening.signatures import is_parquet
from seqgen.corpus.series.dates import looks_like_time
from seqgen.corpus.series.numbers import parse_number
from seqgen.corpus.series.tables import ColumnTable, columns_of, sniff_parquet
from seqgen.corpus.series.time_columns import find_time_columns
from seqgen.corpus.series.time_names import SURE_NAMES, is_surely_time
from seqgen.corpus.tables.cells import TEXT, column_kind
from seqgen.corpus.tables.read import is_workbook, open_table, sniff
from seqgen.corpus.tables.wording import TEXT_COLUMN_NAMES, is_repeated, only_identifies, text_width
from seqgen.errors import DataError
from seqgen.streams import COMPRESSED_SUFFIXES

_HEAD_BYTES = 1 << 16
_MAX_CELLS = 200  # examined per column
_MIN_ROWS = 2
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab")
_LONG_TEXT = 24  # characters on average; longer cells mean a text corpus, without times half as long Chinese ones too
_MAX_NOT_NUMBERS = 0.1  # fraction of the cells of a column of numbers
_MIN_NUMERIC = 0.6  # fraction of the columns that are numbers or times


def looks_like_series(path: Path, sheet: str | None = None) -> bool:
    """Whether a CSV, TSV or Parquet file, or this sheet of a workbook, is probably a table of time series.

    Never raises.
    """
    try:
        start = read_head(path, _HEAD_BYTES)
        if is_workbook(start):
            found = open_table(Document(path.name, path), lambda _: None, sheet, SURE_NAMES)
            return _is_csv_series(columns_of(found), True)
        if is_parquet(start):
            return _is_csv_series(columns_of(sniff_parquet(path)), True)
        text = start.decode("utf-8", "replace")
        if not text or "\0" in text:
            return False
        suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSED_SUFFIXES]
        table = sniff(text, str(path), len(start) < _HEAD_BYTES, SURE_NAMES)
        if table is None:
            return False
        return _is_csv_series(columns_of(table), bool(suffixes) and suffixes[-1] in _TABLE_SUFFIXES)
    except Exception:  # any error means that it is not a table of numbers
        return False


def _is_csv_series(table: ColumnTable, has_table_suffix: bool) -> bool:
    if len(table) < _MIN_ROWS:
        return False
    try:
        time = find_time_columns(table, None)
        named = False
    except DataError:  # there is a column of times that training will refuse with a better message
        time, named = (), True
    named = named or any(map(is_surely_time, table.header))
    numbers: list[int] = []
    repeated = empty = 0
    has_names = has_wide = False
    for index in range(len(table.header)):
        if index in time:
            continue
        cells = table.sample(index, _MAX_CELLS)
        if 2 * len(cells) < min(len(table), _MAX_CELLS) and column_kind(cells) == TEXT:
            cells = []  # notes
        bad = sum(parse_number(cell) is None and parse_number(cell, ",") is None for cell in cells)
        if not cells:
            empty += 1
            continue
        if bad <= _MAX_NOT_NUMBERS * len(cells):  # training names the first that is no number
            numbers.append(index)
            continue
        is_name, is_time = is_repeated(cells), all(map(looks_like_time, cells))
        if sum(map(len, cells)) > _LONG_TEXT * len(cells):
            return False
        is_wide = not (is_name or is_time) and sum(map(text_width, cells)) > _LONG_TEXT * len(cells)
        if is_wide and table.header[index].lower() in TEXT_COLUMN_NAMES:
            return False
        has_wide = has_wide or is_wide
        repeated += bool(time or named) and (is_name or is_time)  # names of series, units, flags
        has_names = has_names or not is_time
    if has_names and _measures_nothing(table, numbers, has_wide):
        return False
    if has_wide and not time:  # remarks, if there is a time beside a measure
        return False
    numeric = len(numbers)
    if not numeric or numeric + repeated + max(len(time), named) < _MIN_NUMERIC * (len(table.header) - empty):
        return False
    return bool(time) or named or (has_table_suffix and numeric == len(table.header))


def _measures_nothing(table: ColumnTable, numbers: Sequence[int], beside_texts: bool) -> bool:
    """Whether all numbers of a table are ids of its rows, or count them beside long texts."""
    return all(
        only_identifies(
            table.header[index], table.sample(index, _MAX_CELLS), table.is_index(index), beside_texts=beside_texts
        )
        for index in numbers
    )
