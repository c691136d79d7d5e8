"""A pool of worker processes, and the encoding of much text with it.

Tokenizing is Python code, or holds the interpreter lock, so threads don't help. Each worker is another Python process
that answers batches of byte strings through a pipe. (`multiprocessing` would import the caller's main script again.)
The results are the same, in the same order, for any number of workers.
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
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from seqgen import tokenizers
from seqgen.errors import SeqgenError
from seqgen.processors import process_cpu_count
from seqgen.specs.registry import resolve
from seqgen.tokenizers.codec import Codec

Encoded = Sequence[npt.NDArray[np.integer]]
Process = subprocess.Popen[bytes]
BATCH = 1 << 20  # bytes of text in a batch, approximately
MAX_WORKERS = 8  # unless a number is given: each worker takes about 60 MB
_QUEUE_FACTOR = 2  # batches under way per worker: one in work, one waiting
_MIN_BYTES = 4 << 20  # encoded in this process first, because starting a worker takes a while
_CHECK_SECONDS = 0.2  # between two calls of `check` while a worker is waited for
_PIPE_SPEED = 100e6  # bytes per second to a worker and back; a faster codec stays in this process


def batch_by_size(
    items: Iterable[bytes], max_bytes: int | None = None, max_items: int | None = None, overhead: int = 64
) -> Iterator[list[bytes]]:
    """Group byte strings into batches, each ended by the item that reaches a limit.

    Args:
        max_bytes: limit of the total size; None is `BATCH`.
        max_items: limit of the number of items; None is no limit.
        overhead: bytes to count for each item beside its size.
    """
    limit = BATCH if max_bytes is None else max_bytes
    batch: list[bytes] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item) + overhead
        if size >= limit or len(batch) == max_items:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def no_check() -> None:
    """Raise nothing."""


def encode_batches(
    codec: Codec,
    batches: Iterable[Sequence[bytes]],
    workers: int | None = None,
    check: Callable[[], None] = no_check,
) -> Iterator[Encoded]:
    """Encode batches of byte strings, in order. A few batches per worker are in memory at a time.

    Args:
        workers: number of processes; None is one per processor if there is much text and the codec is slow.
        check: called several times a second while workers are waited for; what it raises ends them.

    Raises:
        SeqgenError: a worker died.
    """
    batches = iter(batches)
    if workers is None or workers < 2:
        size, spent = 0, 0.0
        for batch in batches:
            began = time.thread_time()
            encoded = [codec.encode(item) for item in batch]
            size, spent = size + sum(map(len, batch)), spent + time.thread_time() - began
            yield encoded
            if workers is None and _MIN_BYTES < size < _PIPE_SPEED * spent and process_cpu_count() > 1:
                break
        else:
            return
    count = workers or min(process_cpu_count(), MAX_WORKERS)
    died = "a process that encoded a part of the text died; was there enough memory?"
    for dtype, parts in run_in_workers(_ENCODE, tokenizers.dump(codec), batches, count, lambda batch: died, check):
        yield [np.frombuffer(part, dtype=np.dtype(dtype)) for part in parts]


# ---- In this process ----


class WorkerReply(NamedTuple):
    """A worker's answer to a batch: `head` is a JSON value."""

    head: Any
    parts: Sequence[memoryview | bytes]


class Job(Protocol):
    """The work of a worker process: a batch to a reply."""

    def __call__(self, batch: Sequence[memoryview]) -> WorkerReply: ...


def run_in_workers(
    job: str,
    files: Mapping[str, bytes],
    batches: Iterator[Sequence[bytes]],
    count: int,
    died: Callable[[Sequence[bytes]], str],
    check: Callable[[], None] = no_check,
) -> Iterator[WorkerReply]:
    """Send batches to worker processes and yield their replies, in order.

    Args:
        job: `module:function`; in the worker, `function(files)` makes a `Job`.
        files: what `tokenizers.dump` made of a codec.
        count: number of workers.
        died: makes the error message for the batch whose worker died.
        check: called several times a second while a reply is waited for; what it raises ends the workers at once.

    Raises:
        SeqgenError: a worker died.
    """
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_start_worker(job, files)) for _ in range(count)]
        idle = list(workers)
        # A thread per worker waits for its reply; each batch goes to whichever worker is idle.
        pool = stack.enter_context(ThreadPoolExecutor(count))

        def ask(batch: Sequence[bytes]) -> WorkerReply:
            worker = idle.pop()
            reply = _ask(worker, batch, died)
            idle.append(worker)  # a dead one is not put back
            return reply

        pending: deque[Future[WorkerReply]] = deque()
        try:
            for batch in batches:
                pending.append(pool.submit(ask, batch))
                if len(pending) >= _QUEUE_FACTOR * count:
                    yield _result(pending.popleft(), check)
            while pending:
                yield _result(pending.popleft(), check)
        except BaseException:  # the replies are not waited for
            for worker in workers:
                worker.kill()
            raise
        finally:
            for future in pending:
                future.cancel()


