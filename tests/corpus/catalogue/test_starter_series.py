"""The starter series: reproducible, plausible, and with the documented structure."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

CORPORA = Path(__file__).resolve().parents[3] / "corpora"
MAKER = CORPORA / "generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", MAKER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """The times of a series as text, and its other columns by name."""
    with (CORPORA / name).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    times, *columns = zip(*rows, strict=True)
    return list(times), {key: np.array(column, float) for key, column in zip(header[1:], columns, strict=True)}


def correlation(a: np.ndarray, b: np.ndarray, lag: int = 0) -> float:
    """Pearson's correlation of `a` with `b`, `lag` rows later."""
    return float(np.corrcoef(a[: len(a) - lag], b[lag:])[0, 1])


# ---- Reproducibility ----


def test_generate_again_writes_the_same_bytes(generate: ModuleType, tmp_path: Path) -> None:
    generate.main([str(tmp_path / "new" / "folder")])
    made = sorted((tmp_path / "new" / "folder").iterdir())
    assert [path.name for path in made] == ["prices.csv", "weather.csv"]
    for path in made:
        assert path.read_bytes() == (CORPORA / path.name).read_bytes()


def test_generate_as_a_command_prints_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, MAKER, tmp_path], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert (tmp_path / "prices.csv").read_bytes() == (CORPORA / "prices.csv").read_bytes()


def test_generate_without_a_folder_fails_in_one_line(generate: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        generate.main([])
    assert stop.value.code == 2
    assert "FOLDER" in capsys.readouterr().err


def test_generate_values_are_not_near_a_rounding_boundary(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest = []
    fixed = generate.fixed

    def watched(values: np.ndarray, places: int) -> list[str]:
        grains = values * 10.0**places
        nearest.append(float(np.abs(grains - np.floor(grains) - 0.5).min()))
        return list(fixed(values, places))

    monkeypatch.setattr(generate, "fixed", watched)
    for make in generate.SERIES.values():
        make()
    assert len(nearest) == 8
    assert min(nearest) > 1e-7  # of a cent or a tenth; machines differ by about 1e-11


def test_starter_series_are_small() -> None:
    assert sum((CORPORA / name).stat().st_size for name in ("prices.csv", "weather.csv")) < 800_000


# ---- Functions of the generator ----


def test_uniform_returns_the_upper_53_bits(generate: ModuleType) -> None:
    raw = np.random.PCG64(7).random_raw(5)
    assert generate.uniform(np.random.PCG64(7), 5).tolist() == [((int(one) >> 11) + 0.5) / 2**53 for one in raw]


def test_normal_returns_standard_normal_numbers(generate: ModuleType) -> None:
    numbers = generate.normal(np.random.PCG64(1), 40_000)
    assert abs(numbers.mean()) < 0.02
    assert abs(numbers.std() - 1.0) < 0.02
    assert abs((numbers**4).mean() - 3.0) < 0.15
    assert abs(correlation(numbers, numbers, 1)) < 0.02


def test_autoregression_is_stationary_and_decays(generate: ModuleType) -> None:
    values = generate.autoregression(generate.normal(np.random.PCG64(2), 60_000), 10.0)
    assert abs(values.std() - 1.0) < 0.05
    assert correlation(values, values, 10) == pytest.approx(np.exp(-1.0), abs=0.05)


def test_autoregression_equals_a_hand_computed_one(generate: ModuleType) -> None:
    hours = 1.0 / np.log(2.0)  # a decay of one half
    values = generate.autoregression(np.array([1.0, 0.0, 2.0]), hours)
    assert values == pytest.approx([1.0, 0.5, 0.25 + np.sqrt(0.75) * 2.0])


def test_vapour_pressure_of_known_temperatures_is_right(generate: ModuleType) -> None:
    assert generate.vapour_pressure(np.array([0.0, 20.0])) == pytest.approx([6.112, 23.37], rel=0.003)


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.0, 1, "0.0"),
        (-0.04, 1, "0.0"),
        (-0.06, 1, "-0.1"),
        (-12.34, 1, "-12.3"),
        (7.0, 2, "7.00"),
        (0.057, 2, "0.06"),
    ],
)
def test_fixed_formats_numbers_with_fixed_places(generate: ModuleType, value: float, places: int, text: str) -> None:
    assert generate.fixed(np.array([value]), places) == [text]


