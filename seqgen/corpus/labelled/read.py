"""Reader of labelled texts: tables, JSON, fastText lines, one folder per class, datasets of the Hugging Face hub.

| format | recognised by | text and label |
|---|---|---|
| CSV, TSV (`,` `;` tab `|`) | the name, or columns | by the header, or by the cells (see `labelled.columns`) |
| JSON lines, a JSON array | the first character | keys as above; a label may be a number, true, false or a list |
| fastText | `__label__` | one or more labels, then the text |
| one folder per class | two or more folders of text files | the file; the name of its folder |
| `hf:` datasets, Parquet, Arrow | the source, the name | as JSON lines (see `corpus.dataset_rows`) |

Each type of defect is reported once, with its count and first location. Rows without text or label, or with too few
cells, are dropped. If a row has too many cells and the text is the last column, its text contained unquoted commas.
Lines that are not UTF-8 are read as Windows-1252; whole files in UTF-16 or GB18030 are recognised.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seqgen.corpus.labelled.columns import LABEL_COLUMN_NAMES, TEXT_COLUMN_NAMES, LabelledOptions, choose_columns
from seqgen.corpus.labelled.texts import Example, LabelledTexts, collect_examples, stratified_split
from seqgen.corpus.sources import Document, Warn
from seqgen.errors import DataError
from seqgen.streams import COMPRESSED_SUFFIXES, open_input
from seqgen.untrusted import as_bytes, parse_json

__all__ = [
    "Example",
    "LabelledOptions",
    "LabelledTexts",
    "collect_examples",
    "looks_like_labelled_texts",
    "read_examples",
    "stratified_split",
]

_HEAD_BYTES = 1 << 16  # from which the format is recognised
_SAMPLE_ROWS = 400  # from which the columns are recognised
_MAX_FIELD_LENGTH = 1 << 30  # characters; texts may be long
_MAX_QUOTED_LINES = 5000  # a quote open for longer is an error in the file
_LABEL = re.compile(r"__label__(\S+)")
_FASTTEXT = re.compile(r"\s*((?:__label__\S+\s*)+)(.*)", re.DOTALL)
_TREC = re.compile(r"[A-Z]{2,12}:[A-Za-z]+ \S")  # `DESC:manner How did …`, the format of TREC questions


class _Report:
    """Count and first location of each type of defect."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, defect: str, location: str) -> None:
        count, first = self._found.get(defect, (0, location))
        self._found[defect] = count + 1, first

    def flush(self, warn: Warn) -> None:
        for defect, (count, first) in self._found.items():
            warn(f"{defect}: {count:,} (first: {first})")


def read_examples(documents: Sequence[Document], options: LabelledOptions, warn: Warn) -> Iterator[Example]:
    """Yield every labelled text of the documents, in order. Dropped rows are reported at the end.

    Raises:
        DataError: a document has no known format, or a column is missing; with file and line.
    """
    report = _Report()
    folders = {Path(document.name).parent.name for document in documents}
    by_folder = len(documents) > 1 and len(folders) > 1 and not any(_has_rows(document) for document in documents[:3])
    for document in documents:
        examples = _from_folder(document, report) if by_folder else _from_file(document, options, report)
        for example in examples:
            if not example.text.strip():
                report.add("rows without text were dropped", example.where)
            elif not example.labels:
                report.add("rows without a label were dropped", example.where)
            else:
                yield example
    report.flush(warn)


def _from_folder(document: Document, report: _Report) -> Iterator[Example]:
    text = "".join(_lines(document, report))
    yield Example(text, (Path(document.name).parent.name,), document.name)


def _has_rows(document: Document) -> bool:
    return _suffix(document.name) in (".csv", ".tsv", ".jsonl", ".json") or _is_labelled_head(_head(document.path))


def _from_file(document: Document, options: LabelledOptions, report: _Report) -> Iterator[Example]:
    lines = _lines(document, report)
    first = list(itertools.islice(lines, _SAMPLE_ROWS))
    start = "".join(first[:20]).lstrip()
    everything = itertools.chain(first, lines)
    if not start:
        raise DataError(f"{document.name!r} contains no text")
    if start.startswith(("{", "[")):
        yield from _from_json(document.name, everything, start.startswith("["), options, report)
    elif start.startswith("__label__"):
        yield from _from_fasttext(document.name, everything, report)
    elif _suffix(document.name) != ".csv" and all(_TREC.match(line) for line in first if line.strip()):
        for number, line in enumerate(everything, 1):
            label, _, text = line.strip().partition(" ")
            yield Example(text, (label,) if label else (), f"{document.name}:{number}")
    else:
        yield from _from_table(document.name, everything, first, options, report)


