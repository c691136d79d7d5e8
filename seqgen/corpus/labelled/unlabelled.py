"""Texts to be labelled: the lines of a file, a column of a table, or a key of JSON lines or of an array of objects."""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqgen.corpus.conversations.json_stream import EACH, NOT_JSON, Found, find_line_values, find_values
from seqgen.corpus.conversations.json_stream import Path as JsonPath
from seqgen.corpus.dataset_rows import guess_text_column
from seqgen.corpus.documents import Document, Warn
from seqgen.corpus.labelled.columns import (
    KNOWN_NAMES,
    choose_text_columns,
    find_column,
    find_name,
    join_texts,
    lacks_columns,
)
from seqgen.corpus.tables.columns import listed
from seqgen.corpus.tables.read import Table, is_workbook, open_table
from seqgen.errors import DataError
from seqgen.untrusted import as_bytes, parse_json

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".xlsx")
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_ARRAY = re.compile(rb'\s*\[\s*(?:\{\s*(?:"|\Z)|\Z)')  # or what may become one
_EXAMPLES = 50  # objects from which the key of the text is guessed


@dataclass(frozen=True)
class UnlabelledOptions:
    """Where the texts are.

    Attributes:
        text_column: as given; it must exist.
        trained_columns: of the model: also required of a table with a header, unless `text_column` is given.
        sheet: of a workbook.
        trained_option: what the training was given, for a table without a header; `text_column` holds before it.
        is_table: whether texts must be those of a table or of JSON, and not lines.
    """

    text_column: str | None = None
    trained_columns: tuple[str, ...] = ()
    sheet: str | None = None
    trained_option: str | None = None
    is_table: bool = False

    @classmethod
    def of_model(
        cls,
        trained_columns: tuple[str, ...],
        trained_option: str | None,
        given: str | None = None,
        sheet: str | None = None,
    ) -> UnlabelledOptions:
        """Return those for a model: the names that it has learnt hold before the option, which may be a number.

        With a `given` column, what has texts is a table or JSON.
        """
        text_column = given or (None if trained_columns else trained_option)
        return cls(text_column, trained_columns, sheet, trained_option, is_table=given is not None)

    def given_column(self, has_header: bool) -> str | None:
        """The column that an option names for a table with or without a header."""
        return self.text_column or (None if has_header else self.trained_option)

    def known_names(self) -> frozenset[str]:
        """Lower-case names by which a first row is a header."""
        given = (self.text_column, *(self.text_column or "").split(","), *self.trained_columns)
        names = {name.strip().lower() for name in given if name and name.strip() and not name.strip().isdigit()}
        return KNOWN_NAMES | names


@dataclass(frozen=True)
class UnlabelledTable:
    """A table and the columns of its text."""

    table: Table
    text: tuple[int, ...]
    known: frozenset[str] = field(default=frozenset(), repr=False)

    def rows(self) -> Iterator[tuple[list[str], str]]:
        """Yield (cells, text) of each row, in order. The text of a row without one is empty."""
        for _, cells in self.table.rows():
            yield cells, join_texts([cells[index].strip() for index in self.text if index < len(cells)])


def begins_table(first_line: str, options: UnlabelledOptions) -> bool:
    """Whether the first line of a pipe is the header of a table that has the model's columns, or the one given."""
    if options.is_table:
        return True
    names = (options.text_column,) if options.text_column else options.trained_columns
    if not names:
        return False
    return any(
        len(cells) > 1 and all(find_name(cells, name) is not None for name in names)
        for mark in ",;\t|"
        if (cells := [cell.strip().strip('"') for cell in first_line.strip("\ufeff\r\n").split(mark)])
    )


def open_unlabelled_table(
    document: Document, options: UnlabelledOptions, warn: Warn, is_table: bool = False
) -> UnlabelledTable | None:
    """Open the table in a document; None if it has none: then each line is a text.

    Args:
        is_table: whether it is a table whatever its name.

    Raises:
        DataError: the table lacks the column of the text.
    """
    head = b"".join(document.chunks(0, 1 << 16))
    is_table = is_table or options.is_table or document.suffix in TABLE_SUFFIXES or is_workbook(head)
    if not is_table and not begins_table(head.split(b"\n", 1)[0].decode("utf-8", "replace"), options):
        return None
    table = open_table(document, warn, options.sheet, options.known_names())
    given = options.given_column(table.has_header)
    if table.width < 2 and not table.has_header and given is None:
        return None
    if not table.is_regular and table.width > 1 and given is None:
        warn(f"{table.name} is no table of rows of one width, and is read line by line")
        return None
    return UnlabelledTable(table, _text_columns(table, options))


def read_texts(documents: Iterable[Document], options: UnlabelledOptions, warn: Warn) -> Iterator[bytes]:
    """The texts in documents: of a table or of JSON the column of text, otherwise each line; none is empty.

    Raises:
        DataError: a table or a line of JSON lacks the column or key of the text.
    """
    for document in documents:
        texts = json_texts(document, options)
        if texts is None and (table := open_unlabelled_table(document, options, warn)) is not None:
            texts = (text for _, text in table.rows())
        lines = iter_lines(document) if texts is None else map(as_bytes, texts)
        yield from (line for line in map(bytes.strip, lines) if line)


