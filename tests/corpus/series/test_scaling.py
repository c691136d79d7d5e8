"""The scaler: scales, logarithms, the calendar, covariates and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqgen.corpus.series.frequency import Frequency
from seqgen.corpus.series.read import Series
from seqgen.corpus.series.scaling import ColumnStats, Scaler, check_positive, column_stats
from seqgen.errors import DataError, ModelError
from tests.helpers.series import document


def series_of(values: Any, unit: str = "hour", name: str = "", start: str = "2020-01-01") -> Series:
    """A series of columns a, b, … with a row an hour."""
    table = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    frequency = Frequency(unit)
    first = np.datetime64(start, "s")
    times = None if unit == "row" else np.concatenate([[first], frequency.next_times(first, len(table) - 1)])
    return Series(
        name=name,
        times=times,
        frequency=frequency,
        columns=tuple("abcdef"[: table.shape[1]]),
        values=table,
        observed=np.isfinite(table),
        future=np.zeros((0, 0)),
        target_count=table.shape[1],
    )


def scaler_of(series: Series, **changes: Any) -> Scaler:
    plain: dict[str, Any] = {
        "targets": series.columns, "covariates": (), "future_covariates": (), "time_column": "time",
        "series_column": None, "frequency": "hour", "season": 24, "scaling": "standard", "logarithm": False,
        "calendar": (),
    }  # fmt: skip
    plain |= changes
    targets = len(plain["targets"])
    statistics = column_stats(
        series, len(series.values), plain["scaling"], plain["logarithm"], plain["season"], targets
    )
    return Scaler(**plain, statistics={series.name: statistics})


# ---- Scaling ----


@pytest.mark.parametrize("scaling", ["standard", "minmax", "none"])
@pytest.mark.parametrize("logarithm", [False, True])
def test_what_is_scaled_comes_back(scaling: str, logarithm: bool) -> None:
    series = series_of(np.random.default_rng(0).uniform(5, 90, (50, 2)))
    scaler = scaler_of(series, scaling=scaling, logarithm=logarithm)
    ready = scaler.transform(series)
    back = scaler.inverse_transform(ready.targets.T, scaler.stats_of(series))
    np.testing.assert_allclose(back.T, series.values, rtol=1e-4)


def test_scales_by_hand() -> None:
    series = series_of([[2.0], [4.0], [6.0], [8.0], [100.0]])
    (found,) = column_stats(series, 4, "standard", False, 1, 1)
    assert found == ColumnStats(5.0, pytest.approx(math.sqrt(5)), pytest.approx(math.sqrt(5)), 2.0)
    (found,) = column_stats(series, 4, "minmax", False, 2, 1)
    assert found == ColumnStats(2.0, 6.0, pytest.approx(math.sqrt(5)), 4.0)
    (found,) = column_stats(series, 4, "none", True, 1, 1)
    assert (found.centre, found.scale) == (0.0, 1.0)


def test_what_was_filled_in_does_not_scale() -> None:
    series = series_of([[1.0], [3.0], [1e9], [5.0]])
    holes = dataclasses.replace(series, observed=np.array([[True], [True], [False], [True]]))
    assert column_stats(holes, 4, "standard", False, 1, 1)[0].centre == 3.0


def test_a_column_that_never_changes_is_not_divided_by_nothing() -> None:
    series = series_of(np.full((20, 1), 7.0))
    ready = scaler_of(series).transform(series)
    assert np.isfinite(ready.targets).all()


def test_the_calendar_knows_the_hour_and_goes_on() -> None:
    series = series_of(np.zeros((48, 1)), start="2024-01-01")  # a Monday
    scaler = scaler_of(series, calendar=("day", "week"))
    known = scaler.transform(series, ahead=24).known
    assert known.shape == (72, 4)
    np.testing.assert_allclose(known[[0, 6, 12], 0], [0, 1, 0], atol=1e-6)  # sine of the day at 0, 6 and 12 o'clock
    np.testing.assert_allclose(known[:24, :2], known[48:, :2], atol=1e-6)
    np.testing.assert_allclose(known[0, 2:], [0, 1], atol=1e-6)  # the week begins


def test_without_times_there_is_no_calendar() -> None:
    series = series_of(np.zeros((48, 1)), unit="row")
    with pytest.raises(DataError, match="no time column"):
        scaler_of(series, calendar=("day",)).transform(series)


def test_future_covariates_must_reach_far_enough() -> None:
    series = series_of(np.arange(40.0).reshape(20, 2))
    ahead = dataclasses.replace(series, future=np.array([[50.0], [60.0]]))
    scaler = scaler_of(series, targets=("a",), future_covariates=("b",))
    known = scaler.transform(ahead, ahead=4, needed=2).known[:, 0]
    m = scaler.statistics[""][1]
    np.testing.assert_allclose(known[20:] * m.scale + m.centre, [50, 60, 60, 60], rtol=1e-5)
    with pytest.raises(DataError, match="b must be given 3 rows ahead; there are 2"):
        scaler.transform(ahead, ahead=4, needed=3)


def test_logarithms_need_positive_numbers() -> None:
    series = series_of([[1.0], [0.0], [2.0]])
    with pytest.raises(DataError, match="needs positive numbers: 'a' is 0 in row 2"):
        check_positive(series, 1)


def test_a_value_that_sums_of_squares_cannot_hold_is_named() -> None:
    wild = series_of([[1.0], [2.0], [-1e120], [3.0]])
    words = "too far from the others to compute with: 'a' is -1e\\+120 in row 3 .*leave the cell empty"
    with pytest.raises(DataError, match=words):
        scaler_of(wild)
    scaler = scaler_of(series_of([[1.0], [2.0], [4.0], [3.0]]))
    far = series_of([[1.0], [2e18], [5e17], [3.0]])
    guessed = dataclasses.replace(far, observed=np.array([[True], [False], [True], [True]]))
    with pytest.raises(DataError, match="'a' is 2e\\+18 in row 2"):
        scaler.transform(far)
    with pytest.raises(DataError, match="'a' is 5e\\+17 in row 3"):  # rather than the interpolated value before it
        scaler.transform(guessed)
    assert np.isfinite(scaler.transform(series_of([[1.0], [-1e15], [0.0], [1e15]])).targets).all()


def test_a_target_that_a_model_has_learnt_is_not_to_be_left_out(tmp_path: Path) -> None:
    """As `read` and `train` say of one that ends before the others."""
    scaler = scaler_of(series_of([[1.0, 2.0], [2.0, 1.0]], "row"), time_column="", frequency="row")
    data = b"a,b\n" + b"".join(b"%d,%s\n" % (n % 7, b"" if n >= 40 else b"5") for n in range(50))
    with pytest.raises(DataError, match=r"'b' ends after line 41, .* can be filled; cut the table there$"):
        scaler.read_series([document(tmp_path, data)], pytest.fail)


def test_a_stranger_is_scaled_by_its_own_rows() -> None:
    known = series_of(np.arange(30.0), name="known")
    unknown = series_of(1000 + np.arange(30.0) * 7, name="unknown")
    scaler = scaler_of(known)
    assert abs(scaler.transform(unknown).targets.mean()) < 1e-3
    assert scaler.stats_of(known) == scaler.statistics["known"]


@pytest.mark.parametrize("size", [1e-290, 1e99])
def test_a_scaler_of_extreme_values_survives_json(size: float) -> None:
    scaler = scaler_of(series_of(np.array([[1.0], [-9.0], [4.0]]) * size), scaling="minmax")
    assert Scaler.from_dict(json.loads(json.dumps(scaler.to_dict()))) == scaler


def test_a_scaler_survives_json() -> None:
    series = series_of(np.random.default_rng(0).normal(size=(40, 2)))
    scaler = scaler_of(series, calendar=("day",))
    assert "sentinels" not in scaler.to_dict()  # as in older models
    for one in (scaler, dataclasses.replace(scaler, sentinels={"a": (-999.0, 9999.9)})):
        assert Scaler.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert scaler.files() == {}


@pytest.mark.parametrize(
    "change",
    [
        {"targets": []}, {"measures": {}}, {"measures": {"": [[0, 1, 1, 0]]}}, {"measures": {"": [[0, 0, 1, 0]] * 2}},
        {"measures": {"": [[float("nan"), 1, 1, 0]] * 2}}, {"measures": []}, {"season": 0}, {"season": "day"},
        {"scaling": "robust"}, {"calendar": ["moon"]}, {"targets": None}, {"measures": {"": [[0, "inf", 1, 0]] * 2}},
        {"measures": {"": [[0, 1, 1, "1"]] * 2}}, {"measures": {"": [[1e308, 1, 1, 0]] * 2}},
        {"measures": {"": [[0, float("inf"), 1, 0]] * 2}}, {"measures": {"": [[0, 1, float("inf"), 0]] * 2}},
        {"measures": {"": [[0, 1, 1, float("inf")]] * 2}}, {"measures": {"": [[0, 1e-320, 1, 0]] * 2}},
        {"sentinels": [-999]}, {"sentinels": {"a": -999}}, {"sentinels": {"a": ["x"]}},
        {"sentinels": {"a": [float("inf")]}},
    ],
)  # fmt: skip
def test_a_scaler_that_is_none(change: dict[str, Any]) -> None:
    data = scaler_of(series_of(np.random.default_rng(0).normal(size=(40, 2)))).to_dict()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Scaler.from_dict({**data, **change})
