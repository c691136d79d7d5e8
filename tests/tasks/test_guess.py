"""The task that sources are for: by options, by their form, or by a catalogue."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from seqgen.api.reading.run import read
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.dataset_rows import RowFormat
from seqgen.corpus.sources import Spool, find
from seqgen.errors import DataError
from seqgen.specs.tasks import TASKS, RowLayout
from seqgen.tasks.guess import guess
from tests.helpers.midi_files import tune
from tests.helpers.series import parquet_file
from tests.helpers.workbooks import workbook_of

CHAT = json.dumps(
    {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]}
)  # fmt: skip
PRICES = "date,close\n" + "".join(f"2021-01-{day:02},{10 + day}\n" for day in range(1, 31))
REVIEWS = "text,label\n" + "".join(f"it was {word} {day},{word}\n" for day in range(9) for word in ("good", "bad"))


@pytest.fixture
def tunes(tmp_path: Path) -> Path:
    folder = tmp_path / "tunes"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number:02}.mid").write_bytes(tune(number))
    return folder


@pytest.fixture
def text_file(files: dict[str, Path]) -> Path:
    return files["text"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A file of each form, called by its task, with a suffix that says nothing."""
    contents = {"dialogue": f"{CHAT}\n" * 5, "forecast": PRICES, "classify": REVIEWS, "text": "Once upon a time.\n" * 9}
    for task, content in contents.items():
        (tmp_path / f"{task}.data").write_text(content)
    return {task: tmp_path / f"{task}.data" for task in contents}


def test_guess_each_form_by_what_it_holds(files: dict[str, Path]) -> None:
    assert {task: guess([str(path)]).task for task, path in files.items()} == {task: task for task in files}


def test_guess_gives_a_reason(files: dict[str, Path]) -> None:
    for task, path in files.items():
        assert TASKS.find(task).form in guess([str(path)]).reason


@pytest.mark.parametrize(
    ("given", "task"),
    [
        ({"target": ("close",)}, "forecast"),
        ({"horizon": 5}, "forecast"),
        ({"label_column": "label"}, "classify"),
        ({"grid": 12}, "music"),
    ],
)
def test_guess_option_of_one_task_settles_it(files: dict[str, Path], given: dict[str, object], task: str) -> None:
    found = guess([str(files["text"])], given)
    assert found.task == task
    assert found.reason.startswith("--")


def test_guess_option_of_several_tasks_leaves_the_others_out(files: dict[str, Path]) -> None:
    assert guess([str(files["forecast"])], {"keep_corpus": True}).task == "text"
    assert guess([str(files["dialogue"])], {"keep_corpus": True}).task == "dialogue"


def test_guess_default_of_an_option_settles_nothing(files: dict[str, Path]) -> None:
    assert guess([str(files["text"])], {"target": (), "horizon": None}).task == "text"


def test_guess_files_of_a_folder_glob_and_archive(files: dict[str, Path], tmp_path: Path) -> None:
    for task in ("dialogue", "forecast"):
        folder = tmp_path / f"many-{task}"
        folder.mkdir()
        for number in range(3):
            (folder / f"{number}.data").write_bytes(files[task].read_bytes())
        (folder / "README").write_text("What these are.\n")
        assert guess([str(folder)]).task == task
        assert guess([str(folder / "*.data")]).task == task
        with zipfile.ZipFile(tmp_path / f"{task}.zip", "w") as archive:
            for path in folder.iterdir():
                archive.write(path, path.name)
        with tarfile.open(tmp_path / f"{task}.tar.gz", "w:gz") as archive:
            archive.add(folder, "all")
        with Spool() as spool:
            assert guess([str(tmp_path / f"{task}.zip")], spool=spool).task == task
            assert guess([str(tmp_path / f"{task}.tar.gz")], spool=spool).task == task


