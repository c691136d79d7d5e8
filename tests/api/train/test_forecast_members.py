"""Several forecasters in a model, each of which learns the held-out rows at the end; old models without new fields."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen import checkpoint
from seqgen.api.train import finish, members
from seqgen.api.train.watch import Watcher
from seqgen.config import ForecasterConfig, TrainOptions
from seqgen.errors import ModelError, UserError
from seqgen.model.forecaster import Forecaster
from seqgen.tasks.forecasting import ForecastingData
from seqgen.training.loop import Run
from seqgen.training.plans.forecasting import make_plan, window_shape
from tests.helpers.training import saved_weights

OPTIONS: dict[str, Any] = {
    "task": "forecast", "rnn_size": 8, "threads": 1, "batch_size": 16, "look_back": 112, "horizon": 7, "steps": 12,
    "target": ("warmth",), "segment_length": 7, "members": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    days = np.datetime64("2023-01-01") + np.arange(260)
    wave = 20 + 5 * np.sin(np.arange(260) * 2 * np.pi / 7) + random.normal(size=260)
    path = tmp_path_factory.mktemp("table") / "shop.csv"
    path.write_text("\n".join(["date,warmth", *(f"{a},{b:.3f}" for a, b in zip(days, wave, strict=True))]) + "\n")
    return path


@pytest.fixture(scope="module")
def three(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three") / "m"
    seqgen.train(str(table), folder, **OPTIONS)
    return folder


def test_train_forecast_members_differ_in_look_back_and_weights(three: Path, table: Path) -> None:
    loaded = checkpoint.load(three)
    assert [config.look_back for config in loaded.forecaster_configs] == [112, 56, 112]
    assert len({weights["output_weight"].tobytes() for weights in loaded.all_weights()}) == 3
    model = seqgen.load(three)
    assert model.forecaster.config.look_back == 112
    (made,) = model.forecast(str(table), horizon=10)
    (again,) = seqgen.load(three).forecast(str(table), horizon=10)
    np.testing.assert_array_equal(made.point, again.point)
    assert made.point.shape == (1, 10) and np.isfinite(made.point).all()
    assert (made.bands[1].lower <= made.bands[1].upper).all()


def test_train_forecast_members_same_seed_gives_the_same_bytes(three: Path, table: Path, tmp_path: Path) -> None:
    seqgen.train(str(table), tmp_path / "m", **OPTIONS)
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == (three / "model.safetensors").read_bytes()


def test_train_forecast_members_all_learn_the_held_out_rows(three: Path, table: Path, tmp_path: Path) -> None:
    seqgen.train(str(table), tmp_path / "m", **OPTIONS, finish=False)
    finished, unfinished = (checkpoint.load(path).all_weights() for path in (three, tmp_path / "m"))
    for learnt, plain in zip(finished, unfinished, strict=True):
        assert not np.array_equal(learnt["output_weight"], plain["output_weight"])
        assert not np.array_equal(learnt["mixture_weight"], plain["mixture_weight"])
        np.testing.assert_array_equal(learnt["mixture"], plain["mixture"])


def test_stop_while_a_forecaster_learns_the_held_out_rows_leaves_it_out(table: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def stop() -> bool:
        return seen.count("Finishing") == 2

    watch = Watcher(event=lambda event: seen.append(type(event).__name__), stop=stop)
    seqgen.train(str(table), tmp_path / "m", watch=watch, **OPTIONS)
    assert len(checkpoint.load(tmp_path / "m").networks) == 1


def test_train_forecast_members_learn_the_held_out_rows_in_time_of_its_own(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured before it doesn't count; it took so long that further networks were thrown away."""
    measure = ForecastingData.before_finishing

    def slow(self: ForecastingData, network: Forecaster) -> None:
        measure(self, network)
        time.sleep(0.4)

    monkeypatch.setattr(ForecastingData, "before_finishing", slow)
    monkeypatch.setattr(Run, "finishing_seconds", lambda run: 0.35)
    monkeypatch.setattr(members, "_LEAST", 0.05)  # however little time a busy machine leaves for the second network
    monkeypatch.setattr(finish, "_NOISE", 1.0)  # and however few steps it takes in that of finishing
    seqgen.train(str(table), tmp_path / "m", **{**OPTIONS, "steps": None, "budget": "3s", "members": 2})
    loaded = checkpoint.load(tmp_path / "m")
    assert len(loaded.networks) == 2 and loaded.is_finished


def test_resume_with_a_longer_budget_leaves_the_first_forecaster(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a run that planned one network, and had time for more."""
    monkeypatch.setattr(members, "_LEAST", 0.01)  # however little time a busy machine leaves for the second network
    folder = tmp_path / "m"
    seqgen.train(str(table), folder, **{**OPTIONS, "steps": None, "budget": "2s", "members": 2})
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["training"]["members"] |= {"planned": 1, "most": 8}
    path.write_text(json.dumps(config))
    finished = config.get("finished")
    before = saved_weights(folder)
    seqgen.train([], folder, resume=True, budget="5s")
    after = saved_weights(folder)
    assert {name: after[name] for name in before} == before and len(after) > len(before)
    config = json.loads(path.read_text())
    if finished is not None:  # or the first had no time to learn the held-out part, and a further one has learnt it
        assert config["finished"] == finished
    assert config["training"]["schedule"]["seconds"] < 2


def test_load_forecast_member_with_another_horizon_raises_model_error(three: Path, tmp_path: Path) -> None:
    shutil.copytree(three, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    config["members"][0]["horizon"] = 8
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="horizon of member 1"):
        checkpoint.load(tmp_path / "m")


def test_forecaster_config_without_added_fields_keeps_its_identity() -> None:
    """Of a model that an older version wrote: fields that it lacks are no part of the digest, unless they are used."""
    plain = ForecasterConfig(targets=1, look_back=12, horizon=4, segment_length=4)
    assert checkpoint.identity(plain, {}) == "846d0d76a1e027952934d68ae1837f020f93c9bca46dc669245f6605df2a9287"
    for changes in ({"mixture": True}, {"lags": (7,)}, {"season": 7}, {"known": 1, "effects": 1}):
        changed = dataclasses.replace(plain, **changes)  # type: ignore[arg-type]
        assert checkpoint.identity(changed, {}) != checkpoint.identity(plain, {})


@pytest.mark.parametrize(
    "changes", [{"lags": (7, 3)}, {"lags": (0,)}, {"lags": (3, 3)}, {"effects": 1}, {"season": 0}], ids=str
)
def test_forecaster_config_impossible_seasons_raise_user_error(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        ForecasterConfig(targets=1, look_back=12, horizon=4, segment_length=4, **changes)


def test_forecasting_plan_averages_several_networks_of_few_windows() -> None:
    def members(windows: int, spent: float = 0.0, **options: Any) -> tuple[int, int]:
        given = TrainOptions(**options)
        shape = window_shape(given, 300, 7)
        planned = make_plan(given, shape, 1, 0, 0, 0, windows, spent).members
        return planned.planned, planned.most

    assert members(200) == (3, 3)
    assert members(50_000) == (1, 1)
    assert members(200, steps=10) == members(200, epochs=3.0) == (1, 1)
    assert members(50_000, members=4) == (4, 4)
    assert members(200, budget="60s")[0] == 3 and members(200, budget="15s", spent=4.0)[0] == 1