def _from_fasttext(name: str, lines: Iterable[str], report: _Report) -> Iterator[Example]:
    for number, line in enumerate(lines, 1):
        match = _FASTTEXT.fullmatch(line.strip())
        if match:
            labels = tuple(dict.fromkeys(_LABEL.findall(match[1])))
            yield Example(match[2].strip(), labels, f"{name}:{number}")
        elif line.strip():
            report.add("lines without __label__ were dropped", f"{name}:{number}")


def _from_json(
    name: str, lines: Iterable[str], array: bool, options: LabelledOptions, report: _Report
) -> Iterator[Example]:
    keys: tuple[tuple[str, ...], str] | None = None
    for number, value in _json_values(name, lines, array):
        if not isinstance(value, dict):
            raise DataError(f"{name}:{number}: expected an object with a text and a label, not {str(value)[:40]!r}")
        keys = keys or _keys(value, options, f"{name}:{number}")
        texts, label = [value.get(key) for key in keys[0]], value.get(keys[1])
        if any(isinstance(text, (dict, list)) for text in texts):
            raise DataError(f"{name}:{number}: {keys[0][0]!r} must be a string")
        text = " . ".join(str(text) for text in texts if text is not None)
        yield Example(text, _labels(label), f"{name}:{number}")


def _json_values(name: str, lines: Iterable[str], array: bool) -> Iterator[tuple[int, Any]]:
    if array:
        try:
            values = parse_json("".join(lines))
        except ValueError as error:
            line = getattr(error, "lineno", 1)
            raise DataError(f"{name}:{line}: invalid JSON array: {getattr(error, 'msg', error)}") from error
        yield from enumerate(values, 1)
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, parse_json(line)
            except ValueError as error:
                raise DataError(f"{name}:{number}: invalid JSON: {getattr(error, 'msg', error)}") from error


def _keys(row: dict[str, Any], options: LabelledOptions, location: str) -> tuple[tuple[str, ...], str]:
    """Return the keys of the text and the label: those given, those with a known name, or the longest string."""
    asked = [part.strip() for part in (options.text_column or "").split(",") if part.strip()]
    label = options.label_column
    for wanted in [*asked, *filter(None, [label])]:
        if wanted not in row:
            raise DataError(f"{location}: there is no key {wanted!r}; the keys are {', '.join(list(row)[:12])}")
    lower = {key.lower(): key for key in row}
    label = label or next((lower[known] for known in LABEL_COLUMN_NAMES if known in lower), None)
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


def _labels(value: Any) -> tuple[str, ...]:
    """Return a label or labels as strings: 1 and 1.0 become `1`, true becomes `true`."""
    if isinstance(value, list):
        return tuple(dict.fromkeys(label for item in value for label in _labels(item)))
    if value is None:
        return ()
    if isinstance(value, bool):
        return (str(value).lower(),)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    label = as_bytes(str(value)).decode("utf-8", "replace").strip()
    return (label,) if label else ()


def _from_table(
    name: str, lines: Iterable[str], first: Sequence[str], options: LabelledOptions, report: _Report
) -> Iterator[Example]:
    delimiter = _delimiter(name, first)
    rows = _rows(name, lines, delimiter)
    sample = list(itertools.islice(rows, _SAMPLE_ROWS))
    if not sample or max(len(row) for _, row in sample) < 2:
        raise DataError(
            f"{name!r} has no text and label columns; expected a table (CSV, TSV), JSON lines, lines that start with "
            "__label__, or one folder per class"
        )
    columns = choose_columns([row for _, row in sample], options, name)
    needed = max(*columns.text, columns.label)
    width = len(sample[0][1])
    for index, (number, row) in enumerate(itertools.chain(sample, rows)):
        if index == 0 and columns.header:
            continue
        location = f"{name}:{number}"
        if len(row) <= needed:
            report.add(f"rows with fewer than {needed + 1} cells were dropped", location)
            continue
        if len(row) > width and columns.text[-1] == width - 1 == needed and not columns.header:
            report.add(f"rows with more than {width} cells, because of commas in the text", location)
            row = [*row[: width - 1], delimiter.join(row[width - 1 :])]
        elif len(row) != width:
            report.add(f"rows without exactly {width} cells", location)
        yield Example(columns.join(row).strip(), _labels(row[columns.label]), location)


