"""Tables: dialects, line ends, quotes, headers, and what is left out and reported."""

from __future__ import annotations

import csv
import io
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.corpus.sources import Document
from seqgen.corpus.tables.cells import TEXT, TIME, cell_kind
from seqgen.corpus.tables.columns import parse_columns
from seqgen.corpus.tables.read import Table, open_table, sniff
from seqgen.corpus.tables.texts import column_text
from seqgen.errors import DataError


def read(folder: Path, data: bytes | str, **options: Any) -> tuple[Table, list[list[str]], list[str]]:
    """Return the table, the cells of its rows, and the warnings."""
    path = folder / "t.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    warnings: list[str] = []
    options.setdefault("known", ("text", "label"))
    table = open_table(Document("t.csv", path), warnings.append, **options)
    return table, [cells for _, cells in table.rows()], warnings


CELLS = st.text(st.sampled_from("ab c,;|\t\"'\n\r\x85\u2028é中1.#"), max_size=12)
ROWS = st.lists(st.tuples(CELLS, st.sampled_from(["pos", "neg"]), st.integers(0, 99).map(str)), min_size=4, max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    ROWS,
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
)
@example([("", "pos", "0")] * 2 + [("||\r1", "pos", "0")] * 2, "|", "\n", csv.QUOTE_ALL)
def test_table_written_by_csv_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], mark: str, end: str, quoting: int
) -> None:
    if any(letter in row[0] for row in rows for letter in "\r\n"):
        quoting = csv.QUOTE_ALL  # csv quotes only those of its own line end otherwise
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=mark, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(["the_text", "label", "n"])
    writer.writerows(rows)
    table, found, warnings = read(tmp_path_factory.getbasetemp(), out.getvalue())
    assert (table.dialect.delimiter, table.header, table.has_header) == (mark, ("the_text", "label", "n"), True)
    assert found == [list(row) for row in rows]
    assert not warnings


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(st.sampled_from('ab,;\t|"\\\n\r# 1é'), max_size=120).map(str.encode)))
def test_table_of_any_bytes_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    try:
        _, rows, _ = read(tmp_path_factory.getbasetemp(), data)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert sum(len("".join(cells)) for cells in rows) <= 3 * len(data)
    sniff(data.decode("utf-8", "surrogateescape"), "x", True)


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_table_decisions_do_not_depend_on_the_order_of_rows(
    tmp_path_factory: pytest.TempPathFactory, order: random.Random
) -> None:
    rows = [f'said "{word}", and left;{number % 3}' for number, word in enumerate(["a", "b", "c", 'd"', "e"] * 8)]
    rows += ['"quoted; cell";1', '"stray;2']
    order.shuffle(rows)
    table, found, _ = read(tmp_path_factory.getbasetemp(), "Satz;Klasse\n" + "\n".join(rows) + "\n")
    assert (table.dialect.delimiter, table.header) == (";", ("Satz", "Klasse"))
    assert len(found) == len(rows)
    assert ["quoted; cell", "1"] in found and ['"stray', "2"] in found


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_table_line_ends(tmp_path: Path, end: str) -> None:
    table, rows, _ = read(tmp_path, end.join(["text,label", "a\x85b,x", "c\u2028d,y", "e\x0bf,x", ""]))
    assert table.header == ("text", "label")
    assert rows == [["a\x85b", "x"], ["c\u2028d", "y"], ["e\x0bf", "x"]]


def test_table_mixed_line_ends(tmp_path: Path) -> None:
    assert read(tmp_path, "t,label\na,1\r\nb,2\rc,3\n")[1] == [["a", "1"], ["b", "2"], ["c", "3"]]


