"""Labelled texts: formats, defects and their reports, the stratified split."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen.corpus.labelled.labels import label_name, sort_labels
from seqgen.corpus.labelled.read import (
    Example,
    LabelledOptions,
    LabelledReport,
    LabelledTexts,
    collect_examples,
    looks_like_class_folders,
    looks_like_labelled_texts,
    read_examples,
    stratified_split,
)
from seqgen.corpus.opening.identify import identify
from seqgen.corpus.sources import Document
from seqgen.errors import DataError

PAIRS = [
    ("It was good, very good", ("pos",)),
    ("It was bad", ("neg",)),
    ('She said "no"', ("neg",)),
    ("好看！", ("pos",)),
]


def csv_of(rows: list[list[str]], comma: str = ",") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=comma, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def read(
    folder: Path, data: bytes, name: str = "data.csv", **options: Any
) -> tuple[list[tuple[str, tuple[str, ...]]], list[str]]:
    """Return (text, labels) of every example, and the warnings."""
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    warnings: list[str] = []
    document = Document(name, path, form=identify(path, name))
    found = list(read_examples([document], LabelledOptions(**options), warnings.append))
    return [(example.text, example.labels) for example in found], warnings


TABLE = [[text, *labels] for text, labels in PAIRS]
FORMS = {
    "header": ("data.csv", csv_of([["text", "label"], *TABLE])),
    "header, label first": ("data.csv", csv_of([["Sentiment", "Review"], *[row[::-1] for row in TABLE]])),
    "Chinese header": ("data.csv", csv_of([["文本", "标签"], *TABLE])),
    "no header": ("data.csv", csv_of(TABLE)),
    "no header, label first": ("data.csv", csv_of([row[::-1] for row in TABLE])),
    "semicolons": ("data.csv", csv_of([["text", "label"], *TABLE], ";")),
    "tabs": ("data.tsv", csv_of(TABLE, "\t")),
    "tabs in a .txt": ("data.txt", csv_of([["text", "label"], *TABLE], "\t")),
    "BOM and CRLF": ("data.csv", b"\xef\xbb\xbf" + csv_of([["text", "label"], *TABLE]).replace(b"\n", b"\r\n")),
    "UTF-16": ("data.csv", csv_of([["text", "label"], *TABLE]).decode().encode("utf-16")),
    "gzip": ("data.csv.gz", csv_of([["text", "label"], *TABLE])),
    "JSON lines": ("data.jsonl", b"".join(json.dumps({"text": t, "label": a[0]}).encode() + b"\n" for t, a in PAIRS)),
    "a JSON array": ("data.json", json.dumps([{"content": t, "category": a} for t, a in PAIRS]).encode()),
    "fastText": ("data.txt", "".join(f"__label__{a[0]} {t}\n" for t, a in PAIRS).encode()),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_read_examples_every_format_gives_the_same_texts(tmp_path: Path, form: str) -> None:
    name, data = FORMS[form]
    found, warnings = read(tmp_path, data, name)
    assert found == PAIRS
    assert [word for word in warnings if "UTF" not in word] == []


def test_read_examples_one_folder_per_class(tmp_path: Path) -> None:
    documents = []
    for text, (label,) in PAIRS:
        path = tmp_path / label / f"{len(documents)}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        documents.append(Document(str(path), path))
    found = list(read_examples(documents, LabelledOptions(), lambda _: None))
    assert [(example.text, example.labels) for example in found] == PAIRS
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt")]
    assert looks_like_class_folders(names)
    assert looks_like_class_folders([f"{part}/{name}" for part in ("train", "test") for name in names])
    assert not looks_like_class_folders([f"{part}/{number}.txt" for part in ("train", "test") for number in range(9)])
    assert not looks_like_class_folders([f"{name}.md" for name in names])


def test_read_examples_files_beside_class_folders_are_left_out(tmp_path: Path) -> None:
    documents = []
    for name in ("neg/1.txt", "neg/2.txt", "pos/1.txt", "unsup/1.txt", "README.txt", "urls.txt"):
        path = tmp_path / "set" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(f"the text of {name}")
        documents.append(Document(str(path), path))
    warnings: list[str] = []
    report = LabelledReport()
    found = list(read_examples(documents, LabelledOptions(), warnings.append, report))
    assert [example.labels for example in found] == [("neg",), ("neg",), ("pos",)]
    assert warnings == ["3 files in no folder of a class are left out: '1.txt', 'README.txt', 'urls.txt'"]
    assert report.format == "folders"


def test_read_examples_folders_whose_names_are_not_utf8_are_read_as_windows_1252(tmp_path: Path) -> None:
    """Their labels, which config.json can't hold, made a model that no command could read."""
    path = tmp_path / "1.txt"
    path.write_text("a text")
    documents = [Document(name, path) for name in ("d\udce9but/1.txt", "d\udce8but/2.txt", "fin/3.txt")]
    warnings: list[str] = []
    found = list(read_examples(documents, LabelledOptions(), warnings.append))
    assert [example.labels for example in found] == [("début",), ("dèbut",), ("fin",)]
    assert [text.partition(":")[0] for text in warnings] == [
        "texts in folders whose names are not UTF-8, read as Windows-1252"
    ]


