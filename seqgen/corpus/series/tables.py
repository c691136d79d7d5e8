"""Reader of CSV, whose delimiter and header are recognised, and Parquet, into columns of numbers or text."""

from __future__ import annotations

import csv
import importlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seqgen.corpus.parquet import STRING_TYPES, check_decompressed_size
from seqgen.corpus.series.dates import looks_like_time
from seqgen.corpus.series.numbers import is_missing, parse_number
from seqgen.corpus.sources import Document, Warn
from seqgen.errors import DataError
from seqgen.streams import reason

Times = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]
Block = Floats | list[str]
_BLOCK_ROWS = 8192  # parsed at a time; plain numbers are stored as floats, in a tenth of the memory of text
_DELIMITERS = "\t;|,"  # in order of detection: numbers may contain commas, but hardly the others
_SAMPLE_ROWS = 64  # from which delimiter and header are detected
_MAX_NOTES = 5  # lines below a table that may be notes


@dataclass(frozen=True)
class Table:
    """One document.

    Attributes:
        unit: unit of `lines`: `line` or `row`.
        lines: first line of each row, from 1.
        blocks: for each column blocks of rows: floats if the whole block is numeric, otherwise text.
    """

    name: str
    unit: str
    header: tuple[str, ...]
    lines: npt.NDArray[np.int64]
    blocks: tuple[list[Block], ...]
    delimiter: str = ","
    _source: tuple[str, int] = field(default=("", 0), repr=False)

    def __len__(self) -> int:
        return len(self.lines)

    def location(self, row: int) -> str:
        """Return the location of a row for messages: `prices.csv, line 12`."""
        return f"{self.name}, {self.unit} {self.lines[row]:,}"

    def texts(self, column: int) -> list[str]:
        """Return a column as it is written, without surrounding white space."""
        blocks = self.blocks[column]
        if not self._source[0] or all(isinstance(block, list) for block in blocks):
            return [
                cell for block in blocks for cell in (block if isinstance(block, list) else map(format_number, block))
            ]
        text, skipped = self._source
        rows = itertools.islice(parse_rows(text, self.delimiter, self.name), skipped, skipped + len(self))
        return [cells[column].strip() if column < len(cells) else "" for _, cells in rows]

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


def open_table(document: Document, warn: Warn) -> Table:
    """Read the table in a document. Raises `DataError` if it is not one."""
    name = "standard input" if document.name == "-" else document.name
    data = b"".join(document.limited())
    if data.startswith(b"PAR1"):
        return _parquet(data, name)
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise DataError(f"{name} is a spreadsheet or an archive; save the table as CSV")
    return parse_table(decode(data, name, warn), name, warn)


