"""Patterns of times as people write them, and the match of one cell.

Groups are the letters of `TimeFormat`, and: A, B for day and month or the reverse, s for a week or one of two
half-years, sep for what separates a date, z for the zone, k for the quarters before the last of several. a2 and q2
are a and q in other places.
"""

from __future__ import annotations

import re

from seqgen.corpus.series.month_names import is_month, is_weekday

# Hours east of UTC. Some abbreviations are used in several parts of the world; their reading is reported.
ZONES = {"Z": 0, "UTC": 0, "GMT": 0, "WET": 0, "BST": 1, "WEST": 1, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2,
         "EET": 2, "SAST": 2, "EEST": 3, "MSK": 3, "IST": 5.5, "SGT": 8, "HKT": 8, "AWST": 8, "JST": 9, "KST": 9,
         "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7,
         "MDT": -6, "PST": -8, "PDT": -7, "AKST": -9, "AKDT": -8, "HST": -10, "BRT": -3, "ART": -3}  # fmt: skip

_WORD = r"[^\W\d_]+(?:-feira)?\.?"
_MONTH = rf"(?P<b>{_WORD})"
_WEEKDAY = rf"(?:(?P<a>{_WORD}),?\s+(?:(?:den|el|le|o)\s+)?)?"
_DAY_LATER = rf"(?:,?\s+\(?(?P<a2>{_WORD})\)?)?"
_OF = r"(?:\s+(?:(?:del?|of|di)(?=\s)|d['’](?=\w)))?"
_NTH = r"(?:st|nd|rd|th|er|ère|e|\.?[ºª°]|\.|-й)?"
_Y4 = r"(?P<Y>\d{4})"
_YEAR = rf"(?:{_Y4}|['’]?(?P<y>\d{{2}}))"
_OF_YEAR = r"(?:\s?(?:г(?:\.|ода?)?|р(?:\.|оку)?|r(?:\.|oku)?))?"  # Russian, Ukrainian, Polish
_NAMED_ZONES = "|".join(sorted(ZONES, key=len, reverse=True))
_ZONE = (
    rf"\s*(?P<z>(?:UTC|GMT)?[+\-−]\d{{1,2}}(?::?\d{{2}})?(?![:\d])|{_NAMED_ZONES})?"
    r"(?:\s?(?:\[[\w/+\-]+\]|\([^()\d]+\)))?"  # Java and JavaScript name the zone behind its offset
)
_HALF_DAY = "上午|下午|午前|午後|오전|오후"
_CLOCK = (
    rf"(?P<P>{_HALF_DAY})?\s*(?P<H>\d{{1,2}})"
    r"(?:\s?[hH](?!\d)|\s?[:.hH]\s?(?P<M>\d{2})(?:[:.](?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?)"
    rf"(?:\s*(?P<p>[AaPp]\.?\s?[Mm]\.?))?(?:\s?Uhr|\s?hrs?)?{_ZONE}"
)
_AFTER = rf"(?:(?:[T:_]|,?\s+(?:-\s+|at\s+|à\s+|um\s+)?){_CLOCK})?"
_HOUR = rf"[T ](?P<H>\d{{2}})(?:\s?Uhr)?(?![\d:.]){_ZONE}"
_QUARTER = r"(?i:quarter|qtr|quartal|trimestre|trim|trimester|kwarta[lł]|kvart[aá]l|kwartaal|квартал|кв)\.?"
_HALF = r"(?i:half|halbjahr|semestre|sem|semester|p[oó]łrocze|полугодие|halvår|halfjaar)\.?"
_WEEK = r"(?i:week|wk|woche|kw|cw|semaine|semana|settimana|tydzie[nń]|неделя|vecka|uge|uke)\.?"
_Q = r"(?P<q>[1-4]|I{1,3}|IV)"
_SHORT_YEAR = rf"(?:(?:FY\s?)?['’]?(?:{_Y4}|(?P<y>\d{{2}})))"
_WITH_FY = r"(?:FY\s?['’]?)"
_HAN_SIGN = r"[,，]?\s?[(（]?(?:星期|周|週)?(?P<c>[一二三四五六天日月火水木金土월화수목금토일])(?:曜日?|요일)?[)）]?"
_HAN_DAY = rf"(?:{_HAN_SIGN})?"
_HAN_CLOCK = (
    rf"(?:\s*(?P<P>{_HALF_DAY})?\s*(?P<H>\d{{1,2}})(?:\s?[时時点點시:]\s?"
    r"(?:(?P<M>\d{1,2})\s?[分분]?(?::?\s?(?P<S>\d{1,2})\s?[秒초]?)?)?)?)?"
)

