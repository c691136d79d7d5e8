"""Data in memory as a source of `train`."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import seqgen
from seqgen.api.records import encode_data
from seqgen.api.train.watch import Watcher
from seqgen.specs.tasks import RowLayout

SMALL = {"steps": 2, "rnn_size": 8, "threads": 1, "tokenizer": "char"}
TEXTS = ["the boat came home", "a lamp on the quay\n", "naïve 灯塔"]


def written(data: Any, layout: RowLayout | None = None, text_column: str | None = None) -> bytes:
    return b"".join(encode_data(data, layout, text_column).chunks)


def lines(data: Any) -> list[Any]:
    return [json.loads(line) for line in written(data).splitlines()]


def seen(model: Path) -> set[str]:
    """The characters, and bytes, that a model has seen in training."""
    tokenizer = json.loads((model / "tokenizer.json").read_text("utf-8"))
    return {str(piece) for piece in tokenizer["pieces"][: tokenizer["seen"]]}


def test_encode_data_texts_stand_one_after_another() -> None:
    assert written(iter(TEXTS)).decode() == "the boat came home\na lamp on the quay\nnaïve 灯塔\n"


def test_encode_data_pairs_conversations_and_rows_are_json_lines() -> None:
    assert lines([("good", 1), ("bad", 0)]) == [{"text": "good", "label": "1"}, {"text": "bad", "label": "0"}]
    assert lines([("both", {"b", "a"})]) == [{"text": "both", "label": ["a", "b"]}]
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    assert lines([["Hi", "Yes?"]]) == lines([turns]) == [{"messages": turns}]
    assert lines([{"text": "x", "label": "y"}]) == [{"text": "x", "label": "y"}]


def test_encode_data_rows_for_a_task_of_text_are_their_texts() -> None:
    import datasets
    import pandas

    rows = [{"id": n, "title": f"T{n}", "text": text} for n, text in enumerate(('One, "two"', "three\nfour"))]
    expected = 'One, "two"\nthree\nfour\n'
    for data in (rows, iter(rows), datasets.Dataset.from_list(rows), pandas.DataFrame(rows)):
        assert written(data, RowLayout.TEXT).decode() == expected
    for data in ([{"body": row["text"]} for row in rows], pandas.DataFrame({"body": [row["text"] for row in rows]})):
        assert written(data).decode() == expected  # there is nothing but text
    assert written(rows, RowLayout.TEXT, "title").decode() == "T0\nT1\n"
    assert written([("good", 1), ("bad", 0)], RowLayout.TEXT).decode() == "good\nbad\n"
    with pytest.raises(seqgen.DataError, match="has no column 'none'"):
        written(rows, RowLayout.TEXT, "none")
    with pytest.raises(seqgen.DataError, match="no column has text"):
        written([{"a": 1}], RowLayout.TEXT)
    with pytest.raises(seqgen.DataError, match="no column has text; the columns are 0, 1;"):
        written([{0: 1.5, 1: 2}], RowLayout.TEXT)


def test_encode_data_rows_for_a_task_of_tables_are_csv() -> None:
    rows = [{"date": "2020-01-01", "y": 1.5}, {"date": "2020-01-02", "y": None, "note": 'a "b",\nc'}]
    expected = 'date,y,note\r\n2020-01-01,1.5,\r\n2020-01-02,,"a ""b"",\nc"\r\n'
    assert written(iter(rows), RowLayout.TABLE).decode() == expected
    with pytest.raises(seqgen.DataError, match="record 100 has a column 'z', which none of the first rows has"):
        written([{"y": 1}] * 100 + [{"z": 1}], RowLayout.TABLE)


def test_encode_data_a_table_with_cells_of_several_values_is_json_lines() -> None:
    import numpy as np
    import pandas

    rows = [{"text": "x", "label": np.array(["a", "b"])}, {"text": None, "label": []}]
    assert lines(pandas.DataFrame(rows)) == [{"text": "x", "label": ["a", "b"]}, {"text": None, "label": []}]


def test_encode_data_missing_texts_are_empty_and_missing_labels_null() -> None:
    import pandas

    texts = [None, "a b", float("nan"), pandas.NA]
    assert written(pandas.DataFrame({"text": texts})) == b"\na b\n\n\n"  # they were the words "nan" and "None"
    assert written([{"text": text} for text in texts], RowLayout.TEXT) == b"\na b\n\n\n"
    assert [row["label"] for row in lines([("x", None), ("x", float("nan")), ("x", ["a", None])])] == [
        None,
        None,
        ["a"],
    ]
    assert lines([{"text": "x", "label": pandas.NaT}]) == [{"text": "x", "label": None}]


def test_encode_data_lone_surrogates_are_replaced_and_nothing_else_changes() -> None:
    """A line that is not UTF-8 was read as Windows-1252, as a whole."""
    assert lines([("é \ud83d", "caf\udce9")]) == [{"text": "é \ufffd", "label": "caf\ufffd"}]
    assert lines([["é\ud83d\ude00", "Yes"]])[0]["messages"][0]["content"] == "é😀"
    assert written([{"y": "\udce9"}], RowLayout.TABLE).decode() == "y\r\n\ufffd\r\n"


def test_encode_data_an_index_without_a_name_that_has_gaps_counts_rows() -> None:
    """It was learnt as a target, `column_1`."""
    import pandas

    table = pandas.DataFrame({"y": [1.0, None, 2.0]})
    assert written(table.dropna()) == b"y\n1.0\n2.0\n"
    assert written(pandas.concat([table, table]).dropna()).count(b",") == 0
    assert written(table.dropna().rename_axis("year")).startswith(b"year,y\n0,1.0\n")


def test_encode_data_a_carriage_return_in_a_cell_of_a_table_is_quoted() -> None:
    import pandas

    assert written(pandas.DataFrame({"text": ["a\rb"], "label": [1]})) == b'text,label\r\n"a\rb",1\r\n'


def test_encode_data_labels_of_a_dataset_have_the_names_of_their_classes() -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["x", "y", "z"], "label": [1, 0, -1]})
    rows = rows.cast_column("label", datasets.ClassLabel(names=["bad", "good"]))
    assert [row["label"] for row in lines(rows)] == ["good", "bad", None]


def test_encode_data_reads_one_record_at_a_time() -> None:
    taken = []

    def texts() -> Iterator[str]:
        for number in range(1000):
            taken.append(number)
            yield f"text {number}"

    chunks = encode_data(texts()).chunks
    assert [next(chunks) for _ in range(3)] == [b"text 0\n", b"text 1\n", b"text 2\n"]
    assert len(taken) <= 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text", "not str"), (b"x", "not bytes"), ({"a": 1}, "not dict"), (3, "not int"), ([], "has no records"),
        ([3], "its first record is int"), ([()], "its first record is tuple"), (["a", ("b", "c")], "record 1 is tuple"),
        ([{"a": {1: float}}, "x"], "record 1 is str"),
    ],
)  # fmt: skip
def test_encode_data_other_data_is_one_error(data: Any, message: str) -> None:
    with pytest.raises(seqgen.DataError, match="`data`.*" + message):
        written(data)


@pytest.mark.parametrize(
    ("data", "task"),
    [
        ([f"{text} {n}" for n in range(60) for text in TEXTS], "text"),
        ([(f"{TEXTS[n % 3]} {n}", "ab"[n % 2]) for n in range(60)], "classify"),
        ([["hello there", f"hi {n}", "how are you?"] for n in range(60)], "dialogue"),
    ],
)
def test_train_data_is_of_the_task_that_it_is_for(data: Any, task: str, tmp_path: Path) -> None:
    assert seqgen.train(data=data, output=tmp_path / "m", **SMALL).task == task


def test_train_data_of_other_packages(tmp_path: Path) -> None:
    import datasets
    import pandas

    table = pandas.DataFrame({
        "when": pandas.date_range("2020-01-01", periods=200, freq="h"), "load": [float(n % 24) for n in range(200)],
    })  # fmt: skip
    few = {"horizon": 4, "steps": 2, "rnn_size": 8, "threads": 1}
    assert seqgen.train(data=table, output=tmp_path / "a", **few).task == "forecast"
    indexed = seqgen.train(data=table.set_index("when"), output=tmp_path / "b", **few)
    assert indexed.checkpoint.scaler.targets == ("load",)
    rows = datasets.Dataset.from_dict({"text": ["a good one", "a bad one"] * 50, "label": [1, 0] * 50})
    assert seqgen.train(data=rows, output=tmp_path / "c", **SMALL).task == "classify"


@pytest.mark.parametrize("options", [{"task": "text"}, {}])
def test_train_data_learns_the_texts_of_rows_for_no_other_task(options: dict[str, Any], tmp_path: Path) -> None:
    """Its lines were learnt as they are in JSON; with `text_column` the column was looked for in the texts."""
    rows = [{"id": 1000 + n, "review": "it was lovely"} for n in range(60)]
    model = seqgen.train(data=iter(rows), output=tmp_path / "m", text_column="review", **SMALL, **options)
    assert model.task == "text" and not seen(tmp_path / "m") & set('1,:{"')
    seqgen.train(data=rows, output=tmp_path / "m", text_column="review", resume=True, **{**SMALL, "steps": 3})


def test_train_data_of_a_table_is_of_the_task_of_its_file(tmp_path: Path) -> None:
    import pandas

    table = pandas.DataFrame({"comment": [f"{text} {n}" for n in range(40) for text in TEXTS], "toxic": [0, 1, 1] * 40})
    assert seqgen.train(data=table, output=tmp_path / "a", **SMALL).task == "classify"
    warnings: list[str] = []
    table["toxic"] = range(120)
    model = seqgen.train(data=table, output=tmp_path / "b", watch=Watcher(warn=warnings.append), **SMALL)
    assert model.task == "text" and "," not in seen(tmp_path / "b")
    assert warnings[-1] == "`data` is learnt as the text of its column 'comment'; name another task with --task"


def test_train_data_of_a_table_without_labels_learns_its_texts(tmp_path: Path) -> None:
    """Repeated titles were taken for labels, which the reader of labelled texts then missed."""
    import pandas

    bodies = [f"the old house by the river, number {n}" for n in range(60)]
    table = pandas.DataFrame({"title": [f"Part {n % 4}" for n in range(60)], "body": bodies})
    assert seqgen.train(data=table, output=tmp_path / "m", **SMALL).task == "text"


def test_train_data_rows_with_numbers_make_a_forecaster(tmp_path: Path) -> None:
    rows = [{"date": f"{2000 + n // 12}-{n % 12 + 1:02d}-01", "y": float(n % 12)} for n in range(120)]
    few = {"horizon": 3, "steps": 2, "rnn_size": 8, "threads": 1}
    assert seqgen.train(data=iter(rows), output=tmp_path / "m", **few).checkpoint.scaler.targets == ("y",)


def test_resume_of_data_that_the_cache_has_lost_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looked for them on standard input, which a terminal never ends."""
    texts = [f"{text} {n}" for n in range(60) for text in TEXTS]
    seqgen.train(data=texts, output=tmp_path / "m", **SMALL)
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))
    for stdin in (None, io.TextIOWrapper(io.BytesIO())):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(seqgen.DataError, match="no longer in the cache; give it again"):
            seqgen.train(output=tmp_path / "m", resume=True, steps=3)
    seqgen.train(data=texts, output=tmp_path / "m", resume=True, steps=3)


@pytest.mark.parametrize(("data", "options", "message"), [
    ([{"v": number} for number in (1.0, float("inf"))] * 9, {"horizon": 1}, "`data`, line 3, column 'v': infinite"),
    ([{"text": "a", "label": "b"}] * 9, {"label_column": "zz"}, "`data`:1: there is no key 'zz'"),
    ([["", ""]], {"task": "dialogue"}, "there is no conversation in `data`"),
    (["\0\1\2" * 99], {}, "`data` is binary data"),
])  # fmt: skip
def test_errors_about_data_do_not_name_standard_input(
    data: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(seqgen.DataError, match=f"^{message}"):
        seqgen.train(data=data, output=tmp_path / "m", steps=1, **options)


def test_train_data_arguments_that_exclude_each_other(text_file: Path, tmp_path: Path) -> None:
    with pytest.raises(seqgen.UserError, match="sources or data, not both"):
        seqgen.train(str(text_file), tmp_path / "m", data=TEXTS)
    with pytest.raises(seqgen.UserError, match="name the folder"):
        seqgen.train(data=TEXTS)
