"""The cache: locks, cleanup after killed processes, checksums of large files, listing and clearing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from seqgen.corpus import ids, sources
from seqgen.corpus.cache import contents as cache_contents
from seqgen.corpus.cache import store as cache
from seqgen.corpus.sources import Document, Spool, checksum_documents
from seqgen.errors import DataError, UserError
from tests.helpers.running import Run
from tests.helpers.waiting import killed_after

HOLDER = """
import sys, time
from pathlib import Path
from seqgen.corpus.cache import store as cache
from seqgen.corpus.sources import Spool
target = Path(sys.argv[1])
with Spool() as spool, cache.locked(target, lambda: print("waiting", flush=True)):
    spool.store([b"kept"], "something")
    target.with_name(f".{target.name}.train.ids.abc.part").write_bytes(b"half")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold() -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    """Start a process that writes a target until its standard input is closed or it is killed."""
    started = []

    def begin(target: Path) -> subprocess.Popen[bytes]:
        other = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(other)
        assert other.stdout is not None
        with killed_after(other):
            assert other.stdout.readline() == b"held\n"
        return other

    yield begin
    for other in started:
        with other:  # closes its pipes and waits for it
            other.kill()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# ---- Locks ----


@pytest.mark.parametrize("end", ["done", "killed"])
def test_locked_by_another_process_waits_until_it_ends(
    end: str, tmp_path: Path, hold: Callable[[Path], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "key"
    other = hold(target)
    assert cache.is_locked(target)
    messages: list[str] = []

    def wait(seconds: float) -> None:
        assert cache.is_locked(target)
        assert other.stdin is not None
        other.kill() if end == "killed" else other.stdin.close()
        other.wait()

    monkeypatch.setattr(time, "sleep", wait)
    with cache.locked(target, lambda: messages.append("waiting")):
        assert messages == ["waiting"]
        assert names(tmp_path) == {".key.lock"}  # the partial file of the other is removed
        assert cache.is_locked(target)
    assert names(tmp_path) == set()
    assert not cache.is_locked(target)


def test_locked_removes_partial_files_of_killed_processes(
    tmp_path: Path, hold: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    alive, dead = hold(tmp_path / "alive"), hold(tmp_path / "dead")
    dead.kill()
    dead.wait()
    (tmp_path / ".mine.valid.ids.xyz.part").touch()
    for name in (".mine.abc.part", ".fetched.abc.part"):  # folders, of models that are fetched
        (tmp_path / name / "inside").mkdir(parents=True)
    (tmp_path / "whole.ids").touch()
    with cache.locked(tmp_path / "mine"):
        assert names(tmp_path) == {".mine.lock", ".alive.lock", ".alive.train.ids.abc.part", "whole.ids"}
    alive.kill()
    alive.wait()
    with cache.locked(tmp_path / "mine"):
        assert names(tmp_path) == {".mine.lock", "whole.ids"}


def test_locked_after_an_error_leaves_no_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), cache.locked(tmp_path / "new" / "key"):
        raise KeyError
    assert names(tmp_path / "new") == set()


def test_locked_without_locks_does_not_wait_and_removes_old_partial_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqgen.locks.fcntl", None)
    fresh, old = tmp_path / ".other.ids.a.part", tmp_path / ".another.ids.b.part"
    for path in (fresh, old):
        path.touch()
    os.utime(old, (0, 0))
    with cache.locked(tmp_path / "key"), cache.locked(tmp_path / "key"):
        assert names(tmp_path) == {fresh.name}
    assert not cache.is_locked(tmp_path / "key")


def test_locked_in_a_folder_that_cannot_be_made_raises_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write in the cache"), cache.locked(tmp_path / "file" / "key"):
        pass


def test_spool_interrupted_while_its_folder_is_made_leaves_none(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> int:
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "acquire_lock_file", interrupted)
    with pytest.raises(KeyboardInterrupt), Spool() as spool:
        spool.store([b"kept"], "something")
    assert list((own_cache / "spool").iterdir()) == []


def test_spools_of_two_threads_at_once_are_two(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1, 1, 2])
    monkeypatch.setattr(cache.time, "time_ns", lambda: next(times))
    with Spool() as first, Spool() as second:
        assert first.store([b"a"], "a").read_bytes() + second.store([b"b"], "b").read_bytes() == b"ab"


def test_spool_is_removed_by_its_command_or_the_next(
    own_cache: Path, hold: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    alive, dead = hold(own_cache / "a"), hold(own_cache / "b")
    folders = {path.name.split("-")[0]: path for path in (own_cache / "spool").iterdir()}
    assert set(folders) == {str(alive.pid), str(dead.pid)}
    dead.kill()
    dead.wait()
    assert cache.is_scratch_locked(folders[str(alive.pid)])
    assert not cache.is_scratch_locked(folders[str(dead.pid)])
    with Spool() as spool:
        path = spool.store([b"mine"], "something")
        assert folders[str(alive.pid)].is_dir()
        assert not folders[str(dead.pid)].exists()
    assert not path.parent.exists()
    assert alive.stdin is not None
    alive.stdin.close()
    alive.wait()
    assert names(own_cache / "spool") == set()


# ---- Checksums of large files ----


@pytest.fixture
def knowing(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store checksums of files of any size and age."""
    monkeypatch.setattr(cache, "_MIN_CHECKSUM_BYTES", 0)
    monkeypatch.setattr(cache, "_TIMESTAMP_GRAIN", 0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The documents that are read from now on."""
    seen: list[str] = []
    chunks = Document.chunks

    def watched(self: Document, *where: int) -> Iterator[bytes]:
        seen.append(self.name)
        return chunks(self, *where)

    monkeypatch.setattr(Document, "chunks", watched)
    return seen


def measured(path: Path) -> Document:
    (document,) = checksum_documents([Document("d", path)])
    return document


@pytest.mark.usefixtures("knowing")
def test_checksum_documents_reads_a_large_file_again_only_if_touched(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"before")
    first = measured(path)
    assert measured(path) == first
    assert len(reads) == 1
    path.write_bytes(b"after!")  # the same size
    second = measured(path)
    assert second.sha256 != first.sha256
    assert len(reads) == 2
    os.utime(path, ns=(0, first.stamp[1] if first.stamp else 0))  # the ctime can't be reset
    measured(path)
    assert len(reads) == 3
    other = tmp_path / "other.txt"
    other.write_bytes(b"other!")
    os.replace(other, path)
    assert measured(path).sha256 not in (first.sha256, second.sha256)
    assert len(reads) == 4


@pytest.mark.usefixtures("knowing")
def test_checksum_documents_knows_a_file_by_any_of_its_paths(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    monkeypatch.chdir(tmp_path)
    assert measured(Path("file")).sha256 == measured(tmp_path / "link").sha256
    assert len(reads) == 1


def test_checksum_documents_reads_small_and_recent_files_again(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    measured(path)
    monkeypatch.setattr(cache, "_MIN_CHECKSUM_BYTES", 0)
    measured(path)  # just written: a change within the same timestamp grain would not show
    assert not own_cache.exists()


@pytest.mark.usefixtures("knowing")
@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"stamp": 1}', b'{"bytes": 3}'])
def test_checksum_documents_with_a_damaged_note_reads_the_file(
    note: bytes, tmp_path: Path, own_cache: Path, reads: list[str]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    first = measured(path)
    (note_path,) = (own_cache / "measured").iterdir()
    note_path.write_bytes(note)
    assert measured(path) == first
    assert len(reads) == 2


def test_check_unchanged_of_a_changed_or_missing_file_raises(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    document = measured(path)
    sources.check_unchanged([document, Document("of no stamp", tmp_path / "nowhere")])
    os.link(path, tmp_path / "backup")  # changes the ctime only
    sources.check_unchanged([document])
    path.write_bytes(b"other")
    with pytest.raises(DataError, match="'d' changed while it was being read"):
        sources.check_unchanged([document])
    path.unlink()
    with pytest.raises(DataError, match="cannot read 'd': No such file"):
        sources.check_unchanged([document])


def test_checksum_documents_reports_progress(tmp_path: Path) -> None:
    messages: list[tuple[int, int | None]] = []
    for name, size in (("a", 3 << 20), ("b", 5)):
        (tmp_path / name).write_bytes(b"x" * size)
    documents = [Document(name, tmp_path / name) for name in "ab"]
    checksum_documents(documents, progress=lambda done, of: messages.append((done, of)))
    total = (3 << 20) + 5
    assert messages == [(1 << 20, total), (2 << 20, total), (3 << 20, total), (total, total)]


# ---- Listing and clearing ----


def test_corpora_cache_lists_and_clears_by_key(own_cache: Path, run: Run) -> None:
    assert run("corpora", "--cache").out == b""
    one = [(iter([np.arange(9, dtype=np.int32)]), True)]
    ids.build(own_cache / "ids" / "abc.train.ids", one, 300, 299, "moby.txt\x1b[31m and 2 more")
    ids.build(own_cache / "ids" / "abd.train.ids", [([np.arange(9, dtype=np.int32)], True)], 300, 299)
    (own_cache / "sets").mkdir()
    (own_cache / "sets" / "k.txt").write_bytes(b"rows")
    (own_cache / "sets" / "k.json").write_text('{"about": "hf:a/b"}')
    (own_cache / "tiny-shakespeare").mkdir()
    (own_cache / "tiny-shakespeare" / "input.txt").write_bytes(b"x" * 1000)
    os.utime(own_cache / "sets" / "k.json", (0, 0))
    os.utime(own_cache / "sets" / "k.txt", (time.time() - 90000,) * 2)
    rows = [line.split("\t") for line in run("corpora", "--cache").lines]
    assert [row[:2] for row in rows] == [
        ["tiny-shakespeare", "corpus"], ["abc", "ids"], ["abd", "ids"], ["k", "set"],
    ]  # fmt: skip
    assert [row[4] for row in rows][1:] == ["moby.txt␛[31m and 2 more", "unfinished", "hf:a/b"]
    assert int(rows[1][2]) == sum(path.stat().st_size for path in (own_cache / "ids").glob("abc*"))
    assert 90000 <= int(rows[3][3]) < 90100
    assert int(rows[1][3]) < 100
    objects = run("corpora", "--cache", "--json").json
    assert [each["key"] for each in objects] == [row[0] for row in rows]
    assert set(objects[0]) == {"key", "kind", "bytes", "unused_seconds", "about"}

    assert [line.split("\t")[0] for line in run("corpora", "ids", "--cache").lines] == ["abc", "abd"]
    assert "is a prefix of 2 keys" in run("corpora", "ab", "--cache", "--clear", status=2).err
    assert "has no 'zzz'" in run("corpora", "zzz", "--cache", "--clear", status=2).err
    assert len(rows) == len(run("corpora", "--cache").lines)
    assert run("corpora", "abc", "--cache", "--clear").lines[0].startswith("abc\tids\t")
    assert names(own_cache / "ids") == {"abd.train.ids", "abd.train.json"}
    assert len(run("corpora", "--clear-cache", "--quiet").lines) == 3
    assert run("corpora", "--cache").out == b""


def test_corpora_cache_clear_keeps_entries_in_use(
    own_cache: Path, run: Run, hold: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    other = hold(own_cache / "ids" / "busy")
    output = run("corpora", "--cache", "--clear")
    assert output.out == b""
    assert output.err.count("is in use, and was not deleted") == 2  # its ids, and its spool
    other.kill()
    other.wait()
    assert [line.split("\t")[1] for line in run("corpora", "--cache", "--clear").lines] == ["ids", "temporary"]
    assert cache_contents.list_entries() == []


def test_corpora_cache_clear_leaves_mapped_ids_readable(own_cache: Path, run: Run) -> None:
    stream = ids.build(own_cache / "ids" / "k.train.ids", [([np.arange(99, dtype=np.int32)], True)], 300, 299)
    run("corpora", "--cache", "--clear")
    assert stream.take(np.arange(100)).tolist() == [299, *range(99)]


def test_locked_while_waiting_can_be_interrupted(
    tmp_path: Path, hold: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    hold(tmp_path / "key")
    started = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "key")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    with killed_after(started) as waiter, waiter:
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == b"waiting\n"
        waiter.send_signal(signal.SIGINT)
        out, output = waiter.communicate()
    assert (out, b"KeyboardInterrupt" in output) == (b"", True)
    assert cache.is_locked(tmp_path / "key")
