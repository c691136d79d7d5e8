"""The pool of worker processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqgen.tokenizers import midi_files
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files
from seqgen.tokenizers.workers import MAX_WORKERS, Reply, batch_by_size


def test_read_midi_files_in_a_folder_with_a_json_module_does_not_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of untrusted MIDI files may hold Python files too; workers never import them."""
    (tmp_path / "json.py").write_text("open('marker', 'w').close()\nraise SystemExit(9)\n")
    paths = [tmp_path / f"{number}.mid" for number in range(25)]
    for path in paths:
        path.write_bytes(b"no MIDI")
    monkeypatch.chdir(tmp_path)
    results = list(read_midi_files(MidiCodec(), [(path.name, path) for path in paths], workers=2))
    assert [result.name for result in results] == [path.name for path in paths]
    assert not (tmp_path / "marker").exists()


def test_read_midi_files_starts_a_worker_for_each_processor_that_the_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each one of the machine: a container or a batch system gives a job fewer."""
    counts: list[int] = []

    def count(job: str, files: object, batches: object, workers: int, died: object) -> Iterator[Reply]:
        counts.append(workers)
        return iter(())

    monkeypatch.setattr(midi_files, "run_in_workers", count)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    paths = [(f"{number}.mid", tmp_path / f"{number}.mid") for number in range(100)]
    for allowed, workers in (({0, 1, 2}, None), (set(range(64)), None), ({0, 1, 2}, 5)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, allowed=allowed: allowed, raising=False)
        with contextlib.suppress(ValueError):  # no replies
            list(read_midi_files(MidiCodec(), paths, workers=workers))
    assert counts == [3, MAX_WORKERS, 5]


def test_batch_by_size_ends_a_batch_at_either_limit() -> None:
    items = [b"ab", b"c", b"", b"d", b"efgh", b"i"]
    assert list(batch_by_size(items, max_bytes=3, overhead=0)) == [[b"ab", b"c"], [b"", b"d", b"efgh"], [b"i"]]
    assert list(batch_by_size(items, max_bytes=99, max_items=4)) == [items[:2], items[2:4], items[4:]]  # by size
    assert list(batch_by_size(items, max_bytes=99, max_items=4, overhead=0)) == [items[:4], items[4:]]
    assert list(batch_by_size([])) == []
