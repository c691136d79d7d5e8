"""A server in this process, and requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from seqgen.server import run
from seqgen.server.models import ServedModels
from seqgen.server.state import ServerState

JSON = {"content-type": "application/json"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["error"]["message"])

    @property
    def events(self) -> list[Any]:
        """The objects of a stream, which must end as it should."""
        *lines, last = [line.removeprefix("data: ") for line in self.body.decode().split("\n\n") if line]
        assert last == "[DONE]", last
        return [json.loads(line) for line in lines]


@dataclass
class Served:
    port: int
    state: ServerState
    server: uvicorn.Server

    def ask(
        self, path: str, body: Any = None, method: str | None = None, data: bytes | None = None, **headers: str
    ) -> Answer:
        """Send an object, or bytes as they are, and return the whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = data if data is not None else None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        method = method or ("GET" if sent is None else "POST")
        connection.request(method, path, sent, {**(JSON if sent is not None else {}), **named})
        answer = connection.getresponse()
        found = Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        connection.close()
        return found

    def send(self, path: str, body: Any) -> socket.socket:
        """Send an object, and return the connection before its answer comes."""
        data, connection = json.dumps(body).encode(), socket.create_connection(("127.0.0.1", self.port))
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON['content-type']}\r\n"
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        return connection


@contextlib.contextmanager
def serving(
    models: Sequence[Path], timeout: float = 60, keys: frozenset[str] = frozenset(), page: bool = True
) -> Iterator[Served]:
    """Serve these models for the length of a `with` block."""
    state = ServerState(ServedModels([str(path) for path in models]), timeout, keys, page)
    listening = run._listen("127.0.0.1", 0)
    server = run.make_server(state, drain_seconds=5)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Served(listening.getsockname()[1], state, server)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        state.stop()
