"""Data in memory as a source: texts, labelled texts, conversations, rows and tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from seqgen.errors import DataError
from seqgen.untrusted import as_bytes

_KINDS = "texts, (text, label) pairs, conversations (lists of texts or of messages), rows (mappings) or a table"


def encode_data(data: Any) -> Iterator[bytes]:
    """Data as the bytes of a file that `train` reads, in chunks; nothing but the present record is in memory.

    - Texts: one after another, each ended by a line feed.
    - Pairs of a text and its label, or its labels in a list: JSON lines.
    - Conversations, as lists of texts or of messages (`role` and `content`): JSON lines.
    - Mappings, and rows of a `datasets.Dataset`: JSON lines, columns by name.
    - A table with `to_csv` (a DataFrame): CSV.

    Raises:
        DataError: there is nothing, or a record is none of these, or of another kind than the first.
    """
    if hasattr(data, "to_csv") and hasattr(data, "columns"):
        yield as_bytes(data.to_csv(index=not _is_default(data.index)))
        return
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise DataError(f"`data` must be an iterable of {_KINDS}, not {type(data).__name__}")
    records = iter(data)
    first = next(records, None)
    if first is None:
        raise DataError("`data` has no records")
    kind = _kind_of(first)
    if kind is None:
        raise DataError(f"`data` must have {_KINDS}; its first record is {type(first).__name__}")
    for number, record in enumerate(itertools.chain([first], records)):
        if _kind_of(record) != kind:
            raise DataError(f"`data`: record {number} is {type(record).__name__}, unlike the first, {kind}")
        yield _encode(record, kind)


def _kind_of(record: Any) -> str | None:
    if isinstance(record, str):
        return "a text"
    if isinstance(record, Mapping):
        return "a row"
    if isinstance(record, tuple) and len(record) == 2 and isinstance(record[0], str):
        return "a labelled text"
    if isinstance(record, list | tuple) and record:
        if all(isinstance(turn, str) for turn in record):
            return "a conversation of texts"
        if all(isinstance(turn, Mapping) for turn in record):
            return "a conversation of messages"
    return None


def _encode(record: Any, kind: str) -> bytes:
    if kind == "a text":
        return as_bytes(record if record.endswith("\n") else record + "\n")
    if kind == "a labelled text":
        text, label = record
        labels = [str(one) for one in label] if isinstance(label, list | set | tuple | frozenset) else str(label)
        return _line({"text": text, "label": sorted(labels) if isinstance(labels, list) else labels})
    if kind == "a conversation of messages":
        return _line({"messages": [dict(turn) for turn in record]})
    if kind == "a conversation of texts":  # two speak in turn
        roles = itertools.cycle(("user", "assistant"))
        return _line({"messages": [{"role": role, "content": text} for role, text in zip(roles, record, strict=False)]})
    return _line(dict(record))


def _line(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass") + b"\n"
    except (TypeError, ValueError) as error:
        raise DataError(f"`data`: a record can't be written as JSON: {error}") from error


def _is_default(index: Any) -> bool:
    """Whether the index of a table only counts its rows."""
    return type(index).__name__ == "RangeIndex"
