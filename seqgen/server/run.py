"""Run the server until a signal ends it; then what has begun is finished."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from seqgen.errors import UserError
from seqgen.server.app import make_app
from seqgen.server.connections import ACCEPTED_AT_ONCE, Connection, raise_descriptor_limit
from seqgen.server.models import ServedModels
from seqgen.server.state import ServerState
from seqgen.streams import reason

_DRAIN_SECONDS = 60  # that requests which have begun may still take
_MAX_HEADER_BYTES = 16 << 10
_BACKLOG = 1024  # connections that the system keeps until they are taken


def read_keys(path: str) -> frozenset[str]:
    """The API keys in a file, one a line; lines that begin with # are comments.

    Raises `UserError` if it can't be read, or has none.
    """
    try:
        lines = Path(path).expanduser().read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the keys in {path!r}: {reason(error)}") from error
    keys = frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise UserError(f"{path!r} has no keys: write one a line")
    return keys


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    names: Sequence[str],
    host: str,
    port: int,
    keys: frozenset[str],
    timeout: float,
    page: bool,
    log: Callable[[str], None],
) -> None:
    """Serve models until a signal.

    Args:
        page: whether there is a page to play with.
        log: called with the address once requests are taken, and with a line for each of them.

    Raises:
        UserError: the port is taken, or the host would open the server to others without a key.
        ModelError: a model is missing or damaged.
    """
    if not keys and not is_loopback(host):
        raise UserError(f"--host {host} lets others in: give --api-key-file too, or leave the host at 127.0.0.1")
    state = ServerState(ServedModels(names), timeout, keys, page, log)
    raise_descriptor_limit()
    listening = _listen(host, port)
    server = make_server(state)
    try:
        bound = listening.getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        log(f"serving at http://{shown}:{bound[1]}")
        with _ended_by_hangup(server), _logged(log):
            server.run(sockets=[listening])
    finally:
        listening.close()
        state.stop()


def make_server(state: ServerState, drain_seconds: int = _DRAIN_SECONDS) -> uvicorn.Server:
    """The server of the application over these models; at its end, requests may take `drain_seconds` more."""
    config = uvicorn.Config(
        make_app(state), log_config=None, access_log=False, server_header=False, lifespan="off",
        timeout_graceful_shutdown=drain_seconds, h11_max_incomplete_event_size=_MAX_HEADER_BYTES, http=Connection,
        ws="none", backlog=ACCEPTED_AT_ONCE,
    )  # fmt: skip
    return _Server(config, state)


@contextlib.contextmanager
def _ended_by_hangup(server: uvicorn.Server) -> Iterator[None]:
    """End the server at a closed terminal as at the other signals, which uvicorn handles; `nohup` ignores it."""
    number, hung_up = getattr(signal, "SIGHUP", None), False

    def end(_: int, frame: FrameType | None) -> None:
        nonlocal hung_up
        hung_up = server.should_exit = True

    before = signal.SIG_IGN if number is None else signal.getsignal(number)
    if number is None or before is signal.SIG_IGN:
        yield
        return
    with contextlib.suppress(ValueError):  # another thread
        signal.signal(number, end)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            signal.signal(number, before)
    if hung_up:
        raise SystemExit(128 + number)


class _Server(uvicorn.Server):
    """A server that reports in `/health` that it is shutting down."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self._state = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_BACKLOG)  # for asyncio, the backlog is how many it takes at once too

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.draining = True
        begun, left = list(self.server_state.tasks), float(self.config.timeout_graceful_shutdown or 0)
        end = time.monotonic() + left
        while left > 0 and not self.force_exit and not all(task.done() for task in begun):
            await asyncio.sleep(0.1)  # new connections are taken meanwhile, and told
            left = end - time.monotonic()
        self.config.timeout_graceful_shutdown = max(1, round(left))
        await super().shutdown(sockets)


class _LogHandler(logging.Handler):
    """Writes the errors of uvicorn and asyncio as lines of the log; an error of the system as one line."""

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)  # warnings are about what clients send
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        said = record.getMessage().partition("\n")[0]
        if isinstance(error, OSError):
            self._log(f"{said}: {reason(error)}")
            return
        for line in (said, *("".join(traceback.format_exception(error)).splitlines() if error else ())):
            self._log(line)


@contextlib.contextmanager
def _logged(log: Callable[[str], None]) -> Iterator[None]:
    """Let `log` have what uvicorn and asyncio report in the block, which would go to stderr as it is."""
    handler, loggers = _LogHandler(log), [logging.getLogger(name) for name in ("uvicorn", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {reason(error)}") from error
