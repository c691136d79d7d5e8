"""Reading many MIDI files, with and without worker processes."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seqgen import tokenizers
from seqgen.errors import SeqgenError
from seqgen.music.events import VocabularyOptions
from seqgen.tokenizers import midi_files
from seqgen.tokenizers import workers as pool
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_file, read_midi_files
from tests.helpers.midi_files import midi_file, tempo, tune


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """More files than are read without workers: valid, damaged, compressed, missing."""
    folder = tmp_path_factory.mktemp("many")
    names = [f"{number:02d}.mid" for number in range(28)]
    names[3], names[9], names[21] = "with a space.mid", 'quote " and \\ and\nline.mid', os.fsdecode(b"caf\xe9 \xff.mid")
    names[5], names[14] = "packed.mid.gz", "灯塔.midi"
    files = []
    for number, name in enumerate(names):
        data = tune(number)
        if number % 7 == 6:
            data = [b"", b"text", data[:40], midi_file([tempo(0, 100)])][number // 7]
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        files.append((name, folder / name))
    (folder / "broken.mid.gz").write_bytes(gzip.compress(tune(1))[:-20])
    files.insert(12, ("broken.mid.gz", folder / "broken.mid.gz"))
    files.insert(13, ("not there.mid", folder / "not there.mid"))
    return files


def facts(read: midi_files.MidiReadResult) -> tuple[Any, ...]:
    return read.name, read.ids.tolist(), read.ids.dtype, read.losses, read.error


Processes = list[subprocess.Popen[bytes]]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """The worker processes that were started."""
    started: Processes = []
    start = pool._start_worker

    @contextlib.contextmanager
    def watched(*arguments: Any) -> Iterator[subprocess.Popen[bytes]]:
        with start(*arguments) as process:
            started.append(process)
            yield process

    monkeypatch.setattr(pool, "_start_worker", watched)
    return started


def test_read_midi_files_with_workers_returns_what_one_process_does(
    many: list[tuple[str, Path]], processes: Processes
) -> None:
    """In order, for any file names and contents; afterwards the workers end."""
    codec = MidiCodec(VocabularyOptions(grid=3, tracks="piano", low=40, key=True))
    calls: dict[int, list[tuple[int, int]]] = {1: [], 2: []}
    found = {}
    for workers, own_calls in calls.items():

        def progress(done: int, of: int, own_calls: list[tuple[int, int]] = own_calls) -> None:
            own_calls.append((done, of))

        found[workers] = [facts(read) for read in read_midi_files(codec, many, progress, workers)]
    assert len(processes) == 2
    assert [process.poll() for process in processes] == [0, 0]
    assert found[1] == found[2]
    assert [name for name, *_ in found[1]] == [name for name, _ in many]
    assert calls[1] == calls[2] == [(number, len(many)) for number in range(1, len(many) + 1)]
    assert sum(bool(error) for *_, error in found[1]) == 6
    assert {name: error for name, *_, error in found[1] if error} | {"broken.mid.gz": ""} == {
        "06.mid": "the file is empty",
        "13.mid": "not MIDI (no MThd header), ABC or MusicXML",
        "20.mid": "the MIDI file is truncated or damaged: it has no readable note",
        "27.mid": "the MIDI file has no notes",
        "broken.mid.gz": "",
        "not there.mid": found[1][13][-1],
    }
    assert "No such file" in found[1][13][-1]


def test_read_midi_files_of_few_files_starts_no_workers(many: list[tuple[str, Path]], processes: Processes) -> None:
    assert len(list(read_midi_files(MidiCodec(), many[:24], workers=2))) == 24
    assert not processes


def test_read_midi_files_when_closed_ends_its_workers(many: list[tuple[str, Path]], processes: Processes) -> None:
    reading = read_midi_files(MidiCodec(), many, workers=2)
    assert next(reading).name == many[0][0]
    reading.close()
    assert all(process.poll() is not None for process in processes)


def test_read_midi_files_when_a_worker_dies_raises(
    many: list[tuple[str, Path]], processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = pool._ask

    def deadly(worker: subprocess.Popen[bytes], batch: list[bytes], died: Any) -> pool.WorkerReply:
        if json.loads(batch[0])[0] == many[8][0]:
            worker.kill()
            worker.wait()
        return ask(worker, batch, died)

    monkeypatch.setattr(pool, "_ask", deadly)
    with pytest.raises(SeqgenError, match=r"the process that read '.*' died"):
        list(read_midi_files(MidiCodec(), many, workers=2))
    assert all(process.poll() is not None for process in processes)


@pytest.mark.parametrize("missing", [1, 4, 40, 10_000])
def test_read_midi_files_of_a_truncated_reply_raises(many: list[tuple[str, Path]], missing: int) -> None:
    """A truncated reply is never used."""
    name, path = many[0]
    batch = [json.dumps([name, str(path)]).encode()]
    answers = io.BytesIO()
    pool._send(answers, *midi_files.midi_job(tokenizers.dump(MidiCodec()))([memoryview(part) for part in batch]))
    for cut, whole in ((0, True), (missing, False)):
        data = answers.getvalue()
        worker: Any = SimpleNamespace(stdin=io.BytesIO(), stdout=io.BytesIO(data[: max(0, len(data) - cut)]))
        if whole:
            _, (part,) = pool._ask(worker, batch, midi_files._died)
            assert np.frombuffer(part, np.int32).tolist() == MidiCodec().encode(path.read_bytes()).tolist()
        else:
            with pytest.raises(SeqgenError, match="died"):
                pool._ask(worker, batch, midi_files._died)


def test_read_midi_files_when_a_worker_cannot_start_raises(
    many: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.sys, "executable", "/bin/false")
    with pytest.raises(SeqgenError, match="died"):
        list(read_midi_files(MidiCodec(), many, workers=2))


def test_read_midi_file_error_does_not_repeat_the_name(tmp_path: Path) -> None:
    path = tmp_path / "x.mid"
    path.write_bytes(tune(1)[:50])
    error = read_midi_file(MidiCodec(), "x.mid", path).error
    assert error == "the MIDI file is truncated or damaged: it has no readable note"
