"""Times as people write them in many languages: named months, quarters, weeks, fiscal years, intervals, numbers."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from babel.dates import format_date
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.series.dates import ParsedTimes, looks_like_time, parse_times
from seqgen.corpus.series.month_names import month_readings, months_of
from seqgen.corpus.series.time_numbers import times_from_numbers

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "sv", "fi", "cs", "uk", "tr", "hu", "da", "nb", "el")
FORMS = ("long", "medium", "d MMMM y", "d MMM y", "d. MMMM y", "EEEE d MMMM y", "dd-MMM-yy", "y MMM d", "d/M/y")
MONTHLY_FORMS = ("MMMM y", "LLLL y", "LLL yy")


def moments(parsed: ParsedTimes) -> list[str]:
    return [str(time) for time in parsed.times.astype("datetime64[us]").astype("datetime64[m]")]


def written(parsed: ParsedTimes) -> list[str]:
    return parsed.style.format_times(parsed.times.astype("datetime64[us]").astype("datetime64[s]"))


def next_written(parsed: ParsedTimes, time: str) -> str:
    return parsed.style.format_times(np.array([time], dtype="datetime64[s]"))[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_parse_times_dates_of_a_language_are_read_and_written_back(language: str) -> None:
    days = [datetime.date(2021, month, day) for month in range(1, 13) for day in (1, 13, 28)]
    for form in (*FORMS, *MONTHLY_FORMS):
        cells = [format_date(day, form, locale=language) for day in days]
        parsed = parse_times(cells)
        assert parsed.bad == -1 and not parsed.unsure, (form, cells[parsed.bad])
        expected = [day.replace(day=1) if form in MONTHLY_FORMS else day for day in days]
        assert [time[:10] for time in moments(parsed)] == [str(day) for day in expected], form
        assert written(parsed) == cells
        assert all(map(looks_like_time, cells))


# Cells, their times, and the cell of the first of November 2022 at 15:00.
WRITTEN = [
    (["2021年3月1日", "2021年12月31日"], ["2021-03-01", "2021-12-31"], "2022年11月1日"),
    (["2021年3月1日(月)", "2021年3月2日(火)"], ["2021-03-01", "2021-03-02"], "2022年11月1日(火)"),
    (["2021年3月1日 星期一", "2021年3月7日 星期日"], ["2021-03-01", "2021-03-07"], "2022年11月1日 星期二"),
    (["2021-03-01,一", "2021-03-06,六"], ["2021-03-01", "2021-03-06"], "2022-11-01,二"),
    (["2021-03-01（周一）", "2021-03-07（周日）"], ["2021-03-01", "2021-03-07"], "2022-11-01（周二）"),
    (["2021/03/01(一)", "2021/03/06(六)"], ["2021-03-01", "2021-03-06"], "2022/11/01(二)"),
    (["2021/03/01(月)", "2021/03/02(火)"], ["2021-03-01", "2021-03-02"], "2022/11/01(火)"),
    (["31/03/2021(三)", "01/04/2021(四)"], ["2021-03-31", "2021-04-01"], "01/11/2022(二)"),
    (["2021年3月1日，一", "2021年3月6日，六"], ["2021-03-01", "2021-03-06"], "2022年11月1日，二"),
    (["2021年3月份", "2021年12月份"], ["2021-03-01", "2021-12-01"], "2022年11月份"),
    (["2021年度", "2022年度"], ["2021-01-01", "2022-01-01"], "2022年度"),
    (["2021/3/1 下午 3:05"], ["2021-03-01T15:05"], "2022/11/1 下午 3:00"),
    (["2021년 3월 1일"], ["2021-03-01"], "2022년 11월 1일"),
    (["1. Mrz 21", "2. Apr 21"], ["2021-03-01", "2021-04-02"], "1. Nov 22"),
    (["styczeń 2021", "luty 2021"], ["2021-01-01", "2021-02-01"], "listopad 2022"),
    (["1º de março de 2021"], ["2021-03-01"], "1º de novembro de 2022"),
    (["1 января 2021 г.", "2 марта 2021 г."], ["2021-01-01", "2021-03-02"], "1 ноября 2022 г."),
    (["Sept. 5, 2021", "Oct. 6, 2021"], ["2021-09-05", "2021-10-06"], "Nov. 1, 2022"),
    (["1st March 2021"], ["2021-03-01"], "1st November 2022"),
    (["2021-03-01 Monday"], ["2021-03-01"], "2022-11-01 Tuesday"),
    (["01.03.2021, 14:30 Uhr"], ["2021-03-01T14:30"], "01.11.2022, 15:00 Uhr"),
    (["2021-03-01 14h30"], ["2021-03-01T14:30"], "2022-11-01 15h00"),
    (["1/13/2021 3:04 a. m.", "1/13/2021 3:04 p. m."], ["2021-01-13T03:04", "2021-01-13T15:04"],
     "11/01/2022 3:00 p. m."),
    (["Mon Mar  1 00:05:00 2021"], ["2021-03-01T00:05"], "Tue Nov  1 15:00:00 2022"),
    (["Wed Aug 25 13:08:45 +0000 2021"], ["2021-08-25T13:08"], "Tue Nov 01 15:00:00 +0000 2022"),
    (["Mon Mar 01 2021 12:00:00 GMT+0100 (CET)"], ["2021-03-01T11:00"], "Tue Nov 01 2022 16:00:00 GMT+0100 (CET)"),
    (["01/Mar/2021:12:30:00 +0000"], ["2021-03-01T12:30"], "01/Nov/2022:15:00:00 +0000"),
    (["2021-03-01T12:00:00+01:00[Europe/Berlin]"], ["2021-03-01T11:00"], "2022-11-01T16:00:00+01:00[Europe/Berlin]"),
    (["21-03-30", "21-03-31", "21-04-01"], ["2021-03-30", "2021-03-31", "2021-04-01"], "22-11-01"),
    (["30/03/21", "31/03/21", "01/04/21"], ["2021-03-30", "2021-03-31", "2021-04-01"], "01/11/22"),
    (["2021-032"], ["2021-02-01"], "2022-305"),
    (["2021m3", "2021m4"], ["2021-03-01", "2021-04-01"], "2022m11"),
    (["2021Q1"], ["2021-01-01"], "2022Q4"),
    (["2021/Q3"], ["2021-07-01"], "2022/Q4"),
    (["Q3-21"], ["2021-07-01"], "Q4-22"),
    (["3T2021"], ["2021-07-01"], "4T2022"),
    (["T3 2021"], ["2021-07-01"], "T4 2022"),
    (["1. Quartal 2021"], ["2021-01-01"], "4. Quartal 2022"),
    (["1er trimestre 2021", "2e trimestre 2021"], ["2021-01-01", "2021-04-01"], "4e trimestre 2022"),
    (["III кв. 2021 г."], ["2021-07-01"], "IV кв. 2022 г."),
    (["I kw. 2021"], ["2021-01-01"], "IV kw. 2022"),
    (["2021年第1四半期"], ["2021-01-01"], "2022年第4四半期"),
    (["2021年第1季度", "2021年第1-2季度", "2021年第1-3季度"], ["2021-01-01", "2021-04-01", "2021-07-01"],
     "2022年第1-4季度"),
    (["2021年一至四季度", "2022年一季度"], ["2021-10-01", "2022-01-01"], "2022年一至四季度"),
    (["FY21 Q3"], ["2021-07-01"], "FY22 Q4"),
    (["2021 Quarter 3"], ["2021-07-01"], "2022 Quarter 4"),
    (["2021H1", "2021H2"], ["2021-01-01", "2021-07-01"], "2022H2"),
    (["S1 2021", "S2 2021"], ["2021-01-01", "2021-07-01"], "S2 2022"),
    (["2. Halbjahr 2021"], ["2021-07-01"], "2. Halbjahr 2022"),
    (["2021年上半年", "2021年下半年"], ["2021-01-01", "2021-07-01"], "2022年下半年"),
    (["2021-W03"], ["2021-01-18"], "2022-W44"),
    (["2020-W53", "2021-W01"], ["2020-12-28", "2021-01-04"], "2022-W44"),
    (["2021-W03-2"], ["2021-01-19"], "2022-W44-2"),
    (["KW 3 2021", "KW 12 2021"], ["2021-01-18", "2021-03-22"], "KW 44 2022"),
    (["S03 2021", "S12 2021"], ["2021-01-18", "2021-03-22"], "S44 2022"),
    (["3. KW 2021"], ["2021-01-18"], "44. KW 2022"),
    (["Week 3, 2021"], ["2021-01-18"], "Week 44, 2022"),
    (["2021年第3周"], ["2021-01-18"], "2022年第44周"),
    (["FY2021", "FY2022"], ["2021-01-01", "2022-01-01"], "FY2022"),
    (["2020/2021", "2021/2022"], ["2020-01-01", "2021-01-01"], "2022/2023"),
    (["2010-11", "2010-12", "2011-01"], ["2010-11-01", "2010-12-01", "2011-01-01"], "2022-11"),
    (["2021-01-04/2021-01-11", "2021-01-11/2021-01-18"], ["2021-01-04", "2021-01-11"], "2022-11-01/2022-11-08"),
    (["04.01.2021 00:00 - 04.01.2021 01:00"], ["2021-01-04"], "01.11.2022 15:00 - 01.11.2022 16:00"),
    (["2021-01-04 22:00 - 23:00", "2021-01-04 23:00 - 00:00"], ["2021-01-04T22:00", "2021-01-04T23:00"],
     "2022-11-01 15:00 - 16:00"),
    (["2021-01-04 09:00-10:00", "2021-01-04 10:00-11:00", "2021-01-04 11:00-12:00"],
     ["2021-01-04T09:00", "2021-01-04T10:00", "2021-01-04T11:00"], "2022-11-01 15:00-16:00"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "expected", "later"), WRITTEN, ids=[cells[0] for cells, _, _ in WRITTEN])
def test_parse_times_forms_are_read_and_written_back(cells: list[str], expected: list[str], later: str) -> None:
    parsed = parse_times(cells)
    assert parsed.bad == -1 and not parsed.unsure
    assert moments(parsed) == [time if "T" in time else f"{time}T00:00" for time in expected]
    assert next_written(parsed, "2022-11-01T15:00") == later
    if "  " not in cells[0] and "1er" not in cells[0]:
        assert written(parsed) == cells
    assert all(map(looks_like_time, cells))


def test_parse_times_names_in_several_ways_are_written_as_iso() -> None:
    parsed = parse_times(["1 maart 2021", "1 apr 2021", "1 mrt 2021"])
    assert parsed.bad == -1 and written(parsed) == ["2021-03-01", "2021-04-01", "2021-03-01"]


def test_months_of_reads_a_column_in_one_language() -> None:
    assert months_of(["mars", "août"]) == ("fr", {"mars": 3, "août": 8})
    assert months_of(["marca", "sierpnia"]) == ("pl", {"marca": 3, "sierpnia": 8})
    assert months_of(["mars", "сентября"]) is None
    assert not month_readings("Montag")
    parsed = parse_times(["1 mars 2021", "1 сентября 2021"])
    assert parsed.bad == 1 and "another language" in parsed.reason


def test_parse_times_month_of_two_languages_is_reported() -> None:
    assert parse_times(["1 listopad 2021"]).notes != ()
    assert parse_times(["1 lipiec 2021", "1 listopad 2021"]).notes == ()


@pytest.mark.parametrize(
    ("cells", "bad", "reason"),
    [
        (["2021Q1", "2021Q2", "2021", "2021Q3"], 2, "is a year, but most rows have a quarter"),
        (["2020", "2021-01", "2021-02"], 0, "is a year, but most rows have a month"),
        (["2021-W01", "2021-01-11", "2021-W03"], 1, "is a day, but most rows have a week"),
        (["2021-01-04/2021-01-11", "2021-01-11"], 1, "is not an interval like the others"),
        (["2021-W53"], 0, ""),
        (["2021-366"], 0, ""),
    ],
)
def test_parse_times_rows_of_another_kind_are_located(cells: list[str], bad: int, reason: str) -> None:
    parsed = parse_times(cells, digits=True)
    assert parsed.bad == bad and parsed.reason.startswith(reason)


def test_parse_times_plausible_senses_are_reported() -> None:
    zones = parse_times(["2021-03-28 01:00 CET", "2021-03-28 03:00 CEST"])
    assert moments(zones) == ["2021-03-28T00:00", "2021-03-28T01:00"]
    assert zones.notes == ("the zone CEST is read as UTC+2", "the zone CET is read as UTC+1")
    years = parse_times(["2009-10", "2010-11", "2011-12"])
    assert years.notes == ("2009-10 is read as the year that begins in 2009, not as a month",)
    assert moments(years) == ["2009-01-01T00:00", "2010-01-01T00:00", "2011-01-01T00:00"]


@pytest.mark.parametrize("clock", ["T{:02}:00:00", "T{:02}:00", " {:02}:00:00"])
def test_parse_times_many_zones_west_of_utc_are_no_intervals(clock: str) -> None:
    cells = [f"2021-01-04{clock.format(hour - zone)}-{zone:02}:00" for hour, zone in enumerate((3, 5, 6, 8), 10)]
    parsed = parse_times(cells)
    assert moments(parsed) == [f"2021-01-04T{hour}:00" for hour in (10, 11, 12, 13)] and parsed.notes == ()


def test_parse_times_short_digits() -> None:
    assert moments(parse_times(["210130", "210131", "210201"], digits=True))[1] == "2021-01-31T00:00"
    assert moments(parse_times(["202101", "202102"], digits=True))[1] == "2021-02-01T00:00"
    assert moments(parse_times(["31012021", "01022021"], digits=True))[1] == "2021-02-01T00:00"
    assert moments(parse_times(["2021031", "2021032"], digits=True))[1] == "2021-02-01T00:00"


# ---- Many cells of one width are read at once ----


@pytest.mark.parametrize(
    "form", ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%Y/%m/%dT%H:%MZ", "%y-%m-%d"]
)
@given(start=st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(2060, 1, 1)), hours=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_parse_times_of_one_width_are_read_as_one_by_one(form: str, start: datetime.datetime, hours: int) -> None:
    start = start.replace(second=0, microsecond=0)
    step = datetime.timedelta(days=1) if "%H" not in form else datetime.timedelta(hours=hours)
    cells = [(start + number * step).strftime(form) for number in range(450)]
    fixed, single = parse_times(cells), parse_times([*cells, cells[0].replace(" ", "  ").replace("T", "  ")])
    assert fixed.bad == -1 and written(fixed) == cells
    assert single.bad >= 0 or moments(single)[:-1] == moments(fixed)


def test_parse_times_of_one_width_bad_cell_is_located() -> None:
    cells = [f"2021-01-01 {number // 60:02}:{number % 60:02}" for number in range(1000)]
    cells[700] = "2021-01-01 11:4O"
    assert parse_times(cells).bad == 700
    cells[700] = "2021-13-01 11:40"
    assert parse_times(cells).bad == 700


# ---- Numbers ----


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (
            [44200, 44201.5],
            ["2021-01-04T00:00", "2021-01-05T12:00"],
            "44200 are read as the days of a spreadsheet (2021-",
        ),
        ([18631, 18632], ["2021-01-04T00:00", "2021-01-05T00:00"], "18631 are read as days since 1970 (2021-01-04; as"),
        (
            [1609718400, 1609722000],
            ["2021-01-04T00:00", "2021-01-04T01:00"],
            "1609718400 are read as seconds since 1970",
        ),
        (
            [1609718400000.0],
            ["2021-01-04T00:00"],
            "1609718400000 are read as milliseconds since 1970 (2021-01-04 00:00",
        ),
    ],
)
def test_times_from_numbers_are_reported(values: list[float], expected: list[str], note: str) -> None:
    parsed = times_from_numbers(np.array(values, dtype=float))
    assert parsed is not None and moments(parsed) == expected
    assert parsed.notes[0].startswith(f"numbers such as {note}")
    assert [float(cell) for cell in written(parsed)] == values


def test_times_from_numbers_days_of_1904_are_known_by_their_weekends() -> None:
    days = np.array([44200 - 1462 + 7 * week + day for week in range(4) for day in range(5)], dtype=float)
    parsed = times_from_numbers(days)
    assert parsed is not None and moments(parsed)[0] == "2021-01-04T00:00" and "1900" in parsed.notes[0]
    assert times_from_numbers(days, days=False) is None


# ---- Any text ----


def test_parse_times_thousands_of_spaces_are_refused_in_linear_time() -> None:
    cell = "2020-01-01 10:00" + 200_000 * " " + "!"
    assert not looks_like_time(cell) and parse_times(["2020-01-01 10:00", cell], digits=True).bad == 1


@given(st.lists(st.text(st.sampled_from("0123456789-/.: TQWHSKFYaberzäЯ年月日第季–~Z+"), max_size=24), max_size=6))
@settings(max_examples=300, deadline=None)
def test_parse_times_arbitrary_text_is_read_or_refused(cells: list[str]) -> None:
    for digits in (False, True):
        parsed = parse_times(cells, digits=digits)
        if parsed.bad < 0:
            assert len(parsed.times) == len(cells)
            if cells:
                written(parsed)
        else:
            assert 0 <= parsed.bad < len(cells)
