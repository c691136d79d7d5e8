"""The entries of the cache: listing and removing them."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqgen.corpus.cache import store as cache
from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.catalogue import download, entries
from seqgen.errors import UserError
from seqgen.streams import reason

_UNFINISHED = "unfinished"
_OWN_FOLDERS = {  # name → kind and description; every other folder is named after a corpus
    "spool": ("temporary", "scratch files of running or killed commands"),
    "measured": ("notes", "checksums of large files"),
    "datasets": ("notes", "cache of the `datasets` library"),
}


@dataclass(frozen=True)
class CacheEntry:
    """Files of the cache that belong together.

    Attributes:
        key: the name to remove it by.
        kind: `ids` of a corpus, rows of a `set`, a fetched `corpus`, `temporary` or `notes`.
        size: bytes.
        last_used: time of the last write or use, seconds since 1970.
        about: a description; `unfinished` if a process is writing it or was killed.
        in_use: whether a process is writing it.
    """

    key: str
    kind: str
    size: int
    last_used: float
    about: str
    in_use: bool
    paths: tuple[Path, ...]


def list_entries() -> list[CacheEntry]:
    """List the cache, sorted by kind, description and key. Raises `UserError` if it can't be read."""
    folder = cache_folder()
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        found = [entry for path in paths for entry in _entries_in(path)]
    except OSError as error:
        raise UserError(f"cannot read the cache {str(folder)!r}: {reason(error)}") from error
    return sorted(found, key=lambda entry: (entry.kind, entry.about, entry.key))


def find(wanted: str, among: Sequence[CacheEntry]) -> list[CacheEntry]:
    """Select entries by key, by kind, or by an unambiguous prefix of a key. Raises `UserError` if there are none."""
    by_kind = [entry for entry in among if entry.kind == wanted]
    exact = [entry for entry in among if entry.key == wanted]
    by_prefix = [entry for entry in among if wanted and entry.key.startswith(wanted)]
    found = exact or by_kind or by_prefix
    if not found:
        raise UserError(f"the cache has no {wanted!r}; `seqgen corpora --cache` lists the keys")
    if not exact and not by_kind and len(found) > 1:
        raise UserError(f"{wanted!r} is a prefix of {len(found):,} keys; give a longer one")
    return found


def remove(entry: CacheEntry) -> None:
    """Remove an entry that is not in use. On Unix, processes that have its files open can go on reading them."""
    if entry.in_use:
        return
    try:
        for path in entry.paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot remove {entry.key!r} from the cache: {reason(error)}") from error


def _entries_in(path: Path) -> Iterator[CacheEntry]:
    """The entries in one file or folder at the top of the cache."""
    if path.name in ("ids", "sets") and path.is_dir():
        stems: dict[str, list[Path]] = {}
        for inner in sorted(path.iterdir()):
            stems.setdefault(inner.name.removeprefix(".").split(".")[0], []).append(inner)
        for stem, paths in stems.items():
            about = _about(path / stem, path.name == "ids")
            in_use = cache.is_locked(path / stem)
            yield _make_entry(stem, "ids" if path.name == "ids" else "set", about, tuple(paths), in_use)
    elif path.name == "spool" and path.is_dir():
        for inner in sorted(path.iterdir()):
            yield _make_entry(inner.name, *_OWN_FOLDERS["spool"], (inner,), cache.is_scratch_locked(inner))
    elif path.is_dir() and path.name in _OWN_FOLDERS:
        yield _make_entry(path.name, *_OWN_FOLDERS[path.name], (path,))
    else:
        entry = entries.load().get(path.name)
        # A corpus from another one's archive is unpacked under the other's lock.
        owners = {path.name} if entry is None or entry.shares is None else {path.name, entry.shares}
        in_use = any(download.is_fetching(path.with_name(owner)) for owner in owners)
        yield _make_entry(path.name, "corpus", "" if entry is None else entry.title, (path,), in_use)


def _about(stem: Path, ids: bool) -> str:
    """The description in the file that is written last: without it the entry is unfinished."""
    for ending in (".prepared.json", ".train.json") if ids else (".json",):
        if about := cache.read_json(stem.with_name(stem.name + ending)).get("about"):
            return str(about)
    return _UNFINISHED


def _make_entry(key: str, kind: str, about: str, paths: tuple[Path, ...], in_use: bool = False) -> CacheEntry:
    size, last_used = 0, 0.0
    for inner in itertools.chain.from_iterable(map(_walk, paths)):
        with contextlib.suppress(OSError):  # removed in the meantime
            status = os.lstat(inner)
            size, last_used = size + status.st_size, max(last_used, status.st_mtime)
    return CacheEntry(key, kind, size, last_used, about, in_use, paths)


def _walk(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for folder, _, names in os.walk(path):
            yield Path(folder)
            yield from (Path(folder) / name for name in names)
    else:
        yield path
