"""Excel workbooks as tables."""

from __future__ import annotations

import datetime
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from seqgen.corpus.documents import Document
from seqgen.corpus.tables.read import Table, open_table
from seqgen.errors import DataError

openpyxl = pytest.importorskip("openpyxl")


def workbook(**sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def read(folder: Path, data: bytes, sheet: str | None = None) -> tuple[Table, list[tuple[int, list[str]]]]:
    path = folder / "t.xlsx"
    path.write_bytes(data)
    table = open_table(Document("t.xlsx", path), pytest.fail, sheet)
    return table, list(table.rows())


ROWS: list[list[Any]] = [
    ["time", "value", "note"],
    [datetime.datetime(2020, 1, 2), 1.5, "a, b"],
    [datetime.datetime(2020, 1, 3, 4, 30), 2.0, None],
    [datetime.datetime(2020, 1, 4), 0.1, True],
]


def test_open_table_workbook(tmp_path: Path) -> None:
    table, rows = read(tmp_path, workbook(data=ROWS, empty=[]))
    assert (table.header, table.unit, table.format) == (("time", "value", "note"), "row", "Excel")
    assert rows == [
        (2, ["2020-01-02", "1.5", "a, b"]), (3, ["2020-01-03 04:30:00", "2", ""]), (4, ["2020-01-04", "0.1", "true"]),
    ]  # fmt: skip


def test_open_table_workbook_of_several_sheets_needs_a_name(tmp_path: Path) -> None:
    data = workbook(first=ROWS, second=[["a", "b"], [1, 2], [3, 4]])
    with pytest.raises(DataError, match=r"t\.xlsx has 2 sheets with cells, 'first', 'second'; give one with --sheet"):
        read(tmp_path, data)
    table, rows = read(tmp_path, data, "second")
    assert (table.header, rows) == (("a", "b"), [(2, ["1", "2"]), (3, ["3", "4"])])
    with pytest.raises(DataError, match="has no sheet 'third'; the sheets are 'first', 'second'"):
        read(tmp_path, data, "third")


def test_open_table_damaged_workbooks_and_bombs_are_refused(tmp_path: Path) -> None:
    data = workbook(data=ROWS)
    for damaged in (data[:100], data[:-50], data.replace(b"xl/workbook.xml", b"xl/workbook.abc")):
        with pytest.raises(DataError) as error:
            read(tmp_path, damaged)
        assert "\n" not in str(error.value)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"\0" * (1 << 24))
    with pytest.raises(DataError, match="decompression bomb"):
        read(tmp_path, bomb.getvalue())


def test_open_table_workbook_without_openpyxl_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = workbook(data=ROWS)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"pip install 'seqgen-rnn\[excel\]'"):
        read(tmp_path, data)
