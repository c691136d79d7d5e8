"""Choice of the forecasting defaults, on rows that no published figure is measured on.

    python tests/benchmarks/forecast_choices.py DATA [--only NAME …] [--side-by-side 2]

ETTh1 is cut before its test rows; it is measured on the validation rows of published runs, and validated on part of
their training rows. The README doesn't report on the other series. Each candidate is one change to the defaults. The
table has its scaled MSE relative to the defaults (below one is better), the geometric mean over all sets, and the
coverage of the 80 % interval.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import tempfile
from pathlib import Path

from forecast import run

SPLIT = "0.7,0.1,0.2"
SETS = {  # name: file, rows kept, flags
    "ETTh1 96": ("ett/ETTh1.csv", 11520, ["--horizon", "96", "--split-rows", "7200,1440,2880"]),
    "ETTh1 336": ("ett/ETTh1.csv", 11520, ["--horizon", "336", "--split-rows", "7200,1440,2880"]),
    "pollution 24": ("jbrownlee/pollution.csv", 17520, ["--horizon", "24", "--split-rows", SPLIT,
                     "--target", "pm2.5,TEMP,PRES"]),
    "max. temperature 14": ("jbrownlee/daily-max-temperatures.csv", None, ["--horizon", "14", "--split-rows", SPLIT]),
    "births 7": ("jbrownlee/daily-total-female-births.csv", None, ["--horizon", "7", "--split-rows", SPLIT]),
}  # fmt: skip
CANDIDATES = {
    "defaults": [],
    "with a linear map": ["--linear"],
    "no mixture": ["--no-mixture"],
    "three networks": ["--members", "3"],
    "window less its last value": ["--normalisation", "last"],
    "window less its mean, over its standard deviation": ["--normalisation", "window"],
    "calendar": ["--calendar"],
    "no calendar": ["--no-calendar"],
    "64 units": ["--rnn-size", "64"],
    "dropout 0.3": ["--dropout", "0.3"],
    "last weights": ["--averaging", "0"],
    "averaging 3": ["--averaging", "3"],
    "256 units": ["--rnn-size", "256"],
    "512 units": ["--rnn-size", "512"],
    "rate 0.003": ["--learning-rate", "0.003"],
    "rate 0.0005": ["--learning-rate", "0.0005"],
    "dropout 0.7": ["--dropout", "0.7"],
    "two layers": ["--num-layers", "2"],
    "rnn": ["--cell", "rnn"],
    "rnn, rate 0.0005": ["--cell", "rnn", "--learning-rate", "0.0005"],
    "lstm": ["--cell", "lstm"],
}


def measure(data: Path, folder: Path, candidate: str, name: str) -> tuple[float, float]:
    """Scaled MSE, and the coverage of the 80 % interval."""
    file, rows, flags = SETS[name]
    lines = (data / file).read_text(encoding="utf-8").splitlines(keepends=True)
    cut = folder / f"{name} {candidate}.csv".replace(" ", "-")
    cut.write_text("".join(lines if rows is None else lines[: rows + 1]), encoding="utf-8")
    model = cut.with_suffix("")
    run("train", str(cut), "--task", "forecast", "-o", str(model), "--quiet", "--threads", "1", *flags,
        *CANDIDATES[candidate])  # fmt: skip
    metrics = json.loads(run("evaluate", str(model), str(cut), "--json", "--no-baselines")[0])["metrics"]
    return metrics["scaled_mse"], metrics["coverage"]["80"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", default=list(CANDIDATES), choices=CANDIDATES)
    parser.add_argument("--side-by-side", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="seqgen-choices-"))
    with concurrent.futures.ThreadPoolExecutor(options.side_by_side) as pool:
        jobs = {
            (candidate, name): pool.submit(measure, options.data, folder, candidate, name)
            for candidate in dict.fromkeys(["defaults", *options.only])
            for name in SETS
        }
        print("| | " + " | ".join(SETS) + " | mean |\n|---|" + "---|" * (len(SETS) + 1))
        first = {name: jobs["defaults", name].result() for name in SETS}
        for candidate in dict.fromkeys(["defaults", *options.only]):
            found = {name: jobs[candidate, name].result() for name in SETS}
            ratios = {name: mse / first[name][0] for name, (mse, _) in found.items()}
            mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
            cells = [
                f"{mse if candidate == 'defaults' else ratios[name]:.3f}, {100 * coverage:.0f} %"
                for name, (mse, coverage) in found.items()
            ]
            print(f"| {candidate} | " + " | ".join(cells) + f" | {mean:.3f} |", flush=True)


if __name__ == "__main__":
    main()
