"""Fetching a file of the catalogue: once, over https, whole and unharmed.

What a stranger's server sends is checked before it gets its name: size and sha256 where the catalogue knows them, and
every path inside an archive before a byte of it is written. A download that broke off goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.client
import json
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from seqgen.errors import UserError
from seqgen.streams import CHUNK_SIZE, PARTIAL_SUFFIX, read_chunks, reason, sync_folder, write_bytes

if TYPE_CHECKING:
    from seqgen.corpus.catalogue.entries import CatalogueEntry

try:
    import fcntl
except ImportError:  # not POSIX: two downloads at once are then the person's own affair
    fcntl = None  # type: ignore[assignment]

Progress = Callable[[int, int | None], None]

TIMEOUT = 30.0  # seconds without one byte; a slow server still answers within it, a dead one is not waited on for long
USER_AGENT = "seqgen"  # some hosts turn away the name that urllib gives itself
# A zip of a hundred kilobytes can unfold to gigabytes. Text shrinks at most some tenfold and annotated JSON thirtyfold,
# so honest archives stay far below a sum of both terms: the factor is for large ones, the constant for small ones.
MAX_EXPANSION_RATIO = 20
MAX_EXTRA_BYTES = 1 << 30
# What damaged archives make of their readers, from headers that say nonsense to folders where files should be.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, RuntimeError,
    ValueError, LookupError, OverflowError, struct.error, FileExistsError, NotADirectoryError, IsADirectoryError,
)  # fmt: skip
MAX_MEMBERS = 500_000  # files; IMDb, the fullest archive of the catalogue, has 100,000


def fetch(entry: CatalogueEntry, cache: Path, progress: Progress | None, timeout: float) -> list[Path]:
    """The files of an entry with an address, sorted. See `catalogue.materialise`."""
    assert entry.address is not None
    _check_address(entry.address)
    name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(entry.address).path)).name
    if name and safe_path(name) is None:
        raise UserError(f"refusing to fetch {entry.address!r}: its last part is no name of a file")
    target = cache / (entry.shares or entry.name) / (name or entry.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.parent):
        if not _is_kept(entry, target):
            _download(entry, target, progress, timeout)
        if entry.archive is None:
            return [target]
        # Named after what is in it, so that another version of the archive or of the catalogue never finds it.
        digest = hashlib.sha256(f"{_read_json(_seal(target))['sha256']} {entry.member}".encode())
        folder = cache / entry.name / f"files-{digest.hexdigest()[:8]}"
        if not folder.is_dir():
            _unpack(entry, target, folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _check_address(address: str) -> None:
    """https only, so that nobody on the way can change or read along; plain http to this machine alone."""
    parts = urllib.parse.urlsplit(address)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
    if not parts.hostname or not (parts.scheme == "https" or local):
        raise UserError(f"refusing to fetch {address!r}: only https is trusted")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            _check_address(newurl)
            if req.type == "https" and not newurl.startswith("https:"):  # from outside into this machine
                raise UserError(f"refusing to follow {req.host} to {newurl!r}: only https is trusted")
        except UserError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Makes a second program that wants the same corpus wait, so that two never write one file."""
    with open(folder / ".lock", "wb") as lock:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # file systems without locks, some networks' among them
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _seal(path: Path) -> Path:
    """The note beside a file that says it was found whole, and which it was."""
    return path.with_name(path.name + ".json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_kept(entry: CatalogueEntry, target: Path) -> bool:
    """Whether `target` is whole already: checked when it came, or now if a person has put it there by hand."""
    if not target.is_file():
        return False
    size, sealed = target.stat().st_size, _read_json(_seal(target))
    if sealed:  # another size or sha256: damaged since, or the catalogue has moved on to another version
        return sealed.get("bytes") == size and entry.sha256 in (None, sealed.get("sha256"))
    if fault := _accept(entry, target, target):
        raise UserError(f"{str(target)!r} is not the corpus {entry.name!r}: {fault}; remove it to fetch it again")
    return True


def _accept(entry: CatalogueEntry, found: Path, target: Path) -> str | None:
    """Seals `found` as `target` if it is what the catalogue says; otherwise says what is wrong with it."""
    size = found.stat().st_size
    if entry.bytes not in (None, size):
        return f"it has {size:,} bytes instead of {entry.bytes:,}"
    with open(found, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if entry.sha256 not in (None, sha256):
        return f"its sha256 is {sha256} instead of {entry.sha256}"
    if found != target:
        os.replace(found, target)
    write_bytes(_seal(target), json.dumps({"address": entry.address, "bytes": size, "sha256": sha256}).encode())
    sync_folder(target.parent)
    return None


def _download(entry: CatalogueEntry, target: Path, progress: Progress | None, timeout: float) -> None:
    """Fetches the entry's file to `target`, going on from a `.part` if the server still has the same file."""
    assert entry.address is not None
    part = target.with_name(target.name + PARTIAL_SUFFIX)
    memo = _seal(part)  # which version of the server's file the part is of
    with _network(entry, target, timeout):
        response, done = _connect(entry.address, part, memo, timeout)
    with contextlib.closing(response):
        total = None if response.length is None else done + response.length
        if None not in (total, entry.bytes) and total != entry.bytes:
            raise _failure(entry, target, f"the file there has {total:,} bytes instead of {entry.bytes:,}")
        write_bytes(memo, json.dumps({"address": entry.address, "version": _version(response)}).encode())
        with open(part, "ab" if done else "wb") as stream:
            while True:
                with _network(entry, target, timeout):
                    chunk = response.read1(CHUNK_SIZE)  # what is there: a full read would lose it when cut off
                if not chunk:
                    break
                stream.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, total)
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and done < total:
        raise _failure(entry, target, f"the connection broke after {done:,} of {total:,} bytes")
    fault = _accept(entry, part, target)
    part.unlink(missing_ok=True)  # not there any more, unless something was wrong with it
    memo.unlink(missing_ok=True)
    if fault:
        raise _failure(entry, target, f"the file that came is not the right one: {fault}")


def _connect(address: str, part: Path, memo: Path, timeout: float) -> tuple[http.client.HTTPResponse, int]:
    """Asks for the file, or for the rest of it. Returns the response and the place of its first byte."""
    opener = urllib.request.build_opener(_SafeRedirects)
    # urllib asks for the bytes as they are (Accept-Encoding: identity), so places and sizes are those of the file.
    headers = {"User-Agent": USER_AGENT}
    start, known = part.stat().st_size if part.exists() else 0, _read_json(memo)
    if start and known.get("version") and known.get("address") == address:
        rest = {"Range": f"bytes={start}-", "If-Range": known["version"]}
        try:
            response = opener.open(urllib.request.Request(address, headers=headers | rest), timeout=timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
        else:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                return response, 0  # the whole file: it has changed, or the server knows no ranges
            same = _version(response) in (None, known["version"])  # some servers overlook If-Range
            if same and re.match(rf"bytes {start}-", response.headers.get("Content-Range", "")):
                return response, start
            response.close()
    return opener.open(urllib.request.Request(address, headers=headers), timeout=timeout), 0


def _version(response: http.client.HTTPResponse) -> str | None:
    """What tells one version of a file from another, as far as If-Range may rely on it (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


@contextlib.contextmanager
def _network(entry: CatalogueEntry, target: Path, timeout: float) -> Iterator[None]:
    """Makes every fault of the network one sentence."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            why = f"it answers {error.code} {error.reason}"
        elif isinstance(cause, TimeoutError):
            why = f"it stayed silent for {timeout:g} seconds"
        else:
            why = reason(cause) if isinstance(cause, BaseException) else str(cause)
        raise _failure(entry, target, " ".join(why.split())) from error


def _failure(entry: CatalogueEntry, target: Path, why: str) -> UserError:
    host = urllib.parse.urlsplit(entry.address or "").netloc
    return UserError(
        f"cannot fetch {entry.name!r} from {host}: {why}; try again, "
        f"or fetch {entry.address} by other means and put it at {str(target)!r}"
    )


# ---- What is unpacked ----


def _unpack(entry: CatalogueEntry, archive: Path, folder: Path) -> None:
    """Writes the files of `archive` that count below `folder`, which appears whole or not at all."""
    left = MAX_EXPANSION_RATIO * archive.stat().st_size + MAX_EXTRA_BYTES
    count = 0
    temporary = folder.with_name(folder.name + PARTIAL_SUFFIX)  # ours alone while the lock is held
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, plain, open_member in _members(entry, archive):
            count += 1
            path = safe_path(name)
            if path is None or not plain:
                raise UserError(f"refusing to unpack {str(archive)!r}: {name!r} is a link, a device or outside of it")
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            with open_member() as source, open(temporary / path, "wb") as copy:
                for chunk in read_chunks(cast(BinaryIO, source), f"{archive}:{name}"):
                    left -= len(chunk)
                    if left < 0 or count > MAX_MEMBERS:
                        raise UserError(f"refusing to unpack {str(archive)!r}: it is far larger than it looks")
                    copy.write(chunk)
        if not count:
            raise UserError(f"{str(archive)!r} holds no {entry.member or 'file'}; remove it to fetch it again")
        os.rename(temporary, folder)
        sync_folder(folder.parent)
    except _DAMAGE as error:
        why = reason(error)
        raise UserError(f"cannot unpack {str(archive)!r}: {why}; remove it to fetch it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _members(entry: CatalogueEntry, archive: Path) -> Iterator[tuple[str, bool, Callable[[], IO[bytes]]]]:
    """The name of each file that counts, whether it is a plain one, and how to open it. No folders."""
    if entry.archive == "zip":
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir() and _counts(info.filename, entry.member):
                    kind = stat.S_IFMT(info.external_attr >> 16)  # zero where it was not packed on Unix
                    yield info.filename, kind in (0, stat.S_IFREG), functools.partial(packed.open, info)
        return
    with tarfile.open(archive) as tape:
        for item in tape:
            if not item.isdir() and _counts(item.name, entry.member):
                yield item.name, item.isfile(), functools.partial(_open_in_tar, tape, item)


def _open_in_tar(tape: tarfile.TarFile, item: tarfile.TarInfo) -> IO[bytes]:
    stream = tape.extractfile(item)
    assert stream is not None  # plain files have one
    return stream


def _counts(name: str, member: str | None) -> bool:
    """Whether `member` matches the end of the path. Hidden files never count: packers leave their own behind."""
    path = PurePosixPath(name)
    hidden = any(part == "__MACOSX" or (part.startswith(".") and not part.startswith("..")) for part in path.parts)
    return not hidden and (member is None or path.match(member))


def safe_path(name: str) -> PurePosixPath | None:
    """The relative path that stays inside of the folder it is joined to, on any system; None if it would not."""
    path, other = PurePosixPath(name), PureWindowsPath(name)
    inside = path.parts and not path.is_absolute() and not other.anchor and ".." not in other.parts and "\0" not in name
    return path if inside else None