@pytest.mark.parametrize(
    ("data", "delimiter", "width"),
    [
        ("text;label\nI, you, he;a\nyes, no;b\nno;a\n", ";", 2),
        ("sep=;\na,b;c\n1,5;2\n", ";", 2),
        ('"sep=|"\na|b\n1|2\n', "|", 2),
        ("a|b\nx, y|1\nz|2\n", "|", 2),
        ("a\tb\nx, y; z\t1\nw\t2\n", "\t", 2),
        ("date  value  other\n2020-01-01  1.5  3\n2020-01-02  2.5   4\n2020-01-03  2  5\n", " ", 3),
        ("day value\n1 2,5\n2 3\n3 4\n4 1,5\n", " ", 2),
        ("name:value\na:1\nb:2\nc:3\n", ":", 2),
        ("value\n1,5\n2,5\n3,5\n", "\t", 1),
        ("time,value\n12:30,1\n12:31,2\n", ",", 2),
        ("| a | b |\n|---|---|\n| x | 1 |\n| y | 2 |\n", "|", 2),
    ],
)  # fmt: skip
def test_table_delimiter(tmp_path: Path, data: str, delimiter: str, width: int) -> None:
    table, rows, _ = read(tmp_path, data)
    assert table.dialect.delimiter == delimiter
    assert {len(cells) for cells in rows} == {table.width} == {width}


@pytest.mark.parametrize(
    ("data", "warns"),
    [
        ("10,40\n11,48\n9,05\n", True),
        ("10,4\n-11,8\n9,5\n", True),
        ("10,4\n11,48\n9,5\n", False),  # of pairs of small numbers, some have two digits
        ("10,400\n11,480\n9,500\n", False),
        ('"10","40"\n"11","48"\n"9","05"\n', False),
        ("sep=,\n10,40\n11,48\n9,05\n", False),
        ("10;40\n11;48\n9;05\n", False),
        ("a,b\n10,40\n11,48\n9,05\n", False),
        ("a\n10,40\n11,48\n9,05\n", False),  # read as decimals
    ],
)
def test_table_of_lines_that_may_be_decimals_is_read_as_two_columns_with_a_warning(
    data: str, warns: bool, tmp_path: Path
) -> None:
    table, _, warnings = read(tmp_path, data)
    assert table.width == 2 - data.startswith("a\n")
    told = (
        "t.csv: lines such as {!r} are read as two columns of whole numbers; if the comma is the decimal mark, write a "
    )
    assert warnings == [told.format(data.split("\n")[0]) + "name above them"] * warns


@pytest.mark.parametrize(
    ("data", "width", "warns"),
    [
        ('"10,40"\n"11,48"\n"9,05"\n', 1, True),
        ('"10,4"\r\n"-11,48"\r\n"9,5"\r\n', 1, True),
        ('"v"\n"10,40"\n"11,48"\n"9,05"\n', 1, False),
        ('"a,b"\n"10,40"\n"11,48"\n"9,05"\n', 2, False),  # rows taken for cells
        ('"10,40,1"\n"11,48,2"\n"9,05,3"\n', 3, False),
        ('"2020-01-01,40"\n"2020-01-02,48"\n"2020-01-03,05"\n', 2, False),
    ],
)
def test_table_of_quoted_decimals_is_one_column_with_a_warning(
    data: str, width: int, warns: bool, tmp_path: Path
) -> None:
    table, _, warnings = read(tmp_path, data)
    assert table.width == width
    told = "t.csv: lines such as {!r} are read as one number each; if they are two columns, leave out the quotes"
    assert warnings == [told.format(data.splitlines()[0])] * warns


def test_table_quote_that_would_swallow_rows_is_a_letter(tmp_path: Path) -> None:
    lines = [f"a film about row {number}\t{number % 2}" for number in range(200)]
    for number in (20, 90, 150):
        lines[number] = '"' + lines[number]
    _, rows, _ = read(tmp_path, "sentence\tlabel\n" + "\n".join(lines) + "\n")
    assert len(rows) == 200
    assert rows[20] == ['"a film about row 20', "0"]
    lines[40] = '"it said ""no"", a film"\t1'  # quotes that do enclose a cell
    _, rows, warnings = read(tmp_path, "sentence\tlabel\n" + "\n".join(lines) + "\n")
    assert len(rows) == 200 and rows[40][0] == 'it said "no", a film' and rows[150][0].startswith('"')
    assert warnings == ["t.csv: 3 lines have a quote that encloses no cell, read as a letter (first: line 22)"]


