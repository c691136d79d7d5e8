"""The catalogue is well formed, and what it fetches arrives whole, once, and harmless. No network but 127.0.0.1."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import http.server
import io
import json
import re
import socket
import stat
import sys
import sysconfig
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from seqgen.corpus.catalogue import download
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.catalogue.entries import CatalogueEntry, materialise
from seqgen.errors import SeqgenError, UserError

ENTRIES = catalogue.load()
BODY = b"".join(b"line %07d of a corpus\n" % number for number in range(60_000))  # 1.5 MB: several reads


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- The catalogue itself ----


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_every_entry_is_well_formed(entry: CatalogueEntry) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)
    assert entry.task in catalogue.TASKS
    assert entry.language in ("", "en", "zh")
    for words in (entry.title, entry.licence, entry.citation, entry.split):
        assert words.strip() == words != ""
        assert "\n" not in words
    assert entry.format in ("text", "csv", "tsv", "json", "jsonl", "yaml", "midi")
    assert entry.archive in (None, "zip", "tar")
    assert (entry.archive is None) == (entry.member is None)
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.bytes is None or entry.bytes > 0
    assert entry.address is None or re.fullmatch(r"https://[\w.-]+/\S+", entry.address)
    if entry.task == "classify":
        assert {"label_column", "label_from"} & set(entry.hints)
    if entry.task == "forecast":
        assert "target" in entry.hints


def test_the_catalogue_is_wide_enough() -> None:
    public = [entry for entry in ENTRIES.values() if entry.address and not entry.shares]
    tasks = collections.Counter(entry.task for entry in public)
    assert len(public) >= 25
    assert all(tasks[task] >= 5 for task in catalogue.TASKS)
    assert sum(entry.sha256 is not None for entry in public) >= 25
    for task in ("text", "dialogue", "classify"):
        assert {entry.language for entry in public if entry.task == task} >= {"en", "zh"}


def test_an_address_is_given_twice_only_to_share_its_download() -> None:
    first: dict[str, CatalogueEntry] = {}
    for entry in ENTRIES.values():
        if entry.address is None:
            continue
        other = first.setdefault(entry.address, entry)
        assert entry.shares == (None if other is entry else other.name)
        assert (entry.sha256, entry.bytes, entry.archive) == (other.sha256, other.bytes, other.archive)


def test_packaged_and_builtin_entries_are_there(tmp_path: Path) -> None:
    for entry in ENTRIES.values():
        if entry.address is None:
            assert all(path.stat().st_size for path in materialise(entry, tmp_path))


def test_an_unknown_name_suggests_the_nearest() -> None:
    assert catalogue.find("tinyshakespeare").task == "text"
    with pytest.raises(UserError, match="did you mean 'tinyshakespeare'"):
        catalogue.find("tiny_shakespear")
    with pytest.raises(UserError, match="seqgen corpora"):
        catalogue.find("qqqqqqqqqqqq")


WHOLE = 'name = "a"\ntask = "text"\ntitle = "t"\nlicence = "l"\ncitation = "c"\nsplit = "s"\nformat = "text"\n'


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        (WHOLE + 'file = "f"\ncolour = "red"\n', "'a' is malformed"),
        ('name = "b"\nfile = "f"\n', "'b' is malformed"),
        (WHOLE, "one of address, file and builtin"),
        (WHOLE + 'file = "f"\nbuiltin = "g"\n', "one of address, file and builtin"),
        (WHOLE + f'file = "f"\n[[corpus]]\n{WHOLE}file = "f"\n', "two corpora called 'a'"),
    ],
)
def test_a_malformed_catalogue_is_refused(tables: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text("[[corpus]]\n" + tables)
    with pytest.raises(SeqgenError, match=complaint):
        catalogue.load(path)


def test_the_catalogue_is_found_in_a_checkout_and_in_an_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "seqgen"
    monkeypatch.setattr(catalogue, "__file__", str(package / "corpus" / "catalogue" / "entries.py"))
    with pytest.raises(SeqgenError, match="install seqgen again"):
        catalogue.corpora_folder()
    for folder in (tmp_path / "corpora", package / "_corpora"):  # the installed one wins
        folder.mkdir(parents=True)
        (folder / "catalog.toml").touch()
        assert catalogue.corpora_folder() == folder


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "own"))
    assert catalogue.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("SEQGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert catalogue.cache_folder() == tmp_path / "seqgen"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert catalogue.cache_folder() == tmp_path / ".cache" / "seqgen"

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError, match="set SEQGEN_CACHE"):
        catalogue.cache_folder()


# ---- What is here already ----

LOCAL = CatalogueEntry("own", "text", "t", "MIT", "c", "s", "text", file="tales")


def test_a_packaged_corpus_is_a_file_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "corpora_folder", lambda: tmp_path)
    with pytest.raises(SeqgenError, match="tales' is missing"):
        materialise(LOCAL, tmp_path / "cache")
    tales = tmp_path / "tales"
    (tales / "sub").mkdir(parents=True)
    (tales / "b.txt").touch()
    (tales / "sub" / "a.txt").touch()
    assert materialise(LOCAL, tmp_path / "cache") == [tales / "b.txt", tales / "sub" / "a.txt"]
    assert materialise(replace(LOCAL, file="tales/b.txt"), tmp_path / "cache") == [tales / "b.txt"]
    assert not (tmp_path / "cache").exists()


def test_python_topics_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalogue.find("python-topics")
    [path] = materialise(entry, tmp_path)
    assert 'The "if" statement' in path.read_text("utf-8")
    written = path.stat().st_mtime_ns
    assert materialise(entry, tmp_path) == [path]
    assert path.stat().st_mtime_ns == written
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)  # makes its import fail
    with pytest.raises(UserError, match="without pydoc_data"):
        materialise(entry, tmp_path / "elsewhere")


def test_python_stdlib_is_read_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = materialise(catalogue.find("python-stdlib"), tmp_path)
    assert paths == sorted(paths)
    assert Path(json.__file__) in paths
    assert not any({"test", "tests", "idlelib", "site-packages"} & set(path.parts) for path in paths)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(UserError, match="without the source files"):
        materialise(catalogue.find("python-stdlib"), tmp_path)


# ---- What is fetched ----


@dataclass
class Shelf:
    """A server of one file at `/corpus.txt`, whose manners can be changed."""

    body: bytes = BODY
    tag: str | None = '"one"'
    changed: str | None = None  # Last-Modified
    knows_ranges: bool = True
    obeys_if_range: bool = True
    stops_after: int | None = None  # bytes; then the connection is closed
    stalls_after: int | None = None  # bytes; then nothing more comes
    redirect: str | None = None  # where `/elsewhere` leads
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
        ends = [place for place in (self.stops_after, self.stalls_after) if place is not None]
        part = self.body[start : min(ends, default=None)]
        self.sent.append(len(part))  # before a client that goes away can be asked about
        handler.wfile.write(part)
        if self.stalls_after is not None:
            handler.wfile.flush()
            self.closing.wait(20)


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of the tests."""


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("no_proxy", "*")
    shelf = Shelf()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shelf.answer(self)

        def log_message(self, *_: object) -> None: ...

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        shelf.url = f"http://127.0.0.1:{server.server_port}"
        yield shelf
        shelf.closing.set()
        server.shutdown()
        thread.join()


