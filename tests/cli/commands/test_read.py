"""`seqgen read`: how sources are understood, in JSON and for people."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from seqgen.api.reading.run import read
from seqgen.specs.tasks import TASKS
from tests.helpers.running import Run

KEYS = {
    "task", "reason", "format", "encoding", "compression", "delimiter", "records", "held_out", "columns", "labels",
    "speakers", "warnings", "first",
}  # fmt: skip


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    path = tmp_path / "chat.json"
    messages = [{"role": ("user", "assistant")[n % 2], "content": f"turn {n}"} for n in range(6)]
    path.write_text(json.dumps(messages, indent=2))
    return path


@pytest.mark.parametrize("name", ["tidewater", "tunes", "dialogues", "reviews", "prices", "weather", "muqiao"])
def test_read_every_starter_corpus(name: str) -> None:
    result = read([name])
    assert set(result) >= KEYS
    assert result["task"] in TASKS
    assert 0 < result["held_out"] <= result["records"]
    assert len(result["first"]) == min(3, result["records"])
    assert result["warnings"] == []


def test_read_dialogue_shows_speakers_and_turns(chat: Path) -> None:
    result = read(str(chat))
    assert (result["task"], result["records"]) == ("dialogue", 1)
    assert result["speakers"] == {"user": 3, "assistant": 3}
    assert result["first"][0][:2] == [{"speaker": 0, "text": "turn 0"}, {"speaker": 1, "text": "turn 1"}]


def test_read_labels_columns_and_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "mood.csv"
    path.write_text("label;text;id\n" + "".join(f"{n % 2 + 1};number, {n} it is;{n}\n" for n in range(30)))
    result = read(str(path), task="classify")
    assert result["delimiter"] == ";"
    assert result["labels"] == {"1": 15, "2": 15}
    assert result["columns"] == {"label": "label", "text": "text", "id": "unused"}
    assert result["first"][0] == {"text": "number, 0 it is", "labels": ["1"]}
    assert (result["records"], result["held_out"]) == (30, 4)


def test_read_series_shows_times_and_values(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("Datum;Umsatz\n" + "".join(f"{day:02}.03.2021;1.{day:03}\n" for day in range(1, 31)))
    result = read(str(path), count=1)
    assert (result["task"], result["records"]) == ("forecast", 30)
    assert result["columns"] == {"Datum": "time", "Umsatz": "target"}
    assert result["first"] == [{"time": "2021-03-01T00:00:00", "values": {"Umsatz": 1001.0}}]
    assert any("1.001 is 1001" in sentence for sentence in result["warnings"])


def test_read_encoding_and_compression(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "novel"
    path.write_bytes(gzip.compress(("Es war einmal ein Mädchen. " * 200).encode("utf-16")))
    result = read(str(path))
    assert (result["task"], result["compression"]) == ("text", "gz")
    assert result["encoding"].startswith("UTF-16")
    assert result["first"][0].startswith("Es war einmal")


def test_read_too_little_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("text,label\nfine,good\nalso fine,good\n")
    result = read(str(path), task="classify")
    assert result["records"] == 2
    assert any("at least two labels" in sentence for sentence in result["warnings"])


def test_read_prose_that_is_called_data_says_why_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text("Ada\nGrace\nEdsger\n" * 20)
    (sentence,) = [each for each in read(str(path))["warnings"] if "prose" in each]
    assert "forecast: " in sentence and "classify: " in sentence
    assert not any("prose" in each for each in read(str(path), task="text")["warnings"])


def test_command_prints_json_or_lines(chat: Path, run: Run) -> None:
    assert set(run("read", str(chat), "--json").json) >= KEYS
    lines = run("read", str(chat), "-n", "1").lines
    assert lines[0].startswith("task         dialogue: ")
    assert "1: turn 1" in lines


def test_command_counts_one_of_a_kind_as_one(tmp_path: Path, run: Run) -> None:
    (tmp_path / "chat.json").write_text('[["hi"], ["ho"]]')
    assert "records      1 document, 1 character, 1 byte" in run("read", "-", "--task", "text", stdin=b"a").lines
    lines = run("read", str(tmp_path / "chat.json"), "--task", "dialogue").lines
    assert "records      2 conversations, 2 turns" in lines and "held out     1 turn of 1 conversation" in lines


def test_command_reads_a_pipe_as_the_file(chat: Path, run: Run) -> None:
    piped = run("read", "--json", stdin=chat.read_bytes()).json
    named = run("read", str(chat), "--json").json
    for key in KEYS - {"reason"}:
        assert piped[key] == named[key], key


def test_command_names_the_tasks_of_a_workbook_that_is_no_text(tmp_path: Path, run: Run) -> None:
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as file:
        file.writestr("xl/workbook.xml", "")
        file.writestr("[Content_Types].xml", "")
    done = run("read", str(tmp_path / "b.xlsx"), "--task", "text", status=2)
    assert "is an Excel workbook, not text; name a task for tables, such as --task dialogue" in done.err


def test_command_refuses_flags_of_another_task(chat: Path, run: Run) -> None:
    done = run("read", str(chat), "--task", "dialogue", "--target", "x", status=2)
    assert len(done.err.splitlines()) == 1
