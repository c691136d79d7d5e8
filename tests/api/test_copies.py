"""The copy index of a model: kept in its folder, or built from what is left of its training corpus."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import seqgen
from seqgen import checkpoint
from seqgen.corpus.cache.folder import cache_folder
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