def test_guess_standard_input_by_what_arrives(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for task, path in files.items():
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
        with Spool() as spool:
            assert guess(["-"], spool=spool).task == task
            assert spool.standard_input is not None
            assert spool.standard_input.read_bytes() == path.read_bytes()  # nothing is lost by looking


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
def test_guess_named_pipe_by_what_arrives(files: dict[str, Path]) -> None:
    """`seqgen train <(cat x.csv)`, whose pipe was taken for prose."""
    for task, path in files.items():
        process = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process, Spool() as spool:
            source = f"/dev/fd/{process.stdout.fileno()}"
            assert guess([source], spool=spool).task == task
            (document,) = find([source], spool, rows=RowFormat(RowLayout.NONE))  # nothing is lost by looking
            assert b"".join(document.chunks()) == path.read_bytes()


def test_guess_data_taken_for_prose_is_told(tmp_path: Path, files: dict[str, Path]) -> None:
    odd = tmp_path / "list.csv"
    odd.write_text("alpha\nbeta\ngamma\n")
    assert guess([str(odd)]).prose == str(odd)
    assert guess([str(files["text"])]).prose == ""


def test_guess_data_taken_for_prose_names_the_tasks_that_could_read_it(tmp_path: Path) -> None:
    table = tmp_path / "chat.csv"
    table.write_text("Date,User,Message\n" + "".join(f"2024-01-0{n},{'ab'[n % 2]},so {n}\n" for n in range(1, 9)))
    (warning, *_) = read(str(table))["warnings"]
    assert "; --task dialogue or classify could read it as data, --task text settles it" in warning
    assert "plain" not in warning and "forecast: has no numeric column" in warning


def test_guess_json_taken_for_prose_is_told_without_lines_of_tables(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"overall": 1, "summary": "so it was"}\n' * 9)
    (warning, *_) = read(str(rows))["warnings"]
    assert "classify: cannot recognise the key of the label" in warning  # without the number of its line
    assert "forecast" not in warning  # the names of its columns told nothing


def test_guess_empty_table_is_refused_without_a_guess(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    warnings: list[str] = []
    with pytest.raises(DataError, match="is empty"):
        read(str(tmp_path / "empty.csv"), warn=warnings.append)
    assert warnings == []


def workbook(path: Path, sheets: dict[str, list[tuple[object, ...]]]) -> str:
    path.write_bytes(workbook_of(sheets))
    return str(path)


NUMBERS: list[tuple[object, ...]] = [("date", "v"), *((f"2021-01-{day:02}", day) for day in range(1, 9))]


@pytest.mark.parametrize(
    ("sheets", "given", "words"),
    [
        ({"one": NUMBERS, "two": NUMBERS}, {}, "has 2 sheets with cells, 'one', 'two'; give one with --sheet"),
        ({"one": NUMBERS, "two": NUMBERS}, {"sheet": "tow"}, "has no sheet 'tow'"),
        ({"one": [("a", "b"), ("c", "d")]}, {}, "no plain form (forecast: has no numeric column"),
    ],
)
def test_guess_workbook_of_no_task_is_one_clear_error(
    tmp_path: Path, sheets: dict[str, list[tuple[object, ...]]], given: dict[str, str], words: str
) -> None:
    """A warning that it is read as prose, and asks for the --sheet that was given, stood before the error."""
    warnings: list[str] = []
    with pytest.raises(DataError) as error:
        read(workbook(tmp_path / "a.xlsx", sheets), warn=warnings.append, **given)
    assert words in str(error.value)
    assert warnings == []


@pytest.mark.parametrize(("values", "further", "task"), [((0, 1), 0, "classify"), ((1, 2), 90, "forecast")])
def test_guess_two_numbers_beside_texts_are_labels_only_as_flags(
    tmp_path: Path, values: tuple[int, int], further: int, task: str
) -> None:
    """A measure of two values was the label; with others below, the table was prose and the workbook an error."""
    measured = [values[n % 2] if n < 210 else n % 7 for n in range(210 + further)]
    rows: list[tuple[object, ...]] = [("id", "date", "item", "value")]
    rows += ((n, f"20{n // 28:02}-01-{n % 28 + 1:02}", f"cup no {n}", value) for n, value in enumerate(measured))
    (tmp_path / "a.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    assert guess([str(tmp_path / "a.csv")]).task == task
    assert guess([workbook(tmp_path / "a.xlsx", {"one": rows})]).task == task


def day(n: int) -> str:
    return f"2021-{n // 28 + 1:02}-{n % 28 + 1:02}"


FORMS: dict[str, tuple[str, dict[str, Callable[[int], object]]]] = {
    "dates as strings": ("forecast", {"date": day, "shop": lambda n: "ab"[n % 2], "v": lambda n: n * n % 7}),
    "dates": ("forecast", {"day": lambda n: date(2021, n // 28 + 1, n % 28 + 1), "v": lambda n: n / 7}),
    "numbers": ("forecast", {"a": lambda n: n * n % 7, "b": lambda n: n / 3}),
    "names": ("classify", {"text": lambda n: f"so it was {n}", "label": lambda n: ("good", "bad")[n % 2]}),
    "labels": (
        "classify",
        {"id": lambda n: n, "created": day, "note": lambda n: f"w {n}", "kind": lambda n: "ab"[n % 2]},
    ),
    "flags": ("classify", {"id": lambda n: n, "note": lambda n: f"felt {n}", "is_odd": lambda n: n % 2}),
    "truths": ("classify", {"id": lambda n: n, "note": lambda n: f"felt {n}", "is_odd": lambda n: n % 2 == 1}),
    "a measure": (
        "forecast",
        {"id": lambda n: n, "date": day, "item": lambda n: f"cup {n}", "qty": lambda n: n % 2 + 1},
    ),
    "remarks": ("forecast", {"date": day, "index": lambda n: n * n, "remark": lambda n: f"day {n} was fine"}),
    "gaps": ("forecast", {"date": day, "v": lambda n: None if n % 9 == 1 else n * n % 7}),
    "years": ("forecast", {"Year": lambda n: 1980 + n, "v": lambda n: n * n % 7}),
}


@pytest.mark.parametrize("name", FORMS)
def test_guess_a_table_alike_in_csv_workbook_and_parquet(tmp_path: Path, name: str) -> None:
    """Parquet with dates as strings, or with texts and labels, was prose."""
    task, columns = FORMS[name]
    rows = [tuple(cell(n) for cell in columns.values()) for n in range(40)]
    lines = (",".join("" if cell is None else str(cell) for cell in row) for row in [tuple(columns), *rows])
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    workbook(tmp_path / "a.xlsx", {"one": [tuple(columns), *rows]})
    cells = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
    (tmp_path / "a.parquet").write_bytes(parquet_file(**cells))
    (tmp_path / "b.data").write_bytes(parquet_file(**cells))  # whatever it is called
    found = [read(str(tmp_path / name)) for name in ("a.csv", "a.xlsx", "a.parquet", "b.data")]
    assert [each["task"] for each in found] == [task] * 4
    assert len({(each["records"], tuple(each["columns"].items())) for each in found}) == 1


def test_guess_parquet_of_nested_columns_is_no_series(tmp_path: Path) -> None:
    chats = [[{"role": "user", "content": f"so {n}"}] for n in range(9)]
    (tmp_path / "a.parquet").write_bytes(parquet_file(id=list(range(9)), messages=chats))
    assert guess([str(tmp_path / "a.parquet")]).task == "text"


def test_guess_workbook_without_turns_is_no_dialogue(tmp_path: Path) -> None:
    """Every workbook was turns, its names and marks too, and the error recommended that."""
    marks: list[tuple[object, ...]] = [(n, f"Anna Meier {n}", n * 7 % 53, n * 9 % 47) for n in range(1, 60)]
    source = workbook(tmp_path / "a.xlsx", {"one": [("student_id", "name", "math", "english"), *marks]})
    with pytest.raises(DataError, match=r"dialogue: has no dialogue in a known format .*; --task forecast could read"):
        read(source)
    with pytest.raises(DataError, match="has no dialogue in a known format"):
        read(source, task="dialogue")
    turns = [("so it was", "as it is", None), ("well then", "let us see", "all right")] * 9
    assert read(workbook(tmp_path / "b.xlsx", {"one": turns}), task="dialogue")["records"] == 18


def test_guess_table_left_to_a_task_by_an_option_is_told(tmp_path: Path) -> None:
    source = workbook(tmp_path / "a.xlsx", {"one": [("said", "told"), *(("so it was", "as it is") for _ in range(9))]})
    result = read(source, sheet="one")
    assert result["task"] == "dialogue"
    assert "is taken for conversations, but it isn't plain" in result["warnings"][0]


def test_guess_json_in_a_pipe_taken_for_prose_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"cells": [], "nbformat": 4}')))
    (warning, *_) = read("-")["warnings"]
    assert warning.startswith("standard input is read as prose, not as data (dialogue: ")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Once upon a time.\n" * 9)))
    assert not any("prose" in sentence for sentence in read("-")["warnings"])


def test_guess_folder_leaves_models_out(tmp_path: Path, files: dict[str, Path]) -> None:
    notes = tmp_path / "notes"
    for model in (notes / "model", notes / "another"):
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes(b"weights")
        (model / "metrics.jsonl").write_bytes(files["forecast"].read_bytes())
    (notes / "diary.txt").write_bytes(files["text"].read_bytes())
    for source in (notes, notes / "model"):  # which reading it refuses
        found = guess([str(source)])
        assert (found.task, found.remark) == ("text", "")


def test_guess_folder_of_midi_is_music(tunes: Path, text_file: Path) -> None:
    assert guess([str(tunes)]).task == "music"
    assert guess([str(tunes / "00.mid")]).task == "music"
    assert guess([str(tunes / "*.mid")]).task == "music"
    assert guess([str(text_file)]).task == "text"
    assert guess([str(tunes), str(text_file)]).task == "text"
    assert guess(["-"]).task == "text"
    nameless = tunes.parent / "nameless"
    nameless.write_bytes((tunes / "00.mid").read_bytes())
    assert guess([str(nameless)]).task == "music"


def test_guess_messages_are_dialogue(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    line = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]}
    path.write_text((json.dumps(line) + "\n") * 5)
    assert guess([str(path)]).task == "dialogue"


def test_guess_catalogue_name_has_its_task() -> None:
    entries = catalogue.load().values()
    for task in ("music", "dialogue", "text"):
        name = next(entry.name for entry in entries if entry.task == task)
        assert guess([name]).task == task
