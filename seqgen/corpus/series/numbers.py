"""Parser of numbers in common notations: 1,234.5 and 1.234,5, $5, 12 %, (3), 45.98M, NA."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

# Markers of a missing number, in lower case.
MISSING_MARKERS = frozenset(
    ("", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none", "nil", "nat", "missing", "nd", "-", "--",
     "---", "—", "–", "?", ".", "..", "...", "*", "\\n", "#value!", "#div/0!", "#ref!", "#null!", "#num!", "无")
)  # fmt: skip
_BOOLEANS = {"true": 1.0, "false": 0.0}
_MULTIPLIERS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "万": 1e4, "亿": 1e8}
_SPACES = "\u00a0\u2007\u2009\u202f'’ "
_CURRENCY = "$€£¥₹₩₽元"
_PLAIN = re.compile(r"(?P<digits>[0-9.,]*[0-9][0-9.,]*)(?P<exponent>[eE][+-]?[0-9]+)?(?P<multiplier>[kKMB万亿]?)")
_GROUPS = {",": re.compile(r"\d{1,3}(,\d{2,3})*,\d{3}"), ".": re.compile(r"\d{1,3}(\.\d{3})+")}
_SPACED = re.compile(r"(?<=\d)[" + _SPACES + r"](?=\d{3}(?!\d))")


def is_missing(cell: str) -> bool:
    """Whether a cell is missing."""
    return cell.strip().lower() in MISSING_MARKERS


def parse_number(cell: str, decimal_mark: str = ".") -> float | None:
    """Parse a number; NaN if the cell is missing, None if it is not a number.

    Percent signs are ignored: 5 % is 5. Infinities are numbers.
    """
    text = cell.strip()
    if text.lower() in MISSING_MARKERS:
        return math.nan
    if decimal_mark == "." and "_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
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
    return (
        sign * float(f"{whole or '0'}.{decimals or '0'}{match['exponent'] or ''}") * _MULTIPLIERS[match["multiplier"]]
    )


def _strip_notation(text: str) -> tuple[float, re.Match[str] | None]:
    """Return the sign, and the digits without currency, percent and grouping by spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("−", "-").strip()
    sign = 1.0
    if text.startswith("(") and text.endswith(")"):
        sign, text = -1.0, text[1:-1].strip()
    text = text.strip(_CURRENCY + " ")
    if text.endswith("%"):
        text = text[:-1].rstrip()
    if text[:1] in ("-", "+"):
        sign, text = -sign if text[0] == "-" else sign, text[1:].lstrip()
    text = text.strip(_CURRENCY + " ")
    if any(space in text for space in _SPACES):
        text = _SPACED.sub("", text)
    return sign, _PLAIN.fullmatch(text)


def decimal_mark_of(cell: str) -> tuple[str, bool]:
    """Return the decimal mark of a cell, and whether it is certain: 1,5 and 1.234,5 are, 1,234 is not.

    ('', False) if the cell has no mark.
    """
    match = _strip_notation(cell.strip())[1]
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


def notation_notes(cells: Sequence[str]) -> list[str]:
    """Return sentences for a report on how the notation of numbers was interpreted."""
    notes = []
    letters = set("".join(cells))
    if "%" in letters:
        notes.append("percent signs are ignored (5 % is 5)")
    if letters & set(_CURRENCY):
        notes.append("currency signs are ignored")
    if letters & set("kKMB万亿"):
        notes.append("the suffixes K, M, B, 万, 亿 are applied")
    if any(cell.strip().lower() in _BOOLEANS for cell in cells):
        notes.append("true and false are 1 and 0")
    return notes
