"""Data in memory as a source: texts, labelled texts, conversations, rows and tables."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from seqgen.corpus.dataset_rows import ClassNames, class_names, class_of, guess_text_column
from seqgen.corpus.documents import Spool
from seqgen.errors import DataError, UserError
from seqgen.specs.tasks import RowLayout
from seqgen.untrusted import as_bytes, as_valid_utf8

_HEAD = 100  # rows by which columns and their kinds are known
_PAIR, _ROW = "a labelled text", "a row"  # kinds of records
_KINDS = "texts, (text, label) pairs, conversations (lists of texts or of messages), rows (mappings) or a table"


class EncodedData(NamedTuple):
    """Data as a file that `train` reads.

    Attributes:
        chunks: its bytes; only the present record and a few rows are in memory.
        suffix: that of its name, by which readers know tables.
        text_columns: the columns whose texts are all that is written; none if other columns are too.
    """

    chunks: Iterator[bytes]
    suffix: str = ""
    text_columns: tuple[str, ...] = ()


def encode_data(data: Any, layout: RowLayout | None = None, text_column: str | None = None) -> EncodedData:
    """Data as a file that `train` reads.

    - Texts: one after another, each ended by a line feed.
    - Pairs of a text and its label, or its labels in a list: JSON lines.
    - Conversations, as lists of texts or of messages (`role` and `content`): JSON lines.
    - Mappings, and rows of a `datasets.Dataset`: JSON lines, columns by name; labels by the names of their classes.
    - A table with `to_csv` (a DataFrame): CSV, or JSON lines if it has cells of several values.

    Args:
        layout: that of the task, if it is known: for `TEXT` only the texts of pairs, rows and tables are written, for
            `TABLE` rows become CSV. None: texts of rows and tables of one column, of text.
        text_column: the column of texts, or several with commas between; guessed if None.

    Raises:
        DataError: there is nothing, or a record is none of these, or of another kind than the first; or there is no
            such column, or none of text. What is wrong with a later record is raised by `chunks`.
    """
    if _is_table(data):
        return _encode_table(data, layout, text_column)
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise DataError(f"`data` must be an iterable of {_KINDS}, not {type(data).__name__}")
    classes = class_names(getattr(data, "features", None))
    records = _checked((_with_classes(record, classes) for record in data) if classes else iter(data))
    first, kind = next(records, (None, ""))
    if not kind:
        raise DataError("`data` has no records")
    rest = (record for record, _ in records)
    if kind == _ROW:
        return _encode_rows([first, *itertools.islice(rest, _HEAD - 1)], rest, layout, text_column)
    every = itertools.chain([first], rest)
    if kind == "a text":
        return EncodedData(_encode(text, kind) for text in every)
    if kind == _PAIR and layout == RowLayout.TEXT:
        return EncodedData((_encode(text, "a text") for text, _ in every), text_columns=("text",))
    return EncodedData((_encode(record, kind) for record in every), ".jsonl")


def about_data(message: str) -> str:
    """A message about the standard input of a training, for whom gave data in memory in its place."""
    return message.replace("standard input", "`data`")


@contextlib.contextmanager
def errors_about_data() -> Iterator[None]:
    """Raise errors about standard input as ones about `data`."""
    try:
        yield
    except UserError as error:
        error.args = (about_data(str(error)),)
        raise


class StoredData:
    """Data in memory as the standard input of a training: it is read once, and stored in the form that its task reads.

    Args:
        spool: where it is stored.
        layout: that of the task; None if it is to be guessed.
        text_column: see `encode_data`.
    """

    def __init__(self, data: Any, spool: Spool, layout: RowLayout | None, text_column: str | None) -> None:
        self._data, self._spool, self._layout, self._text_column = data, spool, layout, text_column
        self._encoded = self._store(data, layout)

    @property
    def has_only_texts(self) -> bool:
        """Whether the column of texts has been taken from it."""
        return bool(self._encoded.text_columns)

    def suit(self, layout: RowLayout, warn: Callable[[str], None]) -> None:
        """Store it again if the task that was found for it reads another form."""
        if self._layout is not None:
            return
        self._layout = layout
        if self.has_only_texts or not self._encoded.suffix or layout not in (RowLayout.TEXT, RowLayout.TABLE):
            return
        if _is_table(self._data):
            self._encoded = self._store(self._data, layout)
        elif (rows := self._stored_rows()) is not None:
            self._encoded = self._store(rows, layout)
        if self.has_only_texts and self._text_column is None:
            columns = " and ".join(map(repr, self._encoded.text_columns))
            warn(f"`data` is learnt as the text of its column {columns}; name another task with --task")

    def _store(self, data: Any, layout: RowLayout | None) -> EncodedData:
        encoded = encode_data(data, layout, self._text_column)
        self._spool.standard_input = self._spool.store(encoded.chunks, "data", encoded.suffix)
        return encoded

    def _stored_rows(self) -> Iterator[dict[str, Any]] | None:
        """The rows, or pairs as rows, that JSON lines were made of; None for conversations."""
        path = self._spool.standard_input
        assert path is not None

        def rows() -> Iterator[dict[str, Any]]:
            with open(path, "rb") as lines:
                yield from map(json.loads, lines)

        return None if next(rows()).keys() == {"messages"} else rows()


def _is_table(data: Any) -> bool:
    return hasattr(data, "to_csv") and hasattr(data, "columns")


def _encode_table(data: Any, layout: RowLayout | None, text_column: str | None) -> EncodedData:
    names = list(map(str, data.columns))
    rows = (dict(zip(names, row, strict=True)) for row in data.itertuples(index=False, name=None))
    head = list(itertools.islice(rows, _HEAD))
    if not head:
        raise DataError("`data` has no rows")
    several = any(isinstance(cell, list | tuple | dict | np.ndarray) for row in head for cell in row.values())
    if _are_texts(head, layout) or (several and layout != RowLayout.TABLE):
        return _encode_rows(head, rows, layout, text_column)
    has_index = not _counts_rows(data.index)
    table = data.to_csv(index=has_index, lineterminator="\n")
    if "\r" in table:  # pandas quotes a cell for what is in the line end
        table = data.to_csv(index=has_index, lineterminator="\r\n")
    return EncodedData(iter([as_valid_utf8(table)]), ".csv")


def _encode_rows(
    head: list[Any], rest: Iterable[Any], layout: RowLayout | None, text_column: str | None
) -> EncodedData:
    """Rows as texts, JSON lines or CSV; `head` are the first of them."""
    every = itertools.chain(head, rest)
    if _are_texts(head, layout):
        columns = [name.strip() for name in (text_column or "").split(",") if name.strip()]
        columns = columns or [guess_text_column(head)]
        return EncodedData(_texts(every, columns), text_columns=tuple(columns))
    if layout == RowLayout.TABLE:
        return EncodedData(_csv(every, dict.fromkeys(name for row in head for name in row)), ".csv")
    return EncodedData((_encode(row, _ROW) for row in every), ".jsonl")


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


def _are_texts(head: list[Any], layout: RowLayout | None) -> bool:
    """Whether rows are learnt as texts: by a task of texts or, without one, if they have one text each or none."""
    if layout is not None or any(len(row) != 1 for row in head):
        return layout == RowLayout.TEXT
    values = [value for row in head for value in row.values() if not _is_missing(value)]
    return bool(values) and all(isinstance(value, str) for value in values)


def _texts(rows: Iterable[Any], columns: list[str]) -> Iterator[bytes]:
    """The texts of rows, each ended by a line feed."""
    for row in rows:
        for name in columns:
            if name not in row:
                raise DataError(f"`data`: a row has no column {name!r}; its columns are {', '.join(map(str, row))}")
            yield as_bytes(_cell(row[name]) + "\n")


def _csv(rows: Iterable[Any], columns: Mapping[Any, None]) -> Iterator[bytes]:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    writer.writerow(columns)
    for number, row in enumerate(rows):
        if unknown := [name for name in row if name not in columns]:
            raise DataError(f"`data`: record {number} has a column {unknown[0]!r}, which none of the first rows has")
        writer.writerow([_cell(row.get(name)) for name in columns])
        yield as_valid_utf8(line.getvalue())
        line.seek(0)
        line.truncate()


def _cell(value: Any) -> str:
    return "" if _is_missing(value) else str(value)


def _is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, or pandas' NA or NaT."""
    if isinstance(value, float | np.floating):
        return bool(value != value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _with_classes(record: Any, classes: ClassNames) -> Any:
    """A row of a dataset, with the classes that integers stand for."""
    if not isinstance(record, Mapping):
        return record
    return {name: class_of(value, classes[name]) if name in classes else value for name, value in record.items()}


def _kind_of(record: Any) -> str | None:
    if isinstance(record, str):
        return "a text"
    if isinstance(record, Mapping):
        return _ROW
    if isinstance(record, tuple) and len(record) == 2 and isinstance(record[0], str):
        return _PAIR
    if isinstance(record, list | tuple) and record:
        if all(isinstance(turn, str) for turn in record):
            return "a conversation of texts"
        if all(isinstance(turn, Mapping) for turn in record):
            return "a conversation of messages"
    return None


def _encode(record: Any, kind: str) -> bytes:
    if kind == "a text":
        return as_bytes(record if record.endswith("\n") else record + "\n")
    if kind == _PAIR:
        text, label = record
        if isinstance(label, list | set | tuple | frozenset):
            return _line({"text": text, "label": sorted(str(one) for one in label if not _is_missing(one))})
        return _line({"text": text, "label": None if _is_missing(label) else str(label)})
    if kind == "a conversation of messages":
        return _line({"messages": [dict(turn) for turn in record]})
    if kind == "a conversation of texts":  # two speak in turn
        roles = itertools.cycle(("user", "assistant"))
        return _line({"messages": [{"role": role, "content": text} for role, text in zip(roles, record, strict=False)]})
    return _line({name: None if _is_missing(value) else value for name, value in record.items()})


def _line(value: Any) -> bytes:
    try:
        return as_valid_utf8(json.dumps(value, ensure_ascii=False, default=_plain)) + b"\n"
    except (TypeError, ValueError) as error:
        raise DataError(f"`data`: a record can't be written as JSON: {error}") from error


def _plain(value: Any) -> Any:
    """What JSON has in place of other types."""
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def _counts_rows(index: Any) -> bool:
    """Whether the index of a table counts its rows, some of which may have been left out or joined from elsewhere."""
    return index.nlevels == 1 and index.name is None and index.dtype.kind in "iu"