def test_table_quoted_cells_over_several_lines(tmp_path: Path) -> None:
    poem = "roses are red,\nviolets are blue,\nsugar is sweet,\nand so on,"
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(
        [["text", "label"], *[[f"{poem} {n}", "ab"[n % 2]] for n in range(9)]]
    )
    _, rows, warnings = read(tmp_path, out.getvalue())
    assert rows == [[f"{poem} {n}", "ab"[n % 2]] for n in range(9)]
    assert not warnings


def test_table_quoted_cells_of_two_lines_with_a_comma_each(tmp_path: Path) -> None:
    rows = [[f'A film, "{n}"\nand more', "ab"[n % 2]] for n in range(12)]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([["text", "label"], *rows])
    assert read(tmp_path, out.getvalue())[1] == rows


@pytest.mark.parametrize(
    "cell", ["roses, red\nviolets blue\nsugar", "roses\nred, red\nviolets, blue\nsugar, sweet\nso, on\nand on"]
)
def test_table_one_quoted_cell_over_several_lines_is_no_stray_quote(cell: str, tmp_path: Path) -> None:
    plain = [["plain text", "a"], ["other text", "b"]] * 25
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([["text", "label"], *plain, [cell, "a"], *plain])
    _, rows, warnings = read(tmp_path, out.getvalue())
    assert rows == [*plain, [cell, "a"], *plain] and not warnings


def test_table_cells_in_columns_without_a_name_are_reported(tmp_path: Path) -> None:
    """A column that is empty in the head of the file is left out, as spreadsheets write some; a cell below is not."""
    for rows in ("|1|2|\nx|1|2|\n|1|2|\n", "|1|2|\n|1|2|y\n|1|2|\n"):
        table, found, warnings = read(tmp_path, "|a|b|\n" + "|1|2|\n" * 5000 + rows)
        assert table.header == ("a", "b") and {tuple(cells) for cells in found} == {("1", "2")}
        assert warnings == ["t.csv: 1 row has cells in a column without a name, left out (first: line 5,003)"]


def test_table_backslash_escapes_and_spaces_before_quotes(tmp_path: Path) -> None:
    rows = read(tmp_path, 'text,label\n"He said \\"hi\\", ok",a\n"C:\\\\new",b\n"x",a\n')[1]
    assert read(tmp_path, '"1","with \\"quotes\\" in it"\n"2","none, really"\n' * 3)[1][0] == [
        "1",
        'with "quotes" in it',
    ]
    assert rows == [['He said "hi", ok', "a"], ["C:\\\\new", "b"], ["x", "a"]]
    assert read(tmp_path, 'text, label\n"a, b", "x"\n"c, d", "y"\n')[1] == [["a, b", "x"], ["c, d", "y"]]


def test_table_nul_bytes_and_other_encodings_are_reported(tmp_path: Path) -> None:
    _, rows, warnings = read(tmp_path, b"text,label\na\0b,x\ncaf\xe9,y\n")
    assert rows == [["a\ufffdb", "x"], ["café", "y"]]
    assert sorted(warnings) == [
        "t.csv: 1 line has NUL bytes, read as U+FFFD (first: line 2)",
        "t.csv: 1 line that is not UTF-8, read as Windows-1252 (first: line 3)",
    ]  # fmt: skip


def test_table_irregular_rows_are_yielded_and_reported(tmp_path: Path) -> None:
    body = "".join(f"{n},{n},{n}\n" for n in range(20))
    _, rows, warnings = read(tmp_path, "a,b,c\n" + body + "1,2\n3,4,5,6\n7,8,9,,\n,,\n1,1,1\nSource: nobody\n")
    assert rows[20:] == [["1", "2"], ["3", "4", "5", "6"], ["7", "8", "9"], ["1", "1", "1"]]
    assert warnings == [
        "t.csv: 1 row has fewer cells than the 3 of the others (first: line 22)",
        "t.csv: 1 row has more cells than the 3 of the others (first: line 23)",
        "t.csv: 1 line below the table is skipped (first: line 27, 'Source: nobody')",
    ]


