"""Times and numbers in common notations: parsing, ambiguity and formatting."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.series.dates import is_time_of_day, looks_like_time, parse_times, regularity
from seqgen.corpus.series.numbers import decimal_mark_of, is_missing, parse_number
from seqgen.corpus.series.time_numbers import times_from_numbers


def moments(reading: object) -> list[str]:
    return [str(t) for t in reading.times.astype("datetime64[us]").astype("datetime64[s]")]  # type: ignore[attr-defined]


def back(reading: object) -> list[str]:
    return reading.style.format_times(reading.times.astype("datetime64[us]").astype("datetime64[s]"))  # type: ignore[attr-defined]


# Cells, and what they mean. They must come out as they went in.
WRITTEN = [
    (["2020-01-31", "2020-02-29"], ["2020-01-31T00:00:00", "2020-02-29T00:00:00"]),
    (["2020-01-31 05:06:07", "1999-12-31 23:59:59"], ["2020-01-31T05:06:07", "1999-12-31T23:59:59"]),
    (["2020-01-31T05:06", "2020-01-31T05:07"], ["2020-01-31T05:06:00", "2020-01-31T05:07:00"]),
    (["2020-01-31T05:06:07Z"], ["2020-01-31T05:06:07"]),
    (["2020-01-31T05:06:07 UTC"], ["2020-01-31T05:06:07"]),
    (["2020-01-31 05:00:00+01:00", "2020-01-31 06:00:00+01:00"], ["2020-01-31T04:00:00", "2020-01-31T05:00:00"]),
    (["2020-01-31 05:00:00-0330"], ["2020-01-31T08:30:00"]),
    (["2020-01-31 00:00:00+08:00", "2020-02-01 00:00:00+08:00"], ["2020-01-31T00:00:00", "2020-02-01T00:00:00"]),
    (["2020-01-31T05", "2020-01-31T06"], ["2020-01-31T05:00:00", "2020-01-31T06:00:00"]),
    (["20200131T050607Z"], ["2020-01-31T05:06:07"]),
    (["2020/1/31", "2020/2/1"], ["2020-01-31T00:00:00", "2020-02-01T00:00:00"]),
    (["2020.01.31", "2020.02.01"], ["2020-01-31T00:00:00", "2020-02-01T00:00:00"]),
    (["31.1.2020", "1.2.2020"], ["2020-01-31T00:00:00", "2020-02-01T00:00:00"]),
    (["01.02.2020 05:30", "02.02.2020 05:30"], ["2020-02-01T05:30:00", "2020-02-02T05:30:00"]),
    (["31/01/2020", "01/02/2020"], ["2020-01-31T00:00:00", "2020-02-01T00:00:00"]),
    (["1/31/2020 5:06", "2/1/2020 15:06"], ["2020-01-31T05:06:00", "2020-02-01T15:06:00"]),
    (["1/31/2020 12:00:00 AM", "1/31/2020 11:30:00 PM"], ["2020-01-31T00:00:00", "2020-01-31T23:30:00"]),
    (["1/31/2020 12:15 pm", "1/31/2020 1:15 pm"], ["2020-01-31T12:15:00", "2020-01-31T13:15:00"]),
    (["12/31/24", "12/31/99"], ["2024-12-31T00:00:00", "1999-12-31T00:00:00"]),
    (["12/31/68", "12/31/69"], ["1968-12-31T00:00:00", "1969-12-31T00:00:00"]),
    (["28/2/2567", "29/2/2567"], ["2024-02-28T00:00:00", "2024-02-29T00:00:00"]),
    (["1981-01", "1981-12"], ["1981-01-01T00:00:00", "1981-12-01T00:00:00"]),
    (["01/1981", "12/1981"], ["1981-01-01T00:00:00", "1981-12-01T00:00:00"]),
    (["1981M01", "1981M12"], ["1981-01-01T00:00:00", "1981-12-01T00:00:00"]),
    (["1-01", "3-12"], ["0001-01-01T00:00:00", "0003-12-01T00:00:00"]),
    (["Jan 1 2000", "Feb 10 2000"], ["2000-01-01T00:00:00", "2000-02-10T00:00:00"]),
    (["January 1, 2000", "May 10, 2000"], ["2000-01-01T00:00:00", "2000-05-10T00:00:00"]),
    (["1 Jan 2000", "10 May 2000"], ["2000-01-01T00:00:00", "2000-05-10T00:00:00"]),
    (["01-JAN-00", "10-FEB-00"], ["2000-01-01T00:00:00", "2000-02-10T00:00:00"]),
    (["Sat, 1 Jan 2000 10:00:00", "Sun, 2 Jan 2000 10:00:00"], ["2000-01-01T10:00:00", "2000-01-02T10:00:00"]),
    (["Saturday 1 January 2000", "Sunday 2 January 2000"], ["2000-01-01T00:00:00", "2000-01-02T00:00:00"]),
    (["Jan 2000", "Feb 2000"], ["2000-01-01T00:00:00", "2000-02-01T00:00:00"]),
    (["jan-00", "feb-00"], ["2000-01-01T00:00:00", "2000-02-01T00:00:00"]),
    (["2000 January", "2000 February"], ["2000-01-01T00:00:00", "2000-02-01T00:00:00"]),
    (["2000Q1", "2000Q4"], ["2000-01-01T00:00:00", "2000-10-01T00:00:00"]),
    (["2000-Q1", "2000-Q2"], ["2000-01-01T00:00:00", "2000-04-01T00:00:00"]),
    (["Q1 2000", "Q2 2000"], ["2000-01-01T00:00:00", "2000-04-01T00:00:00"]),
    (["1Q2000", "3Q2000"], ["2000-01-01T00:00:00", "2000-07-01T00:00:00"]),
    (["2000年第一季度", "2000年第四季度"], ["2000-01-01T00:00:00", "2000-10-01T00:00:00"]),
    (["2020年1月5日", "2020年11月15日"], ["2020-01-05T00:00:00", "2020-11-15T00:00:00"]),
    (["2020年01月05日 10时30分", "2020年01月05日 11时30分"], ["2020-01-05T10:30:00", "2020-01-05T11:30:00"]),
    (["2020年1月", "2020年2月"], ["2020-01-01T00:00:00", "2020-02-01T00:00:00"]),
    (["2020年", "2021年"], ["2020-01-01T00:00:00", "2021-01-01T00:00:00"]),
    (["2020-W01", "2020-W53"], ["2019-12-30T00:00:00", "2020-12-28T00:00:00"]),
    (["2020W011", "2020W017"], ["2019-12-30T00:00:00", "2020-01-05T00:00:00"]),
]


@pytest.mark.parametrize(("cells", "expected"), WRITTEN, ids=[cells[0] for cells, _ in WRITTEN])
def test_parse_times_notation_is_read_and_written_back(cells: list[str], expected: list[str]) -> None:
    reading = parse_times(cells)
    assert reading.bad == -1 and not reading.unsure
    assert moments(reading) == expected
    weeks = "W" in cells[0]  # the year of a week may be another than that of its Monday
    assert back(reading) == cells or weeks
    assert all(map(looks_like_time, cells))


def test_parse_times_two_digit_years_are_no_century_apart() -> None:
    months = np.arange("1960-01", "1980-01", dtype="datetime64[M]")
    cells = [f"{month.astype('datetime64[D]').item():%b-%y}" for month in months]
    for rows in (cells, cells + cells, cells[::-1]):  # several series, and the newest first
        reading = parse_times(rows)
        assert set(moments(reading)) == set(map(str, months.astype("datetime64[s]")))
        assert reading.notes == (
            "two-digit years are read as 1960 to 1979; if they are others, write them with four digits",
        )
    assert "2049 to 2060" in parse_times(["Jan-49", "Dec-60"]).notes[0]
    assert not parse_times(["Jan-98", "Dec-01"]).notes


def test_parse_times_years_of_the_buddhist_era() -> None:
    days = np.arange("2024-01-01", "2025-01-01", dtype="datetime64[D]")
    cells = [f"{day.item():%d/%m}/{day.item().year + 543}" for day in days]
    assert len(cells) > 200  # read all at once
    reading = parse_times(cells)
    assert moments(reading) == list(map(str, days.astype("datetime64[s]"))) and back(reading) == cells
    assert reading.notes == ("years are read as those of the Buddhist era: 2567 is 2024",)
    mixed = parse_times(["2567-01-01", "2024-01-01"])
    assert moments(mixed)[0].startswith("2567") and not mixed.notes


DIGITS = [
    (["1981", "1982"], ["1981-01-01T00:00:00", "1982-01-01T00:00:00"]),
    (["198101", "198112"], ["1981-01-01T00:00:00", "1981-12-01T00:00:00"]),
    (["20200131", "20200229"], ["2020-01-31T00:00:00", "2020-02-29T00:00:00"]),
    (["2020013105", "2020013123"], ["2020-01-31T05:00:00", "2020-01-31T23:00:00"]),
    (["202001310506"], ["2020-01-31T05:06:00"]),
    (["20200131050607"], ["2020-01-31T05:06:07"]),
    (["20200131 050607"], ["2020-01-31T05:06:07"]),
]


@pytest.mark.parametrize(("cells", "expected"), DIGITS, ids=[cells[0] for cells, _ in DIGITS])
def test_parse_times_digits(cells: list[str], expected: list[str]) -> None:
    reading = parse_times(cells, digits=True)
    assert moments(reading) == expected and back(reading) == cells
    assert not any(map(looks_like_time, cells)) and parse_times(cells).bad == 0
    if cells[0].isdigit():
        numbers = times_from_numbers(np.array([float(cell) for cell in cells]))
        assert numbers is not None and moments(numbers) == expected


@pytest.mark.parametrize("unit", [1, 1e3, 1e6, 1e9])
def test_times_from_numbers_since_1970(unit: float) -> None:
    seconds = [1577836800, 1577840400]
    reading = times_from_numbers(np.array(seconds) * unit)
    assert reading is not None and moments(reading) == ["2020-01-01T00:00:00", "2020-01-01T01:00:00"]
    assert back(reading) == [f"{second * unit:.0f}" for second in seconds]


def test_times_from_numbers_decimal_years() -> None:
    """R writes monthly and quarterly series this way."""
    for months in (1, 3):
        values = np.round(1949 + np.arange(0, 30, months) / 12, 4)
        reading = times_from_numbers(values)
        assert reading is not None
        expected = np.arange("1949-01", "1951-07", months, dtype="datetime64[M]").astype("datetime64[s]")
        assert moments(reading) == [str(time) for time in expected]
        assert [float(text) for text in back(reading)] == values.tolist()
    assert times_from_numbers(np.array([1949.04, 1949.12])) is None


def test_times_from_numbers_other_numbers_give_none() -> None:
    for values in ([], [0.5, 0.7], [1, 2, 3], [np.nan, 2020], [-5e9, 1.5e9], [20201332, 20201333]):
        assert times_from_numbers(np.array(values, dtype=float)) is None


@pytest.mark.parametrize(
    "cell",
    ["", "5", "1.5", "12.2010", "2010.12", "hello", "5 apples", "2020-1", "10:30", "a-b", "May", "-3-04", "1e-05"],
)
def test_looks_like_time_other_text_is_not(cell: str) -> None:
    assert looks_like_time(cell) == (cell == "2020-1")


def test_is_time_of_day() -> None:
    assert all(map(is_time_of_day, ["17:24", "7:24:00", "18.00.00", "5:30 PM", "05:30:00.123"]))
    assert not any(map(is_time_of_day, ["17.24", "17", "", "2020-01-01", "1:2"]))


def test_parse_times_changing_zones_are_converted() -> None:
    reading = parse_times(["2020-03-29 01:00:00+01:00", "2020-03-29 03:00:00+02:00"])
    assert moments(reading) == ["2020-03-29T00:00:00", "2020-03-29T01:00:00"]
    assert back(reading) == ["2020-03-29 02:00:00+02:00", "2020-03-29 03:00:00+02:00"]  # all in the last one's


def test_parse_times_midnight_without_time_of_day() -> None:
    reading = parse_times(["2020-01-01 22:00:00", "2020-01-01 23:00:00", "2020-01-02"])
    assert moments(reading)[-1] == "2020-01-02T00:00:00" and back(reading)[-1] == "2020-01-02 00:00:00"
    assert moments(parse_times(["2020-01-01 24:00"])) == ["2020-01-02T00:00:00"]


@pytest.mark.parametrize(
    "cell",
    [
        "2020-13-01",
        "2020-02-30",
        "2020-00-10",
        "2020-01-01 25:00",
        "2020-01-01 10:61",
        "2020-W54",
        "2020-01-01 13:00 PM",
    ],
)
def test_parse_times_invalid_time_is_located(cell: str) -> None:
    reading = parse_times(["2020-01-01", "2020-01-02", cell])
    assert reading.bad == 2


def test_parse_times_order_of_day_and_month() -> None:
    assert parse_times(["1/2/2020", "1/13/2020"]).order == "month/day/year"
    assert parse_times(["1/2/2020", "13/1/2020"]).order == "day/month/year"
    assert parse_times(["1/2/2020", "1/3/2020"]).unsure
    assert not parse_times(["1/1/2020", "2/2/2020"]).unsure  # both orders say the same
    assert parse_times(["1/13/2020", "13/1/2020"]).bad >= 0
    fits = parse_times(["1/2/2020", "1/3/2020"], fits=lambda times: bool(np.diff(times)[0] == 86_400_000_000))
    assert fits.order == "month/day/year" and not fits.unsure


def test_regularity_counts_months() -> None:
    months = np.array([f"2020-{month:02}-01" for month in range(1, 13)], dtype="datetime64[us]").astype(np.int64)
    assert regularity(months) == 1 and regularity(months[:1]) == 0
    assert regularity(np.array([0, 1, 2, 5, 9], dtype=np.int64)) == 0.5


@given(
    st.lists(st.datetimes(datetime.datetime(1000, 1, 1), datetime.datetime(2400, 12, 31)), min_size=1, max_size=20),
    st.sampled_from(
        [
            "%Y-%m-%d %H:%M:%S",
            "%d.%m.%Y %H:%M:%S",
            "%Y/%m/%d %H:%M:%S",
            "%B %d, %Y %I:%M:%S %p",
            "%d %b %Y %H:%M:%S",
            "%Y%m%d%H%M%S",
            "%Y-%m-%dT%H:%M:%SZ",
        ]
    ),
)
@settings(max_examples=150, deadline=None)
def test_parse_times_arbitrary_times_in_every_notation(times: list[datetime.datetime], form: str) -> None:
    times = [time.replace(microsecond=0) for time in times]
    cells = [time.strftime(form) for time in times]
    reading = parse_times(cells, digits=True)
    assert reading.bad == -1
    assert moments(reading) == [time.isoformat() for time in times]
    assert back(reading) == cells


# ---- Numbers ----

NUMBERS = [
    ("1", 1),
    (" 1.5 ", 1.5),
    ("-1e3", -1000),
    ("+7", 7),
    ("1,234", 1234),
    ("1,234.5", 1234.5),
    ("12,34,567", 1234567),
    ("1 234.5", 1234.5),
    ("1\u202f234", 1234),
    ("1'234", 1234),
    ("$1,234.50", 1234.5),
    ("-$5", -5),
    ("$-5", -5),
    ("(5)", -5),
    ("5 %", 5),
    ("€5", 5),
    ("5 €", 5),
    ("3.5K", 3500),
    ("45.98M", 45.98e6),
    ("2B", 2e9),
    ("3万", 30000),
    ("1.5亿", 1.5e8),
    ("1.5 亿", 1.5e8),
    ("1.2 亿元", 1.2e8),
    ("1.2万亿", 1.2e12),
    ("3 千万", 3e7),
    ("2百萬", 2e6),
    ("-1.5 十亿", -1.5e9),
    ("−5", -5),
    ("５", 5),
    (".5", 0.5),
    ("5.", 5),
    ("true", 1),
    ("FALSE", 0),
    ("¥3", 3),
    ("3元", 3),
]


@pytest.mark.parametrize(("cell", "value"), NUMBERS)
def test_parse_number_notations(cell: str, value: float) -> None:
    assert parse_number(cell) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1,5", 1.5),
        ("1.234,5", 1234.5),
        ("1.234", 1234),
        ("-0,25", -0.25),
        ("1.234.567", 1234567),
        ("1 234,5", 1234.5),
        ("5", 5),
        ("1,5e3", 1500),
    ],
)
def test_parse_number_with_decimal_comma(cell: str, value: float) -> None:
    assert parse_number(cell, ",") == value


@pytest.mark.parametrize(
    "cell", ["12kg", "1,5", "1,23,4", "1.2.3", "a", "1-2", "5 6", "--5", "%", "$", "1_000", "(5", "2020-01-01"]
)
def test_parse_number_other_text_gives_none(cell: str) -> None:
    assert parse_number(cell) is None


@pytest.mark.parametrize("cell", ["", " ", "NA", "n/a", "NaN", "null", "-", "?", "#N/A", "—", "None", "\\N"])
def test_is_missing(cell: str) -> None:
    assert is_missing(cell) and np.isnan(parse_number(cell) or 0)


def test_decimal_mark_of() -> None:
    cells = ["1.5", "1,5", "1.234", "1,234", "1.234,5", "1,234.5", "1.234.567", "1,234,567", "0.123", "5", "x", "1,2,3"]
    assert [decimal_mark_of(cell) for cell in cells] == [
        (".", True),
        (",", True),
        (".", False),
        (",", False),
        (",", True),
        (".", True),
        (",", True),
        (".", True),
        (".", True),
        ("", False),
        ("", False),
        ("", False),
    ]


@given(st.floats(-1e12, 1e12))
def test_parse_number_arbitrary_numbers_with_both_marks(value: float) -> None:
    english = f"{value:,.3f}"
    german = english.replace(",", "_").replace(".", ",").replace("_", ".")
    assert parse_number(english) == parse_number(german, ",") == float(f"{value:.3f}")
