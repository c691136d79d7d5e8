"""Made daily sales of a shop, to measure forecasters on; and that measurement.

    python tests/benchmarks/sales.py FILE.csv [--seed 0]        write three years of sales
    python tests/benchmarks/sales.py --measure [--work DIR]     beside AutoETS and AutoTheta, with statsforecast

Sales are a product of: a level (6 % growth a year, and a random walk of 0.4 % a day), the day of the week (Saturday
1.5, Sunday 0.6), the time of the year (two harmonics, and Advent on top), public holidays of Germany (a quarter of a
day's sales, and 1.5 times as much on the day before), promotions (1.4 times; some eight a year, 3 to 10 days long), and
noise of 6 %. Four weeks are forecast; promotions are a column, known in advance.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FIRST, DAYS, AHEAD = datetime.date(2021, 1, 4), 3 * 365, 28
HORIZON, TEST_DAYS = 28, 168
_TRAIN = DAYS - TEST_DAYS - 2 * HORIZON
_WEEK = (0.9, 0.85, 0.9, 1.0, 1.25, 1.5, 0.6)  # from Monday
Values = npt.NDArray[np.float64]


def easter(year: int) -> datetime.date:
    """Easter Sunday of the Gregorian calendar (Meeus, Jones and Butcher)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    left = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 19 * left) // 433
    month = (h + left - 7 * m + 90) // 25
    return datetime.date(year, month, (h + left - 7 * m + 33 * month + 19) % 32)


def is_holiday(day: datetime.date) -> bool:
    """Whether a day is a public holiday in all of Germany."""
    from_easter = (day - easter(day.year)).days
    return from_easter in (-2, 1, 39, 50) or (day.month, day.day) in ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26))


def made_sales(seed: int = 0) -> list[tuple[datetime.date, int, int]]:
    """Each day's date, sales, and whether there is a promotion."""
    random = np.random.default_rng(seed)
    days = [FIRST + datetime.timedelta(number) for number in range(DAYS + AHEAD)]
    promotion = np.zeros(len(days), dtype=int)
    for start in np.flatnonzero(random.random(len(days)) < 8 / 365):
        promotion[start : start + int(random.integers(3, 11))] = 1
    walk = np.cumsum(random.normal(0, 0.004, len(days)))
    rows = []
    for number, day in enumerate(days):
        angle = 2 * math.pi * day.timetuple().tm_yday / 365.25
        year = 0.15 * math.cos(angle + 2.6) + 0.06 * math.sin(2 * angle)
        advent = 0.35 if day.month == 12 and day.day < 25 else 0.0
        logarithm = 6.0 + walk[number] + 0.06 * number / 365 + math.log(_WEEK[day.weekday()]) + year + advent
        logarithm += 0.34 * promotion[number] + random.normal(0, 0.06)
        if is_holiday(day):
            logarithm -= 1.4
        elif is_holiday(day + datetime.timedelta(1)):
            logarithm += 0.4
        rows.append((day, round(math.exp(logarithm)), int(promotion[number])))
    return rows


def write(path: Path, seed: int) -> None:
    """Write a table of day, sales and promotion; sales are empty in the last four weeks."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "sales", "promotion"])
        for number, (day, sales, promotion) in enumerate(made_sales(seed)):
            writer.writerow([day.isoformat(), sales if number < DAYS else "", promotion])


def seqgen_errors(table: Path, model: Path, flags: list[str], sales: Values, deviation: float) -> dict[str, Any]:
    """Scaled MSE of a model and of its baselines over all windows of the last 24 weeks; of the model at `origins()`."""
    from forecast import run

    split = f"{_TRAIN},{2 * HORIZON},{TEST_DAYS}"
    _, seconds, _ = run(
        "train", str(table), "--task", "forecast", "-o", str(model), "--overwrite", "--quiet", "--target", "sales",
        "--horizon", str(HORIZON), "--split-rows", split, *flags,
    )  # fmt: skip
    result = json.loads(run("evaluate", str(model), str(table), "--json")[0])
    found = {name: metrics["scaled_mse"] for name, metrics in result["baselines"].items()}
    backtest = run("forecast", str(model), str(table), "--backtest", str(len(origins())), "--levels", "none", "--json")
    forecasts = [json.loads(line)["columns"]["sales"]["forecast"] for line in backtest[0].splitlines()]
    at_origins = scaled_mse(dict(zip(origins(), forecasts, strict=True)), sales, deviation)
    return {**found, "model": result["metrics"]["scaled_mse"], "at origins": at_origins, "seconds": seconds}


def origins() -> range:
    """Days to forecast from, four weeks apart."""
    return range(DAYS - TEST_DAYS, DAYS - HORIZON + 1, HORIZON)


def scaled_mse(forecasts: Mapping[int, Any], sales: Values, deviation: float) -> float:
    """Mean squared error of forecasts by their first day, in standard deviations of the training days."""
    errors = [(np.array(found) - sales[first : first + HORIZON]) / deviation for first, found in forecasts.items()]
    return float(np.mean(np.square(errors)))


def classical_errors(sales: Values, deviation: float) -> Iterator[tuple[str, float]]:
    """Scaled MSE of AutoETS and AutoTheta, fitted anew at each of the origins."""
    from statsforecast.models import AutoETS, AutoTheta

    for model in (AutoETS(season_length=7), AutoTheta(season_length=7)):
        found = {first: model.forecast(y=sales[:first], h=HORIZON)["mean"] for first in origins()}
        yield type(model).__name__, scaled_mse(found, sales, deviation)


def measure(work: Path) -> None:
    """Print a table: the scaled MSE of each forecaster, of three shops."""
    print(
        "| seed | seqgen, all windows, at six origins | without holidays and promotions | seconds | persistence / "
        "seasonal naive / NLinear, all windows | others, at six origins |\n|---|---|---|---|---|---|"
    )
    for seed in range(3):
        table = work / f"sales-{seed}.csv"
        write(table, seed)
        sales = np.array([row[1] for row in made_sales(seed)[:DAYS]], dtype=float)
        deviation = float(sales[:_TRAIN].std())
        known = ["--future-covariates", "promotion", "--holidays", "DE"]
        full = seqgen_errors(table, work / f"full-{seed}", known, sales, deviation)
        bare = seqgen_errors(table, work / f"bare-{seed}", [], sales, deviation)
        try:
            others = ", ".join(f"{name} {error:.3f}" for name, error in classical_errors(sales, deviation))
        except ImportError:
            others = "statsforecast is not installed"
        ours, plain = (f"{each['model']:.3f}, {each['at origins']:.3f}" for each in (full, bare))
        rest = " / ".join(f"{full[name]:.3f}" for name in ("persistence", "seasonal_naive", "nlinear"))
        print(f"| {seed} | {ours} | {plain} | {full['seconds']:.0f} | {rest} | {others} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--work", type=Path, default=None)
    options = parser.parse_args()
    if options.file is not None:
        write(options.file, options.seed)
    if options.measure:
        work = options.work or Path(tempfile.mkdtemp(prefix="seqgen-sales-"))
        work.mkdir(parents=True, exist_ok=True)
        measure(work)


if __name__ == "__main__":
    main()
