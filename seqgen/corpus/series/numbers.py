"""Numbers as people write them: 1,234.5 and 1.234,5, $5, 12 %, (3), 45.98M, NA."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

# What stands for a number that is not known, in lower case.
MISSING_MARKERS = frozenset(
    ("", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none", "nil", "nat", "missing", "nd", "-", "--",
     "---", "—", "–", "?", ".", "..", "...", "*", "\\n", "#value!", "#div/0!", "#ref!", "#null!", "#num!", "无")
)  # fmt: skip
_YES_NO = {"true": 1.0, "false": 0.0}
_TIMES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "万": 1e4, "亿": 1e8}
_SPACES = "\u00a0\u2007\u2009\u202f'’ "
_CURRENCY = "$€£¥₹₩₽元"
_PLAIN = re.compile(r"(?P<digits>[0-9.,]*[0-9][0-9.,]*)(?P<exponent>[eE][+-]?[0-9]+)?(?P<times>[kKMB万亿]?)")
_GROUPS = {",": re.compile(r"\d{1,3}(,\d{2,3})*,\d{3}"), ".": re.compile(r"\d{1,3}(\.\d{3})+")}
_SPACED = re.compile(r"(?<=\d)[" + _SPACES + r"](?=\d{3}(?!\d))")


def is_missing(cell: str) -> bool:
    """Whether a cell stands for nothing."""
    return cell.strip().lower() in MISSING_MARKERS


def parse_number(cell: str, comma: str = ".") -> float | None:
    """The number in a cell, `comma` being what stands before its decimals; NaN if missing, None if it is no number.

    A percent sign is left out: 5 % is 5. Infinities are numbers here.
    """
    text = cell.strip()
    if text.lower() in MISSING_MARKERS:
        return math.nan
    if comma == "." and "_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    if text.lower() in _YES_NO:
        return _YES_NO[text.lower()]
    return _ornate(text, comma)


def _ornate(text: str, comma: str) -> float | None:
    sign, match = _stripped(text)
    if match is None:
        return None
    digits, other = match["digits"], "," if comma == "." else "."
    whole, _, decimals = digits.partition(comma)
    if comma in decimals or other in decimals:
        return None
    if other in whole:
        if not _GROUPS[other].fullmatch(whole):
            return None
        whole = whole.replace(other, "")
    return sign * float(f"{whole or '0'}.{decimals or '0'}{match['exponent'] or ''}") * _TIMES[match["times"]]


def _stripped(text: str) -> tuple[float, re.Match[str] | None]:
    """The sign, and what is left of a number without its ornaments."""
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
    """What stands before the decimals in a cell, and whether that is certain: 1,5 and 1.234,5 are, 1,234 is not.

    ('', False) where nothing tells.
    """
    match = _stripped(cell.strip())[1]
    digits = match["digits"] if match else ""
    point, comma = digits.rfind("."), digits.rfind(",")
    if point >= 0 and comma >= 0:
        return (".", True) if point > comma else (",", True)
    for mark, other in ((".", ","), (",", ".")):
        if mark in digits:
            if digits.count(mark) > 1:  # it groups thousands
                return (other, True) if _GROUPS[mark].fullmatch(digits) else ("", False)
            return mark, not _GROUPS[mark].fullmatch(digits) or digits.startswith("0")
    return "", False


def notation_notes(cells: Sequence[str]) -> list[str]:
    """What was left out of numbers, in words for a report."""
    found = []
    letters = set("".join(cells))
    if "%" in letters:
        found.append("percent signs are left out (5 % is 5)")
    if letters & set(_CURRENCY):
        found.append("currency signs are left out")
    if letters & set("kKMB万亿"):
        found.append("K, M, B, 万, 亿 are multiplied out")
    if any(cell.strip().lower() in _YES_NO for cell in cells):
        found.append("true and false are 1 and 0")
    return found
