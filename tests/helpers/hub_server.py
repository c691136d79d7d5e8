"""A local server that answers like the Hugging Face hub, errors included: datasets, and models, also pushed ones."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Repository:
    """A dataset or model: its files by revision, whether access is restricted, the names of truncated files, and
    whether others see it."""

    revisions: dict[str, dict[str, bytes]]
    gated: bool = False
    cut: set[str] = field(default_factory=set)
    private: bool = False

    def commit(self, revision: str) -> str | None:
        """Return the commit of a branch, a tag or a commit; None if there is none."""
        commits = {name: commit_of(files) for name, files in self.revisions.items()}
        if revision in commits.values():
            return revision
        return commits.get(revision)

    def files(self, commit: str) -> dict[str, bytes]:
        return next(files for files in self.revisions.values() if commit_of(files) == commit)


def commit_of(files: dict[str, bytes]) -> str:
    digest = hashlib.sha1()
    for name, data in sorted(files.items()):
        digest.update(name.encode() + b"\0" + data)
    return digest.hexdigest()


@dataclass
class Hub:
    """Repositories by name, the requests so far, (method, path), and what it says of any model instead of the truth."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""
    said: bytes | None = None


_API = re.compile(
    r"/api/(?:datasets|models)/(?P<name>[^/]+/[^/]+?)(?:/(?P<what>revision|tree|paths-info)/(?P<rest>.*))?"
)
_PUSH = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/(?P<what>preupload|commit)/main")
_FILE = re.compile(r"/(?:datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        if path == "/api/repos/create" or _PUSH.fullmatch(path):
            self._push(path, body)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif match := _FILE.fullmatch(path):
            self._file(match["name"], match["revision"], match["path"])
        elif match := _API.fullmatch(path):
            self._api(match["name"], match["what"], match["rest"] or "", body)
        else:
            self._fail(404, "EntryNotFound", "Not found")

    def _repository(self, name: str) -> Repository | None:
        found = self.hub.repositories.get(name)
        if found is None:
            self._fail(401, "RepoNotFound", "Invalid username or password.")  # the hub's answer without a login
        elif found.gated:
            self._fail(401, "GatedRepo", f"Access to dataset {name} is restricted.")
            return None
        return found

    def _push(self, path: str, body: bytes) -> None:
        """Make a repository, or commit files to it, for the holder of the token `hf_right`."""
        if self.headers.get("Authorization") != "Bearer hf_right":
            self._fail(401, "", "Invalid username or password.")
            return
        match = _PUSH.fullmatch(path)
        if match is None:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            private = asked.get("visibility") == "private" or bool(asked.get("private"))  # by the library's version
            self.hub.repositories.setdefault(name, Repository({"main": {}}, private=private))
            self._json({"url": f"{self.hub.address}/{name}", "private": private})
        elif match["what"] == "preupload":
            asked = json.loads(body)["files"]
            self._json({"files": [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in asked]})
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            files = self.hub.repositories[match["name"]].revisions["main"]
            files |= {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            for line in lines:
                if line["key"] == "deletedFile":
                    del files[line["value"]["path"]]
            commit = commit_of(files)
            self._json({"commitUrl": f"{self.hub.address}/{match['name']}/commit/{commit}", "commitOid": commit})

    def _api(self, name: str, what: str | None, rest: str, body: bytes) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        revision, _, inside = rest.partition("/")
        commit = repository.commit(revision or "main")
        if commit is None:
            self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = repository.files(commit)
        if what in (None, "revision"):
            siblings = [{"rfilename": path, "size": len(data)} for path, data in files.items()]
            about = {"id": name, "sha": commit, "siblings": siblings, "tags": [],
                     "private": repository.private, "gated": False}  # fmt: skip
            self._json(about, self.hub.said)
        elif what == "tree":
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            entries = _tree(files, inside, recursive)
            if entries is None:
                self._fail(404, "EntryNotFound", f"{inside} does not exist on {revision}")
            else:
                self._json(entries)
        else:
            wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
            everything = {entry["path"]: entry for entry in _tree(files, "", True) or []}
            self._json([everything[path] for path in wanted if path in everything])

    def _file(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        commit = repository.commit(revision)
        if commit is None:
            self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        data = repository.files(commit).get(path)
        if data is None:
            self._fail(404, "EntryNotFound", "Entry not found", commit)
            return
        start, stop, status = 0, len(data), 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, stop, status = int(match[1]), min(int(match[2] or len(data) - 1) + 1, len(data)), 206
        self.send_response(status)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.end_headers()
        if self.command != "HEAD":
            part = data[start:stop]
            if path in repository.cut:
                self.wfile.write(part[: len(part) // 2])
                self.close_connection = True
            else:
                self.wfile.write(part)

    def _json(self, value: Any, instead: bytes | None = None) -> None:
        data = json.dumps(value).encode() if instead is None else instead
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _fail(self, status: int, code: str, message: str, commit: str = "") -> None:
        data = json.dumps({"error": message}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _tree(files: dict[str, bytes], inside: str, recursive: bool) -> list[dict[str, Any]] | None:
    """The entries below a folder; None if there is no such folder."""
    prefix = f"{inside.strip('/')}/" if inside.strip("/") else ""
    below = [path for path in files if path.startswith(prefix)]
    if prefix and not below:
        return None
    entries: dict[str, dict[str, Any]] = {}
    for path in below:
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts)):
            folder = prefix + "/".join(parts[:depth])
            if recursive or depth == 1:
                entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
        if recursive or len(parts) == 1:
            oid = hashlib.sha1(files[path]).hexdigest()
            entries[path] = {"type": "file", "path": path, "oid": oid, "size": len(files[path])}
    return list(entries.values())


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` at `hub.address` for the length of a `with` block."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def hub_in_use(hub: Hub, cache: str) -> Iterator[None]:
    """Serve `hub` as the hub that the program knows, with this cache, whatever other tests have switched off."""
    from huggingface_hub import constants

    with serve(hub):
        own = {"HF_ENDPOINT": hub.address, "SEQGEN_CACHE": cache, "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0",
               "no_proxy": "127.0.0.1"}  # fmt: skip
        with mock.patch.dict(os.environ, own), mock.patch.object(constants, "HF_HUB_OFFLINE", False):
            yield
