"""What the cache holds, of what, how large and how long unused; and how it is emptied."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqgen.corpus.cache import store as cache
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.catalogue.entries import cache_folder
from seqgen.errors import UserError
from seqgen.streams import reason

UNFINISHED = "unfinished"
_OWN = {  # folders of the cache, but for those named after corpora: what they hold, and of what
    "spool": ("temporary", "what running commands keep, and killed ones left"),
    "measured": ("notes", "which large files have been read, and are as they were"),
    "datasets": ("notes", "of `datasets`, the library"),
}


@dataclass(frozen=True)
class CacheEntry:
    """Files that belong together.

    Attributes:
        key: what it can be removed by.
        kind: `ids` of a corpus, the rows of a `set`, a fetched `corpus`, `temporary`, `notes`.
        size: bytes.
        used: seconds since 1970 at which it was last written or used.
        about: of what; `unfinished` where the program was killed, or is at it.
        in_use: whether somebody is writing it now.
    """

    key: str
    kind: str
    size: int
    last_used: float
    about: str
    in_use: bool
    paths: tuple[Path, ...]


def list_entries() -> list[CacheEntry]:
    """Everything in the cache, by kind and name. Raises `UserError` where it can't be read."""
    folder = cache_folder()
    try:
        places = sorted(folder.iterdir()) if folder.is_dir() else []
        found = [kept for place in places for kept in _inside(place)]
    except OSError as error:
        raise UserError(f"cannot read the cache {str(folder)!r}: {reason(error)}") from error
    return sorted(found, key=lambda kept: (kept.kind, kept.about, kept.key))


def find(wanted: str, among: Sequence[CacheEntry]) -> list[CacheEntry]:
    """What a key, the beginning of one, or a kind names. Raises `UserError` for nothing, and for several by one key."""
    kind = [kept for kept in among if kept.kind == wanted]
    exact = [kept for kept in among if kept.key == wanted]
    begun = [kept for kept in among if wanted and kept.key.startswith(wanted)]
    found = exact or kind or begun
    if not found:
        raise UserError(f"the cache holds no {wanted!r}; `seqgen corpora --cache` shows the keys")
    if not exact and not kind and len(found) > 1:
        raise UserError(f"{wanted!r} is the beginning of {len(found):,} keys: give more of it")
    return found


def remove(kept: CacheEntry) -> None:
    """Removes it, unless it is in use. Who reads it already goes on reading it, where the system is a Unix."""
    if kept.in_use:
        return
    try:
        for path in kept.paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot remove {kept.key!r} from the cache: {reason(error)}") from error


def _inside(place: Path) -> Iterator[CacheEntry]:
    if place.name in ("ids", "sets") and place.is_dir():
        stems: dict[str, list[Path]] = {}
        for path in sorted(place.iterdir()):
            stems.setdefault(path.name.removeprefix(".").split(".")[0], []).append(path)
        for stem, paths in stems.items():
            about = _about(place / stem, place.name == "ids")
            in_use = cache.is_locked(place / stem)
            yield _kept(stem, "ids" if place.name == "ids" else "set", about, tuple(paths), in_use)
    elif place.name == "spool" and place.is_dir():
        for path in sorted(place.iterdir()):
            yield _kept(path.name, *_OWN["spool"], (path,), cache.is_scratch_locked(path))
    elif place.is_dir() and place.name in _OWN:
        yield _kept(place.name, *_OWN[place.name], (place,))
    else:
        entry = catalogue.load().get(place.name)
        yield _kept(place.name, "corpus", "" if entry is None else entry.title, (place,))


def _about(stem: Path, ids: bool) -> str:
    """What was written beside it, last: without that it is not whole."""
    for ending in (".prepared.json", ".train.json") if ids else (".json",):
        if about := cache.read_json(stem.with_name(stem.name + ending)).get("about"):
            return str(about)
    return UNFINISHED


def _kept(key: str, kind: str, about: str, paths: tuple[Path, ...], in_use: bool = False) -> CacheEntry:
    size, last_used = 0, 0.0
    for inner in itertools.chain.from_iterable(map(_files, paths)):
        with contextlib.suppress(OSError):  # gone meanwhile
            state = os.lstat(inner)
            size, last_used = size + state.st_size, max(last_used, state.st_mtime)
    return CacheEntry(key, kind, size, last_used, about, in_use, paths)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for place, _, names in os.walk(path):
            yield Path(place)
            yield from (Path(place) / name for name in names)
    else:
        yield path
