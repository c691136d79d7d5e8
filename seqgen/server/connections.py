"""Connections: HTTP/1.1 by uvicorn, with an end for clients that send or read too slowly, and a limit to their number.

Errors that arise before there is a request are the same JSON as those of the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from seqgen.server.errors import RETRY_SECONDS, HttpError

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Of every answer that has no others of these names."""

MAX_CONNECTIONS = 2048
ACCEPTED_AT_ONCE = 16  # connections that are taken before those in excess are refused
_RESERVED = 256  # descriptors for files, and for connections that are about to be refused
HEAD_SECONDS = 30.0  # in which the head of a request must have come
READ_SECONDS = 60.0  # in which a client must read something of its answer


def raise_descriptor_limit() -> None:
    """Let this process have the descriptors of the most connections, as far as the system allows."""
    wanted = MAX_CONNECTIONS + _RESERVED
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= soft < wanted:  # infinity is negative, or huge
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


def most_connections() -> int:
    """The connections that there may be: fewer where the process may have few descriptors."""
    try:
        import resource
    except ImportError:
        return MAX_CONNECTIONS
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if limit < 0 else min(MAX_CONNECTIONS, max(limit - _RESERVED, limit // 2))


class Connection(H11Protocol):
    """A connection of a client."""

    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, or refuse if there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._refuse(HttpError(503, "the server has too many connections; try again later", RETRY_SECONDS))
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        else:
            self._stop_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits for the client."""
        self._stop_head_timer()
        self._stop_read_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """Resume writing, since the client has read."""
        self._stop_read_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(HttpError(400, "this is not a request in HTTP/1.1, or its headers are too long"))

    def _await_head(self) -> None:
        self._head_timer = self._head_timer or self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _await_reading(self, before: int | None = None) -> None:
        """Look again and again whether the client reads; `before` is how many bytes were left for it last time."""
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before:  # uvicorn writes nothing while it is paused
            self.transport.abort()
        else:
            self._read_timer = self.loop.call_later(READ_SECONDS, self._await_reading, left)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _give_up(self) -> None:
        if self.conn.trailing_data[0]:
            self._refuse(HttpError(408, f"the head of the request took longer than {HEAD_SECONDS:g} seconds"))
        else:
            self.transport.close()  # nothing was asked

    def _refuse(self, error: HttpError) -> None:
        """Answer with an error and close; where an answer has begun, only close."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        body = json.dumps(error.body()).encode()
        headers = [*SECURITY_HEADERS, (b"content-type", b"application/json"), (b"connection", b"close"),
                   (b"content-length", str(len(body)).encode())]  # fmt: skip
        if error.retry_after is not None:
            headers.append((b"retry-after", str(error.retry_after).encode()))
        status = HTTPStatus(error.status)
        for event in (
            h11.Response(status_code=status.value, headers=headers, reason=status.phrase.encode()),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
