"""`seqgen train`: every way to give a text, and what is printed."""

from __future__ import annotations

import gzip
import signal
from pathlib import Path

import pytest

import seqgen
from tests.helpers.folders import change_config
from tests.helpers.running import TINY_FLAGS, Command, Run, weight_bytes

# ---- train: every way to give a text ----


def test_train_prints_nothing_on_stdout_and_plain_lines_on_stderr(
    seqgen_command: Command, text_file: Path, tmp_path: Path
) -> None:
    done = seqgen_command("train", text_file, "-o", tmp_path / "model", *TINY_FLAGS, TERM="xterm-256color")
    assert done.returncode == 0
    assert done.stdout == b""
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr
    lines = done.stderr.decode().splitlines()
    assert lines
    assert all(line.startswith("seqgen: ") for line in lines)
    assert "3 steps" in lines[-2] and lines[-1].startswith("seqgen: next: ")
    assert seqgen.load(tmp_path / "model").info()["data"]["sources"][0]["name"] == str(text_file)


def test_train_names_a_model_that_begins_with_a_dash_as_no_flag(
    run: Run, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run("train", text_file, "-o", "-m", *TINY_FLAGS).err.splitlines()[-1]
    assert said == "seqgen: next: seqgen sample ./-m -t 0.7"
    run(*said.split()[3:], "-l", 3)


def test_train_reads_a_pipe_without_sources(seqgen_command: Command, text_file: Path, tmp_path: Path) -> None:
    """Quiet, too: not a word on stderr."""
    done = seqgen_command("train", "-o", tmp_path / "model", *TINY_FLAGS, "--quiet", stdin=text_file.read_bytes())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_train_same_text_from_any_source_gives_the_same_model(run: Run, text_file: Path, tmp_path: Path) -> None:
    """From a file, by its full or relative name, through a pipe, or compressed: the same bytes learn the same."""
    text = text_file.read_bytes()
    packed = tmp_path / "packed.txt.gz"
    packed.write_bytes(gzip.compress(text))
    run("train", text_file, "-o", tmp_path / "file", *TINY_FLAGS)
    run("train", "-", "-o", tmp_path / "dash", *TINY_FLAGS, stdin=text)
    run("train", "-o", tmp_path / "bare", *TINY_FLAGS, stdin=text)
    run("train", packed, "-o", tmp_path / "packed", *TINY_FLAGS)
    models = [weight_bytes(tmp_path / name) for name in ("file", "dash", "bare", "packed")]
    assert models[1:] == models[:-1]


def test_train_same_texts_by_any_name_give_the_same_model(
    run: Run, two_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, as a folder (walked, sorted, what is no text or hidden left out), or by a glob."""
    run("train", two_files / "a.txt", two_files / "more" / "b.txt", "-o", tmp_path / "files", *TINY_FLAGS)
    folder = run("train", two_files, "-o", tmp_path / "folder", *TINY_FLAGS)
    run("train", two_files / "**" / "*.txt", "-o", tmp_path / "glob", *TINY_FLAGS)
    monkeypatch.chdir(two_files)
    run("train", "a.txt", "more/*.txt", "-o", tmp_path / "mixed", *TINY_FLAGS)
    models = [weight_bytes(tmp_path / name) for name in ("files", "folder", "glob", "mixed")]
    assert models[1:] == models[:-1]
    assert "1 file left out" in folder.err
    assert [source["name"] for source in seqgen.load(tmp_path / "folder").info()["data"]["sources"]] == [
        str(two_files / "a.txt"), str(two_files / "more" / "b.txt"),
    ]  # fmt: skip


def test_train_pipe_among_files(run: Run, two_files: Path, tmp_path: Path) -> None:
    second = (two_files / "more" / "b.txt").read_bytes()
    run("train", two_files / "a.txt", "-", "-o", tmp_path / "model", *TINY_FLAGS, stdin=second)
    sources = seqgen.load(tmp_path / "model").info()["data"]["sources"]
    assert [source["bytes"] for source in sources] == [(two_files / "a.txt").stat().st_size, len(second)]


def test_train_valid_names_the_validation_set(run: Run, two_files: Path, tmp_path: Path) -> None:
    run("train", two_files / "a.txt", "--valid", two_files / "more" / "b.txt", "-o", tmp_path / "model", *TINY_FLAGS)
    data = seqgen.load(tmp_path / "model").info()["data"]
    assert data["held_out_bytes"] == (two_files / "more" / "b.txt").stat().st_size
    assert data["train_bytes"] == (two_files / "a.txt").stat().st_size


@pytest.mark.parametrize("sources", [True, [3], {}, None])
def test_train_resume_of_a_model_with_damaged_names_of_sources_ends_well(
    run: Run, model_copy: Path, sources: object
) -> None:
    change_config(model_copy, lambda config: config["training"].update(sources=sources))
    assert "next: " in run("train", "-o", model_copy, "--resume", "--steps", 61, "--threads", 1).err


def test_train_overwrite_and_resume(run: Run, text_file: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    run("train", text_file, "-o", model, *TINY_FLAGS)
    run("train", text_file, "-o", model, *TINY_FLAGS, "--overwrite", "--seed", 7)
    assert seqgen.load(model).info()["training"]["options"]["seed"] == 7
    run("train", "-o", model, "--resume", "--steps", 5, "--threads", 1)
    assert seqgen.load(model).info()["training"]["step"] == 5


def test_train_init_from_a_model(run: Run, model_folder: Path, two_files: Path, tmp_path: Path) -> None:
    run("train", two_files, "--init-from", model_folder, "-o", tmp_path / "model", *TINY_FLAGS[2:], "--quiet")
    assert seqgen.load(tmp_path / "model").info()["network"]["rnn_size"] == 32


def test_train_in_this_process_leaves_the_handlers_of_signals_as_they_were(run: Run, text_file: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run("train", text_file, "--plan", "--steps", 2, "--threads", 1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
