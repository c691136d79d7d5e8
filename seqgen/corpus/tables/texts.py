"""The text of named columns of a table, for tasks that learn plain text."""

from __future__ import annotations

from collections.abc import Iterator

from seqgen.corpus.documents import Document, Warn
from seqgen.corpus.tables.columns import parse_columns
from seqgen.corpus.tables.read import open_table
from seqgen.untrusted import as_bytes


def column_text(document: Document, columns: str, warn: Warn) -> Iterator[bytes]:
    """Yield the text of each row, columns and rows ended by line feeds.

    Args:
        columns: as `parse_columns` takes them.

    Raises:
        DataError: the document is no table, or has no such column.
    """
    names = {name.strip().lower() for name in (columns, *columns.split(","))}
    table = open_table(document, warn, known={name for name in names if not name.isdigit()})
    indices = parse_columns(columns, table.header, table.name, table.has_header)
    for _, rows in table.blocks():
        texts = ("\n".join(row[index] for index in indices if index < len(row)) for row in rows)
        yield as_bytes("".join(text + "\n" for text in texts))
