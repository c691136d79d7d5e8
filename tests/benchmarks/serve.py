"""Load on `seqgen serve`, and its memory over many small requests.

    python tests/benchmarks/serve.py MODEL [--clients 64] [--seconds 120] [--length 500]
    python tests/benchmarks/serve.py MODEL... --small 10000

The server is the command in a process of its own, and the clients are one other process.

Load: each client asks for a streamed text, reads it to its end, and asks for the next, with seeds of its own. The
comparison is `Model.sample` of as many texts in one batch, without a server, in the same run. Every 50th text is
compared with what the model writes for its seed alone.

--small: so many small requests of every kind that the models answer, streamed, whole, wrong and broken off, by eight
clients. Memory, descriptors and threads of the server are printed as they go; the status is 1 if its memory grows, if
an answer has the wrong status, or if the server logs an internal error.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import seqgen
from tests.helpers.server_process import ServerProcess, Usage, server_process

_EVERY = 50  # texts of which one is compared
_SMALL_CLIENTS = 8
_REPORTS = 10  # of the memory of the server over the small requests
_MAX_GROWTH = 1.05  # of the memory, from the second report to the last


@dataclass
class Tally:
    """What the clients saw."""

    characters: int = 0
    texts: int = 0
    lost: int = 0
    first: list[float] = field(default_factory=list)  # seconds to the first character
    kept: dict[int, str] = field(default_factory=dict)  # texts by seed
    seed: int = 0
    memory: tuple[float, float] = (0, 0)  # megabytes of the server before and after


async def ask(port: int, seed: int, length: int, tally: Tally) -> None:
    """One streamed text over one connection."""
    body = json.dumps({"prompt": "The ", "length": length, "seed": seed, "stream": True}).encode()
    began, text, first, done = time.monotonic(), "", None, False
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    )  # fmt: skip
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            text += json.loads(line[6:])["choices"][0]["text"]
            first = first or (time.monotonic() - began if text else None)
        done = done or line.startswith(b"data: [DONE]")
    writer.close()
    tally.texts += 1
    tally.characters += len(text)
    tally.lost += not done or len(text) != length
    tally.first.append(first or float("inf"))
    if seed % _EVERY == 0:
        tally.kept[seed] = text


async def load(port: int, clients: int, seconds: float, length: int) -> Tally:
    """Keep `clients` texts going for so long."""
    tally, end = Tally(), time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < end:
            tally.seed += 1
            await ask(port, tally.seed, length, tally)

    await asyncio.gather(*(client() for _ in range(clients)))
    return tally


@dataclass(frozen=True)
class SmallRequest:
    """A small request: its path, its body if it has one, the status it must have, and whether its client goes away."""

    path: str
    body: dict[str, Any] | None = None
    status: int = 200
    leaves: bool = False


_TABLE = "time,temperature,pressure\n" + "".join(
    f"2020-01-{1 + n // 24:02} {n % 24:02}:00,{n % 7},{1000 + n % 5}\n" for n in range(400)
)
_TALK = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."},
         {"role": "user", "content": "Is it far?"}]  # fmt: skip
_SMALL: dict[str, tuple[SmallRequest, ...]] = {  # by task
    "text": (
        SmallRequest("/v1/completions", {"prompt": "The ", "length": 20}),
        SmallRequest("/v1/completions", {"prompt": "The ", "length": 20, "stream": True}),
        SmallRequest("/v1/completions", {"prompt": ["A", "B"], "n": 2, "length": 8, "logprobs": 2}),
        SmallRequest("/v1/completions", {"prompt": "x", "length": 12, "grammar": "[a-z ]+", "stop": "e"}),
        SmallRequest("/v1/completions", {"prompt": "x", "length": 12, "context_cache": 100}),
        SmallRequest("/v1/completions", {"prompt": "x", "length": 5000, "stream": True}, leaves=True),
        SmallRequest("/v1/completions", {"prompt": "x", "temperature": -1}, 400),
        SmallRequest("/v1/completions", {"prompt": 1}, 400),
        SmallRequest("/v1/score", {"input": ["The lamp", "was lit"], "per_token": True}),
    ),
    "dialogue": (
        SmallRequest("/v1/chat/completions", {"messages": _TALK, "candidates": 1}),
        SmallRequest("/v1/chat/completions", {"messages": _TALK, "candidates": 1, "stream": True}),
        SmallRequest("/v1/chat/completions", {"messages": _TALK, "candidates": 2, "n": 2}),
        SmallRequest("/v1/chat/completions", {"messages": []}, 400),
    ),
    "classify": (
        SmallRequest("/v1/classify", {"input": ["A lovely book.", "It broke."]}),
        SmallRequest("/v1/classify", {"input": [1]}, 400),
    ),
    "forecast": (
        SmallRequest("/v1/forecast", {"csv": _TABLE}),
        SmallRequest("/v1/forecast", {"csv": "a\n1\n"}, 400),
    ),
    "music": (
        SmallRequest("/v1/compose", {"length": 1}),
        SmallRequest("/v1/compose", {"length": 1, "format": "json"}),
        SmallRequest("/v1/compose", {"length": 1, "format": "mp3"}, 400),
    ),
}  # fmt: skip
_PLAIN = (SmallRequest("/health"), SmallRequest("/"), SmallRequest("/v1/models"), SmallRequest("/openapi.json"),
          SmallRequest("/none", status=404), SmallRequest("/v1/models/none", status=404))  # fmt: skip


def small_requests(port: int) -> list[SmallRequest]:
    """One request of each kind that the models of a server answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/v1/models")
    served = json.loads(connection.getresponse().read())["data"]
    connection.close()
    return [
        SmallRequest(one.path, {"model": model["id"], **(one.body or {})}, one.status, one.leaves)
        for model in served for one in _SMALL.get(model["task"], ())
    ] + list(_PLAIN)  # fmt: skip


