"""Columns parsed by numpy are those of the rows that the csv module gives, or are refused."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seqgen.corpus.sources import Document
from seqgen.corpus.tables import rows as table_rows
from seqgen.corpus.tables.columnar import Column, ColumnBlock, ColumnParser, as_floats
from seqgen.corpus.tables.dialect import SPACES, Dialect
from seqgen.corpus.tables.read import open_table

SAMPLE = [f"2020-01-{day:02},{day * 7.25},{-day},ok\n" for day in range(1, 25)]
CELLS = st.one_of(
    st.sampled_from(
        ["", " ", "1", " 2.5 ", "+3", "-.5", "7.", "1e3", "1E-400", "1e400", "nan", "inf", "1_000", "١٢", "１", "0x10",
         "1,5", "1.5f", "1d5", '"4"', '4"', "\xa01", "\u2028", "1\x1c", "\x85", "\ufffd", "n" * 90, "0.1" + "1" * 40,
         "2020-01-31", "Total", "# note", "=1", "5\t", "\0"]
    ),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text("0123456789+-.eE_ ", max_size=12),
)  # fmt: skip
ROWS = st.lists(st.lists(CELLS, min_size=3, max_size=5).map(",".join) | st.sampled_from(SAMPLE).map(str.strip))


def columns_of(blocks: object, width: int) -> tuple[list[int], list[list[str | float]]]:
    """Line numbers, and columns in which numbers are floats and other cells stripped text; shorter rows padded."""
    lines: list[int] = []
    columns: list[list[str | float]] = [[] for _ in range(width)]
    for numbers, found in blocks:  # type: ignore[attr-defined]
        lines += numbers
        for index in range(width):
            cells: Column
            if isinstance(found, ColumnBlock):
                cells = found.columns[index]
            else:
                cells = [row[index].strip() if index < len(row) else "" for row in found]
            if not isinstance(cells, list):
                columns[index] += cells.tolist()
            else:
                numbers_of = [as_floats([cell]) for cell in cells]
                columns[index] += [
                    cell if each is None else float(each[0]) for cell, each in zip(cells, numbers_of, strict=True)
                ]
    return lines, columns


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    more=st.sampled_from(["", ",more"]),
    rows=ROWS,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    block=st.integers(1, 9),
    last=st.sampled_from(["", "\n"]),
)
@example(more="", rows=["", "2020-02-01,1,2,ok"], end="\n", block=1, last="\n")
@example(more="", rows=["Total,,,"] + ["2020-02-01,1,2,ok"] * 3, end="\n", block=1, last="")
@example(more=",more", rows=["2020-02-01,1,2,o" + "k" * 90], end="\n", block=2, last="")
def test_column_blocks_are_the_columns_of_blocks(
    more: str, rows: list[str], end: str, block: int, last: str, tmp_path: Path
) -> None:
    text = f"date,a,b,state{more}\n" + "".join(SAMPLE) + "\n".join(rows) + last
    path = tmp_path / "a.csv"
    path.write_bytes(text.replace("\n", end).encode())
    with mock.patch.object(table_rows, "_BLOCK_LINES", block):
        said: list[list[str]] = [[], []]
        tables = [open_table(Document("a.csv", path), warnings.append) for warnings in said]
        width = tables[0].width
        lines, columns = columns_of(tables[0].column_blocks([0]), width)
        expected_lines, expected = columns_of(tables[1].blocks(), width)
    assert lines == expected_lines
    assert columns == expected
    assert said[0] == said[1]


def test_column_blocks_of_clean_rows_are_parsed_as_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("date,a,b,state\n" + "".join(SAMPLE) * 200)
    table = open_table(Document("a.csv", path), pytest.fail)
    blocks = [found for _, found in table.column_blocks([0])]
    assert [isinstance(found, ColumnBlock) for found in blocks] == [False, True, True, True, True]  # the header's
    last = blocks[-1]
    assert isinstance(last, ColumnBlock)
    assert [type(column) for column in last.columns] == [list, np.ndarray, np.ndarray, list]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2020-01-31,1.5,2,ok", ""),
        ('2020-01-31,1.5,2,"ok"', "a quote"),
        ("2020-01-31,1.5,,ok", "a missing number"),
        ("2020-01-31,1.5,nan,ok", "NaN"),
        ("2020-01-31,1e999,2,ok", "an infinity"),
        ("2020-01-31,1_5,2,ok", "an underscore, which float() takes"),
        ("2020-01-31,1.5,2", "too few cells"),
        ("2020-01-31,1.5,2,ok,", "too many cells"),
        ("2020-01-31,1.5,2," + "k" * 60, "a longer text"),
        ("", "a blank line"),
    ],
)
def test_column_parser_refuses_lines_that_need_interpretation(line: str, why: str) -> None:
    parser = ColumnParser(Dialect(), 2, 4, [row.strip().split(",") for row in SAMPLE], [0])
    found = parser.parse(2, [*SAMPLE, line + "\n", *SAMPLE])
    assert (found is None) == bool(why)
    assert parser.parse(1, SAMPLE) is None  # above the data


def test_column_parser_gives_up_on_a_table_that_is_not_plain() -> None:
    parser = ColumnParser(Dialect(), 2, 4, [row.strip().split(",") for row in SAMPLE], [0])
    assert [parser.parse(2, ["\n"]) for _ in range(5)] == [None] * 5
    assert parser.parse(2, SAMPLE) is None


@pytest.mark.parametrize("dialect", [Dialect(SPACES), Dialect(wrapped=True), Dialect(single=True)])
def test_column_parser_leaves_dialects_with_rules_of_their_own_to_the_row_parser(dialect: Dialect) -> None:
    lines = [line.replace(",", dialect.delimiter) for line in SAMPLE]
    assert ColumnParser(dialect, 1, 4, [line.split(dialect.delimiter) for line in lines], [0]).parse(1, lines) is None
