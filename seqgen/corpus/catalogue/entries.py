"""The catalogue of named corpora: what each is, where it lies, and how it gets here whole and unharmed.

An entry is a file packaged with the program, a part of every Python installation, or a public file that is fetched
once over https and kept in a cache (see `download`).
"""

from __future__ import annotations

import difflib
import os
import platform
import re
import sysconfig
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqgen.corpus.catalogue.download import TIMEOUT, Progress, fetch, safe_path
from seqgen.errors import SeqgenError, UserError
from seqgen.streams import reason, write_bytes

TASKS = ("text", "dialogue", "music", "classify", "forecast")
HINTS = {
    "columns": "the names of the columns, of a file that has no line of names",
    "text_column": "the column (or columns, to be joined) that holds the text",
    "label_column": "the column that holds the label",
    "label_from": "where the label is instead: 'folder' or 'file', the name of the one that holds the text",
    "separator": "what stands between two columns, where the format does not say",
    "encoding": "of the characters, where it is not UTF-8",
    "turns": "the key of a conversation's list of turns",
    "turn_text": "the key (or the place, from 0) of a turn's text, where a turn is more than a text",
    "conversation_column": "the column that says which rows make one conversation",
    "time_column": "the column (or columns, from year to hour) that holds the time",
    "target": "the column to predict",
}


_NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_WORDS = (
    "name", "task", "title", "licence", "citation", "split", "format", "language", "address", "sha256", "archive",
    "member", "shares", "file", "builtin",
)  # fmt: skip


@dataclass(frozen=True)
class CatalogueEntry:
    """One table of `catalog.toml`; the comment at its top says what the fields mean."""

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
    """Where the packaged corpora are: `seqgen/_corpora` once installed, `corpora/` beside the package in a checkout.

    Raises:
        SeqgenError: neither is there; the installation is broken.
    """
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_corpora", package.parent / "corpora"):
        if (folder / "catalog.toml").is_file():
            return folder
    raise SeqgenError(f"the packaged corpora are missing from {str(package)!r}; install seqgen again")


def cache_folder() -> Path:
    """Where downloads are kept: `$SEQGEN_CACHE`, else `$XDG_CACHE_HOME/seqgen`, else `~/.cache/seqgen`.

    Raises:
        UserError: none of them is set and there is no home folder.
    """
    if own := os.environ.get("SEQGEN_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):  # a relative one is to be ignored, says the XDG base directory specification
        return Path(shared) / "seqgen"
    try:
        return Path.home() / ".cache" / "seqgen"
    except RuntimeError as error:
        raise UserError("there is no home folder to keep downloads in; set SEQGEN_CACHE to a folder") from error


def load(path: Path | None = None) -> dict[str, CatalogueEntry]:
    """Every entry by its name, in the catalogue's order; `path` is another catalogue than the packaged one.

    Raises:
        SeqgenError: a table with an unknown key, without a needed one, or that says not just one place.
    """
    path = path or corpora_folder() / "catalog.toml"
    entries: dict[str, CatalogueEntry] = {}
    try:
        tables = tomllib.loads(path.read_text("utf-8"))["corpus"]
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ValueError("its corpora are no tables")
    except (OSError, ValueError, KeyError, RecursionError) as error:  # TOML's own error is a ValueError
        raise SeqgenError(f"the catalogue {str(path)!r} can't be read: {reason(error)}") from error
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
    if sum(place is not None for place in (entry.address, entry.file, entry.builtin)) != 1:
        raise SeqgenError(f"the catalogue's entry {name!r} must have one of address, file and builtin")
    for key in _WORDS:
        value = getattr(entry, key)
        if value is not None and not isinstance(value, str):
            raise SeqgenError(f"the catalogue's entry {name!r} is malformed: {key} is no text")
    if entry.bytes is not None and (type(entry.bytes) is not int or entry.bytes < 0):
        raise SeqgenError(f"the catalogue's entry {name!r} is malformed: bytes is no number of them")
    # Folders of the cache are called by these names, and a file is looked for by the other.
    inside = all(value is None or _NAME.fullmatch(value) for value in (entry.name, entry.shares))
    if not inside or (entry.file is not None and safe_path(entry.file) is None):
        raise SeqgenError(f"the catalogue's entry {name!r} is malformed: it leads out of its folder")
    if entry.archive not in (None, "zip", "tar") or entry.builtin not in (None, *_BUILTIN):
        raise SeqgenError(f"the catalogue's entry {name!r} is malformed: there is no such archive or builtin")
    return entry


def find(name: str) -> CatalogueEntry:
    """The entry called `name`. Raises `UserError`, with the nearest name, if there is none."""
    entries = load()
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name.lower().replace("_", "-"), entries, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "; `seqgen corpora` lists the names"
    raise UserError(f"{name!r} is neither a file nor the name of a corpus{hint}")


def materialise(
    entry: CatalogueEntry, cache: Path, progress: Progress | None = None, timeout: float = TIMEOUT
) -> list[Path]:
    """Local files with the corpus, sorted; fetched and unpacked first where needed.

    Args:
        cache: the folder that keeps downloads, see `cache_folder`.
        progress: told of a download, as (bytes so far, bytes in all or None). An exception that it raises ends the
            download; what has come so far is kept, and the next call goes on from there.
        timeout: seconds that a server may stay silent.

    Raises:
        UserError: the server can't be reached or sends something else than the catalogue says, an archive is unsafe,
            or the cache can't be written.
    """
    if entry.file is not None:
        return _packaged(corpora_folder() / entry.file)
    try:
        if entry.builtin is not None:
            return _BUILTIN[entry.builtin](cache / entry.name)
        return fetch(entry, cache, progress, timeout)
    except OSError as error:  # those of the network were made into sentences where they came up
        raise UserError(f"cannot keep {entry.name!r} in {str(cache)!r}: {reason(error)}") from error


# ---- What is here already ----


def _packaged(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(inner for inner in path.rglob("*") if inner.is_file())
    if not found:
        raise SeqgenError(f"the packaged corpus {str(path)!r} is missing; install seqgen again")
    return found


def _python_topics(folder: Path) -> list[Path]:
    """The texts behind Python's `help("topic")`, as one file; named by the version, since they change with it."""
    path = folder / f"topics-{platform.python_version()}.txt"
    if not path.is_file():
        try:
            from pydoc_data.topics import topics
        except ImportError as error:
            raise UserError("this Python was installed without pydoc_data, its documentation topics") from error
        texts: dict[str, str] = topics
        write_bytes(path, "\n\n".join(text.strip() for text in texts.values()).encode() + b"\n")
    return [path]


def _python_stdlib(folder: Path) -> list[Path]:
    """The standard library's source files where they lie; nothing is copied to `folder`."""
    # Tests hold files that are broken on purpose; idlelib is a program; the rest is not the standard library's own.
    skipped = {"test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__"}
    found = []
    for place, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if name not in skipped]
        paths = (Path(place) / name for name in files if name.endswith(".py"))
        found += [path for path in paths if path.stat().st_size]  # many an __init__.py is empty
    if not found:
        raise UserError("this Python was installed without the source files of its standard library")
    return sorted(found)


_BUILTIN = {"python-topics": _python_topics, "python-stdlib": _python_stdlib}
