"""A file server on 127.0.0.1."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from tests.helpers.catalogue import FileServer, QuietServer


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "*")
    file_server = FileServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file_server.answer(self)

        def log_message(self, *_: object) -> None: ...

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        file_server.url = f"http://127.0.0.1:{server.server_port}"
        yield file_server
        file_server.closing.set()
        server.shutdown()
        thread.join()
