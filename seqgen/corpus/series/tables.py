"""Tables as they are: CSV with its delimiter and header recognised, and Parquet; columns of numbers or of text."""

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
_ROWS_AT_ONCE = 8192  # as text; columns that are plain numbers are kept as such, at a tenth of the memory
_DELIMITERS = "\t;|,"  # in this order: a comma may be within numbers, the others hardly
_LOOKED_AT = 64  # rows from which delimiter and header are told
_NOTES = 5  # lines below a table that may be notes on it


@dataclass(frozen=True)
class Table:
    """One document.

    unit: what `lines` counts, `line` or `row`.
    lines: where each row begins, from 1.
    blocks: of each column, its rows in pieces: numbers where all of the piece are, else text.
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
        """`prices.csv, line 12`."""
        return f"{self.name}, {self.unit} {self.lines[row]:,}"

    def texts(self, column: int) -> list[str]:
        """A column as it is written, each cell without the white space around it."""
        blocks = self.blocks[column]
        if not self._source[0] or all(isinstance(block, list) for block in blocks):
            return [
                spelt for block in blocks for spelt in (block if isinstance(block, list) else map(format_number, block))
            ]
        text, skipped = self._source
        rows = itertools.islice(parse_rows(text, self.delimiter, self.name), skipped, skipped + len(self))
        return [cells[column].strip() if column < len(cells) else "" for _, cells in rows]

    def sample(self, column: int, count: int = 400) -> list[str]:
        """Up to so many cells that are not missing, from the beginning."""
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
    """A number in digits, whole ones without a point."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e18 else repr(float(number))


def open_table(document: Document, warn: Warn) -> Table:
    """The table in a document. Raises `DataError` for what is none."""
    name = "standard input" if document.name == "-" else document.name
    data = b"".join(document.limited())
    if data.startswith(b"PAR1"):
        return _parquet(data, name)
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise DataError(f"{name} is a spreadsheet or an archive: save the table in it as CSV")
    return parse_table(decode(data, name, warn), name, warn)


def decode(data: bytes, name: str, warn: Warn) -> str:
    """Text from UTF-8, UTF-16 with its mark, GB 18030, or Windows' Latin letters, the first that fits."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").lstrip("\ufeff")
    if b"\0" in data[:65536]:
        raise DataError(f"{name} holds no table: it is binary; tables are read from CSV, TSV and Parquet")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    chinese = _chinese(data)
    warn(f"{name} is not UTF-8, and is read as {'Windows-1252' if chinese is None else 'GB 18030'}")
    return data.decode("cp1252", "replace") if chinese is None else chinese


def _chinese(data: bytes) -> str | None:
    """Text in GB 18030; None where it is none, or where its characters are too rare to be meant."""
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    codes = [letter.encode("gb18030") for letter in set(re.findall(r"[^\x00-\x7f]", text))]
    common = sum(len(code) == 2 and 0xA1 <= code[0] <= 0xD7 and code[1] >= 0xA1 for code in codes)  # GB 2312, level 1
    return text if common >= 0.8 * len(codes) else None


def parse_rows(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row that holds something. Lines that begin with # before the first row are passed over."""
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
        raise DataError(f"{name}, line {line:,}: {_said(error)}") from error


def _said(error: csv.Error) -> str:
    if "expected after" in str(error):
        return "a quote ends within a cell; quotes go around all of it, and those inside are doubled"
    return "a quote that is never closed"  # the end of the text, or a cell of more than 128 KiB, comes first


