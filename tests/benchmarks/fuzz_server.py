"""Random requests to `seqgen serve`: it has no internal error, before or in an answer, and its memory must stay flat.

    python tests/benchmarks/fuzz_server.py TEXT DIALOGUE LABELS TEXT2 SERIES MUSIC [--seconds 3600] [--seed 0]

The models are one for each path that takes a body: text, dialogue, classification, text again, forecasting, music.

Bodies are made of the fields of every endpoint with values of any type, truncated, mutated byte by byte, or sent with
wrong lengths, types and headers. Some clients go away in the middle. Every so often a good request must have its text.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.helpers.server_process import server_process

PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/classify", "/v1/score", "/v1/forecast", "/v1/compose",
         "/v1/models", "/health", "/", "/openapi.json", "/v1/models/../x", "/v1/%00")  # fmt: skip
FIELDS = ("model", "prompt", "input", "messages", "csv", "n", "x", "stream", "seed", "max_tokens", "length",
          "temperature", "top_k", "top_p", "min_p", "stop", "logprobs", "echo", "logit_bias", "grammar", "ban",
          "dry_multiplier",
          "mirostat_tau", "repetition_window", "frequency_penalty", "candidates", "per_token", "explain", "horizon",
          "levels", "backtest", "format", "key", "tempo", "context_cache", "temperature_of",
          "stream_options")  # fmt: skip


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, 2**31, 2**70, 0.5, -0.5, 1e308, "", "x", "The ", "灯塔\n", "\x00\ud800", "a" * 3000,
    "[a-z]+", "(", "json", "wav", "#5=2", "80,95", "a,b\n1,2\n", "t,v\n" + "2020-01-01,1\n" * 40,
]  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "The ", "length": 30, "n": 2},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
    "/v1/classify": {"input": ["good", "bad"]},
    "/v1/score": {"input": "The lamp"},
    "/v1/forecast": {"csv": "time,temperature,pressure\n" + "".join(
        f"2020-01-{1 + n // 24:02} {n % 24:02}:00,{n % 7},{1000 + n % 5}\n" for n in range(400))},
    "/v1/compose": {"length": 2},
}  # fmt: skip


def value(rng: random.Random, models: list[str], depth: int = 0) -> Any:
    """Any JSON value."""
    if depth < 3 and rng.random() < 0.3:
        inner = [value(rng, models, depth + 1) for _ in range(rng.randrange(4))]
        keys = ("role", "content", "include_usage", "5", "x")
        return inner if rng.random() < 0.5 else {rng.choice(keys): one for one in inner}
    return rng.choice([*VALUES, rng.choice(models)])


def body(rng: random.Random, path: str, models: list[str]) -> bytes:
    """A body: a good object for the path with some fields changed or added, often damaged."""
    right = models[min(PATHS.index(path), 5) % len(models)] if path in GOOD else models[0]
    made: dict[str, Any] = {"model": right if rng.random() < 0.8 else rng.choice(models), **GOOD.get(path, {})}
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        made[rng.choice(FIELDS)] = value(rng, models)
    data = bytearray(json.dumps(made, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice((0, 0, 0, 1, 5))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.05 else data)


def ask(rng: random.Random, port: int, models: list[str]) -> int:
    """Send one request and return the status; 0 where the client went away or none came."""
    path = rng.choice(PATHS[:6] if rng.random() < 0.95 else PATHS)
    data, headers = body(rng, path, models), {"Content-Type": "application/json"}
    if rng.random() < 0.05:
        headers["Content-Type"] = rng.choice(("text/plain", ""))
    if rng.random() < 0.05:  # a raw request with a wrong length
        with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
            size = len(data) + rng.choice((-3, 5, 10**7, 0))
            raw.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        f"Content-Length: {size}\r\n\r\n".encode() + data)  # fmt: skip
            return 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(rng.choice(("GET", "PUT")) if rng.random() < 0.03 else "POST", path, data, headers)
        if rng.random() < 0.05:
            return 0
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (http.client.HTTPException, ConnectionError):
        return 0
    finally:
        connection.close()


def good(port: int, model: str) -> str:
    """The text of a good request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    data = json.dumps({"model": model, "prompt": "The ", "length": 30, "seed": 1})
    connection.request("POST", "/v1/completions", data, {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return str(answer["choices"][0]["text"] if "choices" in answer else answer["error"]["message"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    names = [Path(model).resolve().name for model in given.models]
    rng, statuses, memory, wrong = random.Random(given.seed), Counter[int](), [], 0
    with server_process(given.models, "--timeout", "20s") as server:
        first, end = good(server.port, names[0]), time.monotonic() + given.seconds
        while time.monotonic() < end:
            statuses[ask(rng, server.port, names)] += 1
            if sum(statuses.values()) % 500 == 0:
                memory.append(round(server.usage().memory))
                wrong += good(server.port, names[0]) != first
    print(f"{sum(statuses.values()):,} requests; statuses {dict(sorted(statuses.items()))}; good ones wrong: {wrong}")
    print("memory, MB:", *memory[:: max(1, len(memory) // 20)])
    print("internal errors:", server.tracebacks)
    return 1 if statuses[500] or wrong or server.tracebacks else 0


if __name__ == "__main__":
    sys.exit(main())
