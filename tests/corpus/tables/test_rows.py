"""Lines and rows don't depend on how a file is cut into chunks and blocks; names of columns are unique."""

from __future__ import annotations

import csv
import io
import itertools
import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.corpus.tables import rows
from seqgen.corpus.tables.dialect import Dialect
from seqgen.corpus.tables.read import _unique
from seqgen.corpus.tables.rows import ColumnHabits, RowParser, line_blocks, normal_width, split_lines

CUTS = st.lists(st.integers(0, 200), max_size=6)


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
    return [data[first:last] for first, last in itertools.pairwise(edges)]


@settings(max_examples=100)
@given(st.text(st.sampled_from("aé,\"'\n\r\x85\u2028"), max_size=60), CUTS)
@example("a\r\nb\r", [2])
@example("\r\n\r\n", [1, 3])
def test_line_blocks_of_any_chunks_are_the_lines_of_the_whole(text: str, cuts: list[int]) -> None:
    found, numbers = [], []
    for number, lines in line_blocks(cut(text.encode(), cuts), lambda kind, line: None):
        assert lines
        numbers += list(range(number, number + len(lines)))
        found += lines
    assert found == split_lines(text) and "".join(found) == text
    assert numbers == list(range(1, len(found) + 1))


def test_line_blocks_report_the_number_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_BLOCK_LINES", 2)
    defects: list[tuple[str, int]] = []
    data = b"\xef\xbb\xbfa\n\nb\xff\nc\0\n\xe9\x81"
    blocks = list(line_blocks([data[:5], data[5:9], data[9:]], lambda kind, line: defects.append((kind, line))))
    assert [line for _, lines in blocks for line in lines] == ["a\n", "\n", "bÿ\n", "c\ufffd\n", "é\ufffd"]
    assert max(len(lines) for _, lines in blocks) <= 2
    assert defects == [(rows.NOT_UTF8, 3), (rows.NUL_BYTES, 4), (rows.NOT_UTF8, 5)]


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(["a,b\n", 'c,"d\n', 'e",f\n', '"g, ""h""",i\n', '"j"k,l\n', "\n", "m\n", 'n,o"\n']),
             min_size=1, max_size=14),
    CUTS, st.sampled_from([0, 2]), st.sampled_from(['"', ""]),
)  # fmt: skip
def test_row_parser_rows_of_any_blocks_are_those_of_the_whole(
    lines: list[str], cuts: list[int], width: int, quote: str
) -> None:
    dialect, defects = Dialect(quote=quote), []
    habits = ColumnHabits([["a", "b"]], width)
    whole = RowParser(dialect, width, habits, lambda kind, line: defects.append((kind, line)))
    numbers, expected, used = whole.parse(lines, 1, True)
    assert used == len(lines) and len(numbers) == len(expected)
    assert all(1 <= number <= len(lines) for number in numbers) and list(numbers) == sorted(set(numbers))
    edges = [0, *sorted(min(each, len(lines)) for each in cuts), len(lines)]
    blocks = [(first + 1, lines[first:last]) for first, last in itertools.pairwise(edges) if first < last]
    again: list[tuple[str, int]] = []
    parts = list(RowParser(dialect, width, habits, lambda kind, line: again.append((kind, line))).blocks(blocks))
    assert [number for each, _ in parts for number in each] == list(numbers)
    assert [cells for _, each in parts for cells in each] == expected
    assert again == defects


def test_row_parser_a_quote_that_would_join_two_rows_is_a_letter() -> None:
    defects: list[tuple[str, int]] = []
    lines = ["a,b\n", 'c,"d\n', 'e",f\n', 'g,"h\n', 'i"\n', "j,k\n"]
    numbers, found, used = RowParser(Dialect(), 2, defect=lambda *each: defects.append(each)).parse(lines, 1, True)
    assert found == [["a", "b"], ["c", '"d'], ['e"', "f"], ["g", "h\ni"], ["j", "k"]]
    assert (numbers, used, defects) == ([1, 2, 3, 4, 6], 6, [(rows.STRAY_QUOTES, 2)])


@pytest.mark.parametrize(
    ("delimiter", "lines", "expected"),
    [
        ("\t", ['"big\tsmall"\n'], [['"big', 'small"']]),  # tabs are seldom in a cell
        ("\t", ['"a"\n', '"a\tb"\tc\n'], [["a"], ["a\tb", "c"]]),
        (",", ["1,x\r", "y\n"], [["1", "x"], ["y"]]),
        (",", ["1\r", "x\n"], [["1"], ["x"]]),
        # Quotes in columns of prose: lines of the normal width are rows, if there are three.
        (",", ['a,"b\n', "c,d\n", 'e,f"\n'], [["a", '"b'], ["c", "d"], ["e", 'f"']]),
        (",", ['a,"b\n', 'e,f"\n'], [["a", "b\ne,f"]]),
        (",", ['a,"b\n', "c, d\n", 'e, f"\n'], [["a", "b\nc, d\ne, f"]]),  # after a comma in prose there is a space
    ],
)
def test_row_parser_lines_that_may_be_several_rows(delimiter: str, lines: list[str], expected: list[list[str]]) -> None:
    prose = [[f"a day number {number}", f"and night {number}"] for number in range(10)]
    defects: list[str] = []
    parser = RowParser(Dialect(delimiter), 2, ColumnHabits(prose, 2), lambda kind, line: defects.append(kind))
    assert list(parser.parse(lines, 1, True)[1]) == expected
    assert (rows.STRAY_QUOTES in defects) == any(cell.startswith('"') for cells in expected for cell in cells)