@pytest.mark.parametrize(("end", "short"), [(",", False), (",,", False), (",d", True)])
def test_table_delimiters_at_the_end_of_the_header_make_no_row_short(end: str, short: bool, tmp_path: Path) -> None:
    table, rows, warnings = read(tmp_path, f"a,b,c{end}\n" + "1,2,3\n" * 5)
    assert (table.header, len(rows)) == (("a", "b", "c", "d")[: 3 + short], 5)
    assert warnings == ["t.csv: 5 rows have fewer cells than the 4 of the others (first: line 2)"] * short


def test_table_last_row_of_one_cell_is_a_note_if_the_column_has_times(tmp_path: Path) -> None:
    days = "".join(f"2021-01-0{n},{n},{n}\n" for n in range(1, 6))
    _, rows, warnings = read(tmp_path, "day,a,b\n" + days + "Source: nobody,,\n")
    assert len(rows) == 5
    assert warnings == ["t.csv: 1 line below the table is skipped (first: line 7, 'Source: nobody')"]
    names = "".join(f"{letter},{n},{n}\n" for n, letter in enumerate("vwxyz"))
    _, rows, warnings = read(tmp_path, "name,a,b\n" + names + "nobody,,\n")
    assert (rows[5:], warnings) == ([["nobody", "", ""]], [])


