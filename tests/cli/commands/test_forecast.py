"""The commands with tables: a small model forecasts, from files and pipes, and says in one line what is wrong."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import seqgen
from seqgen.api.evaluate import forecasting as evaluating
from seqgen.api.train.watch import Watcher
from seqgen.cli.main import main
from seqgen.corpus.series.windows import Windows
from seqgen.errors import ModelError, UserError
from seqgen.evaluation.baselines.naive import NLinear
from seqgen.evaluation.forecasting import ForecastTally
from seqgen.training.loop import Stepped
from tests.helpers.running import Command

TINY = ["--rnn-size", 8, "--threads", 1, "--batch-size", 16, "--steps", 40, "--look-back", 28, "--horizon", 7]
PYTHON: dict[str, Any] = {"rnn_size": 8, "threads": 1, "batch_size": 16, "look_back": 28, "horizon": 7}
Run = Callable[..., tuple[str, str]]


def daily(rows: int = 300, seed: int = 0) -> str:
    """A table of two columns: a week's wave and a noisier one, from 1 January 2023."""
    random = np.random.default_rng(seed)
    days = np.datetime64("2023-01-01") + np.arange(rows)
    wave = 20 + 5 * np.sin(np.arange(rows) * 2 * np.pi / 7) + 0.3 * random.normal(size=rows)
    other = 100 - 2 * wave + random.normal(size=rows)
    lines = [f"{day},{a:.3f},{b:.2f}" for day, a, b in zip(days, wave, other, strict=True)]
    return "\n".join(["date,warmth,sales", *lines]) + "\n"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in this process: what it wrote to stdout and to stderr."""

    def inside(*arguments: object, stdin: str = "", status: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capfd.readouterr()
        ended = main([str(argument) for argument in arguments])
        said = capfd.readouterr()
        assert ended == status, said.err
        return said.out, said.err

    return inside


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "shop.csv"
    path.write_text(daily())
    return path


@pytest.fixture(scope="session")
def forecaster(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the table, its last 60 rows kept for measuring. Not to be changed."""
    folder = tmp_path_factory.mktemp("forecaster") / "shop"
    seqgen.train(str(table), folder, task="forecast", steps=40, split_rows="200,40,60", calendar=False, **PYTHON)
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# From a table to a forecast


def test_train_forecast_guesses_the_task_and_columns(table: Path, tmp_path: Path, run: Run) -> None:
    _, said = run("train", table, "-o", tmp_path / "m", "--steps", 5, "--threads", 1)
    assert "forecast: 270 rows of warmth, sales to train on, 30 held out" in said
    made, _ = run("forecast", tmp_path / "m", table)
    assert len(rows_of(made)) == 7  # a week of days


def test_forecast_csv(forecaster: Path, table: Path, run: Run) -> None:
    made, said = run("forecast", forecaster, table)
    assert said == ""
    rows = rows_of(made)
    assert list(rows[0]) == [
        "date", "warmth", "warmth_lo80", "warmth_hi80", "warmth_lo95", "warmth_hi95", "sales", "sales_lo80",
        "sales_hi80", "sales_lo95", "sales_hi95",
    ]  # fmt: skip
    assert [row["date"] for row in rows] == [str(np.datetime64("2023-10-28") + day) for day in range(7)]
    for row in rows:
        found = {name: float(value) for name, value in row.items() if name != "date"}
        for name in ("warmth", "sales"):
            limits = [found[f"{name}_{end}"] for end in ("lo95", "lo80", "hi80", "hi95")]
            assert limits == sorted(limits)
    assert all(10 < float(row["warmth"]) < 30 for row in rows)


