"""Many MIDI files → ids, on all processors.

Parsing is Python's own work, one processor's at a time, so it is given to other Pythons: each is sent a path a line
and answers with a line of JSON and the ids as bytes. (Not `multiprocessing`, which would import the caller's script
anew.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from seqgen.errors import DataError, SeqgenError
from seqgen.music.parts import QuantisationStats
from seqgen.streams import read_whole
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.midi import MidiCodec

_ALONE = 24  # files that are read sooner than another Python starts
_BUNCH = 8  # files that a helper is sent at a time; their paths must fit into a pipe
_AHEAD = 8  # bunches a helper that may wait in memory for their turn


@dataclass(frozen=True)
class MidiReadResult:
    """What a file came to: ids and losses, or why there are none."""

    name: str
    ids: Ids
    losses: QuantisationStats
    why: str = ""


def read_midi_file(codec: MidiCodec, name: str, path: Path) -> MidiReadResult:
    """One file, decompressed if its name says so. Never raises for what is in it."""
    try:
        piece, losses = codec.read(read_whole(path, name))
    except DataError as error:
        return MidiReadResult(
            name, np.empty(0, dtype=np.int32), QuantisationStats(), str(error).removeprefix(f"{name!r}: ")
        )
    return MidiReadResult(name, codec.spell(piece), losses)


def read_midi_files(
    codec: MidiCodec,
    files: Sequence[tuple[str, Path]],
    progress: Callable[[int, int], None] = lambda done, of: None,
    workers: int | None = None,
) -> Iterator[MidiReadResult]:
    """The files, given as (name, path), in their order.

    Args:
        workers: how many processes; None takes one a processor, and none for a few files.
    """
    count = (os.cpu_count() or 1) if workers is None else workers
    if count < 2 or len(files) <= _ALONE:
        for number, (name, path) in enumerate(files, start=1):
            yield read_midi_file(codec, name, path)
            progress(number, len(files))
        return
    with contextlib.ExitStack() as stack:
        helpers = [stack.enter_context(_helper(codec)) for _ in range(min(count, len(files)))]
        # A helper's thread sleeps while the helper works; each file goes to whichever is free.
        free = list(helpers)
        pool = stack.enter_context(ThreadPoolExecutor(len(helpers)))

        def ask(some: Sequence[tuple[str, Path]]) -> list[MidiReadResult]:
            helper = free.pop()
            try:
                return _ask(helper, some)
            finally:
                free.append(helper)

        done = 0
        bunches = [files[start : start + _BUNCH] for start in range(0, len(files), _BUNCH)]
        for start in range(0, len(bunches), _AHEAD * len(helpers)):
            for results in pool.map(ask, bunches[start : start + _AHEAD * len(helpers)]):
                for result in results:
                    done += 1
                    yield result
                    progress(done, len(files))


@contextlib.contextmanager
def _helper(codec: MidiCodec) -> Generator[subprocess.Popen[bytes], None, None]:
    code = "from seqgen.tokenizers.midi_files import serve; serve()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(codec.to_dict())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        start_new_session=True,  # Ctrl-C is for the program, which then ends its helpers
    )  # fmt: skip
    try:
        yield process
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()


def _ask(helper: subprocess.Popen[bytes], files: Sequence[tuple[str, Path]]) -> list[MidiReadResult]:
    assert helper.stdin is not None and helper.stdout is not None
    results = []
    try:
        for name, path in files:
            helper.stdin.write(json.dumps([name, str(path)]).encode() + b"\n")
        helper.stdin.flush()
        for name, _ in files:
            answer = json.loads(helper.stdout.readline())
            data = helper.stdout.read(answer["bytes"])
            ids = np.frombuffer(data, dtype=np.int32, count=answer["bytes"] // 4)  # a ValueError where some are missing
            results.append(MidiReadResult(name, ids, QuantisationStats(**answer["losses"]), answer["why"]))
    except (OSError, ValueError) as error:
        raise SeqgenError(f"the process that read {files[0][0]!r} died") from error
    return results


def serve() -> None:
    """What a helper does: answers on standard output, file for file, until nobody asks."""
    codec = MidiCodec.from_dict(json.loads(sys.argv[1]), {})
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError), os.fdopen(1, "wb", closefd=False) as answers:
        _serve(codec, sys.stdin.buffer, answers)


def _serve(codec: MidiCodec, questions: IO[bytes], answers: IO[bytes]) -> None:
    for line in questions:
        name, path = json.loads(line)
        found = read_midi_file(codec, name, Path(path))
        data = found.ids.tobytes()
        head = {"bytes": len(data), "losses": dataclasses.asdict(found.losses), "why": found.why}
        answers.write(json.dumps(head).encode() + b"\n" + data)
        answers.flush()
