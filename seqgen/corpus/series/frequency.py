"""Frequencies of series: names, likely seasonal periods, and the times that follow a time."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.errors import UserError

Times = npt.NDArray[np.datetime64]  # of seconds

_FIXED = ("week", "day", "hour", "minute", "second")  # units of constant length
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "business day": 86400, "week": 604800,
            "month": 2629746, "quarter": 7889238, "year": 31556952, "row": 0}  # fmt: skip

# Unit → pandas code.
_CODES = {"second": "s", "minute": "min", "hour": "h", "day": "D", "business day": "B", "week": "W", "month": "M",
          "quarter": "Q", "year": "Y", "row": ""}  # fmt: skip
# Further names → unit, besides the unit names, their plurals and the codes.
_WORDS = {"sec": "second", "m": "month", "t": "minute", "mon": "month", "b": "business day", "bd": "business day",
          "workday": "business day", "weekday": "business day", "businessday": "business day", "a": "year",
          "yr": "year", "ms": "month", "me": "month", "qs": "quarter", "qe": "quarter", "ys": "year", "ye": "year",
          "secondly": "second", "minutely": "minute", "hourly": "hour", "daily": "day", "weekly": "week",
          "monthly": "month", "quarterly": "quarter", "yearly": "year", "annual": "year", "annually": "year",
          "none": "row"}  # fmt: skip
# Unit → rows in its likely seasonal periods, the likeliest first.
_SEASONS = {"hour": (24, 168), "day": (7, 365), "business day": (5, 21), "week": (52,), "month": (12,),
            "quarter": (4,)}  # fmt: skip


@dataclass(frozen=True)
class Frequency:
    """One row every `count` units. The unit `row` is for rows without times.

    `day`: for frequencies in months, the day of the month, 31 for the last; 0 for the previous row's day.
    """

    unit: str
    count: int = 1
    day: int = 0

    @property
    def name(self) -> str:
        """The name: `hour`, `15 minutes`, `business day`, `row`."""
        return self.unit if self.count == 1 else f"{self.count} {self.unit}s"

    @property
    def months(self) -> int:
        """Months from one row to the next; 0 for other units."""
        return _MONTHS.get(self.unit, 0) * self.count

    @property
    def seconds(self) -> int:
        """Seconds from one row to the next, on average for months; those of a day for business days; 0 for rows."""
        return _SECONDS[self.unit] * self.count

    @property
    def exact(self) -> bool:
        """Whether all steps are equally long."""
        return self.unit in _FIXED

    @property
    def seasons(self) -> tuple[int, ...]:
        """Rows in each likely seasonal period, the likeliest first; (1,) for none."""
        if self.count == 1 and self.unit in _SEASONS:
            return _SEASONS[self.unit]
        if self.months:
            return (12 // self.months,) if 12 % self.months == 0 else (1,)
        # A day and a week below a day; an hour and a day below a minute.
        cycles = (86400, 604800) if self.seconds >= 60 else (3600, 86400)
        step = self.seconds if self.exact else 0
        whole = tuple(cycle // step for cycle in cycles if step and cycle % step == 0 and cycle > step)
        return whole or (1,)

    @property
    def season(self) -> int:
        """Rows in the likeliest seasonal period; 1 for none."""
        return self.seasons[0]

    @property
    def lags(self) -> tuple[int, ...]:
        """Rows in a day, a week and a year, as far as they are whole, of those that are longer than a row; rising.

        A year is 52 weeks where weeks are whole, so that its days are the same days of the week.
        """
        week = 5 if self.unit == "business day" else 604800 // self.seconds if self._divides(604800) else 0
        day = 86400 // self.seconds if self._divides(86400) and self.unit != "business day" else 0
        if self.count > 1 and self.unit == "business day":
            return ()
        year = 12 // self.months if self.months and 12 % self.months == 0 else 52 * week
        return tuple(sorted({rows for rows in (day, week, year) if rows > 1}))

    def _divides(self, seconds: int) -> bool:
        return self.exact and seconds % self.seconds == 0

    def next_times(self, last: np.datetime64, count: int) -> Times:
        """Return the times of the `count` rows after `last` by the calendar. Shape (count,), datetime64[s].

        Months keep their day if the month has it, and the last day stays the last. Business days skip weekends.
        """
        start = last.astype("datetime64[s]")
        steps = np.arange(1, count + 1, dtype=np.int64) * self.count
        if self.unit == "row":
            raise UserError("rows without times have no next times")
        if self.unit == "business day":
            date = start.astype("datetime64[D]")
            return np.busday_offset(date, steps, roll="backward").astype("datetime64[s]") + (start - date)
        if not self.months:
            return start + (np.arange(1, count + 1, dtype=np.int64) * self.seconds).astype("timedelta64[s]")
        month = start.astype("datetime64[M]") + np.arange(1, count + 1, dtype=np.int64) * self.months
        return on_day_of_month(month, self.day or day_of_month(start)) + (start - start.astype("datetime64[D]"))

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """Parse a name or a pandas code: `hour`, `15 minutes`, `15min`, `daily`, `B`. Raises `UserError`."""
        match = re.fullmatch(r"\s*(\d{0,6})\s*([A-Za-z][A-Za-z ]*?)\s*", text)
        if match and int(match[1] or 1):
            unit_name = match[2]
            for word in dict.fromkeys((unit_name, unit_name.lower(), unit_name.lower().removesuffix("s"))):
                found = next((unit for unit, code in _CODES.items() if word in (unit, code) and word), None)
                found = found or _WORDS.get(word if word != "m" else "t" if match[1] else "m")
                if found:
                    return cls(found, int(match[1] or 1)).normalised()
        raise UserError(
            f"--frequency must be a step such as hour, '15 minutes', 'business day', month or row, not {text[:40]!r}"
        )

    def normalised(self) -> Frequency:
        """Return the same frequency in the largest unit: 60 minutes are an hour, 3 months a quarter."""
        if self.months:
            unit = next(name for name in ("year", "quarter", "month") if self.months % _MONTHS[name] == 0)
            if unit != "year" and self.months % 12 and self.months != _MONTHS[unit]:
                unit = "month"
            return Frequency(unit, self.months // _MONTHS[unit], self.day)
        if self.exact:
            unit = next(name for name in _FIXED if self.seconds % _SECONDS[name] == 0)
            return Frequency(unit, self.seconds // _SECONDS[unit])
        return self


def on_day_of_month(month: Times, day: int) -> Times:
    """Return that day of each month, or the last if the month is shorter, as datetime64[s]."""
    month = month.astype("datetime64[M]")
    last = (month + 1).astype("datetime64[D]") - 1
    return np.minimum(month.astype("datetime64[D]") + (day - 1), last).astype("datetime64[s]")


def day_of_month(time: np.datetime64) -> int:
    """Return the day of the month, from 1; 31 for the last day of any month."""
    date = time.astype("datetime64[D]")
    if (date + 1).astype("datetime64[M]") != date.astype("datetime64[M]"):
        return 31
    return int((date - date.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)) + 1
