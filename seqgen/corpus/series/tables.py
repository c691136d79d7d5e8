"""Tables as columns of numbers or text: CSV and workbooks by `corpus.tables`, and Parquet."""

from __future__ import annotations

import importlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seqgen.corpus.opening.signatures import is_parquet
from seqgen.corpus.parquet import STRING_TYPES, check_decompressed_size
from seqgen.corpus.series.dates import is_time_of_day, looks_like_time
from seqgen.corpus.series.numbers import TRACE, has_multiplier, is_missing, parse_number
from seqgen.corpus.series.time_names import SURE_NAMES, is_index_name, is_surely_time
from seqgen.corpus.sources import Document, Warn
from seqgen.corpus.tables import read as reading
from seqgen.corpus.tables.cells import CellLimit
from seqgen.corpus.tables.columnar import ColumnBlock, as_floats
from seqgen.errors import DataError
from seqgen.streams import reason

_MOSTLY = 0.9  # fraction of the cells that decides
_UNIT_CELLS = 200  # from which the unit of a column is recognised
# Cells, those included that short rows lack, for each cell that is written; and those that any table may have.
_MAX_CELLS_PER_WRITTEN, _CELLS_HEADROOM = 32, 1 << 20
_MAX_READINGS = 16  # of the source, for the texts of any number of columns
_CELLS_AT_ONCE = 1 << 20  # whose texts are in memory at least, if so many are asked for
_SNIFFED_ROWS, _SNIFFED_CELLS, _SNIFFED_CHARACTERS = 400, 1 << 16, 1000  # in a cell, by which a task is guessed
_MIN_SNIFFED_ROWS = 8
_SNIFFED_BUFFER = 1 << 16  # bytes of a Parquet file
_WITH_UNIT = re.compile(r"[^\d\s]{0,2}\d[\d.,'’\s]*([^\W\d_][^\d]{0,11}|[°µ‰℃℉㎀-㏟][^\d]{0,11})")

Times = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]
Block = Floats | list[str]