def test_forecast_pipe_equals_file(forecaster: Path, table: Path, tmp_path: Path, run: Run) -> None:
    from_file, _ = run("forecast", forecaster, table)
    assert run("forecast", forecaster, stdin=table.read_text())[0] == from_file
    assert run("forecast", forecaster, "-", stdin=table.read_text())[0] == from_file
    run("forecast", forecaster, table, "-o", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == from_file


def test_forecast_command_line(forecaster: Path, table: Path, seqgen_command: Command) -> None:
    done = seqgen_command("forecast", forecaster, "--horizon", 3, stdin=table.read_bytes())
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 4


def test_forecast_horizons_share_their_first_rows(forecaster: Path, table: Path, run: Run) -> None:
    longest = rows_of(run("forecast", forecaster, table, "--horizon", 20)[0])
    assert len(longest) == 20
    for horizon in (1, 7, 10):
        assert rows_of(run("forecast", forecaster, table, "--horizon", horizon)[0]) == longest[:horizon]


def test_forecast_levels(forecaster: Path, table: Path, run: Run) -> None:
    rows = rows_of(run("forecast", forecaster, table, "--levels", "50")[0])
    assert list(rows[0])[:4] == ["date", "warmth", "warmth_lo50", "warmth_hi50"]
    assert list(rows_of(run("forecast", forecaster, table, "--levels", "none")[0])[0]) == ["date", "warmth", "sales"]


def test_forecast_backtest(forecaster: Path, table: Path, run: Run) -> None:
    rows = rows_of(run("forecast", forecaster, table, "--backtest", 3, "--horizon", 5)[0])
    assert len(rows) == 15
    assert [row["origin"] for row in rows[::5]] == ["2023-10-12", "2023-10-17", "2023-10-22"]
    source = {row["date"]: row for row in rows_of(table.read_text())}
    for row in rows:
        assert float(row["warmth_actual"]) == float(source[row["date"]]["warmth"])
    # and each is what would have been forecast then
    lines = table.read_text().splitlines()
    then = "\n".join(lines[: 1 + 285]) + "\n"
    same = rows_of(run("forecast", forecaster, "--horizon", 5, stdin=then)[0])
    assert [row["warmth"] for row in same] == [row["warmth"] for row in rows[:5]]
    for name in [name for name in same[0] if name != "date"]:  # the bands too, which follow the rows before
        there, here = ([float(row[name]) for row in found] for found in (rows[:5], same))
        np.testing.assert_allclose(there, here, rtol=1e-4)


def test_forecast_json_has_an_object_per_line(forecaster: Path, table: Path, run: Run) -> None:
    (line,) = run("forecast", forecaster, table, "--json", "--backtest", 1)[0].splitlines()
    found = json.loads(line)
    assert found["origin"] == "2023-10-20"
    assert len(found["times"]) == 7
    warmth = found["columns"]["warmth"]
    assert len(warmth["forecast"]) == len(warmth["actual"]) == len(warmth["bands"]["80"]["low"]) == 7


@pytest.mark.parametrize("more", [[], ["--backtest", 3], ["--horizon", 1]], ids=["ahead", "past", "one"])
def test_forecast_plot(forecaster: Path, table: Path, tmp_path: Path, run: Run, more: list[object]) -> None:
    made, _ = run("forecast", forecaster, table, "--plot", tmp_path / "p.png", *more)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert made.startswith(("date", "origin"))


# Other tables


def test_forecast_several_series_in_one_table(tmp_path: Path, run: Run) -> None:
    lines = ["shop,day,sales"]
    for shop, level in (("north", 10), ("south", 500)):
        for number in range(80):
            day = np.datetime64("2024-01-01") + number
            lines.append(f"{shop},{day},{level + level * 0.2 * math.sin(number * 2 * math.pi / 7):.3f}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    run("train", tmp_path / "t.csv", "-o", tmp_path / "m", "--series", "shop", *TINY, "--quiet")
    rows = rows_of(run("forecast", tmp_path / "m", tmp_path / "t.csv", "--plot", tmp_path / "p.png")[0])
    assert [row["series"] for row in rows] == ["north"] * 7 + ["south"] * 7
    assert all(5 < float(row["sales"]) < 15 for row in rows[:7])
    assert all(250 < float(row["sales"]) < 750 for row in rows[7:])
    result = json.loads(run("evaluate", tmp_path / "m", tmp_path / "t.csv", "--json")[0])
    assert result["records"] == 2
    assert "2 series" in run("info", tmp_path / "m")[0]


def test_forecast_rows_without_times(tmp_path: Path, run: Run) -> None:
    values = [f"{math.sin(number / 2):.4f}" for number in range(150)]
    (tmp_path / "t.csv").write_text("\n".join(["level", *values]) + "\n")
    run("train", tmp_path / "t.csv", "--task", "forecast", "-o", tmp_path / "m", *TINY, "--quiet")
    rows = rows_of(run("forecast", tmp_path / "m", tmp_path / "t.csv")[0])
    assert [row["row"] for row in rows] == [str(number) for number in range(151, 158)]
    assert seqgen.load(tmp_path / "m").checkpoint.scaler.learnt == {"": 135}
    run("forecast", tmp_path / "m", tmp_path / "t.csv", "--plot", tmp_path / "p.png")


def test_forecast_past_and_future_covariates(tmp_path: Path, run: Run) -> None:
    """Sales follow the offers, which are known ahead, and nothing else could tell."""
    random = np.random.default_rng(3)
    offers = (random.random(400) < 0.4).astype(int)
    lines = ["day,sales,offer,visitors"]
    for number in range(407):
        offer = offers[number] if number < 400 else number % 2
        sales = f"{10 + 20 * offer + 0.1 * random.normal():.2f}" if number < 400 else ""
        lines.append(f"{np.datetime64('2023-01-01') + number},{sales},{offer},{50 + offer if number < 400 else ''}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    asked = ["--target", "sales", "--future-covariates", "offer", "--covariates", "visitors", "--calendar"]
    run("train", tmp_path / "t.csv", "-o", tmp_path / "m", *TINY[:-6], "--horizon", 7, "--look-back", 14, *asked,
        "--rnn-size", 32, "--steps", 500, "--dropout", 0, "--segment-length", 1, "--lr", 0.005, "--quiet")  # fmt: skip
    rows = rows_of(run("forecast", tmp_path / "m", tmp_path / "t.csv", "--levels", "none")[0])
    assert len(rows) == 7
    for number, row in enumerate(rows):
        assert float(row["sales"]) == pytest.approx(30 if (400 + number) % 2 else 10, abs=5)
    _, said = run("forecast", tmp_path / "m", tmp_path / "t.csv", "--horizon", 8, status=2)
    assert "offer must be given 8 rows ahead; there are 7" in said


def test_forecast_log_returns(tmp_path: Path, run: Run) -> None:
    random = np.random.default_rng(4)
    price = 100 * np.exp(np.cumsum(0.01 * random.normal(size=300)))
    days = [str(np.busday_offset("2022-01-03", number)) for number in range(300)]
    text = "\n".join(["Date,Close", *(f"{d},{p:.2f}" for d, p in zip(days, price, strict=True))]) + "\n"
    (tmp_path / "px.csv").write_text(text)
    run("train", tmp_path / "px.csv", "-o", tmp_path / "m", *TINY, "--log-returns", "--quiet")
    rows = rows_of(run("forecast", tmp_path / "m", tmp_path / "px.csv")[0])
    assert next(iter(rows[0])) == "Date"
    assert all(float(row["Close"]) == pytest.approx(price[-1], rel=0.1) for row in rows)
    table, _ = run("evaluate", tmp_path / "m", tmp_path / "px.csv")
    assert "persistence" in table


@pytest.mark.parametrize("scaling", ["standard", "minmax", "none"])
def test_train_forecast_with_every_scaling(scaling: str, table: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    watch = Watcher(event=lambda event: losses.append(event.loss) if isinstance(event, Stepped) else None)
    seqgen.train(str(table), tmp_path / "m", task="forecast", scaling=scaling, steps=80, watch=watch, **PYTHON)
    assert np.mean(losses[-5:]) < 0.8 * losses[0]


# Measuring


def test_evaluate_forecast_chooses_the_rows(forecaster: Path, table: Path, tmp_path: Path, run: Run) -> None:
    result = json.loads(run("evaluate", forecaster, table, "--json")[0])
    assert result["task"] == "forecast"
    assert result["windows"] == 2 * (60 - 7 + 1)  # every window of the third part, none dropped
    assert result["tokens"] == result["windows"] * 7
    keys = {"scaled_mse", "scaled_mae", "mse", "mae", "rmse", "mase", "wql", "coverage", "skill"}
    assert keys <= set(result["metrics"])
    assert set(result["baselines"]) == {"persistence", "seasonal_naive", "nlinear"}
    assert all(keys <= set(baseline) for baseline in result["baselines"].values())
    assert result["baselines"]["persistence"]["skill"] == 0
    assert set(result["metrics"]["coverage"]) == {"50", "80", "95"}
    assert set(result["metrics"]["per_column"]) == {"warmth", "sales"}
    # another file: every row that has a look-back before it
    (tmp_path / "new.csv").write_text(daily(100, seed=9))
    out, said = run("evaluate", forecaster, tmp_path / "new.csv", "--json")
    fresh = json.loads(out)
    assert fresh["windows"] == 2 * (100 - 28 - 7 + 1)
    assert said == "seqgen: warning: up to 100 of these 100 rows were learnt: others have larger errors\n"
    assert fresh["evaluated"] == "all rows"
    assert "nlinear" in fresh["baselines"]  # what was learnt from still lies where it lay


@pytest.mark.parametrize(
    ("begin", "end", "first", "evaluated"),
    [
        (0, 310, 240, "the rows after those of training and validation"),
        (210, 300, 240, "the rows after those of training and validation"),
        (
            0,
            246,
            200,
            "the rows after those of training, with the validation rows, which chose the best step and the width",
        ),
    ],
)
def test_evaluate_forecast_of_the_training_table_with_other_rows_leaves_out_what_was_learnt(
    begin: int, end: int, first: int, evaluated: str, forecaster: Path, tmp_path: Path, run: Run
) -> None:
    header, *lines = daily(end).splitlines()
    (tmp_path / "shop.csv").write_text("\n".join([header, *lines[begin:]]) + "\n")
    out, said = run("evaluate", forecaster, tmp_path / "shop.csv", "--json")
    found = json.loads(out)
    assert found["evaluated"].startswith(evaluated) and (found["rows"], said) == (end - max(first, begin + 28), "")
    assert found["windows"] == 2 * (end - max(first, begin + 28) - 7 + 1) and "nlinear" in found["baselines"]


def test_evaluate_forecast_finished_model_and_nlinear_have_learnt_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its table, which is overwritten by one with new rows."""
    table, fitted = tmp_path / "t.csv", []

    class Watched(NLinear):
        def __init__(self, train: Windows, held_out: Windows | None, learnt: Windows | None = None) -> None:
            super().__init__(train, held_out, learnt)
            fitted.append([int(windows.origins[-1]) + 7 for windows in (train, held_out, learnt) if windows])

    monkeypatch.setattr(evaluating, "NLinear", Watched)
    table.write_text(daily(300))
    model = seqgen.train(str(table), tmp_path / "m", task="forecast", steps=20, **{**PYTHON, "batch_size": 128})
    model.evaluate(str(table))
    table.write_text(daily(320))
    found = model.evaluate(str(table))
    assert fitted == [[270, 300, 300]] * 2
    assert found["rows"] == 20 and found["evaluated"] == "the rows after those of training and validation"


def test_evaluate_forecast_metrics_equal_those_of_forecasts(forecaster: Path, table: Path, run: Run) -> None:
    """The scaled error over all windows, from the forecasts that `forecast --backtest` writes of them."""
    result = json.loads(run("evaluate", forecaster, table, "--json")[0])
    lines = table.read_text().splitlines()
    deviation = np.array([[float(cell) for cell in line.split(",")[1:]] for line in lines[1:201]]).std(axis=0)
    errors = []
    for end in range(240, 294):
        rows = rows_of(run("forecast", forecaster, "--levels", "none", stdin="\n".join(lines[: 1 + end]) + "\n")[0])
        for number, row in enumerate(rows):
            truth = [float(cell) for cell in lines[1 + end + number].split(",")[1:]]
            errors.append((np.array([float(row["warmth"]), float(row["sales"])]) - truth) / deviation)
    assert np.mean(np.square(errors)) == pytest.approx(result["metrics"]["scaled_mse"], rel=1e-4)


def test_evaluate_forecast_coverage_equals_that_of_forecasts(
    forecaster: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every origin those of the table cut there, though they follow how earlier ones held."""
    model = seqgen.load(forecaster)
    measured: list[np.ndarray] = []
    add = ForecastTally.add

    def watched(self: ForecastTally, truth: Any, observed: Any, point: Any, quantiles: Any, *more: Any) -> None:
        measured.append(quantiles)
        add(self, truth, observed, point, quantiles, *more)

    monkeypatch.setattr(ForecastTally, "add", watched)
    model.evaluate(str(table), baselines=False)
    (quantiles,) = measured
    assert len(quantiles) == 54
    lines = table.read_text().splitlines()
    for place, end in enumerate(range(240, 294)):
        (tmp_path / "cut.csv").write_text("\n".join(lines[: 1 + end]) + "\n")
        (made,) = model.forecast(str(tmp_path / "cut.csv"), levels="50,80,95")
        (then,) = model.forecast(str(tmp_path / "cut.csv"), levels="80", backtest=1, horizon=7)
        assert then.origin == end - 7
        for band in made.bands:
            lower = (2.5, 10.0, 25.0, 50.0, 75.0, 90.0, 97.5).index(50 - band.level / 2)
            np.testing.assert_allclose(band.lower, quantiles[place, :, :, lower], rtol=1e-4)
            np.testing.assert_allclose(band.upper, quantiles[place, :, :, 6 - lower], rtol=1e-4)
        if place >= 7:
            np.testing.assert_allclose(then.bands[0].lower, quantiles[place - 7, :, :, 1], rtol=1e-4)


def test_evaluate_forecast_knows_the_training_rows(forecaster: Path, table: Path, tmp_path: Path) -> None:
    model = seqgen.load(forecaster)
    scaler = model.checkpoint.scaler
    (whole,) = model.forecast(str(table))
    assert scaler.learnt_rows(whole.series, finished=False) == 200
    lines = table.read_text().splitlines()
    for first, last, rows in ((150, 300, 50), (220, 300, 0), (0, 120, 120)):
        (tmp_path / "part.csv").write_text("\n".join([lines[0], *lines[1 + first : 1 + last]]) + "\n")
        (part,) = model.forecast(str(tmp_path / "part.csv"))
        assert scaler.learnt_rows(part.series, finished=False) == rows
    # a model of before this was kept knows nothing of it, and is read and written as it was
    before = {name: value for name, value in scaler.to_dict().items() if name != "learnt"}
    assert type(scaler).from_dict(before).learnt_rows(whole.series, finished=False) == 0
    assert type(scaler).from_dict(before).to_dict() == before
    assert type(scaler).from_dict(scaler.to_dict()) == scaler
    for damaged in ({"": "soon"}, {"": 1e300}, [1], {"": 10**30}):
        with pytest.raises(ModelError, match="scaling of series"):
            type(scaler).from_dict({**before, "learnt": damaged})


def test_evaluate_forecast_prints_a_table_and_a_verdict(
    forecaster: Path, table: Path, tmp_path: Path, run: Run
) -> None:
    words, said = run("evaluate", forecaster, table)
    assert "108 windows of 7 steps of 2 columns: the test rows, used neither for training nor for validation" in words
    assert "in the 80 % interval" in words
    assert said == ""
    random = np.random.default_rng(1)
    walk = np.cumsum(random.normal(size=400))
    days = [str(np.datetime64("2020-01-01") + day) for day in range(400)]
    (tmp_path / "walk.csv").write_text(
        "\n".join(["day,walk", *(f"{d},{w:.4f}" for d, w in zip(days, walk, strict=True))]) + "\n"
    )
    seqgen.train(
        str(tmp_path / "walk.csv"), tmp_path / "m", task="forecast", steps=200, split_rows="0.5,0.2,0.3",
        learning_rate=0.02, dropout=0.0, **PYTHON,
    )  # fmt: skip
    words, _ = run("evaluate", tmp_path / "m", tmp_path / "walk.csv")
    assert "better than the last value" in words or "does not beat persistence" in words


def test_evaluate_forecast_without_training_rows_lacks_nlinear(tmp_path: Path, run: Run) -> None:
    (tmp_path / "t.csv").write_text(daily())
    (tmp_path / "new.csv").write_text(daily(100, seed=9))
    run("train", tmp_path / "t.csv", "-o", tmp_path / "m", *TINY, "--quiet")
    (tmp_path / "t.csv").unlink()
    words, _ = run("evaluate", tmp_path / "m", tmp_path / "new.csv")
    assert "NLinear is missing" in words
    words, _ = run("evaluate", tmp_path / "m", tmp_path / "new.csv", "--no-baselines")
    assert "persistence" not in words


def test_info_forecast_and_model_card(forecaster: Path, run: Run) -> None:
    words, _ = run("info", forecaster)
    assert "look-back      28 rows, 7 in a step of recurrence" in words
    assert "7 rows ahead of 2 columns, prediction intervals: 50 %, 80 %, 95 %" in words
    assert json.loads(run("info", forecaster, "--json")[0])["network"]["horizon"] == 7
    assert "seqgen forecast shop" in (forecaster / "README.md").read_text()


# Runs


def tensors(folder: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(folder / "model.safetensors").items()}


def test_train_forecast_same_seed_gives_the_same_bytes(table: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        seqgen.train(str(table), tmp_path / name, task="forecast", steps=12, seed=seed, dropout=0.3, **PYTHON)
    assert tensors(tmp_path / "a") == tensors(tmp_path / "b")
    assert tensors(tmp_path / "a") != tensors(tmp_path / "c")


def test_train_forecast_resume_is_exact(table: Path, tmp_path: Path) -> None:
    steps = 0

    def stop_at_ten() -> bool:
        nonlocal steps
        steps += 1
        return steps > 10

    options = {"task": "forecast", "dropout": 0.3, "steps": 24, **PYTHON}
    seqgen.train(str(table), tmp_path / "whole", **options)
    seqgen.train(str(table), tmp_path / "cut", watch=Watcher(stop=stop_at_ten), **options)
    seqgen.train((), tmp_path / "cut", resume=True)
    whole, cut = (load_file(next((tmp_path / name / "resume").glob("*.safetensors"))) for name in ("whole", "cut"))
    weights = [name for name in whole if name.startswith(("weight.", "optimiser."))]
    assert all(np.array_equal(whole[name], cut[name]) for name in weights)
    model = seqgen.train((), tmp_path / "cut", resume=True, steps=30)
    assert model.checkpoint.config["training"]["step"] == 30


def test_train_forecast_init_from(forecaster: Path, table: Path, tmp_path: Path) -> None:
    model = seqgen.train(str(table), tmp_path / "m", init_from=forecaster, steps=1, learning_rate=1e-9, warmup=0.0)
    before, after = (load_file(path / "model.safetensors") for path in (forecaster, tmp_path / "m"))
    for name in set(before) - {"believed", "widening", "mixture", "mixture_weight", "mixture_bias"}:
        np.testing.assert_allclose(before[name], after[name], atol=1e-5)
    scaler, started = model.checkpoint.scaler, seqgen.load(forecaster).checkpoint.scaler
    assert scaler.learnt[""] > started.learnt[""]  # it has learnt from more rows since
    assert dataclasses.replace(scaler, learnt=started.learnt, held_out=started.held_out) == started
    with pytest.raises(UserError, match="--horizon 9 contradicts --init-from, whose model has 7"):
        seqgen.train(str(table), tmp_path / "n", init_from=forecaster, steps=1, horizon=9)


def test_train_forecast_network_sizes(table: Path, tmp_path: Path) -> None:
    model = seqgen.train(
        str(table), tmp_path / "m", task="forecast", cell="lstm", rnn_size=50, num_layers=2, batch_size=32, epochs=1,
        look_back=60, horizon=1, scaling="minmax", threads=1,
    )  # fmt: skip
    assert model.checkpoint.network.summary.startswith("2 × LSTM 50")
    made = model.forecast(str(table))[0]
    assert made.point.shape == (2, 1)


def test_forecast_python_interface(forecaster: Path, table: Path) -> None:
    model = seqgen.load(forecaster)
    (made,) = model.forecast(str(table), horizon=3, levels="95")
    assert made.times[0] == "2023-10-28"
    assert made.origin_label == "2023-10-27"
    assert made.bands[0].level == 95
    assert np.isnan(made.truth).all()
    with pytest.raises(ModelError, match="reads tables of numbers"):
        model.codec  # noqa: B018
    with pytest.raises(ModelError, match="can't write or score"):
        model.checkpoint.language_config  # noqa: B018


def test_forecast_text_model_is_an_error(model_folder: Path) -> None:
    with pytest.raises(ModelError, match="it can't forecast"):
        seqgen.load(model_folder).checkpoint.scaler  # noqa: B018


# What is wrong


def spoil(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return damage


def lines_of_days(count: int, less: int = 0) -> list[str]:
    return [f"{np.datetime64('2020-01-01') + day},{day - less}" for day in range(count)]


WRONG: list[tuple[str, str]] = [
    ("train shop.csv -o new --target warmht", "warmht"),
    ("train shop.csv -o new --time-column when", "when"),
    ("train shop.csv -o new --series shop", "shop"),
    ("train shop.csv -o new --frequency fortnightly", "--frequency"),
    ("train shop.csv -o new --split-rows 200,200,200", "--split-rows 200,200,200 takes 600 rows; there are 300"),
    ("train shop.csv -o new --split-rows half", "--split-rows must be"),
    ("train shop.csv -o new --levels 101", "--levels must be"),
    ("train shop.csv -o new --horizon 0", "--horizon must be at least 1"),
    ("train shop.csv -o new --look-back 295 --horizon 20", "--look-back 295 and --horizon 20 need at least 315"),
    (
        "train shop.csv -o new --split-rows 30,200 --look-back 20 --horizon 10 --segment-length 21",
        "--segment-length 21",
    ),
    ("train negative.csv -o new --log-returns", "--log-returns needs positive numbers"),
    ("train level.csv -o new --task forecast --calendar", "--calendar needs a time column"),
    ("train words.csv -o new --task forecast", "words.csv"),
    ("train odd.csv -o new --task forecast", "odd.csv"),
    ("train two.csv -o new --task forecast", "there are only 2 training rows"),
    ("train shop.csv -o new --task forecast --tokenizer char", "--tokenizer char can't be used with forecast"),
    ("train text.txt -o new --task text --horizon 3", "--horizon is for forecast; this is text"),
    ("train shop.csv -o new --task forecast --init-from text", "can't be trained further"),
    ("train shop.csv -o new --init-from shop --target warmth", "--target"),
    ("forecast text shop.csv", "`seqgen forecast` needs one for forecast"),
    ("forecast shop", "standard input is empty"),
    ("forecast shop missing.csv", "missing.csv"),
    ("forecast shop shop.csv --levels 33", "--levels 33: the model has no such prediction interval; it has 50, 80, 95"),
    ("forecast shop shop.csv --levels x", "--levels must be"),
    ("forecast shop shop.csv --horizon 0", "--horizon must be at least 1"),
    ("forecast shop shop.csv --backtest 100", "--backtest 100 needs 701 rows; there are 300"),
    ("forecast shop half.csv", "sales"),
    ("forecast shop shop.csv -o folder", "is a folder"),
    ("evaluate shop short.csv", "too short: it has 20 rows, but a window needs 35"),
    ("evaluate shop text.txt", "text.txt"),
    ("sample shop", "forecast"),
    ("chat shop", "forecast"),
    ("score shop shop.csv", "forecast"),
    ("tokenize shop shop.csv", "forecast"),
    ("info other-columns", "tokenizer.json"),
    ("info impossible", "tokenizer.json"),
    ("info text-reader", "does not read char"),
]


@pytest.fixture(scope="module")
def place(
    forecaster: Path, table: Path, model_folder: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with everything that the table names."""
    import shutil

    place = tmp_path_factory.mktemp("wrong")
    lines = daily().splitlines()
    files = {
        "shop.csv": "\n".join(lines),
        "short.csv": "\n".join(lines[:21]),
        "half.csv": "\n".join(line.rpartition(",")[0] for line in lines),
        "negative.csv": "\n".join(["day,x", *lines_of_days(60, 5)]),
        "level.csv": "\n".join(["level", *(str(math.sin(n)) for n in range(100))]),
        "words.csv": "name,town\n" + "ann,paris\nbob,rome\n" * 30,
        "odd.csv": "\n".join(["day,x", *lines_of_days(60), "2020-03-01,12.5kg"]),
        "two.csv": "day,x\n2020-01-01,3\n2020-01-02,5\n",
        "text.txt": text_file.read_text()[:4000],
        "folder/note.txt": "a note",
    }  # fmt: skip
    for name, text in files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text + "\n")
    shutil.copytree(model_folder, place / "text")
    shutil.copytree(forecaster, place / "shop")
    damaged: dict[str, Callable[[Path], None]] = {
        "other-columns": spoil(lambda data: data.update(targets=["a"], measures={"": [[0, 1, 1, 1]]})),
        "impossible": spoil(lambda data: data.update(measures={"": [[0, 0, 0, 0]] * 2})),
        "text-reader": lambda path: path.write_text((model_folder / "tokenizer.json").read_text()),
    }
    for name, damage in damaged.items():
        damage(Path(shutil.copytree(forecaster, place / name)) / "tokenizer.json")
    return place


@pytest.mark.parametrize(("typed", "words"), WRONG, ids=[typed for typed, _ in WRONG])
def test_forecast_bad_input_is_one_line(
    typed: str, words: str, place: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    out, said = run(*typed.split(), status=2)
    errors = [line for line in said.splitlines() if line.startswith("seqgen: error: ")]
    assert out == "" and len(errors) == 1 and said.splitlines()[-1] == errors[0]
    assert words in errors[0]
    assert not (place / "new").exists()


def test_preview_forecast_shows_the_skill(table: Path, tmp_path: Path) -> None:
    from seqgen.api.train.folder import Training
    from seqgen.cli.progress import preview
    from seqgen.training.loop import Event, Validated

    trainings: list[Training] = []
    seen: list[str] = []

    def look(event: Event) -> None:
        if isinstance(event, Validated):
            seen.append(preview(trainings[0]))

    watch = Watcher(started=trainings.append, event=look)
    seqgen.train(str(table), tmp_path / "m", task="forecast", steps=15, watch=watch, **PYTHON)
    assert seen
    for line in seen:  # fifteen steps may not be enough to beat it
        assert re.fullmatch(r"\d+\.\d % (below|above) the squared error of the last value", line)
    seqgen.train(str(table), tmp_path / "n", task="forecast", steps=2, val_fraction=0.0, watch=watch, **PYTHON)
    assert trainings[-1].data.summary().endswith("0 held out")


def test_train_forecast_starts_with_the_linear_map(table: Path, tmp_path: Path) -> None:
    for name, linear in (("with", True), ("without", False)):
        seqgen.train(
            str(table), tmp_path / name, task="forecast", steps=1, learning_rate=1e-9, linear=linear, mixture=False,
                **PYTHON,
        )  # fmt: skip
    skills = [seqgen.load(tmp_path / name).checkpoint.config["metrics"]["skill"] for name in ("with", "without")]
    assert skills[0] > 0.8 > skills[1]


def test_forecast_without_levels(table: Path, tmp_path: Path, run: Run) -> None:
    seqgen.train(str(table), tmp_path / "m", task="forecast", steps=10, levels="none", **{**PYTHON, "horizon": 1})
    assert list(rows_of(run("forecast", tmp_path / "m", table)[0])[0]) == ["date", "warmth", "sales"]
    found = json.loads(run("evaluate", tmp_path / "m", table, "--json")[0])
    assert "coverage" not in found["metrics"] and "wql" not in found["metrics"]
    assert "prediction intervals: none" in run("info", tmp_path / "m")[0]
    _, said = run("forecast", tmp_path / "m", table, "--levels", "90", status=2)
    assert "no such prediction interval; it has none" in said


def test_train_forecast_valid_source(table: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "later.csv").write_text(daily(90, seed=2))
    (tmp_path / "short.csv").write_text(daily(20, seed=2))
    _, said = run("train", table, "-o", tmp_path / "m", *TINY, "--valid", tmp_path / "later.csv")
    assert "300 rows of warmth, sales to train on, 90 held out" in said
    words, said = run("evaluate", tmp_path / "m", table)
    assert "all rows" in words and "up to 300 of these 300 rows were learnt: others have larger errors" in said
    _, said = run("train", table, "-o", tmp_path / "n", *TINY, "--valid", tmp_path / "short.csv")
    assert "too few rows are held out" in said
