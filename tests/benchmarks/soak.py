"""Soak test: hundreds of short trainings and samples in one process, without growth in memory or open files.

    python tests/benchmarks/soak.py [--trainings 200] [--samples 10000] [--json]

Counts resident memory, open descriptors and threads after a warm-up (imports, caches, arenas) and at the end. Trainings
alternate between all tasks; the model that is sampled from is loaded again every hundred samples.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import seqgen
from tests.helpers import model_zoo

WARM_UP = 0.3  # fraction that may still fill caches


def resident() -> float:
    """Resident memory of this process in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def usage() -> dict[str, Any]:
    """Memory, descriptors and threads at this moment."""
    gc.collect()
    return {"memory": resident(), "descriptors": open_files(), "threads": threading.active_count()}


def soak(folder: Path, trainings: int, samples: int) -> dict[str, Any]:
    """Train and sample; return the counts after the warm-up and at the end of both."""
    models = model_zoo.train_each(folder)
    sources = {name: json.loads((folder / "config.json").read_text()) for name, folder in models.items()}
    counted: dict[str, Any] = {}
    for number in range(trainings):
        if number == int(WARM_UP * trainings):
            counted["trainings"] = [usage()]
        name = model_zoo.MODELS[number % len(model_zoo.MODELS)]
        arguments = {name: value for name, value in sources[name]["training"]["options"].items() if value is not None}
        arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
        names = [source["name"] for source in sources[name]["data"]["sources"]]
        seqgen.train(
            names, folder / "again", task=sources[name]["task"], overwrite=True, **{**arguments, "seed": number}
        )
    counted["trainings"].append(usage())
    model = seqgen.load(models["text"])
    for number in range(samples):
        if number == int(WARM_UP * samples):
            counted["samples"] = [usage()]
        if number % 100 == 0:
            model = seqgen.load(models[("text", "subword", "generative")[number // 100 % 3]])
        label = "positive" if model.task == "classify" else None
        (sample,) = model.sample("It", length=20, first=number, label=label)
        assert len(sample.text) == 20 or sample.finish_reason != "length"
    counted["samples"].append(usage())
    return counted


def main() -> None:
    """Soak and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=200)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    os.environ["SEQGEN_CACHE"] = str(folder / "cache")
    start = time.monotonic()
    try:
        counted = soak(folder, options.trainings, options.samples)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(counted))
        return
    print(f"{options.trainings:,} trainings, {options.samples:,} samples, {time.monotonic() - start:.0f} s")
    for phase, (first, last) in counted.items():
        changes = [f"{name} {first[name]:,.0f} → {last[name]:,.0f}" for name in first]
        print(f"{phase:12}{', '.join(changes)}")


if __name__ == "__main__":
    main()
