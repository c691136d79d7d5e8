"""Notations of times: formatting in the notation in which a column was written."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from seqgen.corpus.series.time_years import BUDDHIST_ERA

Times = npt.NDArray[np.datetime64]

HAN_DIGITS = "一二三四"
ROMAN_DIGITS = ("I", "II", "III", "IV")

_NUMERIC_FIELDS: dict[str, Callable[[datetime.datetime], int]] = {
    "Y": lambda time: time.year,
    "y": lambda time: time.year % 100,
    "G": lambda time: time.isocalendar().year,
    "g": lambda time: time.isocalendar().year % 100,
    "T": lambda time: time.year + BUDDHIST_ERA,
    "e": lambda time: time.year + 1,
    "m": lambda time: time.month,
    "d": lambda time: time.day,
    "M": lambda time: time.minute,
    "S": lambda time: time.second,
    "q": lambda time: (time.month + 2) // 3,
    "h": lambda time: (time.month + 5) // 6,
    "w": lambda time: time.isocalendar().week,
    "u": lambda time: time.isoweekday(),
    "j": lambda time: time.timetuple().tm_yday,
}
_YEARS = frozenset("YGTe")
_SINGLE_DIGITS = frozenset("qhu")


@dataclass(frozen=True)
class TimeFormat:
    """Notation of times.

    Attributes:
        parts: literal text, and fields as (letter, example).
        offset: seconds east of UTC; None without a zone.
        narrow: fields without a leading zero.
        names: names of months (`b`) and weekdays (`a`, `c`).
        number: for numbers, seconds per unit; 0 for text.
        origin: for numbers, seconds from 1970 to zero.
        decimals: for numbers, digits behind the point.
        end: for intervals, what separates both ends, the notation of the end, and the seconds between them.
    """

    parts: tuple[str | tuple[str, str], ...] = ()
    offset: int | None = None
    narrow: frozenset[str] = frozenset()
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    number: float = 0.0
    origin: int = 0
    decimals: int = 0
    end: tuple[str, TimeFormat, int] | None = None

    def format_times(self, times: Times) -> list[str]:
        """Format times of dtype datetime64[s]."""
        if self.end:
            mark, ends, seconds = self.end
            starts = replace(self, end=None).format_times(times)
            stops = ends.format_times(times + np.timedelta64(seconds, "s"))
            return [f"{start}{mark}{stop}" for start, stop in zip(starts, stops, strict=True)]
        if self.number:
            seconds_since = times.astype("datetime64[s]").astype(np.int64) - self.origin
            return [f"{value / self.number:.{self.decimals}f}" for value in seconds_since.tolist()]
        shifted = times.astype("datetime64[s]") + np.timedelta64(self.offset or 0, "s")
        return ["".join(self._part(part, time) for part in self.parts) for time in shifted.tolist()]

    def _part(self, part: str | tuple[str, str], time: datetime.datetime) -> str:
        if isinstance(part, str):
            return part
        letter, example = part
        if letter in _NUMERIC_FIELDS:
            number = _NUMERIC_FIELDS[letter](time)
            if example in HAN_DIGITS or example in ("上", "下"):
                return HAN_DIGITS[number - 1] if example in HAN_DIGITS else "上下"[number - 1]
            if letter == "q" and example.upper() in ROMAN_DIGITS:
                return ROMAN_DIGITS[number - 1]
            if letter in _YEARS:
                return f"{number % 100:02}" if letter == "e" and len(example) == 2 else str(number).zfill(len(example))
            width = 1 if letter in self.narrow or letter in _SINGLE_DIGITS else 3 if letter == "j" else 2
            return str(number).zfill(width)
        if letter == "H":
            halves = any(one[0] in ("p", "P") for one in self.parts if one and not isinstance(one, str))
            hour = (time.hour + 11) % 12 + 1 if halves else time.hour
            return str(hour) if "H" in self.narrow else f"{hour:02}"
        if letter in "bac":
            return self.names[letter][time.month - 1 if letter == "b" else time.weekday()]
        if letter == "k":  # the first quarter spans no others
            return "" if time.month <= 3 else example
        if letter in "pP":
            return _half_of_day(example, time.hour >= 12)
        if letter in "DC":  # the begin of a month, and its middle
            return f"{time.year + (time.month - (1 if letter == 'D' else 0.5)) / 12:.{len(example)}f}"
        return "0" * len(example) if letter == "f" else example  # a zone is unchanged


def _half_of_day(example: str, afternoon: bool) -> str:
    for halves in (("上午", "下午"), ("午前", "午後"), ("오전", "오후")):
        if example in halves:
            return halves[afternoon]
    letter = "p" if afternoon else "a"
    return (letter.upper() if example[0].isupper() else letter) + example[1:]


ISO = TimeFormat(
    (("Y", "2000"), "-", ("m", "01"), "-", ("d", "01"), " ", ("H", "00"), ":", ("M", "00"), ":", ("S", "00"))
)
ISO_DATE = TimeFormat(ISO.parts[:5])
ISO_MINUTES = TimeFormat(ISO.parts[:-2])