def decode(data: bytes, name: str, warn: Warn) -> str:
    """Decode text as UTF-8, UTF-16 with a byte order mark, GB 18030 or Windows-1252, the first that fits."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").lstrip("\ufeff")
    if b"\0" in data[:65536]:
        raise DataError(f"{name} is not a table: it is binary; use CSV, TSV or Parquet")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    chinese = _decode_chinese(data)
    warn(f"{name} is not UTF-8; reading it as {'Windows-1252' if chinese is None else 'GB 18030'}")
    return data.decode("cp1252", "replace") if chinese is None else chinese


def _decode_chinese(data: bytes) -> str | None:
    """Decode GB 18030; None if the bytes are invalid, or the characters too rare to be intended."""
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    codes = [letter.encode("gb18030") for letter in set(re.findall(r"[^\x00-\x7f]", text))]
    common = sum(len(code) == 2 and 0xA1 <= code[0] <= 0xD7 and code[1] >= 0xA1 for code in codes)  # GB 2312, level 1
    return text if common >= 0.8 * len(codes) else None


def parse_rows(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of each row that is not blank. Lines that start with # before the first row are skipped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    line, first = 1, True
    try:
        for cells in reader:
            begin, line = line, reader.line_num + 1
            if not any(map(str.strip, cells)):
                continue
            if first and (cells[0].startswith("#") or (begin == 1 and cells[0].lower().startswith("sep="))):
                continue
            first = False
            yield begin, cells
    except csv.Error as error:
        raise DataError(f"{name}, line {line:,}: {_csv_reason(error)}") from error


def _csv_reason(error: csv.Error) -> str:
    if "expected after" in str(error):
        return "a quote ends within a cell; quote the whole cell, and double the quotes inside"
    return "a quote is never closed"  # the text ended first, or the cell exceeded the limit of 128 KiB


def detect_delimiter(text: str, name: str) -> str:
    """Return the first of tab, semicolon, bar and comma that splits the rows into equal numbers of cells."""
    start = text if len(text) <= 1 << 16 else text[: text.rfind("\n", 0, 1 << 16) + 1] or text
    uneven: tuple[int, int, int] | None = None
    for delimiter in _DELIMITERS:
        try:
            rows = list(itertools.islice(parse_rows(start, delimiter, name), _SAMPLE_ROWS))
        except DataError:
            continue
        widths = Counter(len(cells) for _, cells in rows)
        width, often = widths.most_common(1)[0] if widths else (1, 0)
        if width > 1 and often >= min(0.8 * len(rows), len(rows) - 1):
            if len(rows[0][1]) == width or (len(rows) > 1 and len(rows[0][1]) == len(rows[1][1])):
                return delimiter
            uneven = uneven or (len(rows[0][1]), width, rows[0][0])
            decimals = all(re.fullmatch(r"\s*[-+]?\d+,\d+\s*", ",".join(cells)) for _, cells in rows[1:])
            if delimiter == "," and len(rows[0][1]) == 1 and decimals:  # one column with a decimal comma
                return ";"
    if uneven:
        raise DataError(
            f"{name}, line {uneven[2]:,} has {uneven[0]} cell{'s' * (uneven[0] > 1)}, but most rows have {uneven[1]}; "
            "remove the lines above the header"
        )
    return ","


def parse_table(text: str, name: str, warn: Warn) -> Table:
    """Parse a table. `name` is used in messages."""
    delimiter = detect_delimiter(text, name)
    rows = parse_rows(text, delimiter, name)
    sample = list(itertools.islice(rows, _SAMPLE_ROWS))
    if not sample:
        raise DataError(f"{name} is not a table: it has no rows")
    names = _header([cells for _, cells in sample])
    if names is None:
        warn(f"{name} has no header; its columns are named column_1, column_2 and so on")
    header = _unique(names or [""] * max(len(cells) for _, cells in sample), name, warn)
    skipped = 0 if names is None else 1
    lines, blocks = _blocks(itertools.chain(sample[skipped:], rows), header, name, warn)
    table = Table(name, "line", header, lines, blocks, delimiter, (text, skipped))
    return _drop_trailing_columns(table)


def _header(rows: Sequence[Sequence[str]]) -> list[str] | None:
    """Return the column names in the first row; None if it is a row of numbers like the others."""
    first, *others = rows
    if others and any(
        looks_like_time(cell) and looks_like_time(below) for cell, below in zip(first, others[0], strict=False)
    ):
        return None
    for index, cell in enumerate(first):
        below = [row[index] for row in others if index < len(row) and not is_missing(row[index])]
        if (
            not is_missing(cell)
            and parse_number(cell) is None
            and parse_number(cell, ",") is None
            and not looks_like_time(cell)
        ):
            return [cell.strip() for cell in first]
        if (
            below
            and all(looks_like_time(text) and parse_number(text) is None for text in below)
            and not looks_like_time(cell)
        ):
            return [cell.strip() for cell in first]
    return None


def _unique(names: Sequence[str], name: str, warn: Warn) -> tuple[str, ...]:
    """Return unique names for all columns."""
    found: dict[str, None] = {}
    taken, next_number = set(names), Counter[str]()
    for number, wanted in enumerate(names, 1):
        unique = wanted or f"column_{number}"
        if unique in found:
            first = next_number[unique] or 2
            count = next(count for count in itertools.count(first) if f"{unique}_{count}" not in taken)
            next_number[unique] = count + 1
            unique = f"{unique}_{count}"
            warn(f"{name} has two columns {wanted!r}; the second is renamed to {unique!r}")
        found[unique] = None
        taken.add(unique)
    return tuple(found)


def _blocks(
    rows: Iterator[tuple[int, list[str]]], header: Sequence[str], name: str, warn: Warn
) -> tuple[npt.NDArray[np.int64], tuple[list[Block], ...]]:
    """Return the first line of each row, and the blocks of each column.

    Raises:
        DataError: a row has too many cells.
    """
    width = len(header)
    lines: list[int] = []
    columns: tuple[list[Block], ...] = tuple([] for _ in header)
    short: list[int] = []
    block: list[list[str]] = []
    for line, cells in rows:
        if len(cells) != width:
            if len(cells) > width and any(map(str.strip, cells[width:])):
                raise DataError(
                    f"{name}, line {line:,} has {len(cells)} cells, but the header has {width}; "
                    "check for decimal commas and unquoted text"
                )
            if len(cells) < width:
                short.append(line)
            cells = cells[:width] + [""] * (width - len(cells))
        lines.append(line)
        block.append(cells)
        if len(block) == _BLOCK_ROWS:
            _append_block(block, columns)
            block = []
    for _ in range(min(_MAX_NOTES, len(block) - 1)):
        if not _is_note(block[-1]):
            break
        warn(f"{name}, line {lines.pop():,}: {block.pop()[0].strip()[:60]!r} looks like a note and is ignored")
    short = [line for line in short if lines and line <= lines[-1]]
    if short:
        warn(
            f"{name}: {len(short):,} row{'s have' if len(short) > 1 else ' has'} fewer cells than the header; the "
            f"rest is missing (first in line {short[0]:,})"
        )
    _append_block(block, columns)
    return np.array(lines, dtype=np.int64), columns


def _is_note(cells: Sequence[str]) -> bool:
    first = cells[0].strip()
    return (
        len(cells) > 1
        and not any(map(str.strip, cells[1:]))
        and any(map(str.isalpha, first))
        and parse_number(first) is None
        and not looks_like_time(first)
    )


def _append_block(rows: Sequence[Sequence[str]], columns: tuple[list[Block], ...]) -> None:
    """Append rows to the columns."""
    for index, column in enumerate(columns):
        cells = [row[index].strip() for row in rows]
        block: Block = cells
        try:
            numbers = np.array(list(map(float, cells)), dtype=np.float64)
            if np.isfinite(numbers).all() and not any("_" in cell for cell in cells):
                block = numbers
        except ValueError:
            pass
        column.append(block)


def _drop_trailing_columns(table: Table) -> Table:
    """Drop the unnamed, empty last columns that result from delimiters at line ends."""
    last = len(table.header)
    while last > 1 and table.header[last - 1] == f"column_{last}" and not table.sample(last - 1, 1):
        last -= 1
    return replace(table, header=table.header[:last], blocks=table.blocks[:last])


def _parquet(data: bytes, name: str) -> Table:
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
    return Table(name, "row", header, np.arange(1, arrow.num_rows + 1, dtype=np.int64), blocks)


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
        times: Times = (
            column.cast(arrow.timestamp("us", dtype.tz if zone else None)).to_numpy().astype("datetime64[us]")
        )
        whole = times[~np.isnat(times)]
        unit: Literal["D", "s", "us"] = "D" if not zone and (whole == whole.astype("datetime64[D]")).all() else "s"
        if (whole != whole.astype("datetime64[s]")).any():
            unit = "us"
        texts = np.datetime_as_string(times, unit=unit)
        return ["" if text == "NaT" else text.replace("T", " ") + zone for text in texts.tolist()]
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype) or types.is_boolean(dtype):
        values = column.cast(arrow.float64()) if not types.is_boolean(dtype) else column.cast(arrow.int8())
        return np.asarray(values.to_pandas(), dtype=np.float64)
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]
