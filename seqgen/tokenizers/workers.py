"""Much text → ids, on all processors where that is worth it, the same ids in the same order on any number of them.

Encoding is Python's own work or holds its lock, so other Pythons do it: each is sent batches of byte strings, and
answers with their ids. A fast codec (characters, bytes) is faster than a pipe to another process, and stays here.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from seqgen import tokenizers
from seqgen.errors import SeqgenError
from seqgen.tokenizers.codec import Codec

Encoded = Sequence[npt.NDArray[np.integer]]
BATCH = 1 << 20  # bytes of text that are sent at a time, about
_AHEAD = 2  # batches a helper that may be under way: one in work, one waiting
_TRIED = 4 << 20  # bytes encoded here before helpers are thought of: another Python takes a while to start
_MOST = 8  # helpers, where nobody says otherwise: each takes some 60 MB
_PIPE = 100e6  # bytes a second that a pipe to a helper and back carries


def batch_by_size(items: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Byte strings gathered to batches of about `BATCH` bytes."""
    batch: list[bytes] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item) + 64  # an empty one costs something too
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def process_cpu_count() -> int:
    """How many processors this process may use, which in a container are fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def encode_batches(codec: Codec, batches: Iterable[Sequence[bytes]], workers: int | None = None) -> Iterator[Encoded]:
    """The ids of each batch's byte strings, batch for batch in order. Holds a few batches a worker at a time.

    Args:
        workers: how many processes; None takes one a processor, where there is much text and the codec is slow.

    Raises:
        SeqgenError: a helper died.
    """
    batches = iter(batches)
    if workers is None or workers < 2:
        size, spent = 0, 0.0
        for batch in batches:
            began = time.thread_time()
            encoded = [codec.encode(item) for item in batch]
            size, spent = size + sum(map(len, batch)), spent + time.thread_time() - began
            yield encoded
            if workers is None and size > _TRIED and size < _PIPE * spent and process_cpu_count() > 1:
                break
        else:
            return
    yield from _in_helpers(codec, batches, workers or min(process_cpu_count(), _MOST))


def _in_helpers(codec: Codec, batches: Iterator[Sequence[bytes]], count: int) -> Iterator[Encoded]:
    files = tokenizers.dump(codec)
    with contextlib.ExitStack() as stack:
        # A helper's thread sleeps while the helper works; a batch goes to whichever is free.
        free = [stack.enter_context(_helper(files)) for _ in range(count)]
        pool = stack.enter_context(ThreadPoolExecutor(count))

        def ask(batch: Sequence[bytes]) -> Encoded:
            helper = free.pop()
            answer = _ask(helper, batch)
            free.append(helper)
            return answer

        under_way: deque[Future[Encoded]] = deque()
        try:
            for batch in batches:
                under_way.append(pool.submit(ask, batch))
                if len(under_way) >= _AHEAD * count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


@contextlib.contextmanager
def _helper(files: dict[str, bytes]) -> Generator[subprocess.Popen[bytes], None, None]:
    # The path as it is here: a helper must find the same program, whatever folder it starts in.
    code = f"import sys; sys.path[:] = {sys.path!r}; from seqgen.tokenizers.workers import serve; serve()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the program, which then ends its helpers
    )  # fmt: skip
    try:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # who is dead at once is found dead when asked
            _send(process.stdin, list(files), list(files.values()))
        yield process
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()


def _ask(helper: subprocess.Popen[bytes], batch: Sequence[bytes]) -> Encoded:
    assert helper.stdin is not None and helper.stdout is not None
    try:
        _send(helper.stdin, None, batch)
        answer = _receive(helper.stdout)
        if answer is None:
            raise ValueError("it has gone")
        kind, parts = answer
        return [np.frombuffer(part, dtype=np.dtype(kind)) for part in parts]
    except (OSError, ValueError) as error:
        raise SeqgenError("a process that encoded a part of the text died; was there enough memory?") from error


def _send(stream: IO[bytes], about: Any, parts: Sequence[Any]) -> None:
    stream.write(json.dumps([about, [len(part) for part in parts]]).encode() + b"\n")
    stream.write(b"".join(parts))
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[Any, list[memoryview]] | None:
    """What `_send` sent; None where nothing more comes. Raises `ValueError` where the stream ends in its midst."""
    head = stream.readline()
    if not head:
        return None
    about, sizes = json.loads(head)
    data = memoryview(stream.read(sum(sizes)))
    if len(data) != sum(sizes):
        raise ValueError("the stream ended")
    places = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).tolist()
    return about, [data[start:stop] for start, stop in itertools.pairwise(places)]


def serve() -> None:
    """What a helper does: encodes batch for batch, until nobody asks."""
    # The other end may go away at any moment: then nobody is left to be told.
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, ValueError), os.fdopen(1, "wb", closefd=False) as out:
        begun = _receive(sys.stdin.buffer)
        if begun is None:
            return
        codec = tokenizers.parse({name: bytes(part) for name, part in zip(*begun, strict=True)})
        kind = np.dtype(np.uint16 if codec.vocab_size <= 1 << 16 else np.uint32)
        while (asked := _receive(sys.stdin.buffer)) is not None:
            found = [codec.encode(bytes(item)).astype(kind) for item in asked[1]]
            _send(out, kind.str, [each.tobytes() for each in found])
