"""Many MIDI files → ids, on all processors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqgen import tokenizers
from seqgen.errors import DataError
from seqgen.music.score import QuantisationStats
from seqgen.processors import process_cpu_count
from seqgen.streams import read_whole
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.workers import MAX_WORKERS, Job, WorkerReply, no_check, run_in_workers

_MIN_FILES = 24  # this many are read sooner than another Python process starts
_BATCH_FILES = 8
_JOB = "seqgen.tokenizers.midi_files:midi_job"


@dataclass(frozen=True)
class MidiReadResult:
    """The ids of a file and what quantisation lost, or `error`: why it can't be read."""

    name: str
    ids: Ids
    losses: QuantisationStats
    error: str = ""


def read_midi_file(codec: MidiCodec, name: str, path: Path) -> MidiReadResult:
    """Read one file, decompressed if its name says so. Raises nothing, whatever the file holds."""
    try:
        piece, losses = codec.read_piece(read_whole(path, name))
    except DataError as error:
        message = str(error).removeprefix(f"{name!r}: ")
        return MidiReadResult(name, np.empty(0, dtype=np.int32), QuantisationStats(), message)
    return MidiReadResult(name, codec.encode_piece(piece), losses)


def read_midi_files(
    codec: MidiCodec,
    files: Sequence[tuple[str, Path]],
    progress: Callable[[int, int], None] = lambda done, of: None,
    workers: int | None = None,
    check: Callable[[], None] = no_check,
) -> Iterator[MidiReadResult]:
    """Read files, given as (name, path), in order.

    Args:
        progress: called with the number of files read and in all.
        workers: number of processes; None is one per processor, at most `MAX_WORKERS`. Few files are read in this one.
        check: called several times a second; may raise an exception.

    Raises:
        SeqgenError: a worker process died.
    """
    count = min(process_cpu_count(), MAX_WORKERS) if workers is None else workers
    for number, result in enumerate(_read(codec, files, count, check), start=1):
        check()
        yield result
        progress(number, len(files))


def _read(
    codec: MidiCodec, files: Sequence[tuple[str, Path]], workers: int, check: Callable[[], None]
) -> Iterator[MidiReadResult]:
    if workers < 2 or len(files) <= _MIN_FILES:
        yield from (read_midi_file(codec, name, path) for name, path in files)
        return
    groups = [files[start : start + _BATCH_FILES] for start in range(0, len(files), _BATCH_FILES)]
    batches = ([json.dumps([name, str(path)]).encode() for name, path in group] for group in groups)
    replies = run_in_workers(_JOB, tokenizers.dump(codec), batches, min(workers, len(groups)), _died, check)
    for group, reply in zip(groups, replies, strict=True):
        for (name, _), (losses, error), data in zip(group, reply.head, reply.parts, strict=True):
            yield MidiReadResult(name, np.frombuffer(data, dtype=np.int32), QuantisationStats(**losses), error)


def _died(batch: Sequence[bytes]) -> str:
    return f"the process that read {json.loads(batch[0])[0]!r} died"


def midi_job(files: Mapping[str, bytes]) -> Job:
    """Make the job that reads MIDI files: a batch of JSON [name, path] to heads [losses, error] and ids."""
    codec = tokenizers.parse(files)
    assert isinstance(codec, MidiCodec)

    def read(batch: Sequence[memoryview]) -> WorkerReply:
        names = [json.loads(bytes(part)) for part in batch]
        results = [read_midi_file(codec, name, Path(path)) for name, path in names]
        head = [[dataclasses.asdict(result.losses), result.error] for result in results]
        return WorkerReply(head, [result.ids.tobytes() for result in results])

    return read
