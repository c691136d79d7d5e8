"""Parser of numbers in common notations: 1,234.5 and 1.234,5, $5, 12 %, (3), 45.98M, <1, NA."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

# Markers of a missing number, in lower case: of programs, of statistical offices, and words of ten languages.
MISSING_MARKERS = frozenset(
    ("", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "(null)", "<null>", "none", "nil", "nat", "nd",
     "missing", "n/d", "#n/d", "#nv", "-", "--", "---", "—", "–", "−", "?", ".", "..", "...", "…", ":", "*", "\\n",
     "#value!", "#wert!", "#valeur!", "#¡valor!", "#valor!", "#div/0!", "#ref!", "#bezug!", "#null!", "#num!",
     "#zahl!",
     "#name?", "n.a.", "n.a", "n. a.", "na.", "n.d.", "n. d.", "n.v.", "n. v.", "k.a.", "k. a.", "s/d", "s.d.", "b.d.",
     "n.b.", "no data", "not available", "no disponible", "sin dato", "sin datos", "sem dados", "non disponible",
     "keine angabe", "keine daten", "nessun dato", "geen gegevens", "brak", "brak danych", "нет",
     "нет данных", "н/д", "нд", "无",
     "無", "暂无", "暫無", "暂无数据", "暫無數據", "无数据", "缺失", "缺测", "缺測", "停牌", "休市", "/",
     "欠測", "なし", "データなし", "없음", "*****", "****", "***", "**")
)  # fmt: skip
_LONGEST_MARKER = max(map(len, MISSING_MARKERS))
_BOOLEANS = {"true": 1.0, "false": 0.0}
TRACE = "微量"  # of rain, too little to be measured
_WORDS = {**_BOOLEANS, TRACE: 0.0}
_MULTIPLIERS = {
    "": 1.0,
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "B": 1e9,
    "T": 1e12,
    "bn": 1e9,
    "mio": 1e6,
    "mrd": 1e9,
    "тыс": 1e3,
    "млн": 1e6,
    "млрд": 1e9,
    "十": 10.0,
    "百": 100.0,
    "千": 1e3,
    "万": 1e4,
    "萬": 1e4,
    "亿": 1e8,
    "億": 1e8,
}
_SPACES = "\u00a0\u2007\u2009\u202f'’ "
_CURRENCY_WORDS = re.compile(
    r"(?:US|R|A|C|HK|NZ|S)?[$€£¥₹₩₽₺₴₪฿元円원]|"
    r"\b(?:USD|EUR|GBP|JPY|CNY|RMB|CHF|INR|RUB|BRL|PLN|SEK|NOK|DKK|CZK|HUF|TRY|KRW|AUD|CAD|NZD|HKD|SGD|ZAR|MXN|kr|zł|Kč|Ft|руб|Fr|Rs)\b\.?"
)
_DASHES = str.maketrans(dict.fromkeys("−–‒﹣‐‑", "-") | {"٫": ".", "٬": ","})
_PLAIN = re.compile(
    r"(?P<digits>(?=[.,]*+[0-9])[0-9.,]++)(?P<exponent>[eE][+-]?[0-9]+)?"
    r"(?P<multiplier>[kKMBT]|\s?(?:[百千]?[万萬]|[十百千万萬]?[亿億]|千)|)(?P<word>\s?(?:[Bb]n|[Mm]io|[Mm]rd|тыс|млн|млрд)\.?)?"
)
_GROUPS = {",": re.compile(r"\d{1,3}(,\d{2,3})*,\d{3}"), ".": re.compile(r"\d{1,3}(\.\d{3})+")}
_SPACED = re.compile(r"(?<=\d)[" + _SPACES + r"](?=\d{3}(?!\d))")
_LIMIT = re.compile(r"[<≤]\s?(?P<limit>.+)")


def is_missing(cell: str) -> bool:
    """Whether a cell is missing."""
    text = cell.strip()
    return len(text) <= _LONGEST_MARKER and text.lower() in MISSING_MARKERS


def parse_number(cell: str, decimal_mark: str = ".") -> float | None:
    """Parse a number; NaN if the cell is missing, None if it is not a number.

    Percent signs are ignored: 5 % is 5. Of a limit, <1, it is the half; a trace, 微量, is 0. Infinities are numbers.
    """
    text = cell.strip()
    if text.lower() in MISSING_MARKERS:
        return math.nan
    if decimal_mark == "." and "_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    if not any(map(str.isnumeric, text)):  # most cells of a column of texts
        return _WORDS.get(text.lower())
    limit = _LIMIT.fullmatch(text)
    if limit:
        number = _parse_notation(limit["limit"], decimal_mark)
        return None if number is None else number / 2
    return _parse_notation(text, decimal_mark)


def _parse_notation(text: str, decimal_mark: str) -> float | None:
    sign, match = _strip_notation(text)
    if match is None:
        return None
    digits, group_mark = match["digits"], "," if decimal_mark == "." else "."
    whole, _, decimals = digits.partition(decimal_mark)
    if decimal_mark in decimals or group_mark in decimals:
        return None
    if group_mark in whole:
        if not _GROUPS[group_mark].fullmatch(whole):
            return None
        whole = whole.replace(group_mark, "")
    multiplier = math.prod(_MULTIPLIERS[letter] for letter in match["multiplier"].strip())  # 万亿: 1e4 * 1e8
    factor = multiplier * _MULTIPLIERS[(match["word"] or "").strip(" .").lower()]
    return sign * float(f"{whole or '0'}.{decimals or '0'}{match['exponent'] or ''}") * factor


def _strip_notation(text: str) -> tuple[float, re.Match[str] | None]:
    """Return the sign, and the digits without currency, percent and grouping by spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_DASHES).strip()
        text = "".join(str(unicodedata.decimal(letter, letter)) for letter in text)
    if text[:1] in ("'", "’"):  # by which spreadsheets mark text
        text = text[1:]
    is_negative = text.startswith("(") and text.endswith(")")
    if is_negative:
        text = text[1:-1].strip()
    text = _without_currency(text)
    if text.endswith("%"):
        text = text[:-1].rstrip()
    if text[:1] in ("-", "+"):
        is_negative, text = text[0] == "-", text[1:].lstrip()  # (-3) is -3, too
    elif text[-1:] == "-" and text[-2:-1].isdigit():  # as SAP writes it
        is_negative, text = True, text[:-1]
    text = _without_currency(text)
    if any(space in text for space in _SPACES):
        text = _SPACED.sub("", text)
    return -1.0 if is_negative else 1.0, _PLAIN.fullmatch(text)