def _rows(name: str, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the first line, cells) of every row that is not blank.

    Raises:
        DataError: a quote is never closed.
    """
    reader = csv.reader((line.replace("\0", "\ufffd") for line in lines), delimiter=delimiter)
    while True:
        began = reader.line_num + 1
        limit = csv.field_size_limit(_MAX_FIELD_LENGTH)  # global to the process, so set for this row only
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{name}:{began}: {error}") from error
        finally:
            csv.field_size_limit(limit)
        if reader.line_num - began > _MAX_QUOTED_LINES:
            raise DataError(
                f"{name}:{began}: the quote that starts here is not closed within {_MAX_QUOTED_LINES:,} lines"
            )
        if any(cell.strip() for cell in row):
            yield began, row


def _delimiter(name: str, first: Sequence[str]) -> str:
    """Return the delimiter of the cells: by the name, or the one in most lines."""
    if _suffix(name) == ".tsv":
        return "\t"
    counts = {mark: sum(mark in line for line in first) for mark in ("\t", ",", ";", "|")}
    if _suffix(name) == ".csv" and counts[","] * 2 >= len(first):
        return ","
    return max(counts, key=lambda mark: (counts[mark], mark == "\t"))


def _lines(document: Document, report: _Report) -> Iterator[str]:
    """Yield the decoded lines of a document with their line ends."""
    chunks = document.limited()
    first = next(chunks, b"")
    encoding = _encoding(first)
    everything = itertools.chain([first], chunks)
    if encoding is not None:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        text = itertools.chain((decoder.decode(chunk) for chunk in everything), [decoder.decode(b"", True)])
        report.add(f"files read as {encoding.upper()}", document.name)
        yield from _split_lines(text)
        return
    for number, line in enumerate(_split_byte_lines(everything), 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            yield line.decode()
        except UnicodeDecodeError:
            report.add("lines that are not UTF-8 were read as Windows-1252", f"{document.name}:{number}")
            yield line.decode("cp1252", "surrogateescape").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _encoding(start: bytes) -> str | None:
    """Return the encoding of a file that is certainly not UTF-8; None to decide line by line."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = start[:_HEAD_BYTES]
    try:
        head[: -3 if len(head) > 3 else None].decode()
        return None
    except UnicodeDecodeError:
        pass
    text = head.decode("gb18030", "replace")
    han = sum("\u4e00" <= letter <= "\u9fff" for letter in text)
    return "gb18030" if "\ufffd" not in text[:-2] and han > 10 and han * 4 > sum(byte > 127 for byte in head) else None


def _split_byte_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest: list[bytes] = []
    for chunk in chunks:
        *whole, last = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line, b"\n"])
            rest = []
        rest.append(last)
    if any(rest):
        yield b"".join(rest)


def _split_lines(pieces: Iterable[str]) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        for line in whole:
            yield line + "\n"
    if rest:
        yield rest


def _suffix(name: str) -> str:
    """Return the lower-case suffix of a name, without those of compressed files."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    while suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _head(path: Path) -> bytes:
    try:
        stream = open_input(path)
        try:
            return bytes(stream.read(_HEAD_BYTES))
        finally:
            stream.close()
    except Exception:  # decompressors raise many types; reading the file reports the error
        return b""


def _is_labelled_head(head: bytes) -> bool:
    return head.lstrip(codecs.BOM_UTF8 + b" \r\n\t").startswith(b"__label__")


def looks_like_labelled_texts(path: Path) -> bool:
    """Whether a file, or a folder of folders, is certainly labelled text. Cheap; never raises."""
    if path.is_dir():
        folders = [folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
        return len(folders) >= 2 and all(any(file.suffix == ".txt" for file in folder.iterdir()) for folder in folders)
    head = _head(path)
    if _is_labelled_head(head):
        return True
    lines = head.decode("utf-8", "replace").lstrip("\ufeff").splitlines()[:50]
    if not lines:
        return False
    if lines[0].lstrip().startswith("{"):
        try:
            keys = {key.lower() for key in parse_json(lines[0])}
        except (ValueError, TypeError):
            return False
        return bool(keys & set(TEXT_COLUMN_NAMES)) and bool(keys & set(LABEL_COLUMN_NAMES))
    if _suffix(path.name) in (".csv", ".tsv"):
        names = [cell.strip().strip('"').lower() for cell in lines[0].split(_delimiter(path.name, lines))]
        return any(name in TEXT_COLUMN_NAMES for name in names) and any(name in LABEL_COLUMN_NAMES for name in names)
    return False
