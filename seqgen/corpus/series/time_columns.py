"""Time columns of a table: which they are, and their times."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from seqgen.corpus.series.dates import (
    MICROS_PER_DAY,
    MICROS_PER_SECOND,
    UNKNOWN,
    Fields,
    Integers,
    ParsedTimes,
    distinct_times,
    epoch_microseconds,
    is_time_of_day,
    looks_like_time,
    parse_times,
    regularity,
    small_number,
    years_of,
)  # fmt: skip
from seqgen.corpus.series.month_names import is_month, months_of
from seqgen.corpus.series.numbers import is_missing, parse_number
from seqgen.corpus.series.tables import ColumnTable, Floats, format_number
from seqgen.corpus.series.time_formats import ISO, ISO_DATE, ISO_MINUTES, TimeFormat
from seqgen.corpus.series.time_names import (
    ends_in_period,
    field_of,
    is_calendar,
    is_day,
    is_likely_time,
    is_read_index_name,
    is_surely_time,
)  # fmt: skip
from seqgen.corpus.series.time_numbers import months_from_fractions, times_from_numbers
from seqgen.corpus.series.time_patterns import FIELD_PATTERNS
from seqgen.corpus.tables.columns import parse_columns
from seqgen.errors import DataError

_SAMPLE_CELLS = 60  # from which a time column is detected
_MIN_TIMES = 0.5  # fraction of its cells that must be times; the others are then errors
_MAX_SUMS = 4  # rows below the times
_MIN_ABOVE_SUMS = 2  # times above them
_MIN_REGULAR = 0.8  # fraction of equal steps by which numbers without a telling name are times
_FIRST_YEAR, _LAST_YEAR = 1700, 2100  # of years without a name
_MAX_YEARS = 150  # that they span; more are numbers of rows
_MIN_TIMES_ACROSS = 4  # columns called by times that make a table one of times across
_EXAMPLE = "write it as 2020-01-31 or 2020-01-31 18:00:00"
_NO_TIMES = "or give --time-column '' if the rows have no times"
_DOTTED_CLOCK = re.compile(r"(?:[01]?\d|2[0-4])\.[0-5]\d")
_FIELD_ORDER = "YqmwjdHMS"
# Fields that a separate column of a field needs beside it, any of them.
_NEEDS = {"Y": "", "q": "Y", "m": "Y", "w": "Y", "j": "Y", "d": "m", "H": "dj", "M": "H", "S": "M"}


# ---- Which columns ----


def find_time_columns(
    table: ColumnTable, wanted: str | None, fits: Callable[[Integers], bool] | None = None
) -> tuple[int, ...]:
    """Return the time columns: one, or a date and a time of day, or year, month, …; () for none.

    Args:
        fits: see `parse_times`.

    Raises:
        DataError: a column of `wanted` (see `SeriesOptions.time_column`) is missing; or a column is called a time, or
            looks like one, but can't be read.
    """
    if wanted == "":
        return ()
    if wanted is not None:
        return tuple(parse_columns(wanted, table.header, table.name))
    indices = range(len(table.header))
    fractions = {index: _fraction(table, index, looks_like_time) for index in indices}
    candidates = [index for index in indices if fractions[index] >= _MIN_TIMES]
    if candidates:
        date = max(candidates, key=lambda index: (_naming(table.header[index]), fractions[index], -index))
        fields = _field_columns(table, indices) if _are_years_in_words(table, date) else {}
        if len(fields) > 1:
            return tuple(fields.values())
        return date, *_clock_columns(table, date)
    fields = _field_columns(table, indices)
    if len(fields) > 1:
        return tuple(fields.values())
    for index in sorted(indices, key=lambda index: (-_naming(table.header[index]), index)):
        if _holds_times(table, index, fits):
            return index, *_clock_columns(table, index)
    _refuse_unread(table)
    return ()


def join_names(names: Sequence[str]) -> str:
    """Return names as `parse_columns` takes them."""
    if len(names) == 1:
        return names[0]
    return ",".join('"' + name.replace('"', '""') + '"' if re.search('[,"]', name) else name for name in names)


def _naming(name: str) -> int:
    return 2 * is_surely_time(name) + is_likely_time(name)


def _fraction(table: ColumnTable, index: int, test: Callable[[str], bool]) -> float:
    sample = table.sample(index, _SAMPLE_CELLS)
    return sum(map(test, sample)) / len(sample) if sample else 0.0


def _sample_numbers(table: ColumnTable, index: int) -> Floats | None:
    """Return the first numbers of a column, None if it holds anything else."""
    sample = table.sample(index, _SAMPLE_CELLS)
    numbers = [parse_number(cell) for cell in sample]
    if None in numbers:
        numbers = [parse_number(cell, ",") for cell in sample]
    known = [number for number in numbers if number is not None]
    return np.array(known, dtype=np.float64) if known and len(known) == len(numbers) else None


def _holds_times(table: ColumnTable, index: int, fits: Callable[[Integers], bool] | None) -> bool:
    """Whether the numbers or digits of a column are times, by its name and their size."""
    name, sample = table.header[index], table.sample(index, _SAMPLE_CELLS)
    if not sample:
        return False
    numbers = _sample_numbers(table, index)
    if numbers is None:
        return is_surely_time(name) and parse_times(sample, digits=True).bad < 0
    if is_surely_time(name) and parse_times(sample, digits=True).bad < 0:
        return True
    parsed = times_from_numbers(numbers, days=is_surely_time(name) or is_day(name))
    if parsed is None:
        of_months = is_surely_time(name) or (is_likely_time(name) and field_of(name) in ("", "Y", "m"))
        return of_months and _in_years(numbers) and months_from_fractions(_present(table, index), fits) is not None
    if is_likely_time(name) or are_years_without_a_name(table, index):
        return True
    ascending = len(numbers) > 2 and bool((np.diff(numbers) > 0).all() or (np.diff(numbers) < 0).all())
    # Eight-digit dates, or regular steps since 1970.
    large = ascending and float(numbers.min()) > 1e7
    return index == 0 and large and (not parsed.style.number or regularity(parsed.times) >= _MIN_REGULAR)


def are_years_without_a_name(table: ColumnTable, index: int) -> bool:
    """Whether a column without a name, where indexes stand, holds years; numbers of rows can look alike."""
    if not table.is_index(index) or is_read_index_name(table.header[index]):
        return False
    sample = _sample_numbers(table, index)
    if sample is None or not _are_years(sample):
        return False
    numbers = [number for cell in _present(table, index) if (number := parse_number(cell)) is not None]
    return _are_years(np.array(numbers, dtype=np.float64))


def _are_years(numbers: Floats) -> bool:
    """Whether numbers are years that rise or fall evenly, possibly from the start again for each series."""
    steps = np.diff(numbers)[numbers[1:] != numbers[0]]
    if len(steps) < 2:
        return False
    first, last = float(numbers.min()), float(numbers.max())
    if not may_be_years(numbers) or last - first > _MAX_YEARS or first > datetime.date.today().year:
        return False
    usual = np.median(steps)
    return usual != 0 and float((steps == usual).mean()) >= _MIN_REGULAR


def may_be_years(numbers: Floats) -> bool:
    """Whether numbers are whole and lie among the years of which there are series, or forecasts of others."""
    return bool(numbers.min() >= _FIRST_YEAR and numbers.max() <= _LAST_YEAR and (numbers == np.floor(numbers)).all())


def _in_years(numbers: Floats) -> bool:
    """Whether numbers lie in years, and some are not whole."""
    return bool(numbers.min() >= 1000 and numbers.max() < 3000 and (numbers != np.floor(numbers)).any())


def _pass_years(numbers: Floats) -> bool:
    """Whether numbers pass years one by one, possibly from the start again for each series; durations are random."""
    steps = np.diff(np.floor(numbers))[numbers[1:] != numbers[0]]
    return _in_years(numbers) and any(np.isin(steps, (0, way)).all() for way in (1, -1))


def _present(table: ColumnTable, index: int) -> list[str]:
    """Return the cells of a column that are not missing."""
    return [cell for cell in table.texts(index) if not is_missing(cell)]


def _refuse_unread(table: ColumnTable) -> None:
    """Raise `DataError` for a column that is called a time and can't be read; counters of rows are none."""
    for index, name in enumerate(table.header):
        numbers = _sample_numbers(table, index)
        sample = table.sample(index, _SAMPLE_CELLS)
        if not sample or not is_likely_time(name):
            continue
        if numbers is not None:
            if counts_rows(numbers) if is_surely_time(name) else not (ends_in_period(name) and _pass_years(numbers)):
                continue
        elif not is_surely_time(name) and 2 * sum(any(map(str.isdigit, cell)) for cell in sample) < len(sample):
            continue
        try:
            read_times(table, (index,), None)
        except DataError as error:
            raise DataError(f"{error}; {_NO_TIMES}") from error
    _refuse_times_across(table)
    fields = {field_of(name): name for name in table.header if field_of(name) in ("m", "d", "H")}
    numeric = [name for name in fields.values() if _is_field(table, table.header.index(name), field_of(name))]
    if len(numeric) > 1 and not any(field_of(name) == "Y" for name in table.header):
        raise DataError(
            f"{table.name}: the columns {', '.join(map(repr, numeric))} are parts of a time that has no year; add a "
            f"column year, {_NO_TIMES}"
        )