def test_read_examples_report_names_columns_and_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(b"id;text;label\n1;one;a\n2;two;b\n")
    report = LabelledReport()
    list(read_examples([Document("d.csv", path)], LabelledOptions(), pytest.fail, report))
    assert (report.format, report.delimiter) == ("CSV", ";")
    assert report.columns == {"id": "unused", "text": "text", "label": "label"}


def names_of(folder: Path, **files: str) -> dict[str, list[str]]:
    """The names that are kept of documents called `name.suffix`, given as name_suffix."""
    documents, report = [], LabelledReport()
    for name, text in files.items():
        path = folder / name.replace("_", ".")
        path.write_text(text)
        documents.append(Document(path.name, path))
    list(read_examples(documents, LabelledOptions(), pytest.fail, report))
    return report.names


def test_read_examples_no_names_are_kept_in_which_documents_differ(tmp_path: Path) -> None:
    """Those of the last were, and a table with the columns of the first was refused."""
    table, objects = "text,label\nred one,a\nblue two,b\n", '{"content": "red", "class": "a"}\n'
    assert names_of(tmp_path, a_csv=table, b_jsonl=objects) == {"text": [], "label": []}
    assert names_of(tmp_path, b_jsonl=objects, a_csv=table, c_csv=table) == {"text": [], "label": []}
    assert names_of(tmp_path, a_csv=table, b_jsonl='{"text": "red", "class": "a"}\n') == {"text": ["text"], "label": []}
    same = names_of(
        tmp_path,
        a_csv=table,
        b_csv=table.replace("text,label", "Text,LABEL"),
        c_txt="__label__a red\n",
        d_csv=table[11:],
    )
    assert same == {"text": ["text"], "label": ["label"]}


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
@pytest.mark.parametrize("options", [{"trained_text": ("text",), "trained_label": ("label",)},
                                     {"text_column": "text", "label_column": "label"}])  # fmt: skip
