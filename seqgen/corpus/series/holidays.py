"""Public holidays as features of rows, by the `holidays` package (`pip install 'seqgen-rnn[holidays]'`).

The dates are stored with the model, from the first year of its series to twenty years after the last, so that a
forecast needs no package and is the same with every version of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.frequency import Times
from seqgen.errors import DataError, UserError, did_you_mean

YEARS_AHEAD = 20  # whose holidays a model stores
FEATURES = 2  # of a row
_INSTALL = "pip install 'seqgen-rnn[holidays]'"
_DAY = np.timedelta64(86400, "s")


def holiday_dates(region: str, times: Times) -> tuple[str, ...]:
    """The public holidays of a country or a part of it, in the years of `times` and `YEARS_AHEAD` more.

    Args:
        region: ISO code of the country, with `-` and the code of a subdivision where its holidays are wanted too:
            `DE`, `DE-BY`, `US-CA`.

    Returns:
        ISO dates, ascending.

    Raises:
        UserError: the package is missing, or doesn't know the region.
    """
    try:
        package = importlib.import_module("holidays")
    except ImportError as error:
        raise UserError(f"--holidays needs the holidays package; {_INSTALL}") from error
    country, _, subdivision = region.partition("-")
    _check_region(package, country, subdivision)
    years = range(year_of(times[0]), year_of(times[-1]) + YEARS_AHEAD + 1)
    found = package.country_holidays(country, subdiv=subdivision or None, years=years)
    return tuple(sorted(date.isoformat() for date in found))


def year_of(time: np.datetime64) -> int:
    """The year of a time."""
    return int(time.astype("datetime64[Y]").astype(np.int64)) + 1970


def _check_region(package: Any, country: str, subdivision: str) -> None:
    """Raise `UserError` for a region that the package doesn't know."""
    known = package.list_supported_countries(include_aliases=False)
    if country not in known:
        hint = did_you_mean(country.upper(), known)
        raise UserError(f"--holidays: {country[:24]!r} is no country code such as DE or US{hint}")
    if subdivision and subdivision not in known[country]:
        parts = ", ".join(known[country][:20]) or "no subdivisions"
        raise UserError(f"--holidays: {country} has no {subdivision[:24]!r}; it has {parts}")


def holiday_features(dates: Sequence[str], times: Times, step: int, first_year: int = 0) -> npt.NDArray[np.float64]:
    """What a row has to do with holidays: the fraction of its days that are holidays, and that of the next row or day.

    Args:
        dates: of the holidays, ascending (see `holiday_dates`).
        times: in local time, shape (rows,).
        step: mean seconds from row to row. Rows shorter than a day belong to their day.
        first_year: whose holidays are among the dates.

    Returns:
        shape (rows, FEATURES).

    Raises:
        DataError: a time is in a year whose holidays are not stored.
    """
    days = np.array(dates, dtype="datetime64[D]")
    if len(times) and len(days):
        last = days[-1].astype("datetime64[Y]")
        if times[-1].astype("datetime64[Y]") > last:
            raise DataError(f"the holidays that the model knows end with the year {last}; train it again")
        if year_of(times[0]) < first_year:
            raise DataError(
                f"the holidays that the model knows begin with the year {first_year}; leave out earlier rows, or train "
                "a new model on them"
            )
    length = max(1, round(step / 86400))
    return np.stack([_fraction(days, times, length), _fraction(days, times + length * _DAY, length)], axis=1)


def _fraction(days: npt.NDArray[np.datetime64], times: Times, length: int) -> npt.NDArray[np.float64]:
    """The fraction of the `length` days from each time that are holidays."""
    first = times.astype("datetime64[D]")
    return (np.searchsorted(days, first + length) - np.searchsorted(days, first)) / length
