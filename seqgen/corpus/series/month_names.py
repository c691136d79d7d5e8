"""Names of months and weekdays in many languages, from the CLDR data of babel. English needs no babel."""

from __future__ import annotations

import functools
import importlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# Languages in the order in which they are tried. A column is read in the first that knows all of its names.
_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "zh", "ja", "ko", "sv", "da", "nb", "fi", "cs",
              "sk", "uk", "bg", "tr", "hu", "ro", "el", "hr", "ca", "id", "de_AT")  # fmt: skip
_ENGLISH_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                   "November", "December")  # fmt: skip
_ENGLISH_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT = tuple(name[:3] for name in _ENGLISH_MONTHS)
_SHORT_DAYS = tuple(name[:3] for name in _ENGLISH_DAYS)
_USUAL_MONTHS = tuple(name if len(name) < 5 else "Sept" if name[0] == "S" else name[:3] for name in _ENGLISH_MONTHS)
_ENGLISH_LISTS = (
    _ENGLISH_MONTHS,
    _SHORT,
    _USUAL_MONTHS,
    tuple(f"{name}." if name != "May" else name for name in _SHORT),
    tuple(name if name in _ENGLISH_MONTHS else f"{name}." for name in _USUAL_MONTHS),
    tuple(name if len(name) < 6 else f"{name[:4] if name[0] == 'S' else name[:3]}." for name in _ENGLISH_MONTHS),
)
_OTHER_SPELLINGS = {"de": {"Mrz": 3}}  # written by spreadsheets, but not in CLDR
_MIN_PREFIX = 3  # letters of an abbreviation that CLDR does not list

Names = tuple[str, ...]


def is_month(word: str) -> bool:
    """Whether a word is the name of a month, or an abbreviation of one, in any of the languages."""
    return bool(month_readings(word))


@functools.lru_cache(1 << 12)
def month_readings(word: str) -> frozenset[int]:
    """Return the months, from 1, that a word names in any language. English names have their English meaning."""
    english = _number_in("en", word)
    if english:
        return frozenset((english,))
    return frozenset(number for language in _LANGUAGES[1:] if (number := _number_in(language, word)))


@functools.lru_cache(1 << 12)
def is_weekday(word: str) -> bool:
    """Whether a word is the name of a weekday, or an abbreviation of one, in any of the languages."""
    folded = _fold(word)
    return any(folded in _weekdays(language) for language in _LANGUAGES)


def months_of(words: Iterable[str]) -> tuple[str, dict[str, int]] | None:
    """Return the language of a column and the month of each of its names; None if no language knows them all.

    Of several languages, it is the first that writes the names like the column.
    """
    distinct = set(words)
    first: tuple[str, dict[str, int]] | None = None
    for language in _LANGUAGES:
        found = {word: _number_in(language, word) for word in distinct}
        if not all(found.values()) or (first is not None and found != first[1]):
            continue
        if month_names(found, language):
            return language, found
        first = first or (language, found)
    return first


def other_reading(words: Iterable[str], chosen: Mapping[str, int]) -> str:
    """Return a language in which the same names are other months, '' for none (listopad: November, or October)."""
    for language in _LANGUAGES:
        found = {word: _number_in(language, word) for word in set(words)}
        if all(found.values()) and found != chosen:
            return language
    return ""


def month_names(seen: Mapping[str, int], language: str) -> Names | None:
    """Return the names of all months as a column writes them; None if it mixes several ways."""
    return _as_written(_month_lists(language), seen)


def weekday_names(seen: Mapping[str, int], language: str) -> Names | None:
    """Return the names of all weekdays, from Monday, as a column writes them. `seen`: name → weekday from 1."""
    return _as_written(_weekday_lists(language), seen)


def _as_written(lists: Sequence[Names], seen: Mapping[str, int]) -> Names | None:
    changes: tuple[Callable[[str], str], ...] = (str, str.title, str.upper, str.lower)
    marks: tuple[Callable[[str], str], ...] = (
        str,
        lambda name: name.rstrip("."),
        lambda name: name.rstrip(".") + ".",
        _without_accents,
    )
    for names in lists:
        for mark in marks:
            for change in changes:
                written = tuple(change(mark(name)) for name in names)
                if all(written[number - 1] == word for word, number in seen.items()):
                    return written
    return None


def _number_in(language: str, word: str) -> int:
    """Return the month that a word names in a language, 0 for none."""
    names = _months(language)
    folded = _fold(word)
    if folded in names:
        return names[folded]
    if len(folded) < _MIN_PREFIX:
        return 0
    meant = {number for name, number in names.items() if name.startswith(folded)}
    return meant.pop() if len(meant) == 1 else 0


@functools.cache
def _months(language: str) -> dict[str, int]:
    return {_fold(name): number for names in _month_lists(language) for number, name in enumerate(names, 1)}


@functools.cache
def _weekdays(language: str) -> frozenset[str]:
    return frozenset(_fold(name) for names in _weekday_lists(language) for name in names) | (
        {"tues", "wednes", "thurs"} if language == "en" else frozenset()
    )


@functools.cache
def _month_lists(language: str) -> tuple[Names, ...]:
    """Return the ways in which a language writes the twelve months: with a day and alone, whole and abbreviated."""
    if language == "en":
        return _ENGLISH_LISTS
    months = _locale(language).months
    lists = [
        tuple(str(months[context][width][number]) for number in range(1, 13))
        for width in ("wide", "abbreviated")
        for context in ("format", "stand-alone")
    ]
    lists += [tuple(name[:3] for name in lists[0]), tuple(name[:3] for name in lists[1])]
    for spelling, month in _OTHER_SPELLINGS.get(language, {}).items():
        lists += [(*names[: month - 1], spelling, *names[month:]) for names in lists[2:]]
    return tuple(lists)


@functools.cache
def _weekday_lists(language: str) -> tuple[Names, ...]:
    if language == "en":
        return _ENGLISH_DAYS, _SHORT_DAYS
    days = _locale(language).days
    return tuple(
        tuple(str(days[context][width][number]) for number in range(7))
        for width in ("wide", "abbreviated", "short")
        for context in ("format", "stand-alone")
        if width in days[context]
    )


def weekday_numbers(words: Iterable[str], language: str) -> dict[str, int]:
    """Return the weekday, from 1 for Monday, of each name that the language knows."""
    numbers = {_fold(name): number for names in _weekday_lists(language) for number, name in enumerate(names, 1)}
    return {word: numbers[_fold(word)] for word in set(words) if _fold(word) in numbers}


def _locale(language: str) -> Any:
    return importlib.import_module("babel").Locale.parse(language)


def _fold(word: str) -> str:
    return _without_accents(word.casefold()).rstrip(".")


def _without_accents(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word)
    return unicodedata.normalize("NFC", "".join(letter for letter in letters if not unicodedata.combining(letter)))