def detect_delimiter(text: str, name: str) -> str:
    """What stands between cells: the first of tab, semicolon, bar and comma that cuts rows into the same number."""
    start = text if len(text) <= 1 << 16 else text[: text.rfind("\n", 0, 1 << 16) + 1] or text
    cut: tuple[int, int, int] | None = None
    for delimiter in _DELIMITERS:
        try:
            rows = list(itertools.islice(parse_rows(start, delimiter, name), _LOOKED_AT))
        except DataError:
            continue
        widths = Counter(len(cells) for _, cells in rows)
        width, often = widths.most_common(1)[0] if widths else (1, 0)
        if width > 1 and often >= min(0.8 * len(rows), len(rows) - 1):
            if len(rows[0][1]) == width or (len(rows) > 1 and len(rows[0][1]) == len(rows[1][1])):
                return delimiter
            cut = cut or (len(rows[0][1]), width, rows[0][0])
            decimals = all(re.fullmatch(r"\s*[-+]?\d+,\d+\s*", ",".join(cells)) for _, cells in rows[1:])
            if delimiter == "," and len(rows[0][1]) == 1 and decimals:  # one column, with a decimal comma
                return ";"
    if cut:
        raise DataError(
            f"{name}, line {cut[2]:,} has {cut[0]} cell{'s' * (cut[0] > 1)}, and most rows have {cut[1]}: "
            "remove what stands above the names of the columns"
        )
    return ","


def parse_table(text: str, name: str, warn: Warn) -> Table:
    """The table in text, and its name in messages."""
    delimiter = detect_delimiter(text, name)
    rows = parse_rows(text, delimiter, name)
    begun = list(itertools.islice(rows, _LOOKED_AT))
    if not begun:
        raise DataError(f"{name} holds no table: there are no rows")
    names = _header([cells for _, cells in begun])
    if names is None:
        warn(f"{name} has no header: its columns are called column_1, column_2 and so on")
    header = _unique(names or [""] * max(len(cells) for _, cells in begun), name, warn)
    skipped = 0 if names is None else 1
    lines, blocks = _blocks(itertools.chain(begun[skipped:], rows), header, name, warn)
    table = Table(name, "line", header, lines, blocks, delimiter, (text, skipped))
    return _without_empty(table)


def _header(rows: Sequence[Sequence[str]]) -> list[str] | None:
    """The names in the first row; None where it holds numbers as the others do."""
    first, *others = rows
    if others and any(
        looks_like_time(cell) and looks_like_time(below) for cell, below in zip(first, others[0], strict=False)
    ):
        return None
    for place, cell in enumerate(first):
        below = [row[place] for row in others if place < len(row) and not is_missing(row[place])]
        if (
            not is_missing(cell)
            and parse_number(cell) is None
            and parse_number(cell, ",") is None
            and not looks_like_time(cell)
        ):
            return [cell.strip() for cell in first]
        if (
            below
            and all(looks_like_time(one) and parse_number(one) is None for one in below)
            and not looks_like_time(cell)
        ):
            return [cell.strip() for cell in first]
    return None


def _unique(names: Sequence[str], name: str, warn: Warn) -> tuple[str, ...]:
    """Names for all columns, none of them twice."""
    found: dict[str, None] = {}
    taken, next_number = set(names), Counter[str]()
    for number, wanted in enumerate(names, 1):
        one = wanted or f"column_{number}"
        if one in found:
            first = next_number[one] or 2
            count = next(count for count in itertools.count(first) if f"{one}_{count}" not in taken)
            next_number[one] = count + 1
            one = f"{one}_{count}"
            warn(f"{name} has two columns {wanted!r}; the second is called {one!r}")
        found[one] = None
        taken.add(one)
    return tuple(found)


def _blocks(
    rows: Iterator[tuple[int, list[str]]], header: Sequence[str], name: str, warn: Warn
) -> tuple[npt.NDArray[np.int64], tuple[list[Block], ...]]:
    """The rows' lines, and each column in pieces. Raises `DataError` for a row with too many cells."""
    width = len(header)
    lines: list[int] = []
    columns: tuple[list[Block], ...] = tuple([] for _ in header)
    short: list[int] = []
    piece: list[list[str]] = []
    for line, cells in rows:
        if len(cells) != width:
            if len(cells) > width and any(map(str.strip, cells[width:])):
                raise DataError(
                    f"{name}, line {line:,} has {len(cells)} cells, and the header {width}: "
                    "is there a decimal comma, or text that needs quotes around it?"
                )
            if len(cells) < width:
                short.append(line)
            cells = cells[:width] + [""] * (width - len(cells))
        lines.append(line)
        piece.append(cells)
        if len(piece) == _ROWS_AT_ONCE:
            _keep(piece, columns)
            piece = []
    for _ in range(min(_NOTES, len(piece) - 1)):
        if not _is_note(piece[-1]):
            break
        warn(f"{name}, line {lines.pop():,}: {piece.pop()[0].strip()[:60]!r} is taken for a note, and left out")
    short = [line for line in short if lines and line <= lines[-1]]
    if short:
        warn(
            f"{name}: {len(short):,} row{'s have' if len(short) > 1 else ' has'} fewer cells than the header, and the "
            f"rest is taken as missing (first in line {short[0]:,})"
        )
    _keep(piece, columns)
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