@pytest.mark.parametrize(
    ("data", "header", "count"),
    [
        ("Kritik,Urteil\n" + "Das war gut,gut\nDas war es nicht,schlecht\n" * 10, ("Kritik", "Urteil"), 20),
        ("отзыв;класс\n" + "Это было хорошо;да\nЭто было плохо;нет\n" * 10, ("отзыв", "класс"), 20),
        ("感想,評価\n" + "とても良かったです,良い\n全然だめでした,悪い\n" * 10, ("感想", "評価"), 20),
        ("v1,v2,,\n" + "ham,so it goes,,\nspam,call this number,,\n" * 9, ("v1", "v2"), 18),
        ("label,the story\ntext,another story\nlabel,a third one\n" * 4, None, 12),
        ("Das war gut,gut\nDas war es nicht,schlecht\n" * 10, None, 20),
        ("what a day,sad\n" + "good one,joy\nbad one,sad\n" * 9, None, 19),
        ("Hello,Hi\nHow are you?,Fine\nYes,No\nWhere are you?,Here I am\n", None, 4),
        ("Frage,Antwort\nHow are you?,I am fine\nWhere are you?,Here I am\nWho is it?,It is me\n",
         ("Frage", "Antwort"), 3),
        ("a,1\nb,2\nc,3\nd,4\n", None, 4),
        ("x,y\na,1\nb,2\nc,3\n", ("x", "y"), 3),
        ("1,2\n3,4\n5,6\n", None, 3),
        ("country,1990,1991,1992\nA,5,6,7\nB,6,7,8\n", ("country", "1990", "1991", "1992"), 2),
        ("# made by hand\n# on a day\na,b\n1,2\n3,4\n", ("a", "b"), 2),
        ("# a,b\n1,2\n3,4\n5,6\n", ("a", "b"), 3),
        ("#happy day,joy\nbad one,sad\ngood one,joy\nsad one,sad\n" * 5, None, 20),
        ("Report of the year\nmade on, Monday\n\na,b,c\n1,2,3\n4,5,6\n7,8,9\n", ("a", "b", "c"), 3),
        ("x y\n\"1\" 5 6\n\"2\" 7 8\n\"3\" 9 9\n", ("column_1", "x", "y"), 3),
        ("# time, price\n1,2.5\n2,3.5\n3,4.5\n", ("time", "price"), 3),
        ("#,time,price\n1,2.5\n2,3.5\n3,4.5\n", ("time", "price"), 3),
        ("# a word, and another\nred,1\nblue,2\nred,3\n", ("a word", "and another"), 3),
        ("#,red,blue\nred,blue\nblue,red\nred,red\n", None, 3),
        ("a,b\n1,2,\n3,4,\n5,6,\n", ("a", "b"), 3),
        ("a,b,\n1,2,\n3,4,\n5,6,\n", ("a", "b"), 3),
        ("a,a,\n1,2,3\n3,4,5\n5,6,7\n", ("a", "a_2", "column_3"), 3),
        ("time,t,p\n,°C,hPa\n2020-01-01,1,2\n2020-01-02,2,3\n2020-01-03,2,3\n", ("time", "t", "p"), 3),
        ("Price,Close,Close\nTicker,A,B\nDate,,\n2020-01-01,1,2\n2020-01-02,2,3\n2020-01-03,2,3\n",
         ("Date", "Close A", "Close B"), 3),
        ("Date;Sales;;Stock\n;North;South;\n01.01.2023;1;2;3\n02.01.2023;1;2;3\n",
         ("Date", "Sales North", "Sales South", "Stock"), 2),
        ("Report;;;\n\nDate;Sales;;Stock\n;North;South;Shop\n;pcs;pcs;kg\n01.01.2023;1;2;3\n02.01.2023;1;2;3\n",
         ("Date", "Sales North", "Sales South", "Stock Shop"), 2),
        (";Sales;;Costs;\nDate;North;South;North;South\n01.01.2023;1;2;3;4\n02.01.2023;1;2;3;4\n",
         ("Date", "Sales North", "Sales South", "Costs North", "Costs South"), 2),
        ("Report;;\nPlace;Rome;\nDate;North;South\n01.01.2023;1;2\n02.01.2023;1;2\n", ("Date", "North", "South"), 2),
        ("Report;;\n;North;South\n01.01.2023;1;2\n02.01.2023;1;2\n", ("Report", "North", "South"), 2),
        (";t;p\n;°C;°C\n01.01.2023;1;2\n02.01.2023;1;2\n", ("column_1", "t", "p"), 2),
        ("Category: All categories\n\nDay,tea: (Worldwide)\n2020-01-01,5\n2020-01-02,<1\n2020-01-03,7\n",
         ("Day", "tea: (Worldwide)"), 3),
        (",0,1\n0,a,b\n1,c,d\n2,e,f\n", ("column_1", "0", "1"), 3),
        (",0\n0,3.5\n1,4.5\n2,7\n", ("column_1", "0"), 3),
        (",Kritik,Urteil\n0,gut,ja\n7,schlecht,nein\n4,gut,ja\n", ("column_1", "Kritik", "Urteil"), 3),
        ('"","x","y"\n"1","a","b"\n"2","c","d"\n', ("column_1", "x", "y"), 2),
        (",Ann,Rome\n2,Ben,Rome\n3,Ann,Oslo\n4,Cid,Oslo\n", None, 4),
        (",5,6\n1,7,8\n2,9,1\n", None, 3),
    ],
)  # fmt: skip
def test_table_header(tmp_path: Path, data: str, header: tuple[str, ...] | None, count: int) -> None:
    table, rows, _ = read(tmp_path, data)
    assert table.has_header == (header is not None)
    assert header is None or table.header == header
    assert len(rows) == len(table.sample) == count
    head = sniff(data, "t.csv", True, ("text", "label"))
    assert head is not None and (head.header, head.dialect) == (table.header, table.dialect)


