"""Labels: their names, one rule for numbers, and their order."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from seqgen.errors import DataError
from seqgen.untrusted import as_bytes

_WHOLE = re.compile(r"([-+]?\d+)\.0*")
_LIST = re.compile(r"""\[\s*(?:(?:'[^']*'|"[^"]*"|[\w.+-]+)\s*(?:,\s*(?!\])|(?=\])))*\]""")
_ITEM = re.compile(r"""'([^']*)'|"([^"]*)"|([\w.+-]+)""")
_CACHED_LABELS = 1 << 14  # labels repeat
_MAX_PART_LENGTH = 40  # characters of one of several labels
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@functools.lru_cache(_CACHED_LABELS)
def label_name(text: str) -> str:
    """Return the name of a label that is written as text: 1.0 is `1`, True and TRUE are `true`."""
    label = text.strip().removeprefix("__label__")  # fastText's mark
    if label.lower() in ("true", "false"):
        return label.lower()
    whole = _WHOLE.fullmatch(label) if label.isascii() else None
    return whole[1] if whole else label


def label_names(value: Any, where: str) -> tuple[str, ...]:
    """Return the names of a label, or of a list of labels, from JSON. None, and an empty text, give none.

    Raises:
        DataError: it is an object, or a list of something else than labels.
    """
    if isinstance(value, list):
        if any(isinstance(item, (list, dict)) for item in value):
            raise DataError(f"{where}: a label in the list is {_described(value)}; labels are strings or numbers")
        return tuple(dict.fromkeys(name for item in value for name in label_names(item, where)))
    if isinstance(value, dict):
        raise DataError(
            f"{where}: the label is {_described(value)}; it must be a string, a number, true or false, or a list of "
            "these; name another key with --label-column"
        )
    if value is None:
        return ()
    if isinstance(value, bool):
        return (str(value).lower(),)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = label_name(as_bytes(str(value)).decode("utf-8", "replace"))
    return (name,) if name else ()


def cell_splitter(cells: Sequence[str]) -> tuple[Callable[[str], tuple[str, ...]], str]:
    """Return how a cell of a column of labels is read, and an example of a cell that is split at a mark, '' for none.

    Cells that are lists, `["a", "b"]`, have several labels; and so have those that combine the same few parts, `a|b`.
    """
    written = [cell.strip() for cell in cells if cell.strip()]
    if written and all(_items(cell) is not None for cell in written):
        return functools.lru_cache(_CACHED_LABELS)(_list_labels), ""
    distinct = set(written)
    for mark in ";|,":
        combined = [cell for cell in written if mark in cell]
        parts = {part.strip() for cell in distinct for part in cell.split(mark)}
        if combined and len(parts) < len(distinct) and "" not in parts and max(map(len, parts)) <= _MAX_PART_LENGTH:
            return functools.lru_cache(_CACHED_LABELS)(functools.partial(_split_labels, mark)), combined[0]
    return functools.lru_cache(_CACHED_LABELS)(_one_label), ""


def _one_label(cell: str) -> tuple[str, ...]:
    label = label_name(cell)
    return (label,) if label else ()


def _split_labels(mark: str, cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for part in cell.split(mark) if (label := label_name(part))))


def _list_labels(cell: str) -> tuple[str, ...]:
    items = _items(cell.strip())
    return _one_label(cell) if items is None else tuple(dict.fromkeys(filter(None, map(label_name, items))))


def _items(cell: str) -> list[str] | None:
    """Return the items of a list in JSON or Python, None if the cell is none."""
    if not _LIST.fullmatch(cell):
        return None
    return [word or quoted or double for quoted, double, word in _ITEM.findall(cell[1:-1])]


def _described(value: Any) -> str:
    return f"an object with the keys {', '.join(map(str, value))[:80]}" if isinstance(value, dict) else "nested"


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Sort labels: numbers by value, then the others by code point. The order is total, and `nan` is a text."""
    return tuple(sorted(labels, key=_rank))


def _rank(label: str) -> tuple[int, float, str]:
    number = float(label) if label.isascii() and _NUMBER.fullmatch(label) else math.inf
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)