def counts_rows(numbers: Floats) -> bool:
    """Whether numbers rise evenly, as those of rows do, possibly from the start again for each series."""
    if not np.isfinite(numbers).all():
        return False
    steps = np.diff(numbers)
    onward = steps[numbers[1:] != numbers[0]]
    return len(onward) > 0 and float(onward[0]) > 0 and bool(np.allclose(onward, onward[0]))


def _refuse_times_across(table: ColumnTable) -> None:
    """Raise `DataError` for a table that has a column a year, or a month: its rows are series, not times."""
    numeric = [name for index, name in enumerate(table.header) if _sample_numbers(table, index) is not None]
    names = [name for name in numeric if looks_like_time(name) or re.fullmatch(r"1[5-9]\d\d|2[01]\d\d", name)]
    if len(names) < _MIN_TIMES_ACROSS or 2 * len(names) < len(numeric):
        return
    parsed = parse_times(names, digits=True)
    if parsed.bad < 0 and regularity(parsed.times) >= _MIN_REGULAR:
        raise DataError(
            f"{table.name} has times in its header ({names[0]} to {names[-1]}); put them into rows: transpose the table"
        )


def _clock_columns(table: ColumnTable, date: int) -> list[int]:
    """Return the columns that tell the time of day of dates: one of times, or hour, minute and second."""
    dates = table.sample(date, _SAMPLE_CELLS)
    if any(":" in cell for cell in dates[:4]):
        return []
    others = [index for index in range(len(table.header)) if index != date]
    clocks = [index for index in others if _fraction(table, index, is_time_of_day) == 1.0]
    if clocks:
        return [max(clocks, key=lambda index: (is_likely_time(table.header[index]), -index))]
    if len(set(dates)) == len(dates):
        return []
    dotted = [index for index in others if field_of(table.header[index]) == "H" and _are_dotted(table.head(index))]
    if dotted:
        return dotted[:1]
    hours = [index for index in others if field_of(table.header[index]) == "H" and _hour_unit(table, index)]
    if not hours:
        return []
    found = [min(hours, key=lambda index: is_surely_time(table.header[index]))]
    for letter in "MS":
        more = [
            index for index in others if field_of(table.header[index]) == letter and _is_field(table, index, letter)
        ]
        if not more:
            break
        found.append(more[0])
    return found