def _result(future: Future[WorkerReply], check: Callable[[], None]) -> WorkerReply:
    while not wait([future], _CHECK_SECONDS).done:
        check()
    return future.result()


def _worker_code() -> str:
    """The program of a worker: its module search path is this process's own, without the working folder.

    That folder may be full of untrusted files, or of exercises called `random.py`. (`-P` keeps it out until then.)
    """
    here = {"", ".", os.getcwd(), os.path.realpath(os.getcwd())}
    home = str(Path(__file__).resolve().parents[2])  # seqgen may lie in the working folder itself
    path = [*(entry for entry in sys.path if entry not in here), home]
    return f"import sys; sys.path[:] = {path!r}; from seqgen.tokenizers.workers import worker_main; worker_main()"


@contextlib.contextmanager
def _start_worker(job: str, files: Mapping[str, bytes]) -> Generator[Process, None, None]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _worker_code()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        # Ctrl-C reaches this process only, which then ends its workers.
        start_new_session=True, creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )  # fmt: skip
    try:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # the first request reports a worker that is already dead
            _send(process.stdin, [job, list(files)], list(files.values()))
        yield process
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()


def _ask(worker: Process, batch: Sequence[bytes], died: Callable[[Sequence[bytes]], str]) -> WorkerReply:
    assert worker.stdin is not None and worker.stdout is not None
    try:
        _send(worker.stdin, None, batch)
        reply = _receive(worker.stdout)
        if reply is None:
            raise ValueError("the stream ended")
        return reply
    except (OSError, ValueError) as error:
        raise SeqgenError(died(batch)) from error


# ---- Messages: a line of JSON [head, sizes of the parts], then the parts ----


def _send(stream: IO[bytes], head: Any, parts: Sequence[memoryview | bytes]) -> None:
    stream.write(json.dumps([head, [len(part) for part in parts]]).encode() + b"\n")
    stream.write(b"".join(parts))
    stream.flush()


def _receive(stream: IO[bytes]) -> WorkerReply | None:
    """The next message; None at the end of the stream. Raises `ValueError` for a truncated message."""
    line = stream.readline()
    if not line:
        return None
    head, sizes = json.loads(line)
    data = memoryview(stream.read(sum(sizes)))
    if len(data) != sum(sizes):
        raise ValueError("the stream ended in a message")
    offsets = [0, *itertools.accumulate(sizes)]
    return WorkerReply(head, [data[start:stop] for start, stop in itertools.pairwise(offsets)])


# ---- In the worker process ----


def worker_main() -> None:
    """Answer batch after batch on standard output until standard input ends."""
    # The parent may go away at any moment; then there is no one to report it to.
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, ValueError), os.fdopen(1, "wb", closefd=False) as out:
        begin = _receive(sys.stdin.buffer)
        if begin is None:
            return
        job, names = begin.head
        work: Job = resolve(job)({name: bytes(part) for name, part in zip(names, begin.parts, strict=True)})
        while (request := _receive(sys.stdin.buffer)) is not None:
            _send(out, *work([memoryview(part) for part in request.parts]))


_ENCODE = "seqgen.tokenizers.workers:encode_job"


def encode_job(files: Mapping[str, bytes]) -> Job:
    """Make the job that encodes: the reply's head is the dtype of its parts, the ids of each byte string."""
    codec = tokenizers.parse(files)
    dtype = np.dtype(np.uint16 if codec.vocab_size <= 1 << 16 else np.uint32)

    def encode(batch: Sequence[memoryview]) -> WorkerReply:
        return WorkerReply(dtype.str, [codec.encode(bytes(item)).astype(dtype).tobytes() for item in batch])

    return encode