# Fields of a time as they stand in columns of their own.
FIELD_PATTERNS = {
    "Y": re.compile(r"(?:FY\s?)?(?P<Y>\d{4})\s?(?:[年년]度?)?"),
    "q": re.compile(
        rf"(?:[QqTtKk]|{_QUARTER}\s?)?{_Q}|(?P<q2>[1-4]){_NTH}\s*{_QUARTER}|第?(?P<q3>[1-4一二三四])\s?(?:季度?|四半期|분기)"
    ),
    "m": re.compile(r"(?P<m>\d{1,2})\s?[月월]份?"),
    "d": re.compile(r"(?P<d>\d{1,2})\s?[日号號일]"),
}
FISCAL = re.compile(rf"(?:FY\s?)?{_Y4}\s?[-/–]\s?(?P<e>\d{{4}}|\d{{2}})")
MONTHLY = re.compile(r"(?P<Y>\d{4})[-/Mm](?P<m>\d{1,2})")
PATTERNS = tuple(
    re.compile(pattern) if isinstance(pattern, str) else pattern
    for pattern in (
        rf"{_Y4}(?P<sep>[-/.]\s?)(?P<m>\d{{1,2}})(?P=sep)(?P<d>\d{{1,2}})\.?(?:(?:[T_:]|,?\s+){_CLOCK}|{_HAN_SIGN}|{_DAY_LATER})",
        rf"{_Y4}(?P<sep>[-/.])(?P<m>\d{{2}})(?P=sep)(?P<d>\d{{2}}){_HOUR}",
        rf"{_WEEKDAY}(?P<A>\d{{1,2}})(?P<sep>[-/.]\s?)(?P<B>\d{{1,2}})(?P=sep){_YEAR}{_OF_YEAR}\.?{_AFTER}(?:{_HAN_SIGN}|{_DAY_LATER})",
        rf"(?P<A>\d{{1,2}})(?P<sep>[-/.])(?P<B>\d{{1,2}})(?P=sep){_Y4}{_HOUR}",
        MONTHLY,
        rf"(?P<m>\d{{1,2}})[-/]{_Y4}",
        r"(?P<Y>\d{1,3})-(?P<m>\d{2})",
        rf"{_WEEKDAY}{_MONTH}[- /]*(?P<d>\d{{1,2}}){_NTH}(?:,\s*|[- /]+){_YEAR}{_AFTER}",
        rf"{_WEEKDAY}(?P<d>\d{{1,2}}){_NTH}{_OF}[- /.]*{_MONTH}{_OF}[- /,]*{_YEAR}{_OF_YEAR}\.?{_AFTER}{_DAY_LATER}",
        rf"{_MONTH}{_OF}[- /,]*{_YEAR}{_OF_YEAR}",
        rf"{_Y4}\.?[- /]*{_MONTH}(?:[- /]*(?P<d>\d{{1,2}})\.?)?{_AFTER}{_DAY_LATER}",
        rf"{_WEEKDAY}{_MONTH}\s+(?P<d>\d{{1,2}})\s+{_CLOCK}\s+{_Y4}",  # the C library's ctime
        # Quarters.
        rf"{_WITH_FY}?{_Y4}[- /:.]?\s?[QqTtKk]\s?(?P<q>[1-4])",
        rf"{_WITH_FY}(?P<y>\d{{2}})[- /]?[Qq](?P<q>[1-4])",
        rf"[QqTtKk](?P<q>[1-4])[- /,]*{_SHORT_YEAR}",
        rf"(?P<q>[1-4])[QqTt][- /]?{_SHORT_YEAR}",
        rf"{_Q}{_NTH}\s*(?:{_QUARTER}|kw\.){_OF}[- /,]*{_Y4}{_OF_YEAR}",
        rf"{_QUARTER}\s?{_Q}{_OF}[- /,]*{_Y4}",
        rf"{_Y4}[- /,]*(?:{_Q}{_NTH}\s*{_QUARTER}|{_QUARTER}\s?(?P<q2>[1-4]))",
        rf"{_Y4}\s?[年년]\s*第?(?P<k>[1一]\s?[-–—~～至到]\s?第?)?(?P<q>[1-4一二三四])(?:季度?|四半期|\s?분기)",
        # Half-years.
        rf"{_WITH_FY}?{_Y4}[- /]?[Hh](?P<h>[12])",
        rf"[Hh](?P<h>[12])[- /,]*{_SHORT_YEAR}",
        rf"(?P<h>[12])[Hh][- /]?{_SHORT_YEAR}",
        rf"{_Y4}[- /]?S(?P<s>\d{{1,2}})",
        rf"S(?P<s>\d{{1,2}})[- /,]*{_Y4}",
        rf"(?P<h>[12]){_NTH}\s*{_HALF}{_OF}[- /,]*{_Y4}{_OF_YEAR}",
        rf"{_HALF}\s?(?P<h>[12]){_OF}[- /,]*{_Y4}",
        rf"{_Y4}年(?P<h>[上下])半[年期]",
        # Weeks.
        rf"{_Y4}[- /]?[Ww](?P<w>\d{{2}})(?:-?(?P<u>[1-7]))?",
        rf"{_Y4}[- /]?[Ww](?P<w>\d)",
        rf"(?:{_WEEK}|[Ww])[- ]?(?P<w>\d{{1,2}}){_OF}(?:[- /,]+|\s*[(])(?:{_Y4}|(?P<y>\d{{2}}))[)]?",
        rf"{_Y4}[- /,]*{_WEEK}[- ]?(?P<w>\d{{1,2}})",
        rf"(?P<w>\d{{1,2}}){_NTH}\s*{_WEEK}{_OF}[- /,]*{_Y4}",
        rf"{_Y4}\s?年\s*第?(?P<w>\d{{1,2}})[周週]",
        # Fiscal years: the year that is named, or the first of two.
        rf"{_WITH_FY}(?:{_Y4}|(?P<y>\d{{2}}))",
        FISCAL,
        # Others.
        rf"{_Y4}(?P<m>\d{{2}})(?P<d>\d{{2}})T(?P<H>\d{{2}})(?P<M>\d{{2}})(?P<S>\d{{2}})?{_ZONE}",
        rf"(?P<m>\d{{1,2}})[月월]\s*{_Y4}",
        rf"{_Y4}-(?P<j>\d{{3}})(?:T{_CLOCK})?",
        rf"{_Y4}\s?[年년]度?\s?(?:(?P<m>\d{{1,2}})\s?[月월]份?\s?(?:(?P<d>\d{{1,2}})\s?[日号號일]{_HAN_DAY}{_HAN_CLOCK})?)?",
    )
)
FIXED_PATTERNS = (PATTERNS[0], PATTERNS[2])  # of digits without further conditions, for cells of one length
# Patterns of digits only, which could also be numbers.
_YEAR_MONTH = re.compile(r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])")
DIGIT_PATTERNS = tuple(
    re.compile(pattern) if isinstance(pattern, str) else pattern
    for pattern in (
        r"(?P<Y>[12]\d{3})",
        _YEAR_MONTH,
        r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d)",
        r"(?P<A>[0-3]\d)(?P<sep>)(?P<B>[0-3]\d)(?P<Y>19\d\d|20\d\d)",
        r"(?P<Y>1[89]\d\d|20\d\d)(?P<j>[0-3]\d\d)",
        r"(?P<Y>1[89]\d\d|20\d\d)(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d) ?(?P<H>[0-2]\d)",
        r"(?P<Y>[12]\d{3})(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d) ?(?P<H>[0-2]\d)(?P<M>[0-5]\d)(?P<S>[0-5]\d)?" + _ZONE,
    )
)
_SHORT_DATE = re.compile(r"(?P<y>\d{2})(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d)")
_YEAR_WEEK = re.compile(r"(?P<Y>19\d\d|20\d\d)(?P<w>0[1-9]|[1-4]\d|5[0-3])")
_WORDY = frozenset(pattern for pattern in PATTERNS if {"a", "a2", "b"} & set(pattern.groupindex))
TIME_OF_DAY = re.compile(
    r"(?:\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?|\d{1,2}\.\d{2}\.\d{2}|\d{1,2}\s?[hH](?:\d{2})?|\d{1,2}[时時点]\d{0,2}分?)"
    r"(?:\s*[AaPp]\.?\s?[Mm]\.?)?(?:\s?Uhr)?|\d{1,2}\s?(?:[AaPp]\.?[Mm]\.?|Uhr)"
)
CLOCK = re.compile(_CLOCK)


