"""Data in memory as a source: texts, labelled texts, conversations, rows and tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from seqgen.corpus.dataset_rows import ClassNames, class_names, class_of, guess_text_column
from seqgen.errors import DataError
from seqgen.untrusted import as_bytes

_HEAD = 100  # rows by which the column of texts is guessed
_KINDS = "texts, (text, label) pairs, conversations (lists of texts or of messages), rows (mappings) or a table"


def encode_data(data: Any, as_text: bool | None = None, text_column: str | None = None) -> Iterator[bytes]:
    """Data as the bytes of a file that `train` reads, in chunks; only the present record and a few rows are in memory.

    - Texts: one after another, each ended by a line feed.
    - Pairs of a text and its label, or its labels in a list: JSON lines.
    - Conversations, as lists of texts or of messages (`role` and `content`): JSON lines.
    - Mappings, and rows of a `datasets.Dataset`: JSON lines, columns by name; labels by the names of their classes.
    - A table with `to_csv` (a DataFrame): CSV.

    Args:
        as_text: whether only the texts of pairs, rows and tables are wanted; None for those of one column, of text.
        text_column: the column of texts, or several with commas between; guessed if None.

    Raises:
        DataError: there is nothing, or a record is none of these, or of another kind than the first; or there is no
            such column, or none of text.
    """
    if hasattr(data, "to_csv") and hasattr(data, "columns"):
        names = list(map(str, data.columns))
        rows = (dict(zip(names, row, strict=True)) for row in data.itertuples(index=False, name=None))
        head = list(itertools.islice(rows, _HEAD))
        if not head or not _are_texts(head[0], as_text):
            yield as_bytes(data.to_csv(index=not _is_default(data.index)))
            return
        yield from _texts(head, rows, text_column)
        return
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise DataError(f"`data` must be an iterable of {_KINDS}, not {type(data).__name__}")
    classes = class_names(getattr(data, "features", None))
    records = _checked((_with_classes(record, classes) for record in data) if classes else iter(data))
    first, kind = next(records, (None, ""))
    if not kind:
        raise DataError("`data` has no records")
    if isinstance(first, Mapping) and _are_texts(first, as_text):
        rows = (record for record, _ in records)
        yield from _texts([first, *itertools.islice(rows, _HEAD - 1)], rows, text_column)
        return
    for record, _ in itertools.chain([(first, kind)], records):
        yield _encode(record[0], "a text") if as_text and kind == "a labelled text" else _encode(record, kind)


def _checked(records: Iterator[Any]) -> Iterator[tuple[Any, str]]:
    """Each record and its kind, which must be that of the first."""
    kind = None
    for number, record in enumerate(records):
        own = _kind_of(record)
        if number == 0:
            if own is None:
                raise DataError(f"`data` must have {_KINDS}; its first record is {type(record).__name__}")
            kind = own
        elif own != kind:
            raise DataError(f"`data`: record {number} is {type(record).__name__}, unlike the first, {kind}")
        yield record, str(kind)


def _are_texts(row: Mapping[Any, Any], as_text: bool | None) -> bool:
    if as_text is None:
        return len(row) == 1 and all(isinstance(value, str) for value in row.values())
    return as_text


def _texts(head: list[Any], rows: Iterable[Any], text_column: str | None) -> Iterator[bytes]:
    """The texts of rows, each ended by a line feed; `head` are the first of them."""
    columns = [name.strip() for name in (text_column or "").split(",") if name.strip()]
    columns = columns or [guess_text_column(head)]
    for row in itertools.chain(head, rows):
        for name in columns:
            if name not in row:
                raise DataError(f"`data`: a row has no column {name!r}; its columns are {', '.join(map(str, row))}")
            yield as_bytes(("" if row[name] is None else str(row[name])) + "\n")


def _with_classes(record: Any, classes: ClassNames) -> Any:
    """A row of a dataset, with the classes that integers stand for."""
    if not isinstance(record, Mapping):
        return record
    return {name: class_of(value, classes[name]) if name in classes else value for name, value in record.items()}


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
