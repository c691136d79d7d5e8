"""Names of columns as people give them."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Sequence

from seqgen.errors import DataError

_MAX_LISTED = 12


def parse_columns(names: str, header: Sequence[str], where: str = "the table", has_header: bool = True) -> list[int]:
    """Return the indices of the columns that an option names.

    The whole text is tried first, then its parts between commas, in quotes if they have commas themselves; each as an
    exact name, as one in another case, and as a number from 1.

    Args:
        where: the table, for messages.
        has_header: whether the names in `header` are the table's own.

    Raises:
        DataError: there is no such column; the message suggests one and lists those there are.
    """
    whole = find_column(names, header)
    if whole is not None:
        return [whole]
    try:
        parts = [part.strip() for part in next(csv.reader([names], skipinitialspace=True), []) if part.strip()]
    except csv.Error:  # a line end within it
        parts = []
    if not parts:
        raise DataError(f"{where} has no column {names!r}; the columns are {listed(header, has_header)}")
    found = [find_column(part, header) for part in parts]
    for part, index in zip(parts, found, strict=True):
        if index is None:
            near = difflib.get_close_matches(part.lower(), [name.lower() for name in header], 1) if has_header else []
            meant = next((name for name in header if near and name.lower() == near[0]), None)
            hint = f"did you mean {meant!r}? The" if meant else "the"
            raise DataError(f"{where} has no column {part!r}; {hint} columns are {listed(header, has_header)}")
    return [index for index in found if index is not None]


def find_column(name: str, header: Sequence[str]) -> int | None:
    """Return the index of a column by its exact name, its name in another case, or its number from 1; else None."""
    if name in header:
        return header.index(name)
    folded = [index for index, each in enumerate(header) if each.strip().lower() == name.strip().lower()]
    if len(folded) == 1:
        return folded[0]
    number = int(name) if re.fullmatch("[0-9]{1,18}", name) else 0
    return number - 1 if 1 <= number <= len(header) else None


def listed(header: Sequence[str], has_header: bool = True) -> str:
    """Return the names of columns for a message; their numbers if they have none of their own."""
    if not has_header:
        return f"1 to {len(header)}"
    more = f" and {len(header) - _MAX_LISTED} more" if len(header) > _MAX_LISTED else ""
    return ", ".join(map(_shown, header[:_MAX_LISTED])) + more


def _shown(name: str) -> str:
    name = " ".join(name.split())[:40]
    return f'"{name}"' if "," in name else name
