"""The catalogue of named corpora, read from `catalog.toml`.

An entry is a file packaged with the program (`file`), a part of every Python installation (`builtin`), or a public
file that is downloaded once (`address`).
"""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from seqgen.corpus.catalogue.builtin import BUILTIN
from seqgen.errors import SeqgenError, UserError
from seqgen.streams import reason

# How to read the files; each is a field of a reader's options.
HINTS = frozenset({
    "columns", "text_column", "label_column", "label_from", "separator", "encoding", "turns", "turn_text",
    "conversation_column", "time_column", "target",
})  # fmt: skip

_NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_STRING_FIELDS = (
    "name", "task", "title", "licence", "citation", "split", "format", "language", "address", "sha256", "archive",
    "member", "shares", "file", "builtin",
)  # fmt: skip


@dataclass(frozen=True)
class CatalogueEntry:
    """One table of `catalog.toml`; the comment at the top of that file explains the fields."""

    name: str
    task: str
    title: str
    licence: str
    citation: str
    split: str
    format: str
    language: str = ""
    address: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    archive: str | None = None
    member: str | None = None
    shares: str | None = None
    file: str | None = None
    builtin: str | None = None
    hints: Mapping[str, str | list[str]] = field(default_factory=dict)


def corpora_folder() -> Path:
    """Return the folder of the packaged corpora: `seqgen/_corpora`, or `corpora/` beside the package in a checkout.

    Raises:
        SeqgenError: neither exists; the installation is broken.
    """
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_corpora", package.parent / "corpora"):
        if (folder / "catalog.toml").is_file():
            return folder
    raise SeqgenError(f"the packaged corpora are missing from {str(package)!r}; install seqgen again")


def load(path: Path | None = None) -> dict[str, CatalogueEntry]:
    """Read the catalogue: entries by name, in its order. `path` replaces the packaged catalogue.

    Raises:
        SeqgenError: a table has an unknown key, lacks a required one, or has not exactly one location.
    """
    return _read(path) if path else dict(_packaged(corpora_folder() / "catalog.toml"))


@functools.cache
def _packaged(path: Path) -> dict[str, CatalogueEntry]:
    """The packaged catalogue, read once in a process: a command may look up several names."""
    return _read(path)


def _read(path: Path) -> dict[str, CatalogueEntry]:
    entries: dict[str, CatalogueEntry] = {}
    try:
        tables = tomllib.loads(path.read_text("utf-8"))["corpus"]
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ValueError("[[corpus]] must be tables")
    except (OSError, ValueError, KeyError, RecursionError) as error:  # TOML's own error is a ValueError
        raise SeqgenError(f"cannot read the catalogue {str(path)!r}: {reason(error)}") from error
    for table in tables:
        entry = _entry(table)
        if entry.name in entries:
            raise SeqgenError(f"the catalogue has two corpora called {entry.name!r}")
        entries[entry.name] = entry
    return entries


def _entry(table: Mapping[str, Any]) -> CatalogueEntry:
    name = table.get("name", "?")
    hints = {key: value for key, value in table.items() if key in HINTS}
    try:
        entry = CatalogueEntry(**{key: value for key, value in table.items() if key not in HINTS}, hints=hints)
    except TypeError as error:
        raise SeqgenError(f"the catalogue's entry {name!r} is malformed: {error}") from error
    if sum(location is not None for location in (entry.address, entry.file, entry.builtin)) != 1:
        raise SeqgenError(f"the catalogue's entry {name!r} must have one of address, file and builtin")
    for key in _STRING_FIELDS:
        value = getattr(entry, key)
        if value is not None and not isinstance(value, str):
            raise SeqgenError(f"the catalogue's entry {name!r} is malformed: {key} is not a string")
    if entry.bytes is not None and (type(entry.bytes) is not int or entry.bytes < 0):
        raise SeqgenError(f"the catalogue's entry {name!r} is malformed: bytes is not a size")
    # `name` and `shares` become folders of the cache; `file` is a path in the corpora folder.
    inside = all(value is None or _NAME.fullmatch(value) for value in (entry.name, entry.shares))
    if not inside or (entry.file is not None and safe_path(entry.file) is None):
        raise SeqgenError(f"the catalogue's entry {name!r} is malformed: its name or path leaves its folder")
    if entry.archive not in (None, "zip", "tar") or entry.builtin not in (None, *BUILTIN):
        raise SeqgenError(f"the catalogue's entry {name!r} is malformed: its archive or builtin is unknown")
    return entry


def find(name: str) -> CatalogueEntry:
    """Return the entry called `name`. Raises `UserError`, with the closest name, if there is none."""
    entries = load()
    if name in entries:
        return entries[name]
    close = difflib.get_close_matches(name.lower().replace("_", "-"), entries, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else "; `seqgen corpora` lists the names"
    raise UserError(f"{name!r} is neither a file nor the name of a corpus{hint}")


def safe_path(name: str) -> PurePosixPath | None:
    """Return `name` as a relative path that stays inside its folder on any operating system; None if it does not."""
    path, other = PurePosixPath(name), PureWindowsPath(name)
    inside = path.parts and not path.is_absolute() and not other.anchor and ".." not in other.parts and "\0" not in name
    return path if inside else None
