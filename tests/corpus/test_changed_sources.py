"""Sources that change, disappear or lead elsewhere: reading returns the checked data or raises."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seqgen
from seqgen.api.train.watch import Watcher
from seqgen.corpus.sources import Document, Spool, checksum_documents, find
from seqgen.errors import DataError
from seqgen.locks import LOCK_SUFFIX
from seqgen.tasks import midi_corpus
from seqgen.tokenizers import midi_files

BODY = b"".join(b"line %06d of a text\n" % number for number in range(100_000))  # more than one chunk
TINY: dict[str, Any] = {"rnn_size": 8, "embedding_size": 4, "batch_size": 4, "seq_length": 16, "precision": "fp32",
                        "threads": 1, "steps": 2}  # fmt: skip


def measured(path: Path, data: bytes = BODY) -> Document:
    path.write_bytes(data)
    (document,) = checksum_documents([Document(str(path), path)])
    return document


def write_over(path: Path) -> None:
    """Overwrite in place, with the same size and inode."""
    with open(path, "r+b") as file:
        file.seek(10)
        file.write(b"#")


def replace(path: Path) -> None:
    path.with_name("other").write_bytes(path.read_bytes()[::-1])
    os.replace(path.with_name("other"), path)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "written over": write_over,
    "replaced": replace,
    "cut": lambda path: os.truncate(path, 1000),
    "emptied": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize(("change", "when"), [(change, when) for change in CHANGES for when in ("before", "meanwhile")
                                           if (change, when) != ("replaced", "meanwhile")])  # fmt: skip
def test_document_chunks_of_a_changed_file_raise(change: str, when: str, tmp_path: Path) -> None:
    document = measured(tmp_path / "a.txt")
    if when == "before":
        CHANGES[change](document.path)
    with pytest.raises(DataError, match="changed while it was being read"):
        for number, _ in enumerate(document.chunks()):
            if when == "meanwhile" and not number:
                CHANGES[change](document.path)
    with pytest.raises(DataError, match="changed while it was being read"):
        document.verify_unchanged()


def test_document_chunks_of_a_replaced_file_continue_to_its_end(tmp_path: Path) -> None:
    """An open file descriptor still refers to the old file."""
    document = measured(tmp_path / "a.txt")
    chunks = document.chunks()
    first = next(chunks)
    replace(document.path)
    assert first + b"".join(chunks) == BODY
    with pytest.raises(DataError, match="changed while it was being read"):
        list(document.chunks())


def test_document_chunks_of_a_missing_file_raise(tmp_path: Path) -> None:
    document = measured(tmp_path / "a.txt")
    document.path.unlink()
    for read in (lambda: list(document.chunks()), document.verify_unchanged):
        with pytest.raises(DataError, match=r"a\.txt.*No such file"):
            read()


@pytest.mark.parametrize("suffix", [".txt", ".gz"])
def test_document_chunks_of_a_growing_file_end_at_the_recorded_size(suffix: str, tmp_path: Path) -> None:
    more = b"and another line\n"
    packed = suffix == ".gz"
    document = measured(tmp_path / f"log{suffix}", gzip.compress(BODY) if packed else BODY)
    for _ in range(2):
        with open(document.path, "ab") as file:
            file.write(gzip.compress(more) if packed else more)
        assert b"".join(document.chunks()) == BODY
        assert b"".join(document.chunks(5, 1000)) == BODY[5:1000]
        document.verify_unchanged()


def test_document_chunks_of_a_touched_file_are_unchanged(tmp_path: Path) -> None:
    document = measured(tmp_path / "a.txt")
    os.utime(document.path, (1, 1))
    assert b"".join(document.chunks()) == BODY


@given(start=st.integers(0, 100), length=st.integers(0, 100), data=st.text(max_size=80).map(str.encode))
def test_document_chunks_of_a_range_are_that_part(
    start: int, length: int, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("parts") / "a"
    path.write_bytes(data + b".")
    (document,) = checksum_documents([Document("a", path)])
    assert b"".join(document.chunks(start, start + length)) == (data + b".")[start : start + length]


def test_train_on_a_file_that_changes_leaves_no_cache_of_other_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes after its checksum was taken and before it is encoded is an error. The next training on the
    original text gives the same result as without the error."""
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.txt"
    path.write_bytes(BODY[:9000])

    def spoil(what: str) -> None:
        if what.startswith("encoding"):
            write_over(path)

    with pytest.raises(DataError, match="changed while it was being read"):
        seqgen.train(str(path), tmp_path / "m", watch=Watcher(report=spoil), **TINY)
    assert not (tmp_path / "m").exists()
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    path.write_bytes(BODY[:9000])
    seqgen.train(str(path), tmp_path / "m", **TINY)
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "another"))
    seqgen.train(str(path), tmp_path / "same", **TINY)
    name = "model.safetensors"
    assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()