def digit_patterns(cells: list[str]) -> tuple[re.Pattern[str], ...]:
    """Return the patterns of digits for a column: six of them are a year and a month or week, or a short date."""
    six = [cell for cell in cells if len(cell) == 6]
    if all(_YEAR_MONTH.fullmatch(cell) and 1700 <= int(cell[:4]) < 2150 for cell in six):
        return DIGIT_PATTERNS
    if not all(_SHORT_DATE.fullmatch(cell) for cell in six) and all(_YEAR_WEEK.fullmatch(cell) for cell in six):
        return *(one for one in DIGIT_PATTERNS if one is not _YEAR_MONTH), _YEAR_WEEK
    return *(one for one in DIGIT_PATTERNS if one is not _YEAR_MONTH), _SHORT_DATE


def match_time(text: str, patterns: tuple[re.Pattern[str], ...] = PATTERNS) -> re.Match[str] | None:
    """Match a cell by the first pattern that fits; None if none does."""
    return next((found for pattern in patterns if (found := match_pattern(pattern, text))), None)


def match_pattern(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Match a cell by a pattern. Words must be names of months and weekdays, two years must follow each other."""
    found = pattern.fullmatch(text)
    if found is None or pattern not in _SPECIAL:
        return found
    if pattern is FISCAL:
        return found if int(found["e"]) % 100 == (int(found["Y"]) + 1) % 100 else None
    words = found.groupdict()
    month, days = words.get("b"), (words.get("a"), words.get("a2"))
    return found if (not month or is_month(month)) and all(not day or is_weekday(day) for day in days) else None


_SPECIAL = _WORDY | {FISCAL}