def _keep(piece: Sequence[Sequence[str]], columns: tuple[list[Block], ...]) -> None:
    """Adds rows to the columns."""
    for place, column in enumerate(columns):
        cells = [row[place].strip() for row in piece]
        block: Block = cells
        try:
            numbers = np.array(list(map(float, cells)), dtype=np.float64)
            if np.isfinite(numbers).all() and not any("_" in cell for cell in cells):
                block = numbers
        except ValueError:
            pass
        column.append(block)


def _without_empty(table: Table) -> Table:
    """Without the nameless, empty last columns that delimiters at the end of each line make."""
    last = len(table.header)
    while last > 1 and table.header[last - 1] == f"column_{last}" and not table.sample(last - 1, 1):
        last -= 1
    return replace(table, header=table.header[:last], blocks=table.blocks[:last])


def _parquet(data: bytes, name: str) -> Table:
    """Numbers as they are, times and everything else as text."""
    parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        # A word that stands in many rows is in the file, and in memory, once.
        schema = list(parquet.read_schema(io.BytesIO(data)))
        words = [field.name for field in schema if str(field.type) in STRING_TYPES]
        file = parquet.ParquetFile(io.BytesIO(data), read_dictionary=words)
        check_decompressed_size(file.metadata, len(data), name)
        # A list of a billion nothings is a few bytes: columns of lists are no numbers and no times.
        arrow = file.read(columns=[field.name for field in schema if not field.type.num_fields], use_threads=False)
        header = tuple(map(str, arrow.column_names))
        blocks = tuple([_arrow_block(arrow.column(place))] for place in range(len(header)))
    except DataError:
        raise
    except Exception as error:  # pyarrow raises many kinds
        raise DataError(f"cannot read {name} as Parquet: {reason(error)[:160]}") from error
    return Table(name, "row", header, np.arange(1, arrow.num_rows + 1, dtype=np.int64), blocks)


def _arrow_block(column: Any) -> Block:
    arrow: Any = importlib.import_module("pyarrow")
    kind = column.type
    of = arrow.types
    if of.is_dictionary(kind):
        found: list[str] = []
        for chunk in column.chunks:
            known = ["" if word is None else str(word).strip() for word in chunk.dictionary.to_pylist()]
            found += ("" if place is None else known[place] for place in chunk.indices.to_pylist())
        return found
    if of.is_timestamp(kind) or of.is_date(kind):
        zone = "Z" if of.is_timestamp(kind) and kind.tz else ""
        times: Times = column.cast(arrow.timestamp("us", kind.tz if zone else None)).to_numpy().astype("datetime64[us]")
        whole = times[~np.isnat(times)]
        unit: Literal["D", "s", "us"] = "D" if not zone and (whole == whole.astype("datetime64[D]")).all() else "s"
        if (whole != whole.astype("datetime64[s]")).any():
            unit = "us"
        spelt = np.datetime_as_string(times, unit=unit)
        return ["" if text == "NaT" else text.replace("T", " ") + zone for text in spelt.tolist()]
    if of.is_integer(kind) or of.is_floating(kind) or of.is_decimal(kind) or of.is_boolean(kind):
        values = column.cast(arrow.float64()) if not of.is_boolean(kind) else column.cast(arrow.int8())
        return np.asarray(values.to_pandas(), dtype=np.float64)
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]
