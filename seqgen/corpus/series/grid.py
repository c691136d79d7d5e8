"""Alignment of times to a regular grid: inference of the frequency, averaging and interpolation."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.frequency import Frequency, Times, day_of_month, on_day_of_month
from seqgen.errors import DataError

Values = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_MONDAY = 4 * 86400  # 5 January 1970
# Steps for irregular times, in seconds.
_STANDARD_STEPS = tuple(
    [1, 2, 5, 10, 15, 20, 30]
    + [60 * count for count in (1, 2, 5, 10, 15, 20, 30)]
    + [3600 * count for count in (1, 2, 3, 4, 6, 8, 12)]
    + [86400, 2 * 86400, 604800, 2 * 604800]
)
_MIN_BUSINESS_DAYS = 6  # dates without a weekend that make a series one of business days


@dataclass(frozen=True)
class Grid:
    """A regular grid of times.

    Attributes:
        frequency: its frequency.
        first: its first time.
        size: how many times it has.
        given: the times that it was built for, ascending.
        row_of: row of each given time.
        averaged: whether the grid is coarser than the given times, so that several share a row.
    """

    frequency: Frequency
    first: np.datetime64
    size: int
    given: Times
    row_of: Integers
    averaged: bool

    @property
    def empty(self) -> int:
        """How many rows have no given time. Unlike `times`, it takes no memory where one time is far from the rest."""
        return self.size - 1 - int(np.count_nonzero(np.diff(self.row_of)))

    @functools.cached_property
    def times(self) -> Times:
        """Its times, shape (size,)."""
        later = self.frequency.next_times(self.first, self.size - 1)
        return np.concatenate([np.array([self.first], dtype="datetime64[s]"), later])

    @property
    def exact(self) -> bool:
        """Whether every given time is on the grid."""
        return bool((self.times[self.row_of] == self.given).all())


def infer_frequency(times: Times) -> Frequency | None:
    """Infer the frequency of ascending times; None for fewer than two.

    The most frequent step decides, or without a majority the standard step nearest to the median.
    """
    if len(times) < 2:
        return None
    dates = times.astype("datetime64[D]")
    clocks = times - dates
    same_clock = bool((clocks == clocks[0]).all())
    if same_clock:
        found = _by_months(dates)
        if found:
            return found
    steps = np.diff(times).astype(np.int64)
    sizes, counts = np.unique(steps, return_counts=True)
    step, often = int(sizes[counts.argmax()]), int(counts.max())
    weekday = (dates.astype(np.int64) + 3) % 7
    if same_clock and len(times) >= _MIN_BUSINESS_DAYS and (weekday < 5).all() and float(np.median(steps)) == 86400:
        return Frequency("business day")
    if 2 * often < len(steps) or np.mean((times - times[0]).astype(np.int64) % step == 0) < 0.9:
        median = float(np.median(steps))
        if median > _STANDARD_STEPS[-1]:
            months = max(1, round(median / 2629746))
            return Frequency("month", months).normalised()
        step = min(_STANDARD_STEPS, key=lambda seconds: abs(np.log(seconds / median)))
    return Frequency("second", step).normalised()


def _by_months(dates: npt.NDArray[np.datetime64]) -> Frequency | None:
    """Infer a frequency in months; None if two dates share a month, or a step in days fits better."""
    months = dates.astype("datetime64[M]").astype(np.int64)
    steps = np.diff(months)
    if steps.min() < 1:
        return None
    sizes, counts = np.unique(steps, return_counts=True)
    step = int(sizes[counts.argmax()])
    numbers = (dates - dates.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    days = [day_of_month(date) for date in dates]
    day = 31 if min(days) == 31 else int(numbers.max())
    if (on_day_of_month(dates.astype("datetime64[M]"), day).astype("datetime64[D]") == dates).all():
        return Frequency("month", step, day).normalised()
    in_days = np.diff(dates)
    if (in_days == in_days[0]).all() or 2 * counts.max() < len(steps):
        return None
    if max(days) <= 10:  # the first working day of each month, and the like
        return Frequency("month", step, 1).normalised()
    return Frequency("month", step, 31).normalised() if min(days) >= 20 else None


def resolve_frequency(found: Frequency | None, wanted: Frequency, name: str) -> Frequency:
    """Return the frequency to align to if the user asks for `wanted`.

    Raises:
        DataError: the rows are further apart.
    """
    if found is None or found.name == wanted.name:
        return found or wanted
    if found.seconds > 1.2 * wanted.seconds:
        raise DataError(f"{name} has a row every {found.name}, but one every {wanted.name} is required")
    return wanted


def build_grid(times: Times, frequency: Frequency, found: Frequency | None) -> Grid:
    """Return the grid from the first of ascending times to the last. `found` is their own frequency."""
    averaged = found is not None and found.seconds < 0.8 * frequency.seconds
    if frequency.months:
        return _build_monthly_grid(times, frequency, averaged)
    if frequency.unit == "business day":
        dates = times.astype("datetime64[D]")
        clock = np.timedelta64(0, "s") if averaged else (times - dates)[0]
        rolled = np.busday_offset(dates, 0, roll="backward")
        rows = np.busday_count(rolled[0], rolled) // frequency.count
        first = rolled[0].astype("datetime64[s]") + clock
    else:
        step = frequency.seconds
        seconds = times.astype("datetime64[s]").astype(np.int64)
        on_grid = bool(((seconds - seconds[0]) % step == 0).all())
        anchor = _MONDAY if step % 604800 == 0 else 0
        begin = int(seconds[0])
        if averaged or not on_grid:
            begin = anchor + (begin - anchor + (0 if averaged else step // 2)) // step * step
        rows = (seconds - begin + (0 if averaged or on_grid else step // 2)) // step
        first = np.datetime64(begin, "s")
    return _make_grid(times, frequency, first, rows, averaged)


def _build_monthly_grid(times: Times, frequency: Frequency, averaged: bool) -> Grid:
    months = times.astype("datetime64[M]").astype(np.int64)
    step = frequency.months
    rows = (months - months[0]) // step
    day = 1 if averaged else frequency.day or day_of_month(times[0])
    frequency = Frequency(frequency.unit, frequency.count, day)
    start = times[0].astype("datetime64[M]")
    if averaged and step > 1 and 12 % step == 0:  # quarters start in January, April, July and October
        begin = months[0] // step * step
        rows, start = (months - begin) // step, np.int64(begin).astype("datetime64[M]")
    clock = np.timedelta64(0, "s") if averaged else times[0] - times[0].astype("datetime64[D]")
    first = on_day_of_month(np.array([start]), day)[0] + clock
    return _make_grid(times, frequency, first, rows, averaged)


def _make_grid(times: Times, frequency: Frequency, first: np.datetime64, rows: Integers, averaged: bool) -> Grid:
    count = int(rows[-1]) + 1
    if count > 100_000_000:
        raise DataError(
            f"from {times[0]} to {times[-1]} there are {count:,} rows at one every {frequency.name}; check the times"
        )
    return Grid(frequency, first, count, times, rows.astype(np.int64), averaged)


def average_rows(values: Values, row_of: Integers, rows: int) -> Values:
    """Return the mean of the values in each row, NaN if there is none. Shape (rows, columns)."""
    known = ~np.isnan(values)
    if len(row_of) == rows and (row_of == np.arange(rows)).all():
        return values.copy()
    total, count = np.zeros((rows, values.shape[1])), np.zeros((rows, values.shape[1]))
    np.add.at(total, row_of, np.where(known, values, 0.0))
    np.add.at(count, row_of, known)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def interpolate_missing(values: Values, forward_fill: npt.NDArray[np.bool_]) -> Values:
    """Replace NaN by linear interpolation, at the ends by the nearest value, in `forward_fill` rows by the last one.

    A column without any value becomes zeros.
    """
    result = values.copy()
    rows = np.arange(len(values))
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        if known.all():
            continue
        if not known.any():
            result[:, column] = 0.0
            continue
        latest = np.maximum.accumulate(np.where(known, rows, -1))
        filled = forward_fill & ~known & (latest >= 0)
        result[filled, column] = values[latest[filled], column]
        missing = ~known & ~filled
        result[missing, column] = np.interp(rows[missing], rows[known], values[known, column])
    return result


def true_runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first index and the end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
