"""A local file server with configurable faults, and catalogue entries of its file."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from dataclasses import dataclass, field, replace

from seqgen.corpus.catalogue.entries import CatalogueEntry

BODY = b"".join(b"line %07d of a corpus\n" % number for number in range(60_000))  # 1.5 MB: several reads


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


LOCAL = CatalogueEntry("own", "text", "t", "MIT", "c", "s", "text", file="tales")


@dataclass
class FileServer:
    """A server of `/corpus.txt` whose headers and faults can be set."""

    body: bytes = BODY
    tag: str | None = '"one"'
    changed: str | None = None  # Last-Modified
    knows_ranges: bool = True
    obeys_if_range: bool = True
    stops_after: int | None = None  # bytes; then the connection is closed
    stalls_after: int | None = None  # bytes; then it sends nothing more
    redirect: str | None = None  # target of `/elsewhere`
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, and the Range header
    sent: list[int] = field(default_factory=list)  # bytes of each answer
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        ranged = handler.headers["Range"]
        self.asked.append((handler.path, ranged))
        if handler.path == "/elsewhere" and self.redirect:
            handler.send_response(302)
            handler.send_header("Location", self.redirect)
            handler.end_headers()
            return
        if handler.path != "/corpus.txt":
            handler.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", ranged)[1]) if ranged and self.knows_ranges else 0  # type: ignore[index]
        if self.obeys_if_range and handler.headers["If-Range"] not in (self.tag, self.changed):
            start = 0
        if start >= len(self.body) > 0:
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        for name, value in (("ETag", self.tag), ("Last-Modified", self.changed)):
            if value:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(self.body) - start))
        handler.end_headers()
        ends = [end for end in (self.stops_after, self.stalls_after) if end is not None]
        part = self.body[start : min(ends, default=None)]
        self.sent.append(len(part))  # first, since a client may disconnect
        handler.wfile.write(part)
        if self.stalls_after is not None:
            handler.wfile.flush()
            self.closing.wait(20)


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect, as some tests do."""


def entry_of(file_server: FileServer, **changes: object) -> CatalogueEntry:
    """A catalogue entry of the file, with its checksum and size."""
    entry = CatalogueEntry("far", "text", "t", "MIT", "c", "s", "text", address=f"{file_server.url}/corpus.txt")
    entry = replace(entry, sha256=sha256(file_server.body), bytes=len(file_server.body))
    return replace(entry, **changes)  # type: ignore[arg-type]
