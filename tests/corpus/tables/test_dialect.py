"""One line to cells, and what cells have by their shape."""

from __future__ import annotations

import pytest

from seqgen.corpus.tables.cells import MISSING, NUMBER, TEXT, TIME, cell_kind, column_kind
from seqgen.corpus.tables.dialect import SPACES, Dialect, exchange_quotes, split_line, unwrap_lines

COMMA, SPACED, R = Dialect(), Dialect(skip_spaces=True), Dialect(SPACES)


@pytest.mark.parametrize(
    ("line", "dialect", "cells"),
    [
        ("", COMMA, [""]),
        (",\n", COMMA, ["", ""]),
        ('a,"b,c",d\r\n', COMMA, ["a", "b,c", "d"]),
        ('"a ""b""",', COMMA, ['a "b"', ""]),
        ('"a"b",c', COMMA, ['a"b', "c"]),  # only a delimiter or the end makes a quote a closing one
        ('a,"b"c,d', COMMA, ["a", '"b"c', "d"]),
        ('"a,b', COMMA, ['"a', "b"]),
        ('a,"', COMMA, ["a", '"']),
        ('a, "b,c"', COMMA, ["a", ' "b', 'c"']),
        ('a, "b,c", d', SPACED, ["a", "b,c", " d"]),
        ('a|"b|c"|', Dialect("|"), ["a", "b|c", ""]),
        ('"a,b"', Dialect(quote=""), ['"a', 'b"']),
        ("a  b\tc\n", R, ["a", "b", "c"]),
        ('"x ""y""" 1  ""\n', R, ['x "y"', "1", ""]),
        ('x "y 1 " "', R, ["x", "y 1 ", '"']),
        ('"y 5" "a"b', R, ["y 5", '"a"b']),  # once the last letters of such cells were lost
        ('1 "open\n', R, ["1", '"open']),
        ('"x y" z', Dialect(SPACES, quote=""), ['"x', 'y"', "z"]),
    ],
)
def test_split_line(line: str, dialect: Dialect, cells: list[str]) -> None:
    assert split_line(line, dialect) == cells


def test_unwrap_lines_takes_the_quotes_around_whole_lines_off() -> None:
    lines = ['"a,""b"""\n', "x\n", '"\n', '""\n', '"a" \r\n', '"a', 'a"\n']
    assert unwrap_lines(lines) == ['a,"b"\n', "x\n", '"\n', "\n", "a \r\n", '"a', 'a"\n']


def test_exchange_quotes_is_its_own_reverse() -> None:
    assert exchange_quotes("a'b\"c") == "a\"b'c"
    assert exchange_quotes(exchange_quotes("'\"'")) == "'\"'"


def test_dialect_name_is_that_of_its_delimiter() -> None:
    names = ["commas", "semicolons", "tabs", "bars", "colons", "spaces", "'#'"]
    assert [Dialect(mark).name for mark in ",;\t|: #"] == names


KINDS = {
    MISSING: ["", " ", "NA", "n/a", "-"],
    NUMBER: ["1.5", "1,5", "1.234,5", "-3", "+4", "1e5", "12%", "$5", "2021"],
    TIME: ["2020-01-02", "12:30", "1:2", "Q1 2021", "2021-W03", "2021年3月1日", "31.12.2021 18:00 Uhr", "3 Mar 2021",
           "20210102T030405Z", "2020-01-02 03:04:05.123456+00:00"],
    TEXT: ["word", "a1", "7 up", "no 12", "12 monkeys", "1 " * 20 + "1", "2020-01-02 " + "a" * 30],
}  # fmt: skip


@pytest.mark.parametrize(("cell", "kind"), [(cell, kind) for kind, cells in KINDS.items() for cell in cells])
def test_cell_kind_by_its_shape(cell: str, kind: str) -> None:
    assert cell_kind(cell) == kind


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([], MISSING), (["", "NA"], MISSING), (["1", "", ""], NUMBER),
        (["1"] * 9 + ["x"], NUMBER), (["1"] * 8 + ["x"] * 2, TEXT), (["1"] * 4 + ["12:30"] * 5 + ["x"], TIME),
        (["1"] * 5 + ["12:30"] * 5, NUMBER), (["1"] * 4 + ["12:30"] * 6, TIME),
    ],
)  # fmt: skip
def test_column_kind_is_what_nearly_all_cells_have(cells: list[str], kind: str) -> None:
    assert column_kind(cells) == kind