def test_read_examples_learnt_columns_are_found_by_their_only_name_in_another_case(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    def rows(*names: str) -> bytes:
        values = ("red one", "a", "x y"), ("blue two", "b", "y z")
        if name.endswith("csv"):
            return csv_of([list(names), *[list(row[: len(names)]) for row in values]])
        return b"\n".join(json.dumps(dict(zip(names, row, strict=False))).encode() for row in values)

    expected = [("red one", ("a",)), ("blue two", ("b",))]
    assert read(tmp_path, rows("Text", "LABEL"), name, **options)[0] == expected
    assert read(tmp_path, rows("text", "Label", "Text"), name, **options)[0] == expected  # the exact name first
    with pytest.raises(DataError, match=r"no (column|key) 'text'"):
        read(tmp_path, rows("Text", "label", "TEXT"), name, **options)


@pytest.mark.parametrize("options", [{"trained_text": ("title", "body"), "trained_label": ("label",)},
                                     {"text_column": "title,body"}])  # fmt: skip
def test_read_examples_the_first_object_may_lack_a_key(options: dict[str, Any], tmp_path: Path) -> None:
    rows = [b'{"body": "b one", "label": "a"}', b'{"title": "t", "body": "b two", "label": "b"}']
    texts = read(tmp_path, b"\n".join(rows), "data.jsonl", **options)[0]
    assert texts == [("b one", ("a",)), ("t . b two", ("b",))]
    assert read(tmp_path, b"[" + b",".join(rows[::-1]) + b"]", "data.json", **options)[0] == texts[::-1]
    with pytest.raises(DataError, match=r"data.jsonl:1: there is no key 'title'.*; the keys are body, label"):
        read(tmp_path, rows[0], "data.jsonl", **options)
    unlabelled = b'{"text": null}\n{"text": "one"}\n{"text": "two", "label": "a"}'
    found, warnings = read(tmp_path, unlabelled, "data.jsonl")
    assert found == [("two", ("a",))]
    assert warnings == [
        "rows without text were dropped: 1 (first: data.jsonl:1)",
        "rows without a label were dropped: 1 (first: data.jsonl:2)",
    ]


def test_read_examples_objects_may_write_the_keys_in_other_capitals(tmp_path: Path) -> None:
    """As `classify` reads them; the label is not the text of a row that lacks it."""
    rows = [{"Title": "red", "title": "a"}, {"TITLE": "one", "title": "b"}, {"Title": "two"}]
    data = "\n".join(map(json.dumps, rows)).encode()
    found, warnings = read(tmp_path, data, "data.jsonl", text_column="Title", label_column="title")
    assert found == [("red", ("a",)), ("one", ("b",))]
    assert warnings == ["rows without a label were dropped: 1 (first: data.jsonl:3)"]


def test_read_examples_open_quote_swallows_nothing(tmp_path: Path) -> None:
    found, _ = read(tmp_path, b'text,label\n"not closed,a\n' + b"x,b\n" * 6000)
    assert (found[0], len(found)) == (('"not closed', ("a",)), 6001)


def test_read_examples_column_name_with_a_comma(tmp_path: Path) -> None:
    data = csv_of([["the text, all", "kind"], ["Rain", "x"], ["Sun", "y"]])
    assert read(tmp_path, data, text_column="the text, all", label_column="kind")[0] == [
        ("Rain", ("x",)),
        ("Sun", ("y",)),
    ]
    line = json.dumps({"the text, all": "Rain", "kind": "x"}).encode()
    assert read(tmp_path, line, "d.jsonl", text_column="the text, all", label_column="kind")[0] == [("Rain", ("x",))]


def test_read_examples_fasttext_line_with_several_labels(tmp_path: Path) -> None:
    found, _ = read(tmp_path, b"__label__a __label__b both\n__label__a one\n__label__b other\n", "x.txt")
    assert found == [("both", ("a", "b")), ("one", ("a",)), ("other", ("b",))]
    texts = collect_examples([Example(text, labels) for text, labels in found], lambda _: None)
    assert texts.multi_label
    assert texts.targets().tolist() == [[True, True], [True, False], [False, True]]


def test_read_examples_columns_given_by_name_number_or_joined(tmp_path: Path) -> None:
    data = csv_of([["id", "headline", "story", "kind"], ["1", "Rain", "It rained", "x"], ["2", "Sun", "It shone", "y"]])
    found, _ = read(tmp_path, data, text_column="headline,story", label_column="kind")
    assert found == [("Rain . It rained", ("x",)), ("Sun . It shone", ("y",))]
    found, _ = read(tmp_path, data, text_column="3", label_column="4", header=True)
    assert found[0] == ("It rained", ("x",))


def test_choose_columns_joins_title_and_description(tmp_path: Path) -> None:
    rows = [["3", "Stocks fall", "Shares fell on Monday"], ["1", "A vote", "People voted today"]] * 3
    found, _ = read(tmp_path, csv_of(rows))
    assert found[0] == ("Stocks fall . Shares fell on Monday", ("3",))


def test_read_examples_line_end_in_cell_and_long_cell(tmp_path: Path) -> None:
    rows = [["text", "label"], ["two\nlines", "a"], ["x" * 300_000, "b"]]
    found, warnings = read(tmp_path, csv_of(rows))
    assert [len(text) for text, _ in found] == [9, 300_000]
    assert warnings == []


def test_read_examples_keeps_the_csv_field_size_limit_of_the_process(tmp_path: Path) -> None:
    """Readers of other tables depend on it: there a quote that is never closed exceeds it."""
    limit = csv.field_size_limit()
    path = tmp_path / "data.csv"
    path.write_bytes(csv_of([["text", "label"], ["x" * 200_000, "a"], ["y", "b"]]))
    examples = read_examples([Document("data.csv", path)], LabelledOptions(), pytest.fail)
    assert len(next(examples).text) == 200_000
    assert csv.field_size_limit() == limit
    assert [example.labels for example in examples] == [("b",)]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("label", "name"), [(1, "1"), (2.0, "2"), (2.5, "2.5"), (True, "true"), (["x", "y", "x"], None), ("  a ", "a")]
)
def test_labels_of_json_become_plain_strings(tmp_path: Path, label: Any, name: str | None) -> None:
    found, _ = read(tmp_path, json.dumps({"text": "t", "label": label}).encode(), "d.jsonl")
    assert found == [("t", (name,) if name else ("x", "y"))]


