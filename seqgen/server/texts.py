"""Texts for many clients at once: a thread that steps the running batch of a model.

Texts wait in one queue a client, and clients take turns, so that a client with a hundred requests delays the others by
one. A text leaves at once when its client goes away.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from seqgen.generation.batching import RunningBatch
from seqgen.generation.sampling.beam import GenerationJob
from seqgen.generation.text import Sample
from seqgen.server.errors import RETRY_SECONDS, HttpError


@dataclass(frozen=True)
class Piece:
    """New text of a sample, and the sample if it is finished."""

    index: int
    text: str
    sample: Sample | None


@dataclass(eq=False)
class TextRequest:
    """Samples of one prompt, whose pieces arrive in the event loop that made the request.

    Args:
        client: whose turn it is among those that wait.
        deadline: seconds of `time.monotonic` at which its texts end.
    """

    client: str
    job: GenerationJob
    indices: range
    max_tokens: int | None
    deadline: float
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    pieces: deque[Piece] = field(default_factory=deque)
    failure: BaseException | None = None
    cancelled: bool = False

    async def next_pieces(self) -> list[Piece]:
        """Wait for pieces, and return all that have arrived. Raises what the worker failed with, or `HttpError`."""
        while not self.pieces:
            if self.failure is not None:
                raise self.failure
            self.arrived.clear()
            await self.arrived.wait()
        found = list(self.pieces)
        self.pieces.clear()
        return found


class TextWorker:
    """The running batch of a model, in a thread of its own.

    Args:
        max_waiting: texts that may wait for their turn.
    """

    def __init__(self, batch: RunningBatch[tuple[TextRequest, int]], max_streams: int, max_waiting: int) -> None:
        self._batch, self._max_streams, self._max_waiting = batch, max_streams, max_waiting
        self._waiting: OrderedDict[str, deque[tuple[TextRequest, int]]] = OrderedDict()
        self._count = 0  # of waiting texts
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="texts", daemon=True)
        self._thread.start()

    def submit(self, request: TextRequest) -> None:
        """Let the texts of a request wait for their turn. Raises `HttpError` if too many do already."""
        with self._changed:
            if self._count + len(request.indices) > self._max_waiting:
                raise HttpError(429, f"{self._count} texts are waiting already; try again later", RETRY_SECONDS)
            queue = self._waiting.setdefault(request.client, deque())
            queue.extend((request, index) for index in request.indices)
            self._count += len(request.indices)
            self._changed.notify()

    def cancel(self, request: TextRequest) -> None:
        """Let the texts of a request leave, because its client went away or its time is up."""
        request.cancelled = True
        with self._changed:
            self._changed.notify()

    def stop(self) -> None:
        """End the thread after its present step."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._stopping or len(self._batch) or self._count):
                    self._changed.wait()
                if self._stopping:
                    return
                joining = [self._take() for _ in range(min(self._count, self._max_streams - len(self._batch)))]
            now = time.monotonic()
            for request, index in joining:
                if not request.cancelled:
                    self._batch.add((request, index), request.job, index, request.max_tokens)
            for member in self._batch:
                request = member[0]
                if now > request.deadline and not request.cancelled:
                    self._fail(request, HttpError(503, "the text took longer than the server allows", RETRY_SECONDS))
                if request.cancelled:
                    self._batch.remove(member)
            if len(self._batch):
                self._step()

    def _take(self) -> tuple[TextRequest, int]:
        """The next text, of the client whose turn it is."""
        client, queue = next(iter(self._waiting.items()))
        found = queue.popleft()
        if queue:
            self._waiting.move_to_end(client)
        else:
            del self._waiting[client]
        self._count -= 1
        return found

    def _step(self) -> None:
        try:
            stepped = self._batch.step()
        except BaseException as error:  # whatever it is, the requests must end
            for member in self._batch:
                self._batch.remove(member)
                self._fail(member[0], error)
            return
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[TextRequest, Piece]]] = {}
        for key, text, done in stepped:
            request, index = key
            if text or done is not None:
                piece = Piece(index - request.indices.start, text, None if done is None else done.sample)
                by_loop.setdefault(request.loop, []).append((request, piece))
        for loop, pieces in by_loop.items():
            _call(loop, lambda pieces=pieces: _deliver(pieces))  # type: ignore[misc]

    def _fail(self, request: TextRequest, error: BaseException) -> None:
        request.cancelled = True  # its other texts leave too

        def set_failure() -> None:
            request.failure = error
            request.arrived.set()

        _call(request.loop, set_failure)


def _deliver(pieces: list[tuple[TextRequest, Piece]]) -> None:
    for request, piece in pieces:
        request.pieces.append(piece)
        request.arrived.set()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
