"""Files that commands write: checked before any work, and none that is read or belongs to a model."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers.running import RefusedRun, Run

GOLDEN = Path(__file__).parents[1] / "golden" / "models"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a model in `tales`, sources, a folder, and a link to its weights."""
    shutil.copytree(GOLDEN / "tidewater-lstm", tmp_path / "tales")
    (tmp_path / "t.txt").write_text("a text of my own\n")
    (tmp_path / "same").hardlink_to(tmp_path / "t.txt")
    (tmp_path / "tunes").mkdir()
    (tmp_path / "tunes" / "a.abc").write_text("X:1\nK:C\nCDEF G4|]\n")
    (tmp_path / "weights").symlink_to("tales/model.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        # Before the work, whose sources and models are missing.
        ("evaluate missing missing.txt -o tunes", "-o 'tunes' is a folder; name a file"),
        ("evaluate missing missing.txt -o t.txt/x", "cannot write 't.txt/x': 't.txt' is not a writable folder"),
        ("forecast missing missing.csv -o new/", "-o 'new/' is a folder; name a file"),
        ("compare missing.txt -o c --plot t.txt/x.png", "cannot write 't.txt/x.png': 't.txt' is not a writable folder"),
        ("inspect missing t.txt --html tunes", "--html 'tunes' is a folder; name a file"),
        (f"score missing t.txt -o {'n' * 300}", "': File name too long"),
        ("sample tales -n 2 -l 3 -o new/", "-o 'new/' is a folder; name a file"),
        # What is read, or a model's, or another output's.
        ("inspect tales t.txt -o ./t.txt --csv", "-o './t.txt' would replace a file that is read: name another"),
        ("score tales tidewater *.txt -o t.txt", "-o 't.txt' would replace a file that is read: name another"),
        ("score tales tidewater *.txt -o same", "-o 'same' would replace a file that is read: name another"),
        ("render tunes -o tunes --format abc", "-o 'tunes/a.abc' would replace a file that is read: name another"),
        ("sample tales --prompt-file t.txt -o same", "-o 'same' would replace a file that is read: name another"),
        ("sample tales --primer t.txt -o t.txt", "-o 't.txt' would replace a file that is read: name another"),
        ("classify missing - -", "standard input can be read only once: '-' is given twice"),
        ("export tales -o tales/config.json",
         "-o 'tales/config.json' would replace a file of the model there: name another"),
        ("info tales --plot tales/model.safetensors",
         "--plot 'tales/model.safetensors' would replace a file of the model there: name another"),
        ("score tales tidewater -o weights", "-o 'weights' would replace a file of the model there: name another"),
        ("forecast missing t.txt -o a --plot ./a", "-o and --plot name the same file, './a'"),
    ],
)  # fmt: skip
def test_targets_that_cannot_be_written_or_are_others_are_refused(
    line: str, said: str, folder: Path, refused: RefusedRun
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert refused(line.split()).endswith(said + "\n")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("line", ["score tales -o same", "forecast missing - -o t.txt", "render - -o t.txt"])
def test_targets_that_standard_input_comes_from_are_refused(line: str, folder: Path, refused: RefusedRun) -> None:
    before = (folder / "t.txt").read_bytes()
    kept = os.dup(0)
    try:
        with open(folder / "t.txt") as file:
            os.dup2(file.fileno(), 0)
            assert "would replace a file that is read: name another" in refused(line.split())
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert (folder / "t.txt").read_bytes() == before


def test_targets_in_a_folder_spare_the_primer(folder: Path, run: Run) -> None:
    """A later piece ends the run where it would have the primer's file."""
    tunes, said = GOLDEN / "tunes-gru", "would replace a file that is read: name another"
    run("sample", tunes, "-l", "1", "-o", "tunes/1.mid")
    before = (folder / "tunes" / "1.mid").read_bytes()
    for number in ("1", "2"):
        assert said in run("sample", tunes, "-l", "1", "-n", number, "--first", "0" if number == "2" else "1",
                           "--primer", "tunes/1.mid", "-o", "tunes/", status=2).err  # fmt: skip
        assert (folder / "tunes" / "1.mid").read_bytes() == before
    assert run("sample", tunes, "-l", "1", "-n", "1000000", "--shard", "1/1000000", "-o", "new/").err == ""


def test_targets_begin_with_the_home_folder_wherever_they_are_named(folder: Path, run: Run) -> None:
    run("score", "tales", "t.txt", "--output=~/a/score.json")
    run("sample", "tales", "-l", "3", "--output=~/b/text.txt", "--state-out=~/b/state")
    run("inspect", "tales", "t.txt", "--html=~/page.html")
    found = {str(path.relative_to(folder / "home")) for path in (folder / "home").rglob("*") if path.is_file()}
    assert found == {"a/score.json", "b/text.txt", "b/state", "page.html"}
    assert not (folder / "~").exists()


def test_targets_that_are_symlinks_stay_symlinks(folder: Path, run: Run) -> None:
    (folder / "link").symlink_to("tunes/new.txt")
    (folder / "page").symlink_to("tunes/page.html")
    (folder / "saved").symlink_to("tunes/state")
    run("sample", "tales", "-l", "3", "-p", "The ", "-o", "link", "--state-out", "saved")
    run("inspect", "tales", "t.txt", "--html", "page")
    assert all((folder / name).is_symlink() for name in ("link", "page", "saved"))
    assert (folder / "tunes" / "new.txt").read_text().startswith("The ")
    assert (folder / "tunes" / "page.html").exists() and (folder / "tunes" / "state").exists()


def test_targets_that_are_symlinks_have_the_format_of_their_own_name(folder: Path, run: Run) -> None:
    (folder / "store.bin").write_text("x")
    for name in ("latest.wav", "latest.abc", "latest.mid"):
        (folder / name).symlink_to("store.bin")
    said = run("sample", GOLDEN / "tunes-gru", "-l", "1", "--json", "-o", "latest.wav").json
    assert said["file"] == "latest.wav" and (folder / "store.bin").read_bytes().startswith(b"RIFF")
    run("sample", GOLDEN / "tunes-gru", "-l", "1", "-o", "latest.mid")
    assert (folder / "store.bin").read_bytes().startswith(b"MThd")
    run("render", "tunes", "-o", "latest.abc")
    assert (folder / "store.bin").read_text().startswith("X:1\n") and (folder / "latest.abc").is_symlink()
    (folder / "latest").symlink_to("take.wav")  # one without a suffix has that of its file
    run("sample", GOLDEN / "tunes-gru", "-l", "1", "-o", "latest")
    assert (folder / "take.wav").read_bytes().startswith(b"RIFF")
    run("render", "tunes", "-o", "latest")
    assert (folder / "take.wav").read_bytes().startswith(b"RIFF") and (folder / "latest").is_symlink()


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
def test_targets_beside_the_output_whose_reader_goes_away_are_an_error(folder: Path, refused: RefusedRun) -> None:
    """It ended as if the reader of the output had gone, with status 0, and the output was lost."""
    reader, writer = os.pipe()
    os.close(reader)
    said = refused(["sample", "tales", "-l", "3", "-o", "a.txt", "--state-out", f"/dev/fd/{writer}"])
    assert said == f"seqgen: error: cannot write '/dev/fd/{writer}': Broken pipe\n"
    os.close(writer)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
def test_targets_of_a_file_and_of_the_same_file_open_are_refused(folder: Path, refused: RefusedRun) -> None:
    with open(folder / "out", "a") as out:
        for first, second in (("out", f"/dev/fd/{out.fileno()}"), (f"/dev/fd/{out.fileno()}", "out")):
            said = refused(["sample", "tales", "-l", "3", "-o", first, "--state-out", second])
            assert "name the same file" in said


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
def test_targets_that_are_open_files_keep_what_they_have(folder: Path, run: Run) -> None:
    (folder / "log").write_text("precious\n")
    with open(folder / "log", "a") as log:
        run("sample", "tales", "-l", "3", "-p", "The ", "-o", f"/dev/fd/{log.fileno()}")
    assert (folder / "log").read_text().startswith("precious\nThe ")


def test_targets_in_a_folder_are_compared_with_sources_found_once(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second `render` into the same folder took a time that grew with the square of the pieces."""
    walks: list[str] = []

    def walk(name: str, **options: bool) -> Iterator[str]:
        walks.append(name)
        return glob.iglob(name, **options)

    for name in "bcd":
        shutil.copy(folder / "tunes" / "a.abc", folder / "tunes" / f"{name}.abc")
    run("render", "tunes/*.abc", "-o", "new/", "--format", "mid")
    monkeypatch.setattr("seqgen.cli.targets.glob", SimpleNamespace(iglob=walk))
    run("render", "tunes/*.abc", "-o", "new/", "--format", "mid")
    assert walks == ["tunes/*.abc"]


def test_targets_beside_a_model_and_devices_are_allowed(folder: Path, run: Run) -> None:
    run("score", "tales", "t.txt", "-o", "tales/score.json")
    assert (folder / "tales" / "score.json").exists()
    run("score", "tales", "t.txt", "-o", "/dev/null")
    run("render", "tunes", "-o", "tunes", "--format", "wav")
    run("render", "tunes", "-o", "tunes", "--format", "wav")
