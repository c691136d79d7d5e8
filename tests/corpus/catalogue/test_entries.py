"""The catalogue: its entries, names, and local corpora."""

from __future__ import annotations

import collections
import json
import re
import sys
import sysconfig
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.catalogue import entries as catalogue
from seqgen.corpus.catalogue import fetch as catalogue_files
from seqgen.corpus.catalogue.entries import CatalogueEntry
from seqgen.corpus.catalogue.fetch import materialise
from seqgen.errors import SeqgenError, UserError
from seqgen.specs.tasks import TASKS
from tests.helpers.catalogue import LOCAL

ENTRIES = catalogue.load()


# ---- The catalogue itself ----


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_catalogue_entry_is_well_formed(entry: CatalogueEntry) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)
    assert entry.task in TASKS
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


def test_catalogue_covers_every_task_and_language() -> None:
    public = [entry for entry in ENTRIES.values() if entry.address and not entry.shares]
    tasks = collections.Counter(entry.task for entry in public)
    assert len(public) >= 25
    assert all(tasks[task] >= 5 for task in TASKS)
    assert sum(entry.sha256 is not None for entry in public) >= 25
    for task in ("text", "dialogue", "classify"):
        assert {entry.language for entry in public if entry.task == task} >= {"en", "zh"}


def test_catalogue_has_the_numbers_of_corpora_that_the_readme_gives() -> None:
    readme = " ".join((Path(__file__).parents[3] / "README.md").read_text("utf-8").split())
    local = sum(entry.address is None for entry in ENTRIES.values())
    assert f"lists {len(ENTRIES)} named corpora" in readme
    assert f"of which {local} need no network" in readme


def test_catalogue_addresses_occur_twice_only_to_share_a_download() -> None:
    first: dict[str, CatalogueEntry] = {}
    for entry in ENTRIES.values():
        if entry.address is None:
            continue
        other = first.setdefault(entry.address, entry)
        assert entry.shares == (None if other is entry else other.name)
        assert (entry.sha256, entry.bytes, entry.archive) == (other.sha256, other.bytes, other.archive)


def test_materialise_of_packaged_and_builtin_entries_returns_files(tmp_path: Path) -> None:
    for entry in ENTRIES.values():
        if entry.address is None:
            assert all(path.stat().st_size for path in materialise(entry, tmp_path))


def test_find_of_an_unknown_name_suggests_the_closest() -> None:
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
def test_load_of_a_malformed_catalogue_raises(tables: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text("[[corpus]]\n" + tables)
    with pytest.raises(SeqgenError, match=complaint):
        catalogue.load(path)


def test_corpora_folder_in_a_checkout_and_in_an_installation_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "seqgen"
    monkeypatch.setattr(catalogue, "__file__", str(package / "corpus" / "catalogue" / "entries.py"))
    with pytest.raises(SeqgenError, match="install seqgen again"):
        catalogue.corpora_folder()
    for folder in (tmp_path / "corpora", package / "_corpora"):  # the installed one has priority
        folder.mkdir(parents=True)
        (folder / "catalog.toml").touch()
        assert catalogue.corpora_folder() == folder


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("SEQGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "seqgen"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "seqgen"

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder().is_relative_to(tempfile.gettempdir())


# ---- Local corpora ----


def test_materialise_of_a_packaged_file_or_folder_returns_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_files, "corpora_folder", lambda: tmp_path)
    with pytest.raises(SeqgenError, match="tales' is missing"):
        materialise(LOCAL, tmp_path / "cache")
    tales = tmp_path / "tales"
    (tales / "sub").mkdir(parents=True)
    (tales / "b.txt").touch()
    (tales / "sub" / "a.txt").touch()
    assert materialise(LOCAL, tmp_path / "cache") == [tales / "b.txt", tales / "sub" / "a.txt"]
    assert materialise(replace(LOCAL, file="tales/b.txt"), tmp_path / "cache") == [tales / "b.txt"]
    assert not (tmp_path / "cache").exists()


def test_materialise_of_python_topics_writes_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = catalogue.find("python-topics")
    [path] = materialise(entry, tmp_path)
    assert 'The "if" statement' in path.read_text("utf-8")
    written = path.stat().st_mtime_ns
    assert materialise(entry, tmp_path) == [path]
    assert path.stat().st_mtime_ns == written
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)  # makes its import fail
    with pytest.raises(UserError, match="without pydoc_data"):
        materialise(entry, tmp_path / "elsewhere")


def test_materialise_of_python_stdlib_returns_the_installed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = materialise(catalogue.find("python-stdlib"), tmp_path)
    assert paths == sorted(paths)
    assert Path(json.__file__) in paths
    assert not any({"test", "tests", "idlelib", "site-packages"} & set(path.parts) for path in paths)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(UserError, match="without the source files"):
        materialise(catalogue.find("python-stdlib"), tmp_path)
