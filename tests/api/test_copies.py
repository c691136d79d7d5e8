"""The copy index of a model: kept in its folder, or built from what is left of its training corpus."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import seqgen
from seqgen import checkpoint
from seqgen.api import copies
from seqgen.api.sources import open_sources
from seqgen.api.train.watch import Watcher
from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.sources import Spool
from seqgen.errors import UserError
from tests.helpers.training import TINY


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("labelled") / "texts.csv"
    rows = [f"moon,the pale moon rose over field {n}\nsun,a warm sun stood above house {n}\n" for n in range(40)]
    source.write_text("label,text\n" + "".join(rows))
    return source


@pytest.mark.parametrize("seed", [0, 5])
def test_max_copy_of_a_generative_classifier_builds_the_index_from_cached_ids(
    labelled: Path, tmp_path: Path, seed: int
) -> None:
    folder = tmp_path / "m"
    model = seqgen.train(
        str(labelled), folder, task="classify", tokenizer="char", generative=True, steps=3, seed=seed, **TINY
    )
    (sample,) = model.sample("the pale moon", label="moon", length=60, max_copy=8)
    text = "the pale moon" + sample.text
    training = labelled.read_text()
    assert all(text[end - 9 : end] not in training for end in range(len("the pale moon") + 1, len(text) + 1))
    assert (folder / checkpoint.CORPUS).exists()


def test_max_copy_without_index_and_cache_is_refused(labelled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    model = seqgen.train(
        str(labelled), folder, task="classify", tokenizer="char", generative=True, steps=2, seed=7, **TINY
    )
    shutil.rmtree(cache_folder() / "ids")
    with pytest.raises(UserError, match="--keep-corpus"):
        model.sample("the pale", label="moon", length=20, max_copy=8)


@pytest.mark.parametrize("vanishes", [False, True])
def test_keep_corpus_of_a_source_that_changed_since_keeps_what_was_read(
    text_file: Path, tmp_path: Path, vanishes: bool
) -> None:
    source, warnings = tmp_path / "prose.txt", []
    text = text_file.read_text("utf-8")
    source.write_text(text, "utf-8")

    def change(_: object) -> None:
        source.unlink() if vanishes else source.write_text("another text by now")

    watch = Watcher(started=change, warn=warnings.append)
    model = seqgen.train(str(source), tmp_path / "m", keep_corpus=True, steps=2, watch=watch, **TINY)
    assert [warning for warning in warnings if "has changed or vanished since it was read" in warning]
    index = copies.load_copy_index(model.checkpoint)
    assert index is not None and index.longest_match(text[40:160]) == 120


def test_unchanged_sources_finds_a_packaged_corpus_of_many_files(zoo: dict[str, Path], tmp_path: Path) -> None:
    """Its documents have the names of its files, not of the corpus."""
    folder = tmp_path / "m"
    shutil.copytree(zoo["music"], folder)
    config = json.loads((folder / "config.json").read_text())
    with Spool() as spool:
        documents = open_sources("music", ["tunes"], spool)
        config["data"]["sources"] = [document.to_json() for document in documents]
        config["training"]["sources"] = ["tunes"]
        (folder / "config.json").write_text(json.dumps(config))
        assert copies.unchanged_sources(checkpoint.load(folder), spool) == documents
        config["training"]["sources"] = ["tidewater", 3]
        (folder / "config.json").write_text(json.dumps(config))
        assert copies.unchanged_sources(checkpoint.load(folder), spool) == []