def has_multiplier(cell: str) -> bool:
    """Whether a cell is a number that is multiplied: 45.98M, 1,5 Mio, 3万."""
    match = _strip_notation(cell)[1]
    return match is not None and bool(match["multiplier"] or match["word"])


def _without_currency(text: str) -> str:
    if text[:1].isdigit() and text[-1:].isdigit():
        return text
    found = _CURRENCY_WORDS.search(text)
    if found is None or (found.start() > 0 and found.end() < len(text)):
        return text
    return (text[: found.start()] + text[found.end() :]).strip()


def decimal_mark_of(cell: str) -> tuple[str, bool]:
    """Return the decimal mark of a cell, and whether it is certain: 1,5 and 1.234,5 are, 1,234 is not.

    ('', False) if the cell has no mark.
    """
    match = _strip_notation(cell.strip("<≤ "))[1]
    digits = match["digits"] if match else ""
    point, comma = digits.rfind("."), digits.rfind(",")
    if point >= 0 and comma >= 0:
        return (".", True) if point > comma else (",", True)
    for mark, other in ((".", ","), (",", ".")):
        if mark in digits:
            if digits.count(mark) > 1:  # groups thousands
                return (other, True) if _GROUPS[mark].fullmatch(digits) else ("", False)
            return mark, not _GROUPS[mark].fullmatch(digits) or digits.startswith("0")
    return "", False


def notation_notes(cells: Sequence[str], all_cells: Sequence[str]) -> list[str]:
    """Return sentences for a report on how the notation of numbers was interpreted.

    Args:
        cells: that are not plain.
        all_cells: the first cells that are not missing.
    """
    notes = []
    cells, all_cells = ([unicodedata.normalize("NFKC", cell) for cell in each] for each in (cells, all_cells))
    if any("%" in cell for cell in cells):
        some = ", and some numbers have none" if any("%" not in cell for cell in all_cells) else ""
        notes.append(f"percent signs are ignored (5 % is 5){some}")
    currencies = sorted({found[0] for cell in cells if (found := _CURRENCY_WORDS.search(cell))})
    if currencies:
        notes.append(
            f"currency signs are ignored{f', though they differ: {chr(44).join(currencies)}' * (len(currencies) > 1)}"
        )
    if any(map(has_multiplier, cells)):
        notes.append("suffixes such as K, M, B, 万, 亿 are applied")
    if any(cell.strip().lower() in _BOOLEANS for cell in cells):
        notes.append("true and false are 1 and 0")
    if any(cell.strip() == TRACE for cell in cells):
        notes.append(f"{TRACE} (a trace) is 0")
    limits = [cell for cell in cells if cell[:1] in "<≤"]
    if limits:
        notes.append(f"{limits[0]!r} and the like are read as the half of it")
    return notes
