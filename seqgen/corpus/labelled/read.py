"""Reader of labelled texts: tables, JSON, fastText lines, one folder per class, datasets of the Hugging Face hub.

| format | recognised by | text and label |
|---|---|---|
| tables (see `tables.read`) | columns | by the header, or by the cells (see `labelled.columns`) |
| JSON lines, a JSON array | the first character | keys as above; a label is a scalar or a list of scalars |
| fastText | `__label__` | one or more labels, then the text |
| one folder per class | two or more folders of text files | the file; the name of its folder |
| `hf:` datasets, Parquet, Arrow | the source, the name | as JSON lines (see `corpus.dataset_rows`) |

Each type of defect is reported once, with its count and first location. Rows without text or label are dropped, and so
are rows with too few cells. Rows with too many had unquoted delimiters in their text, if their label is then in place;
the others are dropped. Files beside the folders of the classes are left out.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from seqgen.corpus.documents import Document, Warn
from seqgen.corpus.labelled.columns import (
    KNOWN_NAMES,
    LABEL_COLUMN_NAMES,
    LabelledColumns,
    LabelledOptions,
    choose_columns,
    find_name,
    has_known_columns,
    has_plain_columns,
    unused_text_columns,
)
from seqgen.corpus.labelled.guess import guess_keys, has_labels_beside_texts
from seqgen.corpus.labelled.labels import cell_splitter, label_name, label_names
from seqgen.corpus.labelled.texts import Example, LabelledTexts, collect_examples, stratified_split
from seqgen.corpus.opening.form import quoted
from seqgen.corpus.opening.identify import read_head
from seqgen.corpus.opening.signatures import is_parquet
from seqgen.corpus.report import FormatReport
from seqgen.corpus.series.tables import sniff_parquet
from seqgen.corpus.sources import is_part
from seqgen.corpus.tables.columns import listed
from seqgen.corpus.tables.read import Table, is_workbook, open_table, sniff
from seqgen.corpus.tables.rows import NOT_UTF8, NUL_BYTES, line_blocks
from seqgen.corpus.tables.wording import TEXT_COLUMN_NAMES
from seqgen.errors import DataError
from seqgen.quantities import plural, shortened_list
from seqgen.untrusted import as_bytes, parse_json

__all__ = [
    "Example",
    "LabelledOptions",
    "LabelledReport",
    "LabelledTexts",
    "collect_examples",
    "looks_like_class_folders",
    "looks_like_labelled_texts",
    "read_examples",
    "stratified_split",
]

_HEAD_BYTES = 1 << 16  # from which the format is recognised
_FIRST_ROWS = 400  # of JSON, from which the keys are known where the first row lacks some
_MAX_COMPARED_LABELS = 10_000
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".xlsx")
_ROW_SUFFIXES = (*_TABLE_SUFFIXES, ".jsonl", ".json")
_OBJECTS = re.compile(r'(?:\[\s*)?\{\s*"')
_OBJECT = re.compile(r"""\{\s*["'].*["']\s*:.*\}""", re.DOTALL)
_LABEL = re.compile(r"__label__(\S+)")
_FASTTEXT = re.compile(r"\s*((?:__label__\S+\s*)+)(.*)", re.DOTALL)
_TREC = re.compile(r"[A-Z]{2,12}:[A-Za-z]+ \S")  # `DESC:manner How did …`, the format of TREC questions
_UNLABELLED_FOLDERS = frozenset(("unsup", "unlabelled", "unlabeled", "unsupervised"))


@dataclass
class LabelledReport(FormatReport):
    """How labelled texts were read, and count and first location of each type of defect.

    Attributes:
        delimiter: of the last table.
        columns: role of each column or key of the last table: text, label or unused.
        names: names of the text and label columns of tables with a header, or keys of JSON, by their role; none of a
            role for which documents have different ones.
    """

    delimiter: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    _found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add_names(self, text: list[str], label: str) -> None:
        """Add the names of the columns of a document."""
        for role, names in (("text", text), ("label", [label])):
            first = self.names.setdefault(role, names)
            if list(map(str.casefold, first)) != list(map(str.casefold, names)):
                self.names[role] = []

    def add(self, defect: str, location: str) -> None:
        count, first = self._found.get(defect, (0, location))
        self._found[defect] = count + 1, first

    def flush(self, warn: Warn) -> None:
        for defect, (count, first) in self._found.items():
            warn(f"{defect}: {count:,} (first: {first})")
        self._found.clear()


def read_examples(
    documents: Sequence[Document], options: LabelledOptions, warn: Warn, report: LabelledReport | None = None
) -> Iterator[Example]:
    """Yield every labelled text of the documents, in order. Dropped rows are reported at the end.

    Args:
        report: filled while reading.

    Raises:
        DataError: a document has no known format, or a column is missing; with file and line.
    """
    report = report or LabelledReport()
    by_folder, strays = _class_folders(documents)
    if strays:
        names = shortened_list(strays, 5, lambda name: repr(PurePath(name).name))
        are = "are" if len(strays) > 1 else "is"
        warn(f"{plural(len(strays), 'file')} in no folder of a class {are} left out: {names}")
    seen: set[str] = set()
    folded: dict[str, str] = {}
    cases: dict[str, str] = {}  # labels, and another one that is spelt the same
    for document in documents if by_folder is None else by_folder:
        if by_folder is not None:
            report.add_format("folders")
            examples = _from_folder(document, report)
        else:
            examples = _from_file(document, options.of_document(document.sha256), report, warn)
        for example in examples:
            if not example.text.strip():
                report.add("rows without text were dropped", example.where)
            elif not example.labels:
                report.add("rows without a label were dropped", example.where)
            else:
                for label in example.labels:
                    if label not in seen and len(seen) < _MAX_COMPARED_LABELS:
                        seen.add(label)
                        first = folded.setdefault(label.casefold(), label)
                        if first != label:
                            cases[first] = label
                yield example
    report.flush(warn)
    if cases:
        pairs = ", ".join(f"{one!r} and {other!r}" for one, other in itertools.islice(cases.items(), 3))
        warn(f"labels that differ in capitals only are different labels: {pairs}")


def _class_folders(documents: Sequence[Document]) -> tuple[list[Document] | None, list[str]]:
    """Return the documents in folders that are classes, None if there are no such folders, and the names of others."""
    if len(documents) < 2:
        return None, []
    depths = Counter(len(PurePath(document.name).parents) for document in documents)
    depth = max(depths, key=lambda depth: (depths[depth], depth))
    inside: list[Document] = []
    strays: list[Document] = []
    for document in documents:
        path = PurePath(document.name)
        is_class = len(path.parents) == depth and path.parent.name.lower() not in _UNLABELLED_FOLDERS
        (inside if is_class else strays).append(document)
    folders = {PurePath(document.name).parent.name for document in inside}
    if len(folders) < 2 or any(_has_rows(document) for document in inside[:3]):
        return None, []
    return inside, [document.name for document in strays]


def _from_folder(document: Document, report: LabelledReport) -> Iterator[Example]:
    text = "".join(line for _, line in _lines(document, report))
    yield Example(text, (_folder_label(document, report),), document.name)


def _folder_label(document: Document, report: LabelledReport) -> str:
    """The name of a document's folder. One that is not UTF-8 is read as a line of text is: config.json is UTF-8."""
    name = as_bytes(PurePath(document.name).parent.name)
    try:
        return name.decode()
    except UnicodeDecodeError:
        report.add("texts in folders whose names are not UTF-8, read as Windows-1252", document.name)
        return name.decode("cp1252", "replace")


def _has_rows(document: Document) -> bool:
    return document.suffix in _ROW_SUFFIXES or _is_labelled_head(read_head(document.path))


def _from_file(document: Document, options: LabelledOptions, report: LabelledReport, warn: Warn) -> Iterator[Example]:
    data = b"".join(document.chunks(0, _HEAD_BYTES))
    head = data.decode("utf-8", "replace").removeprefix("\ufeff")
    start = head.lstrip()
    lines = head.splitlines()[: None if len(data) < _HEAD_BYTES else -1]
    if not start and len(data) < _HEAD_BYTES:
        raise DataError(f"{quoted(document.name)} contains no text")
    is_table = document.suffix in _TABLE_SUFFIXES and not _OBJECTS.match(start)  # [Chorus] We sing,pop
    if start.startswith(("{", "[")) and not is_table:
        report.add_format("JSON" if start.startswith("[") else "JSON lines")
        yield from _from_json(document, start.startswith("["), options, report, warn)
    elif start.startswith("__label__"):
        report.add_format("fastText")
        yield from _from_fasttext(document, report)
    elif document.suffix != ".csv" and lines and all(_TREC.match(line) for line in lines if line.strip()):
        report.add_format("TREC")
        for number, line in _lines(document, report):
            label, _, text = line.strip().partition(" ")
            yield Example(text, (label_name(label),) if label else (), f"{document.shown}:{number}")
    else:
        yield from _from_table(document, options, report, warn)


def _from_fasttext(document: Document, report: LabelledReport) -> Iterator[Example]:
    for number, line in _lines(document, report):
        match = _FASTTEXT.fullmatch(line.strip())
        if match:
            labels = tuple(dict.fromkeys(map(label_name, _LABEL.findall(match[1]))))
            yield Example(match[2].strip(), labels, f"{document.shown}:{number}")
        elif line.strip():
            report.add("lines without __label__ were dropped", f"{document.shown}:{number}")


def _from_json(
    document: Document, array: bool, options: LabelledOptions, report: LabelledReport, warn: Warn
) -> Iterator[Example]:
    keys: tuple[tuple[str, ...], str] | None = None
    values = _json_values(document, array, report)
    first = list(itertools.islice(values, _FIRST_ROWS))
    for number, value in itertools.chain(first, values):
        where = f"{document.shown}:{number}"
        if not isinstance(value, dict):
            raise DataError(f"{where}: expected an object with a text and a label, not {str(value)[:40]!r}")
        if keys is None:
            keys = _first_keys([row for _, row in first if isinstance(row, dict)], options, where, warn)
            roles = {**dict.fromkeys(keys[0], "text"), keys[1]: "label"}
            report.columns = {key: roles.get(key, "unused") for key in (*value, *roles)}
            report.add_names(list(keys[0]), keys[1])
        texts, label = [_value_of(value, key, keys) for key in keys[0]], _value_of(value, keys[1], keys)
        if any(isinstance(text, (dict, list)) for text in texts):
            raise DataError(f"{where}: {keys[0][0]!r} must be a string")
        text = " . ".join(str(text) for text in texts if text is not None)
        yield Example(text, label_names(label, where), where)


def _value_of(row: dict[str, Any], key: str, keys: tuple[tuple[str, ...], str]) -> Any:
    """Return the value of a key, or of the only one that differs in capitals and isn't another of `keys`."""
    if key in row:
        return row[key]
    found = find_name(row.keys() - {*keys[0], keys[1]}, key)
    return None if found is None else row[found]


def _json_values(document: Document, array: bool, report: LabelledReport) -> Iterator[tuple[int, Any]]:
    name = document.shown
    if array:
        try:
            values = parse_json("".join(line for _, line in _lines(document, report)))
        except ValueError as error:
            line = getattr(error, "lineno", 1)
            raise DataError(f"{name}:{line}: invalid JSON array: {getattr(error, 'msg', error)}") from error
        yield from enumerate(values, 1)
        return
    for number, line in _lines(document, report):
        if line.strip():
            try:
                yield number, parse_json(line)
            except ValueError as error:
                raise DataError(f"{name}:{number}: invalid JSON: {getattr(error, 'msg', error)}") from error


def _first_keys(
    rows: Sequence[dict[str, Any]], options: LabelledOptions, location: str, warn: Warn
) -> tuple[tuple[str, ...], str]:
    """Return `_keys` of the first row; if it lacks some, of all rows together, or those that their values tell."""
    try:
        return _keys(rows[0], options, location)
    except DataError:
        together: dict[str, Any] = {}
        for row in rows:
            together.update((key, value) for key, value in row.items() if together.get(key) is None)
        is_given = options.label_column or options.text_column or options.trained()
        guessed = None if is_given else guess_keys(rows, together)
        if guessed is None:
            return _keys(together, options, location)
        text, label, others = guessed
        _warn_of_other_labels(location, label, others, not options.trained_sources, warn)
        return text, label


def _keys(row: dict[str, Any], options: LabelledOptions, location: str) -> tuple[tuple[str, ...], str]:
    """Return the keys of the text and the label: those learnt or given, of a known name, or of the longest string."""
    if missing := [name for name in options.trained() if find_name(row, name) is None]:
        raise DataError(
            f"{location}: there is no key {' and '.join(map(repr, missing))}, which the model was trained on; the keys "
            f"are {', '.join(list(row)[:12])}; rename the right one"
        )
    asked = _found_keys(options.trained_text, row) or _given_keys(options.text_column, row, location)
    given = _found_keys(options.trained_label, row) or _given_keys(options.label_column, row, location)
    lower = {key.lower(): key for key in row}
    label = given[0] if given else next((lower[known] for known in LABEL_COLUMN_NAMES if known in lower), None)
    if label is None:
        raise DataError(
            f"{location}: cannot recognise the key of the label; give --label-column; "
            f"the keys are {', '.join(list(row)[:12])}"
        )
    if not asked:
        known = next((lower[key] for key in TEXT_COLUMN_NAMES if key in lower and lower[key] != label), None)
        texts = {key: len(value) for key, value in row.items() if isinstance(value, str) and key != label}
        if known is None and not texts:
            raise DataError(f"{location}: no key other than {label!r} contains text; give --text-column")
        asked = [known or max(texts, key=lambda key: texts[key])]
    return tuple(asked), label


def _given_keys(names: str | None, row: dict[str, Any], location: str) -> list[str]:
    """The keys that an option names: the whole text is one, or it is a list with commas."""
    if names is None:
        return []
    parts = _found_keys([names], row) or [part.strip() for part in names.split(",") if part.strip()]
    for wanted in parts:
        if find_name(row, wanted) is None:
            raise DataError(f"{location}: there is no key {wanted!r}; the keys are {', '.join(list(row)[:12])}")
    return _found_keys(parts, row)


def _found_keys(names: Sequence[str], row: dict[str, Any]) -> list[str]:
    return [key for name in names if (key := find_name(row, name)) is not None]


def _from_table(document: Document, options: LabelledOptions, report: LabelledReport, warn: Warn) -> Iterator[Example]:
    name = document.shown
    table = open_table(document, warn, options.sheet, options.names(), options.header, reports_widths=False)
    if table.width < 2:
        raise DataError(
            f"{quoted(name)} has no text and label columns; expected a table (CSV, TSV, .xlsx), JSON lines, lines that "
            "start with __label__, or one folder per class"
        )
    columns = choose_columns(table, options)
    report.add_format(table.format)
    report.delimiter = table.dialect.delimiter
    report.columns = {column: columns.role(index) for index, column in enumerate(table.header)}
    if table.has_header:
        report.add_names([table.header[index] for index in columns.text], table.header[columns.label])
    has_flags = not options.trained_sources  # `evaluate` has none for columns
    is_learnt = table.has_header and options.trained_text
    unused = [] if is_learnt else unused_text_columns(table, columns)
    if unused:
        are = "have text and are" if len(unused) > 1 else "has text and is"
        remedy = "; name all columns to join with --text-column" if has_flags else ""
        warn(f"{name}: {listed(list(map(repr, unused)))} {are} not used{remedy}")
    needed = max(*columns.text, columns.label)
    width = table.width
    others = [table.header[index] for index in columns.others]
    _warn_of_other_labels(name, table.header[columns.label], others, has_flags, warn)
    labels = _known_labels(table, columns)
    objects = any(len(row) == width and _OBJECT.fullmatch(row[columns.label].strip()) for row in table.sample)
    split, example = cell_splitter([row[columns.label] for row in table.sample if len(row) == width])
    if example:
        several = " and ".join(split(example))
        warn(f"{name}: labels such as {example!r} are read as several ({several})")
    for number, row in table.rows():
        location = f"{name}:{number}"
        if len(row) <= needed:
            report.add(f"rows with fewer than {needed + 1} cells were dropped", location)
            continue
        if len(row) > width and not table.dialect.delimiter:  # in a workbook nothing splits a cell
            report.add("rows with cells beside the table, which were left out", location)
            row = row[:width]
        elif len(row) > width:
            joined = _join_text(row, table, columns, labels)
            if joined is None:
                report.add(f"rows with more than {width} cells were dropped", location)
                continue
            report.add(f"rows with more than {width} cells, because of {table.dialect.name} in the text", location)
            row = joined
        if objects and _OBJECT.fullmatch(row[columns.label].strip()):
            raise DataError(
                f"{location}: the label is an object, {row[columns.label].strip()[:40]!r}; labels are words or "
                "numbers, or lists of these; name another column with --label-column"
            )
        yield Example(columns.join(row).strip(), split(row[columns.label]), location)


def _warn_of_other_labels(name: str, label: str, others: Sequence[str], has_flags: bool, warn: Warn) -> None:
    """Name the columns that could be the label; with `has_flags` the flag that chooses one too."""
    if others:
        remedy = "; name it with --label-column" if has_flags else ""
        warn(f"{name}: the label is taken from {label!r}, and could be in {listed(list(map(repr, others)))}{remedy}")


def _known_labels(table: Table, columns: LabelledColumns) -> frozenset[str]:
    """Return the labels of the sample's rows of normal width, and those that recur at the end of longer ones."""
    found = Counter[str]()
    for row in table.sample:
        from_end = len(columns.text) == 1 and columns.label > columns.text[0]
        index = columns.label + (len(row) - table.width) * from_end
        if len(row) >= table.width:
            found[label_name(row[index])] += 2 if len(row) == table.width else 1
    return frozenset(label for label, count in found.items() if count > 1)


def _join_text(row: list[str], table: Table, columns: LabelledColumns, labels: frozenset[str]) -> list[str] | None:
    """Return a row with too many cells as one whose text has delimiters; None if its label isn't in place then."""
    if len(columns.text) != 1:
        return None
    text, extra = columns.text[0], len(row) - table.width
    joined = [*row[:text], table.dialect.delimiter.join(row[text : text + extra + 1]), *row[text + extra + 1 :]]
    return joined if label_name(joined[columns.label]) in labels else None


_DEFECTS = {
    NOT_UTF8: "lines that are not UTF-8 were read as Windows-1252",
    NUL_BYTES: "NUL bytes were read as U+FFFD",
}


def _lines(document: Document, report: LabelledReport) -> Iterator[tuple[int, str]]:
    """Yield (number, line with its end) of a document."""

    def defect(kind: str, line: int) -> None:
        report.add(_DEFECTS[kind], f"{document.shown}:{line}")

    for number, lines in line_blocks(document.limited(), defect):
        yield from enumerate(lines, number)


def _is_labelled_head(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"__label__")


def looks_like_class_folders(names: Sequence[str]) -> bool:
    """Whether files of these names, relative to a folder, lie in a folder for each class and are called like texts.

    The folders of the classes may lie in one folder, or in those of a training and a test set.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, slash, rest = name.partition("/")
        if slash and folder.lower() not in _UNLABELLED_FOLDERS:
            folders.setdefault(folder, []).append(rest)
    if len(folders) == 1 or (folders and all(map(is_part, folders))):
        return all(looks_like_class_folders(inner) for inner in folders.values())
    return len(folders) >= 2 and all(any(map(_is_text_name, inner)) for inner in folders.values())


def _is_text_name(name: str) -> bool:
    return "/" not in name and (name.lower().endswith(".txt") or name.isdecimal())


def looks_like_labelled_texts(path: Path, sheet: str | None = None) -> bool:
    """Whether a file, or this sheet of a workbook, is certainly labelled text. Cheap; never raises."""
    head = read_head(path, _HEAD_BYTES)
    if _is_labelled_head(head):
        return True
    text = head.decode("utf-8", "replace").removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        try:
            keys = {key.lower() for key in parse_json(text.lstrip().split("\n", 1)[0], unique_keys=False)}
        except (ValueError, TypeError):
            return False
        return bool(keys & set(TEXT_COLUMN_NAMES)) and bool(keys & set(LABEL_COLUMN_NAMES))
    try:
        table = (
            sniff_parquet(path) if is_parquet(head)
            else open_table(Document(path.name, path), lambda _: None, sheet, KNOWN_NAMES) if is_workbook(head)
            else sniff(text, path.name, len(head) < _HEAD_BYTES, KNOWN_NAMES)
        )  # fmt: skip
    except DataError:
        return False
    if table is None or not table.is_regular:
        return False
    if has_known_columns(table):
        return True
    is_called_table = path.suffix.lower() in _TABLE_SUFFIXES or is_parquet(head)
    return is_called_table and (has_plain_columns(table) or has_labels_beside_texts(table))
