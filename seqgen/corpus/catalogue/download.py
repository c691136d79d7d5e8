"""Downloads of the catalogue: resumable, over https, verified and safely unpacked.

A server's answer is untrusted input. A file gets its name only after size and sha256 are verified, where the catalogue
has them. Every path inside an archive is checked before anything is written to it.
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
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from seqgen.corpus.cache.store import read_json
from seqgen.corpus.catalogue.entries import CatalogueEntry, safe_path
from seqgen.decompression import CHUNK_SIZE
from seqgen.errors import UserError
from seqgen.locks import LOCK_SUFFIX, is_locked, locked_file
from seqgen.streams import PARTIAL_SUFFIX, Progress, read_chunks, reason, sync_folder, write_bytes

TIMEOUT = 30.0  # seconds without a byte
USER_AGENT = "seqgen"  # some hosts reject urllib's own
# A limit against decompression bombs, in bytes: ratio × size + extra. Text shrinks at most about tenfold and annotated
# JSON thirtyfold, so real archives stay far below it. The ratio is for large archives, the constant for small ones.
MAX_EXPANSION_RATIO = 20
MAX_EXTRA_BYTES = 1 << 30
# Errors that the archive readers raise for damaged files.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, RuntimeError,
    ValueError, LookupError, OverflowError, struct.error, FileExistsError, NotADirectoryError, IsADirectoryError,
)  # fmt: skip
MAX_MEMBERS = 500_000  # files; IMDb, the largest archive of the catalogue by this count, has 100,000


def fetch(entry: CatalogueEntry, cache: Path, progress: Progress | None, timeout: float) -> list[Path]:
    """Return the files of an entry that has an address, sorted. See `materialise`."""
    assert entry.address is not None
    _check_address(entry.address)
    name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(entry.address).path)).name
    if name and safe_path(name) is None:
        raise UserError(f"refusing to fetch {entry.address!r}: its last part is not a file name")
    target = cache / (entry.shares or entry.name) / (name or entry.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked_file(target.parent / LOCK_SUFFIX):
        if not _is_complete(entry, target):
            _download(entry, target, progress, timeout)
        if entry.archive is None:
            return [target]
        # Named after the contents: another version of the archive or of the catalogue gets another folder.
        digest = hashlib.sha256(f"{read_json(_seal(target))['sha256']} {entry.member}".encode())
        folder = cache / entry.name / f"files-{digest.hexdigest()[:8]}"
        if not folder.is_dir():
            _unpack(entry, target, folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def is_fetching(folder: Path) -> bool:
    """Return whether a process is downloading to a corpus's folder of the cache, or unpacking from it."""
    return is_locked(folder / LOCK_SUFFIX)


def _check_address(address: str) -> None:
    """Refuse anything but https, and plain http to this machine."""
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
            if req.type == "https" and not newurl.startswith("https:"):  # a redirect from outside to this machine
                raise UserError(f"refusing to follow {req.host} to {newurl!r}: only https is trusted")
        except UserError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _seal(path: Path) -> Path:
    """The path of the JSON file that records a verified file's address, size and sha256."""
    return path.with_name(path.name + ".json")


def _is_complete(entry: CatalogueEntry, target: Path) -> bool:
    """Whether `target` has been fetched: verified when it came, or now if it was put there by hand."""
    if not target.is_file():
        return False
    size, sealed = target.stat().st_size, read_json(_seal(target))
    if sealed:  # a mismatch: damaged since, or the catalogue lists another version now
        return sealed.get("bytes") == size and entry.sha256 in (None, sealed.get("sha256"))
    if fault := _accept(entry, target, target):
        raise UserError(f"{str(target)!r} is not the corpus {entry.name!r}: {fault}; remove it to fetch it again")
    return True


def _accept(entry: CatalogueEntry, found: Path, target: Path) -> str | None:
    """Verify `found` and rename it to `target`; return what is wrong with it, or None."""
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
    """Download the entry's file to `target`, resuming a `.part` if the server still has the same version."""
    assert entry.address is not None
    part = target.with_name(target.name + PARTIAL_SUFFIX)
    memo = _seal(part)  # records the version of the file on the server
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
                    chunk = response.read1(CHUNK_SIZE)  # a full read would lose its data if the connection broke
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
    part.unlink(missing_ok=True)  # it was renamed, unless verification failed
    memo.unlink(missing_ok=True)
    if fault:
        raise _failure(entry, target, f"the downloaded file is not the right one: {fault}")