def _are_dotted(cells: Sequence[str]) -> bool:
    """Whether cells are times of day such as 18.30, which are decimal numbers elsewhere."""
    return bool(cells) and all(_DOTTED_CLOCK.fullmatch(cell) for cell in cells) and len(set(cells)) > 1


def _is_field(table: ColumnTable, index: int, letter: str) -> bool:
    """Whether the cells of a column can be such a field of a time."""
    sample = table.sample(index, _SAMPLE_CELLS)
    if sample and letter == "m" and all(map(is_month, sample)):
        return True
    numbers = _sample_numbers(table, index)
    if numbers is None:
        found = [number for cell in sample if (number := _field_number(letter, cell)) is not None]
        numbers = np.array(found, dtype=np.float64) if found and len(found) == len(sample) else None
    if numbers is None or (numbers != np.floor(numbers)).any():
        return False
    low, high = {"Y": (1000, 2999), "m": (1, 12), "q": (1, 4), "w": (1, 53), "d": (1, 31), "j": (1, 366), "H": (0, 24),
                 "M": (0, 59), "S": (0, 59)}[letter]  # fmt: skip
    return bool(numbers.min() >= low and numbers.max() <= high)


def _field_number(letter: str, cell: str) -> float | None:
    """Return the number of a field of a time: 2014 of 2014年, 1 of Quarter 1 and 第一季度; None for none."""
    number = parse_number(cell)
    if number is None and letter in FIELD_PATTERNS and (found := FIELD_PATTERNS[letter].fullmatch(cell)):
        return float(small_number(found[found.lastgroup or 0]))
    return number


