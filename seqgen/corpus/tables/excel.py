"""Sheets of Excel workbooks (.xlsx) as rows of text."""

from __future__ import annotations

import datetime
import importlib
import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seqgen.corpus.documents import Document, Warn
from seqgen.corpus.tables.cells import CellLimit, filled
from seqgen.decompression import CHUNK_SIZE
from seqgen.errors import DataError
from seqgen.quantities import shortened_list
from seqgen.streams import DecompressedSize, reason
from seqgen.untrusted import has_doctype

_MAX_ROWS, _MAX_COLUMNS = 1 << 20, 1 << 14  # of a sheet, by Excel's own limits
_BLOCK_ROWS, _BLOCK_CELLS = 4096, 1 << 18
_HEADROOM = 1 << 20  # bytes that any workbook may decompress to: openpyxl takes seconds for a megabyte of some parts
# Cells of a sheet, those included that are empty because one further right, in this row or one above, is not. Real
# workbooks have a fifth of a cell a byte.
_CELLS_PER_BYTE, _CELLS_HEADROOM = 32, 1 << 20
# A cell with a formula and no result; that of a formula whose result is an empty text has a type.
_UNCOMPUTED = re.compile(
    rb"<c\b(?![^<>]*\bt=\"str\")[^<>]*><f\b[^<>]*(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>"
)
_INSTALL = "pip install 'seqgen-rnn[excel]'"


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook."""

    name: str
    _data: bytes
    _title: str

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (number, cells) of each row that is not blank, without empty cells at its end."""
        book = _open(self._data, self.name)
        try:
            yield from _rows(book[self._title], self.name, len(self._data))
        finally:
            book.close()

    def blocks(self, *_: object) -> Iterator[tuple[list[int], list[list[str]]]]:
        """As `rows`, in blocks, padded to the width of the widest row so far.

        Raises:
            DataError: a cell far from the others makes nearly all of the cells empty ones.
        """
        width, limit = 0, _cell_limit(self.name, len(self._data))
        numbers: list[int] = []
        rows: list[list[str]] = []
        for number, cells in self.rows():
            width = max(width, len(cells))
            limit.add(width)
            numbers.append(number)
            rows.append(filled(cells, width))
            if len(rows) == _BLOCK_ROWS or len(rows) * width >= _BLOCK_CELLS:
                yield numbers, rows
                numbers, rows = [], []
        if rows:
            yield numbers, rows


def open_sheet(document: Document, name: str, title: str | None, warn: Warn) -> Sheet:
    """Return the sheet with this title, or else that of the document (`Document.sheet`), or the only one with cells.

    Args:
        warn: called with a sentence if there are formulas without results.

    Raises:
        DataError: openpyxl is missing, the file is damaged or no workbook, or several sheets have cells.
    """
    data = b"".join(document.limited())
    _check_archive(data, name)
    book = _open(data, name)
    try:
        titles = [sheet.title for sheet in book.worksheets]
        if title is None and document.sheet in titles:
            title = document.sheet
        if title is not None:
            if title not in titles:
                raise DataError(f"{name} has no sheet {title!r}; the sheets are {_quoted(titles)}")
            name = f"{name}, sheet {title}"
            _warn_of_formulas(data, book[title]._worksheet_path, name, warn)
            return Sheet(name, data, title)
        if len({sheet._worksheet_path for sheet in book.worksheets}) < len(titles):
            raise DataError(f"cannot read {name} as an Excel workbook: two of its sheets are one")
        filled = [sheet for sheet in book.worksheets if next(_rows(sheet, name, len(data)), None) is not None]
    finally:
        book.close()
    if len(filled) > 1:
        titles = [sheet.title for sheet in filled]
        raise DataError(
            f"{name} has {len(filled)} sheets with cells, {_quoted(titles)}; give one with --sheet, or save it as a "
            "file of its own"
        )
    if not filled:
        raise DataError(f"{name} is not a table: it has no rows")
    _warn_of_formulas(data, filled[0]._worksheet_path, name, warn)
    return Sheet(name, data, filled[0].title)


def _warn_of_formulas(data: bytes, member: str, name: str, warn: Warn) -> None:
    """Report formulas without results, which programs other than spreadsheets write: their cells are read as empty."""
    count, rest = 0, b""
    with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(member) as part:
        while chunk := part.read(CHUNK_SIZE):
            whole, end, rest = (rest + chunk).rpartition(b"</c>")
            count += sum(1 for _ in _UNCOMPUTED.finditer(whole + end))
    if count:
        are = (
            "cells have formulas without results, and are"
            if count > 1
            else "cell has a formula without a result, and is"
        )
        warn(f"{name}: {count:,} {are} read as empty; open the workbook in a spreadsheet program and save it")


def _quoted(titles: list[str]) -> str:
    return shortened_list(titles, 8, repr)


def _rows(sheet: Any, name: str, size: int) -> Iterator[tuple[int, list[str]]]:
    """See `Sheet.rows`; of an open sheet in a file of `size` bytes."""
    limit = _cell_limit(name, size)
    try:
        sheet.reset_dimensions()  # those that a file states may be wrong
        for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
            if number > _MAX_ROWS or len(row) > _MAX_COLUMNS:
                most = f"{_MAX_ROWS:,} rows or {_MAX_COLUMNS:,} columns"
                raise DataError(f"{name} has more than {most}, the most that a sheet may have")
            limit.add(len(row))
            cells = [_text(value) for value in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield number, cells
    except DataError:
        raise
    except Exception as error:  # openpyxl raises many types for damaged files
        raise DataError(f"cannot read {name}: {reason(error)[:160]}") from error


def _cell_limit(name: str, size: int) -> CellLimit:
    """The limit that a cell far from the others exceeds, of a workbook of `size` bytes."""
    most = _CELLS_PER_BYTE * size + _CELLS_HEADROOM
    return CellLimit(f"{name} has more than {most:,} cells, nearly all empty; delete cells far from the others", most)


def _check_archive(data: bytes, name: str) -> None:
    """Raise `DataError` for a decompression bomb, or an archive that is no workbook."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if not any(member.filename.lower() == "xl/workbook.xml" for member in members):
                raise DataError(f"{name} is an archive without a workbook; save the table as CSV or .xlsx")
            DecompressedSize(len(data), repr(name), _HEADROOM).count(sum(member.file_size for member in members))
            for member in members:
                with archive.open(member) as part:
                    if has_doctype(part):  # no workbook has one
                        raise DataError(f"{name!r} is refused: its part {member.filename!r} declares entities")
    except DataError:
        raise
    except Exception as error:  # zipfile raises many types for a damaged archive
        raise DataError(f"cannot read {name}: {reason(error)}") from error


def _open(data: bytes, name: str) -> Any:
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError as error:
        raise DataError(f"{name} is an Excel workbook: to read it, {_INSTALL}; or save it as CSV") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions, which hold no cells
            return openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    except Exception as error:  # of many types
        raise DataError(f"cannot read {name} as an Excel workbook: {reason(error)[:160]}") from error


def _text(value: object) -> str:
    """Return a cell as text: numbers exactly, dates in ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime):
        if value.time() == datetime.time():
            return value.date().isoformat()
        return value.isoformat(" ", "auto").removesuffix(".000000")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