@dataclass(frozen=True)
class ColumnTable:
    """The columns of one document.

    Attributes:
        unit: unit of `lines`: `line` or `row`.
        lines: first line of each row, from 1.
        blocks: for each column blocks of rows: floats if the whole block is numeric, otherwise text. Columns that are
            called times are text.
        delimiter: '' if the cells are not separated by one.
        format: `CSV`, `TSV`, `Excel` or `Parquet`.
        units: column → the unit behind all of its numbers, which is left out.
        other_units: column → rows that have a multiplier in the place of the unit: 900k among others in km.
    """

    name: str
    unit: str
    header: tuple[str, ...]
    lines: npt.NDArray[np.int64]
    blocks: tuple[list[Block], ...]
    delimiter: str = ""
    format: str = "Parquet"
    units: Mapping[int, str] = field(default_factory=dict)
    other_units: Mapping[int, frozenset[int]] = field(default_factory=dict)
    _source: reading.Table | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.lines)

    def location(self, row: int) -> str:
        """Return the location of a row for messages: `prices.csv, line 12`."""
        return f"{self.name}, {self.unit} {self.lines[row]:,}"

    def is_index(self, column: int) -> bool:
        """Whether a column is where programs write row numbers: first and without a name, or under pandas' name."""
        is_nameless = column == 0 and self._source is not None and 0 in self._source.nameless
        return is_nameless or is_index_name(self.header[column])

    def texts(self, column: int) -> list[str]:
        """Return a column as it is written, without surrounding white space. Numbers are read from the source again."""
        return next(self.each_texts([column]))

    def each_texts(self, columns: Sequence[int]) -> Iterator[list[str]]:
        """Yield `texts` of several columns. The source is read for many of them at once, 16 times at most."""
        lost = list(dict.fromkeys(column for column in columns if self._reads_again(column)))
        position = {column: number for number, column in enumerate(lost)}
        at_once = max(-(-len(lost) // _MAX_READINGS), _CELLS_AT_ONCE // max(len(self), 1), 1)
        read: dict[int, list[str]] = {}
        for column in columns:
            if column in position:
                if column not in read:
                    read = {}
                    read = self._read_again(lost[position[column] : position[column] + at_once])
                yield read[column]
            else:
                yield [
                    cell
                    for block in self.blocks[column]
                    for cell in (block if isinstance(block, list) else map(format_number, block))
                ]

    def _reads_again(self, column: int) -> bool:
        """Whether the texts of a column aren't kept, and can be read from the source."""
        return self._source is not None and not all(isinstance(block, list) for block in self.blocks[column])

    def _read_again(self, columns: Sequence[int]) -> dict[int, list[str]]:
        assert self._source is not None
        found: dict[int, list[str]] = {column: [] for column in columns}
        for _, rows in self._source.blocks():
            for column in columns:
                found[column] += [cells[column].strip() if column < len(cells) else "" for cells in rows]
        return found

    def head(self, column: int) -> list[str]:
        """Return the first cells of a column as they are written."""
        if self._source is None:
            return self.sample(column)
        return [cells[column].strip() for cells in self._source.sample if column < len(cells)]

    def sample(self, column: int, count: int = 400) -> list[str]:
        """Return the first `count` cells that are not missing."""
        found: list[str] = []
        for block in self.blocks[column]:
            if isinstance(block, list):
                found += itertools.islice((cell for cell in block if not is_missing(cell)), count - len(found))
            else:
                found += map(format_number, block[~np.isnan(block)][: count - len(found)])
            if len(found) >= count:
                break
        return found


def format_number(number: float) -> str:
    """Format a number, integers without a decimal point."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e18 else repr(float(number))


def open_columns(document: Document, warn: Warn, sheet: str | None = None) -> ColumnTable:
    """Read the table in a document. Raises `DataError` if it is not one."""
    name = document.shown
    if is_parquet(b"".join(document.chunks(0, 4))):
        return _parquet(b"".join(document.limited()), name)
    if not document.form.is_text and document.form.kind != "xlsx":
        raise DataError(f"{name} is not a table: it is binary; use CSV, TSV, Excel or Parquet")
    table = reading.open_table(document, warn, sheet, SURE_NAMES)
    if not table.has_header:
        warn(f"{table.name} has no header; its columns are named column_1, column_2 and so on")
    return columns_of(table)


def columns_of(table: reading.Table) -> ColumnTable:
    """Return the columns of a table.

    Raises:
        DataError: a row has too many cells.
    """
    width = table.width
    lines: list[npt.NDArray[np.int64]] = []
    columns: tuple[list[Block], ...] = tuple([] for _ in table.header)
    limit = CellLimit(
        f"{table.name} has {width:,} columns, but its rows lack nearly all of their cells; leave out the columns "
        "without cells",
        _MAX_CELLS_PER_WRITTEN * width + _CELLS_HEADROOM,
    )
    keeps_text = [is_surely_time(name) for name in table.header]
    for numbers, rows in table.column_blocks([index for index, as_text in enumerate(keeps_text) if as_text]):
        lines.append(np.fromiter(numbers, np.int64, len(numbers)))
        written = width * len(numbers) if isinstance(rows, ColumnBlock) else sum(map(len, rows))
        limit.add(width * len(numbers), _MAX_CELLS_PER_WRITTEN * written)
        if isinstance(rows, ColumnBlock):
            for column, block in zip(columns, rows.columns, strict=True):
                column.append(block)
            continue
        if set(map(len, rows)) != {width}:
            rows = list(_padded(numbers, rows, table))
        for column, cells, as_text in zip(columns, zip(*rows, strict=True), keeps_text, strict=True):
            column.append(_text(cells) if as_text else _block(cells))
    whole = np.concatenate(lines) if lines else np.zeros(0, dtype=np.int64)
    units = {index: unit for index, blocks in enumerate(columns) if (unit := _common_unit(blocks))}
    other_units = {index: frozenset(_in_other_units(columns[index], unit)) for index, unit in units.items()}
    for index, unit in units.items():
        columns[index][:] = [
            [cell.removesuffix(unit).rstrip() for cell in block] if isinstance(block, list) else block
            for block in columns[index]
        ]
    return ColumnTable(
        table.name, table.unit, table.header, whole, columns, table.dialect.delimiter, table.format, units,
        other_units, table,
    )  # fmt: skip


def _common_unit(blocks: Sequence[Block]) -> str:
    """Return the unit behind nearly all of the first numbers of a column, `°C` of 21.5 °C; '' for none."""
    first = next((block for block in blocks), None)
    measured = (cell for cell in first if not is_missing(cell) and cell != TRACE) if isinstance(first, list) else ()
    cells = list(itertools.islice(measured, _UNIT_CELLS))
    if not cells or not _WITH_UNIT.fullmatch(cells[0]):
        return ""
    units = Counter(found[1] for cell in cells if (found := _WITH_UNIT.fullmatch(cell)) and _is_number(found, cell))
    unit, count = units.most_common(1)[0] if units else ("", 0)
    if count < _MOSTLY * len(cells):
        return ""
    is_none = any(_is_any_number(cell) or is_time_of_day(cell) or looks_like_time(cell) for cell in cells[:3])
    return "" if is_none else unit  # 1.5M and 1,5M are numbers with a multiplier


def _in_other_units(blocks: Sequence[Block], unit: str) -> Iterator[int]:
    """Yield the rows whose number has a multiplier and not the unit: 900k among others in km, but not 1.2k km."""
    row = 0
    for block in blocks:
        if isinstance(block, list):
            yield from (
                row + index for index, cell in enumerate(block) if not cell.endswith(unit) and has_multiplier(cell)
            )
        row += len(block)


def _is_number(found: re.Match[str], cell: str) -> bool:
    return _is_any_number(cell.removesuffix(found[1]).rstrip())


def _is_any_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point or with a comma."""
    return parse_number(cell) is not None or parse_number(cell, ",") is not None


def _padded(numbers: Sequence[int], rows: Sequence[list[str]], table: reading.Table) -> Iterator[list[str]]:
    width = table.width
    for line, cells in zip(numbers, rows, strict=True):
        if len(cells) > width and any(map(str.strip, cells[width:])):
            raise DataError(
                f"{table.name}, {table.unit} {line:,} has {len(cells)} cells, but the header has {width}; "
                "check for decimal commas and unquoted text"
            )
        yield cells[:width] + [""] * (width - len(cells))


def _text(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _block(cells: Sequence[str]) -> Block:
    """Return floats if all cells are plain, finite numbers, otherwise their text."""
    numbers = as_floats(cells)
    return _text(cells) if numbers is None else numbers


def _parquet(data: bytes, name: str) -> ColumnTable:
    """Read Parquet: numbers as floats, times and everything else as text."""
    parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        # Dictionary encoding keeps repeated strings in memory once.
        schema = list(parquet.read_schema(io.BytesIO(data)))
        strings = [field.name for field in schema if str(field.type) in STRING_TYPES]
        file = parquet.ParquetFile(io.BytesIO(data), read_dictionary=strings)
        check_decompressed_size(file.metadata, len(data), name)
        # Nested columns are neither numbers nor times, and a list of a billion nulls takes a few bytes.
        arrow = file.read(columns=[field.name for field in schema if not field.type.num_fields], use_threads=False)
        header = tuple(map(str, arrow.column_names))
        blocks = tuple([_arrow_block(arrow.column(index))] for index in range(len(header)))
    except DataError:
        raise
    except Exception as error:  # pyarrow raises many types
        raise DataError(f"cannot read {name} as Parquet: {reason(error)[:160]}") from error
    return ColumnTable(name, "row", header, np.arange(1, arrow.num_rows + 1, dtype=np.int64), blocks)


def sniff_parquet(path: Path) -> reading.Table:
    """Return the table that a Parquet file begins, with no more rows than that, as a CSV file would have it.

    Cells of nested columns are empty, and long ones cut.

    Raises:
        DataError: it can't be read.
    """
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
        fields = list(parquet.read_schema(path))
        strings = [field.name for field in fields if str(field.type) in STRING_TYPES]
        # Otherwise whole columns of the first group of rows are read at once.
        stream = {"buffer_size": _SNIFFED_BUFFER, "pre_buffer": False}
        with parquet.ParquetFile(path, read_dictionary=strings, **stream) as file:
            check_decompressed_size(file.metadata, path.stat().st_size, path.name, in_memory=False)
            count = max(min(_SNIFFED_ROWS, _SNIFFED_CELLS // max(len(fields), 1)), _MIN_SNIFFED_ROWS)
            plain = [field.name for field in fields if not field.type.num_fields]
            batches = file.iter_batches(batch_size=count, columns=plain, use_threads=False)
            table = arrow.Table.from_batches(list(itertools.islice(batches, 1)))
        empty = [""] * table.num_rows
        columns = [_written(table.column(field.name)) if field.name in plain else empty for field in fields]
    except DataError:
        raise
    except Exception as error:  # pyarrow raises many types
        raise DataError(f"cannot read {path.name} as Parquet: {reason(error)[:160]}") from error
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    return reading.table_of(path.name, [str(field.name) for field in fields], rows)


def _written(column: Any) -> list[str]:
    """The cells of a column of Arrow as CSV has them."""
    arrow: Any = importlib.import_module("pyarrow")
    if arrow.types.is_boolean(column.type):
        return ["" if value is None else str(value) for value in column.to_pylist()]
    block = _arrow_block(column)
    if isinstance(block, list):
        return [cell[:_SNIFFED_CHARACTERS] for cell in block]
    return ["" if np.isnan(number) else format_number(number) for number in block]


def _arrow_block(column: Any) -> Block:
    arrow: Any = importlib.import_module("pyarrow")
    dtype = column.type
    types = arrow.types
    if types.is_dictionary(dtype):
        found: list[str] = []
        for chunk in column.chunks:
            known = ["" if word is None else str(word).strip() for word in chunk.dictionary.to_pylist()]
            found += ("" if index is None else known[index] for index in chunk.indices.to_pylist())
        return found
    if types.is_timestamp(dtype) or types.is_date(dtype):
        zone = "Z" if types.is_timestamp(dtype) and dtype.tz else ""
        micros = arrow.timestamp("us", dtype.tz if zone else None)
        times: Times = column.cast(micros, safe=False).to_numpy().astype("datetime64[us]")  # nanoseconds are cut off
        whole = times[~np.isnat(times)]
        unit: Literal["D", "s", "us"] = "D" if not zone and (whole == whole.astype("datetime64[D]")).all() else "s"
        if (whole != whole.astype("datetime64[s]")).any():
            unit = "us"
        texts = np.datetime_as_string(times, unit=unit)
        return ["" if text == "NaT" else text.replace("T", " ") + zone for text in texts.tolist()]
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype) or types.is_boolean(dtype):
        # Integers beyond 2**53, as ids are, lose digits as they do in other tables.
        values = column.cast(arrow.int8() if types.is_boolean(dtype) else arrow.float64(), safe=False)
        return np.asarray(values.to_pandas(), dtype=np.float64)
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]
