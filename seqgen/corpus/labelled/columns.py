"""Detection of the text and label columns of a table, from its header or its cells."""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from seqgen.errors import DataError

TEXT_COLUMN_NAMES = (
    "text", "sentence", "review", "content", "body", "document", "comment", "tweet", "message", "question", "title",
    "description", "utterance", "文本", "内容", "评论", "正文", "句子", "标题", "text_a", "summary", "headline", "news",
)  # fmt: skip
LABEL_COLUMN_NAMES = (
    "label", "labels", "class", "category", "sentiment", "target", "topic", "intent", "stars", "rating", "polarity",
    "emotion", "y", "标签", "类别", "分类", "情感", "类", "tag", "tags", "score",
)  # fmt: skip
_JOINED_COLUMNS = (
    ("title", "description"),
    ("title", "text"),
    ("title", "body"),
    ("title", "content"),
    ("标题", "内容"),
)
_MAX_LABEL_LENGTH = 60  # characters


@dataclass(frozen=True)
class LabelledOptions:
    """Options for reading a table. Columns by name or number from 1; several text columns joined by commas."""

    text_column: str | None = None
    label_column: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class TableColumns:
    """Indices of the text columns, which are joined, and of the label column; whether the first row is a header."""

    text: tuple[int, ...]
    label: int
    header: bool

    def join(self, cells: Sequence[str]) -> str:
        """Return the text of a row."""
        return " . ".join(cells[index] for index in self.text)


def choose_columns(rows: Sequence[Sequence[str]], options: LabelledOptions, name: str) -> TableColumns:
    """Return the columns of a table, given its first rows.

    Raises:
        DataError: a column is missing, or can't be recognised.
    """
    first = [cell.strip().lower() for cell in rows[0]]
    known = any(cell in TEXT_COLUMN_NAMES for cell in first) or any(cell in LABEL_COLUMN_NAMES for cell in first)
    asked = [part.strip() for part in (options.text_column or "").split(",") if part.strip()]
    named = any(
        not part.isdigit() and part.lower() in first for part in [*asked, *filter(None, [options.label_column])]
    )
    header = options.header if options.header is not None else known or named
    body = rows[1:] if header else rows
    label = _column_index(options.label_column, first, header, name) if options.label_column else None
    text = tuple(_column_index(part, first, header, name) for part in asked) if asked else ()
    if label is None and header:
        label = next((first.index(name) for name in LABEL_COLUMN_NAMES if name in first), None)
    if label is None:
        label = _guess_label(body, text)
    if label is None:
        available = ", ".join(cell[:30] for cell in rows[0][:12])
        raise DataError(
            f"{name!r}: cannot recognise the label column; give --label-column (a name, or a number from 1); "
            f"the columns are {available}"
        )
    if not text and header:
        text = _named_text(first, label)
    if not text:
        text = _guess_text(body, label)
    if not text:
        raise DataError(f"{name!r}: no column other than the label contains text; give --text-column")
    return TableColumns(text, label, header)


def _column_index(wanted: str, first: Sequence[str], header: bool, name: str) -> int:
    if header and wanted.strip().lower() in first:
        return first.index(wanted.strip().lower())
    if wanted.isdigit() and 1 <= int(wanted) <= len(first):
        return int(wanted) - 1
    available = ", ".join(first[:12]) if header else f"1 to {len(first)}"
    near = difflib.get_close_matches(wanted.lower(), first, 1) if header else []
    hint = f"did you mean {near[0]!r}? The" if near else "the"
    raise DataError(f"{name!r} has no column {wanted!r}; {hint} columns are {available}")


def _named_text(first: Sequence[str], label: int) -> tuple[int, ...]:
    for pair in _JOINED_COLUMNS:
        if all(part in first for part in pair):
            return tuple(first.index(part) for part in pair)
    return next(
        ((first.index(name),) for name in TEXT_COLUMN_NAMES if name in first and first.index(name) != label), ()
    )


def _guess_label(rows: Sequence[Sequence[str]], text: Sequence[int]) -> int | None:
    """Return the column of short, repeated values: the one with the fewest distinct values, outer columns first."""
    width = statistics.mode(len(row) for row in rows) if rows else 0
    best = None
    for column in range(width):
        cells = [row[column].strip() for row in rows if len(row) == width]
        distinct = set(cells)
        if (
            column in text
            or not cells
            or max(map(len, cells)) > _MAX_LABEL_LENGTH
            or len(distinct) < 2
            or "" in distinct
        ):
            continue
        if len(distinct) > max(2, len(cells) // 2) or len(cells) < 2:
            continue
        rank = (len(distinct), min(column, width - 1 - column), column)
        if best is None or rank < best[0]:
            best = rank, column
    return None if best is None else best[1]


def _guess_text(rows: Sequence[Sequence[str]], label: int) -> tuple[int, ...]:
    """Return the columns of words: the longest, and others with at least a sixth of its mean length."""
    width = statistics.mode(len(row) for row in rows) if rows else 0
    lengths = {}
    for column in range(width):
        cells = [row[column] for row in rows if len(row) == width]
        wordy = sum(any(letter.isalpha() for letter in cell) for cell in cells)
        if column != label and wordy * 2 > len(cells):
            lengths[column] = statistics.fmean(map(len, cells))
    longest = max(lengths.values(), default=0.0)
    return tuple(column for column, length in lengths.items() if length >= longest / 6 and longest)
