"""Times that are written as numbers: years, digits, decimal years, months behind a point, epoch times, days."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.dates import MICROS_PER_DAY, MICROS_PER_SECOND, Integers, ParsedTimes, parse_times
from seqgen.corpus.series.time_formats import TimeFormat

# Letter of the notation, where in a month decimal years lie, how far from there, and their least decimals: 1949.08 is
# February, and by days the middle of March is 1949.200; two decimals are more often a month, see below.
_DECIMAL_MONTHS = (("D", 0.0, 0.07, 0), ("C", 0.5, 0.12, 3))
_MONTH_FRACTION = re.compile(r"(?P<year>[12]\d{3})(?P<mark>[.,])(?P<month>0?[1-9]|1[0-2])")
_EXAMPLES = 200  # values from which the number of decimals is inferred
_SPREADSHEET_EPOCH = -25569 * 86400  # 30 December 1899, seconds from 1970
_MACINTOSH_DAYS = 1462  # days from there to the epoch of 1904
_SPREADSHEET_DAYS = (21916, 73051)  # from 1960 to 2100
_FIRST_DAY = 3652  # since 1970: 1980; smaller numbers count something else
_EPOCHS = ((1.0, "seconds"), (1e-3, "milliseconds"), (1e-6, "microseconds"), (1e-9, "nanoseconds"))


def times_from_numbers(values: npt.NDArray[np.float64], days: bool = True) -> ParsedTimes | None:
    """Parse times from numbers: 1981, 198101, 20200101, 1949.083, 44200 or an epoch time. None if they are not times.

    How numbers since an epoch were read is in the notes.

    Args:
        days: whether numbers may be days since 1970 or those of a spreadsheet.
    """
    if not len(values) or not np.isfinite(values).all():
        return None
    low, high = float(values.min()), float(values.max())
    if (values == np.floor(values)).all() and low >= 1000 and high < 1e15:
        parsed = parse_times([str(int(value)) for value in values.tolist()], digits=True)
        if parsed.bad < 0:
            return parsed
    found = _decimal_years(values, low, high)
    if found is None and days:
        found = _spreadsheet_days(values, low, high) or _days(values, low, high)
    return found or _epoch(values, low, high)


def _decimals(values: npt.NDArray[np.float64]) -> int:
    fractions = [value for value in values[:_EXAMPLES].tolist() if value % 1]
    return max((len(repr(value).partition(".")[2]) for value in fractions), default=0)


def _decimal_years(values: npt.NDArray[np.float64], low: float, high: float) -> ParsedTimes | None:
    """1949.083 is February 1949, as R writes monthly and quarterly series; so is its middle, 1949.125."""
    if not (low >= 1000 and high < 3000):
        return None
    decimals = max(len(repr(float(value)).partition(".")[2]) for value in values[:_EXAMPLES])
    for letter, place, tolerance, least in _DECIMAL_MONTHS:
        months = (values - 1970) * 12 - place
        nearest = np.round(months).astype(np.int64)
        if decimals >= least and (np.abs(months - nearest) < tolerance).all():
            return ParsedTimes(_start_of(nearest), TimeFormat(((letter, "0" * decimals),)))
    return None


def months_from_fractions(cells: Sequence[str], fits: Callable[[Integers], bool] | None = None) -> ParsedTimes | None:
    """Parse months behind a point or comma: 2019.01 to 2019.12, or 2019.1 to 2019.12. None if they are none.

    Beside 2019.01, 2019.1 is October that has lost its zero, as in a number; beside 2019.10 it is January.

    Args:
        fits: see `parse_times`. It decides of 2019.1 to 2019.9, which can be tenths of a year; None: they are none.
    """
    found = [match for cell in cells if (match := _MONTH_FRACTION.fullmatch(cell))]
    written = {match["month"] for match in found}
    if not found or len(found) < len(cells) or len({match["mark"] for match in found}) > 1:
        return None
    is_padded = any(month[0] == "0" for month in written)
    if is_padded and (written & set("23456789") or {"1", "10"} <= written):
        return None
    numbers = {month: 10 if is_padded and month == "1" else int(month) for month in written}
    months = np.array([(int(match["year"]) - 1970) * 12 + numbers[match["month"]] - 1 for match in found])
    if not is_padded and "1" in written and "10" not in written and len(np.unique(np.diff(months))) != 1:
        return None  # it may be October here, too
    times = _start_of(months)
    may_be_tenths = max(numbers.values()) < 10 and not is_padded  # or quarters; and 2019.5 alone is a decimal year
    if may_be_tenths and (len(written) == 1 or fits is None or not fits(times)):
        return None
    first = found[0]
    narrow = frozenset("m") if not is_padded and any(len(month) == 1 for month in written) else frozenset[str]()
    style = TimeFormat((("Y", "2000"), first["mark"], ("m", "01")), narrow=narrow)
    note = f"numbers such as {first[0]} are read as months ({first['year']}-{numbers[first['month']]:02})"
    return ParsedTimes(times, style, notes=(note,))


def _start_of(months: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return when months begin, in microseconds, from months since 1970."""
    return months.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)


