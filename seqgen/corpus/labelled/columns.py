"""Which columns of a table hold the text and the label: what the header says, or what the cells look like."""

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
_JOINED = (("title", "description"), ("title", "text"), ("title", "body"), ("title", "content"), ("标题", "内容"))
_LONGEST_LABEL = 60  # characters


@dataclass(frozen=True)
class LabelledOptions:
    """What a person may say of a table. Columns by name or by number from 1; several of text with commas between."""

    text_column: str | None = None
    label_column: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class TableColumns:
    """Places of the text (joined where there are several) and of the label; whether the first row is a header."""

    text: tuple[int, ...]
    label: int
    header: bool

    def join(self, cells: Sequence[str]) -> str:
        """The text of a row."""
        return " . ".join(cells[place] for place in self.text)


def choose_columns(rows: Sequence[Sequence[str]], options: LabelledOptions, name: str) -> TableColumns:
    """The columns of a table that begins with `rows`. Raises `DataError` where they can't be told."""
    first = [cell.strip().lower() for cell in rows[0]]
    plain = any(cell in TEXT_COLUMN_NAMES for cell in first) or any(cell in LABEL_COLUMN_NAMES for cell in first)
    asked = [part.strip() for part in (options.text_column or "").split(",") if part.strip()]
    named = any(
        not part.isdigit() and part.lower() in first for part in [*asked, *filter(None, [options.label_column])]
    )
    header = options.header if options.header is not None else plain or named
    body = rows[1:] if header else rows
    label = _place(options.label_column, first, header, name) if options.label_column else None
    text = tuple(_place(part, first, header, name) for part in asked) if asked else ()
    if label is None and header:
        label = next((first.index(known) for known in LABEL_COLUMN_NAMES if known in first), None)
    if label is None:
        label = _guess_label(body, text)
    if label is None:
        there = ", ".join(cell[:30] for cell in rows[0][:12])
        raise DataError(
            f"{name!r}: which column is the label can't be told; say it with --label-column (name, or number from 1); "
            f"there are {there}"
        )
    if not text and header:
        text = _named_text(first, label)
    if not text:
        text = _guess_text(body, label)
    if not text:
        raise DataError(f"{name!r}: no column besides the label holds text; say it with --text-column")
    return TableColumns(text, label, header)


def _place(wanted: str, first: Sequence[str], header: bool, name: str) -> int:
    if header and wanted.strip().lower() in first:
        return first.index(wanted.strip().lower())
    if wanted.isdigit() and 1 <= int(wanted) <= len(first):
        return int(wanted) - 1
    there = ", ".join(first[:12]) if header else f"columns 1 to {len(first)}"
    near = difflib.get_close_matches(wanted.lower(), first, 1) if header else []
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(f"{name!r} has no column {wanted!r}{meant} there are {there}" if near else
                    f"{name!r} has no column {wanted!r}; there are {there}")  # fmt: skip


def _named_text(first: Sequence[str], label: int) -> tuple[int, ...]:
    for pair in _JOINED:
        if all(part in first for part in pair):
            return tuple(first.index(part) for part in pair)
    return next(
        ((first.index(known),) for known in TEXT_COLUMN_NAMES if known in first and first.index(known) != label), ()
    )


def _guess_label(rows: Sequence[Sequence[str]], text: Sequence[int]) -> int | None:
    """The column of few, short, repeated values; of several the one with the fewest, and of those the outermost."""
    width = statistics.mode(len(row) for row in rows) if rows else 0
    best = None
    for column in range(width):
        cells = [row[column].strip() for row in rows if len(row) == width]
        distinct = set(cells)
        if column in text or not cells or max(map(len, cells)) > _LONGEST_LABEL or len(distinct) < 2 or "" in distinct:
            continue
        if len(distinct) > max(2, len(cells) // 2) or len(cells) < 2:
            continue
        rank = (len(distinct), min(column, width - 1 - column), column)
        if best is None or rank < best[0]:
            best = rank, column
    return None if best is None else best[1]


def _guess_text(rows: Sequence[Sequence[str]], label: int) -> tuple[int, ...]:
    """The columns of words: the longest, and others at least a sixth as long."""
    width = statistics.mode(len(row) for row in rows) if rows else 0
    lengths = {}
    for column in range(width):
        cells = [row[column] for row in rows if len(row) == width]
        wordy = sum(any(letter.isalpha() for letter in cell) for cell in cells)
        if column != label and wordy * 2 > len(cells):
            lengths[column] = statistics.fmean(map(len, cells))
    longest = max(lengths.values(), default=0.0)
    return tuple(column for column, length in lengths.items() if length >= longest / 6 and longest)
