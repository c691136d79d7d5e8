"""The pool of worker processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqgen import tokenizers
from seqgen.errors import DataError, SeqgenError
from seqgen.tokenizers import midi_files
from seqgen.tokenizers import workers as parallel
from seqgen.tokenizers.codec import split_stream
from seqgen.tokenizers.dialogue import DialogueCodec
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files
from seqgen.tokenizers.workers import MAX_WORKERS, WorkerReply, batch_by_size, encode_batches
from tests.helpers.running import prose


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

    def count(job: str, files: object, batches: object, workers: int, *rest: object) -> Iterator[WorkerReply]:
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


@pytest.fixture(scope="module")
def codecs() -> dict[str, tokenizers.Codec]:
    words = [prose(400).encode()]
    return {name: tokenizers.fit(name, words) for name in ("char", "byte", "subword")}


@pytest.mark.parametrize("name", ["char", "byte", "subword", "dialogue"])
def test_the_ids_are_the_same_on_any_number_of_processes(
    name: str, codecs: dict[str, tokenizers.Codec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "BATCH", 500)
    codec = DialogueCodec(codecs["subword"], 3) if name == "dialogue" else codecs[name]
    difficult = "月\U0001f600\u2581".encode() + b"\xff\x00\n\n"
    data = prose(100, 3).encode() + difficult + b"x" * 3000 + difficult * 20
    pieces = [b"", *split_stream(codec, [data[at : at + 333] for at in range(0, len(data), 333)]), b"", b"end"]
    wanted = [codec.encode(piece).tolist() for piece in pieces]
    for workers in (1, 2, 3):
        batches = list(encode_batches(codec, batch_by_size(pieces), workers))
        assert len(batches) > 5
        assert [each.tolist() for batch in batches for each in batch] == wanted


def test_nothing_is_encoded_before_it_can_be_kept(codecs: dict[str, tokenizers.Codec]) -> None:
    """Memory is bounded: a batch is requested only when the ids of earlier ones are taken."""
    requested = 0

    def batches() -> Iterator[list[bytes]]:
        nonlocal requested
        for number in range(100):
            requested += 1
            yield [b"%d" % number]

    for workers in (1, 2):
        requested = 0
        for taken, _ in enumerate(encode_batches(codecs["char"], batches(), workers), start=1):
            assert requested <= taken + 2 * workers
        assert requested == 100


def test_a_slow_codec_is_given_to_helpers_and_a_fast_one_is_not(
    codecs: dict[str, tokenizers.Codec], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    in_helpers = parallel.run_in_workers

    def watched(job: str, codec: Any, rest: Iterator[Any], count: int, *others: Any) -> Iterator[Any]:
        counts.append(count)
        return in_helpers(job, codec, rest, count, *others)

    monkeypatch.setattr(parallel, "run_in_workers", watched)
    monkeypatch.setattr(parallel, "process_cpu_count", lambda: 2)
    monkeypatch.setattr(parallel, "_MIN_BYTES", 1000)
    batches = [[b"the boat came home"] * 100] * 4
    monkeypatch.setattr(parallel, "_PIPE_SPEED", 1e15)
    slow = [each.tolist() for batch in encode_batches(codecs["char"], batches) for each in batch]
    assert counts == [2]
    monkeypatch.setattr(parallel, "_PIPE_SPEED", 1.0)
    assert [each.tolist() for batch in encode_batches(codecs["char"], batches) for each in batch] == slow
    monkeypatch.setattr(parallel, "_PIPE_SPEED", 1e15)
    monkeypatch.setattr(parallel, "process_cpu_count", lambda: 1)
    assert [each.tolist() for batch in encode_batches(codecs["char"], batches) for each in batch] == slow
    assert counts == [2]


def test_a_helper_that_dies_is_told(codecs: dict[str, tokenizers.Codec], monkeypatch: pytest.MonkeyPatch) -> None:
    processes = []
    popen = parallel.subprocess.Popen

    def watched(*arguments: Any, **options: Any) -> Any:
        processes.append(popen(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(parallel.subprocess, "Popen", watched)

    def batches() -> Iterator[list[bytes]]:
        for number in range(1000):
            if number == 5:
                processes[0].kill()
            yield [b"the boat came home"]

    with pytest.raises(SeqgenError, match="died; was there enough memory"):
        list(encode_batches(codecs["char"], batches(), 2))
    assert all(worker.poll() is not None for worker in processes)


def test_an_error_of_the_source_ends_the_helpers(codecs: dict[str, tokenizers.Codec]) -> None:
    def batches() -> Iterator[list[bytes]]:
        yield [b"a"]
        raise DataError("the source ended")

    with pytest.raises(DataError, match="the source ended"):
        list(encode_batches(codecs["char"], batches(), 2))
