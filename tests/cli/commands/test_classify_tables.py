"""Classification of tables and JSON lines through the real command."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqgen
from tests.helpers.running import Run

HEADER = "id;Kommentar;label"
ROWS = [f"{n};it was {'lovely' if n % 2 else 'awful'}, number {n};{'good' if n % 2 else 'bad'}" for n in range(80)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "data.csv").write_text("\n".join([HEADER, *ROWS]) + "\n", encoding="utf-8")
    seqgen.train(str(folder / "data.csv"), folder / "mood", steps=5, rnn_size=8, batch_size=16, threads=1)
    yield folder / "mood"


NEW = 'when,Kommentar,label\n1,"lovely, so lovely",x\n2,,"a\nb"\n3,awful,y\n'


def test_classify_table_reads_the_column_of_the_training_data(model: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(NEW, encoding="utf-8")
    found = run("classify", model, tmp_path / "new.csv")
    assert [line.split("\t")[0] for line in found.lines][::2] == ["good", "bad"]
    assert len(found.lines) == 3
    assert run("classify", model, stdin=NEW.encode()).lines == found.lines
    shards = [run("classify", model, tmp_path / "new.csv", "--shard", f"{n}/2").lines for n in (1, 2)]
    assert shards[0] + shards[1] == found.lines
    texts = b"lovely, so lovely\n\nawful\n"
    assert run("classify", model, stdin=texts).lines == found.lines


def test_classify_format_csv_gives_the_table_back(model: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(NEW, encoding="utf-8")
    out = run("classify", model, tmp_path / "new.csv", "--format", "csv").out.decode()
    header, *rows = csv.reader(io.StringIO(out, newline=""))
    assert header == ["when", "Kommentar", "label", "label_2", "probability"]
    assert [row[:4] for row in rows] == [
        ["1", "lovely, so lovely", "x", "good"], ["2", "", "a\nb", ""], ["3", "awful", "y", "bad"]
    ]  # fmt: skip
    assert rows[1][4] == ""
    assert 0.5 <= float(rows[0][4]) <= 1
    assert run("classify", model, "-", "--format", "csv", stdin=NEW.encode()).out.decode() == out


def test_classify_format_csv_quotes_carriage_returns(model: Path, run: Run) -> None:
    table = 'when,Kommentar\n"1\r2","lovely\rday"\n3,awful\n'
    out = run("classify", model, "-", "--format", "csv", stdin=table.encode()).out.decode()
    rows = list(csv.reader(io.StringIO(out, newline="")))
    assert [row[:3] for row in rows[1:]] == [["1\r2", "lovely\rday", "good"], ["3", "awful", "bad"]]
    assert out.count("\n") == 3 and "\r\n" not in out


def test_classify_table_without_the_column_is_refused(model: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("n,words\n1,a lovely day\n2,an awful day\n3,a day\n", encoding="utf-8")
    done = run("classify", model, path, status=2)
    assert "has no column 'Kommentar', which the model was trained on; the columns are n, words" in done.err
    assert "--text-column" in done.err
    assert len(run("classify", model, path, "--text-column", "words").lines) == 3
    assert "did you mean 'words'?" in run("classify", model, path, "--text-column", "word", status=2).err


def test_classify_json_lines_by_key(model: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps({"n": 1, "Kommentar": text}) + "\n" for text in ("lovely", "awful\nday")))
    found = run("classify", model, path).lines
    assert [line.split("\t")[0] for line in found] == ["good", "bad"]
    path.write_text('{"Kommentar": "lovely"}\n{"other": 1}\n')
    assert f"{path}:2: expected an object with 'Kommentar'" in run("classify", model, path, status=2).err


def test_evaluate_classify_reads_the_columns_of_the_training_data(model: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "held.csv"
    path.write_text("text,label,Kommentar\n" + "x y,good,lovely\nz w,bad,awful\n" * 5, encoding="utf-8")
    done = run("evaluate", model, path, "--json", "--no-baselines")
    assert done.json["metrics"]["accuracy"] == 1
    assert "'text' has text" not in done.err


def test_columns_that_training_was_given_by_number_are_those_of_their_names_elsewhere(
    model: Path, run: Run, tmp_path: Path
) -> None:
    """The numbers read other columns of tables with another order; they hold where there are no names."""
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    config = json.loads((folder / "config.json").read_bytes())
    config["training"]["options"].update(text_column="2", label_column="3")
    (folder / "config.json").write_text(json.dumps(config))
    named, plain = tmp_path / "named.csv", tmp_path / "plain.csv"
    titles = [f"{label},a day that was {other},{text} {n}" for n in range(5)
              for label, other, text in (("good", "awful", "lovely"), ("bad", "lovely", "awful"))]  # fmt: skip
    named.write_text("\n".join(["label,title,Kommentar", *titles]) + "\n")
    plain.write_text("\n".join(ROWS[:10]) + "\n")
    keys = tmp_path / "keys.jsonl"
    keys.write_text('{"Kommentar": "lovely", "label": "good"}\n{"Kommentar": "awful", "label": "bad"}\n')
    for path, labels in ((named, ["good", "bad"] * 5), (plain, ["bad", "good"] * 5), (keys, ["good", "bad"])):
        assert [line.split("\t")[0] for line in run("classify", folder, path).lines] == labels
        done = run("evaluate", folder, path, "--json", "--no-baselines")
        assert done.json["metrics"]["accuracy"] == 1 and done.json["records"] == len(labels)
        assert "column" not in done.err, "evaluate has no flag for it"
    assert [line.split("\t")[0] for line in run("classify", folder, stdin=named.read_bytes()).lines][:2] == [
        "good",
        "bad",
    ]


@pytest.mark.parametrize("text", ["x,y\na,b\n", '{"text": "a"}\n', "only lines\nof prose\n"])
def test_classify_a_pipe_without_the_column_that_was_named_is_an_error(model: Path, run: Run, text: str) -> None:
    """Its lines were labelled, a header and raw JSON among them."""
    said = run("classify", model, "--text-column", "foo", stdin=text.encode(), status=2).err
    assert "has no column 'foo'; the columns are" in said


def test_classify_a_pipe_of_one_column_that_is_named_has_a_header(model: Path, run: Run) -> None:
    texts = run("classify", model, stdin=b"lovely\nawful\n").lines
    assert run("classify", model, "--text-column", "words", stdin=b"words\nlovely\nawful\n").lines == texts
    assert run("classify", model, "--text-column", "w", stdin=b'{"w": "lovely"}\n\n{"w": "awful"}\n').lines == texts
