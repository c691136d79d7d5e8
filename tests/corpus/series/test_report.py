"""Reports of the changes made by the series reader: gaps, duplicates, ignored columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqgen.corpus.series.read import SeriesOptions, read_series
from seqgen.errors import DataError
from tests.helpers.series import daily_table, document, hourly_table, read_one, read_table

# ---- Changes and their reports ----

CHANGES = [
    (
        "no header",
        b"2020-01-01,1\n2020-01-02,2\n2020-01-03,4\n",
        {},
        [[1], [2], [4]],
        "t.csv has no header; its columns are named column_1, column_2 and so on",
    ),
    (
        "two of a name",
        b"date,x,x\n2020-01-01,1,4\n2020-01-02,2,5\n2020-01-03,4,3\n",
        {},
        [[1, 4], [2, 5], [4, 3]],
        "t.csv has two columns 'x'; the second is renamed to 'x_2'",
    ),
    (
        "short row",
        b"date,x,y\n2020-01-01,1,1\n2020-01-02,2\n2020-01-03,3,3\n2020-01-04,5,4\n",
        {},
        [[1, 1], [2, 2], [3, 3], [5, 4]],
        "t.csv: 1 row has fewer cells than the 3 of the others (first: line 3)",
        "t.csv: 'y': 1 missing number is interpolated linearly (first in line 3)",
    ),
    (
        "comments",
        b"# from a station\n# in metres\ndate,x\n2020-01-01,1\n2020-01-02,2\n2020-01-03,4\n",
        {},
        [[1], [2], [4]],
        "t.csv: 2 comment lines are skipped (first: line 1, '# from a station')",
    ),
    (
        "note below",
        daily_table(1, 2, 4) + b"Source: a station,\n",
        {},
        [[1], [2], [4]],
        "t.csv: 1 line below the table is skipped (first: line 5, 'Source: a station')",
    ),
    (
        "text",
        b"date,x,sky\n2020-01-01,1,rain\n2020-01-02,2,sun\n2020-01-03,2,sun\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'sky' contains text and is ignored",
    ),
    (
        "row numbers by name",
        b"id,date,x\n100,2020-01-01,1\n101,2020-01-02,2\n102,2020-01-03,2\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'id' only numbers the rows and is ignored",
    ),
    (
        "row numbers",
        b"n,date,x\n0,2020-01-01,1\n1,2020-01-02,2\n2,2020-01-03,2\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'n' only numbers the rows and is ignored",
    ),
    (
        "row numbers without a name, with gaps",
        b",date,x\n0,2020-01-01,1\n4,2020-01-02,2\n5,2020-01-03,2\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'column_1' only numbers the rows and is ignored",
    ),
    (
        "row numbers without a name, of every third row",
        b",date,x\n3,2020-01-01,1\n6,2020-01-02,2\n9,2020-01-03,2\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'column_1' only numbers the rows and is ignored",
    ),
    (
        "row numbers without a name, of two tables",
        b"Unnamed: 0,date,x\n" + b"".join(b"%d,2020-01-%02d,%d\n" % (n % 15, n + 1, n % 7) for n in range(30)),
        {},
        [[n % 7] for n in range(30)],
        "t.csv: 'Unnamed: 0' only numbers the rows and is ignored",
    ),
    (
        "row numbers without a name, of a tenth of the rows",
        b",date,x\n3,2020-01-01,1\n5,2020-01-02,2\n19,2020-01-03,2\n25,2020-01-04,2\n",
        {},
        [[1], [2], [2], [2]],
        "t.csv: 'column_1' only numbers the rows and is ignored",
    ),
    (
        "row numbers without a name, the last first",
        b",date,x\n12,2020-01-03,1\n5,2020-01-02,2\n3,2020-01-01,2\n",
        {},
        [[2], [2], [1]],
        "t.csv: 'column_1' only numbers the rows and is ignored",
        "t.csv: rows are in reverse chronological order and are reversed",
    ),
    (
        "row numbers without a name or times, mostly of every tenth row",
        b",x\n" + b"".join(b"%d,%d\n" % (10 * n - n // 6, n % 7) for n in range(1, 30)),
        {},
        [[n % 7] for n in range(1, 30)],
        "t.csv: 'column_1' only numbers the rows and is ignored",
    ),
    (
        "row numbers under pandas' name, without times",
        b"Unnamed: 0,x\n3,1\n5,2\n19,2\n25,2\n",
        {},
        [[1], [2], [2], [2]],
        "t.csv: 'Unnamed: 0' only numbers the rows and is ignored",
    ),
    (
        "a count that grows",
        b",x\n" + b"".join(b"%d,%d\n" % (3 * n * n + 17 * n, n % 5) for n in range(30)),
        {},
        [[3 * n * n + 17 * n, n % 5] for n in range(30)],
        "t.csv: 'column_1': a column without a name is a target; if it numbers the rows, give the others by --target",
    ),
    (
        "mostly empty",
        b"date,x,y,z\n2020-01-01,1,,\n2020-01-02,2,,NA\n2020-01-03,2,5,\n",
        {},
        [[1], [2], [2]],
        "t.csv: 'y', 'z' are mostly empty and are ignored",
    ),
    ("constant", daily_table(3, 3, 3), {}, [[3], [3], [3]], "t.csv: 'x': the same number in every row"),
    (
        "percent",
        daily_table("1%", "2.5 %", "3%"),
        {},
        [[1], [2.5], [3]],
        "t.csv: 'x': percent signs are ignored (5 % is 5)",
    ),
    (
        "currency",
        daily_table("$1", "-$2", "($3.5)"),
        {},
        [[1], [-2], [-3.5]],
        "t.csv: 'x': currency signs are ignored",
    ),
    (
        "letters",
        daily_table("1.5K", "2M", "3B"),
        {},
        [[1500], [2e6], [3e9]],
        "t.csv: 'x': suffixes such as K, M, B, 万, 亿 are applied",
    ),
    (
        "letters behind a space",
        daily_table("1.2 亿", "9000万", "3 万亿"),
        {},
        [[1.2e8], [9e7], [3e12]],
        "t.csv: 'x': suffixes such as K, M, B, 万, 亿 are applied",
    ),
    (
        "percent of full width",
        daily_table("1.5％", "2％", "3％"),
        {},
        [[1.5], [2], [3]],
        "t.csv: 'x': percent signs are ignored (5 % is 5)",
    ),
    (
        "currency of full width",
        daily_table("￥1", "￥2", "￥3"),
        {},
        [[1], [2], [3]],
        "t.csv: 'x': currency signs are ignored",
    ),
    (
        "two numbers in a cell",
        b"date,x,y\n2020-01-01,1~2,3\n2020-01-02,2~4,4\n2020-01-03,0~1,7\n",
        {},
        [[3], [4], [7]],
        "t.csv: 'x' has two numbers in each cell and is ignored",
    ),
    (
        "months beside dates",
        b"date,expiry,y\n2020-01-01,01/2024,3\n2020-01-02,02/2024,4\n2020-01-03,03/2024,7\n",
        {},
        [[3], [4], [7]],
        "t.csv: 'expiry' contains text and is ignored",
    ),
    (
        "no trade, in Chinese",
        daily_table(1, "停牌", 3, "/", 5),
        {},
        [[1], [2], [3], [4], [5]],
        "t.csv: 'x': 2 missing numbers are interpolated linearly (first in line 3)",
    ),
    (
        "a trace of rain, in Chinese",
        daily_table(31.2, "微量", 18.6),
        {},
        [[31.2], [0], [18.6]],
        "t.csv: 'x': 微量 (a trace) is 0",
    ),
    ("truth", daily_table("True", "false", "TRUE"), {}, [[1], [0], [1]], "t.csv: 'x': true and false are 1 and 0"),
    (
        "thousands",
        daily_table('"1,234"', '"12,345.5"', 7),
        {},
        [[1234], [12345.5], [7]],
        "t.csv: 'x': commas group thousands (1,234 is 1234)",
    ),
    (
        "decimal comma",
        b"date;x\n2020-01-01;1,5\n2020-01-02;2\n2020-01-03;1.234,25\n",
        {},
        [[1.5], [2], [1234.25]],
        "t.csv: 'x': the comma is the decimal mark (1,5 is 1.5)",
    ),
    (
        "decimal comma, other column",
        b"date;x;y\n2020-01-01;1,5;1.234\n2020-01-02;2,5;2.500\n2020-01-03;1,5;3.000\n",
        {},
        [[1.5, 1234], [2.5, 2500], [1.5, 3000]],
        "t.csv: 'x': the comma is the decimal mark (1,5 is 1.5)",
        "t.csv: 'y': points group thousands (1.234 is 1234), because commas are decimal",
    ),
    (
        "decimal comma, one column",
        b"x\n1,5\n2,25\n3,5\n",
        {},
        [[1.5], [2.25], [3.5]],
        "t.csv: 'x': the comma is the decimal mark (1,5 is 1.5)",
    ),
    (
        "unsorted",
        b"date,x\n2020-01-03,3\n2020-01-01,1\n2020-01-02,2\n",
        {},
        [[1], [2], [3]],
        "t.csv: rows are not in chronological order and are sorted",
    ),
    (
        "latest first",
        b"date,x\n2020-01-03,3\n2020-01-02,2\n2020-01-01,1\n",
        {},
        [[1], [2], [3]],
        "t.csv: rows are in reverse chronological order and are reversed",
    ),
    (
        "repeated",
        b"date,x\n2020-01-01,1\n2020-01-02,2\n2020-01-02,2\n2020-01-03,3\n",
        {},
        [[1], [2], [3]],
        "t.csv: 1 duplicate row is dropped (first in line 3)",
    ),
    (
        "conflicting",
        b"date,x\n2020-01-01,1\n2020-01-02,9\n2020-01-02,2\n2020-01-03,3\n",
        {},
        [[1], [2], [3]],
        "t.csv: 1 row has the same time as a later one and is dropped (first in line 3)",
    ),
    (
        "no time",
        b"date,x\n2020-01-01,1\n,7\n2020-01-02,2\n2020-01-03,3\n",
        {},
        [[1], [2], [3]],
        "t.csv: 1 row without a time is dropped",
    ),
    (
        "missing inside",
        daily_table(1, "NA", "-", 4, "?", 6, "null", 8),
        {},
        [[n] for n in range(1, 9)],
        "t.csv: 'x': 4 missing numbers are interpolated linearly (first in line 3)",
    ),
    (
        "missing at the end of one",
        b"x,y\n1,5\n,2\n3,3\n3,4\n,5\n,4\n",
        {},
        [[1, 5], [2, 2], [3, 3], [3, 4], [3, 5], [3, 4]],
        "t.csv: 'x': 1 missing number is interpolated linearly (first in line 3)",
        "t.csv: 'x': 2 missing numbers at the end keep the last value (first in line 6)",
    ),
    (
        "missing first",
        daily_table(None, "nan", 3, 4, 5),
        {},
        [[3], [4], [5]],
        "t.csv: 2 rows at the start are dropped, because a target has no value yet",
    ),
    (
        "missing last",
        daily_table(1, 2, 3, None, None),
        {},
        [[1], [2], [3]],
        "t.csv: 2 rows at the end have no target and are dropped",
    ),
    (
        "missing times",
        b"date,x\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n2020-01-06,6\n2020-01-07,7\n",
        {},
        [[n] for n in range(1, 8)],
        "t.csv: 2 times are missing at one row every day and are interpolated linearly (first after line 4)",
    ),
    (
        "holiday",
        b"date,x\n" + b"".join(b"2020-01-%02d,%d\n" % (d, d) for d in (6, 7, 8, 10, 13, 14, 15)),
        {},
        [[6], [7], [8], [8], [10], [13], [14], [15]],
        "t.csv: 1 time is missing at one row every business day and keeps the last value (first after line 4)",
    ),
    (
        "off the grid",
        b"t,x\n2020-01-01 00:00:02,1\n2020-01-01 00:14:58,2\n2020-01-01 00:30:09,3\n2020-01-01 00:45:01,4\n",
        {},
        [[1], [2], [3], [4]],
        "t.csv: times are irregular; rows are aligned to one every 15 minutes, and averaged within each",
    ),
    (
        "averaged",
        hourly_table(*range(48)),
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
        daily_table(1, 2, *[None] * 8, *range(40)),
        {"frequency": "row"},
        [[n] for n in range(40)],
        "t.csv: 10 rows are dropped, up to the end of a gap of more than 5 rows (after line 3)",
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
        "t.csv: 1 series is dropped (t.csv, series 'b' is too short: 1 row, one every day; 2 are needed)",
    ),
    (
        "nameless",
        b"id,date,x\na,2020-01-01,1\na,2020-01-02,2\n,2020-01-03,4\n",
        {"series": "id"},
        [[1], [2]],
        "t.csv: 1 row has no series name and is dropped",
    ),
]


@pytest.mark.parametrize("case", CHANGES, ids=[case[0] for case in CHANGES])
def test_read_series_changes_are_reported(tmp_path: Path, case: tuple) -> None:
    _, data, options, values, *sentences = case
    series, warnings = read_table(tmp_path, data, **options)
    assert warnings == sentences
    assert len(series) == 1 and series[0].values.tolist() == values
    assert np.isfinite(series[0].values).all() and series[0].observed.shape == series[0].values.shape


@pytest.mark.parametrize(
    ("start", "days", "values", "left_out"),
    [
        ("2020-01-01", 31 + 29 + 31, [15, 45, 75], []),
        ("2020-01-01", 31 + 29 + 31 + 3, [15, 45, 75], [
            "t.csv: 3 rows at the end are left out: too few for a whole month",
        ]),
        ("2020-01-01", 31 + 29 + 31 + 26, [15, 45, 75, 103.5], []),
        ("2019-12-20", 12 + 31 + 29 + 31, [27, 57, 87], [
            "t.csv: 12 rows at the start are left out: too few for a whole month",
        ]),
    ],
)  # fmt: skip
def test_read_series_periods_that_are_not_whole_are_left_out(
    start: str, days: int, values: list[float], left_out: list[str], tmp_path: Path
) -> None:
    (series,), warnings = read_table(tmp_path, daily_table(*range(days), start=start), frequency="month")
    assert series.values[:, 0].tolist() == values
    assert warnings == ["t.csv: rows are averaged to one every month", *left_out]


def test_read_series_covariates_of_a_period_that_is_not_over_are_known_ahead(tmp_path: Path) -> None:
    rows = [f"{np.datetime64('2020-01-06') + day},{day if day < 30 else ''},{day // 7}" for day in range(42)]
    data = "\n".join(["date,x,offer", *rows, ""]).encode()
    (series,), _ = read_table(tmp_path, data, targets=("x",), future_covariates=("offer",), frequency="week")
    assert series.values.tolist() == [[3, 0], [10, 1], [17, 2], [24, 3]] and series.future.tolist() == [[4], [5]]


def test_report_merges_changes_of_several_series(tmp_path: Path) -> None:
    data = b"id,date,x\n" + b"".join(
        b"%s,2020-01-%02d,%s\n" % (name, day, b"" if day == 2 else b"%d" % day)
        for name in (b"a", b"b")
        for day in (1, 2, 3)
    )
    _, warnings = read_table(tmp_path, data, series="id")
    assert warnings == ["t.csv: 'x': 2 missing numbers are interpolated linearly (first in line 3) (in 2 series)"]


def test_read_series_ambiguous_columns_get_their_role(tmp_path: Path) -> None:
    late = b"AAPL,2020-01-01,5\nAAPL,2020-01-02,6\nAAPL,2020-01-03,4\n"
    series, warnings = read_table(tmp_path, late)
    assert series[0].columns == ("column_3",) and "has no header" in warnings[0]
    grown = b"people,x\n300000000,1\n300000500,2\n300400000,3\n300900000,5\n"
    assert read_one(tmp_path, grown).columns == ("people", "x")
    counted = b"key,x\n1577836800,1\n1577840400,2\n1577844000,3\n1577847600,5\n"
    assert read_table(tmp_path, counted)[0][0].frequency.name == "hour"
    named = b"Local Time,x\n20200101,1\n20200102,2\n20200104,3\n20200105,5\n"
    assert read_table(tmp_path, named)[0][0].frequency.name == "day"
    even = b"t,x\n0.5,1\n1,2\n1.5,4\n"
    series, warnings = read_table(tmp_path, even)
    assert series[0].columns == ("x",) and warnings == ["t.csv: 't' only numbers the rows and is ignored"]


def test_read_series_date_and_time_of_day_in_two_columns(tmp_path: Path) -> None:
    data = b"Date;x;Time\n10/03/2004;1,5;18.00.00\n10/03/2004;2,5;19.00.00\n13/03/2004;2,5;20.00.00\n"
    series, warnings = read_table(tmp_path, data.replace(b"13/", b"10/").replace(b"/03/", b"/13/"), frequency="hour")
    assert series[0].time_column == "Date,Time" and warnings[0] == "t.csv: dates are read as month/day/year"
    assert series[0].times is not None
    assert series[0].format_times(series[0].frequency.next_times(series[0].times[-1], 4))[-1] == "10/14/2004 00.00.00"
    again = read_one(tmp_path, b"Date,Time,x\n2004-03-10,18:00,1\n2004-03-10,19:00,2\n", time_column="Date,Time")
    assert again.frequency.name == "hour"
    assert read_one(tmp_path, b"month,year,x\n1,2020,5\n2,2020,6\n", time_column="month,year").frequency.name == "month"


def test_read_series_future_covariates_end_at_the_first_gap(tmp_path: Path) -> None:
    data = b"date,x,y\n2020-01-01,1,0\n2020-01-02,2,1\n2020-01-03,,1\n2020-01-04,,\n"
    series, warnings = read_table(tmp_path, data, targets=("x",), future_covariates=("y",))
    assert series[0].future.tolist() == [[1]]
    assert warnings == ["t.csv: 1 row at the end has no target and is dropped"]


def test_read_series_error_comes_without_report(tmp_path: Path) -> None:
    warnings: list[str] = []
    with pytest.raises(DataError):
        read_series(
            [document(tmp_path, b"2020-01-01,1\n2020-01-02,x\n2020-01-03,4\n")], SeriesOptions(), warnings.append
        )
    assert warnings == []


def test_report_merges_changes_of_several_columns(tmp_path: Path) -> None:
    data = b"date," + b",".join(b"c%d" % n for n in range(6)) + b"\n"
    data += b"".join(b"2020-01-%02d,1%%,1,%d,1,1,1\n" % (day, day) for day in (1, 2, 4, 7))
    _, warnings = read_table(tmp_path, data, frequency="row")
    assert warnings == [
        "t.csv: 'c0': percent signs are ignored (5 % is 5)",
        "t.csv: 'c0', 'c1', 'c3', 'c4' and 1 more: the same number in every row",
    ]


def test_read_series_interpolated_values_are_not_observed(tmp_path: Path) -> None:
    data = b"date,x,y\n2020-01-01,1,1\n2020-01-02,,2\n2020-01-05,4,\n2020-01-06,5,6\n2020-01-07,7,7\n2020-01-08,8,8\n"
    series = read_table(tmp_path, data)[0][0]
    assert series.observed.tolist() == [[1, 1], [0, 1], [0, 0], [0, 0], [1, 0], [1, 1], [1, 1], [1, 1]]
    assert series.values[:, 0].tolist() == [1, 1.75, 2.5, 3.25, 4, 5, 7, 8]
    assert series.values[:, 1].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