REPORTS = [
    ("no text", csv_of([["text", "label"], ["", "a"], ["x", "b"]]),
     "rows without text were dropped: 1 (first: data.csv:2)"),
    ("no label", csv_of([["text", "label"], ["x", ""], ["y", "b"]]),
     "rows without a label were dropped: 1 (first: data.csv:2)"),
    ("short row", b"text,label\nx,a\nalone\ny,b\n", "rows with fewer than 2 cells were dropped: 1 (first: data.csv:3)"),
    ("long row", b"text,label\nx,a\ny,b,c\n", "rows with more than 2 cells were dropped: 1 (first: data.csv:3)"),
    ("commas in the text", b"a,one two\nb,three, four\na,five\nb,six\n",
     "rows with more than 2 cells, because of commas in the text: 1 (first: data.csv:2)"),
    ("cp1252", b"text,label\ncaf\xe9,a\nx,b\n",
     "data.csv: 1 line that is not UTF-8, read as Windows-1252 (first: line 2)"),
    ("commas before the label", b"text,label\n" + b"one,a\ntwo,b\n" * 9 + b"one, two, three,a\n",
     "rows with more than 2 cells, because of commas in the text: 1 (first: data.csv:20)"),
    ("text not used", b"text,label,note\n" + b"one,a,this is a note too\ntwo,b,and this is another\n",
     "data.csv: 'note' has text and is not used; name all columns to join with --text-column"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "report"), [row[1:] for row in REPORTS], ids=[row[0] for row in REPORTS])
def test_read_examples_defects_are_reported_with_location(tmp_path: Path, data: bytes, report: str) -> None:
    _, warnings = read(tmp_path, data)
    assert report in warnings


def test_read_examples_line_in_windows_1252_is_decoded(tmp_path: Path) -> None:
    found, _ = read(tmp_path, b"text,label\ncaf\xe9 \x93fin\x94,a\nna\xc3\xafve,b\n")
    assert [text for text, _ in found] == ["café “fin”", "naïve"]