def test_row_parser_cr_within_a_line_is_a_space() -> None:
    numbers, found, _ = RowParser(Dialect(), 3).parse(["1,2,3\n", "4,a\r", "b,6\n", "7,8\r", "9,10,11\n"], 1, True)
    assert found == [["1", "2", "3"], ["4", "a b", "6"], ["7", "8"], ["9", "10", "11"]]
    assert numbers == [1, 2, 4, 5]


def test_row_parser_quote_open_for_too_long_is_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit, a quote that is never closed would hold the rest of the file in memory."""
    monkeypatch.setattr(rows, "_MAX_QUOTED_LENGTH", 100)
    blocks = [(1, ["a,b\n", '"c,d\n', "e,f\n"]), *((n, ["g,h\n"] * 10) for n in range(4, 404, 10))]
    read = RowParser(Dialect(), 2).blocks(blocks)
    seen = 0
    for step, (_, found) in enumerate(read):
        seen += len(found)
        if step == 5:
            break
    assert seen > 10
    assert seen + sum(len(found) for _, found in read) == 403


@given(st.lists(st.sampled_from(["a", "A", "", " ", "a_2", "column", "column_3", "a\nb"]), min_size=1, max_size=9))
@example(["column", "column", "", "column"])
def test_names_of_columns_are_unique_and_the_first_of_each_stays(names: list[str]) -> None:
    warnings: list[str] = []
    found = _unique(names, "the table", warnings.append)
    assert len(set(found)) == len(found) == len(names)
    seen: set[str] = set()
    renamed = 0
    for number, (name, unique) in enumerate(zip(names, found, strict=True), 1):
        wanted = " ".join(name.split()) or f"column_{number}"
        assert unique.startswith(wanted)
        renamed += unique != wanted
        if wanted not in seen and wanted not in found[: number - 1]:
            assert unique == wanted
        seen.add(wanted)
    assert len(warnings) == renamed


def test_normal_width_is_the_most_frequent_the_larger_of_two() -> None:
    assert normal_width([["a"], ["a", "b"], ["c", "d"]]) == (2, 2 / 3)
    assert normal_width([["a"], ["a", "b"]]) == (2, 0.5)
    assert normal_width([]) == (1, 0.0)


def test_split_lines_is_by_line_ends_only() -> None:
    assert split_lines("a\x85b\u2028\x0bc\x1cd\re\r\nf\n") == ["a\x85b\u2028\x0bc\x1cd\r", "e\r\n", "f\n"]
    assert "".join(split_lines("")) == io.StringIO("").read()


def test_rows_with_quotes_that_end_no_cell_take_little_time() -> None:
    """Each of them was read again with up to a hundred lines below it: 15 kB took 7 seconds."""
    lines = ["a,b\n"] * 50 + ['"a" b,c,d\n'] * 3000
    began = time.process_time()
    numbers, found, _ = RowParser(Dialect(), 2).parse(lines, 1, True)
    assert time.process_time() - began < 3
    assert list(numbers) == list(range(1, 3051)) and found[-1] == ['"a" b', "c", "d"]


def test_column_habits_are_numbers_or_few_repeated_values() -> None:
    said = [f"a day number {number}" for number in range(10)]
    habits = ColumnHabits([[text, "yn"[number % 2], str(number)] for number, text in enumerate(said)], 3)
    assert habits.count == 2 and not habits.spaced  # prose identifies no row
    assert habits.fit([["x", "y", "7"]] * 4 + [["x", "maybe", "soon"]]) is True  # four of five
    assert habits.fit([["x", "y", "7"]] * 3 + [["x", "maybe", "soon"]]) is False
    assert habits.fit([["x", "y", "soon"]]) is False  # half of its cells are like the others
    assert ColumnHabits([[text, text] for text in said], 2).fit([["a", "b"]]) is None


def test_row_parser_long_cell_of_a_table_without_quotes_is_no_stray_quote() -> None:
    defects: list[tuple[str, int]] = []
    parser = RowParser(Dialect("\t", quote=""), 2, defect=lambda *each: defects.append(each))
    _, found, _ = parser.parse(["a\tb\n", f"{'w' * 200_000}\tc\n", "d\n"], 1, True)
    assert (list(map(len, found)), len(found[1][0]), defects) == ([2, 2, 1], 200_000, [])


def test_long_cells_in_two_threads_leave_the_limit_of_the_csv_module() -> None:
    before, seen = csv.field_size_limit(), []

    def read() -> None:
        with rows._long_fields():
            seen.append(csv.field_size_limit())

    other = threading.Thread(target=read)
    with rows._long_fields():
        other.start()
        other.join(0.05)
        assert not seen  # it waits: else it would put back the limit of long cells, or find that of short ones
    other.join()
    assert seen[0] > before == csv.field_size_limit()
