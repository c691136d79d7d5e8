"""Parser of a column of times, in one notation, and its ambiguities."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.month_names import month_names, months_of, other_reading, weekday_names, weekday_numbers
from seqgen.corpus.series.time_formats import HAN_DIGITS, ISO, ROMAN_DIGITS, TimeFormat
from seqgen.corpus.series.time_patterns import (
    CLOCK,
    FISCAL,
    FIXED_PATTERNS,
    MONTHLY,
    PATTERNS,
    TIME_OF_DAY,
    ZONES,
    digit_patterns,
    match_pattern,
    match_time,
)
from seqgen.corpus.series.time_years import AS_WRITTEN, Years

Integers = npt.NDArray[np.int64]
Fields = dict[str, tuple[str | None, ...] | Integers]
MICROS_PER_SECOND = 1_000_000
MICROS_PER_DAY = 86400 * MICROS_PER_SECOND
UNKNOWN = np.iinfo(np.int64).min  # as numpy's NaT

_EXAMPLES = 200  # cells from which the notation is inferred
_MAX_LENGTH = 250  # characters of an interval; the patterns take quadratic time on thousands of spaces
_ORDERS = {
    "day/month/year": {"A": "d", "B": "m"},
    "month/day/year": {"A": "m", "B": "d"},
    "year/month/day": {"A": "y", "B": "m", "y": "d"},
}
_GERMAN, _ENGLISH, _SHORT_ISO = _ORDERS
# Sorts of times that are not mixed in a column, by their finest field.
_SORTS = (("day", "dAju"), ("week", "w"), ("month", "mb"), ("quarter", "q"), ("half-year", "h"), ("year", "Yye"))
_INTERVAL_MARKS = (
    re.compile(r"\s+(?:-|–|—|−|~|to|bis|until|au|à|al|do|до)\s+|\s?(?:～|至|から|→|…|--)\s?"),
    re.compile(r"\s?[/~–—]\s?"),
)
_SECOND_PLACES = {"a2": "a", "q2": "q"}
_PLAIN_FIELDS = frozenset(("Y", "y", "A", "B", "m", "d", "H", "M", "S", "sep", "z"))
# 09:00-10:00; but behind seconds, or a T, there is a zone: 09:00:00-05:00.
_CLOCK_RANGE = re.compile(r"(?!.*(?:\d:\d{2}:|\dT)\d{2})(.*\d{1,2}[:.]\d{2})(\s?[-–]\s?)(\d{1,2}[:.]\d{2})")
_OF_OTHER_YEARS = frozenset("we")  # fields of years that don't begin in January
_MAX_ZONES = 2  # of a column: summer and winter


@dataclass(frozen=True)
class ParsedTimes:
    """A column of times.

    Attributes:
        times: microseconds since 1970.
        style: their notation.
        bad: first row that is not a time, −1 for none.
        reason: why, '' if it is no time of any kind.
        order: `day/month/year`, `month/day/year` or `year/month/day` if that was ambiguous, otherwise ''.
        unsure: whether another order is equally plausible.
        notes: sentences on how times that could be understood otherwise were read.
    """

    times: Integers
    style: TimeFormat
    bad: int = -1
    reason: str = ""
    order: str = ""
    unsure: bool = False
    notes: tuple[str, ...] = ()


def _unreadable(row: int, reason: str = "") -> ParsedTimes:
    return ParsedTimes(np.zeros(0, dtype=np.int64), ISO, row, reason)


def looks_like_time(cell: str) -> bool:
    """Whether a cell is certainly a time, or an interval between two."""
    text = cell.strip()
    if len(text) > _MAX_LENGTH or not any(map(str.isdigit, text)):
        return False
    return match_time(text) is not None or _split_interval(text) is not None


def is_time_of_day(cell: str) -> bool:
    """Whether a cell is a time of day: 17:24, 18.00.00, 14h30, or an interval between two."""
    text = cell.strip()
    return TIME_OF_DAY.fullmatch(text) is not None or (
        (parts := _CLOCK_RANGE.fullmatch(text)) is not None and TIME_OF_DAY.fullmatch(parts[1]) is not None
    )


def parse_times(
    cells: Sequence[str], digits: bool = False, fits: Callable[[Integers], bool] | None = None
) -> ParsedTimes:
    """Parse times. An interval is read as its start.

    Args:
        digits: whether digits such as 20200101 and 1981 are times.
        fits: whether times are plausible; called if the order of day and month is ambiguous.
    """
    if max(map(len, cells), default=0) > _MAX_LENGTH:
        return _unreadable(next(row for row, cell in enumerate(cells) if len(cell) > _MAX_LENGTH))
    mark = _interval_mark(cells)
    if mark is None:
        return _parse(cells, digits, fits)
    pairs = [_split_at(cell, mark) for cell in cells]
    broken = next((row for row, (_, end) in enumerate(pairs) if not end), -1)
    if broken >= 0:
        return _unreadable(broken, "is not an interval like the others")
    starts = _parse([start for start, _ in pairs], digits, fits)
    if starts.bad >= 0:
        return starts
    text = cells[0]
    between = text[len(pairs[0][0]) : len(text) - len(pairs[0][1])]
    style = replace(starts.style, end=_interval_end(starts, [end for _, end in pairs], between, digits))
    return replace(starts, style=style, notes=(*starts.notes, "intervals are read as the time at which they start"))


# ---- Intervals ----


def _split_interval(text: str) -> tuple[str, str, str] | None:
    """Return the start, the mark and the end of an interval between two times."""
    for pattern in _INTERVAL_MARKS:
        for found in pattern.finditer(text):
            start, end = text[: found.start()], text[found.end() :]
            if end and match_time(start) and (match_time(end) or TIME_OF_DAY.fullmatch(end)):
                return start, found[0], end
    return None


def _interval_mark(cells: Sequence[str]) -> str | None:
    """Return what separates the two times of each cell, None if the column does not hold intervals."""
    if not cells:
        return None
    sample = cells[:_EXAMPLES]
    ranges = [_CLOCK_RANGE.fullmatch(cell) for cell in sample]
    if all(ranges) and len({found[3] for found in ranges if found}) > _MAX_ZONES:  # 09:00-10:00 has no zone
        return ranges[0][2] if ranges[0] else None
    found = None if match_time(cells[0]) else _split_interval(cells[0])
    return None if found is None else found[1]


def _split_at(cell: str, mark: str) -> tuple[str, str]:
    if mark.strip() == "-" and mark.strip() == mark:  # 2020-01-31 09:00-10:00
        start, _, end = cell.rpartition(mark)
    else:
        start, _, end = cell.partition(mark)
    return start, end


def _interval_end(
    starts: ParsedTimes, ends: Sequence[str], between: str, digits: bool
) -> tuple[str, TimeFormat, int] | None:
    """Return how ends are written; None if they are no times, or not all equally far from their starts."""
    clocks = [CLOCK.fullmatch(end) for end in ends]
    matches = [clock for clock in clocks if clock]
    if len(matches) == len(ends):
        fields = _fields(matches)
        day = starts.times // MICROS_PER_DAY * MICROS_PER_DAY
        times = epoch_microseconds({**fields, "Y": ("1970",) * len(ends)}, len(ends), {}) + day
        offset = (starts.style.offset or 0) * MICROS_PER_SECOND
        times = np.where(times - offset <= starts.times, times + MICROS_PER_DAY, times) - offset
        style = replace(_infer_format(matches, {}, None, {}), offset=starts.style.offset)
    else:
        parsed = _parse(ends, digits, None)
        if parsed.bad >= 0:
            return None
        times, style = parsed.times, parsed.style
    length = np.unique(times - starts.times)
    return (between, style, int(length[0]) // MICROS_PER_SECOND) if len(length) == 1 else None


# ---- Columns ----


def _parse(cells: Sequence[str], digits: bool, fits: Callable[[Integers], bool] | None) -> ParsedTimes:
    if not cells:
        return ParsedTimes(np.zeros(0, dtype=np.int64), ISO)
    fixed = _FixedWidth.of(cells)
    if fixed is not None:
        return _interpret(fixed, {}, {}, "", [], fits)
    patterns = (*PATTERNS, *digit_patterns(list(cells))) if digits else PATTERNS
    matches: list[re.Match[str]] = []
    last = patterns[0]
    for row, cell in enumerate(cells):
        match = match_pattern(last, cell)
        if match is None:
            match = match_time(cell, patterns)
            if match is None:
                return _unreadable(row)
            last = match.re
        matches.append(match)
    matches, notes = _as_fiscal_years(matches)
    several = next((match for match in matches if "k" in match.re.groupindex and match["k"]), None)
    if several:
        quarter = several.string.replace(several["k"], "")
        notes.append(
            f"cells that span several quarters are read as the last of them ({several.string} as {quarter}); their "
            "numbers may be sums since the year began"
        )
    names = {
        **_SECOND_PLACES,
        "s": "w" if any(int(match["s"]) > 2 for match in matches if "s" in match.re.groupindex) else "h",
    }
    odd = _odd_sort(matches, names)
    if odd is not None:
        return odd
    months = _month_numbers(matches)
    if isinstance(months, int):
        return _unreadable(months, "names a month of another language than the rows above")
    language, numbers = months
    other = other_reading(numbers, numbers) if language not in ("", "en") else ""
    if other:
        notes.append(f"months are read as those of the language {language!r}; in {other!r} they are others")
    return _interpret(_Matches(matches, numbers), names, numbers, language, notes, fits)


def _interpret(
    cells: _FixedWidth | _Matches,
    names: dict[str, str],
    months: dict[str, int],
    language: str,
    notes: list[str],
    fits: Callable[[Integers], bool] | None,
) -> ParsedTimes:
    """Decide the order of day and month, and the zone."""
    order, unsure, result = _choose_order(cells, names, fits)
    if isinstance(result, int):
        return _unreadable(result)
    times, offsets, years = result
    bad = np.flatnonzero(times == UNKNOWN)
    if len(bad):
        return _unreadable(int(bad[0]))
    offset = None if offsets is None else int(offsets[-1])
    if offsets is not None and (times % MICROS_PER_DAY).any():  # dates stay dates in any zone
        times = times - offsets * MICROS_PER_SECOND
        notes = notes + _zone_notes(cells.matches)
    elif offsets is not None:
        offset = 0
    notes = notes + years.notes(_year(times.min()), _year(times.max()))
    names = {**names, **_ORDERS.get(order, {}), "Y": "T" if years.era else "Y"}
    style = _infer_format(cells.matches, names, offset, months, language)
    usual = order == _GERMAN and all(match["sep"][:1] == "." for match in cells.ambiguous)
    return ParsedTimes(times, style, -1, "", "" if usual else order, unsure, tuple(notes))


class _DateReading(NamedTuple):
    """Cells in one order of day and month.

    Attributes:
        times: local microseconds since 1970, the minimal integer for invalid times.
        offsets: seconds east of UTC, None without zones.
        years: how they are read.
    """

    times: Integers
    offsets: Integers | None
    years: Years


@dataclass(frozen=True)
class _Matches:
    """Cells matched one by one."""

    matches: Sequence[re.Match[str]]
    months: dict[str, int]

    @property
    def ambiguous(self) -> list[re.Match[str]]:
        """Those that have day and month in either order."""
        return [match for match in self.matches if "A" in match.re.groupindex]

    def read(self, names: dict[str, str]) -> _DateReading:
        """Read all. `names`: the meaning of fields that have several."""
        return _parse_matches(self.matches, names, self.months)


@dataclass(frozen=True)
class _FixedWidth:
    """Cells of one length that differ in their digits only, read all at once."""

    fields: dict[str, Integers]
    matches: Sequence[re.Match[str]]  # of the first and last cells
    zoned: bool

    @classmethod
    def of(cls, cells: Sequence[str]) -> _FixedWidth | None:
        """Return the fields of the cells, None if they have to be matched one by one."""
        first = cells[0]
        match = next((found for pattern in FIXED_PATTERNS if (found := pattern.fullmatch(first))), None)
        if match is None or len(cells) <= _EXAMPLES or not _PLAIN_FIELDS.issuperset(_written(match)):
            return None
        zone = match["z"]
        if zone not in (None, "Z", "UTC", "GMT"):
            return None
        try:
            letters = np.array(cells, dtype=f"S{len(first) + 1}")
        except UnicodeEncodeError:
            return None
        codes = letters.view(np.uint8).reshape(len(cells), -1)
        is_digit = np.array([*map(str.isdigit, first), False])
        literals = codes[:, ~is_digit]
        digits = codes[:, is_digit] - np.uint8(48)  # wraps around below 0
        if (literals != literals[0]).any() or (digits > 9).any():
            return None
        fields = {}
        for letter in _written(match) - {"sep", "z"}:
            value = np.zeros(len(cells), dtype=np.int64)
            for position in range(*match.span(letter)):
                value = value * 10 + (codes[:, position] - 48)
            fields[letter] = value
        examples = [found for cell in cells[-_EXAMPLES:] if (found := match.re.fullmatch(cell))]
        return cls(fields, [match, *examples], zone is not None)

    @property
    def ambiguous(self) -> list[re.Match[str]]:
        """As for `_Matches`."""
        return [match for match in self.matches if "A" in match.re.groupindex]

    def read(self, names: dict[str, str]) -> _DateReading:
        """As for `_Matches`."""
        count = len(next(iter(self.fields.values())))
        fields: Fields = {names.get(letter, letter): values for letter, values in self.fields.items()}
        years = years_of([fields])
        times = epoch_microseconds(fields, count, {}, years)
        return _DateReading(times, np.zeros(count, dtype=np.int64) if self.zoned else None, years)


def _written(match: re.Match[str]) -> set[str]:
    """Return the fields that a match has."""
    return {letter for letter, text in match.groupdict().items() if text is not None}


def _as_fiscal_years(matches: list[re.Match[str]]) -> tuple[list[re.Match[str]], list[str]]:
    """Read 2009-10, 2010-11, 2011-12 as years: a column of months has others."""
    if len(matches) < 2 or not all(match.re is MONTHLY or match.re is FISCAL for match in matches):
        return matches, []
    years = [match_pattern(FISCAL, match.string) for match in matches]
    if not all(years):
        return matches, []
    first = matches[0].string
    notes = [f"{first} is read as the year that begins in {first[:4]}, not as a month"]
    return [year for year in years if year], notes if any(match.re is MONTHLY for match in matches) else []


def _odd_sort(matches: Sequence[re.Match[str]], names: dict[str, str]) -> ParsedTimes | None:
    """Return the first row that is a year among quarters, and the like; None if all are of one sort."""
    sorts = {}
    for pattern in {match.re for match in matches}:
        example = next(match for match in matches if match.re is pattern)
        letters = {names.get(letter, letter) for letter, text in example.groupdict().items() if text is not None}
        sorts[pattern] = next(name for name, fields in _SORTS if letters & set(fields))
    if len(set(sorts.values())) < 2:
        return None
    found = [sorts[match.re] for match in matches]
    usual, often = Counter(found).most_common(1)[0]
    row = next(row for row, sort in enumerate(found) if sort != usual)
    rest = "most rows have" if 2 * often > len(found) else "other rows have"
    return _unreadable(row, f"is a {found[row]}, but {rest} a {usual}; remove rows of another kind")


def _month_numbers(matches: Sequence[re.Match[str]]) -> tuple[str, dict[str, int]] | int:
    """Return language and numbers of the named months, or the first row whose month no language of the others knows."""
    words = [match["b"] if "b" in match.re.groupindex else "" for match in matches]
    distinct = dict.fromkeys(word for word in words if word)
    if not distinct:
        return "", {}
    found = months_of(distinct)
    if found is not None:
        return found
    known: list[str] = []
    for word in distinct:
        if months_of([*known, word]) is None:
            return words.index(word)
        known.append(word)
    return 0


def _choose_order(
    cells: _FixedWidth | _Matches, names: dict[str, str], fits: Callable[[Integers], bool] | None
) -> tuple[str, bool, _DateReading | int]:
    """Return the order of day and month, whether it is unsure, and the times, or the first row that fits none."""
    ambiguous = cells.ambiguous
    if not ambiguous:
        return "", False, cells.read(names)
    short = all("y" in match.re.groupindex and match["y"] for match in ambiguous)
    orders = {order: {**names, **roles} for order, roles in _ORDERS.items() if order != _SHORT_ISO or short}
    readings = {order: cells.read(roles) for order, roles in orders.items()}
    valid = [order for order, reading in readings.items() if not (reading.times == UNKNOWN).any()]
    if not valid:
        return "", False, max(int(np.argmax(reading.times == UNKNOWN)) for reading in readings.values())
    if _SHORT_ISO in valid and len({match["y"] for match in ambiguous}) <= len({match["A"] for match in ambiguous}):
        valid = [order for order in valid if order != _SHORT_ISO] or valid  # days differ more than years
    if all(match["sep"][:1] == "." for match in ambiguous) and _GERMAN in valid and _SHORT_ISO not in valid:
        valid = [_GERMAN]
    if fits is not None and any(fits(readings[order].times) for order in valid):
        valid = [order for order in valid if fits(readings[order].times)]
    distinct = {readings[order].times.tobytes(): order for order in reversed(valid)}
    valid = [order for order in valid if order in distinct.values()]
    scores = [regularity(distinct_times(readings[order].times)) for order in valid]
    best = int(np.argmax(scores))
    # Without any gap in one order only, that is it; otherwise the difference must be more than an accident.
    near = 0.0 if scores[best] == 1 else 0.02
    unsure = sum(score >= scores[best] - near for score in scores) > 1
    order = valid[0] if unsure and scores[0] >= scores[best] - near else valid[best]
    return order, unsure, readings[order]


def distinct_times(times: Integers) -> Integers:
    """Return the distinct times, ascending. `np.unique`, which hashes integers, is far slower."""
    ordered = np.sort(times)
    is_first = np.ones(len(ordered), dtype=bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def regularity(times: Integers) -> float:
    """Return the fraction of steps equal to the most frequent one, in seconds or in months."""
    if len(times) < 2:
        return 0.0
    steps = Counter(np.diff(times).tolist())
    month = times.astype("datetime64[us]").astype("datetime64[M]")
    within = times - month.astype("datetime64[us]").astype(np.int64)
    same = np.diff(within) == 0
    months = Counter(np.diff(month.astype(np.int64))[same].tolist())
    months.pop(0, None)
    return max(max(steps.values()), max(months.values(), default=0)) / (len(times) - 1)


def _fields(matches: Sequence[re.Match[str]]) -> Fields:
    """Return the fields of matches of one pattern."""
    groups = list(zip(*(match.groups() for match in matches), strict=True))
    return {letter: groups[index - 1] for letter, index in matches[0].re.groupindex.items()}


def _parse_matches(matches: Sequence[re.Match[str]], names: dict[str, str], months: dict[str, int]) -> _DateReading:
    result = np.full(len(matches), UNKNOWN, dtype=np.int64)
    offsets = np.zeros(len(matches), dtype=np.int64)
    zoned = False
    rows_of: dict[re.Pattern[str], list[int]] = {}
    for row, match in enumerate(matches):
        rows_of.setdefault(match.re, []).append(row)
    parts: list[tuple[list[int], Fields]] = []
    for rows in rows_of.values():
        fields: Fields = {}
        for letter, texts in _fields([matches[row] for row in rows]).items():
            if letter not in _SECOND_PLACES or any(texts):
                fields[names.get(letter, letter)] = texts
        parts.append((rows, fields))
    years = years_of([fields for _, fields in parts])
    for rows, fields in parts:
        result[rows] = epoch_microseconds(fields, len(rows), months, years)
        zones = fields.get("z")
        if zones is not None and any(zones):
            zoned = True
            offsets[rows] = [_offset(zone) for zone in zones]
    return _DateReading(result, offsets if zoned else None, years)


def years_of(parts: Sequence[Fields]) -> Years:
    """Decide by the years of a whole column how they are read."""
    # Weeks and fiscal years are not moved from one era to another.
    full = () if any(not _OF_OTHER_YEARS.isdisjoint(fields) for fields in parts) else _distinct(parts, "Y")
    return Years.of(_distinct(parts, "y"), full)


def _distinct(parts: Sequence[Fields], letter: str) -> set[int]:
    found: set[int] = set()
    for fields in parts:
        values = fields.get(letter, ())
        if isinstance(values, np.ndarray):
            found.update(np.flatnonzero(np.bincount(values)).tolist())
        else:
            found.update(int(text) for text in set(values) if text is not None)
    return found


def _offset(zone: str | None) -> int:
    digits = "" if zone is None else zone.replace("−", "-").lstrip("UTCGM")
    if not digits or digits[0] not in "+-":
        return round(3600 * ZONES.get(zone or "Z", 0))
    hours, _, minutes = digits[1:].partition(":")
    if not minutes and len(hours) > 2:
        hours, minutes = hours[:-2], hours[-2:]
    seconds = int(hours) * 3600 + int(minutes or 0) * 60
    return -seconds if digits[0] == "-" else seconds


def _zone_notes(matches: Sequence[re.Match[str]]) -> list[str]:
    """Report the zones that are named by letters other than UTC."""
    zones = {match["z"] for match in matches if "z" in match.re.groupindex}
    named = sorted(zone for zone in zones if ZONES.get(zone))
    return [f"the zone {zone} is read as UTC{'+' if ZONES[zone] > 0 else '−'}{abs(ZONES[zone]):g}" for zone in named]


def epoch_microseconds(fields: Fields, count: int, months: dict[str, int], years: Years = AS_WRITTEN) -> Integers:
    """Convert the fields of `count` rows to microseconds since 1970. `months`: numbers of named months."""

    def numbers(letter: str, default: int) -> Integers:
        values = fields.get(letter)
        if values is None:
            return np.full(count, default, dtype=np.int64)
        if isinstance(values, np.ndarray):
            return values
        return np.array([default if text is None else int(text) for text in values], dtype=np.int64)

    year = numbers("Y", -1)
    if years.era:
        year = year - years.era
    if "y" in fields:
        short = numbers("y", 0)
        year = np.where(year < 0, short + np.where(short < years.century, 2000, 1900), year)
    month, day = numbers("m", 1), numbers("d", 1)
    if "b" in fields:
        month = np.array([months[str(text)] for text in fields["b"]], dtype=np.int64)
    if "q" in fields:
        month = np.array([small_number(str(text)) for text in fields["q"]], dtype=np.int64) * 3 - 2
    if "h" in fields:
        month = np.array([small_number(str(text)) for text in fields["h"]], dtype=np.int64) * 6 - 5
    valid = (month >= 1) & (month <= 12) & (day >= 1)
    start = ((year - 1970) * 12 + np.where(valid, month, 1) - 1).astype("datetime64[M]")
    date = start.astype("datetime64[D]") + (day - 1)
    valid &= date.astype("datetime64[M]") == start
    if "j" in fields:
        of_year = numbers("j", 1)
        date = start.astype("datetime64[D]") + (of_year - 1)
        valid &= (of_year >= 1) & (date.astype("datetime64[Y]") == start.astype("datetime64[Y]"))
    if "w" in fields:  # ISO 8601: week 1 contains 4 January
        fourth = ((year - 1970) * 12).astype("datetime64[M]").astype("datetime64[D]") + 3
        monday = fourth - (fourth.astype(np.int64) + 3) % 7
        week = numbers("w", 1)
        date = monday + (week - 1) * 7 + numbers("u", 1) - 1
        # The Thursday of a week lies in its year.
        valid &= (week >= 1) & ((monday + (week - 1) * 7 + 3).astype("datetime64[Y]").astype(np.int64) + 1970 == year)
    hour, minute, second = numbers("H", 0), numbers("M", 0), numbers("S", 0)
    for letter in "pP":
        if any(fields.get(letter, ())):
            half = np.array([_half_of_day(text) for text in fields[letter]])
            valid &= (half == 0) | ((hour >= 1 - (letter == "P")) & (hour <= 12))
            hour = np.where(half == 0, hour, hour % 12 + 12 * (half == 2))
    valid &= (minute < 60) & (second < 60) & ((hour < 24) | ((hour == 24) & (minute == 0) & (second == 0)))
    micro = np.array([int((text or "").ljust(6, "0")[:6]) for text in fields["f"]]) if "f" in fields else 0
    microseconds = (
        date.astype(np.int64) * MICROS_PER_DAY + (hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND + micro
    )
    return np.where(valid, microseconds, UNKNOWN)


def _year(microseconds: np.int64) -> int:
    return int(microseconds.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64)) + 1970


def small_number(text: str) -> int:
    """Return the number that digits, those of Rome or China, or the signs for two halves stand for."""
    if text in HAN_DIGITS:
        return HAN_DIGITS.index(text) + 1
    if text in ROMAN_DIGITS:
        return ROMAN_DIGITS.index(text) + 1
    return "上下".index(text) + 1 if text in "上下" else int(text)


def _half_of_day(text: str | None) -> int:
    """1 for the first half of the day, 2 for the second, 0 if it is not named."""
    return 0 if not text else 2 if text[0] in "pP" or text in ("下午", "午後", "오후") else 1


def _infer_format(
    matches: Sequence[re.Match[str]],
    names: dict[str, str],
    offset: int | None,
    months: dict[str, int],
    language: str = "",
) -> TimeFormat:
    """Infer the notation from the last cell among those with the most fields."""
    recent = matches[-_EXAMPLES:]
    example = max(reversed(recent), key=lambda match: sum(text is not None for text in match.groups()))
    rename = {**names, "sep": ""}
    spans = sorted(
        (example.span(letter), rename.get(letter, letter))
        for letter in example.re.groupindex
        if example[letter] is not None
    )
    of_weeks = any(letter == "w" for _, letter in spans)
    parts: list[str | tuple[str, str]] = []
    index = 0
    for (begin, end), letter in spans:
        if letter:
            shown = {"Y": "G", "y": "g"}.get(letter, letter) if of_weeks else letter
            parts += [example.string[index:begin], (shown, example.string[begin:end])]
            index = end
    parts.append(example.string[index:])
    narrow = {
        rename.get(letter, letter)
        for match in matches[:4000]
        for letter in match.re.groupindex
        if letter in "ABmdHws" and len(match[letter] or "00") == 1
    }
    words, complete = _names_as_written(recent, months, language)
    style = TimeFormat(tuple(part for part in parts if part), offset, frozenset(narrow), words)
    if complete:
        return style
    whole = any(part[0] == "H" for part in style.parts if isinstance(part, tuple))
    return replace(ISO if whole else TimeFormat(ISO.parts[:5]), offset=offset)


def _names_as_written(
    matches: Sequence[re.Match[str]], months: dict[str, int], language: str
) -> tuple[dict[str, tuple[str, ...]], bool]:
    """Return the names of months and weekdays as they are written, and whether all could be found."""
    words: dict[str, tuple[str, ...]] = {}
    if months:
        names = month_names(months, language)
        if names is None:
            return {}, False
        words["b"] = names
    fields = [match.groupdict() for match in matches]
    days = {day for match in fields for letter in ("a", "a2") if (day := match.get(letter))}
    if days:
        for one in (language or "en", "en"):
            numbers = weekday_numbers(days, one)
            found = weekday_names(numbers, one) if len(numbers) == len(days) else None
            if found:
                words["a"] = found
                break
        else:
            return {}, False
    signs = {match["c"] for match in matches if "c" in match.re.groupindex and match["c"]}
    if signs:
        week = next(
            (
                week
                for week in ("一二三四五六日", "一二三四五六天", "月火水木金土日", "월화수목금토일")
                if signs <= set(week)
            ),
            "",
        )
        if not week:
            return {}, False
        words["c"] = tuple(week)
    return words, True
