"""Frequencies: names, inference and next times; alignment of irregular times to a grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus.series.frequency import Frequency, day_of_month, on_day_of_month
from seqgen.corpus.series.grid import (
    average_rows,
    build_grid,
    infer_frequency,
    interpolate_missing,
    resolve_frequency,
    true_runs,
)
from seqgen.errors import DataError, UserError

NAMES = [
    ("hour", Frequency("hour")),
    ("hours", Frequency("hour")),
    ("h", Frequency("hour")),
    ("H", Frequency("hour")),
    ("hourly", Frequency("hour")),
    ("15 minutes", Frequency("minute", 15)),
    ("15min", Frequency("minute", 15)),
    ("15T", Frequency("minute", 15)),
    ("5m", Frequency("minute", 5)),
    ("60 min", Frequency("hour")),
    ("s", Frequency("second")),
    ("D", Frequency("day")),
    ("daily", Frequency("day")),
    ("7 days", Frequency("week")),
    ("B", Frequency("business day")),
    ("business day", Frequency("business day")),
    ("business days", Frequency("business day")),
    ("W", Frequency("week")),
    ("M", Frequency("month")),
    ("m", Frequency("month")),
    ("MS", Frequency("month")),
    ("ME", Frequency("month")),
    ("monthly", Frequency("month")),
    ("3 months", Frequency("quarter")),
    ("Q", Frequency("quarter")),
    ("6 months", Frequency("month", 6)),
    ("12 months", Frequency("year")),
    ("year", Frequency("year")),
    ("Y", Frequency("year")),
    ("18 months", Frequency("month", 18)),
    ("24 months", Frequency("year", 2)),
    ("row", Frequency("row")),
    ("none", Frequency("row")),
    ("2 quarters", Frequency("month", 6)),
]


@pytest.mark.parametrize(("text", "expected"), NAMES, ids=[text for text, _ in NAMES])
def test_frequency_parse_names_and_codes(text: str, expected: Frequency) -> None:
    assert Frequency.parse(text) == expected
    assert Frequency.parse(expected.name) == expected  # the name is stored with a model


@pytest.mark.parametrize("text", ["", "moon", "0 days", "15", "-1 day", "day 2", "1.5 hours", "day\n", "9999999 s"])
def test_frequency_parse_errors(text: str) -> None:
    if text.strip() == "day":
        assert Frequency.parse(text).name == "day"
        return
    with pytest.raises(UserError, match="--frequency must be a step"):
        Frequency.parse(text)


# Frequency, a time, and the times after it, by the calendar.
NEXT = [
    (Frequency("hour"), "2019-12-31T23:00:00", ["2020-01-01T00:00:00", "2020-01-01T01:00:00"]),
    (Frequency("minute", 15), "2020-01-01T23:45:00", ["2020-01-02T00:00:00", "2020-01-02T00:15:00"]),
    (Frequency("day"), "2020-02-28T05:00:00", ["2020-02-29T05:00:00", "2020-03-01T05:00:00"]),
    (Frequency("business day"), "2020-01-02T00:00:00", ["2020-01-03T00:00:00", "2020-01-06T00:00:00"]),
    (Frequency("business day"), "2020-01-04T16:00:00", ["2020-01-06T16:00:00", "2020-01-07T16:00:00"]),
    (Frequency("business day", 2), "2020-01-02T00:00:00", ["2020-01-06T00:00:00", "2020-01-08T00:00:00"]),
    (Frequency("week"), "2020-12-28T00:00:00", ["2021-01-04T00:00:00", "2021-01-11T00:00:00"]),
    (Frequency("month"), "2020-01-15T00:00:00", ["2020-02-15T00:00:00", "2020-03-15T00:00:00"]),
    (Frequency("month"), "2020-01-31T00:00:00", ["2020-02-29T00:00:00", "2020-03-31T00:00:00"]),
    (Frequency("month"), "2020-02-29T00:00:00", ["2020-03-31T00:00:00", "2020-04-30T00:00:00"]),
    (Frequency("month", 1, 30), "2020-01-30T00:00:00", ["2020-02-29T00:00:00", "2020-03-30T00:00:00"]),
    (Frequency("month", 1, 30), "2020-02-29T00:00:00", ["2020-03-30T00:00:00", "2020-04-30T00:00:00"]),
    (Frequency("quarter"), "2020-10-01T00:00:00", ["2021-01-01T00:00:00", "2021-04-01T00:00:00"]),
    (Frequency("quarter"), "2020-03-31T00:00:00", ["2020-06-30T00:00:00", "2020-09-30T00:00:00"]),
    (Frequency("year"), "2020-02-29T00:00:00", ["2021-02-28T00:00:00", "2022-02-28T00:00:00"]),
    (Frequency("year", 10), "1990-01-01T12:00:00", ["2000-01-01T12:00:00", "2010-01-01T12:00:00"]),
]


@pytest.mark.parametrize(("frequency", "last", "expected"), NEXT, ids=[f"{f.name} {last}" for f, last, _ in NEXT])
def test_next_times_follow_the_calendar(frequency: Frequency, last: str, expected: list[str]) -> None:
    following = frequency.next_times(np.datetime64(last), 2)
    assert following.dtype == "datetime64[s]" and [str(time) for time in following] == expected
    assert frequency.next_times(np.datetime64(last), 0).shape == (0,)


def test_next_times_of_rows_is_an_error() -> None:
    with pytest.raises(UserError, match="no next times"):
        Frequency("row").next_times(np.datetime64("2020-01-01"), 1)


@pytest.mark.parametrize(
    ("name", "seasons"),
    [
        ("hour", (24, 168)),
        ("15 minutes", (96, 672)),
        ("10 min", (144, 1008)),
        ("day", (7, 365)),
        ("business day", (5, 21)),
        ("week", (52,)),
        ("month", (12,)),
        ("quarter", (4,)),
        ("year", (1,)),
        ("2 months", (6,)),
        ("5 months", (1,)),
        ("6 hours", (4, 28)),
        ("s", (3600, 86400)),
        ("row", (1,)),
        ("7 minutes", (1440,)),
        ("2 business days", (1,)),
        ("2 weeks", (1,)),
    ],
)
def test_seasons_by_frequency(name: str, seasons: tuple[int, ...]) -> None:
    frequency = Frequency.parse(name)
    assert frequency.seasons == seasons and frequency.season == seasons[0]


def test_seconds_by_frequency() -> None:
    assert Frequency("minute", 15).seconds == 900 and Frequency("minute", 15).exact
    assert Frequency("year").seconds == 12 * Frequency("month").seconds and not Frequency("year").exact
    assert Frequency("row").seconds == 0


def test_day_of_month_and_on_day_of_month() -> None:
    assert [day_of_month(np.datetime64(day)) for day in ("2020-01-01", "2020-02-28", "2020-02-29", "2021-02-28")] == [
        1,
        28,
        31,
        31,
    ]
    assert str(on_day_of_month(np.array(["2021-02"], dtype="datetime64[M]"), 30)[0]) == "2021-02-28T00:00:00"


frequencies = st.sampled_from(
    [
        Frequency("second", 5),
        Frequency("minute"),
        Frequency("minute", 15),
        Frequency("hour"),
        Frequency("hour", 6),
        Frequency("day"),
        Frequency("business day"),
        Frequency("week"),
        Frequency("month"),
        Frequency("month", 2),
        Frequency("quarter"),
        Frequency("year"),
    ]
)


@given(frequencies, st.integers(0, 2**31), st.integers(7, 60))
@settings(max_examples=200, deadline=None)
def test_infer_frequency_of_generated_times(frequency: Frequency, start: int, count: int) -> None:
    """Inferred frequency, grid and next times of regular times are those they were generated with."""
    first = np.datetime64(start // 3600 * 3600, "s")
    times = frequency.next_times(first, count + 20)
    found = infer_frequency(times[:count])
    assert found is not None
    if (found.unit, found.count) != (frequency.unit, frequency.count):  # seven dates may as well be all on working days
        assert {found.name, frequency.name} <= {"business day", "day"} and count < 12
        return
    grid = build_grid(times[:count], found, found)
    assert grid.exact and not grid.averaged and (grid.times == times[:count]).all()
    assert (grid.row_of == np.arange(count)).all()
    assert (found.next_times(times[count - 1], 20) == times[count:]).all()


@given(frequencies, st.integers(0, 2**31), st.sets(st.integers(1, 48), max_size=16))
@settings(max_examples=200, deadline=None)
def test_infer_frequency_of_times_with_gaps(frequency: Frequency, start: int, holes: set[int]) -> None:
    times = frequency.next_times(np.datetime64(start // 3600 * 3600, "s"), 50)
    kept = np.array([number for number in range(50) if number not in holes])
    found = infer_frequency(times[kept])
    if found is None or (found.unit, found.count) != (frequency.unit, frequency.count):
        steps = np.diff(kept)
        assert (steps > 1).mean() >= 0.25  # too many holes to tell
        return
    grid = build_grid(times[kept], found, found)
    assert (grid.times == times).all() and (grid.row_of == kept).all()


def times(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[s]")


@pytest.mark.parametrize(
    ("given_times", "name"),
    [
        (times("2020-01-01"), None),
        (times("2020-01-01", "2020-02-01"), "month"),
        (times("2020-01-31", "2020-02-29", "2020-03-31"), "month"),
        (times("2020-01-30", "2020-02-29", "2020-03-30"), "month"),
        (times("2000-01-03", "2000-02-01", "2000-03-01", "2000-04-03"), "month"),  # first working days
        (times("2000-01-28", "2000-02-25", "2000-03-31", "2000-04-28"), "month"),  # last Fridays
        (times("2020-01-01", "2020-01-29", "2020-02-26", "2020-03-25"), "4 weeks"),
        (times("2020-01-15", "2020-02-03", "2020-03-28", "2020-04-01"), "month"),  # once a month, on any day
        (times("2019-12-31", "2020-12-31", "2021-12-31"), "year"),
        (times("2020-01-06", "2020-01-07", "2020-01-08", "2020-01-09", "2020-01-10", "2020-01-13"), "business day"),
        (
            times("2020-01-01T00:00:03", "2020-01-01T00:15:01", "2020-01-01T00:29:58", "2020-01-01T00:45:20"),
            "15 minutes",
        ),
        (times("2020-01-01", "2020-04-10", "2020-09-03", "2020-12-15"), "quarter"),
    ],
)
def test_infer_frequency_of_irregular_times(given_times: np.ndarray, name: str | None) -> None:
    found = infer_frequency(given_times)
    assert (found.name if found else None) == name


def test_resolve_frequency_prefers_the_wanted_one() -> None:
    day, hour, month = Frequency("day"), Frequency("hour"), Frequency("month", 1, 31)
    assert resolve_frequency(hour, day, "t") == day and resolve_frequency(None, day, "t") == day
    assert resolve_frequency(month, Frequency("month"), "t") == month  # the day of the month is known
    with pytest.raises(DataError, match=r"^t has a row every day, but one every hour is required$"):
        resolve_frequency(day, hour, "t")


def test_build_grid_coarser_than_the_times() -> None:
    days = Frequency("day").next_times(np.datetime64("2020-01-14"), 200)
    weeks = build_grid(days, Frequency("week"), Frequency("day"))
    assert (
        weeks.averaged
        and str(weeks.times[0]) == "2020-01-13T00:00:00"
        and weeks.row_of[:7].tolist() == [0, 0, 0, 0, 0, 1, 1]
    )
    quarters = build_grid(days, Frequency("quarter"), Frequency("day"))
    assert [str(time)[:10] for time in quarters.times] == ["2020-01-01", "2020-04-01", "2020-07-01"]
    business = build_grid(days, Frequency("business day"), Frequency("hour"))
    assert business.averaged and (np.is_busday(business.times.astype("datetime64[D]"))).all()


def test_average_rows_ignores_missing_values() -> None:
    values = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, np.nan]])
    assert average_rows(values, np.array([0, 0, 2]), 4)[:, 0].tolist()[0] == 2
    result = average_rows(values, np.array([0, 0, 2]), 4)
    assert result[0].tolist() == [2, 4] and result[2, 0] == 5
    assert np.isnan(result[[1, 3]]).all() and np.isnan(result[2, 1])


def test_interpolate_missing() -> None:
    nan = np.nan
    values = np.array([[nan, 1, nan], [2, nan, nan], [nan, nan, nan], [4, nan, nan], [nan, 5, nan]])
    before = values.copy()
    result = interpolate_missing(values, np.zeros(5, dtype=bool))
    assert result.T.tolist() == [[2, 2, 3, 4, 4], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]]
    held = interpolate_missing(values, np.array([True, False, True, False, True]))
    assert held[:, 0].tolist() == [2, 2, 2, 4, 4] and held[2, 1] == 1
    np.testing.assert_array_equal(values, before)


def test_true_runs() -> None:
    assert (
        true_runs(np.array([1, 0, 1, 1, 0, 1], dtype=bool)) == [(0, 1), (2, 4), (5, 6)]
        and true_runs(np.zeros(3, dtype=bool)) == []
    )


@pytest.mark.parametrize(
    ("name", "lags"),
    [
        ("day", (7, 364)), ("hour", (24, 168, 8736)), ("30 minutes", (48, 336, 17472)), ("business day", (5, 260)),
        ("week", (52,)), ("month", (12,)), ("quarter", (4,)), ("year", ()), ("row", ()), ("5 days", ()),
        ("2 business days", ()), ("7 months", ()), ("2 months", (6,)), ("12 hours", (2, 14, 728)),
    ],
)  # fmt: skip
def test_frequency_lags_are_whole_days_weeks_and_years(name: str, lags: tuple[int, ...]) -> None:
    assert Frequency.parse(name).lags == lags