def small(server: ServerProcess, count: int) -> int:
    """Send `count` small requests in turn, and print the state of the server as they go. Return the exit status."""
    kinds = small_requests(server.port)
    turn, lock = itertools.count(), threading.Lock()
    statuses: Counter[int] = Counter()
    wrong: Counter[str] = Counter()
    states: list[Usage] = []

    def client() -> None:
        while (number := next(turn)) < count:
            kind = kinds[number % len(kinds)]
            status = answer_to(server.port, kind)
            with lock:
                statuses[status] += 1
                if status != kind.status and not kind.leaves:
                    wrong[f"{kind.path} {kind.body}: {status}"] += 1
                if sum(statuses.values()) % max(1, count // _REPORTS) == 0:
                    states.append(server.usage())
                    print(f"{sum(statuses.values()):>7,} requests: {shown(states[-1])}", flush=True)

    with ThreadPoolExecutor(_SMALL_CLIENTS) as pool:
        for made in [pool.submit(client) for _ in range(_SMALL_CLIENTS)]:
            made.result()
    time.sleep(1)  # the last connections end
    end = server.usage()
    print(f"{len(kinds)} kinds; statuses {dict(sorted(statuses.items()))}; at the end {shown(end)}")
    for text, times in wrong.most_common(10):
        print(f"wrong {times} times: {text[:200]}")
    grown = len(states) > 1 and end.memory > _MAX_GROWTH * states[1].memory
    return 1 if wrong or grown else 0


def shown(found: Usage) -> str:
    return f"{found.memory:.1f} MB, {found.descriptors} descriptors, {found.threads} threads"


def answer_to(port: int, kind: SmallRequest) -> int:
    """The status of the answer to a small request; 0 if its client goes away."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    data = None if kind.body is None else json.dumps(kind.body).encode()
    try:
        connection.request("GET" if data is None else "POST", kind.path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read(200 if kind.leaves else None)
        return 0 if kind.leaves else answer.status
    finally:
        connection.close()


def measure(folder: str, clients: int, seconds: float, length: int) -> tuple[float, float, Tally]:
    """Characters a second of the server and of one batch without it, and what the clients saw."""
    model = seqgen.load(folder)
    model.sample("The ", clients, length=20)
    began = time.monotonic()
    alone = sum(len(sample.text) for sample in model.sample("The ", clients, length=4 * length))
    alone_speed = alone / (time.monotonic() - began)
    with server_process([folder]) as server:
        asyncio.run(load(server.port, 4, 2, 50))  # loads the model
        before, began = server.usage().memory, time.monotonic()
        tally = asyncio.run(load(server.port, clients, seconds, length))
        speed = tally.characters / (time.monotonic() - began)
        tally.memory = before, server.usage().memory
    return speed, alone_speed, tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--small", type=int, metavar="N", help="so many small requests of every kind instead")
    given = parser.parse_args()
    if given.small:
        with server_process(given.models) as server:
            status = small(server, given.small)
        return 1 if server.tracebacks else status
    speed, alone_speed, tally = measure(given.models[0], given.clients, given.seconds, given.length)
    model = seqgen.load(given.models[0])
    wrong = [
        seed
        for seed, text in tally.kept.items()
        if model.sample("The ", length=given.length, seed=seed)[0].text != text
    ]
    first = sorted(tally.first)
    print(f"{given.clients} clients: {speed:,.0f} characters a second; one batch without a server {alone_speed:,.0f}; "
          f"ratio {speed / alone_speed:.2f}")  # fmt: skip
    print(f"to the first character: p50 {1000 * first[len(first) // 2]:.0f} ms, "
          f"p99 {1000 * first[int(0.99 * (len(first) - 1))]:.0f} ms")  # fmt: skip
    before, after = tally.memory
    print(f"{tally.texts:,} texts, {tally.lost} lost, {len(tally.kept)} compared, {len(wrong)} differ; memory of the "
          f"server {before:.0f} MB before, {after:.0f} MB after")  # fmt: skip
    return 1 if tally.lost or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
