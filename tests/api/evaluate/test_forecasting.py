"""Which rows of other tables a forecaster is evaluated on, and how those that are new to it are scaled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen.api.evaluate import forecasting as evaluating
from seqgen.corpus.series.windows import Windows
from seqgen.evaluation.baselines.naive import NLinear

SETTINGS: dict[str, Any] = {
    "task": "forecast", "horizon": 7, "look_back": 14, "rnn_size": 4, "steps": 2, "threads": 1, "batch_size": 16,
    "members": 1, "finish": False,
}  # fmt: skip
LEARNT_TOO = "which the model has learnt too"


def values(rows: int, seed: int = 0) -> list[float]:
    """A week's wave with noise."""
    random = np.random.default_rng(seed)
    return list(np.round(20 + 5 * np.sin(np.arange(rows) * 2 * np.pi / 7) + random.normal(size=rows), 3))


def write(path: Path, numbers: Sequence[float]) -> str:
    path.write_text("\n".join(["sales", *map(str, numbers)]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 300 rows without times, 270 of them to train on."""
    folder = tmp_path_factory.mktemp("forecaster")
    seqgen.train(write(folder / "t.csv", values(300)), folder / "m", **SETTINGS)
    return folder / "m"


def finished(folder: Path, copy: Path) -> seqgen.Model:
    """A copy that has learnt its held-out part, as far as its config.json tells."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "finished": {"steps": 1, "epochs": 1.0}}))
    return seqgen.load(copy)


def test_evaluate_with_fewer_new_rows_than_a_horizon_tells_whether_the_others_were_learnt(
    forecaster: Path, tmp_path: Path
) -> None:
    """It said that a finished model had only chosen its best step by them."""
    longer = write(tmp_path / "longer.csv", values(301))
    for model in (seqgen.load(forecaster), finished(forecaster, tmp_path / "m")):
        found = model.evaluate(longer, baselines=False)
        assert (found["rows"], found["windows"]) == (31, 25)
        assert found["evaluated"].startswith("the rows after those of training, with the validation rows, which")
        assert (LEARNT_TOO in found["evaluated"]) == model.checkpoint.is_finished


@pytest.mark.parametrize("name", ["own", "finished", "init_from"])
def test_evaluate_without_times_leaves_out_the_rows_learnt_only_of_a_table_that_begins_with_them(
    name: str, forecaster: Path, tmp_path: Path
) -> None:
    """Others have rows of the same numbers. Of a model of --init-from, which rows it learnt last is only counted."""
    model = seqgen.load(forecaster)
    if name == "finished":
        model = finished(forecaster, tmp_path / "m")
    elif name == "init_from":
        source = write(tmp_path / "u.csv", values(300, seed=4))
        model = seqgen.train(source, tmp_path / "m", init_from=forecaster, steps=1, threads=1, finish=False)
    new = "the rows after those of training and validation"
    seed = 4 if name == "init_from" else 0
    told: list[str] = []
    for numbers, evaluated, rows, warnings in (
        (values(310, seed), new, 10, 0),
        ([*values(299, seed), *values(20, seed=2)], new, 19, 0),
        (values(450, seed=9), *((new, 150, 0) if name == "init_from" else ("all rows", 436, 0))),
        (values(300, seed)[:200], "all rows", 186, 1),
    ):
        told.clear()
        found = model.evaluate(write(tmp_path / "other.csv", numbers), baselines=False, warn=told.append)
        assert (found["evaluated"], found["rows"], len(told)) == (evaluated, rows, warnings)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two series without times, `a` and `b`."""
    folder = tmp_path_factory.mktemp("two")
    names = [write(folder / f"{name}.csv", values(300, seed=seed)) for seed, name in enumerate("ab")]
    seqgen.train(names, folder / "m", **SETTINGS)
    return folder / "m"


@pytest.mark.parametrize("start", ["forecaster", "of_two"])
def test_evaluate_after_init_from_knows_the_rows_learnt_of_series_that_its_model_had_not(
    start: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """They were looked up by the names of the series that it has scales of."""
    names = [write(tmp_path / f"{name}.csv", values(300, seed=seed)) for seed, name in enumerate("cd", 4)]
    given = {"init_from": request.getfixturevalue(start), "steps": 1, "threads": 1, "finish": False}
    model = seqgen.train(names, tmp_path / "m", **given)
    longer = [write(tmp_path / f"{name}.csv", values(320, seed=seed)) for seed, name in enumerate("cd", 4)]
    for sources in (longer, longer[1:]):
        told: list[str] = []
        found = model.evaluate(sources, baselines=False, warn=told.append)
        assert found["evaluated"] == "the rows after those of training and validation"
        assert found["rows"] == 20 * len(sources)
        if start == "of_two":
            which = "'c', 'd' have" if len(sources) > 1 else "'d' has"
            (said,) = told
            assert said.startswith(f"{which} no scale in the model, only 'a', 'b': ")


def test_evaluate_fits_baselines_of_a_series_without_a_scale_to_windows_scaled_by_its_training_rows(
    of_two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were scaled by all rows, in which the intervals of the baselines were too narrow."""
    numbers = [*values(180, seed=4), *(300 * value for value in values(120, seed=5))]
    source = write(tmp_path / "c.csv", numbers)
    given = {"init_from": of_two, "steps": 1, "threads": 1, "split_rows": "120,60,120"}
    model = seqgen.train(source, tmp_path / "m", **given)
    spread: list[float] = []

    class Watched(NLinear):
        def __init__(self, train: Windows, valid: Windows, learnt: Windows) -> None:
            spread.append(float(train.take(np.arange(len(train))).history.std()))
            super().__init__(train, valid, learnt)

    monkeypatch.setattr(evaluating, "NLinear", Watched)
    model.evaluate(source)
    model.evaluate(write(tmp_path / "other.csv", values(60, seed=6)))
    assert spread == pytest.approx([1.0, 1.0], rel=0.1)


def test_evaluate_new_series_equals_forecasts_of_the_table_cut_at_each_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last rows are far from the others, so that statistics with them would differ."""
    names = [write(tmp_path / f"{name}.csv", values(120, seed=seed)) for seed, name in enumerate(("a", "b"))]
    model = seqgen.train(names, tmp_path / "m", **{**SETTINGS, "horizon": 3, "normalisation": "last"})
    numbers = [*values(20), 90.0, 140.0, 95.0, 230.0]
    found = model.evaluate(write(tmp_path / "c.csv", numbers), baselines=False)
    assert (found["evaluated"], found["windows"]) == ("all rows", 8)
    errors, inside = [], []
    for origin in range(14, 22):
        (made,) = model.forecast(write(tmp_path / "d.csv", numbers[:origin]), horizon=3)
        truth = np.array(numbers[origin : origin + 3])
        errors.append(np.abs(made.point[0] - truth))
        (band,) = (band for band in made.bands if band.level == 80)
        inside.append((band.lower[0] <= truth) & (truth <= band.upper[0]))
    assert found["metrics"]["mae"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert found["metrics"]["coverage"]["80"] == pytest.approx(np.mean(inside))
    source = write(tmp_path / "c.csv", values(60))
    exact = model.evaluate(source, baselines=False)
    monkeypatch.setattr(evaluating, "_SCALED_AGAIN", 5)  # as of a long series
    found = model.evaluate(source, baselines=False)
    assert found["tokens"] == exact["tokens"] == 3 * found["windows"] == 3 * 44
    assert found["metrics"]["mae"] != exact["metrics"]["mae"] == pytest.approx(found["metrics"]["mae"], rel=0.02)


def test_intervals_of_a_table_without_times_that_begins_otherwise_follow_all_of_its_rows(
    forecaster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first rows were taken for those learnt, whose errors are too small, and so were not measured."""
    model = seqgen.load(forecaster)
    own, other = write(tmp_path / "own.csv", values(300)), write(tmp_path / "other.csv", values(280, seed=9))

    def widths(path: str) -> list[float]:
        (made,) = model.forecast(path)
        return [float((band.upper - band.lower).mean()) for band in made.bands]

    found = {
        path: (widths(path), model.evaluate(path, baselines=False)["metrics"]["coverage"]) for path in (own, other)
    }
    monkeypatch.setattr(type(model.checkpoint.scaler), "learnt_rows", lambda *_: 0)
    assert found[other][0] == widths(other) and found[own][0] != widths(own)
    assert found[other][1] == model.evaluate(other, baselines=False)["metrics"]["coverage"]


def test_the_seasonal_naive_forecast_has_a_season_however_short_the_look_back(tmp_path: Path) -> None:
    """With a look-back below a season it was the last value, under the same name."""
    lines = [f"{np.datetime64('2023-01-01') + row},{value}" for row, value in enumerate(values(200))]
    (tmp_path / "t.csv").write_text("\n".join(["day,sales", *lines]) + "\n")
    found = {}
    for look_back in (3, 14):
        settings = {**SETTINGS, "look_back": look_back, "split_rows": "140,30,30"}
        model = seqgen.train(str(tmp_path / "t.csv"), tmp_path / str(look_back), **settings)
        found[look_back] = model.evaluate(str(tmp_path / "t.csv"))["baselines"]
    naive = {look_back: each["seasonal_naive"] for look_back, each in found.items()}
    assert naive[3]["mae"] == pytest.approx(naive[14]["mae"], rel=1e-5)
    assert naive[3]["mae"] < 0.5 * found[3]["persistence"]["mae"]


@pytest.mark.parametrize(("level", "last", "is_measured"), [(1000003.37, 0.0, False), (0.0, 3.0, True)])
def test_evaluate_has_a_weighted_quantile_loss_where_the_truth_is_not_zero(
    level: float, last: float, is_measured: bool, tmp_path: Path
) -> None:
    """Zeros far below the mean were rounded to others; numbers far below the deviation were taken for zeros."""
    before = [level + (value - 20 if level else 1e7 * (value - 20)) for value in values(150)]
    source = write(tmp_path / "t.csv", [*before, *[last] * 50])
    model = seqgen.train(source, tmp_path / "m", **SETTINGS, split_rows="120,30,50")
    metrics = model.evaluate(source, baselines=False)["metrics"]
    assert ("wql" in metrics) == is_measured and "coverage" in metrics