def test_fronts_return_a_trough_and_cold_behind_it(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    count = np.arange(400.0)
    draws = iter([np.where(count == 200.0, 1e-9, 0.999), np.full(400, 0.5)])  # one front, of strength 1
    monkeypatch.setattr(generate, "uniform", lambda bits, n: next(draws))
    trough, behind, near = generate.fronts(np.random.PCG64(0), count, np.zeros(400))
    assert (trough.argmax(), trough.max()) == (200, pytest.approx(7.0))
    assert (near.argmax(), near.max()) == (200, pytest.approx(1.0))
    assert not behind[:201].any()
    assert 4.0 < behind.max() < 5.0
    assert behind[380] < 0.15


# ---- Prices ----


def test_prices_have_a_row_for_every_weekday_of_six_years() -> None:
    days = [date.fromisoformat(day) for day in read("prices.csv")[0]]
    assert (days[0], days[-1], len(days)) == (date(2018, 1, 1), date(2023, 12, 29), 1565)
    for before, after in pairwise(days):
        assert after - before == timedelta(days=3 if before.weekday() == 4 else 1)


def test_prices_are_between_low_and_high() -> None:
    _, price = read("prices.csv")
    assert list(price) == ["open", "high", "low", "close", "volume"]
    assert (price["low"] <= np.minimum(price["open"], price["close"])).all()
    assert (price["high"] >= np.maximum(price["open"], price["close"])).all()
    assert (price["high"] - price["low"] < 0.2 * price["close"]).all()
    assert ((price["low"] > 20.0) & (price["high"] < 400.0)).all()
    assert ((price["volume"] > 1e5) & (price["volume"] % 100 == 0)).all()


def test_prices_have_no_drift_but_clustered_volatility() -> None:
    _, price = read("prices.csv")
    returns = np.diff(np.log(price["close"]))
    noise = 2.6 / np.sqrt(len(returns))  # the 99th percentile of correlations of independent numbers
    assert 0.009 < returns.std() < 0.016
    assert all(abs(correlation(returns, returns, lag)) < noise for lag in (1, 2, 5))
    assert all(correlation(np.abs(returns), np.abs(returns), lag) > noise for lag in (1, 2, 5, 10))
    assert ((returns / returns.std()) ** 4).mean() > 3.5  # fatter tails than the normal's 3
    assert correlation(np.log(price["volume"][1:]), np.abs(returns)) > 0.4


# ---- Weather ----


def test_weather_has_a_row_for_every_hour_of_two_years() -> None:
    times = [datetime.strptime(time, "%Y-%m-%d %H:%M") for time in read("weather.csv")[0]]
    assert (times[0], times[-1]) == (datetime(2021, 1, 1, 0), datetime(2022, 12, 31, 23))
    assert len(times) == 2 * 365 * 24
    assert all(after - before == timedelta(hours=1) for before, after in pairwise(times))


@pytest.mark.parametrize(
    ("column", "lowest", "low", "high", "highest", "leap"),  # minimum and maximum lie between the pairs
    [
        ("temperature", -25.0, -5.0, 25.0, 38.0, 6.0),
        ("humidity", 10.0, 40.0, 97.0, 100.0, 25.0),
        ("wind", 0.0, 0.5, 12.0, 30.0, 12.0),
        ("pressure", 965.0, 995.0, 1030.0, 1055.0, 4.0),
    ],
)
def test_weather_stays_in_plausible_ranges(
    column: str, lowest: float, low: float, high: float, highest: float, leap: float
) -> None:
    values = read("weather.csv")[1][column]
    assert lowest <= values.min() < low
    assert high < values.max() <= highest
    assert np.abs(np.diff(values)).max() < leap


def test_weather_has_daily_and_yearly_cycles_and_autocorrelation() -> None:
    times, weather = read("weather.csv")
    hour = np.array([int(time[11:13]) for time in times])
    month = np.array([int(time[5:7]) for time in times])
    temperature, humidity = weather["temperature"], weather["humidity"]
    by_hour = [temperature[hour == one].mean() for one in range(24)]
    by_month = [temperature[month == one].mean() for one in range(1, 13)]
    assert np.argmax(by_hour) in range(13, 17) and np.argmin(by_hour) in range(2, 7)
    assert np.argmax(by_month) in (5, 6, 7) and np.argmin(by_month) in (0, 1, 11)
    assert 10.0 < max(by_month) - min(by_month) < 25.0
    assert humidity[hour == 5].mean() > humidity[hour == 14].mean() + 10.0
    span = np.ptp(temperature.reshape(-1, 24), axis=1).reshape(2, 365).mean(axis=0)  # of each day of the year
    assert span[150:240].mean() > span[:60].mean() + 3.0
    for column, hours in {"temperature": 24, "humidity": 24, "wind": 3, "pressure": 24}.items():
        assert correlation(weather[column], weather[column], hours) > 0.3


def test_weather_columns_are_correlated() -> None:
    _, weather = read("weather.csv")
    assert correlation(weather["temperature"], weather["humidity"]) < -0.2
    assert correlation(weather["pressure"], weather["wind"]) < -0.1
    assert correlation(weather["pressure"], weather["humidity"]) < -0.1
    steep = np.abs(np.diff(weather["pressure"]))
    assert correlation(steep, weather["wind"][1:]) > 0.15
    fall = weather["pressure"][:-36] - weather["pressure"][36:]
    rise = fall < -12.0  # behind a front the pressure rises and the air is colder
    change = (weather["temperature"][36:] - weather["temperature"][:-36])[rise]
    assert rise.sum() > 100 and change.mean() < -0.5
