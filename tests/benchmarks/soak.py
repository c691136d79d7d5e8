"""Long life in one process: short trainings and samples by the hundred, without growth in memory or open files.

    python tests/benchmarks/soak.py [--trainings 200] [--samples 10000] [--json]

What is counted: resident memory and open descriptors, after the first part (imports, caches, arenas) and at the end.
Trainings are of all tasks in turn; samples are drawn from one model and, every hundredth, from one that is loaded anew.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import seqgen
from tests.helpers import model_zoo as strange

WARM = 0.3  # the share of all that may still fill caches


def resident() -> float:
    """Megabytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """Descriptors."""
    return len(os.listdir("/proc/self/fd"))


def now() -> dict[str, Any]:
    """What is counted."""
    gc.collect()
    return {"memory": resident(), "descriptors": open_files(), "threads": threading.active_count()}


def soak(place: Path, trainings: int, samples: int) -> dict[str, Any]:
    """Both, and what was counted: before, between and after."""
    models = strange.train_each(place)
    sources = {kind: json.loads((folder / "config.json").read_text()) for kind, folder in models.items()}
    counted: dict[str, Any] = {}
    for number in range(trainings):
        if number == int(WARM * trainings):
            counted["trainings"] = [now()]
        kind = strange.KINDS[number % len(strange.KINDS)]
        given = {name: value for name, value in sources[kind]["training"]["options"].items() if value is not None}
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        names = [source["name"] for source in sources[kind]["data"]["sources"]]
        seqgen.train(names, place / "again", task=sources[kind]["task"], overwrite=True, **{**given, "seed": number})
    counted["trainings"].append(now())
    model = seqgen.load(models["text"])
    for number in range(samples):
        if number == int(WARM * samples):
            counted["samples"] = [now()]
        if number % 100 == 0:
            model = seqgen.load(models[("text", "subword", "generative")[number // 100 % 3]])
        label = "positive" if model.task == "classify" else None
        (sample,) = model.sample("It", length=20, first=number, label=label)
        assert len(sample.text) == 20 or sample.finish_reason != "length"
    counted["samples"].append(now())
    return counted


def main() -> None:
    """Soaks, and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=200)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    place = Path(tempfile.mkdtemp())
    os.environ["SEQGEN_CACHE"] = str(place / "cache")
    began = time.monotonic()
    try:
        counted = soak(place, asked.trainings, asked.samples)
    finally:
        shutil.rmtree(place)
    if asked.json:
        print(json.dumps(counted))
        return
    print(f"{asked.trainings:,} trainings, {asked.samples:,} samples, {time.monotonic() - began:.0f} s")
    for what, (first, last) in counted.items():
        words = [f"{name} {first[name]:,.0f} → {last[name]:,.0f}" for name in first]
        print(f"{what:12}{', '.join(words)}")


if __name__ == "__main__":
    main()
