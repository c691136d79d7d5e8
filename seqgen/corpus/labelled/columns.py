"""Detection of the text and label columns of a table, from its header or its cells."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from seqgen.config import TrainOptions
from seqgen.corpus.tables.cells import TEXT, TIME, column_kind
from seqgen.corpus.tables.columns import listed, parse_columns
from seqgen.corpus.tables.read import Table
from seqgen.corpus.tables.wording import TEXT_COLUMN_NAMES
from seqgen.errors import DataError

LABEL_COLUMN_NAMES = (
    "label", "labels", "class", "category", "sentiment", "target", "topic", "intent", "stars", "rating", "polarity",
    "emotion", "y", "标签", "类别", "分类", "情感", "类", "tag", "tags", "score",
)  # fmt: skip
KNOWN_NAMES = frozenset((*TEXT_COLUMN_NAMES, *LABEL_COLUMN_NAMES))
_JOINED_COLUMNS = (
    ("title", "description"),
    ("title", "text"),
    ("title", "body"),
    ("title", "content"),
    ("标题", "内容"),
)
_MAX_GUESSED_LABELS = 20  # in a table without usual names that is guessed to be labelled text
MIN_GUESSED_ROWS = 8
_MAX_LABEL_LENGTH = 60  # characters
_PROSE_LENGTH = 12  # characters on average, of a column of text that should not be ignored without a word


@dataclass(frozen=True)
class LabelledOptions:
    """Options for reading labelled texts.

    Attributes:
        text_column: by name or number from 1; several, joined by commas.
        label_column: by name or number.
        header: whether a table has one; by default decided by its rows.
        sheet: of a workbook.
        trained_text, trained_label: the columns of a model; a table with a header, and JSON, must have them, and they
            hold before what an option names, which may be a number.
        trained_sources: SHA-256 of documents that need not have them: those of the training, each read by its own.
    """

    text_column: str | None = None
    label_column: str | None = None
    header: bool | None = None
    sheet: str | None = None
    trained_text: tuple[str, ...] = ()
    trained_label: tuple[str, ...] = ()
    trained_sources: frozenset[str] = frozenset()

    @classmethod
    def of(cls, options: TrainOptions) -> LabelledOptions:
        """Return the options for a training run."""
        return cls(options.text_column, options.label_column, sheet=options.sheet)

    def trained(self) -> tuple[str, ...]:
        """The columns of the model."""
        return self.trained_text + self.trained_label

    def of_document(self, sha256: str) -> LabelledOptions:
        """Return the options for a document: one of the training has the columns that the training found."""
        return replace(self, trained_text=(), trained_label=()) if sha256 in self.trained_sources else self

    def names(self) -> frozenset[str]:
        """Lower-case names of columns by which a first row is a header: those given or learnt, and usual ones."""
        given = [
            name for option in (self.text_column, self.label_column) if option for name in (option, *option.split(","))
        ]
        names = (name.strip().lower() for name in (*given, *self.trained()))
        return KNOWN_NAMES | {name for name in names if name and not name.isdigit()}


@dataclass(frozen=True)
class LabelledColumns:
    """Indices of the text columns, which are joined, and of the label column.

    `others`: columns that could be the label as well, if no name tells it.
    """

    text: tuple[int, ...]
    label: int
    others: tuple[int, ...] = ()

    def role(self, index: int) -> str:
        """Return the role of a column: text, label or unused."""
        return "text" if index in self.text else "label" if index == self.label else "unused"

    def join(self, cells: Sequence[str]) -> str:
        """Return the text of a row."""
        return join_texts([cells[index] for index in self.text])


def join_texts(parts: Sequence[str]) -> str:
    """Join the texts of several columns."""
    return " . ".join(parts)


def find_name(names: Collection[str], name: str) -> str | None:
    """Return the one of `names` that is `name`, or else the only one that differs from it in capitals; None if none."""
    if name in names:
        return name
    folded = name.strip().casefold()
    found = [one for one in names if one.strip().casefold() == folded]
    return found[0] if len(found) == 1 else None


def find_column(table: Table, name: str) -> int | None:
    """Return the index of the column that `find_name` finds, or None."""
    found = find_name(table.header, name)
    return None if found is None else table.column(found)


def choose_columns(table: Table, options: LabelledOptions) -> LabelledColumns:
    """Return the columns of the text and the label.

    Raises:
        DataError: a column is missing, or can't be recognised.
    """
    text, label = _learnt_columns(table, options)
    if not text and options.text_column:
        text = choose_text_columns(table, options.text_column)
    if label is None and options.label_column:
        (label, *more) = parse_columns(options.label_column, table.header, repr(table.name), table.has_header)
        if more:
            raise DataError(f"{table.name!r}: a text has one label column, not {options.label_column!r}")
    names = _lower_names(table)
    if label is None:
        label = _named_label(table, names)
    others: list[int] = []
    if label is None:
        likely = _likely_labels(table, text or _named_text(table, names, -1))
        label, others = (likely[0], likely[1:]) if likely else (None, [])
    if label is None:
        raise DataError(
            f"{table.name!r}: cannot recognise the label column; give --label-column (a name, or a number from 1); "
            f"the columns are {_shown(table)}"
        )
    text = text or _named_text(table, names, label) or _guess_text(table, label)
    if not text:
        raise DataError(
            f"{table.name!r}: no column other than the label contains text; give --text-column; "
            f"the columns are {_shown(table)}"
        )
    return LabelledColumns(text, label, tuple(index for index in others if index not in text))


def _learnt_columns(table: Table, options: LabelledOptions) -> tuple[tuple[int, ...], int | None]:
    """Return the columns of text and label with the names that a model has learnt, () and None where there are none.

    Raises `DataError` if the header of a table lacks one.
    """
    if not table.has_header:
        return (), None
    if missing := [name for name in options.trained() if find_column(table, name) is None]:
        raise lacks_columns(table, missing, "rename the right one")
    text, label = (
        tuple(index for name in names if (index := find_column(table, name)) is not None)
        for names in (options.trained_text, options.trained_label)
    )
    return text, label[0] if label else None


def lacks_columns(table: Table, names: Sequence[str], remedy: str) -> DataError:
    """The error of a table without columns that a model was trained on."""
    return DataError(
        f"{table.name} has no column {' and '.join(map(repr, names))}, which the model was trained on; the columns are "
        f"{listed(table.header, table.has_header)}; {remedy}"
    )


def choose_text_columns(table: Table, given: str | None) -> tuple[int, ...]:
    """Return the columns of the text in a table without labels: those given, those with a usual name, or of most text.

    Raises:
        DataError: there is no such column.
    """
    if given:
        return tuple(parse_columns(given, table.header, repr(table.name), table.has_header))
    found = _named_text(table, _lower_names(table), -1) or _guess_text(table, -1)
    if not found:
        raise DataError(f"{table.name!r}: no column has text; give --text-column; the columns are {_shown(table)}")
    return found


def unused_text_columns(table: Table, columns: LabelledColumns) -> list[str]:
    """Return the names of columns of prose that are neither text nor label."""
    return [
        name for index, name in enumerate(table.header)
        if index not in columns.text and index != columns.label and _is_prose(_cells(table, index))
    ]  # fmt: skip


def has_known_columns(table: Table) -> bool:
    """Whether a table certainly has texts and labels: by its header, or by one name in it and a column of prose."""
    names = _lower_names(table)
    label = _named_label(table, names)
    if label is None:
        return False
    others = [index for index in range(table.width) if index != label]
    return any(names[index] in TEXT_COLUMN_NAMES or _is_prose(_cells(table, index)) for index in others)


def are_few_labels(counts: Counter[str]) -> bool:
    """Whether the values of a column, and how often each occurs, can be those of a guessed column of labels."""
    if not 0 < len(counts) <= _MAX_GUESSED_LABELS:
        return False
    return 4 * len(counts) <= counts.total() and min(counts.values()) > 1


def has_plain_columns(table: Table) -> bool:
    """Whether a table has texts and labels by its cells: prose, one column of few values, at most names beside."""
    labels = _likely_labels(table, _named_text(table, _lower_names(table), -1))
    if len(labels) != 1 or len(table.sample) < MIN_GUESSED_ROWS:
        return False
    counts = Counter(_cells(table, labels[0]))
    if not are_few_labels(counts):
        return False
    others = [_cells(table, index) for index in range(table.width) if index != labels[0]]
    prose = [_is_prose(cells) for cells in others]
    return any(prose) and all(
        is_prose or len(set(cells)) == 1 or (column_kind(cells) != TIME and len(set(cells)) == len(cells))
        for cells, is_prose in zip(others, prose, strict=True)
    )


def _is_prose(cells: Sequence[str]) -> bool:
    if len(cells) < 2 or column_kind(cells) != TEXT or len(set(cells)) * 5 < len(cells):
        return False
    return statistics.fmean(map(len, cells)) >= _PROSE_LENGTH and sum(" " in cell for cell in cells) * 2 > len(cells)


def _lower_names(table: Table) -> list[str]:
    return [name.strip().lower() for name in table.header] if table.has_header else []


def _shown(table: Table) -> str:
    """The columns for a message: their names, or the cells of the first row."""
    if table.has_header:
        return listed(table.header)
    return listed([cell[:30] for cell in table.sample[0]]) if table.sample else "none"


def _cells(table: Table, column: int) -> list[str]:
    """The cells of a column in the sample's rows of normal width, those that aren't empty."""
    return [cell for row in table.sample if len(row) == table.width and (cell := row[column].strip())]


def _named_text(table: Table, names: Sequence[str], label: int) -> tuple[int, ...]:
    for pair in _JOINED_COLUMNS:
        if all(part in names for part in pair):
            return tuple(names.index(part) for part in pair)
    found = [names.index(name) for name in TEXT_COLUMN_NAMES if name in names and names.index(name) != label]
    if not found:  # Review Text, comment_text
        found = [
            index
            for name in TEXT_COLUMN_NAMES
            for index, words in enumerate(names)
            if index != label and _last_word(words) == name and _is_prose(_cells(table, index))
        ]
    return tuple(found[:1])


def _named_label(table: Table, names: Sequence[str]) -> int | None:
    """Return the column with a usual name, or one that ends in it, as `airline_sentiment`, and has repeated values."""
    for name in LABEL_COLUMN_NAMES:
        if name in names and column_kind(_cells(table, names.index(name))) != TIME:  # `Tag` is a day in German
            return names.index(name)
    for name in LABEL_COLUMN_NAMES:
        for index, words in enumerate(names):
            if len(name) > 1 and _last_word(words) == name and _has_label_values(table, index):
                return index
    return None


def _last_word(name: str) -> str:
    return re.split(r"[\W_]+", name.strip())[-1]


def _has_label_values(table: Table, column: int) -> bool:
    """Whether a column has short, repeated values in all rows."""
    cells = _cells(table, column)
    distinct = len(set(cells))
    full = sum(len(row) == table.width for row in table.sample)
    return (
        len(cells) >= max(2, full)
        and max(map(len, cells)) <= _MAX_LABEL_LENGTH
        and 2 <= distinct <= max(2, len(cells) // 2)
    )


def _likely_labels(table: Table, text: Sequence[int]) -> list[int]:
    """Return the columns of short, repeated values: those of the fewest distinct values, then outer columns, first."""
    width = table.width
    found = []
    for column in range(width):
        if column not in text and _has_label_values(table, column):
            cells = _cells(table, column)
            if column_kind(cells) != TIME:
                found.append((len(set(cells)), min(column, width - 1 - column), column))
    return [column for _, _, column in sorted(found)]


def _guess_text(table: Table, label: int) -> tuple[int, ...]:
    """Return the columns of words: the longest, and others with at least a sixth of its mean length.

    A column that has the same in all rows is none, unless it's the longest.
    """
    lengths, constant = {}, set()
    for column in range(table.width):
        cells = [row[column] for row in table.sample if len(row) == table.width]
        wordy = sum(any(letter.isalpha() for letter in cell) for cell in cells)
        if column != label and wordy * 2 > len(cells) and column_kind(cells) == TEXT:
            lengths[column] = statistics.fmean(map(len, cells))
            if len(cells) > 1 and len(set(cells)) == 1:
                constant.add(column)
    longest = max(lengths.values(), default=0.0)
    return tuple(
        column for column, length in lengths.items()
        if length >= longest / 6 and longest and (column not in constant or length == longest)
    )  # fmt: skip
