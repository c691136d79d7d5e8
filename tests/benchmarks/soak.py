"""Soak test: hundreds of trainings and samples in one process, and a server under load, without growth.

    python tests/benchmarks/soak.py [--trainings 200] [--samples 10000] [--requests 5000] [--minutes 120] [--json]

Counts resident memory, open descriptors and threads after a warm-up (imports, caches, arenas) and at the end. Trainings
alternate between all tasks; the model that is sampled from is loaded again every hundred samples. The server is the
command in a process of its own, with a model of each task. Its clients ask for everything that it serves, streamed or
not; some send nonsense, and some go away in the middle of an answer. With `--minutes` they go on for that time, and the
server is also counted ten times in between.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import http.client
import itertools
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import seqgen
from tests.helpers import model_zoo
from tests.helpers.server_process import ServerProcess, Usage, server_process, usage

WARM_UP = 0.3  # fraction that may still fill caches
CLIENTS = 4
ROUNDS = 10  # in which the server is counted, if they last for a given time
SERVED = ("text", "dialogue", "music", "classify", "forecast")


def own_usage() -> Usage:
    gc.collect()
    return usage()


def soak_trainings(folder: Path, models: dict[str, Path], trainings: int) -> list[Usage]:
    """Train small models of all tasks in this process; return the counts after the warm-up and at the end."""
    sources = {name: json.loads((folder / "config.json").read_text()) for name, folder in models.items()}
    counted = []
    for number in range(trainings):
        if number == int(WARM_UP * trainings):
            counted.append(own_usage())
        name = model_zoo.MODELS[number % len(model_zoo.MODELS)]
        arguments = {name: value for name, value in sources[name]["training"]["options"].items() if value is not None}
        arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
        names = [source["name"] for source in sources[name]["data"]["sources"]]
        seqgen.train(
            names, folder / "again", task=sources[name]["task"], overwrite=True, **{**arguments, "seed": number}
        )
    return [*counted, own_usage()]


def soak_samples(models: dict[str, Path], samples: int) -> list[Usage]:
    """Draw samples in this process; return the counts after the warm-up and at the end."""
    model = seqgen.load(models["text"])
    counted = []
    for number in range(samples):
        if number == int(WARM_UP * samples):
            counted.append(own_usage())
        if number % 100 == 0:
            model = seqgen.load(models[("text", "subword", "generative")[number // 100 % 3]])
        label = "positive" if model.task == "classify" else None
        grammar = "([^aeiou]+[aeiou])+" if number % 3 == 0 else None
        (sample,) = model.sample("It", length=20, first=number, label=label, grammar=grammar)
        assert len(sample.text) == 20 or sample.finish_reason != "length"
    return [*counted, own_usage()]


def requests_to_send(folder: Path) -> list[tuple[str, bytes, int]]:
    """Path, body and expected status of every kind of request; status 0: the client goes away while it is answered."""
    table = (folder / "table.csv").read_text()
    talk = [{"role": "user", "content": "Hello!"}]
    found: list[tuple[str, Any, int]] = [
        ("/v1/completions", {"model": "text", "prompt": "The ", "length": 40}, 200),
        ("/v1/completions", {"model": "text", "prompt": "The ", "length": 40, "stream": True}, 200),
        ("/v1/completions", {"model": "text", "prompt": "The ", "length": 4000, "stream": True}, 0),
        ("/v1/completions", {"model": "text", "prompt": "The ", "length": 90, "grammar": "([a-z]{2,6}[ .])+"}, 200),
        ("/v1/completions", {"model": "text", "prompt": "The ", "length": 4000, "ban": ["e"], "stream": True}, 0),
        ("/v1/completions", {"model": "text", "prompt": "The ", "length": -1}, 400),
        ("/v1/completions", {"model": "nobody", "prompt": "The "}, 404),
        ("/v1/chat/completions", {"model": "dialogue", "messages": talk, "max_tokens": 20}, 200),
        ("/v1/chat/completions", {"model": "dialogue", "messages": talk, "max_tokens": 20, "stream": True}, 200),
        ("/v1/classify", {"model": "classify", "input": ["It rained.", "Good."]}, 200),
        ("/v1/score", {"model": "text", "input": "It rained."}, 200),
        ("/v1/forecast", {"model": "forecast", "csv": table}, 200),
        ("/v1/compose", {"model": "music", "length": 1}, 200),
    ]
    bodies = [(path, json.dumps(body).encode(), status) for path, body, status in found]
    return [*bodies, ("/v1/classify", b"{nonsense", 400), ("/health", b"", 200), ("/v1/models", b"", 200)]


def soak_server(folder: Path, models: dict[str, Path], count: int, seconds: float) -> tuple[list[Usage], int]:
    """Send requests to a server, at least `count` and for at least `seconds`.

    Returns its counts after the warm-up and after each round, while nothing is asked, and how many requests were sent.
    """
    kinds, wrong, numbers = requests_to_send(folder), Counter[str](), itertools.count()

    def request(port: int, path: str, body: bytes, wanted: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connection.request("POST" if body else "GET", path, body or None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if wanted:
            text = answer.read()
            if answer.status != wanted:
                wrong[f"{path}: {answer.status} instead of {wanted}: {text[:200]!r}"] += 1
        else:
            answer.read(10)
        connection.close()

    def send(server: ServerProcess, enough: int, until: float) -> Usage:
        def client() -> None:
            for number in numbers:
                request(server.port, *kinds[number % len(kinds)])
                if number >= enough - CLIENTS and time.monotonic() >= until:
                    return

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(1)  # texts of clients that went away leave at the next step
        return server.usage()

    with server_process([models[name] for name in SERVED]) as server:
        start, rounds = time.monotonic(), ROUNDS if seconds else 1
        counted = [send(server, int(WARM_UP * count), 0)]
        counted += [send(server, count, start + seconds * one / rounds) for one in range(1, rounds + 1)]
    assert not wrong, wrong.most_common(5)
    assert not server.tracebacks, "\n".join(server.log)
    return counted, next(numbers)


def main() -> None:
    """Soak and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=200)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--minutes", type=float, default=0, help="of requests, at least")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    os.environ["SEQGEN_CACHE"] = str(folder / "cache")
    start = time.monotonic()
    counted: dict[str, list[Usage]] = {}
    requests = 0
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        models = model_zoo.train_each(folder)
        if options.trainings:
            counted["trainings"] = soak_trainings(folder, models, options.trainings)
        if options.samples:
            counted["samples"] = soak_samples(models, options.samples)
        if options.requests:
            counted["server"], requests = soak_server(folder, models, options.requests, 60 * options.minutes)
    if options.json:
        print(json.dumps({phase: [asdict(one) for one in both] for phase, both in counted.items()}))
        return
    print(f"{options.trainings:,} trainings, {options.samples:,} samples, {requests:,} requests, "
          f"{time.monotonic() - start:.0f} s")  # fmt: skip
    for phase, usages in counted.items():
        columns = zip(*map(astuple, usages), strict=True)
        changes = zip((field.name for field in fields(Usage)), columns, strict=True)
        print(f"{phase:12}{', '.join(f'{name} ' + ' → '.join(f'{one:,.0f}' for one in all) for name, all in changes)}")


if __name__ == "__main__":
    main()
