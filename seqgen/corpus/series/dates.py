"""Parser of times in common notations, one notation per column, and formatting in the same notation."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Times = npt.NDArray[np.datetime64]
MICROS_PER_SECOND = 1_000_000
_UNKNOWN = np.iinfo(np.int64).min  # as numpy's NaT

_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_HAN = "一二三四"
_MONTH_TOLERANCE = 0.07  # of a month: 1949.08 is February
_EXAMPLES = 200  # cells from which the notation is inferred
_CENTURY = 69  # two-digit years from here on belong to the 20th century, as in POSIX

_MONTH = r"(?P<b>[Jj]an|[Ff]eb|[Mm]ar|[Aa]pr|[Mm]ay|[Jj]une?|[Jj]uly?|[Aa]ug|[Ss]ept?|[Oo]ct|[Nn]ov|[Dd]ec|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|(?:[Jj]anuar|[Ff]ebruar)y|[Mm]arch|[Aa]pril|[Aa]ugust|(?:[Ss]eptem|[Oo]cto|[Nn]ovem|[Dd]ecem)ber)\.?"  # noqa: E501 - one alternation
_WEEKDAY = r"(?:(?P<a>(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?)\.?,?\s+)?"
_YEAR = r"(?:(?P<Y>\d{4})|'?(?P<y>\d{2}))"
_ZONE = r"\s*(?P<z>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
_CLOCK = (
    r"(?P<H>\d{1,2})[:.](?P<M>\d{2})(?:[:.](?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?(?:\s*(?P<p>[AaPp]\.?[Mm]\.?))?" + _ZONE
)
_AFTER = rf"(?:(?:T|,?\s+){_CLOCK})?"

# Patterns of dates, with or without a time of day. A, B: day and month, or the reverse.
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<Y>\d{{4}})(?P<sep>[-/.])(?P<m>\d{{1,2}})(?P=sep)(?P<d>\d{{1,2}})(?:(?:T|,?\s+)(?:{_CLOCK}))?",
        r"(?P<Y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})[T ](?P<H>\d{2})" + _ZONE,
        rf"{_WEEKDAY}(?P<A>\d{{1,2}})(?P<sep>[-/.])(?P<B>\d{{1,2}})(?P=sep){_YEAR}{_AFTER}",
        r"(?P<Y>\d{4})[-/M](?P<m>\d{1,2})",
        r"(?P<m>\d{1,2})[-/](?P<Y>\d{4})",
        r"(?P<Y>\d{1,3})-(?P<m>\d{2})",
        rf"{_WEEKDAY}{_MONTH}[- /]*(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:,\s*|[- /]+){_YEAR}{_AFTER}",
        rf"{_WEEKDAY}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[- /.]*{_MONTH}[- /,]*{_YEAR}{_AFTER}",
        rf"{_MONTH}[- /,]*{_YEAR}",
        rf"(?P<Y>\d{{4}})[- /]?{_MONTH}(?:[- /]?(?P<d>\d{{1,2}}))?{_AFTER}",
        r"(?P<Y>\d{4})[- /:]?[Qq](?P<q>[1-4])",
        r"[Qq](?P<q>[1-4])[- /,']*(?P<Y>\d{4})",
        r"(?P<q>[1-4])[Qq][- /]?(?P<Y>\d{4})",
        r"(?P<Y>\d{4})年\s*第?(?P<q>[1-4一二三四])季度?",
        r"(?P<Y>\d{4})(?P<m>\d{2})(?P<d>\d{2})T(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})?" + _ZONE,
        r"(?P<Y>\d{4})-?W(?P<w>\d{2})(?:-?(?P<u>[1-7]))?",
        r"(?P<Y>\d{4})年(?:(?P<m>\d{1,2})月(?:(?P<d>\d{1,2})[日号](?:\s*(?P<H>\d{1,2})(?:[时点:](?:(?P<M>\d{1,2})分?(?::?(?P<S>\d{1,2})秒?)?)?))?)?)?",
    )
)
# Patterns of digits only, which could also be numbers.
_DIGIT_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<Y>[12]\d{3})",
        r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])",
        r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d)",
        r"(?P<Y>1[89]\d\d|20\d\d)(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d)(?P<H>[0-2]\d)",
        r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d) ?(?P<H>[0-2]\d)(?P<M>[0-5]\d)(?P<S>[0-5]\d)?" + _ZONE,
    )
)
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2}([.,]\d{1,9})?)?(\s*[AaPp]\.?[Mm]\.?)?|\d{1,2}\.\d{2}\.\d{2}")


@dataclass(frozen=True)
class TimeFormat:
    """Notation of times.

    Attributes:
        parts: literal text, and fields as (letter, example).
        offset: seconds east of UTC; None without a zone.
        narrow: fields without a leading zero.
        number: for numbers since 1970, seconds per unit; 0 for text.
    """

    parts: tuple[str | tuple[str, str], ...] = ()
    offset: int | None = None
    narrow: frozenset[str] = frozenset()
    number: float = 0.0

    def format_times(self, times: Times) -> list[str]:
        """Format times of dtype datetime64[s]."""
        if self.number:
            return [f"{value / self.number:.0f}" for value in times.astype("datetime64[s]").astype(np.int64).tolist()]
        shifted = times.astype("datetime64[s]") + np.timedelta64(self.offset or 0, "s")
        return ["".join(self._part(part, time) for part in self.parts) for time in shifted.tolist()]

    def _part(self, part: str | tuple[str, str], time: datetime.datetime) -> str:
        if isinstance(part, str):
            return part
        letter, example = part
        if letter in _NUMERIC_FIELDS:
            text = str(_NUMERIC_FIELDS[letter](time))
            width = len(example) if letter == "Y" else 1 if letter in self.narrow or letter in "qu" else 2
            return _HAN[int(text) - 1] if example in _HAN else text.zfill(width)
        if letter == "H":
            hour = time.hour if "p" not in (one[0] for one in self.parts if one) else (time.hour + 11) % 12 + 1
            return str(hour) if "H" in self.narrow else f"{hour:02}"
        if letter in "ba":
            name = _MONTHS[time.month - 1] if letter == "b" else _DAYS[time.weekday()]
            name = name if len(example) > 4 or example.lower() in ("june", "july") else name[:3]
            return name.upper() if example.isupper() else name if example.islower() else name.title()
        if letter == "p":
            half = "PM" if time.hour >= 12 else "AM"
            half = f"{half[0]}.M." if "." in example else half
            return half if example.isupper() else half.lower()
        if letter == "D":
            return f"{time.year + (time.month - 1) / 12:.{len(example)}f}"
        return "0" * len(example) if letter == "f" else example  # a zone is unchanged


_NUMERIC_FIELDS: dict[str, Callable[[datetime.datetime], int]] = {
    "Y": lambda time: time.year,
    "y": lambda time: time.year % 100,
    "m": lambda time: time.month,
    "d": lambda time: time.day,
    "M": lambda time: time.minute,
    "S": lambda time: time.second,
    "q": lambda time: (time.month + 2) // 3,
    "w": lambda time: time.isocalendar().week,
    "u": lambda time: time.isoweekday(),
}
ISO = TimeFormat(
    (("Y", "2000"), "-", ("m", "01"), "-", ("d", "01"), " ", ("H", "00"), ":", ("M", "00"), ":", ("S", "00"))
)
ISO_DATE = TimeFormat(ISO.parts[:5])


@dataclass(frozen=True)
class ParsedTimes:
    """A column of times.

    Attributes:
        times: microseconds since 1970.
        style: their notation.
        bad: first row that is not a time, −1 for none.
        order: `day/month` or `month/day` if that was ambiguous, otherwise ''.
        unsure: whether the reverse order is equally plausible.
    """

    times: Integers
    style: TimeFormat
    bad: int = -1
    order: str = ""
    unsure: bool = False


def looks_like_time(cell: str) -> bool:
    """Whether a cell is certainly a time."""
    text = cell.strip()
    return any(pattern.fullmatch(text) for pattern in _PATTERNS)


def is_time_of_day(cell: str) -> bool:
    """Whether a cell is a time of day: 17:24, 18.00.00."""
    return _TIME_OF_DAY.fullmatch(cell.strip()) is not None


def parse_times(
    cells: Sequence[str], digits: bool = False, fits: Callable[[Integers], bool] | None = None
) -> ParsedTimes:
    """Parse times.

    Args:
        digits: whether digits such as 20200101 and 1981 are times.
        fits: whether times are plausible; called if the order of day and month is ambiguous.
    """
    patterns = (*_PATTERNS, *_DIGIT_PATTERNS) if digits else _PATTERNS
    matches: list[re.Match[str]] = []
    last = patterns[0]
    for row, cell in enumerate(cells):
        match = last.fullmatch(cell)
        if match is None:
            match = next((found for one in patterns if (found := one.fullmatch(cell))), None)
            if match is None:
                return ParsedTimes(np.zeros(0, dtype=np.int64), ISO, row)
            last = match.re
        matches.append(match)
    order, unsure, result = _choose_order(matches, fits)
    if isinstance(result, int):
        return ParsedTimes(np.zeros(0, dtype=np.int64), ISO, result)
    times, offsets = result
    bad = np.flatnonzero(times == _UNKNOWN)
    if len(bad):
        return ParsedTimes(np.zeros(0, dtype=np.int64), ISO, int(bad[0]))
    offset = None if offsets is None else int(offsets[-1])
    if offsets is not None and (times % (86400 * MICROS_PER_SECOND)).any():  # dates stay dates in any zone
        times = times - offsets * MICROS_PER_SECOND
    elif offsets is not None:
        offset = 0
    style = _infer_format(matches, order, offset)
    usual = order == "day/month" and all(match["sep"] == "." for match in matches if "A" in match.re.groupindex)
    return ParsedTimes(times, style, -1, "" if usual else order, unsure)


def _choose_order(
    matches: Sequence[re.Match[str]], fits: Callable[[Integers], bool] | None
) -> tuple[str, bool, tuple[Integers, Integers | None] | int]:
    """Return the order of day and month, whether it is unsure, and the times, or the first row that fits neither."""
    ambiguous = [match for match in matches if "A" in match.re.groupindex]
    if not ambiguous:
        return "", False, _parse_matches(matches, "")
    readings = {order: _parse_matches(matches, order) for order in ("day/month", "month/day")}
    valid = [order for order, (times, _) in readings.items() if not (times == _UNKNOWN).any()]
    if len(valid) == 1:
        return valid[0], False, readings[valid[0]]
    if not valid:
        firsts = [int(np.argmax(times == _UNKNOWN)) for times, _ in readings.values()]
        return "", False, max(firsts)
    first, second = (readings[order][0] for order in valid)
    if (first == second).all() or all(match["sep"] == "." for match in ambiguous):
        return valid[0], False, readings[valid[0]]
    if fits is not None and fits(first) != fits(second):
        chosen = valid[0] if fits(first) else valid[1]
        return chosen, False, readings[chosen]
    score = [regularity(times) for times in (first, second)]
    if abs(score[0] - score[1]) > 0.02:
        chosen = valid[int(score[1] > score[0])]
        return chosen, False, readings[chosen]
    return valid[0], True, readings[valid[0]]


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


def _parse_matches(matches: Sequence[re.Match[str]], order: str) -> tuple[Integers, Integers | None]:
    """Return local microseconds since 1970, the minimal integer for invalid times, and seconds east of UTC."""
    result = np.full(len(matches), _UNKNOWN, dtype=np.int64)
    offsets = np.zeros(len(matches), dtype=np.int64)
    zoned = False
    rows_of: dict[re.Pattern[str], list[int]] = {}
    for row, match in enumerate(matches):
        rows_of.setdefault(match.re, []).append(row)
    for pattern, rows in rows_of.items():
        groups = list(zip(*(matches[row].groups() for row in rows), strict=True))
        fields = {letter: groups[index - 1] for letter, index in pattern.groupindex.items()}
        result[rows] = epoch_microseconds(fields, len(rows), order)
        zones = fields.get("z")
        if zones is not None and any(zones):
            zoned = True
            offsets[rows] = [_offset(zone) for zone in zones]
    return result, offsets if zoned else None


def _offset(zone: str | None) -> int:
    if not zone or zone[0] not in "+-":
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[3:].lstrip(":") or 0) * 60
    return -seconds if zone[0] == "-" else seconds


def epoch_microseconds(fields: dict[str, tuple[str | None, ...]], count: int, order: str) -> Integers:
    """Convert the fields of `count` rows to microseconds since 1970."""
    names = {"A": "d" if order == "day/month" else "m", "B": "m" if order == "day/month" else "d"}
    fields = {names.get(letter, letter): values for letter, values in fields.items()}

    def numbers(letter: str, default: int) -> Integers:
        values = fields.get(letter)
        if values is None:
            return np.full(count, default, dtype=np.int64)
        return np.array([default if text is None else int(text) for text in values], dtype=np.int64)

    year = numbers("Y", -1)
    if "y" in fields:
        short = numbers("y", 0)
        year = np.where(year < 0, short + np.where(short < _CENTURY, 2000, 1900), year)
    month, day = numbers("m", 1), numbers("d", 1)
    if "b" in fields:
        first = [name[:3] for name in _MONTHS]
        month = np.array([first.index(str(text)[:3].lower()) + 1 for text in fields["b"]], dtype=np.int64)
    if "q" in fields:
        quarters = [_HAN.index(str(q)) + 1 if str(q) in _HAN else int(str(q)) for q in fields["q"]]
        month = np.array(quarters, dtype=np.int64) * 3 - 2
    valid = (month >= 1) & (month <= 12) & (day >= 1)
    start = ((year - 1970) * 12 + np.where(valid, month, 1) - 1).astype("datetime64[M]")
    date = start.astype("datetime64[D]") + (day - 1)
    valid &= date.astype("datetime64[M]") == start
    if "w" in fields:  # ISO 8601: week 1 contains 4 January
        fourth = ((year - 1970) * 12).astype("datetime64[M]").astype("datetime64[D]") + 3
        monday = fourth - (fourth.astype(np.int64) + 3) % 7
        date = monday + (numbers("w", 1) - 1) * 7 + numbers("u", 1) - 1
        valid &= (numbers("w", 1) >= 1) & (numbers("w", 1) <= 53)
    hour, minute, second = numbers("H", 0), numbers("M", 0), numbers("S", 0)
    if any(fields.get("p", ())):
        half = np.array([{"": 0, "a": 1, "p": 2}[(text or "")[:1].lower()] for text in fields["p"]])
        valid &= (half == 0) | ((hour >= 1) & (hour <= 12))
        hour = np.where(half == 0, hour, hour % 12 + 12 * (half == 2))
    valid &= (minute < 60) & (second < 60) & ((hour < 24) | ((hour == 24) & (minute == 0) & (second == 0)))
    micro = np.array([int((text or "").ljust(6, "0")[:6]) for text in fields["f"]]) if "f" in fields else 0
    microseconds = (
        date.astype(np.int64) * 86400 * MICROS_PER_SECOND
        + (hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND
        + micro
    )
    return np.where(valid, microseconds, _UNKNOWN)


def _infer_format(matches: Sequence[re.Match[str]], order: str, offset: int | None) -> TimeFormat:
    """Infer the notation from the last cell among those with the most fields."""
    recent = matches[-_EXAMPLES:]
    example = max(reversed(recent), key=lambda match: sum(text is not None for text in match.groups()))
    rename = {"A": "d" if order == "day/month" else "m", "B": "m" if order == "day/month" else "d", "sep": ""}
    spans = sorted(
        (example.span(letter), rename.get(letter, letter))
        for letter in example.re.groupindex
        if example[letter] is not None
    )
    parts: list[str | tuple[str, str]] = []
    index = 0
    for (begin, end), letter in spans:
        if letter:
            text = example.string[begin:end]
            if letter == "b":  # May is both short and long
                text = max((match["b"] for match in recent if "b" in match.re.groupindex), key=len)
            parts += [example.string[index:begin], (letter, text)]
            index = end
    parts.append(example.string[index:])
    narrow = {
        rename.get(letter, letter)
        for match in matches[:4000]
        for letter in match.re.groupindex
        if letter in "ABmdH" and len(match[letter] or "00") == 1
    }
    return TimeFormat(tuple(part for part in parts if part), offset, frozenset(narrow))


def times_from_numbers(values: npt.NDArray[np.float64], name: str) -> ParsedTimes | None:
    """Parse times from numbers: 1981, 198101, 20200101, 1949.083 or an epoch time. None if they are not times."""
    if not len(values) or not np.isfinite(values).all():
        return None
    low, high = float(values.min()), float(values.max())
    if (values == np.floor(values)).all() and low >= 1000 and high < 1e15:
        parsed = parse_times([str(int(value)) for value in values.tolist()], digits=True)
        if parsed.bad < 0:
            return parsed
    decimal = np.round((values - 1970) * 12).astype(np.int64) if low >= 1000 and high < 3000 else None
    if (
        decimal is not None and (np.abs((values - 1970) * 12 - decimal) < _MONTH_TOLERANCE).all()
    ):  # 1949.083 is February
        decimals = max(len(repr(float(value)).partition(".")[2]) for value in values[:_EXAMPLES])
        times = decimal.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
        return ParsedTimes(times, TimeFormat((("D", "0" * decimals),)))
    for unit, seconds in ((1.0, 1), (1e-3, 1e3), (1e-6, 1e6), (1e-9, 1e9)):
        if 1e8 * seconds <= low and high <= 5e9 * seconds:  # from 1973 to 2128
            times = np.round(values * unit * MICROS_PER_SECOND).astype(np.int64)
            return ParsedTimes(times, TimeFormat(number=unit))
    return None