def public(shelf: Shelf, **changes: object) -> CatalogueEntry:
    """An entry for the shelf's file, checksum and size known."""
    entry = CatalogueEntry("far", "text", "t", "MIT", "c", "s", "text", address=f"{shelf.url}/corpus.txt")
    entry = replace(entry, sha256=sha256(shelf.body), bytes=len(shelf.body))
    return replace(entry, **changes)  # type: ignore[arg-type]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def interrupted_at(place: int) -> Callable[[int, int | None], None]:
    def progress(done: int, total: int | None) -> None:
        if done >= place:
            raise KeyboardInterrupt

    return progress


def test_a_download_is_checked_told_of_and_not_repeated(shelf: Shelf, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    paths = materialise(public(shelf), tmp_path, lambda *step: steps.append(step))
    assert paths == [tmp_path / "far" / "corpus.txt"]
    assert paths[0].read_bytes() == BODY
    assert steps == sorted(steps)
    assert steps[-1] == (len(BODY), len(BODY))
    assert names(tmp_path / "far") == {"corpus.txt", "corpus.txt.json"}
    assert materialise(public(shelf), tmp_path) == paths
    assert shelf.asked == [("/corpus.txt", None)]


def test_an_empty_file_and_an_unknown_checksum_are_fine(shelf: Shelf, tmp_path: Path) -> None:
    shelf.body = b""
    [path] = materialise(public(shelf, sha256=None, bytes=None), tmp_path)
    assert path.read_bytes() == b""


def test_a_redirect_is_followed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.redirect = "/corpus.txt"
    [path] = materialise(public(shelf, address=f"{shelf.url}/elsewhere"), tmp_path)
    assert path.read_bytes() == BODY
    assert path.name == "elsewhere"


@pytest.mark.parametrize("place", ["http://example.org/corpus.txt", "ftp://example.org/x", "file:///etc/passwd"])
def test_a_redirect_away_from_https_is_refused(shelf: Shelf, tmp_path: Path, place: str) -> None:
    shelf.redirect = place
    with pytest.raises(UserError, match=r"only https|is not allowed"):  # the latter is urllib's own refusal
        materialise(public(shelf, address=f"{shelf.url}/elsewhere"), tmp_path)


def test_a_redirect_from_https_into_this_machine_is_refused(shelf: Shelf) -> None:
    outside = urllib.request.Request("https://example.org/corpus.txt")
    answer = io.BytesIO()
    with pytest.raises(UserError, match=r"refusing to follow example\.org"):
        download._SafeRedirects().redirect_request(outside, answer, 302, "Found", {}, f"{shelf.url}/corpus.txt")
    assert answer.closed


@pytest.mark.parametrize("address", ["file:///etc/passwd", "http://example.org/a.txt", "ftp://example.org/a", "a.txt"])
def test_only_https_is_trusted(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only https"):
        materialise(replace(LOCAL, file=None, address=address), tmp_path)
    assert not names(tmp_path)


@pytest.mark.parametrize("version", [{"tag": '"one"'}, {"tag": 'W/"one"', "changed": "Sun, 01 Jun 2025 00:00:00 GMT"}])
def test_an_interrupted_download_goes_on_where_it_stopped(
    shelf: Shelf, tmp_path: Path, version: dict[str, str]
) -> None:
    shelf.tag, shelf.changed = version["tag"], version.get("changed")
    with pytest.raises(KeyboardInterrupt):
        materialise(public(shelf), tmp_path, interrupted_at(1000))
    part = tmp_path / "far" / "corpus.txt.part"
    kept = part.stat().st_size
    assert 1000 <= kept < len(BODY)
    shelf.sent.clear()
    steps: list[tuple[int, int | None]] = []
    [path] = materialise(public(shelf), tmp_path, lambda *step: steps.append(step))
    assert path.read_bytes() == BODY
    assert shelf.asked[-1] == ("/corpus.txt", f"bytes={kept}-")
    assert shelf.sent == [len(BODY) - kept]
    assert steps[0][0] > kept
    assert steps[-1] == (len(BODY), len(BODY))
    assert names(tmp_path / "far") == {"corpus.txt", "corpus.txt.json"}


@pytest.mark.parametrize("obeys", [True, False])
def test_a_file_that_changed_in_between_is_fetched_anew(shelf: Shelf, tmp_path: Path, obeys: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        materialise(public(shelf), tmp_path, interrupted_at(1000))
    shelf.body, shelf.tag, shelf.obeys_if_range = BODY.upper(), '"two"', obeys
    [path] = materialise(public(shelf), tmp_path)
    assert path.read_bytes() == BODY.upper()


def test_a_server_without_ranges_or_versions_sends_all_again(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        materialise(public(shelf), tmp_path, interrupted_at(1000))
    shelf.knows_ranges, shelf.tag = False, None
    with pytest.raises(KeyboardInterrupt):
        materialise(public(shelf), tmp_path, interrupted_at(1000))
    assert shelf.asked[-1][1] is not None
    [path] = materialise(public(shelf), tmp_path)
    assert shelf.asked[-1][1] is None  # what there is can't be told from another version
    assert path.read_bytes() == BODY


def test_a_part_that_is_longer_than_the_file_is_dropped(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        materialise(public(shelf), tmp_path, interrupted_at(1000))
    (tmp_path / "far" / "corpus.txt.part").write_bytes(BODY * 2)
    [path] = materialise(public(shelf), tmp_path)
    assert path.read_bytes() == BODY


def test_a_broken_connection_keeps_what_has_come(shelf: Shelf, tmp_path: Path) -> None:
    shelf.stops_after = 500_000
    with pytest.raises(UserError, match=r"broke after 500,000 of 1,500,000 bytes; try again, or fetch http"):
        materialise(public(shelf), tmp_path)
    assert names(tmp_path / "far") == {"corpus.txt.part", "corpus.txt.part.json"}
    shelf.stops_after = None
    [path] = materialise(public(shelf), tmp_path)
    assert path.read_bytes() == BODY
    assert shelf.sent == [500_000, len(BODY) - 500_000]


def test_a_wrong_checksum_keeps_nothing(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"its sha256 is {sha256(BODY)} instead of 000"):
        materialise(public(shelf, sha256="0" * 64), tmp_path)
    assert not names(tmp_path / "far")


def test_a_wrong_size_is_seen_before_anything_is_fetched(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 1,500,000 bytes instead of 5"):
        materialise(public(shelf, bytes=5), tmp_path)
    assert not names(tmp_path / "far")


def test_a_missing_file_is_one_line_with_host_reason_and_way_out(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answers 404 Not Found") as caught:
        materialise(public(shelf, address=f"{shelf.url}/gone.txt"), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert shelf.url.removeprefix("http://") in message
    assert str(tmp_path / "far" / "gone.txt") in message


def test_a_server_that_fails_while_resuming_is_reported(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        materialise(public(shelf), tmp_path, interrupted_at(1000))
    shelf.answer = lambda handler: handler.send_error(503)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="answers 503"):
        materialise(public(shelf), tmp_path)
    assert "corpus.txt.part" in names(tmp_path / "far")


def test_a_refused_connection_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/corpus.txt"
        with pytest.raises(UserError, match=r"from 127\.0\.0\.1:\d+: Connection refused; try again"):
            materialise(replace(LOCAL, file=None, address=address), tmp_path)


@pytest.mark.parametrize("place", [0, 300_000])
def test_a_silent_server_is_not_waited_for(shelf: Shelf, tmp_path: Path, place: int) -> None:
    shelf.stalls_after = place
    with pytest.raises(UserError, match=r"silent for 0\.2 seconds"):
        materialise(public(shelf), tmp_path, timeout=0.2)
    assert (tmp_path / "far" / "corpus.txt.part").stat().st_size == place


def test_a_server_that_never_answers_is_not_waited_for(shelf: Shelf, tmp_path: Path) -> None:
    shelf.answer = lambda _: shelf.closing.wait(20)  # type: ignore[method-assign, assignment]
    with pytest.raises(UserError, match=r"silent for 0\.2 seconds"):
        materialise(public(shelf), tmp_path, timeout=0.2)


def test_a_file_put_there_by_hand_is_checked_and_taken(shelf: Shelf, tmp_path: Path) -> None:
    target = tmp_path / "far" / "corpus.txt"
    target.parent.mkdir()
    target.write_bytes(b"something else")
    with pytest.raises(UserError, match="is not the corpus 'far': it has 14 bytes instead of"):
        materialise(public(shelf), tmp_path)
    with pytest.raises(UserError, match="is not the corpus 'far': its sha256 is"):
        materialise(public(shelf, bytes=None), tmp_path)
    target.write_bytes(BODY)
    assert materialise(public(shelf), tmp_path) == [target]
    assert not shelf.asked


def test_a_cached_file_that_no_longer_fits_is_fetched_again(shelf: Shelf, tmp_path: Path) -> None:
    [path] = materialise(public(shelf), tmp_path)
    path.write_bytes(BODY[:-1])  # damaged
    materialise(public(shelf), tmp_path)
    assert path.read_bytes() == BODY
    shelf.body = BODY.upper()  # the catalogue names another version
    materialise(public(shelf), tmp_path)
    assert path.read_bytes() == BODY.upper()
    assert len(shelf.asked) == 3


def test_an_unwritable_cache_is_reported(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot keep 'far' in"):
        materialise(public(shelf), tmp_path / "file")


def test_two_at_once_fetch_it_once(shelf: Shelf, tmp_path: Path) -> None:
    found: list[list[Path]] = []
    threads = [threading.Thread(target=lambda: found.append(materialise(public(shelf), tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[tmp_path / "far" / "corpus.txt"]] * 4
    assert len(shelf.asked) == 1


# ---- What is unpacked ----


def a_zip(*files: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    with io.BytesIO() as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in files:
                packed.writestr(name, data)
        return stream.getvalue()


def a_tar(*files: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w:gz") as packed:
            for name, data in files:
                info = tarfile.TarInfo(name) if isinstance(name, str) else name
                info.size = len(data)
                packed.addfile(info, io.BytesIO(data))
        return stream.getvalue()


PACKERS = {"zip": a_zip, "tar": a_tar}
FILES = [
    ("set/train/b.txt", b"bee"),
    ("set/train/a.txt", b"ay"),
    ("set/train/deep/c.txt", b"sea"),
    ("set/test/a.txt", b"test"),
    ("__MACOSX/set/train/a.txt", b"junk"),
    ("set/train/._a.txt", b"junk"),
]


def packed_entry(shelf: Shelf, kind: str, body: bytes, member: str | None = None) -> CatalogueEntry:
    shelf.body = body
    return public(shelf, archive=kind, member=member)


@pytest.mark.parametrize("kind", PACKERS)
def test_the_members_that_count_are_unpacked_once(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    entry = packed_entry(shelf, kind, PACKERS[kind](*FILES), "train/*.txt")
    paths = materialise(entry, tmp_path)
    assert [path.read_bytes() for path in paths] == [b"ay", b"bee"]
    assert all(path.is_relative_to(tmp_path / "far") for path in paths)
    assert materialise(entry, tmp_path) == paths
    # Another part of the same download, and then all of it.
    other = replace(entry, name="far-test", member="set/test/*", shares="far")
    assert [path.read_bytes() for path in materialise(other, tmp_path)] == [b"test"]
    assert len(materialise(replace(entry, member=None), tmp_path)) == 4
    assert len(shelf.asked) == 1


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt", "\\\\host\\evil.txt"]
)
def test_a_path_out_of_the_archive_is_refused(shelf: Shelf, tmp_path: Path, kind: str, name: str) -> None:
    cache = tmp_path / "cache"
    entry = packed_entry(shelf, kind, PACKERS[kind](("good.txt", b"good"), (name, b"evil")), "*.txt")
    with pytest.raises(UserError, match="refusing to unpack"):
        materialise(entry, cache)
    assert names(tmp_path) == {"cache"}
    assert names(cache / "far") == {"corpus.txt", "corpus.txt.json"}
    # A member that does not count is never written, so it does no harm.
    assert len(materialise(replace(entry, member="good.txt"), cache)) == 1


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(shelf: Shelf, tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("link.txt")
    info.type, info.linkname = kind, "good.txt"
    with pytest.raises(UserError, match=r"'link\.txt' is a link, a device or outside"):
        materialise(packed_entry(shelf, "tar", a_tar(("good.txt", b"good"), (info, b""))), tmp_path)
    assert names(tmp_path / "far") == {"corpus.txt", "corpus.txt.json"}


def test_links_in_a_zip_are_refused(shelf: Shelf, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link.txt")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(UserError, match=r"'link\.txt' is a link"):
        materialise(packed_entry(shelf, "zip", a_zip((info, b"/etc/passwd"))), tmp_path)


@pytest.mark.parametrize("kind", PACKERS)
def test_an_archive_that_swells_too_far_is_refused(
    shelf: Shelf, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = packed_entry(shelf, kind, PACKERS[kind](("bomb.txt", bytes(1 << 20)), ("b.txt", b"")))
    monkeypatch.setattr(download, "MAX_EXTRA_BYTES", 1000)
    with pytest.raises(UserError, match="far larger than it looks"):
        materialise(entry, tmp_path)
    assert names(tmp_path / "far") == {"corpus.txt", "corpus.txt.json"}
    monkeypatch.setattr(download, "MAX_EXTRA_BYTES", 1 << 30)
    assert len(materialise(entry, tmp_path)) == 2


def test_an_archive_of_too_many_files_is_refused(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_MEMBERS", 3)
    with pytest.raises(UserError, match="far larger than it looks"):
        materialise(packed_entry(shelf, "zip", a_zip(*FILES)), tmp_path)


@pytest.mark.parametrize("kind", PACKERS)
def test_a_damaged_archive_is_reported(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    whole = PACKERS[kind](("noise.txt", BODY))
    for damaged in (b"not an archive", whole[: len(whole) // 2], whole[:200] + bytes(200) + whole[400:]):
        cache = tmp_path / sha256(damaged)
        with pytest.raises(UserError, match=r"cannot (unpack|read)") as caught:
            materialise(packed_entry(shelf, kind, damaged), cache)
        assert "\n" not in str(caught.value)
        assert names(cache / "far") == {"corpus.txt", "corpus.txt.json"}


def test_an_archive_without_the_members_is_reported(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \*\.mid"):
        materialise(packed_entry(shelf, "zip", a_zip(*FILES), "*.mid"), tmp_path)
