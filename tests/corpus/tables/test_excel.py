"""Excel workbooks as tables."""

from __future__ import annotations

import datetime
import io
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from seqgen.corpus.documents import Document
from seqgen.corpus.labelled.read import LabelledOptions, read_examples
from seqgen.corpus.tables import excel
from seqgen.corpus.tables.read import Table, open_table
from seqgen.errors import DataError
from tests.helpers.documents import zipped
from tests.helpers.workbooks import workbook_of

openpyxl = pytest.importorskip("openpyxl")


def workbook(**sheets: list[list[Any]]) -> bytes:
    return workbook_of(sheets)


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


def test_open_table_workbook_cells_are_exact_text(tmp_path: Path) -> None:
    values = [1e14, -1e16, 0.1, 12, False, datetime.time(4, 30), datetime.datetime(2020, 1, 2, 3, 4, 5, 600_000), " x"]
    texts = ["100000000000000", "-1e+16", "0.1", "12", "false", "04:30:00", "2020-01-02 03:04:05.600000", " x"]
    _, rows = read(tmp_path, workbook(data=[["name", "value"], *(["v", value] for value in values)]))
    assert [cells[1] for _, cells in rows] == texts


def test_open_table_workbook_rows_do_not_depend_on_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = workbook(data=[["a", "b", "c"], ["1", "2"], ["3"], [], ["4", "5", "6"], ["7"], ["8", "9"]])
    table, whole = read(tmp_path, data)
    assert table.header == ("a", "b", "c")
    assert whole == [(2, ["1", "2", ""]), (3, ["3", "", ""]), (5, ["4", "5", "6"]), (6, ["7", "", ""]),
                     (7, ["8", "9", ""])]  # fmt: skip
    for name, value in (("_BLOCK_ROWS", 2), ("_BLOCK_CELLS", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(excel, name, value)
            assert read(tmp_path, data)[1] == whole


NUMBERS: list[list[Any]] = [[n, n * n] for n in range(6)]


@pytest.mark.parametrize(
    ("rows", "header", "count", "warning"),
    [
        ([["a", "b"], *NUMBERS[:3], [3, 9, None, "a note"], *NUMBERS[4:]], ("a", "b"), 6,
         "t.xlsx: 1 row has more cells than the 2 of the others (first: row 5)"),
        ([["a", "b"], *NUMBERS[:3], [3, 9, "x"], [4, 16, "y"], [5, 25, "z"]], ("a", "b"), 6,
         "t.xlsx: 3 rows have more cells than the 2 of the others (first: row 5)"),
        ([["a", "b", "notes"], *NUMBERS[:5], [5, 25, "x"]], ("a", "b", "notes"), 6, ""),
        ([["Report"], ["made", "on Monday"], [], ["a", "b", "c"], *([*row, 1] for row in NUMBERS)], ("a", "b", "c"), 6,
         "t.xlsx: 2 lines above the table are skipped (first: row 1, 'Report')"),
        ([*([f"line {n}"] for n in range(5)), ["a", "b"], *NUMBERS], ("a", "b"), 6,
         "t.xlsx: 5 lines above the table are skipped (first: row 1, 'line 0')"),
        ([["Report"], ["x", "y"], *([f"row {row[0]}", *row] for row in NUMBERS)], ("column_1", "x", "y"), 6,
         "t.xlsx: 1 line above the table is skipped (first: row 1, 'Report')"),
    ],
)  # fmt: skip
def test_open_table_workbook_with_cells_beside_or_above_the_table(
    rows: list[list[Any]], header: tuple[str, ...], count: int, warning: str, tmp_path: Path
) -> None:
    """A note beside a row once made the rows above it, with the header, be left out as lines above the table."""
    (tmp_path / "t.xlsx").write_bytes(workbook(data=rows))
    warnings: list[str] = []
    table = open_table(Document("t.xlsx", tmp_path / "t.xlsx"), warnings.append)
    assert (table.header, len(list(table.rows()))) == (header, count)
    assert warnings == [warning] * bool(warning)


@pytest.mark.parametrize(
    ("head", "merged", "header"),
    [
        ([["Date", "Sales", None], [None, "North", "South"]], ["A1:A2", "B1:C1"],
         ("Date", "Sales North", "Sales South")),
        ([[None, "Sales", None, "Stock"], ["Date", "North", "South", None]], ["B1:C1", "D1:D2"],
         ("Date", "Sales North", "Sales South", "Stock")),
        ([["Report of 2023"], [], ["Date", "Sales", None, "Stock"], [None, "North", "South", None]],
         ["A1:D1", "A3:A4", "B3:C3", "D3:D4"], ("Date", "Sales North", "Sales South", "Stock")),
        ([[None, "Close", None, "Open", None], [None, "A", "B", "A", "B"], ["Date"]], ["B1:C1", "D1:E1"],
         ("Date", "Close A", "Close B", "Open A", "Open B")),  # as pandas writes it
    ],
)  # fmt: skip
def test_open_table_workbook_merged_cells_name_the_columns_below(
    head: list[list[Any]], merged: list[str], header: tuple[str, ...], tmp_path: Path
) -> None:
    days = [[datetime.date(2023, 1, day), *[day] * (len(header) - 1)] for day in range(1, 6)]
    book = openpyxl.load_workbook(io.BytesIO(workbook(data=[*head, *days])))
    for cells in merged:
        book.active.merge_cells(cells)
    book.save(tmp_path / "t.xlsx")
    table = open_table(Document("t.xlsx", tmp_path / "t.xlsx"), lambda _: None)
    assert table.header == header
    assert [cells[0] for _, cells in table.rows()] == [f"2023-01-0{day}" for day in range(1, 6)]


@pytest.mark.parametrize(
    ("head", "header"),
    [
        ([["Date", "Temp", None, "Wind", None], [None, "min", "max", "min", "max"], [None, "°C", "°C", "m/s", None]],
         ("Date", "Temp min", "Temp max", "Wind min", "Wind max")),
        ([["Date", "Open", "High", "Low", "Vol"], [None, "€", "€", "€", None]], ("Date", "Open", "High", "Low", "Vol")),
        ([["x", "Open", "High", "Low", "Vol"], ["date"]], ("date", "Open", "High", "Low", "Vol")),
    ],
)  # fmt: skip
def test_open_table_workbook_row_of_units_may_end_in_empty_cells(
    head: list[list[Any]], header: tuple[str, ...], tmp_path: Path
) -> None:
    part = [*head, *([datetime.date(2023, 1, day), *[day] * 4] for day in range(1, 29))]
    (tmp_path / "t.xlsx").write_bytes(workbook(data=[*part, *part]))  # the header stands again
    table = open_table(Document("t.xlsx", tmp_path / "t.xlsx"), lambda _: None)
    assert table.header == header
    assert [cells[0] for _, cells in table.rows()] == [f"2023-01-{day:02}" for day in range(1, 29)] * 2


def test_open_table_workbook_beyond_the_limits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = workbook(data=[["a", "b"], ["1", "2"], ["3", "4"]])
    for name in ("_MAX_ROWS", "_MAX_COLUMNS"):
        size = 3 if name == "_MAX_ROWS" else 2
        with monkeypatch.context() as patch:
            patch.setattr(excel, name, size)
            assert len(read(tmp_path, data)[1]) == 2
            patch.setattr(excel, name, size - 1)
            with pytest.raises(DataError, match="the most that a sheet may have"):
                read(tmp_path, data)
    book = openpyxl.Workbook()
    book.active.cell(1, 16_385, "x")
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match=r"1,048,576 rows or 16,384 columns, the most that a sheet may have"):
        read(tmp_path, (tmp_path / "t.xlsx").read_bytes())


def test_open_table_workbook_of_other_programs_gives_no_warning(tmp_path: Path) -> None:
    """openpyxl warns of what it doesn't know of styles, which hold no cells."""
    with zipfile.ZipFile(io.BytesIO(workbook(data=ROWS))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    styles = parts["xl/styles.xml"]
    parts["xl/styles.xml"] = re.sub(rb"<cellStyles.*</cellStyles>", b"", styles)
    assert parts["xl/styles.xml"] != styles
    assert len(read(tmp_path, zipped(parts))[1]) == 3


def test_open_table_workbook_without_cells_or_with_many_sheets_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.xlsx is not a table: it has no rows"):
        read(tmp_path, workbook(first=[], second=[[None]]))
    for count, more in ((8, ""), (10, " and 2 more")):
        many = workbook(**{f"s{number}": [["a", "b"], [1, 2]] for number in range(count)})
        with pytest.raises(
            DataError, match=rf"has {count} sheets with cells, 's0', .*'s7'{more}; give one with --sheet"
        ):
            read(tmp_path, many)
    with pytest.raises(DataError, match=r"t\.xlsx is not a workbook: it has no sheets; leave out --sheet"):
        read(tmp_path, b"a,b\n1,2\n", "s1")


def test_open_table_workbook_formulas_without_results_are_reported(tmp_path: Path) -> None:
    """openpyxl stores no results; a spreadsheet program does, and gives a result that is an empty text its type."""
    rows = [["a", "b"], [1, "=A2+1"], [2, "=A3+1"], [3, 4]]
    data, warnings = workbook(data=rows, other=[["x", "y"], [1, 2]]), []
    path = tmp_path / "t.xlsx"
    path.write_bytes(data)
    table = open_table(Document("t.xlsx", path), warnings.append, "data")
    assert [cells for _, cells in table.rows()] == [["1", ""], ["2", ""], ["3", "4"]]
    assert warnings == [
        "t.xlsx, sheet data: 2 cells have formulas without results, and are read as empty; open the workbook in a "
        "spreadsheet program and save it"
    ]
    open_table(Document("t.xlsx", path), pytest.fail, "other")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    for old, new, count in (
        (b"<f>A2+1</f><v />", b"<f>A2+1</f><v>2</v>", 1), (b"<f>A2+1</f><v />", b'<f t="shared" si="0"/>', 2),
        (b'"B2"><f>A2+1</f><v />', b'"B2" t="str"><f>A2+1</f><v></v>', 1),
        (b"<sheetData>", b"<sheetData>" + b" " * ((1 << 20) - members[sheet].index(b"A2+1")), 2),  # across two chunks
    ):  # fmt: skip
        assert old in members[sheet]
        path.write_bytes(zipped({**members, sheet: members[sheet].replace(old, new)}))
        warnings.clear()
        open_table(Document("t.xlsx", path), warnings.append, "data")
        assert warnings[0].startswith(f"t.xlsx, sheet data: {count} cell"), warnings


def test_open_table_damaged_workbooks_and_bombs_are_refused(tmp_path: Path) -> None:
    data = workbook(data=ROWS)
    for damaged in (data[:100], data[:-50], data.replace(b"xl/workbook.xml", b"xl/workbook.abc")):
        with pytest.raises(DataError) as error:
            read(tmp_path, damaged)
        assert "\n" not in str(error.value)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"\0" * (1 << 24))
        archive.writestr("xl/styles.xml", b"")  # an archive of one member is a compressed file, and has its own limit
    with pytest.raises(DataError, match="decompression bomb"):
        read(tmp_path, bomb.getvalue())


def test_open_table_workbook_without_openpyxl_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = workbook(data=ROWS)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"pip install 'seqgen-rnn\[excel\]'"):
        read(tmp_path, data)


def test_read_examples_of_a_workbook_leave_out_cells_beside_the_table(tmp_path: Path) -> None:
    rows = [["text", "label"], *([f"a fine day {n}", "good"] for n in range(4)), ["rain", "bad", None, "why?"]]
    (tmp_path / "t.xlsx").write_bytes(workbook(data=rows))
    warnings: list[str] = []
    found = list(read_examples([Document("t.xlsx", tmp_path / "t.xlsx")], LabelledOptions(), warnings.append))
    assert [(each.text, each.labels) for each in found[3:]] == [("a fine day 3", ("good",)), ("rain", ("bad",))]
    assert warnings == ["rows with cells beside the table, which were left out: 1 (first: t.xlsx:6)"]