ERRORS = [
    ("empty", b"\n\n", {}, "'data.csv' contains no text"),
    ("prose", b"Once upon a time\nthere was nobody\n", {}, "has no text and label columns"),
    ("no label column", csv_of([["text", "note"], *[[f"text {n}", f"note {n}"] for n in range(9)]]), {},
     "give --label-column (a name, or a number from 1); the columns are text, note"),
    ("wrong name", csv_of([["text", "label"], *TABLE]), {"label_column": "lable"},
     "has no column 'lable'; did you mean 'label'?"),
    ("wrong number", csv_of(TABLE), {"text_column": "7"}, "has no column '7'; the columns are 1 to 2"),
    ("JSON broken", b'{"text": "a", "label": 1}\n{"text": \n', {}, "data.csv:2: invalid JSON"),
    ("JSON of other shape", b'{"text": "a", "label": 1}\n[1, 2]\n', {}, "data.csv:2: expected an object with a text"),
    ("JSON without label", b'{"text": "a", "x": 1}\n', {}, "data.csv:1: cannot recognise the key of the label"),
    ("JSON without text", b'{"n": 3, "label": 1}\n', {}, "data.csv:1: no key other than 'label' contains text"),
    ("JSON, no such key", b'{"text": "a", "label": 1}\n', {"text_column": "txt"}, "data.csv:1: there is no key 'txt'"),
    ("JSON label that is an object", b'{"text": "a", "label": {"id": 1}}\n', {},
     "data.csv:1: the label is an object with the keys id"),
    ("JSON label that is nested", b'{"text": "a", "label": 1}\n{"text": "a", "label": [1, [2]]}\n', {},
     "data.csv:2: a label in the list is nested"),
    ("JSON text of another type", b'{"text": ["a"], "label": 1}\n', {}, "data.csv:1: 'text' must be a string"),
    ("JSON array broken", b'[{"text": "a",\n "label": }]\n', {}, "data.csv:2: invalid JSON array"),
    ("JSON key twice", b'{"text": "a", "label": 1}\n{"text": "a", "label": 1, "label": 2}\n', {},
     "data.csv:2: invalid JSON: the key 'label' is given twice, with different values"),
    ("JSON array, key twice", b'[{"text": "}", "label": 1},\n{"text": "b", "label": 1,\n"label": 2}, {}]\n', {},
     "data.csv:3: invalid JSON array: the key 'label' is given twice"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "options", "message"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_read_examples_errors_are_one_line(tmp_path: Path, data: bytes, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, data, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_collect_examples_single_class_is_refused() -> None:
    with pytest.raises(DataError, match="every text has the same label, 'a'"):
        collect_examples([Example("x", ("a",)), Example("y", ("a",))], lambda _: None)
    with pytest.raises(DataError, match="the sources contain no labelled text"):
        collect_examples([], lambda _: None)


def test_collect_examples_thousands_of_labels_of_short_texts_are_refused() -> None:
    """Tables of texts and labels took gigabytes for 200 kB."""
    many = [Example(f"text {number}", (f"label {number}",)) for number in range(6000)]
    with pytest.raises(DataError, match="6,000 short texts have 6,000 labels, too many to learn; name the right"):
        collect_examples(many, lambda _: None)
    longer = [Example(f"{each.text}{'.' * 50}", each.labels) for each in many]
    assert len(collect_examples(longer, lambda _: None).labels) == 6000
    assert len(collect_examples(many[:4000], lambda _: None).labels) == 4000


def test_collect_examples_duplicates_conflicts_and_rare_labels_are_reported() -> None:
    warnings: list[str] = []
    pairs = [("x", "a"), ("x", "a"), ("y", "b"), ("y", "a"), ("z", "b"), ("w", "c")]
    found = collect_examples([Example(t, (a,), f"f:{n}") for n, (t, a) in enumerate(pairs, 1)], warnings.append)
    assert (found.duplicates, found.conflicts, len(found)) == (1, 1, 6)
    assert warnings == [
        "kept 1 duplicate text with the same label (first: f:2)",
        "kept 1 duplicate text with another label (first: f:4)",
        "only one text has the label 'c': too few to learn it",
    ]


def test_collect_examples_unknown_labels_come_last() -> None:
    warnings: list[str] = []
    found = collect_examples([Example("x", ("new",)), Example("y", ("a",))], warnings.append, known=("b", "a"))
    assert found.labels == ("b", "a", "new")
    assert warnings == ["1 label unknown to the model: new"]


def test_sort_labels_numbers_are_sorted_numerically() -> None:
    assert sort_labels(["10", "9", "1"]) == ("1", "9", "10")
    assert sort_labels(["b", "10", "a"]) == ("10", "a", "b")
    assert sort_labels(["nan", "5", "b", "1", "inf"]) == ("1", "5", "b", "inf", "nan")


@given(st.permutations(["1", "2.5", "-3", "nan", "01", "1e999", "٣", "x", ""]))
def test_sort_labels_order_does_not_depend_on_that_of_the_input(order: list[str]) -> None:
    assert sort_labels(order) == sort_labels(sorted(order))


@pytest.mark.parametrize(
    ("text", "name"),
    [("1.0", "1"), ("1", "1"), ("-2.00", "-2"), ("1.5", "1.5"), ("01", "01"), ("True", "true"), ("FALSE", "false"),
     (" a ", "a"), ("v1.0", "v1.0"), ("nan", "nan")],
)  # fmt: skip
def test_label_name_of_text(text: str, name: str) -> None:
    assert label_name(text) == name


def test_read_examples_a_table_may_begin_with_a_bracket(tmp_path: Path) -> None:
    table = b"[Chorus] We sing,pop\n{sic} he said,prose\n[Verse] We go,pop\n"
    wanted = [("[Chorus] We sing", ("pop",)), ("{sic} he said", ("prose",)), ("[Verse] We go", ("pop",))]
    assert read(tmp_path, table, "d.csv")[0] == wanted
    assert read(tmp_path, b'[{"text": "a", "label": "b"}]', "d.csv")[0] == [("a", ("b",))]


def test_read_examples_keys_of_no_usual_name_are_chosen_as_columns_are(tmp_path: Path) -> None:
    rows = [{"id": n, "user": "abc"[n % 3], "msg": f"so it was {n}", "kind": "xy"[n % 2]} for n in range(60)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    table = csv_of([list(rows[0]), *(list(map(str, row.values())) for row in rows)])
    (texts, warnings), (expected, others) = read(tmp_path, lines.encode(), "a.jsonl"), read(tmp_path, table)
    assert texts == expected and texts[1] == ("so it was 1", ("y",))
    assert others == ["data.csv: the label is taken from 'kind', and could be in 'user'; name it with --label-column"]
    assert warnings == [others[0].replace("data.csv", "a.jsonl:1")]


def test_read_examples_a_column_of_one_text_is_not_joined(tmp_path: Path) -> None:
    rows = [("4", "A lovely evening out"), ("0", "Never again in here"), ("4", "We come again"), ("0", "Cold food")]
    table = "".join(f'"{label}","{n}","NO_QUERY","{text}"\n' for n, (label, text) in enumerate(rows * 2))
    assert read(tmp_path, table.encode(), "d.csv")[0] == [(text, (label,)) for label, text in rows * 2]


def test_labels_of_numbers_are_the_same_in_tables_and_json(tmp_path: Path) -> None:
    table = read(tmp_path, b"text,label\na,1\nb,1.0\nc,True\n")[0]
    lines = b"".join(
        json.dumps({"text": t, "label": n}).encode() + b"\n" for t, n in [("a", "1"), ("b", 1.0), ("c", True)]
    )
    assert table == read(tmp_path, lines, "d.jsonl")[0] == [("a", ("1",)), ("b", ("1",)), ("c", ("true",))]


def test_collect_examples_label_of_an_older_model_keeps_its_name() -> None:
    found = collect_examples([Example("x", ("1",)), Example("y", ("2",))], pytest.fail, known=("1.0", "2.0"))
    assert found.labels == ("1.0", "2.0")


FORMULA = re.compile(r'="[^"]*"|=[-+]?\d[\d.,]*')  # a number or text that spreadsheets leave alone: read without =
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(
    lambda t: t.strip() == t and not FORMULA.fullmatch(t)
)
labels = st.sampled_from(["x", "y", "z z"])


@given(st.lists(st.tuples(texts, labels), min_size=2, max_size=20))
def test_read_examples_written_rows_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    wanted = [(text, (label,)) for text, label in rows]
    assert read(folder, csv_of([["text", "label"], *map(list, rows)]))[0] == wanted
    lines = "".join(json.dumps({"label": label, "text": text}) + "\n" for text, label in rows)
    assert read(folder, lines.encode(), "d.jsonl")[0] == wanted


def many(count: int, classes: int) -> LabelledTexts:
    return collect_examples([Example(f"text {n}", (f"c{n % classes}",)) for n in range(count)], lambda _: None)


@given(st.integers(8, 200), st.integers(2, 4), st.floats(0.05, 0.5), st.integers(0, 5))
def test_stratified_split_is_balanced_complete_and_repeatable(
    count: int, classes: int, fraction: float, seed: int
) -> None:
    whole = many(count, classes)
    train, held = stratified_split(whole, fraction, seed)
    sides = [{part.text(n) for n in range(len(part))} for part in (train, held)]
    assert not sides[0] & sides[1]
    assert len(train) + len(held) == count
    assert (train.counts() >= 1).all()
    assert np.abs(held.counts() - fraction * whole.counts()).max() <= 1
    again = stratified_split(whole, fraction, seed)
    assert list(again[1].strings()) == list(held.strings())


def test_stratified_split_equal_texts_fall_on_the_same_side() -> None:
    whole = collect_examples([Example(f"t{n % 10}", (f"c{n % 2}",)) for n in range(200)], lambda _: None)
    train, held = stratified_split(whole, 0.3, 0)
    assert len(held)
    assert not {train.text(n) for n in range(len(train))} & {held.text(n) for n in range(len(held))}


def test_stratified_split_class_of_one_text_is_in_training() -> None:
    whole = collect_examples(
        [*[Example(f"t{n}", ("a",)) for n in range(50)], Example("lonely", ("b",))], lambda _: None
    )
    train, _ = stratified_split(whole, 0.5, 3)
    assert train.counts()[1] == 1


def test_stratified_split_fraction_zero_holds_out_nothing() -> None:
    train, held = stratified_split(many(10, 2), 0.0, 0)
    assert (len(train), len(held)) == (10, 0)


HOUSES = b"".join(b"%d,the house number %d stood there\n" % (number % 2, number) for number in range(40))
LOOKS = [
    (True, "a.csv", b"text,label\nx,y\n"), (True, "a.tsv", b"label\tsentence\n1\tx\n"),
    (True, "a.jsonl", b'{"text": "x", "label": 1}\n'), (True, "a.txt", b"__label__a b\n"),
    (False, "a.txt", b"Once upon a time, there was.\n"), (False, "a.csv", b"date,close\n2020-01-01,3.5\n"),
    (False, "a.csv", b"question,answer\nhow,so\n"), (False, "a.jsonl", b'{"messages": []}\n'), (False, "a.csv", b""),
    (False, "a.jsonl", b"{broken\n"),
    (True, "a.csv", b"text;label\na, b, c;x\nd, e;y\n"),
    (True, "a.csv", b"Satz;label\n" + b"das ist ein Satz;x\nund noch ein anderer;y\n" * 2),
    (True, "a.csv", b"kind,body\n" + HOUSES),
    (False, "a.csv", b"title,body\n" + HOUSES),
    (False, "a.csv", b"Satz;Autor\n" + b"das ist ein Satz;x\nund noch ein anderer;y\n" * 2),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "name", "data"), LOOKS)
def test_looks_like_labelled_texts_by_file(tmp_path: Path, wanted: bool, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert looks_like_labelled_texts(tmp_path / name) is wanted
