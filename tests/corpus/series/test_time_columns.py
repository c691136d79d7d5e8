"""Which columns of a table are its times, and what is refused."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.series.read import Series, looks_like_series
from seqgen.corpus.series.time_names import field_of, is_likely_time, is_surely_time
from seqgen.errors import DataError
from tests.helpers.series import document, parquet_file, read_one, read_table

START = datetime.datetime(2021, 1, 4)  # a Monday


def table(header: str, row: Callable[[datetime.datetime, int], str], rows: int = 72, hours: int = 1) -> bytes:
    """A table with a row every few hours."""
    lines = [row(START + datetime.timedelta(hours=hours * number), number) for number in range(rows)]
    return "\n".join([header, *lines, ""]).encode()


def first_and_next(series: Series) -> tuple[str, str]:
    """The first time of a series, and the one after its last."""
    assert series.times is not None
    later = series.frequency.next_times(series.times[-1], 1)
    return series.format_times(series.times[:1])[0], series.format_times(later)[0]


@pytest.mark.parametrize(
    "name",
    ["Date", "MESS_DATUM", "Trade Date", "fecha_inicio", "日期", "дата", "时间", "Zeitstempel", "统计日期", "时间戳"],
)
def test_is_surely_time_names(name: str) -> None:
    assert is_surely_time(name) and is_likely_time(name)


def test_is_surely_time_other_names_are_not() -> None:
    assert not any(map(is_surely_time, ["lead_time", "update", "data", "hours", "x", "dated", "timeout", "mean"]))
    assert [field_of(name) for name in ("yr", "Monat", "día", "hr", "时", "x")] == ["Y", "m", "d", "H", "H", ""]


CHINESE_MEASURES = ["温度", "日成交量", "月销量", "季度销售额", "年收入", "响应时间", "上年度", "一季度", "12月份"]


def test_is_likely_time_chinese_names_end_in_what_they_hold() -> None:
    likely = ["会计年度", "统计月份", "月度", "季度", "交易日", "报告期", "采集时间", "周次", "年份（公历）"]
    assert all(map(is_likely_time, likely)) and not any(map(is_surely_time, likely))
    assert [field_of(name) for name in likely] == ["Y", "m", "m", "q", "", "", "", "", "Y"]
    assert not any(map(is_likely_time, CHINESE_MEASURES)) and not any(map(field_of, CHINESE_MEASURES))


@pytest.mark.parametrize(
    ("name", "cells", "later"),
    [
        ("会计年度", range(1990, 2014), "2014"),
        ("统计月份", [f"2019{month:02}" for month in range(1, 13)], "202001"),
        ("月度", [f"2019{month:02}" for month in range(12, 0, -1)], "202001"),
        ("统计日期", range(20240101, 20240125), "20240125"),
        ("交易日", range(20240101, 20240125), "20240125"),
        ("采集时间", range(1700000000, 1700036000, 3600), "1700036000"),
    ],
)
def test_read_series_numbers_below_chinese_names_of_times_are_the_time(
    tmp_path: Path, name: str, cells: Sequence[object], later: str
) -> None:
    """They were a target, and rows from the newest on were learnt backwards."""
    data = "\n".join([f"x,{name}", *(f"{row * row % 7}.5,{cell}" for row, cell in enumerate(cells))])
    (series,), _ = read_table(tmp_path, data.encode())
    assert series.columns == ("x",) and series.time_column == name and first_and_next(series)[1] == later


def test_read_series_chinese_measures_stay_measures(tmp_path: Path) -> None:
    """Also where they are whole numbers that could be years."""
    rows = [",".join([str(1990 + row)] * len(CHINESE_MEASURES)) for row in range(24)]
    header = ",".join(CHINESE_MEASURES)
    dated = [f"2024-01-{n + 1:02},{row}" for n, row in enumerate(rows)]
    for lines in ([header, *rows], [f"日期,{header}", *dated]):
        assert read_one(tmp_path, "\n".join(lines).encode()).columns == tuple(CHINESE_MEASURES)


HOURLY = [
    ("hour", "dteday,hr,yr,mnth,cnt", "{0:%Y-%m-%d},{0.hour},0,{0.month},{1}", "dteday,hr",
     ("2021-01-04 00:00", "2021-01-07 00:00")),
    ("clock", "cnt,day,at", "{1},{0:%d.%m.%Y},{0:%H:%M}", "day,at", ("04.01.2021 00:00", "07.01.2021 00:00")),
    ("range", "Datum;Uhrzeit;cnt", "{0:%d.%m.%Y};{0:%H}:00 - {2:%H}:00;{1}", "Datum,Uhrzeit",
     ("04.01.2021 00:00 - 01:00", "07.01.2021 00:00 - 01:00")),
    ("1830", "date,time,cnt", "{0:%Y%m%d},{3},{1}", "date,time", ("20210104 00:00", "20210107 00:00")),
    ("fields", "No,year,month,day,hour,cnt", "{1},{0.year},{0.month},{0.day},{0.hour},{1}", "year,month,day,hour",
     ("2021-01-04 00:00:00", "2021-01-07 00:00:00")),
    ("minutes", "date,hour,minute,cnt", "{0:%Y-%m-%d},{0.hour},{0.minute},{1}", "date,hour,minute",
     ("2021-01-04 00:00", "2021-01-07 00:00")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "row", "columns", "times"), [case[1:] for case in HOURLY], ids=[c[0] for c in HOURLY]
)
def test_read_series_hours_in_columns_of_their_own(
    tmp_path: Path, header: str, row: str, columns: str, times: tuple[str, str]
) -> None:
    def line(time: datetime.datetime, number: int) -> str:
        return row.format(time, number * number % 17, time + datetime.timedelta(hours=1), time.hour * 100)

    data = table(header, line)
    for options in ({}, {"time_column": columns}):
        series = read_table(tmp_path, data, targets=("cnt",), **options)[0]
        assert len(series) == 1 and series[0].frequency.name == "hour" and len(series[0]) == 72
        assert series[0].time_column == columns and first_and_next(series[0]) == times
        assert series[0].values[:3, 0].tolist() == [0, 1, 4]


def test_read_series_hours_to_24_end_at_midnight(tmp_path: Path) -> None:
    data = table("Date,Hour Ending,x", lambda time, n: f"{time:%m/%d/%Y},{n % 24 + 1},{n}")
    series, warnings = read_table(tmp_path, data)
    assert first_and_next(series[0]) == ("01/04/2021 01:00", "01/07/2021 01:00")
    assert warnings == [
        "t.csv: dates are read as month/day/year",  # the days follow each other
        "t.csv: 'Date, Hour Ending': 'Hour Ending' counts hours to 24: 24 is midnight at the end of a day",
    ]
    with pytest.raises(DataError, match=r"t.csv, line 80, column 'Hour Ending': '26' is not an hour"):
        read_table(
            tmp_path, table("Date,Hour Ending,x", lambda t, n: f"{t:%Y-%m-%d},{26 if n == 78 else n % 24},1", 99)
        )


@pytest.mark.parametrize(
    ("header", "row", "columns", "frequency", "first"),
    [
        ("Year,Month,x", "{0},{2},{1}", "Year,Month", "month", "2000-01-01"),
        ("Year,Quarter,x", "{0},Q{3},{1}", "Year,Quarter", "quarter", "2000-01-01"),
        ("Jahr;Monat;x", "{0};{4};{1},5", "Jahr,Monat", "month", "2000-01-01"),
    ],
)
def test_read_series_years_and_their_parts(
    tmp_path: Path, header: str, row: str, columns: str, frequency: str, first: str
) -> None:
    german = ["Jan", "Feb", "Mrz", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez"]
    parts = 4 if frequency == "quarter" else 12
    lines = []
    for n in range(36):
        month = datetime.date(2000, n % 12 + 1, 1).strftime("%B")
        lines.append(row.format(2000 + n // parts, n * n % 11, month, n % 4 + 1, german[n % 12]))
    series = read_table(tmp_path, "\n".join([header, *lines]).encode())[0]
    assert series[0].time_column == columns and series[0].frequency.name == frequency
    assert first_and_next(series[0])[0] == first and series[0].columns == ("x",)


@pytest.mark.parametrize("year", ["{}", "{}年", "FY{}"])
@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("年份,月份", [f"{month}月" for month in range(1, 13)]),
        ("会计年度,月度", [f"{month}月份" for month in range(1, 13)]),
        ("年份,季度", ["第一季度", "第二季度", "第三季度", "第四季度"]),
        ("年份,季度", ["一季度", "二季度", "三季度", "四季度"]),
        ("年份,季度", ["第1季度", "第2季度", "第3季度", "第4季度"]),
        ("Year,Quarter", ["Quarter 1", "Quarter 2", "Quarter 3", "Quarter 4"]),
        ("Year,Quarter", ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"]),
        ("Year,Quarter", ["Q1", "Q2", "Q3", "Q4"]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_read_series_years_in_words_and_their_parts(tmp_path: Path, header: str, parts: list[str], year: str) -> None:
    """The years alone were the time, and but for one row of each all were dropped."""
    cells = [f"{year.format(2014 + n // len(parts))},{parts[n % len(parts)]}" for n in range(36)]
    data = "\n".join([f"{header},x", *(f"{cell},{n * n % 7}" for n, cell in enumerate(cells))]).encode()
    series = read_one(tmp_path, data)
    assert series.time_column == header and series.columns == ("x",) and len(series) == 36
    assert series.frequency.name == ("month" if len(parts) == 12 else "quarter")
    assert first_and_next(series) == ("2014-01-01", "2017-01-01" if len(parts) == 12 else "2023-01-01")
    assert looks_like_series(document(tmp_path, data).path)


def test_read_series_years_in_words_under_another_name_and_days(tmp_path: Path) -> None:
    data = "时间,月,日,x\n" + "".join(f"2024年,{1 + n // 31}月,{1 + n % 31}日,{n % 5}\n" for n in range(40))
    series = read_one(tmp_path, data.encode())
    assert series.time_column == "时间,月,日" and first_and_next(series) == ("2024-01-01", "2024-02-10")
    with pytest.raises(DataError, match=r"t.csv, line 102, column '季度': '全年' is no quarter"):
        rows = "".join(f"{2014 + n // 4}年,第{n % 4 + 1}季度,{n}\n" for n in range(100))
        read_table(tmp_path, f"年份,季度,x\n{rows}2024年,全年,9\n".encode(), time_column="年份,季度")


def test_read_series_quarters_that_span_those_before_are_read_as_the_last(tmp_path: Path) -> None:
    """They were ignored, and rows from the newest on learnt backwards."""
    cells = [f"{2023 - n // 4}年第{'1-' * (n % 4 < 3)}{4 - n % 4}季度" for n in range(24)]
    (series,), warnings = read_table(tmp_path, rows_called("季度", cells))
    assert series.frequency.name == "quarter" and len(series) == 24
    assert first_and_next(series) == ("2018年第1季度", "2024年第1季度")
    later = series.format_times(series.frequency.next_times(series.times[-1], 3))  # type: ignore[arg-type]
    assert later[1:] == ["2024年第1-2季度", "2024年第1-3季度"]
    assert warnings == [
        "t.csv: '季度': cells that span several quarters are read as the last of them (2023年第1-4季度 as "
        "2023年第4季度); their numbers may be sums since the year began",
        "t.csv: rows are in reverse chronological order and are reversed",
    ]


def test_read_series_most_rows_at_the_time_of_a_later_one_are_refused(tmp_path: Path) -> None:
    """But for one of each time they were dropped with a warning, or a measure was said to name series."""
    lines = [f"{2014 + n // 4}年,{'甲' if n % 9 else '乙'},{n // 4 + n % 4}.5" for n in range(36)]
    data = "\n".join(["年份,备注,x", *lines])
    message = (
        "t.csv{}: 27 of 36 rows have the same time as a later one in the column '年份'; give --time-column and all "
        "columns that make up the time, --series and the column that names several series, or --time-column '' if the "
        "rows have no times"
    )
    with pytest.raises(DataError) as caught:
        read_table(tmp_path, data.encode())
    assert str(caught.value) == message.format("")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path, data.replace("乙", "甲").encode(), series="备注")
    assert str(caught.value) == message.format(", series '甲'")
    assert read_table(tmp_path, data.encode(), time_column="")[0][0].columns == ("x",)
    half = "date,x\n" + "".join(f"2024-01-{1 + n // 2:02},{n}\n" for n in range(40))
    assert read_table(tmp_path, half.encode())[1] == [
        "t.csv: 20 rows have the same time as a later one and are dropped (first in line 2)"
    ]


@pytest.mark.parametrize(
    ("parts", "header"), [("{0.month}", "Year,Month,x"), ("{0.month},{0.day},{0.hour}", "Year,Month,Day,Hour,x")]
)
def test_read_series_years_of_the_buddhist_era_and_their_parts(tmp_path: Path, parts: str, header: str) -> None:
    """They were read in that era and written in ours."""
    data = table(header, lambda time, n: f"{time.year + 543},{parts.format(time)},{n % 5}", hours=24 * 31)
    (series,), warnings = read_table(tmp_path, data)
    assert series.times is not None and series.times[0].item().year == 2021
    assert first_and_next(series)[0].startswith("2564-01-0") and "2570 is 2027" in warnings[0]


def test_read_series_a_first_column_whose_name_is_like_none_can_be_a_target(tmp_path: Path) -> None:
    """It was taken for the numbers of rows."""
    series = read_one(tmp_path, table("column_1,date,x", lambda t, n: f"{n + n // 4},{t:%Y-%m-%d},{n % 5}", hours=24))
    assert series.columns == ("column_1", "x") and series.values[1, 0] == 1


def rows_called(name: str, numbers: Iterable[object]) -> bytes:
    return "\n".join([f"{name},x", *(f"{number},{row * row % 7}" for row, number in enumerate(numbers))]).encode()


@pytest.mark.parametrize(
    "years", [range(1960, 2020), range(2019, 1959, -1), range(1870, 2019, 10), range(2020, 2051)], ids=str
)
def test_read_series_years_without_a_name_are_the_time(tmp_path: Path, years: range) -> None:
    """As pandas writes a table that has them as its index."""
    data = rows_called("", years)
    (series,), warnings = read_table(tmp_path, data)
    assert series.time_column == "column_1" and series.frequency.unit == "year"
    assert first_and_next(series)[0] == str(min(years)) and len(series) == len(years)
    assert warnings[0] == (
        "t.csv: 'column_1': numbers without a name are taken for years; give --time-column '' if they number the rows"
    )
    assert warnings[1:] == ["t.csv: rows are in reverse chronological order and are reversed"] * (years.step < 0)
    assert looks_like_series(document(tmp_path, data).path)
    assert read_table(tmp_path, data, time_column="")[1] == ["t.csv: 'column_1' only numbers the rows and is ignored"]
    assert read_table(tmp_path, data, time_column="column_1")[1] == warnings[1:]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("", range(1800, 2000)),
        ("", [row for row in range(1750, 2050) if row % 12]),
        ("Unnamed: 0", range(1960, 2020)),
    ],
    ids=["more than live", "with gaps", "pandas' name"],
)
def test_read_series_row_numbers_that_look_like_years_are_none(tmp_path: Path, name: str, rows: Sequence[int]) -> None:
    """The last tenth of 2,000 rows was one of years, and rows were made up for those without a number."""
    (series,), warnings = read_table(tmp_path, rows_called(name, rows))
    assert series.times is None and len(series) == len(rows)
    called = f"t.csv: {name or 'column_1'!r}"
    said = f"{called} only numbers the rows and is ignored"
    assert warnings == [f"{called}: numbers without a name may be years; --time-column names the column then", said]
    assert read_table(tmp_path, rows_called(name, rows), time_column="")[1] == [said]


def test_read_series_years_without_a_name_are_the_time_in_parquet_too(tmp_path: Path) -> None:
    """Where pandas writes an index last, and none that only numbers the rows."""
    data = parquet_file(x=[n * n % 7 for n in range(40)], __index_level_0__=[*range(1980, 2020)])
    (series,), warnings = read_table(tmp_path, data)
    assert series.time_column == "__index_level_0__" and series.frequency.unit == "year"
    assert "'__index_level_0__': numbers without a name are taken for years" in warnings[0] and len(warnings) == 1
    data = parquet_file(x=[n * n % 7 for n in range(200)], __index_level_0__=[*range(1800, 2000)])
    assert "'__index_level_0__': numbers without a name may be years" in read_table(tmp_path, data)[1][0]


MONTHS = [f"{2019 + n // 12}.{n % 12 + 1}" for n in range(30)]
PADDED = [f"{2019 + n // 12}.{n % 12 + 1:02}" for n in range(30)]


@pytest.mark.parametrize("name", ["Month", "月份", "年月", "Date"])
@pytest.mark.parametrize(
    ("cells", "last"),
    [
        (MONTHS, "2021.7"),
        (PADDED, "2021.07"),
        ([month.removesuffix("0") for month in PADDED], "2021.07"),
        ([f'"{month.replace(".", ",")}"' for month in PADDED], "2021,07"),
        (MONTHS[10:18], "2020.7"),
    ],
    ids=["1 to 12", "01 to 12", "zeros lost behind", "comma", "without October"],
)
def test_read_series_months_as_numbers_are_times(tmp_path: Path, name: str, cells: list[str], last: str) -> None:
    """They were a target, and 2019.1 and 2019.10 one number; or refused."""
    (series,), warnings = read_table(tmp_path, rows_called(name, cells))
    assert series.time_column == name and series.frequency.name == "month" and len(series) == len(cells)
    assert first_and_next(series)[1] == last
    first = cells[0].strip('"')
    assert warnings == [f"t.csv: {name!r}: numbers such as {first} are read as months (2019-{int(first[5:]):02})"]


def test_read_series_months_to_september_are_those_of_a_known_frequency(tmp_path: Path) -> None:
    """A table of this year's months, for a model that has learnt others; else they may be tenths of a year."""
    data = rows_called("Month", MONTHS[12:21])
    (series,), warnings = read_table(tmp_path, data, time_column="Month", frequency="month")
    assert first_and_next(series) == ("2020.1", "2020.10")
    assert warnings == ["t.csv: 'Month': numbers such as 2020.1 are read as months (2020-01)"]
    for name in ("Month", "date", "年月"):  # found without --time-column too
        (series,), _ = read_table(tmp_path, rows_called(name, MONTHS[12:21]), frequency="month")
        assert series.time_column == name and first_and_next(series) == ("2020.1", "2020.10")
    halves = rows_called("year", [f"{year}.5" for year in range(1990, 2010)])  # July, as without a frequency
    assert read_one(tmp_path, halves, time_column="year", frequency="year").times[0].item().month == 7
    for rows in (MONTHS[12:16] + MONTHS[24:28], [*MONTHS[12:14], MONTHS[24]]):  # quarters; January or October
        with pytest.raises(DataError, match=r"'2020.1' is not a time"):
            read_table(tmp_path, rows_called("Month", rows), time_column="Month", frequency="quarter")


