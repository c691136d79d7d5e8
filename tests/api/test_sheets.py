"""Models of one sheet of a workbook read it again without being told."""

from __future__ import annotations

from pathlib import Path

import pytest

import seqgen
from seqgen.errors import DataError


def workbook(path: Path, header: tuple[str, str], rows: list[tuple[object, object]], title: str = "two") -> str:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in (("x", "y"), (1, 2), (3, 4)):
        book.active.append(cells)
    sheet = book.create_sheet(title)
    for cells in (header, *rows):
        sheet.append(cells)
    book.save(path)
    return str(path)


def test_forecaster_of_a_sheet_reads_it_and_is_resumed(tmp_path: Path) -> None:
    rows: list[tuple[object, object]] = [(f"2021-{n // 28 + 1:02}-{n % 28 + 1:02}", n * n % 7 + 0.5) for n in range(56)]
    source = workbook(tmp_path / "a.xlsx", ("date", "y"), rows)
    options = {"horizon": 2, "rnn_size": 4, "seed": 1, "val_fraction": 0.1, "members": 1}
    seqgen.train(source, tmp_path / "m", task="forecast", sheet="two", steps=1, **options)
    seqgen.train(source, tmp_path / "m", resume=True, steps=2)
    model = seqgen.load(tmp_path / "m")
    (found,) = model.forecast(source)
    assert found.columns == ("y",) and found.series.values[:2, 0].tolist() == [0.5, 1.5]
    assert model.evaluate(source, baselines=False)["records"] > 0
    other = workbook(tmp_path / "b.xlsx", ("date", "y"), rows, title="three")
    with pytest.raises(DataError, match="2 sheets with cells"):
        model.forecast(other)


def test_classifier_of_a_sheet_reads_it_and_tables_without_one(tmp_path: Path) -> None:
    rows: list[tuple[object, object]] = [
        (f"the {word} day number {n}", word) for n in range(8) for word in ("red", "blue")
    ]
    source = workbook(tmp_path / "a.xlsx", ("text", "label"), rows)
    options = {"rnn_size": 4, "tokenizer": "byte", "seed": 1, "members": 1, "val_fraction": 0.25}
    model = seqgen.train(source, tmp_path / "m", sheet="two", steps=1, **options)
    assert model.task == "classify"  # guessed from that sheet
    (tmp_path / "b.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    for name in (source, str(tmp_path / "b.csv")):
        assert model.evaluate(name, baselines=False)["records"] == len(rows)