def test_table_lines_above_and_below_the_header_are_reported(tmp_path: Path) -> None:
    data = "# a comment\nReport, 2020\na,b,c\n-,kg,m\n1,2,3\n4,5,6\n# more\n7,8,9\n"
    _, rows, warnings = read(tmp_path, data)
    assert rows == [["1", "2", "3"], ["4", "5", "6"], ["7", "8", "9"]]
    assert warnings == [
        "t.csv: 2 comment lines are skipped (first: line 1, '# a comment')",
        "t.csv: 1 line above the table is skipped (first: line 2, 'Report, 2020')",
        "t.csv: 1 row below the header holds no data and is skipped (first: line 4, '-,kg,m')",
    ]


@pytest.mark.parametrize("count", [3, 500])
@pytest.mark.parametrize("row", ["What a lovely book,good", "Bad again,2.5"])
def test_table_a_header_that_stands_again_is_skipped(count: int, row: str, tmp_path: Path) -> None:
    part = "text,label\n" + f"{row}\n" * count
    table, rows, warnings = read(tmp_path, part + part + part)
    assert (table.header, rows) == (("text", "label"), [row.split(",")] * (3 * count))
    assert warnings == [f"t.csv: 2 rows repeat the header and are skipped (first: line {count + 2})"]


def test_table_a_header_of_one_known_name_that_stands_again_is_skipped(tmp_path: Path) -> None:
    part = "id,text\n1,hello there\n2,how are you\n"
    table, rows, warnings = read(tmp_path, part + part, known={"text"})
    assert (table.header, len(rows)) == (("id", "text"), 4)
    assert warnings == ["t.csv: 1 row repeats the header and is skipped (first: line 4)"]
    # A known name may be a label, of rows that stand again.
    for data in ("Yes,text\nNo,good\nYes,text\nYes,good\n", "text\nWell then\ntext\n"):
        table, rows, _ = read(tmp_path, data, known={"text"})
        assert (table.has_header, len(rows)) == (False, data.count("\n"))
    (tmp_path / "two.csv").write_text(part + part)
    text = column_text(Document("two.csv", tmp_path / "two.csv"), "text", lambda _: None)
    assert b"".join(text) == b"hello there\nhow are you\n" * 2


@pytest.mark.parametrize("count", [40, 30_000])  # further blocks of lines, too
def test_table_a_header_of_two_rows_that_stands_again_is_skipped(count: int, tmp_path: Path) -> None:
    part = "Date,A,,B,\n,x,y,x,y\n,km,km,km,km\n" + "2020-01-01,1,2,3,4\n" * count
    table, rows, warnings = read(tmp_path, part + part)
    assert (table.header, len(rows)) == (("Date", "A x", "A y", "B x", "B y"), 2 * count)
    assert warnings == [  # the second row has names
        "t.csv: 1 row below the header holds no data and is skipped (first: line 3, ',km,km,km,km')",
        f"t.csv: 3 rows repeat the header and are skipped (first: line {count + 4:,})",
    ]


def test_table_rows_like_the_first_are_data_if_it_is_no_header(tmp_path: Path) -> None:
    table, rows, warnings = read(tmp_path, "good,label\nbad,text\ngood,label\nbad,text\n")
    assert (table.has_header, len(rows), warnings) == (False, 4, [])


def test_table_of_rows_with_unquoted_delimiters_has_the_width_of_its_header(tmp_path: Path) -> None:
    lines = [",".join(["word"] * count) + "\n" for count in (2, 3, 4, 5, 6) * 2]
    table, rows, _ = read(tmp_path, "text,label\n" + "".join(lines))
    assert (table.header, len(rows), table.is_regular) == (("text", "label"), 10, False)


def test_table_of_prose_is_not_regular() -> None:
    prose = "It was late, and nobody came.\nThe rain, the wind, the cold: all of it, at once.\nWell.\n" * 30
    head = sniff(prose, "novel.txt", True)
    assert head is None or not head.is_regular


def test_table_quote_open_to_the_end_takes_little_time(tmp_path: Path) -> None:
    lines = ['"open,1'] + [f"row {number},{number % 2}" for number in range(40_000)]
    _, rows, _ = read(tmp_path, "text,label\n" + "a,0\nb,1\n" * 5 + '"c, d",1\n' + "\n".join(lines) + "\n")
    assert len(rows) == 40_012