def _are_years_in_words(table: ColumnTable, index: int) -> bool:
    """Whether cells are years that are no mere numbers, such as 2014年 and FY2014."""
    sample = table.sample(index, _SAMPLE_CELLS)
    return bool(sample) and all(FIELD_PATTERNS["Y"].fullmatch(cell) and not cell.isdigit() for cell in sample)


def _field_columns(table: ColumnTable, indices: Sequence[int]) -> dict[str, int]:
    """Return field → column if year, month and so on are separate columns, each with what it needs beside it."""
    found: dict[str, int] = {}
    for letter in _FIELD_ORDER:
        needed = _NEEDS[letter]
        if (needed and not set(needed) & set(found)) or (letter in "mwj" and set("qmw") & set(found)):
            continue
        index = next((index for index in indices if field_of(table.header[index]) == letter), None)
        if index is None and letter == "Y":
            index = next((index for index in indices if _are_years_in_words(table, index)), None)
        if index is not None and _is_field(table, index, letter):
            found[letter] = index
    return found


# ---- Their times ----


def read_times(
    table: ColumnTable, indices: Sequence[int], fits: Callable[[Integers], bool] | None
) -> tuple[ParsedTimes, Integers]:
    """Read the times.

    Args:
        fits: see `parse_times`.

    Returns:
        The times, and the rows that have one.

    Raises:
        DataError: a cell is not a time.
    """
    if len(indices) > 1:
        fields = _field_columns(table, indices)
        if len(fields) == len(indices):
            return _assemble_fields(table, fields)
        date = max(indices, key=lambda index: _fraction(table, index, looks_like_time))
        rest = [index for index in indices if index != date]
        if all(_fraction(table, index, is_time_of_day) < 1.0 for index in rest) and _hour_unit(table, rest[0]):
            return _add_hours(table, date, rest)
        indices = [date, *rest]
    return _read_cells(table, indices, fits)


def _read_cells(
    table: ColumnTable, indices: Sequence[int], fits: Callable[[Integers], bool] | None
) -> tuple[ParsedTimes, Integers]:
    cells = table.texts(indices[0])
    for index in indices[1:]:
        cells = [f"{date} {clock}".strip() for date, clock in zip(cells, table.texts(index), strict=True)]
    rows = np.array([row for row, cell in enumerate(cells) if not is_missing(cell)], dtype=np.int64)
    present = cells if len(rows) == len(cells) else [cells[row] for row in rows]
    name = ", ".join(map(table.header.__getitem__, indices))
    if not present:
        raise DataError(f"{table.name}: the column {name!r} has no times")
    parsed = parse_times(present, fits=fits)
    end = _sums_from(present) if parsed.bad >= _MIN_ABOVE_SUMS else len(present)
    if end < len(present):
        location = table.location(int(rows[end])).removeprefix(f"{table.name}, ")
        example = present[end].strip()[:40]
        note = f"rows of sums at the end are no times and are left out (first in {location}: {example!r})"
        rows, present = rows[:end], present[:end]
        parsed = parse_times(present, fits=fits)
        parsed = replace(parsed, notes=(*parsed.notes, note))
    if parsed.bad >= 0:
        digits = parse_times(present, digits=True, fits=fits)
        numbers = [parse_number(cell) for cell in present] if digits.bad >= 0 else []
        numeric = months_from_fractions(present, fits) if numbers else None
        if numeric is None and numbers and None not in numbers:
            numeric = times_from_numbers(np.array(numbers, dtype=np.float64))
        if numeric is not None:
            return numeric, rows
        parsed = digits if digits.bad < 0 or digits.bad >= parsed.bad else parsed
    if parsed.bad >= 0:
        cell = present[parsed.bad]
        reason = parsed.reason or f"is not a time{_hint(cell)}; {_EXAMPLE}"
        where = table.location(int(rows[parsed.bad]))
        raise DataError(f"{where}, column {name!r}: {cell[:40]!r} {reason}")
    if parsed.unsure:
        example = next(cell for cell in present if len(set(re.split(r"[-/]", cell)[:2])) == 2)
        raise DataError(
            f"{table.location(int(rows[present.index(example)]))}, column {name!r}: {example!r} could be day/month or "
            "month/day, and no row decides it; write dates as 2020-01-31"
        )
    return parsed, rows