def _spreadsheet_days(values: npt.NDArray[np.float64], low: float, high: float) -> ParsedTimes | None:
    """44200.5 is noon of 4 January 2021, or in the system of 1904 four years later, if only that has no weekends."""
    if not (_SPREADSHEET_DAYS[0] <= low and high <= _SPREADSHEET_DAYS[1]):
        return None
    origin, other = _SPREADSHEET_EPOCH, _SPREADSHEET_EPOCH + _MACINTOSH_DAYS * 86400
    if _has_weekends(values, origin) and not _has_weekends(values, other) and len(values) > 5:
        origin, other = other, origin
    seconds = np.round(values * 86400).astype(np.int64)
    first = int(np.argmin(values))
    dates = [np.datetime64(int(seconds[first]) + epoch, "s").astype("datetime64[D]") for epoch in (origin, other)]
    systems = ("1900", "1904") if origin == _SPREADSHEET_EPOCH else ("1904", "1900")
    note = (
        f"numbers such as {values[first]:.15g} are read as the days of a spreadsheet ({dates[0]}; in the system of "
        f"{systems[1]} it would be {dates[1]})"
    )
    style = TimeFormat(number=86400.0, origin=origin, decimals=_decimals(values))
    return ParsedTimes((seconds + origin) * MICROS_PER_SECOND, style, notes=(note,))


def _days(values: npt.NDArray[np.float64], low: float, high: float) -> ParsedTimes | None:
    """18631 is 4 January 2021, as R writes dates without their class."""
    if not (low >= _FIRST_DAY and high < _SPREADSHEET_DAYS[0] and (values == np.floor(values)).all()):
        return None
    dates = [np.datetime64(int(low), "D") + shift for shift in (0, _SPREADSHEET_EPOCH // 86400)]
    note = (
        f"numbers such as {low:.0f} are read as days since 1970 ({dates[0]}; as a day of a spreadsheet it would be "
        f"{dates[1]})"
    )
    return ParsedTimes(values.astype(np.int64) * MICROS_PER_DAY, TimeFormat(number=86400.0), notes=(note,))


def _has_weekends(values: npt.NDArray[np.float64], origin: int) -> bool:
    days = np.floor(values).astype(np.int64) + origin // 86400
    return bool(((days + 3) % 7 >= 5).any())


def _epoch(values: npt.NDArray[np.float64], low: float, high: float) -> ParsedTimes | None:
    for unit, name in _EPOCHS:
        if low * unit >= 1e8 and high * unit <= 5e9:  # from 1973 to 2128
            times = np.round(values * unit * MICROS_PER_SECOND).astype(np.int64)
            first = np.datetime64(int(times.min()) // MICROS_PER_SECOND, "s")
            note = f"numbers such as {low:.15g} are read as {name} since 1970 ({str(first).replace('T', ' ')} UTC)"
            return ParsedTimes(times, TimeFormat(number=unit, decimals=_decimals(values)), notes=(note,))
    return None
