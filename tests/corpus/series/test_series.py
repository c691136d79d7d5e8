"""Tables that people have, to series: every rule of `corpus.series`, what it says, and what it refuses."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.series.read import Series, SeriesOptions, looks_like_series, read_series, season
from seqgen.corpus.sources import Document
from seqgen.errors import DataError, UserError

DAYS = b"date,x\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n2020-01-04,4\n"


def document(folder: Path, data: bytes, name: str = "t.csv") -> Document:
    (folder / name).write_bytes(data)
    return Document(name, folder / name)


def reading(folder: Path, data: bytes, **options: object) -> tuple[list[Series], list[str]]:
    said: list[str] = []
    return read_series([document(folder, data)], SeriesOptions(**options), said.append), said  # type: ignore[arg-type]


def one(folder: Path, data: bytes, **options: object) -> Series:
    series, said = reading(folder, data, **options)
    assert said == []
    assert len(series) == 1
    return series[0]


def days(*values: object, start: str = "2020-01-01", name: str = "x") -> bytes:
    """A daily table; None leaves its cell empty."""
    rows = [f"{np.datetime64(start) + n},{'' if value is None else value}" for n, value in enumerate(values)]
    return "\n".join([f"date,{name}", *rows, ""]).encode()


def hours(*values: object) -> bytes:
    rows = [
        f"{np.datetime64('2020-01-01T00') + n},{'' if v is None else v}".replace("T", " ") for n, v in enumerate(values)
    ]
    return "\n".join(["date,x", *[row.replace(",", ":00,", 1) for row in rows], ""]).encode()


# ---- What is read without a word ----


def test_a_wide_table(tmp_path: Path) -> None:
    series = one(tmp_path, b"when,a,b\n2020-01-01,1,5\n2020-01-02,2.5,6\n2020-01-03,-3e1,7\n")
    assert series.columns == ("a", "b") and series.target_count == 2 and series.name == "" and series.time_column == "when"
    assert series.values.tolist() == [[1, 5], [2.5, 6], [-30, 7]] and series.observed.all()
    assert series.times is not None and series.times.dtype == "datetime64[s]"
    assert series.times.tolist()[-1].isoformat() == "2020-01-03T00:00:00"
    assert series.frequency.name == "day" and series.future.shape == (0, 0) and len(series) == 3


def test_columns_come_in_the_order_asked_for(tmp_path: Path) -> None:
    data = b"date,a,b,c,d\n2020-01-01,1,2,3,4\n2020-01-02,1,3,5,7\n2020-01-03,2,5,8,9\n"
    series = one(tmp_path, data, targets=("d",), covariates=("b",), future_covariates=("a",))
    assert series.columns == ("d", "b", "a") and series.target_count == 1
    assert series.values.tolist() == [[4, 2, 1], [7, 3, 1], [9, 5, 2]]
    assert one(tmp_path, data, covariates=("b",)).columns == ("a", "c", "d", "b")
    assert one(tmp_path, data, targets=("D",)).columns == ("d",)  # as people write it


SAME = [1.5, 2.0, -3.25, 1234.5]
PLAIN = [
    ("comma", b"date,x\n2020-01-01,1.5\n2020-01-02,2\n2020-01-03,-3.25\n2020-01-04,1234.5\n"),
    ("tab", b"date\tx\n2020-01-01\t1.5\n2020-01-02\t2\n2020-01-03\t-3.25\n2020-01-04\t1234.5\n"),
    ("semicolon", b"date;x\n2020-01-01;1.5\n2020-01-02;2\n2020-01-03;-3.25\n2020-01-04;1234.5\n"),
    ("bar", b"date|x\n2020-01-01|1.5\n2020-01-02|2\n2020-01-03|-3.25\n2020-01-04|1234.5\n"),
    ("mark", b"\xef\xbb\xbfdate,x\n2020-01-01,1.5\n2020-01-02,2\n2020-01-03,-3.25\n2020-01-04,1234.5"),
    ("CRLF", b"date,x\r\n2020-01-01,1.5\r\n2020-01-02,2\r\n2020-01-03,-3.25\r\n2020-01-04,1234.5\r\n"),
    ("old Mac", b"date,x\r2020-01-01,1.5\r2020-01-02,2\r2020-01-03,-3.25\r2020-01-04,1234.5\r"),
    ("quotes", b'"date","x"\n"2020-01-01","1.5"\n"2020-01-02","2"\n"2020-01-03","-3.25"\n"2020-01-04",1234.5\n'),
    ("spaces", b"date, x\n2020-01-01, 1.5\n2020-01-02, 2 \n 2020-01-03, -3.25\n2020-01-04,  1234.5\n"),
    ("empty lines", b"\n\ndate,x\n2020-01-01,1.5\n\n2020-01-02,2\n2020-01-03,-3.25\n,\n2020-01-04,1234.5\n\n"),
    (
        "comments",
        b"# from a station\n# in metres\ndate,x\n2020-01-01,1.5\n2020-01-02,2\n2020-01-03,-3.25\n2020-01-04,1234.5\n",
    ),
    ("Excel", b"sep=;\ndate;x\n2020-01-01;1.5\n2020-01-02;2\n2020-01-03;-3.25\n2020-01-04;1234.5\n"),
    ("commas at the end", b"date,x,,\n2020-01-01,1.5,,\n2020-01-02,2,,\n2020-01-03,-3.25,,\n2020-01-04,1234.5,,\n"),
    ("UTF-16", "date\tx\n2020-01-01\t1.5\n2020-01-02\t2\n2020-01-03\t-3.25\n2020-01-04\t1234.5\n".encode("utf-16")),
    ("full width", "date,x\n2020-01-01,１.５\n2020-01-02,2\n2020-01-03,−3.25\n2020-01-04,1234.5\n".encode()),
]


@pytest.mark.parametrize(("name", "data"), PLAIN, ids=[name for name, _ in PLAIN])
def test_the_same_table_however_it_is_written(tmp_path: Path, name: str, data: bytes) -> None:
    series = one(tmp_path, data)
    assert series.columns == ("x",) and series.values[:, 0].tolist() == SAME and series.frequency.name == "day"


def test_compressed(tmp_path: Path) -> None:
    place = document(tmp_path, gzip.compress(DAYS), "t.csv.gz")
    assert read_series([place], SeriesOptions(), pytest.fail)[0].values[:, 0].tolist() == [1, 2, 3, 4]
    assert looks_like_series(place.path)


def test_names_that_are_numbers(tmp_path: Path) -> None:
    series = one(tmp_path, b",0\n2020-01-01,5\n2020-01-02,6\n")  # as pandas writes a series without a name
    assert series.columns == ("0",) and series.frequency.name == "day"


def test_digits_are_times_where_they_are_said_to_be(tmp_path: Path) -> None:
    series = one(tmp_path, b"at,x\n20200101 050000,5\n20200101 060000,6\n", time_column="at")
    assert series.frequency.name == "hour" and series.times is not None
    assert series.format_times(series.times) == ["20200101 050000", "20200101 060000"]


def test_rows_without_times(tmp_path: Path) -> None:
    series = one(tmp_path, b"x,y\n5,1\n3,1.5\n4,2\n")
    assert series.times is None and series.frequency.name == "row" and series.time_column == ""
    assert series.values.tolist() == [[5, 1], [3, 1.5], [4, 2]]
    untimed, said = reading(tmp_path, DAYS, time_column="")
    assert untimed[0].times is None and said == ["t.csv: 'date' holds text, and is left out"]
    assert one(tmp_path, DAYS, frequency="row").times is None


def test_a_single_column(tmp_path: Path) -> None:
    assert one(tmp_path, b"sales\n5\n3\n4\n").values[:, 0].tolist() == [5, 3, 4]
    assert one(tmp_path, b"sales\n1\n2\n3\n").values[:, 0].tolist() == [1, 2, 3]  # there is nothing else to forecast


def test_known_ahead(tmp_path: Path) -> None:
    data = (
        b"date,x,holiday\n2020-01-01,1,0\n2020-01-02,2,1\n2020-01-03,3,0\n2020-01-04,,1\n2020-01-05,,\n2020-01-06,,3\n"
    )
    series = one(tmp_path, data, targets=("x",), future_covariates=("holiday",))
    assert series.values.tolist() == [[1, 0], [2, 1], [3, 0]]
    assert series.future.tolist() == [[1], [2], [3]]  # a hole is filled in
    assert series.times is not None and series.format_times(series.times)[-1] == "2020-01-03"


def test_several_below_each_other(tmp_path: Path) -> None:
    data = (
        b"id,date,x\nb,2020-01-01,1\nb,2020-01-02,2\na,2020-01-01,5\na,2020-01-02,6\nb,2020-01-03,3\na,2020-01-03,4\n"
    )
    series, said = reading(tmp_path, data, series="id")
    assert said == [] and [s.name for s in series] == ["b", "a"]
    assert [s.values[:, 0].tolist() for s in series] == [[1, 2, 3], [5, 6, 4]]
    numbered, _ = reading(tmp_path, data.replace(b"\nb", b"\n007").replace(b"\na", b"\n7"), series="id")
    assert [s.name for s in numbered] == ["007", "7"]


def test_several_files(tmp_path: Path) -> None:
    documents = [document(tmp_path, DAYS, "one.csv"), document(tmp_path, days(4, 5, 6), "two.csv")]
    series = read_series(documents, SeriesOptions(), pytest.fail)
    assert [s.name for s in series] == ["one", "two"] and len(series[1]) == 3
    with pytest.raises(DataError, match=r"'one.csv' is given twice"):
        read_series([documents[0], documents[0]], SeriesOptions(), pytest.fail)
    with pytest.raises(DataError, match="there is no table"):
        read_series([], SeriesOptions(), pytest.fail)
    other = document(tmp_path, days(4, 5, 6, name="y"), "three.csv")
    with pytest.raises(DataError, match=r"three.csv: there is no target 'x'"):
        read_series([documents[0], other], SeriesOptions(), pytest.fail)


def test_read_again_as_a_model_learnt_to(tmp_path: Path) -> None:
    """What a series says of itself reads it, and later rows of it, in the same manner."""
    data = b"No,year,month,day,x,y\n" + b"".join(b"%d,2020,%d,1,%d,%d\n" % (m, m, m * m, m) for m in range(1, 13))
    first, _ = reading(tmp_path, data, covariates=("y",))
    known = {"targets": ("x",), "covariates": ("y",), "time_column": first[0].time_column,
             "frequency": first[0].frequency.name}  # fmt: skip
    again = one(tmp_path, data, **known)
    assert first[0].time_column == "year,month,day" and again.columns == first[0].columns == ("x", "y")
    assert again.frequency == first[0].frequency and (again.values == first[0].values).all()
    short = one(tmp_path, b"year,month,day,x,y\n2021,1,1,5,6\n2021,2,1,5.5,6\n", **known)
    assert short.frequency.name == "month" and len(short) == 2


# ---- What is done, and told ----

TOLD = [
    (
        "no header",
        b"2020-01-01,1\n2020-01-02,2\n2020-01-03,4\n",
        {},
        [[1], [2], [4]],
        "t.csv has no header: its columns are called column_1, column_2 and so on",
    ),
    (
        "two of a name",
        b"date,x,x\n2020-01-01,1,4\n2020-01-02,2,5\n2020-01-03,4,3\n",
        {},
        [[1, 4], [2, 5], [4, 3]],
        "t.csv has two columns 'x'; the second is called 'x_2'",
    ),
    (
        "Chinese",
        "日期,收盘\n2020年1月5日,1\n2020年1月6日,3\n2020年1月7日,2\n".encode("gb18030"),
        {},
        [[1], [3], [2]],
        "t.csv is not UTF-8, and is read as GB 18030",
    ),
    (
        "Latin",
        "date,größe\n2020-01-01,1\n2020-01-02,3\n".encode("latin-1"),
        {},
        [[1], [3]],
        "t.csv is not UTF-8, and is read as Windows-1252",
    ),
    (
        "short row",
        b"date,x,y\n2020-01-01,1,1\n2020-01-02,2\n2020-01-03,3,3\n2020-01-04,5,4\n",
        {},
        [[1, 1], [2, 2], [3, 3], [5, 4]],
        "t.csv: 1 row has fewer cells than the header, and the rest is taken as missing (first in line 3)",
        "t.csv: 'y': 1 missing number is filled in along straight lines (first in line 3)",
    ),
    (
        "note below",
        days(1, 2, 4) + b"Source: a station,\n",
        {},
        [[1], [2], [4]],
        "t.csv, line 5: 'Source: a station' is taken for a note, and left out",
    ),
    (
        "text",
        b"date,x,sky\n2020-01-01,1,rain\n2020-01-02,2,sun\n2020-01-03,2,sun\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'sky' holds text, and is left out",
    ),
    (
        "row numbers by name",
        b"id,date,x\n100,2020-01-01,1\n101,2020-01-02,2\n102,2020-01-03,2\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'id' only numbers the rows, and is left out",
    ),
    (
        "row numbers",
        b"n,date,x\n0,2020-01-01,1\n1,2020-01-02,2\n2,2020-01-03,2\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'n' only numbers the rows, and is left out",
    ),
    (
        "mostly empty",
        b"date,x,y,z\n2020-01-01,1,,\n2020-01-02,2,,NA\n2020-01-03,2,5,\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'y', 'z' are mostly empty, and are left out",
    ),
    ("constant", days(3, 3, 3), {}, [[3], [3], [3]], "t.csv: 'x': the same number in every row"),
    ("percent", days("1%", "2.5 %", "3%"), {}, [[1], [2.5], [3]], "t.csv: 'x': percent signs are left out (5 % is 5)"),
    ("currency", days("$1", "-$2", "($3.5)"), {}, [[1], [-2], [-3.5]], "t.csv: 'x': currency signs are left out"),
    ("letters", days("1.5K", "2M", "3B"), {}, [[1500], [2e6], [3e9]], "t.csv: 'x': K, M, B, 万, 亿 are multiplied out"),
    ("truth", days("True", "false", "TRUE"), {}, [[1], [0], [1]], "t.csv: 'x': true and false are 1 and 0"),
    (
        "thousands",
        days('"1,234"', '"12,345.5"', 7),
        {},
        [[1234], [12345.5], [7]],
        "t.csv: 'x': commas group thousands (1,234 is 1234)",
    ),
    (
        "decimal comma",
        b"date;x\n2020-01-01;1,5\n2020-01-02;2\n2020-01-03;1.234,25\n",
        {},
        [[1.5], [2], [1234.25]],
        "t.csv: 'x': a comma stands before decimals (1,5 is 1.5)",
    ),
    (
        "decimal comma, other column",
        b"date;x;y\n2020-01-01;1,5;1.234\n2020-01-02;2,5;2.500\n2020-01-03;1,5;3.000\n",
        {},
        [[1.5, 1234], [2.5, 2500], [1.5, 3000]],
        "t.csv: 'x': a comma stands before decimals (1,5 is 1.5)",
    ),
    (
        "decimal comma, one column",
        b"x\n1,5\n2,25\n3,5\n",
        {},
        [[1.5], [2.25], [3.5]],
        "t.csv: 'x': a comma stands before decimals (1,5 is 1.5)",
    ),
    (
        "unsorted",
        b"date,x\n2020-01-03,3\n2020-01-01,1\n2020-01-02,2\n",
        {},
        [[1], [2], [3]],
        "t.csv: rows are not in the order of their times, and are sorted",
    ),
    (
        "latest first",
        b"date,x\n2020-01-03,3\n2020-01-02,2\n2020-01-01,1\n",
        {},
        [[1], [2], [3]],
        "t.csv: the latest row comes first, and the order is turned round",
    ),
    (
        "repeated",
        b"date,x\n2020-01-01,1\n2020-01-02,2\n2020-01-02,2\n2020-01-03,3\n",
        {},
        [[1], [2], [3]],
        "t.csv: 1 row repeats another, and is left out (first in line 3)",
    ),
    (
        "conflicting",
        b"date,x\n2020-01-01,1\n2020-01-02,9\n2020-01-02,2\n2020-01-03,3\n",
        {},
        [[1], [2], [3]],
        "t.csv: 1 row has the time of a later one, which counts instead (first in line 3)",
    ),
    (
        "no time",
        b"date,x\n2020-01-01,1\n,7\n2020-01-02,2\n2020-01-03,3\n",
        {},
        [[1], [2], [3]],
        "t.csv: 1 row without a time is left out",
    ),
    (
        "missing inside",
        days(1, "NA", "-", 4, "?", 6, "null", 8),
        {},
        [[n] for n in range(1, 9)],
        "t.csv: 'x': 4 missing numbers are filled in along straight lines (first in line 3)",
    ),
    (
        "missing first",
        days(None, "nan", 3, 4, 5),
        {},
        [[3], [4], [5]],
        "t.csv: 2 rows at the beginning are left out, where a target has no number yet",
    ),
    (
        "missing last",
        days(1, 2, 3, None, None),
        {},
        [[1], [2], [3]],
        "t.csv: 2 rows at the end hold no target, and are left out",
    ),
    (
        "missing times",
        b"date,x\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n2020-01-06,6\n2020-01-07,7\n",
        {},
        [[n] for n in range(1, 8)],
        "t.csv: 2 times are missing from rows every day, and are filled in along straight lines (first after line 4)",
    ),
    (
        "holiday",
        b"date,x\n" + b"".join(b"2020-01-%02d,%d\n" % (d, d) for d in (6, 7, 8, 10, 13, 14, 15)),
        {},
        [[6], [7], [8], [8], [10], [13], [14], [15]],
        "t.csv: 1 time is missing from rows every business day, and keeps the last number (first after line 4)",
    ),
    (
        "off the grid",
        b"t,x\n2020-01-01 00:00:02,1\n2020-01-01 00:14:58,2\n2020-01-01 00:30:09,3\n2020-01-01 00:45:01,4\n",
        {},
        [[1], [2], [3], [4]],
        "t.csv: times are not regular, and rows are brought to one every 15 minutes, averaged where several meet",
    ),
    (
        "averaged",
        hours(*range(48)),
        {"frequency": "day"},
        [[11.5], [35.5]],
        "t.csv: rows are averaged to one every day",
    ),
    (
        "fractions",
        b"t,x\n2020-01-01 00:00:00.1,1\n2020-01-01 00:00:01.2,2\n2020-01-01 00:00:02.1,4\n",
        {},
        [[1], [2], [4]],
        "t.csv: fractions of seconds are rounded",
    ),
    (
        "long gap",
        days(1, 2, *[None] * 8, *range(40)),
        {"frequency": "row"},
        [[n] for n in range(40)],
        "t.csv: 10 rows are left out, up to the end of a gap of more than 5 (it begins after line 3)",
    ),
    (
        "day first",
        b"date,x\n31/01/2020,1\n01/02/2020,2\n02/02/2020,2\n",
        {},
        [[1], [2], [2]],
        "t.csv: dates are read as day/month/year",
    ),
    (
        "month first",
        b"date,x\n1/31/2020,1\n2/1/2020,2\n2/2/2020,2\n",
        {},
        [[1], [2], [2]],
        "t.csv: dates are read as month/day/year",
    ),
    (
        "months, by their steps",
        b"date,x\n" + b"".join(b"%d/1/%d,%d\n" % (m, y, m) for y in (2019, 2020) for m in range(1, 13)),
        {},
        [[m] for _ in (0, 1) for m in range(1, 13)],
        "t.csv: dates are read as month/day/year",
    ),
    (
        "as the frequency says",
        b"date,x\n01/02/2020,1\n01/03/2020,2\n01/04/2020,4\n",
        {"frequency": "month"},
        [[1], [2], [4]],
        "t.csv: dates are read as day/month/year",
    ),
    (
        "late series",
        b"id,date,x\na,2020-01-01,1\na,2020-01-02,2\na,2020-01-03,4\nb,2020-01-03,3\n",
        {"series": "id"},
        [[1], [2], [4]],
        "t.csv: 1 series is left out (t.csv, series 'b' is too short: 1 row, one every day; 2 are needed)",
    ),
    (
        "nameless",
        b"id,date,x\na,2020-01-01,1\na,2020-01-02,2\n,2020-01-03,4\n",
        {"series": "id"},
        [[1], [2]],
        "t.csv: 1 row names no series, and is left out",
    ),
]


@pytest.mark.parametrize("case", TOLD, ids=[case[0] for case in TOLD])
def test_what_is_done_is_told(tmp_path: Path, case: tuple) -> None:
    _, data, options, values, *sentences = case
    series, said = reading(tmp_path, data, **options)
    assert said == sentences
    assert len(series) == 1 and series[0].values.tolist() == values
    assert np.isfinite(series[0].values).all() and series[0].observed.shape == series[0].values.shape


def test_a_thing_done_to_several_series_is_told_once(tmp_path: Path) -> None:
    data = b"id,date,x\n" + b"".join(
        b"%s,2020-01-%02d,%s\n" % (name, day, b"" if day == 2 else b"%d" % day)
        for name in (b"a", b"b")
        for day in (1, 2, 3)
    )
    _, said = reading(tmp_path, data, series="id")
    assert said == ["t.csv: 'x': 2 missing numbers are filled in along straight lines (first in line 3) (in 2 series)"]


def test_columns_that_only_look_like_something_else(tmp_path: Path) -> None:
    late = b"AAPL,2020-01-01,5\nAAPL,2020-01-02,6\nAAPL,2020-01-03,4\n"
    series, said = reading(tmp_path, late)
    assert series[0].columns == ("column_3",) and "has no header" in said[0]
    grown = b"people,x\n300000000,1\n300000500,2\n300400000,3\n300900000,5\n"
    assert one(tmp_path, grown).columns == ("people", "x")
    counted = b"key,x\n1577836800,1\n1577840400,2\n1577844000,3\n1577847600,5\n"
    assert one(tmp_path, counted).frequency.name == "hour"
    named = b"Local Time,x\n20200101,1\n20200102,2\n20200104,3\n20200105,5\n"
    assert reading(tmp_path, named)[0][0].frequency.name == "day"
    even = b"t,x\n0.5,1\n1,2\n1.5,4\n"
    series, said = reading(tmp_path, even)
    assert series[0].columns == ("x",) and said == ["t.csv: 't' only numbers the rows, and is left out"]


def test_date_and_time_of_day_in_two_columns(tmp_path: Path) -> None:
    data = b"Date;x;Time\n10/03/2004;1,5;18.00.00\n10/03/2004;2,5;19.00.00\n13/03/2004;2,5;20.00.00\n"
    series, said = reading(tmp_path, data.replace(b"13/", b"10/").replace(b"/03/", b"/13/"), frequency="hour")
    assert series[0].time_column == "Date,Time" and said[-1] == "t.csv: dates are read as month/day/year"
    assert series[0].times is not None
    assert series[0].format_times(series[0].frequency.next_times(series[0].times[-1], 4))[-1] == "10/14/2004 00.00.00"
    again = one(tmp_path, b"Date,Time,x\n2004-03-10,18:00,1\n2004-03-10,19:00,2\n", time_column="Date,Time")
    assert again.frequency.name == "hour"
    assert one(tmp_path, b"month,year,x\n1,2020,5\n2,2020,6\n", time_column="month,year").frequency.name == "month"


def test_known_ahead_for_some_rows_only(tmp_path: Path) -> None:
    data = b"date,x,y\n2020-01-01,1,0\n2020-01-02,2,1\n2020-01-03,,1\n2020-01-04,,\n"
    series, said = reading(tmp_path, data, targets=("x",), future_covariates=("y",))
    assert series[0].future.tolist() == [[1]]
    assert said == ["t.csv: 1 row at the end holds no target, and is left out"]


def test_an_error_comes_alone(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(DataError):
        read_series([document(tmp_path, b"2020-01-01,1\n2020-01-02,x\n2020-01-03,4\n")], SeriesOptions(), said.append)
    assert said == []


def test_columns_are_told_of_together(tmp_path: Path) -> None:
    data = b"date," + b",".join(b"c%d" % n for n in range(6)) + b"\n"
    data += b"".join(b"2020-01-%02d,1%%,1,%d,1,1,1\n" % (day, day) for day in (1, 2, 4, 7))
    _, said = reading(tmp_path, data, frequency="row")
    assert said == [
        "t.csv: 'c0': percent signs are left out (5 % is 5)",
        "t.csv: 'c0', 'c1', 'c3', 'c4' and 1 more: the same number in every row",
    ]


def test_what_was_filled_in_is_known(tmp_path: Path) -> None:
    data = b"date,x,y\n2020-01-01,1,1\n2020-01-02,,2\n2020-01-05,4,\n2020-01-06,5,6\n2020-01-07,7,7\n2020-01-08,8,8\n"
    series = reading(tmp_path, data)[0][0]
    assert series.observed.tolist() == [[1, 1], [0, 1], [0, 0], [0, 0], [1, 0], [1, 1], [1, 1], [1, 1]]
    assert series.values[:, 0].tolist() == [1, 1.75, 2.5, 3.25, 4, 5, 7, 8]
    assert series.values[:, 1].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


# ---- What is refused, in one line ----

REFUSED = [
    ("nothing", b"", {}, "t.csv holds no table: there are no rows"),
    ("a header only", b"date,x\n", {}, "t.csv holds no rows below the names of its columns"),
    (
        "binary",
        b"\x00\x01\x02\x03" * 9,
        {},
        "t.csv holds no table: it is binary; tables are read from CSV, TSV and Parquet",
    ),
    ("a spreadsheet", b"PK\x03\x04rest", {}, "t.csv is a spreadsheet or an archive: save the table in it as CSV"),
    ("broken Parquet", b"PAR1rest", {}, "cannot read t.csv as Parquet: "),
    ("typing error", DAYS, {"targets": ("X2",)}, "t.csv: there is no target 'X2'; there are date, x"),
    (
        "near miss",
        b"date,open,close\n2020-01-01,1,2\n",
        {"targets": ("clsoe",)},
        "t.csv: there is no target 'clsoe'; did you mean 'close'? there are date, open, close",
    ),
    ("no such time", DAYS, {"time_column": "when"}, "t.csv: there is no time column 'when'; there are date, x"),
    ("no such series", DAYS, {"series": "id"}, "t.csv: there is no series column 'id'; there are date, x"),
    ("no such covariate", DAYS, {"future_covariates": ("z",)}, "t.csv: there is no covariate 'z'; there are date, x"),
    ("twice", DAYS, {"targets": ("x", "x")}, "t.csv: the column 'x' is asked for twice"),
    (
        "time as target",
        DAYS,
        {"targets": ("date",)},
        "t.csv: the column 'date' holds times or names, not numbers to learn",
    ),
    (
        "a sum below",
        days(*range(2, 20)) + b"Total,500\n",
        {},
        "t.csv, line 20, column 'date': 'Total' is no time; write it as 2020-01-31 or 2020-01-31 18:00:00",
    ),
    (
        "odd number",
        days(1, 2, "12.5kg", 4),
        {},
        "t.csv, line 4, column 'x': '12.5kg' is no number; mend it, or leave it empty",
    ),
    (
        "two decimal marks",
        b"date;x\n2020-01-01;1,5\n2020-01-02;2.25\n2020-01-03;2.75\n",
        {},
        "t.csv, line 2, column 'x': '1,5' is no number; mend it, or leave it empty",
    ),
    (
        "infinite",
        days(1, 2, "inf", 4),
        {},
        "t.csv, line 4, column 'x': the number is infinite; mend it, or leave it empty",
    ),
    (
        "too large",
        days(1, 2, "1e999", 4),
        {},
        "t.csv, line 4, column 'x': the number is infinite; mend it, or leave it empty",
    ),
    (
        "text as target",
        b"date,x,sky\n2020-01-01,1,sun\n2020-01-02,2,rain\n",
        {"targets": ("sky",)},
        "t.csv, line 2: the target 'sky' holds text ('sun'), and must hold numbers",
    ),
    ("words only", b"a,b\nx,y\nz,w\n", {}, "t.csv has no column of numbers to forecast; there are a, b"),
    (
        "too many cells",
        b"date,x\n2020-01-01,1\n2020-01-02,1,5\n2020-01-03,2\n2020-01-04,2\n2020-01-05,2\n2020-01-06,2\n",
        {},
        "t.csv, line 3 has 3 cells, and the header 2: is there a decimal comma, or text that needs quotes around it?",
    ),
    (
        "title above",
        b"My table\ndate,x\n2020-01-01,1\n2020-01-02,2\n2020-01-03,2\n2020-01-04,2\n2020-01-05,2\n",
        {},
        "t.csv, line 1 has 1 cell, and most rows have 2: remove what stands above the names of the columns",
    ),
    ("open quote", b'date,x\n2020-01-01,"1\n2020-01-02,2\n', {}, "t.csv, line 2: a quote that is never closed"),
    (
        "quote inside",
        b'date,x\n2020-01-01,"1"5\n2020-01-02,2\n',
        {},
        "t.csv, line 2: a quote ends within a cell; quotes go around all of it, and those inside are doubled",
    ),
    (
        "bad date",
        b"date,x\n2020-01-01,1\n2020-02-30,2\n2020-01-03,3\n",
        {},
        "t.csv, line 3, column 'date': '2020-02-30' is no time; write it as 2020-01-31 or 2020-01-31 18:00:00",
    ),
    (
        "no date",
        b"date,x\n2020-01-01,1\nsoon,2\n2020-01-03,3\n",
        {"time_column": "date"},
        "t.csv, line 3, column 'date': 'soon' is no time; write it as 2020-01-31 or 2020-01-31 18:00:00",
    ),
    (
        "neither order",
        b"date,x\n13/01/2020,1\n01/13/2020,2\n",
        {},
        "t.csv, line 3, column 'date': '01/13/2020' is no time; write it as 2020-01-31 or 2020-01-31 18:00:00",
    ),
    ("no times at all", b"date,x\n,1\n,2\n", {"time_column": "date"}, "t.csv: the column 'date' holds no times"),
    (
        "either order",
        b"date,x\n01/02/2020,1\n01/03/2020,2\n01/04/2020,3\n",
        {},
        "t.csv, line 2, column 'date': '01/02/2020' may be day/month or month/day, and no row tells; "
        "write dates as 2020-01-31",
    ),
    (
        "a day that is none",
        b"year,month,day,x\n2020,1,31,1\n2020,2,30,2\n",
        {},
        "t.csv, line 3: there is no time 2020 2 30",
    ),
    (
        "part of a day",
        b"year,month,day,x\n2020,1,1,1\n2020,1,,2\n",
        {},
        "t.csv, line 3, column 'day': '' is no whole number",
    ),
    (
        "below each other",
        b"id,date,x\na,2020-01-01,1\na,2020-01-02,2\nb,2020-01-01,5\nb,2020-01-02,6\n",
        {},
        "t.csv holds 2 series below each other, told apart by 'id': name it with --series id",
    ),
    ("no names", b"id,date,x\n,2020-01-01,1\n,2020-01-02,2\n", {"series": "id"}, "t.csv: no row names a series"),
    ("narrower", DAYS, {"frequency": "hour"}, "t.csv has a row every day, and every hour is needed"),
    (
        "strange frequency",
        DAYS,
        {"frequency": "moon"},
        "--frequency must be a step such as hour, '15 minutes', 'business day', month or row, not 'moon'",
    ),
    ("few rows without times", b"x\n5\n", {}, "t.csv is too short: 1 row; 2 are needed"),
    ("one row", days(1), {}, "t.csv is too short: there is one row, and how often rows come can't be told"),
    ("few rows", DAYS, {"min_rows": 30}, "t.csv is too short: 4 rows, one every day; 30 are needed"),
    (
        "empty target",
        b"date,x,y\n2020-01-01,,1\n2020-01-02,,2\n2020-01-03,,2\n",
        {"targets": ("x",)},
        "t.csv: 'x' holds no number at all",
    ),
    (
        "mostly empty target",
        days(1, None, None, None, None, 6),
        {"targets": ("x",)},
        "t.csv: the target 'x' has no number in 67% of the rows; at most 50% may be filled in",
    ),
    (
        "mostly empty covariate",
        b"date,x,y\n2020-01-01,1,\n2020-01-02,3,2\n2020-01-03,2,\n",
        {"covariates": ("y",)},
        "t.csv: the covariate 'y' has no number in 67% of the rows; at most 50% may be filled in",
    ),
    (
        "gap near the end",
        days(*range(40), *[None] * 8, 1, 2),
        {"frequency": "row"},
        "t.csv: 'x' has a gap of 8 rows after line 41; at most 5 are filled in: mend it, or cut it there",
    ),
    (
        "mostly missing times",
        b"t,x\n" + b"".join(b"2020-01-%02d 09:%02d,1\n" % (6 + n // 9, n % 9) for n in range(27)),
        {},
        "t.csv: 2,862 of 2,889 times are missing from rows every minute; name a wider --frequency, or take the rows as "
        "they come (--frequency row)",
    ),
    (
        "a time far off",
        b"t,x\n2020-01-01 00:00,1\n2020-01-01 00:01,1\n2020-01-01 00:02,1\n9020-01-01 00:00,1\n",
        {},
        "from 2020-01-01T00:00:00 to 9020-01-01T00:00:00 there are ",
    ),
    (
        "faster than seconds",
        b"t,x\n" + b"".join(b"2020-01-01 00:00:00.%d,1\n" % n for n in range(9)),
        {},
        "t.csv has rows less than a second apart; times are read to the second: take the rows as they come "
        "(--frequency row), or average them",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=[case[0] for case in REFUSED])
def test_what_is_refused(tmp_path: Path, case: tuple) -> None:
    _, data, options, message = case
    with pytest.raises(UserError) as caught:
        reading(tmp_path, data, **options)
    said = str(caught.value)
    assert said == message or (said.startswith(message) and message.endswith(" ")), said
    assert "\n" not in said


# ---- Parquet ----


def parquet(**columns: object) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def test_parquet(tmp_path: Path) -> None:
    import datetime

    pyarrow = pytest.importorskip("pyarrow")
    dates = [datetime.date(2020, 1, day) for day in (1, 2, 3)]
    series = one(tmp_path, parquet(when=dates, x=[1, 2, 4], y=[True, False, True]))
    assert series.values.tolist() == [[1, 1], [2, 0], [4, 1]] and series.frequency.name == "day"
    zoned = pyarrow.array([datetime.datetime(2020, 1, 1, hour) for hour in range(3)], pyarrow.timestamp("ms", "UTC"))
    fast = pyarrow.array([datetime.datetime(2020, 1, 1, 0, 0, n, 1000) for n in range(3)], pyarrow.timestamp("us"))
    assert reading(tmp_path, parquet(t=fast, x=[1, 2, 4]))[1] == ["t.csv: fractions of seconds are rounded"]
    series = one(tmp_path, parquet(when=zoned, x=[1.5, 2.5, 4.5]))
    assert series.times is not None and series.format_times(series.times)[1] == "2020-01-01 01:00:00Z"
    _, said = reading(
        tmp_path, parquet(id=["a", "a", "b", "b"], t=dates[:2] * 2, x=[1.0, 2.0, None, 3.0], w=["u"] * 4), series="id"
    )
    assert said == [
        "t.csv: 'w' holds text, and is left out",
        "t.csv: 1 series is left out (t.csv, series 'b' is too short: 1 row, one every day; 2 are needed)",
    ]
    with pytest.raises(DataError, match=r"t.csv, row 2, column 'x': the number is infinite"):
        reading(tmp_path, parquet(t=dates, x=[1.0, np.inf, 2.0]))


# ---- Is it a series? ----

LOOKS = [
    ("t.csv", DAYS, True),
    ("t.txt", DAYS, True),
    ("t.csv", b"symbol,date,price\nA,Jan 1 2000,39\nA,Feb 1 2000,36\nB,Jan 1 2000,9\nB,Feb 1 2000,7\n", True),
    ("t.csv", b"a,b\n1,2\n3,4\n5,6\n", True),
    ("t.txt", b"a,b\n1,2\n3,4\n5,6\n", False),  # a table of numbers, but nothing says of what
    ("t.csv", b"label,text\n1,what a film\n0,dull and long\n1,I liked it\n", False),
    ("t.tsv", b"what a film\t1\ndull and long\t0\nI liked it\t1\n", False),
    (
        "t.csv",
        b"date,text,likes\n2020-01-01,this is a sentence of some length,3\n2020-01-02,and this is as long as that,5\n"
        b"2020-01-03,and one more that is long enough,2\n",
        False,
    ),
    (
        "t.txt",
        b"Call me Ishmael. Some years ago, never mind how long,\nhaving little or no money in my purse,\nI thought\n",
        False,
    ),
    ("t.csv", b"date,x\n2020-01-01,1\n", False),
    ("t.mid", b"MThd\x00\x00\x00\x06\x00\x01", False),
    ("t.csv", b"", False),
    ("t.json", b'{"a": 1}\n{"a": 2}\n{"a": 3}\n', False),
    ("t.csv.gz", b"not compressed", False),
    ("t.csv", "date\tx\n2020-01-01\t1\n2020-01-02\t2\n2020-01-03\t3\n".encode("utf-16"), True),
]


@pytest.mark.parametrize(("name", "data", "expected"), LOOKS)
def test_a_series_is_known_by_its_looks(tmp_path: Path, name: str, data: bytes, expected: bool) -> None:
    assert looks_like_series(document(tmp_path, data, name).path) is expected


def test_looks_at_large_files_and_none(tmp_path: Path) -> None:
    assert looks_like_series(document(tmp_path, days(*range(20_000))).path)
    assert looks_like_series(document(tmp_path, parquet(t=[1, 2], x=[1.0, 2.0]), "t.parquet").path)
    assert not looks_like_series(document(tmp_path, parquet(t=["a", "b"], x=[1.0, 2.0]), "u.parquet").path)
    assert not looks_like_series(tmp_path / "missing.csv") and not looks_like_series(tmp_path)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_whatever_it_is_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("t")
    looks_like_series(document(folder, data).path)
    try:
        for series in reading(folder, data)[0]:
            assert np.isfinite(series.values).all() and len(series) >= 2
    except UserError as error:
        assert "\n" not in str(error)


cells = st.sampled_from(
    ["", "1", "2.5", "-3", "NA", "1,5", "x", "2020-01-01", "2020-01-02", "1/2/2020", "13/1/20", '"', "$4"]
)


@given(st.lists(st.lists(cells, min_size=1, max_size=4), max_size=12), st.sampled_from(",;\t"))
@settings(max_examples=300, deadline=None)
def test_any_table_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], comma: str
) -> None:
    folder = tmp_path_factory.mktemp("t")
    data = "\n".join(comma.join(row) for row in [["date", "x", "y"], *rows]).encode()
    try:
        for series in reading(folder, data)[0]:
            assert np.isfinite(series.values).all()
            assert series.times is None or (np.diff(series.times).astype(int) > 0).all()
    except UserError as error:
        assert "\n" not in str(error)


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=4, max_size=60), st.randoms())
@settings(max_examples=100, deadline=None)
def test_the_order_of_rows_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, values: list, random: object
) -> None:
    folder = tmp_path_factory.mktemp("t")
    header, *lines = days(*values).splitlines()
    random.shuffle(lines)  # type: ignore[attr-defined]
    results = []
    for data in (days(*values), b"\n".join([header, *lines])):
        try:
            series = reading(folder, data)[0][0]
            results.append((series.values.tolist(), series.observed.tolist(), str(series.times)))
        except DataError as error:
            results.append(type(error).__name__)
    assert results[0] == results[1]


def test_the_season(tmp_path: Path) -> None:
    assert season(one(tmp_path, hours(*range(49)))) == 24
    assert season(one(tmp_path, hours(*range(40)))) == 1  # it was never seen twice
    assert season(one(tmp_path, b"x\n5\n3\n4\n")) == 1


def test_many_rows_and_ornate_ones(tmp_path: Path) -> None:
    """Rows are kept in pieces, as numbers where they are plain and as text where they are not."""
    values = list(range(20_000))
    written: list[object] = [*values[:9_000], *(f"${value}" for value in values[9_000:9_003]), *values[9_003:]]
    series, said = reading(tmp_path, hours(*written))
    assert series[0].values[:, 0].tolist() == values and said == ["t.csv: 'x': currency signs are left out"]
    with pytest.raises(DataError, match=r"line 18,002, column 'x': 'oops'"):
        reading(tmp_path, hours(*values[:18_000], "oops", *values[18_001:]))
