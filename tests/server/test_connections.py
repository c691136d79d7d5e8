"""Connections whose clients read slowly, or stop."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("uvicorn")

import uvicorn

from seqgen.server import connections

SIZE = 30_000_000  # bytes of the answer
BUFFER = 1 << 18  # bytes that the system keeps at either end, so that what the client reads shows soon


async def large_answer(scope: Any, receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(SIZE).encode())]})
    await send({"type": "http.response.body", "body": bytes(SIZE)})


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        config = uvicorn.Config(large_answer, log_config=None, lifespan="off", ws="none", http=connections.Connection)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = server.force_exit = True
        thread.join()


def ask(port: int) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    connection.connect(("127.0.0.1", port))
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return connection


def test_connection_whose_client_reads_slowly_gets_the_whole_answer(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", 0.5)
    began, read = time.monotonic(), 0
    with ask(port) as connection:
        while part := connection.recv(1 << 16):
            read += len(part)
            time.sleep(0.004)
    assert read > SIZE
    assert time.monotonic() - began > 3 * connections.READ_SECONDS  # it was slow indeed


def test_connection_whose_client_stops_reading_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", 0.2)
    with ask(port) as connection:
        read = 0
        while read < SIZE // 10:
            read += len(connection.recv(1 << 16))
        time.sleep(1)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                read += len(part)
    assert read < SIZE
