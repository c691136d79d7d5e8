"""The location of the cache, with and without a home folder that can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

import seqgen
from seqgen.api.train.watch import Watcher
from seqgen.corpus.cache import folder as cache
from seqgen.corpus.cache.folder import cache_folder, fallback_warning
from seqgen.errors import UserError
from tests.helpers.running import prose


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache is named; temporary files have a folder of their own."""
    for name in ("SEQGEN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    cache._temporary_folder.cache_clear()


OWN = f"seqgen-{os.getuid()}"


@pytest.fixture(scope="module")
def of_fixtures() -> Path:
    """The cache in which models are trained that tests share."""
    return cache_folder()


def test_cache_folder_of_fixtures_is_not_the_users_own(of_fixtures: Path, private_cache: Path) -> None:
    assert of_fixtures == private_cache


def test_cache_folder_is_the_usual_one_if_it_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "seqgen"
    assert fallback_warning() is None
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("home", ["/dev/null", "a file"])
def test_cache_folder_without_a_home_is_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("HOME", home if home.startswith("/") else str(tmp_path / home))
    assert cache_folder() == cache_folder() == tmp_path / "tmp" / OWN
    assert cache_folder().stat().st_mode & 0o777 == 0o700
    message = fallback_warning()
    assert message is not None
    assert OWN in message
    assert "SEQGEN_CACHE" in message


def test_cache_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tmp" / OWN).symlink_to(tmp_path / "elsewhere")
    found = cache_folder()
    assert found.parent == tmp_path / "tmp"
    assert found.name != OWN
    assert not found.is_symlink()


def test_cache_folder_that_was_named_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGEN_CACHE", "/dev/null/cache")
    assert cache_folder() == Path("/dev/null/cache")
    assert fallback_warning() is None
    with pytest.raises(UserError, match="set SEQGEN_CACHE to a folder that can be written"), _locked():
        pass


def _locked():  # type: ignore[no-untyped-def]
    from seqgen.corpus.cache.store import locked

    return locked(cache_folder() / "ids" / "x")


def test_train_without_a_home_folder_warns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    (tmp_path / "prose.txt").write_text(prose(100))
    messages: list[str] = []
    watch = Watcher(warn=messages.append)
    options = {"steps": 2, "rnn_size": 8, "embedding_size": 8, "threads": 1, "precision": "fp32"}
    seqgen.train(str(tmp_path / "prose.txt"), tmp_path / "m", watch=watch, **options)
    assert len([message for message in messages if "SEQGEN_CACHE" in message]) == 1
