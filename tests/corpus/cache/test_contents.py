"""Listing the cache and removing from it while it is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqgen.corpus.cache.contents import CacheEntry, list_entries, remove
from seqgen.corpus.catalogue import download, entries
from seqgen.errors import UserError

ENTRIES = entries.load()


@pytest.mark.parametrize("name", ["tinyshakespeare", next(entry.name for entry in ENTRIES.values() if entry.shares)])
def test_list_entries_during_a_download_reports_the_corpus_as_in_use(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the corpus is a part of another one's archive, and so is locked in the other's folder."""
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path))
    entry = ENTRIES[name]
    (tmp_path / entry.name).mkdir()
    (tmp_path / entry.name / "partial").touch()
    during: list[CacheEntry] = []

    def interrupt(*_: object) -> None:
        during.extend(list_entries())
        for each in during:
            remove(each)
        raise UserError("interrupted")

    monkeypatch.setattr(download, "_download", interrupt)
    with pytest.raises(UserError, match="interrupted"):
        download.fetch(entry, tmp_path, None, 1.0)
    assert {each.key for each in during} == {entry.name, entry.shares or entry.name}
    assert all(each.in_use for each in during)
    assert (tmp_path / entry.name / "partial").exists()
    assert not any(each.in_use for each in list_entries())
