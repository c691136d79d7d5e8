"""What a notebook shows for models and their results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

import seqgen
from seqgen.errors import ModelError
from tests.helpers.model_zoo import MODELS


def parsed(shown: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{shown}</div>")


@pytest.mark.parametrize("task", MODELS)
def test_notebook_shows_facts_and_curve_of_a_model(task: str, zoo: dict[str, Path]) -> None:
    model = seqgen.load(zoo[task])
    found = parsed(model._repr_html_())
    rows = {row[0].text: row[1].text for row in found.iter("tr")}
    assert rows["task"] == model.task
    assert rows["parameters"].startswith(f"{model.info()['parameters']:,} ")
    assert any(element.tag.endswith("}path") for element in found.iter())


def test_notebook_of_a_damaged_model_is_a_model_error(zoo: dict[str, Path], tmp_path: Path) -> None:
    model = Path(shutil.copytree(zoo["text"], tmp_path / "m"))
    config = json.loads((model / "config.json").read_text())
    del config["training"]["schedule"]
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config\.json is damaged: a value is missing"):
        seqgen.load(model)._repr_html_()


def test_notebook_shows_a_composition_that_plays(zoo: dict[str, Path]) -> None:
    composed = seqgen.load(zoo["music"]).compose(length=2, seed=4)[0]
    (frame,) = parsed(composed._repr_html_())
    page = frame.get("srcdoc") or ""
    assert page.startswith("<!DOCTYPE html>") and "Piece 0 of seed 4" in page
    assert page.count("[[") or not composed.piece.notes


def test_notebook_shows_a_forecast_as_charts(zoo: dict[str, Path]) -> None:
    (made,) = seqgen.load(zoo["forecast"]).forecast(str(zoo["forecast"].parent / "table.csv"))
    found = parsed(made._repr_html_())
    assert f"3 rows after {made.origin_label}" in "".join(found.itertext())
    titles = {element.get("aria-label") for element in found.iter() if element.get("role") == "img"}
    assert titles == set(made.columns)


def test_notebook_shows_a_score_as_coloured_text(zoo: dict[str, Path]) -> None:
    model = seqgen.load(zoo["text"])
    text = "The <b>lamp</b> & 灯"
    score = model.score(text, "a & b", per_token=True)
    found = parsed(score._repr_html_())
    (pre,) = found.iter("pre")
    assert "".join(pre.itertext()) == text
    assert found[0].text == "a & b"
    assert {row[0].text: row[1].text for row in found.iter("tr")}["tokens"] == f"{score.tokens}"
    assert "per_token=True" in model.score(text)._repr_html_()


def test_notebook_shows_a_score_of_music_event_by_event(zoo: dict[str, Path]) -> None:
    score = seqgen.load(zoo["music"]).score((zoo["music"].parent / "tune.mid").read_bytes(), per_token=True)
    assert "to come metre 6/8 position 0" in "".join(parsed(score._repr_html_()).itertext())
