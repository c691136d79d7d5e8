"""Forecasting benchmark, compared with persistence, the last season and a linear model.

    python tests/benchmarks/forecast.py ett|wth|seattle|stocks|small DATA [--cell gru] [--horizon 96] [--threads 2]
        [--work DIR] [-- flags of train]

DATA contains ett/ETTh1.csv, wth/WTH.csv, vega/*.csv and jbrownlee/*.csv. `--split-rows` sets the training, validation
and test sets: 12, 4 and 4 months of ETTh1, 28, 10 and 10 of WTH, fractions of the others, and only the last tenth of
the small series. Everything runs through the real command, one after another; nothing else should be running.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

FRACTIONS = ["--split-rows", "0.7,0.1,0.2"]
Job = tuple[str, str, list[str]]  # name, file, flags


def ett(cells: list[str], horizons: list[int]) -> Iterator[Job]:
    """All seven columns, the standard rows and horizons."""
    for cell in cells:
        for horizon in horizons or (96, 192, 336, 720):
            flags = ["--cell", cell, "--horizon", str(horizon), "--split-rows", "8640,2880,2880"]
            yield f"ETTh1 {horizon} {cell}", "ett/ETTh1.csv", flags


def wth(cells: list[str], horizons: list[int]) -> Iterator[Job]:
    """All weather columns, a day and four days ahead."""
    for cell in cells:
        for horizon in horizons or (24, 96):
            flags = ["--cell", cell, "--horizon", str(horizon), "--split-rows", "20160,7200,7200"]
            yield f"WTH {horizon} {cell}", "wth/WTH.csv", flags


def seattle(cells: list[str], _horizons: list[int]) -> Iterator[Job]:
    """A week ahead."""
    for cell in cells:
        yield f"seattle-weather {cell}", "vega/seattle-weather.csv", ["--cell", cell, "--horizon", "7", *FRACTIONS]


def stocks(cells: list[str], _horizons: list[int]) -> Iterator[Job]:
    """Prices, two weeks of trading ahead; and five tickers, half a year."""
    for cell in cells:
        flags = ["--cell", cell, "--log-returns", *FRACTIONS]
        yield f"sp500-2000 close {cell}", "vega/sp500-2000.csv", ["--target", "close", "--horizon", "10", *flags]
        yield f"stocks {cell}", "vega/stocks.csv", ["--series", "symbol", "--horizon", "6", *flags]


def small(_cells: list[str], _horizons: list[int]) -> Iterator[Job]:
    """No flags but that the held-out rows, on which they are measured, are not learnt at the end."""
    for name in ("airline-passengers", "monthly-sunspots", "monthly-car-sales", "daily-min-temperatures"):
        yield name, f"jbrownlee/{name}.csv", ["--no-finish"]


SETS = {"ett": ett, "wth": wth, "seattle": seattle, "stocks": stocks, "small": small}


def run(*arguments: str) -> tuple[str, float, float]:
    """The standard output of the command, its seconds, and its peak memory in MB."""
    began = time.monotonic()
    command = [sys.executable, "-m", "seqgen", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return output, time.monotonic() - began, used.ru_maxrss / 1024


def measure(data: Path, job: Job, work: Path, threads: str) -> list[str]:
    """One row of the table."""
    name, file, flags = job
    model = work / name.replace(" ", "-")
    source = str(data / file)
    _, seconds, memory = run(
        "train", source, "--task", "forecast", "-o", str(model), "--overwrite", "--quiet", "--threads", threads, *flags
    )
    output, evaluation_seconds, evaluation_memory = run("evaluate", str(model), source, "--json")
    result = json.loads(output)
    metrics, baselines = result["metrics"], result["baselines"]
    coverage = metrics.get("coverage", {})
    return [
        name,
        f"`train {file} {' '.join(flags)}`",
        f"{seconds:.0f} s",
        f"{memory:.0f} MB",
        f"{evaluation_seconds:.1f} s",
        f"{evaluation_memory:.0f} MB",
        f"{metrics['scaled_mse']:.3f}",
        f"{metrics['scaled_mae']:.3f}",
        " / ".join(
            f"{baselines[baseline]['scaled_mse']:.3f}" for baseline in ("persistence", "seasonal_naive", "nlinear")
        ),
        f"{metrics['skill']:.3f}",
        " / ".join(f"{100 * coverage[level]:.1f}" for level in ("80", "95") if level in coverage),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cell", action="append", help="default: gru")
    parser.add_argument("--horizon", action="append", type=int, help="of ett and wth; default: all that are usual")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--work", type=Path, default=None)
    options, flags = parser.parse_known_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="seqgen-benchmark-"))
    work.mkdir(parents=True, exist_ok=True)
    print(
        "| data | command | time | memory | evaluate, time | memory | scaled MSE | scaled MAE | "
        "persistence / seasonal naive / NLinear | skill | coverage at 80 / 95 % |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name, file, own in SETS[options.set](options.cell or ["gru"], options.horizon or []):
        job = name, file, [*own, *(flag for flag in flags if flag != "--")]
        print("| " + " | ".join(measure(options.data, job, work, options.threads)) + " |", flush=True)


if __name__ == "__main__":
    main()
