"""Rows of a dataset as text, records or a table, whichever the task reads."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from seqgen.errors import DataError
from seqgen.specs.tasks import RowLayout
from seqgen.untrusted import as_valid_utf8

ClassNames = Mapping[str, list[str]]  # by column: the names of the classes that its integers stand for

_TEXT_COLUMN = "text"  # the usual name


class RowFormat(NamedTuple):
    """How to read rows.

    layout: see `RowLayout`.
    text_column: for text, one column or several separated by commas; guessed if None.
    """

    layout: RowLayout = RowLayout.TEXT
    text_column: str | None = None


AS_TEXT = RowFormat()


def write(
    rows: RowFormat, tables: Iterable[Any], names: ClassNames, stream: BinaryIO, progress: Callable[[int], None]
) -> None:
    """Write rows in a layout.

    Args:
        tables: pyarrow tables, each with a part of the rows.
        progress: called with the number of bytes written so far.

    Raises:
        DataError: there is no such column, no column has text, or there are no rows.
    """
    if rows.layout == RowLayout.TABLE:
        _write_parquet(tables, stream, progress)
        return
    done = 0
    for piece in _records(tables, names) if rows.layout == RowLayout.RECORDS else _text(tables, rows):
        done += stream.write(piece)
        progress(done)
    if not done:
        raise DataError("it has no rows")


def _text(tables: Iterable[Any], rows: RowFormat) -> Iterator[bytes]:
    columns: list[str] = []
    for table in tables:
        if not columns and table.num_rows:
            columns = _text_columns(table, rows.text_column)
        texts = [table.column(name).to_pylist() for name in columns]
        joined = ("\n".join(_as_text(value) for value in row) for row in zip(*texts, strict=True))
        if table.num_rows:
            yield as_valid_utf8("".join(text + "\n" for text in joined))


def _as_text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def _text_columns(table: Any, requested: str | None) -> list[str]:
    names = list(map(str, table.column_names))
    if requested is not None:
        wanted = [part.strip() for part in requested.split(",") if part.strip()]
        for name in wanted:
            if name not in names:
                raise DataError(f"it has no column {name!r}; the columns are {', '.join(names[:12])}")
        if wanted:
            return wanted
    head = table.slice(0, 100).to_pylist()
    return [guess_text_column(head)]


def guess_text_column(rows: list[dict[str, Any]]) -> str:
    """Return the text column: `text`, or the column with the most characters in these rows.

    Raises `DataError` if no column has text.
    """
    lengths: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str):
                lengths[name] = lengths.get(name, 0) + len(value)
    if _TEXT_COLUMN in lengths:
        return _TEXT_COLUMN
    if not any(lengths.values()):
        names = ", ".join(map(str, rows[0])) if rows else "none"
        raise DataError(f"no column has text; the columns are {names}; name one with --text-column")
    return max(lengths, key=lambda name: lengths[name])


def _records(tables: Iterable[Any], names: ClassNames) -> Iterator[bytes]:
    for table in tables:
        lines = []
        for row in table.to_pylist():
            for column, classes in names.items():
                row[column] = class_of(row.get(column), classes)
            lines.append(json.dumps(row, ensure_ascii=False, default=_json_default) + "\n")
        if lines:
            yield as_valid_utf8("".join(lines))


def class_names(features: Any) -> dict[str, list[str]]:
    """The classes of each column of a dataset whose integers stand for classes; `features` may be None."""
    found = {}
    for key, value in (features or {}).items():
        inner = getattr(value, "feature", value)  # the elements of a list
        if hasattr(inner, "names"):
            found[key] = list(inner.names)
    return found


def class_of(value: Any, classes: list[str]) -> Any:
    """The class of a number, or the classes of a list; None for a number without a class."""
    if isinstance(value, list):
        return [class_of(each, classes) for each in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return classes[value] if 0 <= value < len(classes) else None


def _json_default(value: object) -> str | None:
    """The JSON of other types: times become text, bytes (images, sound) null."""
    return None if isinstance(value, bytes) else str(value)


def _write_parquet(tables: Iterable[Any], stream: BinaryIO, progress: Callable[[int], None]) -> None:
    parquet: Any = importlib.import_module("pyarrow.parquet")
    writer: Any = None
    for table in tables:
        if writer is None:
            writer = parquet.ParquetWriter(stream, table.schema)
        writer.write_table(table.cast(writer.schema))
        progress(stream.tell())
    if writer is None:
        raise DataError("it has no rows")
    writer.close()


def suffix(rows: RowFormat) -> str:
    """Return the suffix of a file in that layout."""
    return {RowLayout.RECORDS: ".jsonl", RowLayout.TABLE: ".parquet"}.get(rows.layout, ".txt")