def _sums_from(cells: Sequence[str]) -> int:
    """Return the first of the few last cells that are words without a digit, as `Total`; their number for none."""
    first = len(cells)
    while first and len(cells) - first <= _MAX_SUMS and not any(map(str.isdigit, cells[first - 1])):
        first -= 1
    return first if len(cells) - first <= _MAX_SUMS else len(cells)


def _hint(cell: str) -> str:
    """Return why a cell is none, if it looks like one."""
    return " but a time of day without a date" if is_time_of_day(cell) else ""


def _hour_unit(table: ColumnTable, index: int) -> int:
    """Return how numbers tell the time of day: 1 for hours, 100 for 1830, −1 for fractions of a day; 0 for not at all.

    Hours may go to 24 or, where clocks are set back, to 25.
    """
    numbers = _sample_numbers(table, index)
    if numbers is None or numbers.min() < 0 or len(np.unique(numbers)) < 2:
        return 0
    high = float(numbers.max())
    if (numbers == np.floor(numbers)).all():
        if high <= 25:
            return 1
        return 100 if high <= 2400 and (numbers % 100 < 60).all() else 0
    return -1 if high < 1 else 0


def _are_days(times: Integers) -> bool:
    """Whether dates follow each other day by day."""
    steps = np.diff(distinct_times(times))
    return len(steps) == 0 or float(np.median(steps)) == MICROS_PER_DAY


def _add_hours(table: ColumnTable, date: int, rest: Sequence[int]) -> tuple[ParsedTimes, Integers]:
    """Read dates and, from columns of numbers, the times of day."""
    parsed, rows = _read_cells(table, [date], _are_days)
    unit = _hour_unit(table, rest[0])
    times, notes = parsed.times.copy(), list(parsed.notes)
    for index, seconds in zip(rest, (3600, 60, 1), strict=False):
        numbers, cells = [], table.texts(index)
        for row in rows.tolist():
            number = parse_number(cells[row])
            most = {1: 25, 100: 2400, -1: 1}[unit] if seconds == 3600 else 59
            if number is None or not 0 <= number <= most or (unit > 0 and number != int(number)):
                what = {3600: "an hour", 60: "a minute", 1: "a second"}[seconds]
                raise DataError(
                    f"{table.location(row)}, column {table.header[index]!r}: {cells[row][:40]!r} is not {what}"
                )
            numbers.append(number)
        values = np.array(numbers, dtype=np.float64)
        if seconds == 3600 and unit == 1 and values.max() >= 24:
            notes.append(
                f"{table.header[index]!r} counts hours to {values.max():.0f}: 24 is midnight at the end of a day"
            )
        if seconds == 3600 and unit == 100:
            values = values // 100 + values % 100 / 60
        if unit == -1:
            values = values * 24
        times += np.round(values * seconds).astype(np.int64) * MICROS_PER_SECOND
    clock = (" ", ("H", "00"), ":", ("M", "00")) + ((":", ("S", "00")) if len(rest) > 2 else ())
    style = ISO_MINUTES if parsed.style.number or not parsed.style.parts else replace(
        parsed.style, parts=(*parsed.style.parts, *clock), end=None
    )  # fmt: skip
    return replace(parsed, times=times, style=style, notes=tuple(notes)), rows