def _connect(address: str, part: Path, memo: Path, timeout: float) -> tuple[http.client.HTTPResponse, int]:
    """Request the file, or the rest of it. Returns the response and the offset of its first byte."""
    opener = urllib.request.build_opener(_SafeRedirects)
    # urllib sends "Accept-Encoding: identity", so offsets and sizes are those of the file.
    headers = {"User-Agent": USER_AGENT}
    start, known = part.stat().st_size if part.exists() else 0, read_json(memo)
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
                return response, 0  # the whole file: it has changed, or the server has no range requests
            same = _version(response) in (None, known["version"])  # some servers ignore If-Range
            if same and re.match(rf"bytes {start}-", response.headers.get("Content-Range", "")):
                return response, start
            response.close()
    return opener.open(urllib.request.Request(address, headers=headers), timeout=timeout), 0


def _version(response: http.client.HTTPResponse) -> str | None:
    """A validator for If-Range: a strong ETag, else the modification date (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


@contextlib.contextmanager
def _network(entry: CatalogueEntry, target: Path, timeout: float) -> Iterator[None]:
    """Turn network errors into a `UserError`."""
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
        f"or download {entry.address} by other means to {str(target)!r}"
    )


# ---- Archives ----


def _unpack(entry: CatalogueEntry, archive: Path, folder: Path) -> None:
    """Unpack the selected files of `archive` to `folder`, which appears complete or not at all."""
    left = MAX_EXPANSION_RATIO * archive.stat().st_size + MAX_EXTRA_BYTES
    count = 0
    temporary = folder.with_name(folder.name + PARTIAL_SUFFIX)  # the lock protects it
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, regular, open_member in _members(entry, archive):
            count += 1
            path = safe_path(name)
            if path is None or not regular:
                raise UserError(f"refusing to unpack {str(archive)!r}: {name!r} is a link, a device or outside of it")
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            with open_member() as source, open(temporary / path, "wb") as copy:
                for chunk in read_chunks(cast(BinaryIO, source), f"{archive}:{name}"):
                    left -= len(chunk)
                    if left < 0 or count > MAX_MEMBERS:
                        raise UserError(
                            f"refusing to unpack {str(archive)!r}: it decompresses to far more than its size allows"
                        )
                    copy.write(chunk)
        if not count:
            raise UserError(f"{str(archive)!r} has no {entry.member or 'file'}; remove it to fetch it again")
        os.rename(temporary, folder)
        sync_folder(folder.parent)
    except _DAMAGE as error:
        raise UserError(f"cannot unpack {str(archive)!r}: {reason(error)}; remove it to fetch it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _members(entry: CatalogueEntry, archive: Path) -> Iterator[tuple[str, bool, Callable[[], IO[bytes]]]]:
    """Each selected file, no folders: its name, whether it is a regular file, and a function that opens it."""
    if entry.archive == "zip":
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir() and _is_selected(info.filename, entry.member):
                    file_type = stat.S_IFMT(info.external_attr >> 16)  # zero unless packed on Unix
                    yield info.filename, file_type in (0, stat.S_IFREG), functools.partial(packed.open, info)
        return
    with tarfile.open(archive) as tape:
        for item in tape:
            if not item.isdir() and _is_selected(item.name, entry.member):
                yield item.name, item.isfile(), functools.partial(_open_in_tar, tape, item)


def _open_in_tar(tape: tarfile.TarFile, item: tarfile.TarInfo) -> IO[bytes]:
    stream = tape.extractfile(item)
    assert stream is not None  # regular files have one
    return stream


def _is_selected(name: str, member: str | None) -> bool:
    """Whether `member` matches the end of the path. Hidden files never do: archivers add their own."""
    path = PurePosixPath(name)
    hidden = any(part == "__MACOSX" or (part.startswith(".") and not part.startswith("..")) for part in path.parts)
    return not hidden and (member is None or path.match(member))
