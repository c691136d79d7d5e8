"""What all endpoints share: the models, threads for work that takes time, and limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from starlette.requests import Request

from seqgen.errors import ModelChangedError, SeqgenError, UserError
from seqgen.processors import process_core_count
from seqgen.server.errors import RETRY_SECONDS, HttpError
from seqgen.server.models import ServedModels
from seqgen.time_limit import TimeLimit

LARGE = 1 << 16  # bytes or characters that are worth a thread
_MAX_QUEUED = 1024  # jobs for the threads
_MAX_MESSAGE = 1 << 14  # characters, of which a client gets the first

T = TypeVar("T")


@dataclass
class ServerState:
    """See the module.

    Attributes:
        timeout: seconds that a request may take.
        keys: API keys; without any, none is asked for.
        page: whether there is a page to play with.
        log: writes a line.
    """

    models: ServedModels
    timeout: float
    keys: frozenset[str] = frozenset()
    page: bool = True
    log: Callable[[str], None] = lambda _: None
    draining: bool = False
    _queued: int = 0
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max(2, process_core_count()), "requests")
    )

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run a function in one of the threads. Raises `HttpError` (429) if too many wait for one."""
        if self._queued >= _MAX_QUEUED:
            raise HttpError(429, "the server is busy; try again later", RETRY_SECONDS)
        self._queued += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        finally:
            self._queued -= 1

    def error_of(self, error: Exception) -> HttpError:
        """What answers a request that failed. The log has what is no fault of the client's."""
        if isinstance(error, HttpError):
            return error
        if isinstance(error, TimeoutError):
            return HttpError(503, "the request took longer than the server allows", RETRY_SECONDS)
        if isinstance(error, ModelChangedError):
            self.log(str(error))
            return HttpError(503, self._without_folders(str(error)))
        if isinstance(error, UserError):
            return HttpError(400, self._without_folders(str(error)))
        for line in "".join(traceback.format_exception(error)).splitlines():
            self.log(line)
        known = isinstance(error, SeqgenError)
        return HttpError(500, self._without_folders(str(error)) if known else "the server failed; its log says how")

    def _without_folders(self, message: str) -> str:
        """A message that names models as clients do, and no path of this machine."""
        message = message[:_MAX_MESSAGE]  # it may quote megabytes of a body
        for model in self.models.all():
            folder = model.checkpoint.folder
            for path in {str(folder), str(folder.resolve()), str(Path(model.folder))}:
                message = message.replace(repr(path), repr(model.name))
                if os.sep in path:  # `.` may be anything
                    message = message.replace(path, model.name)
        return message

    def stop(self) -> None:
        """End all threads."""
        self.models.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def while_awaited() -> Iterator[TimeLimit]:
    """A limit for work in a thread that is awaited in the block: it should stop once the block is over.

    A request that takes too long is cancelled, but its thread isn't.
    """
    over = threading.Event()
    try:
        yield TimeLimit(stop=over.is_set, message="the request is over")
    finally:
        over.set()


@contextlib.asynccontextmanager
async def while_connected(request: Request) -> AsyncIterator[None]:
    """Cancel the block when the client goes away."""
    block = asyncio.current_task()
    assert block is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        block.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone:
            raise HttpError(499, "the client went away") from None
        raise
    finally:
        watching.cancel()


async def work_for(request: Request, function: Callable[[TimeLimit], T]) -> T:
    """Run a function in a thread. Its limit ends it when the client goes away or the request's time is up."""
    with while_awaited() as limit:
        async with while_connected(request):
            return await state_of(request).in_thread(lambda: function(limit))


def state_of(request: Request) -> ServerState:
    """The state of the server that a request came to."""
    return cast("ServerState", request.app.state.server)


def credentials_of(request: Request) -> tuple[str, str]:
    """The scheme and the key of the header Authorization, however a client spells it; "" for what is missing."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return scheme.lower(), key.strip()


def client_of(request: Request) -> str:
    """By which clients take turns: the API key, or where none is asked for, the address."""
    if state_of(request).keys:
        return credentials_of(request)[1]
    return request.client.host if request.client else ""
