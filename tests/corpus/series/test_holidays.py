"""Public holidays as features; the package of their dates is imitated."""

from __future__ import annotations

import datetime
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen.corpus.series.holidays import YEARS_AHEAD, holiday_dates, holiday_features
from seqgen.errors import DataError, UserError


def imitate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package `holidays` that knows the first of May in DE, and the sixth of January in a part of it."""
    package = types.ModuleType("holidays")

    def country_holidays(country: str, subdiv: str | None, years: Iterable[int]) -> list[datetime.date]:
        days = [(5, 1)] + [(1, 6)] * (subdiv == "BY")
        return [datetime.date(year, *day) for year in years for day in days]

    package.country_holidays = country_holidays  # type: ignore[attr-defined]
    package.list_supported_countries = lambda include_aliases: {"DE": ["BW", "BY"], "XK": []}  # type: ignore
    monkeypatch.setitem(sys.modules, "holidays", package)


def days(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[s]")


def test_holiday_dates_of_a_country_and_of_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    imitate(monkeypatch)
    whole = holiday_dates("DE", days("2020-03-01", "2021-02-01"))
    assert whole == tuple(f"{year}-05-01" for year in range(2020, 2021 + YEARS_AHEAD + 1))
    assert holiday_dates("DE-BY", days("2020-03-01", "2021-02-01"))[:2] == ("2020-01-06", "2020-05-01")


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("de", "did you mean 'DE'"), ("Germany", "is no country code"), ("DE-XX", "DE has no 'XX'; it has BW, BY"),
        ("XK-A", "it has no subdivisions"), ("", "is no country code"),
    ],
)  # fmt: skip
def test_holiday_dates_of_an_unknown_region_raise_user_error(
    region: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate(monkeypatch)
    with pytest.raises(UserError, match=words):
        holiday_dates(region, days("2020-03-01", "2021-02-01"))


def test_holiday_dates_without_the_package_say_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "holidays", None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"pip install 'seqgen-rnn\[holidays\]'"):
        holiday_dates("DE", days("2020-03-01", "2021-02-01"))


def test_holiday_features_of_days_hours_and_weeks() -> None:
    dates = ("2021-05-01", "2021-05-13", "2021-12-25")
    daily = holiday_features(dates, days("2021-04-29", "2021-04-30", "2021-05-01", "2021-05-02"), 86400)
    np.testing.assert_array_equal(daily, [[0, 0], [0, 1], [1, 0], [0, 0]])
    hourly = holiday_features(dates, days("2021-04-30T23:00", "2021-05-01T00:00", "2021-05-01T23:00"), 3600)
    np.testing.assert_array_equal(hourly, [[0, 1], [1, 0], [1, 0]])
    weekly = holiday_features(dates, days("2021-04-26", "2021-05-03", "2021-05-10"), 604800)
    np.testing.assert_allclose(weekly, [[1 / 7, 0], [0, 1 / 7], [1 / 7, 0]])


def test_holiday_features_beyond_the_stored_years_raise_data_error() -> None:
    with pytest.raises(DataError, match="end with the year 2021"):
        holiday_features(("2021-05-01",), days("2022-01-01"), 86400)


def test_holiday_features_before_the_first_year_raise_data_error() -> None:
    with pytest.raises(DataError, match="begin with the year 2021; leave out earlier rows"):
        holiday_features(("2021-05-01",), days("2020-12-31", "2021-01-01"), 86400, 2021)
    early = holiday_features(("2021-05-01",), days("2019-12-31", "2021-05-01"), 86400, 2019)  # a year without any
    np.testing.assert_array_equal(early, [[0, 0], [1, 0]])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Daily sales with a weekly season, nearly none on the first of May, and no row of the last fortnight's."""
    path = tmp_path_factory.mktemp("shop") / "shop.csv"
    lines = ["day,sales,offer"]
    for number in range(434):
        day = datetime.date(2020, 2, 1) + datetime.timedelta(number)
        sales = 100 + 20 * (day.weekday() == 5) - 80 * ((day.month, day.day) == (5, 1)) + 30 * (number % 11 == 3)
        lines.append(f"{day},{sales if number < 420 else ''},{int(number % 11 == 3)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_train_holidays_are_stored_with_the_model(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imitate(monkeypatch)
    options: dict[str, Any] = {
        "task": "forecast", "target": ("sales",), "future_covariates": ("offer",), "horizon": 14, "look_back": 28,
        "rnn_size": 8, "steps": 20, "threads": 1,
    }  # fmt: skip
    seqgen.train(str(table), tmp_path / "m", holidays="DE", **options)
    monkeypatch.setitem(sys.modules, "holidays", None)  # type: ignore[arg-type]  # no longer needed
    model = seqgen.load(tmp_path / "m")
    scaler = model.checkpoint.scaler
    assert (scaler.holiday_region, scaler.known, scaler.effects) == ("DE", 3, 3)
    assert type(scaler).from_dict(scaler.to_dict()) == scaler
    offer, holiday, eve = model.checkpoint.weights()["effect"][0] * scaler.statistics[""][0].scale
    assert offer * 1 / scaler.statistics[""][1].scale == pytest.approx(30, abs=2)
    assert holiday == pytest.approx(-80, abs=30) and abs(eve) < 25  # one or two such days
    (made,) = model.forecast(str(table), horizon=14)
    expected = [100 + 20 * ((number + 5) % 7 == 5) + 30 * (number % 11 == 3) for number in range(420, 434)]
    assert np.abs(made.point[0] - expected).max() < 25
    with pytest.raises(UserError, match="--holidays XK contradicts --init-from, whose model has DE"):
        seqgen.train(str(table), tmp_path / "n", init_from=tmp_path / "m", holidays="XK")
    earlier = tmp_path / "earlier.csv"
    earlier.write_text(table.read_text().replace("2020", "2018").replace("2021", "2019").replace("2018-02-29", ""))
    for refused in (
        lambda: list(model.forecast(str(earlier), horizon=1)),
        lambda: model.evaluate([str(earlier)]),
        lambda: seqgen.train(str(earlier), tmp_path / "n", init_from=tmp_path / "m", steps=1),
    ):
        with pytest.raises(DataError, match="the holidays that the model knows begin with the year 2020"):
            refused()
    older = {name: value for name, value in scaler.to_dict().items() if name != "holidays_from"}
    assert type(scaler).from_dict(older).holidays_from == scaler.holidays_from == 2020


def test_train_holidays_of_the_first_row_of_a_year_once_the_clocks_are_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the offset of the last row, the first one is of the year before."""
    imitate(monkeypatch)
    offsets = [3 if number < 40 else 4 for number in range(60)]
    times = [np.datetime64("2020-01-01T03") + number - offset for number, offset in enumerate(offsets)]
    rows = zip(times, offsets, strict=True)
    lines = [f"{time}:00:00-0{offset}:00,{number % 24}" for number, (time, offset) in enumerate(rows)]
    assert lines[0].startswith("2020-01-01T00")
    (tmp_path / "t.csv").write_text("\n".join(["time,x", *lines]) + "\n")
    model = seqgen.train(
        str(tmp_path / "t.csv"), tmp_path / "m", task="forecast", holidays="DE", horizon=2, look_back=8, rnn_size=4,
        steps=1, threads=1,
    )  # fmt: skip
    assert len(list(model.forecast(str(tmp_path / "t.csv")))) == 1
