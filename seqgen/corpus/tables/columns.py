"""Names of columns as people give them."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Sequence

from seqgen.errors import DataError
from seqgen.quantities import shortened_list

_MAX_LISTED = 12


def parse_columns(
    names: str | Sequence[str], header: Sequence[str], where: str = "the table", has_header: bool = True
) -> list[int]:
    """Return the indices of the columns that an option names.

    The whole text is tried first, then its parts between commas, in quotes if they have commas themselves; each as an
    exact name, as one in another case, and as a number from 1.

    Args:
        names: the text of the option, or several of them.
        where: the table, for messages.
        has_header: whether the names in `header` are the table's own.

    Raises:
        DataError: there is no such column; the message suggests one and lists those there are.
    """
    columns = _Names(header)
    texts = [names] if isinstance(names, str) else names
    return [index for text in texts for index in _parse(text, columns, where, has_header)]


def _parse(names: str, columns: _Names, where: str, has_header: bool) -> list[int]:
    whole, header = columns.find(names), columns.header
    if whole is not None:
        return [whole]
    try:
        parts = [part.strip() for part in next(csv.reader([names], skipinitialspace=True), []) if part.strip()]
    except csv.Error:  # a line end within it
        parts = []
    if not parts:
        raise DataError(f"{where} has no column {names!r}; the columns are {listed(header, has_header)}")
    found = [columns.find(part) for part in parts]
    for part, index in zip(parts, found, strict=True):
        if index is None:
            near = difflib.get_close_matches(part.lower(), [name.lower() for name in header], 1) if has_header else []
            meant = next((name for name in header if near and name.lower() == near[0]), None)
            hint = f"did you mean {meant!r}? The" if meant else "the"
            raise DataError(f"{where} has no column {part!r}; {hint} columns are {listed(header, has_header)}")
    return [index for index in found if index is not None]


class _Names:
    """The columns of a header by their names. The header is gone through once, however many are looked for."""

    def __init__(self, header: Sequence[str]) -> None:
        self.header = header
        self._exact: dict[str, int] = {}
        self._folded: dict[str, list[int]] = {}  # names in lower case
        for index, name in enumerate(header):
            self._exact.setdefault(name, index)
            self._folded.setdefault(name.strip().lower(), []).append(index)

    def find(self, name: str) -> int | None:
        """Return the index of a column by its exact name, its name in another case, or its number from 1; else None."""
        index = self.find_name(name)
        if index is not None:
            return index
        number = int(name) if re.fullmatch("[0-9]{1,18}", name) else 0
        return number - 1 if 1 <= number <= len(self.header) else None

    def find_name(self, name: str) -> int | None:
        """Return the index of a column by its exact name or its name in another case; else None."""
        if name in self._exact:
            return self._exact[name]
        folded = self._folded.get(name.strip().lower(), [])
        return folded[0] if len(folded) == 1 else None


def spellings(names: Iterable[str], header: Sequence[str]) -> dict[str, str]:
    """Return how a header spells those of the names that it has, maybe in another case: name → its own."""
    columns = _Names(header)
    return {name: header[index] for name in names if (index := columns.find_name(name)) is not None}


def listed(header: Sequence[str], has_header: bool = True) -> str:
    """Return the names of columns for a message; their numbers if they have none of their own."""
    if not has_header:
        return f"1 to {len(header)}" if len(header) > 1 else "1"
    return shortened_list(header, _MAX_LISTED, _shown)


def _shown(name: str) -> str:
    name = " ".join(name.split())[:40]
    return f'"{name}"' if "," in name else name
