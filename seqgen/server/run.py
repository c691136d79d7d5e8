"""Run the server until a signal ends it; then what has begun is finished."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from seqgen.errors import UserError
from seqgen.server.app import make_app
from seqgen.server.connections import Connection
from seqgen.server.models import ServedModels
from seqgen.server.state import ServerState
from seqgen.streams import reason

_DRAIN_SECONDS = 60  # that requests which have begun may still take
_MAX_HEADER_BYTES = 16 << 10


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
    listening = _listen(host, port)
    server = make_server(state)
    try:
        bound = listening.getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        log(f"serving at http://{shown}:{bound[1]}")
        with _ended_by_hangup(server):
            server.run(sockets=[listening])
    finally:
        listening.close()
        state.stop()


def make_server(state: ServerState, drain_seconds: int = _DRAIN_SECONDS) -> uvicorn.Server:
    """The server of the application over these models; at its end, requests may take `drain_seconds` more."""
    config = uvicorn.Config(
        make_app(state), log_config=None, access_log=False, server_header=False, lifespan="off",
        timeout_graceful_shutdown=drain_seconds, h11_max_incomplete_event_size=_MAX_HEADER_BYTES, http=Connection,
        ws="none",
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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.draining = True
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {reason(error)}") from error