def _assemble_fields(table: ColumnTable, field_columns: Mapping[str, int]) -> tuple[ParsedTimes, Integers]:
    """Read times from columns of years, months and so on."""
    fields: Fields = {}
    months: dict[str, int] = {}
    for letter, index in field_columns.items():
        cells = table.texts(index)
        if letter == "m" and any(map(is_month, cells[:_SAMPLE_CELLS])):
            found = months_of(dict.fromkeys(cells))
            if found is None:
                row = next(row for row, cell in enumerate(cells) if not is_month(cell))
                raise DataError(
                    f"{table.location(row)}, column {table.header[index]!r}: {cells[row][:40]!r} is no month"
                )
            months, letter = found[1], "b"
            fields[letter] = tuple(cells)
            continue
        values = []
        for row, cell in enumerate(cells):
            number = _field_number(letter, cell)
            if number is None or number != number or number != int(number):
                what = "no quarter" if letter == "q" else "not an integer"
                raise DataError(f"{table.location(row)}, column {table.header[index]!r}: {cell[:40]!r} is {what}")
            values.append(format_number(number))
        fields[letter] = tuple(values)
    valid = {letter: {"q": range(1, 5), "w": range(1, 54)}.get(letter) for letter in fields}
    bad = [
        row
        for letter, allowed in valid.items()
        if allowed is not None
        for row, value in enumerate(fields[letter])
        if int(value or 0) not in allowed
    ]
    years = years_of([fields])
    times = np.full(len(table), UNKNOWN) if bad else epoch_microseconds(fields, len(table), months, years)
    unknown = np.flatnonzero(times == UNKNOWN)
    if len(unknown):
        row = bad[0] if bad else int(unknown[0])
        raise DataError(f"{table.location(row)}: invalid time {' '.join(str(cells[row]) for cells in fields.values())}")
    dates = not (times % MICROS_PER_DAY).any()
    style: TimeFormat = ISO_DATE if dates else ISO
    if years.era:  # written in the era in which they are read
        style = replace(style, parts=(("T", "2543"), *style.parts[1:]))
    return ParsedTimes(times, style, notes=tuple(years.notes())), np.arange(len(table), dtype=np.int64)


# ---- Columns that repeat the time ----


def repeats_time(values: Floats, name: str, times: Integers) -> bool:
    """Whether a column tells nothing but the time: its year, month, weekday, …, or the same moment as a number.

    Args:
        values: shape (rows,).
        times: microseconds since 1970, of the same rows.
    """
    known = np.isfinite(values)
    values, times = values[known], times[known]
    if len(values) < 3:
        return False
    seconds = times / MICROS_PER_SECOND
    for unit in (1.0, 1e3, 1e6, 1e9):
        if 1e8 * unit <= values.min() and values.max() <= 5e9 * unit:
            return bool(np.ptp(np.round(values / unit) - np.floor(seconds)) <= 1)
    if not is_calendar(name):
        return False
    moments = times.astype("datetime64[us]")
    dates, months, years = (moments.astype(f"datetime64[{unit}]") for unit in "DMY")
    weekday = (dates.astype(np.int64) + 3) % 7  # 0 for Monday
    month = months.astype(np.int64) % 12 + 1
    minutes = times // (60 * MICROS_PER_SECOND)
    year = years.astype(np.int64) + 1970
    thursday = dates.astype(np.int64) - weekday + 3
    week = (
        thursday - thursday.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(int)
    ) // 7 + 1
    of_year = (dates - years.astype("datetime64[D]")).astype(np.int64) + 1
    readings = (
        year, year - year.min(), month, (dates - months.astype("datetime64[D]")).astype(np.int64) + 1,
        minutes // 60 % 24, minutes // 60 % 24 + 1, minutes % 60, weekday, weekday + 1, (weekday + 1) % 7,
        (weekday + 1) % 7 + 1, (month + 2) // 3, week, of_year,
    )  # fmt: skip
    return any((values == reading).all() for reading in readings)