def test_read_series_one_month_of_each_year_is_no_decimal_year(tmp_path: Path) -> None:
    """1960.08, a year after which 1961.08 comes, was February."""
    (series,), warnings = read_table(tmp_path, rows_called("Month", [f"{1960 + n}.08" for n in range(30)]))
    assert series.times is not None and series.times[0].item().month == 8 and series.frequency.seconds > 3e7
    assert warnings == ["t.csv: 'Month': numbers such as 1960.08 are read as months (1960-08)"]


@pytest.mark.parametrize(
    "middle",
    [lambda n: n / 12 + 1 / 24, lambda n: n // 12 + datetime.date(2019, n % 12 + 1, 15).timetuple().tm_yday / 365],
    ids=["exactly", "by days"],
)
def test_read_series_middles_of_months_as_decimal_years_are_times(
    tmp_path: Path, middle: Callable[[int], float]
) -> None:
    series = read_one(tmp_path, rows_called("year", [f"{2019 + middle(n):.4f}" for n in range(30)]))
    assert series.frequency.name == "month" and first_and_next(series) == ("2019.0417", "2021.5417")


def test_read_series_columns_that_repeat_the_time_are_ignored(tmp_path: Path) -> None:
    data = table(
        "date,year,month,weekday,stamp,x",
        lambda t, n: (
            f"{t:%Y-%m-%d},{t.year},{t.month},{t.weekday()},{int(t.timestamp()) * 1000 + 86399999},{n * n % 7}"
        ),
        60,
        24,
    )
    series, warnings = read_table(tmp_path, data)
    assert series[0].columns == ("x",)
    assert warnings == ["t.csv: 'year', 'month', 'weekday', 'stamp' only repeat the time and are ignored"]
    assert read_one(tmp_path, data, targets=("month",)).columns == ("month",)


def test_read_series_days_of_spreadsheets_and_epochs_are_times(tmp_path: Path) -> None:
    data = "Date,x\n" + "".join(f"{44200 + n // 5 * 7 + n % 5},{n * n % 7}\n" for n in range(40))
    series, warnings = read_table(tmp_path, data.encode())
    assert series[0].frequency.name == "business day" and first_and_next(series[0]) == ("44200", "44256")
    assert len(warnings) == 1 and "44200 are read as the days of a spreadsheet (2021-01-04" in warnings[0]
    klines = "".join(
        f"{1609459200000 + 3600000 * n},{n % 7}.5,{1609459200000 + 3600000 * n + 3599999}\n" for n in range(30)
    )
    series, warnings = read_table(tmp_path, klines.encode())
    assert series[0].columns == ("column_2",) and series[0].frequency.name == "hour"
    assert warnings[-1] == "t.csv: 'column_3' only repeats the time and is ignored"


def test_read_series_hours_of_clock_changes(tmp_path: Path) -> None:
    clock = [datetime.datetime(2021, 10, 30) + datetime.timedelta(minutes=15 * n) for n in range(300)]
    local = [
        time if time < datetime.datetime(2021, 10, 31, 3) else time - datetime.timedelta(hours=1) for time in clock
    ]
    data = "time,x\n" + "".join(f"{time:%Y-%m-%d %H:%M},{n}\n" for n, time in enumerate(local))
    series, warnings = read_table(tmp_path, data.encode())
    assert series[0].frequency.name == "15 minutes" and len(series[0]) == 296
    assert warnings == [
        "t.csv: 4 rows of the hour that occurs twice when clocks are set back are dropped, the later are used "
        "(first in line 106)"
    ]
    spring = [datetime.datetime(2021, 3, 27) + datetime.timedelta(hours=n + (n > 25)) for n in range(60)]
    data = "time,x\n" + "".join(f"{time:%Y-%m-%d %H:%M},{n}\n" for n, time in enumerate(spring))
    series, warnings = read_table(tmp_path, data.encode())
    assert len(series[0]) == 61 and series[0].frequency.name == "hour"
    assert warnings == [
        "t.csv: 1 time of the hour that clocks skip when they are set forward is interpolated linearly "
        "(first after line 27)"
    ]


REFUSED = [
    ("clock", "time,x\n" + "".join(f"{n:02}:00,{n}\n" for n in range(24)),
     "t.csv, line 2, column 'time': '00:00' is not a time but a time of day without a date"),
    ("numbers", "time,x\n" + "".join(f"{n * n / 10},{n}\n" for n in range(24)),
     "t.csv, line 2, column 'time': '0.0' is not a time"),
    ("text", "Datum;x\n" + "".join(f"Tag {n};{n}\n" for n in range(24)),
     "t.csv, line 2, column 'Datum': 'Tag 0' is not a time"),
    ("half", "when,x\n" + "".join(f"{'2021-01-01' if n % 2 else 'soon'},{n}\n" for n in range(24)),
     "t.csv, line 2, column 'when': 'soon' is not a time"),
    ("late", "fecha,x\n" + "".join(f"2021-01-{n + 1:02},{n}\n" for n in range(28)) + "31 de febrero de 2021,1\n",
     "t.csv, line 30, column 'fecha': '31 de febrero de 2021' is not a time"),
    ("no year", "month,day,x\n" + "".join(f"{n // 28 + 1},{n % 28 + 1},{n % 5}\n" for n in range(60)),
     "t.csv: the columns 'month', 'day' are parts of a time that has no year"),
    ("across", "Country,2000,2001,2002,2003\n" + "".join(f"C{n},1,2,{n},4\n" for n in range(5)),
     "t.csv has times in its header (2000 to 2003); put them into rows"),
    ("again", "unique_id,ds,y\n" + "".join(f"{name},{n + 1},{n % 5}\n" for name in "AB" for n in range(20)),
     "t.csv, line 22: 'ds' starts again, so there are several series; give --series"),
    ("stores", "Date,Store,Sales\n" + "".join(f"2021-01-{n // 3 + 1:02},{n % 3 + 7},{n % 5}\n" for n in range(60)),
     "t.csv has 3 series, distinguished by the column 'Store'; give --series Store"),
    ("mixed", "quarter,x\n" + "".join(f"2020Q{n % 4 + 1},{n}\n2020,{n}\n" for n in range(4)),
     "t.csv, line 3, column 'quarter': '2020' is a year, but other rows have a quarter"),
    ("October is January", "Month,x\n" + "".join(f"{float(f'{2019 + n // 12}.{n % 12 + 1}')},{n}\n" for n in range(24)),
     "t.csv, line 2, column 'Month': '2019.1' is not a time"),
    ("tenths of years", "year,x\n" + "".join(f"{2019 + n / 10:.1f},{n}\n" for n in range(24)),
     "t.csv, line 2, column 'year': '2019.0' is not a time"),
    ("days by number", "统计日期,x\n" + "".join(f"第{n}天,{n}\n" for n in range(24)),
     "t.csv, line 2, column '统计日期': '第0天' is not a time"),
    ("several quarters", "季度,x\n" + "".join(f"{2000 + n}年第2-3季度,{n}\n" for n in range(24)),
     "t.csv, line 2, column '季度': '2000年第2-3季度' is not a time"),
    ("regions", "年份,地区,x\n" + "".join(f"{2000 + n // 3}年,{'甲乙丙'[n % 3]},{n * n % 7}.5\n" for n in range(36)),
     "t.csv has 3 series, distinguished by the column '地区'; give --series 地区"),
    ("weeks", "week,x\n" + "".join(f"{2019 + n // 52}.{n % 52 + 1:02},{n}\n" for n in range(70)),
     "t.csv, line 2, column 'week': '2019.01' is not a time"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_read_series_times_that_cannot_be_read_are_refused(tmp_path: Path, data: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(tmp_path, data.encode())
    assert str(caught.value).startswith(message)
    assert looks_like_series(document(tmp_path, data.encode()).path)


def test_read_series_refused_times_can_be_left_out(tmp_path: Path) -> None:
    data = b"time,x\n00:00,1\n01:00,3\n02:00,2\n"
    series, warnings = read_table(tmp_path, data, time_column="")
    assert series[0].columns == ("x",) and warnings == ["t.csv: 'time' contains text and is ignored"]
    numbers = b"time,x\n0,1\n1,3\n4,2\n9,2\n"
    series, warnings = read_table(tmp_path, numbers, time_column="")
    assert series[0].columns == ("x",) and warnings == ["t.csv: 'time' has the name of a time and is ignored"]


def test_read_series_durations_of_thousands_are_no_times(tmp_path: Path) -> None:
    data = rows_called("response time", [f"{1000 + n * n * 37 % 1900}.37" for n in range(40)])
    assert read_one(tmp_path, data).columns == ("response time", "x")
    data = rows_called("year_mean", [f"{1990 + n * 0.31:.2f}" for n in range(40)])  # its last word is no time's
    assert read_one(tmp_path, data).columns == ("year_mean", "x")


@pytest.mark.parametrize("name", ["Engine hour", "run time", "sensor data", "data", "Tag"])
def test_read_series_measures_that_rise_slowly_are_no_years(tmp_path: Path, name: str) -> None:
    data = rows_called(name, [f"{1200 + n * 0.4:.1f}" for n in range(40)])
    assert read_one(tmp_path, data).columns == (name, "x")


def test_read_series_names_with_commas(tmp_path: Path) -> None:
    data = b'time,"Consumption, total","Price, spot",plain\n' + b"".join(
        b"2022-05-%02d,%d,2,3\n" % (d, d % 5) for d in range(1, 25)
    )
    series = read_table(tmp_path, data, targets=("Consumption, total",), covariates=("Price, spot",))[0][0]
    assert series.columns == ("Consumption, total", "Price, spot")
    series = read_table(tmp_path, data, targets=('"Price, spot",plain',))[0][0]
    assert series.columns == ("Price, spot", "plain")
    parts = b'"a, b",hour,x\n' + b"".join(b"2022-05-%02d,%d,%d\n" % (n // 24 + 1, n % 24, n % 5) for n in range(72))
    series = read_table(tmp_path, parts)[0][0]
    assert series.time_column == '"a, b",hour'
    assert read_one(tmp_path, parts, time_column=series.time_column).frequency.name == "hour"
    with pytest.raises(DataError, match=r"no column 'Consumptoin'; .* columns are time, \"Consumption, total\""):
        read_table(tmp_path, data, targets=("Consumptoin",))


def test_series_layout_says_how_a_table_is_understood(tmp_path: Path) -> None:
    rows = "".join(f"{day:02}.01.2021;A;1.{day + 100};{day % 3},5;text\n" for day in range(1, 29))
    data = ("Datum;Ort;Besucher;Preis;Notiz\n" + rows).encode()
    series = read_table(tmp_path, data, series="Ort", targets=("Besucher",), covariates=("Preis",))[0][0]
    assert series.layout is not None and (series.layout.format, series.layout.delimiter) == ("CSV", ";")
    assert dict(series.layout.roles) == {
        "Datum": "time", "Ort": "series", "Besucher": "target", "Preis": "covariate", "Notiz": "unused"
    }  # fmt: skip
    assert dict(series.layout.notations) == {
        "Besucher": "points group thousands (1.101 is 1101), because commas are decimal",
        "Preis": "the comma is the decimal mark (1,5 is 1.5)",
    }
    assert series.series_column == "Ort" and series.future_count == 0


STYLES = [
    "%Y-%m-%d %H:%M",
    "%d.%m.%Y %H:%M",
    "%d %B %Y %H:%M",
    "%Y%m%d%H%M",
    "%b %d, %Y %I:%M %p",
    "%Y年%m月%d日 %H时%M分",
]


@given(
    st.datetimes(datetime.datetime(1980, 1, 1), datetime.datetime(2060, 1, 1)),
    st.sampled_from(STYLES),
    st.sampled_from([15, 60, 1440]),
    st.randoms(),
)
@settings(max_examples=60, deadline=None)
def test_read_series_shuffled_rows_in_any_style_give_the_same_series(
    tmp_path_factory: pytest.TempPathFactory, start: datetime.datetime, style: str, minutes: int, random: object
) -> None:
    folder = tmp_path_factory.mktemp("t")
    start = start.replace(minute=0, second=0, microsecond=0)
    times = [start + datetime.timedelta(minutes=minutes * number) for number in range(30)]
    lines = [f"{time.strftime(style)};{number * number % 23}" for number, time in enumerate(times)]
    ordered = read_table(folder, "\n".join(["time;x", *lines]).encode())[0][0]
    assert ordered.times is not None and ordered.times.astype(object).tolist() == times
    assert ordered.format_times(ordered.times) == [time.strftime(style) for time in times]
    random.shuffle(lines)  # type: ignore[attr-defined]
    shuffled = read_table(folder, "\n".join(["time;x", *lines]).encode())[0][0]
    assert shuffled.times is not None and (shuffled.times == ordered.times).all()
    assert np.array_equal(shuffled.values, ordered.values)
