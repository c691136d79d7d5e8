"""Texts for many clients at once: a thread that steps the running batch of a model.

Texts wait in one queue a client, and clients take turns, so that a client with a hundred requests delays the others by
one. A text leaves at once when its client goes away.
"""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from seqgen.generation.batching import RunningBatch, StepPace
from seqgen.generation.job import GenerationJob
from seqgen.generation.text import Sample
from seqgen.server.errors import RETRY_SECONDS, HttpError

_MAX_STEPS = 16  # of the network in one call, between which no text joins
_CALL_SECONDS = 0.005  # that such a call should take
_DELIVERY_SECONDS = 0.04  # between deliveries to a client, each of which costs as much as many ids
_MAX_WAITING_BATCHES = 4  # that the prompts of waiting texts would fill: a context cache has megabytes of each


@dataclass(frozen=True)
class TextDelta:
    """New text of one of a request's texts, and its sample if it is finished."""

    index: int
    text: str
    sample: Sample | None


@dataclass(eq=False)
class TextRequest:
    """`n` texts of each of several prompts, whose pieces arrive in the event loop that made the request.

    Args:
        client: whose turn it is among those that wait.
        deadline: seconds of `time.monotonic` at which its texts end.
    """

    client: str
    jobs: list[GenerationJob]
    n: int
    max_tokens: int | None
    deadline: float
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    cancelled: bool = False
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _pieces: list[TextDelta] = field(default_factory=list)
    _failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self.jobs) * self.n

    @property
    def share(self) -> float:
        """The part of a batch that one of its texts takes: an engine with a context cache has room for fewer."""
        return 1 / self.jobs[0].engine.batch_size

    @property
    def batches_held(self) -> float:
        """The batches that its prompts would fill, if a context cache has megabytes of each while its texts wait."""
        return len(self.jobs) * self.share if self.jobs[0].options.context_cache else 0.0

    async def next_pieces(self) -> list[TextDelta]:
        """Wait for pieces, and return all that have arrived. Raises what the worker failed with, or `HttpError`."""
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            self._arrived.clear()
            await self._arrived.wait()
        found, self._pieces = self._pieces, []
        return found

    def deliver(self, pieces: list[TextDelta], failure: BaseException | None = None) -> None:
        """Let pieces arrive, in the event loop; or the failure that ends all texts."""
        self._pieces += pieces
        self._failure = self._failure or failure
        self._arrived.set()


@dataclass
class _Undelivered:
    """What a request has not been given yet."""

    since: float  # seconds of `time.monotonic` when it was given something
    texts: dict[int, list[str]] = field(default_factory=dict)  # by index
    samples: dict[int, Sample] = field(default_factory=dict)

    def take(self, now: float) -> list[TextDelta]:
        found = [TextDelta(index, "".join(parts), self.samples.get(index)) for index, parts in self.texts.items()]
        self.since, self.texts, self.samples = now, {}, {}
        return found


class TextWorker:
    """The running batch of a model, in a thread of its own.

    Args:
        max_waiting: texts that may wait for their turn.
    """

    def __init__(self, batch: RunningBatch[tuple[TextRequest, int]], max_waiting: int) -> None:
        self._batch, self._max_waiting = batch, max_waiting
        self._waiting: OrderedDict[str, deque[tuple[TextRequest, int]]] = OrderedDict()
        self._undelivered: dict[TextRequest, _Undelivered] = {}  # of requests with texts in the batch
        self._count = 0  # of waiting texts
        self._changed = threading.Condition()
        self._pace = StepPace(_MAX_STEPS, _CALL_SECONDS)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="texts", daemon=True)
        self._thread.start()

    def submit(self, request: TextRequest) -> None:
        """Let the texts of a request wait for their turn. Raises `HttpError` if too many do already."""
        with self._changed:
            waiting = {entry[0] for queue in self._waiting.values() for entry in queue}
            batches = sum(one.batches_held for one in (*waiting, request))
            if self._count + len(request) > self._max_waiting or batches > _MAX_WAITING_BATCHES:
                raise HttpError(429, f"{self._count} texts are waiting already; try again later", RETRY_SECONDS)
            queue = self._waiting.setdefault(request.client, deque())
            queue.extend((request, index) for index in range(len(request)))
            self._count += len(request)
            self._changed.notify()

    def cancel(self, request: TextRequest) -> None:
        """Let the texts of a request leave, because its client went away or its time is up."""
        request.cancelled = True
        with self._changed:
            queue = self._waiting.get(request.client, deque())
            left = deque(entry for entry in queue if entry[0] is not request)
            self._count -= len(queue) - len(left)
            if left:
                self._waiting[request.client] = left
            else:
                self._waiting.pop(request.client, None)
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
                joining = self._joining()
            now = time.monotonic()
            for request, index in joining:
                if not request.cancelled:
                    job, number = request.jobs[index // request.n], index % request.n
                    try:
                        self._batch.add((request, index), job, number, request.max_tokens)
                    except BaseException as error:  # such as a grammar that needs more than the length
                        self._fail(request, error)
            for member in self._batch:
                request = member[0]
                if now > request.deadline and not request.cancelled:
                    self._fail(request, HttpError(503, "the text took longer than the server allows", RETRY_SECONDS))
                if request.cancelled:
                    self._batch.remove(member)
            if len(self._batch):
                self._step()

    def _joining(self) -> list[tuple[TextRequest, int]]:
        """The texts whose turn it is, as far as the batch has room for them."""
        used, found = sum(request.share for request, _ in self._batch), list[tuple[TextRequest, int]]()
        while self._count:
            used += next(iter(self._waiting.values()))[0][0].share
            if used > 1 + 1e-9:  # the sum is rounded
                break
            found.append(self._take())
        return found

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
            with self._pace as steps:
                stepped = self._batch.advance(steps)
        except BaseException as error:  # whatever it is, the requests must end
            for member in self._batch:
                self._batch.remove(member)
                self._fail(member[0], error)
            return
        for (request, index), text, done in stepped:
            if text or done is not None:
                kept = self._undelivered.setdefault(request, _Undelivered(-math.inf))
                kept.texts.setdefault(index, []).append(text)
                if done is not None:
                    kept.samples[index] = done.sample
        self._deliver()

    def _deliver(self) -> None:
        """Give requests what they have waited for long enough, their first text and their last at once."""
        now, at_work = time.monotonic(), {request for request, _ in self._batch}
        due: dict[asyncio.AbstractEventLoop, list[tuple[TextRequest, list[TextDelta]]]] = {}
        for request, kept in tuple(self._undelivered.items()):
            if kept.samples or (kept.texts and now - kept.since >= _DELIVERY_SECONDS):
                due.setdefault(request.loop, []).append((request, kept.take(now)))
            if request not in at_work:
                del self._undelivered[request]
        for loop, given in due.items():
            _call(loop, functools.partial(_give, given))

    def _fail(self, request: TextRequest, error: BaseException) -> None:
        request.cancelled = True  # its other texts leave too
        kept = self._undelivered.pop(request, None)
        _call(request.loop, functools.partial(request.deliver, kept.take(0.0) if kept else [], error))


def _give(pieces: list[tuple[TextRequest, list[TextDelta]]]) -> None:
    for request, some in pieces:
        request.deliver(some)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