def iter_lines(document: Document) -> Iterator[bytes]:
    """The lines of a document."""
    parts: list[bytes] = []
    for chunk in (*document.chunks(), b"\n"):
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for other in others:
            yield b"".join(parts)
            parts = [other]


def _text_columns(table: Table, options: UnlabelledOptions) -> tuple[int, ...]:
    given = options.given_column(table.has_header)
    if given is not None or not options.trained_columns:
        return choose_text_columns(table, given)
    found = [find_column(table, name) for name in options.trained_columns]
    if None not in found:
        return tuple(index for index in found if index is not None)
    if table.width == 1:
        return (0,)
    raise lacks_columns(table, options.trained_columns, "give one with --text-column")


def json_texts(document: Document, options: UnlabelledOptions) -> Iterator[str] | None:
    """Return the texts in a document of JSON lines, one a line, or in a JSON array of objects; None if it has none.

    A file whose name doesn't say that it is JSON is, if its first line, or the first element of the array that it
    begins with, is an object with the keys of the text.

    Raises:
        DataError: later, for a line or an element that is no object or lacks the key; with the number of the line.
    """
    head = b"".join(document.chunks(0, 1 << 16))
    suffixes = {document.suffix, document.path.suffix}  # the rows of a dataset are JSON lines, whatever its name
    is_json = not suffixes.isdisjoint(_JSON_SUFFIXES) or begins_array(head, options)
    if not is_json and piped_json(head.split(b"\n", 1)[0], options) is None:
        return None
    start = head.lstrip()[:1]
    if start not in (b"{", b"["):
        return None
    path: JsonPath = (EACH,) if start == b"[" else ()
    examples = itertools.islice(find_values(_pieces(document), path, unique_keys=False), _EXAMPLES)
    rows = [found.value for found in examples if isinstance(found.value, dict)]
    if not rows:
        return None
    keys = _text_keys(rows[0], options) or [guess_text_column(rows)]
    values = find_values(_pieces(document), path) if path else find_line_values(iter_lines(document), ())
    return (_object_text(found, keys, document.shown) for found in values)


def piped_json(first_line: bytes, options: UnlabelledOptions) -> Callable[[list[bytes], int], Iterator[str]] | None:
    """Return what reads lines of a pipe whose first is an object with the keys of the text; None if it isn't.

    It takes lines and the number of the first of them, yields a text for each that is not blank, and raises as
    `json_texts` does.
    """
    try:
        row = parse_json(first_line.removeprefix(codecs.BOM_UTF8), unique_keys=False)
    except ValueError:
        return None
    keys = _text_keys(row, options) if isinstance(row, dict) else []
    if not keys or not _has_keys(row, keys):
        return None

    def read(lines: list[bytes], number: int) -> Iterator[str]:
        return (_object_text(found, keys, "standard input") for found in find_line_values(lines, (), number))

    return read


def begins_array(head: bytes, options: UnlabelledOptions) -> bool | None:
    """Whether text begins with an array of objects, of which the first has the keys of the text, as `piped_json` asks.

    None if it may, but `head` ends before the first object does: a lone `[` or `[{` is known by the line after it.
    """
    if not (options.text_column or options.trained_columns) or not _ARRAY.match(head):
        return False
    text = head.decode("utf-8", "surrogateescape")
    found = next(find_values([text], (EACH,), unique_keys=False), None)
    if found is None or found.is_damaged:
        return None if _may_go_on(text[: text.rfind("\n") + 1]) else False
    return isinstance(found.value, dict) and _has_keys(found.value, _text_keys(found.value, options))


def _may_go_on(lines: str) -> bool:
    """Whether whole lines, which end within no token of JSON, may be the beginning of a value."""
    try:
        parse_json(lines, unique_keys=False)
    except json.JSONDecodeError as error:
        return error.pos == len(lines)
    except ValueError:  # nested too deeply
        return False
    return False


def _text_keys(row: dict[str, Any], options: UnlabelledOptions) -> list[str]:
    """The keys that were given, or that the model was trained on."""
    given = options.text_column or ""
    keys = [given] if find_name(row, given) is not None else given.split(",")
    return [key.strip() for key in keys if key.strip()] or list(options.trained_columns)


def _has_keys(row: dict[str, Any], keys: Sequence[str]) -> bool:
    return all(find_name(row, key) is not None for key in keys)


def _object_text(found: Found, keys: Sequence[str], name: str) -> str:
    row = found.value
    if found.is_damaged and found.damage != NOT_JSON:
        raise DataError(f"{name}:{found.line}: {found.damage}")
    if not isinstance(row, dict) or not _has_keys(row, keys):
        have = f"; the keys are {listed(list(row))}" if isinstance(row, dict) else ""
        raise DataError(
            f"{name}:{found.line}: expected an object with {' and '.join(map(repr, keys))}{have}; "
            "give the key with --text-column"
        )
    values = [row[own] for key in keys if (own := find_name(row, key)) is not None]
    return join_texts([str(value) for value in values if value is not None])


def _pieces(document: Document) -> Iterator[str]:
    return codecs.iterdecode(document.limited(), "utf-8", "surrogateescape")