def test_parse_columns_takes_names_and_numbers_of_columns() -> None:
    header = ("text", "Label", "3", "a, b")
    assert parse_columns("text", header) == [0] and parse_columns("label, 1", header) == [1, 0]
    assert parse_columns("3", header) == [2] and parse_columns("4", header) == [3]  # a name counts more than a number
    assert parse_columns("a, b", header) == [3] and parse_columns('"a, b",2', header) == [3, 1]
    for name in ("0", "5", "²", "-1", "", " , ", "a\nb\r\n", "9" * 5000):  # Python reads 4,300 digits at most
        with pytest.raises(DataError, match="no column"):
            parse_columns(name, header)
    assert parse_columns("A", ("a", "A")) == [1]
    with pytest.raises(DataError, match=r"did you mean 'Label'\? The columns are text, Label"):
        parse_columns("labl", header)
    with pytest.raises(DataError, match=r"the columns are 1, 2, 3, .*, 12 and 2 more$"):
        parse_columns("x", [str(number) for number in range(1, 15)])
    with pytest.raises(DataError, match=r"no column 'labl'; the columns are 1 to 4"):
        parse_columns("labl", header, has_header=False)


class CountedHeader(tuple[str, ...]):
    """A header that counts how often it is gone through."""

    passes = 0

    def __iter__(self) -> Iterator[str]:
        CountedHeader.passes += 1
        return super().__iter__()

    def __contains__(self, name: object) -> bool:
        CountedHeader.passes += 1
        return super().__contains__(name)


def test_parse_columns_goes_through_a_wide_header_once() -> None:
    """Once a name, it took a minute for two tables of 40,000 columns: one is asked for the names of the other."""
    header = CountedHeader(f"N{number}" for number in range(200))
    found = parse_columns([*header, "n7", "200", "n1,N2"], header)
    assert found == [*range(200), 7, 199, 1, 2] and parse_columns((), header) == []
    assert CountedHeader.passes < 5


@pytest.mark.parametrize(("columns", "text"), [("body", "blue\nsea\ncat\n"), ("2", "body\nblue\nsea\ncat\n")])
def test_column_text_a_given_name_makes_the_first_row_a_header(columns: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("title,body\nred,blue\nsky,sea\ndog,cat\n")
    document = Document("t.csv", tmp_path / "t.csv")
    assert b"".join(column_text(document, columns, lambda _: None)).decode() == text


def test_column_text_leaves_out_missing_cells_and_no_row_for_the_number_of_a_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,2\nsky,sea\ndog\n,cat\n")
    document = Document("t.csv", tmp_path / "t.csv")
    assert b"".join(column_text(document, "2", lambda _: None)).decode() == "2\nsea\n\ncat\n"


def test_table_formulas_are_texts_unless_its_first_rows_have_some(tmp_path: Path) -> None:
    for number, cell in ((399, "3"), (400, '="3"')):
        _, rows, _ = read(tmp_path, "a,b\n" + "1,2\n" * number + '1,="3"\n')
        assert rows[-1] == ["1", cell]


def test_cell_kind_of_what_is_nearly_a_time_takes_no_time() -> None:
    """Letters and digits were cut into words in every possible way, which took seconds a cell."""
    nearly = ["1" + "a" * 38 + "!", "1" * 39 + "!", "1a - " * 7 + "1a!", "1T" * 19 + "!", "TTT1" * 9 + "T!!"]
    began = time.process_time()
    assert [cell_kind(cell) for cell in nearly] == [TEXT] * len(nearly)
    assert time.process_time() - began < 2
    times = ["3 Mar 2021", "2021-W03", "Q1 2021", "2021年3月1日", "31.12.2021 18:00 Uhr", "20210301T180000Z"]
    assert [cell_kind(cell) for cell in times] == [TIME] * len(times)