def test_train_on_a_midi_file_that_changes_raises(
    tmp_path: Path, zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker processes read MIDI files, so their checksums are compared before the ids are used."""
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))
    tune = tmp_path / "tune.mid"
    tune.write_bytes((zoo["music"].parent / "tune.mid").read_bytes())

    def read_and_change(*arguments: Any) -> Iterator[Any]:
        yield from midi_files.read_midi_files(*arguments)
        tune.write_bytes(tune.read_bytes() + b"\0")
        os.truncate(tune, 900)

    monkeypatch.setattr(midi_corpus, "read_midi_files", read_and_change)
    with pytest.raises(DataError, match="changed while it was being read"):
        seqgen.train(str(tune), tmp_path / "m", val_fraction=0.0, **TINY)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


# ---- Pipes ----


def test_spool_of_a_killed_command_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path))
    code = "import os\nfrom seqgen.corpus.sources import Spool\n"
    code += "with Spool() as spool:\n    spool.store([b'a' * 100], 'a pipe')\n    os.kill(os.getpid(), 9)\n"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    assert len(list((tmp_path / "spool").rglob("1"))) == 1
    with Spool() as one, Spool() as another:
        paths = [one.store([b"one"], "a pipe"), another.store([b"another"], "a pipe")]
        assert [path.read_bytes() for path in paths] == [b"one", b"another"], "folders in use stay"
        assert len(list((tmp_path / "spool").iterdir())) == 2
    assert list((tmp_path / "spool").iterdir()) == []


def test_spool_without_locks_removes_old_folders_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path))
    fresh, locked, old = (tmp_path / "spool" / name for name in ("fresh", "locked", "old"))
    for folder in (fresh, locked, old):
        folder.mkdir(parents=True)
    (locked / LOCK_SUFFIX).touch()
    for folder in (locked, old):
        os.utime(folder, (0, 0))
    monkeypatch.setattr("seqgen.locks.fcntl", None)
    with Spool() as spool:
        assert spool.store([b"one"], "a pipe").read_bytes() == b"one"
    assert sorted((tmp_path / "spool").iterdir()) == [fresh, locked]


# ---- Links in a folder of texts ----


def test_find_in_a_folder_skips_links_that_lead_out_with_a_warning(tmp_path: Path) -> None:
    inside = tmp_path / "corpus"
    (inside / "deep").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("nobody's business")
    (inside / "a.txt").write_text("a text")
    (inside / "deep" / "secret.txt").symlink_to("../../secret.txt")
    (inside / "other.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "same.txt").symlink_to("a.txt")
    (inside / "all").symlink_to(tmp_path)
    warnings: list[str] = []
    with Spool() as spool:
        found = find([str(inside)], spool, warn=warnings.append)
        assert [Path(document.name).name for document in found] == ["a.txt", "same.txt"]
        assert warnings == [f"{inside}: 2 links skipped: they lead out of the folder (to read the file, name it)"]
        (inside / "a.txt").unlink()
        with pytest.raises(DataError, match="lead out of the folder"):
            find([str(inside)], spool)
        named = find([str(inside / "other.txt")], spool)
        assert b"".join(named[0].chunks()) == b"nobody's business", "a link that is named is followed"


# ---- Resuming a run whose sources are remote ----


@pytest.mark.parametrize("source", ["hf:owner/set", "imdb"])
def test_resume_without_a_named_source_never_uses_the_network(
    source: str, zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name comes from config.json, which is untrusted."""

    def connect(*_: Any) -> None:
        pytest.fail("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    model = Path(shutil.copytree(zoo["text"], tmp_path / "m"))
    config = json.loads((model / "config.json").read_text())
    config["data"] |= {"cache": "gone", "sources": [{"name": source, "bytes": 5, "sha256": "0"}]}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=f"began with '{source}'.*name it to download it again"):
        seqgen.train([], model, resume=True, steps=5)
