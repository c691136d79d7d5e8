"""Downloads from a local server: verified, resumed, unpacked and refused."""

from __future__ import annotations

import contextlib
import io
import socket
import stat
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from seqgen.corpus.catalogue import download
from seqgen.corpus.catalogue.entries import CatalogueEntry
from seqgen.corpus.catalogue.fetch import materialise
from seqgen.errors import UserError
from tests.helpers.catalogue import BODY, LOCAL, FileServer, entry_of, sha256

# ---- Downloads ----


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def interrupted_at(offset: int) -> Callable[[int, int | None], None]:
    def progress(done: int, total: int | None) -> None:
        if done >= offset:
            raise KeyboardInterrupt

    return progress


def test_download_is_verified_reported_and_not_repeated(file_server: FileServer, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    paths = materialise(entry_of(file_server), tmp_path, lambda *step: steps.append(step))
    assert paths == [tmp_path / "far" / "corpus.txt"]
    assert paths[0].read_bytes() == BODY
    assert steps == sorted(steps)
    assert steps[-1] == (len(BODY), len(BODY))
    assert names(tmp_path / "far") == {"corpus.txt", "corpus.txt.json"}
    assert materialise(entry_of(file_server), tmp_path) == paths
    assert file_server.asked == [("/corpus.txt", None)]


def test_download_of_an_empty_file_without_checksum_succeeds(file_server: FileServer, tmp_path: Path) -> None:
    file_server.body = b""
    [path] = materialise(entry_of(file_server, sha256=None, bytes=None), tmp_path)
    assert path.read_bytes() == b""


def test_download_follows_a_redirect(file_server: FileServer, tmp_path: Path) -> None:
    file_server.redirect = "/corpus.txt"
    [path] = materialise(entry_of(file_server, address=f"{file_server.url}/elsewhere"), tmp_path)
    assert path.read_bytes() == BODY
    assert path.name == "elsewhere"


@pytest.mark.parametrize("offset", ["http://example.org/corpus.txt", "ftp://example.org/x", "file:///etc/passwd"])
def test_download_refuses_a_redirect_away_from_https(file_server: FileServer, tmp_path: Path, offset: str) -> None:
    file_server.redirect = offset
    with pytest.raises(UserError, match=r"only https|is not allowed"):  # the latter is urllib's own refusal
        materialise(entry_of(file_server, address=f"{file_server.url}/elsewhere"), tmp_path)


def test_download_refuses_a_redirect_from_https_to_this_machine(file_server: FileServer) -> None:
    outside = urllib.request.Request("https://example.org/corpus.txt")
    answer = io.BytesIO()
    with pytest.raises(UserError, match=r"refusing to follow example\.org"):
        download._SafeRedirects().redirect_request(outside, answer, 302, "Found", {}, f"{file_server.url}/corpus.txt")
    assert answer.closed


@pytest.mark.parametrize("address", ["file:///etc/passwd", "http://example.org/a.txt", "ftp://example.org/a", "a.txt"])
def test_download_refuses_addresses_other_than_https(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only https"):
        materialise(replace(LOCAL, file=None, address=address), tmp_path)
    assert not names(tmp_path)


@pytest.mark.parametrize("version", [{"tag": '"one"'}, {"tag": 'W/"one"', "changed": "Sun, 01 Jun 2025 00:00:00 GMT"}])
def test_download_after_an_interruption_resumes(
    file_server: FileServer, tmp_path: Path, version: dict[str, str]
) -> None:
    file_server.tag, file_server.changed = version["tag"], version.get("changed")
    with pytest.raises(KeyboardInterrupt):
        materialise(entry_of(file_server), tmp_path, interrupted_at(1000))
    part = tmp_path / "far" / "corpus.txt.part"
    partial_size = part.stat().st_size
    assert 1000 <= partial_size < len(BODY)
    file_server.sent.clear()
    steps: list[tuple[int, int | None]] = []
    [path] = materialise(entry_of(file_server), tmp_path, lambda *step: steps.append(step))
    assert path.read_bytes() == BODY
    assert file_server.asked[-1] == ("/corpus.txt", f"bytes={partial_size}-")
    assert file_server.sent == [len(BODY) - partial_size]
    assert steps[0][0] > partial_size
    assert steps[-1] == (len(BODY), len(BODY))
    assert names(tmp_path / "far") == {"corpus.txt", "corpus.txt.json"}


@pytest.mark.parametrize("obeys", [True, False])
def test_download_of_a_file_that_changed_meanwhile_starts_again(
    file_server: FileServer, tmp_path: Path, obeys: bool
) -> None:
    with pytest.raises(KeyboardInterrupt):
        materialise(entry_of(file_server), tmp_path, interrupted_at(1000))
    file_server.body, file_server.tag, file_server.obeys_if_range = BODY.upper(), '"two"', obeys
    [path] = materialise(entry_of(file_server), tmp_path)
    assert path.read_bytes() == BODY.upper()


def test_download_from_a_server_without_ranges_starts_again(file_server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        materialise(entry_of(file_server), tmp_path, interrupted_at(1000))
    file_server.knows_ranges, file_server.tag = False, None
    with pytest.raises(KeyboardInterrupt):
        materialise(entry_of(file_server), tmp_path, interrupted_at(1000))
    assert file_server.asked[-1][1] is not None
    [path] = materialise(entry_of(file_server), tmp_path)
    assert file_server.asked[-1][1] is None  # the partial file may be of another version
    assert path.read_bytes() == BODY


def test_download_with_a_partial_file_longer_than_the_file_starts_again(
    file_server: FileServer, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        materialise(entry_of(file_server), tmp_path, interrupted_at(1000))
    (tmp_path / "far" / "corpus.txt.part").write_bytes(BODY * 2)
    [path] = materialise(entry_of(file_server), tmp_path)
    assert path.read_bytes() == BODY


def test_download_over_a_broken_connection_keeps_the_partial_file(file_server: FileServer, tmp_path: Path) -> None:
    file_server.stops_after = 500_000
    with pytest.raises(UserError, match=r"broke after 500,000 of 1,500,000 bytes; try again, or download http"):
        materialise(entry_of(file_server), tmp_path)
    assert names(tmp_path / "far") == {"corpus.txt.part", "corpus.txt.part.json"}
    file_server.stops_after = None
    [path] = materialise(entry_of(file_server), tmp_path)
    assert path.read_bytes() == BODY
    assert file_server.sent == [500_000, len(BODY) - 500_000]


def test_download_with_a_wrong_checksum_keeps_nothing(file_server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"its sha256 is {sha256(BODY)} instead of 000"):
        materialise(entry_of(file_server, sha256="0" * 64), tmp_path)
    assert not names(tmp_path / "far")


def test_download_with_a_wrong_size_fails_before_any_data(file_server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 1,500,000 bytes instead of 5"):
        materialise(entry_of(file_server, bytes=5), tmp_path)
    assert not names(tmp_path / "far")


def test_download_of_a_missing_file_raises_host_reason_and_remedy(file_server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answers 404 Not Found") as caught:
        materialise(entry_of(file_server, address=f"{file_server.url}/gone.txt"), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert file_server.url.removeprefix("http://") in message
    assert str(tmp_path / "far" / "gone.txt") in message


def test_download_that_fails_while_resuming_raises(file_server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        materialise(entry_of(file_server), tmp_path, interrupted_at(1000))
    file_server.answer = lambda handler: handler.send_error(503)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="answers 503"):
        materialise(entry_of(file_server), tmp_path)
    assert "corpus.txt.part" in names(tmp_path / "far")


def test_download_with_a_refused_connection_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with contextlib.closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/corpus.txt"
        with pytest.raises(UserError, match=r"from 127\.0\.0\.1:\d+: Connection refused; try again"):
            materialise(replace(LOCAL, file=None, address=address), tmp_path)


@pytest.mark.parametrize("offset", [0, 300_000])
def test_download_from_a_server_that_stalls_times_out(file_server: FileServer, tmp_path: Path, offset: int) -> None:
    file_server.stalls_after = offset
    with pytest.raises(UserError, match=r"silent for 0\.2 seconds"):
        materialise(entry_of(file_server), tmp_path, timeout=0.2)
    assert (tmp_path / "far" / "corpus.txt.part").stat().st_size == offset


def test_download_from_a_server_that_never_answers_times_out(file_server: FileServer, tmp_path: Path) -> None:
    file_server.answer = lambda _: file_server.closing.wait(20)  # type: ignore[method-assign, assignment]
    with pytest.raises(UserError, match=r"silent for 0\.2 seconds"):
        materialise(entry_of(file_server), tmp_path, timeout=0.2)


def test_materialise_with_a_file_put_there_by_hand_verifies_it(file_server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "far" / "corpus.txt"
    target.parent.mkdir()
    target.write_bytes(b"something else")
    with pytest.raises(UserError, match="is not the corpus 'far': it has 14 bytes instead of"):
        materialise(entry_of(file_server), tmp_path)
    with pytest.raises(UserError, match="is not the corpus 'far': its sha256 is"):
        materialise(entry_of(file_server, bytes=None), tmp_path)
    target.write_bytes(BODY)
    assert materialise(entry_of(file_server), tmp_path) == [target]
    assert not file_server.asked


def test_materialise_with_a_damaged_or_outdated_file_downloads_again(file_server: FileServer, tmp_path: Path) -> None:
    [path] = materialise(entry_of(file_server), tmp_path)
    path.write_bytes(BODY[:-1])  # damaged
    materialise(entry_of(file_server), tmp_path)
    assert path.read_bytes() == BODY
    file_server.body = BODY.upper()  # the catalogue names another version
    materialise(entry_of(file_server), tmp_path)
    assert path.read_bytes() == BODY.upper()
    assert len(file_server.asked) == 3


def test_materialise_in_an_unwritable_cache_raises(file_server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot store 'far' in"):
        materialise(entry_of(file_server), tmp_path / "file")


def test_materialise_by_concurrent_threads_downloads_once(file_server: FileServer, tmp_path: Path) -> None:
    found: list[list[Path]] = []
    threads = [
        threading.Thread(target=lambda: found.append(materialise(entry_of(file_server), tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[tmp_path / "far" / "corpus.txt"]] * 4
    assert len(file_server.asked) == 1


# ---- Archives ----


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


def packed_entry(file_server: FileServer, archive_type: str, body: bytes, member: str | None = None) -> CatalogueEntry:
    file_server.body = body
    return entry_of(file_server, archive=archive_type, member=member)


@pytest.mark.parametrize("archive_type", PACKERS)
def test_unpack_writes_the_selected_members_once(file_server: FileServer, tmp_path: Path, archive_type: str) -> None:
    entry = packed_entry(file_server, archive_type, PACKERS[archive_type](*FILES), "train/*.txt")
    paths = materialise(entry, tmp_path)
    assert [path.read_bytes() for path in paths] == [b"ay", b"bee"]
    assert all(path.is_relative_to(tmp_path / "far") for path in paths)
    assert materialise(entry, tmp_path) == paths
    # Other members of the same download, then all.
    other = replace(entry, name="far-test", member="set/test/*", shares="far")
    assert [path.read_bytes() for path in materialise(other, tmp_path)] == [b"test"]
    assert len(materialise(replace(entry, member=None), tmp_path)) == 4
    assert len(file_server.asked) == 1


@pytest.mark.parametrize("archive_type", PACKERS)
@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt", "\\\\host\\evil.txt"]
)
def test_unpack_refuses_a_path_outside_the_folder(
    file_server: FileServer, tmp_path: Path, archive_type: str, name: str
) -> None:
    cache = tmp_path / "cache"
    entry = packed_entry(
        file_server, archive_type, PACKERS[archive_type](("good.txt", b"good"), (name, b"evil")), "*.txt"
    )
    with pytest.raises(UserError, match="refusing to unpack"):
        materialise(entry, cache)
    assert names(tmp_path) == {"cache"}
    assert names(cache / "far") == {"corpus.txt", "corpus.txt.json"}
    # A member that is not selected is never written.
    assert len(materialise(replace(entry, member="good.txt"), cache)) == 1


@pytest.mark.parametrize(
    "archive_type", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_unpack_refuses_links_and_devices_in_a_tar(
    file_server: FileServer, tmp_path: Path, archive_type: bytes
) -> None:
    info = tarfile.TarInfo("link.txt")
    info.type, info.linkname = archive_type, "good.txt"
    with pytest.raises(UserError, match=r"'link\.txt' is a link, a device or outside"):
        materialise(packed_entry(file_server, "tar", a_tar(("good.txt", b"good"), (info, b""))), tmp_path)
    assert names(tmp_path / "far") == {"corpus.txt", "corpus.txt.json"}


def test_unpack_refuses_links_in_a_zip(file_server: FileServer, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link.txt")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(UserError, match=r"'link\.txt' is a link"):
        materialise(packed_entry(file_server, "zip", a_zip((info, b"/etc/passwd"))), tmp_path)


@pytest.mark.parametrize("archive_type", PACKERS)
def test_unpack_refuses_a_decompression_bomb(
    file_server: FileServer, tmp_path: Path, archive_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = packed_entry(file_server, archive_type, PACKERS[archive_type](("bomb.txt", bytes(1 << 20)), ("b.txt", b"")))
    monkeypatch.setattr(download, "MAX_EXTRA_BYTES", 1000)
    with pytest.raises(UserError, match="decompresses to far more"):
        materialise(entry, tmp_path)
    assert names(tmp_path / "far") == {"corpus.txt", "corpus.txt.json"}
    monkeypatch.setattr(download, "MAX_EXTRA_BYTES", 1 << 30)
    assert len(materialise(entry, tmp_path)) == 2


def test_unpack_refuses_too_many_files(
    file_server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_MEMBERS", 3)
    with pytest.raises(UserError, match="decompresses to far more"):
        materialise(packed_entry(file_server, "zip", a_zip(*FILES)), tmp_path)


@pytest.mark.parametrize("archive_type", PACKERS)
def test_unpack_of_a_damaged_archive_raises(file_server: FileServer, tmp_path: Path, archive_type: str) -> None:
    whole = PACKERS[archive_type](("noise.txt", BODY))
    for damaged in (b"not an archive", whole[: len(whole) // 2], whole[:200] + bytes(200) + whole[400:]):
        cache = tmp_path / sha256(damaged)
        with pytest.raises(UserError, match=r"cannot (unpack|read)") as caught:
            materialise(packed_entry(file_server, archive_type, damaged), cache)
        assert "\n" not in str(caught.value)
        assert names(cache / "far") == {"corpus.txt", "corpus.txt.json"}


def test_unpack_without_selected_members_raises(file_server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no \*\.mid"):
        materialise(packed_entry(file_server, "zip", a_zip(*FILES), "*.mid"), tmp_path)
