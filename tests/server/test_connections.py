"""Connections whose clients read slowly, or stop; too many of them; those that come while the server ends; its log."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")

import uvicorn

from seqgen.generation.batching import RunningBatch
from seqgen.server import connections, run
from tests.helpers.random_models import Models
from tests.helpers.server import serving
from tests.helpers.server_process import server_process
from tests.helpers.waiting import eventually

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


@pytest.fixture
def text_model(models: Models) -> Path:
    return models("char", num_layers=2)


def test_health_is_503_for_new_connections_while_what_has_begun_ends(
    text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, released = RunningBatch.advance, threading.Event()
    monkeypatch.setattr(RunningBatch, "advance", lambda *given: released.wait(20) and advance(*given))
    with serving([text_model]) as served:
        batch = served.state.models.find(text_model.name).worker._batch
        with served.send("/v1/completions", {"length": 20, "stream": True}) as connection:
            assert eventually(lambda: len(batch) == 1)
            served.server.should_exit = True
            assert eventually(lambda: served.ask("/health").status == 503)
            assert served.ask("/health").json == {"status": "draining"}
            assert "shutting down" in served.ask("/v1/models").message
            released.set()
            received = b""
            while part := connection.recv(1 << 16):
                received += part
        assert b"data: [DONE]" in received
        assert eventually(lambda: not is_listening(served.port))


def is_listening(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_connections_beyond_the_descriptors_of_the_process_are_refused(text_model: Path) -> None:
    import resource

    with server_process([text_model]) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (256, 256))
        with contextlib.ExitStack() as stack:
            for _ in range(290):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            last = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            assert last.recv(1000).startswith(b"HTTP/1.1 503 ")
        assert eventually(lambda: answers_well(server.port))
    assert not server.tracebacks and "accept" not in "".join(server.log)


def answers_well(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_descriptors_are_raised_to_what_the_most_connections_need(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.append(given))
    most: list[int] = []
    for soft, hard in ((1024, 524_288), (256, resource.RLIM_INFINITY), (256, 1024), (4096, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, given=(soft, hard): given)
        connections.raise_descriptor_limit()
        most.append(connections.most_connections())
    assert limits == [(2304, 524_288), (2304, resource.RLIM_INFINITY), (1024, 1024)]
    assert most == [768, 128, 128, 2048]


def test_log_has_errors_of_the_libraries_as_its_own_lines(text_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with run._logged(lines.append):
        with serving([text_model]) as served, socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(b"\x01\x02\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
        assert lines == []
        logging.getLogger("asyncio").error("no accept\nsocket: 3", exc_info=OSError(24, "Too many open files"))
        assert lines == ["no accept: Too many open files"]
        logging.getLogger("uvicorn.error").error("It failed\n", exc_info=ValueError("x"))
        assert lines[1:] == ["It failed", "ValueError: x"]
    assert capfd.readouterr().err == ""
